"""Materialize a whole study from the terminal: the same assets the UI shows, in order, with progress."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from seqpricing_core.models.family import starts_warm
from seqpricing_core.storage import write_atomically
from seqpricing_core.study import Study
from seqpricing_dagster.assets.models import predicting_families
from seqpricing_dagster.assets.raw import day_tables
from seqpricing_dagster.definitions import build_definitions
from seqpricing_dagster.instance import instance_settings
from seqpricing_dagster.pools import set_pool_limits
from seqpricing_dagster.project import (
    OUTPUTS_VARIABLE,
    STUDY_VARIABLE,
    Project,
    open_project,
)
from seqpricing_dagster.quality_checks import QUALITY_ASSETS
from seqpricing_dagster.recovery import HOST_TAG, recover

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Stage:
    """Assets with the same partitions, and the partitions to materialize; one run each."""

    title: str
    assets: tuple[str, ...]
    """Asset keys, as paths."""
    partitions: tuple[str | None, ...]


def stages_of(project: Project) -> list[Stage]:
    """The flow of a study, in the order in which it must be materialized."""
    study = project.study
    first, stop = study.sample.first_year, study.sample.last_year + 1
    predictions = [f"predictions/{family}/{family}_predictions" for family in predicting_families(project)]
    explanations = [f"explain/{family}/{family}_importance" for family in study.families]
    windows = (
        "panel/characteristic_drift",
        *predictions,
        "predictions/managed_portfolio_predictions",
        *explanations,
    )
    scores = (
        "evaluation/portfolio_returns", "evaluation/performance", "evaluation/factor_returns",
        "evaluation/monthly_scores", "evaluation/portfolio_returns_without_micro_caps",
        "evaluation/model_comparison", "explain/characteristic_importance",
    )  # fmt: skip
    files = (
        "raw/vendor_files", *(["raw/macro_file"] if study.macro else []),
        *(["raw/factor_returns_file"] if study.inference.factor_returns else []),
    )  # fmt: skip
    raw = ("raw/stock_months", "raw/statements", "raw/factors", *day_tables(study))
    raw_years = _keys(range(first - 1 - study.history_years, stop))
    return [
        Stage("raw files", files, (None,)),
        Stage("raw tables", raw, raw_years),
        *_day_stages(study, raw_years),
        *([Stage("macro series", ("raw/macro",), _keys(range(first, stop)))] if study.macro else []),
        *(
            [Stage("ready characteristics", ("raw/ready_characteristics",), _keys(range(first - 1, stop)))]
            if study.ready_characteristics is not None
            else []
        ),
        Stage("characteristics", ("panel/characteristics",), _keys(range(first - 1, stop))),
        Stage("quality of the data", QUALITY_ASSETS, (None,)),
        Stage("panel", ("panel/panel", "panel/managed_portfolios"), _keys(range(first, stop))),
        *_training_stages(study),
        Stage("windows: predict, explain", windows, _keys(study.test_years)),
        Stage("portfolios, scores, tests", scores, (None,)),
        *([Stage("running year", ("signal/running_year",), (None,))] if study.grows else []),
        Stage("next month's signal", ("signal/next_month_signal",), (None,)),
        *_robustness_stages(study),
        Stage("report", ("evaluation/report",), (None,)),
    ]


def _day_stages(study: Study, years: tuple[str | None, ...]) -> list[Stage]:
    """Only of a study whose characteristics read days."""
    if not study.reads_days:
        return []
    return [
        Stage("market days", ("panel/market_days",), years),
        Stage("statistics of days", ("panel/day_statistics",), years),
    ]


def _training_stages(study: Study) -> list[Stage]:
    """All windows side by side; but window after window for families that start warm."""
    warm = [config.family for config in study.models if starts_warm(config, study.training)]
    cold = [family for family in study.families if family not in warm]
    windows = [Stage("windows: train", _models(cold), _keys(study.model_years))] if cold else []
    if warm:
        windows += [Stage(f"window {year}: train", _models(warm), (str(year),)) for year in study.model_years]
    return windows


def _models(families: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"models/{family}/{family}_models" for family in families)


def _robustness_stages(study: Study) -> list[Stage]:
    """Only of a study that asks for them."""
    if not study.robustness.odd_even:
        return []
    by_family = tuple(f"robustness/{family}/{family}_odd_even" for family in study.families)
    return [
        Stage("odd-even check: train, test", by_family, _keys(study.test_years)),
        Stage("odd-even check: scores", ("robustness/odd_even",), (None,)),
    ]


def prepare_home(study_file: Path, outputs: Path) -> Project:
    """Point this process, and those it starts, at the study; make its Dagster home."""
    project = open_project(study_file, outputs)
    os.environ[STUDY_VARIABLE] = str(study_file.resolve())
    os.environ[OUTPUTS_VARIABLE] = str(outputs.resolve())
    os.environ["DAGSTER_HOME"] = str(project.dagster_home)
    settings = instance_settings()
    if not (file := project.dagster_home / "dagster.yaml").is_file() or file.read_bytes() != settings:
        write_atomically(file, settings)
    return project


def materialize_study(study_file: Path, outputs: Path, workers: int, console: Console) -> Project:
    """Every partition of every asset, stage by stage, the partitions of a stage side by side.

    Networks train with the threads the study names, in each process, so that results do not
    depend on ``workers``.
    """
    project = prepare_home(study_file, outputs)
    with dg.DagsterInstance.get() as instance:  # makes its tables before several processes ask for them
        set_pool_limits(instance, project.study.training)
        for done in recover(instance):
            console.print(f"recovered: {done}", highlight=False)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool, _progress(console) as progress:
        for stage in stages_of(project):
            bar = progress.add_task(stage.title, total=len(stage.partitions))
            runs = [
                pool.submit(materialize_partition, study_file, outputs, stage.assets, partition)
                for partition in stage.partitions
            ]
            try:
                for finished in as_completed(runs):
                    finished.result()
                    progress.advance(bar)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    return project


def materialize_partition(
    study_file: Path, outputs: Path, assets: tuple[str, ...], partition: str | None
) -> None:
    """One run in this process; raises what the failing step raised."""
    project = prepare_home(study_file, outputs)
    with dg.DagsterInstance.get() as instance:
        _definitions(project).resolve_implicit_global_asset_job_def().execute_in_process(
            run_config=QUIET,
            instance=instance,
            partition_key=partition,
            asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets],
            tags={HOST_TAG: socket.gethostname(), "dagster/max_retries": "0"},
        )


@cache
def _definitions(project: Project) -> dg.Definitions:
    return build_definitions(project)


def _keys(years: range) -> tuple[str, ...]:
    return tuple(str(year) for year in years)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
