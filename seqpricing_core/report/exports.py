"""Tables as files: CSV and LaTeX (booktabs) with the numbers of the page."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Final

from seqpricing_core.report.table import Block, Row, Table

MINUS, DASH = "−", "–"
LATEX: Final = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$",
    "|": "$|$", '"': "''", MINUS: "$-$", DASH: "--",
    "²": "$^2$", "′": "$'$", "Σ": r"$\Sigma$", "α": r"$\alpha$", "β": r"$\beta$",
    "√": r"$\surd$", "×": r"$\times$",
    "’": "'", "…": r"\ldots{}", "→": r"$\to$", "≥": r"$\ge$", "≤": r"$\le$",
}  # fmt: skip
ASSETS: Final = {"r": "$r_t$", "x": "$x_t$"}
DOCUMENT = r"""\documentclass[10pt]{article}
\usepackage[utf8]{inputenc}
\usepackage[a4paper,margin=20mm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage{longtable}
\begin{document}
%s
\end{document}
"""


def to_csv(table: Table) -> bytes:
    """One line per row; ASCII minus; a column of its own for what stands below or beside a value.

    The value of the oracle, which has one K of its own, stands in the first column.
    """
    below, share = _extras(table)
    header = ["group", *table.labels]
    for column in table.columns:
        header += [column, *([f"{column}, {table.below}"] if below else [])]
        header += [f"{column}, share of oracle"] if share else []
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for block in table.blocks:
        for row in block.rows:
            first, *others = row.labels
            model = first if row.oracle_factors is None else f"{first} K = {row.oracle_factors}"
            values = [block.title, model, *others]
            for cell in row.cells:
                values += [cell.text, *([cell.below.strip("[]()")] if below else [])]
                values += [cell.share] if share else []
            writer.writerow([*(plain(value) for value in values), *[""] * (len(header) - len(values))])
    return buffer.getvalue().encode()


def to_markdown(table: Table) -> str:
    """For the Dagster UI; what stands below or beside a value follows it in the cell."""
    head = [*table.labels, *table.columns]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for block in table.blocks:
        if block.title:
            lines.append(f"| *{block.title}* " + "| " * (len(head) - 1) + "|")
        for row in block.rows:
            first, *others = row.labels
            model = first if row.oracle_factors is None else f"{first} K = {row.oracle_factors}"
            cells = [
                " ".join(filter(None, (cell.text, cell.below, cell.share and f"({cell.share})")))
                for cell in row.cells
            ]
            values = [model, *others, *cells]
            lines.append(f"| {' | '.join([*values, *[''] * (len(head) - len(values))])} |")
    return "\n".join([*lines, *(["", table.note] if table.note else [])])


def to_latex(table: Table, caption: str) -> str:
    """A ``table`` environment with a booktabs ``tabular``; no wider than the page.

    What stands below or beside a value is set in a row of its own, in parentheses or brackets.
    """
    unit = f" ({table.unit})" if table.unit else ""
    columns = "l" * len(table.labels) + "r" * len(table.columns)
    lines = [
        rf"\begin{{table}}[htbp]\centering\caption{{{escape(caption + table.title + unit)}}}",
        rf"\label{{tab:{table.name}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(escape, (*table.labels, *table.columns))) + r" \\",
        *(line for block in table.blocks for line in _block(block, table)),
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    if note := " ".join(filter(None, (table.note, _published_data(table)))):
        lines.append(rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {escape(note)}}}")
    return "\n".join([*lines, r"\end{table}", ""])


def document(title: str, names: Sequence[str]) -> str:
    """A LaTeX file that reads all tables; lies beside their folder ``tables``."""
    inputs = [rf"\section*{{{escape(title)}}}"]
    for place, name in enumerate(names):
        inputs.append(rf"\input{{tables/{name}.tex}}")
        if place % 4 == 3:
            inputs.append(r"\clearpage")  # LaTeX holds few floats at once
    return DOCUMENT % "\n".join(inputs)


def plain(text: str) -> str:
    """As a spreadsheet reads numbers."""
    return text.replace(MINUS, "-")


def escape(text: str) -> str:
    """For LaTeX; what it knows no sign for becomes a question mark rather than an error."""
    return "".join(LATEX.get(c, c if c.isascii() or c in "äöüÄÖÜßéèáíóúñç" else "?") for c in text)


def _block(block: Block, table: Table) -> Iterator[str]:
    yield r"\midrule"
    if block.title:
        width = len(table.labels) + len(table.columns)
        # Of no width of its own: a long title would stretch the last column. The note names a paper's data.
        title = escape(_split(block)[0] if block.published else block.title)
        yield rf"\multicolumn{{{width}}}{{l}}{{\rlap{{\footnotesize\textit{{{title}}}}}}} \\"
    before = ""
    for row in block.rows:
        labels = [ASSETS.get(label, escape(label)) for label in row.labels]
        if len(labels) > 1 and row.labels[0] == before:
            labels[0] = ""
        before = row.labels[0]
        if row.oracle_factors is not None:
            labels[0] += f" ($K = {row.oracle_factors}$)" if labels[0] else ""
            (cell,) = row.cells
            yield (
                " & ".join([*labels, rf"\multicolumn{{{len(table.columns)}}}{{c}}{{{escape(cell.text)}}}"])
                + r" \\"
            )
            continue
        yield " & ".join([*labels, *(_bold(cell.text, best=cell.best) for cell in row.cells)]) + r" \\"
        yield from _second_line(row)


def _split(block: Block) -> tuple[str, str]:
    """Title of a published block without its data, and the data."""
    title, _, data = block.title.rpartition(": ")
    return title, data


def _published_data(table: Table) -> str:
    data = dict.fromkeys(_split(block)[1] for block in table.blocks if block.published)
    return f"Published figures: {'; '.join(data)}." if data else ""


def _second_line(row: Row) -> Iterator[str]:
    extras = [" ".join(filter(None, (cell.below, cell.share and f"({cell.share})"))) for cell in row.cells]
    if any(extras):
        small = [rf"\footnotesize {escape(extra)}" if extra else "" for extra in extras]
        yield " & ".join([*[""] * len(row.labels), *small]) + r" \\"


def _bold(text: str, *, best: bool) -> str:
    return rf"\textbf{{{escape(text)}}}" if best else escape(text)


def _extras(table: Table) -> tuple[bool, bool]:
    """Whether any cell has something below it, and a share of the oracle's score."""
    cells = [cell for block in table.blocks for row in block.rows for cell in row.cells]
    return any(cell.below for cell in cells), any(cell.share for cell in cells)
