"""Predictions -> portfolios sorted on expected returns, their returns, turnover and costs."""

from __future__ import annotations

import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.study import Costs, Portfolios

MODEL = ("family", "number_of_factors")
STRATEGY = (*MODEL, "weights", "portfolio")


def assign_quantiles(predictions: pl.DataFrame, quantiles: int) -> pl.DataFrame:
    """Add ``quantile``, 1 (lowest expected return) to ``quantiles``, per model and month.

    **Timing.** Formed at the end of t-1 from expected returns; the month's return plays no part.
    Ties are broken by asset id, so that a run repeats exactly.

    Raises
    ------
    InputError
        An expected return is missing or not finite, or a month has fewer stocks than quantiles.
    """
    bad = predictions.filter(~pl.col("expected_return").is_finite().fill_null(value=False))
    if len(bad):
        row = bad.row(0, named=True)
        raise InputError(
            f"expected return is {row['expected_return']} in {len(bad)} row(s)",
            where=f"predictions of {row['family']}, K = {row['number_of_factors']}, "
            f"month {row['month']}, asset {row['asset_id']}",
            expected="a finite expected return for every stock and month",
            remedy="look at the training record of that window; train it again",
        )
    ordered = predictions.sort(*MODEL, "month", "expected_return", "asset_id")
    group = [*MODEL, "month"]
    count = pl.len().over(group)
    place = pl.int_range(pl.len()).over(group)
    assigned = ordered.with_columns(
        (place * quantiles // count + 1).cast(pl.Int32).alias("quantile"), count.alias("stocks")
    )
    thin = assigned.filter(pl.col("stocks") < quantiles)
    if len(thin):
        raise InputError(
            f"{thin['stocks'][0]} stock(s) cannot be sorted into {quantiles} portfolios",
            where=f"predictions, month {thin['month'][0]}",
            expected=f"at least {quantiles} stocks in every month",
            remedy="lower portfolios.quantiles in the study file, or widen the universe",
        )
    return assigned.drop("stocks")


def compute_holdings(assigned: pl.DataFrame, weighting: str) -> pl.DataFrame:
    """Weights within each quantile portfolio: they sum to one per model, month and quantile.

    ``value`` weights are market equity of t-1; a stock without it is left out. A stock that was sorted
    at t-1 and then has no return in t counts as if it had earned what the rest of its portfolio did.
    """
    size = pl.col("market_equity") if weighting == "value" else pl.lit(1.0)
    return (
        assigned.with_columns(size.alias("size"))
        .filter(pl.col("size").is_finite() & (pl.col("size") > 0), pl.col("excess_return").is_not_null())
        .with_columns(
            (pl.col("size") / pl.col("size").sum().over(*MODEL, "month", "quantile")).alias("weight")
        )
        .select(*MODEL, "month", "quantile", "asset_id", "weight", "excess_return")
    )


def compute_quantile_returns(holdings: pl.DataFrame) -> pl.DataFrame:
    """Return and turnover of each quantile portfolio and month.

    Turnover is the value bought and sold as a share of the portfolio,
    sum_i |w_it - w_i,t-1 (1 + r_i,t-1) / (1 + r_p,t-1)|, where the second term is what last month's
    holding has drifted to (*memory*, section 3.7). Excess returns stand in for total returns in the drift:
    the risk-free rate cancels to first order. The first month buys the whole portfolio.
    """
    group = [*MODEL, "quantile", "month"]
    returns = holdings.group_by(group, maintain_order=True).agg(
        (pl.col("weight") * pl.col("excess_return")).sum().alias("return")
    )
    drifted = holdings.join(returns, on=group).select(
        *MODEL, "quantile", "asset_id",
        pl.col("month").dt.offset_by("1mo").dt.month_end(),
        before=pl.col("weight") * (1 + pl.col("excess_return")) / (1 + pl.col("return")),
    )  # fmt: skip
    keys = [*group, "asset_id"]
    trade = pl.col("weight").fill_null(0.0) - pl.col("before").fill_null(0.0)
    turnover = (
        holdings.join(drifted, on=keys, how="full", coalesce=True)
        .sort(keys)
        .group_by(group, maintain_order=True)
        .agg(turnover=trade.abs().sum())
    )
    # The left join drops the month after the last one, in which nothing is held.
    return returns.join(turnover, on=group, how="left").sort(group)


def compute_portfolio_returns(
    predictions: pl.DataFrame, portfolios: Portfolios, costs: Costs
) -> pl.DataFrame:
    """Monthly returns of the quantile, long-short and long-only portfolios of every model.

    Returns
    -------
    DataFrame
        `STRATEGY`, ``month``, ``return`` (decimal excess return before costs), ``turnover``,
        ``net_return``. ``portfolio`` is ``long_short`` (highest minus lowest), ``long_only`` (highest), or
        ``quantile_1`` .. ; a long-short portfolio pays for both legs.
    """
    assigned = assign_quantiles(predictions, portfolios.quantiles)
    parts = []
    for weighting in portfolios.weights:
        by_quantile = compute_quantile_returns(compute_holdings(assigned, weighting))
        top = by_quantile.filter(pl.col("quantile") == portfolios.quantiles)
        bottom = by_quantile.filter(pl.col("quantile") == 1)
        legs = top.join(bottom, on=[*MODEL, "month"], suffix="_short")
        frames = {
            "long_short": legs.with_columns(
                pl.col("return") - pl.col("return_short"), pl.col("turnover") + pl.col("turnover_short")
            ),
            "long_only": top,
            **{
                f"quantile_{q}": by_quantile.filter(pl.col("quantile") == q)
                for q in range(1, portfolios.quantiles + 1)
            },
        }
        parts += [
            frame.select(
                *MODEL,
                pl.lit(weighting).alias("weights"),
                pl.lit(name).alias("portfolio"),
                "month",
                "return",
                "turnover",
                net_return=pl.col("return") - pl.col("turnover") * costs.basis_points / 1e4,
            )
            for name, frame in frames.items()
        ]
    return pl.concat(parts).sort(*STRATEGY, "month")
