"""Two machines and one store: what one materializes the other reads, byte for byte."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import local_services
import pytest

from seqpricing_core import fitted_store
from seqpricing_core.errors import InputError
from seqpricing_dagster import checks
from seqpricing_dagster.io import io_managers
from seqpricing_dagster.object_store import SharedFolder
from seqpricing_dagster.project import Project, open_project
from seqpricing_dagster.run import materialize_partition

obstore = pytest.importorskip("obstore", reason="obstore is not installed: pip install 'seqpricing[dev]'")


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that names an S3 server."""
    pytest.importorskip("moto.server", reason="no S3 server: pip install 'moto[s3,server]'")
    with local_services.s3_server(tmp_path_factory.mktemp("s3")) as environment:
        yield environment


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty store, named in the environment."""
    if request.param == "file":
        url = f"file://{tmp_path}/store"
    else:
        server = request.getfixturevalue("s3_server")
        for name, value in server.items():
            monkeypatch.setenv(name, value)
        bucket = re.sub("[^a-z0-9]", "", tmp_path.name.lower())
        url = f"{local_services.make_bucket(server, bucket)}/studies"
    monkeypatch.setenv("SEQPRICING_STORE", url)
    return url


@pytest.fixture(scope="module")
def ipca_file(
    settings: Callable[..., dict[str, Any]],
    write_study: Callable[[Path, dict[str, Any]], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    return write_study(tmp_path_factory.mktemp("ipca"), settings(models={"ipca": {}}))


def test_one_machine_reads_another_trains_a_third_predicts(
    store: str, ipca_file: Path, finished: Project, tmp_path: Path
) -> None:
    """Each machine starts with an empty folder and fetches what it reads and nothing else."""

    def machine(name: str, *runs: tuple[str, str | None]) -> Project:
        for asset, partition in runs:
            materialize_partition(ipca_file, tmp_path / name, (asset,), partition)
        return open_project(ipca_file, tmp_path / name)

    machine("vendor", ("raw/vendor_files", None))
    reading = machine("reading", ("raw/factors", "2004"))
    panel = SharedFolder(finished.folder, reading.files.url)
    panel.publish(sorted((finished.assets / "panel").glob("*/200[1-5].*")))
    training = machine("training", ("models/ipca/ipca_models", "2005"))
    oracle = "predictions/oracle/oracle_predictions"
    predicting = machine("predicting", ("predictions/ipca/ipca_predictions", "2005"), (oracle, "2005"))
    for project, name in (
        (reading, "raw/factors/2004.arrow"),
        (training, "models/ipca/ipca_models/2005.safetensors"),
        (predicting, "predictions/ipca/ipca_predictions/2005.arrow"),
        (predicting, f"{oracle}/2005.arrow"),
    ):
        assert (project.assets / name).read_bytes() == (finished.assets / name).read_bytes(), name
    fetched = {
        str(path.relative_to(training.assets)) for path in training.assets.rglob("*") if path.is_file()
    }
    window = {f"panel/panel/{year}.arrow" for year in range(2001, 2005)}
    window |= {f"panel/managed_portfolios/{year}.safetensors" for year in range(2001, 2005)}
    assert fetched == window | {"models/ipca/ipca_models/2005.safetensors"}
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_one_machine_trained_another_does_not_train_again(
    store: str, ipca_file: Path, finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has nothing but the store; a fit whose upload broke off in the middle is trained again."""
    first, second, third = (open_project(ipca_file, tmp_path / name) for name in ("first", "second", "third"))
    SharedFolder(finished.folder, first.files.url).publish(
        sorted((finished.assets / "panel").glob("*/200[1-5].*"))
    )
    model, trained = "models/ipca/ipca_models", []
    fit_family = fitted_store.fit_family

    def counted(*inputs: Any) -> Any:
        trained.append(inputs)
        return fit_family(*inputs)

    monkeypatch.setattr(fitted_store, "fit_family", counted)
    for project in (first, second):
        materialize_partition(ipca_file, project.folder.parent, (model,), "2005")
        assert len(trained) == 1
    (key,) = first.fitted_store.keys()
    assert second.fitted_store.keys() == [key]
    first.files.below("fitted").remove_notes([first.fitted_store.folder / key[:2] / f"{key}.json.sha256"])
    materialize_partition(ipca_file, third.folder.parent, (model,), "2005")
    assert len(trained) == 2
    expected = (finished.assets / model / "2005.safetensors").read_bytes()
    for project in (first, second, third):
        assert (project.assets / model / "2005.safetensors").read_bytes() == expected


def test_what_one_machine_refuses_no_other_reads(store: str, ipca_file: Path, tmp_path: Path) -> None:
    """Until any of them makes it again, and it passes."""
    here, there = (open_project(ipca_file, tmp_path / name) for name in ("here", "there"))

    def read(project: Project) -> Any:
        return io_managers(project.shared_assets)["table"].read(dg.AssetKey(["raw", "factors"]), ["2004"])

    def make(project: Project, asset: str = "factors", partition: str | None = "2004") -> None:
        materialize_partition(ipca_file, project.folder.parent, (f"raw/{asset}",), partition)

    def fails(*_: object) -> None:
        raise InputError("planted", where="here", expected="nothing", remedy="none")

    make(here, "vendor_files", None)
    with pytest.MonkeyPatch.context() as planted:
        planted.setattr(checks, "check_table", fails)
        with pytest.raises(Exception, match="blocking asset check failed"):
            make(here)
    for project in (here, there):
        with pytest.raises(InputError, match="failed the check canonical_schema_and_unique_keys"):
            read(project)
    make(there)
    assert read(here).equals(read(there))


def test_a_partition_that_the_store_lacks_is_named(store: str, ipca_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"4 partition.*are not there(.|\n)*2001, 2002, 2003, 2004"):
        materialize_partition(ipca_file, tmp_path / "empty", ("models/ipca/ipca_models",), "2005")


@pytest.mark.integration
def test_a_wrong_bucket_is_one_error_without_secrets(
    s3_server: dict[str, str], ipca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = s3_server | {"AWS_SECRET_ACCESS_KEY": "sesame", "SEQPRICING_STORE": "s3://no-such-bucket/x"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"refused or did not answer(.|\n)*no-such-bucket") as caught:
        materialize_partition(ipca_file, tmp_path, ("raw/vendor_files",), None)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)
