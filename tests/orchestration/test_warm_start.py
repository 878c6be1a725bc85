"""Warm starts through Dagster: each window from the fit before it, as the plain pipeline does it."""

from __future__ import annotations

import dagster as dg
import pytest
from rich.console import Console

from seqpricing_core.models.family import FittedFamily, fit_family
from seqpricing_core.pipeline import run_signal, run_study
from seqpricing_core.storage import frame_from_files, frame_to_bytes
from seqpricing_dagster.definitions import build_definitions
from seqpricing_dagster.run import materialize_study, stages_of

ONE = {"l1": [0.001], "learning_rate": [0.01]}
MODELS = {"ipca": {}, "ca1": {"grid": ONE | {"beta_hidden": [[8]]}}}
TRAINING = {"max_epochs": 3, "patience": 2, "batch_months": 12, "seeds": [1], "warm_start": True}


@pytest.fixture(scope="module")
def project(settings, write_study, tmp_path_factory):
    file = write_study(tmp_path_factory.mktemp("warm"), settings(models=MODELS, training=TRAINING))
    with pytest.MonkeyPatch.context() as monkeypatch:
        for variable in ("SEQPRICING_STUDY", "SEQPRICING_OUTPUTS", "DAGSTER_HOME"):
            monkeypatch.setenv(variable, "")
        return materialize_study(file, tmp_path_factory.mktemp("outputs"), 2, Console(quiet=True))


def fitted(project, year):
    return FittedFamily.from_files([project.assets / f"models/ca1/ca1_models/{year}.safetensors"])


def first_loss(family):
    return {k: members[0].record["train_loss"][0] for k, members in family.models.items()}


def test_same_bytes_as_the_plain_pipeline(project, tmp_path):
    """Predictions of every test year, and the signal, whose window comes after the last of them."""
    plain = run_study(project.study, tmp_path / "study")
    ours = frame_from_files(
        [
            project.assets / "predictions" / family / f"{family}_predictions" / f"{year}.arrow"
            for year in project.study.test_years
            for family in (*project.study.families, "oracle")
        ]
    )
    assert frame_to_bytes(ours) == frame_to_bytes(plain.predictions)
    signal = project.assets / "signal/next_month_signal/next_month_signal.arrow"
    assert signal.read_bytes() == frame_to_bytes(run_signal(project.study, tmp_path / "signal"))


def test_the_second_window_goes_on_from_the_first(project, small):
    """The first is cold; the second begins elsewhere than a cold one, and as from the first one's file."""
    (_, config), training = project.study.models, project.study.training
    cold = {year: fit_family(config, [1, 2], small.samples(year), training) for year in (2004, 2005)}
    assert fitted(project, 2004).to_bytes() == cold[2004].to_bytes()
    warm = fit_family(config, [1, 2], small.samples(2005), training, fitted(project, 2004))
    assert fitted(project, 2005).to_bytes() == warm.to_bytes()
    found, expected = first_loss(fitted(project, 2005)), first_loss(cold[2005])
    assert all(found[k] != pytest.approx(expected[k], rel=1e-3) for k in (1, 2))


def test_lineage(project):
    """A window reads those before it; the first none; a family that cannot start warm has no such edge."""
    graph = build_definitions(project).resolve_asset_graph()
    key = dg.AssetKey(["models", "ca1", "ca1_models"])
    partitions, mapping = graph.get(key).partitions_def, graph.get_partition_mapping(key, key)
    for year, before in (("2004", []), ("2005", ["2004"]), ("2006", ["2004", "2005"])):
        subset = partitions.subset_with_partition_keys([year])
        found = mapping.get_upstream_mapped_partitions_result_for_partitions(subset, partitions, partitions)
        assert list(found.partitions_subset.get_partition_keys()) == before
        assert not list(found.required_but_nonexistent_subset.get_partition_keys())
    ipca = dg.AssetKey(["models", "ipca", "ipca_models"])
    assert ipca not in graph.get(ipca).parent_keys


def test_windows_that_start_warm_wait_for_each_other(project):
    stages = [stage for stage in stages_of(project) if stage.title.endswith("train")]
    assert [(stage.assets, stage.partitions) for stage in stages] == [
        (("models/ipca/ipca_models",), ("2004", "2005", "2006")),
        *((("models/ca1/ca1_models",), (year,)) for year in ("2004", "2005", "2006")),
    ]
