"""All characteristics: acronym, formula, paper, and when each is known.

The expressions run on the table that `compute.py` prepares. There, ``month`` is the month at whose end
the characteristic is known (t-1 of the panel). Acronyms are those of *memory*, appendix A, where
it has the characteristic. A statement counts from the day it was public (``available_from``);
market data of a month count from its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import polars as pl

from seqpricing_core.characteristics.market import MARKET, Entry
from seqpricing_core.characteristics.statements import STATEMENT


@dataclass(frozen=True)
class Characteristic:
    """One line of the registry."""

    acronym: str
    name: str
    formula: str
    paper: str
    source: Literal["market", "statements"]
    expression: pl.Expr

    @property
    def known_from(self) -> str:
        """The availability lag, in words."""
        if self.source == "market":
            return "end of the month"
        return "end of the month in which the statement became public"


def _entries() -> Mapping[str, Characteristic]:
    tables: dict[Literal["market", "statements"], dict[str, Entry]] = {
        "market": MARKET,
        "statements": STATEMENT,
    }
    entries = [
        Characteristic(acronym, name, formula, paper, source, expression)
        for source, table in tables.items()
        for acronym, (name, formula, paper, expression) in table.items()
    ]
    return MappingProxyType({entry.acronym: entry for entry in entries})


REGISTRY: Mapping[str, Characteristic] = _entries()
