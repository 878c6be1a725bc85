"""The simulated market: what it calls the truth is the truth, and its files are a market.

Loadings are recomputed by the definitions, stock by stock; prices, returns and statements must agree with
each other as those of a real file would.
"""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest
from scipy.stats import rankdata

from seqpricing_core.sources.simulated import (
    DRIVERS,
    FACTOR_MEAN,
    LINEAR,
    REGIME_STAY,
    true_loadings,
    write_simulated_market,
)
from seqpricing_core.study import SimulatedSource


def loadings_of(c, design):
    """One stock, from the docstring of `true_loadings` and the table of linear weights."""
    size, bm, mom, roe, agr, vol, turn = c
    if design == "linear":
        return [
            1 - 0.10 * size + 0.45 * vol + 0.30 * turn,
            -0.35 * size + 0.70 * bm - 0.50 * agr,
            0.75 * mom + 0.60 * roe - 0.20 * vol,
        ]
    sign = math.copysign(1, roe) if roe else 0
    return [
        1 + 0.5 * (3 * vol**2 - 1) + 0.5 * vol * turn,
        (1.4 * bm if size < 0 else 0) - 0.5 * (3 * agr**2 - 1),
        1.1 * mom * sign + 0.4 * roe,
    ]


def ranks_of(truth):
    """Ranks of the true drivers by scipy among the firms that have them; zero for the others."""
    columns = []
    for name in DRIVERS:
        raw = truth[f"true_{name}"].to_numpy()
        present = np.isfinite(raw)
        ranks = np.zeros(len(raw))
        ranks[present] = 2 * rankdata(raw[present]) / (present.sum() + 1) - 1
        columns.append(ranks)
    return np.column_stack(columns)


def bends_of(truth, last):
    """Stock by stock, how its ranks bent over the year before ``last``; zero where it did not exist."""
    months = [m for m in truth["month"].unique().sort() if m <= last][-13:-1]
    known = {}
    for age, month in enumerate(months):
        rows = truth.filter(pl.col("month") == month)
        for asset, of_stock in zip(rows["asset_id"], ranks_of(rows), strict=True):
            known[asset, age] = of_stock
    bends = []
    for asset in truth.filter(pl.col("month") == last)["asset_id"]:
        old, middle, new = (
            sum(known.get((asset, age), np.zeros(7)) for age in range(first, first + 4)) / 4
            for first in (0, 4, 8)
        )
        bends.append(np.clip(5 * (middle - (old + new) / 2), -1, 1))
    return np.array(bends)


@pytest.fixture(scope="module", params=["linear", "nonlinear", "path"])
def market(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("market")
    source = SimulatedSource(kind="simulated", seed=2, stocks=120, loadings=request.param)
    write_simulated_market(source, 2000, 2007, folder)
    names = ("stock_months", "statements", "factors", "truth")
    return request.param, {name: pl.read_parquet(folder / f"{name}.parquet") for name in names}


class TestTruth:
    @pytest.mark.parametrize("design", ["linear", "nonlinear"])
    def test_loadings(self, design):
        c = np.random.default_rng(0).uniform(-1, 1, size=(50, 7))
        expected = [loadings_of(row, design) for row in c]
        np.testing.assert_allclose(true_loadings(c, design), expected, atol=1e-12)
        assert LINEAR.shape == (3, len(DRIVERS))

    def test_loadings_of_the_file(self, market):
        design, tables = market
        last = dt.date(2004, 5, 31)
        truth = tables["truth"].filter(pl.col("month") == last)
        c = bends_of(tables["truth"], last) if design == "path" else ranks_of(truth)
        expected = [loadings_of(row, "linear" if design == "path" else design) for row in c]
        np.testing.assert_allclose(truth.select("beta_1", "beta_2", "beta_3"), expected, atol=1e-12)

    def test_only_a_path_is_hidden_from_its_last_value(self, market):
        """Share of the loadings' variance that a regression on last ranks and their squares explains."""
        design, tables = market
        parts = [rows for _, rows in tables["truth"].group_by("month", maintain_order=True)]
        c = np.concatenate([ranks_of(rows) for rows in parts])
        beta = np.concatenate([rows.select("beta_1", "beta_2", "beta_3").to_numpy() for rows in parts])
        known, beta = np.hstack([c, c**2 - (c**2).mean(axis=0)]), beta - beta.mean(axis=0)
        missed = beta - known @ np.linalg.lstsq(known, beta, rcond=None)[0]
        explained = 1 - (missed**2).sum(axis=0) / (beta**2).sum(axis=0)
        if design == "path":
            assert (explained < 0.05).all()
        else:
            assert explained.mean() > 0.4

    def test_expected_and_fitted_returns(self, market):
        """Beta' f, and beta' mu with mu of a bull or of a bear market: one regime per month, both occur."""
        truth = market[1]["truth"]
        stay, go = REGIME_STAY, 1 - REGIME_STAY
        regimes = [stay * FACTOR_MEAN[0] + go * FACTOR_MEAN[1], go * FACTOR_MEAN[0] + stay * FACTOR_MEAN[1]]
        seen = set()
        for _, rows in truth.group_by("month", maintain_order=True):
            beta = rows.select("beta_1", "beta_2", "beta_3").to_numpy()
            factors = rows.select("factor_1", "factor_2", "factor_3").to_numpy()
            np.testing.assert_allclose(rows["fitted_return"], (beta * factors).sum(axis=1), atol=1e-12)
            assert (factors == factors[0]).all()
            fits = [np.allclose(rows["expected_return"], beta @ mu, atol=1e-12) for mu in regimes]
            assert sum(fits) == 1
            seen.add(fits.index(True))
        assert seen == {0, 1}

    def test_factors_are_what_the_premia_say(self, tmp_path):
        """A century of months: in bull and in bear markets the factors' means are mu, within 4 errors."""
        source = SimulatedSource(kind="simulated", seed=4, stocks=20)
        write_simulated_market(source, 1900, 2009, tmp_path)
        truth = pl.read_parquet(tmp_path / "truth.parquet")
        stay, go = REGIME_STAY, 1 - REGIME_STAY
        bull, bear = stay * FACTOR_MEAN[0] + go * FACTOR_MEAN[1], go * FACTOR_MEAN[0] + stay * FACTOR_MEAN[1]
        factors = {"bull": [], "bear": []}
        for _, rows in truth.group_by("month", maintain_order=True):
            beta = rows.select("beta_1", "beta_2", "beta_3").to_numpy()
            regime = "bull" if np.allclose(rows["expected_return"], beta @ bull, atol=1e-12) else "bear"
            factors[regime].append(rows.select("factor_1", "factor_2", "factor_3").row(0))
        for regime, mu in (("bull", bull), ("bear", bear)):
            sample = np.array(factors[regime])
            assert len(sample) > 300
            error = sample.std(axis=0) / math.sqrt(len(sample))
            assert (error < 0.004).all()
            assert (np.abs(sample.mean(axis=0) - mu) < 4 * error).all()

    def test_returns_scatter_around_what_is_fitted(self, market):
        """R - rf - beta' f: mean near zero, and total R2 of the truth in the 15-45% of METHODS, 9."""
        tables = market[1]
        rows = (
            tables["stock_months"]
            .join(tables["factors"], on="month")
            .join(tables["truth"], on=["asset_id", "month"])
        )
        assert len(rows) == len(tables["stock_months"])
        excess = rows["ret"] - rows["risk_free"]
        noise = (excess - rows["fitted_return"]).to_numpy()
        assert abs(noise.mean()) < 4 * noise.std() / math.sqrt(len(noise))
        assert 0.15 < 1 - (noise**2).sum() / (excess**2).sum() < 0.45
        assert ((noise - noise.mean()) ** 4).mean() / noise.var() ** 2 > 3.5  # fat tails

    def test_the_market_factor_is_the_first(self, market):
        tables = market[1]
        both = tables["factors"].join(tables["truth"].unique("month"), on="month")
        assert both["market_excess"].equals(both["factor_1"].alias("market_excess"))


class TestFiles:
    def test_prices_compound_to_returns(self, market):
        """Close over the close of the month before is 1 + r; there are no dividends and no splits."""
        rows = market[1]["stock_months"].sort("asset_id", "month").with_columns(
            before=pl.col("price").shift(1).over("asset_id"),
        ).drop_nulls("before")  # fmt: skip
        np.testing.assert_allclose(rows["price"] / rows["before"], 1 + rows["ret"], rtol=1e-9)
        assert (rows["high"] >= rows["price"]).all()

    def test_daily_aggregates_belong_to_the_month(self, market):
        """The largest daily return cannot exceed the root of the sum of squares; 21 days compound to r."""
        rows = market[1]["stock_months"]
        assert (rows["maximum_daily_return"] ** 2 <= rows["sum_squared_daily_returns"] + 1e-12).all()
        assert (rows["maximum_daily_return"] >= (1 + rows["ret"]) ** (1 / 21) - 1 - 1e-12).all()
        assert rows["zero_volume_days"].is_between(0, 21).all()
        assert (rows["trading_days"] == 21).all()

    def test_shares_change_with_the_quarter_only(self, market):
        rows = market[1]["stock_months"].sort("asset_id", "month").with_columns(
            shares=pl.col("market_equity") / pl.col("price"),
        ).with_columns(ratio=pl.col("shares") / pl.col("shares").shift(1).over("asset_id"))  # fmt: skip
        changed = rows.filter((pl.col("ratio") - 1).abs() > 1e-9)
        assert set(changed["month"].dt.month()) == {3, 6, 9, 12}
        filed = market[1]["statements"].join(
            rows, left_on=["asset_id", "period_end"], right_on=["asset_id", "month"], suffix="_true"
        ).drop_nulls("shares")  # fmt: skip
        np.testing.assert_allclose(filed["shares"], filed["shares_true"], rtol=1e-9)

    def test_statements_balance_and_are_filed_late(self, market):
        filed = market[1]["statements"]
        complete = filed.drop_nulls("liabilities")
        np.testing.assert_allclose(complete["assets"], complete["book_equity"] + complete["liabilities"])
        days = (filed["available_from"] - filed["period_end"]).dt.total_days()
        assert (days.min(), days.max()) == (20, 75)
        assert set(filed["period_end"].dt.month()) == {3, 6, 9, 12}
        share_missing = filed["revenue"].null_count() / len(filed)
        assert 0.01 < share_missing < 0.035

    def test_firms_come_and_go(self, market):
        """At any time 120; an asset id is one firm, in months without a gap."""
        rows = market[1]["stock_months"]
        assert set(rows.group_by("month").len()["len"]) == {120}
        assert rows["asset_id"].n_unique() > 140
        spans = rows.group_by("asset_id").agg(
            pl.len(), pl.col("month").min().alias("first"), pl.col("month").max().alias("last")
        )
        months = (
            (spans["last"].dt.year() - spans["first"].dt.year()) * 12
            + spans["last"].dt.month().cast(pl.Int32) - spans["first"].dt.month().cast(pl.Int32) + 1
        )  # fmt: skip
        assert (months == spans["len"].cast(pl.Int32)).all()
