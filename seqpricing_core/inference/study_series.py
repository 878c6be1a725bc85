"""What the tables of a study share: models, their pairs and series, and reasons where a test is absent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.evaluation.return_measures import RETURNS
from seqpricing_core.inference.intervals import Interval
from seqpricing_core.inference.multiple_testing import add_adjusted_p_values
from seqpricing_core.inference.series import Float64
from seqpricing_core.portfolios import MODEL

Model: TypeAlias = tuple[str, int | None]
STRATEGIES: Final = ("long_short", "long_only")
ORACLE: Final = "oracle"
PORTFOLIO: Final = ("weights", "portfolio", "costs")
PAIR: Final = {"family_a": pl.String, "factors_a": pl.Int32, "family_b": pl.String, "factors_b": pl.Int32}
OF_MODEL: Final = {"family": pl.String, "number_of_factors": pl.Int32}
OF_PORTFOLIO: Final = dict.fromkeys(PORTFOLIO, pl.String)
COMMON: Final = {"months": pl.Int64, "reason": pl.String}


@dataclass(frozen=True)
class InferenceSettings:
    """How the tests are run; the defaults take about a minute for 60 models over 25 years."""

    level: float = 0.95
    """Of intervals."""
    interval: Interval = "studentised"
    replications: int = 999
    """Of every bootstrap; 0 leaves the bootstrap test of Sharpe ratios (Ledoit, Wolf) out."""
    confidence_set_size: float = 0.1
    trials: int | None = None
    """Models tried, for the deflated Sharpe ratio, where more were tried than are in the tables."""
    seed: int = 0


@dataclass(frozen=True)
class PortfolioKind:
    """One kind of portfolio, of every model, over the common months."""

    weights: str
    portfolio: str
    costs: str
    returns: dict[Model, Float64]

    @property
    def keys(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in PORTFOLIO}

    @property
    def suffix(self) -> str:
        return f"{self.portfolio}_{self.weights}"

    @property
    def prefix(self) -> str:
        return "net_" if self.costs == "after" else ""


def portfolio_kinds(strategies: pl.DataFrame) -> Iterator[PortfolioKind]:
    """Each kind of portfolio of the table, before and after costs; rows in order of model and month."""
    for (weights, portfolio), rows in strategies.group_by("weights", "portfolio", maintain_order=True):
        for prefix, column in RETURNS.items():
            returns = series_by_model(rows, column)
            yield PortfolioKind(str(weights), str(portfolio), "after" if prefix else "before", returns)


def series_by_model(rows: pl.DataFrame, column: str) -> dict[Model, Float64]:
    """(T,) values of a column per model, in the order of the rows."""
    return {
        (str(family), factors): group[column].to_numpy().astype(np.float64)
        for (family, factors), group in rows.group_by(MODEL, maintain_order=True)
    }


def model_pairs(models: Sequence[Model]) -> list[tuple[Model, Model]]:
    """Models of one number of factors; a family that has only one against every model of the others."""
    count = {family: sum(f == family for f, _ in models) for family, _ in models}
    return [
        (a, b)
        for a, b in combinations(models, 2)
        if a[0] != b[0] and (a[1] == b[1] or 1 in (count[a[0]], count[b[0]]))
    ]


def pair_keys(a: Model, b: Model) -> dict[str, Any]:
    """Names of a pair, as columns of a row."""
    return dict(zip(PAIR, (*a, *b), strict=True))


def attempt(compute: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """The row, or why there is none."""
    try:
        return compute(*arguments)
    except InputError as error:
        return {"reason": error.what}


def with_adjusted(
    rows: Sequence[dict[str, Any]], schema: dict[str, Any], within: Sequence[str]
) -> pl.DataFrame:
    """Rows as a table with adjusted p-values, counting tests without the oracle, within groups."""
    table = pl.DataFrame(rows, schema=schema)
    families = [name for name in table.columns if name.startswith("family")]
    tried = pl.all_horizontal(pl.col(name) != ORACLE for name in families)
    counted = table.with_columns(p_tried=pl.when(tried).then(pl.col("p_value")))
    return add_adjusted_p_values(counted, within, "p_tried").drop("p_tried")
