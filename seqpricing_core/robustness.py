"""Robustness: does a model trained on half of the stocks hold for the other half (*memory*, appendix E)?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.evaluation.performance import sharpe_ratio
from seqpricing_core.models.configs import ModelConfig
from seqpricing_core.models.family import FittedFamily, fit_family
from seqpricing_core.panel.macro import MacroSeries
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios, compute_managed_portfolios
from seqpricing_core.panel.panel import Panel, Sample
from seqpricing_core.portfolios import MODEL, compute_portfolio_returns
from seqpricing_core.predictions import predict_test_year
from seqpricing_core.study import Study
from seqpricing_core.windows import split_estimation, window_for

Parity: TypeAlias = Literal["odd", "even"]
PARITIES: Final[tuple[Parity, ...]] = get_args(Parity)
KEYS: Final = (*MODEL, "trained_on", "tested_on")
STRATEGIES: Final = ("long_short", "long_only")


@dataclass(frozen=True)
class Half:
    """The stocks with odd or with even asset ids, and the managed portfolios of these alone."""

    parity: Parity
    panel: Panel
    managed: ManagedPortfolios


def split_odd_even(panel: Panel, study: Study) -> dict[Parity, Half]:
    """The two halves of a panel, x_t recomputed from each.

    Ranks stay those of the whole cross-section: the split is one of assets, and what was known about
    an asset, its place in the market, does not depend on who trains. A month in which a half has fewer stocks
    than managed portfolios is served as everywhere: Z'Z is singular and x_t the least-norm solution.

    Raises
    ------
    InputError
        In some month a half has fewer stocks than quantiles, or fewer with a return than factors.
    """
    halves: dict[Parity, Half] = {}
    for parity in PARITIES:
        of_half = panel.of_rows(panel.asset_id % 2 == (parity == "odd"))
        _require_stocks(of_half, parity, study)
        constant = study.panel.managed_portfolio_constant
        halves[parity] = Half(parity, of_half, compute_managed_portfolios(of_half, constant=constant))
    return halves


def compute_odd_even(
    config: ModelConfig, study: Study, test_year: int, panel: Panel, macro: MacroSeries | None = None
) -> pl.DataFrame:
    """Train on either half in the window of ``test_year``, test on both halves: 2 x 2, month by month.

    The paper splits training and test sample by permno and says no more. Open is where f_t of the test
    year comes from when a model trained on one half is tested on the other. We estimate it from the half
    that the model was trained on. Its factors are functions of the x_t of those stocks, and so are the risk
    premia, means of them: x_t of other stocks would be other portfolios under the same name. And
    it makes the test on the other half a strict one: no return that is to be explained has entered f_t,
    whereas factors read off the tested stocks would explain part of those stocks' own noise.

    **Timing.** The model sees the training half in the years of the window; in the test year expected returns
    use what was known at t-1.

    Parameters
    ----------
    panel, macro
        Exactly the years of the window and the test year.

    Returns
    -------
    DataFrame
        `KEYS`, ``month``, ``stocks``, then of that month ``sum_of_squares`` of returns,
        ``total_squared_error`` of fitted returns (null for a forecaster), ``predictive_squared_error`` of
        expected returns, and before costs the returns of ``{long_short,long_only}_{equal,value}`` (decimal).
    """
    window = window_for(study, test_year)
    halves = split_odd_even(panel, study)
    parts = []
    for trained in halves.values():
        samples = split_estimation(
            window, trained.panel.between(*window.estimation), trained.managed.between(*window.estimation),
            macro and macro.between(*window.estimation),
        )  # fmt: skip
        fitted = fit_family(config, study.number_of_factors, samples, study.training)
        for tested in halves.values():
            predictions = _predict_across(fitted, (trained, tested), study, macro)
            parts.append(
                _sums_by_month(predictions, study).select(
                    *MODEL,
                    pl.lit(trained.parity).alias("trained_on"),
                    pl.lit(tested.parity).alias("tested_on"),
                    pl.exclude(MODEL),
                )
            )
    return pl.concat(parts)


def pool_odd_even(by_month: pl.DataFrame) -> pl.DataFrame:
    """*memory*, table .9: R2 and Sharpe ratios of the four scenarios, pooled over all months of the table.

    Returns
    -------
    DataFrame
        `KEYS`, ``months``, ``total_r2`` (null for a forecaster), ``predictive_r2`` (decimal), and annual
        Sharpe ratios before costs, ``sharpe_{long_short,long_only}_{equal,value}``.
    """
    squares, total = pl.col("sum_of_squares"), pl.col("total_squared_error")
    strategies = [name for name in by_month.columns if name.startswith(STRATEGIES)]
    return by_month.group_by(KEYS, maintain_order=True).agg(
        months=pl.len(),
        total_r2=pl.when(total.null_count() == 0).then(1 - total.sum() / squares.sum()),
        predictive_r2=1 - pl.col("predictive_squared_error").sum() / squares.sum(),
        **{f"sharpe_{name}": sharpe_ratio(pl.col(name)) for name in strategies},
    )


def _predict_across(
    fitted: FittedFamily, halves: tuple[Half, Half], study: Study, macro: MacroSeries | None
) -> pl.DataFrame:
    """Stocks of the second half in the test year, with f_t and x_t of the first, which trained."""
    trained, tested = halves
    year = fitted.window.test_year
    managed = trained.managed.between(year - study.lookback_years, year)
    stocks = {half.parity: half.panel.between(year, year) for half in (trained, tested)}
    return predict_test_year(
        fitted,
        Sample(
            stocks[tested.parity],
            managed,
            macro,
            history=tested.panel.between(year - study.lookback_years, year),
        ),
        factors_from=Sample(stocks[trained.parity], managed, macro),
    )


def _sums_by_month(predictions: pl.DataFrame, study: Study) -> pl.DataFrame:
    outcome, fitted, expected = (
        pl.col(name) for name in ("excess_return", "fitted_return", "expected_return")
    )
    group = [*MODEL, "month"]
    sums = (
        predictions.filter(outcome.is_not_null())
        .group_by(group, maintain_order=True)
        .agg(
            stocks=pl.len(),
            sum_of_squares=(outcome**2).sum(),
            total_squared_error=pl.when(fitted.null_count() == 0).then(((outcome - fitted) ** 2).sum()),
            predictive_squared_error=((outcome - expected) ** 2).sum(),
        )
    )
    returns = compute_portfolio_returns(predictions, study.portfolios, study.costs).filter(
        pl.col("portfolio").is_in(STRATEGIES)
    )
    for name in STRATEGIES:
        for weights in study.portfolios.weights:
            of_strategy = returns.filter(portfolio=name, weights=weights)
            column = of_strategy.select(*group, pl.col("return").alias(f"{name}_{weights}"))
            sums = sums.join(column, on=group, how="left", maintain_order="left")
    return sums


def _require_stocks(panel: Panel, parity: Parity, study: Study) -> None:
    """Enough to sort, and enough returns for f_t to be determined."""
    known = np.diff(panel.offsets)
    there = np.diff(np.concatenate([[0], np.cumsum(~np.isnan(panel.excess_return))])[panel.offsets])
    quantiles, factors = study.portfolios.quantiles, max(study.number_of_factors)
    thin = np.flatnonzero((known < quantiles) | (there < factors))
    if len(thin):
        raise InputError(
            f"{known[thin[0]]} stock(s) with {parity} asset ids, {there[thin[0]]} of them with a return, "
            "are too few for the odd-even check",
            where=f"panel, {len(thin)} month(s), the first {panel.months[thin[0]]}",
            expected=f"in each half and month at least {quantiles} stocks (portfolios.quantiles) and "
            f"{factors} with a return (number_of_factors)",
            remedy="switch robustness.odd_even off, widen the universe, or lower quantiles or factors in the "
            "study file",
        )
