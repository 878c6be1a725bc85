"""What a fitted model is, and the only two things it says about returns.

    r_it = g(z_i,t-1, f_t) + u_it;    for a latent factor model g is beta(z_i,t-1)' f_t

Two quantities must never be confused, so each exists once, here:
`fitted_returns` uses f_t, `expected_returns` only the mean of f up to t-1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from seqpricing_core.months import Months
from seqpricing_core.panel.panel import Float64, MonthKnown, MonthOutcome, Sample

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any]]


class FactorModel(Protocol):
    """A fitted model of returns given factors; an unfitted one does not exist."""

    def returns_given(self, known: MonthKnown, factors: Float64) -> Float64:
        """(N,) decimal excess returns if the factors (K,) of the month were these."""
        ...

    def latent_factors(self, known: MonthKnown, outcome: MonthOutcome) -> Float64:
        """(K,) f_t, decimal; needs month t."""
        ...

    def state(self) -> Arrays:
        """Everything estimated, as named arrays."""
        ...


class LatentFactorModel(ABC):
    """Returns linear in the factors, with loadings known before the month; a `FactorModel`."""

    @abstractmethod
    def factor_loadings(self, known: MonthKnown) -> Float64:
        """(N, K) beta_t-1, from z_t-1."""

    @abstractmethod
    def latent_factors(self, known: MonthKnown, outcome: MonthOutcome) -> Float64:
        """(K,) f_t, decimal; needs month t."""

    @abstractmethod
    def state(self) -> Arrays:
        """Everything estimated, as named arrays."""

    def returns_given(self, known: MonthKnown, factors: Float64) -> Float64:
        """(N,) beta_t-1' f"""
        returns: Float64 = self.factor_loadings(known) @ factors
        return returns


class ReturnForecaster(Protocol):
    """A fitted model that forecasts and has no factors."""

    def expected_returns(self, known: MonthKnown) -> Float64:
        """(N,) decimal excess returns of the month, from z_t-1."""
        ...

    def state(self) -> Arrays:
        """Everything estimated, as named arrays."""
        ...


@runtime_checkable
class SequenceForecaster(Protocol):
    """A forecaster that reads the characteristics of months before t-1 too."""

    def expected_returns_of_months(self, months: Sequence[MonthKnown]) -> list[Float64]:
        """(N,) of each of some consecutive months."""
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


def fitted_returns(model: FactorModel, known: MonthKnown, factors: Float64) -> Float64:
    """(N,) what the factors f_t of the month itself explain (total R2, *memory* eq. 21)."""
    return model.returns_given(known, factors)


def expected_returns(model: FactorModel, known: MonthKnown, history: FactorHistory) -> Float64:
    """(N,) the forecast made at the end of t-1, with factors at their mean so far (*memory* eq. 22)."""
    return model.returns_given(known, history.risk_premia(known.month))


def factor_history(model: FactorModel, *samples: Sample) -> FactorHistory:
    """Factors of all months of consecutive samples under this fit."""
    pairs = [(s.known(t), s.outcome(t)) for s in samples for t in range(len(s))]
    return FactorHistory(
        months=np.array([known.month for known, _ in pairs], dtype="datetime64[M]"),
        factors=np.stack([model.latent_factors(known, outcome) for known, outcome in pairs]),
    )


@dataclass(frozen=True)
class FittedFactorModel:
    """One fit: the model, its factors over the estimation months, how it came about."""

    model: FactorModel
    history: FactorHistory
    record: dict[str, Any]
    """Candidates tried, losses, epochs, seed; JSON."""

    @property
    def months_seen(self) -> tuple[np.datetime64, np.datetime64]:
        """First and last month of estimation."""
        return self.history.months[0], self.history.months[-1]


@dataclass(frozen=True)
class FittedForecaster:
    """One fit of a model without factors, and how it came about."""

    model: ReturnForecaster
    months: Months
    """(T,) those it was fitted on, training and validation"""
    record: dict[str, Any]
    """JSON"""

    @property
    def months_seen(self) -> tuple[np.datetime64, np.datetime64]:
        """First and last month of estimation."""
        return self.months[0], self.months[-1]


FittedModel: TypeAlias = FittedFactorModel | FittedForecaster
