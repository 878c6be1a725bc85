"""WRDS's PostgreSQL server -> a local folder of parquet files, one per table and year.

Rows stream from the server as Arrow batches (ADBC over libpq: binary COPY, so numbers arrive bit for bit and
memory holds a few megabytes), and are written as they come. A file appears under its name only when it
is whole: what a lost connection leaves is thrown away and asked for again, and a copy that was stopped goes
on where it was.

Credentials: libpq's own, that is ``~/.pgpass`` (``wrds-pgdata.wharton.upenn.edu:9737:wrds:USER:PASSWORD``,
readable by you alone) or PGPASSWORD, with PGUSER for the name. This module neither reads nor writes them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import polars as pl
import pyarrow as pa
import pyarrow.parquet

from seqpricing_core.errors import InputError
from seqpricing_core.source_configs import WrdsSource

BATCH_BYTES = 8 << 20
CONNECT_SECONDS = 20
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerTable:
    """A table of the server and the columns that are copied, with the type they are asked for."""

    name: str
    """With its schema, such as ``crsp.msf``."""
    columns: dict[str, str]
    """Column to PostgreSQL type: a cast in the query, so that a file's types never depend on the server's."""
    day: str | None = None
    """Column that decides the year; None for a table copied whole."""
    condition: str = "true"

    def query(self, year: int | None) -> str:
        """All in constants of this package, but the year, which is a number."""
        chosen = ", ".join(f"{column}::{kind} as {column}" for column, kind in self.columns.items())
        of_year = ""
        if year is not None:
            of_year = f" and {self.day} between date '{year:04d}-01-01' and date '{year:04d}-12-31'"
        return f"select {chosen} from {self.name} where {self.condition}{of_year}"  # noqa: S608


def file_of(cache: Path, table: ServerTable, year: int | None) -> Path:
    """``cache/crsp.msf/1996.parquet``, or ``all.parquet`` of a table copied whole."""
    return cache / table.name / f"{'all' if year is None else year}.parquet"


def copy_tables(source: WrdsSource, tables: list[ServerTable], years: range) -> list[Path]:
    """Copy what the cache lacks; returns every file of these tables and years.

    A year that is there is not asked for again: delete its file to renew it. Only an empty recent year is:
    the vendor may not have had it yet.

    Raises
    ------
    InputError
        No credentials, no such table or column, no permission, or the connection stayed lost.
    """
    wanted = [(table, year) for table in tables for year in (years if table.day else [None])]
    missing = [
        (table, year) for table, year in wanted if not _is_there(file_of(source.cache, table, year), year)
    ]
    if missing:
        _sweep(source.cache)
        with _Connection(source) as connection:
            for table, year in missing:
                _copy(connection, table, year, source)
    return [file_of(source.cache, table, year) for table, year in wanted]


def _is_there(file: Path, year: int | None) -> bool:
    if not file.is_file():
        return False
    recent = year is not None and year >= dt.datetime.now(dt.UTC).year - RECENT_YEARS
    return not recent or pyarrow.parquet.read_metadata(file).num_rows > 0


RECENT_YEARS = 2


def read_copied(cache: Path, table: ServerTable, year: int | None) -> pl.DataFrame:
    """Rows of a year; none where the year was never copied, as before a table begins."""
    file = file_of(cache, table, year)
    if not file.is_file():
        return pl.DataFrame(schema={column: _POLARS[kind] for column, kind in table.columns.items()})
    return pl.read_parquet(file)


_POLARS = {"int8": pl.Int64, "float8": pl.Float64, "date": pl.Date, "text": pl.String}


class _Connection:
    """One connection, opened when first needed and again after a loss."""

    def __init__(self, source: WrdsSource) -> None:
        self._source = source
        self._open: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def drop(self) -> None:
        if self._open is not None:
            with contextlib.suppress(Exception):  # it may be lost already
                self._open.close()
        self._open = None

    def batches(self, query: str) -> Iterator[pa.RecordBatch]:
        cursor = self._connected().cursor(
            adbc_stmt_kwargs={"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)}
        )
        with cursor:
            cursor.execute(query)
            reader = cursor.fetch_record_batch()
            yield pa.RecordBatch.from_arrays(
                [pa.array([], field.type) for field in reader.schema], names=reader.schema.names
            )
            yield from reader

    def _connected(self) -> Any:
        if self._open is None:
            driver = _driver()
            source = self._source
            self._open = driver.connect(
                f"host={source.host} port={source.port} dbname={source.database} "
                f"sslmode={source.encryption} connect_timeout={CONNECT_SECONDS} application_name=seqpricing "
                "keepalives_idle=30 keepalives_interval=10 keepalives_count=3 tcp_user_timeout=60000"
            )
        return self._open


def _driver() -> Any:
    try:
        import adbc_driver_postgresql.dbapi as driver
    except ImportError as error:
        raise InputError(
            "the package that talks to PostgreSQL is not installed",
            where="source kind wrds",
            expected="adbc-driver-postgresql",
            remedy="pip install 'seqpricing[wrds]'",
        ) from error
    return driver


def _copy(connection: _Connection, table: ServerTable, year: int | None, source: WrdsSource) -> None:
    file = file_of(source.cache, table, year)
    for attempt in range(1, source.attempts + 1):
        try:
            rows = _write_whole(file, lambda: connection.batches(table.query(year)))
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001 - every driver error is one class or another
            connection.drop()
            reason = _redacted(error)
            if not _is_loss(error):
                raise _refused(table, source, reason) from None  # the text may quote the connection
            if attempt == source.attempts:
                raise _lost(table, year, source, reason) from None
            pause = min(2.0 ** (attempt - 1), 60.0) * RETRY_SECONDS
            _LOG.warning("%s %s: connection lost, attempt %d in %.1f s", table.name, year, attempt + 1, pause)
            time.sleep(pause)
        else:
            _LOG.info("%s %s: %d rows", table.name, "all" if year is None else year, rows)
            return


RETRY_SECONDS = 1.0
"""The first pause after a loss; each further one is twice as long."""


def _write_whole(file: Path, batches: Callable[[], Iterator[pa.RecordBatch]]) -> int:
    """Stream to a temporary file, sync, rename: a reader sees the whole year or none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    rows = 0
    try:
        stream = batches()
        first = next(stream)
        schema = pa.schema(
            [pa.field(name, kind) for name, kind in zip(first.schema.names, first.schema.types, strict=True)]
        )
        with pyarrow.parquet.ParquetWriter(partial, schema, compression="zstd") as writer:
            for batch in stream:
                writer.write_table(pa.table(batch.columns, schema=schema))
                rows += batch.num_rows
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return rows


def _sweep(cache: Path) -> None:
    """Remove what killed copies left, of processes that are gone."""
    for leftover in cache.glob("*/.*.tmp"):
        process = leftover.name.split(".")[-3]
        if not (process.isdigit() and Path(f"/proc/{process}").exists()):
            leftover.unlink(missing_ok=True)


_LOSSES = (
    "server closed the connection", "could not receive data", "connection reset", "terminating connection",
    "connection timed out", "broken pipe", "unexpected eof", "could not send data",
    "no connection to the server",
    "connection refused", "timeout expired", "ssl syscall error", "connection to server was lost",
    "could not translate host name", "copydata", "the database system is", "too many connections",
    "network is unreachable", "no route to host", "unexpected end of input", "lost synchronization",
)  # fmt: skip


def _is_loss(error: Exception) -> bool:
    """Whether trying again can help."""
    text = str(error).lower()
    return isinstance(error, OSError) or any(sign in text for sign in _LOSSES)


def _redacted(error: Exception) -> str:
    """The driver's message, without the password should a library ever quote it."""
    text = " ".join(str(error).split())
    secret = os.environ.get("PGPASSWORD")
    return text.replace(secret, "***") if secret else text


def _refused(table: ServerTable, source: WrdsSource, reason: str) -> InputError:
    if any(sign in reason.lower() for sign in ("password", "no pg_hba", "role", "authentication")):
        return InputError(
            "the server does not know you",
            where=f"{source.host}:{source.port}, database {source.database}: {reason}",
            expected="a line host:port:database:user:password in ~/.pgpass (chmod 600), or PGPASSWORD",
            remedy="write that line; never put a password into a study file",
        )
    return InputError(
        f"{table.name} cannot be read",
        where=f"{source.host}:{source.port}: {reason}",
        expected=f"the columns {', '.join(table.columns)}, and the right to read them",
        remedy="check that your institution subscribes to this table, and `layout` in the study file",
    )


def _lost(table: ServerTable, year: int | None, source: WrdsSource, reason: str) -> InputError:
    return InputError(
        f"the connection was lost {source.attempts} times while copying {table.name}",
        where=f"{source.host}:{source.port}, year {year if year is not None else 'all'}: {reason}",
        expected="a connection that lasts for one table and year",
        remedy="run again when the network is back: whole years that were copied are kept",
    )
