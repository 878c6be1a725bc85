"""Transformer: one encoder block, z its output at the last month (*sequence*; Vaswani et al. 2017).

The block adds and normalises after each part, as the original. Only the output at T is asked for, so only T
sends a query. Keys and values are linear in a stock-month: they are computed once for all windows that hold
it, and what a place in the window adds to them is added when they are gathered.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seqpricing_core.models.configs import Transformer
from seqpricing_core.nn.sequence_batch import SequenceBatch
from seqpricing_core.nn.sequence_network import Linear, SequenceNetwork


class TransformerNetwork(SequenceNetwork):
    """y = norm(e_T + W_o heads + b_o), z = norm(y + W_2 relu(W_1 y + b_1) + b_2).

    e_t = W_e x_t + b_e + position_t sends a key and a value, e_T the query.

    A month without data gets no attention. Dropout is on z alone, as for the paper's other models.
    """

    def __init__(self, config: Transformer, inputs: int, precision: torch.dtype | None = None) -> None:
        size = config.hidden
        super().__init__(size, config.dropout, precision)
        self.heads = config.heads
        self.embedding = Linear(inputs, size)
        self.query, self.out = Linear(size, size), Linear(size, size)
        self.key_value = Linear(size, 2 * size)
        self.widen, self.narrow = Linear(size, config.feed_forward), Linear(config.feed_forward, size)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(2))
        self.register_buffer("positions", positions(config.lookback, size), persistent=False)

    def project(self, x: Tensor) -> Tensor:
        """(S, 3 d) embedding, key and value of each stock-month, without its place."""
        embedded = self.embedding(x)
        return torch.cat([embedded, self.key_value(embedded)], dim=1)

    def represent(self, projected: Tensor, batch: SequenceBatch) -> Tensor:
        last, weights, value = self._attend(projected, batch)
        heads = (weights[..., None] * value).sum(1).flatten(1)
        first, second = self.norms
        y = first(last + self.out(heads))
        z: Tensor = second(y + self.narrow(torch.relu(self.widen(y))))
        return z

    def attend(self, projected: Tensor, batch: SequenceBatch) -> Tensor:
        """(B, L) attention of T, averaged over heads."""
        return self._attend(projected, batch)[1].mean(2)

    def _attend(self, projected: Tensor, batch: SequenceBatch) -> tuple[Tensor, Tensor, Tensor]:
        """(B, d) embedding of T, (B, L, heads) attention, (B, L, heads, d / heads) values."""
        size = self.query.weight.shape[0]
        place = self.get_buffer("positions").to(projected.dtype)
        embedded, key_value = projected[:, :size], projected[:, size:]
        last = embedded[batch.rows[:, -1]] + place[-1]
        shifted = nn.functional.linear(place, self.key_value.weight)  # what places add to keys and values
        gathered = nn.functional.embedding(batch.rows, key_value) + shifted
        shape = (*gathered.shape[:2], self.heads, size // self.heads)
        key, value = (part.reshape(shape) for part in gathered.chunk(2, dim=2))
        query = self.query(last).view(len(last), 1, *shape[2:])
        scores = (query * key).sum(-1) / math.sqrt(size // self.heads)
        if not batch.complete:
            scores = scores.masked_fill(~batch.observed[..., None], -torch.inf)
        return last, torch.softmax(scores, dim=1), value


def positions(lookback: int, size: int) -> Tensor:
    """(L, d) float64, sines and cosines of the place, 0 to L - 1 (Vaswani et al. 2017, section 3.5)."""
    place = torch.arange(lookback, dtype=torch.double)[:, None]
    angles = place / 10_000 ** (torch.arange(0, size, 2, dtype=torch.double) / size)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
