"""The public files: returns, market equity, publication and membership, by slow loops."""

from __future__ import annotations

import calendar
import datetime as dt

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqpricing_core.sources.public_files import (
    ALPHABET,
    STATEMENT_COLUMNS,
    asset_id_of,
    ticker_of,
)


def month_end(day: dt.date, months: int = 0) -> dt.date:
    place = day.year * 12 + day.month - 1 + months
    year, month = place // 12, place % 12 + 1
    return dt.date(year, month, calendar.monthrange(year, month)[1])


def months_later(day: dt.date, months: int) -> dt.date:
    end = month_end(day, months)
    return end.replace(day=min(day.day, end.day))


class TestTickers:
    @given(st.text(st.sampled_from(sorted(set(ALPHABET) - set("_."))), min_size=1, max_size=11))
    def test_inverse(self, ticker):
        number = asset_id_of(ticker)
        assert 0 < number < 2**63
        assert ticker_of(number) == ticker.upper()
        assert asset_id_of(ticker_of(number)) == number

    @given(st.text(st.sampled_from(ALPHABET), min_size=1, max_size=11))
    def test_spellings(self, ticker):
        assert asset_id_of(ticker.upper()) == asset_id_of(ticker.replace(".", "-").replace("_", "-"))

    def test_leading_zeros_count(self):
        assert len({asset_id_of(t) for t in ("0", "00", "000", "a", "0a", "a0")}) == 6


class TestReturns:
    def test_closes_of_consecutive_months(self, public_source, public_tables):
        """Ticker by ticker: close over the close of the calendar month before, less one."""
        gone = (pl.col("ticker") == "t03") & (pl.col("Date") == dt.date(1999, 5, 31))
        prices = public_tables["prices"].filter(~gone)
        close = {(r["ticker"], r["Date"]): r["Close"] for r in prices.iter_rows(named=True)}
        rows = public_source(prices=prices).stock_months(1999)
        assert len(rows) == 24 * 12 - 1
        empty = 0
        for row in rows.iter_rows(named=True):
            ticker = ticker_of(row["asset_id"]).lower()
            before = close.get((ticker, month_end(row["month"], -1)))
            assert row["price"] == close[ticker, row["month"]]
            if before is None:
                empty += 1
                assert row["ret"] is None
            else:
                assert row["ret"] == pytest.approx(row["price"] / before - 1, abs=1e-12)
        assert empty == 1

    def test_other_columns_are_renamed(self, public_source, public_tables):
        rows = public_source().stock_months(2000)
        theirs = {
            (asset_id_of(r["ticker"]), r["Date"]): r for r in public_tables["prices"].iter_rows(named=True)
        }
        for row in rows.iter_rows(named=True):
            raw = theirs[row["asset_id"], row["month"]]
            assert row["high"] == raw["High"]
            assert row["dollar_volume"] == raw["Close"] * raw["Volume"]
            assert row["trading_days"] == raw["n_days"]
            assert row["zero_volume_days"] == raw["n_zero_volume_days"]
            assert row["sum_squared_daily_returns"] == raw["sum_sq_daily_ret"]
            assert row["maximum_daily_return"] == raw["max_daily_ret"]

    def test_too_high_a_return_is_dropped(self, public_source, public_tables):
        top = public_source().stock_months(1999)["ret"].max()
        kept = public_source({"maximum_monthly_return": top - 1e-9}).stock_months(1999)
        assert len(kept) == 24 * 12 - 1
        assert kept["ret"].max() < top

    def test_factors(self, public_source, public_tables):
        rows = public_source().factors(1999)
        theirs = public_tables["factors"].filter(pl.col("date").dt.year() == 1999)
        assert rows["risk_free"].to_list() == theirs["RF"].to_list()
        assert rows["market_excess"].to_list() == theirs["Mkt-RF"].to_list()
        assert rows["month"].to_list() == theirs["date"].to_list()


class TestStatements:
    @pytest.mark.parametrize("lag", [1, 4, 6])
    def test_public_after_the_lag(self, public_source, lag):
        source = public_source({"reporting_lag_months": lag})
        rows = pl.concat(source.statements(year) for year in range(1996, 2004))
        assert len(rows) == 24 * 24
        for row in rows.iter_rows(named=True):
            assert row["available_from"] == months_later(row["period_end"], lag)

    def test_items(self, public_source, public_tables, with_value):
        """Every item from its own column; a zero in two of them means 'not reported'."""
        statements = public_tables["statements"]
        for item in ("Long-term debt", "Capital expenditures", "Earnings"):
            statements = with_value(statements, 9, item, 0.0)
        source = public_source(statements=statements)
        rows = pl.concat(source.statements(year) for year in range(1996, 2004))
        ours = {(r["asset_id"], r["period_end"]): r for r in rows.iter_rows(named=True)}
        for place, raw in enumerate(statements.iter_rows(named=True)):
            row = ours[asset_id_of(raw["ticker"]), raw["Quarter end"]]
            for theirs, our in STATEMENT_COLUMNS.items():
                unknown = place == 9 and theirs in ("Long-term debt", "Capital expenditures")
                assert row[our] == (None if unknown else raw[theirs]), theirs


class TestMarketEquity:
    def test_slow_loop(self, public_source, public_tables):
        """Newest statement public by the month's end and at most 366 days old: shares times its price,
        carried by the month's close over the middle of the statement quarter's closes.
        """
        close = {
            (asset_id_of(r["ticker"]), r["Date"]): r["Close"]
            for r in public_tables["prices"].iter_rows(named=True)
        }
        # t05 stops reporting after 1998: its market equity must run out, not go stale for ever.
        silent = (pl.col("ticker") == "T05") & (pl.col("Quarter end") > dt.date(1998, 6, 30))
        statements = public_tables["statements"].filter(~silent)
        raw = [(asset_id_of(r["ticker"]), r) for r in statements.iter_rows(named=True)]
        missing = 0
        source = public_source(statements=statements)
        for row in pl.concat(source.stock_months(year) for year in (1996, 1999)).iter_rows(named=True):
            asset, month = row["asset_id"], row["month"]
            public = [
                (months_later(r["Quarter end"], 4), r)
                for owner, r in raw
                if owner == asset and months_later(r["Quarter end"], 4) <= month
            ]
            fresh = [(day, r) for day, r in public if (month - day).days <= 366]
            if not fresh:
                missing += 1
                assert row["market_equity"] is None
                continue
            newest = max(fresh, key=lambda pair: pair[0])[1]
            end = newest["Quarter end"]
            closes = [close[asset, month_end(end, back)] for back in (0, -1, -2)]
            level = newest["Shares split adjusted"] * newest["Price"]
            expected = level * row["price"] / ((max(closes) + min(closes)) / 2)
            assert row["market_equity"] == pytest.approx(expected)
        assert missing == 24 * 6 + 2  # January to June 1996 for all; November and December 1999 of t05

    def test_only_index_members_have_it(self, public_source, public_tables, tmp_path):
        """In the index while start <= month end <= end; the return stays whatever happens."""
        members = pl.DataFrame({
            "ticker": ["BRK.B", "T01", "T01", "T02"],
            "start_date": ["1990-01-01", "1999-02-28", "1999-11-30", "1999-06-15"],
            "end_date": [None, "1999-04-30", None, "1999-06-29"],
        })  # fmt: skip
        members.write_csv(tmp_path / "members.csv")
        inside = public_source({"index_members": tmp_path / "members.csv"}).stock_months(1999)
        everyone = public_source().stock_months(1999)
        assert inside.drop("market_equity").equals(everyone.drop("market_equity"))
        months = {
            ticker: inside.filter(
                pl.col("asset_id") == asset_id_of(ticker), pl.col("market_equity").is_not_null()
            )["month"].dt.month().to_list()
            for ticker in ("brk-b", "t01", "t02", "t03")
        }  # fmt: skip
        assert months == {"brk-b": list(range(1, 13)), "t01": [2, 3, 4, 11, 12], "t02": [], "t03": []}
        kept = inside.filter(pl.col("market_equity").is_not_null())
        both = kept.join(everyone, on=["asset_id", "month"])
        assert (both["market_equity"] == both["market_equity_right"]).all()
