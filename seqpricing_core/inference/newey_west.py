"""Means of monthly series with standard errors after Newey and West (1987)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqpricing_core.inference.series import Float64, as_columns, checked_series, normal_p_value


@dataclass(frozen=True)
class Coefficient:
    """An estimate with its Newey-West error and the two-sided p-value of its normal statistic."""

    estimate: float
    standard_error: float
    statistic: float
    p_value: float


@dataclass(frozen=True)
class Regression:
    """Intercept first, then the slopes; R2 is centred."""

    coefficients: tuple[Coefficient, ...]
    r_squared: float
    residuals: Float64
    lags: int
    months: int


def newey_west_lags(months: int) -> int:
    """floor(4 (T/100)^(2/9)) (Newey, West 1994, for the Bartlett kernel): 4 of 120 months, 5 of 300."""
    return int(4 * (months / 100) ** (2 / 9))


def newey_west_regression(
    returns: npt.ArrayLike, regressors: npt.ArrayLike, lags: int | None = None
) -> Regression:
    """Least squares with an intercept and a Bartlett-kernel covariance of `newey_west_lags`, by statsmodels.

    No small-sample factor (``use_correction=False``, the formula of the paper) and normal p-values.

    Parameters
    ----------
    returns
        (T,).
    regressors
        (T, N); N may be 0: the mean alone.

    Raises
    ------
    InputError
        As `checked_series`; needs three months more than there are coefficients.
    """
    import statsmodels.api as sm

    columns = as_columns(regressors)
    y, x = checked_series(minimum=columns.shape[1] + 4, returns=returns, regressors=columns)
    chosen = newey_west_lags(len(y)) if lags is None else lags
    design = np.column_stack([np.ones(len(y)), x])
    fit = sm.OLS(y, design).fit(cov_type="HAC", cov_kwds={"maxlags": chosen, "use_correction": False})
    coefficients = tuple(
        Coefficient(float(b), float(s), float(b / s), normal_p_value(float(b / s), "two-sided"))
        for b, s in zip(fit.params, fit.bse, strict=True)
    )
    residuals = np.asarray(fit.resid, np.float64)
    return Regression(coefficients, float(fit.rsquared) if x.size else 0.0, residuals, chosen, len(y))
