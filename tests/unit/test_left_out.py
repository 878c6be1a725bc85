"""What the public files' adapter leaves out, counted by reason; its daily prices."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from seqpricing_core.errors import InputError
from seqpricing_core.sources.public_days import read_public_days, years_of_days
from seqpricing_core.sources.public_files import asset_id_of


def reasons_of(source):
    return dict(source.left_out().group_by("reason").len().iter_rows())


class TestLeftOut:
    def test_nothing(self, public_source):
        assert reasons_of(public_source()) == {}

    def test_each_reason(self, public_source, public_tables, tmp_path):
        """A ticker without statements, a close of zero, a month's spike and its way back, months outside."""
        prices = public_tables["prices"]
        spike = (pl.col("ticker") == "t01") & (pl.col("Date") == dt.date(1999, 5, 31))
        zero = (pl.col("ticker") == "t02") & (pl.col("Date") == dt.date(1998, 7, 31))
        close = pl.when(spike).then(pl.col("Close") * 50).when(zero).then(0.0).otherwise(pl.col("Close"))
        unknown = prices.filter(pl.col("ticker") == "t03").with_columns(ticker=pl.lit("zzz"))
        members = pl.DataFrame({
            "ticker": ["BRK.B", *(f"T{number:02d}" for number in range(1, 23))],  # t00 never was a member
            "start_date": "1990-01-01", "end_date": pl.Series([None] * 23, dtype=pl.String),
        })  # fmt: skip
        members.write_csv(tmp_path / "members.csv")
        source = public_source(
            {"index_members": tmp_path / "members.csv"},
            prices=pl.concat([prices.with_columns(Close=close), unknown]),
        )
        assert reasons_of(source) == {
            "ticker without statements": 72,
            "close missing or not positive": 1,
            "return above maximum_monthly_return": 1,
            "way back from such a return: no return": 1,
            "outside the index: no market equity": 72,
        }
        used = pl.concat(source.stock_months(year) for year in range(1996, 2002))
        assert len(used) == len(prices) - 1 - 1  # the zero and the spike have no row
        by_month = source.left_out().filter(pl.col("reason").str.contains("above"))
        assert by_month["month"].to_list() == [dt.date(1999, 5, 31)]


class TestDays:
    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "days.csv"
        path.write_text(
            "ticker,Date,Open,High,Low,Close,Volume\n"
            "brk-b,2007-12-31,1,1.2,0.9,1.1,100\n"
            "BRK.B,2008-01-02,1,1.3,0.8,1.0,0\n"
            "aapl,2009-06-01,5,5,5,5,7\n"
        )
        return path

    def test_rows_of_a_year(self, file):
        assert years_of_days(file) == range(2007, 2010)
        (row,) = read_public_days(file, 2008).iter_rows(named=True)
        expected = {"price": 1.0, "high": 1.3, "low": 0.8, "volume": 0.0}
        assert row == {"asset_id": asset_id_of("brk-b"), "day": dt.date(2008, 1, 2), **expected}

    def test_a_missing_column_is_named(self, file):
        file.write_text("ticker,Date,Close\naapl,2009-06-01,5\n")
        with pytest.raises(InputError, match="High, Low, Volume"):
            read_public_days(file, 2009)
