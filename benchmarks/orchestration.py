"""What orchestration costs: a 20-window backfill against calling the core in one process.

    python benchmarks/orchestration.py                    20 windows of IPCA, which fits in a moment
    python benchmarks/orchestration.py --windows 5        shorter
    python benchmarks/orchestration.py --seconds 60 --policies core,daemon
                                                          20 windows of CA1 that train for a minute each

Policies
- core: families fitted on panels already in memory, one process; where windows are long, the first five.
- process (what the daemon does): a new process per window imports, executes one partition, ends.
- store: the same, when every window is in the store.
- workers (`seqpricing run`): processes that stay, one run per window in each, one worker.
- daemon: the backfill of the UI, from GraphQL to its end, two runs side by side.
- year: the daemon again, asked for all windows when all but the newest are there.

CPU seconds (user and system, with children) are what counts on a shared machine; wall seconds stand beside.
What a window costs besides does not depend on how long it trains; where it trains long, its share is printed.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
import psutil
import typer

from seqpricing_core.models.family import fit_family
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.windows import split_estimation, window_for
from seqpricing_dagster.project import REPOSITORY, Project, open_project
from seqpricing_dagster.run import materialize_partition, prepare_home
from seqpricing_dagster.targets import FINISHED

PR_SET_CHILD_SUBREAPER = 36
TRIAL_EPOCHS = 50
CORE_WINDOWS = 5
ONE_RUN = """
import json, resource, sys, time
from pathlib import Path
started = time.perf_counter()
from seqpricing_dagster.run import materialize_partition
imported = time.perf_counter() - started
materialize_partition(Path(sys.argv[1]), Path(sys.argv[2]), (sys.argv[3],), sys.argv[4])
own = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"import": imported, "mib": own.ru_maxrss / 1024}))
"""


@dataclass(frozen=True)
class Cost:
    """Of all windows of a policy."""

    cpu: float
    wall: float

    def per_window(self, windows: int) -> tuple[float, float]:
        return self.cpu / windows, self.wall / windows


def cpu_seconds() -> float:
    """User and system, of this process and of children that ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measured(action: Callable[[], None]) -> Cost:
    cpu, wall = cpu_seconds(), time.perf_counter()
    action()
    return Cost(cpu_seconds() - cpu, time.perf_counter() - wall)


def in_the_core(project: Project, years: list[int]) -> None:
    """Read the panel once; fit window after window."""
    study = project.study
    first, last = study.sample.first_year, study.sample.last_year
    folder = project.assets / "panel"
    panels = {y: Panel.from_files([folder / f"panel/{y}.arrow"]) for y in range(first, last + 1)}
    managed = {
        y: ManagedPortfolios.from_files([folder / f"managed_portfolios/{y}.safetensors"]) for y in panels
    }
    for year in years:
        window = window_for(study, year)
        inside = range(window.estimation[0], window.estimation[1] + 1)
        samples = split_estimation(
            window,
            Panel.concatenate([panels[y] for y in inside]),
            ManagedPortfolios.concatenate([managed[y] for y in inside]),
        )
        fit_family(study.models[0], study.number_of_factors, samples, study.training).to_bytes()


def one_process_per_run(
    study_file: Path, outputs: Path, asset: str, years: list[int]
) -> list[dict[str, float]]:
    said = []
    for year in years:
        command = [sys.executable, "-c", ONE_RUN, str(study_file), str(outputs), asset, str(year)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY)
        said.append(json.loads(done.stdout.splitlines()[-1]))
    return said


def forget(project: Project, asset: str, *, store: bool) -> None:
    """Models, and on request the store."""
    folders = [project.assets / asset, *([project.fitted_store.folder] if store else [])]
    for folder in folders:
        for file in folder.rglob("*"):
            if file.is_file():
                file.unlink()


def by_the_daemon(chaos: Any, study_file: Path, project: Project, years: list[int]) -> Cost:
    """From GraphQL to the end of the backfill: CPU of all runs, and of the services meanwhile."""
    under = chaos.Attack(study_file, project, {}, seed=1)
    _adopt_orphans()
    cpu = cpu_seconds()
    under.start()
    try:
        with dg.DagsterInstance.from_config(str(project.dagster_home)) as instance:
            backfill = under.launch([str(year) for year in years])
            started, services = time.perf_counter(), sum(_cpu_of(each) for each in under.processes())
            while (found := instance.get_backfill(backfill)) is None or found.status not in FINISHED:
                time.sleep(0.5)
            wall = time.perf_counter() - started
            runs = instance.get_run_records(dg.RunsFilter(tags={"dagster/backfill": backfill}))
            busy = [r.end_time - r.start_time for r in runs if r.end_time and r.start_time]
    finally:
        under.stop()
        _wait_for_orphans()
    mean = sum(busy) / max(len(busy), 1)
    print(f"{len(runs)} runs of {mean:.1f} s each; services had started with {services:.0f} CPU seconds")
    return Cost(cpu_seconds() - cpu - services, wall)


def _cpu_of(process: psutil.Process) -> float:
    """So far, of it and of its children that ended."""
    try:
        return sum(process.cpu_times()[:4])
    except psutil.Error:
        return 0.0


def _adopt_orphans() -> None:
    """Processes whose parent ends become ours, so that their CPU time is counted (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _wait_for_orphans() -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


@dataclass(frozen=True)
class Bench:
    """A study with its data made, whose models are made again and again."""

    chaos: Any
    study_file: Path
    project: Project
    long: bool
    """Windows train for seconds"""

    @property
    def asset(self) -> str:
        (family,) = self.project.study.families
        return f"models/{family}/{family}_models"

    @property
    def years(self) -> list[int]:
        return list(self.project.study.test_years)

    def cost(self, policy: str) -> Cost:
        """Of all windows."""
        outputs, years = self.project.folder.parent, self.years
        if policy != "core":
            forget(self.project, self.asset, store=policy != "store")
        if policy == "core":
            some = years[: CORE_WINDOWS if self.long else len(years)]
            cost, times = measured(lambda: in_the_core(self.project, some)), len(years) / len(some)
            return Cost(cost.cpu * times, cost.wall * times)
        if policy == "workers":
            self._materialize(years[:1])  # imports are done
            forget(self.project, self.asset, store=True)
            return measured(lambda: self._materialize(years))
        if policy == "year":
            self._materialize(years[:-1])
        if policy in ("daemon", "year"):
            before = time.time()
            cost = by_the_daemon(self.chaos, self.study_file, self.project, years)
            trained = sum(was_trained for _, was_trained in self.chaos.fits_of(self.project, before))
            print(f"{policy}: {trained} windows trained")
            return cost
        said: list[dict[str, float]] = []
        cost = measured(lambda: said.extend(one_process_per_run(self.study_file, outputs, self.asset, years)))
        imports, memory = min(each["import"] for each in said), max(each["mib"] for each in said)
        print(f"{policy}: a process imports for {imports:.1f} s at best and holds {memory:.0f} MiB")
        return cost

    def _materialize(self, years: list[int]) -> None:
        for year in years:
            materialize_partition(self.study_file, self.project.folder.parent, (self.asset,), str(year))


def prepare(folder: Path, windows: int, seconds: float) -> Bench:
    """A small simulated market, and a family whose window trains for about so many CPU seconds."""
    chaos = _chaos()
    settings = chaos.study_settings(windows) | {"number_of_factors": [1], "models": {"ipca": {}}}
    if seconds:
        grid = {"l1": [0.001], "learning_rate": [0.01], "beta_hidden": [[8]]}
        settings["models"] = {"ca1": {"grid": grid}}
        settings["training"] |= {"max_epochs": TRIAL_EPOCHS, "patience": TRIAL_EPOCHS}
        study_file, outputs = chaos.prepare_panel(folder / "trial", settings)
        trial = open_project(study_file, outputs)
        first = list(trial.study.test_years)[:1]
        in_the_core(trial, first)  # compiles
        epochs = round(TRIAL_EPOCHS * seconds / measured(lambda: in_the_core(trial, first)).cpu)
        settings["training"] |= {"max_epochs": epochs, "patience": epochs}
    study_file, outputs = chaos.prepare_panel(folder, settings)
    return Bench(chaos, study_file, prepare_home(study_file, outputs), seconds > 0)


def main(
    windows: Annotated[int, typer.Option()] = 20,
    seconds: Annotated[float, typer.Option(help="CPU seconds that a window trains; 0: next to none.")] = 0,
    policies: Annotated[str, typer.Option(help="See above; `core` is what the others are held against.")] = (
        "core,process,store,workers,daemon,year"
    ),
) -> None:
    """What stands at the top of this file."""
    bench = prepare(Path(tempfile.mkdtemp(prefix="orchestration")), windows, seconds)
    costs = {policy: bench.cost(policy) for policy in policies.split(",")}
    core, _ = costs["core"].per_window(windows)
    print(f"{windows} windows")
    print(f"{'policy':<12}{'CPU s/window':>14}{'wall s/window':>15}{'over core, CPU s':>18}")
    for policy, cost in costs.items():
        cpu, wall = cost.per_window(windows)
        print(
            f"{policy:<12}{cpu:>14.2f}{wall:>15.2f}{cpu - core:>18.2f}"
            + (f" = {cpu / core - 1:.1%}" if core > 1 else "")
        )


def _chaos() -> Any:
    spec = importlib.util.spec_from_file_location("chaos", Path(__file__).with_name("chaos.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["chaos"] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    typer.run(main)
