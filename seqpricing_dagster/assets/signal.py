"""What to trade next month."""

from typing import Any

import dagster as dg
import polars as pl

from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.running_year import (
    EarlierYears,
    MonthsSoFar,
    RunningYear,
    build_running_year,
    month_over,
    months_of_files,
    with_running_year,
)
from seqpricing_core.signal import next_month_signal, signal_csv
from seqpricing_core.storage import write_atomically
from seqpricing_dagster.assets.raw import opened_source
from seqpricing_dagster.io import Encoded, stored
from seqpricing_dagster.metadata import running_year_metadata, table_metadata
from seqpricing_dagster.partitions import Years
from seqpricing_dagster.project import Project, code_version


def signal_assets(project: Project, years: Years) -> list[dg.AssetsDefinition]:
    """The signal of all families, for the month after the newest one; of a growing study the running year."""
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
            **({"running": dg.AssetIn(["signal", "running_year"])} if study.grows else {}),
            **{f: dg.AssetIn(["models", f, f"{f}_models"], partition_mapping=years.newest)
               for f in study.signal_families},
        },
        io_manager_key="table",
        code_version=code_version(
            "signal.py", "running_year.py", "portfolios", "panel/build.py", "models/factor_model.py",
            settings={"universe": study.universe, "portfolios": study.portfolios, "sample": study.sample},
        ),
    )  # fmt: skip
    def signal(
        panel: Panel, managed: ManagedPortfolios, characteristics: pl.DataFrame, **others: Any
    ) -> dg.MaterializeResult[Encoded]:
        running: RunningYear | None = others.pop("running", None)
        ended, data = study, MonthsSoFar(characteristics, panel, managed)
        if running is not None:
            ended, data = with_running_year(study, running, data)
        families = [others[family] for family in study.signal_families]
        table = next_month_signal(ended, families, data.panel, data.managed, data.characteristics)
        write_atomically(project.signal_file, signal_csv(table, study))
        project.files.publish([project.signal_file])
        return stored(table, **table_metadata(table), csv=dg.MetadataValue.path(project.signal_file))

    return [*([_running_year(project, years)] if study.grows else []), signal]


def _running_year(project: Project, years: Years) -> dg.AssetsDefinition:
    study = project.study
    history = {
        name: dg.AssetIn(["raw", name], partition_mapping=years.newest_history)
        for name in ("stock_months", "statements")
    }
    days = {
        "day_statistics": dg.AssetIn(["panel", "day_statistics"], partition_mapping=years.newest_day_history),
        "market_days": dg.AssetIn(["panel", "market_days"], partition_mapping=years.newest),
    }

    @dg.asset(
        key=["signal", "running_year"],
        group_name="signal",
        kinds={"arrow", "numpy"},
        description="Characteristics, panel and managed portfolios of the year that has begun, up to the "
        "newest month that is over and that the files hold; nothing from after it.",
        ins={
            "characteristics": dg.AssetIn(["panel", "characteristics"], partition_mapping=years.newest),
            **(history if study.history_years else {}),
            **(days if study.reads_days else {}),
        },
        deps=[["raw", "vendor_files"]],
        io_manager_key="running_year",
        code_version=code_version(
            "running_year.py", "sources", "characteristics", "panel/build.py", "panel/managed_portfolios.py",
            settings={
                "source": study.source, "universe": study.universe, "sample": study.sample,
                "panel": study.panel, "acronyms": study.computed_characteristics,
                "inputs": sorted(study.inputs),
            },
        ),
    )  # fmt: skip
    def running_year(**before: pl.DataFrame) -> dg.MaterializeResult[Encoded]:
        project.shared_vendor_files.fetch_all()
        source = opened_source(study, project.vendor_files)
        running = build_running_year(study, source, EarlierYears(**before))
        returns, risk_free = months_of_files(source, running.year)
        return stored(running, **running_year_metadata(running, returns, risk_free, month_over()))

    return running_year
