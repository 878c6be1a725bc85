"""The doctor's look at the data: the whole quality gate over the raw tables of a study."""

from __future__ import annotations

import itertools

import polars as pl

from seqpricing_core.quality.examination import Examination, asset_label, examine_data
from seqpricing_core.quality.finding import EVERYTHING, Outcome, findings_table
from seqpricing_core.report.figures import to_png
from seqpricing_core.report.heat_map import coverage_heat_map
from seqpricing_core.sources import open_source
from seqpricing_core.storage import write_atomically
from seqpricing_core.study import SimulatedSource, Study
from seqpricing_dagster.doctor import Finding
from seqpricing_dagster.project import Project

NAMED = 40
"""Assets that a line names; the files have all of them."""


def data_findings(project: Project) -> list[Finding]:
    """One finding per check that found something, what was dropped, and who survives.

    The findings one by one, what was dropped, coverage and its heat map are written to
    ``<outputs>/<study>/doctor``.
    """
    study = project.study
    simulated = isinstance(study.source, SimulatedSource)
    if simulated and not (project.vendor_files.is_dir() and any(project.vendor_files.iterdir())):
        return [
            Finding(
                "note", "the simulated market is not written yet", str(project.vendor_files),
                "run the study; its data can be looked at then",
            )
        ]  # fmt: skip
    examination = examine_data(study, open_source(study, project.vendor_files))
    _write(project, examination)
    found = [_of_check(outcome, study) for outcome in examination.outcomes if not outcome.passed]
    return [*found, *_of_dropped(examination), _written(project)]


def _of_check(outcome: Outcome, study: Study) -> Finding:
    check, count = outcome.check, len(outcome.found)
    return Finding(
        "error" if outcome.severity == "block" else "warning",
        f"{check.name} in {check.table}, {count} finding{'s' if count > 1 else ''} ({check.means})",
        _named(outcome, study),
        check.what_to_do,
    )


def _named(outcome: Outcome, study: Study) -> str:
    """``AVB 2010-09-16 2012-12-21, BXP 2007-05-02, ...``; of one finding also what was expected."""
    found = sorted(outcome.findings(asset_label(study)), key=lambda f: (f.asset, f.at is not None, f.at))
    if len(found) == 1 or {finding.asset for finding in found} == {EVERYTHING}:
        lines = [f"{finding.asset} {finding.at}: {finding.expected}" for finding in found[:NAMED]]
    else:
        by_asset = itertools.groupby(found, key=lambda finding: finding.asset)
        lines = [f"{asset} {' '.join(str(one.at) for one in group)}" for asset, group in by_asset]
    more = len(lines) - NAMED
    return ", ".join(lines[:NAMED]) + (f" and {more} more assets" if more > 0 else "")


def _of_dropped(examination: Examination) -> list[Finding]:
    reasons = examination.dropped.group_by("step", "reason").agg(pl.col("rows").sum())
    return [
        Finding("note", f"{rows} stock-months left out by the {step}", reason, "see docs/quality.md")
        for step, reason, rows in reasons.sort("step", "rows", "reason").iter_rows()
    ]


def _write(project: Project, examination: Examination) -> None:
    label = asset_label(project.study)
    found = [finding for outcome in examination.outcomes for finding in outcome.findings(label)]
    tables = {
        "findings": findings_table(found),
        "dropped": examination.dropped,
        "coverage": examination.coverage,
    }
    for name, table in tables.items():
        write_atomically(project.doctor_files / f"{name}.csv", table.write_csv().encode())
    write_atomically(project.doctor_files / "coverage.png", to_png(coverage_heat_map(examination.coverage)))


def _written(project: Project) -> Finding:
    return Finding(
        "note", "every finding by itself, what was dropped, coverage with its heat map",
        str(project.doctor_files),
        "open findings.csv, dropped.csv, coverage.csv, coverage.png",
    )  # fmt: skip
