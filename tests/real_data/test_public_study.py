"""The real files beside the checkout: they can be read, and what comes out are the firms one knows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqpricing_core.characteristics.compute import compute_characteristics
from seqpricing_core.panel.build import build_panel
from seqpricing_core.sources import open_source
from seqpricing_core.sources.public_files import asset_id_of, ticker_of
from seqpricing_core.study import load_study

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="no shared/data beside the checkout"),
]


@pytest.fixture(scope="module")
def study():
    return load_study(ROOT / "studies" / "us_public.yaml")


@pytest.fixture(scope="module")
def source(study):
    return open_source(study, ROOT)


@pytest.fixture(scope="module")
def stock_months(source):
    return pl.concat(source.stock_months(year) for year in range(1994, 2018))


@pytest.fixture(scope="module")
def characteristics(study, source):
    """Of 2009 and 2010."""

    def compute(year):
        years = range(year - study.history_years, year + 1)
        return compute_characteristics(
            pl.concat(source.stock_months(y) for y in years),
            pl.concat(source.statements(y) for y in years),
            year,
            study.acronyms,
        )

    return pl.concat([compute(2009), compute(2010)])


class TestFiles:
    def test_the_study_names_files_that_are_there(self, study, source):
        assert [file.parent.resolve() for file in source.files()] == [DATA.resolve()] * 4
        assert list(study.test_years) == list(range(2010, 2018))

    def test_tickers_and_asset_ids(self, study):
        """Prices, statements and index: no two tickers meet in one number, none is lost."""
        tickers = pl.concat([
            pl.read_parquet(study.source.prices, columns=["ticker"])["ticker"].cast(pl.String).unique(),
            pl.read_parquet(study.source.statements, columns=["ticker"])["ticker"].cast(pl.String).unique(),
            pl.read_csv(study.source.index_members)["ticker"].cast(pl.String).unique(),
        ]).unique()  # fmt: skip
        assert len(tickers) > 7000
        spelt = {ticker: ticker.upper().replace(".", "-").replace("_", "-") for ticker in tickers}
        ids = {name: asset_id_of(name) for name in spelt.values()}
        assert len(set(ids.values())) == len(ids)
        for ticker, name in spelt.items():
            assert asset_id_of(ticker) == ids[name]
            assert ticker_of(ids[name]) == name

    def test_factors_of_every_month(self, source):
        """Kenneth French's market lost 17.23% in October 2008, when the bill earned 0.08%."""
        rows = pl.concat(source.factors(year) for year in range(1994, 2018))
        assert rows["month"].to_list() == pl.date_range(
            dt.date(1994, 1, 1), dt.date(2017, 12, 1), "1mo", eager=True
        ).dt.month_end().to_list()  # fmt: skip
        crash = rows.filter(pl.col("month") == dt.date(2008, 10, 31)).row(0, named=True)
        assert crash["market_excess"] + crash["risk_free"] == pytest.approx(-0.1715, abs=0.001)


class TestFirms:
    @pytest.mark.parametrize(
        ("ticker", "month", "billions"),
        [
            ("AAPL", dt.date(2012, 8, 31), 624),
            ("MSFT", dt.date(1999, 12, 31), 604),
            ("GE", dt.date(2000, 8, 31), 580),
            ("JNJ", dt.date(2014, 12, 31), 293),
        ],
    )
    def test_market_equity_is_what_the_papers_said(self, stock_months, ticker, month, billions):
        """Within 10%, although the closes in the file are adjusted for every split and dividend since."""
        row = stock_months.filter(pl.col("asset_id") == asset_id_of(ticker), pl.col("month") == month)
        assert row["market_equity"][0] / 1e9 == pytest.approx(billions, rel=0.10)

    def test_returns(self, stock_months):
        """AIG fell from 21.49 to 3.33 in September 2008; nobody lost more than everything."""
        aig = stock_months.filter(
            pl.col("asset_id") == asset_id_of("AIG"), pl.col("month") == dt.date(2008, 9, 30)
        )
        assert aig["ret"][0] == pytest.approx(3.33 / 21.49 - 1, abs=0.003)
        assert stock_months["ret"].min() > -1
        assert stock_months["ret"].max() <= 3
        assert 0.005 < stock_months["ret"].mean() < 0.025  # survivors: too high, see the README

    def test_a_stock_and_month_once(self, stock_months):
        assert not stock_months.select("asset_id", "month").is_duplicated().any()


class TestPanel:
    def test_median_book_to_market(self, characteristics):
        """Large firms in 2010: about 0.45. A wrong unit, or annual for quarterly, would be far off."""
        inside = characteristics.filter(pl.col("month").dt.year() == 2010, pl.col("mvel1").is_not_null())
        assert 0.36 < inside["bm"].median() < 0.60
        assert 0.04 < inside["ep"].median() < 0.09
        assert 0.0 < inside["roe"].median() < 0.06

    def test_a_year(self, characteristics, source, study):
        panel = build_panel(characteristics, source.stock_months(2010), source.factors(2010), 2010, study)
        sizes = np.diff(panel.offsets)
        assert len(sizes) == 12
        assert sizes.min() >= 200
        assert sizes.max() <= 350
        assert np.abs(panel.characteristics).max() < 1
        assert np.isfinite(panel.excess_return).all()
        assert asset_id_of("AAPL") in panel.asset_id[panel.rows(5)]
        # Every characteristic says something about most stocks: no column is a constant.
        for j, name in enumerate(panel.characteristic_names):
            distinct = len(np.unique(panel.characteristics[panel.rows(5)][:, j]))
            assert distinct > (5 if name == "nincr" else 100), name  # nincr counts quarters, 0 to 8
