"""Is the machine fit to run the study, and are its files? Cheap: it reads a year or two and counts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.quality.examination import raw_years_of
from seqpricing_core.sources import RawTables, open_source
from seqpricing_core.storage import scan_table
from seqpricing_core.study import SimulatedSource, Study
from seqpricing_dagster.doctor import Finding
from seqpricing_dagster.project import Project

GIB = 2**30
COPIES = 3
"""Of a window's panel while it trains: the panel, the batches made from it, what a layer keeps."""


def fitness_findings(project: Project) -> list[Finding]:
    """Files, sample, memory, disk, device; what is fine is a note where a number helps."""
    study = project.study
    if isinstance(study.source, SimulatedSource):  # writes its own files
        return [*_estimates(project, 12 * study.source.stocks), *_device(study)]
    source = open_source(study, project.vendor_files)
    unfit = [*_missing_files(study, source)] or [*_unread(study, source)]
    if unfit:
        return unfit
    rows = len(source.stock_months(study.sample.last_year - 1))
    return [*_sample(study, source), *_estimates(project, rows), *_device(study)]


def _missing_files(study: Study, source: RawTables) -> Iterator[Finding]:
    beside = [getattr(study.source, "daily_prices", None), study.macro and study.macro.file]
    opens: list[Callable[[], object]] = [
        source.files,
        *(partial(scan_table, file) for file in beside if isinstance(file, Path)),
    ]
    for open_files in opens:
        if (finding := _refused(open_files)) is not None:
            yield finding


def _unread(study: Study, source: RawTables) -> Iterator[Finding]:
    """Whether the newest year of every table passes the checks at the door."""
    for table in ("stock_months", "statements", "factors"):
        read: Callable[[int], object] = getattr(source, table)
        if (finding := _refused(partial(read, study.sample.last_year))) is not None:
            yield finding


def _refused(action: Callable[[], object]) -> Finding | None:
    try:
        action()
    except InputError as error:
        return Finding("error", f"{error.what}; expected {error.expected}", error.where, error.remedy)
    return None


def _sample(study: Study, source: RawTables) -> Iterator[Finding]:
    """Months of the sample without stocks or factors, and years of history that are empty."""
    first, last = study.sample.first_month, study.sample.last_month or f"{study.sample.last_year}-12"
    wanted = set(pl.date_range(_day(first), _day(last), "1mo", eager=True).dt.strftime("%Y-%m"))
    years = range(study.sample.first_year, study.sample.last_year + 1)
    for table in ("stock_months", "factors"):
        read: Callable[[int], pl.DataFrame] = getattr(source, table)
        there = set(pl.concat(read(year)["month"] for year in years).dt.strftime("%Y-%m").unique())
        lacking = sorted(wanted - there)
        if lacking:
            yield Finding(
                "error", f"{len(lacking)} month(s) of the sample are not in {table}",
                ", ".join(lacking[:12]), "extend the files, or shorten sample in the study file",
            )  # fmt: skip
    before = range(raw_years_of(study).start, years.start)
    empty = [year for year in before if source.stock_months(year).is_empty()]
    if empty:
        yield Finding(
            "warning", "years before the sample without stocks: characteristics that look back start late",
            ", ".join(map(str, empty)), "begin the sample later, or add the years to the files",
        )  # fmt: skip


def _day(month: str) -> pl.Expr:
    return pl.lit(month + "-01").str.to_date()


def _estimates(project: Project, rows_a_year: int) -> Iterator[Finding]:
    """Memory of one window and disk of the study, against what there is."""
    study, width = project.study, len(project.study.acronyms)
    window = rows_a_year * (study.windows.estimation_years + 1) * width * 4 * COPIES
    years = len(raw_years_of(study))
    # Characteristics in 8 bytes, panel in 4; Gram matrices of managed portfolios, 12 a year; raw columns.
    disk = years * (rows_a_year * (12 * width + 8 * 20) + 12 * 8 * (width + 1) ** 2)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    folder = next(path for path in (project.folder, *project.folder.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    yield _against(
        "memory for a window that trains", window, memory,
        "shorten windows.train_years, leave out characteristics, or run with fewer --workers",
    )  # fmt: skip
    yield _against(
        "disk for tables, panels and managed portfolios", disk, free,
        "free some disk, or choose other --outputs",
    )  # fmt: skip


def _against(what: str, needed: int, there: int, remedy: str) -> Finding:
    fits = needed < there / 2
    return Finding(
        "note" if fits else "warning",
        what,
        f"about {needed / GIB:.2g} GiB of {there / GIB:.3g} GiB",
        "nothing to do" if fits else remedy,
    )


def _device(study: Study) -> Iterator[Finding]:
    if study.training.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            yield Finding(
                "error", "training.device is cuda and there is no GPU", "key training.device",
                "set training.device to auto or cpu",
            )  # fmt: skip
