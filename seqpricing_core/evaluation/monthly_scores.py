"""Predictions -> one row of sums per model, size group and month: all that scores of forecasts need.

Every measure of a forecast that is pooled, averaged by year or tested month by month is a function of these
rows, and they are few: 300 months of 60 models are 72,000 rows, made from 60 million predictions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.portfolios import MODEL

ALL_STOCKS: Final = "all"
SIZE_GROUPS: Final = ("micro", "small", "big")
"""Below the 20th, between the 20th and the 50th, above the 50th percentile (Fama, French 2008)."""
SIZE_BREAKPOINTS: Final = (0.2, 0.5)
UNKNOWN_SIZE: Final = "unknown"


def compute_monthly_scores(
    predictions: pl.DataFrame | pl.LazyFrame, *, asset: str = "asset_id", by_size: bool = False
) -> pl.DataFrame:
    """Sums over the assets of each month, and the month's rank correlation.

    One model is in memory at a time: hand in a scan of parquet files (``pl.scan_parquet``) when the whole
    table does not fit. Rules for rows:

    - no return (a stock that left, or a month still to come): the forecast is not scored;
    - no forecast (null): the return is not scored. A month of a model without any row that has both is
      absent from the result, and `on_common_months` then leaves it out for every model;
    - a forecast or return that is NaN or infinite is refused, and a (model, month, asset) that stands twice;
    - forecasts that are all equal have no ranking: ``rank_ic`` is null, the sums stand.

    Parameters
    ----------
    predictions
        `MODEL`, ``month``, the column ``asset``, ``expected_return``, ``fitted_return``, ``excess_return``
        and, for ``by_size``, ``market_equity`` (end of t-1).
    by_size
        Also one row per size group. Fama and French (2008) take percentiles of NYSE stocks; ours are
        of all stocks of the month with a known market equity, as exchanges may be unknown.

    Returns
    -------
    DataFrame
        `MODEL`, ``size_group``, ``month``, then over rows with forecast and return: ``assets``,
        ``squared_return``, ``squared_error``, ``absolute_error``, ``expected_return``, ``excess_return``
        (sums; decimal), ``rank_ic`` (Spearman, ties averaged); over rows with fitted and realised return:
        ``fitted_assets``, ``fitted_squared_return``, ``fitted_squared_error``. In the order of the models'
        first rows, then by size group and month.

    Raises
    ------
    InputError
        A column that is missing; as above; and a model none of whose forecasts meets a return.
    """
    columns = [
        *MODEL, "month", asset, "expected_return", "fitted_return", "excess_return",
        *(["market_equity"] if by_size else []),
    ]  # fmt: skip
    _require_columns(predictions, columns)
    table = predictions.lazy().select(columns)
    parts = []
    for name, rows in _models(table):
        _refuse_bad_rows(rows, name, asset)
        monthly = _score(rows, pl.lit(ALL_STOCKS))
        if not monthly["assets"].sum():
            raise InputError(
                "no forecast of this model meets a return",
                where=f"predictions of {name}",
                expected="at least one row with an expected and an excess return",
                remedy="leave the model out, or wait until a month it forecasts is over",
            )
        parts.append(monthly)
        if by_size:
            parts.append(_score(rows, _size_group()))
    return pl.concat(parts).filter(pl.col("assets") > 0)


def coverage(scores: pl.DataFrame, keys: Sequence[str] = MODEL) -> pl.DataFrame:
    """Which months each model is scored on.

    Returns
    -------
    DataFrame
        ``keys``, ``first_month``, ``last_month``, ``months``, ``common_months`` (those that every model has).
    """
    common = _common_months(scores, keys)
    return scores.group_by(keys, maintain_order=True).agg(
        first_month=pl.col("month").min(),
        last_month=pl.col("month").max(),
        months=pl.col("month").n_unique(),
        common_months=pl.lit(len(common), dtype=pl.UInt32),
    )


def on_common_months(scores: pl.DataFrame, keys: Sequence[str] = MODEL) -> pl.DataFrame:
    """The rows of months that every model has: scores of different months do not compare.

    Raises
    ------
    InputError
        No month is common to all.
    """
    common = _common_months(scores, keys)
    if not len(common) and len(scores):
        spans = coverage(scores, keys).rows()
        raise InputError(
            "the models have no month in common",
            where="; ".join(
                f"{', '.join(map(str, row[: len(keys)]))}: {row[-4]} to {row[-3]}" for row in spans[:6]
            ),
            expected="at least one month that every model predicts",
            remedy="predict the missing test years, or compare fewer models",
        )
    return scores.filter(pl.col("month").is_in(common.implode()))


def _common_months(scores: pl.DataFrame, keys: Sequence[str]) -> pl.Series:
    models = scores.select(keys).n_unique()
    have = scores.group_by("month").agg(pl.struct(keys).n_unique().alias("models"))
    return have.filter(pl.col("models") == models)["month"].sort()


def _require_columns(predictions: pl.DataFrame | pl.LazyFrame, columns: Sequence[str]) -> None:
    found = predictions.collect_schema().names()
    if missing := [name for name in columns if name not in found]:
        raise InputError(
            f"missing column(s): {', '.join(missing)}",
            where=f"predictions (their columns: {', '.join(found)})",
            expected=", ".join(columns),
            remedy="hand in the table of predict_test_year; what a model lacks is a column of nulls",
        )


def _models(table: pl.LazyFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """Name and rows of each model, one at a time."""
    for family, factors in table.select(MODEL).unique(maintain_order=True).collect().iter_rows():
        chosen = (pl.col("family") == family) & (pl.col("number_of_factors").eq_missing(factors))
        yield f"{family}, K = {factors}", table.filter(chosen).collect(engine="streaming")


def _score(rows: pl.DataFrame, size_group: pl.Expr) -> pl.DataFrame:
    r, expected = pl.col("excess_return"), pl.col("expected_return")
    error, fitted_error = r - expected, r - pl.col("fitted_return")
    scored, fitted = error.is_not_null(), fitted_error.is_not_null()
    rank_ic = pl.corr(expected.filter(scored), r.filter(scored), method="spearman")
    return (
        rows.with_columns(size_group.alias("size_group"))
        .group_by(*MODEL, "size_group", "month")
        .agg(
            assets=scored.sum(),
            squared_return=(r.filter(scored) ** 2).sum(),
            squared_error=(error**2).sum(),
            absolute_error=error.abs().sum(),
            expected_return=expected.filter(scored).sum(),
            excess_return=r.filter(scored).sum(),
            rank_ic=rank_ic.fill_nan(None),
            fitted_assets=fitted.sum(),
            fitted_squared_return=(r.filter(fitted) ** 2).sum(),
            fitted_squared_error=(fitted_error**2).sum(),
        )
        .sort("size_group", "month")
    )


def _size_group() -> pl.Expr:
    size = pl.col("market_equity")
    known = size.is_finite().fill_null(value=False)
    low, high = (
        pl.when(known).then(size).quantile(q, interpolation="linear").over("month") for q in SIZE_BREAKPOINTS
    )
    micro, small, big = SIZE_GROUPS
    return (
        pl.when(~known)
        .then(pl.lit(UNKNOWN_SIZE))
        .when(size <= low)
        .then(pl.lit(micro))
        .when(size <= high)
        .then(pl.lit(small))
        .otherwise(pl.lit(big))
    )


def _refuse_bad_rows(rows: pl.DataFrame, name: str, asset: str) -> None:
    for column in ("expected_return", "fitted_return", "excess_return"):
        # Of null, is_finite is null: a missing value is no bad value.
        bad = rows.filter(~pl.col(column).cast(pl.Float64).is_finite())
        if len(bad):
            row = bad.row(0, named=True)
            raise InputError(
                f"{column} is {row[column]} in {len(bad)} row(s)",
                where=f"predictions of {name}, month {row['month']}, asset {row[asset]}",
                expected="a finite number, or null where there is none",
                remedy="look at the training record of that window; train it again",
            )
    key = ["month", asset]
    twice = rows.filter(rows.select(key).is_duplicated())
    if len(twice):
        first = twice.sort(key).row(0, named=True)
        raise InputError(
            f"{len(twice)} rows share their month and asset",
            where=f"predictions of {name}, month {first['month']}, asset {first[asset]}",
            expected="one forecast per model, month and asset",
            remedy="test years overlap: keep one window's predictions for each month",
        )
