"""Mean-variance portfolios against the published formula, scipy, and by hand; covariance by numpy."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from scipy.optimize import LinearConstraint, minimize

from seqpricing_core.errors import InputError
from seqpricing_core.portfolios.covariance import past_returns, shrunk_covariance
from seqpricing_core.portfolios.mean_variance import (
    LinearConstraints,
    MeanVariance,
    bounded_mean_variance_weights,
    compute_mean_variance_holdings,
    compute_mean_variance_returns,
    mean_variance_positions,
    mean_variance_weights,
    scale_to_gross,
    scale_to_volatility,
)
from seqpricing_core.study import Costs

ASSETS, SECTORS = 12, 3


@pytest.fixture(params=[1, 2, 3])
def problem(request):
    """Forecasts and C of daily size, a binary sector matrix and a target."""
    random = np.random.default_rng(request.param)
    shocks = random.normal(size=(60, ASSETS)) @ random.normal(size=(ASSETS, ASSETS)) * 0.01
    expected = random.normal(0, 0.001, ASSETS)
    sector = pl.Series([f"s{i % SECTORS}" for i in range(ASSETS)])
    return expected, np.cov(shocks.T) + 1e-5 * np.eye(ASSETS), LinearConstraints.neutral(sector)


class TestClosedForm:
    def test_by_hand(self):
        """C = diag(1, 4), sum of weights 1, mu = 0: minimum variance, 4/5 and 1/5. Free: mu / variance."""
        one = LinearConstraints(np.ones((1, 2)), np.ones(1))
        covariance = np.diag([1.0, 4.0])
        assert mean_variance_weights(np.zeros(2), covariance, one) == pytest.approx([0.8, 0.2])
        free = mean_variance_weights(np.array([1.0, 2.0]), covariance, risk_tolerance=3)
        assert free == pytest.approx([3.0, 1.5])
        neutral = LinearConstraints.neutral(pl.Series(["x", "x"]))
        assert mean_variance_weights(np.array([1.0, 2.0]), covariance, neutral) == pytest.approx([-0.2, 0.2])

    def test_the_sector_matrix(self):
        made = LinearConstraints.neutral(pl.Series(["b", "a", "b"]))
        assert made.matrix.tolist() == [[0, 1, 0], [1, 0, 1]]
        assert made.target.tolist() == [0, 0]

    @pytest.mark.parametrize("target", [0.0, 0.2])
    def test_the_formula_of_the_appendix_word_for_word(self, problem, target):
        """With explicit inverses."""
        mu, c, neutral = problem
        b, d, gamma = neutral.matrix, np.full(SECTORS, target), 2.5
        inverse = np.linalg.inv(c)
        middle = np.linalg.inv(b @ inverse @ b.T)
        expected = inverse @ b.T @ middle @ d + gamma * inverse @ (mu - b.T @ middle @ b @ inverse @ mu)
        found = mean_variance_weights(mu, c, LinearConstraints(b, d), risk_tolerance=gamma)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(b @ found, d, atol=1e-9)

    def test_against_scipy(self, problem):
        mu, c, neutral = problem
        scale = np.diag(c).mean()
        best = minimize(
            lambda w: (w @ c @ w / 2 - w @ mu) / scale, np.zeros(ASSETS), jac=lambda w: (c @ w - mu) / scale,
            constraints=LinearConstraint(neutral.matrix, 0, 0), method="SLSQP",
            options={"maxiter": 1000, "ftol": 1e-16},
        )  # fmt: skip
        found = mean_variance_weights(mu, c, neutral)
        np.testing.assert_allclose(found, best.x, atol=1e-4 * np.abs(found).max())

    def test_a_matrix_without_inverse(self):
        with pytest.raises(InputError, match="cannot be inverted"):
            mean_variance_weights(np.ones(2), np.ones((2, 2)) - 2)


class TestBounds:
    def test_bounds_that_do_not_bind_change_nothing(self, problem):
        mu, c, neutral = problem
        closed = mean_variance_weights(mu, c, neutral, risk_tolerance=0.5)
        wide = 2 * np.abs(closed).max()
        solved = bounded_mean_variance_weights(
            mu,
            c,
            neutral,
            lower=-wide,
            upper=wide,
            largest_gross=2 * np.abs(closed).sum(),
            risk_tolerance=0.5,
        )
        np.testing.assert_allclose(solved, closed, atol=1e-6 * np.abs(closed).max())

    def test_bounds_that_bind(self, problem):
        """Against scipy, which knows nothing of cones: as useful, and inside."""
        mu, c, neutral = problem
        bound = 0.5 * np.abs(mean_variance_weights(mu, c, neutral)).max()
        solved = bounded_mean_variance_weights(mu, c, neutral, lower=-bound, upper=bound)
        scale = np.diag(c).mean()
        best = minimize(
            lambda w: (w @ c @ w / 2 - w @ mu) / scale, np.zeros(ASSETS), jac=lambda w: (c @ w - mu) / scale,
            bounds=[(-bound, bound)] * ASSETS, constraints=LinearConstraint(neutral.matrix, 0, 0),
            method="SLSQP", options={"maxiter": 1000, "ftol": 1e-16},
        )  # fmt: skip
        assert np.abs(solved).max() <= bound * (1 + 1e-6)
        assert np.abs(solved).max() > bound * (1 - 1e-3)
        np.testing.assert_allclose(solved, best.x, atol=1e-3 * bound)

    def test_bounds_that_leave_nothing(self, problem):
        mu, c, _ = problem
        one = LinearConstraints(np.ones((1, ASSETS)), np.ones(1))
        with pytest.raises(InputError, match="no mean-variance portfolio"):
            bounded_mean_variance_weights(mu, c, one, lower=-0.01, upper=0.01)


class TestPositions:
    def test_scaled(self, problem):
        mu, c, neutral = problem
        free = mean_variance_weights(mu, c, neutral)
        weights = mean_variance_positions(mu, c, neutral, None)
        assert np.abs(weights).sum() == pytest.approx(1)
        np.testing.assert_allclose(neutral.matrix @ weights, 0, atol=1e-12)
        np.testing.assert_allclose(weights / weights[0], free / free[0])
        np.testing.assert_allclose(scale_to_gross(free, 2.0), 2 * weights)

    def test_with_a_largest_weight(self, problem):
        mu, c, neutral = problem
        weights = mean_variance_positions(mu, c, neutral, 0.1)
        assert np.abs(weights).max() <= 0.1 + 1e-6
        assert np.abs(weights).sum() <= 1 + 1e-6
        np.testing.assert_allclose(neutral.matrix @ weights, 0, atol=1e-7)
        free = mean_variance_positions(mu, c, neutral, None)
        np.testing.assert_array_equal(mean_variance_positions(mu, c, neutral, 0.99), free)

    def test_volatility(self, problem):
        mu, c, neutral = problem
        weights = scale_to_volatility(mean_variance_weights(mu, c, neutral), c, 0.15, 252)
        paths = np.random.default_rng(0).multivariate_normal(np.zeros(ASSETS), c, 200_000) @ weights
        assert paths.std() * np.sqrt(252) == pytest.approx(0.15, rel=0.01)

    def test_equal_forecasts_leave_nothing_to_hold(self, problem):
        _, c, neutral = problem
        with pytest.raises(InputError, match="neutrality takes away all weights"):
            mean_variance_positions(np.full(ASSETS, 0.01), c, neutral, None)

    def test_the_order_of_assets_does_not_matter(self, problem):
        mu, c, neutral = problem
        order = np.random.default_rng(0).permutation(ASSETS)
        moved = LinearConstraints(neutral.matrix[:, order], neutral.target)
        np.testing.assert_allclose(
            mean_variance_weights(mu[order], c[np.ix_(order, order)], moved),
            mean_variance_weights(mu, c, neutral)[order], rtol=1e-8, atol=1e-12,
        )  # fmt: skip


class TestCovariance:
    @pytest.mark.parametrize("shrinkage", ["ledoit_wolf", "oas"])
    def test_between_the_sample_and_the_identity(self, shrinkage):
        """S* = (1 - a) S + a m I, with m the mean variance; the intensity by the papers' formulas."""
        returns = np.random.default_rng(5).normal(size=(40, 6)) @ np.diag([1, 2, 3, 1, 2, 3.0]) * 0.01
        n, p = returns.shape
        centred = returns - returns.mean(axis=0)
        s = centred.T @ centred / n
        m = np.trace(s) / p
        distance = np.sum((s - m * np.eye(p)) ** 2) / p
        if shrinkage == "ledoit_wolf":
            # Ledoit and Wolf (2004), lemma 3.2-3.4.
            noise = sum(np.sum((np.outer(x, x) - s) ** 2) for x in centred) / p / n**2
            intensity = min(noise, distance) / distance
        else:
            # Chen et al. (2010), eq. 23, without its terms in 2/p, as scikit-learn states.
            square = np.sum(s**2)
            intensity = min(1, (square / p**2 + m**2) / ((n + 1) * (square / p**2 - m**2 / p)))
        expected = (1 - intensity) * s + intensity * m * np.eye(p)
        np.testing.assert_allclose(shrunk_covariance(returns, shrinkage), expected, rtol=1e-10)


MONTHS = pl.date_range(dt.date(2003, 1, 1), dt.date(2004, 6, 1), "1mo", eager=True).dt.month_end()


@pytest.fixture(scope="module")
def panel() -> pl.DataFrame:
    """10 stocks over 18 months; the last joins late, the first leaves early."""
    random = np.random.default_rng(9)
    rows = [
        {
            "family": "lstm", "number_of_factors": 0, "month": month, "asset_id": asset,
            "expected_return": random.normal(0, 0.01), "excess_return": random.normal(0.01, 0.05),
            "market_equity": 1.0, "sector": "tech" if asset % 2 else "banks",
        }
        for t, month in enumerate(MONTHS) for asset in range(10)
        if not (asset == 9 and t < 12) and not (asset == 0 and t > 14)
    ]  # fmt: skip
    return pl.DataFrame(rows).with_columns(pl.col("number_of_factors").cast(pl.Int32))


OPTIONS = MeanVariance(periods=12, minimum_periods=6)


class TestOverTime:
    def test_the_past_only(self, panel):
        ids, matrix = past_returns(panel, MONTHS[14], 12, 6)
        assert matrix.shape == (12, 9)
        assert 9 not in ids  # two months of history
        plain = panel.filter(pl.col("month").is_between(MONTHS[2], MONTHS[13]), asset_id=3).sort("month")
        np.testing.assert_array_equal(matrix[:, 3], plain["excess_return"])

    def test_a_gap_takes_the_mean_of_the_stock(self, panel):
        holed = panel.filter(~((pl.col("asset_id") == 3) & (pl.col("month") == MONTHS[5])))
        _, whole = past_returns(panel, MONTHS[14], 12, 6)
        _, matrix = past_returns(holed, MONTHS[14], 12, 6)
        others = np.delete(whole[:, 3], 3)
        assert matrix[3, 3] == pytest.approx(others.mean())
        assert matrix[:, 3].mean() == pytest.approx(others.mean())

    def test_every_month_by_hand(self, panel):
        """The appendix' formula by numpy, month by month; return, turnover, net return of signed weights."""
        test = panel.filter(pl.col("month") >= MONTHS[12])
        table = compute_mean_variance_returns(test, panel, OPTIONS, Costs(basis_points=50))
        assert table["month"].to_list() == MONTHS[12:].to_list()
        before: dict[int, float] = {}
        for t, found in enumerate(table.iter_rows(named=True), start=12):
            now = test.filter(month=MONTHS[t]).sort("asset_id")
            window = panel.filter(pl.col("month").is_between(MONTHS[t - 12], MONTHS[t - 1]))
            known = [a for a in range(10) if len(window.filter(asset_id=a)) >= 6]
            wide = window.filter(pl.col("asset_id").is_in(known)).pivot(
                "asset_id", index="month", values="excess_return", sort_columns=True
            )
            past = wide.sort("month").drop("month").fill_null(strategy="mean").to_numpy()
            c = shrunk_covariance(past)
            now = now.filter(pl.col("asset_id").is_in(known))
            place = [known.index(a) for a in now["asset_id"]]
            inverse = np.linalg.inv(c[np.ix_(place, place)])
            b = np.array([[s == name for s in now["sector"]] for name in ("banks", "tech")], dtype=float)
            mu = now["expected_return"].to_numpy()
            w = inverse @ (mu - b.T @ np.linalg.solve(b @ inverse @ b.T, b @ inverse @ mu))
            w /= np.abs(w).sum()
            weight = dict(zip(now["asset_id"], w, strict=True))
            outcome = dict(now.select("asset_id", "excess_return").iter_rows())
            earned = sum(weight[a] * outcome[a] for a in weight)
            turnover = sum(abs(weight.get(a, 0) - before.get(a, 0)) for a in weight.keys() | before.keys())
            assert found["return"] == pytest.approx(earned, abs=1e-12)
            assert found["turnover"] == pytest.approx(turnover, abs=1e-10)
            assert found["net_return"] == pytest.approx(earned - 0.005 * turnover, abs=1e-10)
            before = {a: weight[a] * (1 + outcome[a]) / (1 + earned) for a in weight}

    def test_the_future_changes_no_position(self, panel):
        t = MONTHS[14]
        later = pl.when(pl.col("month") >= t).then(pl.col("excess_return") * -3).otherwise("excess_return")
        changed = panel.with_columns(excess_return=later)
        until = pl.col("month").is_between(MONTHS[12], t)
        one, two = (
            compute_mean_variance_holdings(table.filter(until), table, OPTIONS) for table in (panel, changed)
        )
        assert one["weight"].equals(two["weight"])
        assert not one["excess_return"].equals(two["excess_return"])

    def test_neutral_over_all_stocks_where_there_are_no_sectors(self, panel):
        test = panel.filter(pl.col("month") >= MONTHS[12])
        sums = {}
        for name, table in (("sectors", test), ("all", test.drop("sector"))):
            held = compute_mean_variance_holdings(table, panel, OPTIONS)
            odd = (pl.col("asset_id") % 2).alias("odd")
            by_month = held.group_by("month").agg(pl.col("weight").sum())
            np.testing.assert_allclose(by_month["weight"], 0, atol=1e-12)
            sums[name] = held.group_by("month", odd).agg(pl.col("weight").sum())["weight"].abs().max()
        assert sums["sectors"] < 1e-12 < 1e-3 < sums["all"]

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            (lambda p: (p, p.filter(pl.col("month") > MONTHS[9])), "lie before 2004-01-31"),
            (lambda p: (p, pl.concat([p, p])), "several returns in one month"),
            (lambda p: (p.with_columns(sector=pl.lit(None, pl.String)), p), "the sector is missing"),
        ],
    )
    def test_bad_input(self, panel, refuses, change, what):
        predictions, returns = change(panel)
        test = predictions.filter(pl.col("month") >= MONTHS[12])
        refuses(lambda: compute_mean_variance_holdings(test, returns, OPTIONS), what)
