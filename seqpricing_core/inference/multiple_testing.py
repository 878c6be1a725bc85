"""P-values that know how many tests were made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.inference.series import Float64

METHODS: Final = ("holm", "benjamini_hochberg", "benjamini_yekutieli")
"""Holm bounds the chance of any false rejection, the others the share of false ones
(Benjamini-Hochberg under positive dependence, Benjamini-Yekutieli under any)."""


def adjust_p_values(p_values: Float64, method: str) -> Float64:
    """Adjusted p-values of one family of tests, by one of `METHODS`.

    Benjamini-Hochberg and -Yekutieli by scipy. Holm's is written out, max_{j<=i} min(1, (n - j + 1) p_(j)):
    statsmodels has it, but collects garbage on each call, a fifth of a second in a process that holds torch.
    """
    from scipy.stats import false_discovery_control

    if method != "holm":
        controlled = false_discovery_control(p_values, method="bh" if method == METHODS[1] else "by")
        return np.asarray(controlled, np.float64)
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def add_adjusted_p_values(
    table: pl.DataFrame, within: Sequence[str] = (), p_value: str = "p_value"
) -> pl.DataFrame:
    """Add ``p_holm``, ``p_benjamini_hochberg``, ``p_benjamini_yekutieli``.

    One family of tests per group of ``within``. A test that could not be made (null or NaN) is none, and
    stays null.

    Raises
    ------
    InputError
        A p-value outside [0, 1].
    """
    p = table[p_value].cast(pl.Float64).fill_nan(None)
    outside = p.filter((p < 0) | (p > 1))
    if len(outside):
        raise InputError(
            f"a p-value of {outside[0]}",
            where=f"column {p_value}",
            expected="numbers between 0 and 1",
            remedy="hand in p-values, not statistics",
        )
    group = (
        table.select(pl.struct(within).rank("dense")).to_series()
        if within
        else pl.repeat(1, len(table), eager=True)
    )
    adjusted = {name: np.full(len(table), np.nan) for name in METHODS}
    for value in group.unique():
        at = ((group == value) & p.is_not_null()).to_numpy().nonzero()[0]
        if len(at):
            for name in METHODS:
                adjusted[name][at] = adjust_p_values(p.to_numpy()[at], name)
    return table.with_columns(
        pl.Series(f"p_{name}", values).fill_nan(None) for name, values in adjusted.items()
    )
