"""Records and files after a crash: what is found, what is put right, what is left alone."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time

import dagster as dg
import psutil
import pytest
from dagster._core.events import EngineEventData, JobFailureData, RunFailureReason
from dagster._core.storage.tags import GRPC_INFO_TAG, WILL_RETRY_TAG
from rich.console import Console

from seqpricing_core.errors import InputError
from seqpricing_core.locks import ProcessIdentity, exclusive
from seqpricing_dagster import services
from seqpricing_dagster.doctor import SECTIONS, Finding, Section, clean, examine, leftovers
from seqpricing_dagster.project import Project
from seqpricing_dagster.recovery import HOST_TAG, START_TIMEOUT, recover, stuck_runs
from seqpricing_dagster.run import prepare_home

HERE = {HOST_TAG: socket.gethostname()}
RETRIES = {"run_retries": {"enabled": True, "max_retries": 2}}
CURSOR = "EVENT_LOG_CONSUMER_CURSOR-PIPELINE_FAILURE"
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def records():
    with dg.instance_for_test(overrides=RETRIES) as instance:
        yield instance


@pytest.fixture
def gone():
    """The number of a process that has ended, and when it was there."""
    process = subprocess.Popen(SLEEP)
    at = time.time()
    process.kill()
    process.wait()
    return process.pid, at


def a_run(instance, tags, status=dg.DagsterRunStatus.STARTED, pid=None):
    """A run as its record stands while it is in flight."""
    run = instance.create_run_for_job(empty, tags=tags)
    if status != dg.DagsterRunStatus.NOT_STARTED:
        instance.report_run_canceling(run) if status == dg.DagsterRunStatus.CANCELING else None
        instance.handle_new_event(entry(run, dg.DagsterEventType.RUN_STARTING))
        if status == dg.DagsterRunStatus.STARTED:
            instance.handle_new_event(entry(run, dg.DagsterEventType.RUN_START))
        if status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceling(run)
    if pid:
        instance.report_engine_event("Started process for run", run, EngineEventData.in_process(pid))
    return run


def entry(run, kind):
    event = dg.DagsterEvent(event_type_value=kind.value, job_name=run.job_name)
    return dg.EventLogEntry(
        error_info=None,
        level=20,
        user_message="",
        run_id=run.run_id,
        timestamp=time.time(),
        dagster_event=event,
    )


@dg.job
def empty():
    pass


def status_of(instance, run):
    return instance.get_run_by_id(run.run_id).status.value


class TestRecover:
    def test_a_dead_process_fails_its_run_and_a_living_one_goes_on(self, records, gone):
        dead = a_run(records, HERE, pid=gone[0])
        alive = a_run(records, HERE, pid=os.getpid())
        (done,) = recover(records)
        assert dead.run_id[:8] in done
        assert (status_of(records, dead), status_of(records, alive)) == ("FAILURE", "STARTED")
        assert not recover(records)

    def test_a_number_that_was_given_again_is_another_process(self, records):
        """A process that started after the run named its number is not the run's."""
        run = a_run(records, HERE, pid=os.getpid())
        later = subprocess.Popen(SLEEP)
        try:
            (event,) = [e for e in records.all_logs(run.run_id) if "Started process" in e.message]
            from seqpricing_core.locks import runs_since

            assert not runs_since(later.pid, event.timestamp - 1)
            assert runs_since(os.getpid(), event.timestamp)
        finally:
            later.kill()
            later.wait()

    def test_runs_of_other_machines_are_left_alone(self, records, gone):
        elsewhere = a_run(records, {HOST_TAG: "elsewhere"}, pid=gone[0])
        unknown = a_run(records, {}, pid=gone[0])
        assert not recover(records)
        assert {status_of(records, run) for run in (elsewhere, unknown)} == {"STARTED"}

    def test_a_run_that_never_had_a_process_waits_for_the_time_out(self, records, monkeypatch):
        run = a_run(records, HERE, dg.DagsterRunStatus.STARTING)
        assert not recover(records)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + START_TIMEOUT + 5)
        assert recover(records)
        assert status_of(records, run) == "FAILURE"

    def test_one_that_was_being_cancelled_is_cancelled(self, records, gone):
        run = a_run(records, HERE, dg.DagsterRunStatus.CANCELING, gone[0])
        assert recover(records)
        assert status_of(records, run) == "CANCELED"

    def test_the_daemon_retries_what_is_reported_even_if_it_never_ran_before(
        self, records, gone, monkeypatch
    ):
        """Dagster's daemon ignores failures from before its first start: its cursor is set first.

        The run keeps its announcement until the daemon has gone past the failure without a retry.
        """
        for _ in range(3):  # records of a run are counted apart from records of all runs
            records.report_run_failed(a_run(records, {"dagster/max_retries": "0"}))
        run = a_run(records, {GRPC_INFO_TAG: "{}"}, pid=gone[0])
        monkeypatch.setattr(dg.DagsterRun, "remote_job_origin", "as the daemon launches it", raising=False)
        assert recover(records)

        def announced():
            return records.get_run_by_id(run.run_id).tags[WILL_RETRY_TAG]

        assert announced() == "true"
        assert not recover(records)
        assert announced() == "true"
        newest = str(records.event_log_storage.get_maximum_record_id())
        records.daemon_cursor_storage.set_cursor_values({CURSOR: newest})
        assert recover(records)
        assert announced() == "false"

    def test_a_retry_that_nobody_will_start_is_no_longer_announced(self, records):
        run = a_run(records, HERE, pid=os.getpid())
        crash = JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
        records.report_run_failed(run, "killed", crash)
        assert records.get_run_by_id(run.run_id).tags[WILL_RETRY_TAG] == "true"
        (stuck,) = stuck_runs(records)
        assert not stuck.in_flight
        recover(records)
        assert records.get_run_by_id(run.run_id).tags[WILL_RETRY_TAG] == "false"
        assert not stuck_runs(records)

    def test_a_place_in_a_pool_is_freed(self, records, gone):
        storage = records.event_log_storage
        storage.set_concurrency_slots("training", 1)
        run, next_one = a_run(records, HERE, pid=gone[0]), a_run(records, HERE, pid=os.getpid())
        assert storage.claim_concurrency_slot("training", run.run_id, "step").is_claimed
        assert not storage.claim_concurrency_slot("training", next_one.run_id, "step").is_claimed
        assert any("place in a pool" in done for done in recover(records))
        assert storage.claim_concurrency_slot("training", next_one.run_id, "step").is_claimed


@pytest.fixture
def project(make_study, tmp_path):
    made = Project(make_study(), tmp_path / "small")
    (made.assets / "panel" / "panel").mkdir(parents=True)
    return made


class TestDoctor:
    def test_nothing_to_say_of_a_study_that_never_ran(self, make_study, tmp_path):
        assert leftovers(Project(make_study(), tmp_path / "none")) == []
        assert clean(Project(make_study(), tmp_path / "none"), apply=True) == []

    def test_finds_leftovers_and_cleans_them_only_when_told_to(self, project, gone):
        panel = project.assets / "panel" / "panel"
        whole, other_year = panel / "2003.arrow", panel / "1950.arrow"
        other_asset = project.assets / "models" / "gone" / "2003.safetensors"
        half, writing = panel / f".2003.arrow.{gone[0]}.1.tmp", panel / f".2004.arrow.{os.getpid()}.1.tmp"
        lock, mine = (
            project.fitted_store.folder / "ab" / "x.lock",
            project.fitted_store.folder / "ab" / "y.lock",
        )
        others = (panel / "notes.txt", panel / ".2003.refused" / "check")
        for path in (whole, other_year, other_asset, half, writing, lock, *others):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        with exclusive(mine):
            found = {finding.where for finding in leftovers(project)}
            assert found == {str(path) for path in (half, lock, other_year, other_asset)}
            said = clean(project, apply=False)
            assert len(said) == 4
            assert all(line.startswith("would remove") for line in said)
            assert all(path.exists() for path in (half, lock, other_year, other_asset))
            assert len(clean(project, apply=True)) == 4
            assert not any(path.exists() for path in (half, lock, other_year, other_asset))
            assert all(path.exists() for path in (whole, writing, mine, *others))
        assert leftovers(project) == []

    def test_a_stuck_run_is_an_error_and_clean_releases_it(self, project, study_file, gone):
        prepare_home(study_file, project.folder.parent)
        with dg.DagsterInstance.get() as instance:
            run = a_run(instance, HERE, pid=gone[0])
            (finding,) = leftovers(project)
            assert finding.level == "error"
            assert run.run_id in finding.where
            assert clean(project, apply=False)
            assert status_of(instance, run) == "STARTED"
            clean(project, apply=True)
            assert status_of(instance, run) == "FAILURE"
        assert leftovers(project) == []

    def test_every_section_is_shown_and_errors_are_counted(self, project, monkeypatch, capsys):
        bad = Section("Weather", lambda _: [Finding("error", "rain", "here", "umbrella")])
        monkeypatch.setattr("seqpricing_dagster.doctor.SECTIONS", (*SECTIONS, bad))
        assert examine(project, Console(highlight=False)) == 1
        shown = capsys.readouterr().out
        assert "Leftovers: nothing found" in shown
        assert "rain: here" in shown


class TestServices:
    def test_one_ui_per_study(self, project):
        ui = services.Services(project, 1, Console(quiet=True))
        with exclusive(ui.lock), pytest.raises(InputError, match="runs already"):
            ui.run()

    def test_what_a_killed_ui_left_behind_is_ended_and_nothing_else(self, tmp_path):
        """One process by its number and start time; one whose number now belongs to another stays."""
        ours, others = subprocess.Popen(SLEEP), subprocess.Popen(SLEEP)
        try:
            mine, theirs = ProcessIdentity.of(ours.pid), ProcessIdentity.of(others.pid)
            file = tmp_path / "services.json"
            later = dataclasses.replace(theirs, started=theirs.started - 999)
            file.write_text(
                json.dumps({"daemon": dataclasses.asdict(mine), "web": dataclasses.asdict(later)})
            )
            services._end_left_behind(file)
            ours.wait(timeout=10)
            assert not mine.alive
            assert others.poll() is None
        finally:
            for process in (ours, others):
                process.kill()
                process.wait()

    def test_a_service_that_dies_young_waits_longer_each_time(self):
        service = services._Service("daemon", [sys.executable, "-c", ""])
        pauses = []
        for _ in range(8):
            service.start()
            service.process.wait()
            service.notice_death(Console(quiet=True))
            pauses.append(service.pause)
        assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
        assert not psutil.pid_exists(-1)
