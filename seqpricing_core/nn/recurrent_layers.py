"""Recurrent layers over many short sequences.

The cells are those of `cells`; here the batch is the first axis, and three things make a layer fast:

- W x + b of a stock-month is computed once and *gathered* by all windows that hold it (`project`);
- tanh(u) = 2 sigma(2u) - 1, the inner 2 folded into the weights: all gates of a step are one sigmoid;
- between two products stands one compiled pass, forward and backward (`recurrent_kernels`).

A: rows of all steps together, see `packed`; B: sequences; H: units; G: gates; S: stock-months.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqpricing_core.nn.cells import Cell
from seqpricing_core.nn.packed import Packed, Step
from seqpricing_core.nn.recurrent_kernels import (
    KERNELS,
    Below,
    Block,
    Buffers,
    Fresh,
    Gathered,
    Kernel,
    Mapped,
    product,
    run,
)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent by a sigmoid, which torch computes six times as fast on a CPU."""
    return torch.sigmoid(2 * x) * 2 - 1


@dataclass(frozen=True)
class _Plan:
    """How a layer goes through a batch; nothing of it is differentiated."""

    cell: type[Cell]
    steps: list[Step]
    index: Tensor | None
    precision: torch.dtype
    """Of products"""
    buffers: Buffers
    only_last: bool
    """What is asked for are the (B, H) states of the last step"""


class _Recurrence(torch.autograd.Function):
    """(A, H) states of a layer.

    From W x + b of each stock-month (S, G H), gathered by the plan's index; or, where there is none, from
    the states of the layer below (A, inputs) with weight (inputs, G H) and bias (G H,).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, recurrent: Tensor, plan: _Plan
    ) -> Tensor:
        below: Below
        largest = max(step.rows.stop - step.rows.start for step in plan.steps)
        if plan.index is not None:
            below = Gathered(x.detach(), plan.index, plan.buffers)
        else:
            assert weight is not None
            assert bias is not None
            weight = weight.detach().to(plan.precision)
            below = Mapped(x.detach(), weight, bias.detach(), largest, plan.buffers)
        recurrent = recurrent.detach().to(plan.precision)
        kernel = KERNELS[plan.cell](below, recurrent, largest, plan.buffers, x.detach())
        for step in plan.steps:
            kernel.forward(step)
        ctx.kernel, ctx.plan = kernel, plan
        wanted = plan.steps[-1].rows if plan.only_last else slice(None)
        # Detached: the tensor itself would hold its own graph, and that graph it.
        return kernel.states.tensor[wanted].detach()

    @staticmethod
    def backward(ctx: Any, d_states: Tensor) -> tuple[Tensor | None, ...]:
        kernel: Kernel = ctx.kernel
        plan: _Plan = ctx.plan
        kernel.below.start_back()
        from_above, later = Block(d_states.contiguous()), d_states[:0]
        for step in reversed(plan.steps):
            own = step.rows
            if plan.only_last:
                own = slice(len(d_states) if step is plan.steps[-1] else 0)
            later = kernel.backward(step, from_above, own, later)
        return *kernel.below.gradients(), kernel.d_weight, None


class RecurrentLayer(nn.Module):
    """One layer of recurrent cells over packed sequences."""

    def __init__(self, cell: type[Cell], inputs: int, hidden: int) -> None:
        super().__init__()
        self.cell = cell(1, inputs, hidden)
        factors = torch.tensor(KERNELS[cell].factors).repeat_interleave(hidden)
        self.register_buffer("factors", factors, persistent=False)
        self.memory: Buffers = Fresh()

    def input_weight(self) -> tuple[Tensor, Tensor]:
        """(inputs, G H) W and (G H,) b, with the factors of tanh."""
        factors = self.get_buffer("factors")
        weight = self.cell.input_weight.flatten(1, 2)[0] * factors[:, None]
        return weight.mT, self.cell.bias.flatten() * factors

    def project(self, x: Tensor) -> Tensor:
        """(n, G H) W x + b of inputs (n, inputs), with the factors of tanh."""
        weight, bias = self.input_weight()
        return torch.addmm(bias, x, weight)

    def recurrent_weight(self) -> Tensor:
        """(H, G H) U, with the factors of tanh."""
        factors = self.get_buffer("factors")
        return (self.cell.hidden_weight.flatten(1, 2)[0] * factors[:, None]).mT.contiguous()

    def forward(
        self,
        x: Tensor,
        packed: Packed,
        index: Tensor | None = None,
        *,
        backward: bool = False,
        only_last: bool = False,
        precision: torch.dtype | None = None,
    ) -> Tensor:
        """(A, H) states of all steps, or (B, H) those of the last.

        Parameters
        ----------
        x
            `project` of each stock-month (S, G H) with ``index`` (A,), or without one what lies below
            each step (A, inputs).
        backward
            From the last month to the first.
        precision
            Of products with U; None: as everything else.
        """
        x = x.to(self.cell.bias.dtype)  # autocast may have rounded it
        steps = packed.steps(backward=backward)
        plan = _Plan(type(self.cell), steps, index, precision or x.dtype, self.memory, only_last)
        weight, bias = self.input_weight() if index is None else (None, None)
        states: Tensor = _Recurrence.apply(x, weight, bias, self.recurrent_weight(), plan)  # type: ignore[no-untyped-call]
        return states


def share_buffers(network: nn.Module) -> None:
    """From now on the layers of ``network`` use the same memory for every batch; see `Buffers`."""
    for module in network.modules():
        if isinstance(module, RecurrentLayer):
            module.memory = Buffers()


class RecurrentStack(nn.Module):
    """Layers of one direction, one above the other."""

    def __init__(self, cell: type[Cell], inputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        sizes = [inputs, *[hidden] * layers]
        self.layers = nn.ModuleList(RecurrentLayer(cell, size, hidden) for size in sizes[:-1])

    @property
    def each(self) -> list[RecurrentLayer]:
        """From the input up."""
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]

    def project(self, x: Tensor) -> Tensor:
        """(S, G H) what the first layer makes of each stock-month."""
        return self.each[0].project(x)

    def forward(
        self,
        projected: Tensor,
        packed: Packed,
        index: Tensor,
        *,
        only_last: bool = False,
        precision: torch.dtype | None = None,
    ) -> Tensor:
        """(A, H) states of the last layer, or (B, H) those of its last step."""
        states = projected
        for layer in self.each:
            states = layer(
                states, packed, index if layer is self.each[0] else None,
                only_last=only_last and layer is self.each[-1], precision=precision,
            )  # fmt: skip
        return states

    @torch.no_grad()
    def last_state(self, projected: Tensor, packed: Packed, index: Tensor) -> Tensor:
        """(B, H) the last layer's state at the last month, all layers in step and nothing kept."""
        count, like = packed.sizes[-1], projected.new_empty(0, dtype=self.each[0].cell.bias.dtype)
        states = [
            [Block(like.new_zeros(count, layer.cell.hidden)) for _ in range(layer.cell.states)]
            for layer in self.each
        ]
        weights = [layer.recurrent_weight() for layer in self.each]
        belows: list[Below] = [Gathered(projected, index, Fresh())]
        for layer, lower in zip(self.each[1:], states[:-1], strict=True):
            belows.append(Mapped(lower[0].tensor, *layer.input_weight(), count, Fresh()))
        recurrent = Block(like.new_zeros(count, weights[0].shape[1]))
        for step in packed.steps():
            active = slice(0, step.rows.stop - step.rows.start)
            for layer, below, weight, state in zip(self.each, belows, weights, states, strict=True):
                if step.going:
                    product(state[0].tensor[active], weight, recurrent.tensor[active])
                from_below = below.at(step.rows if layer is self.each[0] else active)
                now = (part.of_pass[active] for part in state)
                run(
                    KERNELS[type(layer.cell)].advance,
                    like.device,
                    *from_below,
                    recurrent.of_pass[active],
                    *now,
                )
        return states[-1][0].tensor
