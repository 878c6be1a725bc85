"""Stacks of members: seeded initial weights, selecting members, and members of unlike K in one stack.

A member with fewer factors than the stack is padded with zero weights. Zero is a fixed point for them:
a hidden unit without weights stays at 0 in each of the three cells, a factor without weights is 0, and
the gradients of all its weights are products with these zeros. Padding therefore changes nothing, ever.
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


def seats(network: nn.Module, name: str) -> range:
    """Members that a parameter or buffer holds: those of its group of beta networks, or all."""
    sizes = [len(beta.get_parameter("bias")) for beta in network.get_submodule("betas").children()]
    if not name.startswith("betas."):
        return range(sum(sizes))
    group = int(name.split(".")[1])
    start = sum(sizes[:group])
    return range(start, start + sizes[group])


def fill(network: Network, states: Sequence[State]) -> Network:
    """Put each member's state into its seat, padded with zeros where the seat is larger."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            tensor.zero_()
            for place, seat in enumerate(seats(network, name)):
                own = states[seat][_alone(name)][0]
                tensor[(place, *(slice(0, size) for size in own.shape))] = own
    return network


def member_state(network: nn.Module, stack: State, seat: int, like: State) -> State:
    """The state of one seat of ``stack`` as a stack of one, cut to the shapes of ``like``, on the CPU.

    Parameters
    ----------
    network
        Gives the groups of ``stack``, a state of all its members.
    """
    state = {}
    for name, tensor in stack.items():
        held = seats(network, name)
        if seat in held:
            shape = like[_alone(name)].shape[1:]
            place = seat - held.start
            state[_alone(name)] = tensor[(slice(place, place + 1), *map(slice, shape))].cpu()
    return state


def select(network: nn.Module, keep: Sequence[int]) -> dict[str, list[int]]:
    """Keep the members in ``keep``, ascending; the others leave. Places kept in each tensor."""
    places = {}
    for name in network.state_dict():
        held = seats(network, name)
        places[name] = [seat - held.start for seat in keep if seat in held]
    for path, module in network.named_modules():
        prefix = f"{path}." if path else ""
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(parameter.detach()[places[prefix + name]]))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer[places[prefix + name]])
    return places


def _alone(name: str) -> str:
    """The name that a tensor of some group has in a stack of one."""
    parts = name.split(".")
    return ".".join(["betas", "0", *parts[2:]]) if parts[0] == "betas" else name
