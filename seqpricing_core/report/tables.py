"""Scores as the tables of the literature: rows are models, columns are K; all formatting of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import polars as pl

from seqpricing_core.models.family import FAMILIES, TITLES
from seqpricing_core.report.published import published, published_block
from seqpricing_core.report.table import ABSENT, Block, Cell, Row, Table, finite, number
from seqpricing_core.study import Study

STOCKS, MANAGED = "r", "x"
PORTFOLIOS: Final = {"long_short": "Long–short", "long_only": "Long-only"}
PERFORMANCE: Final = "evaluation/performance"


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
    """The table of `compute_performance`, to be looked up, with bootstrap errors where there are any."""

    study: Study
    performance: pl.DataFrame
    intervals: pl.DataFrame | None = None
    """Of `InferenceTables`."""

    @cached_property
    def _errors(self) -> dict[tuple[str, int, str], float | None]:
        if self.intervals is None:
            return {}
        columns = ("family", "number_of_factors", "measure", "standard_error")
        return {(f, k, m): error for f, k, m, error in self.intervals[columns].iter_rows()}

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

    @cached_property
    def headline_measures(self) -> dict[str, tuple[Measure, str]]:
        """Name -> how it is shown, and its title."""
        found = {
            "total_r2_stocks": (TOTAL_R2, "Total R² (%)"),
            "total_r2_managed": (TOTAL_R2, "Total R², x (%)"),
            "predictive_r2_stocks": (PREDICTIVE_R2, "Predictive R² (%)"),
        }
        for weights in self.study.portfolios.weights:
            for measure, costs in ((SHARPE, ""), (NET_SHARPE, ", after costs")):
                name = f"{measure.prefix}_long_short_{weights}"
                found[name] = (measure, f"Sharpe, long–short, {weights}{costs}")
            found[f"turnover_long_short_{weights}"] = (TURNOVER, f"Turnover, {weights} (%)")
        return found

    @property
    def headline(self) -> dict[str, tuple[str, float, int]]:
        """Name -> title, scale and digits."""
        return {name: (title, m.scale, m.digits) for name, (m, title) in self.headline_measures.items()}

    def estimated(self, family: str, factors: int) -> bool:
        return any((family, factors) == key[:2] for key in self._values)

    def table(
        self,
        measure: Measure,
        title: str,
        blocks: Sequence[tuple[str, Sequence[tuple[str, str]]]],
        name: str,
    ) -> Table:
        """``blocks``: a title, and the suffix of the measure's name with its test assets, per kind of row."""
        families = (*self.families, *(["oracle"] if self.oracle_factors else []))
        made = tuple(
            Block(
                block,
                tuple(
                    self._row(family, measure, suffix, assets)
                    for family in families
                    for suffix, assets in kinds
                ),
            )
            for block, kinds in blocks
        )
        with_errors = any(cell.below for block in made for row in block.rows for cell in row.cells)
        return Table(
            name, title, measure.unit, tuple(f"K = {k or ABSENT}" for k in self.factors), made,
            below="standard error" if with_errors else "", source=PERFORMANCE,
        )  # fmt: skip

    def _row(self, family: str, measure: Measure, suffix: str, assets: str) -> Row:
        name, title = f"{measure.prefix}_{suffix}", TITLES.get(family, family)
        labels = (title, assets) if assets else (title,)
        if family == "oracle":
            return Row(labels, (Cell(measure.text(self.oracle(name))),), self.oracle_factors)
        return Row(labels, tuple(self.cell(family, k, measure, name) for k in self.factors))

    def cell(self, family: str, factors: int, measure: Measure, name: str) -> Cell:
        value = self.value(family, factors, name)
        rivals = [v for v in (self.value(f, factors, name) for f in self.families) if finite(v)]
        text = measure.text(value)
        error = self._errors.get((family, factors, name))
        below = f"[{measure.text(error)}]" if finite(error) and finite(value) else ""
        if not measure.higher_is_better:
            return Cell(text, below=below)
        # What reads the same is equally good.
        leads = len(rivals) > 1 and finite(value) and text == measure.text(max(rivals))
        return Cell(text, self.share(family, factors, name), leads, below)


def r_squared_tables(scores: Scores) -> list[Table]:
    """*memory*, tables 1 and 2."""
    kinds = (("stocks", STOCKS), ("managed", MANAGED))
    tables = []
    for measure in (TOTAL_R2, PREDICTIVE_R2):
        table = scores.table(measure, measure.title, [("", kinds)], measure.prefix)
        figures = [(assets, published("memory", f"{measure.prefix}_{name}")) for name, assets in kinds]
        table = replace(table, labels=("Model", "Assets"))
        tables.append(table.with_block(published_block("", figures, scores.families, scores.factors)))
    return tables


def strategy_tables(scores: Scores) -> list[Table]:
    """*memory*, tables 3, 4, 6 and 7, with the mean returns and the turnover behind them."""
    costs = f"after costs of {scores.study.costs.basis_points:g} bp"
    kinds = ((SHARPE, "before costs"), (NET_SHARPE, costs), (MEAN_RETURN, "before costs"), (TURNOVER, ""))
    tables = []
    for measure, when in kinds:
        for weights in scores.study.portfolios.weights:
            blocks = [(title, ((f"{name}_{weights}", ""),)) for name, title in PORTFOLIOS.items()]
            title = ", ".join(filter(None, (measure.title, f"{weights} weights", when)))
            table = scores.table(measure, title, blocks, f"{measure.prefix}_{weights}")
            for name, portfolio in PORTFOLIOS.items():
                figures = [("", published("memory", f"{measure.prefix}_{name}_{weights}"))]
                block = published_block(portfolio, figures, scores.families, scores.factors)
                table = table.with_block(block)
            tables.append(table)
    return tables


def family_table(scores: Scores, family: str) -> Table:
    """Headline scores of one family, a row per K."""

    def row(k: int) -> Row:
        cells = (
            scores.cell(family, k, measure, name) for name, (measure, _) in scores.headline_measures.items()
        )
        return Row((str(k) if k else ABSENT,), tuple(replace(cell, best=False) for cell in cells))

    rows = tuple(row(k) for k in scores.factors if scores.estimated(family, k))
    below = any(cell.below for one in rows for cell in one.cells)
    return Table(
        f"{family}_scores", "Headline scores", "",
        tuple(title for _, title in scores.headline_measures.values()), (Block("", rows),), ("K",),
        "standard error" if below else "", source=PERFORMANCE,
    )  # fmt: skip


def has_factors(family: str) -> bool:
    """Whether it has; one that the registry does not know is taken to."""
    return family not in FAMILIES or FAMILIES[family].has_factors
