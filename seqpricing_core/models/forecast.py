"""Forecasts of r_i,t from z_i,t-1 without factors (Gu, Kelly, Xiu 2020): OLS-3 and a random forest.

Nothing of month t enters, so there is no fitted return and no K: the one key is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqpricing_core.models.characteristic_regression import (
    Regressors,
    regress_on_interactions,
    solve_normal_equations,
)
from seqpricing_core.models.configs import OLS3Forecast, RandomForestForecast
from seqpricing_core.models.factor_model import Arrays, FittedForecaster
from seqpricing_core.models.random_forest import Forest, ForestRows, fit_forests
from seqpricing_core.panel.panel import Float64, MonthKnown, Sample
from seqpricing_core.study import Training
from seqpricing_core.windows import WindowSamples

NO_FACTORS = 0
"""The K of a forecaster."""
HUBER_ITERATIONS, HUBER_TOLERANCE = 200, 1e-10


@dataclass(frozen=True)
class LinearForecast:
    """r_it = b'(z_i,t-1, 1) + u_it on a few characteristics."""

    regressors: Regressors
    coefficients: Float64
    """(M,)"""

    def expected_returns(self, known: MonthKnown) -> Float64:
        """(N,) decimal"""
        returns: Float64 = self.regressors.of(known.characteristics) @ self.coefficients
        return returns

    def state(self) -> Arrays:
        return {"columns": self.regressors.columns, "coefficients": self.coefficients}


@dataclass(frozen=True)
class ForestForecast:
    """The forecast of a random forest of all characteristics."""

    forest: Forest

    def expected_returns(self, known: MonthKnown) -> Float64:
        """(N,) decimal"""
        return self.forest.predict(known.characteristics)

    def state(self) -> Arrays:
        return self.forest.state()


def fit(
    config: OLS3Forecast | RandomForestForecast,
    factor_numbers: Sequence[int],
    samples: WindowSamples,
    training: Training,
) -> dict[int, tuple[FittedForecaster, ...]]:
    """One regression, or one forest per seed; K plays no part.

    **Timing.** The regression uses training and validation months, as IPCA does; a forest is grown on
    the training months and chooses its size on the validation months.
    """
    del factor_numbers
    if isinstance(config, OLS3Forecast):
        return {NO_FACTORS: (_fit_linear(config, samples),)}
    train, validation = (ForestRows.of(s, _no_factors(s)) for s in (samples.train, samples.validation))
    months = samples.validation.managed.months  # of training and validation
    forests = fit_forests(config, train, validation, training)
    return {NO_FACTORS: tuple(FittedForecaster(ForestForecast(f), months, record) for f, record in forests)}


def restore(
    config: OLS3Forecast | RandomForestForecast, factors: int, record: dict[str, Any], state: Arrays
) -> LinearForecast | ForestForecast:
    """The fitted model from its arrays."""
    del factors, record
    if isinstance(config, OLS3Forecast):
        return LinearForecast(Regressors(state["columns"]), state["coefficients"])
    return ForestForecast(Forest.from_state(state))


def _fit_linear(config: OLS3Forecast, samples: WindowSamples) -> FittedForecaster:
    train, validation = samples.train, samples.validation
    months = validation.managed.months
    regressors = Regressors.named(config.characteristics, train.panel)
    ones = np.ones((len(months), 1))
    coefficients = regress_on_interactions(regressors, (train, validation), ones)[:, 0]
    record: dict[str, Any] = {"regressors": [*config.characteristics, "constant"]}
    if config.loss == "huber":
        rows = [sample.panel.with_returns() for sample in (train, validation)]
        w = np.vstack([regressors.of(panel.characteristics) for panel in rows])
        returns = np.concatenate([panel.excess_return for panel in rows])
        coefficients, details = huber_regression(w, returns, coefficients, config.huber_quantile)
        record |= details
    record["coefficients"] = coefficients.tolist()
    return FittedForecaster(LinearForecast(regressors, coefficients), months, record)


def huber_regression(
    w: Float64, returns: Float64, start: Float64, quantile: float
) -> tuple[Float64, dict[str, Any]]:
    """Minimise  sum H(r - w'b; xi),  H = e^2 within xi, 2 xi |e| - xi^2 beyond (Gu, Kelly, Xiu 2020, eq. 7).

    Iteratively reweighted least squares with weights min(1, xi / |e|). xi is the ``quantile`` of
    the absolute residuals at ``start``, the least-squares solution.

    Parameters
    ----------
    w : (n, M)
    returns : (n,)
    start : (M,)

    Returns
    -------
    (M,) coefficients; xi and the course of the iterations, as JSON.
    """
    threshold = float(np.quantile(np.abs(returns - w @ start), quantile))
    coefficients, change, iteration = start, np.inf, 0
    while change > HUBER_TOLERANCE and iteration < HUBER_ITERATIONS:
        distance = np.abs(returns - w @ coefficients)
        weight = np.where(distance > threshold, threshold / np.maximum(distance, np.finfo(float).tiny), 1.0)
        weighted = w * weight[:, None]
        updated = solve_normal_equations(weighted.T @ w, weighted.T @ returns)
        change = float(np.abs(updated - coefficients).max())
        coefficients, iteration = updated, iteration + 1
    details = {"huber_threshold": threshold, "iterations": iteration, "converged": change <= HUBER_TOLERANCE}
    return coefficients, details


def _no_factors(sample: Sample) -> Float64:
    return np.empty((len(sample), 0))
