"""A large vendor file, cut once into one parquet file per year, with bounded memory.

The folder is written under another name and renamed when it is whole; beside the years lies what it was
made from. A file that changed, or another version of this code, cuts again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet

from seqpricing_core.storage import require_file, write_atomically

BUFFER_BYTES = 64 << 20
"""Rows held before they are written out, all years together."""

LAYOUT = 1
"""Of the files this module writes."""

_YEAR = "__year"


@dataclass(frozen=True)
class YearFiles:
    """``folder/1996.parquet`` and so on, made from ``sources``."""

    folder: Path
    sources: tuple[Path, ...]
    settings: str = ""
    """What else decides the content."""

    def is_current(self) -> bool:
        """Whether the folder was made from the sources as they are now."""
        try:
            made_from: object = json.loads((self.folder / "made_from.json").read_bytes())
        except (OSError, ValueError):
            return False
        return made_from == self._made_from()

    def write(self, batches: Iterable[pl.DataFrame], day: str) -> None:
        """Write rows to the year of column ``day``; all or nothing."""
        made_from = self._made_from()
        partial = self.folder.with_name(f".{self.folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        writers: dict[Path, pyarrow.parquet.ParquetWriter] = {}
        try:
            for rows in _in_chunks(batches):
                dated = rows.with_columns(pl.col(day).dt.year().alias(_YEAR))
                for key, of_year in dated.partition_by(_YEAR, as_dict=True, include_key=False).items():
                    _append(writers, partial / f"{key[0]}.parquet", of_year)
            for writer in writers.values():
                writer.close()
            write_atomically(partial / "made_from.json", json.dumps(made_from).encode())
            shutil.rmtree(self.folder, ignore_errors=True)
            partial.replace(self.folder)
        finally:
            for writer in writers.values():
                writer.close()
            shutil.rmtree(partial, ignore_errors=True)

    def years(self) -> list[int]:
        return sorted(int(file.stem) for file in self.folder.glob("*.parquet"))

    def read(self, year: int) -> pl.DataFrame | None:
        """Rows of a year; None for a year without any."""
        file = self.folder / f"{year}.parquet"
        return pl.read_parquet(file) if file.is_file() else None

    def _made_from(self) -> dict[str, Any]:
        for file in self.sources:
            require_file(file)
        stats = [(str(file.resolve()), file.stat()) for file in self.sources]
        return {
            "layout": LAYOUT,
            "settings": self.settings,
            "sources": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
        }


def _in_chunks(batches: Iterable[pl.DataFrame]) -> Iterable[pl.DataFrame]:
    """Batches joined up to `BUFFER_BYTES`, so that a year gets few large row groups, not many tiny ones."""
    held: list[pl.DataFrame] = []
    size = 0.0
    for batch in batches:
        held.append(batch)
        size += batch.estimated_size()
        if size >= BUFFER_BYTES:
            yield pl.concat(held)
            held, size = [], 0.0
    if held:
        yield pl.concat(held)


def _append(writers: dict[Path, pyarrow.parquet.ParquetWriter], file: Path, rows: pl.DataFrame) -> None:
    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    if file not in writers:
        writers[file] = pyarrow.parquet.ParquetWriter(file, table.schema, compression="zstd")
    writers[file].write_table(table)
