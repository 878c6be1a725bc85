"""CA0 to CA3: conditional autoencoders (Gu, Kelly, Xiu 2021).

Loadings by 0 to 3 hidden layers, factors linear in x_t.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqpricing_core.models.configs import ConditionalAutoencoder, HiddenSizes
from seqpricing_core.models.factor_model import Arrays, FittedFactorModel
from seqpricing_core.nn.beta_network import BetaNetwork
from seqpricing_core.nn.factor_model_network import FactorModelNetwork, NetworkFactorModel, with_state
from seqpricing_core.nn.factor_networks import LinearFactorNetwork
from seqpricing_core.study import Training
from seqpricing_core.training.fit import Fits, fit_networks
from seqpricing_core.windows import WindowSamples


def build(shape: tuple[int, int], groups: Mapping[HiddenSizes, int], factors: int) -> FactorModelNetwork:
    """An untrained stack for P characteristics and Q managed portfolios; members by hidden sizes."""
    return FactorModelNetwork(
        [BetaNetwork(members, shape[0], hidden, factors) for hidden, members in groups.items()],
        LinearFactorNetwork(sum(groups.values()), shape[1], factors),
    )


def fit(
    config: ConditionalAutoencoder,
    factor_numbers: Sequence[int],
    samples: WindowSamples,
    training: Training,
    previous: Fits | None = None,
) -> dict[int, tuple[FittedFactorModel, ...]]:
    """All K and seeds on one window."""

    def untrained(groups: Mapping[HiddenSizes, int], factors: int) -> FactorModelNetwork:
        return build(samples.shape, groups, factors)

    return fit_networks(untrained, config.grid, factor_numbers, samples, training, previous)


def restore(
    config: ConditionalAutoencoder, factors: int, record: dict[str, Any], state: Arrays
) -> NetworkFactorModel:
    """The trained model from its arrays."""
    del config
    hidden = tuple(record["winner"]["beta_hidden"])
    characteristics = state["betas.0.weights.0" if hidden else "betas.0.output"].shape[-1]
    return with_state(build((characteristics, state["factor.weight"].shape[-1]), {hidden: 1}, factors), state)
