"""How the fits of a window came about: winners, epochs, losses, without the fits themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from seqpricing_core.models.family import FittedFamily


@dataclass(frozen=True)
class TrainingRecord:
    """Of one fit: a family, window, K and seed."""

    family: str
    test_year: int
    factors: int
    seat: int
    """Place of the seed in the study's list."""
    record: dict[str, Any]
    """As the family wrote it; JSON."""


def training_records(fitted: FittedFamily) -> list[TrainingRecord]:
    """Of every K and seed of a fitted window."""
    return [
        TrainingRecord(fitted.config.family, fitted.window.test_year, factors, seat, member.record)
        for factors, members in fitted.models.items()
        for seat, member in enumerate(members)
    ]


def read_training_records(paths: Sequence[Path]) -> list[TrainingRecord]:
    """From the files of `FittedFamily`; reads their headers alone."""
    found = []
    for path in paths:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = json.loads(file.metadata()["seqpricing"])
        keyed = {tuple(map(int, prefix.split("/"))): record for prefix, record in header["records"].items()}
        family, test_year = header["config"]["family"], header["window"][-1]
        found += [
            TrainingRecord(family, test_year, factors, seat, record)
            for (factors, seat), record in sorted(keyed.items(), key=lambda item: item[0])
        ]
    return found
