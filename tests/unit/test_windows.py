"""Windows: exactly the years before the test year, month for month, or an error."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from seqpricing_core.panel.panel import Sample
from seqpricing_core.windows import Window, split_estimation, window_for


class TestWhichYears:
    @pytest.mark.parametrize(
        ("train", "validation", "test_year", "expected"),
        [
            (3, 1, 2004, Window((2000, 2002), (2003, 2003), 2004)),
            (3, 1, 2005, Window((2001, 2003), (2004, 2004), 2005)),
            (1, 1, 2002, Window((2000, 2000), (2001, 2001), 2002)),
            (1, 4, 2005, Window((2000, 2000), (2001, 2004), 2005)),
        ],
    )
    def test_the_years_right_before(self, make_study, train, validation, test_year, expected):
        study = make_study(windows={"train_years": train, "validation_years": validation})
        window = window_for(study, test_year)
        assert window == expected
        assert window.estimation == (expected.train[0], test_year - 1)

    @pytest.mark.parametrize("test_year", [2003, 2007, 1999])
    def test_outside_the_study(self, make_study, refuses, test_year):
        refuses(lambda: window_for(make_study(), test_year), f"test year {test_year}", "2004 .. 2006")

    @pytest.mark.parametrize(
        ("last_month", "signal_month", "tested", "newest"),
        [
            ("2005-12", "2006-01", [2004, 2005], 2006),
            ("2005-11", "2005-12", [2004, 2005], 2005),
            ("2004-01", "2004-02", [2004], 2004),
        ],
    )
    def test_the_window_of_the_signal(self, make_study, refuses, last_month, signal_month, tested, newest):
        """It rolls on to a year that cannot be tested only when the data end with a year."""
        study = make_study(sample={"first_month": "2000-01", "last_month": last_month})
        assert study.signal_month == signal_month
        assert list(study.test_years) == tested
        assert study.model_years == range(2004, newest + 1)
        assert window_for(study, newest).estimation == (newest - 4, newest - 1)
        refuses(lambda: window_for(study, newest + 1), f"test year {newest + 1}", f"2004 .. {newest}")

    def test_the_signal_of_an_open_study_is_january_of_this_year(self, make_study):
        study = make_study(sample={"first_month": "2000-01"})
        assert study.signal_month == f"{study.sample.last_year + 1}-01"
        assert study.model_years[-1] == study.test_years[-1] + 1

    def test_a_later_first_test_year(self, make_study, refuses):
        windows = {"train_years": 3, "validation_years": 1, "first_test_year": 2005}
        study = make_study(windows=windows)
        assert list(study.test_years) == [2005]
        refuses(lambda: window_for(study, 2004), "test year 2004")


class TestWhichMonths:
    @pytest.fixture
    def window(self):
        return Window((2000, 2002), (2003, 2003), 2004)

    def test_exact(self, small, window):
        samples = split_estimation(window, small.panel(2000, 2003), small.managed_portfolios(2000, 2003))
        months = np.arange("2000-01", "2004-01", dtype="datetime64[M]")
        np.testing.assert_array_equal(samples.train.panel.months, months[:36])
        np.testing.assert_array_equal(samples.train.managed.months, months[:36])
        np.testing.assert_array_equal(samples.validation.panel.months, months[36:])
        np.testing.assert_array_equal(samples.validation.managed.months, months)
        assert (samples.train.lookback, samples.validation.lookback) == (0, 36)

    def test_rows_of_the_samples_are_the_rows_of_the_years(self, small, window):
        """The panels of single years, never joined, are the oracle."""
        samples = split_estimation(window, small.panel(2000, 2003), small.managed_portfolios(2000, 2003))
        for t in (0, 5, 11):
            for sample, position, year in (
                (samples.train, 12 + t, 2001),
                (samples.validation, t, 2003),
            ):
                whole = small.panels[year]
                rows = whole.rows(t)
                known, outcome = sample.known(position), sample.outcome(position)
                assert known.month == whole.months[t] == outcome.month
                np.testing.assert_array_equal(known.asset_id, whole.asset_id[rows])
                np.testing.assert_array_equal(known.characteristics, whole.characteristics[rows])
                np.testing.assert_array_equal(known.market_equity, whole.market_equity[rows])
                np.testing.assert_array_equal(outcome.excess_return, whole.excess_return[rows])
                np.testing.assert_array_equal(outcome.managed_portfolios, small.managed[year].x[t])

    def test_a_forecast_is_given_the_past_only(self, small, window):
        """X of the months before t, oldest first, and nothing of t: counted month by month."""
        samples = split_estimation(window, small.panel(2000, 2003), small.managed_portfolios(2000, 2003))
        everything = small.managed_portfolios(2000, 2003).x
        for t in range(12):
            past = samples.validation.known(t).past_managed_portfolios
            np.testing.assert_array_equal(past, everything[: 36 + t])
        assert len(samples.train.known(0).past_managed_portfolios) == 0

    @pytest.mark.parametrize(
        ("first", "last", "name"),
        [(2001, 2003, "2000-01"), (2000, 2002, "2003-01"), (2000, 2004, "2004-01"), (2001, 2004, "2000-01")],
        ids=["cut at the start", "cut at the end", "holds the test year", "moved by a year"],
    )
    def test_other_years(self, small, window, refuses, first, last, name):
        refuses(
            lambda: split_estimation(window, small.panel(first, last), small.managed_portfolios(first, last)),
            "panel", "test year 2004", name, "exactly the months of 2000 .. 2003",
        )  # fmt: skip

    def test_a_month_missing_inside(self, small, window, refuses):
        panel, managed = small.panel(2000, 2003), small.managed_portfolios(2000, 2003)
        keep = np.flatnonzero(panel.months != np.datetime64("2001-07"))
        gap = type(managed)(*(getattr(managed, f.name)[keep] for f in fields(managed)))
        refuses(lambda: split_estimation(window, panel, gap), "managed portfolios", "2001-07", "wrong months")

    def test_one_month_of_the_test_year(self, small, window, refuses):
        """January of the test year among the estimation months is the leak this must stop."""
        panel, managed = small.panel(2000, 2004), small.managed_portfolios(2000, 2003)
        stop = int(panel.offsets[49])
        longer = type(panel)(
            panel.characteristic_names, panel.months[:49], panel.offsets[:50], panel.asset_id[:stop],
            panel.characteristics[:stop], panel.excess_return[:stop], panel.market_equity[:stop],
        )  # fmt: skip
        refuses(lambda: split_estimation(window, longer, managed), "panel", "1 month(s)", "2004-01")

    def test_empty(self, small, window, refuses):
        empty = small.panel(2000, 2003).between(1990, 1991)
        managed = small.managed_portfolios(2000, 2003)
        refuses(lambda: split_estimation(window, empty, managed), "panel", "is empty", "2000-01")
        refuses(
            lambda: split_estimation(window, small.panel(2000, 2003), managed.between(1990, 1991)),
            "managed portfolios", "is empty",
        )  # fmt: skip

    def test_a_sample_whose_parts_do_not_end_together(self, small):
        with pytest.raises(ValueError, match=r"must end with the panel's months.*2003-12.*2004-12"):
            Sample(small.panels[2003], small.managed_portfolios(2003, 2004))
