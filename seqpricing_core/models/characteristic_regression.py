"""Least squares of returns on a few characteristics: what the linear benchmarks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqpricing_core.panel.managed_portfolios import solve_gram, with_constant
from seqpricing_core.panel.panel import Float32, Float64, Int64, Panel, Sample


@dataclass(frozen=True)
class Regressors:
    """Some characteristics of the panel and, after them, a constant: M = their number + 1."""

    columns: Int64
    """(M - 1,) where they are among the panel's characteristics."""

    @classmethod
    def named(cls, characteristics: Sequence[str], panel: Panel) -> Regressors:
        """By acronym, in this order."""
        return cls(np.array([panel.characteristic_names.index(acronym) for acronym in characteristics]))

    def of(self, characteristics: Float32) -> Float64:
        """(N, P) -> (N, M)"""
        return with_constant(characteristics[:, self.columns], constant=True)


def regress_on_interactions(regressors: Regressors, samples: Sequence[Sample], factors: Float64) -> Float64:
    """Pooled least squares of r_it on w_i,t-1 kron f_t.

    B solves  sum_t (W_t'W_t kron f_t f_t') vec(B) = sum_t vec(W_t' r_t f_t'), month by month in double
    precision, so that no copy of the panel is made. Where regressors are collinear, such as a
    characteristic that never varies, the solution of least norm.

    Parameters
    ----------
    samples
        In the order of time; stocks without a return are left out.
    factors : (T, K)
        Of their months. Ones (T, 1) make it the regression on the characteristics alone.

    Returns
    -------
    (M, K) coefficients.
    """
    m, k = len(regressors.columns) + 1, factors.shape[1]
    gram, right = np.zeros((m * k, m * k)), np.zeros((m, k))
    months = ((sample, t) for sample in samples for t in range(len(sample)))
    for (sample, t), f in zip(months, factors, strict=True):
        returns = sample.outcome(t).excess_return
        there = ~np.isnan(returns)
        w = regressors.of(sample.known(t).characteristics[there])
        gram += np.kron(w.T @ w, np.outer(f, f))
        right += np.outer(w.T @ returns[there], f)
    return solve_normal_equations(gram, right.ravel()).reshape(m, k)


def solve_normal_equations(gram: Float64, right: Float64) -> Float64:
    """(X'X)^-1 X'y, with columns scaled to equal length first: factors differ in size."""
    length = np.sqrt(np.diag(gram))
    length = np.where(length > 0, length, 1.0)
    return solve_gram(gram / np.outer(length, length), right / length) / length
