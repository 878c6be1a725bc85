"""A whole study through Dagster: same numbers as the plain pipeline, records that can be trusted."""

from __future__ import annotations

import dagster as dg
import numpy as np
import polars as pl
import pytest

from seqpricing_core.errors import InputError
from seqpricing_core.pipeline import StudyResults
from seqpricing_core.storage import frame_from_files, frame_to_bytes
from seqpricing_dagster.checks import panel_problems
from seqpricing_dagster.definitions import build_definitions
from seqpricing_dagster.project import Project
from seqpricing_dagster.run import materialize_partition


def predictions_of(project: Project) -> pl.DataFrame:
    """All predictions in the order of the plain pipeline."""
    families = (*project.study.families, "oracle")
    return frame_from_files(
        [
            project.assets / "predictions" / family / f"{family}_predictions" / f"{year}.arrow"
            for year in project.study.test_years
            for family in families
        ]
    )


def test_dagster_and_the_plain_pipeline_agree_byte_for_byte(finished: Project, results: StudyResults) -> None:
    """The oracle of the orchestration is `run_study`: one process, no partitions, no files between steps."""
    ours, plain = predictions_of(finished), results.predictions
    assert {c: int((ours[c] != plain[c]).sum()) for c in plain.columns} == dict.fromkeys(plain.columns, 0)
    assert frame_to_bytes(ours) == frame_to_bytes(plain)
    returns = finished.assets / "evaluation/portfolio_returns/portfolio_returns.arrow"
    assert returns.read_bytes() == frame_to_bytes(results.portfolio_returns)
    performance = frame_from_files([finished.assets / "evaluation/performance/performance.arrow"])
    assert performance.sort(performance.columns[:3]).equals(results.performance.sort(performance.columns[:3]))


def test_a_second_run_of_a_window_gives_the_same_bytes(finished: Project, study_file, tmp_path) -> None:
    """Nothing but the inputs decides what a partition holds, be it trained again or found in the store."""
    file = finished.assets / "models/seqlat/seqlat_models/2005.safetensors"
    before, store = file.read_bytes(), finished.fitted_store.folder
    for fit in ("reused", "trained"):
        if fit == "trained":
            store.rename(store.with_name("elsewhere"))
        file.unlink()
        materialize_partition(study_file, finished.folder.parent, ("models/seqlat/seqlat_models",), "2005")
        assert file.read_bytes() == before
        with dg.DagsterInstance.get() as instance:
            event = instance.get_latest_materialization_event(
                dg.AssetKey(["models", "seqlat", "seqlat_models"])
            )
        assert event.asset_materialization.metadata["fit"].value == fit


def test_no_temporary_file_stays(finished: Project) -> None:
    assert not list(finished.folder.rglob("*.tmp"))


def test_every_check_passed_and_none_was_left_out(finished: Project, instance: dg.DagsterInstance) -> None:
    definitions = build_definitions(finished)
    keys = definitions.resolve_asset_graph().asset_check_keys
    assert len(keys) == 13 + 5 * len(finished.study.families)
    summary = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys))
    found = {key: record.status.value for key, record in summary.items()}
    assert found.keys() == set(keys)
    # Four epochs are few: networks are cut off, and the check says so.
    assert {key.name for key, status in found.items() if status != "SUCCEEDED"} <= {"fit_is_believable"}


def test_metadata_of_a_window(finished: Project, instance: dg.DagsterInstance) -> None:
    """The UI says what the model saw, how training went, and the scores of the year as numbers."""
    event = instance.get_latest_materialization_event(dg.AssetKey(["models", "seqlat", "seqlat_models"]))
    metadata = event.asset_materialization.metadata
    year = event.asset_materialization.partition
    assert metadata["last_month_seen"].value == f"{int(year) - 1}-12"
    assert metadata["loss_curves"].value.startswith("![")
    assert set(metadata["training_record"].value) == {"K=1", "K=2"}
    event = instance.get_latest_materialization_event(
        dg.AssetKey(["predictions", "seqlat", "seqlat_predictions"])
    )
    assert isinstance(event.asset_materialization.metadata["total_r2_k2"].value, float)


def test_a_missing_year_is_named(finished: Project, study_file) -> None:
    """A window never shrinks silently: the missing partition is an error that says what to do."""
    file = finished.assets / "panel/panel/2002.arrow"
    kept = file.read_bytes()
    file.unlink()
    try:
        with pytest.raises(InputError, match=r"partition.*of panel are not there(.|\n)*2002"):
            materialize_partition(study_file, finished.folder.parent, ("models/ipca/ipca_models",), "2005")
    finally:
        file.write_bytes(kept)


@pytest.mark.parametrize("fault", ["rank", "infinite", "twice"])
def test_the_panel_check_catches_what_it_is_for(small, fault: str) -> None:
    panel = small.panels[2003]
    assert panel_problems(panel) == []
    z, r, ids = panel.characteristics.copy(), panel.excess_return.copy(), panel.asset_id.copy()
    if fault == "rank":
        z[5, 2] = 1.0
    elif fault == "infinite":
        r[7] = np.inf
    else:
        ids[1] = ids[0]
    broken = type(panel)(
        panel.characteristic_names, panel.months, panel.offsets, ids, z, r, panel.market_equity
    )
    assert len(panel_problems(broken)) == 1


def test_a_restated_year_marks_exactly_the_windows_that_hold_it(
    finished: Project, study_file, instance: dg.DagsterInstance
) -> None:
    """Data versions are fingerprints: a changed panel year makes stale the models that read it."""
    from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
    from dagster._core.loader import LoadingContextForTest

    graph = build_definitions(finished).resolve_asset_graph()
    models = dg.AssetKey(["models", "ipca", "ipca_models"])

    def stale() -> dict[str, bool]:
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        return {
            str(year): resolver.get_status(models, str(year)) == StaleStatus.STALE
            for year in finished.study.test_years
        }

    assert stale() == {"2004": False, "2005": False}
    # Panel year 2004 is read by the window of 2005 and by no earlier one.
    panel = dg.AssetKey(["panel", "panel"])
    instance.report_runless_asset_event(
        dg.AssetMaterialization(panel, partition="2004", tags={"dagster/data_version": "restated"})
    )
    try:
        assert stale() == {"2004": False, "2005": True}
    finally:
        materialize_partition(study_file, finished.folder.parent, ("panel/panel",), "2004")
    assert stale() == {"2004": False, "2005": False}
