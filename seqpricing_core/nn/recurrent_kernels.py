"""What a layer of recurrent cells computes in one batch, step by step, with gradients written by hand.

Products are torch's; what stands between them is a pass of `cell_passes`, on a CPU compiled. Gates are kept,
not a graph of small operations, and the backward pass writes their gradients over them.

A: rows of all steps together; B: sequences; H: units; G: gates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from seqpricing_core.nn import cell_passes, compiled_passes
from seqpricing_core.nn.bfloat16 import stored
from seqpricing_core.nn.cells import GRU, LSTM, RNN, Cell
from seqpricing_core.nn.packed import Step


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


def product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """The product in the precision of the weights ``b``."""
    return torch.mm(a.to(b.dtype), b, out=out)


def add_product(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``total`` + a b, in its memory."""
    return total.addmm_(a, b) if b.dtype == total.dtype else total.add_(product(a, b))


def run(name: str, *arguments: Tensor) -> None:
    """A pass, by the way that suits the device."""
    if arguments[0].device.type == "cpu":
        compiled: Callable[..., None] = getattr(compiled_passes, name)
        compiled(*(stored(each).numpy() for each in arguments))
    else:
        getattr(cell_passes, name)(*arguments)


class Below(ABC):
    """Where W x + b of a layer comes from, and where its gradient goes."""

    rows: int
    """A"""

    @abstractmethod
    def at(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """``below``, ``rows`` and ``bias`` of a step, see `cell_passes`."""

    @abstractmethod
    def start_back(self) -> None:
        """Gradients are zero."""

    @abstractmethod
    def flow_back(self, rows: slice, d_gates: Tensor) -> None:
        """Add what the gradients (n, G H) of a step's W x + b make of it."""

    @abstractmethod
    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Of x, W and b"""


class Gathered(Below):
    """W x + b of each stock-month (S, G H), and the stock-month of each row (A,)."""

    def __init__(self, projected: Tensor, index: Tensor, buffers: Buffers) -> None:
        self._projected, self._index, self.rows = projected, index, len(index)
        self._buffers, self._no_bias = buffers, projected.new_zeros(projected.shape[1])

    def at(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        return self._projected, self._index[rows], self._no_bias

    def start_back(self) -> None:
        self._gradient = self._buffers.take("d_projected", *self._projected.shape, self._projected).zero_()

    def flow_back(self, rows: slice, d_gates: Tensor) -> None:
        run("scatter_add", d_gates, self._index[rows], self._gradient)

    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return self._gradient, None, None


class Mapped(Below):
    """x (A, inputs), the states of the layer below; W (inputs, G H) in the precision of products; b (G H,)."""

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor, buffers: Buffers) -> None:
        self._x, self._weight, self._bias, self.rows = x, weight, bias, len(x)
        self._buffers, self._every = buffers, torch.arange(len(x), device=x.device)

    def at(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        count = rows.stop - rows.start
        out = self._buffers.take("below", count, self._weight.shape[1], self._weight)
        return product(self._x[rows], self._weight, out), self._every[:count], self._bias

    def start_back(self) -> None:
        self._d_x = self._buffers.take("d_x", *self._x.shape, self._x)
        self._d_weight = self._x.new_zeros(self._weight.shape)
        self._d_bias = torch.zeros_like(self._bias)

    def flow_back(self, rows: slice, d_gates: Tensor) -> None:
        if self._weight.dtype == d_gates.dtype:
            torch.mm(d_gates, self._weight.mT, out=self._d_x[rows])
        else:
            self._d_x[rows] = product(d_gates, self._weight.mT)
        self._d_weight.addmm_(self._x[rows].mT, d_gates)
        self._d_bias += d_gates.sum(0)

    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return self._d_x, self._d_weight, self._d_bias


class Kernel(ABC):
    """A layer in one batch; weights and gates with the factor 2 of tanh in them.

    A step's gates are filled, used and left as gradients while they are in a cache.

    Parameters
    ----------
    weight
        (H, G H) U, in the precision of products.
    """

    factors: ClassVar[tuple[float, ...]]

    def __init__(self, below: Below, weight: Tensor, buffers: Buffers, like: Tensor) -> None:
        self.below, self.weight, self.buffers, self._like = below, weight, buffers, like
        self.gates = self._room("gates", below.rows, len(self.factors))
        """(A, G H) W x + b, then activated gates, then gradients of W x + b"""
        self.states = self._room("states", below.rows)
        """(A, H) h"""
        self.d_weight = like.new_zeros(weight.shape)
        """Gradient of U, complete after the last backward step"""

    def forward(self, step: Step) -> None:
        """The step's h, and its activated gates."""
        out = self.buffers.take("recurrent", step.going, self.weight.shape[1], self.weight)
        self._activate(step, product(self.states[step.before], self.weight, out))

    def backward(self, step: Step, d_states: Tensor, later: Tensor) -> Tensor:
        """Gradients of W x + b, written over the gates; returns that of the h before, (m, H).

        Parameters
        ----------
        d_states, later
            (n, H) and (k, H), see `cell_passes`.
        """
        before = self.states[step.before]
        d_before, flows = self._flow(step, d_states, later)
        for gates, flow in flows:
            self.d_weight[:, gates].addmm_(before.mT, flow)
            weight = self.weight[:, gates].mT
            d_before = product(flow, weight).to(flow.dtype) if d_before is None else add_product(d_before, flow, weight)
        assert d_before is not None
        self.below.flow_back(step.rows, self.gates[step.rows])
        return d_before

    @abstractmethod
    def _activate(self, step: Step, recurrent: Tensor) -> None:
        """From U h (m, G H) and what comes from below to gates and h."""

    @abstractmethod
    def _flow(self, step: Step, d_states: Tensor, later: Tensor) -> tuple[Tensor | None, list[tuple[slice, Tensor]]]:
        """(m, H) gradient of h before so far as it does not go by U; columns and values of those of U h (m, G H)."""

    def _room(self, name: str, rows: int, gates: int = 1) -> Tensor:
        """(rows, gates H)"""
        return self.buffers.take(name, rows, gates * len(self.weight), self._like)


class RNNKernel(Kernel):
    """*sequence* eq. 4"""

    factors = (2.0,)

    def _activate(self, step: Step, recurrent: Tensor) -> None:
        rows = step.rows
        run("rnn_forward", *self.below.at(rows), recurrent, self.gates[rows], self.states[rows])

    def _flow(self, step: Step, d_states: Tensor, later: Tensor) -> tuple[None, list[tuple[slice, Tensor]]]:
        gates = self.gates[step.rows]
        run("rnn_backward", d_states, later, gates)
        return None, [(slice(None), gates[: step.going])]


class LSTMKernel(Kernel):
    """*sequence* eq. 6-10"""

    factors = (1.0, 1.0, 1.0, 2.0)

    def __init__(self, below: Below, weight: Tensor, buffers: Buffers, like: Tensor) -> None:
        super().__init__(below, weight, buffers, like)
        self.cells, self.squashed = self._room("cells", below.rows), self._room("squashed", below.rows)
        """(A, H) c, later its gradient, and tanh(c)"""

    def _activate(self, step: Step, recurrent: Tensor) -> None:
        rows = step.rows
        run(
            "lstm_forward", *self.below.at(rows), recurrent, self.cells[step.before], self.gates[rows],
            self.cells[rows], self.squashed[rows], self.states[rows],
        )  # fmt: skip

    def _flow(self, step: Step, d_states: Tensor, later: Tensor) -> tuple[None, list[tuple[slice, Tensor]]]:
        rows = step.rows
        gates, before, squashed = self.gates[rows], self.cells[step.before], self.squashed[rows]
        run("lstm_backward", d_states, later, self.cells[rows], before, squashed, gates)
        return None, [(slice(None), gates[: step.going])]


class GRUKernel(Kernel):
    """As `cells.GRU`"""

    factors = (1.0, 1.0, 2.0)

    def __init__(self, below: Below, weight: Tensor, buffers: Buffers, like: Tensor) -> None:
        super().__init__(below, weight, buffers, like)
        self.kept = self._room("kept", below.rows)
        """(A, H) U_n h, then its gradient"""

    def _activate(self, step: Step, recurrent: Tensor) -> None:
        rows = step.rows
        run(
            "gru_forward", *self.below.at(rows), recurrent, self.states[step.before], self.gates[rows],
            self.kept[rows], self.states[rows],
        )  # fmt: skip

    def _flow(self, step: Step, d_states: Tensor, later: Tensor) -> tuple[Tensor, list[tuple[slice, Tensor]]]:
        before, kept, gates = self.states[step.before], self.kept[step.rows], self.gates[step.rows]
        by_update, both = torch.empty_like(before), slice(2 * before.shape[1])
        run("gru_backward", d_states, later, before, kept, gates, by_update)
        return by_update, [(both, gates[: step.going, both]), (slice(both.stop, None), kept[: step.going])]


KERNELS: dict[type[Cell], type[RNNKernel | LSTMKernel | GRUKernel]] = {
    RNN: RNNKernel, LSTM: LSTMKernel, GRU: GRUKernel,
}  # fmt: skip
ADVANCES: dict[type[Cell], str] = {RNN: "rnn_advance", LSTM: "lstm_advance", GRU: "gru_advance"}
"""Passes of a step that keeps nothing but the state."""
