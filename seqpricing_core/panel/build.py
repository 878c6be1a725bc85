"""Raw characteristics and returns -> panel: universe, medians, ranks, then the month's returns."""

from __future__ import annotations

import numpy as np
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.panel.panel import Codes, Panel
from seqpricing_core.study import Panel as PanelOptions
from seqpricing_core.study import Study, Universe
from seqpricing_core.tables import EXCHANGES


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
    known = rank_known(characteristics, names, universe, study.panel)
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
    if study.panel.impute_missing_returns:
        median = pl.col("excess_return").median().over("month")
        rows = rows.with_columns(pl.col("excess_return").fill_null(median))
    _require_months(rows, year, first, last)
    return _to_panel(rows, names)


def rank_known(
    characteristics: pl.DataFrame, names: tuple[str, ...], universe: Universe, options: PanelOptions
) -> pl.DataFrame:
    """Universe, medians and ranks of what was known; ``month`` moves on to the month it prices.

    Rank normalisation (*memory*, eq. 20): z = 2 rank / (N + 1) - 1, ties averaged. A missing
    characteristic gets the median of its month before ranking; one missing for all becomes 0. With
    ``missing_characteristics: zero`` ranks and N are those of the stocks that have the value, and the others
    become 0. A stock with no characteristic at all is dropped.
    """
    eligible = characteristics.filter(
        *_in_universe(universe),
        *(pl.col(name).is_not_null() for name in universe.require),
        pl.any_horizontal(pl.col(name).is_not_null() for name in names),
    ).with_columns(pl.col("month").dt.offset_by("1mo").dt.month_end())
    if options.missing_characteristics == "median":
        eligible = eligible.with_columns(
            pl.col(name).fill_null(pl.col(name).median().over("month")).fill_null(0.0) for name in names
        )
    return eligible.with_columns(
        (pl.col(name).rank("average").over("month") * 2 / (pl.col(name).count().over("month") + 1) - 1)
        .fill_null(0.0)
        .cast(pl.Float32)
        for name in names
    )


def _in_universe(universe: Universe) -> list[pl.Expr]:
    """What must hold at the end of t-1; what the source does not say excludes nobody."""
    rules = [
        pl.col("history_months") >= universe.minimum_history_months,
        pl.col("exchange").is_in(universe.exchanges).fill_null(value=True),
    ]
    if universe.common_shares_only:
        rules.append(pl.col("common_share").fill_null(value=True))
    if universe.minimum_price is not None:
        rules.append(pl.col("unadjusted_price") >= universe.minimum_price)
    return rules


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
        exchange=_codes(rows["exchange"].cast(pl.Enum(EXCHANGES)).to_physical()),
        sic=_codes(rows["sic"]),
    )


def _codes(column: pl.Series) -> Codes | None:
    """Numbers, -1 where unknown; None if all are."""
    known = column.null_count() < len(column)
    return column.cast(pl.Int32).fill_null(-1).to_numpy() if known else None
