"""What stands between the two matrix products of a loss: ReLU, residuals, and where they flow back.

A = W z is the first layer of all members for a block of stocks. Out of it come each member's residuals
e = r - c - v' relu(A) and, in the memory of A, what the second product needs: D = 1(A > 0) e. torch would
pass over A five times; the compiled pass below reads and writes it once, a few stocks of one member at
a time, so that they stay in the first cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from seqpricing_core.nn.bfloat16 import Values, narrowed, stored, widened

TILE = 256
"""Stocks worked on at once: 64 hidden units of them fill 32 KiB in bfloat16."""


@dataclass(frozen=True)
class Residuals:
    """What a block adds to the loss and its gradients."""

    squares: Tensor
    """(M,) float64, sum of e^2"""
    sums: Tensor
    """(M,) sum of e"""
    flow: Tensor
    """(rows of A,) sum of D; zero where nothing flows back"""


def split_layer(
    layer: Tensor, r: Tensor, v: Tensor, c: Tensor, widths: Sequence[int], *, flows: bool
) -> Residuals:
    """Residuals of a block; if something ``flows`` back, D replaces ``layer``.

    Parameters
    ----------
    layer
        (rows, N) A before its ReLU, float or bfloat16; the members' rows one after another. It is used up.
    r, v, c
        (N,), (rows,) and (M,) in the precision of sums.
    widths
        Rows of each member.
    """
    if layer.device.type == "cpu":
        return _compiled(layer, r, v, c, widths, flows=flows)
    return _by_torch(layer, r, v, c, widths, flows=flows)


def _compiled(
    layer: Tensor, r: Tensor, v: Tensor, c: Tensor, widths: Sequence[int], *, flows: bool
) -> Residuals:
    sums = Residuals(c.new_zeros(len(c), dtype=torch.float64), torch.zeros_like(c), torch.zeros_like(v))
    first = np.concatenate([[0], np.cumsum(widths)])
    arrays = [each.numpy() for each in (stored(layer), r, v, c, sums.squares, sums.sums, sums.flow)]
    _pass_over(first, flows, *arrays)
    return sums


@numba.njit(fastmath={"reassoc"})
def _sum(x: Values) -> Any:
    """Of `TILE` numbers, in the order that the compiler finds best.

    In a loop over nothing else. In one that also writes, it would sum sixteen at a time only where arrays do
    not lie close to each other in memory: the last bit would be a matter of chance.
    """
    total = x.dtype.type(0)
    for i in range(TILE):
        total += x[i]
    return total


@numba.njit(nogil=True, cache=True, fastmath={"contract"})  # NaN stays NaN: diverging is noticed
def _pass_over(
    first: Values, flows: bool, layer: Values, r: Values, v: Values, c: Values,  # noqa: FBT001
    squares: Values, sums: Values, flow: Values,
) -> None:  # fmt: skip
    """Add to the three sums; the rows of member m begin at ``first[m]``."""
    fitted, passed = np.empty(TILE, v.dtype), np.empty(TILE, v.dtype)
    square, low = np.empty(TILE, squares.dtype), np.empty(TILE, layer.dtype)
    nothing, off = v.dtype.type(0), layer.dtype.type(0)
    for start in range(0, len(r), TILE):
        width = min(TILE, len(r) - start)
        for member in range(len(c)):
            units = range(first[member], first[member + 1])
            fitted[:] = 0
            for unit in units:
                row, weight = layer[unit, start : start + width], v[unit]
                for stock in range(width):
                    a = widened(row[stock])
                    fitted[stock] += weight * (nothing if a <= 0 else a)
            square[:], passed[:] = 0, 0
            for stock in range(width):
                residual = r[start + stock] - c[member] - fitted[stock]
                fitted[stock], passed[stock] = residual, residual
                square[stock] = squares.dtype.type(residual) * residual
                low[stock] = narrowed(residual, off)
            squares[member] += _sum(square)
            sums[member] += _sum(passed)
            if not flows:
                continue
            for unit in units:
                row = layer[unit, start : start + width]
                for stock in range(width, TILE):
                    passed[stock] = nothing
                for stock in range(width):
                    dead = widened(row[stock]) <= 0
                    row[stock] = off if dead else low[stock]
                    passed[stock] = nothing if dead else fitted[stock]
                flow[unit] += _sum(passed)


def _by_torch(
    layer: Tensor, r: Tensor, v: Tensor, c: Tensor, widths: Sequence[int], *, flows: bool
) -> Residuals:
    layer.relu_()
    squares, sums = c.new_zeros(len(c), dtype=torch.float64), torch.zeros_like(c)
    weight = v.to(layer.dtype)
    start = member = 0
    for width, alike in ((width, len(list(run))) for width, run in groupby(widths)):
        seats, rows = slice(member, member + alike), slice(start, start + alike * width)
        active = layer[rows].view(alike, width, -1)
        fitted = torch.bmm(weight[rows].view(alike, 1, width), active)
        residual = (r - c[seats, None, None]).sub_(fitted)
        squares[seats] = residual.square().sum((1, 2), dtype=torch.float64)
        if flows:
            sums[seats] = residual.sum((1, 2))
            where_active(residual, active)
        start, member = rows.stop, seats.stop
    return Residuals(squares, sums, layer.sum(1, dtype=v.dtype) if flows else torch.zeros_like(v))


def where_active(gradient: Tensor, layer: Tensor) -> Tensor:
    """``gradient`` where the layer (after its ReLU) is positive, else 0; in the memory of ``layer``."""
    gradient = gradient.to(layer.dtype).expand_as(layer)
    masked: Tensor = torch.ops.aten.threshold_backward.grad_input(gradient, layer, 0, grad_input=layer)
    return masked
