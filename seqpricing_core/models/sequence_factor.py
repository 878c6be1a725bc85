"""SeqRAT, SeqGAT, SeqLAT: sequence latent factor models (*memory*, section 2.3).

Loadings from z by one hidden layer; the factors of month t by an encoder-decoder with attention over the
last L months of managed portfolios, so that f_t depends on what came before and not on x_t alone. The three
differ in the cell: plain recurrent, gated recurrent unit, long short-term memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqpricing_core.models.configs import HiddenSizes, SequenceFactor
from seqpricing_core.models.factor_model import Arrays, FittedFactorModel
from seqpricing_core.nn.beta_network import BetaNetwork
from seqpricing_core.nn.cells import CELLS
from seqpricing_core.nn.factor_model_network import FactorModelNetwork, NetworkFactorModel, with_state
from seqpricing_core.nn.factor_networks import AttentionFactorNetwork
from seqpricing_core.study import Training
from seqpricing_core.training.fit import Fits, fit_networks
from seqpricing_core.windows import WindowSamples


def build(
    config: SequenceFactor, shape: tuple[int, int], groups: Mapping[HiddenSizes, int], factors: int
) -> FactorModelNetwork:
    """An untrained stack for P characteristics and Q managed portfolios; members by hidden sizes.

    The number of encoder and decoder units is K unless the config says otherwise (section 3.2).
    """
    cell, hidden = CELLS[config.family], config.hidden_size or factors
    return FactorModelNetwork(
        [BetaNetwork(members, shape[0], beta_hidden, factors) for beta_hidden, members in groups.items()],
        AttentionFactorNetwork(cell, sum(groups.values()), shape[1], hidden, config.lookback, factors),
    )


def fit(
    config: SequenceFactor,
    factor_numbers: Sequence[int],
    samples: WindowSamples,
    training: Training,
    previous: Fits | None = None,
) -> dict[int, tuple[FittedFactorModel, ...]]:
    """All K and seeds on one window."""

    def untrained(groups: Mapping[HiddenSizes, int], factors: int) -> FactorModelNetwork:
        return build(config, samples.shape, groups, factors)

    return fit_networks(untrained, config.grid, factor_numbers, samples, training, previous)


def restore(
    config: SequenceFactor, factors: int, record: dict[str, Any], state: Arrays
) -> NetworkFactorModel:
    """The trained model from its arrays."""
    hidden = tuple(record["winner"]["beta_hidden"])
    characteristics = state["betas.0.weights.0" if hidden else "betas.0.output"].shape[-1]
    shape = (characteristics, state["factor.encoder.input_weight"].shape[-1])
    return with_state(build(config, shape, {hidden: 1}, factors), state)
