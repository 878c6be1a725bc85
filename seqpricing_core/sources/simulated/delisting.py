"""Who leaves the simulated market, why, and what the holders get."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from seqpricing_core.sources.simulated.firms import DROPPED, LIQUIDATED, MERGED, Listings
from seqpricing_core.sources.simulated.trading import RETURN_UNIT
from seqpricing_core.sources.simulated.truth import Floats

NASDAQ: Final = 3
UNKNOWN: Final = 0.3
"""Share of performance-related delisting returns that nobody recorded."""
MEAN_LOSS: Final = 1 / 3
"""Of those that were: the mean of a Beta(2, 4)."""


class Delistings:
    """Delisting codes and returns of a month; all arrays (S,).

    In the complete market stocks are dropped for bad performance with a probability known at the end of the
    month before, and lose a third on average. Those that are not dropped earn as much more as makes up for it, so
    that the true expected return holds exactly:

        1 + r_it = (1 + r*_it) / (1 + p_it m_i) x (1 + d_it if dropped),   m_i = E d_it

    An unrecorded loss counts as -30%, on NASDAQ -55% (Shumway 1997; Shumway and Warther 1999).
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng([seed, 3])
        self.dropped: Any = None
        """Stocks dropped this month for bad performance."""
        self.ret_before: Floats
        """Return of the month before any delisting return."""
        self.ret: Floats
        """Total return of the month."""
        self.code: Any = None
        """CRSP's delisting code; 0 for a stock that stays."""
        self.delisting_return: Floats
        """NaN for a stock that stays, and where nobody recorded it."""

    def begin(self, ret: Floats, log_returns: Floats, new: Any, listings: Listings, *, drop: bool) -> None:
        """Who will be dropped this month, were ``ret`` the return without that risk."""
        slots = len(ret)
        self.dropped = np.zeros(slots, dtype=np.bool_)
        self.ret_before = self.ret = ret
        self.delisting_return = np.full(slots, np.nan)
        if not drop:
            return
        year = np.nan_to_num(log_returns.sum(axis=1))
        hazard = np.where(new, 0.0, np.minimum(0.0015 * np.exp(-1.5 * year), 0.03))
        known = np.rint(-self.random.beta(2, 4, slots) / RETURN_UNIT) * RETURN_UNIT
        unknown = self.random.random(slots) < UNKNOWN
        dropped = self.random.random(slots) < hazard
        second, first = listings.second, listings.primary[listings.second]
        for of_firm in (hazard, known, unknown, dropped):
            of_firm[second] = of_firm[first]
        replaced = np.where(listings.exchange == NASDAQ, -0.55, -0.3)
        mean = -(1 - UNKNOWN) * MEAN_LOSS + UNKNOWN * replaced
        self.dropped = dropped
        self.ret_before = (1 + ret) / (1 + hazard * mean) - 1
        loss = np.where(unknown, replaced, known)
        self.ret = np.where(dropped, (1 + self.ret_before) * (1 + loss) - 1, self.ret_before)
        self.delisting_return = np.where(dropped & ~unknown, known, np.nan)

    def settle(self, leaving: Any, log_returns: Floats, listings: Listings, *, returns: bool) -> None:
        """Codes of those that leave, and what holders of merged or liquidated firms get at the end."""
        slots = len(leaving)
        dropped = self.dropped
        if not returns:
            year = np.nan_to_num(log_returns.sum(axis=1))
            dropped = self.random.random(slots) < 0.3 * np.exp(-year)
        kind = self.random.random(slots)
        code = np.where(kind < 0.9, self.random.choice(MERGED, slots), self.random.choice(LIQUIDATED, slots))
        code = np.where(dropped, self.random.choice(DROPPED, slots), code)
        paid = np.rint(0.01 * self.random.standard_normal(slots) / RETURN_UNIT) * RETURN_UNIT
        paid[self.random.random(slots) < 0.2] = np.nan
        second, first = np.flatnonzero(listings.second), listings.primary[listings.second]
        together = leaving[first]
        for of_firm in (code, paid):
            of_firm[second[together]] = of_firm[first[together]]
        self.code = np.where(leaving, code, 0).astype(np.int32)
        if returns:
            quietly = leaving & ~dropped
            self.delisting_return = np.where(quietly, paid, self.delisting_return)
            gained = (1 + self.ret_before) * (1 + paid) - 1
            self.ret = np.where(quietly & np.isfinite(paid), gained, self.ret)
