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


def months_that_saw_the_future(fitted: FittedFamily, test: Sample, predictions: pl.DataFrame) -> list[str]:
    """Months whose expected returns change when outcomes from the middle of the year on are other ones.

    **Timing.** Expected returns of month t may use outcomes before t. With outcomes of month s and later
    replaced, all expected returns up to and including s must stay bit for bit what they were.

    Parameters
    ----------
    predictions
        What `predict_test_year` gave for ``test`` when it was made.
    """
    middle = len(test) // 2
    again = predict_test_year(fitted, scramble_from(test, middle))
    known = pl.col("month") <= pl.lit(test.panel.months[middle].astype("datetime64[D]").item())
    keys = ["number_of_factors", "month", "asset_id"]
    both = predictions.filter(known).join(
        again.filter(known).select(*keys, again="expected_return"), on=keys, how="full", coalesce=True
    )
    moved = both.filter(pl.col("expected_return").ne_missing(pl.col("again")))
    return sorted(set(moved["month"].dt.strftime("%Y-%m")))
