"""Do two portfolios differ in Sharpe ratio, with fat tails and dependence? Ledoit, Wolf (2008)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from seqpricing_core.inference.intervals import optimal_block
from seqpricing_core.inference.series import (
    Alternative,
    Float64,
    checked_block,
    checked_series,
    require_variation,
)
from seqpricing_core.inference.sharpe_difference import SharpeDifference

LARGEST_COEFFICIENT: Final = 0.97
"""Bound on the prewhitening coefficient (Andrews, Monahan 1992)."""


def ledoit_wolf(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    block_length: int | None = None,
    replications: int = 4999,
    seed: int = 0,
) -> SharpeDifference:
    """Studentised circular block bootstrap of the difference of monthly Sharpe ratios (ddof 0).

    With d = |D| / s(D) and d* = |D* - D| / s(D*) over resamples, p = (#{d* >= d} + 1) / (M + 1), without the
    bars where one-sided. s(D) is the delta method's error with a kernel estimate of the long-run variance;
    s(D*) uses the variance of sums over the drawn blocks, which are independent (their section 3.2.2).

    **Departures.** The kernel estimate (quadratic spectral, from arch) is prewhitened on the scalar series
    gradient' y_t by an AR(1), not on the four moments by a VAR(1). Resamples have b floor(T/b) months, and
    s(D*) divides by that number. The paper calibrates b on a fitted model; ours is the longer of Politis
    and White's length for the influence series and 1.5 T^(1/3). Shorter blocks reject too often: of 1,000
    normal worlds of 120 months with equal ratios, 7.8% at a level of 5%, against 5.6% with 8 months.

    Parameters
    ----------
    a, b
        (T,) decimal monthly excess returns of the same consecutive months.
    alternative
        ``greater``: a has the higher Sharpe ratio.

    Returns
    -------
    SharpeDifference
        ``statistic`` is D / s(D).

    Raises
    ------
    InputError
        As `jobson_korkie_memmel`, with at least 12 months.
    """
    x, y = checked_series(minimum=12, a=a, b=b)
    require_variation(x, "a")
    require_variation(y, "b")
    moments = np.column_stack([x, y, x**2, y**2])
    means = moments.mean(axis=0)
    difference, gradient = float(_difference(means)), _gradient(means)
    influence = (moments - means) @ gradient
    if np.abs(influence).max() < 1e-12:
        return SharpeDifference(difference, math.nan, math.nan, len(x))
    statistic = difference / _kernel_error(influence)
    length = checked_block(
        block_length,
        len(x),
        lambda: max(optimal_block(influence, "circular"), math.ceil(1.5 * len(x) ** (1 / 3))),
    )
    star_difference, star_error = _resample(moments, length, replications, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A resample of one month repeated has no error; it is left out.
        roots = (star_difference - difference) / star_error
    roots = roots[np.isfinite(roots)]
    if alternative == "two-sided":
        beyond = np.abs(roots) >= abs(statistic)
    else:
        beyond = roots >= statistic if alternative == "greater" else roots <= statistic
    p_value = (int(beyond.sum()) + 1) / (len(roots) + 1)
    return SharpeDifference(difference, statistic, p_value, len(x))


def _resample(moments: Float64, length: int, replications: int, seed: int) -> tuple[Float64, Float64]:
    """(M,) differences of Sharpe ratios of resamples, and their standard errors.

    Only sums over blocks matter, and how often each of the T blocks was drawn: means and covariances of
    block sums are one matrix product. Sums are of centred moments, so that nothing cancels.
    """
    months, count = len(moments), len(moments) // length
    centre = moments.mean(axis=0)
    closed = np.concatenate([moments, moments[: length - 1]]) - centre
    sums = np.lib.stride_tricks.sliding_window_view(closed, length, axis=0).sum(axis=-1)
    products = np.einsum("ti,tj->tij", sums, sums).reshape(months, -1)
    share = _drawn_blocks(months, count, replications, seed) / count
    mean_sum = share @ sums
    means, gradient = centre + mean_sum / length, _gradient(centre + mean_sum / length)
    covariance = (share @ products).reshape(-1, 4, 4) - np.einsum("ri,rj->rij", mean_sum, mean_sum)
    variance = np.einsum("ri,rij,rj->r", gradient, covariance, gradient) / length
    return _difference(means), np.sqrt(np.maximum(variance, 0) / (count * length))


@lru_cache(maxsize=16)
def _drawn_blocks(months: int, count: int, replications: int, seed: int) -> Float64:
    """(M, T): how often each circular block, named by its first month, is among the ``count`` drawn."""
    first = np.random.default_rng(seed).integers(months, size=(replications, count))
    place = first + months * np.arange(replications)[:, None]
    drawn = np.bincount(place.ravel(), minlength=replications * months).astype(np.float64)
    drawn.setflags(write=False)
    return drawn.reshape(replications, months)


def _difference(means: Float64) -> Float64:
    mean_a, mean_b, square_a, square_b = np.moveaxis(means, -1, 0)
    difference: Float64 = mean_a / np.sqrt(square_a - mean_a**2) - mean_b / np.sqrt(square_b - mean_b**2)
    return difference


def _gradient(means: Float64) -> Float64:
    """Of `_difference` in the means of (a, b, a^2, b^2)."""
    mean_a, mean_b, square_a, square_b = np.moveaxis(means, -1, 0)
    cubed_a, cubed_b = (square_a - mean_a**2) ** 1.5, (square_b - mean_b**2) ** 1.5
    return np.stack(
        [square_a / cubed_a, -square_b / cubed_b, -mean_a / (2 * cubed_a), mean_b / (2 * cubed_b)], axis=-1
    )


def _kernel_error(influence: Float64) -> float:
    """Standard error of the mean of a centred series: quadratic spectral kernel after AR(1) prewhitening."""
    from arch.covariance.kernel import QuadraticSpectral

    before, now = influence[:-1], influence[1:]
    slope = float(before @ now / (before @ before))
    slope = max(-LARGEST_COEFFICIENT, min(LARGEST_COEFFICIENT, slope))
    white = QuadraticSpectral((now - slope * before)[:, None], center=False).cov.long_run
    return math.sqrt(float(np.asarray(white).item()) / (1 - slope) ** 2 / len(influence))
