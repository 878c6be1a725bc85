"""Bad tables of one's own: one error that names file, column and row or month."""

from __future__ import annotations

import datetime as dt
import math

import polars as pl
import pytest

from seqpricing_core.sources.canonical_files import CanonicalFiles
from seqpricing_core.tables import STOCK_MONTHS, required_columns

MARCH = dt.date(2001, 3, 31)


@pytest.fixture(scope="module")
def stock_months(small):
    return small.tables["stock_months"]


@pytest.fixture(scope="module")
def row(stock_months):
    """A row of the file in the middle of March 2001."""
    return int(stock_months["month"].index_of(MARCH)) + 5


@pytest.fixture(scope="module")
def asset(stock_months, row):
    return stock_months["asset_id"][row]


@pytest.fixture
def broken(canonical_source, with_value, stock_months, row):
    """The source with one value of the chosen row replaced."""
    return lambda column, value: canonical_source(stock_months=with_value(stock_months, row, column, value))


class TestColumns:
    @pytest.mark.parametrize("column", ["ret", "month", "asset_id", "zero_volume_days"])
    def test_missing_from_stock_months(self, canonical_source, refuses, stock_months, column):
        source = canonical_source(stock_months=stock_months.drop(column))
        error = refuses(
            lambda: source.stock_months(2001), f"missing column: {column}", "stock_months.parquet"
        )
        assert "market_equity" in error.where  # what the file has instead
        assert error.expected == ", ".join(required_columns(STOCK_MONTHS))

    def test_missing_from_statements(self, canonical_source, refuses, small):
        source = canonical_source(statements=small.tables["statements"].drop("assets", "shares"))
        refuses(lambda: source.statements(2001), "missing columns: assets, shares", "statements.parquet")

    def test_missing_from_factors(self, canonical_source, refuses, small):
        source = canonical_source(factors=small.tables["factors"].drop("risk_free"))
        refuses(lambda: source.factors(2001), "missing column: risk_free", "factors.parquet")

    def test_more_columns_than_needed_are_ignored(self, canonical_source, small, stock_months):
        source = canonical_source(stock_months=stock_months.with_columns(note=pl.lit("mine")))
        assert source.stock_months(2001).equals(small.stock_months[2001])

    def test_numbers_as_text(self, canonical_source, refuses, stock_months):
        source = canonical_source(stock_months=stock_months.with_columns(pl.col("ret").cast(pl.String)))
        refuses(
            lambda: source.stock_months(2001), "column 'ret'", "String", "Float64", "stock_months.parquet"
        )

    def test_narrower_numbers_are_welcome(self, canonical_source, small, stock_months):
        """Float32, and counts as floats: what other tools write."""
        other = stock_months.with_columns(
            pl.col("asset_id").cast(pl.Int32), pl.col("trading_days").cast(pl.Float64)
        )
        assert canonical_source(stock_months=other).stock_months(2001).equals(small.stock_months[2001])


class TestValues:
    @pytest.mark.parametrize(
        ("column", "value", "expected"),
        [
            ("ret", -1.5, "-1 or more"),
            ("ret", math.inf, "a finite number"),
            ("ret", math.nan, "a finite number"),
            ("market_equity", math.inf, "a finite number"),
            ("market_equity", -5.0, "0 or more"),
            ("price", -math.inf, "a finite number"),
            ("dollar_volume", math.nan, "a finite number"),
            ("maximum_daily_return", -1.01, "-1 or more"),
            ("sum_squared_daily_returns", -0.1, "0 or more"),
        ],
    )
    def test_names_file_column_stock_month_and_value(self, broken, refuses, asset, column, value, expected):
        """NaN is refused like an infinite value: a missing value must be null, never NaN."""
        source = broken(column, value)
        error = refuses(
            lambda: source.stock_months(2001),
            "stock_months.parquet", f"column '{column}'", f"asset_id {asset}", "month 2001-03-31",
            f"{column} = {value}", "(1 row)",
        )  # fmt: skip
        assert error.expected == expected

    @pytest.mark.parametrize("value", [-1.0, 0.0, 7.5])
    def test_extreme_returns_that_are_possible(self, broken, asset, value):
        rows = broken("ret", value).stock_months(2001)
        found = rows.filter(pl.col("asset_id") == asset, pl.col("month") == MARCH)["ret"].to_list()
        assert found == [value]

    @pytest.mark.parametrize("column", ["ret", "market_equity", "dollar_volume", "trading_days"])
    def test_a_missing_value_is_no_error(self, broken, asset, column):
        rows = broken(column, None).stock_months(2001)
        assert rows.filter(pl.col("asset_id") == asset, pl.col("month") == MARCH)[column].to_list() == [None]
        assert len(rows) == 840

    def test_other_years_are_not_disturbed(self, broken, small):
        """A bad value of 2001 is an error of 2001: 2002 can be read."""
        assert broken("ret", -1.5).stock_months(2002).equals(small.stock_months[2002])

    def test_missing_asset(self, broken, refuses):
        source = broken("asset_id", None)
        refuses(
            lambda: source.stock_months(2001),
            "missing value in column 'asset_id'", "2001-03-31", "stock_months.parquet",
        )  # fmt: skip

    def test_not_the_last_day_of_the_month(self, broken, refuses, asset):
        source = broken("month", dt.date(2001, 3, 30))
        refuses(
            lambda: source.stock_months(2001),
            "column 'month'", f"asset_id {asset}", "2001-03-30", "the last calendar day of a month",
        )  # fmt: skip

    def test_many_bad_rows_are_counted_and_five_shown(self, canonical_source, refuses, stock_months):
        source = canonical_source(stock_months=stock_months.with_columns(ret=pl.col("ret") - 2))
        error = refuses(lambda: source.stock_months(2001), "(840 rows)")
        assert error.where.count("asset_id") == 5

    def test_statements(self, canonical_source, refuses, small, with_value):
        statements = small.tables["statements"]
        place, year = 2000, small.tables["statements"]["available_from"][2000].year
        asset, period = statements["asset_id"][place], statements["period_end"][place]
        for column, value in (("assets", math.inf), ("revenue", math.nan)):
            source = canonical_source(statements=with_value(statements, place, column, value))
            refuses(
                lambda source=source: source.statements(year),
                "statements.parquet", f"'{column}'", f"asset_id {asset}", f"period_end {period}",
            )  # fmt: skip

    def test_a_statement_public_before_its_quarter_ended(self, canonical_source, refuses, small, with_value):
        statements = small.tables["statements"]
        place, period = 2000, small.tables["statements"]["period_end"][2000]
        source = canonical_source(statements=with_value(statements, place, "available_from", period))
        refuses(
            lambda: source.statements(period.year),
            "statements.parquet", f"asset_id {statements['asset_id'][place]}", f"period_end {period}",
            f"row {place} ",
            "available_from after period_end", "(1 row)",
        )  # fmt: skip

    def test_risk_free_rate_in_percent_or_missing(self, canonical_source, refuses, small, with_value):
        factors = small.tables["factors"]
        place = int(factors["month"].index_of(MARCH))
        for value in (0.25, None, math.nan):
            source = canonical_source(factors=with_value(factors, place, "risk_free", value))
            refuses(
                lambda source=source: source.factors(2001),
                "factors.parquet", "'risk_free'", "month 2001-03-31",
            )  # fmt: skip


class TestRows:
    def test_duplicates(self, canonical_source, refuses, stock_months, row, asset):
        twice = pl.concat([stock_months, stock_months[row : row + 1].with_columns(ret=pl.lit(0.5))])
        source = canonical_source(stock_months=twice)
        refuses(
            lambda: source.stock_months(2001),
            "duplicate (asset_id, month)", f"asset_id {asset}, month 2001-03-31", "(2 rows)",
            "stock_months.parquet", "each (asset_id, month) once",
        )  # fmt: skip

    def test_duplicate_statement(self, canonical_source, refuses, small):
        statements = small.tables["statements"]
        source = canonical_source(statements=pl.concat([statements, statements[2000:2001]]))
        refuses(
            lambda: source.statements(statements["available_from"][2000].year),
            "duplicate", f"asset_id {statements['asset_id'][2000]}", f"{statements['period_end'][2000]}",
        )  # fmt: skip

    def test_a_restatement_is_no_duplicate(self, canonical_source, small):
        statements = small.tables["statements"]
        later = statements[2000:2001].with_columns(
            pl.col("available_from").dt.offset_by("1d"), assets=pl.lit(1.0)
        )
        year = later["available_from"][0].year
        found = canonical_source(statements=pl.concat([statements, later])).statements(year)
        assert len(found) == len(small.statements[year]) + 1

    def test_duplicate_month_of_factors(self, canonical_source, refuses, small):
        factors = small.tables["factors"]
        place = int(factors["month"].index_of(MARCH))
        source = canonical_source(factors=pl.concat([factors, factors[place : place + 1]]))
        refuses(lambda: source.factors(2001), "duplicate", "'month'", "2001-03-31", "factors.parquet")

    def test_unsorted_rows_are_sorted(self, canonical_source, small):
        """The tables in their first order are the oracle."""
        shuffled = {
            name: small.tables[name].sample(fraction=1, shuffle=True, seed=4)
            for name in ("stock_months", "statements", "factors")
        }
        source = canonical_source(**shuffled)
        assert source.stock_months(2001).equals(small.stock_months[2001])
        assert source.statements(2001).equals(small.statements[2001])
        assert source.factors(2001)["month"].is_sorted()

    def test_the_row_is_the_row_of_the_file(self, broken, refuses, row):
        source = broken("ret", -1.5)
        refuses(lambda: source.stock_months(2001), f"row {row} ")


class TestDates:
    def test_text_in_one_format_is_welcome(self, canonical_source, small, stock_months):
        text = stock_months.with_columns(pl.col("month").cast(pl.String))
        assert canonical_source(stock_months=text).stock_months(2001).equals(small.stock_months[2001])

    def test_date_times_are_welcome(self, canonical_source, small, stock_months):
        times = stock_months.with_columns(pl.col("month").cast(pl.Datetime("ns")))
        assert canonical_source(stock_months=times).stock_months(2001).equals(small.stock_months[2001])

    @pytest.mark.parametrize("other", ["31/03/2001", "20010331", "2001-02-30", "March 2001", ""])
    def test_mixed_with_other_text(self, canonical_source, refuses, with_value, stock_months, row, other):
        text = stock_months.with_columns(pl.col("month").cast(pl.String))
        source = canonical_source(stock_months=with_value(text, row, "month", other))
        refuses(
            lambda: source.stock_months(2001),
            "column 'month'", "stock_months.parquet", f"row {row} month = {other!r}",
        )  # fmt: skip

    def test_mixed_in_statements(self, canonical_source, refuses, with_value, small):
        text = small.tables["statements"].with_columns(pl.col("available_from").cast(pl.String))
        source = canonical_source(statements=with_value(text, 7, "available_from", "Q1"))
        refuses(lambda: source.statements(2001), "'available_from'", "row 7", "'Q1'", "statements.parquet")

    def test_numbers(self, canonical_source, refuses, stock_months):
        numbers = stock_months.with_columns(pl.col("month").dt.strftime("%Y%m%d").cast(pl.Int64))
        source = canonical_source(stock_months=numbers)
        refuses(
            lambda: source.stock_months(2001),
            "column 'month'", "Int64", "stock_months.parquet",
        )  # fmt: skip

    @pytest.mark.parametrize("table", ["stock_months", "statements", "factors"])
    def test_missing(self, canonical_source, refuses, small, with_value, table):
        column = {"statements": "available_from"}.get(table, "month")
        source = canonical_source(**{table: with_value(small.tables[table], 50, column, None)})
        # Nobody knows which year the row belongs to, so every year refuses.
        for year in (1996, 2005):
            refuses(
                lambda year=year: getattr(source, table)(year),
                f"{table}.parquet", f"'{column}'", "row 50", "a date in every row",
            )  # fmt: skip


class TestFiles:
    """Unreadable files are found when the source is opened, before anything is computed."""

    @pytest.mark.parametrize("name", ["stock_months", "statements", "factors"])
    def test_missing(self, canonical_source, refuses, tmp_path, name):
        source = canonical_source()
        (tmp_path / f"{name}.parquet").unlink()
        refuses(source.files, "does not exist", f"{name}.parquet", "relative to that study file")

    @pytest.mark.parametrize("name", ["stock_months", "statements", "factors"])
    @pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
    def test_no_parquet(self, canonical_source, refuses, tmp_path, name, damage):
        source, file = canonical_source(), tmp_path / f"{name}.parquet"
        content = file.read_bytes()
        file.write_bytes(
            {"truncated": content[: len(content) // 2], "text": b"a,b\n1,2\n", "empty": b""}[damage]
        )
        refuses(source.files, "cannot be read as parquet", str(file))
        refuses(lambda: getattr(source, name)(2001), "cannot be read as parquet", str(file))

    def test_damaged_inside(self, canonical_source, refuses, tmp_path):
        """The footer is whole, the pages are not: what a bad disk or a broken copy gives."""
        source, file = canonical_source(), tmp_path / "stock_months.parquet"
        content = bytearray(file.read_bytes())
        content[1000 : len(content) // 2] = bytes(len(content) // 2 - 1000)
        file.write_bytes(content)
        refuses(lambda: source.stock_months(2001), "cannot be read", str(file))

    def test_csv_files_are_read_too(self, canonical_source, small, stock_months, tmp_path):
        source, file = canonical_source(), tmp_path / "stock_months.csv"
        stock_months.write_csv(file)
        csv = CanonicalFiles(file, source.statements_file, source.factors_file)
        assert csv.stock_months(2001).equals(small.stock_months[2001])

    def test_text_far_down_in_a_csv_file(self, canonical_source, refuses, stock_months, tmp_path):
        source, file = canonical_source(), tmp_path / "stock_months.csv"
        text = stock_months.with_row_index().with_columns(
            pl.when(pl.col("index") == 5000).then(pl.lit("n/a")).otherwise(pl.col("ret")).alias("ret")
        )
        text.drop("index").write_csv(file)
        csv = CanonicalFiles(file, source.statements_file, source.factors_file)
        refuses(lambda: [csv.stock_months(y) for y in range(1996, 2006)], "ret", str(file))

    @pytest.mark.parametrize(
        ("column", "value"), [("asset_id", math.nan), ("trading_days", math.inf), ("asset_id", 1e30)]
    )
    def test_floats_that_are_no_counts(
        self, canonical_source, refuses, with_value, stock_months, row, column, value
    ):
        floats = stock_months.with_columns(pl.col(column).cast(pl.Float64))
        source = canonical_source(stock_months=with_value(floats, row, column, value))
        refuses(lambda: source.stock_months(2001), f"'{column}'", "stock_months.parquet")

    def test_asset_ids_with_a_fraction(self, canonical_source, refuses, with_value, stock_months, row):
        floats = stock_months.with_columns(pl.col("asset_id").cast(pl.Float64))
        source = canonical_source(stock_months=with_value(floats, row, "asset_id", 99_999.5))
        refuses(lambda: source.stock_months(2001), "'asset_id'")
