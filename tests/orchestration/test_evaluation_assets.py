"""The report and the checks on portfolios as Dagster has them."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
import polars as pl
import pytest

from seqpricing_core.inference.study_inference import compute_study_inference
from seqpricing_core.pipeline import StudyResults
from seqpricing_core.report.record import read_record
from seqpricing_dagster.evaluation_checks import evaluation_checks
from seqpricing_dagster.project import Project


@pytest.fixture(scope="module")
def checks(finished: Project) -> dict[str, dg.AssetChecksDefinition]:
    return {next(iter(check.check_keys)).name: check for check in evaluation_checks(finished)}


def outcome(check: Any, *tables: Any, **named: Any) -> tuple[bool, str]:
    result = check(*tables, **named)
    return result.passed, str(result.metadata["problems"].value)


def test_checks_pass_on_sound_and_fail_on_bad_input(checks, results: StudyResults) -> None:
    returns = results.portfolio_returns
    assert outcome(checks["turnover_within_bounds"], returns)[0]
    assert not outcome(checks["turnover_within_bounds"], returns.with_columns(turnover=pl.lit(9.0)))[0]
    assert outcome(checks["months_complete"], returns)[0]
    assert not outcome(checks["months_complete"], returns.filter(pl.col("month").dt.month() != 3))[0]

    def scans(table: pl.DataFrame) -> dict[str, list[pl.LazyFrame]]:
        newest = table.filter(pl.col("month").dt.year() == 2005)
        return {f: [newest.filter(family=f).lazy()] for f in newest["family"].unique()}

    leak = results.predictions.with_columns(expected_return=pl.col("excess_return").fill_null(0.0))
    for name, passes in (("weights_sum_to_one", True), ("no_future_return_in_a_weight", False)):
        assert outcome(checks[name], **scans(results.predictions))[0]
        passed, problems = outcome(checks[name], **scans(leak))
        assert passed is passes
        assert passes or "rank correlation of forecasts and returns" in problems


def test_the_ui_has_tables_and_plots(finished: Project, instance: dg.DagsterInstance) -> None:
    expected = {
        "portfolio_returns": {"cumulative_returns_equal", "quantile_returns", "exhibit_6", "drawdowns_equal"},
        "performance": {"total_r2", "sharpe_equal", "net_sharpe_value"},
        "model_comparison": {"sharpe_tests_equal", "alphas_equal_before", "correlations_long_short_equal"},
        "report": {"cumulative_returns_equal", "total_r2", "finding", "page", "latex"},
    }
    for asset, names in expected.items():
        event = instance.get_latest_materialization_event(dg.AssetKey(["evaluation", asset]))
        assert event is not None
        assert event.asset_materialization is not None
        assert names <= set(event.asset_materialization.metadata), asset
    folder = finished.report_file.parent
    assert (folder / "tables.tex").is_file()
    assert (folder / "tables" / "total_r2.csv").is_file()


def test_every_number_has_its_run(finished: Project, instance: dg.DagsterInstance) -> None:
    record = read_record(finished.folder)
    assert len(list((finished.report_file.parent / "records").glob("*.json"))) == 1
    runs = {run.run_id for run in instance.get_runs()}
    assert {one.run for one in record.lineage} <= runs
    recorded = {(one.asset, one.partition): one for one in record.lineage}
    assert {p for a, p in recorded if a == "models/seqlat/seqlat_models"} == {"2004", "2005", "2006"}
    event = instance.get_latest_materialization_event(dg.AssetKey(["evaluation", "performance"]))
    assert event is not None
    assert event.asset_materialization is not None
    version = (event.asset_materialization.tags or {})["dagster/data_version"]
    assert recorded["evaluation/performance", ""].data_fingerprint == version
    assert json.dumps(version)[1:-1] in finished.report_file.read_text()


def test_the_tests_are_those_of_the_plain_pipeline(finished: Project, results: StudyResults) -> None:
    file = finished.assets / "evaluation" / "model_comparison" / "model_comparison.zip"
    plain = compute_study_inference(
        results.study, results.portfolio_returns, results.monthly_scores, results.factor_returns
    )
    assert file.read_bytes() == plain.to_bytes()
