"""All characteristics: acronym, formula, papers, inputs, and when each is known.

The expressions run on the table that `compute.py` prepares. There, ``month`` is the month at whose end
the characteristic is known (t-1 of the panel). Acronyms are those of *memory*, appendix A, where
it has the characteristic. A statement counts from the day it was public (``available_from``);
market data of a month count from its end. docs/characteristics.md is made from this registry.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from seqpricing_core.characteristics.days import DAYS
from seqpricing_core.characteristics.definition import Characteristic, lacking
from seqpricing_core.characteristics.industry import INDUSTRY
from seqpricing_core.characteristics.lists import LISTS
from seqpricing_core.characteristics.market import MARKET
from seqpricing_core.characteristics.statements import STATEMENT
from seqpricing_core.characteristics.trend import TREND


def _by_acronym(entries: Iterable[Characteristic]) -> Mapping[str, Characteristic]:
    return MappingProxyType({entry.acronym: entry for entry in entries})


REGISTRY: Mapping[str, Characteristic] = _by_acronym((*MARKET, *DAYS, *STATEMENT, *INDUSTRY))
"""Of stock-months: what a panel can hold."""

DAILY_REGISTRY: Mapping[str, Characteristic] = _by_acronym(TREND)
"""Of stock-days."""


def absent_characteristics(inputs: frozenset[str]) -> dict[str, str]:
    """Which characteristics a source cannot provide, and why: acronym -> reason.

    Parameters
    ----------
    inputs
        What the source has, as `RawTables.inputs` says.
    """
    return {
        acronym: "the source has no " + ", ".join(lacking(entry.definition, inputs))
        for acronym, entry in REGISTRY.items()
        if entry.definition_from(inputs) is None
    }


def characteristics_of_list(name: str) -> tuple[str, ...]:
    """Acronyms of ``all``, or of a paper's list, whatever the source."""
    return tuple(REGISTRY if name == "all" else dict.fromkeys(LISTS[name].values()))


def available_characteristics(chosen: Sequence[str] | str, inputs: frozenset[str]) -> tuple[str, ...]:
    """Acronyms that a study asks for.

    Parameters
    ----------
    chosen
        ``all``, or the name of a paper's list: what of it the source provides; or acronyms, each of which
        it must provide.

    Raises
    ------
    ValueError
        An acronym that the registry does not have, or that the source cannot provide; says why.
    """
    absent = absent_characteristics(inputs)
    if isinstance(chosen, str):
        return tuple(name for name in characteristics_of_list(chosen) if name not in absent)
    for acronym in chosen:
        if acronym not in REGISTRY:
            close = difflib.get_close_matches(acronym, list(REGISTRY), n=1)
            hint = f"did you mean '{close[0]}'?" if close else "docs/characteristics.md lists them"
            raise ValueError(f"acronyms of the registry; for '{acronym}': {hint}")
        if acronym in absent:
            raise ValueError(
                f"characteristics that the source can provide, not '{acronym}': {absent[acronym]}"
            )
    return tuple(chosen)


def read_days(acronyms: Iterable[str], inputs: frozenset[str]) -> bool:
    """Whether a source with these inputs makes one of the characteristics from days."""
    definitions = (REGISTRY[acronym].definition_from(inputs) for acronym in acronyms)
    return any(d is not None and any(i.startswith("stock_days.") for i in d.inputs) for d in definitions)


def history_years(acronyms: Iterable[str]) -> int:
    """Calendar years of raw tables before year y that these characteristics of year y may reach."""
    return max((REGISTRY[acronym].history_years for acronym in acronyms), default=3)
