"""The doctor's look at machine, study and files."""

from __future__ import annotations

import shutil
from collections import namedtuple

import polars as pl
import pytest

from seqpricing_dagster import fitness
from seqpricing_dagster.fitness import fitness_findings
from seqpricing_dagster.project import Project


@pytest.fixture
def look(make_study, write_tables, small, tmp_path):
    """Findings of the small study over canonical files, with tables or sections replaced."""

    def look(tables=None, **sections):
        source = write_tables(tmp_path / "raw", small.tables | (tables or {}))
        project = Project(make_study(**{"source": source, **sections}), tmp_path / "outputs" / "small")
        return fitness_findings(project)

    return look


def levels(findings):
    return [finding.level for finding in findings]


def test_a_fit_study_has_notes_alone(look):
    findings = look()
    assert levels(findings) == ["note", "note"]
    assert all("GiB" in finding.where for finding in findings)


def test_a_missing_file_is_named(look, make_study, tmp_path):
    look()
    (tmp_path / "raw" / "statements.parquet").unlink()
    source = {"kind": "canonical_files"} | {
        name: str(tmp_path / "raw" / f"{name}.parquet") for name in ("stock_months", "statements", "factors")
    }
    (finding,) = fitness_findings(Project(make_study(source=source), tmp_path / "outputs"))
    assert finding.level == "error"
    assert "statements.parquet" in finding.where


def test_a_missing_column_is_named(look, small):
    (finding,) = look({"stock_months": small.tables["stock_months"].drop("high")})
    assert finding.level == "error"
    assert "high" in finding.what


def test_months_of_the_sample_that_are_not_there(look, small):
    months = small.tables["stock_months"]
    hole = pl.col("month").dt.strftime("%Y-%m").is_in(["2002-03", "2002-04"])
    errors = [finding for finding in look({"stock_months": months.filter(~hole)}) if finding.level == "error"]
    assert [finding.where for finding in errors] == ["2002-03, 2002-04"]
    short = small.tables["factors"].filter(pl.col("month").dt.year() != 2005)
    errors = [finding for finding in look({"factors": short}) if finding.level == "error"]
    assert errors[0].where.startswith("2005-01, 2005-02")


def test_years_before_the_sample_that_are_empty(look, small):
    late = small.tables["stock_months"].filter(pl.col("month").dt.year() >= 1999)
    warnings = [finding for finding in look({"stock_months": late}) if finding.level == "warning"]
    assert "1998" in warnings[0].where
    assert "1999" not in warnings[0].where


def test_too_little_disk_is_a_warning(look, monkeypatch):
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - what shutil returns
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    assert sorted(levels(look())) == ["note", "warning"]


def test_too_little_memory_is_a_warning(look, monkeypatch):
    monkeypatch.setattr(fitness, "COPIES", 10**7)
    assert levels(look()) == ["warning", "note"]


def test_a_gpu_that_is_not_there(look, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    training = {"max_epochs": 4, "patience": 2, "batch_months": 12, "seeds": [1], "device": "cuda"}
    assert [f.where for f in look(training=training) if f.level == "error"] == ["key training.device"]
