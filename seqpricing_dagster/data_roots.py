"""Which folders a study may read from, where the one who runs it says so."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from seqpricing_core.errors import InputError
from seqpricing_core.study import Study

ROOTS_VARIABLE = "SEQPRICING_DATA_ROOTS"


def check_data_roots(study: Study, study_file: Path) -> None:
    """Refuse a study that names a file outside ``SEQPRICING_DATA_ROOTS`` (folders, separated as in ``PATH``).

    Without the variable a study may name any file: its author runs it. Links are followed first.

    Raises
    ------
    InputError
        Names the key, the file it leads to, and the folders that are allowed.
    """
    roots = [Path(root).resolve() for root in os.environ.get(ROOTS_VARIABLE, "").split(os.pathsep) if root]
    if not roots:
        return
    for section, settings in (("source", study.source), ("macro", study.macro)):
        for key, path in _paths(settings):
            if not any(path.resolve().is_relative_to(root) for root in roots):
                raise InputError(
                    "the study names a file outside the folders that studies may read",
                    where=f"{study_file}, {section}.{key}: {path.resolve()}",
                    expected=f"a file below {', '.join(map(str, roots))} ({ROOTS_VARIABLE})",
                    remedy="put the file there, or have its folder added to the variable",
                )


def _paths(settings: BaseModel | None) -> list[tuple[str, Path]]:
    fields = dict(settings) if settings is not None else {}
    return [(key, value) for key, value in fields.items() if isinstance(value, Path)]
