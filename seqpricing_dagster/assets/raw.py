"""Raw tables, year by year."""

from functools import lru_cache
from pathlib import Path

import dagster as dg
import polars as pl

from seqpricing_core.sources import RawTables, open_source, prepare_source
from seqpricing_core.sources.macro import read_macro
from seqpricing_core.storage import fingerprint_files, scan_table
from seqpricing_core.study import Macro, SimulatedSource, Study
from seqpricing_dagster.io import Encoded, stored
from seqpricing_dagster.metadata import table_metadata
from seqpricing_dagster.partitions import Years
from seqpricing_dagster.project import Project, code_version

DESCRIPTIONS = {
    "stock_months": "Return, market equity, price, volume and daily aggregates of every stock and month.",
    "statements": "Quarterly statements by the year in which they became public.",
    "factors": "Risk-free rate and market excess return by month.",
}


def raw_assets(project: Project, years: Years) -> list[dg.AssetsDefinition]:
    """The vendor's files and the canonical tables read from them."""
    study = project.study

    @dg.asset(
        key=["raw", "vendor_files"],
        group_name="raw",
        kinds={"file"},
        description=_description(study),
        code_version=code_version("sources", settings=study.source),
    )
    def vendor_files() -> dg.MaterializeResult[None]:
        files = prepare_source(study, project.vendor_files).files()
        return dg.MaterializeResult(
            data_version=dg.DataVersion(fingerprint_files(files)),
            metadata={file.name: dg.MetadataValue.path(file) for file in files}
            | {"simulated": isinstance(study.source, SimulatedSource)},
        )

    tables = [_raw_table(name, project, years, vendor_files) for name in DESCRIPTIONS]
    return [vendor_files, *tables, *(_macro(study, study.macro, years) if study.macro else [])]


def _macro(study: Study, settings: Macro, years: Years) -> list[dg.AssetsDefinition]:
    @dg.asset(
        key=["raw", "macro_file"],
        group_name="raw",
        kinds={"file"},
        description="The file of macro series, as the study names it.",
        code_version=code_version("sources/macro.py", settings=settings),
    )
    def macro_file() -> dg.MaterializeResult[None]:
        scan_table(settings.file)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(fingerprint_files([settings.file])),
            metadata={settings.file.name: dg.MetadataValue.path(settings.file)},
        )

    @dg.asset(
        key=["raw", "macro"],
        group_name="raw",
        kinds={"arrow", "polars"},
        description="Stationary macro series by the month whose forecast may use them: published by the end "
        "of the month before.",
        partitions_def=years.panel,
        deps=[macro_file],
        io_manager_key="table",
        code_version=code_version("sources/macro.py", settings={"macro": settings, "sample": study.sample}),
    )
    def macro(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Encoded]:
        table = read_macro(study, int(context.partition_key))
        return stored(table, **table_metadata(table))

    return [macro_file, macro]


def _raw_table(
    name: str, project: Project, years: Years, vendor_files: dg.AssetsDefinition
) -> dg.AssetsDefinition:
    @dg.asset(
        key=["raw", name],
        group_name="raw",
        kinds={"arrow", "polars"},
        description=DESCRIPTIONS[name],
        partitions_def=years.raw,
        deps=[vendor_files],
        io_manager_key="table",
        code_version=code_version("sources", "tables.py", settings=project.study.source),
    )
    def raw_table(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Encoded]:
        source = opened_source(project.study, project.vendor_files)
        table: pl.DataFrame = getattr(source, name)(int(context.partition_key))
        return stored(table, **table_metadata(table))

    return raw_table


def opened_source(study: Study, vendor_files: Path) -> RawTables:
    """The source, kept open while its files stay as they are: some are read whole to cut one year."""
    files = open_source(study, vendor_files).files()
    return _opened_as_of(study, vendor_files, tuple(file.stat().st_mtime_ns for file in files))


@lru_cache(maxsize=1)
def _opened_as_of(study: Study, vendor_files: Path, _modified: tuple[int, ...]) -> RawTables:
    return open_source(study, vendor_files)


def _description(study: Study) -> str:
    if isinstance(study.source, SimulatedSource):
        return "SIMULATED market: invented stocks, returns and statements, with the truth beside them."
    return f"Files of the source '{study.source.kind}', as the study names them."
