"""`seqpricing data simulate`: files for people who want a market without a study."""

from __future__ import annotations

import polars as pl
import pytest
from typer.testing import CliRunner

from seqpricing_core.errors import InputError
from seqpricing_dagster.cli import app

SMALL = ["--stocks", "25", "--first-year", "2001", "--last-year", "2001"]


def simulate(*arguments):
    return CliRunner().invoke(app, ["data", "simulate", *arguments])


def test_canonical_files(tmp_path):
    result = simulate(str(tmp_path), *SMALL, "--daily")
    assert result.exit_code == 0
    assert {file.stem for file in tmp_path.iterdir()} == {
        "stock_months", "statements", "factors", "truth", "names", "stock_days", "factor_days"
    }  # fmt: skip
    assert len(pl.read_parquet(tmp_path / "stock_months.parquet")) == 25 * 12


def test_wrds_files(tmp_path):
    result = simulate(str(tmp_path), *SMALL, "--vendor", "wrds")
    assert result.exit_code == 0
    assert {"crsp.msf.parquet", "comp.fundq.parquet"} <= {file.name for file in tmp_path.iterdir()}
    assert not (tmp_path / "crsp.dsf.parquet").exists()
    assert set(pl.read_parquet(tmp_path / "comp.fundq.parquet")["datafmt"]) == {"STD"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plain", "--daily"], "daily: true needs detail: complete"),
        (["--first-year", "2002"], "is before the first"),
        (["--plain", "--vendor", "wrds"], "no vendor's shape"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, arguments, message):
    result = simulate(str(tmp_path), *SMALL, *arguments)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert not list(tmp_path.iterdir())
