"""Files: written whole or not at all, fingerprinted by content, never pickled."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, ClassVar, Protocol, Self, runtime_checkable

import polars as pl

from seqpricing_core.errors import InputError


@runtime_checkable
class Artifact(Protocol):
    """Anything a step of the study hands to the next: it knows its own file format."""

    suffix: ClassVar[str]

    def to_bytes(self) -> bytes: ...

    @classmethod
    def from_files(cls, paths: Sequence[Path]) -> Self: ...


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader, or a crash, sees the old file or the new one."""
    with open_atomically(path) as file:
        file.write(data)


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to write piece by piece; ``path`` is the old file until the block ends well, then the new one.

    Temporary file in the same folder, fsync, rename, fsync of the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def frame_to_bytes(frame: pl.DataFrame) -> bytes:
    """Arrow IPC, uncompressed so that it can be memory-mapped; same rows, same bytes.

    In one chunk, with plain strings and copied row by row (a slice leaves bits of the rows after it behind
    its last one), so that bytes do not depend on how the table was put together.
    """
    buffer = io.BytesIO()
    copied = frame.rechunk().select(pl.all().gather(pl.int_range(pl.len())))
    copied.write_ipc(buffer, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return buffer.getvalue()


def frames_to_zip(frames: Mapping[str, pl.DataFrame]) -> bytes:
    """Several tables in one file, each as `frame_to_bytes`; same tables, same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, frame in frames.items():
            # A member without a date of its own has that of zip's epoch.
            archive.writestr(zipfile.ZipInfo(f"{name}.arrow"), frame_to_bytes(frame))
    return buffer.getvalue()


def frames_from_zip(path: Path) -> dict[str, pl.DataFrame]:
    """By name, the tables of `frames_to_zip`."""
    with zipfile.ZipFile(path) as archive:
        return {
            name.removesuffix(".arrow"): pl.read_ipc(io.BytesIO(archive.read(name)))
            for name in archive.namelist()
        }


def frame_from_files(paths: Sequence[Path]) -> pl.DataFrame:
    """Stack the partitions of a table in the order given."""
    return pl.concat([pl.read_ipc(path) for path in paths], how="vertical")


def scans_of_files(paths: Sequence[Path]) -> list[pl.LazyFrame]:
    """The partitions of a table, unread, in the order given: for what goes through them one at a time."""
    return [pl.scan_ipc(path) for path in paths]


def fingerprint(data: bytes) -> str:
    """First 16 hex digits of the SHA-256 of ``data``: the data version shown in the lineage."""
    return hashlib.sha256(data).hexdigest()[:16]


def fingerprint_files(paths: Iterable[Path]) -> str:
    """One fingerprint for several files, independent of where they lie and of their order."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda p: p.name):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def require_file(path: Path) -> None:
    """Raise an `InputError` if there is no such file."""
    if not path.is_file():
        raise InputError(
            "the file does not exist",
            where=str(path),
            expected="an existing file (paths in a study file are relative to that study file)",
            remedy="correct the path in the study file, or put the file there",
        )


def scan_table(path: Path) -> pl.LazyFrame:
    """Open a parquet or CSV file lazily; a file that cannot be read is an `InputError`."""
    readers: dict[str, Callable[[Path], pl.LazyFrame]] = {".parquet": pl.scan_parquet, ".csv": pl.scan_csv}
    if path.suffix not in readers:
        raise InputError(
            f"cannot tell the format of '{path.name}'",
            where=str(path),
            expected="a file that ends in " + " or ".join(sorted(readers)),
            remedy="convert the file, or correct the path in the study file",
        )
    require_file(path)
    try:
        table = readers[path.suffix](path)
        table.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"the file cannot be read as {path.suffix[1:]}: {error}",
            where=str(path),
            expected=f"a valid {path.suffix[1:]} file",
            remedy="fetch or export the file again; it may be truncated or of another format",
        ) from error
    return table


def collect_table(table: pl.LazyFrame, path: Path) -> pl.DataFrame:
    """Read what was opened by `scan_table`; damage and text among numbers show only now."""
    try:
        return table.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"the file cannot be read: {error}",
            where=str(path),
            expected=f"a whole {path.suffix[1:]} file with one type per column",
            remedy="fetch or export the file again, or correct the value that is named",
        ) from error


def require_columns(table: pl.LazyFrame, columns: Iterable[str], path: Path) -> pl.LazyFrame:
    """Select ``columns`` from ``table``; name those that ``path`` lacks."""
    columns = list(columns)
    present = table.collect_schema().names()
    missing = [column for column in columns if column not in present]
    if missing:
        raise InputError(
            f"missing column{'s' if len(missing) > 1 else ''}: {', '.join(missing)}",
            where=f"{path} (its columns: {', '.join(present)})",
            expected=", ".join(columns),
            remedy="add the column to the file, or use the source adapter for that file's format",
        )
    return table.select(columns)
