"""CA0 to CA3: conditional autoencoders (Gu, Kelly, Xiu 2021). Loadings by 0 to 3 hidden layers, f linear in x_t."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seqpricing_core.models.configs import ConditionalAutoencoder, HiddenSizes
from seqpricing_core.models.factor_model import Arrays, FittedFactorModel
from seqpricing_core.nn.beta_network import BetaNetwork
from seqpricing_core.nn.factor_model_network import FactorModelNetwork, NetworkFactorModel, with_state
from seqpricing_core.nn.factor_networks import LinearFactorNetwork
from seqpricing_core.study import Training
from seqpricing_core.training.fit import Fits, fit_networks
from seqpricing_core.windows import WindowSamples


def build(shape: tuple[int, int], members: int, beta_hidden: HiddenSizes, factors: int) -> FactorModelNetwork:
    """An untrained stack for P characteristics and Q managed portfolios."""
    return FactorModelNetwork(
        BetaNetwork(members, shape[0], beta_hidden, factors), LinearFactorNetwork(members, shape[1], factors)
    )


def fit(
    config: ConditionalAutoencoder,
    factor_numbers: Sequence[int],
    samples: WindowSamples,
    training: Training,
    previous: Fits | None = None,
) -> dict[int, tuple[FittedFactorModel, ...]]:
    """All K and seeds on one window."""

    def untrained(members: int, beta_hidden: HiddenSizes, factors: int) -> FactorModelNetwork:
        return build(samples.shape, members, beta_hidden, factors)

    return fit_networks(untrained, config.grid, factor_numbers, samples, training, previous)


def restore(
    config: ConditionalAutoencoder, factors: int, record: dict[str, Any], state: Arrays
) -> NetworkFactorModel:
    """The trained model from its arrays."""
    del config
    hidden = tuple(record["winner"]["beta_hidden"])
    characteristics = state["beta.weights.0" if hidden else "beta.output"].shape[-1]
    return with_state(build((characteristics, state["factor.weight"].shape[-1]), 1, hidden, factors), state)
