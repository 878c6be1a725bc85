"""A simulated market whose truth is known (METHODS: the measuring rod).

Everything in it is invented; every file and report made from it says so. Firms enter, report with
delay, and leave. Returns follow a conditional factor model,

    r_it - rf_t = beta(c_i,t-1)' f_t + e_it,    f_t = mu(s_t) + v_t L eta_t

where c are seven observable characteristics as ranks in (-1, 1), s a persistent bull or bear
regime and v a volatility cycle, so that the past says something about the next month; e has fat tails.
Loadings are linear in c, or non-linear: squares, products and signs, after the two designs of Gu, Kelly, Xiu
(2020, internet appendix A), or they depend on the path of c. The oracle knows beta, s and mu, and is the ceiling
of every score.

`truth` holds factors and loadings, `firms` names and sizes, `trading` days, `accounting` statements, `delisting`
who leaves; `market` puts them together month by month. The plain market is well-behaved. The complete one
(``detail: complete``) has what makes vendors' files difficult: a calendar of days with quotes, quiet days, splits
and dividends; fiscal years, annual reports and restatements; delisting returns, some unknown; second share
classes; names, tickers, exchanges and industries that change; missing returns and items. `wrds` writes it in
the shape of WRDS's tables. `gu_kelly_xiu` is the design of that paper itself.
"""

from seqpricing_core.sources.simulated.files import write_simulated_market
from seqpricing_core.sources.simulated.market import MarketMonth, SimulatedMarket
from seqpricing_core.sources.simulated.truth import (
    DRIVERS,
    FACTOR_MEAN,
    FACTORS,
    LINEAR,
    REGIME_STAY,
    true_loadings,
)

__all__ = [
    "DRIVERS",
    "FACTORS",
    "FACTOR_MEAN",
    "LINEAR",
    "REGIME_STAY",
    "MarketMonth",
    "SimulatedMarket",
    "true_loadings",
    "write_simulated_market",
]
