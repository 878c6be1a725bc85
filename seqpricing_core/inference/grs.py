"""Are all alphas zero? Gibbons, Ross, Shanken (1989)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqpricing_core.errors import InputError
from seqpricing_core.inference.series import Float64, as_columns, checked_series


@dataclass(frozen=True)
class GRS:
    """Joint test of N alphas on K factors over T months; alphas monthly and decimal."""

    statistic: float
    p_value: float
    degrees_of_freedom: tuple[int, int]
    alphas: Float64
    squared_sharpe_factors: float
    squared_sharpe_all: float
    """Largest squared Sharpe ratios (monthly, ddof 0) of the factors alone, and with the assets."""


def gibbons_ross_shanken(assets: npt.ArrayLike, factors: npt.ArrayLike) -> GRS:
    """F = (T - N - K)/N * alpha' S^-1 alpha / (1 + mu' O^-1 mu), F(N, T - N - K) under zero alphas.

    S and O are covariances of residuals and factors with divisor T; errors are normal and independent over
    time. The statistic compares the largest squared Sharpe ratios: alpha' S^-1 alpha is what the assets add
    to that of the factors.

    Parameters
    ----------
    assets
        (T, N) decimal excess returns.
    factors
        (T, K) returns of traded factors: excess or long-short.

    Raises
    ------
    InputError
        Not more months than assets and factors, values not finite, residuals or factors that are linearly
        dependent (an asset that the factors explain exactly).
    """
    r, f = checked_series(assets=as_columns(assets), factors=as_columns(factors))
    (months, n), k = r.shape, f.shape[1]
    if months <= n + k:
        raise InputError(
            f"{months} months for {n} assets and {k} factors",
            where="Gibbons-Ross-Shanken test",
            expected=f"more than {n + k} months",
            remedy="test fewer assets at once, or more months",
        )
    design = np.column_stack([np.ones(months), f])
    _require_full_rank(design, "factors")
    coefficients = np.linalg.lstsq(design, r)[0]
    residuals = r - design @ coefficients
    _require_full_rank(residuals / np.maximum(r.std(axis=0), 1e-300), "assets beyond the factors")
    alphas, mean = coefficients[0], f.mean(axis=0)
    centred = f - mean
    added = float(alphas @ np.linalg.solve(residuals.T @ residuals / months, alphas))
    base = float(mean @ np.linalg.solve(centred.T @ centred / months, mean))
    statistic = (months - n - k) / n * added / (1 + base)
    from scipy.stats import f as fisher

    freedom = (n, months - n - k)
    return GRS(statistic, float(fisher.sf(statistic, *freedom)), freedom, alphas, base, base + added)


def _require_full_rank(columns: Float64, name: str) -> None:
    if np.linalg.matrix_rank(columns, tol=1e-9 * np.sqrt(len(columns))) < columns.shape[1]:
        raise InputError(
            "linearly dependent returns",
            where=f"Gibbons-Ross-Shanken test, {name}",
            expected="no column that is a combination of others",
            remedy="leave out a portfolio: a long-short portfolio beside both its legs is one too many",
        )
