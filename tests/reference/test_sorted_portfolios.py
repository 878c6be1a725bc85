"""Sorts, weights, returns, turnover, costs against slow loops, numpy, pandas and published formulas."""

from __future__ import annotations

import datetime as dt
import itertools
import math

import numpy as np
import pandas as pd
import polars as pl
import pytest

from seqpricing_core.portfolios import assign_quantiles, compute_portfolio_returns, iterate_portfolio_returns
from seqpricing_core.study import Costs, Portfolios

KEYS = ["family", "number_of_factors", "weights", "portfolio", "month"]


@pytest.fixture(scope="module")
def market() -> pl.DataFrame:
    """Two models, 15 months, about 60 stocks that come and go; some without size, return or exchange."""
    random = np.random.default_rng(11)
    months = pl.date_range(dt.date(2003, 6, 1), dt.date(2004, 8, 1), "1mo", eager=True).dt.month_end()
    size = np.exp(random.normal(20, 2, 90))
    tables = []
    for family, factors in (("gru", 0), ("ipca", 1), ("ipca", 4)):
        for month in months:
            ids = np.sort(random.choice(90, random.integers(50, 70), replace=False))
            market_equity = size[ids] * np.exp(random.normal(0, 0.1, len(ids)))
            market_equity[random.random(len(ids)) < 0.05] = np.nan
            outcome = random.standard_t(4, len(ids)) * 0.08
            outcome = np.maximum(outcome, -0.95)
            outcome[random.random(len(ids)) < 0.04] = np.nan
            exchange = np.where(ids % 3 == 0, 1, np.where(ids % 3 == 1, 3, 2)).tolist()
            exchange[0] = None
            tables.append(pl.DataFrame({
                "family": family,
                "number_of_factors": pl.Series([factors] * len(ids), dtype=pl.Int32),
                "month": month, "asset_id": ids + 10_000,
                # Rounded: ties.
                "expected_return": random.normal(0, 0.01, len(ids)).round(3),
                "fitted_return": None, "excess_return": pl.Series(outcome).fill_nan(None),
                "market_equity": pl.Series(market_equity).fill_nan(None),
                "exchange": pl.Series(exchange, dtype=pl.Int32),
                "half_spread": 0.001 + 0.01 * random.random(len(ids)),
            }))  # fmt: skip
    return pl.concat(tables)


def slow_returns(market, portfolios, level) -> dict:  # noqa: C901
    """Plain Python, stock by stock, from the words of METHODS and the papers; nothing of ours."""
    found = {}
    q = portfolios.quantiles
    rows = market.sort("family", "number_of_factors", "month", "asset_id").to_dicts()
    for model, of_model in itertools.groupby(rows, lambda r: (r["family"], r["number_of_factors"])):
        months = [(m, list(of)) for m, of in itertools.groupby(of_model, lambda r: r["month"])]
        for weighting in portfolios.weights:
            drifted, grown, spread_of = {}, {}, {}
            for month, stocks in months:
                sized = [s["market_equity"] for s in stocks if s["market_equity"] and s["exchange"] == 1]
                if portfolios.micro_cap_percentile is not None:
                    limit = np.percentile(sized, portfolios.micro_cap_percentile)
                    stocks = [s for s in stocks if (s["market_equity"] or 0) >= limit]  # noqa: PLW2901
                cap = np.percentile(sized, portfolios.weight_cap_percentile)
                ordered = sorted(stocks, key=lambda s: (s["expected_return"], s["asset_id"]))
                setting = [portfolios.breakpoints == "all" or s["exchange"] == 1 for s in ordered]
                held = {}
                for place, stock in enumerate(ordered):
                    number = min(sum(setting[:place]) * q // sum(setting), q - 1) + 1
                    size = {
                        "equal": 1.0, "value": stock["market_equity"] or 0.0,
                        "capped": min(stock["market_equity"] or 0.0, cap),
                        "rank": abs(place + 1 - (len(ordered) + 1) / 2),
                    }[weighting]  # fmt: skip
                    if stock["excess_return"] is not None:
                        held[stock["asset_id"]] = (number, size, stock["excess_return"])
                spread_of |= {s["asset_id"]: s["half_spread"] for s in stocks}
                by_leg = {}
                for number in range(1, q + 1):
                    leg = {a: (size, r) for a, (n, size, r) in held.items() if n == number}
                    if not any(size for size, _ in leg.values()):
                        assert weighting == "rank"  # the stock in the very middle, alone
                        leg = {a: (1.0, r) for a, (_, r) in leg.items()}
                    total = sum(size for size, _ in leg.values())
                    weight = {a: size / total for a, (size, _) in leg.items()}
                    earned = math.fsum(weight[a] * r for a, (_, r) in leg.items())
                    trade, sequence, paid = [], [], []
                    old, old_grown = drifted.get(number, {}), grown.get(number, {})
                    for a in set(weight) | set(old):
                        trade.append(abs(weight.get(a, 0) - old.get(a, 0)))
                        sequence.append(abs(weight.get(a, 0) - old_grown.get(a, 0)))
                        paid.append(trade[-1] * spread_of[a])
                    by_leg[number] = np.array([earned, *map(math.fsum, (trade, sequence, paid))])
                    drifted[number] = {a: weight[a] * (1 + r) / (1 + earned) for a, (_, r) in leg.items()}
                    grown[number] = {a: weight[a] * (1 + r) for a, (_, r) in leg.items()}
                top, bottom = by_leg[q], by_leg[1]
                strategies = {f"quantile_{n}": v * [1, 1, 0.5, 1] for n, v in by_leg.items()}
                strategies["long_only"] = top * [1, 1, 0.5, 1]
                strategies["short_leg"] = bottom * [-1, 1, 0.5, 1]
                strategies["long_short"] = (bottom * [-1, 1, 1, 1] + top) * [1, 1, 0.25, 1]
                for name, (earned, turnover, sequence, paid) in strategies.items():
                    found[*model, weighting, name, month] = (
                        earned, turnover, earned - level * turnover, sequence, earned - paid,
                    )  # fmt: skip
    return found


ALL_WEIGHTS = ("equal", "value", "capped", "rank")


@pytest.mark.parametrize(
    "portfolios",
    [
        Portfolios(quantiles=5, weights=ALL_WEIGHTS, short_leg=True),
        Portfolios(quantiles=10, weights=ALL_WEIGHTS, breakpoints="nyse", short_leg=True),
        Portfolios(
            quantiles=3, weights=ALL_WEIGHTS, breakpoints="nyse", micro_cap_percentile=20,
            weight_cap_percentile=60, short_leg=True,
        ),
        Portfolios(quantiles=2, weights=ALL_WEIGHTS, micro_cap_percentile=50, short_leg=True),
    ],
    ids=["quintiles", "deciles, NYSE", "terciles, NYSE, no micro-caps", "halves, no small stocks"],
)  # fmt: skip
def test_against_a_slow_loop(market, portfolios):
    table = compute_portfolio_returns(market, portfolios, Costs(basis_points=30, half_spreads=True))
    slow = slow_returns(market, portfolios, 0.003)
    assert len(table) == len(slow)
    measures = ["return", "turnover", "net_return", "turnover_sequence", "net_return_half_spread"]
    ours = table.select(measures).to_numpy()
    theirs = np.array([slow[key] for key in table.select(KEYS).iter_rows()])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_against_pandas(market):
    """Value-weighted deciles by groupby, rank and pivot: no loop over stocks, no code of ours."""
    frame = market.filter(family="ipca", number_of_factors=4).to_pandas()
    frame = frame.sort_values(["month", "expected_return", "asset_id"])
    by_month = frame.groupby("month")["asset_id"]
    frame["quantile"] = by_month.cumcount() * 10 // by_month.transform("size") + 1
    frame = frame[frame["market_equity"].gt(0) & frame["excess_return"].notna()]
    total = frame.groupby(["month", "quantile"])["market_equity"].transform("sum")
    frame["weight"] = frame["market_equity"] / total
    frame["earned"] = frame["weight"] * frame["excess_return"]
    returns = frame.groupby(["month", "quantile"])["earned"].sum().unstack()  # noqa: PD010
    top = frame[frame["quantile"] == 10]
    weights = top.pivot_table(index="month", columns="asset_id", values="weight").fillna(0.0)
    outcome = top.pivot_table(index="month", columns="asset_id", values="excess_return").fillna(0.0)
    drifted = (weights * (1 + outcome)).div(1 + returns[10], axis=0).shift(fill_value=0.0)
    turnover = (weights - drifted).abs().sum(axis=1)

    table = compute_portfolio_returns(market, Portfolios(weights=("value",)), Costs()).filter(
        family="ipca", number_of_factors=4
    )
    of = {name: table.filter(portfolio=name)["return"] for name in table["portfolio"].unique()}
    for q in range(1, 11):
        np.testing.assert_allclose(of[f"quantile_{q}"], returns[q], atol=1e-12)
    np.testing.assert_allclose(table.filter(portfolio="long_only")["turnover"], turnover, atol=1e-12)
    assert isinstance(turnover, pd.Series)
    assert len(turnover) == 15


@pytest.mark.parametrize("quantiles", [2, 3, 5, 10])
def test_breakpoints_are_quantiles_of_nyse_stocks(quantiles):
    """By numpy: the inverse distribution function of NYSE forecasts cuts all stocks; without ties."""
    random = np.random.default_rng(quantiles)
    expected, nyse = random.normal(size=97), random.random(97) < 0.4
    table = pl.DataFrame({
        "family": "gru", "number_of_factors": 0, "month": dt.date(2004, 1, 31), "asset_id": range(97),
        "expected_return": expected, "excess_return": 0.0, "market_equity": 1.0,
        "exchange": np.where(nyse, "NYSE", "NASDAQ"),
    })  # fmt: skip
    levels = np.arange(1, quantiles) / quantiles
    for breakpoints, setting in (("all", expected), ("nyse", expected[nyse])):
        cuts = np.quantile(setting, levels, method="inverted_cdf")
        assigned = assign_quantiles(table, quantiles, breakpoints)
        assert assigned["quantile"].to_list() == (np.searchsorted(cuts, expected, side="left") + 1).tolist()
        assert set(assigned["breakpoints"]) == {breakpoints}


def test_rank_weights_of_two_halves_are_the_factor_of_asness_moskowitz_pedersen():
    """Their eq. 1: w = c (rank - mean rank), one dollar long and one short."""
    random = np.random.default_rng(3)
    for stocks in (30, 31):
        expected, outcome = random.normal(size=stocks), random.normal(0, 0.1, stocks)
        table = pl.DataFrame({
            "family": "gru", "number_of_factors": 0, "month": dt.date(2004, 1, 31), "asset_id": range(stocks),
            "expected_return": expected, "excess_return": outcome, "market_equity": 1.0,
        })  # fmt: skip
        ranks = np.argsort(np.argsort(expected)) + 1.0
        signed = ranks - ranks.mean()
        signed /= np.abs(signed).sum() / 2
        ours = compute_portfolio_returns(table, Portfolios(quantiles=2, weights=("rank",)), Costs())
        assert ours.filter(portfolio="long_short")["return"].item() == pytest.approx(signed @ outcome)


class TestTableByTable:
    """One table of everything is the oracle of any cut by time."""

    OPTIONS = Portfolios(quantiles=5, weights=ALL_WEIGHTS, breakpoints="nyse", micro_cap_percentile=10)
    COSTS = Costs(half_spreads=True, other_basis_points=(10,))

    def test_the_same_numbers_bit_for_bit(self, market):
        whole = compute_portfolio_returns(market, self.OPTIONS, self.COSTS)
        years = [market.filter(pl.col("month").dt.year() == year) for year in (2003, 2004)]
        months = [market.filter(month=month) for month in market["month"].unique().sort()]
        for cut in (years, months, [table.lazy() for table in years]):
            parts = pl.concat(iterate_portfolio_returns(cut, self.OPTIONS, self.COSTS))
            assert parts.sort(KEYS).equals(whole.sort(KEYS))

    def test_a_table_is_asked_for_when_its_turn_comes(self, market):
        """So that no more than one need be in memory."""
        asked = []

        def tables():
            for month in market["month"].unique().sort():
                asked.append(month)
                yield market.filter(month=month).lazy()

        for done, part in enumerate(iterate_portfolio_returns(tables(), self.OPTIONS, self.COSTS), start=1):
            assert len(asked) == done
            assert set(part["month"]) == {asked[-1]}

    def test_families_apart(self, market):
        whole = compute_portfolio_returns(market, self.OPTIONS, self.COSTS)
        alone = [
            compute_portfolio_returns(market.filter(family=family), self.OPTIONS, self.COSTS)
            for family in ("gru", "ipca")
        ]
        assert pl.concat(alone).sort(KEYS).equals(whole.sort(KEYS))
