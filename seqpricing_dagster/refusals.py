"""A partition that failed a blocking check is not read, by whatever run asks for it.

Dagster blocks later steps of the same run; another run of the same backfill would go on. So a failed check
leaves a note beside the file (in the store, where files are shared: every machine sees it), reading the file
is an error that repeats it, and a partition that is made again is free of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from seqpricing_core.errors import InputError
from seqpricing_dagster.object_store import SharedFolder

SUFFIX = ".refused"


def refuse(files: SharedFolder, file: Path, check: str, problem: str) -> None:
    """Note that the partition in ``file`` failed ``check``."""
    files.write_note(_notes(file) / check, json.dumps({"check": check, "problem": problem}).encode())


def accept(files: SharedFolder, file: Path, check: str) -> None:
    """Forget that it ever failed ``check``."""
    files.remove_notes([_notes(file) / check])


def forget(files: SharedFolder, file: Path) -> None:
    """Of all checks: the partition was made again, and is judged again."""
    files.remove_notes(files.notes([_notes(file)]))


def require_accepted(files: SharedFolder, partitions: Sequence[Path]) -> None:
    """Raise for the first partition with a note.

    Raises
    ------
    InputError
        Names partition, check and what the check found.
    """
    by_folder = {_notes(file): file for file in partitions}
    for path, text in files.notes([*by_folder]).items():
        note, file = json.loads(text), by_folder[path.parent]
        raise InputError(
            f"the partition failed the check {note['check']}: {note['problem']}",
            where=str(file),
            expected="a partition that passed all of its blocking checks",
            remedy=f"correct its cause and materialize {file.parent.name} {file.stem} again",
        )


def _notes(file: Path) -> Path:
    """The folder of its notes, one per check."""
    return file.with_name(f".{file.stem}{SUFFIX}")
