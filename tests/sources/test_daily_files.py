"""Daily prices of free vendors: shapes of files, returns, splits, market equity; real files where they
are.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqpricing_core.errors import InputError
from seqpricing_core.pipeline import prepare_data
from seqpricing_core.source_configs import DailyFilesSource, SecStatements
from seqpricing_core.sources.daily_files import DailyFiles
from seqpricing_core.sources.public_files import asset_id_of
from seqpricing_core.study import Study

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
TICKERS = ("aa", "brk-b", "c")


@pytest.fixture(scope="module")
def days() -> pl.DataFrame:
    """Three tickers, weekdays of 2000 and 2001; ``c`` pauses for a month and ends in June 2001."""
    random = np.random.default_rng(4)
    calendar = pl.date_range(dt.date(2000, 1, 3), dt.date(2001, 12, 31), "1d", eager=True)
    calendar = calendar.filter(calendar.dt.weekday() < 6)
    parts = []
    for ticker in TICKERS:
        close = (50 * np.exp(np.cumsum(random.normal(0, 0.02, len(calendar))))).round(4)
        rows = pl.DataFrame({
            "ticker": ticker, "Date": calendar, "Open": close, "High": (close * 1.01).round(4),
            "Low": (close * 0.99).round(4), "Close": close,
            "Volume": random.integers(0, 5, len(calendar)) * 1000.0,
        })  # fmt: skip
        if ticker == "c":
            rows = rows.filter(
                (pl.col("Date") < dt.date(2000, 5, 10)) | (pl.col("Date") > dt.date(2000, 6, 9)),
                pl.col("Date") < dt.date(2001, 6, 15),
            )
        parts.append(rows)
    return pl.concat(parts)


@pytest.fixture
def source(tmp_path: Path, days: pl.DataFrame) -> Callable[..., DailyFiles]:
    factors = tmp_path / "ff.csv"
    months = [f"{year}{month:02d}" for year in (1999, 2000, 2001) for month in range(1, 13)]
    factors.write_text("F.\n\n,Mkt-RF,SMB,HML,RF\n" + "".join(f"{m}, 1, 0, 0, 0.2\n" for m in months) + "\n")

    def make(table: pl.DataFrame = days, shape: str = "long parquet", **settings: Any) -> DailyFiles:
        prices = tmp_path / f"prices{len(list(tmp_path.iterdir()))}"
        if shape == "long parquet":
            prices = prices.with_suffix(".parquet")
            table.with_columns(pl.col("^ticker$").cast(pl.Categorical)).write_parquet(prices)
        elif shape == "long csv":
            prices = prices.with_suffix(".csv")
            table.write_csv(prices)
        else:
            prices.mkdir()
            for (ticker,), rows in table.partition_by("ticker", as_dict=True, include_key=False).items():
                rows.write_csv(prices / f"{ticker}{shape}")
            (prices / f"empty{shape}").touch()  # such sets have empty files
            (prices / "readme.md").write_text("no prices")
        opened = DailyFiles(
            DailyFilesSource(kind="daily_files", prices=prices, factors=factors, **settings),
            tmp_path / f"cut of {prices.name}",
        )
        opened.prepare()
        return opened

    return make


def slow_months(table: pl.DataFrame, ticker: str) -> dict[dt.date, dict[str, Any]]:
    """One ticker, one day after the other."""
    months: dict[dt.date, dict[str, Any]] = {}
    before: tuple[dt.date, float] | None = None
    for row in table.filter(pl.col("ticker") == ticker).sort("Date").iter_rows(named=True):
        day, close = row["Date"], row["Close"]
        near = before is not None and (day - before[0]).days <= 10
        ret = close / before[1] - 1 if before is not None and near else None
        before = (day, close)
        end = (day.replace(day=28) + dt.timedelta(days=4)).replace(day=1) - dt.timedelta(days=1)
        month = months.setdefault(
            end,
            {"growth": 1.0, "days": 0, "zero": 0, "squares": 0.0, "high": 0.0, "dollars": 0.0, "best": None},
        )
        month["days"] += 1
        month["zero"] += row["Volume"] == 0
        month["high"] = max(month["high"], row["High"])
        month["dollars"] += close * row["Volume"]
        month["price"] = close
        if ret is None:
            month["growth"] = None
        else:
            month["growth"] = month["growth"] and month["growth"] * (1 + ret)
            month["squares"] += ret**2
            month["best"] = ret if month["best"] is None else max(month["best"], ret)
    return months


@pytest.mark.parametrize("shape", ["long parquet", "long csv", ".us.txt", ".csv"])
def test_months_equal_a_slow_loop_whatever_the_shape(
    source: Callable[..., DailyFiles], days: pl.DataFrame, shape: str
) -> None:
    opened = source(shape=shape)
    checked = 0
    for year in (2000, 2001):
        for row in opened.stock_months(year).iter_rows(named=True):
            ticker = next(t for t in TICKERS if asset_id_of(t) == row["asset_id"])
            month = slow_months(days, ticker)[row["month"]]
            expected = month["growth"] and month["growth"] - 1
            assert row["ret"] == (None if expected is None else pytest.approx(expected, abs=1e-12))
            assert (row["trading_days"], row["zero_volume_days"]) == (month["days"], month["zero"])
            assert row["sum_squared_daily_returns"] == pytest.approx(month["squares"])
            assert row["maximum_daily_return"] == pytest.approx(month["best"])
            assert row["high"] == pytest.approx(month["high"])
            assert row["dollar_volume"] == pytest.approx(month["dollars"])
            assert row["price"] == month["price"]
            assert row["market_equity"] is None
            checked += 1
    assert checked == sum(len(slow_months(days, ticker)) for ticker in TICKERS)
    assert opened.stock_days(2001)["ret"].null_count() == 0  # the first day of a year has the day before
    assert len(opened.stock_months(1998)) == len(opened.stock_days(1998)) == 0


def with_split(days: pl.DataFrame) -> pl.DataFrame:
    """Prices as they traded: ``aa`` splits two for one on 2 July 2001."""
    before = (pl.col("ticker") == "aa") & (pl.col("Date") < dt.date(2001, 7, 2))
    prices = ("Open", "High", "Low", "Close")
    return days.with_columns(
        *(pl.when(before).then(pl.col(name) * 2).otherwise(pl.col(name)).alias(name) for name in prices),
        pl.when(before).then(pl.col("Volume") / 2).otherwise(pl.col("Volume")).alias("Volume"),
    )


@pytest.fixture
def statements(tmp_path: Path) -> SecStatements:
    """Shares filed before and after the split, each on the basis of its day."""
    rows = pl.DataFrame({
        "asset_id": [asset_id_of("aa")] * 2,
        "period_end": [dt.date(2000, 12, 31), dt.date(2001, 9, 30)],
        "available_from": [dt.date(2001, 2, 15), dt.date(2001, 11, 5)],
        "shares": [1e6, 2.1e6],
        **{name: [None, None] for name in (
            "assets", "current_assets", "liabilities", "current_liabilities", "book_equity", "cash",
            "long_term_debt", "revenue", "earnings", "operating_cash_flow", "capital_expenditures")},
    })  # fmt: skip
    file = tmp_path / "statements.parquet"
    rows.write_parquet(file)
    return SecStatements(format="canonical", path=file)


def test_adjusted_and_raw_prices_are_one_stock(
    source: Callable[..., DailyFiles], days: pl.DataFrame, statements: SecStatements, tmp_path: Path
) -> None:
    """A file as traded with its splits gives the table of the split-adjusted file; market equity does not
    jump.
    """
    splits = tmp_path / "splits.csv"
    splits.write_text("ticker,date,ratio\nAA,2001-07-02,2\n")
    raw = source(with_split(days), adjusted=False, splits=splits, statements=statements)
    adjusted = source(days, splits=splits, statements=statements)
    for year in (2000, 2001):
        ours = raw.stock_months(year).drop("unadjusted_price")
        theirs = adjusted.stock_months(year).drop("unadjusted_price")
        for column in ours.columns:
            if ours[column].dtype == pl.Float64:
                np.testing.assert_allclose(ours[column], theirs[column], rtol=1e-9, err_msg=column)
            else:
                assert ours[column].equals(theirs[column])
        assert raw.stock_days(year)["volume"].to_list() == pytest.approx(
            adjusted.stock_days(year)["volume"].to_list()
        )
    of_aa = adjusted.stock_months(2001).filter(pl.col("asset_id") == asset_id_of("aa"))
    equity = dict(zip(of_aa["month"], (of_aa["market_equity"] / of_aa["price"]).to_list(), strict=True))
    assert equity[dt.date(2001, 1, 31)] is None  # not filed yet
    assert equity[dt.date(2001, 2, 28)] == pytest.approx(2e6)  # a million, on the basis after the split
    assert equity[dt.date(2001, 10, 31)] == pytest.approx(2e6)
    assert equity[dt.date(2001, 11, 30)] == pytest.approx(2.1e6)
    raw_price = raw.stock_months(2001).filter(pl.col("asset_id") == asset_id_of("aa"))
    assert raw_price["unadjusted_price"][0] == pytest.approx(2 * raw_price["price"][0])


def test_a_later_split_changes_no_earlier_return(
    source: Callable[..., DailyFiles], days: pl.DataFrame, tmp_path: Path
) -> None:
    splits = tmp_path / "splits.csv"
    splits.write_text("ticker,date,ratio\n")
    cut = with_split(days).filter(pl.col("Date") < dt.date(2001, 7, 1))
    before = source(cut, adjusted=False, splits=splits)
    early = {year: before.stock_months(year) for year in (2000, 2001)}
    splits.write_text("ticker,date,ratio\nAA,2001-07-02,2\n")
    after = source(with_split(days), adjusted=False, splits=splits)
    columns = ["asset_id", "month", "ret", "sum_squared_daily_returns", "dollar_volume", "unadjusted_price"]
    for year in (2000, 2001):
        known = after.stock_months(year).filter(pl.col("month") < dt.date(2001, 7, 1)).select(columns)
        for column in columns:
            ours, theirs = known[column], early[year][column]
            if ours.dtype == pl.Float64:
                np.testing.assert_allclose(ours, theirs, rtol=1e-9, err_msg=column)
            else:
                assert ours.equals(theirs)


def test_adjusted_close_gives_the_returns(source: Callable[..., DailyFiles], days: pl.DataFrame) -> None:
    doubled = days.with_columns((pl.col("Close") * 2).alias("Adj Close"), pl.lit(7.0).alias("Close"))
    ours, plain = source(doubled).stock_months(2001), source(days).stock_months(2001)
    assert ours["ret"].to_list() == pytest.approx(plain["ret"].to_list())
    assert set(ours["price"]) == {7.0}


def test_other_names(source: Callable[..., DailyFiles], days: pl.DataFrame) -> None:
    renamed = days.rename({"ticker": "symbol", "Date": "timestamp", "Close": "last"})
    ours = source(renamed, columns={"ticker": "symbol", "day": "timestamp", "close": "last"})
    assert ours.stock_months(2001).equals(source(days).stock_months(2001))


@pytest.mark.parametrize(
    ("change", "settings", "mention"),
    [
        (lambda rows: rows.rename({"Close": "Price"}), {}, "missing column: Close"),
        (lambda rows: pl.concat([rows, rows.head(2)]), {}, "duplicate (asset_id, day), 2 of them"),
        (lambda rows: rows.with_columns(pl.lit("A B").alias("ticker")), {}, "'A B' is no ticker"),
        (lambda rows: rows.with_columns(pl.col("Date").dt.strftime("%d/%m/%Y")), {}, "ambiguous"),
        (
            lambda rows: rows.with_columns(
                (pl.col("Date").cast(pl.Int32) + (dt.date(1970, 1, 1) - dt.date(1601, 1, 1)).days).alias(
                    "Date"
                )
            ),
            {},
            "ANSI",
        ),
        (lambda rows: rows.with_columns(pl.lit("n.a.").alias("Close")), {}, "Close"),
        (lambda rows: rows, {"columns": {"price": "Close"}}, "unknown column 'price'"),
    ],
)
def test_bad_prices(
    source: Callable[..., DailyFiles], days: pl.DataFrame, change: Any, settings: dict[str, Any], mention: str
) -> None:
    for shape in ("long parquet", "long csv"):
        with pytest.raises(InputError) as caught:
            source(change(days), shape, **settings).stock_months(2000)
        assert mention in str(caught.value)


def test_prices_that_are_none_are_dropped(source: Callable[..., DailyFiles], days: pl.DataFrame) -> None:
    """Zero, negative and missing closes are no trades; the next return spans them."""
    bad = days.with_row_index().with_columns(
        pl.when(pl.col("index") == 30).then(-1.0).when(pl.col("index") == 31).then(0.0)
        .when(pl.col("index") == 32).then(None).otherwise(pl.col("Close")).alias("Close")
    ).drop("index")  # fmt: skip
    ours = source(bad).stock_days(2000)
    theirs = source(days.filter(~pl.int_range(pl.len()).is_between(30, 32))).stock_days(2000)
    assert ours.equals(theirs)


def test_folder_without_prices_and_page_instead_of_prices(
    source: Callable[..., DailyFiles], tmp_path: Path
) -> None:
    (tmp_path / "nothing").mkdir()
    opened = source()
    for prices, mention in ((tmp_path / "nothing", "no price file"), (tmp_path / "absent.csv", "not exist")):
        wrong = DailyFiles(opened.source.model_copy(update={"prices": prices}), tmp_path / "cut2")
        with pytest.raises(InputError, match=mention):
            wrong.prepare()
    (tmp_path / "nothing" / "x.csv").write_text("<!doctype html><p>Too many requests")
    wrong = DailyFiles(opened.source.model_copy(update={"prices": tmp_path / "nothing"}), tmp_path / "cut2")
    with pytest.raises(InputError, match="web page"):
        wrong.prepare()


def test_as_traded_needs_splits() -> None:
    with pytest.raises(ValueError, match="splits"):
        DailyFilesSource(kind="daily_files", prices=Path("p"), factors=Path("f"), adjusted=False)


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not beside the checkout")
def test_real_days_add_up_to_the_real_months(tmp_path: Path, make_study: Callable[..., Study]) -> None:
    """Days of the index members, 2012-2014, against the monthly file of the same maker, reduced by others'
    code; and the whole way into a panel with the SEC's figures.
    """
    days = pl.scan_parquet(REAL / "sp500_ever_members_daily_ohlcv_1990_2017.parquet")
    some = days.filter(
        pl.col("Date").dt.year().is_between(2010, 2014), pl.col("ticker").cast(pl.String).str.starts_with("a")
    )
    file = tmp_path / "days.parquet"
    some.collect().write_parquet(file)
    source = {
        "kind": "daily_files", "prices": str(file),
        "factors": str(REAL / "ff5_mom_monthly_1963_2026.parquet"),
        "statements": {"format": "point_in_time", "path": str(REAL / "sec_xbrl_pit_sp500_2009_2026.parquet")},
    }  # fmt: skip
    study = make_study(
        source=source, sample={"first_month": "2012-01", "last_month": "2014-12"},
        windows={"train_years": 1, "validation_years": 1}, models={"ipca": {}},
        universe={"minimum_history_months": 12, "require": []}, characteristics=["mom_12", "retvol", "roa"],
    )  # fmt: skip
    data = prepare_data(study, tmp_path / "out")
    assert data.panels[2014].with_returns().months.size == 12
    assert len(data.panels[2014]) > 500
    opened = DailyFiles(study.source, tmp_path / "out")
    ours = opened.stock_months(2013)
    months = pl.read_parquet(REAL / "us_stocks_monthly_from_daily_1962_2017.parquet")
    theirs = months.with_columns(pl.col("ticker").cast(pl.String)).filter(
        pl.col("ticker").str.starts_with("a"), pl.col("Date").dt.year() == 2013
    )
    ids = {ticker: asset_id_of(ticker) for ticker in theirs["ticker"].unique()}
    theirs = theirs.with_columns(
        pl.col("ticker").replace_strict(ids, return_dtype=pl.Int64).alias("asset_id"),
        pl.col("Date").dt.month_end().alias("month"),
    )
    both = ours.join(theirs, on=["asset_id", "month"])
    assert len(both) > 500
    assert (both["price"] / both["Close"] - 1).abs().max() < 1e-6
    assert (both["trading_days"] == both["n_days"]).all()
    assert (both["sum_squared_daily_returns"] - both["sum_sq_daily_ret"]).abs().max() < 1e-5
    assert (both["maximum_daily_return"] - both["max_daily_ret"]).abs().max() < 1e-5
