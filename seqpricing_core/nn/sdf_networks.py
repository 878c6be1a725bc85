"""The networks of Chen, Pelger, Zhu (2023): macro states, and what they and the characteristics make.

n stock-months, P characteristics, S months of M macro series, U macro states.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class MacroScale:
    """What standardises the macro series: statistics of the training months alone."""

    mean: Tensor
    """(M,)"""
    scale: Tensor
    """(M,) one over the standard deviation; 0 for a series that is constant in training."""

    @classmethod
    def of(cls, macro: Tensor) -> MacroScale:
        """From the (S, M) training months, double precision."""
        mean, deviation = macro.mean(dim=0), macro.std(dim=0, correction=0)
        constant = deviation <= 1e-12 * macro.abs().amax(dim=0)
        return cls(mean, torch.where(constant, 0.0, 1 / torch.where(constant, 1.0, deviation)))


class MacroStates(nn.Module):
    """h_t-1: the states of an LSTM over the macro series known up to t-1."""

    mean: Tensor
    scale: Tensor

    def __init__(self, macro: MacroScale, states: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", macro.mean)
        self.register_buffer("scale", macro.scale)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(len(macro.mean), states)

    def forward(self, macro: Tensor) -> Tensor:
        """(S, M) in the units of the source, double precision -> (S, U); a state sees rows up to its own."""
        precision = next(self.lstm.parameters()).dtype
        standardised = ((macro - self.mean) * self.scale).to(precision)
        states: Tensor = self.lstm(self.dropout(standardised))[0]
        return states


class StateNetwork(nn.Module):
    """(z_i,t-1, h_t-1) -> [linear, ReLU, dropout] per hidden layer -> linear."""

    def __init__(
        self, characteristics: int, states: int, hidden: Sequence[int], outputs: int, dropout: float
    ) -> None:
        super().__init__()
        self.characteristics = characteristics
        widths = [characteristics + states, *hidden, outputs]
        layers = [nn.Linear(before, after) for before, after in itertools.pairwise(widths)]
        for layer in layers:  # as the authors' library does
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.first = layers[0]
        self.later = nn.ModuleList(layers[1:])
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, z: Tensor, month: Tensor, states: Tensor | None, rows_at_once: int | None = None
    ) -> Tensor:
        """(n, outputs)

        Parameters
        ----------
        z : (n, P)
        month
            (n,) the row of ``states`` that belongs to each row.
        states
            (T, U), None without macro series.
        rows_at_once
            So many rows are held with their activations; the rest is computed again for the gradient.
        """
        if rows_at_once is None or len(z) <= rows_at_once:
            return self._rows(z, month, states)
        blocks = zip(torch.split(z, rows_at_once), torch.split(month, rows_at_once), strict=True)
        if torch.is_grad_enabled():
            parts = [checkpoint(self._rows, *block, states, use_reentrant=False) for block in blocks]
        else:
            parts = [self._rows(*block, states) for block in blocks]
        return torch.cat(parts)

    def _rows(self, z: Tensor, month: Tensor, states: Tensor | None) -> Tensor:
        weight = self.first.weight
        hidden = functional.linear(z, weight[:, : self.characteristics], self.first.bias)
        if states is not None:
            # The states are those of the month: one product per month, not per stock.
            hidden = hidden + (states @ weight[:, self.characteristics :].T)[month]
        for layer in self.later:
            hidden = layer(self.dropout(torch.relu(hidden)))
        return hidden


class GANNetworks(nn.Module):
    """SDF network, conditional network and loading network of one fit."""

    def __init__(
        self, sdf: StateNetwork, conditional: StateNetwork, loadings: StateNetwork,
        sdf_states: MacroStates | None = None, conditional_states: MacroStates | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.sdf = sdf
        self.conditional = conditional
        self.loadings = loadings
        self.sdf_states = sdf_states
        self.conditional_states = conditional_states

    def sdf_parameters(self) -> list[nn.Parameter]:
        """Of the SDF network and its macro states."""
        return [*self.sdf.parameters(), *(self.sdf_states.parameters() if self.sdf_states else [])]

    def conditional_parameters(self) -> list[nn.Parameter]:
        """Of the conditional network and its macro states."""
        own = self.conditional_states
        return [*self.conditional.parameters(), *(own.parameters() if own else [])]
