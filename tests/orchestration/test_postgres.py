"""Dagster on PostgreSQL: a real server, a real daemon; the server goes away in the middle of a backfill."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import local_services
import pytest
from local_services import backfill_state as state

from seqpricing_core.locks import is_held
from seqpricing_dagster.cli import main
from seqpricing_dagster.project import Project, open_project
from seqpricing_dagster.run import materialize_partition, prepare_home

ASSET = "models/seqlat/seqlat_models"
YEARS = range(2004, 2006)
TRAINING = {"max_epochs": 150, "patience": 150, "batch_months": 12, "seeds": [1]}
"""A window takes seconds: long enough to lose the database in the middle."""
DOWN_SECONDS = 10
"""After a window was trained that could not be recorded; longer than the retries of dagster-postgres."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[local_services.Postgres]:
    """PostgreSQL, named in the environment as deploy/postgres/storage.yaml reads it."""
    pytest.importorskip("dagster_postgres", reason="pip install 'seqpricing[postgres]'")
    if local_services.postgres_programs() is None:
        pytest.skip("no PostgreSQL on this machine (Debian: apt install postgresql)")
    with local_services.postgres() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SEQPRICING_INSTANCE", str(local_services.POSTGRES_STORAGE))
        yield server


@pytest.fixture
def with_panel(
    settings: Callable[..., dict[str, Any]],
    write_study: Callable[[Path, dict[str, Any]], Path],
    finished: Project,
    tmp_path: Path,
) -> Callable[[str], tuple[Path, Project]]:
    """Makes a study of one family with the panel of the finished one; gives its file too."""
    models = {"seqlat": settings()["models"]["seqlat"]}
    file = write_study(tmp_path, settings(models=models, training=TRAINING))

    def make(outputs: str) -> tuple[Path, Project]:
        project = open_project(file, tmp_path / outputs)
        shutil.copytree(finished.assets / "panel", project.assets / "panel")
        return file, project

    return make


def fits(project: Project) -> bool:
    """Whether a window trains at this moment."""
    return any(is_held(lock) for lock in project.fitted_store.folder.rglob("*.lock"))


@pytest.mark.integration
def test_a_backfill_outlives_its_database(
    with_panel: Callable[[str], tuple[Path, Project]], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The server is killed while runs train, and comes back: the backfill ends, the bytes are the same."""
    file, undisturbed = with_panel("undisturbed")
    for year in YEARS:
        materialize_partition(file, tmp_path / "undisturbed", (ASSET,), str(year))
    server: local_services.Postgres = request.getfixturevalue("server")
    file, project = with_panel("disturbed")
    prepare_home(file, tmp_path / "disturbed")
    assert server.password not in (project.dagster_home / "dagster.yaml").read_text()
    with local_services.daemon(tmp_path / "daemon.log", os.environ) as process:
        backfill = local_services.launch_backfill(project, [ASSET], YEARS)
        local_services.wait_for(lambda: fits(project), 120, "a window trains", every=0.05)
        server.kill()
        local_services.wait_for(lambda: not fits(project), 120, "the window is trained")
        time.sleep(DOWN_SECONDS)
        server.start()
        local_services.wait_for(
            lambda: state(backfill)[0] == "COMPLETED_SUCCESS", 300, "the backfill ends", every=2
        )
        assert process.poll() is None, "the daemon lives on"
    assert not list(project.dagster_home.rglob("*.db")), "nothing in SQLite"
    ends = state(backfill)[1]
    assert set(ends) == {"FAILURE", "SUCCESS"}, "a run was hit, shown as failed, and tried again"
    assert ends["SUCCESS"] == len(YEARS)
    for year in YEARS:
        name = f"{ASSET}/{year}.safetensors"
        assert (project.assets / name).read_bytes() == (undisturbed.assets / name).read_bytes()


@pytest.mark.integration
def test_a_database_that_does_not_answer_is_one_error(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names host and port and what to do; not the password, and no traceback."""
    pytest.importorskip("dagster_postgres", reason="pip install 'seqpricing[postgres]'")
    server = local_services.Postgres(tmp_path, local_services.free_port(), "sesame")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SEQPRICING_INSTANCE", str(local_services.POSTGRES_STORAGE))
    monkeypatch.setattr(sys, "argv", ["seqpricing", "run", str(study_file), "--outputs", str(tmp_path / "o")])
    with pytest.raises(SystemExit, match="2"):
        main()
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert f"port {server.port}" in message
    assert "run the same command again" in message
    assert "sesame" not in message
