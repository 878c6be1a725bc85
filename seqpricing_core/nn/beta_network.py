"""Beta network: characteristics -> factor loadings (*memory*, eq. 14-16)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class BetaNetwork(nn.Module):
    """z (n, P) -> [linear, batch norm, ReLU] per hidden layer -> linear -> beta (n, K).

    Batch normalisation before the ReLU, over the stock-months of a batch (algorithm 2); afterwards
    with the running statistics of training.
    """

    def __init__(self, characteristics: int, hidden: Sequence[int], factors: int) -> None:
        super().__init__()
        widths = [characteristics, *hidden]
        layers: list[nn.Module] = []
        for before, after in zip(widths, hidden, strict=False):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], factors))

    def forward(self, z: Tensor) -> Tensor:
        beta: Tensor = self.layers(z)
        return beta
