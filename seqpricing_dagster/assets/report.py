"""The report: a page per study, one per model, and every table as a file beside them."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import polars as pl

from seqpricing_core.inference.study_inference import InferenceTables
from seqpricing_core.models.training_record import TrainingRecord
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.report.forecasts import r_squared_by_year
from seqpricing_core.report.page import RECORD_FILE, ReportInputs, finding, render_report
from seqpricing_core.report.tables import Scores
from seqpricing_core.storage import write_atomically
from seqpricing_dagster.evaluation_metadata import performance_metadata, portfolio_metadata
from seqpricing_dagster.io import Encoded, stored
from seqpricing_dagster.lineage import UNKNOWN, recorded_lineage
from seqpricing_dagster.project import Project, code_version

EVALUATION = (
    "performance", "portfolio_returns", "portfolio_returns_without_micro_caps", "monthly_scores",
    "model_comparison",
)  # fmt: skip


def report_assets(project: Project) -> list[dg.AssetsDefinition]:
    """One asset; its data version is the fingerprint of the study's page."""
    study = project.study
    tested = dg.SpecificPartitionsPartitionMapping([str(year) for year in study.test_years])
    odd_even = {"odd_even": dg.AssetIn(["robustness", "odd_even"])} if study.robustness.odd_even else {}

    @dg.asset(
        key=["evaluation", "report"],
        group_name="evaluation",
        kinds={"html"},
        description="One self-contained page per study and model; every table as CSV and LaTeX.",
        ins={
            **{name: dg.AssetIn(["evaluation", name]) for name in EVALUATION if name != "model_comparison"},
            "inference": dg.AssetIn(["evaluation", "model_comparison"], input_manager_key="inference"),
            "importance": dg.AssetIn(["explain", "characteristic_importance"]),
            "managed": dg.AssetIn(["panel", "managed_portfolios"]),
            **odd_even,
            **{
                family: dg.AssetIn(
                    ["models", family, f"{family}_models"], partition_mapping=tested,
                    input_manager_key="training_records",
                )
                for family in study.families
            },
        },
        io_manager_key="report",
        code_version=code_version("report", settings=study),
    )  # fmt: skip
    def report(
        context: dg.AssetExecutionContext,
        performance: pl.DataFrame,
        portfolio_returns: pl.DataFrame,
        portfolio_returns_without_micro_caps: pl.DataFrame,
        monthly_scores: pl.DataFrame,
        inference: InferenceTables,
        importance: pl.DataFrame,
        managed: ManagedPortfolios,
        **others: Any,
    ) -> dg.MaterializeResult[Encoded]:
        records: list[Sequence[TrainingRecord]] = [others[family] for family in study.families]
        inputs = ReportInputs(
            performance=performance,
            portfolio_returns=portfolio_returns,
            r2_by_year=r_squared_by_year(monthly_scores),
            managed=managed,
            provenance=_provenance(context.instance),
            lineage=recorded_lineage(context.instance, _assets_behind(project)),
            inference=inference,
            monthly_scores=monthly_scores,
            without_micro_caps=portfolio_returns_without_micro_caps,
            importance=importance,
            odd_even=others.get("odd_even"),
            training=tuple(record for of_family in records for record in of_family),
        )
        pages = render_report(study, inputs)
        folder = project.report_file.parent
        pages.write_files(folder)
        # Versions of one study can be compared later: every run leaves its record.
        write_atomically(folder / "records" / f"{context.run.run_id}.json", pages.files[RECORD_FILE])
        return stored(
            pages,
            page=dg.MetadataValue.path(project.report_file),
            tables=dg.MetadataValue.path(folder / "tables"),
            latex=dg.MetadataValue.path(folder / "tables.tex"),
            finding=finding(Scores(study, performance), inputs.test_months),
            **portfolio_metadata(study, portfolio_returns, stills=False),
            **performance_metadata(study, performance),
        )

    return [report]


def _assets_behind(project: Project) -> list[str]:
    """Every asset that a number of the report comes from, in the order of the flow."""
    study = project.study
    return [
        "raw/vendor_files",
        *(["raw/factor_returns_file"] if study.inference.factor_returns else []),
        "panel/panel",
        "panel/managed_portfolios",
        *(f"models/{family}/{family}_models" for family in study.families),
        *(f"predictions/{family}/{family}_predictions" for family in study.families),
        "predictions/managed_portfolio_predictions",
        *(f"evaluation/{name}" for name in EVALUATION),
        "explain/characteristic_importance",
        *(["robustness/odd_even"] if study.robustness.odd_even else []),
    ]


def _provenance(instance: dg.DagsterInstance) -> dict[str, str]:
    """Data version of the raw files, as the lineage records it, and of the code."""
    found = recorded_lineage(instance, ["raw/vendor_files"])
    return {
        "data fingerprint": found[0].data_fingerprint if found else UNKNOWN,
        "code version": code_version(
            ".", "sources", "characteristics", "panel", "models", "nn", "training", "portfolios",
            "evaluation", "inference", "explain", "report",
        ),
    }  # fmt: skip
