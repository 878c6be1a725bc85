"""Figures of the papers, copied from their tables: what ours stand beside, on other data.

*memory*: Wang, Learning from memory. *sequence*: Cong, Tang, Wang, Zhang (2020), Deep sequence modeling.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from seqpricing_core.models.family import TITLES
from seqpricing_core.report.table import ABSENT, Block, Cell, Row

NAMES: Final = {"ca2": "CAE"}
"""Of families that a paper calls otherwise than we do; others go by their title."""


@dataclass(frozen=True)
class Published:
    """All figures of one measure."""

    paper: str
    source: str
    """Table or exhibit."""
    data: str
    values: Mapping[tuple[str, int], str]
    """Model as the paper writes it and K (0: none) -> the figure as printed, with a true minus sign."""

    @property
    def title(self) -> str:
        return f"Published in {self.paper}, {self.source}: {self.data}"

    @property
    def models(self) -> tuple[str, ...]:
        """In the paper's order."""
        return tuple(dict.fromkeys(model for model, _ in self.values))

    def text(self, model: str, factors: int = 0) -> str:
        return self.values.get((model, factors), ABSENT)


@cache
def _file() -> tuple[dict[str, str], ...]:
    with (Path(__file__).parent / "published.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


@cache
def published(paper: str, measure: str, source: str | None = None) -> Published | None:
    """The figures of a measure, named as in `compute_performance`; None if the paper has none.

    Parameters
    ----------
    source
        Where a measure stands in several tables (panels A and B), which one.
    """
    rows = [
        r
        for r in _file()
        if r["paper"] == paper and r["measure"] == measure and source in (None, r["source"])
    ]
    if not rows:
        return None
    values = {
        (row["model"], int(row["number_of_factors"] or 0)): row["value"].replace("-", "−") for row in rows
    }
    return Published(paper, rows[0]["source"], rows[0]["data"].replace("-", "–"), values)


def published_name(family: str) -> str:
    """How the papers call a family."""
    return NAMES.get(family, TITLES.get(family, family))


def same_model(family: str, model: str) -> bool:
    """Whether a paper's model is this family, whatever the hyphens."""

    def letters(name: str) -> str:
        return "".join(filter(str.isalnum, name)).casefold()

    return letters(model) in (letters(published_name(family)), letters(family))


def published_block(
    title: str,
    kinds: Sequence[tuple[str, Published | None]],
    families: Sequence[str],
    factors: Sequence[int],
) -> Block | None:
    """The paper's rows of the families and K that a table of ours has; None if it has none of them.

    Parameters
    ----------
    title
        Before the source: the portfolio, say.
    kinds
        Label of the second column ("" for none) and the figures.
    """
    rows, where = [], ""
    for family in families:
        for label, figures in kinds:
            model = next((m for m in figures.models if same_model(family, m)), None) if figures else None
            if model is None or figures is None:
                continue
            where = figures.title
            cells = tuple(Cell(figures.text(model, k)) for k in factors)
            if any(cell.text != ABSENT for cell in cells):
                rows.append(Row((model, label) if label else (model,), cells))
    return Block(": ".join(filter(None, (title, where))), tuple(rows), published=True) if rows else None


COUNTERPARTS: Final = {
    "total_r2": "memory, table 1", "predictive_r2": "memory, table 2", "sharpe_equal": "memory, table 3",
    "sharpe_value": "memory, table 4", "sharpe_tests": "memory, table 5",
    "net_sharpe_equal": "memory, table 6",
    "net_sharpe_value": "memory, table 7", "importance": "memory, figure 5",
    "correlations": "memory, figure 6", "odd_even": "memory, table .9", "exhibit_5": "sequence, exhibit 5",
    "exhibit_6": "sequence, exhibit 6", "exhibit_7": "sequence, exhibit 7",
}  # fmt: skip


def counterpart(name: str) -> str:
    """The table or figure of a paper that a table of ours, by its name, is after; "" for none."""
    for ours, theirs in COUNTERPARTS.items():
        if name == ours or (
            name.startswith(f"{ours}_") and ours in ("sharpe_tests", "importance", "correlations")
        ):
            return theirs
    return ""
