"""Opening what vendors ship: CSV as it is, zipped or gzipped, and parquet; streamed, never all at once.

What is wrong with a file (cut off, a web page, another encoding, text among numbers) is one `InputError`.
"""

from __future__ import annotations

import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from seqpricing_core.errors import InputError
from seqpricing_core.storage import require_file

BLOCK_BYTES = 2 << 20
"""Of CSV text, decoded at once; the reader holds some thirty of them ahead."""

MISSING = ("", "NA", "NaN", "nan", "NULL", "null", "None", ".", "C", "B", "inf", "-inf")
"""Text that means no number; '.' is SAS, 'B' and 'C' are CRSP's codes for a return that cannot be had."""


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The file's content, unpacked: one file in a zip, a gzip, or the file itself.

    Raises
    ------
    InputError
        Not there, cut off, damaged, a web page, or not UTF-8 (with or without a mark at its start).
    """
    require_file(path)
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive, archive.open(_only_member(archive, path)) as member:
                yield _checked(member, path)
        elif path.suffix == ".gz":
            with gzip.open(path) as unpacked:
                yield _checked(unpacked, path)
        else:
            with path.open("rb") as file:
                yield _checked(file, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"the file is damaged or cut off: {error}",
        where=str(path),
        expected=f"a whole {path.suffix[1:]} file",
        remedy="fetch or export it again; a transfer that broke off leaves half a file",
    )


def _only_member(archive: zipfile.ZipFile, path: Path) -> str:
    members = [name for name in archive.namelist() if name.lower().endswith((".csv", ".txt"))]
    members = [name for name in members if not name.startswith("__MACOSX/")]
    if len(members) != 1:
        raise InputError(
            f"{len(members)} tables in the zip file",
            where=f"{path} (it holds: {', '.join(archive.namelist()[:10])})",
            expected="one .csv or .txt file in it, as the publisher ships it",
            remedy="unpack it, and name the file that is meant",
        )
    return members[0]


def _checked(file: IO[bytes] | gzip.GzipFile, path: Path) -> IO[bytes]:
    """The same stream, once its first bytes have been seen to be text and no web page."""
    head = file.read(4096)
    if head.lstrip()[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise InputError(
            "a web page, not a table",
            where=f"{path}, which begins with {head.lstrip()[:60].decode('utf-8', 'replace')!r}",
            expected="CSV text",
            remedy="fetch the file again: servers answer with a page when a login or a link has expired",
        )
    if b"\x00" in head or head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise wrong_encoding(path)
    rest = _Joined(head.removeprefix(b"\xef\xbb\xbf"), file)
    return io.BufferedReader(rest, 1 << 20)


def wrong_encoding(path: Path) -> InputError:
    return InputError(
        "text that is not UTF-8",
        where=str(path),
        expected="UTF-8 (plain ASCII is)",
        remedy=f"convert it, for example: iconv -f UTF-16 -t UTF-8 {path.name}",
    )


class _Joined(io.RawIOBase):
    """First ``head``, then what is left of ``file``: a zip member cannot be wound back cheaply."""

    def __init__(self, head: bytes, file: IO[bytes] | gzip.GzipFile) -> None:
        self._head, self._file = head, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self._head[: len(buffer)] or self._file.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(chunk)] = chunk
        return len(chunk)


def read_text(path: Path) -> str:
    """A small file as text."""
    with open_bytes(path) as file:
        content = file.read()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise wrong_encoding(path) from error


def column_names(path: Path) -> list[str]:
    """Of a parquet file or a CSV with a header."""
    if path.suffix == ".parquet":
        with _parquet(path) as file:
            return list(file.schema_arrow.names)
    with open_bytes(path) as stream:
        try:
            header = stream.readline().decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise wrong_encoding(path) from error
    return [name.strip().strip('"') for name in header.split(",")]


def read_batches(path: Path, columns: Mapping[str, pa.DataType]) -> Iterator[pl.DataFrame]:
    """The rows of a parquet or CSV file, some megabytes at a time, with ``columns`` and their types.

    Names are matched whatever their case, and come back as in ``columns``. Text that means a missing
    number (`MISSING`) is null.

    Raises
    ------
    InputError
        Also for columns that are not there and for text among numbers.
    """
    found = {name.lower(): name for name in column_names(path)}
    missing = [name for name in columns if name.lower() not in found]
    if missing:
        raise InputError(
            f"missing column{'s' if len(missing) > 1 else ''}: {', '.join(missing)}",
            where=f"{path} (its columns: {', '.join(list(found.values())[:120])})",
            expected=", ".join(columns),
            remedy="name the right file, or the adapter for this file's format",
        )
    theirs = {found[name.lower()]: kind for name, kind in columns.items()}
    batches = _parquet_batches(path, theirs) if path.suffix == ".parquet" else _csv_batches(path, theirs)
    for batch in batches:
        frame = pl.DataFrame(pl.from_arrow(batch))
        yield frame.rename(dict(zip(theirs, columns, strict=True)))


def _csv_batches(path: Path, columns: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    convert = pyarrow.csv.ConvertOptions(
        include_columns=list(columns),
        column_types=dict(columns),
        null_values=list(MISSING),
        strings_can_be_null=True,
    )
    read = pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False)
    with open_bytes(path) as stream:
        try:
            yield from pyarrow.csv.open_csv(pa.PythonFile(stream), read_options=read, convert_options=convert)
        except pa.ArrowInvalid as error:
            if "utf8" in str(error).lower() or "utf-8" in str(error).lower():
                raise wrong_encoding(path) from error
            names = dict(enumerate(column_names(path)))
            said = re.sub(r"CSV column #(\d+)", lambda m: f"column '{names.get(int(m[1]))}'", str(error))
            raise InputError(
                f"the rows cannot be read: {said}",
                where=str(path),
                expected="one number, or nothing, in every cell of a numeric column, and no row cut short",
                remedy="correct the value that is named, or fetch the file again if its end is missing",
            ) from error


def _parquet_batches(path: Path, columns: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    with _parquet(path) as file:
        try:
            for batch in file.iter_batches(batch_size=65_536, columns=list(columns), use_threads=False):
                yield _cast(batch, columns, path)
        except (pa.ArrowInvalid, OSError) as error:
            raise damaged(path, error) from error


def _cast(batch: pa.RecordBatch, columns: Mapping[str, pa.DataType], path: Path) -> pa.RecordBatch:
    """Numbers to the wanted width; text and dates stay as they are, for the caller to read."""
    arrays = []
    for name, wanted in columns.items():
        column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if not pa.types.is_string(wanted):
            try:
                column = column.cast(wanted)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise InputError(
                    f"column '{name}' holds {column.type}: {error}",
                    where=f"{path}, column {name}",
                    expected=str(wanted),
                    remedy="convert the column in the file",
                ) from error
        arrays.append(column)
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


@contextmanager
def _parquet(path: Path) -> Iterator[pyarrow.parquet.ParquetFile]:
    require_file(path)
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise damaged(path, error) from error
    with file:
        yield file


def as_days(values: pl.Series, where: str) -> pl.Series:
    """Calendar days from what vendors write: dates, ISO or SAS text, yyyymmdd numbers.

    - dates; date-times: the day on the clock of their own time zone (00:00 in New York is that day);
    - text ``1996-01-31``, ``1996/01/31``, ``19960131``, ``31JAN1996``; of a time after the day (with or
      without a zone) only the day is read;
    - whole numbers 19960131; 199601 is the last day of that month.

    Anything else is refused: day counts (SAS since 1960, Unix since 1970, ANSI since 1601) and 01/02/1996 can
    be read in more than one way.
    """
    if values.dtype == pl.Date:
        days = values
    elif isinstance(values.dtype, pl.Datetime):
        days = values.dt.date()
    elif values.dtype.is_numeric():
        days = _days_of_numbers(values)
    else:
        days = _days_of_text(values.cast(pl.String))
    unread = values.filter(days.is_null() & values.is_not_null())
    if len(unread):
        shown = ", ".join(repr(value) for value in unread.unique(maintain_order=True).head(5))
        raise InputError(
            f"no calendar day can be read from {shown} ({len(unread)} rows)",
            where=f"{where}, column {values.name}",
            expected="1996-01-31, 19960131, 31JAN1996 or, for months, 199601",
            remedy="convert the column; counts of days (SAS, ANSI, Excel) and 01/02/1996 are ambiguous",
        )
    return days.alias(values.name)


def _days_of_numbers(values: pl.Series) -> pl.Series:
    whole = values.cast(pl.Int64, strict=False)
    eight = whole.is_between(10_000_101, 99_991_231)
    six = whole.is_between(100_001, 999_912)
    text = whole.cast(pl.String)
    days = text.set(~eight, None).str.to_date("%Y%m%d", strict=False)
    months = (text.set(~six, None) + "01").str.to_date("%Y%m%d", strict=False).dt.month_end()
    return days.zip_with(days.is_not_null(), months)


def _days_of_text(values: pl.Series) -> pl.Series:
    text = values.str.strip_chars()
    days = pl.Series(values.name, [None], dtype=pl.Date).new_from_index(0, len(text))
    iso = text.str.extract(r"^(\d{4}[-/]\d{2}[-/]\d{2})(?:[ T].*)?$").str.replace_all("/", "-")
    for attempt in (
        iso.str.to_date("%Y-%m-%d", strict=False),
        text.str.extract(r"^(\d{8})$").str.to_date("%Y%m%d", strict=False),
        text.str.extract(r"^(\d{2}[A-Za-z]{3}\d{4})$").str.to_titlecase().str.to_date("%d%b%Y", strict=False),
        (text.str.extract(r"^(\d{4}-?\d{2})$").str.replace("-", "") + "01")
        .str.to_date("%Y%m%d", strict=False)
        .dt.month_end(),
    ):
        days = days.zip_with(days.is_not_null(), attempt)
    return days


def require_decimal(frame: pl.DataFrame, column: str, date: str, where: str) -> None:
    """Refuse returns that are, in whole or in some months, percent.

    Monthly or daily stock returns have a median size of some percent: in a month in which the median of
    |return| is above 0.5 they are no decimals.
    """
    size = frame.filter(pl.col(column).is_finite(), pl.col(column) != 0)
    by_month = size.group_by(pl.col(date).dt.strftime("%Y-%m").alias("of")).agg(
        pl.col(column).abs().median().alias("median"), pl.len().alias("rows")
    )
    percent = by_month.filter(pl.col("median") > 0.5, pl.col("rows") >= 5).sort("of")
    if not len(percent):
        return
    mixed = len(percent) < by_month.filter(pl.col("rows") >= 5).height
    shown = ", ".join(
        f"{month} (median size {median:.3g})" for month, median, _ in percent.head(5).iter_rows()
    )
    raise InputError(
        "returns in percent" + (" in some months, decimal in others" if mixed else ""),
        where=f"{where}, column {column}: {shown}",
        expected="decimal returns, 0.01 for one percent, in every month",
        remedy="divide the percent ones by 100"
        + ("" if mixed else ", or say `returns: percent` where it can be said"),
    )


def refuse_duplicates(frame: pl.DataFrame, key: Sequence[str], where: str) -> None:
    """Refuse a table in which a key stands twice."""
    twice = frame.filter(pl.struct(key).is_duplicated()).select(key).unique().sort(key)
    if len(twice):
        shown = "; ".join(
            ", ".join(f"{k} {row[k]}" for k in key) for row in twice.head(5).iter_rows(named=True)
        )
        raise InputError(
            f"duplicate ({', '.join(key)}), {len(twice)} of them",
            where=f"{where}: {shown}",
            expected=f"each ({', '.join(key)}) once",
            remedy="drop the rows that are not meant; stacked downloads often overlap",
        )
