"""Next month's signal: what a manager would trade at the end of the newest month in the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.models.factor_model import FittedForecaster, FittedModel, expected_returns
from seqpricing_core.models.family import FittedFamily
from seqpricing_core.months import month_ends
from seqpricing_core.panel.build import rank_known
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.panel.panel import Float64, MonthKnown, Panel, Sample
from seqpricing_core.portfolios import MODEL, assign_quantiles
from seqpricing_core.sources.public_files import ticker_of
from seqpricing_core.study import PublicFilesSource, Study

CSV_DIGITS = 8


def next_month_signal(
    study: Study,
    families: Sequence[FittedFamily],
    panel: Panel,
    managed: ManagedPortfolios,
    characteristics: pl.DataFrame,
) -> pl.DataFrame:
    """Expected returns of the month after the newest one, quantiles, and long-short weights.

    **Timing.** The month priced, T + 1, has not happened: universe, medians and ranks are those of the
    characteristics at the end of T; risk premia are means of f over the estimation months and the months
    of the test year up to T. The same numbers, bit for bit, as the forecast of T + 1 that
    `predict_test_year` makes once its year is there.

    Parameters
    ----------
    study
        Its ``signal_month`` is T + 1.
    families
        Fitted on the window of the year that T + 1 lies in.
    panel, managed
        With the months of that year so far, and those of the look-back before it; more is ignored.
    characteristics
        Raw, with those of T; more is ignored.

    Returns
    -------
    DataFrame
        ``family``, ``number_of_factors``, ``month``, ``asset_id``, ``expected_return`` (decimal, in excess
        of the risk-free rate), ``quantile``, ``weight_equal``, ``weight_value``: in the highest quantile
        weights sum to one, in the lowest to minus one, between them they are zero. A stock without market
        equity has no value weight. Sorted by family as in the study, K, and expected return from high to low.

    Raises
    ------
    InputError
        Models of another window, or no data of T.
    """
    _require_newest(study, families, managed)
    year = study.signal_year
    so_far = Sample(panel.between(year, year), managed.between(year - study.lookback_years, year))
    known = known_at_end(study, characteristics, so_far.managed.x)
    known = replace(known, past=panel.past(len(panel.months)))
    parts = [
        pl.DataFrame(
            {
                "asset_id": known.asset_id,
                "expected_return": np.mean([_forecast(m, so_far, known) for m in members], axis=0),
                "market_equity": known.market_equity,
            }
        ).select(
            pl.lit(fitted.config.family).alias("family"),
            pl.lit(factors, dtype=pl.Int32).alias("number_of_factors"),
            pl.lit(month_ends(np.array([known.month]))).first().alias("month"),
            pl.all(),
        )
        for fitted in families
        for factors, members in fitted.models.items()
    ]
    order = pl.Enum([fitted.config.family for fitted in families])
    by = [pl.col("family").cast(order), "number_of_factors", "expected_return", "asset_id"]
    assigned = assign_quantiles(pl.concat(parts), study.portfolios.quantiles)
    return _with_weights(assigned, study.portfolios.quantiles).sort(by, descending=[False, False, True, True])


def known_at_end(study: Study, characteristics: pl.DataFrame, past_managed_portfolios: Float64) -> MonthKnown:
    """What is known of the month to be priced: all stocks of the universe at the end of the newest month."""
    month = np.datetime64(study.signal_month, "M")
    newest = characteristics.filter(pl.col("month") == month_ends(np.array([month - 1]))[0])
    rows = rank_known(newest, study.acronyms, study.universe, study.panel).sort("asset_id")
    if not len(rows):
        raise InputError(
            "no stock can be ranked at the end of the newest month",
            where=f"characteristics, {month - 1}",
            expected="at least one stock of the universe",
            remedy="check the newest raw files, universe.require and universe.minimum_history_months",
        )
    return MonthKnown(
        month=month,
        asset_id=rows["asset_id"].to_numpy(),
        characteristics=np.ascontiguousarray(rows.select(study.acronyms).to_numpy()),
        market_equity=rows["market_equity"].fill_null(float("nan")).to_numpy(),
        past_managed_portfolios=past_managed_portfolios,
    )


def signal_csv(signal: pl.DataFrame, study: Study) -> bytes:
    """The table for a spreadsheet, decimals with `CSV_DIGITS` digits; with tickers where ids are tickers."""
    if isinstance(study.source, PublicFilesSource):
        tickers = pl.Series("ticker", [ticker_of(asset) for asset in signal["asset_id"]], dtype=pl.String)
        place = signal.columns.index("asset_id")
        signal = signal.select(*signal.columns[:place], tickers, *signal.columns[place:])
    return signal.write_csv(float_precision=CSV_DIGITS).encode()


def _forecast(fitted: FittedModel, so_far: Sample, known: MonthKnown) -> Float64:
    if isinstance(fitted, FittedForecaster):
        return fitted.model.expected_returns(known)
    history = fitted.history
    for t in range(len(so_far)):
        outcome = so_far.outcome(t)
        history = history.extended(outcome.month, fitted.model.latent_factors(so_far.known(t), outcome))
    return expected_returns(fitted.model, known, history)


def _with_weights(assigned: pl.DataFrame, quantiles: int) -> pl.DataFrame:
    side = pl.when(quantile=quantiles).then(1.0).when(quantile=1).then(-1.0).otherwise(0.0)
    equity = pl.col("market_equity")
    size = pl.when(equity.is_finite() & (equity > 0)).then(equity).otherwise(0.0)
    leg = [*MODEL, "quantile"]
    return assigned.select(
        *MODEL, "month", "asset_id", "expected_return", "quantile",
        weight_equal=side / pl.len().over(leg),
        weight_value=pl.when(side != 0, size > 0).then(side * size / size.sum().over(leg)).otherwise(0.0),
    )  # fmt: skip


def _require_newest(study: Study, families: Sequence[FittedFamily], managed: ManagedPortfolios) -> None:
    for fitted in families:
        if fitted.window.test_year != study.signal_year:
            raise InputError(
                f"models of {fitted.config.family} are those of test year {fitted.window.test_year}",
                where=f"signal for {study.signal_month}",
                expected=f"models of the window before {study.signal_year}",
                remedy=f"materialize {fitted.config.family}_models for {study.signal_year}",
            )
    newest = np.datetime64(study.signal_month, "M") - 1
    if not len(managed) or managed.months[-1] != newest:
        raise InputError(
            f"managed portfolios end with {managed.months[-1] if len(managed) else 'no month'}",
            where=f"signal for {study.signal_month}",
            expected=f"the newest month of the study, {newest}",
            remedy="materialize panel and managed portfolios of the newest year",
        )
