"""The web server and the daemon of a study, kept alive: what `seqpricing ui` runs.

A service that dies, or whose code server dies, is started again. Records of dead runs are put right before
each start of the daemon and while it runs. Services that an earlier, killed `seqpricing ui` left behind are
ended first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import dagster as dg
import psutil
from rich.console import Console

from seqpricing_core.errors import InputError
from seqpricing_core.locks import ProcessIdentity, exclusive, is_held, owner_of
from seqpricing_core.storage import write_atomically
from seqpricing_dagster.pools import set_pool_limits
from seqpricing_dagster.project import REPOSITORY, Project
from seqpricing_dagster.recovery import recover

POLL_SECONDS = 1.0
RECOVERY_SECONDS = 30.0
"""Between two looks for dead runs."""
SHORT_LIFE = 20.0
"""A service that lives shorter is started again only after a pause that doubles up to `LONGEST_PAUSE`."""
LONGEST_PAUSE = 60.0
GRACE_SECONDS = 20.0


@dataclass
class _Service:
    """One child process."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = 1.0
    not_before: float = 0.0
    had_code_server: bool = False

    def start(self) -> None:
        # In a group of its own: an interrupt of the terminal reaches us, and we end it in order.
        self.process = subprocess.Popen(self.command, cwd=REPOSITORY, start_new_session=True)  # noqa: S603 - ours
        self.started = time.monotonic()
        self.had_code_server = False

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end_without_code_server(self) -> None:
        """End it if its code server, a child of it, died.

        It would notice only after a minute, and meanwhile fail whatever it tries to launch or to retry.
        """
        if not self.alive or self.process is None:
            return
        there = _has_code_server(self.process.pid)
        if self.had_code_server and not there:
            self.process.kill()
            self.process.wait()
        self.had_code_server = there

    def notice_death(self, console: Console) -> None:
        """Say that it died, once, and decide when it is started again."""
        if self.process is None or self.alive:
            return
        lived = time.monotonic() - self.started
        self.pause = 1.0 if lived > SHORT_LIFE else min(2 * self.pause, LONGEST_PAUSE)
        self.not_before = time.monotonic() + self.pause
        code = self.process.returncode
        console.print(f"{self.name} ended with status {code}; it is started again", highlight=False)
        self.process = None


@dataclass(frozen=True)
class Services:
    """Both services of a study."""

    project: Project
    port: int
    console: Console
    _services: Mapping[str, _Service] = field(init=False)

    def __post_init__(self) -> None:
        workspace = ["-w", str(REPOSITORY / "workspace.yaml")]
        python = [sys.executable, "-m"]
        web = [*python, "dagster_webserver", "-h", "127.0.0.1", "-p", str(self.port)]
        daemon = [*python, "dagster._daemon", "run"]
        commands = {"web server": [*web, *workspace], "daemon": [*daemon, *workspace]}
        services = {name: _Service(name, command) for name, command in commands.items()}
        object.__setattr__(self, "_services", services)

    @property
    def lock(self) -> Path:
        return self.project.dagster_home / "services.lock"

    @property
    def processes_file(self) -> Path:
        """Who was started, so that a later `seqpricing ui` finds them."""
        return self.project.dagster_home / "services.json"

    def run(self) -> None:
        """Until an interrupt or a request to end.

        Raises
        ------
        InputError
            They run already.
        """
        if is_held(self.lock):
            owner = owner_of(self.lock)
            raise InputError(
                "the UI of this study runs already",
                where=f"process {owner.pid if owner else '?'} ({self.lock})",
                expected="one `seqpricing ui` per study",
                remedy="use its page, or end that process first",
            )
        with exclusive(self.lock):
            _end_left_behind(self.processes_file)
            signal.signal(signal.SIGTERM, _interrupt)
            try:
                self._keep_alive()
            except KeyboardInterrupt:
                self.console.print("ending; runs that have begun go on to their end")
            finally:
                _end([service.process for service in self._services.values() if service.process])
                self.processes_file.unlink(missing_ok=True)

    def _keep_alive(self) -> None:
        next_recovery = 0.0
        with dg.DagsterInstance.get() as instance:
            set_pool_limits(instance, self.project.study.training)
            while True:
                now = time.monotonic()
                for service in self._services.values():
                    service.end_without_code_server()
                dead = [service for service in self._services.values() if not service.alive]
                for service in dead:
                    service.notice_death(self.console)
                if now >= next_recovery or any(service.name == "daemon" for service in dead):
                    self._recover(instance)
                    next_recovery = now + RECOVERY_SECONDS
                if due := [service for service in dead if service.not_before <= now]:
                    for service in due:
                        service.start()
                    self._remember()
                time.sleep(POLL_SECONDS)

    def _recover(self, instance: dg.DagsterInstance) -> None:
        for done in recover(instance):
            self.console.print(f"recovered: {done}", highlight=False)

    def _remember(self) -> None:
        alive = {s.name: s.process.pid for s in self._services.values() if s.alive and s.process}
        known = {}
        for name, pid in alive.items():
            try:
                known[name] = asdict(ProcessIdentity.of(pid))
            except psutil.NoSuchProcess:  # it died at once: the next look finds that
                continue
        write_atomically(self.processes_file, json.dumps(known, indent=1).encode())


def _has_code_server(pid: int) -> bool:
    for child in psutil.Process(pid).children():
        try:
            if "grpc" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                return True
        except psutil.Error:
            continue
    return False


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _end_left_behind(file: Path) -> None:
    """Services whose `seqpricing ui` was killed: they hold the port, and two daemons are one too many."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    owners = [ProcessIdentity(**owner) for owner in known.values()]
    _end([psutil.Process(owner.pid) for owner in owners if owner.alive])


def _end(processes: list[subprocess.Popen[bytes]] | list[psutil.Process]) -> None:
    """Ask, wait, insist; the code servers of a service end with it."""
    for process in processes:
        try:
            os.kill(process.pid, signal.SIGTERM)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + GRACE_SECONDS
    for process in processes:
        try:
            process.wait(timeout=max(deadline - time.monotonic(), 0.1))
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            process.kill()
