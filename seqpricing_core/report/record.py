"""What is kept of a study beside its report, so that studies can be held side by side later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from seqpricing_core.errors import InputError
from seqpricing_core.report.inputs import ReportInputs
from seqpricing_core.report.lineage import Lineage
from seqpricing_core.report.table import finite
from seqpricing_core.study import SimulatedSource, Study

PLACES: Final = ("record.json", "assets/evaluation/report/record.json")
"""Of the record below a folder that a reader may name: the report's, or the study's."""


@dataclass(frozen=True)
class StudyRecord:
    """Config, data and numbers of one run of a study."""

    title: str
    simulated: bool
    config: Mapping[str, Any]
    """The study, resolved: also what its file left to defaults. Paths are file names, wherever they lie."""
    provenance: Mapping[str, str]
    lineage: tuple[Lineage, ...]
    test_months: tuple[str, ...]
    numbers: Mapping[tuple[str, int, str], float | None]
    """Family, K and measure -> value, as in `compute_performance`; None for what is no number."""

    @classmethod
    def of(cls, study: Study, results: ReportInputs) -> StudyRecord:
        columns = ("family", "number_of_factors", "measure", "value")
        return cls(
            title=study.title,
            simulated=isinstance(study.source, SimulatedSource),
            config=_without_folders(study.model_dump(mode="json"), study.model_dump()),
            provenance=dict(results.provenance),
            lineage=results.lineage,
            test_months=tuple(results.test_months),
            numbers={
                (f, k, m): value if finite(value) else None
                for f, k, m, value in results.performance[columns].iter_rows()
            },
        )

    def to_bytes(self) -> bytes:
        """JSON."""
        content = {
            "title": self.title, "simulated": self.simulated, "config": self.config,
            "provenance": self.provenance, "lineage": [vars(one) for one in self.lineage],
            "test_months": self.test_months,
            "numbers": [[*key, value] for key, value in self.numbers.items()],
        }  # fmt: skip
        return json.dumps(content, indent=1, ensure_ascii=False).encode()


def read_record(folder: Path) -> StudyRecord:
    """Of an output folder of a study, of a report's folder, of a copy of either, or the record's own file.

    Raises
    ------
    InputError
        No record there, or one that cannot be read.
    """
    places = (folder, *(folder / place for place in PLACES))
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise InputError(
            "the folder holds no record of a study",
            where=str(folder),
            expected=f"one of {', '.join(PLACES)}, as a report leaves it",
            remedy="name the output folder of a finished study, or materialize its report again",
        )
    try:
        content = json.loads(path.read_bytes())
        return StudyRecord(
            content["title"], content["simulated"], content["config"], content["provenance"],
            tuple(Lineage(**one) for one in content["lineage"]), tuple(content["test_months"]),
            {(family, factors, measure): value for family, factors, measure, value in content["numbers"]},
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the record cannot be read: {error!r}",
            where=str(path),
            expected="the JSON that a report writes",
            remedy="materialize the report of that study again",
        ) from error


def _without_folders(shown: Any, values: Any) -> Any:
    """Names of files instead of paths: where they lie is no part of a study."""
    if isinstance(values, Path):
        return values.name
    if isinstance(values, dict):
        return {key: _without_folders(shown[key], value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_without_folders(a, b) for a, b in zip(shown, values, strict=True)]
    return shown
