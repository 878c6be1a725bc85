"""Each check of the quality gate on small tables made by hand: what it must find and what it must not."""

from __future__ import annotations

import datetime as dt
import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqpricing_core.errors import InputError
from seqpricing_core.quality import gate
from seqpricing_core.quality.finding import EVERYTHING, findings_table
from seqpricing_core.quality.gate import CHECK_NAMES, CHECKS, run_checks
from seqpricing_core.quality.membership import membership_by_month
from seqpricing_core.quality.survivorship import survivorship_of
from seqpricing_core.study import Quality, load_study
from seqpricing_core.tables import STATEMENTS, STOCK_DAYS, STOCK_MONTHS, with_optional_columns

FIRST_DAY = dt.date(2008, 9, 1)


def days_of(prices, *, asset=1, low=None, high=None, volume=None, dates=None):
    """A stock's days; by default a range of 1% around the price and equal volume."""
    dates = dates or [FIRST_DAY + dt.timedelta(days=i) for i in range(len(prices))]
    price = np.asarray(prices, float)
    frame = pl.DataFrame({
        "asset_id": [asset] * len(price), "day": dates, "ret": 0.0, "price": price,
        "high": price * 1.01 if high is None else high, "low": price * 0.99 if low is None else low,
        "volume": [1e6] * len(price) if volume is None else volume,
    })  # fmt: skip
    return with_optional_columns(
        frame.with_columns(pl.col("high", "low", "volume").cast(pl.Float64)), STOCK_DAYS
    )


def months_of(prices, *, asset=1, first=dt.date(2008, 1, 31), **columns):
    """A stock's months with the returns of its prices, two squared daily returns of 1% and volume."""
    price = np.asarray(prices, float)
    number = pl.int_range(len(price), eager=True)
    starts = pl.DataFrame({"first": [first.replace(day=1)] * len(price), "number": number})
    months = starts.select(month=pl.col("first").dt.offset_by(pl.format("{}mo", "number")).dt.month_end())
    frame = months.with_columns(
        asset_id=pl.lit(asset, dtype=pl.Int64),
        ret=pl.Series([None, *(price[1:] / price[:-1] - 1)], dtype=pl.Float64),
        market_equity=pl.Series(price * 1e6),
        price=pl.Series(price),
        high=pl.Series(price * 1.05),
        dollar_volume=1e7,
        trading_days=pl.lit(21, dtype=pl.Int32),
        zero_volume_days=pl.lit(0, dtype=pl.Int32),
        sum_squared_daily_returns=0.0002,
        maximum_daily_return=0.01,
    )
    changed = [pl.Series(name, values, dtype=frame.schema.get(name)) for name, values in columns.items()]
    return with_optional_columns(frame.with_columns(changed), STOCK_MONTHS)


def statements_of(**items):
    base = {
        "asset_id": 1, "period_end": dt.date(2008, 3, 31), "available_from": dt.date(2008, 5, 10),
        "assets": 100.0, "current_assets": 40.0, "liabilities": 60.0, "current_liabilities": 20.0,
        "book_equity": 40.0, "cash": 10.0, "long_term_debt": 20.0, "revenue": 30.0, "earnings": 3.0,
        "operating_cash_flow": 4.0, "capital_expenditures": 2.0, "shares": 10.0,
    }  # fmt: skip
    return with_optional_columns(pl.DataFrame(base | items, strict=False), STATEMENTS)


def found_by(name, table, rows, year=None, **quality):
    outcomes = run_checks(table, rows, Quality(**quality), year)
    return next(outcome for outcome in outcomes if outcome.check.name == name).found


def slow_slips(prices):
    """Walk the prices; where one is ten, a hundred or a thousand times off, look for the way back."""
    found, i = [], 1
    while i < len(prices):
        factor = prices[i] / prices[i - 1]
        for power in (1000, 100, 10, 1 / 10, 1 / 100, 1 / 1000):
            if 1 / 1.25 < factor / power < 1.25:
                ends = [j for j in range(i + 1, min(i + 6, len(prices)))
                        if 1 / 1.25 < prices[j] / prices[i - 1] < 1.25]  # fmt: skip
                if ends:
                    found.append((i, ends[0]))
                    i = ends[0]
                break
        i += 1
    return found


class TestDecimalSlips:
    @settings(max_examples=15, deadline=None)
    @given(
        seed=st.integers(0, 10_000),
        slips=st.lists(
            st.tuples(st.integers(2, 90), st.integers(1, 5), st.sampled_from([0.01, 0.1, 10, 100])),
            max_size=4,
        ),
    )
    def test_exactly_the_planted_ones(self, seed, slips):
        """Random walks of two stocks with slips of 1 to 5 days: the same as the slow walk, and as planted."""
        random = np.random.default_rng(seed)
        planted, taken, tables = [], set(), []
        for asset in (1, 2):
            price = 30 * np.exp(np.cumsum(random.normal(0, 0.03, 100)))
            for at, length, factor in slips:
                rows = range(at + asset, at + asset + length)
                if rows.stop >= 100 or taken & {(asset, i) for i in range(rows.start - 6, rows.stop + 6)}:
                    continue
                taken |= {(asset, i) for i in rows}
                price[rows.start : rows.stop] *= factor
                planted.append((asset, rows.start, rows.stop))
            tables.append((price, asset))
        days = pl.concat(days_of(price, asset=asset) for price, asset in tables)
        found = found_by("decimal_slips", "stock_days", days)
        ours = {(row["asset_id"], (row["at"] - FIRST_DAY).days, (row["seen"] - FIRST_DAY).days)
                for row in found.iter_rows(named=True)}  # fmt: skip
        slow = {(asset, *span) for price, asset in tables for span in slow_slips(price)}
        assert ours == set(planted) == slow

    @pytest.mark.parametrize(
        "prices",
        [
            [20, 10, 5, 2.6, 1.9, 4.2, 8.5, 16, 20],  # a crash of 90% and its rebound, over days
            [6.4, 12.9, 13.1, 13.4],  # Hartford, 5 December 2008
            [0.25, 0.63, 0.86, 0.73],  # General Growth, 24 November 2008
            [20, 2, 2.1, 2.05, 2.0, 2.1, 2.0, 2.1],  # falls to a tenth and stays
            [2, 20, 21, 20.5, 20, 21, 20, 21],
            [20, 2, 2, 2, 2, 2, 2, 20],  # back only after six days
            [30, 10, 30],  # a factor of three
            [20, 2, 12, 12],  # half of the way back
        ],
    )
    def test_moves_that_are_none(self, prices):
        assert found_by("decimal_slips", "stock_days", days_of(prices)).is_empty()

    def test_two_in_a_row_are_two(self):
        """The days between them are right: a jump that takes one back does not start another."""
        found = found_by("decimal_slips", "stock_days", days_of([20, 2, 20, 20, 2, 2, 20, 20]))
        assert [(row["at"] - FIRST_DAY).days for row in found.iter_rows(named=True)] == [1, 4]

    def test_another_stock_is_no_way_back(self):
        days = pl.concat([days_of([20, 20, 2]), days_of([20, 20, 20], asset=2)])
        assert found_by("decimal_slips", "stock_days", days).is_empty()

    def test_over_new_year_it_is_reported_once_when_it_is_seen(self):
        dates = [dt.date(2008, 12, 30), dt.date(2008, 12, 31), dt.date(2009, 1, 2)]
        days = days_of([20, 2, 20], dates=dates)
        assert found_by("decimal_slips", "stock_days", days, 2008).is_empty()
        found = found_by("decimal_slips", "stock_days", days, 2009)
        assert found["at"].to_list() == [dt.date(2008, 12, 31)]
        assert found["seen"].to_list() == [dt.date(2009, 1, 2)]

    def test_at_the_end_of_a_month(self):
        found = found_by("decimal_slips", "stock_months", months_of([20, 21, 2.05, 20, 21]))
        assert found["at"].to_list() == [dt.date(2008, 3, 31)]
        assert found["value"].to_list() == [2.05]

    def test_inside_a_month(self):
        """Daily 20, 2, 20: returns of -90% and +900%; the month ends where it began."""
        months = months_of(
            [20, 21, 20, 21],
            maximum_daily_return=[0.01, 9.0, 0.01, 0.01],
            sum_squared_daily_returns=[0.001, 81.0 + 0.81, 0.001, 0.001],
        )
        found = found_by("decimal_slips", "stock_months", months)
        assert found["at"].to_list() == [dt.date(2008, 2, 29)]

    def test_a_tenfold_month_is_none(self):
        """A day of +900% that stays: no squared return of a way down, and a month of +900%."""
        months = months_of(
            [2, 20, 20, 21], maximum_daily_return=[0.01, 9.0, 0.01, 0.01],
            sum_squared_daily_returns=[0.001, 81.0, 0.001, 0.001],
        )  # fmt: skip
        assert found_by("decimal_slips", "stock_months", months).is_empty()
        assert found_by("returns_beyond_bounds", "stock_months", months)["value"].to_list() == [9.0]


class TestLevelBreaksAndBounds:
    def test_a_split_on_a_quiet_day_is_a_break(self):
        """Two for one, unadjusted; also after a hole in the dates, as Sanmina's in August 2009."""
        found = found_by("level_breaks", "stock_days", days_of([50, 51, 24.5, 25]))
        assert [round(value, 2) for value in found["value"]] == [0.48]
        dates = [dt.date(2009, 8, 13), dt.date(2009, 8, 14), dt.date(2009, 9, 14), dt.date(2009, 9, 15)]
        found = found_by("level_breaks", "stock_days", days_of([0.77, 0.80, 7.29, 7.75], dates=dates))
        assert found["at"].to_list() == [dt.date(2009, 9, 14)]
        assert "31 day(s) before" in found["expected"][0]

    def test_news_is_a_return_beyond_bounds(self):
        """The same jump on a wide day, or with much volume, is reported as a return."""
        wide = days_of([6.4, 12.9, 13.1], high=[6.5, 14.2, 14], low=[6.3, 7.8, 12.9])
        traded = days_of([6.8, 13.9, 14], volume=[8e5, 7e7, 6e7])
        for days in (wide, traded):
            assert found_by("level_breaks", "stock_days", days).is_empty()
            assert len(found_by("returns_beyond_bounds", "stock_days", days)) == 1

    def test_each_move_is_reported_once(self):
        """A slip, a break and a crash: each by its own check alone."""
        prices = [20, 2, 20, 20, 20, 9.0, 9.1, 4.0, 4.1]
        high = np.array(prices) * 1.01
        high[7] = 9.0
        days = days_of(prices, high=high)
        found = {o.check.name: [(d - FIRST_DAY).days for d in o.found["at"]]
                 for o in run_checks("stock_days", days, Quality())}  # fmt: skip
        assert found["decimal_slips"] == [1]
        assert found["level_breaks"] == [5]
        assert found["returns_beyond_bounds"] == [7]

    @pytest.mark.parametrize(("bound", "beyond"), [(3.0, 2), (0.5, 3), (9.5, 0)])
    def test_monthly_bounds(self, bound, beyond):
        """Up by the bound, down by its inverse: +310%, -80%, -40%."""
        months = months_of([10, 41, 8.2, 4.92])
        found = found_by("returns_beyond_bounds", "stock_months", months, maximum_monthly_return=bound)
        assert len(found) == beyond

    def test_a_delisting_return_is_no_error(self):
        codes = [None, None, 574]
        months = months_of([10, 10.5, 0.02], delisting_code=codes).with_columns(
            pl.col("delisting_code").cast(pl.Int32)
        )
        assert found_by("returns_beyond_bounds", "stock_months", months).is_empty()
        without = months.with_columns(delisting_code=pl.lit(None, dtype=pl.Int32))
        assert len(found_by("returns_beyond_bounds", "stock_months", without)) == 1


class TestPricesAndVolume:
    def test_outside_its_range(self):
        days = days_of([10, 10, 10, 10], high=[10.1, 9.5, 10.1, 1.01], low=[9.9, 9.0, 10.5, 9.9])
        found = found_by("prices_outside_range", "stock_days", days)
        assert [(d - FIRST_DAY).days for d in found["at"]] == [1, 2, 3]
        months = months_of([10, 10], high=[10.0, 9.9])
        assert found_by("prices_outside_range", "stock_months", months)["at"].to_list() == [
            dt.date(2008, 2, 29)
        ]

    @pytest.mark.parametrize("run", [2, 3, 4, 9])
    def test_stale_months(self, run):
        """A run of 3 or more is reported once, in the third month; the bounds of stocks end a run."""
        months = pl.concat([months_of([9, *[10] * run, 11]), months_of([11, 11, 12], asset=2)])
        found = found_by("stale_prices", "stock_months", months)
        assert found["at"].to_list() == ([dt.date(2008, 4, 30)] if run >= 3 else [])

    def test_stale_days(self):
        days = days_of([*np.linspace(8, 9, 5), *[10] * 12])
        assert len(found_by("stale_prices", "stock_days", days)) == 1
        assert found_by("stale_prices", "stock_days", days, stale_days=13).is_empty()

    def test_no_volume(self):
        days = days_of([10, 10, 11, 11.5], volume=[0, 0, 0, 100])
        assert [(d - FIRST_DAY).days for d in found_by("zero_volume", "stock_days", days)["at"]] == [2]
        quoted = days.with_columns(bid=pl.col("price") - 0.1, ask=pl.col("price") + 0.1)
        assert found_by("zero_volume", "stock_days", quoted).is_empty()
        months = months_of([10, 11, 12], zero_volume_days=[20, 21, 0], dollar_volume=[1.0, 1.0, 0.0])
        assert found_by("zero_volume", "stock_months", months)["at"].to_list() == [
            dt.date(2008, 2, 29), dt.date(2008, 3, 31),
        ]  # fmt: skip


class TestStatements:
    def test_a_restatement(self):
        """Reported again with 5% of assets less revenue: named, once; half a percent passes."""
        later = {"available_from": dt.date(2009, 2, 1)}
        small = {"asset_id": 2, "available_from": dt.date(2009, 2, 1), "revenue": 29.6}
        rows = pl.concat([
            statements_of(), statements_of(**later, revenue=25.0),
            statements_of(asset_id=2), statements_of(**small),
        ])  # fmt: skip
        found = found_by("restated_statements", "statements", rows)
        assert found["asset_id"].to_list() == [1]
        assert found["value"].to_list() == [pytest.approx(0.05)]
        assert found["seen"].to_list() == [dt.date(2009, 2, 1)]
        assert "revenue" in found["expected"][0]
        assert found_by("restated_statements", "statements", rows, 2008).is_empty()

    def test_a_year_and_its_last_quarter_are_two_periods(self):
        year = statements_of(revenue=120.0).with_columns(period_months=pl.lit(12, dtype=pl.Int32))
        rows = pl.concat([statements_of(), year])
        assert found_by("restated_statements", "statements", rows).is_empty()

    @pytest.mark.parametrize(
        ("items", "found"),
        [
            ({}, 0),
            ({"liabilities": 65.0}, 1),  # 5% too much
            ({"liabilities": 60.5}, 0),  # within the tolerance
            ({"book_equity": 20.0}, 0),  # 20% of minorities, unreported
            ({"book_equity": -15.0}, 1),  # 55%
            ({"book_equity": -15.0, "minority_interest": 50.0}, 0),
            ({"minority_interest": 8.0}, 0),  # counted in equity
            ({"cash": 130.0}, 1),
            ({"current_assets": 102.0}, 1),
            ({"current_liabilities": 62.0}, 1),
            ({"inventory": 101.5}, 1),
            ({"assets": None}, 0),
            ({"assets": 0.0}, 0),
        ],
    )
    def test_identities(self, items, found):
        rows = statements_of(**items)
        rows = rows.with_columns(pl.col(pl.Null).cast(pl.Float64))
        assert len(found_by("accounting_identities", "statements", rows)) == found


def history_of(spans):
    """``spans``: first and last month of each stock, as text."""
    rows = []
    for asset, (first, last) in enumerate(spans):
        days = dt.date.fromisoformat(f"{first}-01"), dt.date.fromisoformat(f"{last}-01")
        months = pl.date_range(*days, "1mo", eager=True).dt.month_end()
        rows.append(pl.DataFrame({"asset_id": [asset] * len(months), "month": months}))
    return pl.concat(rows)


class TestHistory:
    def test_survivors(self):
        """Ten stocks over ten years, none ends; then one of ten does: 1 in 95 stock-years."""
        alive = history_of([("2001-01", "2010-12")] * 10)
        found = found_by("survivorship", "history", alive)
        assert found["value"].to_list() == [0.0]
        assert "0 of 10" in found["expected"][0]
        one_dead = history_of([("2001-01", "2010-12")] * 9 + [("2001-01", "2005-12")])
        assert survivorship_of(one_dead).exit_rate == pytest.approx(1 / 95)
        assert found_by("survivorship", "history", one_dead).is_empty()
        assert len(found_by("survivorship", "history", one_dead, minimum_exit_rate=0.011)) == 1

    def test_a_stock_without_the_last_month_has_not_ended(self):
        history = history_of([("2001-01", "2010-12"), ("2001-01", "2010-11"), ("2001-01", "2010-10")])
        assert survivorship_of(history).ended == 1

    def test_an_identifier_that_comes_back(self):
        history = pl.concat([
            history_of([("2001-01", "2002-03")]), history_of([("2003-05", "2004-01")]),
        ])  # fmt: skip
        found = found_by("reused_identifiers", "history", history)
        assert found["at"].to_list() == [dt.date(2003, 5, 31)]
        assert found["value"].to_list() == [13]
        shorter = pl.concat([history_of([("2001-01", "2002-04")]), history_of([("2003-05", "2004-01")])])
        assert found_by("reused_identifiers", "history", shorter).is_empty()

    def test_membership(self):
        """Stock 1 is no member in March; member 3 has no price."""
        months = pl.concat([months_of([10, 11, 12]), months_of([10, 11, 12], asset=2)])
        intervals = pl.DataFrame({
            "asset_id": [1, 2, 3], "start_date": [dt.date(2000, 1, 1)] * 3,
            "end_date": [dt.date(2008, 3, 30), None, None],
        })  # fmt: skip
        membership = membership_by_month(months, intervals)
        assert membership.select("members", "with_price", "strays").rows() == [
            (3, 2, 0),
            (3, 2, 0),
            (2, 1, 1),
        ]
        found = found_by("index_membership", "membership", membership)
        assert found["value"].to_list() == [1.0, 0.5]
        assert found["asset_id"].null_count() == 2
        assert len(found_by("index_membership", "membership", membership, minimum_member_coverage=0.5)) == 1


class TestTheGate:
    def test_the_study_blocks_and_ignores(self):
        days = days_of([20, 2, 20])
        outcomes = run_checks("stock_days", days, Quality(block=("decimal_slips",), ignore=("zero_volume",)))
        severities = {outcome.check.name: outcome.severity for outcome in outcomes}
        assert severities["decimal_slips"] == "block"
        assert set(severities.values()) == {"block", "warn"}
        assert "zero_volume" not in severities

    def test_findings(self):
        (outcome,) = [o for o in run_checks("stock_days", days_of([20, 2, 20]), Quality()) if not o.passed
                      and o.check.name == "decimal_slips"]  # fmt: skip
        (finding,) = outcome.findings(lambda asset: f"stock {asset}")
        assert (finding.check, finding.severity, finding.asset) == ("decimal_slips", "warn", "stock 1")
        assert (finding.at, finding.value) == (FIRST_DAY + dt.timedelta(days=1), 2.0)
        assert "20" in finding.expected
        assert finding.what_to_do
        table = findings_table([finding])
        assert table.row(0, named=True)["asset"] == "stock 1"
        nobody = run_checks("history", history_of([("2001-01", "2010-12")]), Quality())[0].findings(str)
        assert nobody[0].asset == EVERYTHING
        assert findings_table([]).columns == table.columns

    @pytest.mark.parametrize("table", sorted({check.table for check in CHECKS} - {"membership", "coverage"}))
    def test_empty_tables_pass(self, table):
        rows = {
            "stock_months": months_of([1.0, 2.0]), "stock_days": days_of([1.0]),
            "statements": statements_of(),
            "history": history_of([("2001-01", "2001-02")]),
        }[table].clear()  # fmt: skip
        assert all(outcome.passed for outcome in run_checks(table, rows, Quality()))

    def test_row_order_does_not_matter(self):
        days = pl.concat([days_of([20, 2, 20, 41, 20]), days_of([5, 5, 50, 5, 5], asset=2)])
        shuffled = days.sample(fraction=1, shuffle=True, seed=3)
        for one, other in zip(
            run_checks("stock_days", days, Quality()),
            run_checks("stock_days", shuffled, Quality()),
            strict=True,
        ):
            assert one.found.equals(other.found)

    @pytest.mark.parametrize(
        ("section", "mentions"),
        [
            ("{block: [decimal_slip]}", ["decimal_slip", "did you mean 'decimal_slips'"]),
            ("{block: [coverage], ignore: [coverage]}", ["coverage", "not both"]),
            ("{stale_months: 1}", ["quality.stale_months"]),
        ],
    )
    def test_a_wrong_section_is_named(self, tmp_path, settings, section, mentions):
        import yaml

        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump(settings(quality=None)) + f"\nquality: {section}\n")
        with pytest.raises(InputError) as caught:
            load_study(file)
        assert all(text in str(caught.value) for text in mentions)

    def test_names_are_one_to_a_table(self):
        pairs = [(check.name, check.table) for check in gate.CHECKS]
        assert len(set(pairs)) == len(pairs)
        assert set(CHECK_NAMES) == {name for name, _ in pairs}


def test_slow_slips_knows_a_slip():
    assert slow_slips([20.0, 2.0, 20.0]) == [(1, 2)]
    assert list(itertools.chain(slow_slips([20.0, 10.0, 20.0]))) == []
