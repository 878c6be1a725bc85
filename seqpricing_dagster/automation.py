"""Jobs, schedules and sensors: what happens by itself, and what a person can press to have it happen now.

Each job launches a backfill and ends; the backfill does the work in the order of the lineage, partition by
partition. Schedules and sensors ask for a job under a key, so that a tick that is evaluated twice asks once.
They are on by default in a study without a last month, which grows by the calendar, else off.
"""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from seqpricing_core.errors import InputError
from seqpricing_core.sources import open_source
from seqpricing_core.storage import fingerprint, fingerprint_files
from seqpricing_core.study import SimulatedSource, Study
from seqpricing_dagster.partitions import Years
from seqpricing_dagster.project import Project
from seqpricing_dagster.targets import (
    Graph,
    Targets,
    backfill_in_progress,
    launch,
    next_month,
    raw_tables,
    restated,
    whole_year,
)

PRIORITY_TAG = "dagster/priority"
SIGNAL_FIRST, NEWEST_YEAR, CATCHING_UP = "20", "10", "-5"
"""Priorities in the queue; what a person launches has 0."""
YEARLY = "0 6 5 1 *"
"""5 January, six in the morning: the files of December are there."""
MONTHLY = "0 6 3 * *"
SETTLED_SECONDS = 60
"""A file changed more recently may still be copied."""
VENDOR_FILES = dg.AssetKey(["raw", "vendor_files"])


@dataclass(frozen=True)
class Automation:
    """All of it, of one study."""

    jobs: tuple[dg.JobDefinition, ...]
    schedules: tuple[dg.ScheduleDefinition, ...]
    sensors: tuple[dg.SensorDefinition, ...]


def automation(project: Project, years: Years, graph: Callable[[], Graph]) -> Automation:
    """Jobs, schedules and sensors of a study, whose asset graph is asked for when it is needed."""
    study = project.study
    roll_forward = _launching_job(
        "roll_forward",
        "A test year from its raw tables to the report, and the models of the window after it.",
        lambda context: whole_year(graph(), int(context.partition_key)),
        NEWEST_YEAR,
        graph,
        years.test,
    )
    signal = _launching_job(
        "next_month",
        "The signal of the month after the newest data: newest year and months of the running one again, "
        "newest window, signal.",
        lambda _: next_month(graph(), study.sample.last_year),
        SIGNAL_FIRST,
        graph,
    )
    reread = _launching_job(
        "reread_raw_files",
        "The raw tables of all years, as the files now are. What they change is then marked as stale.",
        lambda _: raw_tables(graph()),
        NEWEST_YEAR,
        graph,
    )
    catch_up = _launching_job(
        "catch_up",
        "Exactly the partitions whose data changed since they were made, and the scores over all years.",
        lambda context: restated(context.instance, graph()).targets,
        CATCHING_UP,
        graph,
    )
    return Automation(
        jobs=(roll_forward, signal, reread, catch_up),
        schedules=(_yearly(roll_forward, years, grows=study.grows), _monthly(signal, grows=study.grows)),
        sensors=(_changed_raw_files(reread, project, grows=study.grows), _restated_years(catch_up, graph)),
    )


def _launching_job(
    name: str,
    description: str,
    targets_of: Callable[[dg.OpExecutionContext], Targets],
    priority: str,
    graph: Callable[[], Graph],
    partitions: dg.PartitionsDefinition[str] | None = None,
) -> dg.JobDefinition:
    """A job that asks for one backfill and ends. Repeated after a crash it asks for the same one."""

    @dg.op(name=f"launch_{name}", description=description, out=dg.Out(dg.Nothing))
    def ask(context: dg.OpExecutionContext) -> None:
        targets = targets_of(context)
        if not targets:
            context.log.info("nothing to do")
            return
        run = context.run
        backfill = f"{name}-{(run.root_run_id or run.run_id)[:8]}"
        year = f" {context.partition_key}" if context.has_partition_key else ""
        new = launch(context.instance, graph(), targets, backfill, title=f"{name}{year}", priority=priority)
        context.log.info("backfill %s %s", backfill, "was launched" if new else "is there already")
        context.add_output_metadata({
            "backfill": dg.MetadataValue.url(f"/runs/b/{backfill}"),
            "partitions": sum(len(names) if names else 1 for names in targets.values()),
        })  # fmt: skip

    @dg.job(
        name=name,
        description=description,
        partitions_def=partitions,
        tags={PRIORITY_TAG: priority},
        executor_def=dg.in_process_executor,
    )
    def launching() -> None:
        ask()

    return launching


def _yearly(job: dg.JobDefinition, years: Years, *, grows: bool) -> dg.ScheduleDefinition:
    @dg.schedule(
        name="newest_year",
        job=job,
        cron_schedule=YEARLY,
        execution_timezone="UTC",
        default_status=_status(on=grows),
        description="On 5 January the year that is over: its data, its test, everything after it.",
    )
    def newest_year(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        now = context.scheduled_execution_time
        year = str(now.year - 1)
        if year not in years.test.get_partition_keys(current_time=now):
            return dg.SkipReason(f"the study has no test year {year}")
        return dg.RunRequest(run_key=year, partition_key=year)

    return newest_year


def _monthly(job: dg.JobDefinition, *, grows: bool) -> dg.ScheduleDefinition:
    @dg.schedule(
        name="monthly_signal",
        job=job,
        cron_schedule=MONTHLY,
        execution_timezone="UTC",
        default_status=_status(on=grows),
        description="On the third of each month the signal of that month: of the one after the newest data.",
    )
    def monthly_signal(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(run_key=f"{context.scheduled_execution_time:%Y-%m}")

    return monthly_signal


def _changed_raw_files(job: dg.JobDefinition, project: Project, *, grows: bool) -> dg.SensorDefinition:
    study = project.study

    @dg.sensor(
        name="changed_raw_files",
        job=job,
        minimum_interval_seconds=60,
        default_status=_sensor_status(on=grows and not isinstance(study.source, SimulatedSource)),
        description="Raw files that are new or whose content changed: reads all years again.",
    )
    def changed_raw_files(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if isinstance(study.source, SimulatedSource):
            return dg.SkipReason("a simulated market has no raw files")
        try:
            files = [*open_source(study, project.vendor_files).files(), *_macro_files(study)]
        except InputError as error:
            return dg.SkipReason(str(error))
        state = _state(files)
        if state == context.cursor:
            return dg.SkipReason("no file has changed")
        if (since := _seconds_since_change(files)) < SETTLED_SECONDS:
            return dg.SkipReason(f"a file changed {since:.0f} s ago and may still be written")
        content = fingerprint_files(files)
        if context.cursor is None and _recorded(context.instance) == _vendor_fingerprint(study, project):
            return dg.SensorResult(skip_reason="the raw tables are of these files", cursor=state)
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=content)], cursor=state)

    return changed_raw_files


def _restated_years(job: dg.JobDefinition, graph: Callable[[], Graph]) -> dg.SensorDefinition:
    @dg.sensor(
        name="restated_years",
        job=job,
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Partitions whose data changed since they were made: makes exactly these again. "
        "Off unless you switch it on, since it trains.",
    )
    def restated_years(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if backfill_in_progress(context.instance):
            return dg.SkipReason("a backfill is in progress")
        found = restated(context.instance, graph())
        if not found.targets:
            return dg.SkipReason("everything is made from the data there is")
        return dg.RunRequest(run_key=fingerprint(json.dumps(sorted(found.events)).encode()))

    return restated_years


def _macro_files(study: Study) -> list[Path]:
    return [study.macro.file] if study.macro else []


def _state(files: list[Path]) -> str:
    """Cheap to compare; content is looked at only when this changes."""
    stats = {str(file): file.stat() for file in files}
    return json.dumps({name: [stat.st_size, stat.st_mtime_ns] for name, stat in sorted(stats.items())})


def _seconds_since_change(files: list[Path]) -> float:
    newest = max(file.stat().st_mtime for file in files)
    return dt.datetime.now(dt.UTC).timestamp() - newest


def _vendor_fingerprint(study: Study, project: Project) -> str:
    return fingerprint_files(open_source(study, project.vendor_files).files())


def _recorded(instance: dg.DagsterInstance) -> str | None:
    """Fingerprint of the files that the raw tables were made from, as the lineage has it."""
    event = instance.get_latest_materialization_event(VENDOR_FILES)
    made = event.asset_materialization if event else None
    return (made.tags or {}).get("dagster/data_version") if made else None


def _status(*, on: bool) -> dg.DefaultScheduleStatus:
    return dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED


def _sensor_status(*, on: bool) -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED
