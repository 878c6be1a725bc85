"""Predictions -> returns, turnover and costs of sorted portfolios; table by table, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from seqpricing_core.panel.panel import Float64
from seqpricing_core.portfolios.costs import SPREAD_COST, net_returns, require_half_spreads
from seqpricing_core.portfolios.cross_sections import MODEL, period_column
from seqpricing_core.portfolios.rebalancing import Rebalancing, Tables, rebalancings
from seqpricing_core.storage import frame_to_bytes, write_atomically
from seqpricing_core.study import Costs, Portfolios

STRATEGY = (*MODEL, "weights", "portfolio")


@dataclass(frozen=True)
class Leg:
    """A portfolio of the highest and the lowest quantile portfolio, and how much of each."""

    long: float
    short: float

    def returns(self, by_quantile: Float64) -> Float64:
        """(n,) from (n, Q)."""
        return self.long * by_quantile[:, -1] - self.short * by_quantile[:, 0]

    def traded(self, by_quantile: Float64) -> Float64:
        """(n,) both legs trade; a stock is in one of them, so that what they trade adds up."""
        return self.long * by_quantile[:, -1] + self.short * by_quantile[:, 0]


LABELS = {
    "family": pl.String, "number_of_factors": pl.Int32, "weights": pl.String,
    "breakpoints": pl.String, "size_percentiles": pl.String,
}  # fmt: skip
MEASURES = ("return", "turnover", "turnover_sequence", SPREAD_COST)
LEGS = {"long_short": Leg(1, 1), "long_only": Leg(1, 0), "short_leg": Leg(0, 1)}


def compute_portfolio_returns(
    predictions: pl.DataFrame, portfolios: Portfolios, costs: Costs
) -> pl.DataFrame:
    """Returns per month (or day) of the quantile, long-short and long-only portfolios of every model.

    Returns
    -------
    DataFrame
        `STRATEGY`, ``month`` (or ``day``), ``return`` (decimal excess return before costs), ``turnover``
        (*memory*), ``net_return``; then ``turnover_sequence``, the further columns of `net_returns`, and
        what was done: ``breakpoints`` and ``size_percentiles`` (``none``, ``all``, ``nyse``, or why not).
        ``portfolio`` is ``long_short`` (highest minus lowest), ``long_only`` (highest), ``short_leg`` (the
        lowest, sold short: minus its return), or ``quantile_1`` ..; long-short pays for both legs.

    Raises
    ------
    InputError
        See `cross_sections`, `sort_section`, `weights_of`, `size_limit`.
    """
    return pl.concat(iterate_portfolio_returns([predictions], portfolios, costs))


def iterate_portfolio_returns(tables: Tables, portfolios: Portfolios, costs: Costs) -> Iterator[pl.DataFrame]:
    """As `compute_portfolio_returns`, one table of returns per table of predictions.

    Together they are what one table of everything would give, in the memory of one: drifted weights are
    carried over.

    Parameters
    ----------
    tables
        Stretches of time of the same models (test years), in the order of time. A lazy table is read when
        its turn comes.

    Raises
    ------
    InputError
        As before; or a table begins before the one before it ended.
    """
    checked = (require_half_spreads(table, costs) for table in tables)
    for table in rebalancings(checked, portfolios):
        yield _strategies([_result(period, costs) for period in table], portfolios, costs)


def compute_returns_of_families(
    families: Iterable[Tables], portfolios: Portfolios, costs: Costs
) -> pl.DataFrame:
    """What `compute_portfolio_returns` gives for the predictions of all families below each other.

    One family after the other and table by table: memory for one table of predictions and all results.

    Parameters
    ----------
    families
        The tables of each, see `iterate_portfolio_returns`.
    """
    every = pl.concat(
        table for tables in families for table in iterate_portfolio_returns(tables, portfolios, costs)
    )
    return every.sort(*STRATEGY, period_column(every))


def write_portfolio_returns(
    families: Mapping[str, Tables], portfolios: Portfolios, costs: Costs, folder: Path
) -> list[Path]:
    """Write ``folder/<family>.arrow`` for every family, one after the other; whole or not at all.

    Parameters
    ----------
    families
        By name, the tables of each; of `polars.scan_ipc`, say.
    """
    files = []
    for family, tables in families.items():
        path = folder / f"{family}.arrow"
        results = compute_returns_of_families([tables], portfolios, costs)
        write_atomically(path, frame_to_bytes(results))
        files.append(path)
    return files


@dataclass(frozen=True)
class _Result:
    """The quantile portfolios of one period."""

    labels: tuple[str, int, str, str, str]
    """`LABELS`"""
    period_name: str
    period: Any
    measures: dict[str, Float64]
    """`MEASURES`: (Q,), lowest first."""


def _result(done: Rebalancing, costs: Costs) -> _Result:
    section, formation, trades = done.section, done.formation, done.trades
    spreads = trades.half_spreads_paid() if costs.half_spreads else np.zeros_like(done.returns)
    # One leg takes half of *sequence*'s sum, a long-short portfolio half of that again (see `turnover`).
    sequence = trades.traded(trades.before.amount) / 2
    measures = (done.returns, trades.traded(trades.before.share), sequence, spreads)
    return _Result(
        (*section.model, formation.weights, formation.breakpoints, formation.size_percentiles),
        section.period_name,
        section.period,
        {name: values[1:] for name, values in zip(MEASURES, measures, strict=True)},
    )


def _strategies(results: list[_Result], portfolios: Portfolios, costs: Costs) -> pl.DataFrame:
    """Legs and quantile portfolios below each other."""
    period = results[0].period_name if results else "month"
    quantiles = portfolios.quantiles
    by_quantile = {
        measure: np.array([r.measures[measure] for r in results]).reshape(-1, quantiles)
        for measure in MEASURES
    }
    labels = pl.DataFrame(
        [(*r.labels, r.period) for r in results], schema={**LABELS, period: pl.Date}, orient="row"
    )
    strategies = {name: _leg(leg, by_quantile) for name, leg in LEGS.items()}
    if not portfolios.short_leg:
        del strategies["short_leg"]
    for q in range(quantiles):
        strategies[f"quantile_{q + 1}"] = {name: values[:, q] for name, values in by_quantile.items()}
    net, *further = net_returns(costs)
    return (
        pl.concat(
            labels.with_columns(pl.lit(name).alias("portfolio"), **{c: pl.Series(v) for c, v in of.items()})
            for name, of in strategies.items()
        )
        .select(
            *STRATEGY, period, "return", "turnover", net, "turnover_sequence", *further,
            "breakpoints", "size_percentiles",
        )
        .sort(*STRATEGY, period)
    )  # fmt: skip


def _leg(leg: Leg, by_quantile: dict[str, Float64]) -> dict[str, Float64]:
    measures = {
        name: leg.returns(values) if name == "return" else leg.traded(values)
        for name, values in by_quantile.items()
    }
    # *sequence* counts trades of a long-short portfolio per dollar of its two legs.
    measures["turnover_sequence"] /= leg.long + leg.short
    return measures
