"""Fitted windows -> out-of-sample predictions of the test year, month by month."""

from __future__ import annotations

import numpy as np
import polars as pl

from seqpricing_core.models.factor_model import (
    FittedForecaster,
    FittedModel,
    ReturnForecaster,
    SequenceForecaster,
    expected_returns,
    fitted_returns,
)
from seqpricing_core.models.family import FittedFamily
from seqpricing_core.panel.managed_portfolios import solve_gram, with_constant
from seqpricing_core.panel.panel import Float64, Panel, Sample
from seqpricing_core.tables import EXCHANGES

ORACLE_FACTORS = 3
"""The simulated market has three true factors."""


def predict_test_year(fitted: FittedFamily, test: Sample, factors_from: Sample | None = None) -> pl.DataFrame:
    """Expected and fitted excess returns of every stock-month of the test year, for every K.

    **Timing.** ``expected_return`` of month t comes from what was known at the end of t-1: z_t-1, and risk
    premia from the factors of estimation and test months before t. ``fitted_return`` uses
    f_t as well; it explains, it does not forecast. An ensemble averages returns over its
    members, never loadings: each fit has its own rotation.

    Parameters
    ----------
    fitted
        On the window of the test year.
    test
        The stocks to predict, and x_t of the look-back.
    factors_from
        Those that f_t is estimated from in the test year, if they are others: same months.

    Returns
    -------
    DataFrame
        ``family``, ``number_of_factors`` (0 for a forecaster), ``month``, ``asset_id``, ``expected_return``,
        ``fitted_return`` (null for a forecaster), ``excess_return`` (decimal; null for a stock without a
        return in t), ``market_equity`` (USD, end of t-1), and ``exchange`` where the source has it; sorted
        by K, month, asset.
    """
    source = test if factors_from is None else factors_from
    return pl.concat(
        _predictions_frame(
            fitted.config.family,
            factors,
            test.panel,
            *np.mean([_predict(member, test, source) for member in members], axis=0),
        )
        for factors, members in fitted.models.items()
    )


def _predict(fitted: FittedModel, test: Sample, source: Sample) -> Float64:
    """(2, n) expected and fitted returns of one fit."""
    if isinstance(fitted, FittedForecaster):
        forecasts = np.concatenate(forecast_months(fitted.model, test))
        return np.stack([forecasts, np.full_like(forecasts, np.nan)])
    model, history = fitted.model, fitted.history
    expected, explained = [], []
    for t in range(len(test)):
        known = test.known(t)
        expected.append(expected_returns(model, known, history))
        # The forecast is made; only now does month t happen.
        outcome = source.outcome(t)
        factors = model.latent_factors(source.known(t), outcome)
        explained.append(fitted_returns(model, known, factors))
        history = history.extended(outcome.month, factors)
    return np.stack([np.concatenate(expected), np.concatenate(explained)])


def forecast_months(model: ReturnForecaster, test: Sample) -> list[Float64]:
    """(N_t,) of each month; a model that reads sequences shares work between the months."""
    months = [test.known(t) for t in range(len(test))]
    if isinstance(model, SequenceForecaster):
        return model.expected_returns_of_months(months)
    return [model.expected_returns(known) for known in months]


def oracle_predictions(truth: pl.DataFrame, panel: Panel) -> pl.DataFrame:
    """What the maker of a simulated market would have predicted: the ceiling of every score.

    For the stocks that have a return; of one that left there is no truth.
    """
    panel = panel.with_returns()
    rows = pl.DataFrame({"month": panel.month_of_row.astype("datetime64[D]"), "asset_id": panel.asset_id})
    true = rows.with_columns(pl.col("month").cast(pl.Date).dt.month_end()).join(
        truth, on=["month", "asset_id"], how="left", maintain_order="left"
    )
    return _predictions_frame(
        "oracle", ORACLE_FACTORS, panel,
        true["expected_return"].to_numpy(), true["fitted_return"].to_numpy(),
    )  # fmt: skip


def _predictions_frame(
    family: str, factors: int, panel: Panel, expected: Float64, fitted: Float64
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "month": panel.month_of_row.astype("datetime64[D]"),
            "asset_id": panel.asset_id,
            "expected_return": expected,
            "fitted_return": fitted,
            "excess_return": panel.excess_return,
            "market_equity": panel.market_equity,
            **_exchange(panel),
        }
    ).select(
        pl.lit(family).alias("family"),
        pl.lit(factors, dtype=pl.Int32).alias("number_of_factors"),
        pl.col("month").cast(pl.Date).dt.month_end(),
        pl.col("asset_id", "expected_return"),
        pl.col("fitted_return", "excess_return").fill_nan(None),
        pl.col("market_equity", *_exchange(panel)),
    )


def _exchange(panel: Panel) -> dict[str, pl.Series]:
    """The column ``exchange`` where the source knows any: NYSE breakpoints and size limits need it."""
    if panel.exchange is None:
        return {}
    names = np.array([*EXCHANGES, "unknown"])[panel.exchange]  # -1 is the last one
    column = pl.Series(names)
    return {"exchange": column.set(column.is_in(["OTHER", "unknown"]), None)}


def predict_managed_portfolios(predictions: pl.DataFrame, panel: Panel, *, constant: bool) -> pl.DataFrame:
    """Predictions of stocks carried to the managed portfolios: (Z'Z)^-1 Z' of each column.

    Over the stocks that have a return, as x_t itself.

    Returns
    -------
    DataFrame
        ``family``, ``number_of_factors``, ``month``, ``portfolio``, then ``expected_return``,
        ``fitted_return`` (null for a forecaster) and ``excess_return`` (x_t itself).
    """
    columns = ("expected_return", "fitted_return", "excess_return")
    names = [*panel.characteristic_names, *(["constant"] if constant else [])]
    parts = []
    panel = panel.with_returns()
    held = predictions.filter(pl.col("excess_return").is_not_null())
    for (family, factors), group in held.group_by("family", "number_of_factors", maintain_order=True):
        if not np.array_equal(group["asset_id"].to_numpy(), panel.asset_id):
            raise ValueError(f"predictions of {family}, K = {factors} are not the rows of the panel")
        values = group.select(columns).to_numpy()
        for t, month in enumerate(group["month"].unique(maintain_order=True)):
            rows = panel.rows(t)
            z = with_constant(panel.characteristics[rows], constant=constant)
            projected = solve_gram(z.T @ z, z.T @ values[rows])
            parts.append(
                pl.DataFrame(projected, schema=columns)
                .select(
                    pl.lit(family).alias("family"),
                    pl.lit(factors, dtype=pl.Int32).alias("number_of_factors"),
                    pl.lit(month).alias("month"),
                    pl.Series("portfolio", names),
                    *columns,
                )
                .with_columns(pl.col("fitted_return").fill_nan(None))
            )
    return pl.concat(parts)
