"""Sums over runs of rows, each in the order of its rows and of nothing else.

The last digit of a sum depends on the order of its terms. Engines that split a table over threads may change
that order with the number of rows, so that a stock's figure moves by a bit when another stock leaves.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Starts = npt.NDArray[np.int64]


def as_floats(column: pl.Series) -> Floats:
    """NaN where a value is missing."""
    return np.asarray(column.cast(pl.Float64).fill_null(float("nan")).to_numpy(), dtype=np.float64)


def segments(sorted_keys: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.generic], Starts, Starts]:
    """Distinct values, where each begins, and how often it stands."""
    values, starts, counts = np.unique(sorted_keys, return_index=True, return_counts=True)
    return values, starts, counts


def runs(keys: pl.DataFrame) -> tuple[Starts, Starts]:
    """Where each run of equal rows begins, and its length."""
    numbers = keys.select(pl.struct(pl.all()).rle_id()).to_series().to_numpy()
    _, starts, counts = segments(numbers)
    return starts, counts


def add_up(values: Floats, starts: Starts) -> Floats:
    """(S,) sums of each segment; nothing for no rows."""
    return np.add.reduceat(values, starts) if len(values) else np.empty(0)


def group_sums(table: pl.DataFrame, by: tuple[str, ...], column: str) -> tuple[pl.Series, pl.Series]:
    """Sum and number of the finite values of ``column`` among the rows equal in ``by``, beside each row.

    Added in the order of ``asset_id``.
    """
    rows = table.select(*by, "asset_id", column).with_row_index("place").sort(*by, "asset_id")
    values = as_floats(rows[column])
    known = np.isfinite(values)
    starts, counts = runs(rows.select(by))
    place = rows["place"].to_numpy()
    found = []
    for terms in (np.where(known, values, 0.0), known.astype(np.float64)):
        beside = np.empty(len(rows))
        beside[place] = np.repeat(add_up(terms, starts), counts)
        found.append(pl.Series(beside))
    return found[0], found[1]
