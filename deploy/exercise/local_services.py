"""Services of a deployment, started on this machine for tests and for `scale_out.py`; gone afterwards.

Everything listens on free ports of the loopback address and writes below one folder.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster._core.execution.backfill import PartitionBackfill

from seqpricing_dagster.project import Project

REPOSITORY = Path(__file__).resolve().parents[2]
POSTGRES_STORAGE = REPOSITORY / "deploy/postgres/storage.yaml"
RAY_LAUNCHER = REPOSITORY / "deploy/ray/run_launcher.yaml"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def wait_for(condition: Callable[[], bool], seconds: float, what: str, every: float = 0.3) -> float:
    """Seconds until ``condition`` held; `TimeoutError` names ``what`` did not happen."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)
    return time.monotonic() - begin


def started(
    command: list[str], log: Path, environment: Mapping[str, str] | None = None, user: str | None = None
) -> subprocess.Popen[bytes]:
    """A process in a group of its own, with its output in ``log``."""
    account = pwd.getpwnam(user) if user else None
    with log.open("ab") as output:
        return subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=REPOSITORY,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | dict(environment or {}),
            start_new_session=True,
            user=account.pw_uid if account else None, group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )  # fmt: skip


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    """End a process and everything it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, how)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


def postgres_programs() -> Path | None:
    """Folder of PostgreSQL's programs: where Debian puts them, or on the path."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@dataclass
class Postgres:
    """A server of its own: data below ``folder``, one user, a password."""

    folder: Path
    port: int
    password: str
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(cls) -> Postgres:
        """Make the database cluster in a temporary folder."""
        programs = postgres_programs()
        assert programs is not None
        server = cls(Path(tempfile.mkdtemp(prefix="seqpricing-postgres-")), free_port(), secrets.token_hex(8))
        password_file = server.folder / "password"
        password_file.write_text(server.password)
        if server.user:
            account = pwd.getpwnam(server.user)
            for path in (server.folder, password_file):
                os.chown(path, account.pw_uid, account.pw_gid)
        command = [f"{programs}/initdb", "-D", str(server.folder / "data"), "-U", "dagster", "--no-sync"]
        command += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", "--no-locale"]
        if started(command, server.log, user=server.user).wait():
            raise RuntimeError(server.log.read_text())
        password_file.unlink()
        return server

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def user(self) -> str | None:
        """PostgreSQL refuses to be root."""
        return "nobody" if getpass.getuser() == "root" else None

    @property
    def environment(self) -> dict[str, str]:
        """What deploy/postgres/storage.yaml reads."""
        return {
            "SEQPRICING_PG_HOST": "127.0.0.1", "SEQPRICING_PG_PORT": str(self.port),
            "SEQPRICING_PG_USER": "dagster", "SEQPRICING_PG_PASSWORD": self.password,
            "SEQPRICING_PG_DATABASE": "postgres",
        }  # fmt: skip

    def start(self) -> None:
        programs, data = postgres_programs(), self.folder / "data"
        command = [f"{programs}/postgres", "-D", str(data), "-p", str(self.port), "-k", str(data)]
        command += ["-h", "127.0.0.1", "-c", "max_connections=200", "-c", "shared_buffers=32MB"]
        self.process = started(command, self.log, user=self.user)
        ready = [f"{programs}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_for(lambda: subprocess.run(ready, check=False).returncode == 0, 60, "PostgreSQL answers")

    def kill(self) -> None:
        """SIGKILL, as when its machine goes away."""
        assert self.process is not None
        stop(self.process, signal.SIGKILL)


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A server that answers; stopped and its data removed afterwards."""
    server = Postgres.create()
    try:
        server.start()
        yield server
    finally:
        if server.process is not None:
            stop(server.process, signal.SIGINT)  # its fast shutdown
        shutil.rmtree(server.folder)


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """The S3 server of moto; gives the environment that names it."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "s3.log"
    log.unlink(missing_ok=True)  # the address is read from it
    process = started([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], log)
    try:
        address = re.compile(r"http://127\.0\.0\.1:\d+")
        wait_for(lambda: address.search(log.read_text()) is not None, 60, "the S3 server answers")
        found = address.search(log.read_text())
        assert found is not None
        yield {
            "AWS_ENDPOINT_URL": found.group(), "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        }  # fmt: skip
    finally:
        stop(process)


def make_bucket(server: Mapping[str, str], name: str) -> str:
    """URL of a new bucket."""
    request = urllib.request.Request(f"{server['AWS_ENDPOINT_URL']}/{name}", method="PUT")
    urllib.request.urlopen(request, timeout=30).read()
    return f"s3://{name}"


@dataclass
class RayCluster:
    """A head without room for work, and nodes that each stand for a machine: own folder, one CPU."""

    folder: Path
    address: str
    environment: dict[str, str]
    nodes: dict[str, subprocess.Popen[bytes]]

    def add(self, name: str) -> None:
        """A node that writes below its own folder; secrets stand in its environment alone.

        Nodes come one after the other: those of one machine would take each other's sockets.
        """
        own = self.environment | {"SEQPRICING_OUTPUTS": str(self.folder / name / "outputs")}
        options = [f"--address={self.address}", "--num-cpus=1", "--memory=2000000000"]
        options += [f"--node-name={name}"]
        dashboard = self.environment["SEQPRICING_RAY_ADDRESS"]
        before = alive_nodes(dashboard)
        self.nodes[name] = ray_node(options, self.folder / f"{name}.log", own)
        wait_for(lambda: alive_nodes(dashboard) > before, 300, f"{name} is there")

    def kill(self, name: str) -> None:
        """SIGKILL to every process of a node at once, as when its machine loses power."""
        kill_tree(self.nodes.pop(name))


def ray_node(options: list[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options]
    command += ["--object-store-memory=80000000", "--disable-usage-stats"]
    command += [f"--dashboard-agent-listen-port={free_port()}"]
    own = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # jobs call `dagster`
        "RAY_raylet_start_wait_time_s": "300",  # this machine may be busy
    }
    return started(command, log, own | dict(environment))


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process and all below it, also those in groups of their own."""
    import psutil

    if process.poll() is None:
        top = psutil.Process(process.pid)
        for one in (top, *top.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait(timeout=30)


@contextlib.contextmanager
def ray_cluster(folder: Path, environment: Mapping[str, str], workers: Sequence[str]) -> Iterator[RayCluster]:
    """A Ray cluster of several processes on this machine."""
    sockets = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    port, dashboard = free_port(), free_port()
    options = ["--head", f"--port={port}", "--num-cpus=0", f"--temp-dir={sockets}"]
    options += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    own = dict(environment) | {"SEQPRICING_RAY_ADDRESS": f"http://127.0.0.1:{dashboard}"}
    folder.mkdir(parents=True, exist_ok=True)
    head = ray_node(options, folder / "head.log", own)
    cluster = RayCluster(folder, f"127.0.0.1:{port}", own, {})
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{dashboard}/api/version"), 120, "Ray's dashboard answers")
        for name in workers:
            cluster.add(name)
        yield cluster
    finally:
        for process in (*cluster.nodes.values(), head):
            kill_tree(process)
        shutil.rmtree(sockets, ignore_errors=True)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def alive_nodes(dashboard: str) -> int:
    with urllib.request.urlopen(f"{dashboard}/api/v0/nodes?detail=1", timeout=60) as response:
        nodes = json.load(response)["data"]["result"]["result"]
    return sum(node["state"] == "ALIVE" for node in nodes)


@contextlib.contextmanager
def daemon(log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Dagster's daemon over the study that ``environment`` names; it launches runs and watches them."""
    command = [sys.executable, "-m", "dagster._daemon", "run", "-w", str(REPOSITORY / "workspace.yaml")]
    process = started(command, log, environment)
    try:
        yield process
    finally:
        stop(process, signal.SIGINT)


def launch_backfill(project: Project, assets: Sequence[str], years: Sequence[int]) -> str:
    """Ask the instance of this process for a backfill, as the UI does; gives its id."""
    from seqpricing_dagster.definitions import build_definitions

    with dg.DagsterInstance.get() as instance:
        backfill = PartitionBackfill.from_asset_partitions(
            backfill_id=secrets.token_hex(4),
            asset_graph=build_definitions(project).resolve_asset_graph(),
            partition_names=[str(year) for year in years],
            asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets],
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
        instance.add_backfill(backfill)
        return backfill.backfill_id


def backfill_state(backfill: str) -> tuple[str, Counter[str]]:
    """Status of a backfill, and how many of its runs have which."""
    with dg.DagsterInstance.get() as instance:
        found = instance.get_backfill(backfill)
        assert found is not None
        runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill}))
        return found.status.value, Counter(run.status.value for run in runs)
