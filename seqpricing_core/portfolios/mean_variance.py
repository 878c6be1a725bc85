"""Mean-variance portfolios with linear constraints and bounds (*trend*, appendix).

N = assets, M = constraints.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field
from scipy.linalg import cho_factor, cho_solve

from seqpricing_core.errors import InputError
from seqpricing_core.models.configs import Config, PositiveInt
from seqpricing_core.panel.panel import Float64, Int64
from seqpricing_core.portfolios.costs import net_returns
from seqpricing_core.portfolios.covariance import Shrinkage, past_returns, shrunk_covariance
from seqpricing_core.portfolios.cross_sections import (
    MODEL,
    CrossSection,
    cross_sections,
    in_order,
    period_column,
)
from seqpricing_core.portfolios.holdings import compute_quantile_returns
from seqpricing_core.study import Costs

ROUNDING = 1e-10


class MeanVariance(Config):
    """How expected returns become positions."""

    periods: PositiveInt = 252
    """Past periods in the covariance."""
    minimum_periods: Annotated[int, Field(ge=2)] = 126
    """A stock with fewer past returns is not held."""
    shrinkage: Shrinkage = "ledoit_wolf"
    largest_weight: Annotated[float, Field(gt=0, le=1)] | None = None
    """Bound on every |w| where sum |w| = 1; null for none."""


@dataclass(frozen=True)
class LinearConstraints:
    """B w = d."""

    matrix: Float64
    """(M, N) B, of full row rank."""
    target: Float64
    """(M,) d"""

    @classmethod
    def neutral(cls, sectors: pl.Series) -> LinearConstraints:
        """Weights sum to zero in every sector: row j of B is 1 for the stocks of sector j, d = 0."""
        names = sectors.unique().sort().to_list()
        matrix = np.array([(sectors == name).to_numpy() for name in names], dtype=np.float64)
        return cls(matrix, np.zeros(len(names)))


def mean_variance_weights(
    expected: Float64, covariance: Float64, constraints: LinearConstraints | None = None, *,
    risk_tolerance: float = 1.0,
) -> Float64:  # fmt: skip
    """(N,) argmax of w'mu - w'Cw / (2 gamma) subject to B w = d, in closed form.

    w = C^-1 B'(B C^-1 B')^-1 d + gamma C^-1 [mu - B'(B C^-1 B')^-1 B C^-1 mu] (*trend*, appendix on the
    mean-variance framework).

    Parameters
    ----------
    expected
        (N,) mu, per period.
    covariance
        (N, N) C, positive definite.
    risk_tolerance
        gamma.
    """
    factor = _cholesky(covariance)
    unconstrained: Float64 = risk_tolerance * cho_solve(factor, expected)
    if constraints is None:
        return unconstrained
    b = constraints.matrix
    spread = cho_solve(factor, b.T)
    multipliers = np.linalg.solve(b @ spread, constraints.target - b @ unconstrained)
    weights: Float64 = unconstrained + spread @ multipliers
    return weights


def bounded_mean_variance_weights(
    expected: Float64, covariance: Float64, constraints: LinearConstraints | None = None, *,
    lower: float = -np.inf, upper: float = np.inf, largest_gross: float | None = None,
    risk_tolerance: float = 1.0,
) -> Float64:  # fmt: skip
    """The same, with lower <= w <= upper and sum |w| <= ``largest_gross``, by cvxpy (Clarabel).

    Raises
    ------
    InputError
        Bounds and constraints leave nothing to choose.
    """
    import cvxpy as cp

    w = cp.Variable(len(expected))
    # |C^1/2 w|^2 rather than w'Cw: no symmetric-definite check of a large matrix in the solver's front end.
    root = np.linalg.cholesky(covariance).T
    rules = [] if constraints is None else [constraints.matrix @ w == constraints.target]
    rules += [w >= lower] if np.isfinite(lower) else []
    rules += [w <= upper] if np.isfinite(upper) else []
    rules += [] if largest_gross is None else [cp.norm1(w) <= largest_gross]
    utility = (risk_tolerance * expected) @ w - cp.sum_squares(root @ w) / 2
    # Squared daily returns are tiny beside the solver's tolerances; the scale changes no optimum.
    problem = cp.Problem(cp.Maximize(utility / np.diag(covariance).mean()), rules)
    problem.solve(solver=cp.CLARABEL)
    if problem.status != cp.OPTIMAL:
        raise InputError(
            f"no mean-variance portfolio meets the constraints ({problem.status})",
            where=f"{len(expected)} assets, weights in [{lower:g}, {upper:g}]",
            expected="bounds that allow the linear constraints",
            remedy="widen the bounds, or drop constraints",
        )
    weights: Float64 = w.value
    return weights


def scale_to_gross(weights: Float64, gross: float = 1.0) -> Float64:
    """Weights with sum |w| = ``gross``: so many dollars, long or short, are invested.

    Keeps B w = 0, not B w = d.
    """
    scaled: Float64 = weights * (gross / np.abs(weights).sum())
    return scaled


def scale_to_volatility(
    weights: Float64, covariance: Float64, volatility: float, periods_per_year: float
) -> Float64:
    """Weights whose annual standard deviation under ``covariance`` is ``volatility`` (*trend*: 15%)."""
    annual = np.sqrt(weights @ covariance @ weights * periods_per_year)
    scaled: Float64 = weights * (volatility / annual)
    return scaled


def mean_variance_positions(
    expected: Float64, covariance: Float64, constraints: LinearConstraints, largest_weight: float | None
) -> Float64:
    """(N,) the optimum for B w = 0, scaled to sum |w| = 1, with |w| at most ``largest_weight``.

    Without a bound, risk tolerance drops out of the scaled closed form. With one, gamma is that under which
    the unbounded optimum has sum |w| = 1, and the bounded one sum |w| <= 1: what the bound cuts off is
    invested in other stocks only as far as it pays, and the rest stays in cash.

    Raises
    ------
    InputError
        The constraints leave nothing but rounding, as where all forecasts of a sector are equal.
    """
    free = mean_variance_weights(expected, covariance, constraints)
    unconstrained = mean_variance_weights(expected, covariance)
    if np.abs(free).sum() <= ROUNDING * np.abs(unconstrained).sum():
        raise InputError(
            "the mean-variance portfolio is empty: neutrality takes away all weights",
            where=f"mean-variance portfolio of {len(expected)} assets",
            expected="expected returns that differ within a sector",
            remedy="look at the forecasts of that period, or use fewer sectors",
        )
    weights = scale_to_gross(free)
    if largest_weight is None or np.abs(weights).max() <= largest_weight:
        return weights
    return bounded_mean_variance_weights(
        expected, covariance, constraints, lower=-largest_weight, upper=largest_weight, largest_gross=1.0,
        risk_tolerance=1 / np.abs(free).sum(),
    )  # fmt: skip


def compute_mean_variance_holdings(
    predictions: pl.DataFrame, returns: pl.DataFrame, options: MeanVariance
) -> pl.DataFrame:
    """Positions of every model and period, as `compute_holdings` has them, with ``quantile`` 1.

    A stock without enough history is not held. One that is held and then has no return counts with 0: there
    is no rest of a leg to which its weight could go.

    **Timing.** Positions of t from expected returns of t and returns of periods before t.

    Parameters
    ----------
    predictions
        As for sorts. Positions are neutral by ``sector`` (as of t-1) if there is that column, else over all
        stocks.
    returns
        See `past_returns`.

    Raises
    ------
    InputError
        A sector is missing; a period has too little history; a stock stands twice.
    """
    period = period_column(predictions)
    sectors = _sectors(in_order(predictions, period))
    sections, start = [], 0
    for section in cross_sections(predictions):
        sections.append((section, sectors[start : start + len(section)]))
        start += len(section)
    parts = []
    # By period first: all models of a period share its covariance.
    sections.sort(key=lambda pair: pair[0].period)
    for at, models in itertools.groupby(sections, key=lambda pair: pair[0].period):
        ids, past = past_returns(returns, at, options.periods, options.minimum_periods)
        covariance = shrunk_covariance(past, options.shrinkage)
        parts += [_positions(section, of, ids, covariance, options) for section, of in models]
    return pl.concat(parts).sort(*MODEL, period, "asset_id")


def compute_mean_variance_returns(
    predictions: pl.DataFrame, returns: pl.DataFrame, options: MeanVariance, costs: Costs
) -> pl.DataFrame:
    """Returns, turnover and net returns of `compute_mean_variance_holdings`.

    Returns
    -------
    DataFrame
        As `compute_portfolio_returns`, with ``weights`` "mean_variance" and ``portfolio`` "long_short".
        Returns are per dollar of sum |w| = 1, that is of both legs together.
    """
    if costs.half_spreads:
        raise InputError(
            "costs.half_spreads is on, and mean-variance portfolios are charged a common level only",
            where="costs",
            expected="costs.basis_points",
            remedy="leave out costs.half_spreads for mean-variance portfolios",
        )
    holdings = compute_mean_variance_holdings(predictions, returns, options)
    period = period_column(holdings)
    net, *further = net_returns(costs)
    return compute_quantile_returns(holdings).select(
        *MODEL, pl.lit("mean_variance").alias("weights"), pl.lit("long_short").alias("portfolio"),
        period, "return", "turnover", net, "turnover_sequence", *further,
    )  # fmt: skip


def _positions(
    section: CrossSection, sectors: pl.Series, ids: Int64, covariance: Float64, options: MeanVariance
) -> pl.DataFrame:
    held = np.isin(section.asset_id, ids)
    known, place = section.only(held), np.searchsorted(ids, section.asset_id[held])
    weights = mean_variance_positions(
        known.expected_return,
        covariance[np.ix_(place, place)],
        LinearConstraints.neutral(sectors.filter(held)),
        options.largest_weight,
    )
    return pl.DataFrame({
        "family": section.family,
        "number_of_factors": pl.Series([section.number_of_factors] * len(known), dtype=pl.Int32),
        section.period_name: section.period,
        "quantile": pl.Series([1] * len(known), dtype=pl.Int32),
        "asset_id": known.asset_id,
        "weight": weights,
        "excess_return": np.nan_to_num(known.excess_return),
    })  # fmt: skip


def _sectors(predictions: pl.DataFrame) -> pl.Series:
    if "sector" not in predictions.columns:
        return pl.repeat("all", len(predictions), eager=True)
    sectors = predictions["sector"].cast(pl.String)
    if sectors.null_count():
        row = predictions.filter(sectors.is_null()).row(0, named=True)
        raise InputError(
            f"the sector is missing in {sectors.null_count()} row(s)",
            where=f"predictions of {row['family']}, asset {row['asset_id']}",
            expected="a sector for every stock and period",
            remedy="fill in the sector, or leave out the column for positions neutral over all stocks",
        )
    return sectors


def _cholesky(covariance: Float64) -> tuple[Float64, bool]:
    try:
        factor: tuple[Float64, bool] = cho_factor(covariance)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise InputError(
            f"the covariance matrix cannot be inverted: {error}",
            where=f"mean-variance portfolio of {len(covariance)} assets",
            expected="a finite, positive definite matrix",
            remedy="estimate it by shrinkage (`shrunk_covariance`), on returns without missing values",
        ) from error
    return factor
