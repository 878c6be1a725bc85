"""The command line: run a study, read its scores, open the UI."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich.console import Console
from rich.table import Table

from seqpricing_core.errors import InputError
from seqpricing_core.models.family import TITLES
from seqpricing_core.storage import frame_from_files
from seqpricing_dagster.data_commands import data_app
from seqpricing_dagster.project import Project, open_project
from seqpricing_dagster.readable_errors import readable

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(data_app, name="data")
StudyFile = Annotated[Path, typer.Argument(help="The study file (YAML).")]
Outputs = Annotated[Path, typer.Option(help="Folder that holds one folder per study.")]

HEADLINE = {
    "total_r2_stocks": ("total R2 %", 100),
    "predictive_r2_stocks": ("pred. R2 %", 100),
    "sharpe_long_short_equal": ("SR equal", 1),
    "net_sharpe_long_short_equal": ("SR net", 1),
}
CAPTION = (
    "SR: annual Sharpe ratio of the long-short portfolio (highest minus lowest expected returns) with "
    "equal weights, and the same after costs"
)


@app.command()
def run(
    study: StudyFile,
    outputs: Outputs = Path("outputs"),
    workers: Annotated[int, typer.Option(min=1, help="Windows trained side by side.")] = os.cpu_count() or 1,
) -> None:
    """Materialize the whole study and print its scores."""
    from seqpricing_dagster.run import materialize_study

    console = Console(stderr=True)
    open_project(study, outputs)  # a wrong study file fails here, before anything is written
    project = materialize_study(study, outputs, workers, console)
    _print_scores(project)


@app.command()
def report(study: StudyFile, outputs: Outputs = Path("outputs")) -> None:
    """Print the scores of a finished study and where its report is."""
    _print_scores(open_project(study, outputs))


@app.command()
def ui(
    study: StudyFile,
    outputs: Outputs = Path("outputs"),
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
) -> None:
    """Open the Dagster web UI over the study, with the daemon that runs backfills."""
    from seqpricing_dagster.run import prepare_home
    from seqpricing_dagster.services import Services

    console = Console(stderr=True)
    project = prepare_home(study, outputs)
    console.print(f"http://127.0.0.1:{port} shows {project.study.title}; Ctrl-C ends it", highlight=False)
    Services(project, port, console).run()


@app.command()
def doctor(study: StudyFile, outputs: Outputs = Path("outputs")) -> None:
    """Say what is wrong with a study: leftovers of crashes, data. Status 1 if something is an error."""
    from seqpricing_dagster.doctor import examine

    project = open_project(study, outputs)
    if examine(project, Console(highlight=False)):
        raise typer.Exit(1)


@app.command()
def clean(
    study: StudyFile,
    outputs: Outputs = Path("outputs"),
    apply: Annotated[bool, typer.Option("--apply", help="Do it; else only say what would be done.")] = False,  # noqa: FBT002
) -> None:
    """Remove what crashes and changed studies left behind; says what it would do unless told to --apply."""
    from seqpricing_dagster.doctor import clean as remove_leftovers

    project = open_project(study, outputs)
    console = Console(highlight=False, soft_wrap=True)
    done = remove_leftovers(project, apply=apply)
    for line in done:
        console.print(line, markup=False)
    if not done:
        console.print("nothing to remove")
    elif not apply:
        console.print("nothing was changed; --apply does it")


@app.command()
def compare(
    before: Annotated[
        Path, typer.Argument(help="Output folder of a study, a copy of its report's folder, or a record.")
    ],
    after: Annotated[Path, typer.Argument(help="The same of another study, or of a later version.")],
    page: Annotated[Path, typer.Option(help="HTML page to write.")] = Path("comparison.html"),
) -> None:
    """Print what changed from one study to another, and write it as a page."""
    from seqpricing_dagster.comparison import compare_studies

    compare_studies(before, after, page, Console())


def _print_scores(project: Project) -> None:
    file = project.assets / "evaluation" / "performance" / "performance.arrow"
    if not project.files.fetch([file]):
        raise InputError(
            "the study has no scores yet",
            where=str(file),
            expected="a finished run of the study",
            remedy="run it: seqpricing run <study file>",
        )
    performance = frame_from_files([file])
    oracle = "oracle" in performance["family"].unique()
    note = ". SIMULATED data; in brackets the share of the oracle's score" if oracle else ""
    table = Table(title=project.study.title, caption=CAPTION + note)
    table.add_column("model", no_wrap=True)
    table.add_column("K", justify="right")
    for label, _ in HEADLINE.values():
        table.add_column(label, justify="right", no_wrap=True)
    models = performance.select("family", "number_of_factors").unique(maintain_order=True)
    for family, factors in models.iter_rows():
        rows = performance.filter(pl.col("family") == family, pl.col("number_of_factors") == factors)
        cells = {row["measure"]: row for row in rows.iter_rows(named=True)}
        values = [_cell(cells.get(measure), scale) for measure, (_, scale) in HEADLINE.items()]
        table.add_row(TITLES[family], str(factors) if factors else "-", *values)
    Console().print(table)
    project.files.fetch([project.report_file])
    Console().print(f"report: {project.report_file}", soft_wrap=True)
    signal_files = [project.signal_file, project.signal_file.with_suffix(".arrow")]
    if len(project.files.fetch(signal_files)) == 2:
        month = frame_from_files([project.signal_file.with_suffix(".arrow")])["month"][0]
        Console().print(f"signal of {month:%Y-%m}: {project.signal_file}", soft_wrap=True)


def _cell(row: dict[str, float | None] | None, scale: float) -> str:
    if row is None or row["value"] is None:
        return "-"
    share = row["share_of_oracle"]
    return f"{row['value'] * scale:.2f}" + (f" [{share:.0%}]" if share is not None else "")


def main() -> None:
    """Entry point: an input error is a message, not a traceback."""
    try:
        app()
    except Exception as error:
        message = readable(error)
        if message is None:
            raise
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {message}", markup=False)
        sys.exit(2)
