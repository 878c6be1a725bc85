"""Universe, medians, ranks and returns against scipy and a loop over months and stocks."""

from __future__ import annotations

import datetime as dt
import statistics

import numpy as np
import polars as pl
import pytest
from scipy.stats import rankdata

from seqpricing_core.panel.build import build_panel, rank_known
from seqpricing_core.predictions import _predictions_frame
from seqpricing_core.study import Panel as PanelOptions
from seqpricing_core.study import Universe
from seqpricing_core.tables import EXCHANGES


def next_month(day: dt.date) -> str:
    return f"{day.year + day.month // 12}-{day.month % 12 + 1:02d}"


class TestAgainstLoops:
    @pytest.fixture(scope="class")
    def known(self, small):
        return pl.concat([small.characteristics[2003], small.characteristics[2004]])

    def test_every_row_of_a_year(self, small, known):
        """For each month: who may enter, medians of those, scipy's average ranks of those, then the
        returns of the month; those without one stay, with NaN.
        """
        returns = {
            (row["asset_id"], row["month"].strftime("%Y-%m")): row["ret"]
            for row in small.stock_months[2004].iter_rows(named=True)
        }
        risk_free = {
            row["month"].strftime("%Y-%m"): row["risk_free"]
            for row in small.tables["factors"].iter_rows(named=True)
        }
        panel, names = small.panels[2004], small.study.acronyms
        place = 0
        for month in known["month"].unique().sort():
            priced = next_month(month)
            if not priced.startswith("2004"):
                continue
            rows = [
                row
                for row in known.filter(pl.col("month") == month).sort("asset_id").iter_rows(named=True)
                if row["history_months"] >= 12 and row["mvel1"] is not None
            ]
            columns = []
            for name in names:
                values = [row[name] for row in rows]
                present = [value for value in values if value is not None]
                median = statistics.median(present) if present else 0.0
                filled = [median if value is None else value for value in values]
                columns.append(2 * rankdata(filled, method="average") / (len(rows) + 1) - 1)
            z = np.column_stack(columns)
            for row, ranks in zip(rows, z, strict=True):
                ret = returns.get((row["asset_id"], priced))
                excess = np.nan if ret is None else ret - risk_free[priced]
                assert panel.asset_id[place] == row["asset_id"]
                assert str(panel.month_of_row[place]) == priced
                np.testing.assert_allclose(panel.characteristics[place], ranks, atol=1e-6)
                np.testing.assert_array_equal(panel.excess_return[place], excess)
                assert panel.market_equity[place] == row["market_equity"]
                place += 1
        assert place == len(panel)

    def test_who_leaves_in_a_month_is_still_forecast(self, small, known):
        """Everything known is bit for bit that of the panel in which nobody left."""
        source = small.stock_months[2004]
        gone = (pl.col("month") == dt.date(2004, 6, 30)) & (pl.col("asset_id") % 3 == 0)
        factors = small.tables["factors"].filter(pl.col("month").dt.year() == 2004)
        for fewer in (
            source.filter(~gone),
            source.with_columns(pl.when(~gone).then(pl.col("ret")).alias("ret")),
        ):
            panel, whole = build_panel(known, fewer, factors, 2004, small.study), small.panels[2004]
            np.testing.assert_array_equal(panel.asset_id, whole.asset_id)
            np.testing.assert_array_equal(panel.characteristics, whole.characteristics)
            left = (panel.month_of_row == np.datetime64("2004-06")) & (panel.asset_id % 3 == 0)
            assert left.sum() > 10
            assert np.isnan(panel.excess_return[left]).all()
            np.testing.assert_array_equal(panel.excess_return[~left], whole.excess_return[~left])
            # Estimation and scores see the others only.
            there = panel.with_returns()
            assert len(there) == (~np.isnan(panel.excess_return)).sum()
            for t in (0, 5, 11):
                rows = panel.rows(t)
                stay = ~np.isnan(panel.excess_return[rows])
                np.testing.assert_array_equal(there.asset_id[there.rows(t)], panel.asset_id[rows][stay])


class TestByHand:
    NAMES = ("a", "b", "c")

    def frame(self, **columns):
        count = len(next(iter(columns.values())))
        base = {
            "asset_id": list(range(count)), "month": [dt.date(2003, 12, 31)] * count,
            "history_months": [24] * count, "market_equity": [1.0] * count, "mvel1": [1.0] * count,
            "exchange": ["NYSE"] * count, "common_share": [True] * count, "sic": [None] * count,
            "unadjusted_price": [10.0] * count,
        }  # fmt: skip
        floats = {name: pl.Series(name, values, dtype=pl.Float64) for name, values in columns.items()}
        return pl.DataFrame(base | floats)

    def ranks(self, frame, universe=None, options=None):
        names = tuple(name for name in self.NAMES if name in frame.columns)
        return rank_known(frame, names, universe or Universe(), options or PanelOptions())

    def test_ties_are_averaged_and_extremes_stay_inside(self):
        """Five stocks: 2 rank / 6 - 1 with ranks 1, 2.5, 2.5, 4, 5."""
        found = self.ranks(self.frame(a=[0.1, 0.5, 0.5, 7.0, 9.0]))["a"].to_list()
        assert found == pytest.approx([-2 / 3, -1 / 6, -1 / 6, 1 / 3, 2 / 3])

    def test_a_missing_value_takes_the_median_before_ranking(self):
        """Median of 1, 2, 9 is 2: ranks 1, 2.5, 4 and 2.5 of four."""
        found = self.ranks(self.frame(a=[1.0, 2.0, 9.0, None], b=[1.0, 2.0, 3.0, 4.0]))["a"].to_list()
        assert found == pytest.approx([2 * r / 5 - 1 for r in (1, 2.5, 4, 2.5)])

    def test_missing_for_all_is_zero(self):
        found = self.ranks(self.frame(a=[None, None, None], b=[1.0, 2.0, 3.0]))["a"].to_list()
        assert found == [0.0, 0.0, 0.0]

    def test_all_missing_is_dropped_and_does_not_count(self):
        """Three stocks remain: ranks -1/2, 0, 1/2."""
        frame = self.ranks(self.frame(a=[1.0, None, 2.0, 3.0], b=[1.0, None, 3.0, 2.0]))
        assert frame["asset_id"].to_list() == [0, 2, 3]
        assert frame["a"].to_list() == pytest.approx([-0.5, 0.0, 0.5])

    def test_who_may_enter(self):
        """Short histories and missing requirements stay out before ranks are made."""
        frame = self.frame(a=[1.0, 2.0, 3.0, 4.0]).with_columns(
            history_months=pl.Series([11, 12, 40, 40]), mvel1=pl.Series([1.0, 1.0, None, 1.0])
        )
        found = self.ranks(frame)
        assert found["asset_id"].to_list() == [1, 3]
        assert found["a"].to_list() == pytest.approx([-1 / 3, 1 / 3])
        everyone = self.ranks(frame, Universe(minimum_history_months=0, require=()))
        assert everyone["asset_id"].to_list() == [0, 1, 2, 3]

    def test_the_month_moves_on_to_the_one_it_prices(self):
        frame = self.frame(a=[1.0, 2.0]).with_columns(
            month=pl.Series([dt.date(2003, 1, 31), dt.date(2004, 2, 29)])
        )
        assert self.ranks(frame)["month"].to_list() == [dt.date(2003, 2, 28), dt.date(2004, 3, 31)]

    def test_months_are_ranked_apart(self):
        frame = pl.concat([
            self.frame(a=[1.0, 2.0]), self.frame(a=[30.0, 20.0]).with_columns(month=dt.date(2004, 1, 31)),
        ])  # fmt: skip
        assert self.ranks(frame)["a"].to_list() == pytest.approx([-1 / 3, 1 / 3, 1 / 3, -1 / 3])

    def test_missing_as_zero_leaves_the_ranks_of_the_others(self):
        """Ranks 1, 2, 3 of three known ones; the fourth is in the middle and moves nobody."""
        options = PanelOptions(missing_characteristics="zero")
        frame = self.frame(a=[1.0, 2.0, 9.0, None], b=[1.0, 2.0, 3.0, 4.0])
        assert self.ranks(frame, options=options)["a"].to_list() == pytest.approx([-0.5, 0.0, 0.5, 0.0])
        nobody = self.frame(a=[None, None], b=[1.0, 2.0])
        assert self.ranks(nobody, options=options)["a"].to_list() == [0.0, 0.0]

    def test_common_shares_exchanges_and_prices(self):
        """What is known to be something else stays out; what is not known stays in, but for a price floor."""
        frame = self.frame(a=[1.0, 2.0, 3.0, 4.0, 5.0]).with_columns(
            exchange=pl.Series(["NYSE", "OTHER", "AMEX", None, "NASDAQ"]),
            common_share=pl.Series([True, True, False, None, True]),
            unadjusted_price=pl.Series([6.0, 60.0, 60.0, None, 4.0]),
        )
        assert self.ranks(frame)["asset_id"].to_list() == [0, 3, 4]
        everyone = Universe(exchanges=("NYSE", "AMEX", "NASDAQ", "OTHER"), common_shares_only=False)
        assert self.ranks(frame, everyone)["asset_id"].to_list() == [0, 1, 2, 3, 4]
        assert self.ranks(frame, Universe(exchanges=("AMEX",), common_shares_only=False))[
            "asset_id"
        ].to_list() == [2, 3]
        assert self.ranks(frame, Universe(minimum_price=5.0))["asset_id"].to_list() == [0]


class TestReturnsAndCodes:
    """A panel of the small market whose stocks have exchanges and industries."""

    @pytest.fixture(scope="class")
    def build(self, small):
        names = np.array(["NYSE", "NASDAQ"])

        def build(year=2004, *, codes=True, **panel):
            study = small.study.model_copy(update={"panel": PanelOptions(**panel)})
            known = pl.concat([small.characteristics[year - 1], small.characteristics[year]])
            if codes:
                known = known.with_columns(
                    exchange=pl.Series(names[known["asset_id"].to_numpy() % 2]),
                    sic=pl.when(pl.col("asset_id") % 5 > 0).then(pl.lit(2834, dtype=pl.Int32)),
                )
            factors = small.tables["factors"].filter(pl.col("month").dt.year() == year)
            return build_panel(known, small.stock_months[year], factors, year, study)

        return build

    def test_missing_returns_stay_missing_or_become_the_median(self, build):
        plain, filled = build(), build(impute_missing_returns=True)
        gone = np.isnan(plain.excess_return)
        assert gone.sum() > 0
        assert not np.isnan(filled.excess_return).any()
        for t in range(len(plain.months)):
            rows = plain.rows(t)
            median = np.nanmedian(plain.excess_return[rows])
            np.testing.assert_allclose(filled.excess_return[rows][gone[rows]], median)
        np.testing.assert_array_equal(filled.excess_return[~gone], plain.excess_return[~gone])

    def test_exchange_and_industry_go_with_the_rows(self, build, tmp_path):
        panel = build()
        expected = np.where(panel.asset_id % 2 == 0, "NYSE", "NASDAQ")
        np.testing.assert_array_equal(np.array(EXCHANGES)[panel.exchange], expected)
        np.testing.assert_array_equal(panel.sic, np.where(panel.asset_id % 5 > 0, 2834, -1))
        (tmp_path / "panel.arrow").write_bytes(panel.to_bytes())
        back = type(panel).from_files([tmp_path / "panel.arrow"])
        np.testing.assert_array_equal(back.exchange, panel.exchange)
        kept = panel.with_returns()
        np.testing.assert_array_equal(kept.sic, panel.sic[~np.isnan(panel.excess_return)])
        both = type(panel).concatenate([build(2003, codes=False), panel])
        np.testing.assert_array_equal(both.exchange[-len(panel) :], panel.exchange)
        assert set(both.exchange[: -len(panel)]) == {-1}
        np.testing.assert_array_equal(both.between(2004, 2004).sic, panel.sic)

    def test_a_source_without_them_has_none(self, build):
        panel = build(codes=False)
        assert panel.exchange is None
        assert panel.sic is None
        assert (
            "exchange"
            not in _predictions_frame("f", 1, panel, panel.excess_return, panel.excess_return).columns
        )

    def test_predictions_carry_the_exchange(self, build):
        panel = build()
        frame = _predictions_frame("f", 1, panel, panel.excess_return, panel.excess_return)
        assert frame["exchange"].to_list() == np.where(panel.asset_id % 2 == 0, "NYSE", "NASDAQ").tolist()
