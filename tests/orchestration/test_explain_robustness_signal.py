"""Importance, the odd-even check and the signal as assets: what they read, and that the core made them."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import numpy as np
import polars as pl
import pytest
from rich.console import Console

from seqpricing_core.explain.importance import compute_importance_sums, pool_importance
from seqpricing_core.models.family import FittedFamily
from seqpricing_core.panel.panel import Sample
from seqpricing_core.pipeline import prepare_data, run_signal
from seqpricing_core.robustness import compute_odd_even, pool_odd_even
from seqpricing_core.signal import signal_csv
from seqpricing_core.storage import frame_from_files, frame_to_bytes
from seqpricing_core.study import Study
from seqpricing_dagster.definitions import build_definitions
from seqpricing_dagster.partitions import years_of
from seqpricing_dagster.project import Project
from seqpricing_dagster.run import materialize_partition, materialize_study, prepare_home, stages_of

SECTIONS = {"models": {"ipca": {}}, "robustness": {"odd_even": True}}


@pytest.fixture(scope="module")
def ipca_file(settings, write_study, tmp_path_factory):
    """Two years before each test year, 2004 and 2005; the signal is for January 2006."""
    sections = SECTIONS | {
        "sample": {"first_month": "2002-01", "last_month": "2005-12"},
        "windows": {"train_years": 1, "validation_years": 1},
    }
    return write_study(tmp_path_factory.mktemp("study"), settings(**sections))


@pytest.fixture(scope="module")
def project(ipca_file, tmp_path_factory) -> Project:
    with pytest.MonkeyPatch.context() as monkeypatch:
        for variable in ("SEQPRICING_STUDY", "SEQPRICING_OUTPUTS", "DAGSTER_HOME"):
            monkeypatch.setenv(variable, "")
        return materialize_study(ipca_file, tmp_path_factory.mktemp("outputs"), 2, Console(quiet=True))


@pytest.fixture(scope="module")
def data(project, tmp_path_factory):
    return prepare_data(project.study, tmp_path_factory.mktemp("plain"))


@pytest.fixture
def instance(project, ipca_file) -> dg.DagsterInstance:
    prepare_home(ipca_file, project.folder.parent)
    return dg.DagsterInstance.get()


def table_of(project: Project, asset: str, partition: str | None = None) -> pl.DataFrame:
    folder = project.assets / asset
    return frame_from_files([folder / f"{partition or folder.name}.arrow"])


def metadata_of(instance: dg.DagsterInstance, asset: str):
    event = instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
    return event.asset_materialization.metadata


class TestSignal:
    def test_the_file_is_what_the_plain_pipeline_makes(self, project, tmp_path):
        """Byte for byte, from raw files in one process; the CSV file beside it is the same table."""
        plain = run_signal(project.study, tmp_path)
        table = table_of(project, "signal/next_month_signal")
        assert frame_to_bytes(table) == frame_to_bytes(plain)
        assert project.signal_file.read_bytes() == signal_csv(plain, project.study)
        assert table["month"].dt.strftime("%Y-%m").unique().to_list() == [project.study.signal_month]

    def test_metadata(self, project, instance):
        metadata = metadata_of(instance, "signal/next_month_signal")
        assert metadata["csv"].value == str(project.signal_file)
        assert metadata["first_date"].value[:7] == project.study.signal_month

    def test_predictions_keep_their_years(self, project):
        """Models reach one year further; nothing else does."""
        years = {
            asset: sorted(file.stem for file in (project.assets / asset).iterdir())
            for asset in (
                "models/ipca/ipca_models", "predictions/ipca/ipca_predictions", "explain/ipca/ipca_importance"
            )
        }  # fmt: skip
        assert list(years.values()) == [["2004", "2005", "2006"], ["2004", "2005"], ["2004", "2005"]]

    def test_every_check_passed(self, project, instance):
        definitions = build_definitions(project)
        keys = definitions.resolve_asset_graph().asset_check_keys
        summary = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys))
        assert {key: record.status.value for key, record in summary.items()} == dict.fromkeys(
            keys, "SUCCEEDED"
        )
        assert (project.report_file).is_file()

    def test_a_second_run_gives_the_same_bytes(self, project, ipca_file):
        before = project.signal_file.read_bytes()
        project.signal_file.unlink()
        materialize_partition(ipca_file, project.folder.parent, ("signal/next_month_signal",), None)
        assert project.signal_file.read_bytes() == before
        assert not list(project.folder.rglob("*.tmp"))


class TestImportance:
    def test_of_a_year_and_pooled(self, project, data):
        parts = []
        for year in project.study.test_years:
            file = project.assets / f"models/ipca/ipca_models/{year}.safetensors"
            test = Sample(data.panels[year], data.managed[year])
            sums = compute_importance_sums(FittedFamily.from_files([file]), test)
            assert table_of(project, "explain/ipca/ipca_importance", str(year)).equals(sums)
            parts.append(sums)
        pooled = table_of(project, "explain/characteristic_importance")
        assert pooled.equals(pool_importance(pl.concat(parts)))
        np.testing.assert_allclose(
            pooled.group_by("number_of_factors", "method").agg(pl.col("importance").sum())["importance"], 1.0
        )

    def test_plots(self, instance):
        for asset in ("explain/ipca/ipca_importance", "explain/characteristic_importance"):
            metadata = metadata_of(instance, asset)
            for method in ("zero", "permutation"):
                assert metadata[f"importance_{method}"].value.startswith("![")
            assert "attention" not in metadata


class TestOddEven:
    def test_of_a_year_and_pooled(self, project, data, instance):
        study = project.study
        parts = [
            compute_odd_even(study.models[0], study, year, data.panel(year - 2, year))
            for year in study.test_years
        ]
        for year, part in zip(study.test_years, parts, strict=True):
            assert table_of(project, "robustness/ipca/ipca_odd_even", str(year)).equals(part)
        pooled = table_of(project, "robustness/odd_even")
        assert pooled.equals(pool_odd_even(pl.concat(parts)))
        assert len(pooled) == 2 * 4
        scores = metadata_of(instance, "robustness/odd_even")["scores"].value
        assert scores.count("\n| IPCA | ") == 8

    def test_stages_of_a_study_that_ends_within_a_year(self, make_study, tmp_path):
        """The signal's models are then those of the last test year: no window is trained beyond it."""
        for last_month, trained in (("2005-12", ["2004", "2005", "2006"]), ("2005-06", ["2004", "2005"])):
            study = make_study(**SECTIONS, sample={"first_month": "2000-01", "last_month": last_month})
            stages = stages_of(Project(study, tmp_path))
            partitions = {asset: list(stage.partitions) for stage in stages for asset in stage.assets}
            assert partitions["models/ipca/ipca_models"] == trained
            assert partitions["predictions/ipca/ipca_predictions"] == ["2004", "2005"]
            assert partitions["robustness/ipca/ipca_odd_even"] == ["2004", "2005"]
            assert partitions["signal/next_month_signal"] == [None]
            keys = build_definitions(Project(study, tmp_path)).resolve_asset_graph().get_all_asset_keys()
            assert {key.to_user_string() for key in keys} == partitions.keys()

    def test_only_if_the_study_asks(self, make_study, tmp_path):
        study = make_study(models={"ipca": {}})
        keys = build_definitions(Project(study, tmp_path)).resolve_asset_graph().get_all_asset_keys()
        assert not [key for key in keys if key.path[0] == "robustness"]
        assert not [stage for stage in stages_of(Project(study, tmp_path)) if "odd-even" in stage.title]


class TestLineage:
    """Which years each of them reads."""

    def read(self, study: Study, asset: str, parent: str, year: int | None = None) -> list[str]:
        graph = build_definitions(Project(study, self.folder)).resolve_asset_graph()
        child, above = dg.AssetKey(asset.split("/")), dg.AssetKey(parent.split("/"))
        definition, mapping = graph.get(child).partitions_def, graph.get_partition_mapping(child, above)
        subset = definition.subset_with_partition_keys([str(year)]) if year else None
        found = mapping.get_upstream_mapped_partitions_result_for_partitions(
            subset, definition, graph.get(above).partitions_def
        )
        return sorted(found.partitions_subset.get_partition_keys())

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    @pytest.fixture(params=["2005-12", "2005-06"])
    def study(self, request, make_study) -> Study:
        """SeqLAT looks back over the turn of the year."""
        models = {"ipca": {}, "seqlat": {"lookback": 12}}
        sample = {"first_month": "2000-01", "last_month": request.param}
        return make_study(**SECTIONS | {"models": models, "sample": sample})

    def test_models_of_the_newest_window(self, study):
        newest = study.signal_year
        for parent in ("panel/panel", "panel/managed_portfolios"):
            years = self.read(study, "models/ipca/ipca_models", parent, newest)
            assert years == [str(year) for year in range(newest - 4, newest)]

    def test_the_signal(self, study):
        asset = "signal/next_month_signal"
        assert self.read(study, asset, "models/seqlat/seqlat_models") == [str(study.signal_year)]
        assert self.read(study, asset, "panel/characteristics") == ["2005"]
        assert self.read(study, asset, "panel/panel") == ["2005"]
        lookback = ["2005"] if study.signal_year == 2006 else ["2004", "2005"]
        assert self.read(study, asset, "panel/managed_portfolios") == lookback

    def test_importance_and_predictions(self, study):
        for asset in ("explain/seqlat/seqlat_importance", "predictions/seqlat/seqlat_predictions"):
            assert self.read(study, asset, "models/seqlat/seqlat_models", 2005) == ["2005"]
            assert self.read(study, asset, "panel/panel", 2005) == ["2005"]
            assert self.read(study, asset, "panel/managed_portfolios", 2005) == ["2004", "2005"]

    def test_the_odd_even_check(self, study):
        years = self.read(study, "robustness/ipca/ipca_odd_even", "panel/panel", 2005)
        assert years == ["2001", "2002", "2003", "2004", "2005"]

    def test_an_open_study_trains_for_the_running_year(self, make_study):
        """Its newest window is that of the year that has begun; predictions wait until it is over."""
        years = years_of(make_study(models={"ipca": {}}, sample={"first_month": "2000-01"}))
        for today, tested, trained in (("2031-12-31", "2030", "2031"), ("2032-01-02", "2031", "2032")):
            now = dt.datetime.fromisoformat(today).replace(tzinfo=dt.UTC)
            assert years.test.get_partition_keys(current_time=now)[-1] == tested
            assert years.models.get_partition_keys(current_time=now)[-1] == trained
