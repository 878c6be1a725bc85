"""Errors from outside become messages; faults of ours stay what they are."""

from __future__ import annotations

import errno
import sqlite3

import pytest
from sqlalchemy.exc import OperationalError

from seqpricing_core.errors import InputError
from seqpricing_dagster.readable_errors import readable


def wrapped(cause: BaseException) -> BaseException:
    """As a framework raises it again."""
    try:
        raise RuntimeError("the step failed") from cause
    except RuntimeError as error:
        return error


def by_sqlite(words: str) -> OperationalError:
    return OperationalError("INSERT INTO event_logs", {}, sqlite3.OperationalError(words))


@pytest.mark.parametrize(
    "cause",
    [
        OSError(errno.ENOSPC, "No space left on device", "outputs/demo/.1999.arrow.tmp"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        by_sqlite("database or disk is full"),
        by_sqlite("disk I/O error"),
        RuntimeError("\nwriting failed: No space left on device"),
    ],
)
def test_a_full_disk_is_named_and_what_to_do(cause):
    message = str(readable(wrapped(cause)))
    assert "the disk is full" in message
    assert "fails: \n" not in message
    assert "make room and run the same command again" in message
    assert (getattr(cause, "filename", None) or "folder of outputs") in message


def test_a_database_that_is_gone():
    message = str(readable(wrapped(by_sqlite("server closed the connection\nmore"))))
    assert "does not answer" in message
    assert "more" not in message


def test_an_input_error_comes_first():
    error = InputError("no such column", where="here", expected="ret", remedy="add it")
    assert readable(wrapped(error)) is error


def test_other_errors_keep_their_traceback():
    assert readable(wrapped(KeyError("ret"))) is None
