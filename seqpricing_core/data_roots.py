"""Which files a study file may name: those below its own folder, and below folders the environment allows.

A study file is text that people send each other. It must not be able to read whatever the account that runs
it can read, and show it in a table of the web page.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from seqpricing_core.errors import InputError

VARIABLE = "SEQPRICING_DATA_ROOTS"
"""Folders, separated as in PATH; ``/`` allows everything."""


def data_roots(study_file: Path) -> list[Path]:
    """The folder of the study file, then those of the environment."""
    allowed = [Path(root) for root in os.environ.get(VARIABLE, "").split(os.pathsep) if root]
    return [root.expanduser().resolve() for root in (study_file.parent, *allowed)]


def require_inside_roots(settings: BaseModel, study_file: Path) -> None:
    """Every path in the settings, with links followed, lies below a root.

    Raises
    ------
    InputError
        Names the first that does not, and how to allow it.
    """
    roots = data_roots(study_file)
    for key, path in _paths(settings):
        real = path.resolve()
        if not any(real.is_relative_to(root) for root in roots):
            raise InputError(
                f"the study names a file outside its folders: {path}",
                where=f"{study_file}, key {key}",
                expected=f"a file below {' or '.join(map(str, roots))}",
                remedy=f"move the file there, or allow its folder: export {VARIABLE}={real.parent}",
            )


def _paths(settings: BaseModel, prefix: str = "") -> Iterator[tuple[str, Path]]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Path):
                yield f"{prefix}{name}", one
            elif isinstance(one, BaseModel):
                yield from _paths(one, f"{prefix}{name}.")
