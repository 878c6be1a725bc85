"""What the models lean on: characteristics, and the months that sequence models look back to."""

import dagster as dg
import polars as pl

from seqpricing_core.explain.attention import compute_attention
from seqpricing_core.explain.importance import compute_importance_sums, pool_importance
from seqpricing_core.models.configs import ModelConfig
from seqpricing_core.models.family import TITLES, FittedFamily
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.windows import sample_of_test_year
from seqpricing_dagster.assets.models import macro_in, macro_series, tested_panel_in
from seqpricing_dagster.io import Encoded, stored
from seqpricing_dagster.metadata import importance_metadata, table_metadata
from seqpricing_dagster.partitions import Years
from seqpricing_dagster.project import Project, code_version

EXPLANATION = ("explain", "report/explanations.py")


def explain_assets(project: Project, years: Years) -> list[dg.AssetsDefinition]:
    """Importance of every family in every test year, and pooled over all of them."""
    by_family = [_importance(config, project, years) for config in project.study.models]
    return [*by_family, _characteristic_importance(project)]


def _importance(config: ModelConfig, project: Project, years: Years) -> dg.AssetsDefinition:
    family = config.family

    @dg.asset(
        key=["explain", family, f"{family}_importance"],
        group_name=family,
        kinds={"arrow"},
        description=f"What {TITLES[family]} loses in the test year without each characteristic.",
        partitions_def=years.test,
        ins={
            "fitted": dg.AssetIn(["models", family, f"{family}_models"], partition_mapping=years.same_year),
            "panel": tested_panel_in(years, config),
            "managed": dg.AssetIn(["panel", "managed_portfolios"], partition_mapping=years.lookback),
            **macro_in(years.window_and_test, project.study, family),
        },
        io_manager_key="table",
        code_version=code_version(*EXPLANATION, "models/factor_model.py"),
    )
    def importance(
        fitted: FittedFamily, panel: Panel, managed: ManagedPortfolios, **macro: pl.DataFrame
    ) -> dg.MaterializeResult[Encoded]:
        test = sample_of_test_year(fitted.window, panel, managed, macro_series(macro))
        table = compute_importance_sums(fitted, test)
        shown = importance_metadata(
            pool_importance(table), max(fitted.models), compute_attention(fitted, test)
        )
        return stored(table, **shown)

    return importance


def _characteristic_importance(project: Project) -> dg.AssetsDefinition:
    study = project.study

    @dg.asset(
        key=["explain", "characteristic_importance"],
        group_name="evaluation",
        kinds={"arrow"},
        description="R2 lost without each characteristic, over all test years, and its share of all losses.",
        ins={family: dg.AssetIn(["explain", family, f"{family}_importance"]) for family in study.families},
        io_manager_key="table",
        code_version=code_version(*EXPLANATION),
    )
    def characteristic_importance(**sums: pl.DataFrame) -> dg.MaterializeResult[Encoded]:
        table = pool_importance(pl.concat(sums[family] for family in study.families))
        shown = importance_metadata(table, max(study.number_of_factors))
        return stored(table, **table_metadata(table), **shown)

    return characteristic_importance
