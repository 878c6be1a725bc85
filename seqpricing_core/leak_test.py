"""Does a forecast move when the future does? A test that any fitted window can be put to, on its own data."""

from __future__ import annotations

import dataclasses

import polars as pl

from seqpricing_core.models.family import FittedFamily
from seqpricing_core.panel.panel import Sample
from seqpricing_core.predictions import predict_test_year


def scramble_from(test: Sample, t: int) -> Sample:
    """The sample with returns and x of the panel's t-th month and later made into something else."""
    panel, managed = test.panel, test.managed
    returns, x, cross = panel.excess_return.copy(), managed.x.copy(), managed.cross.copy()
    returns[panel.offsets[t] :] = 0.5 - 3 * returns[panel.offsets[t] :]
    for values in (x, cross):
        values[test.lookback + t :] = 0.5 - 3 * values[test.lookback + t :]
    return dataclasses.replace(
        test,
        panel=dataclasses.replace(panel, excess_return=returns),
        managed=dataclasses.replace(managed, x=x, cross=cross),
    )


TOLERANCE = 1e-5
"""Of the largest forecast of the month. Repeated in another process, products in single precision may round
otherwise in the last bits; a leak moves forecasts by more than that."""


def moves_of_forecasts(fitted: FittedFamily, test: Sample, predictions: pl.DataFrame) -> pl.DataFrame:
    """How far expected returns move when outcomes from the middle of the year on are other ones.

    **Timing.** Expected returns of month t may use outcomes before t. With outcomes of month s and later
    replaced, all expected returns up to and including s must stay what they were.

    Parameters
    ----------
    predictions
        What `predict_test_year` gave for ``test`` when it was made.

    Returns
    -------
    DataFrame
        ``month`` up to s, ``move``: the largest change of any K and stock over the largest forecast; infinite
        where a forecast appears or goes.
    """
    middle = len(test) // 2
    again = predict_test_year(fitted, scramble_from(test, middle))
    after = (test.panel.months[middle] + 1).astype("datetime64[D]").item()
    keys = ["number_of_factors", "month", "asset_id"]
    both = predictions.select(*keys, "expected_return").join(
        again.select(*keys, again="expected_return"), on=keys, how="full", coalesce=True
    )
    change = (pl.col("expected_return") - pl.col("again")).abs().fill_null(float("inf"))
    return (
        both.filter(pl.col("month") < pl.lit(after))
        .group_by("month")
        .agg(move=change.max() / pl.max_horizontal(pl.col("expected_return").abs().max(), 1e-12))
        .sort("month")
    )


def months_that_saw_the_future(moves: pl.DataFrame) -> list[str]:
    """Months whose forecasts moved by more than rounding."""
    return moves.filter(~(pl.col("move") <= TOLERANCE))["month"].dt.strftime("%Y-%m").to_list()
