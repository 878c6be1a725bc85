"""Several machines, one of which dies: windows of a backfill train on a Ray cluster, and nothing is lost.

PostgreSQL holds Dagster's records, an S3 server the files, Ray the machines: nodes with a folder of their
own each, all processes of one of them killed while a window trains on it. Everything runs on this machine::

    pip install -e '.[object-storage,postgres,ray,exercise]'      # and Debian's postgresql
    python deploy/exercise/scale_out.py --windows 12 --nodes 3

Prints what happened and exits with 1 unless the backfill finished and every model is, byte for byte, the one
that a single undisturbed process trains.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import local_services
import yaml

from seqpricing_dagster.project import Project, open_project
from seqpricing_dagster.run import materialize_partition, prepare_home, stages_of

ASSET = "models/seqlat/seqlat_models"
FIRST_YEAR, ESTIMATION_YEARS = 1996, 4
STAGES = ("raw files", "raw tables", "characteristics", "panel", "windows: train")
"""Of a whole study, those that lead to its models."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """What the exercise saw."""

    windows: int
    backfill: str
    """Its status in the end."""
    runs: dict[str, int]
    """By status: a window that a dead node held appears as failed, then again."""
    windows_by_node: dict[str, int]
    """Models that each node wrote."""
    seconds: float
    """Of the backfill, from its request to its end."""
    noticed_seconds: float
    """From the kill to the first run shown as failed."""
    same_bytes: bool


def study(windows: int, epochs: int) -> dict[str, Any]:
    """A small SIMULATED market with a sequence model that trains for some seconds a window."""
    return {
        "name": "scale_out",
        "title": "SIMULATED: exercise of several machines",
        "source": {"kind": "simulated", "seed": 3, "stocks": 70, "loadings": "nonlinear"},
        "sample": {
            "first_month": f"{FIRST_YEAR}-01",
            "last_month": f"{FIRST_YEAR + ESTIMATION_YEARS + windows - 1}-12",
        },
        "windows": {"train_years": 3, "validation_years": 1},
        "number_of_factors": [1, 2],
        "models": {
            "seqlat": {
                "lookback": 6,
                "grid": {"l1": [0.001], "learning_rate": [0.01], "beta_hidden": [[8]]},
            }
        },
        "training": {"max_epochs": epochs, "patience": epochs, "batch_months": 12, "seeds": [1]},
        "portfolios": {"quantiles": 5},
    }


def exercise(folder: Path, windows: int, nodes: int, epochs: int) -> Figures:
    """Train every window on the cluster, kill the first node on the way; compare with one process."""
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(study(windows, epochs), sort_keys=False))
    with local_services.s3_server(folder / "s3") as s3, local_services.postgres() as database:
        slots = folder / "slots.yaml"
        slots.write_text(yaml.safe_dump({"concurrency": {"runs": {"max_concurrent_runs": nodes}}}))
        settings = (local_services.POSTGRES_STORAGE, local_services.RAY_LAUNCHER, slots)
        store = s3 | {"SEQPRICING_STORE": local_services.make_bucket(s3, "studies")}
        models = train_alone(file, folder / "alone", store)
        shared = store | database.environment | {
            "SEQPRICING_STUDY": str(file),
            "SEQPRICING_INSTANCE": os.pathsep.join(map(str, settings)),
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        names = [f"machine{number}" for number in range(1, nodes + 1)]
        with (
            local_services.ray_cluster(folder / "ray", shared, names) as cluster,
            environment(cluster.environment),
        ):
            project = prepare_home(file, folder / "control")
            with local_services.daemon(folder / "daemon.log", os.environ):
                return disturbed_backfill(project, cluster, models)


def train_alone(file: Path, outputs: Path, store: Mapping[str, str]) -> dict[str, bytes]:
    """What one process makes, without a store; then its panel, but no model, is put into the store."""
    project = open_project(file, outputs)
    stages = [stage for stage in stages_of(project) if stage.title in STAGES]
    trained = [project.assets / ASSET / f"{year}.safetensors" for year in stages[-1].partitions]
    if not all(path.is_file() for path in trained):  # an earlier exercise in this folder made them
        with environment({}):
            for stage in stages:
                for partition in stage.partitions:
                    materialize_partition(file, outputs, stage.assets, partition)
    with environment(store):
        files = open_project(file, outputs).files
        files.publish(sorted((project.assets / "panel").glob("*/*.*")))
    return {path.name: path.read_bytes() for path in trained}


def disturbed_backfill(
    project: Project, cluster: local_services.RayCluster, models: Mapping[str, bytes]
) -> Figures:
    """A backfill of every window; the first node dies while its first window trains."""
    begin = time.monotonic()
    backfill = local_services.launch_backfill(project, [ASSET], project.study.model_years)
    victim = next(iter(cluster.nodes))

    def written(node: str, pattern: str) -> list[Path]:
        return list((cluster.folder / node / "outputs" / project.study.name / "assets").glob(pattern))

    def trains() -> bool:
        return len(written(victim, "panel/*/*.*")) >= 2 * ESTIMATION_YEARS

    local_services.wait_for(trains, 300, f"a window trains on {victim}", every=0.05)
    cluster.kill(victim)
    lost_windows = len(written(victim, f"{ASSET}/*.safetensors"))
    noticed = local_services.wait_for(
        lambda: local_services.backfill_state(backfill)[1]["FAILURE"] > 0,
        300,
        "the lost run is shown as failed",
    )
    local_services.wait_for(
        lambda: local_services.backfill_state(backfill)[0] not in {"REQUESTED", "FAILING"},
        300 + 180 * len(models), "the backfill ends", every=2,
    )  # fmt: skip
    seconds = time.monotonic() - begin
    status, runs = local_services.backfill_state(backfill)
    trained = [project.assets / ASSET / name for name in models]
    there = project.files.fetch(trained)
    return Figures(
        windows=len(models),
        backfill=status,
        runs=dict(runs),
        windows_by_node={node: len(written(node, f"{ASSET}/*.safetensors")) for node in cluster.nodes}
        | {f"{victim} (killed)": lost_windows},
        seconds=round(seconds, 1),
        noticed_seconds=round(noticed, 1),
        same_bytes=there == trained and all(path.read_bytes() == models[path.name] for path in trained),
    )


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a while."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument(
        "--folder", type=Path, help="keeps logs, and what one process makes for the next time"
    )
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="seqpricing-scale-out-"))
    folder.mkdir(parents=True, exist_ok=True)
    for left in ("ray", "control"):
        shutil.rmtree(folder / left, ignore_errors=True)
    figures = exercise(folder, options.windows, options.nodes, options.epochs)
    print(json.dumps(dataclasses.asdict(figures), indent=2))
    print(f"logs: {folder}", file=sys.stderr)
    sys.exit(0 if figures.same_bytes and figures.backfill == "COMPLETED_SUCCESS" else 1)


if __name__ == "__main__":
    main()
