"""Characteristics and panel of a whole market: seconds, peak memory, and the same numbers as pandas.

    python benchmarks/characteristics.py                          # 3,500 stocks x 45 years, 1,000 with days
    python benchmarks/characteristics.py --stocks 300 --day-stocks 100 --years 8     # a try

Random tables (`random_market.py`) are written by year, as a study keeps them. A fresh process then goes
through the years: statistics of the year's days, every characteristic of the registry from the years before
it, the panel of ranks, and its managed portfolios. It reports CPU and wall seconds of each step and its peak
memory (VmHWM, less what the imports take) as a multiple of one year's partition in memory.

The baseline is a straightforward pandas program, group by stock, of 20 of the characteristics, on the stocks
of a slice and its last year: `seqpricing` computes the same 20 from the same tables in the same process, and
the numbers must agree.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from random_market import random_days, random_months, random_statements

from seqpricing_core.characteristics.compute import compute_characteristics
from seqpricing_core.characteristics.day_statistics import day_statistics, market_days
from seqpricing_core.characteristics.registry import REGISTRY
from seqpricing_core.panel.build import build_panel
from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
from seqpricing_core.study import Study

FIRST_YEAR = 1970
HISTORY, DAY_HISTORY = 6, 3
STUDY: dict[str, Any] = {
    "name": "benchmark", "title": "benchmark", "models": {"ipca": {}}, "universe": {"require": ["mvel1"]},
    "source": {"kind": "canonical_files", "stock_months": "m", "statements": "s", "factors": "f"},
    "sample": {"first_month": "1900-01", "last_month": "2190-12"}, "windows": {"train_years": 1},
    "number_of_factors": [1],
}  # fmt: skip


def write_tables(folder: Path, stocks: int, day_stocks: int, years: range) -> None:
    """One parquet file per table and year; seven years of history stand before ``years``."""
    first = years.start - HISTORY
    tables = {
        "stock_months": (random_months(stocks, first, years.stop - 1), "month"),
        "statements": (random_statements(stocks, first, years.stop - 1), "available_from"),
    }
    for name, (table, date) in tables.items():
        for (year,), rows in table.group_by(pl.col(date).dt.year(), maintain_order=True):
            rows.write_parquet(folder / f"{name}_{year}.parquet")
    for year in range(years.start - DAY_HISTORY, years.stop):
        days, factors = random_days(day_stocks, year)
        days.write_parquet(folder / f"stock_days_{year}.parquet")
        factors.write_parquet(folder / f"factor_days_{year}.parquet")


def read(folder: Path, name: str, years: range) -> pl.DataFrame:
    paths = [folder / f"{name}_{year}.parquet" for year in years]
    return pl.concat([pl.read_parquet(path) for path in paths if path.is_file()])


class Clock:
    """CPU and wall seconds by step."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.wall: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() - cpu
        self.wall[name] = self.wall.get(name, 0.0) + time.perf_counter() - wall


def peak_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def whole_market(folder: Path, years: range) -> dict[str, Any]:
    """Every year, one after the other; what a year leaves behind is the statistics of its days."""
    start, clock, study = peak_mib(), Clock(), Study.model_validate(STUDY)
    statistics: dict[int, pl.DataFrame] = {}
    markets: dict[int, pl.DataFrame] = {}
    before: pl.DataFrame | None = None
    rows, partition = 0, 0.0
    for year in range(years.start - DAY_HISTORY, years.stop):
        with clock.step("statistics of days"):
            days = read(folder, "stock_days", range(year, year + 1))
            markets[year] = market_days(days, read(folder, "factor_days", range(year, year + 1)))
            market = pl.concat(markets[y] for y in (year - 1, year) if y in markets)
            statistics[year] = day_statistics(days, market, year)
        if year < years.start:
            continue
        history = range(year - HISTORY, year + 1)
        with clock.step("characteristics"):
            months, statements = read(folder, "stock_months", history), read(folder, "statements", history)
            of_days = pl.concat(statistics[y] for y in range(year - DAY_HISTORY, year + 1))
            known = compute_characteristics(months, statements, year, tuple(REGISTRY), of_days)
        this = months.filter(pl.col("month").dt.year() == year)
        filed = statements.filter(pl.col("available_from").dt.year() == year)
        partition = max(partition, sum(t.estimated_size("mb") for t in (this, filed, days)))
        rows += len(known)
        if before is not None:
            with clock.step("panel and managed portfolios"):
                factors = this.select("month").unique().with_columns(risk_free=pl.lit(0.002))
                panel = build_panel(pl.concat([before, known]), this, factors, year, study)
                compute_managed_portfolios(panel)
        before = known
        statistics.pop(year - DAY_HISTORY, None)
        markets.pop(year - 1, None)
    peak = peak_mib() - start
    return {
        "stock_months": rows, "cpu": clock.cpu, "wall": clock.wall, "peak_mib": peak,
        "partition_mib": partition, "multiple": peak / partition,
    }  # fmt: skip


# The baseline: one stock at a time, as a researcher writes it with pandas.

BASELINE = (
    "mom_1", "mom_12", "mom_36", "mom_60", "chmom", "retvol_12", "retvol_60", "mvel1", "dolvol", "turn",
    "bm", "ep", "agr", "gma", "roa", "beta", "idiovol", "svar", "stddolvol", "ill",
)  # fmt: skip


def by_stock(months: pd.DataFrame, year: int) -> pd.DataFrame:
    """Look-backs of one stock's months."""
    months = months.set_index("month").asfreq("ME")
    ret, equity = months["ret"], months["market_equity"]
    growth = np.log1p(ret)

    def compound(window: int, lag: int) -> pd.Series:
        return np.expm1(growth.shift(lag).rolling(window, min_periods=window).sum())

    turnover = months["dollar_volume"] / equity.where(equity > 0)
    found = pd.DataFrame({
        "mom_1": ret, "mom_12": compound(11, 1), "mom_36": compound(24, 12), "mom_60": compound(48, 12),
        "chmom": compound(6, 0) - compound(6, 6), "retvol_12": ret.rolling(12).std(),
        "retvol_60": ret.rolling(60).std(), "mvel1": np.log(equity),
        "dolvol": np.log(months["dollar_volume"].shift(1)), "turn": turnover.rolling(3).mean(),
    })  # fmt: skip
    traded = months["asset_id"].notna() & (months.index.year == year)
    return found[traded]


def known_statements(months: pd.DataFrame, filed: pd.DataFrame) -> pd.DataFrame:
    """Newest fiscal year and quarter that are public at the end of each month, for one stock."""
    first = filed.sort_values(["available_from", "period_end"]).drop_duplicates(["quarter", "period_months"])
    years, quarters = (first[first["period_months"] == n].set_index("quarter") for n in (12, 3))
    rows = []
    for month in months["month"]:
        now = month.year * 4 + (month.month - 1) // 3
        row = dict.fromkeys(("book", "earnings", "assets", "assets_1", "gross", "roa"), math.nan)
        public = quarters[quarters["available_from"] <= month]
        of_years = years[years["available_from"] <= month]
        if len(public) and now - public.index.max() <= 5:
            q = public.index.max()
            if q - 1 in public.index and public.loc[q - 1, "assets"] > 0:
                row["roa"] = public.loc[q, "earnings"] / public.loc[q - 1, "assets"]
        if len(of_years) and now - of_years.index.max() <= 6:
            a = of_years.index.max()
            newest = of_years.loc[a]
            row |= {
                "book": newest["book_equity"], "earnings": newest["earnings"], "assets": newest["assets"],
                "gross": newest["revenue"] - newest["cost_of_revenue"],
            }  # fmt: skip
            if a - 4 in of_years.index:
                row["assets_1"] = of_years.loc[a - 4, "assets"]
        elif len(public) and now - public.index.max() <= 5:
            q, last = (
                public.index.max(),
                public.reindex(range(public.index.max() - 3, public.index.max() + 1)),
            )
            row |= {
                "book": public.loc[q, "book_equity"], "assets": public.loc[q, "assets"],
                "earnings": last["earnings"].sum(skipna=False),
                "gross": last["revenue"].sum(skipna=False) - last["cost_of_revenue"].sum(skipna=False),
            }  # fmt: skip
            if q - 4 in public.index:
                row["assets_1"] = public.loc[q - 4, "assets"]
        rows.append(row)
    return pd.DataFrame(rows, index=months.index)


def week_of(days: pd.Series) -> pd.Series:
    friday = days - pd.to_timedelta(days.dt.weekday, unit="D") + pd.Timedelta(days=4)
    return friday.where(friday.dt.year <= days.dt.year, pd.to_datetime(days.dt.year.astype(str) + "-12-31"))


def of_days(days: pd.DataFrame, weeks: pd.DataFrame, year: int) -> pd.DataFrame:
    """Weekly beta over 36 months, and what one stock's daily data say, at the end of each month."""
    growth = (1 + days["ret"].dropna()).groupby(days["week"]).prod()
    weekly = weeks.join(growth.rename("growth"), how="inner").dropna()
    y = weekly["growth"] - weekly["risk_free"]
    rows = []
    for month in pd.date_range(f"{year}-01-31", periods=12, freq="ME"):
        window = (weekly.index > month - pd.offsets.MonthEnd(36)) & (weekly.index <= month)
        row = {"month": month, "beta": math.nan, "idiovol": math.nan}
        if window.sum() >= 52:
            x = np.column_stack([np.ones(window.sum()), weekly["m0"][window]])
            coefficients, squares, *_ = np.linalg.lstsq(x, y[window].to_numpy())
            row |= {"beta": coefficients[1], "idiovol": math.sqrt(squares[0] / (window.sum() - 2))}
        recent = days[(days["day"] > month - pd.offsets.MonthEnd(3)) & (days["day"] <= month)]
        row["svar"] = recent["ret"].var() if recent["ret"].count() >= 20 else math.nan
        this = recent[recent["day"] > month - pd.offsets.MonthEnd(1)]
        volume = this["dollar_volume"].where(this["dollar_volume"] > 0)
        row["stddolvol"] = np.log(volume).std()
        row["ill"] = (this["ret"].abs() / (volume / 1e6)).mean()
        rows.append(row)
    return pd.DataFrame(rows)


def pandas_characteristics(tables: dict[str, pd.DataFrame], year: int) -> pd.DataFrame:
    """`BASELINE` for every stock and month of ``year``."""
    months, filed, days, market = (tables[n] for n in ("stock_months", "statements", "stock_days", "market"))
    looked_back = months.groupby("asset_id")[months.columns.tolist()].apply(by_stock, year).reset_index()
    shifted = filed["period_end"] - pd.Timedelta(days=15)
    filed = filed.assign(quarter=shifted.dt.year * 4 + (shifted.dt.month - 1) // 3)
    statements = dict(iter(filed.groupby("asset_id")))
    nothing = filed.iloc[:0]
    known = pd.concat(
        known_statements(rows, statements.get(asset, nothing))
        for asset, rows in looked_back.groupby("asset_id")
    )
    table = looked_back.join(known)
    classes = months[["asset_id", "month", "market_equity", "company_id"]].dropna()
    whole = classes.assign(whole=classes.groupby(["month", "company_id"])["market_equity"].transform("sum"))
    table = table.merge(months[["asset_id", "month", "market_equity"]], on=["asset_id", "month"])
    table = table.merge(whole[["asset_id", "month", "whole"]], on=["asset_id", "month"], how="left")
    equity = table["whole"].fillna(table["market_equity"])
    equity = equity.where(equity > 0)
    before = table["assets_1"].where(table["assets_1"] > 0)
    table = table.assign(
        bm=table["book"] / equity, ep=table["earnings"] / equity, agr=table["assets"] / before - 1,
        gma=table["gross"] / before,
    )  # fmt: skip
    market = market.assign(week=week_of(market["day"]), total=1 + market["market"] + market["risk_free"])
    weeks = market.groupby("week").agg(
        total=("total", "prod"), risk_free=("risk_free", lambda r: (1 + r).prod())
    )
    weeks["m0"] = weeks["total"] - weeks["risk_free"]
    # The four weeks that the first lags need are not in the sample of the regression with lags either.
    weeks = weeks.iloc[4:]
    days = days.assign(week=week_of(days["day"]))
    daily = (
        days.groupby("asset_id")[days.columns.tolist()].apply(of_days, weeks, year).reset_index("asset_id")
    )
    return table.merge(daily, on=["asset_id", "month"], how="left")[["asset_id", "month", *BASELINE]]


def slice_of_both(folder: Path, stocks: int, year: int) -> dict[str, Any]:
    """The same 20 characteristics of the first ``stocks`` stocks and of one year, both ways."""
    of_slice = pl.col("asset_id") <= 10_000 + stocks
    history, day_years = range(year - HISTORY, year + 1), range(year - DAY_HISTORY, year + 1)
    months = read(folder, "stock_months", history).filter(of_slice)
    statements = read(folder, "statements", history).filter(of_slice)
    days = {y: read(folder, "stock_days", range(y, y + 1)).filter(of_slice) for y in day_years}
    factors = {y: read(folder, "factor_days", range(y, y + 1)) for y in day_years}
    ours = math.inf
    for _ in range(3):
        clock = Clock()
        with clock.step("ours"):
            markets = {y: market_days(days[y], factors[y]) for y in day_years}
            statistics = pl.concat(
                day_statistics(days[y], pl.concat(markets[k] for k in (y - 1, y) if k in markets), y)
                for y in day_years
            )
            found = compute_characteristics(months, statements, year, BASELINE, statistics)
        ours = min(ours, clock.cpu["ours"])
    tables = {
        "stock_months": months, "statements": statements, "stock_days": pl.concat(days.values()),
        "market": pl.concat(markets.values()),
    }  # fmt: skip
    frames = {name: table.to_pandas() for name, table in tables.items()}
    for frame in frames.values():
        for column in frame.columns.intersection(["month", "day", "period_end", "available_from"]):
            frame[column] = pd.to_datetime(frame[column])
    clock = Clock()
    with clock.step("pandas"):
        plain = pandas_characteristics(frames, year)
    mine = found.to_pandas().assign(month=lambda t: pd.to_datetime(t["month"]))
    both = mine.merge(plain, on=["asset_id", "month"], suffixes=("", "_pandas"))
    assert len(both) == len(mine)
    for name in BASELINE:
        theirs = both[f"{name}_pandas"].replace([np.inf, -np.inf], np.nan)
        np.testing.assert_allclose(both[name], theirs, rtol=1e-6, atol=1e-9, err_msg=name)
    return {"stocks": stocks, "rows": len(mine), "seqpricing_cpu": ours, "pandas_cpu": clock.cpu["pandas"],
            "times_faster": clock.cpu["pandas"] / ours}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stocks", type=int, default=3500)
    parser.add_argument("--day-stocks", type=int, default=1000)
    parser.add_argument("--years", type=int, default=45)
    parser.add_argument("--slice", type=int, default=300, help="stocks of the comparison with pandas")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", choices=["whole", "slice"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    years = range(FIRST_YEAR + HISTORY, FIRST_YEAR + HISTORY + arguments.years)
    stocks = min(arguments.slice, arguments.day_stocks)
    if arguments.step == "whole":
        print(json.dumps(whole_market(arguments.folder, years)))
        return
    if arguments.step == "slice":
        print(json.dumps(slice_of_both(arguments.folder, stocks, years.stop - 1)))
        return
    with tempfile.TemporaryDirectory() as name:
        write_tables(Path(name), arguments.stocks, arguments.day_stocks, years)
        for step in ("slice", "whole"):
            command = [sys.executable, __file__, *sys.argv[1:], "--folder", name, "--step", step]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
            print(step, json.dumps(json.loads(done.stdout), indent=2), flush=True)


if __name__ == "__main__":
    main()
