"""Which models may be the best? Hansen's tests, by arch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.inference.intervals import optimal_block
from seqpricing_core.inference.series import Float64, as_columns, checked_block, checked_series, varies


@dataclass(frozen=True)
class SuperiorPredictiveAbility:
    """P-values of the null that no model beats the benchmark; ``consistent`` is Hansen's (2005) own."""

    lower: float
    consistent: float
    upper: float


def model_confidence_set(
    losses: npt.ArrayLike,
    models: Sequence[str],
    *,
    size: float = 0.1,
    replications: int = 1000,
    block_length: int | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """The models that hold the best one with probability 1 - size (Hansen, Lunde, Nason 2011), by their range
    statistic.

    Parameters
    ----------
    losses
        (T, M) losses of the same months, such as mean squared errors, or minus returns.
    block_length
        Of the stationary bootstrap; by default the longest that `optimal_block` finds among the models'
        differences from their mean.

    Returns
    -------
    DataFrame
        ``model``, ``mean_loss``, ``p_value`` (a model is in the set of any size below it), ``included``; in
        the order of ``models``. Models with identical losses share their p-value.

    Raises
    ------
    InputError
        As `checked_series` with 12 months; fewer than two models; names that do not fit the columns.
    """
    from arch.bootstrap import MCS

    table = _checked(losses, models)
    if not 0 < size < 1:
        raise InputError(
            f"a size of {size}",
            where="model confidence set",
            expected="a number between 0 and 1",
            remedy="0.1 gives a set that holds the best model with 90% probability",
        )
    # Two models with the same losses have no variance between them: keep one, share its p-value.
    distinct, place = np.unique(table, axis=1, return_inverse=True)
    if distinct.shape[1] == 1:
        p_values = np.ones(1)
    else:
        length = checked_block(block_length, len(table), lambda: _block(distinct))
        # Unit scale: the losses are squared returns, and arch's variances should not underflow.
        found = MCS(distinct / distinct.std(), size, replications, length, method="R", seed=seed)
        found.compute()
        p_values = found.pvalues["Pvalue"].sort_index().to_numpy(np.float64)
    of_model = p_values[np.asarray(place).ravel()]
    return pl.DataFrame(
        {
            "model": list(models),
            "mean_loss": table.mean(axis=0),
            "p_value": of_model,
            "included": of_model > size,
        }
    )


def superior_predictive_ability(
    benchmark: npt.ArrayLike,
    losses: npt.ArrayLike,
    *,
    replications: int = 1000,
    block_length: int | None = None,
    seed: int = 0,
) -> SuperiorPredictiveAbility:
    """Does any of the models have smaller losses than the benchmark? Hansen (2005), studentised.

    Parameters
    ----------
    benchmark
        (T,).
    losses
        (T, M), of the same months.

    Raises
    ------
    InputError
        As `checked_series` with 12 months; a model whose losses never differ from the benchmark's.
    """
    from arch.bootstrap import SPA

    base, table = checked_series(minimum=12, benchmark=benchmark, losses=as_columns(losses))
    for m in range(table.shape[1]):
        if not varies(base - table[:, m]):
            raise InputError(
                "a model differs from the benchmark by nothing, or by a constant",
                where=f"superior predictive ability, model {m}",
                expected="losses whose difference from the benchmark's varies",
                remedy="leave the benchmark out of the models",
            )
    length = checked_block(
        block_length,
        len(base),
        lambda: max(optimal_block(base - table[:, m]) for m in range(table.shape[1])),
    )
    scale = float(base.std()) or 1.0
    test = SPA(base / scale, table / scale, block_size=length, reps=replications, seed=seed)
    test.compute()
    lower, consistent, upper = (float(test.pvalues[name]) for name in ("lower", "consistent", "upper"))
    return SuperiorPredictiveAbility(lower, consistent, upper)


def _checked(losses: npt.ArrayLike, models: Sequence[str]) -> Float64:
    (table,) = checked_series(minimum=12, losses=losses)
    if table.ndim != 2 or table.shape[1] != len(models) or len(models) < 2 or len(set(models)) < len(models):
        raise InputError(
            f"losses of shape {table.shape} and {len(models)} model name(s)",
            where="model confidence set",
            expected="months by models, at least two models, one distinct name each",
            remedy="compare at least two models",
        )
    return table


def _block(losses: Float64) -> int:
    differences = losses - losses.mean(axis=1, keepdims=True)
    return max(optimal_block(column) for column in differences.T if varies(column))
