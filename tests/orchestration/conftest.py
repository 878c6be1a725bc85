"""A small study materialized through Dagster, once."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from rich.console import Console

from seqpricing_dagster.project import REPOSITORY, Project
from seqpricing_dagster.run import materialize_study, prepare_home


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs set environment variables; each test starts without them."""
    for variable in ("SEQPRICING_STUDY", "SEQPRICING_OUTPUTS", "DAGSTER_HOME"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)


@pytest.fixture(scope="session")
def write_study() -> Callable[[Path, dict[str, Any]], Path]:
    """Writes a study file to a folder."""

    def write(folder: Path, settings: dict[str, Any]) -> Path:
        file = folder / "study.yaml"
        file.write_text(yaml.safe_dump(settings, sort_keys=False))
        return file

    return write


@pytest.fixture(scope="session")
def study_file(
    settings: Callable[..., dict[str, Any]],
    write_study: Callable[[Path, dict[str, Any]], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    return write_study(tmp_path_factory.mktemp("study"), settings())


@pytest.fixture(scope="session")
def finished(study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small study, run from the command line's function with two workers."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for variable in ("SEQPRICING_STUDY", "SEQPRICING_OUTPUTS", "DAGSTER_HOME"):
            monkeypatch.setenv(variable, "")
        return materialize_study(study_file, tmp_path_factory.mktemp("outputs"), 2, Console(quiet=True))


@pytest.fixture
def instance(finished: Project, study_file: Path) -> dg.DagsterInstance:
    """The instance that the finished study was recorded in."""
    prepare_home(study_file, finished.folder.parent)
    return dg.DagsterInstance.get()


@pytest.fixture(scope="session")
def chaos() -> Any:
    """`benchmarks/chaos.py`: real services, and what must hold of them."""
    spec = importlib.util.spec_from_file_location("chaos", REPOSITORY / "benchmarks" / "chaos.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["chaos"] = module
    spec.loader.exec_module(module)
    return module
