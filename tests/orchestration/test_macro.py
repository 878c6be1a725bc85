"""Macro series as assets: exact lineage, and the same bytes as the plain pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from seqpricing_core.pipeline import run_study
from seqpricing_core.storage import frame_from_files
from seqpricing_core.study import Study, load_study
from seqpricing_dagster.definitions import build_definitions
from seqpricing_dagster.project import Project, open_project
from seqpricing_dagster.run import QUIET, stages_of

GAN = {"sdf_hidden": [8], "loading_hidden": [8], "minimum_epochs": 0, "conditional_epochs": 2}


@pytest.fixture(scope="module")
def study_file(
    settings: Callable[..., dict[str, Any]],
    write_study: Callable[[Path, dict[str, Any]], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """IPCA and GAN on one test year, with macro series."""
    folder = tmp_path_factory.mktemp("study")
    months = [f"{year}-{month:02d}" for year in range(1999, 2005) for month in range(1, 13)]
    values = np.random.default_rng(1).normal(size=(72, 2))
    pl.DataFrame({"month": months, "a": values[:, 0], "b": values[:, 1]}).write_csv(folder / "macro.csv")
    return write_study(
        folder,
        settings(
            models={"ipca": {}, "gan": GAN},
            macro={"file": "macro.csv"},
            sample={"first_month": "2000-01", "last_month": "2004-12"},
        ),
    )


@pytest.fixture(scope="module")
def project(study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return open_project(study_file, tmp_path_factory.mktemp("outputs"))


@pytest.fixture(scope="module")
def graph(project: Project) -> Any:
    return build_definitions(project).resolve_asset_graph()


def parents(graph: Any, asset: str) -> set[str]:
    return {key.to_user_string() for key in graph.get(dg.AssetKey(asset.split("/"))).parent_keys}


def macro_years(graph: Any, asset: str, year: int) -> list[str]:
    child, above = dg.AssetKey(asset.split("/")), dg.AssetKey(["raw", "macro"])
    subset = graph.get(child).partitions_def.subset_with_partition_keys([str(year)])
    found = graph.get_partition_mapping(child, above).get_upstream_mapped_partitions_result_for_partitions(
        subset, graph.get(child).partitions_def, graph.get(above).partitions_def
    )
    return sorted(found.partitions_subset.get_partition_keys())


def test_models_see_macro_series_of_their_window_only(graph: Any) -> None:
    """Test year 2004: three years of training and one of validation, all before it."""
    assert macro_years(graph, "models/gan/gan_models", 2004) == ["2000", "2001", "2002", "2003"]
    predictions = "predictions/gan/gan_predictions"
    assert macro_years(graph, predictions, 2004) == ["2000", "2001", "2002", "2003", "2004"]


def test_who_does_not_read_macro_series_does_not_depend_on_them(graph: Any) -> None:
    for asset in ("models/ipca/ipca_models", "predictions/ipca/ipca_predictions", "panel/panel"):
        assert "raw/macro" not in parents(graph, asset)
    assert parents(graph, "raw/macro") == {"raw/macro_file"}


def test_without_macro_in_the_study_there_is_none_in_the_graph(
    make_study: Callable[..., Study], project: Project
) -> None:
    plain = Project(make_study(models={"gan": GAN}), project.folder)
    graph = build_definitions(plain).resolve_asset_graph()
    assert not [key for key in graph.get_all_asset_keys() if "macro" in key.to_user_string()]
    assert parents(graph, "models/gan/gan_models") == {"panel/panel", "panel/managed_portfolios"}
    assert not [stage for stage in stages_of(plain) if "macro" in stage.title]


def test_dagster_and_the_plain_pipeline_agree_byte_for_byte(
    project: Project, study_file: Path, tmp_path: Path
) -> None:
    job = build_definitions(project).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        for stage in stages_of(project):
            if stage.title in ("next month's signal", "report"):
                continue
            for partition in stage.partitions:
                job.execute_in_process(
                    run_config=QUIET,
                    instance=instance,
                    partition_key=partition,
                    asset_selection=[dg.AssetKey(asset.split("/")) for asset in stage.assets],
                )
    plain = run_study(load_study(study_file), tmp_path).predictions
    for family in ("ipca", "gan"):
        file = project.assets / "predictions" / family / f"{family}_predictions" / "2004.arrow"
        assert frame_from_files([file]).equals(plain.filter(pl.col("family") == family))
