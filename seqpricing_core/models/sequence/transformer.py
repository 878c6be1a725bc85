"""Transformer: one encoder block, z its output at the last month (*sequence*; Vaswani et al. 2017).

The block adds and normalises after each part, as the original. Only the output at T is asked for, so only T
sends a query, and neither keys nor values need be made. Both are affine in x_t:

    score_t,h = q_h' key_t,h = a_h' x_t + places
    sum_t w_t,h value_t,h = V_h (sum_t w_t,h x_t) + places

with a_h = K_h' q_h, the query in the space of characteristics, K_h and V_h the maps from characteristics to
keys and values (W_k and W_v times W_e). What is gathered for a window is L x P numbers, not L x 2 d.
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
        """(B, L, heads) attention of T, (B, d) its weighted means of values, head after head."""
        inputs = x.shape[1]
        # Not in bfloat16: with rounded maps attention is off by 0.002, and the gradient of W_q three times as
        # inexact, for a seventh less time in training.
        with torch.autocast(x.device.type, enabled=False):
            scoring, value = self._composed()
            gathered = nn.functional.embedding(batch.rows, x)
            query = affine(gathered[:, -1], scoring[:, :inputs])
            place = affine(gathered[:, -1], scoring[:, inputs:].transpose(0, 1))
            scores = torch.baddbmm(place, gathered, query.mT)
            if not batch.complete:
                scores = scores.masked_fill(~batch.observed[..., None], -torch.inf)
            weights = torch.softmax(scores, dim=1)
            mean = torch.bmm(weights.mT, gathered)
            of_places = torch.bmm(weights.permute(2, 0, 1), value[:, inputs:])
            heads = torch.baddbmm(of_places, mean.transpose(0, 1), value[:, :inputs])
        return weights, heads.transpose(0, 1).flatten(1)

    def _composed(self) -> tuple[Tensor, Tensor]:
        """Maps of each head: to scores (heads, P + L, P + 1), and to values (heads, P + L, d / heads).

        The first turns (x_T, 1) into a_h and what each place adds to its score; the second turns weighted
        means of x_t, and the weights themselves, into weighted means of values.

        b_k is left out: it adds the same to all scores of a head. b_v is added to each place: weights sum to
        one. Composing takes 25 Mflop, a tenth of what a batch of 800 takes with it.
        """
        size, inputs = self.embedding.weight.shape
        place = self.get_buffer("positions").to(self.embedding.weight.dtype) + self.embedding.bias
        sources = torch.cat([self.embedding.weight, place.mT], dim=1)
        key, value = (self.key_value.weight @ sources).view(2, self.heads, -1, sources.shape[1])
        bias = self.query.bias + self.query.weight @ place[-1]
        query = torch.cat([self.query.weight @ self.embedding.weight, bias[:, None]], dim=1)
        query = query.view(self.heads, -1, inputs + 1) / math.sqrt(size // self.heads)
        value_bias = self.key_value.bias[size:].view(self.heads, 1, -1)
        value = torch.cat([value.mT[:, :inputs], value.mT[:, inputs:] + value_bias], dim=1)
        return torch.bmm(key.mT, query), value


def affine(x: Tensor, maps: Tensor) -> Tensor:
    """(B, I, J) from x (B, P), each of I x J rows of ``maps`` (I, J, P + 1) applied to (x, 1)."""
    rows = maps.flatten(0, 1)
    return torch.addmm(rows[:, -1], x, rows[:, :-1].mT).view(-1, *maps.shape[:2])


def positions(lookback: int, size: int) -> Tensor:
    """(L, d) float64, sines and cosines of the place, 0 to L - 1 (Vaswani et al. 2017, section 3.5)."""
    place = torch.arange(lookback, dtype=torch.double)[:, None]
    angles = place / 10_000 ** (torch.arange(0, size, 2, dtype=torch.double) / size)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
