"""A partition that failed a blocking check is not read, by whatever run asks for it.

Dagster blocks later steps of the same run; another run of the same backfill would go on. So a failed check
leaves a note beside the file, reading the file is an error that repeats it, and a partition that is made
again is free of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from seqpricing_core.errors import InputError
from seqpricing_core.storage import write_atomically

SUFFIX = ".refused"


def refuse(file: Path, check: str, problem: str) -> None:
    """Note that the partition in ``file`` failed ``check``."""
    write_atomically(_note(file, check), json.dumps({"check": check, "problem": problem}).encode())


def accept(file: Path, check: str) -> None:
    """Forget that it ever failed ``check``."""
    _note(file, check).unlink(missing_ok=True)


def forget(file: Path) -> None:
    """Of all checks: the partition was made again, and is judged again."""
    for note in _notes(file):
        note.unlink(missing_ok=True)


def require_accepted(files: Iterable[Path]) -> None:
    """Raise for the first partition with a note.

    Raises
    ------
    InputError
        Names partition, check and what the check found.
    """
    for file in files:
        for path in _notes(file):
            note = json.loads(path.read_text(encoding="utf-8"))
            raise InputError(
                f"the partition failed the check {note['check']}: {note['problem']}",
                where=str(file),
                expected="a partition that passed all of its blocking checks",
                remedy=f"correct its cause and materialize {file.parent.name} {file.stem} again",
            )


def _notes(file: Path) -> list[Path]:
    return sorted(file.parent.glob(f".{file.stem}.*{SUFFIX}"))


def _note(file: Path, check: str) -> Path:
    return file.with_name(f".{file.stem}.{check}{SUFFIX}")
