"""What a layer of recurrent cells computes in one batch, step by step, with gradients written by hand.

Products are torch's; what stands between them is a pass of `cell_passes`, on a CPU compiled. Gates are kept,
not a graph of small operations, and the backward pass writes their gradients over them.

A: rows of all steps together; B: sequences; H: units; G: gates.
"""

from __future__ import annotations

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


def product(a: Tensor, b: Tensor) -> Tensor:
    """The product in the precision of the weights ``b``."""
    return torch.mm(a.to(b.dtype), b)


def run(name: str, *arguments: Tensor) -> None:
    """A pass, by the way that suits the device."""
    if arguments[0].device.type == "cpu":
        compiled: Callable[..., None] = getattr(compiled_passes, name)
        compiled(*(stored(each).numpy() for each in arguments))
    else:
        getattr(cell_passes, name)(*arguments)


class Kernel:
    """A layer in one batch; weights and gates with the factor 2 of tanh in them.

    Parameters
    ----------
    gates
        (A, G H) W x + b; used up.
    weight
        (H, G H) U, in the precision of products.
    """

    factors: ClassVar[tuple[float, ...]]

    def __init__(self, gates: Tensor, weight: Tensor, buffers: Buffers) -> None:
        self.gates, self.weight, self.buffers = gates, weight, buffers
        self.states = self._room("states", len(gates))
        """(A, H) h"""
        self.d_weight = gates.new_zeros(weight.shape)
        """Gradient of U, complete after the last backward step"""

    def _room(self, name: str, rows: int, gates: int = 1) -> Tensor:
        """(rows, gates H)"""
        return self.buffers.take(name, rows, gates * len(self.weight), self.gates)

    def _recurrent(self, step: Step) -> Tensor:
        """(m, G H) U h of the states before."""
        return product(self.states[step.before], self.weight)

    def _flow_back(self, step: Step, flow: Tensor) -> Tensor:
        """(m, H) gradient of h before, from that of U h; adds to that of U."""
        self.d_weight.addmm_(self.states[step.before].mT, flow)
        return product(flow, self.weight.mT)

    def forward(self, step: Step) -> None:
        """The step's h, and over its W x + b the activated gates."""
        raise NotImplementedError

    def backward(self, step: Step, d_states: Tensor, later: Tensor) -> Tensor:
        """Gradients of W x + b, written over the gates; returns that of the h before, (m, H).

        Parameters
        ----------
        d_states, later
            (n, H) and (k, H), see `cell_passes`.
        """
        raise NotImplementedError


class RNNKernel(Kernel):
    """*sequence* eq. 4"""

    factors = (2.0,)

    def forward(self, step: Step) -> None:
        run("rnn_forward", self.gates[step.rows], self._recurrent(step), self.states[step.rows])

    def backward(self, step: Step, d_states: Tensor, later: Tensor) -> Tensor:
        gates = self.gates[step.rows]
        run("rnn_backward", d_states, later, gates)
        return self._flow_back(step, gates[: step.going])


class LSTMKernel(Kernel):
    """*sequence* eq. 6-10"""

    factors = (1.0, 1.0, 1.0, 2.0)

    def __init__(self, gates: Tensor, weight: Tensor, buffers: Buffers) -> None:
        super().__init__(gates, weight, buffers)
        self.cells, self.squashed = self._room("cells", len(gates)), self._room("squashed", len(gates))
        """(A, H) c, later its gradient, and tanh(c)"""

    def forward(self, step: Step) -> None:
        rows = step.rows
        run(
            "lstm_forward", self.gates[rows], self._recurrent(step), self.cells[step.before], self.cells[rows],
            self.squashed[rows], self.states[rows],
        )  # fmt: skip

    def backward(self, step: Step, d_states: Tensor, later: Tensor) -> Tensor:
        rows = step.rows
        gates, before, squashed = self.gates[rows], self.cells[step.before], self.squashed[rows]
        run("lstm_backward", d_states, later, self.cells[rows], before, squashed, gates)
        return self._flow_back(step, gates[: step.going])


class GRUKernel(Kernel):
    """As `cells.GRU`"""

    factors = (1.0, 1.0, 2.0)

    def __init__(self, gates: Tensor, weight: Tensor, buffers: Buffers) -> None:
        super().__init__(gates, weight, buffers)
        self.kept = self._room("kept", len(gates))
        """(A, H) U_n h"""

    def forward(self, step: Step) -> None:
        before, rows = self.states[step.before], step.rows
        run(
            "gru_forward", self.gates[rows], self._recurrent(step), before, self.kept[rows], self.states[rows]
        )

    def backward(self, step: Step, d_states: Tensor, later: Tensor) -> Tensor:
        before, kept, gates = self.states[step.before], self.kept[step.rows], self.gates[step.rows]
        flow, by_update = self._room("flow", step.going, 3), self.gates.new_empty(before.shape)
        run("gru_backward", d_states, later, before, kept, gates, flow, by_update)
        return by_update.add_(self._flow_back(step, flow))


KERNELS: dict[type[Cell], type[RNNKernel | LSTMKernel | GRUKernel]] = {
    RNN: RNNKernel, LSTM: LSTMKernel, GRU: GRUKernel,
}  # fmt: skip
ADVANCES: dict[type[Cell], str] = {RNN: "rnn_advance", LSTM: "lstm_advance", GRU: "gru_advance"}
"""Passes of a step that keeps nothing but the state."""
