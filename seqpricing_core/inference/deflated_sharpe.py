"""Is the best Sharpe ratio of many trials more than luck? Bailey, Lopez de Prado (2014)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqpricing_core.errors import InputError
from seqpricing_core.inference.series import checked_series, require_variation


@dataclass(frozen=True)
class DeflatedSharpe:
    """Monthly Sharpe ratios, and the ``probability`` that the true one is above the threshold."""

    sharpe: float
    threshold: float
    """Expected highest Sharpe ratio of that many worthless trials."""
    probability: float
    trials: int
    months: int


def expected_maximum_sharpe(variance: float, trials: int) -> float:
    """sqrt(V) ((1 - g) N^-1(1 - 1/n) + g N^-1(1 - 1/(n e))), g Euler's constant; 0 for a single trial.

    V is the variance of the Sharpe ratios over the trials.
    """
    from scipy.stats import norm

    if trials < 1 or variance < 0 or not math.isfinite(variance):
        raise InputError(
            f"{trials} trials with a variance of {variance}",
            where="deflated Sharpe ratio",
            expected="at least one trial, and a variance that is finite and not negative",
            remedy="count every model that was tried",
        )
    if trials == 1:
        return 0.0
    euler = float(np.euler_gamma)
    first, second = norm.ppf(1 - 1 / trials), norm.ppf(1 - 1 / (trials * math.e))
    return float(math.sqrt(variance) * ((1 - euler) * first + euler * second))


def probabilistic_sharpe(
    sharpe: float, threshold: float, months: int, skewness: float, kurtosis: float
) -> float:
    """N((SR - SR_0) sqrt(T - 1) / sqrt(1 - skew SR + (kurt - 1)/4 SR^2)).

    Parameters
    ----------
    sharpe, threshold
        Of the period of the returns, not annualised.
    kurtosis
        3 for the normal distribution.
    """
    from scipy.stats import norm

    variance = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2
    return float(norm.cdf((sharpe - threshold) * math.sqrt((months - 1) / variance)))


def deflated_sharpe(
    returns: npt.ArrayLike, trial_sharpes: npt.ArrayLike, trials: int | None = None
) -> DeflatedSharpe:
    """Probability that a strategy's Sharpe ratio exceeds the best of as many worthless trials.

    Trials are taken as independent; correlated ones are worth fewer, so the threshold is rather too high
    than too low. Returns are independent over time. Sharpe ratios with ddof 1; skewness and kurtosis with
    divisor T.

    Parameters
    ----------
    returns
        (T,) monthly excess returns of the strategy.
    trial_sharpes
        Monthly Sharpe ratios of the models tried, this one among them: their variance is V.
    trials
        How many were tried, where that is more than are at hand.

    Raises
    ------
    InputError
        As `checked_series`; a constant series; no trial.
    """
    from scipy.stats import kurtosis, skew

    (r,) = checked_series(returns=returns)
    require_variation(r, "returns")
    (tried,) = checked_series(minimum=1, trial_sharpes=trial_sharpes)
    count = len(tried) if trials is None else trials
    variance = float(tried.var(ddof=1)) if len(tried) > 1 else 0.0
    threshold = expected_maximum_sharpe(variance, count)
    sharpe = float(r.mean() / r.std(ddof=1))
    probability = probabilistic_sharpe(
        sharpe, threshold, len(r), float(skew(r)), float(kurtosis(r, fisher=False))
    )
    return DeflatedSharpe(sharpe, threshold, probability, count, len(r))
