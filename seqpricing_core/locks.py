"""One process at a time, whatever the others die of.

The kernel holds the lock and frees it with the process that held it: a dead process holds nothing that would
have to be broken. The file says who holds it, for people and for `seqpricing doctor`. On one machine, or on a
file system that passes `flock` on, as NFS 4 does.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

SUFFIX = ".lock"
POLL_SECONDS = 0.1
CLOCK_TOLERANCE = 2.0
"""Seconds by which start times of one process may differ: the kernel counts ticks since it was started."""


@dataclass(frozen=True)
class ProcessIdentity:
    """A process by what no later one shares: numbers are given again, start times are not."""

    pid: int
    started: float
    """Seconds since 1970."""
    host: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        return cls(pid, psutil.Process(pid).create_time(), socket.gethostname())

    @property
    def alive(self) -> bool:
        """False where this machine can see that it is gone; of another machine it cannot tell."""
        if self.host != socket.gethostname():
            return True
        return runs_since(self.pid, self.started + CLOCK_TOLERANCE, not_before=self.started - CLOCK_TOLERANCE)


def runs_since(pid: int, latest_start: float, not_before: float = 0.0) -> bool:
    """Whether a process with this number runs here that started by then: a later one is another process."""
    try:
        process = psutil.Process(pid)
        started = process.create_time()
        return not_before <= started <= latest_start and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def exclusive(path: Path, waiting: Callable[[ProcessIdentity | None], None] | None = None) -> Iterator[None]:
    """Hold the lock ``path``; wait for whoever holds it.

    Parameters
    ----------
    waiting
        Called once, with the owner if it is known, before waiting begins.
    """
    descriptor = _acquire(path, waiting)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(ProcessIdentity.of(os.getpid()))).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is still held: see `_names`
        os.close(descriptor)


def owner_of(path: Path) -> ProcessIdentity | None:
    """Who wrote the lock file last; None if it says nothing."""
    try:
        return ProcessIdentity(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _try(descriptor)
    finally:
        os.close(descriptor)


def _acquire(path: Path, waiting: Callable[[ProcessIdentity | None], None] | None) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if _try(descriptor) and _names(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if waiting is not None and is_held(path):
            waiting(owner_of(path))
            waiting = None
        time.sleep(POLL_SECONDS)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _names(path: Path, descriptor: int) -> bool:
    """Whether the file that was locked is still the one of this name: its last owner removes it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
