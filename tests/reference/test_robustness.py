"""Odd and even stocks, 2 x 2: against a plain loop, on markets where the four cells are known."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from seqpricing_core.models.configs import IPCA
from seqpricing_core.panel.panel import Panel
from seqpricing_core.robustness import compute_odd_even, pool_odd_even, split_odd_even

CELLS = [("odd", "odd"), ("odd", "even"), ("even", "odd"), ("even", "even")]


@pytest.fixture(scope="module")
def study(make_study):
    return make_study(models={"ipca": {}}, number_of_factors=[2])


def market(gammas: dict[int, np.ndarray], *, noise: float, seed: int = 0, years: int = 5) -> Panel:
    """80 stocks from 2000 on, r = (z, 1) gamma f + noise; one gamma for odd (1), one for even (0) ids."""
    random = np.random.default_rng(seed)
    stocks, months, width = 80, 12 * years, gammas[0].shape[0] - 1
    ranks = 2 * np.arange(1, stocks + 1) / (stocks + 1) - 1
    ids = 100 + np.arange(stocks)
    z = np.stack(
        [np.stack([random.permutation(ranks) for _ in range(width)], axis=1) for _ in range(months)]
    ).astype(np.float32)
    f = random.normal(0.01, 0.05, (months, gammas[0].shape[1]))
    design = np.concatenate([z.astype(float), np.ones((months, stocks, 1))], axis=2)
    r = np.empty((months, stocks))
    for parity, gamma in gammas.items():
        r[:, ids % 2 == parity] = np.einsum("tnq,qk,tk->tn", design, gamma, f)[:, ids % 2 == parity]
    r += noise * random.normal(size=r.shape)
    return Panel(
        characteristic_names=tuple(f"c{j}" for j in range(width)),
        months=np.datetime64("2000-01", "M") + np.arange(months),
        offsets=np.arange(months + 1) * stocks,
        asset_id=np.tile(ids, months),
        characteristics=z.reshape(-1, width),
        excess_return=r.ravel(),
        market_equity=np.exp(random.normal(size=months * stocks)),
    )


GAMMA = np.array([[1.0, 0.3], [-0.5, 0.8], [0.2, -0.4], [0.9, 0.1]])


@pytest.fixture(scope="module")
def noisy() -> Panel:
    return market({0: GAMMA, 1: GAMMA}, noise=0.08)


@pytest.fixture(scope="module")
def by_month(noisy, study):
    return compute_odd_even(IPCA(), study, 2004, noisy)


def test_four_cells_of_every_month(by_month):
    assert by_month.select("trained_on", "tested_on").unique(maintain_order=True).rows() == CELLS
    assert len(by_month) == 4 * 12
    assert by_month["stocks"].unique().to_list() == [40]
    assert by_month["number_of_factors"].unique().to_list() == [2]


def test_plain_loop(noisy, study, by_month):
    """IPCA's first-order conditions and every return by least squares on lists of stocks of one parity."""
    pooled = pool_odd_even(by_month)
    month = (noisy.months.astype("datetime64[Y]").astype(int) + 1970).repeat(80)
    design = np.column_stack([noisy.characteristics.astype(float), np.ones(len(noisy))])
    odd = noisy.asset_id % 2 == 1
    for trained, tested in CELLS:
        own, others = odd == (trained == "odd"), odd == (tested == "odd")
        gamma = slow_ipca(design, noisy.excess_return, own & (month < 2004), factors=2)
        factors, squares, total, predictive = [], 0.0, 0.0, 0.0
        for t in range(60):
            of_month = np.zeros(len(noisy), dtype=bool)
            of_month[t * 80 : (t + 1) * 80] = True
            here, there = own & of_month, others & of_month
            f = np.linalg.lstsq(design[here] @ gamma, noisy.excess_return[here], rcond=None)[0]
            if t >= 48:
                for row in np.flatnonzero(there):
                    beta, r = design[row] @ gamma, noisy.excess_return[row]
                    squares += r**2
                    total += (r - beta @ f) ** 2
                    predictive += (r - beta @ np.mean(factors, axis=0)) ** 2
            factors.append(f)
        cell = pooled.filter(trained_on=trained, tested_on=tested).row(0, named=True)
        assert cell["months"] == 12
        assert cell["total_r2"] == pytest.approx(1 - total / squares, abs=2e-6)
        assert cell["predictive_r2"] == pytest.approx(1 - predictive / squares, abs=2e-6)


def slow_ipca(design, r, rows, factors):
    """Alternating least squares on stock-months themselves: regressions of r on Z gamma, then on z x f."""
    months = [np.flatnonzero(rows[t * 80 : (t + 1) * 80]) + t * 80 for t in range(60)]
    months = [month for month in months if len(month)]
    gamma = np.eye(design.shape[1])[:, :factors] + 0.1
    for _ in range(300):
        f = [np.linalg.lstsq(design[m] @ gamma, r[m], rcond=None)[0] for m in months]
        wide = np.concatenate(
            [np.einsum("nq,k->nqk", design[m], g).reshape(len(m), -1) for m, g in zip(months, f, strict=True)]
        )
        gamma = np.linalg.lstsq(wide, np.concatenate([r[m] for m in months]), rcond=None)[0].reshape(
            -1, factors
        )
        gamma = np.linalg.qr(gamma)[0]
    return gamma


class TestKnownMarkets:
    def test_one_truth_without_noise_is_explained_in_all_four_cells(self, study):
        pooled = pool_odd_even(compute_odd_even(IPCA(), study, 2004, market({0: GAMMA, 1: GAMMA}, noise=0.0)))
        np.testing.assert_allclose(pooled["total_r2"], 1.0, atol=1e-9)

    def test_two_truths_are_told_apart(self, study):
        """Where even stocks load the other way round, a model of odd ones explains odd ones only."""
        pooled = pool_odd_even(
            compute_odd_even(IPCA(), study, 2004, market({0: -GAMMA, 1: GAMMA}, noise=0.0))
        )
        found = {(r["trained_on"], r["tested_on"]): r["total_r2"] for r in pooled.iter_rows(named=True)}
        assert found["odd", "odd"] == pytest.approx(1.0)
        assert found["even", "even"] == pytest.approx(1.0)
        # beta' f has the wrong sign: the error is 2 r, and R2 is 1 - 4.
        assert found["odd", "even"] == pytest.approx(-3.0)
        assert found["even", "odd"] == pytest.approx(-3.0)

    def test_the_other_half_is_out_of_sample_in_f_as_well(self, study):
        """Pure noise: own factors explain K / N of the own half's, and harm the other by as much."""
        noise = market({0: 0 * GAMMA, 1: 0 * GAMMA}, noise=0.1, seed=5)
        pooled = pool_odd_even(compute_odd_even(IPCA(), study, 2004, noise))
        own = pl.col("trained_on") == pl.col("tested_on")
        assert pooled.filter(own)["total_r2"].to_list() == pytest.approx([2 / 40, 2 / 40], abs=0.02)
        assert pooled.filter(~own)["total_r2"].max() < 0


class TestWhoSeesWhom:
    def test_returns_of_the_other_half_reach_no_model(self, noisy, study, by_month):
        """Every even return replaced: what odd stocks taught and were tested on is the same bit for bit."""
        random = np.random.default_rng(1)
        even = noisy.asset_id % 2 == 0
        other = np.where(even, random.normal(0, 0.2, len(noisy)), noisy.excess_return)
        changed = compute_odd_even(IPCA(), study, 2004, replace(noisy, excess_return=other))
        same = pl.col("trained_on").eq("odd") & pl.col("tested_on").eq("odd")
        assert changed.filter(same).equals(by_month.filter(same))
        assert not changed.filter(~same).equals(by_month.filter(~same))

    def test_the_test_year_reaches_no_forecast(self, noisy, study):
        """The first test month's forecasts know nothing of the test year."""
        later = np.where(np.arange(len(noisy)) >= 49 * 80, 0.5, noisy.excess_return)
        column = "predictive_squared_error"
        one, other = (
            compute_odd_even(IPCA(), study, 2004, panel).group_by("trained_on", "tested_on").first()
            for panel in (noisy, replace(noisy, excess_return=later))
        )
        keys = ["trained_on", "tested_on"]
        assert one.sort(keys)[column].equals(other.sort(keys)[column])

    def test_managed_portfolios_are_those_of_the_half(self, noisy, study):
        """By numpy's least squares on the stocks of the half."""
        for parity, half in split_odd_even(noisy, study).items():
            assert set(half.panel.asset_id % 2) == {int(parity == "odd")}
            for t in (0, 59):
                rows = np.flatnonzero(noisy.asset_id[t * 80 : t * 80 + 80] % 2 == (parity == "odd")) + t * 80
                z = np.column_stack([noisy.characteristics[rows].astype(float), np.ones(40)])
                x = np.linalg.lstsq(z, noisy.excess_return[rows], rcond=None)[0]
                np.testing.assert_allclose(half.managed.x[t], x, atol=1e-12)


class TestPooling:
    def test_years_pool_by_their_sums(self, noisy, study, by_month):
        """R2 over two years is that of all their stock-months, no mean of two ratios."""
        second = by_month.with_columns(
            pl.col("month").dt.offset_by("1y"),
            pl.col("sum_of_squares") * 9,
            pl.col("total_squared_error") * 2,
        )
        pooled = pool_odd_even(pl.concat([by_month, second]))
        assert pooled["months"].to_list() == [24] * 4
        one = pool_odd_even(by_month)["total_r2"]
        np.testing.assert_allclose(pooled["total_r2"], 1 - (1 - one.to_numpy()) * 3 / 10)

    def test_sharpe_ratios_by_the_standard_library(self, by_month):
        pooled = pool_odd_even(by_month)
        for name in ("long_short_equal", "long_only_equal", "long_short_value", "long_only_value"):
            returns = by_month.filter(trained_on="even", tested_on="odd")[name].to_list()
            cell = pooled.filter(trained_on="even", tested_on="odd")[f"sharpe_{name}"].item()
            assert cell == pytest.approx(statistics.mean(returns) / statistics.stdev(returns) * 12**0.5)


class TestSmallHalves:
    def test_fewer_stocks_than_quantiles(self, noisy, study, refuses):
        few = noisy.of_rows((noisy.asset_id % 2 == 1) | (noisy.asset_id < 108))
        refuses(
            lambda: compute_odd_even(IPCA(), study, 2004, few),
            "4 stock(s) with even asset ids", "60 month(s), the first 2000-01", "at least 5 stocks",
        )  # fmt: skip

    def test_fewer_returns_than_factors(self, noisy, study, refuses):
        gone = noisy.excess_return.copy()
        gone[50 * 80 : 51 * 80 - 1] = np.nan  # odd ids end the month
        refuses(
            lambda: compute_odd_even(IPCA(), study, 2004, replace(noisy, excess_return=gone)),
            "40 stock(s) with odd asset ids, 1 of them with a return", "1 month(s), the first 2004-03",
        )  # fmt: skip

    def test_fewer_stocks_than_managed_portfolios_have_the_least_norm_solution(self, small, study):
        """35 stocks and 41 portfolios: x_t explains every return exactly, and is the shortest that does."""
        panel = small.panels[2004]
        half = split_odd_even(panel, study)["odd"]
        assert half.managed.stocks.max() < half.managed.x.shape[1]
        of_half = half.panel.with_returns()
        z = np.column_stack(
            [of_half.characteristics[of_half.rows(0)].astype(float), np.ones(half.managed.stocks[0])]
        )
        expected = np.linalg.pinv(z, rcond=1e-6) @ of_half.excess_return[of_half.rows(0)]
        np.testing.assert_allclose(half.managed.x[0], expected, atol=1e-6)
        by_month = compute_odd_even(IPCA(), study, 2004, small.panel(2000, 2004))
        assert by_month.select(pl.col("total_squared_error").is_finite().all()).item()
