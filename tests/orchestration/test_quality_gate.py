"""The quality gate through Dagster: what warns, what blocks, and the tables about the data as a whole."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import numpy as np
import polars as pl
import pytest
from dagster._core.errors import DagsterAssetCheckFailedError

from seqpricing_core.panel.panel import Panel
from seqpricing_core.storage import frame_from_files
from seqpricing_dagster.definitions import build_definitions
from seqpricing_dagster.doctor import SECTIONS, examine
from seqpricing_dagster.project import open_project
from seqpricing_dagster.run import materialize_partition, prepare_home

SLIP = dt.date(2000, 12, 31)


@pytest.fixture(scope="module")
def faulty(small):
    """The small market with a slip in December 2000, a restatement and a broken balance sheet in 2001."""
    months, statements = small.tables["stock_months"], small.tables["statements"]
    asset = months.filter(pl.col("month").dt.year().is_in([2000, 2001]))["asset_id"].value_counts().filter(
        pl.col("count") == 24
    )["asset_id"].min()  # fmt: skip
    here = (pl.col("asset_id") == asset) & (pl.col("month") == SLIP)
    columns = ("price", "high")
    months = months.with_columns(pl.when(here).then(pl.col(c) / 10).otherwise(pl.col(c)) for c in columns)
    in_2001 = statements.filter(pl.col("available_from").dt.year() == 2001)
    broken = in_2001.head(1).with_columns(
        pl.col("available_from") + dt.timedelta(days=30), liabilities=pl.col("assets") * 1.2
    )
    return asset, small.tables | {"stock_months": months, "statements": pl.concat([statements, broken])}


@pytest.fixture
def gated(faulty, write_study, write_tables, settings, tmp_path):
    """A study file over the faulty market with this section of quality."""

    def write(**quality):
        source = write_tables(tmp_path / "raw", faulty[1])
        return write_study(tmp_path, settings(source=source, models={"ipca": {}}, quality=quality))

    return write


def checks_of(study_file, outputs):
    prepare_home(study_file, outputs)
    project = open_project(study_file, outputs)
    keys = build_definitions(project).resolve_asset_graph().asset_check_keys
    with dg.DagsterInstance.get() as instance:
        records = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys))
        return {
            (key.asset_key.path[-1], key.name): record.event.dagster_event.event_specific_data
            for key, record in records.items()
            if record.event
        }


class TestChecks:
    def test_they_warn_and_name_the_row(self, faulty, gated, tmp_path):
        """Of 2001, with the partition of 2000 not there: the slip is seen when it reverses."""
        study_file = gated(maximum_monthly_return=100.0)  # some simulated stocks fail
        materialize_partition(study_file, tmp_path / "out", ("raw/vendor_files",), None)
        materialize_partition(study_file, tmp_path / "out", ("raw/stock_months", "raw/statements"), "2001")
        checks = checks_of(study_file, tmp_path / "out")
        failed = {name for name, check in checks.items() if not check.passed}
        assert failed == {
            ("stock_months", "decimal_slips"),
            ("statements", "restated_statements"),
            ("statements", "accounting_identities"),
        }
        assert all(checks[name].severity == dg.AssetCheckSeverity.WARN for name in failed)
        slip = checks["stock_months", "decimal_slips"].metadata
        assert slip["findings"].value == 1
        assert f"| {faulty[0]} | {SLIP} |" in slip["first"].value

    def test_the_study_blocks(self, gated, tmp_path):
        """The run of the partition fails, and says which check it was."""
        study_file = gated(block=["accounting_identities"], ignore=["decimal_slips"])
        with pytest.raises(DagsterAssetCheckFailedError, match="accounting_identities"):
            materialize_partition(study_file, tmp_path / "out", ("raw/statements",), "2001")
        names = {key for _, key in checks_of(study_file, tmp_path / "out")}
        assert "decimal_slips" not in names

    def test_daily_prices_are_checked_with_the_files(
        self, small, write_study, write_tables, settings, tmp_path
    ):
        """A slip in the optional table of days; and a table of days without a day passes."""
        days = pl.DataFrame({
            "asset_id": [1] * 4, "day": [dt.date(2001, 5, day) for day in (1, 2, 3, 4)], "ret": [0.0] * 4,
            "price": [20.0, 2.0, 20.0, 20.0],
        })  # fmt: skip
        for name, rows, passes in (("slip", days, False), ("none", days.clear(), True)):
            source = write_tables(tmp_path / name, small.tables)
            rows.write_parquet(tmp_path / name / "days.parquet")
            source["stock_days"] = str(tmp_path / name / "days.parquet")
            (folder := tmp_path / name / "study").mkdir()
            study_file = write_study(folder, settings(source=source, models={"ipca": {}}, quality={}))
            materialize_partition(study_file, folder, ("raw/vendor_files",), None)
            check = checks_of(study_file, folder)["vendor_files", "decimal_slips"]
            assert check.passed is passes

    def test_the_doctor(self, faulty, gated, tmp_path, capsys):
        """Status 1 if a check that blocks found something; the findings are in a file, one by one."""
        from rich.console import Console

        project = open_project(gated(block=["decimal_slips"]), tmp_path / "out")
        assert [section.title for section in SECTIONS][-2:] == ["Machine, study and files", "Data"]
        assert examine(project, Console(width=300)) == 1
        printed = capsys.readouterr().out
        assert "error decimal_slips in stock_months, 1 finding" in printed
        assert f"{faulty[0]} {SLIP}" in printed
        assert "warning restated_statements in statements, 1 finding" in printed
        findings = pl.read_csv(project.doctor_files / "findings.csv")
        assert findings["check"].to_list().count("decimal_slips") == 1
        assert set(findings["severity"]) == {"block", "warn"}
        assert (project.doctor_files / "coverage.png").read_bytes().startswith(b"\x89PNG")


class TestTables:
    """Of the finished study."""

    def test_coverage(self, finished, small):
        table = frame_from_files([finished.assets / "quality/coverage/coverage.arrow"])
        assert set(table["characteristic"]) == set(finished.study.acronyms)
        assert finished.coverage_file.read_bytes().startswith(b"\x89PNG")
        # By a slow count over the stocks of one month.
        month = dt.date(2003, 5, 31)
        rows = small.characteristics[2003].filter(pl.col("month") == month)
        inside = [
            r for r in rows.iter_rows(named=True) if r["history_months"] >= 12 and r["mvel1"] is not None
        ]
        for name in ("bm", "mom_36", "roe"):
            share = np.mean([row[name] is not None for row in inside])
            ours = table.filter(pl.col("month") == month, pl.col("characteristic") == name)
            assert ours["share"].item() == pytest.approx(share)
            assert ours["stocks"].item() == len(inside)

    def test_what_was_dropped_and_what_is_left_make_up_the_candidates(self, finished, small):
        dropped = frame_from_files([finished.assets / "quality/dropped/dropped.arrow"])
        for year in (2000, 2003, 2005):
            candidates = pl.concat([small.characteristics[year - 1], small.characteristics[year]]).filter(
                pl.col("month") >= dt.date(year - 1, 12, 1), pl.col("month") < dt.date(year, 12, 1)
            )
            panel = Panel.from_files([finished.assets / f"panel/panel/{year}.arrow"])
            of_year = dropped.filter(pl.col("month").dt.year() == year)
            by_step = dict(of_year.group_by("step").agg(pl.col("rows").sum()).iter_rows())
            assert by_step["universe"] == len(candidates) - len(panel) > 0
            assert by_step.get("return", 0) == np.isnan(panel.excess_return).sum()

    def test_stock_history(self, finished, small):
        table = frame_from_files([finished.assets / "quality/stock_history/stock_history.arrow"])
        months = small.tables["stock_months"]
        assert table["months"].sum() == len(months)
        assert len(table) == months["asset_id"].n_unique()
