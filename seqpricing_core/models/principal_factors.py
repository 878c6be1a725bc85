"""Observed factors: the first K principal components of the managed portfolios.

The weights W come from training months alone and are carried forward: f_t = W' x_t in every month, so a
factor is a fixed portfolio of the managed portfolios, and of month t it needs their returns only.

**Not demeaned.** The components are those of the second moments sum_t x_t x_t', and f_t keeps its mean. A
managed portfolio's mean is a risk premium; the models on these factors have no intercept, and their R2 is
not demeaned either. The first K components then are what best reproduces x_t itself, the mean
included (Lettau and Pelger 2020 with gamma = 0; demeaning first would be their gamma = -1), and mu, which
prices, is the mean of the factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from seqpricing_core.errors import InputError
from seqpricing_core.models.factor_model import Arrays
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios, with_constant
from seqpricing_core.panel.panel import Float64, MonthKnown, MonthOutcome

RANK_TOLERANCE = 1e-10
"""Singular values below this share of the largest count as zero."""


@dataclass(frozen=True)
class PrincipalFactors:
    """Weights of K portfolios of the managed portfolios."""

    weights: Float64
    """(Q, K) orthonormal columns, by falling second moment of their factor."""
    of_averages: bool
    """Of Z'r_t / N_t; else of x_t = (Z'Z)^-1 Z'r_t."""

    def over(self, managed: ManagedPortfolios) -> Float64:
        """(T, K) f_t of all its months, decimal."""
        factors: Float64 = _returns(managed, averages=self.of_averages) @ self.weights
        return factors

    def of_month(self, known: MonthKnown, outcome: MonthOutcome) -> Float64:
        """(K,) f_t, decimal; needs month t."""
        x = outcome.managed_portfolios
        if self.of_averages:
            there = ~np.isnan(outcome.excess_return)
            constant = len(self.weights) > known.characteristics.shape[1]
            z = with_constant(known.characteristics[there], constant=constant)
            x = z.T @ outcome.excess_return[there] / there.sum()
        factors: Float64 = x @ self.weights
        return factors

    def first(self, number: int) -> PrincipalFactors:
        """The first of them: components are nested."""
        # In one piece, as a file restores it: products of strided arrays can differ in the last bit.
        return PrincipalFactors(np.ascontiguousarray(self.weights[:, :number]), self.of_averages)

    def state(self) -> Arrays:
        return {"weights": self.weights, "of_averages": np.array(self.of_averages)}

    @classmethod
    def from_state(cls, state: Arrays) -> PrincipalFactors:
        return cls(state["weights"], bool(state["of_averages"]))


def principal_factors(
    managed: ManagedPortfolios, number: int, portfolios: Literal["slopes", "averages"] = "slopes"
) -> PrincipalFactors:
    """First principal components, signed so that every factor has a positive mean.

    Parameters
    ----------
    managed
        Of the training months, and of no other.
    number
        K.
    portfolios
        ``slopes`` x_t = (Z'Z)^-1 Z'r_t, or ``averages`` Z'r_t / N_t.

    Raises
    ------
    InputError
        K exceeds the rank of the portfolios: too few months, or characteristics that say the same.
    """
    averages = portfolios == "averages"
    returns = _returns(managed, averages=averages)
    _, singular_values, directions = np.linalg.svd(returns, full_matrices=False)
    rank = int((singular_values > RANK_TOLERANCE * singular_values[0]).sum())
    if number > rank:
        raise InputError(
            f"{number} principal components of managed portfolios that have rank {rank}",
            where=f"the training months {managed.months[0]} .. {managed.months[-1]}, "
            f"{returns.shape[1]} managed portfolios",
            expected=f"number_of_factors up to {rank}",
            remedy="lower number_of_factors, train on more years, or drop characteristics that are constant",
        )
    weights = np.ascontiguousarray(directions[:number].T)
    sign = np.where((returns @ weights).mean(axis=0) < 0, -1.0, 1.0)
    return PrincipalFactors(weights * sign, averages)


def _returns(managed: ManagedPortfolios, *, averages: bool) -> Float64:
    """(T, Q)"""
    mean: Float64 = managed.cross / managed.stocks[:, None]
    return mean if averages else managed.x
