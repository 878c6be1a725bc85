"""Survivors and reused identifiers: what shows only over the whole history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from seqpricing_core.quality.finding import found
from seqpricing_core.study import Quality

LONGEST_GAP: Final = 12
"""Months without a row after which a returning identifier may be another firm."""


@dataclass(frozen=True)
class Survivorship:
    """How many stocks end before the sample does."""

    stocks: int
    ended: int
    stock_years: float

    @property
    def share_ended(self) -> float:
        return self.ended / self.stocks if self.stocks else 0.0

    @property
    def exit_rate(self) -> float:
        """Ends per stock and year."""
        return self.ended / self.stock_years if self.stock_years else 0.0


def survivorship_of(history: pl.DataFrame) -> Survivorship:
    """``history``: ``asset_id`` and ``month`` of every row. A stock that lacks the last month only has not
    ended: the last month of a file is often a part of one.
    """
    last = history.group_by("asset_id").agg(pl.col("month").max())
    newest = history.select(pl.col("month").max().dt.month_start().dt.offset_by("-1mo")).item()
    ended = 0 if newest is None else last.filter(pl.col("month") < newest).height
    return Survivorship(last.height, ended, history.height / 12)


def survivors_only(history: pl.DataFrame, quality: Quality) -> pl.DataFrame:
    """One finding if stocks end at a yearly rate below ``minimum_exit_rate``; ``value`` is the rate.

    Of US stocks 5% to 10% leave in a year (mergers, failures; CRSP), of large ones 3% or more.
    """
    them = survivorship_of(history)
    if them.exit_rate >= quality.minimum_exit_rate or not them.stocks:
        return found(history.head(0).select("asset_id", at="month", value=0.0, expected=pl.lit("")))
    expected = (
        f"at least {quality.minimum_exit_rate:.1%} of stocks to end in a year; {them.ended} of {them.stocks} "
        f"({them.share_ended:.1%}) end before the sample"
    )
    everybody = pl.DataFrame({"asset_id": [None], "at": history["month"].max(), "value": them.exit_rate})
    return found(everybody.with_columns(expected=pl.lit(expected)))


def reappearances(history: pl.DataFrame, quality: Quality) -> pl.DataFrame:  # noqa: ARG001
    """Stocks that come back after more than `LONGEST_GAP` months; ``value`` is the months without a row."""
    before = pl.col("month").shift(1).over("asset_id", order_by="month")
    gap = (pl.col("month").dt.year() - before.dt.year()) * 12 + pl.col("month").dt.month() - before.dt.month()
    return found(
        history.with_columns(before=before, gap=gap - 1)
        .filter(pl.col("gap") > LONGEST_GAP)
        .select(
            "asset_id", at="month", value="gap",
            expected=pl.format("a row within {} months of {}", pl.lit(LONGEST_GAP), pl.col("before")),
        )
    )  # fmt: skip
