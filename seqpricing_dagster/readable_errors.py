"""What failed, in words a person can act on, where the cause lies outside the code."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from sqlalchemy.exc import OperationalError

from seqpricing_core.errors import InputError

DISK_FULL = ("No space left on device", "disk is full", "Disk quota exceeded", "disk I/O error")


def readable(error: BaseException) -> InputError | None:
    """The input error behind ``error``, or one that names a full disk or a lost database; else None."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, InputError):
            return cause
    for cause in causes:
        if getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(
            words in str(cause) for words in DISK_FULL
        ):
            return InputError(
                f"the disk is full, or it fails: {_first_line(cause)}",
                where=str(
                    getattr(cause, "filename", None) or "the folder of outputs, or the temporary folder"
                ),
                expected="room for the next partition and for Dagster's records",
                remedy="make room and run the same command again; partitions that were finished are whole",
            )
    for cause in causes:
        if isinstance(cause, OperationalError):
            return InputError(
                f"the database of Dagster's records does not answer: {_first_line(cause)}",
                where="storage in the dagster.yaml of the study",
                expected="a database that answers from start to end",
                remedy="start it and run the same command again; partitions that were finished are whole",
            )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(cause: BaseException) -> str:
    return next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
