"""Factor networks: managed portfolios up to month t -> f_t."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqpricing_core.nn.cells import Cell
from seqpricing_core.nn.stack import uniform


@dataclass(frozen=True)
class Sequences:
    """Sequences of x that overlap: the months once, and which of them each sequence holds."""

    x: Tensor
    """(S, Q) percent, consecutive months"""
    positions: Tensor
    """(B, L) month of each element, oldest first; 0 where padded"""
    observed: Tensor
    """(B, L) bool, False for the months before the first x: padding on the left"""

    @classmethod
    def ending_at(cls, x: Tensor, ends: Tensor, lookback: int) -> Sequences:
        """The ``lookback`` months of x up to each position in ``ends``."""
        positions = ends[:, None] + torch.arange(1 - lookback, 1, device=x.device)
        return cls(x, positions.clamp(min=0), positions >= 0)


class LinearFactorNetwork(nn.Module):
    """f_t = W x_t + b (Gu, Kelly, Xiu 2021, eq. 13 with one layer)."""

    lookback = 1

    def __init__(self, members: int, inputs: int, factors: int) -> None:
        super().__init__()
        self.weight = uniform(members, factors, inputs, fan_in=inputs)
        self.bias = uniform(members, factors, fan_in=inputs)

    def forward(self, sequences: Sequences) -> Tensor:
        """(M, B, K)"""
        factors: Tensor = torch.matmul(sequences.x[sequences.positions[:, -1]], self.weight.mT)
        return factors + self.bias[:, None]


class UnitFactor(nn.Module):
    """One factor that is always one: its loading is a plain forecast of the return."""

    lookback = 1

    def __init__(self, members: int) -> None:
        super().__init__()
        self.register_buffer("one", torch.ones(members, 1, 1))

    def forward(self, sequences: Sequences) -> Tensor:
        """(M, B, 1)"""
        one: Tensor = self.get_buffer("one")
        return one.expand(-1, len(sequences.positions), -1)


class AttentionFactorNetwork(nn.Module):
    """x_t-L+1 .. x_t, oldest first -> f_t (*memory*, section 2.3.1).

    The text's h'_i in the score (eq. 8) is read as the decoder state *before* step i, the only
    reading under which eq. 11 can be computed. An LSTM also hands its cell state over to the decoder.
    """

    def __init__(
        self, cell: type[Cell], members: int, inputs: int, hidden: int, lookback: int, factors: int
    ) -> None:
        super().__init__()
        self.lookback = lookback
        self.encoder = cell(members, inputs, hidden)
        self.decoder = cell(members, hidden, hidden)
        self.attention = uniform(members, hidden, hidden, fan_in=hidden)
        self.weight = uniform(members, factors, lookback, hidden, fan_in=lookback * hidden)
        self.bias = uniform(members, factors, fan_in=lookback * hidden)

    def forward(self, sequences: Sequences) -> Tensor:
        """(M, B, K) f_t = W_factor [h'_1 .. h'_L] + b_3 (eq. 12-13)."""
        decoded, _ = self.decode(sequences)
        weight = self.weight.transpose(2, 3).flatten(2)
        return (torch.bmm(weight, decoded.flatten(1, 2)) + self.bias[..., None]).mT

    def attend(self, sequences: Sequences) -> Tensor:
        """(M, B, L, L) attention weights: decoder step, encoder month (eq. 8-9)."""
        return self.decode(sequences)[1].permute(0, 3, 1, 2)

    def encode(self, sequences: Sequences) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(M, H, L, B) encoder states (eq. 5-6), and the last state, which starts the decoder (eq. 7)."""
        projected = self.encoder.project(sequences.x.mT)  # each month once, though L sequences hold it
        shape = (len(projected), self.encoder.hidden, len(sequences.positions))
        state = tuple(projected.new_zeros(shape) for _ in range(self.encoder.states))
        states = []
        for month in range(self.lookback):
            seen = sequences.observed[:, month]
            after = self.encoder.step(projected[..., sequences.positions[:, month]], state)
            state = tuple(torch.where(seen, a, b) for a, b in zip(after, state, strict=True))
            states.append(state[0])
        return torch.stack(states, dim=2), state

    def decode(self, sequences: Sequences) -> tuple[Tensor, Tensor]:
        """(M, H, L, B) decoder states (eq. 11) and (M, L, L, B) the attention of each step."""
        encoded, state = self.encode(sequences)
        keys = torch.bmm(self.attention, encoded.flatten(2)).view_as(encoded)  # W_att h_s
        unseen = ~sequences.observed.mT
        hidden, attention = [], []
        for _ in range(self.lookback):
            scores = (state[0][:, :, None] * keys).sum(1)  # eq. 8
            weights = torch.softmax(scores.masked_fill(unseen, -torch.inf), dim=1)  # eq. 9
            context = (weights[:, None] * encoded).sum(2)  # eq. 10
            state = self.decoder.step(self.decoder.project(context), state)  # eq. 11
            hidden.append(state[0])
            attention.append(weights)
        return torch.stack(hidden, dim=2), torch.stack(attention, dim=1)
