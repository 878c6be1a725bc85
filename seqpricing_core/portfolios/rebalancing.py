"""One model's portfolios from period to period: form, trade, hold, drift."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.panel.panel import Float64
from seqpricing_core.portfolios.breakpoints import NOT_USED, size_limit, without_micro_caps
from seqpricing_core.portfolios.cross_sections import (
    COLUMNS,
    OPTIONAL_COLUMNS,
    CrossSection,
    cross_sections,
)
from seqpricing_core.portfolios.sorts import sort_section
from seqpricing_core.portfolios.turnover import (
    NOTHING,
    Drifted,
    Holdings,
    Match,
    Trades,
    drift,
    portfolio_returns,
)
from seqpricing_core.portfolios.weights import Weighting, sizes_of, weights_of
from seqpricing_core.study import Portfolios

Tables: TypeAlias = Iterable[pl.DataFrame | pl.LazyFrame]
"""Predictions of the same models, a stretch of time each (a test year), in the order of time."""


@dataclass(frozen=True)
class Formation:
    """The quantile portfolios of one period under one weighting, as formed at the end of t-1."""

    weights: Weighting
    held: Holdings
    excess_return: Float64
    """(N,) in the order of ``held``; NaN for a stock without one."""
    outcome: Float64
    """(N,) the same, 0 for a stock without one: it has no weight either."""
    breakpoints: str
    size_percentiles: str


@dataclass
class Book:
    """What every model holds where a table ends: all that the next table must know of those before it.

    The one thing here that changes: `rebalance` turns a page.
    """

    last_period: dict[tuple[str, int], Any] = field(default_factory=dict)
    drifted: dict[tuple[str, int, str], Drifted] = field(default_factory=dict)
    """By model and weighting."""


@dataclass(frozen=True)
class Rebalancing:
    """A period of one model and weighting: what it traded to begin with, earned, and had at the end."""

    section: CrossSection
    formation: Formation
    trades: Trades
    returns: Float64
    """(Q+1,) by portfolio; there is no portfolio 0."""
    drifted: Drifted


def rebalancings(tables: Tables, portfolios: Portfolios) -> Iterator[Iterator[Rebalancing]]:
    """For every table, its periods by model, time and weighting; a table must be used up before the next.

    A lazy table is read when its turn comes, and only the columns that count.
    """
    book = Book()
    for table in tables:
        yield _of_table(table, portfolios, book)


def _of_table(
    table: pl.DataFrame | pl.LazyFrame, portfolios: Portfolios, book: Book
) -> Iterator[Rebalancing]:
    names = table.collect_schema().names()
    kept = [name for name in (*COLUMNS, "day", "month", *OPTIONAL_COLUMNS) if name in names]
    for section in cross_sections(table.lazy().select(kept).collect()):
        yield from rebalance(section, portfolios, book)


def rebalance(section: CrossSection, portfolios: Portfolios, book: Book) -> Iterator[Rebalancing]:
    """One period of one model, for every weighting.

    Raises
    ------
    InputError
        The period is not after the model's last one.
    """
    last = book.last_period.get(section.model)
    if last is not None and section.period <= last:
        raise InputError(
            f"a table begins with {section.period}, after one that ended with {last}",
            where=section.where,
            expected="tables in the order of time, each period in one of them",
            remedy="hand over the files of the test years in order, each once",
        )
    book.last_period[section.model] = section.period
    match = None
    for formation in form_portfolios(section, portfolios):
        key = (*section.model, formation.weights)
        before = book.drifted.get(key, NOTHING)
        # Weightings share the sort, so that the same stocks stay.
        match = match or Match.between(before, formation.held)
        trades = Trades(before, formation.held, match)
        returns = portfolio_returns(formation.held, formation.outcome)
        drifted = drift(formation.held, formation.outcome, returns)
        book.drifted[key] = drifted
        yield Rebalancing(section, formation, trades, returns, drifted)


def form_portfolios(section: CrossSection, portfolios: Portfolios) -> Iterator[Formation]:
    """Leave out micro-caps, sort the others, weight: for every weighting of the study.

    Size limits are percentiles of the whole period, breakpoints of the stocks that are sorted.

    **Timing.** From what was known at the end of t-1; that a stock then had no return only hands its weight
    to the rest (`weights_of`).
    """
    micro_caps, cap, capped = NOT_USED, np.inf, NOT_USED
    if "capped" in portfolios.weights:
        cap, capped = size_limit(section, portfolios.weight_cap_percentile)
    if portfolios.micro_cap_percentile is not None:
        section, micro_caps = without_micro_caps(section, portfolios.micro_cap_percentile)
    rank, quantile, breakpoints = sort_section(section, portfolios.quantiles, portfolios.breakpoints)
    returns = section.excess_return
    outcome = np.where(np.isnan(returns), 0.0, returns)
    for weighting in portfolios.weights:
        sizes = sizes_of(section, rank, quantile, weighting, cap)
        held = Holdings(section.asset_id, quantile, weights_of(section, quantile, sizes), section.half_spread)
        size_percentiles = capped if weighting == "capped" else micro_caps
        yield Formation(weighting, held, returns, outcome, breakpoints, size_percentiles)
