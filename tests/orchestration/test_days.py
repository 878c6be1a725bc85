"""A study whose characteristics are made from days: the plain pipeline and the assets give the same."""

from __future__ import annotations

import io

import dagster as dg
import polars as pl
import pytest

from seqpricing_core.characteristics.compute import compute_characteristics
from seqpricing_core.characteristics.of_study import statistics_of_days
from seqpricing_core.sources import open_source
from seqpricing_dagster.definitions import build_definitions
from seqpricing_dagster.project import Project
from seqpricing_dagster.run import stages_of

YEARS = range(1999, 2003)
ACRONYMS = ["mvel1", "mom_12", "beta", "pricedelay", "rvar_ff3", "baspread", "ill"]


@pytest.fixture(scope="module")
def project(random_market, make_study, tmp_path_factory, small):
    folder = tmp_path_factory.mktemp("days")
    tables = random_market.random_tables(25, YEARS, seed=4) | {"factors": small.tables["factors"]}
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    source = {"kind": "canonical_files"} | {name: str(folder / f"{name}.parquet") for name in tables}
    study = make_study(
        source=source, characteristics=ACRONYMS, sample={"first_month": "2003-01", "last_month": "2007-12"}
    )
    return Project(study, folder / "outputs")


def test_the_assets_make_what_the_pipeline_makes(project):
    study = project.study
    assert study.reads_days
    source = open_source(study, project.vendor_files)
    of_days = dict(statistics_of_days(source, YEARS))
    expected = compute_characteristics(
        pl.concat(source.stock_months(y) for y in YEARS), pl.concat(source.statements(y) for y in YEARS),
        2002, ACRONYMS, pl.concat(of_days.values()),
    )  # fmt: skip
    assert expected[ACRONYMS].null_count().row(0) != (0,) * len(ACRONYMS)
    assert expected["beta"].count() > 200
    job = build_definitions(project).resolve_implicit_global_asset_job_def()
    raw = [f"raw/{name}" for name in ("stock_months", "statements", "factors", "stock_days", "factor_days")]
    with dg.DagsterInstance.ephemeral() as instance:
        for assets, years in (
            (["raw/vendor_files"], [None]),
            (raw, YEARS),
            (["panel/market_days"], YEARS),
            (["panel/day_statistics"], YEARS),
            (["panel/characteristics"], [2002]),
        ):
            for year in years:
                done = job.execute_in_process(
                    asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets],
                    partition_key=str(year) if year else None,
                    instance=instance,
                    run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                )
                assert done.success
    files = list((project.assets / "panel" / "characteristics").rglob("*2002*"))
    found = pl.read_ipc(io.BytesIO(next(f for f in files if f.is_file()).read_bytes()))
    assert found.equals(expected)


def test_stages_make_days_before_characteristics(project, make_study):
    titles = [stage.title for stage in stages_of(project)]
    place = titles.index("market days")
    assert titles[place + 1 : place + 3] == ["statistics of days", "characteristics"]
    raw = next(stage for stage in stages_of(project) if stage.title == "raw tables")
    assert "raw/stock_days" in raw.assets
    assert "market days" not in [stage.title for stage in stages_of(Project(make_study(), project.folder))]
