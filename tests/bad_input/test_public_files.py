"""Bad public files: one error that names file, column, stock or month."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest

from seqpricing_core.sources.public_files import asset_id_of

JULY = dt.date(1999, 7, 31)


@pytest.fixture(scope="module")
def prices(public_tables):
    return public_tables["prices"]


@pytest.fixture(scope="module")
def row(prices):
    """BRK-B in July 1999."""
    return int(prices["Date"].index_of(JULY))


@pytest.fixture
def broken(public_source, with_value, prices, row):
    return lambda column, value: public_source(prices=with_value(prices, row, column, value))


READ = {
    "prices": lambda source: source.stock_months(1999),
    "statements": lambda source: source.statements(1999),
    "factors": lambda source: source.factors(1999),
}


class TestColumns:
    @pytest.mark.parametrize(
        ("table", "column"),
        [
            ("prices", "Close"),
            ("prices", "n_zero_volume_days"),
            ("statements", "Shareholders equity"),
            ("statements", "Quarter end"),
            ("factors", "RF"),
        ],
    )
    @pytest.mark.parametrize("suffix", ["parquet", "csv"])
    def test_missing(self, public_source, public_tables, refuses, table, column, suffix):
        source = public_source(suffix=suffix, **{table: public_tables[table].drop(column)})
        refuses(lambda: READ[table](source), f"missing column: {column}", f"{table}.{suffix}")

    def test_csv_and_parquet_are_the_same(self, public_source):
        tables = [
            [public_source(suffix=suffix).stock_months(1999), public_source(suffix=suffix).statements(1999)]
            for suffix in ("parquet", "csv")
        ]
        for parquet, csv in zip(*tables, strict=True):
            assert csv.equals(parquet)


class TestRows:
    def test_duplicate_month_of_a_stock(self, public_source, prices, refuses, row):
        source = public_source(prices=pl.concat([prices, prices[row : row + 1]]))
        refuses(
            lambda: source.stock_months(1999),
            "duplicate (asset_id, month)", "prices.parquet", f"asset_id {asset_id_of('BRK-B')}", "1999-07-31",
        )  # fmt: skip

    def test_two_spellings_of_one_ticker(self, public_source, prices, refuses):
        """'brk-b' and 'BRK.B' are one stock: its months would stand twice."""
        again = prices.filter(pl.col("ticker") == "brk-b").with_columns(ticker=pl.lit("BRK.B"))
        source = public_source(prices=pl.concat([prices, again]))
        refuses(lambda: source.stock_months(1999), "duplicate", str(asset_id_of("brk-b")), "prices.parquet")

    def test_duplicate_quarter(self, public_source, public_tables, refuses):
        statements = public_tables["statements"]
        source = public_source(statements=pl.concat([statements, statements[7:8]]))
        refuses(
            lambda: source.statements(1999),
            "duplicate", "statements.parquet", str(statements["Quarter end"][7]),
        )  # fmt: skip

    def test_duplicate_month_of_factors(self, public_source, public_tables, refuses):
        factors = public_tables["factors"]
        place = int(factors["date"].index_of(JULY))
        source = public_source(factors=pl.concat([factors, factors[place : place + 1]]))
        refuses(lambda: source.factors(1999), "duplicate", "factors.parquet", "1999-07-31")

    def test_unsorted_rows(self, public_source, public_tables):
        """The files in their first order are the oracle."""
        source = public_source()
        expected = [READ[table](source) for table in READ]
        shuffled = {
            name: table.sample(fraction=1, shuffle=True, seed=9) for name, table in public_tables.items()
        }
        source = public_source(**shuffled)
        for wanted, table in zip(expected, READ, strict=True):
            assert READ[table](source).equals(wanted)

    @pytest.mark.parametrize("ticker", ["BRK B", "", "ABCDEFGHIJKL", "Ä1", None])
    @pytest.mark.parametrize("table", ["prices", "statements"])
    def test_no_ticker(self, public_source, public_tables, refuses, with_value, ticker, table):
        source = public_source(**{table: with_value(public_tables[table], 3, "ticker", ticker)})
        refuses(lambda: READ[table](source), f"{ticker!r} is no ticker", f"{table}.parquet", "column ticker")


class TestValues:
    @pytest.mark.parametrize("value", [0.0, -3.0, None])
    def test_a_close_that_is_no_price_is_dropped(self, broken, value):
        """Stated in the docstring: the month goes, and the next has no return (no month before it)."""
        rows = broken("Close", value).stock_months(1999).filter(pl.col("asset_id") == asset_id_of("brk-b"))
        months = rows["month"].to_list()
        assert JULY not in months
        assert len(months) == 11
        assert rows.filter(pl.col("month") == dt.date(1999, 8, 31))["ret"].to_list() == [None]
        assert rows["ret"].null_count() == 1

    @pytest.mark.parametrize("value", [math.inf, math.nan])
    def test_a_close_that_is_not_finite(self, broken, refuses, value):
        source = broken("Close", value)
        refuses(lambda: source.stock_months(1999), "Close", "1999-07-31", "prices.parquet")

    def test_an_infinite_close_among_the_last_months(self, public_source, prices, with_value, refuses):
        """No statement of that quarter is public yet, so no market equity gives it away."""
        place = int(prices["Date"].index_of(dt.date(2001, 11, 30)))
        source = public_source(prices=with_value(prices, place, "Close", math.inf))
        refuses(lambda: source.stock_months(2001), "Close", "brk-b", "2001-11-30", f"row {place}")

    def test_a_bad_tick_leaves_no_trace(self, public_source, broken, prices, row):
        """A price one thousand times too high: neither its month nor the way back is a return; the other
        months of the stock, and all other stocks, are as they were.
        """
        mine = pl.col("asset_id") == asset_id_of("brk-b")
        clean = public_source().stock_months(1999)
        rows = broken("Close", prices["Close"][row] * 1000).stock_months(1999)
        before, after = clean.filter(mine), rows.filter(mine)
        assert after["month"].to_list() == [month for month in before["month"] if month != JULY]
        expected = before.filter(pl.col("month") != JULY).with_columns(
            ret=pl.when(pl.col("month") != dt.date(1999, 8, 31)).then(pl.col("ret"))
        )
        assert after["ret"].equals(expected["ret"])
        assert after["price"].equals(expected["price"])
        np.testing.assert_allclose(
            after["market_equity"].to_numpy(), expected["market_equity"].to_numpy(), rtol=0.2
        )
        assert rows.filter(~mine).equals(clean.filter(~mine))

    def test_a_jump_that_stays_costs_one_month(self, public_source, prices, row):
        """A price that jumps above the limit and stays there: the jump goes, what follows is kept."""
        jump = (pl.col("ticker") == "brk-b") & (pl.col("Date") >= JULY)
        risen = prices.with_columns(
            pl.when(jump).then(pl.col("Close") * 10).otherwise(pl.col("Close")).alias("Close")
        )
        mine = pl.col("asset_id") == asset_id_of("brk-b")
        clean = public_source().stock_months(1999).filter(mine, pl.col("month") != JULY)
        rows = public_source(prices=risen).stock_months(1999).filter(mine)
        assert rows["month"].to_list() == clean["month"].to_list()
        assert rows["ret"].to_list() == pytest.approx(clean["ret"].to_list())

    def test_a_crash_is_no_bad_tick(self, public_source, prices, row):
        """A stock that loses 95% and stays there did lose 95%."""
        crash = (pl.col("ticker") == "brk-b") & (pl.col("Date") >= JULY)
        fallen = prices.with_columns(
            pl.when(crash).then(pl.col("Close") * 0.05).otherwise(pl.col("Close")).alias("Close")
        )
        rows = public_source(prices=fallen).stock_months(1999)
        found = rows.filter(pl.col("asset_id") == asset_id_of("brk-b"), pl.col("month") == JULY)["ret"][0]
        assert found == pytest.approx(0.05 * prices["Close"][row] / prices["Close"][row - 1] - 1)

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("High", math.inf),
            ("max_daily_ret", math.nan),
            ("sum_sq_daily_ret", -0.5),
            ("max_daily_ret", -2.0),
        ],
    )
    def test_other_values_of_prices(self, broken, refuses, column, value):
        source = broken(column, value)
        refuses(
            lambda: source.stock_months(1999),
            "prices.parquet", f"asset_id {asset_id_of('BRK-B')}", "month 1999-07-31", str(value),
        )  # fmt: skip

    @pytest.mark.parametrize("value", [math.inf, math.nan])
    def test_statements(self, public_source, public_tables, refuses, with_value, value):
        statements = public_tables["statements"]
        source = public_source(statements=with_value(statements, 7, "Assets", value))
        refuses(
            lambda: source.statements(1999),
            "statements.parquet", "'assets'", str(asset_id_of("BRK-B")), str(statements["Quarter end"][7]),
        )  # fmt: skip

    @pytest.mark.parametrize("value", [0.3, math.inf, None])
    def test_risk_free_rate(self, public_source, public_tables, refuses, with_value, value):
        factors = public_tables["factors"]
        source = public_source(factors=with_value(factors, int(factors["date"].index_of(JULY)), "RF", value))
        refuses(lambda: source.factors(1999), "factors.parquet", "'risk_free'", "month 1999-07-31")


class TestDates:
    @pytest.mark.parametrize(
        ("table", "column"), [("prices", "Date"), ("statements", "Quarter end"), ("factors", "date")]
    )
    def test_mixed(self, public_source, public_tables, refuses, with_value, table, column):
        text = public_tables[table].with_columns(pl.col(column).cast(pl.String))
        source = public_source(**{table: with_value(text, 7, column, "31.07.1999")})
        refuses(
            lambda: READ[table](source), f"'{column}'", f"{table}.parquet", f"row 7 {column} = '31.07.1999'"
        )

    @pytest.mark.parametrize(
        ("table", "column"), [("prices", "Date"), ("statements", "Quarter end"), ("factors", "date")]
    )
    def test_text_in_one_format(self, public_source, public_tables, table, column):
        expected = READ[table](public_source())
        text = public_tables[table].with_columns(pl.col(column).cast(pl.String))
        assert READ[table](public_source(**{table: text})).equals(expected)


class TestFiles:
    @pytest.mark.parametrize("name", ["prices", "statements", "factors"])
    @pytest.mark.parametrize("damage", ["truncated", "text", "missing"])
    def test_unreadable(self, public_source, refuses, tmp_path, name, damage):
        source, file = public_source(), tmp_path / f"{name}.parquet"
        content = file.read_bytes()
        if damage == "missing":
            file.unlink()
        else:
            file.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"no table")
        what = "does not exist" if damage == "missing" else "cannot be read as parquet"
        refuses(source.files, what, str(file))
        refuses(lambda: READ[name](source), what, str(file))

    def test_missing_index_members(self, public_source, refuses, tmp_path):
        source = public_source({"index_members": tmp_path / "members.csv"})
        refuses(source.files, "does not exist", "members.csv")
