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
def rnn_forward(gates: Values, recurrent: Values, states: Values) -> None:
    two, one = states.dtype.type(2), states.dtype.type(1)
    for row in range(len(gates)):
        g = gates[row]
        if row < len(recurrent):
            for j in range(len(g)):
                g[j] += widened(recurrent[row, j])
        for j in range(len(g)):
            g[j] = _sigmoid(g[j])
            states[row, j] = two * g[j] - one


@_compiled
def rnn_backward(d_states: Values, later: Values, gates: Values) -> None:
    two, one = gates.dtype.type(2), gates.dtype.type(1)
    d = np.empty(gates.shape[1], gates.dtype)
    for row in range(len(gates)):
        _received(d, d_states[row], later, row)
        g = gates[row]
        for j in range(len(g)):
            g[j] = two * d[j] * g[j] * (one - g[j])


@_compiled
def lstm_forward(
    gates: Values, recurrent: Values, before: Values, cells: Values, squashed: Values, states: Values
) -> None:
    size = states.shape[1]
    two, one = states.dtype.type(2), states.dtype.type(1)
    for row in range(len(gates)):
        g, c, t, h = gates[row], cells[row], squashed[row], states[row]
        if row < len(recurrent):
            for j in range(4 * size):
                g[j] += widened(recurrent[row, j])
        for j in range(4 * size):
            g[j] = _sigmoid(g[j])
        for u in range(size):
            c[u] = g[size + u] * (two * g[3 * size + u] - one)
        if row < len(recurrent):
            for u in range(size):
                c[u] += g[u] * before[row, u]
        for u in range(size):
            t[u] = two * _sigmoid(two * c[u]) - one
            h[u] = g[2 * size + u] * t[u]


@_compiled
def lstm_backward(
    d_states: Values, later: Values, cells: Values, before: Values, squashed: Values, gates: Values
) -> None:
    size = squashed.shape[1]
    two, one = gates.dtype.type(2), gates.dtype.type(1)
    d, d_c = np.empty(size, gates.dtype), np.empty(size, gates.dtype)
    for row in range(len(gates)):
        g, t = gates[row], squashed[row]
        _received(d, d_states[row], later, row)
        for u in range(size):
            out = g[2 * size + u]
            d_c[u] = d[u] * out * (one - t[u] * t[u])
            g[2 * size + u] = d[u] * t[u] * out * (one - out)
        _received(d_c, d_c, cells[: len(later)], row)
        for u in range(size):
            admit, candidate = g[size + u], g[3 * size + u]
            g[size + u] = d_c[u] * (two * candidate - one) * admit * (one - admit)
            g[3 * size + u] = two * d_c[u] * admit * candidate * (one - candidate)
        if row < len(before):
            c = before[row]
            for u in range(size):
                d[u] = d_c[u] * g[u]
                g[u] = d[u] * c[u] * (one - g[u])
                c[u] = d[u]
        else:
            g[:size] = 0


@_compiled
def lstm_advance(
    recurrent: Values, below: Values, rows: Values, states: Values, cells: Values
) -> None:
    size = states.shape[1]
    two, one = states.dtype.type(2), states.dtype.type(1)
    g = np.empty(4 * size, states.dtype)
    for row in range(len(states)):
        b, c, h = below[rows[row]], cells[row], states[row]
        for j in range(4 * size):
            g[j] = _sigmoid(widened(recurrent[row, j]) + b[j])
        for u in range(size):
            c[u] = g[u] * c[u] + g[size + u] * (two * g[3 * size + u] - one)
            h[u] = g[2 * size + u] * (two * _sigmoid(two * c[u]) - one)


@_compiled
def gru_forward(gates: Values, recurrent: Values, before: Values, kept: Values, states: Values) -> None:
    size = states.shape[1]
    two, one = states.dtype.type(2), states.dtype.type(1)
    for row in range(len(gates)):
        g, k, h = gates[row], kept[row], states[row]
        for u in range(size):
            k[u] = 0
        if row < len(recurrent):
            for j in range(2 * size):
                g[j] += widened(recurrent[row, j])
            for u in range(size):
                k[u] = widened(recurrent[row, 2 * size + u])
        for j in range(2 * size):
            g[j] = _sigmoid(g[j])
        for u in range(size):
            h[u] = two * _sigmoid(g[2 * size + u] + g[size + u] * k[u]) - one
        for u in range(size):
            g[2 * size + u] = h[u]
            h[u] *= one - g[u]
        if row < len(recurrent):
            for u in range(size):
                h[u] += g[u] * before[row, u]


@_compiled
def gru_backward(
    d_states: Values, later: Values, before: Values, kept: Values, gates: Values, flow: Values,
    d_before: Values,
) -> None:  # fmt: skip
    size = kept.shape[1]
    half, one = gates.dtype.type(0.5), gates.dtype.type(1)
    d = np.empty(size, gates.dtype)
    b = np.empty(size, gates.dtype)
    for row in range(len(gates)):
        _received(d, d_states[row], later, row)
        g, k = gates[row], kept[row]
        for u in range(size):
            b[u] = before[row, u] if row < len(before) else 0
        if row < len(before):
            for u in range(size):
                d_before[row, u] = d[u] * g[u]
        for u in range(size):
            update, reset, new = g[u], g[size + u], g[2 * size + u]
            d_new = half * d[u] * (one - update) * (one - new * new)
            g[u] = d[u] * (b[u] - new) * update * (one - update)
            g[size + u] = d_new * k[u] * reset * (one - reset)
            g[2 * size + u] = d_new
            b[u] = d_new * reset
        if row < len(before):
            for j in range(2 * size):
                flow[row, j] = g[j]
            for u in range(size):
                flow[row, 2 * size + u] = b[u]


@_compiled
def gru_advance(recurrent: Values, below: Values, rows: Values, states: Values) -> None:
    size = states.shape[1]
    two, one = states.dtype.type(2), states.dtype.type(1)
    g = np.empty(2 * size, states.dtype)
    for row in range(len(states)):
        b, h = below[rows[row]], states[row]
        for j in range(2 * size):
            g[j] = _sigmoid(widened(recurrent[row, j]) + b[j])
        for u in range(size):
            reset = g[size + u] * widened(recurrent[row, 2 * size + u])
            new = two * _sigmoid(b[2 * size + u] + reset) - one
            h[u] = new + g[u] * (h[u] - new)


@_compiled
def rnn_advance(recurrent: Values, below: Values, rows: Values, states: Values) -> None:
    two, one = states.dtype.type(2), states.dtype.type(1)
    for row in range(len(states)):
        b, h = below[rows[row]], states[row]
        for u in range(len(h)):
            h[u] = two * _sigmoid(widened(recurrent[row, u]) + b[u]) - one


@_compiled
def scatter_add(gradient: Values, index: Values, total: Values) -> None:
    for row in range(len(gradient)):
        t, g = total[index[row]], gradient[row]
        for j in range(len(g)):
            t[j] += g[j]


@numba.njit(inline="always")
def _received(total: Values, own: Values, later: Values, row: int) -> None:
    """What reaches a state: from above, and from the step after it."""
    for u in range(len(total)):
        total[u] = own[u]
    if row < len(later):
        for u in range(len(total)):
            total[u] += later[row, u]
