"""Adam (Kingma and Ba 2015; *memory*, algorithm 1) for a stack: each member its own step size and l1 penalty."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

DECAY = (0.9, 0.999)
EPSILON = 1e-8


class StackedAdam:
    """Gives every member what ``torch.optim.Adam`` would give it alone.

    Parameters
    ----------
    network
        A stack; its parameters have gradients when `step` is called.
    learning_rate, l1
        (M,) step sizes, and weights of the sum of absolute values.
    unpenalised
        Names of parameters that the l1 penalty leaves out.
    """

    def __init__(
        self, network: nn.Module, learning_rate: Tensor, l1: Tensor, unpenalised: Collection[str]
    ) -> None:
        self._network, self._unpenalised = network, unpenalised
        self._rate, self._l1 = learning_rate, l1
        self._first = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
        self._second = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
        self._steps = 0

    def step(self) -> None:
        """One update of every member, and gradients forgotten."""
        self._steps += 1
        b1, b2 = DECAY
        size = self._rate / (1 - b1**self._steps)
        bias = (1 - b2**self._steps) ** 0.5
        with torch.no_grad():
            for name, p in self._network.named_parameters():
                gradient, each = p.grad, (-1, *(1,) * (p.dim() - 1))
                assert gradient is not None
                if name not in self._unpenalised:
                    gradient = gradient.add_(p.sign() * self._l1.view(each))
                first = self._first[name].lerp_(gradient, 1 - b1)
                second = self._second[name].mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
                p.sub_(first / second.sqrt().div_(bias).add_(EPSILON) * size.view(each))
                p.grad = None

    def select(self, seats: Tensor) -> None:
        """Keep the members in ``seats``."""
        self._rate, self._l1 = self._rate[seats], self._l1[seats]
        for moments in (self._first, self._second):
            for name, moment in moments.items():
                moments[name] = moment[seats]
