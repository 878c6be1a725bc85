"""Moving windows: which years train, which validate, which one is tested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqpricing_core.errors import InputError
from seqpricing_core.panel.macro import MacroSeries
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.panel.panel import Panel, Sample
from seqpricing_core.study import Study


@dataclass(frozen=True)
class Window:
    """Years (inclusive) of one moving window."""

    train: tuple[int, int]
    validation: tuple[int, int]
    test_year: int

    @property
    def estimation(self) -> tuple[int, int]:
        """First and last year that a model of this window may see."""
        return self.train[0], self.validation[1]


@dataclass(frozen=True)
class WindowSamples:
    """What a model of a window may see."""

    window: Window
    train: Sample
    """Its look-back stops at the first training month."""
    validation: Sample
    """Looks back into training: its managed portfolios, macro series and history are of all estimation
    months."""

    @property
    def shape(self) -> tuple[int, int]:
        """P characteristics, Q managed portfolios."""
        return self.train.panel.characteristics.shape[1], self.train.managed.x.shape[1]


def window_for(study: Study, test_year: int) -> Window:
    """The window whose test year is ``test_year``: the years right before it, validation last.

    Once the data end in a December, the window rolls on to the year after: nothing of it can be tested
    yet, but its models forecast its January (`signal`).
    """
    if test_year not in study.model_years:
        raise InputError(
            f"test year {test_year} is outside the study",
            where=f"study '{study.name}', windows",
            expected=f"one of {study.model_years.start} .. {study.model_years.stop - 1}: "
            f"{study.windows.train_years} train and {study.windows.validation_years} validation "
            f"years must lie between {study.sample.first_year} and the test year",
            remedy="ask for another test year, or change sample or windows in the study file",
        )
    validation_first = test_year - study.windows.validation_years
    return Window(
        train=(validation_first - study.windows.train_years, validation_first - 1),
        validation=(validation_first, test_year - 1),
        test_year=test_year,
    )


def sample_of_test_year(
    window: Window, panel: Panel, managed: ManagedPortfolios, macro: MacroSeries | None = None
) -> Sample:
    """The stocks to be forecast in the test year; all three may reach back, as far as models look."""
    of_year = panel.between(window.test_year, window.test_year)
    return Sample(of_year, managed, macro, history=panel)


def split_estimation(
    window: Window, panel: Panel, managed: ManagedPortfolios, macro: MacroSeries | None = None
) -> WindowSamples:
    """Training and validation sample of ``window``.

    Panel, managed portfolios and macro series must hold exactly the window's estimation years, month for
    month: a window cut at the start of history, or one that holds the test year, is an error and not a
    shorter window.
    """
    first, last = window.estimation
    wanted = np.arange(f"{first}-01", f"{last + 1}-01", dtype="datetime64[M]")
    held = {"panel": panel.months, "managed portfolios": managed.months}
    for name, months in (held | ({"macro series": macro.months} if macro else {})).items():
        if not np.array_equal(months, wanted):
            odd = np.setxor1d(months, wanted)
            raise InputError(
                f"the {name} of the window for test year {window.test_year} "
                f"{'is empty' if not len(months) else 'has the wrong months'}",
                where=f"{len(odd)} month(s) missing or too many, the first {odd[0]}",
                expected=f"exactly the months of {first} .. {last}",
                remedy="materialize every year of the window, or change windows in the study file",
            )
    train = Sample(
        panel.between(*window.train),
        managed.between(*window.train),
        macro and macro.between(*window.train),
    )
    validation = Sample(panel.between(*window.validation), managed, macro, history=panel)
    return WindowSamples(window, train, validation)
