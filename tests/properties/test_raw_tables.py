"""What happens to raw tables later changes nothing that was known earlier.

A restatement, a late filing, a ticker used again, a delisting, a split (in adjusted prices and in raw ones),
a changed link between stocks and firms, a changed index membership: each is put into the raw tables on some
day. Characteristics of months that ended before it, and panels of months up to it, stay the same bit by bit.
So that none of this holds by accident, each test also sees the event change something that came after it.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqpricing_core.characteristics.compute import compute_characteristics
from seqpricing_core.characteristics.registry import history_years
from seqpricing_core.panel.build import build_panel
from seqpricing_core.sources.public_files import asset_id_of

YEARS = (2000, 2001)
ACRONYMS = (
    "mvel1",
    "bm",
    "ep",
    "agr",
    "sgr",
    "roe",
    "mom_12",
    "mom_1",
    "retvol",
    "turn",
    "high52",
    "dolvol",
    "ill",
)
FEW = settings(
    max_examples=3, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
EVENT_MONTHS = st.dates(dt.date(2000, 2, 1), dt.date(2001, 9, 30)).map(lambda day: day.replace(day=1))
"""First day of the month in which something happens; there is a panel before it and one after it."""


def known(source):
    """Characteristics of `YEARS` and the panels they make, from a source's tables."""
    months = {
        year: source.stock_months(year) for year in range(YEARS[0] - history_years(ACRONYMS), YEARS[-1] + 1)
    }
    statements = {year: source.statements(year) for year in months}
    characteristics = {}
    for year in YEARS:
        history = range(year - history_years(ACRONYMS), year + 1)
        characteristics[year] = compute_characteristics(
            pl.concat(months[y] for y in history), pl.concat(statements[y] for y in history), year, ACRONYMS
        )
    return pl.concat(characteristics.values()), months, {year: source.factors(year) for year in YEARS}


@pytest.fixture(scope="module")
def panel_of(make_study):
    """The panel of 2001 as a table: z and identity of each row, and the return that is joined last."""
    study = make_study(
        characteristics=list(ACRONYMS), sample={"first_month": "2000-01", "last_month": "2005-12"},
        universe={"minimum_history_months": 12}, number_of_factors=[1],
    )  # fmt: skip

    def build(tables):
        characteristics, months, factors = tables
        panel = build_panel(characteristics, months[2001], factors[2001], 2001, study)
        month = np.repeat(panel.months, np.diff(panel.offsets))
        return pl.DataFrame({
            "month": month.astype("datetime64[D]"), "asset_id": panel.asset_id,
            **dict(zip(panel.characteristic_names, panel.characteristics.T, strict=True)),
            "market_equity": panel.market_equity, "excess_return": panel.excess_return,
        })  # fmt: skip

    return build


@pytest.fixture(scope="module")
def check(panel_of):
    """Compares what two states of the raw tables know before the month of ``event``."""

    def compare(before, after, event: dt.date, *, later_differs=True):
        one, other = (tables[0].sort("month", "asset_id") for tables in (before, after))
        assert same_bits(one.filter(pl.col("month") < event), other.filter(pl.col("month") < event))
        panels = [panel_of(tables) for tables in (before, after)]
        # What prices the month of the event was settled before it; its returns were not.
        in_time, returned = pl.col("month") <= event, pl.col("month") < event
        assert same_bits(*(panel.filter(in_time).drop("excess_return") for panel in panels))
        assert same_bits(*(panel.filter(returned) for panel in panels))
        if later_differs:
            assert not same_bits(one, other), "the event changed nothing: the test would see nothing"

    return compare


def same_bits(one, other):
    """Equal tables, floating-point numbers bit by bit."""
    if one.shape != other.shape or one.columns != other.columns:
        return False

    def bits(column):
        return column.fill_null(float("nan")).to_numpy().tobytes() if column.dtype.is_float() else column

    pairs = ((one[name], other[name]) for name in one.columns)
    return all(
        bits(a) == bits(b) and a.is_null().equals(b.is_null()) if a.dtype.is_float() else a.equals(b)
        for a, b in pairs
    )


@pytest.fixture(scope="module")
def small_tables(small):
    return small.tables


@pytest.fixture
def from_tables(canonical_source):
    """What is known from canonical tables with some replaced."""
    return lambda **changed: known(canonical_source(**changed))


@pytest.fixture(scope="module")
def before(small, write_tables, tmp_path_factory):
    """What is known from the tables as they are."""
    from pathlib import Path

    from seqpricing_core.sources.canonical_files import CanonicalFiles

    paths = write_tables(tmp_path_factory.mktemp("before"), small.tables)
    return known(CanonicalFiles(*(Path(paths[name]) for name in ("stock_months", "statements", "factors"))))


def quarters_known(statements, event, asset):
    """Reports of a stock that were public before the event, the newest last."""
    return statements.filter(pl.col("asset_id") == asset, pl.col("available_from") < event).sort("period_end")


def asset_alive(tables, event, number):
    """A stock with rows over the whole of `YEARS`."""
    inside = pl.col("month").dt.year().is_in(YEARS)
    counted = tables["stock_months"].filter(inside).group_by("asset_id").len().filter(pl.col("len") == 24)
    return counted["asset_id"].sort()[number % len(counted)]


class TestCanonicalTables:
    @FEW
    @given(event=EVENT_MONTHS, number=st.integers(0, 100), factor=st.floats(0.2, 3))
    def test_a_restatement(self, small, before, from_tables, check, event, number, factor):
        """Two years of quarters are reported again with other figures: nothing changes, then or ever."""
        statements, asset = small.tables["statements"], asset_alive(small.tables, event, number)
        again = quarters_known(statements, event, asset).tail(8).with_columns(
            pl.lit(event + dt.timedelta(days=9)).alias("available_from"),
            *(pl.col(item) * factor for item in ("assets", "revenue", "earnings", "book_equity")),
        )  # fmt: skip
        after = from_tables(statements=pl.concat([statements, again]))
        check(before, after, event, later_differs=False)
        assert same_bits(before[0], after[0]), "a restatement replaced the first report"

    @FEW
    @given(event=EVENT_MONTHS, number=st.integers(0, 100), days=st.integers(30, 200))
    def test_a_late_filing(self, small, before, from_tables, check, event, number, days):
        """The report that would have been public in the event's month or after it comes later still."""
        statements, asset = small.tables["statements"], asset_alive(small.tables, event, number)
        due = (pl.col("asset_id") == asset) & (pl.col("available_from") >= event)
        late = pl.when(due).then(pl.col("available_from").dt.offset_by(f"{days}d"))
        moved = statements.with_columns(late.otherwise(pl.col("available_from")).alias("available_from"))
        check(before, from_tables(statements=moved), event)

    @FEW
    @given(event=EVENT_MONTHS, number=st.integers(0, 100), loss=st.floats(-1, 0))
    def test_a_delisting(self, small, before, from_tables, check, event, number, loss):
        """The stock earns its delisting return in the month of the event and is gone."""
        months, asset = small.tables["stock_months"], asset_alive(small.tables, event, number)
        here, end = pl.col("asset_id") == asset, event.replace(day=28)
        gone = months.filter(~(here & (pl.col("month").dt.month_start() > event))).with_columns(
            ret=pl.when(here & (pl.col("month") > end)).then(loss).otherwise(pl.col("ret"))
            if event.month != 2
            else pl.when(here & (pl.col("month") >= end)).then(loss).otherwise(pl.col("ret"))
        )
        check(before, from_tables(stock_months=gone), event)

    @FEW
    @given(event=EVENT_MONTHS, number=st.integers(0, 100))
    def test_a_changed_link(self, small, before, from_tables, check, event, number):
        """From the event on, the firm's statements belong to another stock."""
        statements = small.tables["statements"]
        asset = asset_alive(small.tables, event, number)
        other = asset_alive(small.tables, event, number + 1)
        later = pl.col("available_from") >= event
        linked = statements.filter(~(later & (pl.col("asset_id") == other))).with_columns(
            pl.when(later & (pl.col("asset_id") == asset))
            .then(other)
            .otherwise(pl.col("asset_id"))
            .alias("asset_id")
        )
        check(before, from_tables(statements=linked), event)

    @FEW
    @given(event=EVENT_MONTHS, number=st.integers(0, 100), split=st.sampled_from([2, 3, 0.1]))
    def test_a_raw_split(self, small, before, from_tables, check, event, number, split):
        """Prices that nobody adjusted: from the event on they are a share of what they were."""
        months, asset = small.tables["stock_months"], asset_alive(small.tables, event, number)
        here = (pl.col("asset_id") == asset) & (pl.col("month") >= event)
        raw = months.with_columns(
            pl.when(here).then(pl.col(column) / split).otherwise(pl.col(column)).alias(column)
            for column in ("price", "high")
        )
        check(before, from_tables(stock_months=raw), event)

    @FEW
    @given(event=EVENT_MONTHS, number=st.integers(0, 100), split=st.sampled_from([2.0, 4.0, 0.125]))
    def test_an_adjusted_split(self, small, before, from_tables, check, event, number, split):
        """A later file has all prices and shares on the new basis: nothing changes, before or after.

        By powers of two, which floating point divides by exactly; others change the last digit.
        """
        asset = asset_alive(small.tables, event, number)
        here = pl.col("asset_id") == asset
        rebased = small.tables["stock_months"].with_columns(
            pl.when(here).then(pl.col(c) / split).otherwise(pl.col(c)).alias(c) for c in ("price", "high")
        )
        shares = pl.when(here).then(pl.col("shares") * split).otherwise(pl.col("shares")).alias("shares")
        statements = small.tables["statements"].with_columns(shares)
        after = from_tables(stock_months=rebased, statements=statements)
        check(before, after, event, later_differs=False)
        assert same_bits(before[0], after[0])


class TestPublicFiles:
    """Where tickers are resolved, prices turned into returns, and statements into market equity."""

    @FEW
    @given(event=EVENT_MONTHS, scale=st.floats(0.01, 50))
    def test_a_ticker_used_again(self, public_source, public_tables, check, event, scale):
        """t03 dies two years before the event; from the event on another firm trades under its name."""
        death = event - dt.timedelta(days=730)
        prices, statements = public_tables["prices"], public_tables["statements"]
        dead_prices = prices.filter((pl.col("ticker") != "t03") | (pl.col("Date") < death))
        dead_statements = statements.filter((pl.col("ticker") != "T03") | (pl.col("Quarter end") < death))
        new_prices = prices.filter(pl.col("ticker") == "t03", pl.col("Date") >= event).with_columns(
            pl.col("Close", "High") * scale
        )
        new_statements = statements.filter(
            pl.col("ticker") == "T03", pl.col("Quarter end") >= event
        ).with_columns(pl.col("Assets", "Price") * scale)
        one = known(public_source(prices=dead_prices, statements=dead_statements))
        other = known(
            public_source(
                prices=pl.concat([dead_prices, new_prices]),
                statements=pl.concat([dead_statements, new_statements]),
            )
        )
        check(one, other, event)

    @FEW
    @given(event=EVENT_MONTHS, split=st.sampled_from([2.0, 4.0, 0.5]))
    def test_an_adjusted_split(self, public_source, public_tables, check, event, split):
        """A file made after the split: prices, volume, shares and the statements' price on the new basis."""
        mine = pl.col("ticker").str.to_lowercase() == "t05"

        def rebased(table, columns, factor):
            return table.with_columns(
                pl.when(mine).then(pl.col(c) * factor).otherwise(pl.col(c).cast(pl.Float64)).alias(c)
                for c in columns
            )

        prices = rebased(public_tables["prices"], ["Close", "High"], 1 / split)
        prices = rebased(prices, ["Volume"], split)
        statements = rebased(public_tables["statements"], ["Price"], 1 / split)
        statements = rebased(statements, ["Shares split adjusted"], split)
        one = known(public_source())
        other = known(public_source(prices=prices, statements=statements))
        check(one, other, event, later_differs=False)
        assert same_bits(one[0], other[0])

    @FEW
    @given(event=EVENT_MONTHS, split=st.sampled_from([2.0, 3.0, 0.1]))
    def test_a_raw_split(self, public_source, public_tables, check, event, split):
        here = (pl.col("ticker") == "t05") & (pl.col("Date") >= event)
        raw = public_tables["prices"].with_columns(
            pl.when(here).then(pl.col(column) / split).otherwise(pl.col(column)).alias(column)
            for column in ("Close", "High")
        )
        check(known(public_source()), known(public_source(prices=raw)), event)

    @FEW
    @given(event=EVENT_MONTHS)
    def test_a_changed_membership(self, public_source, tmp_path, check, event):
        """A member list of later: t07 left in the month of the event, t08 came."""
        everyone = ["BRK.B", *(f"T{number:02d}" for number in range(23))]

        def listed(name, changes):
            rows = [(t, changes.get(t, ("1990-01-01", None))) for t in everyone]
            table = pl.DataFrame(
                {"ticker": [t for t, _ in rows], "start_date": [s for _, (s, _) in rows],
                 "end_date": [e for _, (_, e) in rows]}, schema_overrides={"end_date": pl.String},
            )  # fmt: skip
            table.write_csv(tmp_path / name)
            return {"index_members": tmp_path / name}

        never, left = ("2030-01-01", None), ("1990-01-01", event.isoformat())
        one = known(public_source(listed("one.csv", {"T08": never})))
        other = known(public_source(listed("two.csv", {"T07": left, "T08": (event.isoformat(), None)})))
        check(one, other, event)
        assert asset_id_of("T07") in one[0]["asset_id"]


class TestLinksOfWrds:
    """The step of the WRDS source that gives a firm's statements to a stock."""

    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(event=EVENT_MONTHS, firms=st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True))
    def test_a_link_that_changes(self, event, firms):
        """Old links end the day before the event, and the firm goes to another stock from then on."""
        compustat = pytest.importorskip("seqpricing_core.sources.compustat")
        quarters = pl.date_range(dt.date(1999, 3, 1), dt.date(2002, 12, 1), "3mo", eager=True).dt.month_end()
        statements = pl.concat(
            pl.DataFrame({
                "gvkey": f"{firm:06d}", "period_end": quarters,
                "available_from": quarters.dt.offset_by("4mo"),
                "period_months": pl.Series([3] * len(quarters), dtype=pl.Int32),
                "assets": [100.0 * firm + number for number in range(len(quarters))],
            })
            for firm in range(6)
        )  # fmt: skip

        def link(firm, stock, first, last):
            return {"gvkey": f"{firm:06d}", "linktype": "LU", "linkprim": "P", "lpermno": stock,
                    "linkdt": first, "linkenddt": last}  # fmt: skip

        start, day_before = dt.date(1990, 1, 1), event - dt.timedelta(days=1)
        old = [link(firm, 10_000 + firm, start, None) for firm in range(6)]
        new = [link(firm, 10_000 + firm, start, day_before if firm in firms else None) for firm in range(6)]
        new += [link(firm, 20_000 + firm, event, None) for firm in firms]
        schema = {"linkenddt": pl.Date, "linkdt": pl.Date, "lpermno": pl.Int64}
        one, other = (
            compustat.link_statements(statements, pl.DataFrame(rows, schema_overrides=schema)).sort(
                "asset_id", "period_end"
            )
            for rows in (old, new)
        )
        ended = pl.col("period_end") < event
        assert one.filter(ended).equals(other.filter(ended))
        known = pl.col("available_from") < event
        assert one.filter(known).equals(other.filter(known))
        assert not one.equals(other)
        moved = other.filter(pl.col("asset_id") >= 20_000)
        assert set(moved["asset_id"]) == {20_000 + firm for firm in firms}


class TestTheComparison:
    """It sees a single changed bit."""

    def test_bits(self, before):
        table = before[0]
        assert same_bits(table, table.clone())
        nudged = table.with_columns(
            pl.when(pl.int_range(pl.len()) == 7)
            .then(pl.Series(np.nextafter(table["market_equity"].to_numpy(), np.inf)))
            .otherwise(pl.col("market_equity"))
            .alias("market_equity")
        )
        assert not same_bits(table, nudged)
        assert not same_bits(table, table.head(len(table) - 1))

    def test_a_leak_is_seen(self, small, before, from_tables, check):
        """Reports dated back into an earlier month change that month."""
        event = dt.date(2001, 2, 1)
        statements = small.tables["statements"]
        earlier = pl.max_horizontal(
            pl.col("available_from").dt.offset_by("-60d"), pl.col("period_end").dt.offset_by("1d")
        )
        early = pl.when(pl.col("available_from") >= event).then(earlier)
        leaked = statements.with_columns(early.otherwise(pl.col("available_from")).alias("available_from"))
        with pytest.raises(AssertionError):
            check(before, from_tables(statements=leaked), event)
