"""The asset graph: what there is, and which years each partition reads."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from seqpricing_core.study import Study
from seqpricing_dagster.definitions import build_definitions
from seqpricing_dagster.partitions import years_of
from seqpricing_dagster.project import Project


@pytest.fixture(scope="module")
def project(make_study: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(make_study(), tmp_path_factory.mktemp("outputs"))


@pytest.fixture(scope="module")
def graph(project: Project) -> Any:
    return build_definitions(project).resolve_asset_graph()


def parents_of(graph: Any, asset: str, parent: str, year: int) -> list[str]:
    """Years of ``parent`` that the partition ``year`` of ``asset`` reads, as the lineage has it."""
    child, above = dg.AssetKey(asset.split("/")), dg.AssetKey(parent.split("/"))
    mapping = graph.get_partition_mapping(child, above)
    subset = graph.get(child).partitions_def.subset_with_partition_keys([str(year)])
    found = mapping.get_upstream_mapped_partitions_result_for_partitions(
        subset, graph.get(child).partitions_def, graph.get(above).partitions_def
    )
    return sorted(found.partitions_subset.get_partition_keys())


def test_definitions_load_with_no_environment_and_no_data(tmp_path: Path) -> None:
    """A fresh process in an empty folder loads the demo, and does not import torch to do so."""
    code = (
        "import sys, dagster as dg\n"
        "from seqpricing_dagster.definitions import defs\n"
        "dg.Definitions.validate_loadable(defs)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "print(len(list(defs.resolve_asset_graph().get_all_asset_keys())))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 31
    assert not list(tmp_path.iterdir()), "loading wrote files"


def test_assets_of_a_study(graph: Any) -> None:
    """Names are an interface: people link to them."""
    assert sorted(key.to_user_string() for key in graph.get_all_asset_keys()) == [
        "evaluation/factor_returns",
        "evaluation/model_comparison",
        "evaluation/monthly_scores",
        "evaluation/performance",
        "evaluation/portfolio_returns",
        "evaluation/portfolio_returns_without_micro_caps",
        "evaluation/report",
        "explain/ca2/ca2_importance",
        "explain/characteristic_importance",
        "explain/ipca/ipca_importance",
        "explain/seqlat/seqlat_importance",
        "models/ca2/ca2_models",
        "models/ipca/ipca_models",
        "models/seqlat/seqlat_models",
        "panel/characteristic_drift",
        "panel/characteristics",
        "panel/managed_portfolios",
        "panel/panel",
        "predictions/ca2/ca2_predictions",
        "predictions/ipca/ipca_predictions",
        "predictions/managed_portfolio_predictions",
        "predictions/oracle/oracle_predictions",
        "predictions/seqlat/seqlat_predictions",
        "quality/coverage",
        "quality/dropped",
        "quality/stock_history",
        "raw/factors",
        "raw/statements",
        "raw/stock_months",
        "raw/vendor_files",
        "signal/next_month_signal",
    ]


def test_every_asset_says_what_it_is_and_whose(graph: Any) -> None:
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.owners, key
        assert len(node.description) > 20, key
        assert node.kinds, key
        assert node.group_name != "default", key


@pytest.mark.parametrize("family", ["ipca", "ca2", "seqlat"])
def test_models_depend_on_exactly_the_years_of_their_window(
    project: Project, graph: Any, family: str
) -> None:
    """Three years of training and one of validation, all before the test year, none missing."""
    for test_year in project.study.test_years:
        window = [str(year) for year in range(test_year - 4, test_year)]
        for parent in ("panel/panel", "panel/managed_portfolios"):
            assert parents_of(graph, f"models/{family}/{family}_models", parent, test_year) == window


def test_predictions_read_the_test_year_and_the_lookback_of_x(project: Project, graph: Any) -> None:
    asset = "predictions/seqlat/seqlat_predictions"
    assert parents_of(graph, asset, "panel/panel", 2005) == ["2005"]
    assert parents_of(graph, asset, "models/seqlat/seqlat_models", 2005) == ["2005"]
    assert parents_of(graph, asset, "panel/managed_portfolios", 2005) == ["2004", "2005"]
    assert project.study.lookback_years == 1


@pytest.mark.parametrize(("train", "validation", "first"), [(20, 4, None), (9, 3, 1995), (1, 1, None)])
def test_the_window_of_every_test_year(
    make_study: Callable[..., Study], tmp_path: Path, train: int, validation: int, first: int | None
) -> None:
    """Long and short windows: each test year reads exactly the years right before it, and never one less."""
    windows = {"train_years": train, "validation_years": validation, "first_test_year": first}
    sample = {"first_month": "1980-01", "last_month": "2012-12"}
    study = make_study(windows=windows, sample=sample, robustness={"odd_even": True})
    graph = build_definitions(Project(study, tmp_path)).resolve_asset_graph()
    assert study.test_years == range(first or 1980 + train + validation, 2013)
    for test_year in (*study.test_years, 2013):  # the signal's window, too
        before = [str(year) for year in range(test_year - train - validation, test_year)]
        assert parents_of(graph, "models/ca2/ca2_models", "panel/panel", test_year) == before
        assert parents_of(graph, "models/ca2/ca2_models", "panel/managed_portfolios", test_year) == before
        if test_year in study.test_years:
            asset = "robustness/ca2/ca2_odd_even"
            assert parents_of(graph, asset, "panel/panel", test_year) == [*before, str(test_year)]


def test_characteristics_read_their_history(project: Project, graph: Any) -> None:
    years = [str(year) for year in range(2003 - project.study.history_years, 2004)]
    for parent in ("raw/stock_months", "raw/statements"):
        assert parents_of(graph, "panel/characteristics", parent, 2003) == years
    assert parents_of(graph, "panel/panel", "panel/characteristics", 2003) == ["2002", "2003"]
    assert parents_of(graph, "panel/panel", "raw/stock_months", 2003) == ["2003"]


def test_a_new_year_appears_by_the_calendar(make_study: Callable[..., Study]) -> None:
    """Without a last month the partitions follow the clock; with one they are fixed."""
    open_ended = years_of(make_study(sample={"first_month": "2000-01"}))
    for today, newest in (("2031-12-31", "2030"), ("2032-01-02", "2031")):
        now = dt.datetime.fromisoformat(today).replace(tzinfo=dt.UTC)
        assert open_ended.test.get_partition_keys(current_time=now)[-1] == newest
    closed = years_of(make_study())
    assert closed.test.get_partition_keys() == ["2004", "2005"]
    assert closed.panel.get_partition_keys()[0] == "2000"
    assert closed.raw.get_partition_keys()[0] == str(2000 - 1 - make_study().history_years)


def test_a_changed_study_changes_the_code_version_of_what_it_touches(
    make_study: Callable[..., Study], project: Project, graph: Any
) -> None:
    """More patience in training makes models stale, and leaves the panel alone."""
    patient = make_study(training={"max_epochs": 4, "patience": 3, "batch_months": 12, "seeds": [1]})
    other = build_definitions(Project(patient, project.folder)).resolve_asset_graph()

    def version(of: Any, key: str) -> str:
        return of.get(dg.AssetKey(key.split("/"))).code_version

    assert version(other, "models/ca2/ca2_models") != version(graph, "models/ca2/ca2_models")
    assert version(other, "panel/panel") == version(graph, "panel/panel")
