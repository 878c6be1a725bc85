"""Inference on Kenneth French's factors and portfolios: what the literature knows of them comes out."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from seqpricing_core.evaluation.factor_returns import FactorReturns
from seqpricing_core.inference.alphas import compute_alphas
from seqpricing_core.inference.grs import gibbons_ross_shanken

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="no shared/data beside the checkout"),
]


@pytest.fixture(scope="module")
def factors():
    return FactorReturns.from_file(DATA / "ff5_mom_monthly_1963_2026.parquet")


def test_all_factors_are_there(factors):
    assert factors.factors == ("market", "smb", "hml", "rmw", "cma", "momentum")
    assert len(factors.table) == 752


def test_files_in_percent_are_refused(refuses):
    refuses(lambda: FactorReturns.from_file(DATA / "ff3_monthly_1926_2017.parquet"), "divide", "percent")


def test_hml_is_redundant_in_the_five_factor_model(factors):
    """Fama and French (2015, table 6): 1963-2013, HML's intercept is -.04% a month, t = -.47."""
    sample = factors.table.filter(pl.col("month") <= pl.date(2013, 12, 31))
    y, x = sample["hml"].to_numpy(), sample.select("market", "smb", "rmw", "cma").to_numpy()
    test = gibbons_ross_shanken(y, x)
    assert test.p_value > 0.4
    assert abs(test.alphas[0]) < 0.001


def test_momentum_survives_five_factors_but_not_itself(factors):
    returns = factors.table.select("month", pl.col("momentum").alias("return"))
    table = compute_alphas(returns, factors)
    alpha = dict(table.select("factor_model", "t_statistic").iter_rows())
    assert alpha["FF5"] > 3
    assert alpha["FF5+MOM"] is None
    assert table["reason"].to_list()[-1] == "the factors explain every month exactly"


def test_size_value_portfolios_reject_three_factors(factors):
    """The 25 size and book-to-market portfolios, 1963-2013: Fama and French (2015, table 5) report F
    of 3.62 against three factors and 2.84 against five.
    """
    long = pl.read_parquet(DATA / "french_portfolios_202602.parquet").filter(
        pl.col("file").cast(pl.String) == "25_Portfolios_5x5",
        pl.col("section").cast(pl.String) == "Average Value Weighted Returns -- Monthly",
    )
    dated = long.with_columns(month=pl.col("date").cast(pl.String).str.to_date("%Y%m").dt.month_end())
    wide = dated.pivot("portfolio", index="month", values="value").sort("month")
    table = factors.table.filter(pl.col("month") <= pl.date(2013, 12, 31)).join(wide, on="month")
    names = [name for name in wide.columns if name != "month"]
    excess = table.select(names).to_numpy() / 100 - table["risk_free"].to_numpy()[:, None]
    three = gibbons_ross_shanken(excess, table.select("market", "smb", "hml").to_numpy())
    five = gibbons_ross_shanken(excess, table.select("market", "smb", "hml", "rmw", "cma").to_numpy())
    assert three.statistic == pytest.approx(3.62, abs=0.35)
    assert five.statistic == pytest.approx(2.84, abs=0.35)
    assert max(three.p_value, five.p_value) < 1e-4
