"""What every test asks of its series, and the p-value of a statistic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from seqpricing_core.errors import InputError

Float64: TypeAlias = npt.NDArray[np.float64]
Alternative: TypeAlias = Literal["two-sided", "greater", "less"]


def checked_series(*, minimum: int = 3, **series: npt.ArrayLike) -> list[Float64]:
    """The named series as arrays of one length over the same months.

    Raises
    ------
    InputError
        A value that is missing or not finite, lengths that differ, fewer months than ``minimum``.
    """
    arrays = {name: np.asarray(values, np.float64) for name, values in series.items()}
    months = {name: len(values) for name, values in arrays.items()}
    if len(set(months.values())) > 1:
        raise InputError(
            "the series differ in length",
            where=", ".join(f"{name}: {n} months" for name, n in months.items()),
            expected="the same months in each",
            remedy="keep the common months",
        )
    for name, values in arrays.items():
        if len(values) < minimum:
            raise InputError(
                f"{len(values)} month(s) are too few",
                where=name,
                expected=f"at least {minimum} months",
                remedy="test more years, or leave this test out",
            )
        if not np.isfinite(values).all():
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise InputError(
                f"the value is {values[at]}",
                where=f"{name}, position {', '.join(map(str, at))}",
                expected="a finite number in every month",
                remedy="leave out that month in every series",
            )
    return list(arrays.values())


def as_columns(values: npt.ArrayLike) -> Float64:
    """(T, C); a single series (T,) is one column."""
    array = np.asarray(values, np.float64)
    return array[:, None] if array.ndim == 1 else array


def checked_block(length: int | None, months: int, default: Callable[[], int]) -> int:
    """The block length asked for, or the default one.

    Raises
    ------
    InputError
        Blocks longer than half of the months, or shorter than one.
    """
    if length is None:
        return default()
    if not 1 <= length <= months // 2:
        raise InputError(
            f"blocks of {length} months",
            where=f"bootstrap of {months} months",
            expected=f"1 to {months // 2}",
            remedy="leave the block length to its default",
        )
    return length


def varies(values: Float64) -> bool:
    """Whether the series moves by more than rounding."""
    return bool(np.ptp(values) > 1e-12 * max(1e-300, float(np.abs(values).max())))


def require_variation(values: Float64, name: str) -> None:
    """Refuse a constant series: it has no Sharpe ratio and no standard error."""
    if not varies(values):
        raise InputError(
            f"the series is constant at {values[0]:g}",
            where=name,
            expected="returns that vary",
            remedy="leave this series out",
        )


def normal_p_value(statistic: float, alternative: Alternative) -> float:
    """P-value of a standard normal statistic; NaN of NaN."""
    from scipy.stats import norm

    return _p_value(norm, statistic, alternative)


def student_p_value(statistic: float, alternative: Alternative, degrees_of_freedom: int) -> float:
    """P-value of a statistic that follows Student's t."""
    from scipy.stats import t

    return _p_value(t(degrees_of_freedom), statistic, alternative)


def _p_value(distribution: object, statistic: float, alternative: Alternative) -> float:
    upper = distribution.sf  # type: ignore[attr-defined]
    if alternative == "two-sided":
        return float(2 * upper(abs(statistic)))
    return float(upper(statistic if alternative == "greater" else -statistic))
