"""Do factors add to a benchmark, or price better than others? Barillas, Kan, Robotti, Shanken (2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqpricing_core.errors import InputError
from seqpricing_core.inference.grs import GRS, gibbons_ross_shanken
from seqpricing_core.inference.series import Float64, as_columns, checked_series, normal_p_value


@dataclass(frozen=True)
class SquaredSharpeDifference:
    """Squared monthly Sharpe ratios (ddof 0) of two models' tangency portfolios, and a minus b."""

    a: float
    b: float
    difference: float
    standard_error: float
    statistic: float
    p_value: float
    months: int


def nested_squared_sharpe(added: npt.ArrayLike, benchmark: npt.ArrayLike) -> GRS:
    """Benchmark g against g with f: SR^2(f, g) - SR^2(g) = alpha_f' S^-1 alpha_f (Barillas et al., eq. 2).

    The null of no improvement is alpha_f = 0 in f = alpha + B g + e, so the test is Gibbons, Ross and
    Shanken's with f as its test assets (*deepchar*, appendix C).

    **Departure.** Appendix C prints (T/P) (T-P-D)/(T-D-1) before a difference of sample ratios; that
    factor belongs to an unbiased residual covariance, with divisor T-D-1, and a factor covariance with
    divisor T. With divisor T in both, as here, the factor is (T-P-D)/P; the statistic is the same.

    Parameters
    ----------
    added
        (T, P) factors f.
    benchmark
        (T, D) factors g.
    """
    return gibbons_ross_shanken(added, benchmark)


def squared_sharpe_difference(a: npt.ArrayLike, b: npt.ArrayLike) -> SquaredSharpeDifference:
    """Two models neither of which contains the other; two-sided, normal.

    With u_t = mu' V^-1 (f_t - mu) and SR^2 = mu' V^-1 mu, the difference of sample SR^2 has the asymptotic
    variance E[d_t^2] / T, d_t = 2 (u_a - u_b) - (u_a^2 - u_b^2) + (SR_a^2 - SR_b^2) (Barillas et al. 2020).
    Returns may be non-normal but not dependent over time. Models whose tangency portfolios coincide have no
    such limit; use `nested_squared_sharpe` where one contains the other.

    Parameters
    ----------
    a, b
        (T, N_a), (T, N_b) traded factors, the same months. They may share some.

    Raises
    ------
    InputError
        As `checked_series`; linearly dependent factors; not more months than factors.
    """
    x, y = checked_series(a=as_columns(a), b=as_columns(b))
    squared_a, u_a = _tangency(x, "a")
    squared_b, u_b = _tangency(y, "b")
    months, difference = len(x), squared_a - squared_b
    d = 2 * (u_a - u_b) - (u_a**2 - u_b**2) + difference
    error = math.sqrt(float(np.mean(d**2)) / months)
    statistic = difference / error if error > 1e-12 else math.nan
    p_value = normal_p_value(statistic, "two-sided")
    return SquaredSharpeDifference(squared_a, squared_b, difference, error, statistic, p_value, months)


def _tangency(factors: Float64, name: str) -> tuple[float, Float64]:
    """Squared Sharpe ratio, and (T,) u_t."""
    mean = factors.mean(axis=0)
    centred = factors - mean
    if len(factors) <= factors.shape[1] or np.linalg.matrix_rank(centred) < factors.shape[1]:
        raise InputError(
            "linearly dependent factors, or not more months than factors",
            where=f"squared Sharpe ratio of {name}",
            expected="factors of full rank",
            remedy="leave out a factor that others span",
        )
    weights = np.linalg.solve(centred.T @ centred / len(factors), mean)
    return float(mean @ weights), centred @ weights
