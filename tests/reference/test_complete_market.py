"""The complete market: what makes vendors' files difficult is in it, and nothing contradicts itself.

Quantities are recomputed here from the canonical files alone, by their definitions.
"""

from __future__ import annotations

import datetime as dt
import itertools

import numpy as np
import polars as pl
import pytest

from seqpricing_core.sources import CanonicalFiles
from seqpricing_core.sources.simulated import DRIVERS, write_simulated_market
from seqpricing_core.sources.simulated.delisting import Delistings
from seqpricing_core.sources.simulated.firms import Listings
from seqpricing_core.study import SimulatedSource

FIRST, LAST = 1999, 2005
NAMES = ("stock_months", "statements", "factors", "stock_days", "factor_days")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("complete")
    source = SimulatedSource(kind="simulated", seed=2, stocks=150, detail="complete", daily=True)
    write_simulated_market(source, FIRST, LAST, folder)
    return folder


@pytest.fixture(scope="module")
def tables(folder):
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in (*NAMES, "truth", "names")}


@pytest.fixture(scope="module")
def stocks(tables):
    """Stock-months in order, each beside the one before."""
    return tables["stock_months"].sort("asset_id", "month").with_columns(
        price_before=pl.col("price").shift(1).over("asset_id"),
        unadjusted_before=pl.col("unadjusted_price").shift(1).over("asset_id"),
        is_first=pl.col("month") == pl.col("month").min().over("asset_id"),
        is_last=pl.col("month") == pl.col("month").max().over("asset_id"),
    )  # fmt: skip


class TestSchema:
    def test_every_year_passes_the_checks_of_the_canonical_tables(self, folder):
        source = CanonicalFiles(*(folder / f"{name}.parquet" for name in NAMES))
        for year, name in itertools.product((FIRST, LAST), NAMES):
            assert len(getattr(source, name)(year)) > 0
        every = {"statements.annual", "statements.quarterly", "stock_days.bid", "factor_days.value",
                 "stock_months.delisting_code", "statements.employees"}  # fmt: skip
        assert every <= source.inputs()


class TestTruth:
    def test_returns_scatter_around_what_is_fitted(self, tables):
        """The realised total R2 of the truth is that of METHODS, 9, and its errors have mean zero."""
        rows = (
            tables["stock_months"]
            .join(tables["factors"], on="month")
            .join(tables["truth"], on=["asset_id", "month"])
            .drop_nulls("ret")
        )
        excess = rows["ret"] - rows["risk_free"]
        noise = (excess - rows["fitted_return"]).to_numpy()
        assert abs(noise.mean()) < 4 * noise.std() / np.sqrt(len(noise))
        assert 0.15 < 1 - (noise**2).sum() / (excess**2).sum() < 0.45

    def test_delisting_risk_is_paid_for(self):
        """A hundred thousand stocks: with those that are dropped, the mean return is what it was without."""
        slots = 100_000
        listings = Listings(1, slots, np.datetime64("2000-01", "M"), complete=True)
        listings.enter(np.arange(slots), np.arange(slots), np.datetime64("2000-01", "M"))
        delistings = Delistings(5)
        ret = np.full(slots, 0.01)
        losers = np.full((slots, 12), -0.15)
        delistings.begin(ret, losers, np.zeros(slots, dtype=bool), listings, drop=True)
        change = delistings.ret - ret
        assert 2000 < delistings.dropped.sum() < 4000
        assert change[delistings.dropped].mean() < -0.3
        assert abs(change.mean()) < 4 * change.std() / np.sqrt(slots)
        assert change[~delistings.dropped].mean() > 0.005

    def test_dropped_stocks_lose(self, tables):
        rows = tables["stock_months"].join(tables["truth"], on=["asset_id", "month"])
        dropped = rows.filter(pl.col("delisting_code") >= 500)
        assert len(dropped) > 10
        assert -0.6 < (dropped["ret"] - dropped["fitted_return"]).mean() < -0.2

    def test_two_classes_of_a_firm_have_one_truth(self, tables):
        rows = tables["stock_months"].join(tables["truth"], on=["asset_id", "month"])
        pairs = rows.filter(pl.len().over("company_id", "month") == 2)
        assert len(pairs) > 100
        spread = pairs.group_by("company_id", "month").agg(
            pl.col("beta_1", "beta_2", "expected_return").n_unique(), pl.col("asset_id").n_unique(),
            gap=pl.col("ret").max() - pl.col("ret").min(),
        )  # fmt: skip
        assert spread["beta_2"].max() == spread["expected_return"].max() == 1
        assert spread["asset_id"].min() == 2
        assert spread["gap"].median() < 0.03

    def test_drivers_are_what_the_files_say(self, tables):
        """Size, last volatility, momentum and asset growth, stock by stock from the files."""
        month, before = dt.date(2004, 3, 31), dt.date(2004, 2, 29)
        months, statements = tables["stock_months"], tables["statements"]
        second = _second_classes(tables["names"])
        truth = tables["truth"].filter(pl.col("month") == month, ~pl.col("asset_id").is_in(second))
        assert list(DRIVERS)[:3] == ["mvel1", "bm", "mom_12"]
        seen = 0
        for row in truth.iter_rows(named=True):
            of_stock = months.filter(pl.col("asset_id") == row["asset_id"], pl.col("month") <= before).sort(
                "month"
            )
            if len(of_stock) < 14:
                continue
            last = of_stock.row(-1, named=True)
            assert row["true_mvel1"] == pytest.approx(np.log(last["market_equity"]))
            volatility = np.sqrt(last["sum_squared_daily_returns"] / last["trading_days"])
            assert row["true_retvol"] == pytest.approx(volatility)
            year = of_stock["ret"][-12:-1]
            if year.null_count() == 0:
                assert row["true_mom_12"] == pytest.approx(np.prod(1 + year.to_numpy()) - 1)
            reported = statements.filter(
                pl.col("asset_id") == row["asset_id"], pl.col("period_months") == 3,
                pl.col("available_from") <= before,
            ).sort("period_end", "available_from")  # fmt: skip
            known = reported.unique("period_end", keep="first", maintain_order=True)
            if len(known) >= 5:
                growth = known["assets"][-1] / known["assets"][-5] - 1
                assert row["true_agr"] == pytest.approx(growth)
                seen += 1
        assert seen > 80


def _second_classes(names):
    return names.filter(pl.col("share_class") == "B")["asset_id"].unique().to_list()


class TestMarket:
    def test_days_add_up_to_months(self, tables):
        """To the last bit, in any order: amounts are such that sums are exact."""
        days = tables["stock_days"].sample(fraction=1, shuffle=True, seed=1)
        of_days = days.group_by("asset_id", pl.col("day").dt.month_end().alias("month")).agg(
            trading_days=pl.len().cast(pl.Int32),
            zero_volume_days=(pl.col("volume") == 0).sum().cast(pl.Int32),
            sum_squared_daily_returns=(pl.col("ret") ** 2).sum(),
            maximum_daily_return=pl.col("ret").max(),
            high=pl.col("high").max(),
            dollar_volume=pl.col("dollar_volume").sum(),
            price=pl.col("price").sort_by("day").last(),
            shares=pl.col("shares").sort_by("day").last(),
        )  # fmt: skip
        columns = [c for c in of_days.columns if c not in ("asset_id", "month")]
        key = ["month", "asset_id"]
        months = tables["stock_months"].sort(key)
        assert of_days.sort(key).select(columns).equals(months.select(columns))

    def test_days_compound_to_the_month_before_any_delisting(self, tables):
        """Daily returns have 2^-20 for a unit, so the product is right to about a thousandth of a percent."""
        days = tables["stock_days"].group_by("asset_id", pl.col("day").dt.month_end().alias("month")).agg(
            compounded=(1 + pl.col("ret")).product() - 1, missing=pl.col("ret").null_count()
        )  # fmt: skip
        rows = tables["stock_months"].join(days, on=["asset_id", "month"])
        stayed = rows.filter(pl.col("delisting_code").is_null(), pl.col("ret").is_not_null())
        assert (stayed["missing"] == 0).all()
        assert (stayed["ret"] - stayed["compounded"]).abs().max() < 5e-5
        assert (rows.filter(pl.col("ret").is_null())["missing"] == 1).all()

    def test_a_calendar_without_weekends(self, tables):
        days = tables["stock_days"]["day"].unique()
        assert set(days.dt.weekday()) == {1, 2, 3, 4, 5}
        assert dt.date(2001, 7, 4) not in days
        assert set(tables["factor_days"]["day"]) == set(days)

    def test_daily_market_compounds_to_the_months(self, tables):
        days = tables["factor_days"].group_by(pl.col("day").dt.month_end().alias("month")).agg(
            market_excess_of_days=(pl.col("market_excess") + 1).product() - 1,
            risk_free_of_days=(pl.col("risk_free") + 1).product() - 1,
        )  # fmt: skip
        rows = tables["factors"].join(days, on="month")
        for name in ("market_excess", "risk_free"):
            np.testing.assert_allclose(rows[name], rows[f"{name}_of_days"], atol=1e-12)

    def test_quotes_and_quiet_days(self, tables):
        days = tables["stock_days"]
        assert (days["bid"] <= days["price"]).all()
        assert (days["price"] <= days["ask"]).all()
        assert (days["low"] <= days["price"]).all()
        assert (days["price"] <= days["high"]).all()
        quiet = days.filter(pl.col("volume") == 0)
        assert 0.005 < len(quiet) / len(days) < 0.2
        assert (quiet["price"] * 2 == quiet["bid"] + quiet["ask"]).all()
        assert (days["dollar_volume"] == days["price"] * days["volume"]).all()

    def test_splits_leave_the_adjusted_price_alone(self, stocks):
        """Two for one, and one for eight: unadjusted prices jump, adjusted ones do what returns say."""
        rows = stocks.drop_nulls("price_before").with_columns(
            factor=(pl.col("price") / pl.col("unadjusted_price"))
            / (pl.col("price_before") / pl.col("unadjusted_before"))
        )
        assert set(rows["factor"]) == {0.125, 1.0, 2.0}
        regular = rows.filter(pl.col("ret").is_not_null(), pl.col("delisting_code").is_null(),
                              pl.col("unadjusted_price") > 5, pl.col("unadjusted_before") > 5)  # fmt: skip
        change = regular["price"] / regular["price_before"] - 1
        # What prices lack of returns is dividends.
        paid = (regular["ret"] - change).to_numpy()
        assert paid.min() > -0.001
        assert 0.05 < (paid > 0.001).mean() < 0.4
        assert (stocks["market_equity"] == stocks["price"] * stocks["shares"]).all()

    def test_missing_returns(self, stocks):
        """The first month of a new listing, and a few others, never the last of a stock that left."""
        entered = stocks.filter(pl.col("is_first"), pl.col("month") > dt.date(FIRST, 1, 31))
        assert len(entered) > 30
        assert entered["ret"].null_count() == len(entered)
        others = stocks.filter(~pl.col("is_first"))
        assert 0 < others["ret"].null_count() / len(others) < 0.005
        assert stocks.filter(pl.col("delisting_code").is_not_null())["ret"].null_count() == 0


class TestListings:
    def test_a_delisting_code_in_the_last_month_and_nowhere_else(self, stocks):
        end = dt.date(LAST, 12, 31)
        assert stocks.filter(~pl.col("is_last"))["delisting_code"].null_count() == (~stocks["is_last"]).sum()
        left = stocks.filter(pl.col("is_last"), pl.col("month") < end)
        assert left["delisting_code"].null_count() == 0
        codes = set(left["delisting_code"] // 100)
        assert codes == {2, 4, 5}

    def test_second_classes_share_a_firm_and_leave_with_it(self, tables, stocks):
        names = tables["names"]
        second = names.filter(pl.col("share_class") == "B")
        firms = names.group_by("company_id").agg(
            pl.col("asset_id").n_unique(), pl.col("share_class").n_unique()
        )
        assert set(firms["asset_id"]) == {1, 2}
        assert (firms["asset_id"] == firms["share_class"]).all()
        assert tables["statements"].filter(pl.col("asset_id").is_in(second["asset_id"].implode())).is_empty()
        ends = stocks.filter(pl.col("is_last")).select("asset_id", "company_id", "month", "delisting_code")
        first = ends.filter(~pl.col("asset_id").is_in(second["asset_id"].implode()))
        both = ends.filter(pl.col("asset_id").is_in(second["asset_id"].implode())).join(
            first, on="company_id"
        )
        assert len(both) > 3
        assert (both["month"] <= both["month_right"]).all()
        together = both.filter(pl.col("month") == pl.col("month_right"))
        assert together["delisting_code"].drop_nulls().len() > 0
        assert together["delisting_code"].equals(together["delisting_code_right"], check_names=False)

    def test_names_cover_every_month_once_and_agree_with_it(self, tables):
        months, names = tables["stock_months"], tables["names"]
        rows = months.join(names, on="asset_id").filter(
            pl.col("month").is_between(pl.col("first_day"), pl.col("last_day"))
        )
        assert len(rows) == len(months)
        assert (rows["sic"] == rows["sic_right"]).all()
        assert (rows["company_id"] == rows["company_id_right"]).all()
        assert (rows["common_share"] == rows["share_code"].is_in([10, 11])).all()
        exchanges = rows.select("exchange", "exchange_code").unique().rows()
        assert set(exchanges) == {("NYSE", 1), ("AMEX", 2), ("NASDAQ", 3), ("OTHER", 4)}
        assert 0.85 < rows["common_share"].mean() < 0.99

    def test_tickers_change_and_are_used_again(self, tables):
        """By another stock, but never by two at a time."""
        names = tables["names"]
        assert names.group_by("asset_id").agg(pl.col("ticker").n_unique())["ticker"].max() > 1
        users = names.group_by("ticker").agg(pl.col("asset_id").n_unique())
        assert users["asset_id"].max() > 1
        spells = names.sort("ticker", "first_day").with_columns(
            after=pl.col("first_day").shift(-1).over("ticker")
        )
        assert (spells.drop_nulls("after")["last_day"] < spells.drop_nulls("after")["after"]).all()


class TestStatements:
    SUMS = (
        ("assets", ("current_assets", "property_plant_equipment", "intangibles", "other_assets")),
        ("assets", ("liabilities", "book_equity")),
        ("current_assets", ("cash", "receivables", "inventory", "other_current_assets")),
        ("liabilities", ("current_liabilities", "long_term_debt", "deferred_taxes", "other_liabilities")),
        ("current_liabilities",
         ("payables", "taxes_payable", "short_term_debt", "other_current_liabilities")),
        ("revenue",
         ("cost_of_revenue", "selling_general_administrative", "depreciation", "operating_income")),
        ("operating_income", ("pretax_income", "interest_expense")),
        ("pretax_income", ("earnings", "income_taxes")),
    )  # fmt: skip

    @pytest.mark.parametrize(("total", "parts"), SUMS)
    def test_identities_hold_exactly(self, tables, total, parts):
        rows = tables["statements"].drop_nulls([total, *parts])
        assert len(rows) > 3000
        assert (rows[total] == rows.select(pl.sum_horizontal(parts)).to_series()).all()

    def test_book_equity_changes_by_what_is_kept_and_issued(self, tables):
        """Over fiscal years: change = earnings - dividends - repurchases + issuance."""
        years = tables["statements"].filter(pl.col("period_months") == 12).sort("asset_id", "period_end")
        years = years.with_columns(
            before=pl.col("book_equity").shift(1).over("asset_id"),
            gap=pl.col("period_end").diff().over("asset_id").dt.total_days(),
        )
        flows = ("earnings", "dividends", "share_repurchases", "share_issuance")
        years = years.filter(pl.col("gap") < 370).drop_nulls(["before", *flows])
        assert len(years) > 500
        kept = years["earnings"] - years["dividends"] - years["share_repurchases"] + years["share_issuance"]
        assert (years["book_equity"] - years["before"] == kept).all()

    def test_cash_flow_is_earnings_and_depreciation_but_for_a_little(self, tables):
        rows = tables["statements"].filter(pl.col("period_months") == 3).drop_nulls(
            ["operating_cash_flow", "depreciation"]
        )  # fmt: skip
        rest = (rows["operating_cash_flow"] - rows["earnings"] - rows["depreciation"]) / rows["assets"]
        assert rest.abs().quantile(0.99) < 0.06

    def test_a_year_is_its_four_quarters(self, tables):
        first = tables["statements"].sort("available_from").unique(
            ["asset_id", "period_end", "period_months"], keep="first", maintain_order=True
        ).sort("asset_id", "period_end")  # fmt: skip
        quarters = first.filter(pl.col("period_months") == 3).with_columns(
            year=pl.col("revenue").rolling_sum(4, min_samples=4).over("asset_id")
        )
        years = first.filter(pl.col("period_months") == 12).join(
            quarters.select("asset_id", "period_end", "year", quarterly_assets="assets"),
            on=["asset_id", "period_end"],
        )
        years = years.drop_nulls(["revenue", "year"])
        assert len(years) > 500
        assert (years["revenue"] == years["year"]).all()
        assert (years["assets"] == years["quarterly_assets"]).all()
        assert set(years["period_end"].dt.month()) == {3, 6, 9, 12}

    def test_restatements_come_after_first_reports(self, tables):
        """A second report of a quarter: at least 200 days after it, with less revenue and less income."""
        quarters = tables["statements"].filter(pl.col("period_months") == 3).sort("available_from")
        key = ["asset_id", "period_end"]
        first = quarters.unique(key, keep="first", maintain_order=True)
        again = quarters.join(first, on=[*key, "available_from"], how="anti")
        assert 0.01 < len(again) / len(first) < 0.04
        both = again.join(first, on=key)
        late = (both["available_from"] - both["period_end"]).dt.total_days()
        assert (late.min() >= 200, late.max() <= 500) == (True, True)
        assert (both["available_from"] > both["available_from_right"]).all()
        assert (both["revenue"] <= both["revenue_right"]).all()
        assert (both["earnings"] <= both["earnings_right"]).all()
        assert (both["revenue"] < both["revenue_right"]).mean() > 0.95
        assert (both["book_equity"] == both["book_equity_right"]).all()

    def test_lagged_statements_follow_the_rule_and_nothing_else_changes(self, folder, tables, tmp_path):
        source = SimulatedSource(
            kind="simulated", seed=2, stocks=150, detail="complete", daily=False, filing="lagged"
        )
        write_simulated_market(source, FIRST, FIRST, tmp_path)
        lagged = pl.read_parquet(tmp_path / "statements.parquet")
        ends = pl.col("period_end").dt.offset_by(
            pl.when(pl.col("period_months") == 3).then(pl.lit("4mo")).otherwise(pl.lit("6mo"))
        ).dt.month_end()  # fmt: skip
        assert lagged.select((pl.col("available_from") == ends).all()).item()
        key = ["asset_id", "period_end", "period_months"]
        assert lagged.select(key).is_duplicated().sum() == 0
        same = lagged.join(tables["statements"].unique(key, keep="none"), on=key)
        assert len(same) > 0.9 * len(lagged)
        assert same["assets"].equals(same["assets_right"], check_names=False)
        months = pl.read_parquet(tmp_path / "stock_months.parquet")
        assert months.equals(tables["stock_months"].filter(pl.col("month").dt.year() == FIRST))
