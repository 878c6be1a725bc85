"""What the pages of a study are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from seqpricing_core.inference.study_inference import InferenceTables
from seqpricing_core.models.training_record import TrainingRecord
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.portfolios import MODEL
from seqpricing_core.report.lineage import Lineage
from seqpricing_core.report.shown import Model


@dataclass(frozen=True)
class ReportInputs:
    """Same inputs, same bytes. What is None was not computed, and the pages go without it."""

    performance: pl.DataFrame
    """Of `compute_performance`."""
    portfolio_returns: pl.DataFrame
    """Of `compute_portfolio_returns`."""
    r2_by_year: pl.DataFrame
    """``family``, ``number_of_factors``, ``year``, ``total_r2``, ``predictive_r2`` (decimal, stocks)."""
    managed: ManagedPortfolios
    """All months of the sample."""
    provenance: Mapping[str, str]
    """Where the numbers come from: data fingerprint, code version. Shown as it is."""
    lineage: tuple[Lineage, ...] = ()
    """Of every asset that a table names as its source, partition by partition."""
    inference: InferenceTables | None = None
    monthly_scores: pl.DataFrame | None = None
    """Of `compute_monthly_scores` of stocks, with size groups."""
    without_micro_caps: pl.DataFrame | None = None
    """`portfolio_returns` without stocks below the 20th percentile of market equity."""
    importance: pl.DataFrame | None = None
    """Of `pool_importance`."""
    odd_even: pl.DataFrame | None = None
    """Of `pool_odd_even`."""
    training: tuple[TrainingRecord, ...] = ()
    """Of every family, test year, K and seed."""

    @property
    def test_months(self) -> list[str]:
        """'YYYY-MM', ascending."""
        return self.portfolio_returns["month"].unique().sort().dt.strftime("%Y-%m").to_list()

    @property
    def largest_factors(self) -> int:
        """The largest K that any model has, 0 if all are forecasters; the oracle is no model."""
        models = self.portfolio_returns.filter(pl.col("family") != "oracle")
        return int(models.select(pl.col("number_of_factors").max()).item())

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """Pairs of family and K, the oracle among them."""
        pairs = self.portfolio_returns.select(MODEL).unique(maintain_order=True)
        return tuple((family, factors) for family, factors in pairs.iter_rows())
