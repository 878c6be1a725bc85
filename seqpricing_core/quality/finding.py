"""What a check is, and what it reports."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias

import polars as pl

from seqpricing_core.study import Quality

Severity: TypeAlias = Literal["block", "warn"]
Table: TypeAlias = Literal["stock_months", "stock_days", "statements", "history", "membership", "coverage"]
"""``history``: asset_id and month of every stock-month of all years; ``membership`` and ``coverage``: see
`membership_by_month` and `coverage_by_month`."""

FOUND: Final = {
    "asset_id": pl.Int64(),
    "at": pl.Date(),
    "seen": pl.Date(),
    "value": pl.Float64(),
    "expected": pl.String(),
}
"""Columns of what a check finds. ``at``: the month end, day or quarter end the value belongs to; ``seen``:
when the tables first show it, as a slip shows when it reverses; ``expected`` in words."""

EVERYTHING: Final = "(all)"
"""The asset of a finding that is about no single stock."""


@dataclass(frozen=True)
class Finding:
    """One suspicious value."""

    check: str
    table: Table
    severity: Severity
    asset: str
    """Ticker where the source has them, else the asset_id."""
    at: dt.date | None
    """Day, month end or quarter end."""
    value: float | None
    expected: str
    what_to_do: str


Find: TypeAlias = Callable[[pl.DataFrame, Quality], pl.DataFrame]
"""Rows of a canonical table in, by stock and time; columns of `FOUND` out. Rows of the year before may stand
before those that are judged: shifts and runs need them."""


@dataclass(frozen=True)
class Check:
    """A named question to one table."""

    name: str
    table: Table
    means: str
    what_to_do: str
    find: Find


@dataclass(frozen=True)
class Outcome:
    """What one check found in one table."""

    check: Check
    severity: Severity
    found: pl.DataFrame
    """Columns of `FOUND`, by ``at``."""

    @property
    def passed(self) -> bool:
        return self.found.is_empty()

    def findings(self, label: Callable[[int], str], most: int | None = None) -> list[Finding]:
        """The first ``most`` findings, with assets named by ``label``."""
        rows = self.found if most is None else self.found.head(most)
        return [
            Finding(
                self.check.name,
                self.check.table,
                self.severity,
                EVERYTHING if row["asset_id"] is None else label(row["asset_id"]),
                row["at"],
                row["value"],
                row["expected"],
                self.check.what_to_do,
            )
            for row in rows.iter_rows(named=True)
        ]


def found(rows: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """``rows`` in the columns of `FOUND`; ``seen`` is ``at`` unless it is there."""
    seen = "seen" if "seen" in rows.lazy().collect_schema() else "at"
    return (
        rows.lazy()
        .with_columns(pl.col(seen).alias("seen"))
        .select(pl.col(name).cast(dtype) for name, dtype in FOUND.items())
        .sort("at", "asset_id")
        .collect()
    )


def findings_table(findings: Iterable[Finding]) -> pl.DataFrame:
    """One row per finding, in the fields of `Finding`."""
    text = dict.fromkeys(("check", "table", "severity", "asset", "expected", "what_to_do"), pl.String())
    schema = pl.Schema({"at": pl.Date(), "value": pl.Float64(), **text})
    rows = [asdict(finding) for finding in findings]
    return pl.DataFrame(rows, schema=schema).select(*Finding.__dataclass_fields__)
