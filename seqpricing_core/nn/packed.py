"""Sequences sorted by their number of months, longest first, and aligned at their last month.

Step k then concerns the first n_k sequences, n_0 <= n_1 <= ...; a month without data costs nothing and
cannot matter, since no number stands for it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One step: its rows, and those of the sequences that were already under way."""

    rows: slice
    going: int
    """The first so many of ``rows`` have a state from the step before; the others start at zero."""
    before: slice
    """Rows of these states."""


@dataclass(frozen=True)
class Packed:
    """Sizes n_0 <= ... <= n_L-1 = B of the steps of packed sequences."""

    sizes: tuple[int, ...]

    @property
    def starts(self) -> list[int]:
        """First row of each step."""
        return [sum(self.sizes[:k]) for k in range(len(self.sizes))]

    @property
    def last(self) -> slice:
        """Rows of the last step, which all sequences reach."""
        return slice(sum(self.sizes[:-1]), sum(self.sizes))

    def steps(self, *, backward: bool = False) -> list[Step]:
        """In the order of time, or from the last month to the first."""
        starts, sizes = self.starts, self.sizes
        order = [k for k in (range(len(sizes))[::-1] if backward else range(len(sizes))) if sizes[k]]
        steps = []
        for place, k in enumerate(order):
            other = order[place - 1]
            going = min(sizes[k], sizes[other]) if place else 0
            steps.append(
                Step(
                    slice(starts[k], starts[k] + sizes[k]), going, slice(starts[other], starts[other] + going)
                )
            )
        return steps
