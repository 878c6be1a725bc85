"""Scores as the tables of the literature: rows are models, columns are K; all formatting of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeGuard

import polars as pl

from seqpricing_core.models.family import FAMILIES, TITLES
from seqpricing_core.study import Study

ABSENT: Final = "–"
"""Not estimated; as a number of factors, a forecaster's, which has none."""
NOT_A_NUMBER: Final = "n/a"
STOCKS, MANAGED = "r", "x"
PORTFOLIOS: Final = {"long_short": "Long–short", "long_only": "Long-only"}


@dataclass(frozen=True)
class Cell:
    """One value as text, its share of the oracle's ("" where there is none), and if it leads its column."""

    text: str
    share: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One model: a cell per K. The oracle has one K of its own, and so one cell across all columns."""

    model: str
    assets: str
    """Of R2: `STOCKS` or `MANAGED`, else ""."""
    cells: tuple[Cell, ...]
    oracle_factors: int | None = None


@dataclass(frozen=True)
class Block:
    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    title: str
    unit: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Measure:
    """How a measure of `compute_performance` is shown."""

    prefix: str
    title: str
    unit: str
    scale: float
    digits: int
    higher_is_better: bool = True

    def text(self, value: float | None) -> str:
        return ABSENT if value is None else number(self.scale * value, self.digits)


TOTAL_R2: Final = Measure("total_r2", "Total R²", "%", 100, 2)
PREDICTIVE_R2: Final = Measure("predictive_r2", "Predictive R²", "%", 100, 2)
SHARPE: Final = Measure("sharpe", "Sharpe ratio", "annual", 1, 2)
NET_SHARPE: Final = Measure("net_sharpe", "Sharpe ratio", "annual", 1, 2)
MEAN_RETURN: Final = Measure("mean_return", "Mean excess return", "% a year", 1200, 1)
TURNOVER: Final = Measure("turnover", "Turnover", "% a month", 100, 0, higher_is_better=False)


@dataclass(frozen=True)
class Scores:
    """The table of `compute_performance`, to be looked up."""

    study: Study
    performance: pl.DataFrame

    @cached_property
    def _values(self) -> dict[tuple[str, int, str], tuple[float | None, float | None]]:
        """Value and share of the oracle's."""
        columns = ("family", "number_of_factors", "measure", "value", "share_of_oracle")
        return {(f, k, m): (value, share) for f, k, m, value, share in self.performance[columns].iter_rows()}

    @cached_property
    def oracle_factors(self) -> int | None:
        """K of the oracle; none where the truth is unknown."""
        return next((k for family, k, _ in self._values if family == "oracle"), None)

    @cached_property
    def families(self) -> tuple[str, ...]:
        """Those of the study, then others that sent predictions."""
        others = {family for family, _, _ in self._values} - {*self.study.families, "oracle"}
        return *self.study.families, *sorted(others)

    @cached_property
    def factors(self) -> tuple[int, ...]:
        """K, the columns; 0 stands for forecasters."""
        found = {k for family, k, _ in self._values if family != "oracle"}
        asked = self.study.number_of_factors if any(map(has_factors, self.families)) else ()
        return tuple(sorted(found | set(asked)))

    @property
    def models(self) -> int:
        """Pairs of family and K that were estimated; the oracle is none."""
        return len({(family, k) for family, k, _ in self._values if family != "oracle"})

    def value(self, family: str, factors: int, measure: str) -> float | None:
        """None if not estimated; may be NaN."""
        return self._values.get((family, factors, measure), (None, None))[0]

    def oracle(self, measure: str) -> float | None:
        return None if self.oracle_factors is None else self.value("oracle", self.oracle_factors, measure)

    def share(self, family: str, factors: int, measure: str) -> str:
        """Of the oracle's score; "" where the oracle's is not positive: a share would mislead."""
        oracle, share = self.oracle(measure), self._values.get((family, factors, measure), (None, None))[1]
        return f"{number(100 * share, 0)}%" if finite(oracle) and oracle > 0 and finite(share) else ""

    def best(self, measure: str) -> tuple[str, int, float] | None:
        """Family, K and value of the highest score; the oracle does not compete."""
        every = [(f, k, self.value(f, k, measure)) for f in self.families for k in self.factors]
        ranked = [(f, k, v) for f, k, v in every if finite(v)]
        return max(ranked, key=lambda entry: entry[2], default=None)

    def table(
        self, measure: Measure, title: str, blocks: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    ) -> Table:
        """``blocks``: a title, and the suffix of the measure's name with its test assets, per kind of row."""
        return Table(
            title,
            measure.unit,
            tuple(
                Block(
                    name,
                    tuple(
                        self._row(family, measure, suffix, assets)
                        for family in (*self.families, *(["oracle"] if self.oracle_factors else []))
                        for suffix, assets in kinds
                    ),
                )
                for name, kinds in blocks
            ),
        )

    def _row(self, family: str, measure: Measure, suffix: str, assets: str) -> Row:
        name, title = f"{measure.prefix}_{suffix}", TITLES.get(family, family)
        if family == "oracle":
            return Row(title, assets, (Cell(measure.text(self.oracle(name))),), self.oracle_factors)
        return Row(title, assets, tuple(self._cell(family, k, measure, name) for k in self.factors))

    def _cell(self, family: str, factors: int, measure: Measure, name: str) -> Cell:
        value = self.value(family, factors, name)
        rivals = [v for v in (self.value(f, factors, name) for f in self.families) if finite(v)]
        text = measure.text(value)
        # What reads the same is equally good.
        leads = len(rivals) > 1 and finite(value) and text == measure.text(max(rivals))
        if not measure.higher_is_better:
            return Cell(text)
        return Cell(text, self.share(family, factors, name), leads)


def r_squared_tables(scores: Scores) -> list[Table]:
    """*memory*, tables 1 and 2."""
    kinds = [("", (("stocks", STOCKS), ("managed", MANAGED)))]
    return [scores.table(measure, measure.title, kinds) for measure in (TOTAL_R2, PREDICTIVE_R2)]


def strategy_tables(scores: Scores) -> list[Table]:
    """*memory*, tables 3, 4, 6 and 7, with the mean returns and the turnover behind them."""
    costs = f"after costs of {scores.study.costs.basis_points:g} bp"
    kinds = ((SHARPE, "before costs"), (NET_SHARPE, costs), (MEAN_RETURN, "before costs"), (TURNOVER, ""))
    tables = []
    for measure, when in kinds:
        for weights in scores.study.portfolios.weights:
            blocks = [(title, ((f"{name}_{weights}", ""),)) for name, title in PORTFOLIOS.items()]
            title = ", ".join(filter(None, (measure.title, f"{weights} weights", when)))
            tables.append(scores.table(measure, title, blocks))
    return tables


def has_factors(family: str) -> bool:
    """Whether it has; one that the registry does not know is taken to."""
    return family not in FAMILIES or FAMILIES[family].has_factors


def factors_text(factors: int) -> str:
    """K as it is shown: a dash for a forecaster."""
    return str(factors) if factors else ABSENT


def finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def number(value: float, digits: int) -> str:
    """With a true minus sign, and never minus zero."""
    if not math.isfinite(value):
        return NOT_A_NUMBER
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")
