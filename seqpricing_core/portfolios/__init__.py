"""Sorted and mean-variance portfolios: formed at t-1, held over t, with turnover and costs."""

from seqpricing_core.portfolios.cross_sections import MODEL
from seqpricing_core.portfolios.holdings import (
    compute_holdings,
    compute_quantile_returns,
    iterate_holdings,
    write_holdings,
)
from seqpricing_core.portfolios.mean_variance import (
    MeanVariance,
    compute_mean_variance_holdings,
    compute_mean_variance_returns,
)
from seqpricing_core.portfolios.returns import (
    STRATEGY,
    compute_portfolio_returns,
    compute_returns_of_families,
    iterate_portfolio_returns,
    write_portfolio_returns,
)
from seqpricing_core.portfolios.sorts import assign_quantiles

__all__ = [
    "MODEL",
    "STRATEGY",
    "MeanVariance",
    "assign_quantiles",
    "compute_holdings",
    "compute_mean_variance_holdings",
    "compute_mean_variance_returns",
    "compute_portfolio_returns",
    "compute_quantile_returns",
    "compute_returns_of_families",
    "iterate_holdings",
    "iterate_portfolio_returns",
    "write_holdings",
    "write_portfolio_returns",
]
