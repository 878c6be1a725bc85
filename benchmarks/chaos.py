"""Kill everything at random while windows train; say what is left, and whether it finishes.

    python benchmarks/chaos.py                       three backfills of 21 windows, 20 kills each
    python benchmarks/chaos.py --backfills 1 --kills 5 --windows 6
    python benchmarks/chaos.py --disk-full           a disk that fills up (needs root for a small tmpfs)

Real services (`seqpricing ui`: web server, daemon, code servers), a real backfill asked for over GraphQL, and
SIGKILL at random moments to: the process in the middle of a fit, a run worker, the daemon, the web server, a
code server, and `seqpricing ui` itself, which is then started again. After each kill every partition must be
absent or, byte for byte, the undisturbed one; at the end all must be there. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import yaml
from dagster._core.execution.backfill import BulkActionStatus
from rich.console import Console

from seqpricing_core.locks import owner_of
from seqpricing_dagster.project import REPOSITORY, Project, open_project
from seqpricing_dagster.run import materialize_partition, prepare_home
from seqpricing_dagster.targets import FINISHED

VICTIMS = {"fit": 6, "run worker": 6, "daemon": 2, "web server": 2, "code server": 2, "seqpricing ui": 2}
"""How often each is aimed at, relative to the others."""
IDLE_SHARE = 0.004
"""Of looks at which services are hit although no run is at work: while they start, or between runs."""
PATIENCE_SECONDS = 3600
PROGRAM = "from seqpricing_dagster.cli import main; main()"

LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""


def study_settings(windows: int) -> dict[str, Any]:
    """A small simulated market; a window of both families trains for a second or two."""
    first = 1980
    return {
        "name": "chaos",
        "title": "SIMULATED market under attack",
        "source": {"kind": "simulated", "seed": 3, "stocks": 40},
        "sample": {"first_month": f"{first}-01", "last_month": f"{first + 2 + windows - 1}-11"},
        "windows": {"train_years": 1, "validation_years": 1},
        "characteristics": ["mvel1", "bm", "mom_12", "mom_1"],
        "number_of_factors": [1, 2],
        "models": {
            "ipca": {},
            "ca1": {"grid": {"l1": [0.001, 0.01], "learning_rate": [0.01], "beta_hidden": [[8]]}},
        },
        "training": {"max_epochs": 150, "patience": 150, "batch_months": 4, "seeds": [1]},
        "portfolios": {"quantiles": 5},
    }


@dataclass
class Attack:
    """One study under attack, and what was seen. It ends early if all windows are there before all kills."""

    study_file: Path
    project: Project
    reference: dict[str, bytes]
    seed: int
    program: str = PROGRAM
    port: int = 0
    ui: subprocess.Popen[bytes] | None = None
    kills: Counter[str] = field(default_factory=Counter)
    looks: int = 0
    pressed: int = 0
    """Backfills asked for again because retries were used up."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    # What is attacked.

    def start(self) -> None:
        command = [sys.executable, "-c", self.program, "ui", str(self.study_file)]
        command += ["--outputs", str(self.project.folder.parent), "--port", str(self.port)]
        with (self.project.folder / "ui.log").open("ab") as log:
            self.ui = subprocess.Popen(
                command, cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self) -> None:
        """The UI by a request to end; then whatever of this study still runs."""
        if self.ui and self.ui.poll() is None:
            self.ui.terminate()
            self.ui.wait(timeout=120)
        for process in self.processes():
            process.kill()

    def processes(self) -> list[psutil.Process]:
        """All of this study, and no others: they carry its home in their environment."""
        home, found = str(self.project.dagster_home), []
        for process in psutil.process_iter():
            try:
                if process.environ().get("DAGSTER_HOME") == home and process.pid != os.getpid():
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def victims(self, kind: str) -> list[psutil.Process]:
        """Living processes of a kind."""
        if kind == "seqpricing ui":
            return [psutil.Process(self.ui.pid)] if self.ui and self.ui.poll() is None else []
        if kind == "fit":
            owners = [owner_of(path) for path in self.project.fitted_store.folder.rglob("*.lock")]
            return [psutil.Process(owner.pid) for owner in owners if owner and owner.alive]
        words = {
            "daemon": "dagster._daemon", "web server": "dagster_webserver", "code server": "grpc",
            "run worker": "spawn_main",
        }[kind]  # fmt: skip
        return [process for process in self.processes() if any(words in word for word in _command(process))]

    def strike(self) -> str | None:
        """SIGKILL to one process, chosen at random; None if nothing was at work that could be hit."""
        there = {kind: found for kind in VICTIMS if (found := self.victims(kind))}
        at_work = "fit" in there or "run worker" in there
        if not at_work and self.random.random() > IDLE_SHARE:
            return None
        (kind,) = self.random.choices([*there], [VICTIMS[kind] for kind in there])
        try:
            self.random.choice(there[kind]).send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            return None
        self.kills[kind] += 1
        if kind == "seqpricing ui" and self.ui:
            self.ui.wait()
            self.start()
        return kind

    # What is asked of it.

    def ask(self, query: str, **variables: Any) -> Any:
        """One question to the web server, as the UI asks it."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def launch(self, partitions: list[str]) -> str:
        """A backfill of all families, asked for as the UI does."""
        selection = [{"path": asset.split("/")} for asset in models_of(self.project)]
        asked = {"assetSelection": selection, "partitionNames": partitions}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                said = self.ask(LAUNCH, params=asked)["launchPartitionBackfill"]
                if said["__typename"] == "LaunchBackfillSuccess":
                    return str(said["backfillId"])
            except (OSError, KeyError, TypeError, ValueError):
                said = "no answer"
            if time.monotonic() > deadline:
                raise TimeoutError(f"the backfill could not be launched: {said}")
            time.sleep(1)

    # What must hold.

    def look(self) -> list[str]:
        """Partitions that are missing; one that is there and differs is the end."""
        self.looks += 1
        missing = []
        for name, expected in self.reference.items():
            try:
                found = (self.project.assets / name).read_bytes()
            except FileNotFoundError:
                missing.append(name)
                continue
            if found != expected:
                raise AssertionError(f"{name} differs from the undisturbed run")
        return missing


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def models_of(project: Project) -> tuple[str, ...]:
    return tuple(f"models/{family}/{family}_models" for family in project.study.families)


def prepare_panel(folder: Path, settings: dict[str, Any]) -> tuple[Path, Path]:
    """The study file, and outputs in which all stands that its windows read."""
    study_file, outputs = folder / "chaos.yaml", folder / "undisturbed"
    folder.mkdir(parents=True, exist_ok=True)
    study_file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    study = open_project(study_file, outputs).study
    first, stop = study.sample.first_year, study.sample.last_year + 1
    stages = [
        (("raw/vendor_files",), [None]),
        (("raw/stock_months", "raw/statements", "raw/factors"), range(first - 1 - study.history_years, stop)),
        (("panel/characteristics",), range(first - 1, stop)),
        (("panel/panel", "panel/managed_portfolios"), range(first, stop)),
    ]
    _once(folder / "panel_made", study_file, outputs, stages)
    return study_file, outputs


def prepare(folder: Path, windows: int) -> tuple[Path, Project, dict[str, bytes]]:
    """The study up to its managed portfolios, and the files of an undisturbed run of its windows."""
    study_file, outputs = prepare_panel(folder, study_settings(windows))
    project = open_project(study_file, outputs)
    _once(folder / "models_made", study_file, outputs, [(models_of(project), project.study.model_years)])
    files = (project.assets / "models").rglob("*.safetensors")
    return study_file, project, {str(f.relative_to(project.assets)): f.read_bytes() for f in files}


def _once(done: Path, study_file: Path, outputs: Path, stages: Iterable[Any]) -> None:
    """Materialize assets and years, unless it was done."""
    if done.exists():
        return
    for assets, years in stages:
        for year in years:
            materialize_partition(study_file, outputs, assets, None if year is None else str(year))
    done.touch()


def attack(
    folder: Path,
    number: int,
    prepared: tuple[Path, Project, dict[str, bytes]],
    kills: int,
    at_once: int = 1,
    pause: float = 12,
) -> Attack:
    """Backfills of all windows, so many at once, and so many kills; ends when all windows are there.

    Parameters
    ----------
    pause
        Most seconds between two kills.
    """
    study_file, undisturbed, reference = prepared
    outputs = folder / f"attacked_{number}"
    copied = outputs / undisturbed.study.name / "assets" / "panel"
    shutil.copytree(undisturbed.assets / "panel", copied)
    project = prepare_home(study_file, outputs)
    under = Attack(study_file, project, reference, seed=number)
    partitions = [str(year) for year in project.study.model_years]
    under.start()
    try:
        with dg.DagsterInstance.from_config(str(project.dagster_home)) as instance:
            backfills = [under.launch(partitions) for _ in range(at_once)]
            deadline = time.monotonic() + PATIENCE_SECONDS
            next_strike = time.monotonic() + 5
            while True:
                assert time.monotonic() < deadline, f"not finished; missing {under.look()}"
                time.sleep(0.2)
                left = kills - sum(under.kills.values())
                if left and time.monotonic() > next_strike and (kind := under.strike()):
                    next_strike = time.monotonic() + under.random.uniform(1, pause)
                    print(f"{number}: killed a {kind}, {len(under.look())} files to go", flush=True)
                if {_status(instance, backfill) for backfill in backfills} <= {*FINISHED}:
                    missing = under.look()
                    if not missing:
                        break
                    under.pressed += 1
                    backfills = [under.launch(sorted({Path(name).stem for name in missing}))]
    finally:
        under.stop()
    assert not under.look()
    return under


def _status(instance: dg.DagsterInstance, backfill: str) -> BulkActionStatus | None:
    found = instance.get_backfill(backfill)
    return found.status if found else None


def fits_of(project: Project, since: float = 0) -> list[tuple[str, bool]]:
    """Of each materialization of models since then the key of its fit, and whether it was trained for it."""
    with dg.DagsterInstance.from_config(str(project.dagster_home)) as instance:
        keys = [dg.AssetKey(asset.split("/")) for asset in models_of(project)]
        records = [r for key in keys for r in instance.fetch_materializations(key, limit=1000).records]
    made = [record.asset_materialization for record in records if record.timestamp >= since]
    return [
        (str(one.metadata["store_key"].value), one.metadata["fit"].value == "trained") for one in made if one
    ]


def trained_twice(project: Project) -> tuple[int, int]:
    """Fits that two materializations say they trained, and materializations that found theirs there."""
    fits = fits_of(project)
    trained = [key for key, was_trained in fits if was_trained]
    return len(trained) - len(set(trained)), len(fits) - len(trained)


def disk_full(folder: Path, windows: int) -> dict[str, Any]:
    """A disk that fills up in the middle: it fails clearly, and with more room the same command finishes."""
    study_file, _, reference = prepare(folder, windows)
    small = folder / "small_disk"
    small.mkdir(exist_ok=True)
    size = "1500k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(small)], check=True)
    command = [sys.executable, "-c", PROGRAM, "run", str(study_file)]
    command += ["--outputs", str(small), "--workers", "1"]
    try:
        failures: list[dict[str, Any]] = []
        for larger in ("6m", "12m", "24m", "200m", None):
            done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
            project = open_project(study_file, small)
            for name, expected in reference.items():
                file = project.assets / name
                assert not file.exists() or file.read_bytes() == expected, f"{name} differs"
            if done.returncode == 0 or larger is None:
                break
            failures.append({"size": size, "status": done.returncode, "said": done.stderr[-600:]})
            subprocess.run(["mount", "-o", f"remount,size={larger}", str(small)], check=True)
            size = larger
        missing = [name for name in reference if not (project.assets / name).exists()]
        left = [str(path) for path in small.rglob(".*.tmp")]
        return {
            "failures": failures,
            "status": done.returncode,
            "with": size,
            "missing": missing,
            "temporary_files": left,
        }
    finally:
        subprocess.run(["umount", str(small)], check=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backfills", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20, help="per backfill")
    parser.add_argument("--pause", type=float, default=12, help="most seconds between two kills")
    parser.add_argument("--windows", type=int, default=21)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--disk-full", action="store_true")
    parser.add_argument("--folder", type=Path, help="keep everything there; else a temporary folder")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="chaos"))
    folder.mkdir(parents=True, exist_ok=True)
    if options.disk_full:
        print(json.dumps(disk_full(folder, options.windows), indent=1))
        return
    prepared = prepare(folder, options.windows)
    kills: Counter[str] = Counter()
    lines = []
    for number in range(options.seed, options.seed + options.backfills):
        started = time.monotonic()
        under = attack(folder, number, prepared, options.kills, pause=options.pause)
        twice, reused = trained_twice(under.project)
        kills += under.kills
        lines.append({
            "windows": len(prepared[2]), "kills": sum(under.kills.values()), "looks": under.looks,
            "pressed_again": under.pressed, "trained_twice": twice, "reused": reused,
            "seconds": round(time.monotonic() - started),
            "temporary_files_left": len(list(under.project.folder.rglob(".*.tmp"))),
        })  # fmt: skip
        print(json.dumps(lines[-1]), flush=True)
    Console().print(f"{sum(kills.values())} kills: {dict(kills)}; every window as in the undisturbed run")
    print(json.dumps({"backfills": lines, "kills": dict(kills)}))


if __name__ == "__main__":
    main()
