"""What published factors leave unexplained: alphas with Newey-West errors."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from seqpricing_core.evaluation.factor_returns import FactorReturns
from seqpricing_core.inference.newey_west import Regression, newey_west_regression
from seqpricing_core.inference.series import varies

FACTOR_MODELS: Final[dict[str, tuple[str, ...]]] = {
    "mean": (),
    "CAPM": ("market",),
    "FF3": ("market", "smb", "hml"),
    "FF5": ("market", "smb", "hml", "rmw", "cma"),
    "FF5+MOM": ("market", "smb", "hml", "rmw", "cma", "momentum"),
}
"""``mean``: no factor, so alpha is the mean return and its t-statistic."""
COLUMNS: Final = {
    "factor_model": pl.String, "alpha": pl.Float64, "standard_error": pl.Float64, "t_statistic": pl.Float64,
    "p_value": pl.Float64, "market_beta": pl.Float64, "r_squared": pl.Float64, "lags": pl.Int64,
    "months": pl.Int64, "reason": pl.String,
}  # fmt: skip
EXPOSURES: Final = {"factor_model": pl.String, "factor": pl.String} | dict.fromkeys(
    ("beta", "standard_error", "t_statistic", "p_value", "r_squared"), pl.Float64
) | {"months": pl.Int64}  # fmt: skip


def compute_alphas(
    returns: pl.DataFrame, factors: FactorReturns | None, column: str = "return", lags: int | None = None
) -> pl.DataFrame:
    """Alpha of one strategy against each of `FACTOR_MODELS`.

    r_t = alpha + b' f_t + e_t over the months that have the return and every factor of the model; lags by
    `newey_west_lags` of those months.

    Parameters
    ----------
    returns
        ``month`` and ``column`` (decimal excess return, before costs or after).
    factors
        None where a study has none.

    Returns
    -------
    DataFrame
        One row per model: ``factor_model``, ``alpha`` and its ``standard_error`` (monthly, decimal),
        ``t_statistic``, ``p_value`` (two-sided, normal), ``market_beta``, ``r_squared``, ``lags``,
        ``months``, ``reason``. An alpha that cannot be estimated is null, never zero, and ``reason`` says
        why.
    """
    rows = [_alpha(returns, factors, column, model, lags) for model in FACTOR_MODELS]
    return pl.DataFrame(rows, schema=COLUMNS)


def compute_exposures(
    returns: pl.DataFrame, factors: FactorReturns | None, column: str = "return", lags: int | None = None
) -> pl.DataFrame:
    """Slopes of one strategy on the factors of the largest of `FACTOR_MODELS` that can be estimated.

    Parameters are those of `compute_alphas`, and so is the regression.

    Returns
    -------
    DataFrame
        One row per factor: ``factor_model``, ``factor``, ``beta`` and its ``standard_error``,
        ``t_statistic``, ``p_value`` (two-sided, normal), ``r_squared`` of the regression, ``months``. No row
        where no factor model can be estimated.
    """
    for model in reversed(FACTOR_MODELS):
        fit = _regression(returns, factors, column, model, lags)
        if FACTOR_MODELS[model] and isinstance(fit, Regression):
            slopes = zip(FACTOR_MODELS[model], fit.coefficients[1:], strict=True)
            rows = [
                (
                    model,
                    factor,
                    b.estimate,
                    b.standard_error,
                    b.statistic,
                    b.p_value,
                    fit.r_squared,
                    fit.months,
                )
                for factor, b in slopes
            ]
            return pl.DataFrame(rows, schema=EXPOSURES, orient="row")
    return pl.DataFrame(schema=EXPOSURES)


def _alpha(
    returns: pl.DataFrame, factors: FactorReturns | None, column: str, model: str, lags: int | None
) -> dict[str, object]:
    fit = _regression(returns, factors, column, model, lags)
    if not isinstance(fit, Regression):
        return {"factor_model": model, **fit}
    alpha, with_factors = fit.coefficients[0], bool(FACTOR_MODELS[model])
    return {
        "factor_model": model,
        "alpha": alpha.estimate,
        "standard_error": alpha.standard_error,
        "t_statistic": alpha.statistic,
        "p_value": alpha.p_value,
        "market_beta": fit.coefficients[1].estimate if with_factors else None,
        "r_squared": fit.r_squared if with_factors else None,
        "lags": fit.lags,
        "months": fit.months,
        "reason": None,
    }


def _regression(
    returns: pl.DataFrame, factors: FactorReturns | None, column: str, model: str, lags: int | None
) -> Regression | dict[str, object]:
    """The regression, or the months and the reason why there is none."""
    names = list(FACTOR_MODELS[model])
    if names and (factors is None or factors.lacking(names)):
        lacking = ", ".join(names if factors is None else factors.lacking(names))
        return {"reason": f"no factor returns of {lacking}"}
    table = returns.select("month", column).drop_nulls()
    if factors is not None and names:
        table = table.join(factors.table.select("month", *names).drop_nulls(), on="month")
    table = table.sort("month")
    y, x = table[column].to_numpy(), table.select(names).to_numpy().reshape(len(table), len(names))
    if len(y) < len(names) + 4:
        return {"months": len(y), "reason": f"{len(y)} months with returns and factors"}
    design = np.column_stack([np.ones(len(y)), x])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return {"months": len(y), "reason": "the factors are collinear in these months"}
    residuals = y - design @ np.linalg.lstsq(design, y)[0]
    if not varies(y) or np.abs(residuals).max() < 1e-12:
        return {"months": len(y), "reason": "the factors explain every month exactly"}
    return newey_west_regression(y, x, lags)
