"""Observed-factor benchmarks: principal components of x_t as factors, and a regression on them.

    r_it = g(z_i,t-1, f_t) + u_it,    f_t = W' x_t

*memory* reports OLS and random forests for every K and does not define them; this is our reading.
The weights W come from the training months (`principal_factors`). g is linear in
(size, value, momentum, 1) kron f_t, or a random forest of all characteristics and f_t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seqpricing_core.models.characteristic_regression import Regressors, regress_on_interactions
from seqpricing_core.models.configs import OLS, RandomForest
from seqpricing_core.models.factor_model import (
    Arrays,
    FittedFactorModel,
    LatentFactorModel,
    factor_history,
)
from seqpricing_core.models.principal_factors import PrincipalFactors, principal_factors
from seqpricing_core.models.random_forest import Forest, ForestRows, fit_forests, with_factors
from seqpricing_core.panel.panel import Float64, MonthKnown, MonthOutcome
from seqpricing_core.study import Training
from seqpricing_core.windows import WindowSamples

Fits = dict[int, tuple[FittedFactorModel, ...]]


@dataclass(frozen=True)
class LinearLoadings(LatentFactorModel):
    """Loadings linear in a few characteristics: beta_i,t-1 = B' (z_i,t-1, 1)."""

    principal: PrincipalFactors
    regressors: Regressors
    coefficients: Float64
    """(M, K) B"""

    def factor_loadings(self, known: MonthKnown) -> Float64:
        """(N, K)"""
        loadings: Float64 = self.regressors.of(known.characteristics) @ self.coefficients
        return loadings

    def latent_factors(self, known: MonthKnown, outcome: MonthOutcome) -> Float64:
        """(K,) W' x_t"""
        return self.principal.of_month(known, outcome)

    def state(self) -> Arrays:
        own = {"columns": self.regressors.columns, "coefficients": self.coefficients}
        return {**self.principal.state(), **own}


@dataclass(frozen=True)
class ForestGivenFactors:
    """Returns by a random forest of z_i,t-1 and f_t; a `FactorModel` without loadings."""

    principal: PrincipalFactors
    forest: Forest

    def returns_given(self, known: MonthKnown, factors: Float64) -> Float64:
        """(N,)"""
        return self.forest.predict(with_factors(known.characteristics, factors))

    def latent_factors(self, known: MonthKnown, outcome: MonthOutcome) -> Float64:
        """(K,) W' x_t"""
        return self.principal.of_month(known, outcome)

    def state(self) -> Arrays:
        return {**self.principal.state(), **self.forest.state()}


def fit(
    config: OLS | RandomForest, factor_numbers: Sequence[int], samples: WindowSamples, training: Training
) -> Fits:
    """One fit per K for least squares, one per K and seed for forests.

    **Timing.** W from the training months. Least squares, which has nothing to choose, also uses
    the validation months, as IPCA does; a forest chooses its size on them.

    Raises
    ------
    InputError
        The largest K exceeds the rank of x over the training months.
    """
    principal = principal_factors(samples.train.managed, max(factor_numbers), config.portfolios)
    if isinstance(config, OLS):
        return {k: (_fit_linear(config, principal.first(k), samples),) for k in factor_numbers}
    return _fit_forests(config, factor_numbers, principal, samples, training)


def restore(
    config: OLS | RandomForest, factors: int, record: dict[str, Any], state: Arrays
) -> LinearLoadings | ForestGivenFactors:
    """The fitted model from its arrays."""
    del factors, record
    principal = PrincipalFactors.from_state(state)
    if isinstance(config, OLS):
        return LinearLoadings(principal, Regressors(state["columns"]), state["coefficients"])
    return ForestGivenFactors(principal, Forest.from_state(state))


def _fit_linear(config: OLS, principal: PrincipalFactors, samples: WindowSamples) -> FittedFactorModel:
    train, validation = samples.train, samples.validation
    regressors = Regressors.named(config.characteristics, train.panel)
    factors = principal.over(validation.managed)  # reaches back to the first month of training
    coefficients = regress_on_interactions(regressors, (train, validation), factors)
    model = LinearLoadings(principal, regressors, coefficients)
    record = {"regressors": [*config.characteristics, "constant"], "coefficients": coefficients.tolist()}
    return FittedFactorModel(model, factor_history(model, train, validation), record)


def _fit_forests(
    config: RandomForest,
    factor_numbers: Sequence[int],
    principal: PrincipalFactors,
    samples: WindowSamples,
    training: Training,
) -> Fits:
    """Components are nested: the rows of the largest K hold those of every other."""
    train, validation = samples.train, samples.validation
    factors = principal.over(validation.managed)
    rows = ForestRows.of(train, factors[: len(train)])
    held_out = ForestRows.of(validation, factors[len(train) :])
    characteristics = train.panel.characteristics.shape[1]
    fits: Fits = {}
    for k in factor_numbers:
        width = characteristics + k
        forests = fit_forests(config, rows.first(width), held_out.first(width), training)
        models = [(ForestGivenFactors(principal.first(k), forest), record) for forest, record in forests]
        history = factor_history(models[0][0], train, validation)  # the factors know no seed
        fits[k] = tuple(FittedFactorModel(model, history, record) for model, record in models)
    return fits
