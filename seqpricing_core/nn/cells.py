"""Recurrent cells, stacked (*memory*, eq. 6 and appendix C).

A cell has G gates with weights W (G, H, inputs), U (G, H, H) and one bias b (G, H) each, and a state
of one or two (M, H, B), h first. The input's part, W x + b, is computed outside:
overlapping sequences share it. The batch is the last axis, so that element-wise work runs along it however
few units there are.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from seqpricing_core.nn.stack import uniform


class Cell(nn.Module):
    """W, U and b of all gates, and the step from one state to the next."""

    gates: ClassVar[int]
    states: ClassVar[int] = 1

    def __init__(self, members: int, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.input_weight = uniform(members, self.gates, hidden, inputs, fan_in=inputs)
        self.hidden_weight = uniform(members, self.gates, hidden, hidden, fan_in=hidden)
        self.bias = uniform(members, self.gates, hidden, fan_in=hidden)

    def project(self, x: Tensor) -> Tensor:
        """W x + b: (inputs, S) or (M, inputs, S) -> (M, G H, S)."""
        return torch.matmul(self.input_weight.flatten(1, 2), x) + self.bias.flatten(1)[..., None]

    def recur(self, h: Tensor) -> Tensor:
        """U h: (M, H, B) -> (M, G H, B)."""
        return torch.bmm(self.hidden_weight.flatten(1, 2), h)

    def step(self, projected: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The next state, from W x + b (M, G H, B) and the state before."""
        raise NotImplementedError


class RNN(Cell):
    """h = tanh(W x + U h + b)."""

    gates = 1

    def step(self, projected: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (torch.tanh(projected + self.recur(state[0])),)


class GRU(Cell):
    """Gates: update, reset, new content (eq. .13-.16).

    Eq. .15 prints the reset state as it is; like every implementation we give it weights,
    Gamma_r * (U_h h), of which the printed form is the case U_h = I, and a bias.
    """

    gates = 3

    def step(self, projected: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (h,) = state
        size = self.hidden
        recurrent = self.recur(h)
        both = torch.sigmoid(projected[:, : 2 * size] + recurrent[:, : 2 * size])
        update, reset = both[:, :size], both[:, size:]
        new = torch.tanh(projected[:, 2 * size :] + reset * recurrent[:, 2 * size :])
        return (new + update * (h - new),)


class LSTM(Cell):
    """Gates: forget, input, output, candidate (eq. .7-.12); the state is (h, c)."""

    gates = 4
    states = 2

    def step(self, projected: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c = state
        size = self.hidden
        linear = projected + self.recur(h)
        gates = torch.sigmoid(linear[:, : 3 * size])
        forget, admit, out = gates[:, :size], gates[:, size : 2 * size], gates[:, 2 * size :]
        c = forget * c + admit * torch.tanh(linear[:, 3 * size :])
        return out * torch.tanh(c), c


CELLS: dict[str, type[Cell]] = {"seqrat": RNN, "seqgat": GRU, "seqlat": LSTM}
