"""What must not change a score or a test, over drawn examples."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from seqpricing_core.evaluation.forecast_measures import compute_forecast_measures
from seqpricing_core.evaluation.monthly_scores import compute_monthly_scores
from seqpricing_core.evaluation.return_measures import compute_drawdowns, compute_return_measures
from seqpricing_core.inference.diebold_mariano import diebold_mariano
from seqpricing_core.inference.grs import gibbons_ross_shanken
from seqpricing_core.inference.intervals import MEAN, SHARPE, bootstrap_interval
from seqpricing_core.inference.ledoit_wolf import ledoit_wolf
from seqpricing_core.inference.newey_west import newey_west_regression
from seqpricing_core.inference.sharpe_difference import jobson_korkie_memmel
from seqpricing_core.portfolios import MODEL

SEEDS = st.integers(0, 2**32 - 1)
SCALES = st.floats(0.01, 100)
FEW = settings(max_examples=25, deadline=None)


def predictions(seed) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    months, stocks = 6, 15
    r = random.standard_t(4, months * stocks) * 0.1
    return pl.DataFrame({
        "family": "ipca", "number_of_factors": 1,
        "month": [dt.date(2001, m + 1, 28) for m in range(months) for _ in range(stocks)],
        "asset_id": list(range(stocks)) * months,
        "expected_return": 0.1 * r + random.normal(0, 0.02, len(r)),
        "fitted_return": 0.4 * r, "excess_return": r,
    })  # fmt: skip


def measured(table):
    return compute_forecast_measures(compute_monthly_scores(table), MODEL).row(0, named=True)


def portfolio(returns) -> pl.DataFrame:
    months = pl.date_range(dt.date(2001, 1, 1), dt.date(2030, 1, 1), "1mo", eager=True).dt.month_end()
    return pl.DataFrame({
        "family": "ipca", "number_of_factors": 1, "weights": "equal", "portfolio": "long_short",
        "month": months[: len(returns)], "return": returns, "turnover": 1.0, "net_return": returns,
    })  # fmt: skip


class TestForecasts:
    @FEW
    @given(SEEDS)
    def test_permuting_assets_changes_nothing(self, seed):
        table = predictions(seed)
        shuffled = table.sample(fraction=1.0, shuffle=True, seed=seed % 1000)
        relabelled = shuffled.with_columns(asset_id=99 - pl.col("asset_id"))
        for name, value in measured(table).items():
            other = measured(relabelled)[name]
            assert other == value or abs(other - value) <= 1e-9 * max(1.0, abs(value))

    @FEW
    @given(SEEDS, st.floats(-0.5, 0.5))
    def test_a_constant_moves_the_bias_and_no_rank(self, seed, constant):
        table = predictions(seed)
        moved = measured(table.with_columns(pl.col("expected_return") + constant))
        before = measured(table)
        assert np.isclose(moved["bias_bp"], before["bias_bp"] + 1e4 * constant)
        # Ranks are of sums in floating point: only what rounding ties may differ.
        assert np.isclose(moved["rank_ic"], before["rank_ic"], atol=1e-6)
        assert moved["total_r2"] == before["total_r2"]

    @FEW
    @given(SEEDS, SCALES)
    def test_units(self, seed, scale):
        """Forecasts and returns in other units: R2 and ranks stay, errors scale."""
        columns = ("expected_return", "fitted_return", "excess_return")
        table = predictions(seed)
        before, after = measured(table), measured(table.with_columns(pl.col(columns) * scale))
        for name in ("total_r2", "predictive_r2", "rank_ic", "rank_icir"):
            assert np.isclose(after[name], before[name])
        assert np.isclose(after["mae"], scale * before["mae"])
        assert np.isclose(after["mse"], scale**2 * before["mse"])


class TestReturns:
    @FEW
    @given(SEEDS, st.floats(0.1, 3))
    def test_leverage(self, seed, scale):
        """Twice the position: ratios to risk stay, risk doubles; compounded drawdowns grow."""
        r = np.random.default_rng(seed).normal(0.005, 0.03, 60)
        before, after = (compute_return_measures(portfolio(x)).row(0, named=True) for x in (r, scale * r))
        for name in ("sharpe", "sortino", "skewness", "kurtosis", "tail_ratio", "hit_rate"):
            assert np.isclose(after[name], before[name])
        for name in ("annual_return", "annual_volatility", "max_drawdown_additive"):
            assert np.isclose(after[name], scale * before[name])
        if scale > 1.01:
            assert after["max_drawdown"] > before["max_drawdown"]

    @FEW
    @given(SEEDS)
    def test_drawdown_dates_are_in_order_and_give_the_depth(self, seed):
        r = np.random.default_rng(seed).normal(0.0, 0.05, 40)
        table = portfolio(r)
        row = compute_drawdowns(table).row(0, named=True)
        assume(row["max_drawdown"] > 0)
        assert row["peak"] < row["trough"]
        assert row["recovery"] is None or row["recovery"] > row["trough"]
        between = table.filter(pl.col("month") > row["peak"], pl.col("month") <= row["trough"])
        assert np.isclose(1 - np.prod(1 + between["return"].to_numpy()), row["max_drawdown"])


class TestTests:
    @FEW
    @given(SEEDS, SCALES, SCALES)
    def test_sharpe_tests_know_no_units_and_change_sign_with_the_order(self, seed, scale_a, scale_b):
        a, b = np.random.default_rng(seed).normal(0.01, 0.05, (2, 60))
        for test in (jobson_korkie_memmel, lambda x, y: ledoit_wolf(x, y, replications=99, block_length=3)):
            before, scaled, swapped = test(a, b), test(scale_a * a, scale_b * b), test(b, a)
            assert np.isclose(scaled.statistic, before.statistic)
            assert np.isclose(scaled.p_value, before.p_value)
            assert np.isclose(swapped.statistic, -before.statistic)
            assert np.isclose(swapped.p_value, before.p_value)

    @FEW
    @given(SEEDS, SCALES)
    def test_grs_knows_no_units_and_no_choice_of_factors_within_their_span(self, seed, scale):
        random = np.random.default_rng(seed)
        f = random.normal(0.005, 0.04, (90, 3))
        r = f @ random.normal(size=(3, 5)) + random.normal(0.001, 0.03, (90, 5))
        rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
        order = random.permutation(5)
        before = gibbons_ross_shanken(r, f)
        after = gibbons_ross_shanken(scale * r[:, order], f @ rotation)
        assert np.isclose(after.statistic, before.statistic)
        assert np.allclose(after.alphas, scale * before.alphas[order])

    @FEW
    @given(SEEDS, SCALES)
    def test_newey_west_and_diebold_mariano_know_no_units(self, seed, scale):
        a, b, f = np.random.default_rng(seed).random((3, 60))
        before, after = diebold_mariano(a, b), diebold_mariano(scale * a, scale * b)
        assert np.isclose(after.statistic, before.statistic)
        assert np.isclose(diebold_mariano(b, a).statistic, -before.statistic)
        t = [newey_west_regression(k * a, f).coefficients[0].statistic for k in (1, scale)]
        assert np.isclose(*t)

    @FEW
    @given(SEEDS, SCALES, st.floats(-1, 1))
    def test_intervals_move_with_the_data(self, seed, scale, constant):
        x = np.random.default_rng(seed).normal(0.01, 0.05, 48)
        before = bootstrap_interval(MEAN, x, replications=99, block_length=2)
        after = bootstrap_interval(MEAN, constant + scale * x, replications=99, block_length=2)
        assert np.allclose(
            [after.low, after.high], [constant + scale * before.low, constant + scale * before.high]
        )
        ratio = [bootstrap_interval(SHARPE, k * x, replications=99, block_length=2) for k in (1, scale)]
        assert np.allclose([ratio[0].low, ratio[0].high], [ratio[1].low, ratio[1].high])
        assert ratio[0].low < ratio[0].estimate < ratio[0].high
