"""Do the characteristics of a test year look like those a model was trained on?

Ranks are spread evenly by construction, whatever the levels do. What changes is how many stocks have no value
of their own: they all get the median, and pile up in one rank. A vendor that drops a field, or an accounting
rule that ends, shows here long before it shows in returns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from seqpricing_core.panel.panel import Float64, Panel

BINS = 10
SHARE_FLOOR = 1e-4
"""Of an empty bin, whose logarithm would be infinite."""
STABLE, SHIFTED = 0.10, 0.25
"""Rules of thumb (Siddiqi, *Credit Risk Scorecards*, 2006, ch. 8): below no change, above a large one."""


def characteristic_drift(training: Panel, test: Panel) -> pl.DataFrame:
    """Population stability index of every characteristic between the estimation years and the test year.

    PSI = sum_b (q_b - p_b) ln(q_b / p_b) over ten equal bins of (-1, 1), p the shares of stock-months in the
    estimation years, q in the test year.

    Returns
    -------
    DataFrame
        ``characteristic``, ``population_stability_index``, largest first.
    """
    before, after = bin_shares(training), bin_shares(test)
    index = ((after - before) * np.log(after / before)).sum(axis=1)
    table = pl.DataFrame({
        "characteristic": list(training.characteristic_names), "population_stability_index": index,
    })  # fmt: skip
    return table.sort("population_stability_index", "characteristic", descending=[True, False])


def bin_shares(panel: Panel) -> Float64:
    """(P, `BINS`) share of the panel's stock-months in each bin, at least `SHARE_FLOOR`."""
    place = np.floor((panel.characteristics.astype(np.float64) + 1) / 2 * BINS).astype(np.int64)
    counts = np.stack([
        np.bincount(column, minlength=BINS) for column in place.clip(0, BINS - 1).T
    ])  # fmt: skip
    return np.maximum(counts / max(len(panel), 1), SHARE_FLOOR)


def shifted(drift: pl.DataFrame) -> Sequence[str]:
    """Characteristics whose index is above `SHIFTED`."""
    return drift.filter(pl.col("population_stability_index") > SHIFTED)["characteristic"].to_list()
