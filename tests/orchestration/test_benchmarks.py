"""Benchmarks and forecasters through Dagster: same bytes as the plain pipeline, checks and records."""

from __future__ import annotations

import dagster as dg
import pytest
from rich.console import Console

from seqpricing_core.pipeline import run_study
from seqpricing_core.storage import frame_from_files, frame_to_bytes
from seqpricing_dagster.definitions import build_definitions
from seqpricing_dagster.run import materialize_study, prepare_home

FOREST = {"trees": 8, "depth": [3], "features": [20], "minimum_leaf": 10}
SAMPLE = {"first_month": "2000-01", "last_month": "2004-12"}
MODELS = {"ipca": {}, "ols": {}, "rf": FOREST, "ols3_forecast": {}, "rf_forecast": FOREST}


@pytest.fixture(scope="module")
def benchmark_file(settings, write_study, tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("benchmarks"), settings(models=MODELS, sample=SAMPLE))


@pytest.fixture(scope="module")
def project(benchmark_file, tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        for variable in ("SEQPRICING_STUDY", "SEQPRICING_OUTPUTS", "DAGSTER_HOME"):
            monkeypatch.setenv(variable, "")
        return materialize_study(benchmark_file, tmp_path_factory.mktemp("outputs"), 2, Console(quiet=True))


@pytest.fixture
def benchmark_instance(project, benchmark_file):
    prepare_home(benchmark_file, project.folder.parent)
    return dg.DagsterInstance.get()


def test_same_bytes_as_the_plain_pipeline(project, tmp_path):
    """Two processes with files between the steps, against one without."""
    plain = run_study(project.study, tmp_path)
    ours = frame_from_files(
        [
            project.assets / "predictions" / family / f"{family}_predictions" / f"{year}.arrow"
            for year in project.study.test_years
            for family in (*project.study.families, "oracle")
        ]
    )
    assert frame_to_bytes(ours) == frame_to_bytes(plain.predictions)
    performance = frame_from_files([project.assets / "evaluation/performance/performance.arrow"])
    keys = performance.columns[:3]
    assert performance.sort(keys).equals(plain.performance.sort(keys))


def test_every_check_passed(project, benchmark_instance):
    keys = build_definitions(project).resolve_asset_graph().asset_check_keys
    assert len(keys) == 13 + 5 * len(MODELS)
    summary = benchmark_instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys))
    assert {key: record.status.value for key, record in summary.items()} == dict.fromkeys(keys, "SUCCEEDED")


def test_records_of_a_forecaster(project, benchmark_instance):
    """Predictive R2 at K = 0, no total R2; the forest that won; a dash in the table of scores."""

    def metadata(*key, partition="2004"):
        chosen = dg.AssetRecordsFilter(dg.AssetKey(key), asset_partitions=partition and [partition])
        (record,) = benchmark_instance.fetch_materializations(chosen, limit=1).records
        return record.asset_materialization.metadata

    predictions = metadata("predictions", "rf_forecast", "rf_forecast_predictions")
    assert isinstance(predictions["predictive_r2_k0"].value, float)
    assert not [name for name in predictions if name.startswith("total_r2")]
    assert {"total_r2_k1", "total_r2_k2"} <= set(metadata("predictions", "rf", "rf_predictions"))
    models = metadata("models", "rf_forecast", "rf_forecast_models")
    assert models["training_record"].value["K=0"][0]["winner"] == {"depth": 3, "features": 20}
    assert models["last_month_seen"].value == "2003-12"
    tables = metadata("evaluation", "performance", partition=None).values()
    scores = [table.value for table in tables if isinstance(table, dg.MarkdownMetadataValue)]
    assert any("| OLS-3 forecast | r | – | – | – |" in table for table in scores)
    assert not any("None" in table for table in scores)
    report = project.report_file.read_text(encoding="utf-8")
    assert "K = –" in report
