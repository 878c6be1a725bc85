"""Compiled passes of recurrent cells against the same formulas by torch."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from seqpricing_core.nn import cell_passes, compiled_passes
from seqpricing_core.nn.bfloat16 import stored

N, GOING, LATER, STOCKS, SIZE = 7, 5, 4, 11, 6
"""Sequences of the step, those with a state before, those that go on; stock-months; units."""
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
PASSES = [
    (cell, what) for cell in GATES for what in ("forward", "backward", "advance")
]  # fmt: skip


def arguments(cell: str, what: str, dtype: torch.dtype, *, low: bool) -> dict[str, torch.Tensor]:
    """Of each name of a pass; numbers as they come in a cell: gates in (0, 1), all else around 0."""
    draw = torch.Generator().manual_seed(1)
    columns = GATES[cell] * SIZE
    shapes = {
        "below": (STOCKS, columns), "bias": (columns,), "states": (N, SIZE), "cells": (N, SIZE),
        "recurrent": (N if what == "advance" else GOING, columns), "before": (GOING, SIZE),
        "gates": (N, columns), "squashed": (N, SIZE), "kept": (N, SIZE), "d_states": (N, SIZE),
        "later": (LATER, SIZE), "d_before": (GOING, SIZE),
    }  # fmt: skip
    made = {name: torch.randn(shape, generator=draw, dtype=dtype) for name, shape in shapes.items()}
    made["gates"] = torch.sigmoid(made["gates"])
    made["rows"] = torch.randint(STOCKS, (N,), generator=draw)
    if low:
        made["recurrent"], made["below"] = made["recurrent"].bfloat16(), made["below"].bfloat16()
    return made


@pytest.mark.parametrize(("cell", "what"), PASSES)
@pytest.mark.parametrize(
    ("dtype", "low", "tolerance"),
    [(torch.float64, False, 1e-13), (torch.float32, False, 2e-6), (torch.float32, True, 2e-6)],
)
def test_both_ways_write_the_same(cell, what, dtype, low, tolerance):
    ours, theirs = getattr(compiled_passes, f"{cell}_{what}"), getattr(cell_passes, f"{cell}_{what}")
    names = list(inspect.signature(theirs).parameters)
    assert names == list(inspect.signature(ours.py_func).parameters)
    one, other = (arguments(cell, what, dtype, low=low) for _ in range(2))
    ours(*(stored(one[name]).numpy() for name in names))
    theirs(*(other[name] for name in names))
    for name in names:
        assert torch.allclose(one[name], other[name], rtol=0, atol=tolerance), name


def test_rows_are_added_where_the_index_says():
    gradient, index = np.arange(12.0).reshape(4, 3), np.array([2, 0, 2, 2])
    total = np.ones((3, 3))
    compiled_passes.scatter_add(gradient, index, total)
    expected = np.ones((3, 3))
    np.add.at(expected, index, gradient)
    assert np.array_equal(total, expected)


def test_exponentials_and_extremes():
    """float32: the compiled sigmoid is as near to the true one as torch's, and NaN stays NaN."""
    x = np.concatenate([np.linspace(-30, 30, 4001), [-1e30, -np.inf, 1e30, np.inf, np.nan]]).astype(
        np.float32
    )
    below, states = x[:, None].copy(), np.empty((len(x), 1), np.float32)
    nothing, rows = np.zeros((len(x), 1), np.float32), np.arange(len(x))
    compiled_passes.rnn_advance(below, rows, nothing[0], nothing, states)
    with np.errstate(over="ignore"):
        expected = 2 / (1 + np.exp(-x.astype(np.float64))) - 1
    assert np.allclose(states[:, 0], expected, rtol=0, atol=3e-7, equal_nan=True)
    assert np.isnan(states[-1, 0])
