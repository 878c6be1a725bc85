"""Tables of holdings, to look into and to export; returns and turnover from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from seqpricing_core.portfolios.breakpoints import size_limit
from seqpricing_core.portfolios.cross_sections import MODEL, cross_sections, groups, in_order, period_column
from seqpricing_core.portfolios.rebalancing import Rebalancing, Tables, rebalancings
from seqpricing_core.portfolios.sorts import rank_of
from seqpricing_core.portfolios.turnover import NOTHING, Holdings, Match, Trades, drift, portfolio_returns
from seqpricing_core.portfolios.weights import Weighting, sizes_of, weights_of
from seqpricing_core.storage import frame_to_bytes, write_atomically
from seqpricing_core.study import Portfolios


def compute_holdings(
    assigned: pl.DataFrame, weighting: Weighting, cap_percentile: float = 80.0
) -> pl.DataFrame:
    """Weights within each quantile portfolio: they sum to one per model, period and quantile.

    Parameters
    ----------
    assigned
        Of `assign_quantiles`.
    weighting, cap_percentile
        See `sizes_of`; the percentile is that of the stocks of ``assigned``.

    Returns
    -------
    DataFrame
        Model, period, ``quantile``, ``asset_id``, ``weight``, ``excess_return``; the stocks that are held and
        have a return. One that was sorted and then has none counts as if it had earned what the rest did.
    """
    period = period_column(assigned)
    ordered = in_order(assigned, period)
    quantiles = ordered["quantile"].to_numpy().astype(np.int64)
    weights, start = [], 0
    for section in cross_sections(ordered):
        quantile = quantiles[start : start + len(section)]
        start += len(section)
        cap = size_limit(section, cap_percentile)[0] if weighting == "capped" else np.inf
        sizes = sizes_of(section, rank_of(section.expected_return), quantile, weighting, cap)
        weights.append(weights_of(section, quantile, sizes))
    return (
        ordered.with_columns(weight=np.concatenate(weights) if weights else pl.lit(None, pl.Float64))
        .filter(pl.col("weight") > 0)
        .select(*MODEL, period, "quantile", "asset_id", "weight", "excess_return")
    )


def compute_quantile_returns(holdings: pl.DataFrame) -> pl.DataFrame:
    """Return and turnover (*memory*, 3.7) of each portfolio and period of a table of holdings.

    Weights may be of either sign and need not sum to one: so `mean_variance` portfolios, with ``quantile`` 1.

    Returns
    -------
    DataFrame
        Model, ``quantile``, period, ``return``, ``turnover``, ``turnover_sequence`` (of one leg: 1/2 of the
        sum, see `turnover`).
    """
    period = period_column(holdings)
    ordered = in_order(holdings, period)
    parts, model, before = [], None, NOTHING
    for rows in groups(ordered, [*MODEL, period]):
        group = ordered[rows.start : rows.stop]
        family, factors, at = group.select(*MODEL, period).row(0)
        if model != (family, factors):
            model, before = (family, factors), NOTHING
        held = Holdings(
            group["asset_id"].to_numpy(),
            group["quantile"].to_numpy().astype(np.int64),
            group["weight"].to_numpy(),
        )
        outcome = group["excess_return"].to_numpy()
        returns = portfolio_returns(held, outcome)
        trades = Trades(before, held, Match.between(before, held))
        there = np.unique(held.portfolio)
        parts.append(
            pl.DataFrame({
                "family": family, "number_of_factors": factors, "quantile": there, period: at,
                "return": returns[there], "turnover": trades.traded(before.share)[there],
                "turnover_sequence": trades.traded(before.amount)[there] / 2,
            })
        )  # fmt: skip
        before = drift(held, outcome, returns)
    keys = [*MODEL, "quantile", period]
    return pl.concat(parts).cast({key: holdings.schema[key] for key in keys}).sort(keys)


def iterate_holdings(tables: Tables, portfolios: Portfolios) -> Iterator[pl.DataFrame]:
    """Every position of every quantile portfolio, one table per table of predictions.

    Returns
    -------
    DataFrame
        Model, ``weights``, period, ``quantile``, ``asset_id``; ``before``: the share of the portfolio to
        which the last period's holding had drifted; ``weight`` held over the period (0: the stock is sold);
        ``trade``, their difference; ``excess_return`` of the period; ``after``: the share it drifts to. A
        stock that changes its portfolio has two rows.
    """
    for table in rebalancings(tables, portfolios):
        yield pl.concat(_positions(rebalancing) for rebalancing in table)


def write_holdings(tables: Tables, portfolios: Portfolios, folder: Path) -> list[Path]:
    """Export `iterate_holdings`: a file ``<first period>_<last period>.arrow`` per table, written whole."""
    files = []
    for holdings in iterate_holdings(tables, portfolios):
        periods = holdings[period_column(holdings)].unique().sort()
        path = folder / f"{periods[0]}_{periods[-1]}.arrow"
        write_atomically(path, frame_to_bytes(holdings))
        files.append(path)
    return files


def _positions(rebalancing: Rebalancing) -> pl.DataFrame:
    section, trades, drifted = rebalancing.section, rebalancing.trades, rebalancing.drifted
    before, left = trades.before, trades.match.left == 1
    now = pl.DataFrame({
        "quantile": trades.now.portfolio, "asset_id": trades.now.asset_id,
        "before": trades.held_before(before.share), "weight": trades.now.weight,
        "excess_return": pl.Series(rebalancing.formation.excess_return).fill_nan(None),
        "after": drifted.share,
    })  # fmt: skip
    sold = pl.DataFrame({
        "quantile": before.portfolio[left], "asset_id": before.asset_id[left], "before": before.share[left],
    })  # fmt: skip
    return (
        pl.concat([now, sold.with_columns(weight=0.0, excess_return=pl.lit(None, pl.Float64), after=0.0)])
        .filter((pl.col("before") != 0) | (pl.col("weight") != 0))
        .select(
            pl.lit(section.family).alias("family"),
            pl.lit(section.number_of_factors, pl.Int32).alias("number_of_factors"),
            pl.lit(rebalancing.formation.weights).alias("weights"),
            pl.lit(section.period).alias(section.period_name),
            pl.col("quantile").cast(pl.Int32), "asset_id", "before", "weight",
            trade=pl.col("weight") - pl.col("before"),
            excess_return="excess_return", after="after",
        )
        .sort("quantile", "asset_id")
    )  # fmt: skip
