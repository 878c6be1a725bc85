"""The chain of fine-tuned years: in order by itself, resumed where it broke, stale from where it changed."""

from __future__ import annotations

import datetime as dt
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from seqpricing_core.models.family import FittedFamily, fit_family
from seqpricing_dagster.definitions import build_definitions
from seqpricing_dagster.project import open_project
from seqpricing_dagster.run import QUIET, materialize_partition, prepare_home, stages_of

ROOT = Path(__file__).parents[2]
YEARS = ("2004", "2005", "2006")
KEY = dg.AssetKey(["models", "gru", "gru_models"])
MODELS = {"gru": {"lookback": 6, "hidden": 4, "batch": 200}}
TRAINING = {"max_epochs": 3, "patience": 3, "seeds": [1]}


@pytest.fixture(scope="module")
def make_chain(finished, settings, write_study, tmp_path_factory):
    """A study of one family, in outputs that hold the panel of the small market and nothing else."""

    def make(**options):
        models = {"gru": MODELS["gru"] | options}
        folder = tmp_path_factory.mktemp("chain")
        file = write_study(folder, settings(models=models, training=TRAINING))
        project = open_project(file, folder / "outputs")
        shutil.copytree(finished.assets / "panel", project.assets / "panel")
        return file, project

    return make


def file_of(project, year):
    return project.assets.joinpath(*KEY.path, f"{year}.safetensors")


def record(project, year):
    (fitted,) = FittedFamily.from_files([file_of(project, year)]).models[0]
    return fitted.record


def backfill(file, project, years):
    """What the daemon does with a backfill of these years: ask what may run now, run it, ask again."""
    from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView, TemporalContext
    from dagster._core.execution.asset_backfill import (
        AssetBackfillData,
        execute_asset_backfill_iteration_inner,
    )
    from dagster._core.test_utils import in_process_test_workspace
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    prepare_home(file, project.folder.parent)
    definitions = build_definitions(project)
    code = file.with_name("code_location.py")
    code.write_text(
        "from seqpricing_dagster.definitions import build_definitions\n"
        "from seqpricing_dagster.project import project_from_environment\n"
        "defs = build_definitions(project_from_environment())\n"
    )
    origin, rounds, now = LoadableTargetOrigin(python_file=str(code)), [], time.time()
    with dg.DagsterInstance.get() as instance, in_process_test_workspace(instance, origin) as workspace:
        graph = workspace.asset_graph
        data = AssetBackfillData.from_asset_partitions(
            graph, list(years), [KEY], instance, now, all_partitions=False
        )
        while len(rounds) < 10:
            today = TemporalContext(
                effective_dt=dt.datetime.now(dt.UTC),
                last_event_id=instance.event_log_storage.get_maximum_record_id(),
            )
            view = AssetGraphView(temporal_context=today, instance=instance, asset_graph=graph)
            result = execute_asset_backfill_iteration_inner(
                "chain", data, view, now, logging.getLogger("backfill"), None
            )
            data = result.backfill_data
            if not result.run_requests:
                break
            rounds.append([request.partition_key for request in result.run_requests])
            for request in result.run_requests:
                definitions.resolve_implicit_global_asset_job_def().execute_in_process(
                    run_config=QUIET, instance=instance, partition_key=request.partition_key,
                    asset_selection=[KEY], tags={"dagster/backfill": "chain"},
                )  # fmt: skip
    return rounds


@pytest.fixture(scope="module")
def chain(make_chain):
    """All years, by one backfill; and the rounds in which it asked for them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for variable in ("SEQPRICING_STUDY", "SEQPRICING_OUTPUTS", "DAGSTER_HOME"):
            monkeypatch.setenv(variable, "")
        file, project = make_chain()
        return file, project, backfill(file, project, YEARS)


def test_a_backfill_runs_the_years_in_order(chain):
    file, project, rounds = chain
    assert rounds == [["2004"], ["2005"], ["2006"]]
    assert [record(project, year)["fine_tuned"] for year in YEARS] == [False, True, True]
    stages = [stage.partitions for stage in stages_of(open_project(file, project.folder.parent))]
    assert [(year,) for year in YEARS] == [years for years in stages if len(years) == 1 and years[0]]


def test_each_year_goes_on_from_the_year_before(chain, small):
    """The same bytes as fits in the plain core, one from the other."""
    _, project, _ = chain
    before = None
    for year in YEARS:
        config, training = project.study.models[0], project.study.training
        before = fit_family(config, [1], small.samples(int(year)), training, before)
        assert before.to_bytes() == file_of(project, year).read_bytes()


def test_from_scratch_breaks_the_chain(make_chain, small):
    """No year waits for another, the asset does not depend on itself, and every fit is its own."""
    file, project = make_chain(refit="from_scratch")
    graph = build_definitions(project).resolve_asset_graph()
    assert KEY not in graph.get(KEY).parent_keys
    assert backfill(file, project, ("2004", "2005")) == [["2004", "2005"]]
    config, training = project.study.models[0], project.study.training
    alone = fit_family(config, [1], small.samples(2005), training)
    assert file_of(project, "2005").read_bytes() == alone.to_bytes()
    assert not record(project, "2005")["fine_tuned"]


KILLED = """
import pathlib, sys, time
from seqpricing_core.training import sequence_training
from seqpricing_dagster.run import materialize_partition

study, outputs, models = sys.argv[1:]
remember = sequence_training.Course.remember
year = None

def in_training(self, *rest):
    if year == "2005":
        print("now", flush=True)
        time.sleep(600)
    return remember(self, *rest)

sequence_training.Course.remember = in_training
for year in ("2004", "2005", "2006"):
    materialize_partition(pathlib.Path(study), pathlib.Path(outputs), (models,), year)
"""
"""A chain that stands still in the first epoch of its second year."""


def test_a_killed_chain_resumes_at_the_first_missing_year(make_chain, chain):
    file, project = make_chain()
    outputs, models = project.folder.parent, "/".join(KEY.path)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(file), str(outputs), models],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert any(line == "now\n" for line in process.stdout)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert [file_of(project, year).exists() for year in YEARS] == [True, False, False]
    first = file_of(project, "2004").stat()

    with pytest.raises(
        Exception, match=r"gru_models for 2005"
    ):  # a later year alone has nothing to start from
        materialize_partition(file, outputs, (models,), "2006")
    prepare_home(file, outputs)
    with dg.DagsterInstance.get() as instance:
        missing = sorted(set(YEARS) - instance.get_materialized_partitions(KEY))
    assert missing == ["2005", "2006"]
    assert backfill(file, project, missing) == [["2005"], ["2006"]]
    assert file_of(project, "2004").stat() == first
    _, undisturbed, _ = chain
    for year in YEARS:
        assert file_of(project, year).read_bytes() == file_of(undisturbed, year).read_bytes()


def test_a_changed_early_year_marks_the_later_ones_stale(chain):
    from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
    from dagster._core.loader import LoadingContextForTest

    file, project, _ = chain
    prepare_home(file, project.folder.parent)
    graph = build_definitions(project).resolve_asset_graph()
    with dg.DagsterInstance.get() as instance:

        def stale():
            resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
            return [resolver.get_status(KEY, year) == StaleStatus.STALE for year in YEARS]

        assert stale() == [False, False, False]
        instance.report_runless_asset_event(
            dg.AssetMaterialization(KEY, partition="2004", tags={"dagster/data_version": "retrained"})
        )
        assert stale()[1:] == [True, True]
