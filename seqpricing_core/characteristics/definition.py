"""What a characteristic is: an expression over columns whose names say which raw data they need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import add
from typing import Final, Literal, TypeAlias

import polars as pl

from seqpricing_core.characteristics.day_statistics import STATISTIC_INPUTS
from seqpricing_core.tables import BALANCE_ITEMS, FLOW_ITEMS

Frequency: TypeAlias = Literal["annual", "quarterly", "monthly", "daily"]

KNOWN_FROM: Final[dict[Frequency, str]] = {
    "annual": "end of the month in which the annual statement is public: its filing date, without one "
    "6 months after the fiscal year (where there is no annual statement, the newest 4 quarters, as below)",
    "quarterly": "end of the month in which the quarterly statement is public: its filing date, without "
    "one 4 months after the quarter",
    "monthly": "end of the month",
    "daily": "end of the day",
}
"""The availability lags of METHODS, section 0. Market equity in a ratio is always of the month itself."""

ITEM_COLUMN: Final = re.compile(rf"({'|'.join((*BALANCE_ITEMS, *FLOW_ITEMS))})(?:_(\d)|_q(\d*))?")
"""``assets`` of the newest annual statement, ``assets_1`` a year before; ``assets_q`` of the newest quarter,
``assets_q4`` four quarters before."""

MEAN, SUM = "_mean", "_sum"

DERIVED: Final = {
    "equity": ("stock_months.market_equity",),
    "industry": ("stock_months.sic",),
    "shares_outstanding": ("stock_months.shares",),
    "month": (),
}
"""Columns that `compute` adds: market equity of the whole firm, the first two digits of ``sic``."""


def total(terms: Iterable[pl.Expr]) -> pl.Expr:
    """The sum, from the first term to the last; null where one is.

    `polars.sum_horizontal` adds in whatever order its threads finish: its last digits vary.
    """
    return reduce(add, terms)


@dataclass(frozen=True)
class Definition:
    """A formula in words and as an expression."""

    formula: str
    expression: pl.Expr
    bases: Mapping[str, Definition] = field(default_factory=dict)
    """Columns of ``expression`` that are computed themselves, and with the suffixes `MEAN` and `SUM` over the
    stocks of the industry that have the value: what an industry adjustment adjusts."""
    reads: tuple[str, ...] = ()
    """Its inputs, where the names of columns do not say them."""

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns of the prepared table that it needs."""
        made = {f"{base}{suffix}" for base in self.bases for suffix in ("", MEAN, SUM)}
        own = [name for name in self.expression.meta.root_names() if name not in made]
        return tuple(dict.fromkeys([*own, *(name for base in self.bases.values() for name in base.columns)]))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names as in `RawTables.inputs`, sorted."""
        named = (name for column in self.columns for name in inputs_of(column))
        return self.reads or tuple(sorted(set(named)))

    @property
    def source(self) -> Literal["market", "statements", "days"]:
        """The kind of data that it rests on."""
        inputs = " ".join(self.inputs)
        return "statements" if "statements." in inputs else "days" if "stock_days." in inputs else "market"


@dataclass(frozen=True)
class Characteristic:
    """One line of the registry."""

    acronym: str
    name: str
    paper: str
    """Who proposed it."""
    frequency: Frequency
    """How often it changes other than through market equity."""
    definition: Definition
    instead: Definition | None = None
    """For sources that lack the inputs of ``definition``."""
    history_years: int = 3
    """Calendar years of raw tables before year y that its values of year y may reach."""

    @property
    def formula(self) -> str:
        if self.instead is None:
            return self.definition.formula
        return f"{self.definition.formula}; otherwise {self.instead.formula}"

    @property
    def known_from(self) -> str:
        """The availability lag, in words."""
        return KNOWN_FROM[self.frequency]

    def definition_from(self, inputs: frozenset[str]) -> Definition | None:
        """The definition that ``inputs`` suffice for; None where neither can be computed."""
        for definition in (self.definition, self.instead):
            if definition is not None and not lacking(definition, inputs):
                return definition
        return None


def inputs_of(column: str) -> tuple[str, ...]:
    """What a column is made from, as in `RawTables.inputs`; "a or b" where either will do."""
    if column in DERIVED:
        return DERIVED[column]
    if column in STATISTIC_INPUTS:
        return STATISTIC_INPUTS[column]
    matched = ITEM_COLUMN.fullmatch(column)
    if matched is None:
        return (f"stock_months.{column}",)
    quarterly = matched[3] is not None
    reports = "statements.quarterly" if quarterly else "statements.annual or statements.quarterly"
    return f"statements.{matched[1]}", reports


def lacking(definition: Definition, inputs: frozenset[str]) -> list[str]:
    """Inputs of ``definition`` that are not among ``inputs``."""
    return [name for name in definition.inputs if not inputs.intersection(name.split(" or "))]
