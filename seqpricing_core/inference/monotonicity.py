"""Do returns rise from each portfolio to the next? (Patton, Timmermann 2010)"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from seqpricing_core.inference.intervals import optimal_block, resampled_months
from seqpricing_core.inference.series import as_columns, checked_block, checked_series, require_variation
from seqpricing_core.inference.study_series import COMMON, OF_MODEL, InferenceSettings, attempt
from seqpricing_core.portfolios import MODEL


@dataclass(frozen=True)
class Monotonicity:
    """A test whose null is that some step from a portfolio to the next is flat or downward."""

    portfolios: int
    rises: int
    """Steps upward, of portfolios - 1."""
    smallest_step: float
    """Monthly, decimal."""
    statistic: float
    """The smallest step over its bootstrap standard error."""
    p_value: float
    """Small: returns rise at every step."""


def monotonic_relation(
    returns: npt.ArrayLike, *, replications: int = 999, block_length: int | None = None, seed: int = 0
) -> Monotonicity:
    """Test of a strictly rising relation between the rank of a portfolio and its mean return.

    Patton and Timmermann (2010, JFE 98, section 2): J = min_i d_i / s_i, where d_i is the mean of the step
    r_i+1 - r_i and s_i its standard deviation over resamples; p is the share of resamples in which
    min_i (d*_i - d_i) / s_i is at least J, so that the null is taken where it is hardest to reject, with all
    steps flat. Stationary bootstrap over months, all portfolios together.

    Parameters
    ----------
    returns
        (T, Q), by rank, lowest first; Q of 2 or more.
    block_length
        Mean, in months; by default Politis and White's for the longest step of all, r_Q - r_1.

    Raises
    ------
    InputError
        Fewer than 12 months, values not finite, two portfolios that are the same.
    """
    (x,) = checked_series(minimum=12, returns=as_columns(returns))
    steps = np.diff(x, axis=1)
    for place, step in enumerate(steps.T):
        require_variation(step, f"step from portfolio {place + 1} to {place + 2}")
    length = checked_block(block_length, len(x), lambda: optimal_block(x[:, -1] - x[:, 0]))
    drawn = resampled_months(len(x), length, replications, seed)
    means = steps.mean(axis=0)
    apart = steps[drawn].mean(axis=1) - means
    errors = apart.std(axis=0, ddof=1)
    statistic = float((means / errors).min())
    exceeding = int(((apart / errors).min(axis=1) >= statistic).sum())
    return Monotonicity(
        portfolios=x.shape[1],
        rises=int((means > 0).sum()),
        smallest_step=float(means.min()),
        statistic=statistic,
        p_value=(1 + exceeding) / (1 + replications),
    )


def monotonicity_table(quantiles: pl.DataFrame, settings: InferenceSettings) -> pl.DataFrame:
    """The test of each model's quantile portfolios, before costs."""
    schema = OF_MODEL | {
        "weights": pl.String, "portfolios": pl.Int64, "rises": pl.Int64, "smallest_step": pl.Float64,
        "statistic": pl.Float64, "p_value": pl.Float64,
    } | COMMON  # fmt: skip
    rows = [
        dict(zip((*MODEL, "weights"), keys, strict=True))
        | {"months": group["month"].n_unique()}
        | attempt(_row, group, settings)
        for keys, group in quantiles.group_by(*MODEL, "weights", maintain_order=True)
    ]
    return pl.DataFrame(rows, schema=schema)


def _row(quantiles: pl.DataFrame, settings: InferenceSettings) -> dict[str, Any]:
    wide = quantiles.pivot("portfolio", index="month", values="return").sort("month")
    ranked = sorted(wide.columns[1:], key=lambda name: int(name.rsplit("_", 1)[1]))
    replications = settings.replications or 999
    return asdict(
        monotonic_relation(wide.select(ranked).to_numpy(), replications=replications, seed=settings.seed)
    )
