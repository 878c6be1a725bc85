"""A study may be kept to folders: a path that leads outside is refused, however it is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from seqpricing_core.errors import InputError
from seqpricing_dagster.project import open_project


@pytest.fixture
def study_reading(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[[str], Path]:
    """Study file in ``studies/`` whose stock months are the file named."""

    def write(stock_months: str) -> Path:
        for folder in ("studies", "allowed", "secret"):
            (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / "secret/table.parquet").touch()
        link = tmp_path / "allowed/link.parquet"
        if not link.is_symlink():
            link.symlink_to(tmp_path / "secret/table.parquet")
        names = {"stock_months": stock_months, "statements": "../allowed/s", "factors": "../allowed/f"}
        file = tmp_path / "studies/study.yaml"
        file.write_text(yaml.safe_dump(settings(source={"kind": "canonical_files"} | names)))
        return file

    return write


@pytest.mark.parametrize(
    "path", ["../secret/table.parquet", "../allowed/../secret/x", "../allowed/link.parquet"]
)
def test_outside_is_refused_and_named(
    study_reading: Callable[[str], Path], path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = study_reading(path)
    open_project(file, tmp_path)  # nobody asked to keep it anywhere
    monkeypatch.setenv("SEQPRICING_DATA_ROOTS", str(tmp_path / "allowed"))
    with pytest.raises(InputError, match=r"source\.stock_months(.|\n)*secret"):
        open_project(file, tmp_path)


def test_inside_one_of_several_is_allowed(
    study_reading: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQPRICING_DATA_ROOTS", f"{tmp_path / 'allowed'}:{tmp_path / 'secret'}")
    assert open_project(study_reading("../secret/table.parquet"), tmp_path).study.name == "small"
