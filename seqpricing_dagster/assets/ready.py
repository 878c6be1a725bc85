"""Characteristics that the source delivers: read as a raw table, and taken in place of computed ones."""

import dagster as dg
import polars as pl

from seqpricing_core.characteristics.ready import take_characteristics
from seqpricing_core.sources.ready_characteristics import ReadyCharacteristics
from seqpricing_dagster.assets.raw import opened_source
from seqpricing_dagster.io import Encoded, stored
from seqpricing_dagster.metadata import table_metadata
from seqpricing_dagster.partitions import Years
from seqpricing_dagster.project import Project, code_version


def ready_characteristics(project: Project, years: Years) -> list[dg.AssetsDefinition]:
    """``raw/ready_characteristics``, and ``panel/characteristics`` taken from it."""
    study = project.study

    @dg.asset(
        key=["raw", "ready_characteristics"],
        group_name="raw",
        kinds={"arrow", "polars"},
        description="Characteristics as the source delivers them, by the month at whose end they are known.",
        partitions_def=years.characteristics,
        deps=[["raw", "vendor_files"]],
        io_manager_key="table",
        code_version=code_version("sources", settings=study.source),
    )
    def ready(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Encoded]:
        source = opened_source(study, project.vendor_files)
        assert isinstance(source, ReadyCharacteristics)
        table = source.characteristics(int(context.partition_key))
        return stored(table, **table_metadata(table))

    @dg.asset(
        key=["panel", "characteristics"],
        group_name="panel",
        kinds={"arrow", "polars"},
        description="Characteristics of every stock at the end of every month, as the source delivers them.",
        partitions_def=years.characteristics,
        ins={
            "ready": dg.AssetIn(["raw", "ready_characteristics"]),
            "stock_months": dg.AssetIn(["raw", "stock_months"], partition_mapping=years.history),
        },
        io_manager_key="table",
        code_version=code_version(
            "characteristics/ready.py", settings={"acronyms": study.computed_characteristics}
        ),
    )
    def characteristics(
        context: dg.AssetExecutionContext, ready: pl.DataFrame, stock_months: pl.DataFrame
    ) -> dg.MaterializeResult[Encoded]:
        year = int(context.partition_key)
        table = take_characteristics(ready, stock_months, year, study.computed_characteristics)
        return stored(table, **table_metadata(table))

    return [ready, characteristics]
