"""A growing study through its months: the signal of each, from the models of the window before the year."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import dagster as dg
import polars as pl
import pytest
from dagster._core.test_utils import freeze_time

from seqpricing_core import clock
from seqpricing_core.pipeline import run_signal
from seqpricing_core.signal import signal_csv
from seqpricing_core.storage import frame_from_files, frame_to_bytes
from seqpricing_dagster.definitions import build_definitions
from seqpricing_dagster.project import Project
from seqpricing_dagster.run import QUIET, stages_of
from seqpricing_dagster.targets import next_month

SECTIONS = {
    "sample": {"first_month": "2003-01"},
    "characteristics": ["mom_1", "mom_12", "mvel1", "retvol"],
    "windows": {"train_years": 1, "validation_years": 1},
    "models": {"ipca": {}, "gru": {"lookback": 6, "hidden": 4, "batch": 200, "refit": "from_scratch"}},
    "training": {"max_epochs": 2, "patience": 2, "seeds": [1]},
}
SIGNAL, RUNNING = "signal/next_month_signal", "signal/running_year"


class Calendar:
    """A study on a day of our choice: what is asked of Dagster then, and what the plain pipeline says."""

    def __init__(self, project, monkeypatch, instance):
        self.project, self.monkeypatch, self.instance = project, monkeypatch, instance
        self.jobs: dict[tuple[dt.datetime, Project], dg.JobDefinition] = {}

    def on(self, day: str) -> None:
        self.day = dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC)
        self.monkeypatch.setattr(clock, "today", self.day.date)

    def materialize(self, *assets: str, partition: str | None = None) -> None:
        """In one process, with definitions as a new process would load them on that day."""
        with freeze_time(self.day):
            self.job().execute_in_process(
                run_config=QUIET,
                instance=self.instance,
                partition_key=partition,
                asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets],
            )

    def job(self) -> dg.JobDefinition:
        """All assets, loaded once a day."""
        if (key := (self.day, self.project)) not in self.jobs:
            definitions = build_definitions(self.project)
            self.jobs[key] = definitions.resolve_implicit_global_asset_job_def()
        return self.jobs[key]

    def everything_before_the_signal(self) -> None:
        """The stages of `seqpricing run` that the signal follows from."""
        with freeze_time(self.day):
            graph = build_definitions(self.project).resolve_asset_graph()
            wanted = {"/".join(key.path) for key in next_month(graph, self.project.study.sample.last_year)}
            stages = stages_of(self.project)
        for stage in stages:
            assets = [asset for asset in stage.assets if asset in wanted]
            years = stage.partitions
            if stage.assets[0].startswith("models"):
                years = years[-1:]  # the newest window alone: nothing here starts from the one before
            for partition in years if assets else ():
                self.materialize(*assets, partition=partition)

    def metadata(self, asset: str):
        event = self.instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
        return {name: value.value for name, value in event.asset_materialization.metadata.items()}

    def made(self, asset: str) -> int:
        """How often."""
        return len(self.instance.fetch_materializations(dg.AssetKey(asset.split("/")), limit=100).records)

    @property
    def signal(self) -> pl.DataFrame:
        return frame_from_files([self.project.assets / SIGNAL / "next_month_signal.arrow"])


@pytest.fixture(scope="module")
def calendar(small, make_study, write_tables, tmp_path_factory):
    source = write_tables(tmp_path_factory.mktemp("files"), small.tables)
    project = Project(make_study(**SECTIONS, source=source), tmp_path_factory.mktemp("out") / "growing")
    with pytest.MonkeyPatch.context() as monkeypatch, dg.instance_for_test() as instance:
        calendar = Calendar(project, monkeypatch, instance)
        calendar.on("2005-08-03T06:00")
        calendar.everything_before_the_signal()
        yield calendar


@pytest.fixture(scope="module")
def ended_with(calendar, make_study, tmp_path_factory):
    """The signal of the study that says where it ends, made from raw files in one go."""

    def run(month: str) -> pl.DataFrame:
        sample = {"first_month": "2003-01", "last_month": month}
        study = make_study(**SECTIONS | {"sample": sample}, source=calendar.project.study.source.model_dump())
        return run_signal(study, tmp_path_factory.mktemp("plain"), calendar.project.fitted_store)

    return run


def test_each_month_has_its_signal(calendar, ended_with):
    """August, then September: another running year, the same models."""
    project = calendar.project
    models = [f"models/{family}/{family}_models" for family in project.study.families]
    before = {asset: calendar.made(asset) for asset in models}
    signals = []
    for day, newest, signal in (("2005-08-03", "2005-07", "2005-08"), ("2005-09-03", "2005-08", "2005-09")):
        calendar.on(day)
        calendar.materialize(RUNNING)
        calendar.materialize(SIGNAL)
        expected = ended_with(newest)
        assert frame_to_bytes(calendar.signal) == frame_to_bytes(expected)
        assert project.signal_file.read_bytes() == signal_csv(expected, project.study)
        assert expected["month"].dt.strftime("%Y-%m").unique().to_list() == [signal]
        shown = calendar.metadata(RUNNING)
        assert (shown["signal_month"], shown["first_month"], shown["last_month"]) == (
            signal,
            "2005-01",
            newest,
        )
        assert shown["newest_month_that_is_over"] == newest
        assert shown["newest_month_with_returns"] == "2005-12-31"
        signals.append(calendar.signal)
    assert not signals[0].equals(signals[1])
    assert {asset: calendar.made(asset) for asset in models} == before
    # The job asks for them, and finds them in the store.
    for asset in models:
        calendar.materialize(asset, partition="2005")
        assert calendar.metadata(asset)["fit"] == "reused"


def test_the_job_of_the_month_includes_the_running_year(calendar):
    calendar.on("2005-09-03T06:00")
    with freeze_time(calendar.day):
        graph = build_definitions(calendar.project).resolve_asset_graph()
        targets = next_month(graph, calendar.project.study.sample.last_year)
        assert targets[dg.AssetKey(RUNNING.split("/"))] is None
        assert targets[dg.AssetKey(["panel", "panel"])] == {"2004"}
        assert targets[dg.AssetKey(["models", "gru", "gru_models"])] == {"2005"}
        parents = graph.get(dg.AssetKey(RUNNING.split("/"))).parent_keys
        assert {"/".join(key.path) for key in parents} == {
            "raw/vendor_files", "raw/stock_months", "raw/statements", "panel/characteristics"
        }  # fmt: skip
        in_stages = {asset for stage in stages_of(calendar.project) for asset in stage.assets}
        assert in_stages == {"/".join(key.path) for key in graph.get_all_asset_keys()}


def test_a_study_with_a_last_month_has_no_running_year(make_study, tmp_path):
    graph = build_definitions(Project(make_study(models={"ipca": {}}), tmp_path)).resolve_asset_graph()
    assert dg.AssetKey(RUNNING.split("/")) not in graph.get_all_asset_keys()


def test_a_running_year_that_is_not_sound_is_not_read(calendar):
    """As of a whole year: a month with fewer stocks than portfolios. Made again, it is free of it."""
    calendar.on("2005-09-03")
    sound = calendar.project
    portfolios = sound.study.portfolios.model_copy(update={"quantiles": 100})
    calendar.project = replace(sound, study=sound.study.model_copy(update={"portfolios": portfolios}))
    with pytest.raises(Exception, match="as_sound_as_a_whole_year"):
        calendar.materialize(RUNNING)
    calendar.project = sound
    with pytest.raises(Exception, match="fewer than 100 stocks in 2005-01"):
        calendar.materialize(SIGNAL)
    calendar.materialize(RUNNING)
    calendar.materialize(SIGNAL)


def test_files_that_lag_behind_are_said(calendar):
    """The running year of September, looked at in October: the signal is of a month that is over."""
    key = dg.AssetCheckKey(dg.AssetKey(RUNNING.split("/")), "signal_is_of_the_running_month")
    for day, passed in (("2005-09-30", True), ("2005-10-01", False)):
        calendar.on(day)
        with freeze_time(calendar.day):
            definitions = build_definitions(calendar.project)
            selection = dg.AssetSelection.checks(key)
            job = dg.define_asset_job("look", selection=selection)
            whole = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))
            result = whole.resolve_job_def("look").execute_in_process(
                instance=calendar.instance, run_config=QUIET
            )
        (found,) = result.get_asset_check_evaluations()
        assert (found.passed, found.severity) == (passed, dg.AssetCheckSeverity.WARN)
    assert found.metadata["problems"].value == ["the newest month is 2005-08, not 2005-09"]


def test_at_the_turn_of_the_year(calendar, ended_with):
    """On 1 January the year is whole, and nothing is made of it yet: refused. On the third it is made."""
    calendar.on("2006-01-01")
    with pytest.raises(Exception, match=r"materialize \w+ for 2005"):
        calendar.materialize(SIGNAL)
    calendar.on("2006-01-03")
    calendar.materialize("raw/stock_months", "raw/statements", "raw/factors", partition="2005")
    calendar.materialize("panel/characteristics", partition="2005")
    calendar.materialize("panel/panel", "panel/managed_portfolios", partition="2005")
    for family in calendar.project.study.families:
        calendar.materialize(f"models/{family}/{family}_models", partition="2006")
    with pytest.raises(Exception, match="the running year is that of 2005"):
        calendar.materialize(SIGNAL)
    calendar.materialize(RUNNING)
    calendar.materialize(SIGNAL)
    assert frame_to_bytes(calendar.signal) == frame_to_bytes(ended_with("2005-12"))
    assert calendar.metadata(RUNNING)["months"] == 0
    assert calendar.metadata(RUNNING)["signal_month"] == "2006-01"
