"""A table as a reader sees it: the one form that page, CSV and LaTeX are made from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeGuard

ABSENT: Final = "–"
"""Not estimated; as a number of factors, a forecaster's, which has none."""
NOT_A_NUMBER: Final = "n/a"
COLUMN_GAP: Final = 2
HALF_PAGE: Final = 74
"""In characters of the page's tables, at its full width."""
HALF_PRINTED_PAGE: Final = 48
Below = Literal["", "standard error", "t-statistic"]


@dataclass(frozen=True)
class Cell:
    """One value as text, what stands below it, its share of the oracle's, and if it leads its column."""

    text: str
    share: str = ""
    best: bool = False
    below: str = ""
    """Its standard error or t-statistic, as `Table.below` says; "" where there is none."""
    shade: float | None = None
    """Of a correlation: -1 to 1, how the page colours the cell."""


@dataclass(frozen=True)
class Row:
    """One model: a cell per column. The oracle has one K of its own, and so one cell across all columns."""

    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    oracle_factors: int | None = None


@dataclass(frozen=True)
class Block:
    title: str
    rows: tuple[Row, ...]
    published: bool = False
    """Figures of a paper, on other data."""


@dataclass(frozen=True)
class Table:
    name: str
    """Of its files and its anchor."""
    title: str
    unit: str
    columns: tuple[str, ...]
    """Over the cells."""
    blocks: tuple[Block, ...]
    labels: tuple[str, ...] = ("Model",)
    """Over the labels of the rows."""
    below: Below = ""
    note: str = ""
    source: str = ""
    """The asset that holds the numbers in full precision."""

    def with_block(self, block: Block | None) -> Table:
        return self if block is None else replace(self, blocks=(*self.blocks, block))

    @property
    def wide(self) -> bool:
        """Whether half of a screen's page is too narrow for it."""
        return self._width > HALF_PAGE

    @property
    def narrow(self) -> bool:
        """Whether half of a printed page is enough."""
        return self._width <= HALF_PRINTED_PAGE

    @property
    def _width(self) -> int:
        """In characters."""
        rows = [row for block in self.blocks for row in block.rows]
        texts = [[header, *(row.labels[i] for row in rows)] for i, header in enumerate(self.labels)]
        texts += [
            [header, *(row.cells[i].text for row in rows if i < len(row.cells) > 1)]
            for i, header in enumerate(self.columns)
        ]
        return sum(max(map(len, column)) + COLUMN_GAP for column in texts)


def finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def number(value: float | None, digits: int) -> str:
    """With a true minus sign, and never minus zero."""
    if value is None:
        return ABSENT
    if not math.isfinite(value):
        return NOT_A_NUMBER
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def p_text(value: float | None) -> str:
    """A p-value: three digits, and what is below them said so."""
    if finite(value) and value < 0.0005:
        return "<0.001"
    return number(value, 3)


def factors_text(factors: int) -> str:
    """K as it is shown: a dash for a forecaster."""
    return str(factors) if factors else ABSENT
