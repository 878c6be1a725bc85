"""Cells of a row, by the name of its column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from seqpricing_core.report.table import Cell, number, p_text

ToCell: TypeAlias = Callable[[Mapping[str, Any]], Cell]


def plain_number(name: str, digits: int, scale: float = 1.0) -> ToCell:
    return lambda row: Cell(number(None if row[name] is None else scale * row[name], digits))


def percent(name: str, digits: int) -> ToCell:
    return plain_number(name, digits, 100.0)


def count(name: str) -> ToCell:
    return plain_number(name, 0)


def p_value(name: str) -> ToCell:
    return lambda row: Cell(p_text(row[name]))


def month(name: str) -> ToCell:
    return lambda row: Cell(number(None, 0) if row[name] is None else f"{row[name]:%Y-%m}")


def estimate(value: str, statistic: str, scale: float = 1.0, digits: int = 2) -> ToCell:
    """A value with its t-statistic below."""

    def cell(row: Mapping[str, Any]) -> Cell:
        if (found := row.get(value)) is None:
            return Cell(number(None, digits))
        return Cell(number(scale * found, digits), below=f"({number(row[statistic], 2)})")

    return cell
