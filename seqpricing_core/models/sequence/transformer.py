"""Transformer: one encoder block, z its output at the last month (*sequence*; Vaswani et al. 2017).

The block adds and normalises after each part, as the original. Only the output at T is asked for, so only T
sends a query, and neither keys nor values need be made. Both are affine in x_t:

    score_t,h = q_h' key_t,h = a_h' x_t + places,        sum_t w_t,h value_t,h = V_h (sum_t w_t,h x_t) + places

with a_h = K_h' q_h, the query in the space of characteristics, K_h and V_h the maps from characteristics to
keys and values (W_e composed with W_k and W_v). What is gathered for a window is L x P numbers, not L x 2 d.
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
        """Characteristics as they are."""
        return x

    def represent(self, projected: Tensor, batch: SequenceBatch) -> Tensor:
        heads = self._attend(projected, batch)[1]
        place = self.get_buffer("positions")[-1].to(projected.dtype)
        first, second = self.norms
        y = first(self.embedding(projected[batch.rows[:, -1]]) + place + self.out(heads))
        z: Tensor = second(y + self.narrow(torch.relu(self.widen(y))))
        return z

    def attend(self, projected: Tensor, batch: SequenceBatch) -> Tensor:
        """(B, L) attention of T, averaged over heads."""
        return self._attend(projected, batch)[0].mean(2)

    def _attend(self, x: Tensor, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """(B, L, heads) attention, (B, d) weighted means of values, head after head.

        In the precision of the weights, also under autocast: it is a tenth of the work, and a product of
        rounded maps would be off by more than products with the rounded W_k and W_q one after the other.
        """
        inputs, count = x.shape[1], len(batch)
        with torch.autocast(x.device.type, enabled=False):
            scoring, value = self._composed()
            x_last, gathered = x[batch.rows[:, -1]], nn.functional.embedding(batch.rows, x)
            query, place = (
                torch.addmm(part[..., -1].flatten(), x_last, part[..., :-1].flatten(0, 1).mT)
                for part in (scoring[:, :inputs], scoring[:, inputs:].transpose(0, 1))
            )
            scores = torch.baddbmm(
                place.view(count, -1, self.heads), gathered, query.view(count, self.heads, inputs).mT
            )
            if not batch.complete:
                scores = scores.masked_fill(~batch.observed[..., None], -torch.inf)
            weights = torch.softmax(scores, dim=1)
            mean = torch.bmm(weights.mT, gathered)
            heads = torch.baddbmm(
                torch.bmm(weights.permute(2, 0, 1), value[:, inputs:]), mean.transpose(0, 1), value[:, :inputs]
            )
        return weights, heads.transpose(0, 1).flatten(1)

    def _composed(self) -> tuple[Tensor, Tensor]:
        """What x_t and the L places are multiplied with: for scores (H, P + L, P + 1), values (H, P + L, d / H).

        Scores are the first applied to (x_T, 1). b_k is left out: it adds the same to all scores of a head.
        b_v is added to each place: weights sum to one.
        """
        size, inputs = self.embedding.weight.shape
        place = self.get_buffer("positions").to(self.embedding.weight.dtype) + self.embedding.bias
        sources = torch.cat([self.embedding.weight, place.mT], dim=1)
        key, value = (self.key_value.weight @ sources).view(2, self.heads, -1, sources.shape[1])
        bias = self.query.bias + nn.functional.linear(place[-1], self.query.weight)
        query = torch.cat([self.query.weight @ self.embedding.weight, bias[:, None]], dim=1)
        query = query.view(self.heads, -1, inputs + 1) / math.sqrt(size // self.heads)
        value_bias = self.key_value.bias[size:].view(self.heads, 1, -1)
        value = torch.cat([value.mT[:, :inputs], value.mT[:, inputs:] + value_bias], dim=1)
        return torch.bmm(key.mT, query), value


def positions(lookback: int, size: int) -> Tensor:
    """(L, d) float64, sines and cosines of the place, 0 to L - 1 (Vaswani et al. 2017, section 3.5)."""
    place = torch.arange(lookback, dtype=torch.double)[:, None]
    angles = place / 10_000 ** (torch.arange(0, size, 2, dtype=torch.double) / size)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
