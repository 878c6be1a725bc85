"""The characteristics of a source with quarters only and without days, against slow, readable loops.

One firm, one month, point in time; `test_all_characteristics` has the whole registry.
The tables are a small simulated market with everything that makes real ones difficult: months and
statements missing, filings late, several on one day, restatements, odd fiscal quarters, zeros and gaps.
"""

from __future__ import annotations

import calendar
import datetime as dt
import math
import statistics
from collections import defaultdict

import numpy as np
import polars as pl
import pytest

from seqpricing_core.characteristics.compute import compute_characteristics
from seqpricing_core.tables import STATEMENT_ITEMS, STATEMENTS, STOCK_MONTHS, check_table

HISTORY_YEARS = 3
FLOWS = ("revenue", "earnings", "operating_cash_flow", "capital_expenditures")


class Nothing(Exception):  # noqa: N818
    """A value that is needed is not there."""


def need(value):
    if value is None:
        raise Nothing
    return value


def positive(value):
    if value is None or value <= 0:
        raise Nothing
    return value


def quarter_of(day: dt.date) -> int:
    return day.year * 4 + (day.month - 1) // 3


class Firm:
    """What was known of one firm at the end of one month. Months are counted: year * 12 + month - 1."""

    def __init__(self, months: dict[int, dict], reports: dict[int, tuple[dt.date, dict]], now: int) -> None:
        year, month = now // 12, now % 12 + 1
        self.now = now
        self.end = dt.date(year, month, calendar.monthrange(year, month)[1])
        self._months, self._reports = months, reports
        public = [quarter for quarter, (day, _) in reports.items() if day <= self.end]
        self.newest = max(public, default=None)
        if self.newest is not None and quarter_of(self.end) - self.newest > 5:
            self.newest = None  # too old to say anything

    def market(self, column: str, back: int = 0):
        """Value of ``column`` ``back`` months ago."""
        return need(self._months.get(self.now - back, {}).get(column))

    def window(self, column: str, first: int, last: int) -> list[float]:
        """Values from ``first`` months ago to ``last`` months ago; all must be there."""
        return [self.market(column, back) for back in range(first, last - 1, -1)]

    def compound(self, first: int, last: int) -> float:
        growth = 1.0
        for ret in self.window("ret", first, last):
            growth *= 1 + ret
        return growth - 1

    def turnover(self, back: int) -> float:
        return self.market("dollar_volume", back) / positive(self.market("market_equity", back))

    def item(self, name: str, lag: int = 0):
        """Item of the quarter ``lag`` quarters before the newest public one, if it is public itself."""
        if self.newest is None:
            raise Nothing
        day, values = self._reports.get(self.newest - lag, (dt.date.max, {}))
        return need(values.get(name) if day <= self.end else None)

    def year(self, name: str, lag: int = 0) -> float:
        """Sum of four quarters."""
        return sum(self.item(name, lag + quarter) for quarter in range(4))

    @property
    def equity(self) -> float:
        return positive(self.market("market_equity"))


def growth(firm: Firm, item: str) -> float:
    return firm.item(item) / positive(firm.item(item, 4)) - 1


def growth_of_year(firm: Firm, item: str) -> float:
    return firm.year(item) / positive(firm.year(item, 4)) - 1


def accruals(firm: Firm) -> float:
    return firm.year("earnings") - firm.year("operating_cash_flow")


def mean_assets(firm: Firm) -> float:
    return (positive(firm.item("assets")) + positive(firm.item("assets", 4))) / 2


def zero_trading(firm: Firm) -> float:
    turnover = firm.turnover(0)
    return (firm.market("zero_volume_days") + 1 / turnover / 480_000) * 21 / firm.market("trading_days")


def nonzero(value: float) -> float:
    if value == 0:
        raise Nothing
    return value


SLOW = {
    # Market. t is the month priced: t-1 is the month whose end we stand at, 0 months ago.
    "mom_1": lambda f: f.market("ret"),
    "mom_6": lambda f: f.compound(5, 1),
    "mom_12": lambda f: f.compound(11, 1),
    "mom_36": lambda f: f.compound(35, 12),
    "chmom": lambda f: f.compound(5, 0) - f.compound(11, 6),
    "high52": lambda f: f.market("price") / max(f.window("high", 11, 0)),
    "retvol": lambda f: math.sqrt(f.market("sum_squared_daily_returns") / f.market("trading_days")),
    "maxret": lambda f: f.market("maximum_daily_return"),
    "retvol_12": lambda f: statistics.stdev(f.window("ret", 11, 0)),
    "mvel1": lambda f: math.log(f.equity),
    "dolvol": lambda f: math.log(positive(f.market("dollar_volume", 1))),
    "turn": lambda f: statistics.mean(f.turnover(back) for back in range(3)),
    "stdturn": lambda f: statistics.stdev([f.turnover(back) for back in range(12)]),
    "ill": lambda f: statistics.mean(
        abs(f.market("ret", back)) / (f.market("dollar_volume", back) / 1e6) for back in range(12)
    ),
    "zerotrade": zero_trading,
    # Statements.
    "bm": lambda f: f.item("book_equity") / f.equity,
    "ep": lambda f: f.year("earnings") / f.equity,
    "sp": lambda f: f.year("revenue") / f.equity,
    "cfp": lambda f: f.year("operating_cash_flow") / f.equity,
    "lev": lambda f: f.item("liabilities") / f.equity,
    "agr": lambda f: growth(f, "assets"),
    "egr": lambda f: growth(f, "book_equity"),
    "lgr": lambda f: growth(f, "liabilities"),
    "sgr": lambda f: growth_of_year(f, "revenue"),
    "grcapx": lambda f: growth_of_year(f, "capital_expenditures"),
    "chcsho": lambda f: growth(f, "shares"),
    "acc": lambda f: accruals(f) / mean_assets(f),
    "absacc": lambda f: abs(accruals(f)) / mean_assets(f),
    "pctacc": lambda f: accruals(f) / abs(nonzero(f.year("earnings"))),
    "roa": lambda f: f.item("earnings") / positive(f.item("assets", 1)),
    "roe": lambda f: f.item("earnings") / positive(f.item("book_equity", 1)),
    "chpm": lambda f: (
        f.year("earnings") / positive(f.year("revenue"))
        - f.year("earnings", 4) / positive(f.year("revenue", 4))
    ),
    "chato": lambda f: (
        f.year("revenue") / positive(f.item("assets"))
        - f.year("revenue", 4) / positive(f.item("assets", 4))
    ),
    "cash": lambda f: f.item("cash") / positive(f.item("assets")),
    "cashpr": lambda f: (
        (f.equity + f.item("long_term_debt") - f.item("assets")) / positive(f.item("cash"))
    ),
    "cashdebt": lambda f: f.year("operating_cash_flow") / positive(f.item("liabilities")),
    "currat": lambda f: f.item("current_assets") / positive(f.item("current_liabilities")),
    "pchcurrat": lambda f: (
        f.item("current_assets") / positive(f.item("current_liabilities"))
        / nonzero(f.item("current_assets", 4) / positive(f.item("current_liabilities", 4))) - 1
    ),
    "salecash": lambda f: f.year("revenue") / positive(f.item("cash")),
    "invest": lambda f: f.year("capital_expenditures") / positive(f.item("assets", 4)),
}  # fmt: skip


def slow(firm: Firm, acronym: str) -> float | None:
    try:
        value = SLOW[acronym](firm)
    except (Nothing, ZeroDivisionError):
        return None
    return value if math.isfinite(value) else None


def by_firm(stock_months: pl.DataFrame, statements: pl.DataFrame):
    """Rows of each firm by month, and the first report of each quarter."""
    months: dict[int, dict[int, dict]] = defaultdict(dict)
    for row in stock_months.iter_rows(named=True):
        months[row["asset_id"]][row["month"].year * 12 + row["month"].month - 1] = row
    reports: dict[int, dict[int, tuple[dt.date, dict]]] = defaultdict(dict)
    for row in statements.iter_rows(named=True):
        # A fiscal quarter that closes up to 15 days into the next calendar quarter belongs to the first.
        quarter = quarter_of(row["period_end"] - dt.timedelta(days=15))
        held = reports[row["asset_id"]].get(quarter)
        if held is None or (row["available_from"], row["period_end"]) < (held[0], held[1]["period_end"]):
            reports[row["asset_id"]][quarter] = (row["available_from"], row)
    return months, reports


def difficult(tables: dict[str, pl.DataFrame], seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The market with gaps, late and same-day filings, restatements, odd quarters, zeros."""
    random = np.random.default_rng(seed)

    def chance(table, share):
        return pl.Series(random.random(len(table)) < share)

    months = tables["stock_months"]
    months = months.filter(~chance(months, 0.01))
    months = months.with_columns(
        *(
            pl.when(~chance(months, share)).then(pl.col(column)).alias(column)
            for column, share in (
                ("ret", 0.005), ("market_equity", 0.01), ("dollar_volume", 0.005), ("high", 0.005),
                ("trading_days", 0.01), ("maximum_daily_return", 0.01),
            )
        )
    )  # fmt: skip
    months = months.with_columns(
        pl.when(chance(months, 0.005)).then(0.0).otherwise(pl.col("dollar_volume")).alias("dollar_volume")
    ).with_columns(pl.when(chance(months, 0.002)).then(-1.0).otherwise(pl.col("ret")).alias("ret"))

    filed = tables["statements"]
    filed = filed.filter(~chance(filed, 0.03))
    # Some firms fall silent, each in its own quarter, and go on trading: their statements grow too old.
    silent = pl.date(2001, 12, 31).dt.offset_by(pl.format("{}mo", pl.col("asset_id") % 24))
    filed = filed.filter(~((pl.col("asset_id") % 4 == 1) & (pl.col("period_end") > silent)))
    end, day = pl.col("period_end"), pl.col("available_from")
    odd = pl.col("asset_id") % 5 == 0  # fiscal quarters that close a month earlier
    late = chance(filed, 0.06)
    filed = filed.with_columns(
        pl.when(odd).then(end.dt.offset_by("-1mo").dt.month_end())
        .when(chance(filed, 0.1)).then(end.dt.offset_by("9d")).otherwise(end).alias("period_end"),
        pl.when(late).then(day + pl.duration(days=pl.Series(random.integers(30, 400, len(filed)))))
        .when(chance(filed, 0.1)).then(day.dt.month_end())
        .when(chance(filed, 0.1)).then(day.dt.month_end() + pl.duration(days=1)).otherwise(day)
        .alias("available_from"),
    )  # fmt: skip
    # Two quarters filed on one day.
    filed = filed.with_columns(
        pl.when(chance(filed, 0.05))
        .then(day.shift(-1).over("asset_id", order_by="period_end").fill_null(day))
        .otherwise(day)
        .alias("available_from")
    ).with_columns(pl.max_horizontal(day, end + pl.duration(days=1)))
    filed = filed.with_columns(
        pl.when(chance(filed, 0.01)).then(value).otherwise(pl.col(item)).alias(item)
        for item in STATEMENT_ITEMS
        for value in [0.0 if item not in ("book_equity", "earnings") else -5.0]
    )
    again = filed.filter(chance(filed, 0.15))
    restated = again.with_columns(
        (day + pl.duration(days=pl.Series(random.integers(1, 300, len(again))))).alias("available_from"),
        *(pl.col(item) * 3 for item in STATEMENT_ITEMS),
    )
    filed = pl.concat([filed, restated]).sample(fraction=1, shuffle=True, seed=seed)
    return check_table(months, STOCK_MONTHS, "months"), check_table(
        filed.unique(["asset_id", "period_end", "available_from"], keep="first", maintain_order=True),
        STATEMENTS,
        "statements",
    )


def years(table: pl.DataFrame, column: str, first: int, last: int) -> pl.DataFrame:
    return table.filter(pl.col(column).dt.year().is_between(first, last))


class TestAgainstSlowLoops:
    @pytest.fixture(scope="class")
    def tables(self, small):
        return difficult(small.tables)

    @pytest.fixture(scope="class")
    def both(self, tables):
        """2003 and 2004 computed fast; the firms as the slow loops see them, with the same years."""
        found = {}
        for year in (2003, 2004):
            months = years(tables[0], "month", year - HISTORY_YEARS, year)
            statements = years(tables[1], "available_from", year - HISTORY_YEARS, year)
            found[year] = (
                compute_characteristics(months, statements, year, tuple(SLOW)),
                *by_firm(months, statements),
            )
        return found

    def test_the_tables_are_difficult(self, tables):
        """Every difficulty is there: else the comparison below would be too easy."""
        months, filed = tables
        quarters = filed.with_columns(q=pl.col("period_end").dt.offset_by("-15d").dt.truncate("1q"))
        assert (quarters.group_by("asset_id", "q").len()["len"] > 1).sum() > 100  # restated
        same_day = filed.group_by("asset_id", "available_from").agg(pl.col("period_end").n_unique())
        assert (same_day["period_end"] > 1).sum() > 20
        assert (filed["available_from"] - filed["period_end"]).dt.total_days().max() > 300
        assert (filed["available_from"] == filed["available_from"].dt.month_end()).sum() > 50
        gaps = months.sort("asset_id", "month").with_columns(
            step=pl.col("month").diff().over("asset_id").dt.total_days()
        )
        assert (gaps["step"] > 40).sum() > 20
        newest = filed.group_by("asset_id").agg(pl.col("period_end").max())
        assert (newest["period_end"] < dt.date(2002, 12, 31)).sum() > 10  # fallen silent

    @pytest.mark.parametrize("acronym", SLOW)
    def test_every_firm_and_month(self, both, acronym):
        present = missing = 0
        for fast, months, reports in both.values():
            for asset, month, value in fast.select("asset_id", "month", acronym).iter_rows():
                now = month.year * 12 + month.month - 1
                expected = slow(Firm(months[asset], reports[asset], now), acronym)
                if expected is None:
                    missing += 1
                    assert value is None, (asset, month, value)
                else:
                    present += 1
                    assert value == pytest.approx(expected, rel=1e-8, abs=1e-10), (asset, month)
        assert present > 700  # of about 1,650 firm-months
        assert missing > 0

    def test_one_row_per_firm_that_traded(self, both):
        for year, (fast, months, _) in both.items():
            expected = sorted(
                (now, asset) for asset, rows in months.items() for now in rows if now // 12 == year
            )
            found = [(m.year * 12 + m.month - 1, a) for m, a in fast.select("month", "asset_id").iter_rows()]
            assert found == expected

    def test_months_since_the_first(self, both):
        for fast, months, _ in both.values():
            for asset, month, history in fast.select("asset_id", "month", "history_months").iter_rows():
                assert history == month.year * 12 + month.month - min(months[asset])

    @pytest.mark.parametrize(
        "acronym",
        [
            "mvel1", "turn", "stdturn", "bm", "ep", "sp", "cfp", "lev", "cashpr", "zerotrade",
        ],
    )  # fmt: skip
    def test_market_equity_of_zero_is_no_market_equity(self, tables, acronym):
        """Whatever is divided by it cannot be computed."""
        months = years(tables[0], "month", 2001, 2004).with_columns(
            pl.when(pl.col("month") != dt.date(2004, 3, 31)).then(pl.col("market_equity")).otherwise(0.0)
        )
        found = compute_characteristics(
            months, years(tables[1], "available_from", 2001, 2004), 2004, (acronym,)
        ).filter(pl.col("month") == dt.date(2004, 3, 31))
        assert len(found) > 60
        assert found[acronym].null_count() == len(found)

    def test_no_nan_and_nothing_infinite(self, both):
        for fast, _, _ in both.values():
            for acronym in SLOW:
                assert fast[acronym].drop_nulls().is_finite().all(), acronym

    def test_the_small_study_and_the_loops_name_the_same(self, small):
        assert list(SLOW) == list(small.study.acronyms)


class TestHistory:
    def test_three_years_are_enough(self, small):
        """The same with all years that there are, for a market without late filings."""
        months, filed = small.tables["stock_months"], small.tables["statements"]
        whole = compute_characteristics(
            years(months, "month", 1996, 2004),
            years(filed, "available_from", 1996, 2004),
            2004,
            tuple(SLOW),
        )
        for acronym in SLOW:
            expected = small.characteristics[2004][acronym]
            assert whole[acronym].is_null().equals(expected.is_null()), acronym
            # Rolling sums carry the rounding of all months before: equal but for the last digits.
            np.testing.assert_allclose(
                whole[acronym].drop_nulls(), expected.drop_nulls(), rtol=1e-9, atol=1e-12, err_msg=acronym
            )

    def test_three_years_are_enough_for_odd_fiscal_quarters(self, small):
        """Quarters close in January, April, July, October; the newest is five quarters old, the limit."""
        months = small.tables["stock_months"]
        asset = months.filter(pl.col("month") == dt.date(2004, 1, 31))["asset_id"][0]
        ends = [dt.date(y, m, 31 if m != 4 else 30) for y in range(1998, 2003) for m in (1, 4, 7, 10)]
        ends = [end for end in ends if end <= dt.date(2002, 10, 31)]
        filed = pl.DataFrame({
            "asset_id": [asset] * len(ends), "period_end": ends,
            "available_from": [end + dt.timedelta(days=40) for end in ends],
            **{item: [100.0 + place for place in range(len(ends))] for item in STATEMENT_ITEMS},
        })  # fmt: skip
        values = []
        for first in (1996, 2004 - HISTORY_YEARS):
            rows = compute_characteristics(
                years(months, "month", first, 2004),
                years(filed, "available_from", first, 2004),
                2004,
                ("sgr",),
            )
            values.append(rows.filter(pl.col("asset_id") == asset)["sgr"][0])
        assert values[0] is not None
        assert values[1] == values[0]

    def test_a_restatement_never_replaces_what_was_known(self, small):
        """Ten times the book equity, restated after a year: no characteristic moves."""
        filed = small.history(small.statements, 2004)
        restated = filed.with_columns(
            pl.col("available_from").dt.offset_by("1y"), *(pl.col(item) * 10 for item in STATEMENT_ITEMS)
        )
        with_restatements = years(pl.concat([filed, restated]), "available_from", 2001, 2004)
        again = compute_characteristics(
            small.history(small.stock_months, 2004), with_restatements, 2004, tuple(SLOW)
        )
        assert again.equals(small.characteristics[2004])

    def test_a_statement_counts_from_the_month_in_which_it_was_public(self, small):
        """Public on the last day of April: known for April. On the first of May: not."""
        months = small.history(small.stock_months, 2004)
        asset = small.characteristics[2004]["asset_id"][0]
        ends = [dt.date(2003, 3, 31), dt.date(2003, 6, 30), dt.date(2003, 9, 30), dt.date(2003, 12, 31)]
        for day, first_month in ((dt.date(2004, 4, 30), 4), (dt.date(2004, 5, 1), 5)):
            filed = pl.DataFrame({
                "asset_id": [asset] * len(ends), "period_end": ends,
                "available_from": [*(end + dt.timedelta(days=45) for end in ends[:3]), day],
                **{item: [1.0, 2.0, 3.0, 4.0] for item in STATEMENT_ITEMS},
            })  # fmt: skip
            found = compute_characteristics(months, filed, 2004, ("cash", "roa", "ep", "mvel1"))
            found = found.filter(pl.col("asset_id") == asset)
            roa = dict(zip(found["month"].dt.month(), found["roa"], strict=True))
            assert roa[first_month - 1] == pytest.approx(3 / 2)
            assert roa[first_month] == pytest.approx(4 / 3)
            # Three quarters are no year.
            assert (
                found.filter(pl.col("month").dt.month() < first_month)["ep"].null_count() == first_month - 1
            )
            assert found.filter(pl.col("month").dt.month() >= first_month)["ep"].null_count() == 0


class TestAgainstTheTruth:
    """The simulator computes its drivers by itself, from its own state: the pipeline must find them again."""

    @pytest.mark.parametrize("driver", ["mvel1", "bm", "mom_12", "roe", "agr", "retvol", "turn"])
    def test_drivers(self, small, driver):
        truth = small.tables["truth"].select(
            "asset_id",
            pl.col("month").dt.offset_by("-1mo").dt.month_end(),
            pl.col(f"true_{driver}").alias("true"),
        )
        computed = pl.concat(small.characteristics[year] for year in range(2000, 2006))
        both = computed.select("asset_id", "month", pl.col(driver).alias("found")).join(
            truth, on=["asset_id", "month"]
        )
        # A firm that left has no truth for the month after its last.
        assert len(both) > 0.98 * len(computed.filter(pl.col("month") < dt.date(2005, 12, 1)))
        true = both["true"].fill_nan(None)
        assert both["found"].is_null().equals(true.is_null())
        assert 0 < true.null_count() < 0.3 * len(both) or driver in ("mvel1", "retvol")
        np.testing.assert_allclose(
            both["found"].drop_nulls().to_numpy(), true.drop_nulls().to_numpy(), rtol=1e-9, atol=1e-12
        )
