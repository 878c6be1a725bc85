"""Raw characteristics and returns -> panel: universe, medians, ranks, then the month's returns."""

from __future__ import annotations

import numpy as np
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.panel.panel import Panel
from seqpricing_core.study import Study, Universe


def build_panel(
    characteristics: pl.DataFrame,
    stock_months: pl.DataFrame,
    factors: pl.DataFrame,
    year: int,
    study: Study,
) -> Panel:
    """The stock-months of ``year``: z known at the end of t-1 beside the excess return of t.

    **Timing.** Universe, medians and ranks are those of month t-1 and never look at t. Only then are
    the returns of t joined; a stock without one keeps its row, with NaN.

    Parameters
    ----------
    characteristics
        Raw characteristics of December of ``year - 1`` to November of ``year`` (more is ignored).
    stock_months, factors
        Canonical tables with the returns and risk-free rates of ``year``.
    study
        Says which characteristics, universe and sample.

    Raises
    ------
    InputError
        A month of the sample has no stock with a return, or no risk-free rate.
    """
    names, universe = study.acronyms, study.universe
    first, last = study.sample.first_month, study.sample.last_month
    known = rank_known(characteristics, names, universe)
    returns = (
        stock_months.join(factors.select("month", "risk_free"), on="month", how="left")
        .filter(pl.col("month").dt.year() == year, pl.col("ret").is_not_null())
        .filter(pl.col("month").dt.strftime("%Y-%m").is_between(pl.lit(first), pl.lit(last or "9999-12")))
    )
    _require_risk_free(returns)
    outcome = returns.select("asset_id", "month", excess_return=pl.col("ret") - pl.col("risk_free"))
    rows = (
        known.join(outcome, on=["asset_id", "month"], how="left")
        .filter(pl.col("excess_return").is_not_null().any().over("month"))
        .sort("month", "asset_id")
    )
    _require_months(rows, year, first, last)
    return _to_panel(rows, names)


def rank_known(characteristics: pl.DataFrame, names: tuple[str, ...], universe: Universe) -> pl.DataFrame:
    """Universe, medians and ranks of what was known; ``month`` moves on to the month it prices.

    Rank normalisation (*memory*, eq. 20): z = 2 rank / (N + 1) - 1, ties averaged. A missing
    characteristic gets the median of its month before ranking; one missing for all becomes 0.
    A stock with no characteristic at all is dropped.
    """
    eligible = characteristics.filter(
        pl.col("history_months") >= universe.minimum_history_months,
        *(pl.col(name).is_not_null() for name in universe.require),
        pl.any_horizontal(pl.col(name).is_not_null() for name in names),
    ).with_columns(pl.col("month").dt.offset_by("1mo").dt.month_end())
    filled = eligible.with_columns(
        pl.col(name).fill_null(pl.col(name).median().over("month")).fill_null(0.0) for name in names
    )
    return filled.with_columns(
        (pl.col(name).rank("average").over("month") * 2 / (pl.len().over("month") + 1) - 1).cast(pl.Float32)
        for name in names
    )


def _require_risk_free(returns: pl.DataFrame) -> None:
    lacking = returns.filter(pl.col("risk_free").is_null())["month"].unique().sort()
    if lacking.len():
        raise InputError(
            f"no risk-free rate for {lacking.len()} month(s) that have stock returns",
            where="factors, " + ", ".join(m.strftime("%Y-%m") for m in lacking.head(5)),
            expected="one row of factors for every month of the sample",
            remedy="extend the factor file, or shorten sample.last_month in the study file",
        )


def _require_months(rows: pl.DataFrame, year: int, first: str, last: str | None) -> None:
    wanted = [f"{year}-{month:02d}" for month in range(1, 13)]
    wanted = [month for month in wanted if first <= month <= (last or month)]
    present = set(rows["month"].dt.strftime("%Y-%m").unique())
    lacking = [month for month in wanted if month not in present]
    if lacking:
        raise InputError(
            f"no stock has both characteristics and a return in {len(lacking)} month(s) of {year}",
            where="panel, " + ", ".join(lacking),
            expected="at least one stock in every month of the sample",
            remedy="check the coverage of the raw files, universe.require and "
            "universe.minimum_history_months, or shorten the sample in the study file",
        )


def _to_panel(rows: pl.DataFrame, names: tuple[str, ...]) -> Panel:
    month_of_row = rows["month"].to_numpy().astype("datetime64[M]")
    months, first_rows = np.unique(month_of_row, return_index=True)
    return Panel(
        characteristic_names=names,
        months=months,
        offsets=np.append(first_rows, len(rows)).astype(np.int64),
        asset_id=rows["asset_id"].to_numpy(),
        characteristics=np.ascontiguousarray(rows.select(names).to_numpy()),
        excess_return=rows["excess_return"].fill_null(float("nan")).to_numpy(),
        market_equity=rows["market_equity"].fill_null(float("nan")).to_numpy(),
    )
