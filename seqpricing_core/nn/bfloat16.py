"""bfloat16 in compiled loops, which know it by its bits only: the upper half of a float32."""

from __future__ import annotations

from typing import Any, TypeAlias

import numba
import numpy as np
import torch
from numba.extending import overload
from torch import Tensor

Values: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def stored(tensor: Tensor) -> Tensor:
    """The bits of a bfloat16 tensor, in its memory; others as they are."""
    return tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor


def widened(x: Any) -> Any:
    """The number that the bits of a bfloat16 stand for; other numbers are themselves."""
    return x


def narrowed(x: Any, like: Any) -> Any:  # noqa: ARG001
    """``x`` as stored beside ``like``; to bfloat16 rounded to nearest, ties to even."""
    return x


@overload(widened)
def _of_stored(x: Any) -> Any:
    def bits(x: Any) -> Any:
        return np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)

    return bits if x == numba.types.uint16 else widened


@overload(narrowed)
def _as_stored(x: Any, like: Any) -> Any:  # noqa: ARG001
    def bits(x: Any, like: Any) -> Any:  # noqa: ARG001
        long = np.float32(x).view(np.uint32)
        even = np.uint32(0x7FFF) + ((long >> np.uint32(16)) & np.uint32(1))
        return np.uint16((long + even) >> np.uint32(16))

    return bits if like == numba.types.uint16 else narrowed
