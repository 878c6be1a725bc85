"""What every latent factor model is: loadings known before the month, factors estimated after it.

    r_it = beta(z_i,t-1)' f_t + u_it

Two quantities must never be confused, so each exists once, here:
`fitted_returns` uses f_t, `expected_returns` only the mean of f up to t-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from seqpricing_core.months import Months
from seqpricing_core.panel.panel import Float64, MonthKnown, MonthOutcome, Sample


class LatentFactorModel(Protocol):
    """A fitted model; an unfitted one does not exist."""

    def factor_loadings(self, known: MonthKnown) -> Float64:
        """(N, K) beta_t-1, from z_t-1."""
        ...

    def latent_factors(self, known: MonthKnown, outcome: MonthOutcome) -> Float64:
        """(K,) f_t, decimal; needs month t."""
        ...

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything estimated, as named arrays."""
        ...


@dataclass(frozen=True)
class FactorHistory:
    """Factors of past months under one fit (a refit rotates them: never mix two fits)."""

    months: Months
    """(T,) ascending"""
    factors: Float64
    """(T, K) decimal"""

    def risk_premia(self, month: np.datetime64) -> Float64:
        """(K,) mu_t-1: the mean of f over all months before ``month``.

        Raises
        ------
        ValueError
            The history holds ``month`` or a later one, or nothing at all.
        """
        if not len(self.months) or self.months[-1] >= month:
            held = f"{self.months[0]} .. {self.months[-1]}" if len(self.months) else "no month"
            raise ValueError(f"risk premia for {month} need factors of earlier months only. Got {held}")
        premia: Float64 = self.factors.mean(axis=0)
        return premia

    def extended(self, month: np.datetime64, factors: Float64) -> FactorHistory:
        """The history with the factors of the month just over."""
        return FactorHistory(
            np.append(self.months, month.astype("datetime64[M]")), np.vstack([self.factors, factors])
        )


def fitted_returns(loadings: Float64, factors: Float64) -> Float64:
    """(N,) beta_t-1' f_t: what the factors of month t explain (total R2, *memory* eq. 21)."""
    fitted: Float64 = loadings @ factors
    return fitted


def expected_returns(loadings: Float64, risk_premia: Float64) -> Float64:
    """(N,) beta_t-1' mu_t-1: the forecast made at the end of t-1 (predictive R2, *memory* eq. 22)."""
    expected: Float64 = loadings @ risk_premia
    return expected


def factor_history(model: LatentFactorModel, *samples: Sample) -> FactorHistory:
    """Factors of all months of consecutive samples under this fit."""
    pairs = [(s.known(t), s.outcome(t)) for s in samples for t in range(len(s))]
    return FactorHistory(
        months=np.array([known.month for known, _ in pairs], dtype="datetime64[M]"),
        factors=np.stack([model.latent_factors(known, outcome) for known, outcome in pairs]),
    )


@dataclass(frozen=True)
class FittedModel:
    """One fit: the model, its factors over the estimation months, how it came about."""

    model: LatentFactorModel
    history: FactorHistory
    record: dict[str, Any]
    """Candidates tried, losses, epochs, seed; JSON."""
