"""What orchestration costs: a 20-window backfill against calling the core in one process.

    python benchmarks/orchestration.py                    20 windows of IPCA on a small simulated market
    python benchmarks/orchestration.py --windows 5        shorter

Policies
- core: `fit_window` on panels already in memory, one process.
- one process per run (what the daemon does): a new process per window imports, executes one partition, ends.
- workers (`seqpricing run`): processes that stay, one run per window in each, one worker.
- daemon: the backfill of the UI, from GraphQL to its end, two runs side by side.
- store: the one-process-per-run policy again, when every window is in the store.

CPU seconds (user and system, with children) are what counts on a shared machine; wall seconds stand beside.
The overhead of a window does not depend on how long it trains: the last table says what share it is.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from seqpricing_core.models.family import fit_family
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.windows import split_estimation, window_for
from seqpricing_dagster.project import REPOSITORY, Project
from seqpricing_dagster.run import materialize_partition, prepare_home
from seqpricing_dagster.targets import FINISHED

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


def by_the_daemon(chaos: Any, study_file: Path, project: Project, years: list[int]) -> tuple[Cost, float]:
    """From GraphQL to the end of the backfill; CPU of all that ran for it, services included."""
    under = chaos.Attack(study_file, project, {}, seed=1)
    cpu = cpu_seconds()
    under.start()
    try:
        with dg.DagsterInstance.from_config(str(project.dagster_home)) as instance:
            backfill = under.launch([str(year) for year in years])
            started = time.perf_counter()
            while (found := instance.get_backfill(backfill)) is None or found.status not in FINISHED:
                time.sleep(0.5)
            wall = time.perf_counter() - started
            runs = instance.get_run_records(limit=100)
            busy = [r.end_time - r.start_time for r in runs if r.end_time and r.start_time]
    finally:
        under.stop()
    return Cost(cpu_seconds() - cpu, wall), sum(busy) / max(len(busy), 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--no-daemon", action="store_true")
    options = parser.parse_args()
    chaos = _chaos()
    folder = Path(tempfile.mkdtemp(prefix="orchestration"))
    settings = chaos.study_settings(options.windows)
    settings["models"] = {"ipca": {}}
    chaos.study_settings = lambda _: settings
    study_file, project, _ = chaos.prepare(folder, options.windows)
    outputs, asset = project.folder.parent, "models/ipca/ipca_models"
    prepare_home(study_file, outputs)
    years = list(project.study.test_years)
    windows = len(years)

    costs = {"core": measured(lambda: in_the_core(project, years))}
    forget(project, asset, store=True)
    said: list[dict[str, float]] = []
    costs["one process per run"] = measured(
        lambda: said.extend(one_process_per_run(study_file, outputs, asset, years))
    )
    forget(project, asset, store=False)
    costs["one process per run, store"] = measured(
        lambda: said.extend(one_process_per_run(study_file, outputs, asset, years))
    )
    forget(project, asset, store=True)
    materialize_partition(study_file, outputs, (asset,), str(years[0]))  # imports are done
    forget(project, asset, store=True)
    costs["workers that stay"] = measured(
        lambda: [materialize_partition(study_file, outputs, (asset,), str(year)) for year in years] and None
    )
    if not options.no_daemon:
        forget(project, asset, store=True)
        costs["daemon, two at once"], in_run = by_the_daemon(chaos, study_file, project, years)
        print(f"a run of the daemon, from start to end: {in_run:.1f} s")

    core = costs["core"].per_window(windows)
    imports, memory = min(s["import"] for s in said), max(s["mib"] for s in said)
    print(f"{windows} windows; a process imports for {imports:.1f} s at best and holds {memory:.0f} MiB")
    print(f"{'policy':<28}{'CPU s/window':>14}{'wall s/window':>15}{'over core, CPU s':>18}")
    for name, cost in costs.items():
        cpu, wall = cost.per_window(windows)
        print(f"{name:<28}{cpu:>14.2f}{wall:>15.2f}{cpu - core[0]:>18.2f}")
    print("\nshare of a window that trains for so many CPU seconds")
    lengths = (10, 60, 300, 1200)
    print(f"{'policy':<28}" + "".join(f"{f'{length} s':>10}" for length in lengths))
    for name, cost in costs.items():
        over = cost.per_window(windows)[0] - core[0]
        print(f"{name:<28}" + "".join(f"{over / length:>10.1%}" for length in lengths))


def _chaos() -> Any:
    spec = importlib.util.spec_from_file_location("chaos", Path(__file__).with_name("chaos.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["chaos"] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
