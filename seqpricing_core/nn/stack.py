"""Stacks of members: seeded initial weights, selecting members, and members of unlike K in one stack.

A member with fewer factors than the stack is padded with zero weights. Zero is a fixed point for them: a hidden
unit without weights stays at 0 in each of the three cells, a factor without weights is 0, and the
gradients of all its weights are products with these zeros. Padding therefore changes nothing, ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

State = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)


def uniform(members: int, *shape: int, fan_in: int) -> nn.Parameter:
    """(M, *shape) uniform in +-1/sqrt(fan_in), the default of linear and recurrent layers."""
    bound = 1 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(members, *shape).uniform_(-bound, bound))


def initial_state(build: Callable[[], nn.Module], seed: int) -> State:
    """Weights of one untrained member; they depend on ``seed`` and nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().state_dict()


def fill(network: Network, states: Sequence[State]) -> Network:
    """Put one member's state into each seat of ``network``, padded with zeros where the seat is larger."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            tensor.zero_()
            for seat, state in enumerate(states):
                own = state[name][0]
                tensor[(seat, *(slice(0, size) for size in own.shape))] = own
    return network


def member_state(stack: State, seat: int, like: State) -> State:
    """The state of one seat as a stack of one, cut to the shapes of ``like``, on the CPU."""
    return {
        name: stack[name][(slice(seat, seat + 1), *(slice(0, size) for size in tensor.shape[1:]))].cpu()
        for name, tensor in like.items()
    }


def select(network: nn.Module, seats: Tensor) -> None:
    """Keep the members in ``seats``; the others leave."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(parameter.detach()[seats]))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer[seats])
