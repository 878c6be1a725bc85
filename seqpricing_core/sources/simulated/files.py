"""The simulated market as files: the canonical tables, the truth, and the stocks' names."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from seqpricing_core.sources.simulated.accounting import ALWAYS_REPORTED, MISSING
from seqpricing_core.sources.simulated.market import SimulatedMarket
from seqpricing_core.storage import open_atomically
from seqpricing_core.study import SimulatedSource
from seqpricing_core.tables import (
    FACTOR_DAYS,
    FACTORS,
    STATEMENT_ITEMS,
    STATEMENTS,
    STOCK_DAYS,
    STOCK_MONTHS,
    required_columns,
)

MONTHLY: Final = ("stock_months", "statements", "factors", "truth")
DAILY: Final = ("stock_days", "factor_days")
SCHEMAS: Final = {
    "stock_months": STOCK_MONTHS,
    "statements": STATEMENTS,
    "factors": FACTORS,
    "stock_days": STOCK_DAYS,
    "factor_days": FACTOR_DAYS,
}


def write_simulated_market(source: SimulatedSource, first_year: int, last_year: int, folder: Path) -> None:
    """Simulate and write ``stock_months``, ``statements``, ``factors`` and ``truth`` (parquet) to ``folder``.

    With ``daily`` also ``stock_days`` and ``factor_days``; of a complete market also ``names``. Same
    arguments, same bytes. A row group holds a year, of days a month, and no more than that is in memory. A
    statement stands in the year of its period, a restatement in the year in which it was filed.
    """
    market = SimulatedMarket(source, first_year, last_year)
    with ExitStack() as stack:
        written = MONTHLY + (DAILY if source.daily else ())
        files = {n: stack.enter_context(open_atomically(folder / f"{n}.parquet")) for n in written}
        tables = {name: RowGroups(file) for name, file in files.items()}
        whole = tables["statements"]
        if not market.complete:
            tables["statements"] = RowGroups(stack.enter_context(tempfile.TemporaryFile()))
        for name, rows in row_groups(market):
            if name in tables:
                tables[name].write(canonical(name, rows, complete=market.complete))
        if not market.complete:
            for rows in _with_plain_gaps(tables["statements"], market.random):
                whole.write(rows)
            whole.close()
        else:
            names = stack.enter_context(open_atomically(folder / "names.parquet"))
            market.names().write_parquet(names)
        for table in tables.values():
            table.close()


def row_groups(market: SimulatedMarket) -> Iterator[tuple[str, pl.DataFrame]]:
    """Name and rows, with all their columns, of whatever the files of a market hold next."""
    of_year: dict[str, list[pl.DataFrame]] = {name: [] for name in MONTHLY}
    for rows in market.months():
        for name in (*MONTHLY, *DAILY):
            part = getattr(rows, name)
            if part is not None and name in DAILY:
                yield name, part
            elif part is not None:
                of_year[name].append(part)
        if int(rows.month.astype(int)) % 12 == 11:
            for name, parts in of_year.items():
                if parts:
                    yield name, pl.concat(parts)
                parts.clear()


def canonical(name: str, rows: pl.DataFrame, *, complete: bool) -> pl.DataFrame:
    """The columns of `seqpricing_core.tables` that ``rows`` has, in their order; of the truth, all.

    A plain market has the required ones alone.
    """
    if name not in SCHEMAS:
        return rows
    columns = SCHEMAS[name].columns if complete else required_columns(SCHEMAS[name])
    return rows.select(column for column in columns if column in rows.columns)


class RowGroups:
    """A parquet file to which rows are added, group by group."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.rows = 0
        self._writer: Any = None

    def write(self, rows: pl.DataFrame) -> None:
        table = rows.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.file, table.schema, compression="zstd")
        self._writer.write_table(table, row_group_size=max(len(rows), 1))
        self.rows += len(rows)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def read(self) -> Iterator[pl.DataFrame]:
        """What was written, one row group after the other."""
        self.close()
        self.file.seek(0)
        file = pq.ParquetFile(self.file)
        for group in range(file.num_row_groups):
            yield pl.DataFrame(file.read_row_group(group))


def _with_plain_gaps(statements: RowGroups, random: np.random.Generator) -> Iterator[pl.DataFrame]:
    """Two in a hundred items of the plain market were not reported.

    The numbers that decide it come after those of the whole market, item by item over all rows: each row
    group jumps to its own.
    """
    state: Any = random.bit_generator.state
    first, total = 0, statements.rows
    gapped = [item for item in STATEMENT_ITEMS if item not in ALWAYS_REPORTED]

    def reported(item: int, count: int) -> pl.Series:
        generator = np.random.PCG64()
        generator.state = state
        generator.advance(item * total + first)
        return pl.Series(np.random.Generator(generator).random(count) >= MISSING)

    for rows in statements.read():
        yield rows.with_columns(
            pl.when(reported(number, len(rows))).then(pl.col(item)).alias(item)
            for number, item in enumerate(gapped)
        )
        first += len(rows)
