"""Average slopes of monthly cross-sectional regressions (Fama, MacBeth 1973), by linearmodels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.inference.newey_west import newey_west_lags
from seqpricing_core.inference.series import normal_p_value


def estimate_fama_macbeth(
    panel: pl.DataFrame,
    dependent: str,
    regressors: Sequence[str],
    *,
    asset: str = "asset_id",
    lags: int | None = None,
) -> pl.DataFrame:
    """Each month's least squares with an intercept, slopes averaged over months.

    With the excess return on the left and ``expected_return`` on the right, a slope of one and an intercept
    of zero say that forecasts are unbiased across stocks (Lewellen 2015).

    **Timing.** Regressors of month t must have been known at the end of t-1; the panel's are.

    Parameters
    ----------
    panel
        ``month``, ``asset``, ``dependent`` and ``regressors``. Rows that miss one of these are left out, and
        months that do not have more rows than coefficients.
    lags
        Of the Newey-West error of the mean; `newey_west_lags` by default, 0 for Fama and MacBeth's own.

    Returns
    -------
    DataFrame
        ``coefficient`` (``intercept``, then ``regressors``), ``estimate``, ``standard_error``,
        ``t_statistic``, ``p_value`` (two-sided, normal), ``lags``, ``months``.

    Raises
    ------
    InputError
        Values not finite, an asset twice in a month, fewer than five usable months, or regressors that are
        constant or collinear in a month.
    """
    from linearmodels.panel import FamaMacBeth

    names = list(regressors)
    table = panel.select("month", asset, dependent, *names).drop_nulls()
    usable = pl.len().over("month") > len(names) + 1
    table = table.filter(usable).sort("month", asset)
    _check(table, dependent, names, asset)
    months = table["month"].n_unique()
    chosen = newey_west_lags(months) if lags is None else lags
    # linearmodels wants pandas, indexed by entity and time.
    frame = table.with_columns(pl.col("month").cast(pl.Datetime("ns"))).to_pandas()
    frame = frame.assign(intercept=1.0).set_index([asset, "month"])
    fit = FamaMacBeth(frame[dependent], frame[["intercept", *names]]).fit(
        cov_type="kernel", kernel="bartlett", bandwidth=chosen, debiased=False
    )
    statistics = [float(b / s) for b, s in zip(fit.params, fit.std_errors, strict=True)]
    return pl.DataFrame(
        {
            "coefficient": ["intercept", *names],
            "estimate": np.asarray(fit.params, np.float64),
            "standard_error": np.asarray(fit.std_errors, np.float64),
            "t_statistic": statistics,
            "p_value": [normal_p_value(s, "two-sided") for s in statistics],
            "lags": chosen,
            "months": months,
        }
    )


def _check(table: pl.DataFrame, dependent: str, names: Sequence[str], asset: str) -> None:
    where, values = "Fama-MacBeth regression", [dependent, *names]
    if table["month"].n_unique() < 5:
        raise InputError(
            f"{table['month'].n_unique()} usable month(s)",
            where=where,
            expected="at least five months with more stocks than coefficients",
            remedy="test more years, or use fewer regressors",
        )
    if table.select("month", asset).is_duplicated().any():
        raise InputError(
            "an asset stands twice in a month",
            where=where,
            expected="one row per asset and month",
            remedy="run one model at a time",
        )
    finite = table.select(pl.all_horizontal(pl.col(values).cast(pl.Float64).is_finite()).all()).item()
    if not finite:
        raise InputError(
            "a value is not finite",
            where=f"{where}, columns {', '.join(values)}",
            expected="finite numbers, or null",
            remedy="correct the rows or leave them out",
        )
    for (month,), rows in table.group_by("month", maintain_order=True):
        x = rows.select(names).to_numpy().astype(np.float64)
        if np.linalg.matrix_rank(x - x.mean(axis=0)) < len(names):
            raise InputError(
                "the regressors are constant or collinear",
                where=f"{where}, month {month}",
                expected="regressors that vary and are not combinations of each other",
                remedy="leave out the month or a regressor",
            )
