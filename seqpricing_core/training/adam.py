"""Adam (*memory*, algorithm 1) for a stack: every member has its own step size and l1 penalty."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from seqpricing_core.nn.stack import seats

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
        parameters = dict(network.named_parameters())
        held = {name: list(seats(network, name)) for name in parameters}
        self._rate = {name: learning_rate[held[name]] for name in parameters}
        self._l1 = {name: l1[held[name]] for name in parameters}
        self._first = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._second = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._steps = 0

    def step(self) -> None:
        """One update of every member, and gradients forgotten."""
        self._steps += 1
        b1, b2 = DECAY
        size = 1 / (1 - b1**self._steps)
        bias = (1 - b2**self._steps) ** 0.5
        with torch.no_grad():
            for name, p in self._network.named_parameters():
                if not len(p):
                    continue  # all members of its group have left
                gradient, each = p.grad, (-1, *(1,) * (p.dim() - 1))
                assert gradient is not None
                if name not in self._unpenalised:
                    gradient = gradient.add_(p.sign() * self._l1[name].view(each))
                first = self._first[name].lerp_(gradient, 1 - b1)
                second = self._second[name].mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
                rate = (size * self._rate[name]).view(each)
                p.sub_(first / second.sqrt().div_(bias).add_(EPSILON) * rate)
                p.grad = None

    def select(self, places: Mapping[str, list[int]]) -> None:
        """Keep the members at these places of each parameter."""
        for tensors in (self._rate, self._l1, self._first, self._second):
            for name, tensor in tensors.items():
                tensors[name] = tensor[places[name]]
