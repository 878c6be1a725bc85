"""Tables of published factors: names, dates, units, gaps."""

from __future__ import annotations

import datetime as dt
import math

import polars as pl
import pytest

from seqpricing_core.evaluation.factor_returns import FactorReturns

FRENCH = pl.DataFrame({
    "date": ["2001-01-31", "2001-02-28", "2001-03-30"], "Mkt-RF": [0.01, -0.02, 0.03],
    "SMB": [0.0, 0.01, None], "Mom": [None, None, None], "RF": [0.003] * 3,
}, schema_overrides={"Mom": pl.Float64})  # fmt: skip


def test_names_of_kenneth_french():
    factors = FactorReturns.from_table(FRENCH)
    assert factors.table["month"].to_list()[-1] == dt.date(2001, 3, 31)
    assert factors.factors == ("market", "smb")
    assert factors.table["smb"].to_list() == [0.0, 0.01, None]


def test_a_column_of_nothing_is_a_factor_the_source_lacks():
    assert FactorReturns.from_table(FRENCH).lacking(["market", "momentum", "hml"]) == ("momentum", "hml")


def test_the_canonical_table_has_the_market_alone(small):
    factors = FactorReturns.from_table(small.tables["factors"])
    assert factors.factors == ("market",)
    assert factors.table["market"].equals(
        small.tables["factors"].sort("month")["market_excess"], check_names=False
    )


def test_files(tmp_path, refuses):
    FRENCH.write_parquet(tmp_path / "f.parquet")
    FRENCH.write_csv(tmp_path / "f.csv")
    frames = [FactorReturns.from_file(tmp_path / f"f.{suffix}").table for suffix in ("parquet", "csv")]
    assert frames[0].equals(frames[1])
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    refuses(lambda: FactorReturns.from_file(tmp_path / "broken.parquet"), "broken.parquet")


@pytest.mark.parametrize(
    ("table", "mentions"),
    [
        (FRENCH.with_columns(date=pl.lit("July")), ["'July'", "no date"]),
        (FRENCH.with_columns(date=pl.lit(196307)), ["196307", "no date"]),
        (FRENCH.drop("Mkt-RF"), ["market", "date, SMB"]),
        (FRENCH.with_columns(pl.col("Mkt-RF") * 100), ["divide", "100"]),
        (pl.concat([FRENCH, FRENCH[:1]]), ["2001-01-31", "more than once"]),
        (FRENCH.with_columns(SMB=pl.lit(math.nan)), ["smb is nan", "2001-01-31"]),
        (FRENCH.with_columns(RF=pl.lit(math.inf)), ["risk_free is inf"]),
    ],
)
def test_refused(refuses, table, mentions):
    refuses(lambda: FactorReturns.from_table(table, "factors.csv"), "factors.csv", *mentions)
