"""Is a fit one that a person would believe? What a look at its numbers and its record shows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqpricing_core.models.factor_model import Arrays
from seqpricing_core.models.family import FittedFamily

ALWAYS_OFF = 4.0
"""A unit whose shift lies so many scales below zero is off in all but 3 of 100,000 stock-months."""
MOST = 0.5
"""Dead units are common under a penalty; a layer that has lost half of them is narrower than it claims."""
GROWTH = 2.0
"""A training loss that ends at so many times its start exploded."""


@dataclass(frozen=True)
class Doubt:
    """One reason not to believe a fit as it stands."""

    where: str
    """Such as ``K = 3, seed 1``."""
    what: str


def not_finite(fitted: FittedFamily) -> list[Doubt]:
    """Parameters that are no numbers: whatever is computed from them is wrong."""
    return [
        Doubt(where, f"{name} holds {np.sum(~np.isfinite(array))} values that are not finite")
        for where, _, state in _members(fitted)
        for name, array in state.items()
        if array.dtype.kind == "f" and not np.isfinite(array).all()
    ]


def doubts(fitted: FittedFamily) -> list[Doubt]:
    """Dead units, exploding or endless training, a fit that did not converge, a winner at the grid's edge."""
    grid = getattr(fitted.config, "grid", None)
    choices = grid.model_dump() if grid is not None else {}
    return [
        Doubt(where, what)
        for where, record, state in _members(fitted)
        for what in (*_dead_units(state), *_training(record), *_edges(record.get("winner"), choices))
    ]


def _members(fitted: FittedFamily) -> Iterator[tuple[str, dict[str, Any], Arrays]]:
    for factors, members in fitted.models.items():
        for member in members:
            seed = member.record.get("seed")
            where = f"K = {factors}" if factors else "forecaster"
            yield where + (f", seed {seed}" if seed is not None else ""), member.record, member.model.state()


def _dead_units(state: Arrays) -> Iterator[str]:
    """After batch norm a unit's input has mean ``shift`` and standard deviation ``|scale|``."""
    for name, scale in state.items():
        if not (match := re.fullmatch(r"(.*norms\.(\d+))\.scale", name)):
            continue
        shift = state[f"{match[1]}.shift"]
        dead = int(np.sum(shift + ALWAYS_OFF * np.abs(scale) <= 0))
        if dead > MOST * scale.size:
            yield f"{dead} of {scale.size} units of hidden layer {int(match[2]) + 1} are always off"


def _training(record: Mapping[str, Any]) -> Iterator[str]:
    if record.get("converged") is False:
        yield f"not converged after {record.get('iterations')} iterations"
    losses = record.get("train_loss") or []
    if any(not math.isfinite(loss) for loss in losses):
        yield "the training loss is not finite"
    elif len(losses) > 1 and losses[-1] > GROWTH * losses[0]:
        yield f"the training loss exploded, from {losses[0]:.4g} to {losses[-1]:.4g}"
    epochs = len(record.get("validation_loss") or []) if losses else 0
    if epochs > 1 and record.get("best_epoch") == epochs:
        yield f"the last of {epochs} epochs was the best: training was cut off (training.max_epochs)"


def _edges(winner: Any, choices: Mapping[str, tuple[Any, ...]]) -> Iterator[str]:
    """Where three or more values were offered, the best one should not be the first or last of them."""
    for name, values in choices.items():
        offered = sorted(set(values), key=_size)
        chosen = winner.get(name) if isinstance(winner, dict) else None
        if len(offered) < 3 or chosen is None:
            continue
        place = _size(chosen)
        for edge, word in ((offered[0], "smallest"), (offered[-1], "largest")):
            if place == _size(edge):
                yield f"the winner has the {word} {name} of the grid, {_plain(edge)}: widen it"


def _size(value: Any) -> float:
    """Hidden sizes by their number of units; numbers by themselves."""
    return float(sum(value)) if isinstance(value, tuple | list) else float(value)


def _plain(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple | list) else f"{value:g}"
