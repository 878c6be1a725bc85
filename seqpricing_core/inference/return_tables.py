"""Tables of returns: tests of Sharpe ratios, alphas, deflated Sharpe ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import polars as pl

from seqpricing_core.evaluation.factor_returns import FactorReturns
from seqpricing_core.evaluation.return_measures import MONTHS_PER_YEAR, RETURNS
from seqpricing_core.inference.alphas import FACTOR_MODELS, compute_alphas, compute_exposures
from seqpricing_core.inference.deflated_sharpe import deflated_sharpe
from seqpricing_core.inference.grs import gibbons_ross_shanken
from seqpricing_core.inference.ledoit_wolf import ledoit_wolf
from seqpricing_core.inference.series import Float64, normal_p_value, varies
from seqpricing_core.inference.sharpe_difference import jobson_korkie_memmel
from seqpricing_core.inference.study_series import (
    COMMON,
    OF_MODEL,
    OF_PORTFOLIO,
    ORACLE,
    PAIR,
    PORTFOLIO,
    InferenceSettings,
    PortfolioKind,
    attempt,
    model_pairs,
    pair_keys,
    with_adjusted,
)
from seqpricing_core.portfolios import MODEL, STRATEGY


def sharpe_tests_table(portfolios: Sequence[PortfolioKind], settings: InferenceSettings) -> pl.DataFrame:
    """Jobson-Korkie-Memmel and Ledoit-Wolf tests of every pair of models, portfolio by portfolio."""
    schema = PAIR | OF_PORTFOLIO | dict.fromkeys(
        ("sharpe_a", "sharpe_b", "difference", "statistic", "p_value", "p_a_better", "p_ledoit_wolf",
         "rank_correlation"), pl.Float64,
    ) | COMMON  # fmt: skip
    rows = [
        pair_keys(a, b)
        | portfolio.keys
        | {"months": len(portfolio.returns[a])}
        | attempt(_sharpe_test, portfolio.returns[a], portfolio.returns[b], settings)
        for portfolio in portfolios
        for a, b in model_pairs(list(portfolio.returns))
    ]
    return with_adjusted(rows, schema, PORTFOLIO)


def _sharpe_test(a: Float64, b: Float64, settings: InferenceSettings) -> dict[str, Any]:
    from scipy.stats import spearmanr

    year = math.sqrt(MONTHS_PER_YEAR)
    # ddof 1 throughout, so that the ratios are those of the performance table.
    test = jobson_korkie_memmel(a, b, ddof=1)
    if math.isnan(test.statistic):
        return {"reason": "one series is a multiple of the other"}
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


def alphas_table(strategies: pl.DataFrame, factors: FactorReturns | None) -> pl.DataFrame:
    """Alphas of every strategy, before and after costs, against each factor model."""
    parts = []
    for keys, rows in strategies.group_by(STRATEGY, maintain_order=True):
        of_strategy = [
            pl.lit(k, dtype=strategies.schema[n]).alias(n) for n, k in zip(STRATEGY, keys, strict=True)
        ]
        for prefix, column in RETURNS.items():
            costs = pl.lit("after" if prefix else "before").alias("costs")
            parts.append(compute_alphas(rows, factors, column).select(*of_strategy, costs, pl.all()))
    table = pl.concat(parts)
    return with_adjusted(table.to_dicts(), dict(table.schema), [*PORTFOLIO, "factor_model"])


def exposures_table(strategies: pl.DataFrame, factors: FactorReturns | None) -> pl.DataFrame:
    """What every strategy, before costs, loads on: slopes on the largest set of factors there is."""
    parts = [
        compute_exposures(rows, factors).select(
            *(pl.lit(k, dtype=strategies.schema[n]).alias(n) for n, k in zip(STRATEGY, keys, strict=True)),
            pl.all(),
        )
        for keys, rows in strategies.group_by(STRATEGY, maintain_order=True)
    ]
    return pl.concat(parts)


def joint_alphas_table(quantiles: pl.DataFrame, factors: FactorReturns | None) -> pl.DataFrame:
    """Gibbons-Ross-Shanken tests of each model's quantile portfolios, before costs."""
    schema = OF_MODEL | {
        "weights": pl.String, "factor_model": pl.String, "portfolios": pl.Int64, "statistic": pl.Float64,
        "p_value": pl.Float64,
    } | COMMON  # fmt: skip
    rows = [
        dict(zip((*MODEL, "weights"), keys, strict=True))
        | {"factor_model": model}
        | attempt(_joint_test, group, factors, names)
        for keys, group in quantiles.group_by(*MODEL, "weights", maintain_order=True)
        for model, names in FACTOR_MODELS.items()
        if names
    ]
    return with_adjusted(rows, schema, ["weights", "factor_model"])


def _joint_test(
    quantiles: pl.DataFrame, factors: FactorReturns | None, names: Sequence[str]
) -> dict[str, Any]:
    if factors is None or factors.lacking(names):
        lacking = ", ".join(names if factors is None else factors.lacking(names))
        return {"reason": f"no factor returns of {lacking}"}
    wide = quantiles.pivot("portfolio", index="month", values="return")
    assets = [name for name in wide.columns if name != "month"]
    table = wide.join(factors.table.select("month", *names), on="month").drop_nulls().sort("month")
    counted = {"portfolios": len(assets), "months": len(table)}
    return counted | attempt(_grs_row, table.select(assets).to_numpy(), table.select(names).to_numpy())


def _grs_row(assets: Float64, factors: Float64) -> dict[str, Any]:
    test = gibbons_ross_shanken(assets, factors)
    return {"statistic": test.statistic, "p_value": test.p_value}


def deflated_table(portfolios: Sequence[PortfolioKind], settings: InferenceSettings) -> pl.DataFrame:
    """Deflated Sharpe ratio of every model; its trials are the models of the same kind of portfolio."""
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
            | attempt(_deflated_row, r, sharpes, settings)
            for model, r in tried.items()
        ]
    return pl.DataFrame(rows, schema=schema)


def _deflated_row(returns: Float64, sharpes: Sequence[float], settings: InferenceSettings) -> dict[str, Any]:
    found = asdict(deflated_sharpe(returns, sharpes, settings.trials))
    year = math.sqrt(MONTHS_PER_YEAR)
    return found | {name: year * found[name] for name in ("sharpe", "threshold")}
