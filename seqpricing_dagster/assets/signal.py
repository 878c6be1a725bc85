"""What to trade next month."""

import dagster as dg
import polars as pl

from seqpricing_core.models.family import FittedFamily
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.signal import next_month_signal, signal_csv
from seqpricing_core.storage import write_atomically
from seqpricing_dagster.io import Encoded, stored
from seqpricing_dagster.metadata import table_metadata
from seqpricing_dagster.partitions import Years
from seqpricing_dagster.project import Project, code_version


def signal_assets(project: Project, years: Years) -> list[dg.AssetsDefinition]:
    """The signal of all families, for the month after the newest one."""
    study = project.study

    @dg.asset(
        key=["signal", "next_month_signal"],
        group_name="signal",
        kinds={"arrow", "csv"},
        description="Expected returns, quantiles and long-short weights of the month after the newest one.",
        ins={
            "panel": dg.AssetIn(
                ["panel", "panel"],
                partition_mapping=years.newest_lookback if study.reads_sequences else years.newest,
            ),
            "managed": dg.AssetIn(["panel", "managed_portfolios"], partition_mapping=years.newest_lookback),
            "characteristics": dg.AssetIn(["panel", "characteristics"], partition_mapping=years.newest),
            **{f: dg.AssetIn(["models", f, f"{f}_models"], partition_mapping=years.newest)
               for f in study.signal_families},
        },
        io_manager_key="table",
        code_version=code_version(
            "signal.py", "portfolios", "panel/build.py", "models/factor_model.py",
            settings={"universe": study.universe, "portfolios": study.portfolios, "sample": study.sample},
        ),
    )  # fmt: skip
    def signal(
        panel: Panel, managed: ManagedPortfolios, characteristics: pl.DataFrame, **fitted: FittedFamily
    ) -> dg.MaterializeResult[Encoded]:
        families = [fitted[family] for family in study.signal_families]
        table = next_month_signal(study, families, panel, managed, characteristics)
        write_atomically(project.signal_file, signal_csv(table, study))
        project.files.publish([project.signal_file])
        return stored(table, **table_metadata(table), csv=dg.MetadataValue.path(project.signal_file))

    return [signal]
