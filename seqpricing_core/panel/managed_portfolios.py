"""Managed portfolios x_t = (Z'Z)^-1 Z' r_t, and the Gram matrices they come from.

The returns of P + 1 portfolios whose weights are the characteristics: the input of the factor
networks, and test assets. A constant column is appended to Z (Kelly, Pruitt, Su 2019; Gu, Kelly, Xiu
2021), so that the level of the market is among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from seqpricing_core.months import Months
from seqpricing_core.panel.panel import Float32, Float64, Int64, Panel

CONDITION_LIMIT = 1e12
"""Above it Z'Z counts as singular: median-filled columns can be constant."""


@dataclass(frozen=True)
class ManagedPortfolios:
    """Per month: Z'Z, Z'r and x. Q = P + 1 with the constant, P without."""

    suffix: ClassVar[str] = "safetensors"

    months: Months
    """(T,)"""
    gram: Float64
    """(T, Q, Q) Z'Z"""
    cross: Float64
    """(T, Q) Z'r"""
    x: Float64
    """(T, Q) managed portfolio returns"""
    condition_number: Float64
    """(T,) of Z'Z; above `CONDITION_LIMIT` the pseudo-inverse was used."""
    stocks: Int64
    """(T,)"""

    def __len__(self) -> int:
        return len(self.months)

    def between(self, first_year: int, last_year: int) -> ManagedPortfolios:
        """The months of whole years."""
        years = self.months.astype("datetime64[Y]").astype(int) + 1970
        keep = slice(*np.searchsorted(years, [first_year, last_year + 1]))
        return ManagedPortfolios(
            self.months[keep], self.gram[keep], self.cross[keep], self.x[keep],
            self.condition_number[keep], self.stocks[keep],
        )  # fmt: skip

    @classmethod
    def concatenate(cls, parts: Sequence[ManagedPortfolios]) -> ManagedPortfolios:
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in _names()))

    def to_bytes(self) -> bytes:
        arrays = {name: getattr(self, name) for name in _names()}
        arrays["months"] = self.months.astype("datetime64[M]").astype(np.int64)
        return safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()})

    @classmethod
    def from_files(cls, paths: Sequence[Path]) -> ManagedPortfolios:
        return cls.concatenate([cls._of_arrays(safetensors.numpy.load_file(path)) for path in paths])

    @classmethod
    def from_bytes(cls, data: bytes) -> ManagedPortfolios:
        """What `to_bytes` gave."""
        return cls._of_arrays(safetensors.numpy.load(data))

    @classmethod
    def _of_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> ManagedPortfolios:
        months = arrays["months"].astype("datetime64[M]")
        return cls(**arrays | {"months": months})


def with_constant(characteristics: Float32, *, constant: bool) -> Float64:
    """(N, Q) Z in double precision, with a last column of ones if ``constant``."""
    z = characteristics.astype(np.float64)
    return np.column_stack([z, np.ones(len(z))]) if constant else z


def compute_managed_portfolios(panel: Panel, *, constant: bool = True) -> ManagedPortfolios:
    """x_t = (Z'Z)^-1 Z' r_t for every month of the panel.

    Stocks without a return in t are left out. **Timing.** Z is known at the end of t-1, r_t is not:
    x_t belongs to the outcome of month t.
    """
    panel = panel.with_returns()
    months, q = len(panel.months), panel.characteristics.shape[1] + int(constant)
    gram, cross, x = np.empty((months, q, q)), np.empty((months, q)), np.empty((months, q))
    condition_number = np.empty(months)
    for t in range(months):
        z = with_constant(panel.characteristics[panel.rows(t)], constant=constant)
        gram[t] = z.T @ z
        cross[t] = z.T @ panel.excess_return[panel.rows(t)]
        condition_number[t] = np.linalg.cond(gram[t])
        x[t] = solve_gram(gram[t], cross[t])
    return ManagedPortfolios(panel.months, gram, cross, x, condition_number, np.diff(panel.offsets))


def solve_gram(gram: Float64, right: Float64) -> Float64:
    """(Z'Z)^-1 right by Cholesky, by the pseudo-inverse where Z'Z is singular.

    Parameters
    ----------
    gram : (Q, Q)
    right : (Q,) or (Q, M)
    """
    if np.linalg.cond(gram) > CONDITION_LIMIT:
        minimum_norm: Float64 = np.linalg.pinv(gram, rcond=1 / CONDITION_LIMIT, hermitian=True) @ right
        return minimum_norm
    lower = np.linalg.cholesky(gram)
    solution: Float64 = np.linalg.solve(lower.T, np.linalg.solve(lower, right))
    return solution


def _names() -> list[str]:
    return [field.name for field in fields(ManagedPortfolios)]
