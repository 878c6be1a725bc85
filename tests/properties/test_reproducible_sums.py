"""Where numbers lie in memory must not show in a result: it differs from run to run.

Without the setting in `seqpricing_core.__init__`, MKL's products of a transposed factor and its dot
products do differ in the last bit, and one fit in some forty with them.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqpricing_core.nn.residuals import split_layer

STEPS = range(0, 64, 8)
SHAPES = [(8, 4, 40), (2, 8, 37), (33, 7, 129), (1, 40, 4), (64, 62, 700)]


def placed(values: np.ndarray, offset: int) -> np.ndarray:
    """The same numbers, so many bytes behind a multiple of 64."""
    room = np.empty(values.nbytes + 128, np.uint8)
    start = -room.ctypes.data % 64 + offset
    view = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    view[:] = values
    return view


def multiply_torch(a: np.ndarray, b: np.ndarray, dtype: torch.dtype) -> bytes:
    out = torch.mm(torch.from_numpy(a).to(dtype), torch.from_numpy(b).to(dtype).mT)
    return out.double().numpy().tobytes()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_products_do_not_depend_on_alignment(shape, precision):
    rows, inner, columns = shape
    random = np.random.default_rng(0)
    a = random.normal(size=(rows, inner)).astype(precision)
    b = random.normal(size=(columns, inner)).astype(precision)
    dtype = torch.from_numpy(a).dtype
    by_torch, by_numpy, dots = set(), set(), set()
    for one in STEPS:
        for other in STEPS:
            left, right = placed(a, one), placed(b, other)
            by_torch.add(multiply_torch(left, right, dtype))
            by_numpy.add((left @ right.T).tobytes())
            x, y = left.ravel(), placed(a.ravel()[::-1], other)
            dots.add(float(torch.dot(torch.from_numpy(x), torch.from_numpy(y))))
    assert (len(by_torch), len(by_numpy), len(dots)) == (1, 1, 1)


@pytest.mark.parametrize("stocks", [1, 40, 256, 700])
def test_residuals_are_the_same_wherever_arrays_lie(stocks):
    """The pass has memory of its own on the heap: what else lies there changes from call to call."""
    random = np.random.default_rng(stocks)
    r, a = (random.normal(size=(rows, stocks)).astype(np.float32) for rows in (1, 6))
    seen, junk = set(), []
    for trial in range(600):
        junk.append(np.empty(random.integers(1, 300), np.float32))
        if len(junk) > 20:
            del junk[random.integers(len(junk))]
        layer = torch.from_numpy(placed(a, int(random.integers(16)) * 4))
        returns = torch.from_numpy(placed(r, trial % 16 * 4)[0])
        sums = split_layer(layer, returns, torch.ones(6), torch.zeros(2), [2, 4], flows=True)
        seen.add(tuple(map(tuple, (sums.squares.tolist(), sums.sums.tolist(), sums.flow.tolist()))))
    assert len(seen) == 1
