"""Definitions of one study: what `dagster-webserver` and the command line load.

The study comes from the environment (``SEQPRICING_STUDY``, else the demo); loading reads the study file
and nothing else.
"""

from __future__ import annotations

import warnings

import dagster as dg

from seqpricing_dagster.assets.evaluation import evaluation_assets
from seqpricing_dagster.assets.explain import explain_assets
from seqpricing_dagster.assets.model_comparison import comparison_assets
from seqpricing_dagster.assets.models import model_assets
from seqpricing_dagster.assets.panel import panel_assets
from seqpricing_dagster.assets.raw import raw_assets
from seqpricing_dagster.assets.report import report_assets
from seqpricing_dagster.assets.robustness import robustness_assets
from seqpricing_dagster.assets.signal import signal_assets
from seqpricing_dagster.automation import automation
from seqpricing_dagster.checks import asset_checks
from seqpricing_dagster.evaluation_checks import evaluation_checks
from seqpricing_dagster.health import health_checks
from seqpricing_dagster.io import io_managers
from seqpricing_dagster.partitions import years_of
from seqpricing_dagster.presentation import presented
from seqpricing_dagster.project import Project, project_from_environment
from seqpricing_dagster.quality_checks import quality_assets, quality_checks

# Partitioned checks and mappings to years that are not there are previews in Dagster 1.13, which is pinned.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
warnings.filterwarnings("ignore", category=dg.BetaWarning)


def build_definitions(project: Project) -> dg.Definitions:
    """Assets, checks and files of a study."""
    years = years_of(project.study)
    automatic = automation(project, years, lambda: definitions.resolve_asset_graph())  # noqa: PLW0108 - it comes below
    definitions = dg.Definitions(
        assets=presented(
            [
                *raw_assets(project, years),
                *panel_assets(project, years),
                *model_assets(project, years),
                *evaluation_assets(project, years),
                *comparison_assets(project),
                *report_assets(project),
                *explain_assets(project, years),
                *robustness_assets(project, years),
                *signal_assets(project, years),
                *quality_assets(project),
            ]
        ),
        asset_checks=[
            *asset_checks(project, years),
            *evaluation_checks(project),
            *health_checks(project, years),
            *quality_checks(project, years),
        ],
        jobs=automatic.jobs,
        schedules=automatic.schedules,
        sensors=automatic.sensors,
        resources=io_managers(project.shared_assets),
        # torch starts slowly and a step is short: steps of a run share its process.
        executor=dg.in_process_executor,
    )
    return definitions


defs = build_definitions(project_from_environment())
