"""IPCA: instrumented principal component analysis (Kelly, Pruitt, Su 2019).

beta_t-1 = Z_t-1 Gamma, alternating least squares. With Gamma given, f_t is the regression of r_t on
Z Gamma; with f given, vec(Gamma) solves one linear system. Both need Z'Z_t and Z'r_t only, so an
iteration costs the same for 300 stocks as for 30,000.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqpricing_core.models.configs import IPCA
from seqpricing_core.models.factor_model import (
    Arrays,
    FactorHistory,
    FittedFactorModel,
    LatentFactorModel,
)
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios, with_constant
from seqpricing_core.panel.panel import Float64, MonthKnown, MonthOutcome
from seqpricing_core.study import Training
from seqpricing_core.windows import WindowSamples

RANK_TOLERANCE = 1e-12
"""Eigenvalues of Gamma' Z'Z Gamma below this share of the largest count as zero."""


@dataclass(frozen=True)
class InstrumentedModel(LatentFactorModel):
    """Loadings linear in the characteristics, Q = P (+ 1 with the constant)."""

    gamma: Float64
    """(Q, K), orthonormal columns."""
    constant: bool

    def factor_loadings(self, known: MonthKnown) -> Float64:
        """(N, K) Z_t-1 Gamma."""
        loadings: Float64 = with_constant(known.characteristics, constant=self.constant) @ self.gamma
        return loadings

    def latent_factors(self, known: MonthKnown, outcome: MonthOutcome) -> Float64:
        """(K,) cross-sectional regression of r_t on Z_t-1 Gamma, over the stocks that have a return."""
        there = ~np.isnan(outcome.excess_return)
        solution = np.linalg.lstsq(self.factor_loadings(known)[there], outcome.excess_return[there])[0]
        return solution.astype(np.float64)

    def state(self) -> Arrays:
        return {"gamma": self.gamma, "constant": np.array(self.constant)}

    @classmethod
    def from_state(cls, state: Arrays) -> InstrumentedModel:
        return cls(state["gamma"], bool(state["constant"]))


def fit(
    config: IPCA, factor_numbers: Sequence[int], samples: WindowSamples, training: Training
) -> dict[int, tuple[FittedFactorModel, ...]]:
    """IPCA for every K: deterministic, so one member each."""
    del training  # of networks
    return {factors: (fit_ipca(config, factors, samples),) for factors in factor_numbers}


def restore(config: IPCA, factors: int, record: dict[str, Any], state: Arrays) -> InstrumentedModel:
    """The fitted model from its arrays."""
    del config, factors, record
    return InstrumentedModel.from_state(state)


def fit_ipca(config: IPCA, factors: int, samples: WindowSamples) -> FittedFactorModel:
    """Alternating least squares over training and validation months.

    There is nothing to choose on the validation years, so IPCA estimates on them too: it sees
    the same months as the networks, which use them to stop. No intercept.

    Parameters
    ----------
    factors
        K, at most Q.
    """
    train, validation = samples.train, samples.validation
    managed = validation.managed  # reaches back to the first month of training
    gamma = _first_guess(managed, factors)
    for iteration in itertools.count(1):
        f = estimate_factors(gamma, managed)
        updated, f = _normalise(_estimate_gamma(f, managed), f)
        change = float(np.abs(updated - gamma).max())
        gamma = updated
        if change < config.tolerance or iteration == config.max_iterations:
            break
    model = InstrumentedModel(gamma, constant=managed.x.shape[1] > train.panel.characteristics.shape[1])
    record = {"iterations": iteration, "last_change": change, "converged": change < config.tolerance}
    history = FactorHistory(managed.months, estimate_factors(gamma, managed))
    return FittedFactorModel(model, history, record)


def estimate_factors(gamma: Float64, managed: ManagedPortfolios) -> Float64:
    """(T, K) f_t = (Gamma' Z'Z Gamma)^-1 Gamma' Z'r, of least norm in months with fewer stocks than K."""
    gram = gamma.T @ managed.gram @ gamma
    inverse = np.linalg.pinv(gram, rcond=RANK_TOLERANCE, hermitian=True)
    return np.asarray((inverse @ (managed.cross @ gamma)[..., None])[..., 0], dtype=np.float64)


def _estimate_gamma(f: Float64, managed: ManagedPortfolios) -> Float64:
    """Gamma from  sum_t (Z'Z_t kron f_t f_t') vec(Gamma) = sum_t vec(Z'r_t f_t')."""
    q, k = managed.cross.shape[1], f.shape[1]
    left = np.einsum("tpq,tk,tl->pkql", managed.gram, f, f, optimize=True).reshape(q * k, q * k)
    right = np.einsum("tp,tk->pk", managed.cross, f).reshape(q * k)
    # A constant characteristic makes the system singular: the least-norm solution gives it no weight.
    return np.asarray(np.linalg.lstsq(left, right)[0], dtype=np.float64).reshape(q, k)


def _first_guess(managed: ManagedPortfolios, factors: int) -> Float64:
    """First K principal directions of the managed portfolios."""
    if factors > managed.x.shape[1]:
        raise ValueError(
            f"K must not exceed the number of managed portfolios ({managed.x.shape[1]}). Got {factors}"
        )
    return np.linalg.svd(managed.x, full_matrices=False)[2][:factors].T


def _normalise(gamma: Float64, f: Float64) -> tuple[Float64, Float64]:
    """Gamma'Gamma = I, f'f diagonal and descending, mean of f positive: fixes the rotation."""
    orthonormal, triangular = np.linalg.qr(gamma)
    f = f @ triangular.T
    rotation = np.linalg.svd(f, full_matrices=False)[2].T
    gamma, f = orthonormal @ rotation, f @ rotation
    sign = np.where(f.mean(axis=0) < 0, -1.0, 1.0)
    return gamma * sign, f * sign
