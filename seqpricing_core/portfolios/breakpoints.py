"""Which stocks set breakpoints and size limits: all, or those of the NYSE; and what if no exchange is known.

A departure from what was asked for is returned in words, and stands beside every return that it touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from seqpricing_core.errors import InputError
from seqpricing_core.portfolios.cross_sections import Bool, CrossSection

NO_EXCHANGE = "all: no exchange in the predictions"
FEW_ON_NYSE = "all: too few NYSE stocks"
NOT_USED = "none"


@dataclass(frozen=True)
class Setters:
    """The stocks that set a limit; ``stocks`` None stands for all."""

    stocks: Bool | None
    record: str
    """``all``, ``nyse``, or ``all`` and why it is not ``nyse``."""


def breakpoint_setters(section: CrossSection, quantiles: int, breakpoints: Literal["all", "nyse"]) -> Setters:
    """The stocks whose expected returns are cut into ``quantiles`` equal groups.

    NYSE stocks are all stocks where the exchange is not known, and where fewer of them than ``quantiles``
    are listed in the period: then a portfolio might stay empty.
    """
    if breakpoints == "all":
        return Setters(None, "all")
    return _nyse(section, quantiles)


def size_limit(section: CrossSection, percentile: float) -> tuple[float, str]:
    """Market equity of t-1 at ``percentile`` of NYSE stocks, and whose percentile it is.

    Of all stocks where no exchange is known, or none of the NYSE has market equity. Linear between order
    statistics, as `numpy.quantile`.

    Raises
    ------
    InputError
        No stock of the period has market equity.
    """
    known = has_size(section)
    setters = _nyse(section.only(known), 1)
    sizes = section.market_equity[known]
    if not len(sizes):
        raise InputError(
            "no stock has market equity, and a size percentile was asked for",
            where=section.where,
            expected="market equity of t-1 for the stocks of every period",
            remedy="require mvel1 in universe.require, or leave out portfolios.micro_cap_percentile and "
            "capped weights",
        )
    if setters.stocks is not None:
        sizes = sizes[setters.stocks]
    return float(np.quantile(sizes, percentile / 100)), setters.record


def without_micro_caps(section: CrossSection, percentile: float) -> tuple[CrossSection, str]:
    """The stocks at or above the size percentile (*sequence*, exhibit 6: the NYSE 20th), and whose it is.

    A stock of unknown size is not known to be larger, and left out too. **Timing.** Market equity of t-1.
    """
    limit, record = size_limit(section, percentile)
    return section.only(has_size(section) & (section.market_equity >= limit)), record


def has_size(section: CrossSection) -> Bool:
    """(N,) whether market equity is known: positive and finite."""
    return np.isfinite(section.market_equity) & (section.market_equity > 0)


def _nyse(section: CrossSection, at_least: int) -> Setters:
    if section.nyse is None:
        return Setters(None, NO_EXCHANGE)
    if section.nyse.sum() < at_least:
        return Setters(None, FEW_ON_NYSE)
    return Setters(section.nyse, "nyse")
