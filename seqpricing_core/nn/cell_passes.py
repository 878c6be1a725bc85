"""What a recurrent cell does between its matrix products, by torch on any device.

A pass takes one step of n sequences, the first m of which were under way before; writes into its arguments;
and has a faster twin of the same name in `compiled_passes`. tanh(u) = 2 sigma(2u) - 1, and the inner 2 is in
the weights: where an argument is named after a tanh's input, it is twice that input.

n: sequences of the step; m <= n of them have a state before; G: gates; H: units.

======================  ============  ===================================================================
``below``, ``rows``     (S, G H) (n,) W x of all stock-months, and which of them each sequence reads
``bias``                (G H,)        b
``recurrent``           (m, G H)      U h of the state before
``before``              (m, H)        c (LSTM) or h (GRU) before
``gates``               (n, G H)      activated gates, after a backward pass gradients of W x + b
``states``              (n, H)        h
``d_states``            (n, H)        gradient of h from above; or (0, H) for none
``later``               (k, H)        and from the step after, which the first k go on to
======================  ============  ===================================================================
"""

from __future__ import annotations

import torch
from torch import Tensor


def rnn_forward(
    below: Tensor, rows: Tensor, bias: Tensor, recurrent: Tensor, gates: Tensor, states: Tensor
) -> None:
    """The next h = tanh(W x + U h + b), *sequence* eq. 4."""
    torch.add(below[rows], bias, out=gates)[: len(recurrent)] += recurrent
    torch.mul(gates.sigmoid_(), 2, out=states).sub_(1)


def rnn_backward(d_states: Tensor, later: Tensor, gates: Tensor) -> None:
    """Of `rnn_forward`."""
    _undo_sigmoid(_received(d_states, later, like=gates) * 2, gates)


def rnn_advance(below: Tensor, rows: Tensor, bias: Tensor, recurrent: Tensor, states: Tensor) -> None:
    """`rnn_forward` that keeps nothing but the new ``states``."""
    torch.mul((below[rows] + bias + recurrent).sigmoid_(), 2, out=states).sub_(1)


def lstm_forward(
    below: Tensor, rows: Tensor, bias: Tensor, recurrent: Tensor, before: Tensor, gates: Tensor,
    cells: Tensor, squashed: Tensor, states: Tensor,
) -> None:  # fmt: skip
    """Gates f, i, o and candidate; c = f c + i candidate, h = o tanh(c), *sequence* eq. 6-10.

    ``cells`` and ``squashed`` (n, H) get c and tanh(c).
    """
    going = len(recurrent)
    torch.add(below[rows], bias, out=gates)[:going] += recurrent
    forget, admit, out, candidate = gates.sigmoid_().chunk(4, dim=1)
    torch.mul(candidate, admit, out=cells).mul_(2).sub_(admit)  # i (2 sigma - 1)
    cells[:going].addcmul_(forget[:going], before)
    torch.mul(cells, 2, out=squashed).sigmoid_().mul_(2).sub_(1)
    torch.mul(squashed, out, out=states)


def lstm_backward(
    d_states: Tensor, later: Tensor, cells: Tensor, before: Tensor, squashed: Tensor, gates: Tensor
) -> None:
    """Of `lstm_forward`. ``before`` becomes the gradient of c before; it is ``cells`` of the next call."""
    going = len(before)
    forget, admit, out, candidate = gates.chunk(4, dim=1)
    d_gates = torch.empty_like(gates)
    d_forget, d_admit, d_out, d_candidate = d_gates.chunk(4, dim=1)
    received = _received(d_states, later, like=squashed)
    torch.mul(received, squashed, out=d_out)
    d_cells = torch.addcmul(received, d_out, squashed, value=-1).mul_(out)  # dh o (1 - tanh(c)^2)
    d_cells[: len(later)] += cells[: len(later)]
    torch.mul(candidate, 2, out=d_admit).sub_(1).mul_(d_cells)
    torch.mul(admit, d_cells, out=d_candidate).mul_(2)
    torch.mul(d_cells[:going], before, out=d_forget[:going])
    d_forget[going:] = 0
    torch.mul(d_cells[:going], forget[:going], out=before)
    _undo_sigmoid(d_gates, gates)


def lstm_advance(
    below: Tensor, rows: Tensor, bias: Tensor, recurrent: Tensor, states: Tensor, cells: Tensor
) -> None:
    """`lstm_forward` that keeps nothing but the new ``states`` and ``cells``."""
    forget, admit, out, candidate = (below[rows] + bias + recurrent).sigmoid_().chunk(4, dim=1)
    cells.mul_(forget).addcmul_(admit, candidate.mul_(2).sub_(1))
    torch.mul(cells, 2, out=states).sigmoid_().mul_(2).sub_(1).mul_(out)


def gru_forward(
    below: Tensor, rows: Tensor, bias: Tensor, recurrent: Tensor, before: Tensor, gates: Tensor,
    kept: Tensor, states: Tensor,
) -> None:  # fmt: skip
    """Gates z, r and new n = tanh(W_n x + b_n + r * U_n h); h = (1 - z) n + z h, as `cells.GRU`.

    ``kept`` (n, H) gets U_n h, zero without a state before.
    """
    going, size = len(recurrent), states.shape[1]
    kept[:going] = recurrent[:, 2 * size :]
    kept[going:] = 0
    torch.add(below[rows], bias, out=gates)
    both, new = gates[:, : 2 * size], gates[:, 2 * size :]
    both[:going] += recurrent[:, : 2 * size]
    update, reset = both.sigmoid_().chunk(2, dim=1)
    new.addcmul_(reset, kept).sigmoid_().mul_(2).sub_(1)
    torch.addcmul(new, update, new, value=-1, out=states)
    states[:going].addcmul_(update[:going], before)


def gru_backward(
    d_states: Tensor, later: Tensor, before: Tensor, kept: Tensor, gates: Tensor, d_before: Tensor
) -> None:
    """Of `gru_forward`. ``kept`` becomes its gradient, ``d_before`` (m, H) that of h before by z alone."""
    update, reset, new = gates.chunk(3, dim=1)
    received = _received(d_states, later, like=kept)
    torch.mul(received[: len(before)], update[: len(before)], out=d_before)
    difference = -new
    difference[: len(before)] += before
    d_new = received * (1 - update) * (1 - new * new) / 2
    update.mul_(1 - update).mul_(difference).mul_(received)
    new.copy_(d_new)
    d_kept = d_new * reset
    torch.mul(d_kept * kept, 1 - reset, out=reset)
    kept.copy_(d_kept)


def gru_advance(below: Tensor, rows: Tensor, bias: Tensor, recurrent: Tensor, states: Tensor) -> None:
    """`gru_forward` that keeps nothing but the new ``states``."""
    size = states.shape[1]
    gates = below[rows] + bias
    update, reset = (gates[:, : 2 * size] + recurrent[:, : 2 * size]).sigmoid_().chunk(2, dim=1)
    new = gates[:, 2 * size :].addcmul_(reset, recurrent[:, 2 * size :]).sigmoid_().mul_(2).sub_(1)
    states.sub_(new).mul_(update).add_(new)


def scatter_add(gradient: Tensor, index: Tensor, total: Tensor) -> None:
    """Add each row of ``gradient`` (A, C) to the row of ``total`` (S, C) that ``index`` (A,) names."""
    total.index_add_(0, index, gradient)


def _received(own: Tensor, later: Tensor, *, like: Tensor) -> Tensor:
    """(n, H) what reaches a state: from above, and from the step after."""
    received = torch.zeros_like(like)
    received[: len(own)] += own
    received[: len(later)] += later
    return received


def _undo_sigmoid(gradient: Tensor, value: Tensor) -> None:
    """Replace ``value`` by gradient * value (1 - value)."""
    torch.ops.aten.sigmoid_backward.grad_input(gradient, value, grad_input=value)
