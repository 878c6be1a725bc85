"""What is traded between two periods, and both papers' turnover.

Both compare the weights w_t that are bought at the end of t-1 with what the weights before have become:

- *memory*, section 3.7: sum_i |w_it - w_i,t-1 (1 + r_i,t-1) / (1 + r_p,t-1)|, value traded as a share of the
  portfolio, which is what costs are paid on;
- *sequence*, on portfolio performance (from Freyberger, Neuhierl, Weber 2020):
  1/4 sum_i |w_i,t-1 (1 + r_i,t-1) - w_it|,
  half for counting sales and purchases once, half again for the two legs of a long-short portfolio. A
  portfolio of one leg therefore takes 1/2.

Here r_t-1 is the return over the period in which w_t-1 was held. Excess returns stand in for total returns:
the risk-free rate cancels to first order. The first period buys the whole portfolio. "The period before" is
the one before it in the table, so that daily portfolios cross weekends and holidays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqpricing_core.panel.panel import Float64, Int64


@dataclass(frozen=True)
class Holdings:
    """Weights of one period. Each stock is in one portfolio at most (0 weight: not held)."""

    asset_id: Int64
    """(N,) ascending."""
    portfolio: Int64
    """(N,) 1 to Q."""
    weight: Float64
    """(N,) at the start of the period."""
    half_spread: Float64 | None = None
    """(N,) share of the price."""


@dataclass(frozen=True)
class Drifted:
    """What holdings have become at the end of their period."""

    asset_id: Int64
    portfolio: Int64
    share: Float64
    """(N,) w (1 + r) / (1 + r_p): of the portfolio's value."""
    amount: Float64
    """(N,) w (1 + r): of its value a period ago."""
    half_spread: Float64 | None = None


NOTHING = Drifted(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))
"""Before the first period."""


@dataclass(frozen=True)
class Match:
    """The stocks of two periods, matched."""

    now: Int64
    """(S,) rows of the stocks that stay in their portfolio in the later period."""
    before: Int64
    """(S,) rows of the same stocks in the earlier one."""
    left: Float64
    """Of the earlier period: 1 for a stock that is no longer in its portfolio, and so sold; else 0."""

    @classmethod
    def between(cls, before: Drifted, now: Holdings) -> Match:
        """Depends on who is in which portfolio, not on weights."""
        if not len(before.asset_id):
            none = np.empty(0, dtype=np.int64)
            return cls(none, none, np.empty(0))
        place = np.searchsorted(before.asset_id, now.asset_id)
        place[place == len(before.asset_id)] = 0
        same = before.asset_id[place] == now.asset_id
        stays = np.flatnonzero(same & (before.portfolio[place] == now.portfolio))
        left = np.ones(len(before.asset_id))
        left[place[stays]] = 0
        return cls(stays, place[stays], left)


@dataclass(frozen=True)
class Trades:
    """Purchases and sales that turn what was held before into what is held now."""

    before: Drifted
    now: Holdings
    match: Match

    def held_before(self, values: Float64) -> Float64:
        """(N,) ``values`` of ``before``, for the stocks of ``now`` that stay in their portfolio; else 0."""
        held = np.zeros(len(self.now.asset_id))
        held[self.match.now] = values[self.match.before]
        return held

    def traded(self, values: Float64) -> Float64:
        """(Q+1,) sum of |w_t - what was held| by portfolio; ``values`` are ``share`` or ``amount``."""
        return self._by_portfolio(
            np.abs(self.now.weight - self.held_before(values)), np.abs(values) * self.match.left
        )

    def half_spreads_paid(self) -> Float64:
        """(Q+1,) sum of |trade| times half-spread by portfolio, as a share of its value.

        A stock that left the table pays the half-spread last known of it.
        """
        paid, known = self.now.half_spread, self.before.half_spread
        assert paid is not None
        bought = np.abs(self.now.weight - self.held_before(self.before.share)) * paid
        if known is None:
            return self._by_portfolio(bought, np.zeros_like(self.before.share))
        # A stock that changes its portfolio is in both cross-sections: the newer half-spread counts.
        _, new, old = np.intersect1d(
            self.now.asset_id, self.before.asset_id, assume_unique=True, return_indices=True
        )
        known = known.copy()
        known[old] = paid[new]
        return self._by_portfolio(bought, np.abs(self.before.share) * self.match.left * known)

    def _by_portfolio(self, bought: Float64, sold: Float64) -> Float64:
        portfolios = np.concatenate([self.now.portfolio, self.before.portfolio])
        total: Float64 = np.bincount(portfolios, np.concatenate([bought, sold])).astype(np.float64)
        return total


def portfolio_returns(held: Holdings, outcome: Float64) -> Float64:
    """(Q+1,) sum_i w_i r_i by portfolio, with r (N,)."""
    returns: Float64 = np.bincount(held.portfolio, held.weight * outcome).astype(np.float64)
    return returns


def drift(held: Holdings, outcome: Float64, returns: Float64) -> Drifted:
    """Let holdings run to the end of their period.

    A portfolio that lost everything has nothing left to sell.
    """
    amount = held.weight * (1 + outcome)
    value = 1 + returns[held.portfolio]
    share = np.divide(amount, value, out=np.zeros_like(amount), where=value > 0)
    return Drifted(held.asset_id, held.portfolio, share, amount, held.half_spread)
