"""A backfill of 20 windows with everything else that asks for windows meanwhile: real services, over GraphQL.

While the daemon runs it, a schedule ticks that asks for one of its windows, both sensors tick, and two users
launch one more window at the same moment. What is seen is gathered once and judged by the tests below.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from seqpricing_core.fitted_store import FittedStore
from seqpricing_core.pipeline import StudyData, estimation_samples, fit_window, prepare_data
from seqpricing_core.study import load_study
from seqpricing_dagster.doctor import leftovers
from seqpricing_dagster.run import prepare_home

WINDOWS = 20
LAST = dt.datetime.now(dt.UTC).year - 1
"""The test year that the yearly schedule asks for now."""
USERS_WINDOW = str(LAST - WINDOWS)
"""Before those of the backfill."""
PATIENCE_SECONDS = 900
POLL_SECONDS = 4
"""Each look costs the web server something."""
RUN_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
BACKFILL_ENDED = {"COMPLETED_SUCCESS", "COMPLETED_FAILED", "COMPLETED", "FAILED", "CANCELED"}

REPOSITORY_OF_STUDY = {"repositoryName": "__repository__", "repositoryLocationName": "each_minute"}
MODELS = {"path": ["models", "ipca", "ipca_models"]}

START_SCHEDULE = """
mutation($of: ScheduleSelector!) {
  startSchedule(scheduleSelector: $of) { ... on ScheduleStateResult { scheduleState { id } } }
}"""
STOP_SCHEDULE = """
mutation($id: String) { stopRunningSchedule(id: $id) { __typename } }"""
START_SENSOR = """
mutation($of: SensorSelector!) { startSensor(sensorSelector: $of) { __typename } }"""
LAUNCH_RUN = """
mutation($of: ExecutionParams!) {
  launchPipelineExecution(executionParams: $of) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
  }
}"""
BACKFILLS = """
{
  partitionBackfillsOrError {
    ... on PartitionBackfills {
      results {
        id status numPartitions timestamp endTimestamp
        assetBackfillData {
          assetBackfillStatuses {
            ... on AssetPartitionsStatusCounts {
              numPartitionsTargeted numPartitionsMaterialized numPartitionsFailed
            }
          }
        }
      }
    }
  }
}"""
RUNS = """
{ runsOrError { ... on Runs { results { runId jobName status tags { key value } } } } }"""
MATERIALIZED = """
query($of: AssetKeyInput!) {
  assetNodeOrError(assetKey: $of) {
    ... on AssetNode { partitionStats { numPartitions numMaterialized numFailed } }
  }
}"""
TICKS = """
query($schedule: ScheduleSelector!, $changed: SensorSelector!, $restated: SensorSelector!) {
  schedule: scheduleOrError(scheduleSelector: $schedule) {
    ... on Schedule { scheduleState { ticks { status timestamp runIds skipReason } } }
  }
  changed: sensorOrError(sensorSelector: $changed) {
    ... on Sensor { sensorState { ticks { status timestamp runIds skipReason } } }
  }
  restated: sensorOrError(sensorSelector: $restated) {
    ... on Sensor { sensorState { ticks { status timestamp runIds skipReason } } }
  }
}"""


@dataclass(frozen=True)
class Seen:
    """What GraphQL said in the end, and the study."""

    under: Any
    """`Attack` of benchmarks/chaos.py, here without kills."""
    backfill: dict[str, Any]
    runs: list[dict[str, Any]]
    materialized: dict[str, int]
    ticks: dict[str, list[dict[str, Any]]]

    def runs_of(self, key: str, value: str) -> list[dict[str, Any]]:
        """Those with a tag."""
        return [run for run in self.runs if {"key": key, "value": value} in run["tags"]]


def made_by(runs: list[dict[str, Any]]) -> Counter[str]:
    """How many runs made each partition; a run over a range of them would have no such tag.

    A busy machine loses a code server now and then; what it was about to start fails and is tried again.
    """
    tags = [{tag["key"]: tag["value"] for tag in run["tags"]} for run in runs if run["status"] == "SUCCESS"]
    return Counter(each.get("dagster/partition", "none") for each in tags)


@pytest.fixture(scope="module")
def seen(chaos: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The whole course of it, about a minute and a half."""
    folder = tmp_path_factory.mktemp("backfill")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for variable in ("SEQPRICING_STUDY", "SEQPRICING_OUTPUTS", "DAGSTER_HOME"):
            monkeypatch.setenv(variable, "")
        under = prepared(chaos, folder)
        under.start()
        try:
            return everything_at_once(under)
        finally:
            under.stop()


def prepared(chaos: Any, folder: Path) -> Any:
    """A study of IPCA with its panel; the reference is what the core makes of it in this process."""
    settings = chaos.study_settings(WINDOWS + 1) | {"name": "backfill", "models": {"ipca": {}}}
    settings["sample"] = {"first_month": f"{LAST - WINDOWS - 2}-01", "last_month": f"{LAST}-11"}
    study_file = folder / "study.yaml"
    study_file.write_text(yaml.safe_dump(settings, sort_keys=False))
    workspace = {"python_file": {"relative_path": str(Path(__file__).with_name("each_minute.py")),
                                 "location_name": "each_minute"}}  # fmt: skip
    (folder / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [workspace]}))
    project = prepare_home(study_file, folder / "outputs")
    study = load_study(study_file)
    data = prepare_data(study, folder / "vendor")
    write_panel(data, project.assets / "panel")
    reference = {}
    for year in study.model_years:
        fits = fit_window(study, estimation_samples(study, data, year), ("ipca",), {})
        reference[f"{'/'.join(MODELS['path'])}/{year}.safetensors"] = fits["ipca"].to_bytes()
    assert len(reference) == WINDOWS + 1
    program = (
        "from pathlib import Path; from seqpricing_dagster import cli, services; "
        f"services.REPOSITORY = Path({str(folder)!r}); cli.main()"
    )
    return chaos.Attack(study_file, project, reference, seed=0, program=program)


def write_panel(data: StudyData, panel: Path) -> None:
    for name, artifacts in (("panel", data.panels), ("managed_portfolios", data.managed)):
        (panel / name).mkdir(parents=True)
        for year, artifact in artifacts.items():
            (panel / name / f"{year}.{artifact.suffix}").write_bytes(artifact.to_bytes())


def everything_at_once(under: Any) -> Seen:
    """Schedule on, the backfill shortly before a minute is over, two users, sensors on; then wait for all."""
    wait_for(lambda: under.ask("{ version }"), "the web server answers")
    schedule = REPOSITORY_OF_STUDY | {"scheduleName": "newest_year"}
    changed, restated = (
        REPOSITORY_OF_STUDY | {"sensorName": name} for name in ("changed_raw_files", "restated_years")
    )
    switched_on = under.ask(START_SCHEDULE, of=schedule)["startSchedule"]["scheduleState"]["id"]
    time.sleep(max(45 - dt.datetime.now(dt.UTC).second, 0))
    backfill_id = under.launch([str(year) for year in range(LAST - WINDOWS + 1, LAST + 1)])
    with ThreadPoolExecutor(2) as users:
        for launched in [users.submit(launch_run, under) for _ in range(2)]:
            launched.result()
    for sensor in (changed, restated):
        said = under.ask(START_SENSOR, of=sensor)["startSensor"]["__typename"]
        assert said == "Sensor", said

    def ticks() -> dict[str, list[dict[str, Any]]]:
        found = under.ask(TICKS, schedule=schedule, changed=changed, restated=restated)
        states = {name: one.get("scheduleState") or one["sensorState"] for name, one in found.items()}
        return {name: state["ticks"] for name, state in states.items()}

    def runs() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = under.ask(RUNS)["runsOrError"]["results"]
        return found

    def backfills() -> dict[str, dict[str, Any]]:
        found = under.ask(BACKFILLS)["partitionBackfillsOrError"]["results"]
        return {one["id"]: one for one in found}

    def over() -> bool:
        states = {one["status"] for one in backfills().values()}
        return states <= BACKFILL_ENDED and {run["status"] for run in runs()} <= RUN_ENDED

    wait_for(lambda: any(tick["runIds"] for tick in ticks()["schedule"]), "the schedule ticks")
    under.ask(STOP_SCHEDULE, id=switched_on)
    wait_for(lambda: len(backfills()) > 1, "the job of the schedule asks for its backfill")
    wait_for(over, "backfills and users come to their end")
    stats = under.ask(MATERIALIZED, of=MODELS)["assetNodeOrError"]["partitionStats"]
    return Seen(under, backfills()[backfill_id], runs(), stats, ticks())


def launch_run(under: Any) -> None:
    """One window, as the button "Materialize" launches it."""
    selector = REPOSITORY_OF_STUDY | {"pipelineName": "__ASSET_JOB", "assetSelection": [MODELS]}
    tags = [{"key": "dagster/partition", "value": USERS_WINDOW}, {"key": "user", "value": "one of two"}]
    said = under.ask(
        LAUNCH_RUN, of={"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
    )
    assert said["launchPipelineExecution"]["__typename"] == "LaunchRunSuccess", said


def wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if condition():
                return
        except (OSError, TypeError, ValueError):  # it starts
            pass
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(POLL_SECONDS)


@pytest.mark.slow
class TestBackfillOfTwentyWindows:
    def test_it_completes_one_run_for_each_partition(self, seen: Seen) -> None:
        assert seen.backfill["status"] == "COMPLETED_SUCCESS"
        assert seen.backfill["numPartitions"] == WINDOWS
        (counts,) = seen.backfill["assetBackfillData"]["assetBackfillStatuses"]
        assert counts == {
            "numPartitionsTargeted": WINDOWS, "numPartitionsMaterialized": WINDOWS, "numPartitionsFailed": 0,
        }  # fmt: skip
        runs = seen.runs_of("dagster/backfill", seen.backfill["id"])
        asked_for = [str(year) for year in range(LAST - WINDOWS + 1, LAST + 1)]
        assert made_by(runs) == Counter(asked_for)
        assert seen.materialized == {
            "numPartitions": WINDOWS + 1, "numMaterialized": WINDOWS + 1, "numFailed": 0,
        }  # fmt: skip

    def test_the_schedule_and_both_sensors_tick_meanwhile(self, seen: Seen) -> None:
        begin, end = seen.backfill["timestamp"], seen.backfill["endTimestamp"]
        ticks = seen.ticks["schedule"]
        assert any(begin < tick["timestamp"] < end for tick in ticks)
        assert {tick["status"] for tick in ticks} == {"SUCCESS"}
        asked = [run for tick in ticks for run in tick["runIds"]]
        jobs = [run for run in seen.runs if run["jobName"] == "roll_forward"]
        assert [run["status"] for run in jobs].count("SUCCESS") == len(asked)
        for run in asked:
            of_job = seen.runs_of("dagster/backfill", f"roll_forward-{run[:8]}")
            assert made_by(of_job) == {str(LAST): 1}
        assert seen.ticks["restated"][-1]["skipReason"] == "a backfill is in progress"
        assert "no raw files" in seen.ticks["changed"][-1]["skipReason"]

    def test_two_users_of_one_partition_both_come_to_their_end(self, seen: Seen) -> None:
        runs = seen.runs_of("user", "one of two")
        assert made_by(runs) == {USERS_WINDOW: 2}

    def test_bytes_are_those_of_the_core_and_nothing_was_trained_twice(self, chaos: Any, seen: Seen) -> None:
        """What the schedule, or the backfill, and the second user asked for once more came from the store."""
        assert not seen.under.look(), "all there, and as one undisturbed process makes them"
        of_schedule = sum(len(tick["runIds"]) for tick in seen.ticks["schedule"])
        assert chaos.trained_twice(seen.under.project) == (0, of_schedule + 1)
        store: FittedStore = seen.under.project.fitted_store
        assert len(store.keys()) == WINDOWS + 1
        assert not [finding for finding in leftovers(seen.under.project) if finding.level == "error"]
