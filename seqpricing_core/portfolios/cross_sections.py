"""Predictions as cross-sections: the stocks of one model in one period, as arrays, checked on the way in.

N = stocks of the period, Q = portfolios that they are sorted into.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.panel.panel import Float64, Int64

Bool: TypeAlias = npt.NDArray[np.bool_]

MODEL = ("family", "number_of_factors")
NYSE = ("1", "NYSE")
EXCHANGES = (*NYSE, "2", "AMEX", "3", "NASDAQ")
"""CRSP's codes, or the names."""
SORT_COLUMNS = (*MODEL, "asset_id", "expected_return")
COLUMNS = (*SORT_COLUMNS, "excess_return", "market_equity")
OPTIONAL_COLUMNS = ("exchange", "half_spread")


@dataclass(frozen=True)
class CrossSection:
    """What is known of the stocks of period t at the end of t-1, and apart from it what t then brought."""

    family: str
    number_of_factors: int
    period_name: str
    """``month`` or ``day``."""
    period: Any
    """t, a date."""
    asset_id: Int64
    """(N,) ascending."""
    expected_return: Float64
    """(N,) finite."""
    market_equity: Float64
    """(N,) at the end of t-1; NaN where unknown."""
    nyse: Bool | None
    """(N,) listed on the NYSE at the end of t-1; None where the predictions carry no exchange."""
    half_spread: Float64 | None
    """(N,) share of the price, as of the end of t-1."""
    excess_return: Float64
    """(N,) the outcome: decimal return of t; NaN for a stock without one. No sort may see it."""

    def __len__(self) -> int:
        return len(self.asset_id)

    @property
    def model(self) -> tuple[str, int]:
        return self.family, self.number_of_factors

    @property
    def where(self) -> str:
        """For messages."""
        return f"predictions of {self.family}, K = {self.number_of_factors}, {self.period}"

    def only(self, keep: Bool) -> CrossSection:
        """The stocks that ``keep`` (N,) marks."""
        return replace(
            self,
            asset_id=self.asset_id[keep],
            expected_return=self.expected_return[keep],
            market_equity=self.market_equity[keep],
            nyse=None if self.nyse is None else self.nyse[keep],
            half_spread=None if self.half_spread is None else self.half_spread[keep],
            excess_return=self.excess_return[keep],
        )


def period_column(table: pl.DataFrame | pl.LazyFrame) -> str:
    """``day`` where the table has one (daily portfolios), else ``month``."""
    columns = table.collect_schema().names()
    for name in ("day", "month"):
        if name in columns:
            return name
    raise InputError(
        "no column says when the stocks were held",
        where=f"predictions (their columns: {', '.join(columns)})",
        expected="a column 'month', or 'day' for daily portfolios",
        remedy="keep the date of the predictions in one of these columns",
    )


def cross_sections(predictions: pl.DataFrame, required: Sequence[str] = COLUMNS) -> Iterator[CrossSection]:
    """The cross-sections of a table of predictions, by model and then period; row order plays no part.

    Parameters
    ----------
    required
        Columns that must be there; a sort needs no outcome.

    Raises
    ------
    InputError
        A column is missing; an expected return is missing or not finite; an excess return is infinite;
        market equity is negative; an exchange is unknown; a half-spread is missing or no share of a price;
        a stock stands twice.
    """
    period = period_column(predictions)
    table = in_order(_checked(predictions, period, required), period)
    arrays = [_floats(table, name) for name in ("expected_return", "market_equity", "excess_return")]
    expected, market_equity, outcome = arrays
    asset_id = table["asset_id"].to_numpy()
    nyse = _on_nyse(table["exchange"]) if "exchange" in table.columns else None
    spread = _floats(table, "half_spread") if "half_spread" in table.columns else None
    keys = [*MODEL, period]
    stretches = list(groups(table, keys))
    labels = table.select(keys)[[rows.start for rows in stretches]].rows()
    for rows, (family, factors, at) in zip(stretches, labels, strict=True):
        yield CrossSection(
            family=family,
            number_of_factors=factors,
            period_name=period,
            period=at,
            asset_id=asset_id[rows],
            expected_return=expected[rows],
            market_equity=market_equity[rows],
            nyse=None if nyse is None else nyse[rows],
            half_spread=None if spread is None else spread[rows],
            excess_return=outcome[rows],
        )


def in_order(table: pl.DataFrame, period: str) -> pl.DataFrame:
    """``table`` by model, period and asset; the order decides ties and the order of sums."""
    keys = [*MODEL, period, "asset_id"]
    if _strictly_ascending(table, keys):
        return table
    table = table.sort(keys)
    if not _strictly_ascending(table, keys):
        twice = table.filter(pl.struct(keys).is_duplicated())
        row = twice.row(0, named=True)
        raise InputError(
            f"{len(twice)} rows share a stock and a {period}",
            where=f"predictions of {row['family']}, K = {row['number_of_factors']}, {period} {row[period]}, "
            f"asset {row['asset_id']}",
            expected=f"each stock once per model and {period}",
            remedy="drop the rows that stand twice; the same file may have been read twice",
        )
    return table


def groups(table: pl.DataFrame, keys: Sequence[str]) -> Iterator[slice]:
    """Rows of each run of equal ``keys`` of an ordered table."""
    if not len(table):
        return
    changed = pl.any_horizontal(pl.col(key) != pl.col(key).shift() for key in keys)
    starts = table.select(changed.fill_null(value=True).arg_true()).to_series().to_list()
    for start, stop in itertools.pairwise([*starts, len(table)]):
        yield slice(start, stop)


def _strictly_ascending(table: pl.DataFrame, keys: Sequence[str]) -> bool:
    later = pl.lit(value=False)
    for key in reversed(keys):
        now, before = pl.col(key), pl.col(key).shift()
        later = (now > before) | ((now == before) & later)
    return bool(table.select(later.slice(1).all()).item())


def _checked(predictions: pl.DataFrame, period: str, required: Sequence[str]) -> pl.DataFrame:
    missing = [name for name in required if name not in predictions.columns]
    if missing:
        raise InputError(
            f"missing column{'s' if len(missing) > 1 else ''}: {', '.join(missing)}",
            where=f"predictions (their columns: {', '.join(predictions.columns)})",
            expected=", ".join(required),
            remedy="keep these columns when predictions are written",
        )
    keys = [*MODEL, period, "asset_id"]
    if lacking := [name for name in keys if predictions[name].null_count()]:
        raise InputError(
            f"no {lacking[0]} in {predictions[lacking[0]].null_count()} row(s)",
            where="predictions",
            expected=f"{', '.join(keys)} in every row",
            remedy="drop these rows, or correct them where predictions are written",
        )
    for column, fault, what, expected, remedy in _FAULTS:
        if column in predictions.columns and predictions.select(fault.any()).item():
            bad = predictions.filter(fault)
            row = bad.row(0, named=True)
            raise InputError(
                f"{what} is {row[column]} in {len(bad)} row(s)",
                where=f"predictions of {row['family']}, K = {row['number_of_factors']}, "
                f"{period} {row[period]}, asset {row['asset_id']}",
                expected=expected,
                remedy=remedy,
            )
    return predictions


_EXCHANGE = pl.col("exchange").cast(pl.String).str.to_uppercase()
_FAULTS = (
    (
        "expected_return", ~pl.col("expected_return").is_finite().fill_null(value=False), "expected return",
        "a finite expected return for every stock and period",
        "look at the training record of that window; train it again",
    ),
    (
        "excess_return", pl.col("excess_return").is_infinite().fill_null(value=False), "excess return",
        "a finite excess return, or none for a stock that left", "correct the return in the source",
    ),
    (
        "market_equity", (pl.col("market_equity") < 0).fill_null(value=False), "market equity",
        "zero or more, or none where it is unknown", "correct shares or price in the source",
    ),
    (
        "exchange", ~_EXCHANGE.is_in(EXCHANGES).fill_null(value=True), "exchange",
        f"one of {', '.join(EXCHANGES)}, or none where it is unknown", "map the code in the source's adapter",
    ),
    (
        "half_spread", ~pl.col("half_spread").is_between(0, 1, closed="left").fill_null(value=False),
        "half-spread", "a share of the price, at least 0 and below 1, for every stock and period",
        "fill in the half-spread, or leave out the column and costs.half_spreads",
    ),
)  # fmt: skip


def _floats(table: pl.DataFrame, name: str) -> Float64:
    """NaN where a value, or the whole column, is missing."""
    if name not in table.columns:
        return np.full(len(table), np.nan)
    values: Float64 = table[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return values


def _on_nyse(column: pl.Series) -> Bool:
    names = column.cast(pl.String).str.to_uppercase()
    listed: Bool = names.is_in(NYSE).fill_null(value=False).to_numpy()
    return listed
