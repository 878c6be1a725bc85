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

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


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


@_compiled
def rnn_forward(
    below: Values, rows: Values, bias: Values, recurrent: Values, gates: Values, states: Values
) -> None:
    two, one = states.dtype.type(2), states.dtype.type(1)
    for row in range(len(gates)):
        g, h = gates[row], states[row]
        _gather(g, below[rows[row]], bias, recurrent, row)
        for u in range(len(g)):
            g[u] = _sigmoid(g[u])
        for u in range(len(g)):
            h[u] = two * g[u] - one


@_compiled
def rnn_backward(d_states: Values, later: Values, gates: Values) -> None:
    two, one = gates.dtype.type(2), gates.dtype.type(1)
    d = np.empty(gates.shape[1], gates.dtype)
    for row in range(len(gates)):
        _received(d, d_states, later, row)
        g = gates[row]
        for j in range(len(g)):
            g[j] = two * d[j] * g[j] * (one - g[j])


@_compiled
def lstm_forward(
    below: Values, rows: Values, bias: Values, recurrent: Values, before: Values, gates: Values,
    cells: Values, squashed: Values, states: Values,
) -> None:  # fmt: skip
    size = states.shape[1]
    two, one = states.dtype.type(2), states.dtype.type(1)
    for row in range(len(gates)):
        g, c, t, h = gates[row], cells[row], squashed[row], states[row]
        _gather(g, below[rows[row]], bias, recurrent, row)
        for j in range(len(g)):
            g[j] = _sigmoid(g[j])
        forget, admit, out, candidate = g[:size], g[size : 2 * size], g[2 * size : 3 * size], g[3 * size :]
        for u in range(size):
            c[u] = admit[u] * (two * candidate[u] - one)
        if row < len(recurrent):
            b = before[row]
            for u in range(size):
                c[u] += forget[u] * b[u]
        for u in range(size):
            t[u] = two * _sigmoid(two * c[u]) - one
            h[u] = out[u] * t[u]


@_compiled
def lstm_backward(
    d_states: Values, later: Values, cells: Values, before: Values, squashed: Values, gates: Values
) -> None:
    size = squashed.shape[1]
    two, one = gates.dtype.type(2), gates.dtype.type(1)
    d, d_c = np.empty(size, gates.dtype), np.empty(size, gates.dtype)
    for row in range(len(gates)):
        g, t = gates[row], squashed[row]
        forget, admit, out, candidate = g[:size], g[size : 2 * size], g[2 * size : 3 * size], g[3 * size :]
        _received(d, d_states, later, row)
        _received(d_c, cells[: len(later)], cells[:0], row)
        for u in range(size):
            d_c[u] += d[u] * out[u] * (one - t[u] * t[u])
            out[u] = d[u] * t[u] * out[u] * (one - out[u])
        for u in range(size):
            d[u] = d_c[u] * (two * candidate[u] - one) * admit[u] * (one - admit[u])
            candidate[u] = two * d_c[u] * admit[u] * candidate[u] * (one - candidate[u])
        for u in range(size):
            admit[u] = d[u]
        if row < len(before):
            c = before[row]
            for u in range(size):
                d[u] = d_c[u] * forget[u]
                forget[u] = d[u] * c[u] * (one - forget[u])
                c[u] = d[u]
        else:
            for u in range(size):
                forget[u] = 0


@_compiled
def lstm_advance(
    below: Values, rows: Values, bias: Values, recurrent: Values, states: Values, cells: Values
) -> None:
    size = states.shape[1]
    two, one = states.dtype.type(2), states.dtype.type(1)
    g = np.empty(4 * size, states.dtype)
    forget, admit, out, candidate = g[:size], g[size : 2 * size], g[2 * size : 3 * size], g[3 * size :]
    for row in range(len(states)):
        c, h = cells[row], states[row]
        _gather(g, below[rows[row]], bias, recurrent, row)
        for j in range(len(g)):
            g[j] = _sigmoid(g[j])
        for u in range(size):
            c[u] = forget[u] * c[u] + admit[u] * (two * candidate[u] - one)
            h[u] = out[u] * (two * _sigmoid(two * c[u]) - one)


@_compiled
def gru_forward(
    below: Values, rows: Values, bias: Values, recurrent: Values, before: Values, gates: Values,
    kept: Values, states: Values,
) -> None:  # fmt: skip
    size = states.shape[1]
    two, one = states.dtype.type(2), states.dtype.type(1)
    for row in range(len(gates)):
        k, h = kept[row], states[row]
        both, update = gates[row, : 2 * size], gates[row, :size]
        reset, new = gates[row, size : 2 * size], gates[row, 2 * size :]
        _gather(both, below[rows[row]], bias, recurrent, row)
        for j in range(len(both)):
            both[j] = _sigmoid(both[j])
        _gather(new, below[rows[row], 2 * size :], bias[2 * size :], recurrent[:0], row)
        if row < len(recurrent):
            r = recurrent[row, 2 * size :]
            for u in range(size):
                k[u] = widened(r[u])
        else:
            for u in range(size):
                k[u] = 0
        for u in range(size):
            new[u] = two * _sigmoid(new[u] + reset[u] * k[u]) - one
        for u in range(size):
            h[u] = (one - update[u]) * new[u]
        if row < len(recurrent):
            b = before[row]
            for u in range(size):
                h[u] += update[u] * b[u]


@_compiled
def gru_backward(
    d_states: Values, later: Values, before: Values, kept: Values, gates: Values, d_before: Values
) -> None:
    size = kept.shape[1]
    half, one = gates.dtype.type(0.5), gates.dtype.type(1)
    d, b = np.empty(size, gates.dtype), np.empty(size, gates.dtype)
    for row in range(len(gates)):
        k, update = kept[row], gates[row, :size]
        reset, new = gates[row, size : 2 * size], gates[row, 2 * size :]
        _received(d, d_states, later, row)
        _received(b, before, before[:0], row)
        if row < len(before):
            d_b = d_before[row]
            for u in range(size):
                d_b[u] = d[u] * update[u]
        for u in range(size):
            d_new = half * d[u] * (one - update[u]) * (one - new[u] * new[u])
            update[u] *= d[u] * (b[u] - new[u]) * (one - update[u])
            new[u] = d_new
        for u in range(size):
            d_kept = new[u] * reset[u]
            reset[u] = d_kept * k[u] * (one - reset[u])
            k[u] = d_kept


@_compiled
def gru_advance(
    below: Values, rows: Values, bias: Values, recurrent: Values, states: Values
) -> None:
    size = states.shape[1]
    two, one = states.dtype.type(2), states.dtype.type(1)
    g = np.empty(2 * size, states.dtype)
    update, reset, bias_new = g[:size], g[size:], bias[2 * size :]
    for row in range(len(states)):
        r, b, h = recurrent[row, 2 * size :], below[rows[row], 2 * size :], states[row]
        _gather(g, below[rows[row]], bias, recurrent, row)
        for j in range(len(g)):
            g[j] = _sigmoid(g[j])
        for u in range(size):
            reset[u] = two * _sigmoid(widened(b[u]) + bias_new[u] + reset[u] * widened(r[u])) - one
        for u in range(size):
            h[u] = reset[u] + update[u] * (h[u] - reset[u])


@_compiled
def rnn_advance(
    below: Values, rows: Values, bias: Values, recurrent: Values, states: Values
) -> None:
    two, one = states.dtype.type(2), states.dtype.type(1)
    for row in range(len(states)):
        h = states[row]
        _gather(h, below[rows[row]], bias, recurrent, row)
        for u in range(len(h)):
            h[u] = two * _sigmoid(h[u]) - one


@_compiled
def scatter_add(gradient: Values, index: Values, total: Values) -> None:
    for row in range(len(gradient)):
        t, g = total[index[row]], gradient[row]
        for j in range(len(g)):
            t[j] += g[j]


@numba.njit(inline="always")
def _gather(total: Values, below: Values, bias: Values, recurrent: Values, row: int) -> None:
    """W x + b + U h, so many gates of it as there is room for."""
    for j in range(len(total)):
        total[j] = widened(below[j]) + bias[j]
    if row < len(recurrent):
        r = recurrent[row]
        for j in range(len(total)):
            total[j] += widened(r[j])


@numba.njit(inline="always")
def _received(total: Values, one: Values, other: Values, row: int) -> None:
    """The sum of a row of both, zero where one has no such row."""
    if row < len(one):
        o = one[row]
        for u in range(len(total)):
            total[u] = o[u]
    else:
        for u in range(len(total)):
            total[u] = 0
    if row < len(other):
        o = other[row]
        for u in range(len(total)):
            total[u] += o[u]
