"""What a layer of recurrent cells computes in one batch, step by step, with gradients written by hand.

Products are torch's; what stands between them is a pass of `cell_passes`, on a CPU compiled. Gates are kept,
not a graph of small operations, and the backward pass writes their gradients over them.

A: rows of all steps together; B: sequences; H: units; G: gates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeAlias

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

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A matrix of any content."""
        if torch.is_inference_mode_enabled():  # such memory could not be trained on later
            return like.new_empty(shape)
        held, (rows, columns) = self._held.get(name), shape
        if held is None or len(held) < rows or held.shape[1] != columns or held.dtype != like.dtype:
            held = self._held[name] = like.new_empty(shape)
        return held[:rows]


class Fresh(Buffers):
    """New memory every time."""

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        del name
        return like.new_empty(shape)


def product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """The product in the precision of the weights ``b``."""
    return torch.mm(a.to(b.dtype), b, out=out)


def add_product(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``total`` + a b, in its memory."""
    return total.addmm_(a, b) if b.dtype == total.dtype else total.add_(product(a, b))


class Block:
    """Numbers that products and passes work on: a tensor, and what a pass takes of the same memory."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.of_pass: Any = stored(tensor).numpy() if tensor.device.type == "cpu" else tensor


def run(name: str, device: torch.device, *arguments: Any) -> None:
    """A pass, compiled on a CPU; arguments as `Block.of_pass`."""
    getattr(compiled_passes if device.type == "cpu" else cell_passes, name)(*arguments)


class Below(ABC):
    """Where W x + b of a layer comes from, and where its gradient goes."""

    rows: int
    """A"""

    @abstractmethod
    def at(self, rows: slice) -> tuple[Any, Any, Any]:
        """``below``, ``rows`` and ``bias`` of a step, see `cell_passes`."""

    @abstractmethod
    def start_back(self) -> None:
        """Gradients are zero."""

    @abstractmethod
    def flow_back(self, rows: slice, d_gates: Block) -> None:
        """Add what the gradients (A, G H) of W x + b make of it in the rows of a step."""

    @abstractmethod
    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Of x, W and b"""


class Gathered(Below):
    """W x + b of each stock-month (S, G H), and the stock-month of each row (A,)."""

    def __init__(self, projected: Tensor, index: Tensor, buffers: Buffers) -> None:
        self._projected, self._index, self._buffers = Block(projected), Block(index), buffers
        self._no_bias = Block(projected.new_zeros(projected.shape[1]))
        self.rows = len(index)

    def at(self, rows: slice) -> tuple[Any, Any, Any]:
        return self._projected.of_pass, self._index.of_pass[rows], self._no_bias.of_pass

    def start_back(self) -> None:
        like = self._projected.tensor
        self._gradient = Block(self._buffers.take("d_projected", like.shape, like).zero_())

    def flow_back(self, rows: slice, d_gates: Block) -> None:
        index, device = self._index.of_pass[rows], d_gates.tensor.device
        run("scatter_add", device, d_gates.of_pass[rows], index, self._gradient.of_pass)

    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return self._gradient.tensor, None, None


class Mapped(Below):
    """x (A, inputs), states of the layer below; W (inputs, G H) in the precision of products; b (G H,)."""

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor, largest: int, buffers: Buffers) -> None:
        self._x, self._weight, self._bias, self._buffers = x, weight, Block(bias), buffers
        self._mapped = Block(buffers.take("below", (largest, weight.shape[1]), weight))
        self._every = Block(torch.arange(largest, device=x.device))
        self.rows = len(x)

    def at(self, rows: slice) -> tuple[Any, Any, Any]:
        count = rows.stop - rows.start
        product(self._x[rows], self._weight, self._mapped.tensor[:count])
        return self._mapped.of_pass, self._every.of_pass[:count], self._bias.of_pass

    def start_back(self) -> None:
        self._d_x = self._buffers.take("d_x", self._x.shape, self._x)
        self._d_weight = self._x.new_zeros(self._weight.shape)
        self._d_bias = torch.zeros_like(self._bias.tensor)

    def flow_back(self, rows: slice, d_gates: Block) -> None:
        flow = d_gates.tensor[rows]
        if self._weight.dtype == flow.dtype:
            torch.mm(flow, self._weight.mT, out=self._d_x[rows])
        else:
            self._d_x[rows] = product(flow, self._weight.mT)
        self._d_weight.addmm_(self._x[rows].mT, flow)
        self._d_bias += flow.sum(0)

    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return self._d_x, self._d_weight, self._d_bias


class Kernel(ABC):
    """A layer in one batch; weights and gates with the factor 2 of tanh in them.

    Parameters
    ----------
    weight
        (H, G H) U, in the precision of products.
    largest
        Sequences of the largest step.
    like
        Precision and device of all else.
    """

    factors: ClassVar[tuple[float, ...]]
    advance: ClassVar[str]
    """The pass of a step that keeps nothing but the state"""

    def __init__(self, below: Below, weight: Tensor, largest: int, buffers: Buffers, like: Tensor) -> None:
        self.below, self.weight, self.buffers, self._like = below, weight, buffers, like
        self.gates = self._room("gates", below.rows, len(self.factors))
        """(A, G H) activated gates, then gradients of W x + b"""
        self.states = self._room("states", below.rows)
        """(A, H) h"""
        self._recurrent = Block(buffers.take("recurrent", (largest, weight.shape[1]), weight))
        self.d_weight = like.new_zeros(weight.shape)
        """Gradient of U, complete after the last backward step"""

    def forward(self, step: Step) -> None:
        """The step's gates and h."""
        if step.going:
            product(self.states.tensor[step.before], self.weight, self._recurrent.tensor[: step.going])
        self._activate(step, self._recurrent.of_pass[: step.going])

    def backward(self, step: Step, d_states: Block, own: slice, later: Tensor) -> Tensor:
        """Gradients of W x + b, written over the gates; returns that of the h before, (m, H).

        Parameters
        ----------
        d_states, own
            Gradients of h from above, and those rows of them that are the step's; possibly none.
        later
            (k, H) gradient from the step after, which the first k sequences go on to.
        """
        d_before, flows = self._flow(step, d_states.of_pass[own], Block(later).of_pass)
        before = self.states.tensor[step.before]
        for gates, flow in flows:
            self.d_weight[:, gates].addmm_(before.mT, flow)
            weight = self.weight[:, gates].mT
            if d_before is None:
                d_before = product(flow, weight).to(flow.dtype)
            else:
                add_product(d_before, flow, weight)
        assert d_before is not None
        self.below.flow_back(step.rows, self.gates)
        return d_before

    @abstractmethod
    def _activate(self, step: Step, recurrent: Any) -> None:
        """From U h (m, G H) and what comes from below to gates and h."""

    @abstractmethod
    def _flow(self, step: Step, d_states: Any, later: Any) -> tuple[Tensor | None, Flows]:
        """(m, H) gradient of h before so far as it does not go by U; and those of U h."""

    def _room(self, name: str, rows: int, gates: int = 1) -> Block:
        """(rows, gates H)"""
        return Block(self.buffers.take(name, (rows, gates * len(self.weight)), self._like))

    def _run(self, name: str, *arguments: Any) -> None:
        run(name, self._like.device, *arguments)


Flows: TypeAlias = list[tuple[slice, Tensor]]
"""Some gates, and the gradients of their U h (m, gates H)."""


class RNNKernel(Kernel):
    """*sequence* eq. 4"""

    factors = (2.0,)
    advance = "rnn_advance"

    def _activate(self, step: Step, recurrent: Any) -> None:
        rows = step.rows
        gates, states = self.gates.of_pass[rows], self.states.of_pass[rows]
        self._run("rnn_forward", *self.below.at(rows), recurrent, gates, states)

    def _flow(self, step: Step, d_states: Any, later: Any) -> tuple[None, Flows]:
        self._run("rnn_backward", d_states, later, self.gates.of_pass[step.rows])
        return None, [(slice(None), self.gates.tensor[step.rows][: step.going])]


class LSTMKernel(Kernel):
    """*sequence* eq. 6-10"""

    factors = (1.0, 1.0, 1.0, 2.0)
    advance = "lstm_advance"

    def __init__(self, below: Below, weight: Tensor, largest: int, buffers: Buffers, like: Tensor) -> None:
        super().__init__(below, weight, largest, buffers, like)
        self.cells, self.squashed = self._room("cells", below.rows), self._room("squashed", below.rows)
        """(A, H) c, later its gradient, and tanh(c)"""

    def _activate(self, step: Step, recurrent: Any) -> None:
        written = (each.of_pass[step.rows] for each in (self.gates, self.cells, self.squashed, self.states))
        before = self.cells.of_pass[step.before]
        self._run("lstm_forward", *self.below.at(step.rows), recurrent, before, *written)

    def _flow(self, step: Step, d_states: Any, later: Any) -> tuple[None, Flows]:
        cells, squashed, gates = (each.of_pass[step.rows] for each in (self.cells, self.squashed, self.gates))
        before = self.cells.of_pass[step.before]
        self._run("lstm_backward", d_states, later, cells, before, squashed, gates)
        return None, [(slice(None), self.gates.tensor[step.rows][: step.going])]


class GRUKernel(Kernel):
    """As `cells.GRU`"""

    factors = (1.0, 1.0, 2.0)
    advance = "gru_advance"

    def __init__(self, below: Below, weight: Tensor, largest: int, buffers: Buffers, like: Tensor) -> None:
        super().__init__(below, weight, largest, buffers, like)
        self.kept = self._room("kept", below.rows)
        """(A, H) U_n h, then its gradient"""

    def _activate(self, step: Step, recurrent: Any) -> None:
        written = (each.of_pass[step.rows] for each in (self.gates, self.kept, self.states))
        before = self.states.of_pass[step.before]
        self._run("gru_forward", *self.below.at(step.rows), recurrent, before, *written)

    def _flow(self, step: Step, d_states: Any, later: Any) -> tuple[Tensor, Flows]:
        going, both = step.going, slice(2 * len(self.weight))
        by_update = self._like.new_empty(going, len(self.weight))
        kept, gates = self.kept.of_pass[step.rows], self.gates.of_pass[step.rows]
        before = self.states.of_pass[step.before]
        self._run("gru_backward", d_states, later, before, kept, gates, Block(by_update).of_pass)
        flow, flow_of_new = self.gates.tensor[step.rows][:going, both], self.kept.tensor[step.rows][:going]
        return by_update, [(both, flow), (slice(both.stop, None), flow_of_new)]


KERNELS: dict[type[Cell], type[RNNKernel | LSTMKernel | GRUKernel]] = {
    RNN: RNNKernel, LSTM: LSTMKernel, GRU: GRUKernel,
}  # fmt: skip
