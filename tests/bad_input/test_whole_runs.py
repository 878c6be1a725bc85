"""Bad input through a whole run: one error, and neither the inputs nor the output folder change."""

from __future__ import annotations

import datetime as dt
import math
from typing import ClassVar

import polars as pl
import pytest

from seqpricing_core.pipeline import run_study
from seqpricing_core.windows import window_for


@pytest.fixture
def run(tmp_path, small, make_study, write_tables):
    """Runs the small study with IPCA over files of one's own, some of them replaced."""

    def prepare(changed=None, **sections):
        source = write_tables(tmp_path / "data", small.tables | (changed or {}))
        study = make_study(**({"models": {"ipca": {}}, "source": source} | sections))
        (tmp_path / "outputs").mkdir(exist_ok=True)
        return lambda: run_study(study, tmp_path / "outputs")

    return prepare


@pytest.fixture(scope="module")
def stock_months(small):
    return small.tables["stock_months"]


class TestWindowsWithoutData:
    def test_data_end_before_the_last_test_year(self, run, refuses, stock_months):
        action = run({"stock_months": stock_months.filter(pl.col("month") < dt.date(2005, 1, 1))})
        refuses(action, "12 month(s) of 2005", "2005-01", "2005-12", "sample")

    def test_data_begin_after_the_first_training_year(self, run, refuses, stock_months):
        action = run({"stock_months": stock_months.filter(pl.col("month") > dt.date(2001, 1, 1))})
        refuses(action, "12 month(s) of 2000", "2000-01")

    def test_one_month_of_a_window_is_empty(self, run, refuses, stock_months):
        action = run({"stock_months": stock_months.filter(pl.col("month") != dt.date(2002, 5, 31))})
        # Without May there is neither a return in May nor a characteristic for June.
        refuses(action, "2 month(s) of 2002", "2002-05, 2002-06")

    def test_no_rows_at_all(self, run, refuses, stock_months):
        refuses(run({"stock_months": stock_months.clear()}), "2000-01", "at least one stock in every month")

    def test_a_universe_that_nobody_enters(self, run, refuses):
        statements_needed = {"require": ["mvel1", "mom_36"], "minimum_history_months": 36}
        old = {"first_month": "1997-01", "last_month": "2003-12"}
        refuses(run(universe=statements_needed, sample=old), "1997-01", "universe.require")

    def test_factors_end_early(self, run, refuses, small):
        factors = small.tables["factors"].filter(pl.col("month") < dt.date(2005, 6, 1))
        refuses(run({"factors": factors}), "no risk-free rate for 7 month(s)", "2005-06", "factors")

    def test_a_test_year_outside_the_sample(self, small, refuses):
        refuses(lambda: window_for(small.study, 2007), "test year 2007", "'small'", "2004 .. 2006")

    def test_without_any_statement_the_market_is_enough(self, run, small):
        """Missing characteristics are medians (METHODS, 1): no error."""
        results = run({"statements": small.tables["statements"].clear()})()
        assert results.predictions["expected_return"].is_finite().all()


class TestBadRows:
    @pytest.mark.parametrize(
        ("column", "value"),
        [("ret", -1.5), ("ret", math.inf), ("price", math.nan), ("month", dt.date(2003, 3, 30))],
    )
    def test_values(self, run, refuses, with_value, stock_months, column, value):
        row = int(stock_months["month"].index_of(dt.date(2003, 3, 31))) + 3
        action = run({"stock_months": with_value(stock_months, row, column, value)})
        refuses(action, "stock_months.parquet", f"'{column}'", f"asset_id {stock_months['asset_id'][row]}")

    def test_duplicates(self, run, refuses, stock_months):
        action = run({"stock_months": pl.concat([stock_months, stock_months[5000:5001]])})
        refuses(action, "duplicate (asset_id, month)", f"month {stock_months['month'][5000]}")

    @pytest.mark.parametrize("name", ["stock_months", "statements", "factors"])
    def test_unreadable(self, run, refuses, tmp_path, name):
        action, file = run(), tmp_path / "data" / f"{name}.parquet"
        file.write_bytes(file.read_bytes()[:-20])
        refuses(action, "cannot be read as parquet", str(file))

    @pytest.mark.parametrize(
        ("name", "column"), [("stock_months", "high"), ("statements", "revenue"), ("factors", "risk_free")]
    )
    def test_missing_column(self, run, refuses, small, name, column):
        action = run({name: small.tables[name].drop(column)})
        refuses(action, f"missing column: {column}", f"{name}.parquet")

    def test_unsorted_files_change_nothing(self, run, small):
        """The run over sorted files is the oracle: byte for byte the same predictions."""
        sorted_files = run()().predictions
        shuffled = {
            name: small.tables[name].sample(fraction=1, shuffle=True, seed=8)
            for name in ("stock_months", "statements", "factors")
        }
        assert run(shuffled)().predictions.equals(sorted_files)


class TestPublicFiles:
    SECTIONS: ClassVar = {
        "models": {"ipca": {}}, "number_of_factors": [1], "portfolios": {"quantiles": 3},
        "sample": {"first_month": "1998-01", "last_month": "2001-12"},
        "windows": {"train_years": 2, "validation_years": 1},
    }  # fmt: skip

    @pytest.fixture
    def run_public(self, tmp_path, public_source, make_study):
        def prepare(**changed):
            source = public_source(**changed).source
            study = make_study(**self.SECTIONS, source=source.model_dump())
            (tmp_path / "outputs").mkdir(exist_ok=True)
            return lambda: run_study(study, tmp_path / "outputs")

        return prepare

    def test_good_files_run(self, run_public):
        predictions = run_public()().predictions
        assert len(predictions) == 24 * 12
        assert set(predictions["month"].dt.year()) == {2001}

    def test_a_missing_column(self, run_public, public_tables, refuses):
        action = run_public(statements=public_tables["statements"].drop("Revenue"))
        refuses(action, "missing column: Revenue", "statements.parquet")

    def test_a_test_year_without_prices(self, run_public, public_tables, refuses):
        early = public_tables["prices"].filter(pl.col("Date") < dt.date(2001, 9, 1))
        refuses(run_public(prices=early), "4 month(s) of 2001", "2001-09")

    def test_no_statement_matches_a_price(self, run_public, public_tables, refuses):
        """Two files of different markets: no stock has market equity."""
        other = public_tables["statements"].with_columns(ticker=pl.col("ticker") + "X")
        refuses(run_public(statements=other), "1998-01", "coverage")


class TestOddStudiesThatRun:
    def test_characteristics_without_size(self, run, results):
        """The universe asks for size; the panel need not hold it. The same stocks as ever are the oracle."""
        predictions = run(characteristics=["bm", "mom_12", "retvol"])().predictions
        assert predictions["expected_return"].is_finite().all()
        whole = results.predictions.filter(pl.col("family") == "ipca")
        key = ["number_of_factors", "month", "asset_id"]
        assert predictions.select(key).equals(whole.select(key))
        assert not predictions["expected_return"].equals(whole["expected_return"])

    def test_a_look_back_longer_than_the_estimation_years(self, run, settings):
        """METHODS, 3: months before the first x are padded on the left."""
        network = settings()["models"]["seqlat"] | {"lookback": 60}
        results = run(models={"seqlat": network}, number_of_factors=[1])()
        assert results.predictions["expected_return"].is_finite().all()
        assert set(results.predictions["month"].dt.year()) == {2004, 2005}
