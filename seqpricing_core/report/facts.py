"""What data a study was made from, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl

from seqpricing_core.characteristics.registry import REGISTRY
from seqpricing_core.panel.managed_portfolios import CONDITION_LIMIT, ManagedPortfolios
from seqpricing_core.source_configs import VendorSource
from seqpricing_core.study import (
    CanonicalFilesSource,
    Panel,
    Portfolios,
    PublicFilesSource,
    SimulatedSource,
    Study,
)
from seqpricing_core.windows import window_for


def data_facts(study: Study, managed: ManagedPortfolios, test_months: Sequence[str]) -> dict[str, str]:
    """Label -> text, in the order of the page.

    Parameters
    ----------
    managed
        All months of the sample.
    test_months
        'YYYY-MM', ascending.
    """
    stocks, years = managed.stocks, sorted({int(month[:4]) for month in test_months})
    names = {acronym: entry.name for acronym, entry in REGISTRY.items()}
    required = [f"{names.get(acronym, acronym)} ({acronym})" for acronym in study.universe.require]
    known = f"; known at the end of t−1: {', '.join(required)}" if required else ""
    history = study.universe.minimum_history_months
    part = part_year(test_months)
    portfolios, seeds = study.portfolios, study.training.seeds
    return {
        "Source": source_text(study),
        "Sample": f"{managed.months[0]} to {managed.months[-1]}: {len(managed)} months of returns in excess "
        "of the risk-free rate",
        "Stocks per month": f"lowest {stocks.min()}, median {np.median(stocks):.0f}, highest {stocks.max()}",
        "Universe": f"at least {history} months of history before month t{known}",
        "Characteristics": _characteristics_text(study),
        "Missing data": _missing_data_text(study.panel),
        "Managed portfolios": _managed_text(study, managed),
        "Windows": _windows_text(study, years),
        "Test years": f"{', '.join(map(str, years))}: {len(test_months)} months"
        + (f"; {part}" if part else ""),
        "Portfolios": f"{portfolios.quantiles} by expected return, formed at the end of t−1, held over t; "
        f"{' and '.join(portfolios.weights)} weights",
        "Seeds": ", ".join(map(str, seeds)) + (" (their returns averaged)" if len(seeds) > 1 else ""),
    }


def sort_facts(portfolio_returns: pl.DataFrame, portfolios: Portfolios) -> dict[str, str]:
    """Who set breakpoints and size limits, and what stood in for the NYSE; nothing for plain sorts."""
    facts = {}
    said = {
        column: ", ".join(sorted(set(portfolio_returns[column]) - {"none"}))
        for column in ("breakpoints", "size_percentiles")
        if column in portfolio_returns.columns
    }
    if (setters := said.get("breakpoints", "all")) != "all":
        facts["Breakpoints"] = f"set by the stocks of: {setters}"
    if setters := said.get("size_percentiles", ""):
        left_out = portfolios.micro_cap_percentile
        rules = [f"stocks below the percentile {left_out:g} are left out"] if left_out is not None else []
        if "capped" in portfolios.weights:
            rules.append(f"capped weights count up to the percentile {portfolios.weight_cap_percentile:g}")
        facts["Market equity"] = f"{'; '.join(rules)}; percentiles of the stocks of: {setters}"
    return facts


def source_text(study: Study) -> str:
    """File names without folders: the page must not depend on the machine."""
    source = study.source
    if isinstance(source, SimulatedSource):
        return (
            f"simulated market with known truth: {source.stocks} stocks at a time, "
            f"{source.loadings.replace('nonlinear', 'non-linear')} loadings, seed {source.seed}"
            + (", with what makes vendors' files difficult" if source.detail == "complete" else "")
        )
    if isinstance(source, get_args(VendorSource)):
        named = (value for _, value in source if isinstance(value, Path))
        return f"{source.kind.replace('_', ' ')}: {', '.join(path.name for path in named)}"
    if isinstance(source, CanonicalFilesSource):
        return f"own files: {source.stock_months.name}, {source.statements.name}, {source.factors.name}"
    assert isinstance(source, PublicFilesSource)
    members = f"; only members of the index, by {source.index_members.name}" if source.index_members else ""
    return (
        f"public files: {source.prices.name}, {source.statements.name}, {source.factors.name}{members}; "
        f"statements count from {source.reporting_lag_months} months after their quarter; "
        f"monthly returns above {source.maximum_monthly_return:.0%} are dropped as bad ticks"
    )


def part_year(test_months: Sequence[str]) -> str:
    """How much of the last test year there is; '' if it is whole."""
    year = test_months[-1][:4]
    held = sum(month.startswith(year) for month in test_months)
    return "" if held == 12 else f"{year} has {held} of 12 months, to {test_months[-1]}"


def _characteristics_text(study: Study) -> str:
    if study.ready_characteristics is not None:
        return f"{len(study.acronyms)}, as the source delivers them ({', '.join(study.acronyms)})"
    kinds = {"market": "from market data", "days": "from daily data", "statements": "from statements"}
    used = {acronym: REGISTRY[acronym].definition_from(study.inputs) for acronym in study.acronyms}
    lists = {kind: [a for a, one in used.items() if one is not None and one.source == kind] for kind in kinds}
    parts = [f"{len(names)} {kinds[kind]} ({', '.join(names)})" for kind, names in lists.items() if names]
    absent = f"; not in the source: {', '.join(study.absent_characteristics)}"
    return f"{len(study.acronyms)}: {'; '.join(parts)}{absent if study.absent_characteristics else ''}"


def _missing_data_text(panel: Panel) -> str:
    fate = "get the median return of their month" if panel.impute_missing_returns else "are dropped"
    filled = "the median" if panel.missing_characteristics == "median" else "the middle rank, 0"
    return f"stock-months without a return {fate}; a missing characteristic takes {filled} of its month"


def _managed_text(study: Study, managed: ManagedPortfolios) -> str:
    constant = " and a constant" if study.panel.managed_portfolio_constant else ""
    worst, singular = managed.condition_number.max(), int((managed.condition_number > CONDITION_LIMIT).sum())
    largest = f"{worst:,.0f}" if worst < 1e6 else f"{worst:.1e}"
    return (
        f"{managed.x.shape[1]}: one per characteristic{constant}; condition number of Z′Z at most {largest}, "
        f"pseudo-inverse used in {singular} months"
    )


def _windows_text(study: Study, years: Sequence[int]) -> str:
    def spell(year: int) -> str:
        window = window_for(study, year)
        train, validation = (f"{a}–{b}" if a < b else f"{a}" for a, b in (window.train, window.validation))
        return f"{year} after training on {train} and validation on {validation}"

    lengths = study.windows
    examples = [spell(year) for year in dict.fromkeys((years[0], years[-1]))]
    return (
        f"moving: {lengths.train_years} years train, {lengths.validation_years} validate, 1 tests; "
        f"{' … '.join(examples)}"
    )
