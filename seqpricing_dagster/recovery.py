"""What a crash leaves in the records of Dagster, and how it is put right.

Dagster notices by itself that a run worker died while the code server that started it lives. If that died
too (kill -9, power cut), the run would stay "started" for ever, hold its place in the queue, and its
backfill would wait for it. `recover` finds such runs by their processes. It runs before the daemon
starts and while the UI is open.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.storage.tags import (
    AUTO_RETRY_RUN_ID_TAG,
    GRPC_INFO_TAG,
    WILL_RETRY_TAG,
)

from seqpricing_core.locks import runs_since

HOST_TAG = "seqpricing/host"
"""The machine of a run that was not launched by the daemon."""
IN_FLIGHT = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
START_TIMEOUT = 120.0
"""Seconds a run may go without naming its process; the monitoring of `dagster.yaml` waits as long."""
_CONSUMER = "EVENT_LOG_CONSUMER_CURSOR-"
_CONSUMED = (dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_SUCCESS)


@dataclass(frozen=True)
class StuckRun:
    """A run whose record says that it goes on, or will, and which nothing carries on."""

    run_id: str
    why: str
    in_flight: bool
    """Else it failed, and its record announces a retry that will not come."""


def stuck_runs(instance: dg.DagsterInstance) -> list[StuckRun]:
    """Runs of this machine without a process, and failed ones that wait for a retry nobody will start."""
    return [*_dead_in_flight(instance), *_waiting_in_vain(instance)]


def recover(instance: dg.DagsterInstance) -> list[str]:
    """Report dead runs failed, clear retries that will not come, free their places; say what was done.

    A run of the daemon that is reported here is retried by the daemon, as often as `dagster.yaml` allows.
    """
    done = []
    _let_the_daemon_see_failures(instance)
    for stuck in stuck_runs(instance):
        run = instance.get_run_by_id(stuck.run_id)
        if run is None:
            continue
        if run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message=stuck.why)
        elif stuck.in_flight:
            reason = JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
            instance.report_run_failed(run, f"{stuck.why}; found by seqpricing's recovery.", reason)
        else:
            instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "false"})
        done.append(f"run {run.run_id[:8]}: {stuck.why}")
    for stuck in _waiting_in_vain(instance):  # among them those just reported, if no daemon can retry them
        instance.add_run_tags(stuck.run_id, {WILL_RETRY_TAG: "false"})
    return done + _free_slots(instance)


def _dead_in_flight(instance: dg.DagsterInstance) -> Iterator[StuckRun]:
    for record in instance.get_run_records(dg.RunsFilter(statuses=IN_FLIGHT)):
        run = record.dagster_run
        if not _is_of_this_machine(instance, run):
            continue
        process = _process_of(instance, run.run_id)
        if process is None:
            since = record.start_time or record.update_timestamp.timestamp()
            if time.time() - since > START_TIMEOUT:
                yield StuckRun(run.run_id, "it never had a process", in_flight=True)
        elif not runs_since(*process):
            yield StuckRun(run.run_id, f"its process {process[0]} is gone", in_flight=True)


def _is_of_this_machine(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Process numbers of other machines (Ray, Kubernetes, a colleague's) say nothing here."""
    if HOST_TAG in run.tags:
        return run.tags[HOST_TAG] == socket.gethostname()
    return GRPC_INFO_TAG in run.tags and isinstance(instance.run_launcher, DefaultRunLauncher)


def _process_of(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """The newest process that worked on the run, and when it said so."""
    for entry in reversed(instance.all_logs(run_id, of_type={dg.DagsterEventType.ENGINE_EVENT})):
        event = entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event else None
        if pid is not None:
            return int(str(pid.value)), entry.timestamp
    return None


def _waiting_in_vain(instance: dg.DagsterInstance) -> Iterator[StuckRun]:
    """Failed runs that announce a retry, though the daemon has gone past their failure and started none."""
    ahead = _failures_ahead_of_the_daemon(instance)
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={WILL_RETRY_TAG: "true"})
    for run in instance.get_runs(failed):
        if AUTO_RETRY_RUN_ID_TAG in run.tags:
            continue
        _, group = instance.get_run_group(run.run_id) or ("", [])
        if any(other.parent_run_id == run.run_id for other in group):
            continue
        if run.remote_job_origin is None or (ahead is not None and run.run_id not in ahead):
            yield StuckRun(run.run_id, "it announces a retry that nobody will start", in_flight=False)


def _failures_ahead_of_the_daemon(instance: dg.DagsterInstance) -> set[str] | None:
    """Runs whose failure the daemon will still come to; None if it never ran, and all lie ahead."""
    key = _key(dg.DagsterEventType.RUN_FAILURE)
    cursor = instance.daemon_cursor_storage.get_cursor_values({key}).get(key)
    if cursor is None:
        return None
    events = instance.event_log_storage.get_logs_for_all_runs_by_log_id(
        after_cursor=int(cursor), dagster_event_type={dg.DagsterEventType.RUN_FAILURE}
    )
    return {event.run_id for event in events.values()}


def _let_the_daemon_see_failures(instance: dg.DagsterInstance) -> None:
    """A daemon that starts for the first time ignores what failed before; it is to see what we report."""
    keys = {_key(kind) for kind in _CONSUMED}
    known = instance.daemon_cursor_storage.get_cursor_values(keys)
    newest = instance.event_log_storage.get_maximum_record_id() or 0
    missing = {key: str(newest) for key in keys if key not in known}
    if missing:
        instance.daemon_cursor_storage.set_cursor_values(missing)


def _key(kind: dg.DagsterEventType) -> str:
    return f"{_CONSUMER}{kind.value}"


def _free_slots(instance: dg.DagsterInstance) -> list[str]:
    """Places in pools that finished runs still hold."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return []
    done = []
    for run_id in storage.get_concurrency_run_ids():
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            storage.free_concurrency_slots_for_run(run_id)
            done.append(f"run {run_id[:8]}: its place in a pool was freed")
    return done
