"""Schedules and sensors tick; jobs ask for exactly the partitions they should, and once."""

from __future__ import annotations

import datetime as dt
import os
import time

import dagster as dg
import polars as pl
import pytest
import yaml

from seqpricing_dagster.automation import SETTLED_SECONDS, VENDOR_FILES
from seqpricing_dagster.definitions import build_definitions
from seqpricing_dagster.pools import pool_limits, pool_of, processors, set_pool_limits
from seqpricing_dagster.project import REPOSITORY, Project
from seqpricing_dagster.run import materialize_partition, prepare_home
from seqpricing_dagster.targets import launch, raw_tables, restated

OPEN = {"first_month": "2000-01"}


@pytest.fixture
def small_project(make_study, tmp_path):
    return Project(make_study(), tmp_path)


def repository(project):
    return build_definitions(project).get_repository_def()


def at(project, schedule, when):
    """What the schedule asks for at its tick ``when``."""
    whole = repository(project)
    moment = dt.datetime.fromisoformat(when).replace(tzinfo=dt.UTC)
    context = dg.build_schedule_context(scheduled_execution_time=moment, repository_def=whole)
    ticked = whole.get_schedule_def(schedule).evaluate_tick(context)
    return ticked.run_requests or ticked.skip_message


def test_the_fifth_of_january_asks_for_the_year_that_is_over(small_project, make_study, tmp_path):
    (request,) = at(small_project, "newest_year", "2006-01-05T06:00")
    assert (request.run_key, request.partition_key) == ("2005", "2005")
    assert "no test year 2006" in at(small_project, "newest_year", "2007-01-05T06:00")
    last_year = dt.datetime.now(dt.UTC).year - 1
    open_ended = Project(make_study(sample=OPEN), tmp_path)
    (request,) = at(open_ended, "newest_year", f"{last_year + 1}-01-05T06:00")
    assert request.partition_key == str(last_year)
    assert repository(small_project).get_schedule_def("newest_year").cron_schedule == "0 6 5 1 *"


def test_the_third_of_each_month_asks_for_the_signal_once(small_project):
    months = ("2006-01", "2006-01", "2006-02")
    assert [at(small_project, "monthly_signal", f"{month}-03T06:00")[0].run_key for month in months] == [
        *months
    ]


def test_on_by_default_only_where_the_study_grows(small_project, make_study, tmp_path):
    def on(project):
        whole = repository(project)
        every = (*whole.schedule_defs, *whole.sensor_defs)
        return {one.name for one in every if one.default_status.value == "RUNNING"}

    # A simulated market has no raw files to watch.
    assert on(Project(make_study(sample=OPEN), tmp_path)) == {"newest_year", "monthly_signal"}
    assert not on(small_project)


def backfills(instance):
    """Partitions by asset of each backfill there is, oldest first."""
    found = []
    for backfill in reversed(instance.get_backfills()):
        subset = backfill.asset_backfill_data.target_subset
        found.append({
            "/".join(key.path): sorted(subset.get_partitions_subset(key).get_partition_keys())
            if key in subset.partitions_subsets_by_asset_key
            else None
            for key in subset.asset_keys
        })  # fmt: skip
    return found


def press(project, job, instance, **choice):
    """A job as the UI launches it."""
    return repository(project).get_job(job).execute_in_process(instance=instance, **choice)


def test_rolling_forward_asks_for_one_year_and_all_that_follows_from_it(small_project):
    with dg.instance_for_test() as instance:
        result = press(small_project, "roll_forward", instance, partition_key="2005")
        (asked,) = backfills(instance)
        data = ("raw", "panel/panel", "panel/managed", "panel/characteristics", "models/ipca")
        assert {name: keys for name, keys in asked.items() if name.startswith(data)} == {
            "raw/vendor_files": None, "raw/stock_months": ["2005"], "raw/statements": ["2005"],
            "raw/factors": ["2005"], "panel/characteristics": ["2005"], "panel/panel": ["2005"],
            "panel/managed_portfolios": ["2005"], "models/ipca/ipca_models": ["2005", "2006"],
        }  # fmt: skip
        assert asked["predictions/seqlat/seqlat_predictions"] == ["2005"]
        assert asked["evaluation/report"] is None
        assert asked["signal/next_month_signal"] is None
        (backfill,) = instance.get_backfills()
        assert backfill.title == "roll_forward 2005"
        assert int(backfill.tags["dagster/priority"]) > 0
        assert backfill.backfill_id == f"roll_forward-{result.run_id[:8]}"


def test_a_launch_that_is_repeated_after_a_crash_asks_once(small_project):
    """The run was killed after it asked; its retry, which has the same root, asks under the same name."""
    with dg.instance_for_test() as instance:
        press(small_project, "reread_raw_files", instance)
        press(small_project, "reread_raw_files", instance)
        ids = [backfill.backfill_id for backfill in instance.get_backfills()]
        assert len(set(ids)) == 2, "a person who presses twice is served twice"
        graph = repository(small_project).asset_graph
        assert not launch(instance, graph, raw_tables(graph), ids[0])
        assert len(instance.get_backfills()) == 2


def test_next_month_reads_the_newest_year_again_and_trains_only_the_newest_window(small_project):
    with dg.instance_for_test() as instance:
        press(small_project, "next_month", instance)
        (asked,) = backfills(instance)
        assert asked["panel/panel"] == ["2005"]
        assert asked["models/ipca/ipca_models"] == ["2005", "2006"]
        assert not [name for name in asked if name.startswith(("predictions", "evaluation", "explain"))]


class TestChangedRawFiles:
    @pytest.fixture
    def watched(self, small, make_study, write_tables, tmp_path):
        source = write_tables(tmp_path / "data", small.tables)
        for file in (tmp_path / "data").iterdir():
            self.age(file)
        project = Project(make_study(source=source), tmp_path / "out")
        return project, repository(project)

    @staticmethod
    def age(file):
        old = time.time() - 10 * SETTLED_SECONDS
        os.utime(file, (old, old - int.from_bytes(os.urandom(2))))

    @staticmethod
    def tick(whole, instance, cursor=None):
        context = dg.build_sensor_context(instance=instance, cursor=cursor, repository_def=whole)
        return whole.get_sensor_def("changed_raw_files").evaluate_tick(context)

    def test_new_files_are_asked_for_once(self, watched):
        _, sensor = watched
        with dg.instance_for_test() as instance:
            first = self.tick(sensor, instance)
            assert len(first.run_requests) == 1
            second = self.tick(sensor, instance, first.cursor)
            assert (second.run_requests, second.skip_message) == ([], "no file has changed")

    def test_files_the_tables_are_made_from_are_no_news(self, watched):
        project, sensor = watched
        with dg.instance_for_test() as instance:
            definitions = build_definitions(project)
            definitions.resolve_implicit_global_asset_job_def().execute_in_process(
                instance=instance, asset_selection=[VENDOR_FILES]
            )
            tick = self.tick(sensor, instance)
            assert not tick.run_requests
            assert tick.skip_message == "the raw tables are of these files"

    def test_a_change_of_content_is_a_new_key_and_a_change_of_date_is_not(self, watched, tmp_path):
        _, sensor = watched
        file = tmp_path / "data" / "factors.parquet"
        with dg.instance_for_test() as instance:
            first = self.tick(sensor, instance)
            self.age(file)
            dated = self.tick(sensor, instance, first.cursor)
            assert [r.run_key for r in dated.run_requests] == [r.run_key for r in first.run_requests]
            pl.read_parquet(file).with_columns(pl.col("risk_free") + 1e-5).write_parquet(file)
            waits = self.tick(sensor, instance, dated.cursor)
            assert "may still be written" in waits.skip_message
            self.age(file)
            changed = self.tick(sensor, instance, dated.cursor)
            assert changed.run_requests[0].run_key != first.run_requests[0].run_key

    def test_a_missing_file_is_said_and_nothing_asked(self, watched, tmp_path):
        _, sensor = watched
        (tmp_path / "data" / "factors.parquet").unlink()
        with dg.instance_for_test() as instance:
            assert "factors.parquet" in self.tick(sensor, instance).skip_message


def test_restated_years_asks_for_what_changed_and_no_more(finished, study_file, instance):
    """A restated panel of 2004 is in the window of 2005 and 2006; afterwards it is undone."""
    whole = repository(finished)
    assert not restated(instance, whole.asset_graph).targets
    panel = dg.AssetKey(["panel", "panel"])

    def tick():
        context = dg.build_sensor_context(instance=instance, repository_def=whole)
        return whole.get_sensor_def("restated_years").evaluate_tick(context)

    assert "everything is made" in tick().skip_message
    try:
        keys = []
        for version in ("restated", "restated again"):
            instance.report_runless_asset_event(
                dg.AssetMaterialization(panel, partition="2004", tags={"dagster/data_version": version})
            )
            (request,) = tick().run_requests
            keys.append(request.run_key)
            assert tick().run_requests[0].run_key == request.run_key
        assert keys[0] != keys[1]
        found = {
            "/".join(key.path): names for key, names in restated(instance, whole.asset_graph).targets.items()
        }
        for family in finished.study.families:
            assert found[f"models/{family}/{family}_models"] == {"2005", "2006"}
            assert found[f"predictions/{family}/{family}_predictions"] == {"2004"}
        assert found["panel/managed_portfolios"] == {"2004"}
        assert "panel/characteristics" not in found
        assert found["evaluation/report"] is None
    finally:
        materialize_partition(study_file, finished.folder.parent, ("panel/panel",), "2004")
    assert not restated(instance, whole.asset_graph).targets


class TestPools:
    def test_training_never_takes_more_threads_than_there_are(self, make_study):
        for threads in (1, 2, 3, 1000):
            study = make_study(training={"threads": threads, "device": "cpu"})
            limit = pool_limits(study.training)["training"]
            assert limit >= 1
            assert limit * threads <= max(processors(), threads)

    def test_every_asset_that_trains_takes_a_place(self, make_study, tmp_path):
        study = make_study(robustness={"odd_even": True}, training={"device": "cpu"})
        graph = build_definitions(Project(study, tmp_path)).resolve_asset_graph()
        for key in graph.get_all_asset_keys():
            trains = key.path[-1].endswith(("_models", "_odd_even"))
            assert graph.get(key).pools == ({"training"} if trains else set()), key

    def test_networks_on_a_gpu_queue_for_it_and_others_do_not(self, make_study):
        training = make_study(training={"device": "cuda"}).training
        assert pool_of("seqlat", training) == "gpu"
        assert pool_of("ipca", training) == "training"

    def test_limits_stand_in_the_records_of_a_study(self, make_study, study_file, tmp_path):
        prepare_home(study_file, tmp_path)
        settings = yaml.safe_load((tmp_path / "small" / "dagster" / "dagster.yaml").read_text())
        assert settings["concurrency"]["runs"]["max_concurrent_runs"] >= 2
        with dg.DagsterInstance.get() as instance:
            set_pool_limits(instance, make_study().training)
            limits = {info.name: info.limit for info in instance.event_log_storage.get_pool_limits()}
        assert limits == dict(pool_limits(make_study().training))

    def test_limits_of_a_cluster_are_left_to_its_administrator(
        self, make_study, study_file, tmp_path, monkeypatch
    ):
        """Any run launcher that is laid over the instance: neither set where there are none, nor changed."""
        launcher = {"module": "dagster._core.launcher.sync_in_memory_run_launcher"}
        launcher["class"] = "SyncInMemoryRunLauncher"
        (tmp_path / "launcher.yaml").write_text(yaml.safe_dump({"run_launcher": launcher}))
        monkeypatch.setenv("SEQPRICING_INSTANCE", str(tmp_path / "launcher.yaml"))
        prepare_home(study_file, tmp_path)

        def limits(instance):
            set_pool_limits(instance, make_study().training)
            return {info.name: info.limit for info in instance.event_log_storage.get_pool_limits()}

        with dg.DagsterInstance.get() as instance:
            assert limits(instance) == {}
            instance.event_log_storage.set_concurrency_slots("training", 64)
            assert limits(instance) == {"training": 64}


def test_settings_of_the_instance():
    """Telemetry is off; a dead worker is retried a few times, a failed step not; runs are watched."""
    settings = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    assert settings["telemetry"] == {"enabled": False}
    assert 1 <= settings["run_retries"]["max_retries"] <= 5
    assert settings["run_retries"]["retry_on_asset_or_op_failure"] is False
    assert settings["run_monitoring"]["enabled"]
    assert settings["run_monitoring"]["free_slots_after_run_end_seconds"] > 0
