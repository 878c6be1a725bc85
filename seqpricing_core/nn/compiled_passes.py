"""The functions of `cell_passes`, compiled for a CPU.

Each goes over memory once, a sequence at a time: its gates stay in the first cache from the first loop to
the last. Arrays are those of `cell_passes`, C-contiguous; ``recurrent`` may hold the bits of bfloat16.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import overload

from seqpricing_core.nn.bfloat16 import Values, widened

U = np.uint64
"""Of all places: of a signed one the compiler must ask whether it counts from the end."""
_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})


def _exp(x: Any) -> Any:
    """e^x"""
    return np.exp(x)


@overload(_exp, inline="always")
def _exp_of(x: Any) -> Any:
    """In float32, with an error of 1e-7 of it: the library's would be called for one number at a time.

    x = k log 2 + r; a polynomial in r (the expf of Moshier's Cephes library), and k added to the exponent.
    """
    if x != numba.types.float32:
        return _exp
    limit, half, one = np.float32(87), np.float32(0.5), np.float32(1)
    log2e, high, low = np.float32(1.4426950408889634), np.float32(0.693359375), np.float32(-2.12194440e-4)
    c0, c1, c2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
    c3, c4, c5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)

    def by_bits(x: Any) -> Any:
        x = min(max(x, -limit), limit)
        k = np.floor(x * log2e + half)
        r = x - k * high - k * low
        p = ((((c0 * r + c1) * r + c2) * r + c3) * r + c4) * r + c5
        power = np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)
        return (p * r * r + r + one) * power

    return by_bits


@numba.njit(inline="always")
def _sigmoid(x: Any) -> Any:
    one = type(x)(1)
    return one / (one + _exp(-x))


@numba.njit(inline="always")
def _gather(
    total: Values, row: Any, below: Values, rows: Values, bias: Values, recurrent: Values, gates: Any
) -> None:
    """W x + b + U h of a row, so many of its ``gates``."""
    at = U(rows[row])
    for j in range(gates):
        total[row, j] = widened(below[at, j]) + bias[j]
    if row < U(len(recurrent)):
        for j in range(gates):
            total[row, j] += widened(recurrent[row, j])


@numba.njit(inline="always")
def _receive(total: Values, row: Any, own: Values, later: Values) -> None:
    """What reaches the state of a row from above and from the step after, zero where nothing does."""
    size, zero = U(len(total)), total.dtype.type(0)
    for u in range(size):
        total[u] = zero
    if row < U(len(own)):
        for u in range(size):
            total[u] += own[row, u]
    if row < U(len(later)):
        for u in range(size):
            total[u] += later[row, u]


@_compiled
def rnn_forward(
    below: Values, rows: Values, bias: Values, recurrent: Values, gates: Values, states: Values
) -> None:
    size, two, one = U(states.shape[1]), states.dtype.type(2), states.dtype.type(1)
    for row in range(U(len(gates))):
        _gather(gates, row, below, rows, bias, recurrent, size)
        for u in range(size):
            gates[row, u] = _sigmoid(gates[row, u])
            states[row, u] = two * gates[row, u] - one


@_compiled
def rnn_backward(d_states: Values, later: Values, gates: Values) -> None:
    size, two, one = U(gates.shape[1]), gates.dtype.type(2), gates.dtype.type(1)
    d = np.empty(size, gates.dtype)
    for row in range(U(len(gates))):
        _receive(d, row, d_states, later)
        for u in range(size):
            gates[row, u] *= two * d[u] * (one - gates[row, u])


@_compiled
def rnn_advance(below: Values, rows: Values, bias: Values, recurrent: Values, states: Values) -> None:
    size, two, one = U(states.shape[1]), states.dtype.type(2), states.dtype.type(1)
    for row in range(U(len(states))):
        _gather(states, row, below, rows, bias, recurrent, size)
        for u in range(size):
            states[row, u] = two * _sigmoid(states[row, u]) - one


@_compiled
def lstm_forward(
    below: Values, rows: Values, bias: Values, recurrent: Values, before: Values, gates: Values,
    cells: Values, squashed: Values, states: Values,
) -> None:  # fmt: skip
    size, two, one = U(states.shape[1]), states.dtype.type(2), states.dtype.type(1)
    admit, out, candidate = size, U(2) * size, U(3) * size
    for row in range(U(len(gates))):
        _gather(gates, row, below, rows, bias, recurrent, U(4) * size)
        for j in range(U(4) * size):
            gates[row, j] = _sigmoid(gates[row, j])
        for u in range(size):
            cells[row, u] = gates[row, admit + u] * (two * gates[row, candidate + u] - one)
        if row < U(len(before)):
            for u in range(size):
                cells[row, u] += gates[row, u] * before[row, u]
        for u in range(size):
            squashed[row, u] = two * _sigmoid(two * cells[row, u]) - one
            states[row, u] = gates[row, out + u] * squashed[row, u]


@_compiled
def lstm_backward(
    d_states: Values, later: Values, cells: Values, before: Values, squashed: Values, gates: Values
) -> None:
    size, two, one = U(squashed.shape[1]), gates.dtype.type(2), gates.dtype.type(1)
    admit, out, candidate = size, U(2) * size, U(3) * size
    d, d_c = np.empty(size, gates.dtype), np.empty(size, gates.dtype)
    for row in range(U(len(gates))):
        _receive(d, row, d_states, later)
        _receive(d_c, row, cells[: len(later)], cells[:0])
        for u in range(size):
            o, t = gates[row, out + u], squashed[row, u]
            d_c[u] += d[u] * o * (one - t * t)
            gates[row, out + u] = d[u] * t * o * (one - o)
        for u in range(size):
            i, s = gates[row, admit + u], gates[row, candidate + u]
            gates[row, admit + u] = d_c[u] * (two * s - one) * i * (one - i)
            gates[row, candidate + u] = two * d_c[u] * i * s * (one - s)
        if row < U(len(before)):
            for u in range(size):
                f, c = gates[row, u], before[row, u]
                before[row, u] = d_c[u] * f
                gates[row, u] = d_c[u] * c * f * (one - f)
        else:
            for u in range(size):
                gates[row, u] = 0


@_compiled
def lstm_advance(
    below: Values, rows: Values, bias: Values, recurrent: Values, states: Values, cells: Values
) -> None:
    size, two, one = U(states.shape[1]), states.dtype.type(2), states.dtype.type(1)
    admit, out, candidate = size, U(2) * size, U(3) * size
    g = np.empty(U(4) * size, states.dtype)
    for row in range(U(len(states))):
        at = U(rows[row])
        for j in range(U(4) * size):
            g[j] = _sigmoid(widened(below[at, j]) + bias[j] + widened(recurrent[row, j]))
        for u in range(size):
            cells[row, u] = g[u] * cells[row, u] + g[admit + u] * (two * g[candidate + u] - one)
            states[row, u] = g[out + u] * (two * _sigmoid(two * cells[row, u]) - one)


@_compiled
def gru_forward(
    below: Values, rows: Values, bias: Values, recurrent: Values, before: Values, gates: Values,
    kept: Values, states: Values,
) -> None:  # fmt: skip
    size, two, one = U(states.shape[1]), states.dtype.type(2), states.dtype.type(1)
    reset, new, zero = size, U(2) * size, states.dtype.type(0)
    for row in range(U(len(gates))):
        _gather(gates, row, below, rows, bias, recurrent, new)
        for j in range(new):
            gates[row, j] = _sigmoid(gates[row, j])
        if row < U(len(recurrent)):
            for u in range(size):
                kept[row, u] = widened(recurrent[row, new + u])
        else:
            for u in range(size):
                kept[row, u] = zero
        at = U(rows[row])
        for u in range(size):
            n = widened(below[at, new + u]) + bias[new + u] + gates[row, reset + u] * kept[row, u]
            gates[row, new + u] = two * _sigmoid(n) - one
        for u in range(size):
            states[row, u] = (one - gates[row, u]) * gates[row, new + u]
        if row < U(len(before)):
            for u in range(size):
                states[row, u] += gates[row, u] * before[row, u]


@_compiled
def gru_backward(
    d_states: Values, later: Values, before: Values, kept: Values, gates: Values, d_before: Values
) -> None:
    size, half, one = U(kept.shape[1]), gates.dtype.type(0.5), gates.dtype.type(1)
    reset, new = size, U(2) * size
    d, h = np.empty(size, gates.dtype), np.empty(size, gates.dtype)
    for row in range(U(len(gates))):
        _receive(d, row, d_states, later)
        _receive(h, row, before, before[:0])
        if row < U(len(before)):
            for u in range(size):
                d_before[row, u] = d[u] * gates[row, u]
        for u in range(size):
            z, r, n = gates[row, u], gates[row, reset + u], gates[row, new + u]
            d_n = half * d[u] * (one - z) * (one - n * n)
            gates[row, u] = d[u] * (h[u] - n) * z * (one - z)
            gates[row, reset + u] = d_n * kept[row, u] * r * (one - r)
            gates[row, new + u] = d_n
            kept[row, u] = d_n * r


@_compiled
def gru_advance(below: Values, rows: Values, bias: Values, recurrent: Values, states: Values) -> None:
    size, two, one = U(states.shape[1]), states.dtype.type(2), states.dtype.type(1)
    reset, new = size, U(2) * size
    g = np.empty(new, states.dtype)
    for row in range(U(len(states))):
        at = U(rows[row])
        for j in range(new):
            g[j] = _sigmoid(widened(below[at, j]) + bias[j] + widened(recurrent[row, j]))
        for u in range(size):
            by_reset = g[reset + u] * widened(recurrent[row, new + u])
            n = two * _sigmoid(widened(below[at, new + u]) + bias[new + u] + by_reset) - one
            states[row, u] = n + g[u] * (states[row, u] - n)


@_compiled
def scatter_add(gradient: Values, index: Values, total: Values) -> None:
    for row in range(U(len(gradient))):
        at = U(index[row])
        for j in range(U(total.shape[1])):
            total[at, j] += gradient[row, j]
