"""Recurrent layers over many short sequences, with gradients written by hand.

The cells are those of `cells`; here the batch is the first axis, and three things make a layer fast:

- W x + b of a stock-month is computed once and *gathered* by all windows that hold it (`project`);
- tanh(u) = 2 sigma(2u) - 1, the inner 2 folded into the weights: all gates of a step are one sigmoid;
- the backward pass keeps gates, not a graph of small operations, and writes their gradients over them.

Sequences are *packed*: sorted by their number of months, longest first, and aligned at their last month.
Step k then concerns the first n_k sequences, n_0 <= n_1 <= ...; a month without data costs nothing and
cannot matter, since no number stands for it.

A: rows of all steps together; B: sequences; H: units; G: gates; S: stock-months.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seqpricing_core.nn.cells import GRU, LSTM, RNN, Cell


@dataclass(frozen=True)
class Step:
    """One step: its rows, and those of the sequences that were already under way."""

    rows: slice
    going: int
    """The first so many of ``rows`` have a state from the step before; the others start at zero."""
    before: slice
    """Rows of these states."""


@dataclass(frozen=True)
class Packed:
    """Sizes n_0 <= ... <= n_L-1 = B of the steps of packed sequences."""

    sizes: tuple[int, ...]

    @property
    def starts(self) -> list[int]:
        """First row of each step."""
        return [sum(self.sizes[:k]) for k in range(len(self.sizes))]

    @property
    def last(self) -> slice:
        """Rows of the last step, which all sequences reach."""
        return slice(sum(self.sizes[:-1]), sum(self.sizes))

    def steps(self, *, backward: bool = False) -> list[Step]:
        """In the order of time, or from the last month to the first."""
        starts, sizes = self.starts, self.sizes
        order = [k for k in (range(len(sizes))[::-1] if backward else range(len(sizes))) if sizes[k]]
        steps = []
        for place, k in enumerate(order):
            other = order[place - 1]
            going = min(sizes[k], sizes[other]) if place else 0
            steps.append(
                Step(
                    slice(starts[k], starts[k] + sizes[k]), going, slice(starts[other], starts[other] + going)
                )
            )
        return steps


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent by a sigmoid, which torch computes six times as fast on a CPU."""
    return torch.sigmoid(2 * x) * 2 - 1


class Buffers:
    """Memory that the batches of a training share: fresh pages for each would cost a fifth of the time.

    Only where a batch is through, backward too, before the next begins.
    """

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, rows: int, columns: int, like: Tensor) -> Tensor:
        """(rows, columns) of any content."""
        if torch.is_inference_mode_enabled():  # such memory could not be trained on later
            return like.new_empty(rows, columns)
        held = self._held.get(name)
        if held is None or len(held) < rows or held.shape[1] != columns or held.dtype != like.dtype:
            held = self._held[name] = like.new_empty(rows, columns)
        return held[:rows]


class Fresh(Buffers):
    """New memory every time."""

    def take(self, name: str, rows: int, columns: int, like: Tensor) -> Tensor:
        del name
        return like.new_empty(rows, columns)


class Kernel:
    """What a layer computes and keeps for one batch; weights and gates with the factor 2 of tanh in them."""

    def __init__(
        self, gates: Tensor, weight: Tensor, precision: torch.dtype | None, buffers: Buffers
    ) -> None:
        self.gates, self.weight = gates, weight
        self.precision, self.buffers = precision, buffers
        self.states = self._room("states")
        """(A, H) h"""

    def _room(self, name: str) -> Tensor:
        """(A, H)"""
        return self.buffers.take(name, len(self.gates), len(self.weight), self.gates)

    def forward(self, step: Step) -> None:
        """The step's h, and over its W x + b the activated gates."""
        raise NotImplementedError

    def backward(self, step: Step, d_state: Tensor) -> Tensor:
        """Gradients of W x + b, written over the gates; returns that of the h before, (going, H)."""
        raise NotImplementedError

    @staticmethod
    def advance(gates: Tensor, recurrent: Tensor, state: tuple[Tensor, ...]) -> None:
        """A step that keeps nothing: ``state`` becomes the next one.

        Parameters
        ----------
        gates, recurrent
            (B, G H) W x + b and U h; used up.
        state
            (B, H) h, and c where there is one.
        """
        raise NotImplementedError

    def d_weight(self, steps: list[Step]) -> Tensor:
        """(H, G H) gradient of U, from the gradients of all steps."""
        total = torch.zeros_like(self.weight)
        for step in steps:
            if step.going:
                total.addmm_(self.states[step.before].mT, self._of_recurrent(step))
        return total

    def _of_recurrent(self, step: Step) -> Tensor:
        """(going, G H) gradients of U h."""
        return self.gates[step.rows][: step.going]

    def _add_recurrent(self, out: Tensor, h: Tensor, weight: Tensor) -> None:
        """Add h U to ``out``."""
        if self.precision is None:
            out.addmm_(h, weight)
        else:
            out += product(h, weight, self.precision)

    def _times(self, a: Tensor, b: Tensor) -> Tensor:
        return product(a, b, self.precision)


def _undo_sigmoid(gradient: Tensor, value: Tensor) -> None:
    """Replace ``value`` by gradient * value (1 - value)."""
    torch.ops.aten.sigmoid_backward.grad_input(gradient, value, grad_input=value)


class RNNKernel(Kernel):
    """h = tanh(W x + U h + b), *sequence* eq. 4."""

    factors: ClassVar = (2.0,)

    def forward(self, step: Step) -> None:
        s, h = self.gates[step.rows], self.states
        if step.going:
            self._add_recurrent(s[: step.going], h[step.before], self.weight)
        s.sigmoid_()
        torch.mul(s, 2, out=h[step.rows]).sub_(1)

    @staticmethod
    def advance(gates: Tensor, recurrent: Tensor, state: tuple[Tensor, ...]) -> None:
        torch.mul(gates.add_(recurrent).sigmoid_(), 2, out=state[0]).sub_(1)

    def backward(self, step: Step, d_state: Tensor) -> Tensor:
        _undo_sigmoid(d_state * 2, self.gates[step.rows])
        return self._times(self.gates[step.rows][: step.going], self.weight.mT)


class LSTMKernel(Kernel):
    """Forget, input and output gate, candidate; *sequence* eq. 6-10."""

    factors: ClassVar = (1.0, 1.0, 1.0, 2.0)

    def __init__(
        self, gates: Tensor, weight: Tensor, precision: torch.dtype | None, buffers: Buffers
    ) -> None:
        super().__init__(gates, weight, precision, buffers)
        self.cells, self.squashed = self._room("cells"), self._room("squashed")
        """(A, H) c and tanh(c)"""
        self.d_cell = gates.new_empty(0, len(weight))

    def forward(self, step: Step) -> None:
        gates, c, going = self.gates[step.rows], self.cells[step.rows], step.going
        if going:
            self._add_recurrent(gates[:going], self.states[step.before], self.weight)
        gates.sigmoid_()
        forget, admit, out, candidate = gates.chunk(4, dim=1)
        torch.mul(candidate, admit, out=c).mul_(2).sub_(admit)  # i (2 s - 1)
        if going:
            c[:going].addcmul_(forget[:going], self.cells[step.before])
        squashed = self.squashed[step.rows]
        torch.mul(c, 2, out=squashed).sigmoid_().mul_(2).sub_(1)
        torch.mul(squashed, out, out=self.states[step.rows])

    @staticmethod
    def advance(gates: Tensor, recurrent: Tensor, state: tuple[Tensor, ...]) -> None:
        h, c = state
        forget, admit, out, candidate = gates.add_(recurrent).sigmoid_().chunk(4, dim=1)
        c.mul_(forget).addcmul_(admit, candidate.mul_(2).sub_(1))
        torch.mul(c, 2, out=h).sigmoid_().mul_(2).sub_(1).mul_(out)

    def backward(self, step: Step, d_state: Tensor) -> Tensor:
        gates, squashed, going = self.gates[step.rows], self.squashed[step.rows], step.going
        forget, admit, out, candidate = gates.chunk(4, dim=1)
        d_gates = self.buffers.take("d_gates", len(gates), gates.shape[1], gates)
        d_forget, d_admit, d_out, d_candidate = d_gates.chunk(4, dim=1)
        torch.mul(d_state, squashed, out=d_out)
        d_cell = torch.addcmul(d_state, d_out, squashed, value=-1).mul_(out)  # dh o (1 - tanh(c)^2)
        later = min(len(self.d_cell), len(d_cell))
        d_cell[:later] += self.d_cell[:later]
        torch.mul(candidate, 2, out=d_admit).sub_(1).mul_(d_cell)
        torch.mul(admit, d_cell, out=d_candidate).mul_(2)
        torch.mul(d_cell[:going], self.cells[step.before], out=d_forget[:going])
        d_forget[going:].zero_()
        self.d_cell = d_cell[:going] * forget[:going]
        _undo_sigmoid(d_gates, gates)
        return self._times(gates[:going], self.weight.mT)


class GRUKernel(Kernel):
    """Update and reset gate, new content; as `cells.GRU`."""

    factors: ClassVar = (1.0, 1.0, 2.0)

    def __init__(
        self, gates: Tensor, weight: Tensor, precision: torch.dtype | None, buffers: Buffers
    ) -> None:
        super().__init__(gates, weight, precision, buffers)
        self.recurrent = self._room("recurrent")
        """(A, H) U_h h, then its gradient"""

    def forward(self, step: Step) -> None:
        gates, h, going = self.gates[step.rows], self.states[step.rows], step.going
        size = h.shape[1]
        before = self.states[step.before]
        both, new = gates[:, : 2 * size], gates[:, 2 * size :]
        if going:
            self._add_recurrent(both[:going], before, self.weight[:, : 2 * size])
        both.sigmoid_()
        recurrent = self.recurrent[step.rows][:going]
        if going:
            recurrent.copy_(self._times(before, self.weight[:, 2 * size :]))
            new[:going].addcmul_(gates[:going, size : 2 * size], recurrent)
        new.sigmoid_()
        update = gates[:, :size]
        torch.mul(new, 2, out=h).sub_(1)
        difference = before - h[:going]
        h[going:].addcmul_(update[going:], h[going:], value=-1)
        h[:going].addcmul_(update[:going], difference)

    @staticmethod
    def advance(gates: Tensor, recurrent: Tensor, state: tuple[Tensor, ...]) -> None:
        (h,) = state
        size = h.shape[1]
        both = gates[:, : 2 * size].add_(recurrent[:, : 2 * size]).sigmoid_()
        update, reset = both.chunk(2, dim=1)
        new = gates[:, 2 * size :].addcmul_(reset, recurrent[:, 2 * size :]).sigmoid_().mul_(2).sub_(1)
        h.sub_(new).mul_(update).add_(new)

    def backward(self, step: Step, d_state: Tensor) -> Tensor:
        gates, going = self.gates[step.rows], step.going
        size = d_state.shape[1]
        update, reset, new = gates.chunk(3, dim=1)
        d_gates = self.buffers.take("d_gates", len(gates), gates.shape[1], gates)
        d_update, d_reset, d_new = d_gates.chunk(3, dim=1)
        d_kept = torch.mul(d_state, update, out=d_update)  # borrowed for dh z
        torch.sub(d_state, d_kept, out=d_new).mul_(2)
        d_before = d_kept[:going].clone()
        torch.mul(new, -2, out=d_update).add_(1)  # - n
        d_update[:going] += self.states[step.before]
        d_update.mul_(d_state)
        _undo_sigmoid(d_new, new)
        recurrent = self.recurrent[step.rows][:going]
        torch.mul(new[:going], recurrent, out=d_reset[:going])
        d_reset[going:].zero_()
        torch.mul(new[:going], reset[:going], out=recurrent)
        both = gates[:, : 2 * size]
        _undo_sigmoid(d_gates[:, : 2 * size], both)
        d_before += self._times(both[:going], self.weight[:, : 2 * size].mT)
        d_before += self._times(recurrent, self.weight[:, 2 * size :].mT)
        return d_before

    def _of_recurrent(self, step: Step) -> Tensor:
        size = self.states.shape[1]
        both = self.gates[step.rows][: step.going, : 2 * size]
        return torch.cat([both, self.recurrent[step.rows][: step.going]], dim=1)


KERNELS: dict[type[Cell], type[RNNKernel | LSTMKernel | GRUKernel]] = {
    RNN: RNNKernel, LSTM: LSTMKernel, GRU: GRUKernel,
}  # fmt: skip


@dataclass(frozen=True)
class _Plan:
    """How a layer goes through a batch; nothing of it is differentiated."""

    cell: type[Cell]
    steps: list[Step]
    index: Tensor | None
    precision: torch.dtype | None
    buffers: Buffers


class _Recurrence(torch.autograd.Function):
    """(A, H) states of a layer.

    From W x + b of each stock-month (S, G H), gathered by the plan's index; or, where there is none, from
    the states of the layer below (A, inputs) with weight (inputs, G H) and bias (G H,).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, recurrent: Tensor, plan: _Plan
    ) -> Tensor:
        columns = recurrent.shape[1]
        if plan.index is not None:
            gates = plan.buffers.take("gates", len(plan.index), columns, x)
            torch.index_select(x.detach(), 0, plan.index, out=gates)
        else:
            assert weight is not None
            assert bias is not None
            gates = plan.buffers.take("gates", len(x), columns, x)
            if plan.precision is None:
                torch.addmm(bias.detach(), x.detach(), weight.detach(), out=gates)
            else:
                torch.add(product(x, weight, plan.precision), bias, out=gates)
        kernel = KERNELS[plan.cell](gates, recurrent.detach(), plan.precision, plan.buffers)
        for step in plan.steps:
            kernel.forward(step)
        ctx.save_for_backward(x, weight)
        ctx.kernel, ctx.plan = kernel, plan
        return kernel.states.detach()  # the tensor itself would hold its own graph, and that graph it

    @staticmethod
    def backward(ctx: Any, d_states: Tensor) -> tuple[Tensor | None, ...]:
        kernel: Kernel = ctx.kernel
        plan: _Plan = ctx.plan
        x, weight = ctx.saved_tensors
        d_before: Tensor | None = None
        for step in reversed(plan.steps):
            d_state = d_states[step.rows]
            if d_before is not None and len(d_before):
                d_state = d_state.clone()
                d_state[: len(d_before)] += d_before
            d_before = kernel.backward(step, d_state)
        d_gates, d_recurrent = kernel.gates, kernel.d_weight(plan.steps)
        if plan.index is not None:
            return gather_backward(d_gates, plan.index, len(x)), None, None, d_recurrent, None
        d_x = product(d_gates, weight.mT, plan.precision)
        return d_x, torch.mm(x.mT, d_gates), d_gates.sum(0), d_recurrent, None


def gather_backward(gradient: Tensor, index: Tensor, rows: int) -> Tensor:
    """(rows, C) sums of the rows of ``gradient`` (A, C) that were gathered from the same row."""
    return gradient.new_zeros(rows, gradient.shape[1]).index_add_(0, index, gradient)


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
        precision: torch.dtype | None = None,
    ) -> Tensor:
        """(A, H) states of all steps.

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
        plan = _Plan(type(self.cell), packed.steps(backward=backward), index, precision, self.memory)
        x = x.to(self.cell.bias.dtype)  # autocast may have rounded it
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
        self, projected: Tensor, packed: Packed, index: Tensor, precision: torch.dtype | None = None
    ) -> Tensor:
        """(A, H) states of the last layer."""
        first, *others = self.each
        states: Tensor = first(projected, packed, index, precision=precision)
        for layer in others:
            states = layer(states, packed, precision=precision)
        return states

    @torch.no_grad()
    def last_state(
        self, projected: Tensor, packed: Packed, index: Tensor, precision: torch.dtype | None = None
    ) -> Tensor:
        """(B, H) the last layer's state at the last month, all layers in step and nothing kept."""
        count = packed.sizes[-1]
        size = len(self.each[0].recurrent_weight())
        kernels = [KERNELS[type(layer.cell)] for layer in self.each]
        weights = [layer.recurrent_weight() for layer in self.each]
        states = [
            tuple(projected.new_zeros(count, size) for _ in range(layer.cell.states)) for layer in self.each
        ]
        recurrent = projected.new_empty(count, weights[0].shape[1])
        for step in packed.steps():
            active = step.rows.stop - step.rows.start
            below = projected.index_select(0, index[step.rows])
            for layer, kernel, weight, state in zip(self.each, kernels, weights, states, strict=True):
                now = tuple(part[:active] for part in state)
                gates = below if layer is self.each[0] else layer.project(below)
                kernel.advance(gates, product(now[0], weight, precision, recurrent[:active]), now)
                below = now[0]
        return states[-1][0]


def product(a: Tensor, b: Tensor, precision: torch.dtype | None, out: Tensor | None = None) -> Tensor:
    """The product, its factors rounded to ``precision`` first if there is one."""
    if precision is None:
        return torch.mm(a, b) if out is None else torch.mm(a, b, out=out)
    rounded = torch.mm(a.to(precision), b.to(precision))
    return rounded.to(a.dtype) if out is None else out.copy_(rounded)
