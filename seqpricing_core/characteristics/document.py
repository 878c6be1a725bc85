"""docs/characteristics.md, made from the registry.

``python -m seqpricing_core.characteristics.document docs/characteristics.md`` writes it; a test checks that
the file is up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from seqpricing_core.characteristics.definition import KNOWN_FROM, Characteristic, Definition
from seqpricing_core.characteristics.lists import EXCEPTIONS, LISTS
from seqpricing_core.characteristics.registry import DAILY_REGISTRY, REGISTRY

HEADER = """\
<!-- Made by `python -m seqpricing_core.characteristics.document docs/characteristics.md`; do not edit. -->
# Characteristics

A study names acronyms, `all`, or a paper's list (`characteristics: memory`, `sequence`, `deepchar`,
`recurrent`): of a list or of `all` it gets what its source provides. An acronym that the source cannot
provide is an error that names what is missing; nothing is ever filled with zeros. The columns of
`seqpricing_core/tables.py` that a characteristic needs stand under *inputs*.

Formulas are as of the end of month t-1, when they rank stocks for month t: r[t-1] is that month's return,
items are those of the newest statement public by then, as first reported. Market equity is that of
month t-1, in ratios to items over all share classes of the firm where they are known. Denominators must be
positive, else the characteristic is missing. Industries are the first two digits of the SIC code of the
month.

| frequency | known from |
|---|---|
"""


def document() -> str:
    """The page."""
    frequencies = [f"| {frequency} | {text} |" for frequency, text in KNOWN_FROM.items()]
    parts = [
        HEADER + "\n".join(frequencies),
        "## Lists of the papers\n\n" + _lists_table(),
        *(f"### {name}\n\n{EXCEPTIONS[name].rstrip()}\n\n{_names(name)}" for name in LISTS),
        f"## Monthly: {len(REGISTRY)}\n\n" + _table(REGISTRY.values()),
        f"## Daily: {len(DAILY_REGISTRY)}\n\n" + _table(DAILY_REGISTRY.values()),
    ]
    return "\n\n".join(parts) + "\n"


def _lists_table() -> str:
    rows = [
        f"| {name} | {len(of_list)} | {sum(a in REGISTRY or a in DAILY_REGISTRY for a in of_list.values())} |"
        for name, of_list in LISTS.items()
    ]
    return "\n".join(["| paper | named there | here |", "|---|---:|---:|", *rows])


def _names(name: str) -> str:
    """The paper's names where they are not ours."""
    pairs = [f"{theirs} `{ours}`" for theirs, ours in LISTS[name].items() if theirs != ours]
    return f"Its names and ours: {'; '.join(pairs)}." if pairs else "Its names are ours."


def _table(entries: Iterable[Characteristic]) -> str:
    header = "| acronym | name | formula | source | frequency | inputs | lists |"
    return "\n".join([header, "|---|---|---|---|---|---|---|", *map(_row, entries)])


def _row(entry: Characteristic) -> str:
    lists = [name for name, of_list in LISTS.items() if entry.acronym in of_list.values()]
    cells = (
        f"`{entry.acronym}`", entry.name, entry.formula, entry.paper, entry.frequency, _inputs(entry),
        ", ".join(lists) or "–",
    )  # fmt: skip
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _inputs(entry: Characteristic) -> str:
    either = [_inputs_of(d) for d in (entry.definition, entry.instead) if d is not None]
    return "; or ".join(either)


def _inputs_of(definition: Definition) -> str:
    """Columns by table: the kind of report is the frequency's business."""
    columns: dict[str, list[str]] = {}
    for name in definition.inputs:
        if " or " not in name and not name.endswith((".quarterly", ".annual")):
            table, column = name.split(".")
            columns.setdefault(table, []).append(column)
    return "; ".join(f"{table}: {', '.join(names)}" for table, names in _in_order(columns).items())


def _in_order(columns: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    order = ("stock_months", "stock_days", "factor_days", "statements")
    return {table: columns[table] for table in order if table in columns}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document(), encoding="utf-8")
