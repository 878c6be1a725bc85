"""Checks that train the models again; a study has to ask for them."""

import dagster as dg
import polars as pl

from seqpricing_core.models.configs import ModelConfig
from seqpricing_core.models.family import FAMILIES, TITLES
from seqpricing_core.panel.panel import Panel
from seqpricing_core.robustness import compute_odd_even, pool_odd_even
from seqpricing_dagster.assets.models import ENGINE, PREDICTION, macro_in, macro_series
from seqpricing_dagster.io import Encoded, stored
from seqpricing_dagster.metadata import odd_even_scores, table_metadata
from seqpricing_dagster.partitions import Years
from seqpricing_dagster.pools import pool_of
from seqpricing_dagster.project import Project, code_version


def robustness_assets(project: Project, years: Years) -> list[dg.AssetsDefinition]:
    """The odd-even check of every family, if ``robustness.odd_even`` is on."""
    if not project.study.robustness.odd_even:
        return []
    by_family = [_odd_even(config, project, years) for config in project.study.models]
    return [*by_family, _pooled_odd_even(project)]


def _odd_even(config: ModelConfig, project: Project, years: Years) -> dg.AssetsDefinition:
    study, family = project.study, config.family

    @dg.asset(
        key=["robustness", family, f"{family}_odd_even"],
        group_name=family,
        kinds={FAMILIES[family].kind},
        description=f"{TITLES[family]} trained on odd (even) asset ids and tested on both, by month.",
        partitions_def=years.test,
        ins={
            "panel": dg.AssetIn(["panel", "panel"], partition_mapping=years.window_and_test),
            **macro_in(years.window_and_test, study, family),
        },
        io_manager_key="table",
        pool=pool_of(family, study.training),
        code_version=code_version(
            *ENGINE, *PREDICTION, "robustness.py", "portfolios", "panel/managed_portfolios.py",
            settings={
                "config": config, "training": study.training, "windows": study.windows,
                "number_of_factors": study.number_of_factors, "portfolios": study.portfolios,
            },
        ),
    )  # fmt: skip
    def odd_even(
        context: dg.AssetExecutionContext, panel: Panel, **macro: pl.DataFrame
    ) -> dg.MaterializeResult[Encoded]:
        by_month = compute_odd_even(config, study, int(context.partition_key), panel, macro_series(macro))
        return stored(by_month, **table_metadata(by_month), scores=odd_even_scores(pool_odd_even(by_month)))

    return odd_even


def _pooled_odd_even(project: Project) -> dg.AssetsDefinition:
    families = project.study.families

    @dg.asset(
        key=["robustness", "odd_even"],
        group_name="evaluation",
        kinds={"arrow"},
        description="R2 and Sharpe ratios, trained on odd (even) ids and tested on both, over all years.",
        ins={family: dg.AssetIn(["robustness", family, f"{family}_odd_even"]) for family in families},
        io_manager_key="table",
        code_version=code_version("robustness.py", "evaluation"),
    )
    def odd_even(**by_month: pl.DataFrame) -> dg.MaterializeResult[Encoded]:
        table = pool_odd_even(pl.concat(by_month[family] for family in families))
        return stored(table, **table_metadata(table), scores=odd_even_scores(table))

    return odd_even
