"""The settings of the Dagster instance: those of one machine, and what a deployment lays over them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from seqpricing_core.errors import InputError
from seqpricing_dagster.pools import processors
from seqpricing_dagster.project import REPOSITORY

INSTANCE_VARIABLE = "SEQPRICING_INSTANCE"


def instance_settings() -> bytes:
    """``dagster.yaml`` of the repository, with as many runs at once as there are processors.

    Over it lie the files that ``SEQPRICING_INSTANCE`` names: paths, separated as in ``PATH``, such as
    ``deploy/postgres/storage.yaml:deploy/ray/run_launcher.yaml``. The files name environment variables
    (``{env: NAME}``) where a secret belongs, so what is written holds none.
    """
    settings = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text(encoding="utf-8"))
    settings["concurrency"]["runs"]["max_concurrent_runs"] = max(processors(), 2)
    for name in os.environ.get(INSTANCE_VARIABLE, "").split(os.pathsep):
        if name:
            settings = _laid_over(settings, _sections(Path(name)))
    return yaml.safe_dump(settings, sort_keys=False).encode()


def _laid_over(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Settings with changes, key by key: what a change leaves out stays."""
    both = {
        key: _laid_over(settings[key], changes[key])
        for key in settings.keys() & changes.keys()
        if isinstance(settings[key], dict) and isinstance(changes[key], dict)
    }
    return settings | changes | both


def _sections(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"the instance settings cannot be read: {error}",
            where=f"{file}, named in {INSTANCE_VARIABLE}",
            expected="a YAML file with sections of a dagster.yaml",
            remedy="correct the path or the YAML; deploy/postgres/storage.yaml is an example",
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            "the instance settings hold no sections",
            where=f"{file}, named in {INSTANCE_VARIABLE}",
            expected="a mapping with sections of a dagster.yaml, such as storage",
            remedy="start from deploy/postgres/storage.yaml",
        )
    return content
