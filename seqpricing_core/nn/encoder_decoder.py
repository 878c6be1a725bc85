"""LSTM encoder-decoder with attention: a sequence of x -> the factors of its last month.

*memory*, section 2.3.1 and appendix C. Shapes: B sequences, L months, Q managed portfolios,
H hidden units, K factors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionFactorNetwork(nn.Module):
    """x_t-L+1 .. x_t, oldest first -> f_t.

    The text's h'_i in the score (eq. 8) is read as the decoder state *before* step i, the only
    reading under which eq. 11 can be computed. An LSTM also hands its cell state over to the decoder.
    """

    def __init__(self, inputs: int, hidden: int, lookback: int, factors: int) -> None:
        super().__init__()
        self.lookback = lookback
        self.encoder = nn.LSTMCell(inputs, hidden)
        self.decoder = nn.LSTMCell(hidden, hidden)
        self.attention = nn.Parameter(torch.empty(hidden, hidden))
        nn.init.xavier_uniform_(self.attention)
        self.factor = nn.Linear(hidden * lookback, factors)

    def forward(self, x: Tensor, observed: Tensor) -> Tensor:
        """(B, K) factors.

        Parameters
        ----------
        x
            (B, L, Q); whatever stands in months that were not observed has no effect.
        observed
            (B, L) bool, False for the months before the first x: padding on the left.
        """
        encoded, state = self.encode(x, observed)
        decoded = []
        for _ in range(self.lookback):
            weights = self.attend(state[0], encoded, observed)
            context = torch.einsum("bl,blh->bh", weights, encoded)  # eq. 10
            state = self.decoder(context, state)  # eq. 11
            decoded.append(state[0])
        factors: Tensor = self.factor(torch.cat(decoded, dim=1))  # eq. 12-13
        return factors

    def encode(self, x: Tensor, observed: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, L, H) encoder states (eq. 5-6), and the last (h, c), which starts the decoder (eq. 7)."""
        h = c = x.new_zeros(len(x), self.encoder.hidden_size)
        states = []
        for month in range(self.lookback):
            seen = observed[:, month, None]
            after = self.encoder(torch.where(seen, x[:, month], 0.0), (h, c))
            h, c = torch.where(seen, after[0], h), torch.where(seen, after[1], c)
            states.append(h)
        return torch.stack(states, dim=1), (h, c)

    def attend(self, h: Tensor, encoded: Tensor, observed: Tensor) -> Tensor:
        """(B, L) attention weights over the encoder states: h' W_att h_s (eq. 8), softmax (eq. 9)."""
        scores = torch.einsum("bh,hg,blg->bl", h, self.attention, encoded)
        return torch.softmax(scores.masked_fill(~observed, -torch.inf), dim=1)
