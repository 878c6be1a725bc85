"""P-values that know how many tests were made, by statsmodels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from seqpricing_core.errors import InputError

METHODS: Final = {"holm": "holm", "benjamini_hochberg": "fdr_bh", "benjamini_yekutieli": "fdr_by"}
"""Our name -> statsmodels'. Holm bounds the chance of any false rejection, the others the share of false ones
(Benjamini-Hochberg under positive dependence, Benjamini-Yekutieli under any)."""


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
    from statsmodels.stats.multitest import multipletests

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
            for name, method in METHODS.items():
                adjusted[name][at] = multipletests(p.to_numpy()[at], method=method)[1]
    return table.with_columns(
        pl.Series(f"p_{name}", values).fill_nan(None) for name, values in adjusted.items()
    )
