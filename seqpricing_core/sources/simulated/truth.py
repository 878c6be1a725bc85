"""What is true in the simulated market: factors with memory, and loadings that depend on characteristics."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

DRIVERS: Final = ("mvel1", "bm", "mom_12", "roe", "agr", "retvol", "turn")
"""The characteristics that true loadings depend on, in the order of the columns of c."""

FACTORS: Final = 3
REGIME_STAY: Final = 0.94
FACTOR_MEAN: Final = np.array([[0.010, 0.009, 0.009], [-0.004, 0.001, 0.002]])
"""(regime, factor) monthly: bull, bear."""
FACTOR_VOLATILITY: Final = np.array([0.036, 0.020, 0.020])

LINEAR: Final = np.array(
    #  size   bm   mom   roe   agr  vol  turn
    [[-0.10, 0.00, 0.00, 0.00, 0.00, 0.45, 0.30],
     [-0.35, 0.70, 0.00, 0.00, -0.50, 0.00, 0.00],
     [0.00, 0.00, 0.75, 0.60, 0.00, -0.20, 0.00]]
)  # fmt: skip

PATH_MONTHS: Final = 13
"""Months of ranks that loadings of the design "path" read: the last one, and a year before it."""
PATH_SCALE: Final = 3.0


def true_loadings(c: Floats, design: str) -> Floats:
    """(N, 3) beta from the ranks c (N, 7).

    In the non-linear design the market loading bends, value pays among small firms only, and
    momentum turns with the sign of profitability. In the design "path", c is what `path_of` makes of the
    ranks' history, and loadings are linear in it.
    """
    beta: Floats = c @ LINEAR.T
    if design == "nonlinear":
        size, bm, mom, roe, agr, vol, turn = c.T
        beta[:, 0] = 0.5 * (3 * vol**2 - 1) + 0.5 * vol * turn
        beta[:, 1] = 1.4 * bm * (size < 0) - 0.5 * (3 * agr**2 - 1)
        beta[:, 2] = 1.1 * mom * np.sign(roe) + 0.4 * roe
    beta[:, 0] += 1.0
    return beta


def path_of(history: Floats) -> Floats:
    """How each rank moved over the year before the last month, times 3, clipped to (-1, 1).

    Mean of the months 1 to 6 before the last, less that of the months 7 to 12 before it: the last rank itself
    does not count, so that nobody who reads it alone knows the loadings.

    Parameters
    ----------
    history
        (13, N, 7) ranks, newest last; 0 where the firm did not exist.
    """
    path: Floats = np.clip(PATH_SCALE * (history[6:12].mean(axis=0) - history[:6].mean(axis=0)), -1, 1)
    return path


def ranks(raw: Floats) -> Floats:
    """2 rank / (N + 1) - 1 over the firms that have the value; 0, the median, for those that have not."""
    order = np.argsort(np.argsort(raw, axis=0), axis=0) + 1.0  # NaN sorts last
    present = np.isfinite(raw)
    ranked: Floats = np.where(present, 2 * order / (present.sum(axis=0) + 1) - 1, 0.0)
    return ranked


class FactorProcess:
    """f_t = mu(s_t) + v_t L eta_t: a bull or bear regime s that lasts, and a volatility cycle v."""

    def __init__(self) -> None:
        self.bear, self.cycle = False, 0.0

    def step(self, random: np.random.Generator) -> tuple[Floats, Floats]:
        """Mean of the factors given the regime of the month before, and the factors."""
        stay = np.array([REGIME_STAY, 1 - REGIME_STAY])
        premia: Floats = (stay[::-1] if self.bear else stay) @ FACTOR_MEAN
        self.bear = self.bear if random.random() < REGIME_STAY else not self.bear
        self.cycle = 0.9 * self.cycle + 0.18 * random.standard_normal()
        volatility = FACTOR_VOLATILITY * np.exp(self.cycle) * (1.3 if self.bear else 1.0)
        factors: Floats = FACTOR_MEAN[int(self.bear)] + volatility * random.standard_normal(FACTORS)
        return premia, factors
