"""Feed-forward benchmarks: returns by a network of z_i,t-1 and observed factors, or of z_i,t-1 alone.

    nn:           r_it = g(z_i,t-1, f_t) + u_it,   f_t the first K principal components of x_t
    nn_forecast:  r_it = g(z_i,t-1) + u_it         (Gu, Kelly, Xiu 2020, NN3)

*memory* reports NN for every K and does not define it; this is our reading. g is the loading on a factor
that is always one, so the training engine serves it as it serves beta networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from seqpricing_core.models.configs import NN, HiddenSizes, NNForecast
from seqpricing_core.models.factor_model import (
    Arrays,
    FittedFactorModel,
    FittedForecaster,
    FittedModel,
    factor_history,
)
from seqpricing_core.models.principal_factors import PrincipalFactors, principal_factors
from seqpricing_core.nn.beta_network import BetaNetwork
from seqpricing_core.nn.factor_model_network import FactorModelNetwork
from seqpricing_core.nn.factor_networks import UnitFactor
from seqpricing_core.nn.months import PERCENT
from seqpricing_core.panel.panel import Float32, Float64, MonthKnown, MonthOutcome, Sample
from seqpricing_core.study import Training
from seqpricing_core.training.fit import Winner, train_networks
from seqpricing_core.windows import WindowSamples


@dataclass(frozen=True)
class NetworkForecast:
    """g(z), decimal."""

    network: FactorModelNetwork

    def expected_returns(self, known: MonthKnown) -> Float64:
        """(N,) decimal"""
        return self.of(known.characteristics)

    def of(self, inputs: Float32) -> Float64:
        """(N,) decimal, of any inputs of the network (N, P)."""
        with torch.inference_mode():
            returns = self.network.betas[0].loadings(torch.tensor(inputs))
        decimal: Float64 = returns[0, :, 0].numpy().astype(np.float64) / PERCENT
        return decimal

    def state(self) -> Arrays:
        return {name: tensor[0].numpy() for name, tensor in self.network.state_dict().items()}


@dataclass(frozen=True)
class NetworkGivenFactors:
    """g(z, f), decimal; a `FactorModel` without loadings."""

    principal: PrincipalFactors
    volatility: Float64
    """(K,) of the factors over the training months: the network sees f in units of it."""
    forecast: NetworkForecast

    def returns_given(self, known: MonthKnown, factors: Float64) -> Float64:
        """(N,)"""
        return self.forecast.of(_beside(known.characteristics, factors / self.volatility))

    def latent_factors(self, known: MonthKnown, outcome: MonthOutcome) -> Float64:
        """(K,) W' x_t"""
        return self.principal.of_month(known, outcome)

    def state(self) -> Arrays:
        return {**self.principal.state(), "volatility": self.volatility, **self.forecast.state()}


def fit(
    config: NN | NNForecast, factor_numbers: Sequence[int], samples: WindowSamples, training: Training
) -> dict[int, tuple[FittedModel, ...]]:
    """One network per seed, and for observed factors per K; principal components from the training months."""
    train, validation = samples.train, samples.validation
    if isinstance(config, NNForecast):
        months = validation.managed.months  # of training and validation
        winners = _train(config, samples, training)
        return {0: tuple(FittedForecaster(NetworkForecast(w.network), months, w.record) for w in winners)}
    principal = principal_factors(train.managed, max(factor_numbers), config.portfolios)
    fits: dict[int, tuple[FittedModel, ...]] = {}
    for k in factor_numbers:
        first = principal.first(k)
        volatility = first.over(train.managed).std(axis=0)
        with_factors = replace(
            samples,
            train=_with_factors(train, first, volatility),
            validation=_with_factors(validation, first, volatility),
        )
        models = [
            (NetworkGivenFactors(first, volatility, NetworkForecast(winner.network)), winner.record)
            for winner in _train(config, with_factors, training)
        ]
        fits[k] = tuple(
            FittedFactorModel(model, factor_history(model, train, validation), record)
            for model, record in models
        )
    return fits


def restore(
    config: NN | NNForecast, factors: int, record: dict[str, Any], state: Arrays
) -> NetworkGivenFactors | NetworkForecast:
    """The trained model from its arrays."""
    del factors
    hidden = tuple(record["winner"]["beta_hidden"])
    inputs = state["betas.0.weights.0" if hidden else "betas.0.output"].shape[-1]
    network = build(inputs, {hidden: 1})
    network.load_state_dict({name: torch.tensor(state[name])[None] for name in network.state_dict()})
    forecast = NetworkForecast(network.eval())
    if isinstance(config, NNForecast):
        return forecast
    return NetworkGivenFactors(PrincipalFactors.from_state(state), state["volatility"], forecast)


def build(inputs: int, groups: Mapping[HiddenSizes, int]) -> FactorModelNetwork:
    """An untrained stack; members by hidden sizes."""
    return FactorModelNetwork(
        [BetaNetwork(members, inputs, hidden, 1) for hidden, members in groups.items()],
        UnitFactor(sum(groups.values())),
    )


def _train(config: NN | NNForecast, samples: WindowSamples, training: Training) -> tuple[Winner, ...]:
    """The winner of each seed."""

    def untrained(groups: Mapping[HiddenSizes, int], factors: int) -> FactorModelNetwork:
        del factors  # the one that is always one
        return build(samples.shape[0], groups)

    return train_networks(untrained, config.grid, [1], samples, training)[1]


def _with_factors(sample: Sample, principal: PrincipalFactors, volatility: Float64) -> Sample:
    """The sample with f_t, in units of its volatility, as further characteristics of every stock."""
    factors = principal.over(sample.managed)[sample.lookback :] / volatility
    panel = sample.panel
    of_row = np.repeat(factors, np.diff(panel.offsets), axis=0)
    names = tuple(f"factor_{k + 1}" for k in range(factors.shape[1]))
    return replace(
        sample,
        panel=replace(
            panel,
            characteristic_names=panel.characteristic_names + names,
            characteristics=_beside(panel.characteristics, of_row),
        ),
    )


def _beside(characteristics: Float32, factors: Float64) -> Float32:
    """(N, P + K), the factors of one month or of every row."""
    wide = np.empty((len(characteristics), characteristics.shape[1] + factors.shape[-1]), dtype=np.float32)
    wide[:, : characteristics.shape[1]] = characteristics
    wide[:, characteristics.shape[1] :] = factors
    return wide
