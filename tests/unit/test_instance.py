"""What a deployment lays over dagster.yaml."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from seqpricing_core.errors import InputError
from seqpricing_dagster.instance import instance_settings
from seqpricing_dagster.pools import processors
from seqpricing_dagster.project import REPOSITORY

DEPLOYED = (REPOSITORY / "deploy/postgres/storage.yaml", REPOSITORY / "deploy/ray/run_launcher.yaml")


def test_without_a_deployment_it_is_the_file_of_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEQPRICING_INSTANCE", raising=False)
    own = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    own["concurrency"]["runs"]["max_concurrent_runs"] = max(processors(), 2)
    assert yaml.safe_load(instance_settings()) == own


def test_files_are_laid_over_it_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQPRICING_INSTANCE", os.pathsep.join(map(str, DEPLOYED)))
    own = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    settings = yaml.safe_load(instance_settings())
    assert settings["telemetry"] == {"enabled": False}
    assert settings["run_retries"] == own["run_retries"]
    assert settings["run_monitoring"]["max_runtime_seconds"] == own["run_monitoring"]["max_runtime_seconds"]
    assert settings["run_monitoring"]["max_resume_run_attempts"] == 0
    assert settings["run_launcher"]["class"] == "RayRunLauncher"


def test_every_value_of_the_database_comes_from_the_environment() -> None:
    """A password in a file of the repository would be read by everybody."""
    database = yaml.safe_load(DEPLOYED[0].read_text())["storage"]["postgres"]["postgres_db"]
    assert database.pop("scheme") == "postgresql+psycopg2"
    assert all(list(value) == ["env"] for value in database.values())


def test_no_secret_is_passed_on_by_ray() -> None:
    passed = yaml.safe_load(DEPLOYED[1].read_text())["run_launcher"]["config"]["ray"]["env_vars"]
    assert not [
        name for name in passed if "PASSWORD" in name or "SECRET" in name or "KEY" in name or "=" in name
    ]


@pytest.mark.parametrize("content", [None, "- a list\n", "key: [unclosed\n"])
def test_a_file_that_is_none_is_named(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("SEQPRICING_INSTANCE", str(file))
    with pytest.raises(InputError, match=r"mine\.yaml, named in SEQPRICING_INSTANCE"):
        instance_settings()
