"""A run that is killed in the middle of a window leaves no half model, and the next run is none the wiser."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqpricing_dagster.project import Project
from seqpricing_dagster.run import materialize_partition

ROOT = Path(__file__).parents[2]
MODELS = "models/seqlat/seqlat_models"

KILLED = """
import sys, time, pathlib
from seqpricing_core import storage
from seqpricing_core.training import engine
from seqpricing_dagster.run import materialize_partition

where, study, outputs, models = sys.argv[1:]

def stop():
    print("now", flush=True)
    time.sleep(600)

remember = engine.TrainedMember.remember

def in_training(self, *rest):
    if len(self.validation_loss) == 5:
        stop()
    return remember(self, *rest)

def in_writing(self, target):
    in_store = "fitted" in target.parts
    if target.suffix == ".safetensors" and in_store == (where == "storing"):
        stop()
    return replace(self, target)

replace = pathlib.Path.replace
if where == "training":
    engine.TrainedMember.remember = in_training
else:
    pathlib.Path.replace = in_writing
materialize_partition(pathlib.Path(study), pathlib.Path(outputs), (models,), "2005")
"""
"""Stands still in the sixth epoch, or with a whole file written but not yet in its place: that of the store
of fitted windows, or that of the partition."""


@pytest.fixture(scope="module")
def killed_study(
    settings: Callable[..., dict[str, Any]],
    write_study: Callable[[Path, dict[str, Any]], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """One family, twelve epochs."""
    training = {"max_epochs": 12, "patience": 12, "batch_months": 12, "seeds": [1]}
    changes = {"models": {"seqlat": settings()["models"]["seqlat"]}, "training": training}
    return write_study(tmp_path_factory.mktemp("killed"), settings(**changes))


@pytest.fixture(scope="module")
def with_panel(finished: Project) -> Callable[[Path], Path]:
    """Outputs that hold the panel of the finished study and nothing else; returns the file of the model."""

    def make(outputs: Path) -> Path:
        assets = outputs / finished.assets.relative_to(finished.folder.parent)
        shutil.copytree(finished.assets / "panel", assets / "panel")
        return assets / MODELS / "2005.safetensors"

    return make


@pytest.fixture(scope="module")
def undisturbed(
    with_panel: Callable[[Path], Path], killed_study: Path, tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    outputs = tmp_path_factory.mktemp("undisturbed")
    file = with_panel(outputs)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for variable in ("SEQPRICING_STUDY", "SEQPRICING_OUTPUTS", "DAGSTER_HOME"):
            monkeypatch.setenv(variable, "")
        materialize_partition(killed_study, outputs, (MODELS,), "2005")
    return file.read_bytes()


@pytest.mark.parametrize("where", ["training", "storing", "writing"])
def test_killed_in_the_middle(
    where: str,
    with_panel: Callable[[Path], Path],
    killed_study: Path,
    undisturbed: bytes,
    tmp_path: Path,
) -> None:
    """SIGKILL: nothing at the path of the model; the same command then gives the undisturbed bytes."""
    file = with_panel(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, where, str(killed_study), str(tmp_path), MODELS],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        reached = any(line == "now\n" for line in process.stdout)
    finally:
        process.kill()
        process.wait()
    assert reached
    assert process.returncode == -signal.SIGKILL
    assert not file.exists()
    left = [path.parent.name for path in tmp_path.rglob(".*.tmp")]
    assert len(left) == (where != "training"), "two kills are to hit a file that is being written"
    assert (left == ["seqlat_models"]) == (where == "writing")
    materialize_partition(killed_study, tmp_path, (MODELS,), "2005")
    assert file.read_bytes() == undisturbed
