"""Per family: one trained model per window, and its predictions of the test year."""

from collections.abc import Mapping
from typing import Any, get_args

import dagster as dg
import polars as pl

from seqpricing_core.fitted_store import fit_code_version
from seqpricing_core.models.configs import ModelConfig, SequencePredictor
from seqpricing_core.models.family import FAMILIES, TITLES, FittedFamily, starts_warm
from seqpricing_core.panel.macro import MacroSeries
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.predictions import oracle_predictions, predict_test_year
from seqpricing_core.sources import truth_file
from seqpricing_core.study import Study
from seqpricing_core.windows import sample_of_test_year, split_estimation, window_for
from seqpricing_dagster.io import Encoded, stored
from seqpricing_dagster.metadata import fit_metadata, fitted_family_metadata, predictions_metadata
from seqpricing_dagster.partitions import Years
from seqpricing_dagster.pools import pool_of
from seqpricing_dagster.presentation import prediction_lineage
from seqpricing_dagster.project import Project, code_version

ENGINE = ("models", "nn", "training", "panel/sequences.py", "windows.py")
PREDICTION = ("predictions.py", "models/factor_model.py")


def model_assets(project: Project, years: Years) -> list[dg.AssetsDefinition]:
    """Two assets per family of the study; in a simulated market also the oracle's predictions."""
    assets = [asset for config in project.study.models for asset in _family(config, project, years)]
    if truth_file(project.study, project.vendor_files):
        assets.append(_oracle(project, years))
    return assets


def predicting_families(project: Project) -> tuple[str, ...]:
    """Every family with a predictions asset."""
    oracle = ("oracle",) if truth_file(project.study, project.vendor_files) else ()
    return (*project.study.families, *oracle)


def _family(config: ModelConfig, project: Project, years: Years) -> list[dg.AssetsDefinition]:
    study, family = project.study, config.family
    title = TITLES[family]
    numbers = f"for K = {', '.join(map(str, study.number_of_factors))}"
    what = numbers if FAMILIES[family].has_factors else "without factors"
    quantities = "Expected and fitted" if FAMILIES[family].has_factors else "Expected"
    windows = f"{study.windows.train_years} years of training, {study.windows.validation_years} of validation"

    @dg.asset(
        key=["models", family, f"{family}_models"],
        group_name=family,
        kinds={FAMILIES[family].kind},
        description=f"{title} {what}, trained on the window before the test year: {windows}.",
        partitions_def=years.models,
        ins={
            "panel": dg.AssetIn(["panel", "panel"], partition_mapping=years.estimation),
            "managed": dg.AssetIn(["panel", "managed_portfolios"], partition_mapping=years.estimation),
            **macro_in(years.estimation, study, family),
            **_previous_in(years, study, config),
        },
        io_manager_key="fitted_family",
        pool=pool_of(family, study.training),
        code_version=code_version(
            "windows.py",
            settings={
                "code": fit_code_version(family), "config": config,
                "training": study.training, "windows": study.windows,
                "number_of_factors": study.number_of_factors,
            },
        ),
    )  # fmt: skip
    def models(
        context: dg.AssetExecutionContext, panel: Panel, managed: ManagedPortfolios, **others: Any
    ) -> dg.MaterializeResult[Encoded]:
        window = window_for(study, int(context.partition_key))
        previous: FittedFamily | None = others.pop("previous", None)
        samples = split_estimation(window, panel, managed, macro_series(others))
        store = project.fitted_store
        fit = store.fit(config, study.number_of_factors, samples, study.training, previous)
        return stored(fit.fitted, **fit_metadata(fit), **fitted_family_metadata(fit.fitted))

    @dg.asset(
        key=["predictions", family, f"{family}_predictions"],
        group_name=family,
        kinds={"arrow"},
        description=f"{quantities} excess returns of {title} in the test year, month by month.",
        partitions_def=years.test,
        ins={
            "fitted": dg.AssetIn(["models", family, f"{family}_models"], partition_mapping=years.same_year),
            "panel": tested_panel_in(years, config),
            "managed": dg.AssetIn(["panel", "managed_portfolios"], partition_mapping=years.lookback),
            **macro_in(years.window_and_test, study, family),
        },
        io_manager_key="table",
        code_version=code_version(*PREDICTION),
    )
    def predictions(
        fitted: FittedFamily, panel: Panel, managed: ManagedPortfolios, **macro: pl.DataFrame
    ) -> dg.MaterializeResult[Encoded]:
        test = sample_of_test_year(fitted.window, panel, managed, macro_series(macro))
        table = predict_test_year(fitted, test)
        return stored(table, **predictions_metadata(table), **prediction_lineage(study.acronyms))

    return [models, predictions]


def macro_in(mapping: dg.TimeWindowPartitionMapping, study: Study, family: str) -> dict[str, dg.AssetIn]:
    """The macro series as an input of families that read them, in studies that have them."""
    return (
        {"macro": dg.AssetIn(["raw", "macro"], partition_mapping=mapping)}
        if study.reads_macro(family)
        else {}
    )


def tested_panel_in(years: Years, config: ModelConfig) -> dg.AssetIn:
    """The panel of the test year; for models that read sequences of it, also of their look-back."""
    sequences = isinstance(config, get_args(SequencePredictor))
    return dg.AssetIn(["panel", "panel"], partition_mapping=years.lookback if sequences else years.same_year)


def _previous_in(years: Years, study: Study, config: ModelConfig) -> dict[str, dg.AssetIn]:
    """The fit of the window before as an input of models that go on from it.

    This edge of the models asset to itself is the chain: a backfill runs its years in order, and what an
    early year becomes anew makes the later ones stale.
    """
    if not starts_warm(config, study.training):
        return {}
    key = ["models", config.family, f"{config.family}_models"]
    return {"previous": dg.AssetIn(key, partition_mapping=years.windows_before)}


def macro_series(inputs: Mapping[str, pl.DataFrame]) -> MacroSeries | None:
    return MacroSeries.from_table(inputs["macro"]) if inputs else None


def _oracle(project: Project, years: Years) -> dg.AssetsDefinition:
    @dg.asset(
        key=["predictions", "oracle", "oracle_predictions"],
        group_name="oracle",
        kinds={"arrow"},
        description="SIMULATED: what the maker of the market knows, the ceiling of every score.",
        partitions_def=years.test,
        ins={"panel": dg.AssetIn(["panel", "panel"], partition_mapping=years.same_year)},
        deps=[dg.AssetKey(["raw", "vendor_files"])],
        io_manager_key="table",
        code_version=code_version("predictions.py"),
    )
    def oracle(panel: Panel) -> dg.MaterializeResult[Encoded]:
        truth = truth_file(project.study, project.vendor_files)
        assert truth is not None
        project.shared_vendor_files.fetch([truth])
        table = oracle_predictions(pl.read_parquet(truth), panel)
        return stored(table, **predictions_metadata(table))

    return oracle
