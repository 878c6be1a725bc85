"""All tests of a study, as tidy tables ready for a report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.evaluation.factor_returns import FactorReturns
from seqpricing_core.evaluation.monthly_scores import ALL_STOCKS, on_common_months
from seqpricing_core.evaluation.return_measures import MONTHS_PER_YEAR, RETURNS, check_portfolio_returns
from seqpricing_core.inference.alphas import compute_alphas
from seqpricing_core.inference.confidence_set import model_confidence_set, superior_predictive_ability
from seqpricing_core.inference.deflated_sharpe import deflated_sharpe
from seqpricing_core.inference.diebold_mariano import diebold_mariano
from seqpricing_core.inference.intervals import (
    MEAN,
    R_SQUARED,
    SHARPE,
    Interval,
    Statistic,
    bootstrap_interval,
)
from seqpricing_core.inference.ledoit_wolf import ledoit_wolf
from seqpricing_core.inference.multiple_testing import add_adjusted_p_values
from seqpricing_core.inference.series import Float64, normal_p_value, varies
from seqpricing_core.inference.sharpe_difference import jobson_korkie_memmel
from seqpricing_core.portfolios import MODEL, STRATEGY

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
class InferenceTables:
    """Tidy tables. Whatever cannot be computed is null, and ``reason`` says why.

    ``costs`` is ``before`` or ``after``. Adjusted p-values (``p_holm``, ``p_benjamini_hochberg``,
    ``p_benjamini_yekutieli``) count the tests of the same table, portfolio and factor model; the oracle is no
    model that anyone tried, and its tests have none.
    """

    sharpe_tests: pl.DataFrame
    """Pairs of models: `PAIR`, `PORTFOLIO`, ``sharpe_a``, ``sharpe_b``, ``difference`` (annual),
    ``statistic``, ``p_value`` (Jobson, Korkie, Memmel, two-sided), ``p_a_better`` (one-sided),
    ``p_ledoit_wolf`` (two-sided), ``rank_correlation`` (Spearman, of the returns), adjusted p-values of
    ``p_value``."""
    alphas: pl.DataFrame
    """Of `compute_alphas`, per `STRATEGY` and ``costs``, with adjusted p-values."""
    intervals: pl.DataFrame
    """`MODEL`, ``measure`` (named and scaled as in `compute_performance`), ``estimate``, ``standard_error``,
    ``low``, ``high``, ``level``, ``block_length``."""
    forecast_comparison: pl.DataFrame
    """Diebold-Mariano over pairs: `PAIR`, ``difference`` (positive: a has the smaller squared errors),
    ``statistic``, ``p_value``, ``p_a_better``, ``lags``, ``same_assets`` (whether both forecast equally many
    stocks in every month), adjusted p-values."""
    confidence_set: pl.DataFrame
    """`MODEL`, ``mean_squared_error``, ``p_value``, ``included``, ``p_superior_exists`` (Hansen's SPA: the
    null that no other model has smaller errors than this one)."""
    deflated: pl.DataFrame
    """`MODEL`, `PORTFOLIO`, ``sharpe``, ``threshold`` (annual), ``probability``, ``trials``."""


def compute_inference(
    portfolio_returns: pl.DataFrame,
    monthly_scores: pl.DataFrame,
    factors: FactorReturns | None = None,
    settings: InferenceSettings | None = None,
) -> InferenceTables:
    """Every test of every model of a study.

    Only months that all models have are used, which need not be consecutive: a gap is passed over as if the
    months were neighbours. Pairs are models of the same number of factors, and a family that has one alone
    (the oracle, a plain forecast) against all.

    Parameters
    ----------
    portfolio_returns
        Of `compute_portfolio_returns`.
    monthly_scores
        Of `compute_monthly_scores`, of stocks; rows of size groups are passed over.
    factors
        Published factors; without, every alpha but the mean is absent.

    Raises
    ------
    InputError
        Returns that are missing, infinite or doubled; models without a common month.
    """
    chosen = settings or InferenceSettings()
    check_portfolio_returns(portfolio_returns)
    # The oracle comes last: in a pair it is the one that a model is held against.
    last = pl.col("family") == ORACLE
    strategies = portfolio_returns.filter(pl.col("portfolio").is_in(STRATEGIES))
    strategies = on_common_months(strategies, STRATEGY).sort(last, *STRATEGY, "month")
    scores = on_common_months(monthly_scores.filter(pl.col("size_group") == ALL_STOCKS)).sort(
        last, *MODEL, "month"
    )
    portfolios = list(_portfolios(strategies))
    return InferenceTables(
        sharpe_tests=_sharpe_tests(portfolios, chosen),
        alphas=_alphas(strategies, factors),
        intervals=_intervals(portfolios, scores, chosen),
        forecast_comparison=_forecast_comparison(scores),
        confidence_set=_confidence_set(scores, chosen),
        deflated=_deflated(portfolios, chosen),
    )


@dataclass(frozen=True)
class _Portfolio:
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


def _portfolios(strategies: pl.DataFrame) -> Iterator[_Portfolio]:
    for (weights, portfolio), rows in strategies.group_by("weights", "portfolio", maintain_order=True):
        for prefix, column in RETURNS.items():
            returns = _series(rows, column)
            yield _Portfolio(str(weights), str(portfolio), "after" if prefix else "before", returns)


def _series(rows: pl.DataFrame, column: str) -> dict[Model, Float64]:
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


def _pair(a: Model, b: Model) -> dict[str, Any]:
    return dict(zip(PAIR, (*a, *b), strict=True))


def _attempt(compute: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """The row, or why there is none."""
    try:
        return compute(*arguments)
    except InputError as error:
        return {"reason": error.what}


def _adjusted(rows: Sequence[dict[str, Any]], schema: dict[str, Any], within: Sequence[str]) -> pl.DataFrame:
    table = pl.DataFrame(rows, schema=schema)
    families = [name for name in table.columns if name.startswith("family")]
    tried = pl.all_horizontal(pl.col(name) != ORACLE for name in families)
    counted = table.with_columns(p_tried=pl.when(tried).then(pl.col("p_value")))
    return add_adjusted_p_values(counted, within, "p_tried").drop("p_tried")


def _sharpe_tests(portfolios: Sequence[_Portfolio], settings: InferenceSettings) -> pl.DataFrame:
    schema = PAIR | OF_PORTFOLIO | dict.fromkeys(
        ("sharpe_a", "sharpe_b", "difference", "statistic", "p_value", "p_a_better", "p_ledoit_wolf",
         "rank_correlation"), pl.Float64,
    ) | COMMON  # fmt: skip
    rows = [
        _pair(a, b)
        | portfolio.keys
        | {"months": len(portfolio.returns[a])}
        | _attempt(_sharpe_test, portfolio.returns[a], portfolio.returns[b], settings)
        for portfolio in portfolios
        for a, b in model_pairs(list(portfolio.returns))
    ]
    return _adjusted(rows, schema, PORTFOLIO)


def _sharpe_test(a: Float64, b: Float64, settings: InferenceSettings) -> dict[str, Any]:
    from scipy.stats import spearmanr

    year = math.sqrt(MONTHS_PER_YEAR)
    # ddof 1 throughout, so that the ratios are those of the performance table.
    test = jobson_korkie_memmel(a, b, ddof=1)
    if math.isnan(test.statistic):
        raise InputError(
            "one series is a multiple of the other", where="Sharpe ratios", expected="", remedy=""
        )
    bootstrap = None
    if settings.replications and len(a) >= 12:
        bootstrap = ledoit_wolf(a, b, replications=settings.replications, seed=settings.seed).p_value
    return {
        "sharpe_a": year * a.mean() / a.std(ddof=1),
        "sharpe_b": year * b.mean() / b.std(ddof=1),
        "difference": year * test.difference,
        "statistic": test.statistic,
        "p_value": test.p_value,
        "p_a_better": normal_p_value(test.statistic, "greater"),
        "p_ledoit_wolf": bootstrap,
        "rank_correlation": float(spearmanr(a, b).statistic),
    }


def _alphas(strategies: pl.DataFrame, factors: FactorReturns | None) -> pl.DataFrame:
    parts = []
    for keys, rows in strategies.group_by(STRATEGY, maintain_order=True):
        of_strategy = [
            pl.lit(k, dtype=strategies.schema[n]).alias(n) for n, k in zip(STRATEGY, keys, strict=True)
        ]
        for prefix, column in RETURNS.items():
            costs = pl.lit("after" if prefix else "before").alias("costs")
            parts.append(compute_alphas(rows, factors, column).select(*of_strategy, costs, pl.all()))
    table = pl.concat(parts)
    return _adjusted(table.to_dicts(), dict(table.schema), [*PORTFOLIO, "factor_model"])


def _intervals(
    portfolios: Sequence[_Portfolio], scores: pl.DataFrame, settings: InferenceSettings
) -> pl.DataFrame:
    schema = OF_MODEL | {
        "measure": pl.String, "estimate": pl.Float64, "standard_error": pl.Float64, "low": pl.Float64,
        "high": pl.Float64, "level": pl.Float64, "block_length": pl.Int64,
    } | COMMON  # fmt: skip
    rows = [
        dict(zip(MODEL, model, strict=True))
        | {"measure": measure, "months": len(columns)}
        | _attempt(_interval, statistic, columns, scale, settings)
        for model, measure, statistic, columns, scale in (
            *_forecast_series(scores), *_return_series(portfolios)
        )
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


Series: TypeAlias = tuple[Model, str, Statistic, Float64, float]
"""Model, measure, what it is of the columns, the columns (T, C), and the factor from there to the measure."""


def _forecast_series(scores: pl.DataFrame) -> Iterator[Series]:
    for (family, factors), rows in scores.group_by(MODEL, maintain_order=True):
        model = (str(family), factors)
        fitted = rows.filter(pl.col("fitted_assets") > 0)
        if len(fitted):
            sums = fitted.select("fitted_squared_error", "fitted_squared_return").to_numpy()
            yield model, "total_r2_stocks", R_SQUARED, sums, 1.0
        sums = rows.select("squared_error", "squared_return").to_numpy()
        yield model, "predictive_r2_stocks", R_SQUARED, sums, 1.0
        rank_ic = rows["rank_ic"].drop_nulls().to_numpy()
        yield model, "rank_ic_stocks", MEAN, rank_ic, 1.0
        yield model, "rank_icir_stocks", SHARPE, rank_ic, _unbiased(len(rank_ic))


def _return_series(portfolios: Sequence[_Portfolio]) -> Iterator[Series]:
    for portfolio in portfolios:
        for model, returns in portfolio.returns.items():
            scale = math.sqrt(MONTHS_PER_YEAR) * _unbiased(len(returns))
            yield model, f"{portfolio.prefix}sharpe_{portfolio.suffix}", SHARPE, returns, scale
            yield model, f"{portfolio.prefix}mean_return_{portfolio.suffix}", MEAN, returns, 1.0


def _unbiased(months: int) -> float:
    """From a standard deviation with ddof 0 to one with ddof 1, in the denominator."""
    return math.sqrt((months - 1) / months) if months else math.nan


def _interval(
    statistic: Statistic, columns: Float64, scale: float, settings: InferenceSettings
) -> dict[str, Any]:
    found = asdict(
        bootstrap_interval(
            statistic,
            columns,
            level=settings.level,
            replications=settings.replications or 999,
            method=settings.interval,
            seed=settings.seed,
        )
    )
    return found | {name: scale * found[name] for name in ("estimate", "standard_error", "low", "high")}


def _forecast_comparison(scores: pl.DataFrame) -> pl.DataFrame:
    schema = PAIR | dict.fromkeys(("difference", "statistic", "p_value", "p_a_better"), pl.Float64)
    schema |= {"lags": pl.Int64, "same_assets": pl.Boolean} | COMMON
    errors, assets = _mean_squared_errors(scores), _series(scores, "assets")
    rows = [
        _pair(a, b)
        | {"months": len(errors[a]), "same_assets": bool(np.array_equal(assets[a], assets[b]))}
        | _attempt(_forecast_test, errors[a], errors[b])
        for a, b in model_pairs(list(errors))
    ]
    return _adjusted(rows, schema, ())


def _forecast_test(a: Float64, b: Float64) -> dict[str, Any]:
    test = diebold_mariano(a, b)
    if math.isnan(test.statistic):
        return {
            "difference": test.difference,
            "reason": "the squared errors differ by nothing, or by a constant",
        }
    better = normal_p_value(test.statistic, "greater")
    return asdict(test) | {"p_a_better": better}


def _mean_squared_errors(scores: pl.DataFrame) -> dict[Model, Float64]:
    """(T,) per model: the mean over stocks of each month."""
    return _series(scores.with_columns(mse=pl.col("squared_error") / pl.col("assets")), "mse")


def _confidence_set(scores: pl.DataFrame, settings: InferenceSettings) -> pl.DataFrame:
    schema = OF_MODEL | {
        "mean_squared_error": pl.Float64, "p_value": pl.Float64, "included": pl.Boolean,
        "p_superior_exists": pl.Float64,
    } | COMMON  # fmt: skip
    errors = {m: e for m, e in _mean_squared_errors(scores).items() if m[0] != ORACLE}
    if not errors:
        return pl.DataFrame(schema=schema)
    losses = np.column_stack(list(errors.values()))
    months = len(losses)
    rows = [
        dict(zip(MODEL, m, strict=True)) | {"months": months, "mean_squared_error": float(e.mean())}
        for m, e in errors.items()
    ]
    options: dict[str, Any] = {"replications": settings.replications or 999, "seed": settings.seed}
    names = [f"{family} {factors}" for family, factors in errors]
    try:
        found = model_confidence_set(losses, names, size=settings.confidence_set_size, **options)
    except InputError as error:
        return pl.DataFrame([row | {"reason": error.what} for row in rows], schema=schema)
    for column, (row, p_value, included) in enumerate(
        zip(rows, found["p_value"], found["included"], strict=True)
    ):
        row |= {"p_value": p_value, "included": included}
        own = losses[:, column]
        others = [c for c in range(losses.shape[1]) if varies(own - losses[:, c])]
        if others:
            row["p_superior_exists"] = superior_predictive_ability(
                own, losses[:, others], **options
            ).consistent
    return pl.DataFrame(rows, schema=schema)


def _deflated(portfolios: Sequence[_Portfolio], settings: InferenceSettings) -> pl.DataFrame:
    schema = OF_MODEL | OF_PORTFOLIO | {
        "sharpe": pl.Float64, "threshold": pl.Float64, "probability": pl.Float64, "trials": pl.Int64,
    } | COMMON  # fmt: skip
    rows = []
    for portfolio in portfolios:
        tried = {model: r for model, r in portfolio.returns.items() if model[0] != ORACLE}
        sharpes = [r.mean() / r.std(ddof=1) for r in tried.values() if len(r) > 1 and varies(r)]
        rows += [
            dict(zip(MODEL, model, strict=True))
            | portfolio.keys
            | {"months": len(r)}
            | _attempt(_deflated_row, r, sharpes, settings)
            for model, r in tried.items()
        ]
    return pl.DataFrame(rows, schema=schema)


def _deflated_row(returns: Float64, sharpes: Sequence[float], settings: InferenceSettings) -> dict[str, Any]:
    found = asdict(deflated_sharpe(returns, sharpes, settings.trials))
    year = math.sqrt(MONTHS_PER_YEAR)
    return found | {name: year * found[name] for name in ("sharpe", "threshold")}
