"""Two networks that meet in a product: beta(z_t-1)' f(x), and the model they become once trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seqpricing_core.nn.beta_network import BetaNetwork
from seqpricing_core.panel.panel import Float64, MonthKnown, MonthOutcome

PERCENT = 100.0
"""Networks see returns in percent. The l1 penalties of *memory*'s table .8 presuppose it: with decimal
returns the mean squared error is about 0.015 and the smallest penalty would cost more than any model
can gain. It also brings x to a scale on which recurrent cells respond."""


class FactorModelNetwork(nn.Module):
    """Beta network times factor network, in percent."""

    def __init__(self, beta: BetaNetwork, factor: nn.Module, lookback: int) -> None:
        super().__init__()
        self.beta = beta
        self.factor = factor
        self.lookback = lookback
        """Months of x that the factor network reads, the month itself included."""

    def penalised(self) -> list[nn.Parameter]:
        """The theta of eq. 19: weights and biases, without the scale and shift of batch norm."""
        normalisers = [m for m in self.modules() if isinstance(m, nn.BatchNorm1d)]
        excluded = {id(p) for m in normalisers for p in m.parameters()}
        return [p for p in self.parameters() if id(p) not in excluded]


class LinearFactorNetwork(nn.Module):
    """f_t = W x_t + b (Gu, Kelly, Xiu 2021, eq. 13 with one layer)."""

    def __init__(self, inputs: int, factors: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, factors)

    def forward(self, x: Tensor, observed: Tensor) -> Tensor:  # noqa: ARG002
        """(B, 1, Q) -> (B, K)."""
        factors: Tensor = self.linear(x[:, -1])
        return factors


def sequences(x: Float64, ends: npt.ArrayLike, lookback: int) -> tuple[Tensor, Tensor]:
    """The ``lookback`` months of x up to each end, oldest first, padded on the left with zeros.

    Parameters
    ----------
    x
        (S, Q) decimal, consecutive months.
    ends
        Positions in x of the last month of each sequence.

    Returns
    -------
    tuple
        (B, L, Q) float32 in percent and (B, L) bool, False where padded.
    """
    positions = np.asarray(ends)[:, None] + np.arange(1 - lookback, 1)
    observed = positions >= 0
    values = np.where(observed[..., None], x[np.maximum(positions, 0)], 0.0) * PERCENT
    return torch.from_numpy(values.astype(np.float32)), torch.from_numpy(observed)


@dataclass(frozen=True)
class NetworkFactorModel:
    """A trained network as a latent factor model; decimal returns outside."""

    network: FactorModelNetwork

    def factor_loadings(self, known: MonthKnown) -> Float64:
        """(N, K)"""
        with torch.inference_mode():
            beta = self.network.beta(torch.tensor(known.characteristics))
        loadings: Float64 = beta.numpy().astype(np.float64)
        return loadings

    def latent_factors(self, known: MonthKnown, outcome: MonthOutcome) -> Float64:
        """(K,) from x_t and the look-back before it."""
        past = known.past_managed_portfolios
        recent = past[max(len(past) - self.network.lookback + 1, 0) :]
        x = np.vstack([recent, outcome.managed_portfolios])
        with torch.inference_mode():
            factors = self.network.factor(*sequences(x, [len(x) - 1], self.network.lookback))
        decimal: Float64 = factors[0].numpy().astype(np.float64) / PERCENT
        return decimal

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        return {name: tensor.numpy() for name, tensor in self.network.state_dict().items()}


def with_state(network: FactorModelNetwork, state: dict[str, np.ndarray[Any, Any]]) -> NetworkFactorModel:
    """The trained model whose arrays are ``state``; ``network`` gives the architecture."""
    network.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
    return NetworkFactorModel(network.eval())
