"""Confidence intervals by the stationary bootstrap (Politis, Romano 1994), studentised.

A score is a smooth function of monthly means: a Sharpe ratio of the means of r and r^2, an R2 of the
monthly sums of squared errors and squared returns. So a resample of months is a vector of counts, and the
resampled means of every model are one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from seqpricing_core.errors import InputError
from seqpricing_core.inference.series import Float64, as_columns, checked_block, checked_series, varies

Interval = Literal["studentised", "percentile"]


@dataclass(frozen=True)
class Statistic:
    """A function of the means of monthly columns, with its gradient.

    Shapes: columns (T, C) become moments (T, M); ``value`` maps means (..., M) to (...), ``gradient`` to
    (..., M).
    """

    name: str
    moments: Callable[[Float64], Float64]
    value: Callable[[Float64], Float64]
    gradient: Callable[[Float64], Float64]


def _with_square(x: Float64) -> Float64:
    return np.concatenate([x, x**2], axis=-1)


def _sharpe(means: Float64) -> Float64:
    first, second = means[..., 0], means[..., 1]
    ratio: Float64 = first / np.sqrt(second - first**2)
    return ratio


def _sharpe_gradient(means: Float64) -> Float64:
    first, second = means[..., 0], means[..., 1]
    cubed = (second - first**2) ** 1.5
    return np.stack([second / cubed, -first / (2 * cubed)], axis=-1)


def _r_squared_gradient(means: Float64) -> Float64:
    error, outcome = means[..., 0], means[..., 1]
    return np.stack([-1 / outcome, error / outcome**2], axis=-1)


def _same(x: Float64) -> Float64:
    return x


MEAN: Final = Statistic("mean", _same, lambda means: means[..., 0], np.ones_like)
"""Of one column: a mean return, a mean rank correlation."""
SHARPE: Final = Statistic("sharpe", _with_square, _sharpe, _sharpe_gradient)
"""Mean over standard deviation (ddof 0), monthly, of one column: a Sharpe ratio."""
R_SQUARED: Final = Statistic("r_squared", _same, lambda m: 1 - m[..., 0] / m[..., 1], _r_squared_gradient)
"""Of two columns: monthly sums of squared errors and of squared returns."""


@dataclass(frozen=True)
class BootstrapInterval:
    """An estimate with its interval; all in the units of the statistic."""

    estimate: float
    standard_error: float
    low: float
    high: float
    level: float
    block_length: int
    months: int


def bootstrap_interval(
    statistic: Statistic,
    columns: npt.ArrayLike,
    *,
    level: float = 0.95,
    replications: int = 999,
    method: Interval = "studentised",
    block_length: int | None = None,
    seed: int = 0,
) -> BootstrapInterval:
    """Equal-tailed interval of a statistic of monthly series.

    ``studentised``: [v - q_hi s, v - q_lo s], q the quantiles of (v* - v) / s* over resamples. s is the delta
    method's standard error with the variance that the stationary bootstrap itself gives to a mean (Politis,
    Romano 1994, lemma 1), s* the same computed on the resample. ``percentile``: the quantiles of v*; simpler,
    but too short where months are dependent, as resampled months are less so. Quantiles are the order
    statistics at (replications + 1) times their level.

    Of simulated 95% intervals of Sharpe ratios and means over 120 months, 94 to 95% hold the truth if months
    are independent, normal or fat-tailed, and 93.5% with an autocorrelation of .2 (percentile: 93 to 94% and
    92%). With 60 months they are 92 to 94% (percentile: 89 to 93%): short samples promise too much.

    Parameters
    ----------
    columns
        (T,) or (T, C): what ``statistic`` takes, over consecutive months.
    block_length
        Mean length of blocks; by default Politis and White's (2004, with the correction of 2009) for the
        statistic's influence series, rounded up, from arch.
    seed
        Same seed and block length, same months drawn, whatever the model.

    Raises
    ------
    InputError
        Fewer than 12 months, values not finite, a constant series, a level outside (0, 1).
    """
    (x,) = checked_series(minimum=12, columns=columns)
    if not 0 < level < 1 or replications < 99:
        raise InputError(
            f"level {level}, {replications} replications",
            where="bootstrap interval",
            expected="a level between 0 and 1, and at least 99 replications",
            remedy="correct the setting",
        )
    moments = statistic.moments(as_columns(x))
    means = moments.mean(axis=0)
    if not varies(x):
        raise InputError(
            "the series is constant",
            where=f"bootstrap interval of {statistic.name}",
            expected="a series that varies",
            remedy="leave this interval out",
        )
    influence = (moments - means) @ statistic.gradient(means)
    length = checked_block(block_length, len(x), lambda: optimal_block(influence))
    drawn = resampled_months(len(x), length, replications, seed)
    value, kernel = float(statistic.value(means)), _kernel(len(x), length)
    error = _standard_error(influence, kernel)
    resamples = np.take(moments.T, drawn, axis=1)
    star = resamples.mean(axis=2).T
    values = statistic.value(star)
    if method == "percentile":
        low, high = np.quantile(values, _tails(level), method="weibull")
    else:
        gradient = statistic.gradient(star).T[..., None]
        resampled = ((resamples - star.T[..., None]) * gradient).sum(axis=0)
        roots = (values - value) / _standard_error(resampled, kernel)
        below, above = np.quantile(roots[np.isfinite(roots)], _tails(level), method="weibull")
        low, high = value - above * error, value - below * error
    return BootstrapInterval(value, float(error), float(low), float(high), level, length, len(x))


def optimal_block(series: Float64, scheme: Literal["stationary", "circular"] = "stationary") -> int:
    """Politis and White's (mean) block length for a bootstrap, rounded up, between 1 and T / 4."""
    from arch.bootstrap import optimal_block_length

    found = float(optimal_block_length(series)[scheme].iloc[0])
    # A series whose estimated spectrum vanishes at zero has no optimum: independent draws are the limit.
    return min(max(1, math.ceil(found)), len(series) // 4) if math.isfinite(found) else 1


@lru_cache(maxsize=32)
def resampled_months(months: int, block_length: int, replications: int, seed: int) -> npt.NDArray[np.int64]:
    """(replications, T) positions drawn by arch's stationary bootstrap."""
    from arch.bootstrap import StationaryBootstrap

    bootstrap = StationaryBootstrap(block_length, np.arange(months), seed=seed)
    drawn = np.stack([data[0][0] for data in bootstrap.bootstrap(replications)]).astype(np.int64)
    drawn.setflags(write=False)
    return drawn


@lru_cache(maxsize=32)
def _kernel(months: int, block_length: int) -> Float64:
    """(T, T): x' kernel x / T^2 is the stationary bootstrap's variance of the mean of a centred series x.

    Weight of lag i, with q = 1 - 1/block: (1 - i/T) q^i + (i/T) q^(T-i), the series closed to a circle.
    """
    lag = np.arange(months)
    q = 1 - 1 / block_length
    weight = (1 - lag / months) * q**lag + lag / months * q ** (months - lag)
    kernel: Float64 = weight[np.abs(lag[:, None] - lag)]
    return kernel


def _standard_error(influence: Float64, kernel: Float64) -> Float64:
    """Of centred influence series (..., T)."""
    square = np.sum((influence @ kernel) * influence, axis=-1)
    error: Float64 = np.sqrt(np.maximum(square, 0)) / influence.shape[-1]
    return error


def _tails(level: float) -> list[float]:
    return [(1 - level) / 2, (1 + level) / 2]
