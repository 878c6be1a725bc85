"""Monotonic relation, exposures and rank correlations against slow loops, scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.stats
import statsmodels.api as sm

from seqpricing_core.evaluation.factor_returns import FactorReturns
from seqpricing_core.inference.alphas import compute_exposures
from seqpricing_core.inference.intervals import resampled_months
from seqpricing_core.inference.monotonicity import monotonic_relation
from seqpricing_core.portfolios import STRATEGY


def test_against_a_plain_loop_over_resamples():
    returns = np.random.default_rng(3).normal(0, 0.04, (90, 4)) + np.array([0.0, 0.01, 0.02, 0.025])
    found = monotonic_relation(returns, replications=199, block_length=4, seed=5)
    drawn = resampled_months(90, 4, 199, 5)
    steps = [[returns[:, q + 1].mean() - returns[:, q].mean() for q in range(3)]]
    for months in drawn:
        sample = returns[months]
        steps.append([sample[:, q + 1].mean() - sample[:, q].mean() for q in range(3)])
    actual, resampled = np.array(steps[0]), np.array(steps[1:])
    errors = np.array([np.std(resampled[:, q] - actual[q], ddof=1) for q in range(3)])
    statistic = min(actual / errors)
    as_large = sum(min((star - actual) / errors) >= statistic for star in resampled)
    assert found.statistic == pytest.approx(statistic)
    assert found.p_value == pytest.approx((1 + as_large) / 200)
    assert found.rises == (actual > 0).sum()
    assert found.smallest_step == pytest.approx(actual.min())


def test_two_portfolios_are_a_test_of_their_difference():
    """With one step, p is near the one-sided p of a t-test of the mean step (independent months)."""
    random = np.random.default_rng(8)
    returns = random.normal(0, 0.04, (300, 2)) + np.array([0.0, 0.004])
    found = monotonic_relation(returns, replications=1999, block_length=1)
    test = scipy.stats.ttest_1samp(returns[:, 1] - returns[:, 0], 0, alternative="greater")
    assert found.p_value == pytest.approx(test.pvalue, abs=0.02)


def test_size_and_power():
    """All portfolios equal is the hardest null: about one in twenty rejects. A steep line is found."""
    random = np.random.default_rng(0)
    flat, steep = [], []
    for world in range(200):
        noise = random.normal(0, 0.02, (120, 5)) + random.normal(0, 0.04, (120, 1))
        options = {"replications": 199, "block_length": 1, "seed": world}
        flat.append(monotonic_relation(noise, **options).p_value <= 0.05)
        steep.append(monotonic_relation(noise + 0.01 * np.arange(5), **options).p_value <= 0.05)
    assert np.mean(flat) == pytest.approx(0.05, abs=0.04)
    assert np.mean(steep) > 0.9


def test_equal_portfolios_have_no_test(refuses):
    column = np.random.default_rng(1).normal(size=(40, 1))
    refuses(lambda: monotonic_relation(np.hstack([column, column])), "step from portfolio 1 to 2")


def test_exposures_against_statsmodels():
    random = np.random.default_rng(2)
    months = pl.date_range(pl.date(2000, 1, 1), pl.date(2009, 12, 1), "1mo", eager=True).dt.month_end()
    names = ("market", "smb", "hml")
    factors = random.normal(0.005, 0.04, (120, 3))
    returns = 0.002 + factors @ [1.2, 0.3, -0.5] + random.normal(0, 0.02, 120)
    table = pl.DataFrame({"month": months, **dict(zip(names, factors.T, strict=True))})
    found = compute_exposures(
        pl.DataFrame({"month": months, "return": returns}), FactorReturns.from_table(table), lags=3
    )
    fit = sm.OLS(returns, sm.add_constant(factors)).fit(
        cov_type="HAC", cov_kwds={"maxlags": 3, "use_correction": False}
    )
    assert found["factor_model"].unique().to_list() == ["FF3"], "the largest that the factors allow"
    assert found["factor"].to_list() == list(names)
    assert found["beta"].to_list() == pytest.approx(fit.params[1:])
    assert found["t_statistic"].to_list() == pytest.approx(fit.tvalues[1:])
    assert found["r_squared"].to_list() == pytest.approx([fit.rsquared] * 3)


def test_no_factors_no_exposures():
    months = pl.date_range(pl.date(2000, 1, 1), pl.date(2001, 12, 1), "1mo", eager=True).dt.month_end()
    assert not len(compute_exposures(pl.DataFrame({"month": months, "return": [0.01] * 24}), None))


def test_rank_correlations_against_scipy(results):
    matrix = results.inference.rank_correlations.filter(weights="equal", portfolio="long_short")
    found = {tuple(row[:4]): row[-1] for row in matrix.iter_rows()}
    returns = {
        model: rows["return"].to_numpy()
        for model, rows in results.portfolio_returns.filter(weights="equal", portfolio="long_short")
        .sort(*STRATEGY, "month")
        .partition_by("family", "number_of_factors", as_dict=True)
        .items()
    }
    assert len(found) == len(returns) ** 2
    for a, left in returns.items():
        for b, right in returns.items():
            assert found[(*a, *b)] == pytest.approx(scipy.stats.spearmanr(left, right).statistic)
