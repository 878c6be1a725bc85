"""Which models a page has rows for, and tables with one row per model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import polars as pl

from seqpricing_core.models.family import TITLES
from seqpricing_core.portfolios import MODEL
from seqpricing_core.report.style import in_order
from seqpricing_core.report.table import Below, Block, Cell, Row, Table, factors_text

Model: TypeAlias = tuple[str, int]
Column: TypeAlias = tuple[str, Callable[[Mapping[str, Any]], Cell]]
"""Its header, and the cell made of a row."""


@dataclass(frozen=True)
class Shown:
    """Models on a page: every family at one K, or one family at all of its K.

    A forecaster, which has no K, and the oracle, which has its own, stand beside every K.
    """

    factors: int
    """K; of a page of one family, that of its figures."""
    family: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        return ("K",) if self.family else ("Model",)

    @property
    def slug(self) -> str:
        """Before the names of a page's files."""
        return f"{self.family}_" if self.family else ""

    @property
    def where(self) -> str:
        """After a title."""
        if self.family:
            return ""
        return f", K = {self.factors}" if self.factors else ""

    def rows(self, table: pl.DataFrame) -> pl.DataFrame:
        """Those of the models shown, by family and K."""
        if self.family:
            chosen = table.filter(pl.col("family") == self.family)
        else:
            at_k = pl.col("number_of_factors").is_in([0, self.factors])
            chosen = table.filter(at_k | (pl.col("family") == "oracle"))
        order = {family: place for place, family in enumerate(in_order(chosen["family"].unique()))}
        place = pl.col("family").replace_strict(order, return_dtype=pl.Int64)
        return chosen.sort(place, "number_of_factors", maintain_order=True)

    def models(self, table: pl.DataFrame) -> list[Model]:
        return [(f, k) for f, k in self.rows(table).select(MODEL).unique(maintain_order=True).iter_rows()]

    def label(self, family: str, factors: int) -> str:
        return factors_text(factors) if self.family else title_of(family)

    def name(self, family: str, factors: int) -> str:
        """In a legend."""
        return f"K = {factors_text(factors)}" if self.family else title_of(family)


def title_of(family: str) -> str:
    return TITLES.get(family, family)


def model_table(
    shown: Shown,
    name: str,
    title: str,
    groups: Sequence[tuple[str, pl.DataFrame]],
    columns: Sequence[Column],
    *,
    unit: str = "",
    below: Below = "",
    note: str = "",
    source: str = "",
) -> Table | None:
    """A table with a row per model.

    Parameters
    ----------
    groups
        Title of a block and its numbers, a row per model; an empty block is left out.

    Returns
    -------
    Table or None
        None if there is no row.
    """
    blocks = []
    for block, frame in groups:
        rows = tuple(
            Row(
                (shown.label(row["family"], row["number_of_factors"]),),
                tuple(cell(row) for _, cell in columns),
            )
            for row in shown.rows(frame).iter_rows(named=True)
        )
        if rows:
            blocks.append(Block(block, rows))
    if not blocks:
        return None
    headers = tuple(header for header, _ in columns)
    return Table(
        shown.slug + name,
        title + shown.where,
        unit,
        headers,
        tuple(blocks),
        shown.labels,
        below,
        note,
        source,
    )


def reasons(frame: pl.DataFrame, column: str = "reason") -> str:
    """Why values are absent, once each."""
    said = frame[column].drop_nulls().unique(maintain_order=True).to_list()
    return f"Absent (–): {'; '.join(said)}." if said else ""
