"""Two studies, or two versions of one, side by side: what changed in the data, the config, the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from seqpricing_core.report.lineage import Lineage
from seqpricing_core.report.record import StudyRecord
from seqpricing_core.report.shown import title_of
from seqpricing_core.report.table import ABSENT, factors_text, finite, number

ROUNDING: Final = 1e-12
"""Relative; what differs by less is the same number."""
SCALES: Final = {
    "total_r2": (100, 2),
    "predictive_r2": (100, 2),
    "mean_return": (1200, 1),
    "turnover": (100, 0),
}
"""Of measures by the start of their name: factor and digits; Sharpe ratios stand as they are."""


@dataclass(frozen=True)
class Change:
    """One thing that differs; None where one side lacks it."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class NumberChange:
    """One score on both sides; None where a side does not have it."""

    family: str
    factors: int
    measure: str
    before: float | None
    after: float | None

    @property
    def same(self) -> bool:
        if self.before is None or self.after is None:
            return self.before is self.after
        return abs(self.after - self.before) <= ROUNDING * max(abs(self.before), abs(self.after))

    @property
    def texts(self) -> tuple[str, str, str]:
        """Before, after, after minus before, as the report shows such a measure."""
        scale, digits = _shown_as(self.measure)
        before, after = (None if v is None else scale * v for v in (self.before, self.after))
        difference = after - before if finite(before) and finite(after) else None
        text = number(difference, digits)
        sign = "+" if finite(difference) and not text.startswith("−") and float(text) else ""
        return number(before, digits), number(after, digits), sign + text

    @property
    def model(self) -> str:
        return title_of(self.family)

    @property
    def k(self) -> str:
        return factors_text(self.factors)


@dataclass(frozen=True)
class StudyComparison:
    before: StudyRecord
    after: StudyRecord
    config: tuple[Change, ...]
    """Key by key, of keys whose values differ."""
    data: tuple[Change, ...]
    """Fingerprints that differ, asset by asset and partition by partition, and the test months."""
    code: tuple[Change, ...]
    """Code versions that differ, asset by asset."""
    numbers: tuple[NumberChange, ...]
    """Every score that either side has."""

    @property
    def changed(self) -> tuple[NumberChange, ...]:
        return tuple(one for one in self.numbers if not one.same)

    @property
    def summary(self) -> str:
        """One sentence."""
        same = len(self.numbers) - len(self.changed)
        differing = (
            f"{len(self.config)} setting(s)", f"{len(self.data)} piece(s) of data",
            f"{len(self.code)} piece(s) of code",
        )  # fmt: skip
        changed = f"{len(self.changed)} of {len(self.numbers)} numbers changed, {same} did not"
        return f"{', '.join(differing)} differ; {changed}."


def compare_records(before: StudyRecord, after: StudyRecord) -> StudyComparison:
    """What changed from one to the other."""
    a, b = _flat(before.config), _flat(after.config)
    versions = [{one.asset: one.code_version for one in side.lineage} for side in (before, after)]
    keys = dict.fromkeys((*before.numbers, *after.numbers))
    return StudyComparison(
        before, after,
        config=tuple(_changes(a, b)),
        data=tuple(_changes(_data_of(before), _data_of(after))),
        code=tuple(_changes(_code_of(before, versions[0]), _code_of(after, versions[1]))),
        numbers=tuple(NumberChange(*key, before.numbers.get(key), after.numbers.get(key)) for key in keys),
    )  # fmt: skip


def render_comparison(comparison: StudyComparison) -> str:
    """One self-contained HTML page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("comparison.html.j2").render(
        comparison=comparison, title=f"{comparison.before.title} → {comparison.after.title}", absent=ABSENT
    )


def _data_of(record: StudyRecord) -> dict[str, str]:
    """Fingerprints by asset and partition, without the report's own, and what months were tested."""
    found = {_where(one): one.data_fingerprint for one in record.lineage}
    months = record.test_months
    span = f"{months[0]} to {months[-1]} ({len(months)})" if months else ""
    return {"test months": span, "raw data": record.provenance.get("data fingerprint", ABSENT)} | found


def _code_of(record: StudyRecord, versions: Mapping[str, str]) -> dict[str, str]:
    return {"whole core": record.provenance.get("code version", ABSENT), **versions}


def _where(one: Lineage) -> str:
    return f"{one.asset} {one.partition}".strip()


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) != after.get(name):
            yield Change(name, before.get(name), after.get(name))


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """``windows.train_years`` -> its value as text; models go by their family."""
    if isinstance(value, Mapping):
        return {
            key: text
            for name, inner in value.items()
            for key, text in _flat(inner, f"{prefix}.{name}").items()
        }
    if isinstance(value, list) and value and all(isinstance(v, Mapping) and "family" in v for v in value):
        return {
            key: text for inner in value for key, text in _flat(inner, f"{prefix}.{inner['family']}").items()
        }
    return {prefix.removeprefix("."): str(value)}


def _shown_as(measure: str) -> tuple[float, int]:
    for start, shown in SCALES.items():
        if measure.startswith((start, f"net_{start}")):
            return shown
    return 1, 2
