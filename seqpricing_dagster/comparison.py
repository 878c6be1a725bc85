"""Print what changed between two studies, and write it as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from seqpricing_core.report.comparison import Change, StudyComparison, compare_records, render_comparison
from seqpricing_core.report.record import read_record
from seqpricing_core.report.table import ABSENT
from seqpricing_core.storage import write_atomically

MOST_LINES = 30
"""Per table in the terminal; the page has all of them."""


def compare_studies(before: Path, after: Path, page: Path, console: Console) -> StudyComparison:
    """Read both records, print their differences, write the page."""
    comparison = compare_records(read_record(before), read_record(after))
    write_atomically(page, render_comparison(comparison).encode())
    console.print(f"{comparison.before.title} -> {comparison.after.title}", markup=False)
    if comparison.before.simulated or comparison.after.simulated:
        console.print("SIMULATED data on at least one side", markup=False)
    for title, lines in (
        ("settings", comparison.config), ("data", comparison.data), ("code", comparison.code),
    ):  # fmt: skip
        _print_changes(title, lines, console)
    _print_numbers(comparison, console)
    console.print(comparison.summary, markup=False)
    console.print(f"page: {page}", soft_wrap=True, markup=False)
    return comparison


def _print_changes(title: str, lines: Sequence[Change], console: Console) -> None:
    if not lines:
        return
    table = Table("what", "before", "after", title=title)
    for one in lines[:MOST_LINES]:
        table.add_row(one.name, one.before or ABSENT, one.after or ABSENT)
    console.print(table, markup=False)
    _print_rest(len(lines), console)


def _print_numbers(comparison: StudyComparison, console: Console) -> None:
    if not comparison.changed:
        return
    table = Table("model", "K", "measure", title="numbers that changed")
    for header in ("before", "after", "difference"):
        table.add_column(header, justify="right", no_wrap=True)
    for one in comparison.changed[:MOST_LINES]:
        table.add_row(one.model, one.k, one.measure, *one.texts)
    console.print(table, markup=False)
    _print_rest(len(comparison.changed), console)


def _print_rest(lines: int, console: Console) -> None:
    if lines > MOST_LINES:
        console.print(f"and {lines - MOST_LINES} more, on the page", markup=False)
