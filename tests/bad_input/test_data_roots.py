"""A study file cannot name what lies outside its folder, on no road, unless the environment allows it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

from seqpricing_core.data_roots import VARIABLE
from seqpricing_core.errors import InputError
from seqpricing_core.study import load_study

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study_with(tmp_path, settings, monkeypatch):
    """A study file in a folder of its own, with these paths."""
    monkeypatch.delenv(VARIABLE, raising=False)
    folder = tmp_path / "studies"
    folder.mkdir()

    def write(stock_months, **others):
        source = {
            "kind": "canonical_files", "stock_months": str(stock_months), "statements": "statements.parquet",
            "factors": "factors.parquet",
        }  # fmt: skip
        file = folder / "study.yaml"
        file.write_text(yaml.safe_dump(settings(source=source, **others)))
        return file

    return write


@pytest.mark.parametrize("path", ["months.parquet", "data/months.parquet", "./data/../months.parquet"])
def test_files_beside_the_study_may_be_named(study_with, path):
    assert load_study(study_with(path)).source.stock_months.name == "months.parquet"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../secret.parquet", "data/../../secret.parquet", "../studies2/x.parquet"]
)
def test_files_elsewhere_may_not(study_with, path):
    with pytest.raises(InputError) as refused:
        load_study(study_with(path))
    assert "source.stock_months" in str(refused.value)
    assert VARIABLE in refused.value.remedy


def test_a_link_leads_where_it_leads(study_with, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "studies" / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="outside its folders"):
        load_study(study_with("data/months.parquet"))


def test_the_macro_file_is_held_to_it_too(study_with):
    with pytest.raises(InputError, match=re.escape("key macro.file")):
        load_study(study_with("months.parquet", macro={"file": "/etc/hostname.csv"}))


def test_the_environment_allows_folders(study_with, tmp_path, monkeypatch):
    file = study_with("../shared/months.parquet")
    monkeypatch.setenv(VARIABLE, f"/nowhere{os.pathsep}{tmp_path / 'shared'}")
    assert load_study(file).source.stock_months == tmp_path / "shared" / "months.parquet"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "share"))
    with pytest.raises(InputError):
        load_study(file)


def test_nothing_stored_is_ever_unpickled():
    """A pickle that is read runs what it says: no code of ours can."""
    words = re.compile(
        r"\bpickle\b|torch\.load\(|joblib|allow_pickle=True|\bdill\b|\bmarshal\b|yaml\.unsafe|\beval\("
    )
    found = [
        f"{file.name}: {line.strip()}"
        for package in ("seqpricing_core", "seqpricing_dagster")
        for file in sorted((ROOT / package).rglob("*.py"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if words.search(line)
        and "no pickle" not in line
        and "never pickled" not in line
        and ".eval(" not in line
    ]
    assert not found
