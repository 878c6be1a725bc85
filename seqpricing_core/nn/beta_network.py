"""Beta network: characteristics -> factor loadings (*memory*, eq. 14-16), and the loss it enters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqpricing_core.nn.batch_norm import BatchNorm
from seqpricing_core.nn.losses import hidden_moments, squared_residuals, squared_residuals_of_groups
from seqpricing_core.nn.months import Batch
from seqpricing_core.nn.stack import uniform


class BetaNetwork(nn.Module):
    """z (n, P) -> [linear, batch norm, ReLU] per hidden layer -> linear -> beta (M, n, K).

    Linear maps before a batch norm have no bias: the norm would cancel it, its shift takes its place.
    """

    def __init__(self, members: int, characteristics: int, hidden: Sequence[int], factors: int) -> None:
        super().__init__()
        widths = [characteristics, *hidden]
        self.weights = nn.ParameterList(
            uniform(members, after, before, fan_in=before)
            for before, after in zip(widths, hidden, strict=False)
        )
        self.norms: Sequence[BatchNorm] = nn.ModuleList(  # type: ignore[assignment]
            BatchNorm(members, units) for units in hidden
        )
        self.output = uniform(members, factors, widths[-1], fan_in=widths[-1])
        self.bias = uniform(members, factors, fan_in=widths[-1])

    def loadings(self, z: Tensor) -> Tensor:
        """(M, N, K) of stocks z (N, P), with the running statistics of training."""
        layer = z.mT
        for weight, norm in zip(self.weights, self.norms, strict=True):
            folded = norm.of_training(weight)
            layer = (torch.matmul(folded[..., :-1], layer) + folded[..., -1:]).relu()
        return torch.matmul(self.output, layer).mT + self.bias[:, None]

    def folded(self, batch: Batch) -> list[Tensor]:
        """Weights of the hidden layers with their norms folded in."""
        if not self.training:
            return [norm.of_training(w) for w, norm in zip(self.weights, self.norms, strict=True)]
        gram = batch.gram.sum(0)
        moments = (gram[:-1, -1], gram[:-1, :-1])
        folded: list[Tensor] = []
        for weight, norm in zip(self.weights, self.norms, strict=True):
            if folded:
                moments = hidden_moments(folded, batch.stocks)
            folded.append(norm.of_batch(weight, *moments, batch.count))
        return folded


def losses(networks: Sequence[BetaNetwork], factors: Sequence[Tensor], batch: Batch) -> list[Tensor]:
    """(M,) of each stack: mean over the batch's stock-months of (r - beta(z)' f)^2 (eq. 17), squared percent.

    Parameters
    ----------
    networks
        Stacks that differ in the width of their hidden layers, not in their number.
    factors
        For each stack (M, B, K) percent, of the months of the batch.
    """
    v = [torch.matmul(f, network.output) for network, f in zip(networks, factors, strict=True)]
    c = [(f * network.bias[:, None]).sum(-1) for network, f in zip(networks, factors, strict=True)]
    depth = len(networks[0].norms)
    weights = [network.folded(batch) for network in networks]
    if depth == 1:
        squares = list(squared_residuals_of_groups([w[0] for w in weights], v, c, batch.stocks))
    elif depth:
        squares = [squared_residuals(*each, batch.stocks) for each in zip(weights, v, c, strict=True)]
    else:
        squares = [_linear_loss(*each, batch) for each in zip(v, c, strict=True)]
    return [sums / batch.count for sums in squares]


def _linear_loss(v: Tensor, c: Tensor, batch: Batch) -> Tensor:
    """(M,) the sum of squares for beta linear in z, from Gram matrices: no pass over stocks.

    sum (r - [z 1] u)^2 = r'r - 2 u'Z'r + u'Z'Z u per month, u = (v, c).
    """
    u = torch.cat([v, c[..., None]], dim=-1).to(batch.gram.dtype)
    quadratic = torch.einsum("mbp,bpq,mbq->m", u, batch.gram, u)
    return (batch.squares.sum() - 2 * (u * batch.cross).sum((1, 2)) + quadratic).to(v.dtype)
