"""Batch normalisation (*memory*, algorithm 2) of a stack, exact and folded into the weights before it.

Mean and variance over a batch of w'h follow from the sum of h and of h h': mean = w'm, variance = w'S w -
mean^2. The norm is thus a re-parametrisation of (H, inputs) weights. For the first layer h is z, whose Gram
matrices are known beforehand: its norm costs no pass over stocks. After training, running averages of
the batches take the place of the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPSILON = 1e-5
MOMENTUM = 0.1
"""Weight of the newest batch in the running averages."""


class BatchNorm(nn.Module):
    """Scale and shift of H units of each member, and running statistics."""

    mean: Tensor
    variance: Tensor

    def __init__(self, members: int, units: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(members, units))
        self.shift = nn.Parameter(torch.zeros(members, units))
        self.register_buffer("mean", torch.zeros(members, units))
        self.register_buffer("variance", torch.ones(members, units))

    def of_batch(self, weight: Tensor, total: Tensor, second: Tensor, count: int) -> Tensor:
        """(M, H, inputs + 1) weights and bias: the linear map and its norm over a batch, at once.

        Parameters
        ----------
        weight
            (M, H, inputs)
        total, second
            Float64 sums over the ``count`` stock-months of the batch, of the inputs and of their products:
            (inputs,) and (inputs, inputs), or the same for each member.
        """
        wide = weight.to(total.dtype)
        mean = (wide @ (total / count)[..., None])[..., 0]
        products = ((wide @ (second / count)) * wide).sum(-1)
        variance = (products - mean.square()).clamp(min=0)
        with torch.no_grad():
            self.mean.lerp_(mean.to(weight.dtype), MOMENTUM)
            self.variance.lerp_((variance * (count / max(count - 1, 1))).to(weight.dtype), MOMENTUM)
        return self._fold(weight, mean, variance)

    def of_training(self, weight: Tensor) -> Tensor:
        """The same with the running statistics of training."""
        return self._fold(weight, self.mean, self.variance)

    def _fold(self, weight: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        factor = self.scale / torch.sqrt(variance + EPSILON)
        bias = self.shift - factor * mean
        return torch.cat([weight * factor[..., None], bias[..., None]], dim=-1).to(weight.dtype)
