"""Do two portfolios differ in Sharpe ratio? Jobson, Korkie (1981), corrected by Memmel (2003)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from seqpricing_core.inference.series import (
    Alternative,
    checked_series,
    normal_p_value,
    require_variation,
    student_p_value,
)


@dataclass(frozen=True)
class SharpeDifference:
    """Monthly Sharpe ratio of a minus that of b, tested against zero."""

    difference: float
    statistic: float
    """NaN where one series is a multiple of the other: there is nothing to test."""
    p_value: float
    months: int


def jobson_korkie_memmel(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    ddof: Literal[0, 1] = 0,
    distribution: Literal["normal", "t"] = "normal",
) -> SharpeDifference:
    """Z = (SR_a - SR_b) / sqrt(theta / T) on monthly excess returns of the same months.

    theta = 2 - 2 rho + (SR_a^2 + SR_b^2 - 2 SR_a SR_b rho^2) / 2 (Memmel 2003, in Sharpe ratios).
    Assumes returns that are normal and independent over time; `ledoit_wolf` does not.

    **Variants.** Memmel's z is standard normal (default). Published code also takes Student's t with T - 1
    degrees of freedom (``distribution="t"``), and standard deviations with ddof 1, which shrinks both ratios
    by sqrt((T - 1)/T); correlations do not depend on it.

    Parameters
    ----------
    a, b
        (T,) decimal excess returns, monthly: not annualised.
    alternative
        ``greater``: a has the higher Sharpe ratio (*memory*, section 3.6, tests one-sided).

    Raises
    ------
    InputError
        Lengths differ, fewer than three months, a value not finite, a constant series.
    """
    x, y = checked_series(a=a, b=b)
    require_variation(x, "a")
    require_variation(y, "b")
    months = len(x)
    sharpe_a, sharpe_b = (float(r.mean() / r.std(ddof=ddof)) for r in (x, y))
    rho = float(np.corrcoef(x, y)[0, 1])
    theta = 2 - 2 * rho + (sharpe_a**2 + sharpe_b**2 - 2 * sharpe_a * sharpe_b * rho**2) / 2
    difference = sharpe_a - sharpe_b
    statistic = difference / math.sqrt(theta / months) if theta > 1e-12 else math.nan
    p_value = (
        normal_p_value(statistic, alternative)
        if distribution == "normal"
        else student_p_value(statistic, alternative, months - 1)
    )
    return SharpeDifference(difference, statistic, p_value, months)
