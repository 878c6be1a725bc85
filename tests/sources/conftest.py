"""A real PostgreSQL server, started by the tests as an unprivileged user on a free loopback port."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from seqpricing_core.sources.canonical_files import CanonicalFiles
from seqpricing_core.sources.simulated import write_simulated_market
from seqpricing_core.sources.simulated.wrds import wrds_tables
from seqpricing_core.study import SimulatedSource

PASSWORD = "correct horse battery staple"
"""Of the test server alone."""


@dataclass(frozen=True)
class Server:
    """A running server with the database ``wrds``, the user ``reader`` and its password file."""

    folder: Path
    port: int
    password_file: Path
    programs: Path

    def sql(self, script: str) -> str:
        """Run statements as the owner of the server."""
        command = [str(self.programs / "psql"), "-h", str(self.folder), "-p", str(self.port), "-U", "owner"]
        done = subprocess.run(
            [*command, "-v", "ON_ERROR_STOP=1", "-qAt", "wrds"],
            input=script, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


def _programs() -> Path | None:
    """The folder of ``initdb``: on PATH, or where Debian's package puts it."""
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in candidates if (folder / "postgres").is_file()), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Skips where PostgreSQL is not installed (Debian: apt-get install postgresql)."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    pytest.importorskip("adbc_driver_postgresql", reason="the extra 'wrds' is not installed")
    owner = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            user = pwd.getpwnam("nobody")
        owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # sockets need a short path
    if owner:
        os.chown(folder, owner["user"], owner["group"])
    folder.chmod(0o700)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def start(*command: str) -> None:
        done = subprocess.run(
            command, cwd="/tmp", capture_output=True, text=True, check=False, timeout=60,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, **owner,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout

    data = str(folder / "data")
    options = (
        f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off "
        "-c full_page_writes=off -c synchronous_commit=off"
    )
    start(str(programs / "initdb"), "-D", data, "-U", "owner", "-A", "trust", "--no-sync", "-E", "UTF8")
    (folder / "data" / "pg_hba.conf").write_text(
        "local all owner trust\nhost all all 127.0.0.1/32 scram-sha-256\n", encoding="utf-8"
    )
    if shutil.which("openssl"):  # as WRDS's server, which takes encrypted connections alone
        key, certificate = str(folder / "data" / "server.key"), str(folder / "data" / "server.crt")
        start("openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=localhost",
              "-newkey", "rsa:2048", "-keyout", key, "-out", certificate)  # fmt: skip
        Path(key).chmod(0o600)
        options += " -c ssl=on"
    log = str(folder / "log")
    start(str(programs / "pg_ctl"), "-D", data, "-l", log, "-w", "-o", options, "start")
    try:
        password_file = folder / "pgpass"
        password_file.write_text(f"127.0.0.1:*:*:reader:{PASSWORD}\n", encoding="utf-8")
        password_file.chmod(0o600)
        start(str(programs / "createdb"), "-h", str(folder), "-p", str(port), "-U", "owner", "wrds")
        server = Server(folder, port, password_file, programs)
        server.sql(f"create role reader login password '{PASSWORD}'")
        yield server
    finally:
        start(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def credentials(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The environment of a user who has a password file, and nothing else."""
    for name in list(os.environ):
        if name.startswith("PG"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PGUSER", "reader")
    monkeypatch.setenv("PGPASSFILE", str(postgres.password_file))
    return postgres


def load_tables(server: Server, tables: dict[str, pl.DataFrame]) -> None:
    """Create the tables on the server, readable by the user ``reader``."""
    from adbc_driver_postgresql import dbapi

    for schema in {name.split(".")[0] for name in tables}:
        server.sql(f"create schema if not exists {schema}; grant usage on schema {schema} to reader")
    uri = f"host={server.folder} port={server.port} dbname=wrds user=owner"
    with dbapi.connect(uri) as connection, connection.cursor() as cursor:
        for name, rows in tables.items():
            schema, table = name.split(".")
            arrow = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
            cursor.adbc_ingest(table, arrow, mode="replace", db_schema_name=schema)
        connection.commit()
    for schema in {name.split(".")[0] for name in tables}:
        server.sql(f"grant select on all tables in schema {schema} to reader")


MARKET = SimulatedSource(kind="simulated", seed=3, stocks=40, detail="complete", daily=True, filing="lagged")
FIRST_YEAR, LAST_YEAR = 2000, 2006


@pytest.fixture(scope="session")
def simulated_files(tmp_path_factory: pytest.TempPathFactory) -> CanonicalFiles:
    """The simulated market's own files."""
    folder = tmp_path_factory.mktemp("simulated")
    write_simulated_market(MARKET, FIRST_YEAR, LAST_YEAR, folder)
    names = ("stock_months", "statements", "factors", "stock_days", "factor_days")
    return CanonicalFiles(*(folder / f"{name}.parquet" for name in names))


@pytest.fixture(scope="session")
def wrds_server(postgres: Server) -> Server:
    """The same market in WRDS's schemas, on the server."""
    load_tables(postgres, wrds_tables(MARKET, FIRST_YEAR, LAST_YEAR))
    return postgres
