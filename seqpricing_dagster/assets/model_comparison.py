"""Monthly scores, factor returns, portfolios without micro-caps, and every test of every model."""

from pathlib import Path

import dagster as dg
import polars as pl

from seqpricing_core.evaluation.factor_returns import FactorReturns
from seqpricing_core.evaluation.monthly_scores import compute_monthly_scores
from seqpricing_core.inference.study_inference import compute_study_inference, published_factors
from seqpricing_core.storage import fingerprint_files, scan_table
from seqpricing_core.study import Study
from seqpricing_dagster.assets.evaluation import StockPredictions, YearlyScans, portfolio_returns_of
from seqpricing_dagster.assets.models import predicting_families
from seqpricing_dagster.evaluation_metadata import comparison_metadata, exhibit_metadata, scores_metadata
from seqpricing_dagster.io import Encoded, stored
from seqpricing_dagster.metadata import table_metadata
from seqpricing_dagster.project import Project, code_version


def comparison_assets(project: Project) -> list[dg.AssetsDefinition]:
    """What compares models, and what that is made from."""
    stocks = StockPredictions(predicting_families(project))
    file = project.study.inference.factor_returns
    return [
        *([_factor_file(file)] if file else []),
        _factor_returns(project.study),
        _monthly_scores(project.study, stocks),
        portfolio_returns_of(
            project.study,
            stocks,
            "portfolio_returns_without_micro_caps",
            "The same portfolios of the stocks above the 20th percentile of market equity.",
            project.study.portfolios.without_micro_caps,
            exhibit_metadata,
        ),
        _model_comparison(project.study),
    ]


def _factor_file(file: Path) -> dg.AssetsDefinition:
    @dg.asset(
        key=["raw", "factor_returns_file"],
        group_name="raw",
        kinds={"file"},
        description="Returns of published factors, the file that the study names.",
        code_version=code_version("evaluation/factor_returns.py", settings={"file": str(file)}),
    )
    def factor_returns_file() -> dg.MaterializeResult[None]:
        scan_table(file)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(fingerprint_files([file])),
            metadata={file.name: dg.MetadataValue.path(file)},
        )

    return factor_returns_file


def _factor_returns(study: Study) -> dg.AssetsDefinition:
    """From the file, or the market of the source."""
    file = study.inference.factor_returns
    from_source = {} if file else {"factors": dg.AssetIn(["raw", "factors"])}

    @dg.asset(
        key=["evaluation", "factor_returns"],
        group_name="evaluation",
        kinds={"arrow"},
        description="Monthly returns of published factors: what alphas are measured against.",
        ins=from_source,
        deps=[dg.AssetKey(["raw", "factor_returns_file"])] if file else [],
        io_manager_key="table",
        code_version=code_version("evaluation/factor_returns.py", settings=study.inference),
    )
    def factor_returns(**tables: pl.DataFrame) -> dg.MaterializeResult[Encoded]:
        found = published_factors(study, tables.get("factors", pl.DataFrame()))
        return stored(found.table, **table_metadata(found.table), factors=", ".join(found.factors))

    return factor_returns


def _monthly_scores(study: Study, stocks: StockPredictions) -> dg.AssetsDefinition:
    @dg.asset(
        key=["evaluation", "monthly_scores"],
        group_name="evaluation",
        kinds={"arrow"},
        description="Sums of squared errors and rank correlations by model, size group and month.",
        ins=stocks.scans,
        io_manager_key="table",
        code_version=code_version("evaluation"),
    )
    def monthly_scores(**predictions: YearlyScans) -> dg.MaterializeResult[Encoded]:
        every = stocks.stack(predictions, "market_equity")
        table = compute_monthly_scores(every, by_size=True)
        return stored(table, **table_metadata(table), **scores_metadata(study, table))

    return monthly_scores


def _model_comparison(study: Study) -> dg.AssetsDefinition:
    @dg.asset(
        key=["evaluation", "model_comparison"],
        group_name="evaluation",
        kinds={"arrow"},
        description="Tests between models, intervals, alphas, exposures, deflated Sharpe ratios.",
        ins={
            "portfolio_returns": dg.AssetIn(["evaluation", "portfolio_returns"]),
            "monthly_scores": dg.AssetIn(["evaluation", "monthly_scores"]),
            "factor_returns": dg.AssetIn(["evaluation", "factor_returns"]),
        },
        io_manager_key="inference",
        code_version=code_version("inference", settings=study.inference),
    )
    def model_comparison(
        portfolio_returns: pl.DataFrame, monthly_scores: pl.DataFrame, factor_returns: pl.DataFrame
    ) -> dg.MaterializeResult[Encoded]:
        factors = FactorReturns(factor_returns)
        tables = compute_study_inference(study, portfolio_returns, monthly_scores, factors)
        return stored(tables, **comparison_metadata(study, portfolio_returns, tables))

    return model_comparison
