"""Does one model forecast better than another? Diebold, Mariano (1995), across stocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqpricing_core.inference.newey_west import newey_west_regression
from seqpricing_core.inference.series import checked_series, varies


@dataclass(frozen=True)
class DieboldMariano:
    """Positive: a has the smaller squared errors."""

    difference: float
    """Mean over months of the cross-sectional mean of e_b^2 - e_a^2, in squared decimal returns."""
    statistic: float
    """NaN where the two never differ."""
    p_value: float
    lags: int
    months: int


def diebold_mariano(
    error_a: npt.ArrayLike, error_b: npt.ArrayLike, *, lags: int | None = None
) -> DieboldMariano:
    """Mean of d_t over its Newey-West error, d_t = (1/n_t) sum_i (e_b,it^2 - e_a,it^2).

    Errors of stocks in one month depend on each other strongly, those of different months weakly; so each
    month is one observation (Gu, Kelly, Xiu 2020; their d_12 is our d with b as model 1 and a as model 2).

    Parameters
    ----------
    error_a, error_b
        (T,) mean squared forecast errors of the same stocks and months.
    lags
        `newey_west_lags` by default.

    Returns
    -------
    DieboldMariano
        ``p_value`` two-sided, normal.

    Raises
    ------
    InputError
        As `checked_series`; fewer than four months.
    """
    a, b = checked_series(minimum=4, error_a=error_a, error_b=error_b)
    d = b - a
    # What differs by rounding alone does not differ.
    if not varies(d) or np.abs(d).max() <= 1e-12 * max(np.abs(a).max(), np.abs(b).max()):
        return DieboldMariano(float(d.mean()), float("nan"), float("nan"), 0, len(d))
    fit = newey_west_regression(d, np.empty((len(d), 0)), lags)
    mean = fit.coefficients[0]
    return DieboldMariano(mean.estimate, mean.statistic, mean.p_value, fit.lags, fit.months)
