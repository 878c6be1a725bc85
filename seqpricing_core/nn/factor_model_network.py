"""Two networks that meet in a product: beta(z_t-1)' f(x), and the model they become once trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from seqpricing_core.models.factor_model import Arrays, LatentFactorModel
from seqpricing_core.nn.beta_network import BetaNetwork, losses
from seqpricing_core.nn.factor_networks import (
    AttentionFactorNetwork,
    LinearFactorNetwork,
    Sequences,
    UnitFactor,
)
from seqpricing_core.nn.months import PERCENT, Batch
from seqpricing_core.panel.panel import Float64, MonthKnown, MonthOutcome


class FactorModelNetwork(nn.Module):
    """Beta networks times factor network, in percent.

    The factor networks of all members are alike and form one stack; their beta networks form one group
    for each choice of hidden sizes, in the order of the members.
    """

    def __init__(
        self, betas: Sequence[BetaNetwork], factor: LinearFactorNetwork | AttentionFactorNetwork | UnitFactor
    ) -> None:
        super().__init__()
        self.betas: Sequence[BetaNetwork] = nn.ModuleList(betas)  # type: ignore[assignment]
        self.factor = factor

    def losses(self, batch: Batch) -> Tensor:
        """(M,) mean squared residual (*memory*, eq. 17), squared percent."""
        factors = self.factor(Sequences.ending_at(batch.x, batch.ends, self.factor.lookback))
        of_groups = torch.split(factors, [len(beta.bias) for beta in self.betas])
        # All members of a group may have left.
        there = [place for place, own in enumerate(of_groups) if len(own)]
        return torch.cat(losses([self.betas[g] for g in there], [of_groups[g] for g in there], batch))


@dataclass(frozen=True)
class NetworkFactorModel(LatentFactorModel):
    """A trained network, a stack of one, as a latent factor model; decimal returns outside."""

    network: FactorModelNetwork

    def factor_loadings(self, known: MonthKnown) -> Float64:
        """(N, K)"""
        with torch.inference_mode():
            beta = self.network.betas[0].loadings(torch.tensor(known.characteristics))
        loadings: Float64 = beta[0].numpy().astype(np.float64)
        return loadings

    def latent_factors(self, known: MonthKnown, outcome: MonthOutcome) -> Float64:
        """(K,) from x_t and the look-back before it."""
        with torch.inference_mode():
            factors = self.network.factor(self._sequence(known, outcome))
        decimal: Float64 = factors[0, 0].numpy().astype(np.float64) / PERCENT
        return decimal

    def state(self) -> Arrays:
        return {name: tensor[0].numpy() for name, tensor in self.network.state_dict().items()}

    def _sequence(self, known: MonthKnown, outcome: MonthOutcome) -> Sequences:
        lookback = self.network.factor.lookback
        past = known.past_managed_portfolios
        recent = past[max(len(past) - lookback + 1, 0) :]
        x = np.vstack([recent, outcome.managed_portfolios]) * PERCENT
        return Sequences.ending_at(
            torch.from_numpy(x.astype(np.float32)), torch.tensor([len(x) - 1]), lookback
        )


@dataclass(frozen=True)
class SequenceFactorModel(NetworkFactorModel):
    """One whose factors come from a sequence of months, with attention."""

    def attention_weights(self, known: MonthKnown, outcome: MonthOutcome) -> Float64:
        """(L, L) weight of each decoder step (row) on each month of the look-back, oldest first."""
        assert isinstance(self.network.factor, AttentionFactorNetwork)
        with torch.inference_mode():
            attention = self.network.factor.attend(self._sequence(known, outcome))
        weights: Float64 = attention[0, 0].numpy().astype(np.float64)
        return weights


def as_factor_model(network: FactorModelNetwork) -> NetworkFactorModel:
    """A trained stack of one, ready for use."""
    attentive = isinstance(network.factor, AttentionFactorNetwork)
    return (SequenceFactorModel if attentive else NetworkFactorModel)(network.eval())


def with_state(network: FactorModelNetwork, state: Arrays) -> NetworkFactorModel:
    """The trained model whose arrays are ``state``; ``network``, a stack of one, gives the architecture."""
    network.load_state_dict({name: torch.tensor(array)[None] for name, array in state.items()})
    return as_factor_model(network)
