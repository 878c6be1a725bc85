"""Next month's signal is the forecast that the next month will find, and knows nothing of that month."""

from __future__ import annotations

import datetime as dt
import io
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest

from seqpricing_core.models.configs import IPCA
from seqpricing_core.models.factor_model import FittedForecaster
from seqpricing_core.models.family import FittedFamily, fit_family
from seqpricing_core.panel.panel import Sample
from seqpricing_core.pipeline import StudyData, estimation_samples, prepare_data, run_signal
from seqpricing_core.predictions import predict_test_year
from seqpricing_core.signal import known_at_end, next_month_signal, signal_csv
from seqpricing_core.sources.public_files import asset_id_of, ticker_of
from seqpricing_core.study import Study

ENDS = ["2004-12", "2005-01", "2005-06", "2005-11"]
"""The first has no month of the signal's year yet, the second one."""
MODELS = {"ipca": {}}


def last_day(month: str) -> dt.date:
    return (np.datetime64(month, "M") + 1).astype("datetime64[D]").astype(dt.date) - dt.timedelta(days=1)


def until(tables: dict[str, pl.DataFrame], end: str) -> dict[str, pl.DataFrame]:
    """The files as they lay there at the end of this month."""
    day = last_day(end)
    return {
        "stock_months": tables["stock_months"].filter(pl.col("month") <= day),
        "statements": tables["statements"].filter(pl.col("available_from") <= day),
        "factors": tables["factors"].filter(pl.col("month") <= day),
    }


def with_another_future(tables: dict[str, pl.DataFrame], end: str) -> dict[str, pl.DataFrame]:
    """Every number after this month is another."""
    random, day, changed = np.random.default_rng(0), last_day(end), {}
    for name, date in (("stock_months", "month"), ("statements", "available_from"), ("factors", "month")):
        table = tables[name]
        floats = [column for column, dtype in table.schema.items() if dtype == pl.Float64]
        changed[name] = table.with_columns(
            pl.when(pl.col(date) > day)
            .then(pl.col(column) * pl.Series(random.uniform(0.3, 0.9, len(table))))
            .otherwise(pl.col(column))
            .alias(column)
            for column in floats
        )
    return changed


@dataclass(frozen=True)
class World:
    """Data that end, data that go on, and one model file."""

    study: Study
    data: StudyData
    longer_study: Study
    longer: StudyData
    fitted: FittedFamily

    @property
    def signal(self) -> pl.DataFrame:
        newest = self.study.sample.last_year
        managed = self.data.managed_portfolios(newest - 1, newest)
        return next_month_signal(
            self.study, [self.fitted], self.data.panels[newest], managed, self.data.characteristics[newest]
        )

    @property
    def test(self) -> Sample:
        """The test year of the signal's month, once it has happened."""
        year = self.study.signal_year
        first = year - self.longer_study.lookback_years
        return Sample(self.longer.panels[year], self.longer.managed_portfolios(first, year))


@pytest.fixture(scope="module")
def whole(small, make_study, write_tables, tmp_path_factory) -> tuple[Study, StudyData]:
    study = make_study(models=MODELS, source=write_tables(tmp_path_factory.mktemp("whole"), small.tables))
    return study, prepare_data(study, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module", params=ENDS)
def world(request, small, whole, make_study, write_tables, tmp_path_factory) -> World:
    study = make_study(
        models=MODELS,
        source=write_tables(tmp_path_factory.mktemp("cut"), until(small.tables, request.param)),
        sample={"first_month": "2000-01", "last_month": request.param},
    )
    longer_study, longer = whole
    samples = estimation_samples(longer_study, longer, study.signal_year)
    file = tmp_path_factory.mktemp("models") / "2005.safetensors"
    file.write_bytes(fit_family(IPCA(), (1, 2), samples, longer_study.training).to_bytes())
    data = prepare_data(study, tmp_path_factory.mktemp("run"))
    return World(study, data, longer_study, longer, FittedFamily.from_files([file]))


def in_signal_month(study: Study) -> pl.Expr:
    return pl.col("month") == last_day(study.signal_month)


class TestBitForBit:
    def test_equals_the_forecast_of_the_longer_data(self, world):
        """The ordinary path of the test year, once the month has happened: same stocks, same 64 bits."""
        later = predict_test_year(world.fitted, world.test).filter(in_signal_month(world.study))
        keys = ["number_of_factors", "asset_id"]
        signal, later = world.signal.sort(keys), later.sort(keys)
        assert len(signal) > 100
        assert signal.select(*keys, "month").equals(later.select(*keys, "month"))
        bits = [table["expected_return"].to_numpy().view(np.int64) for table in (signal, later)]
        np.testing.assert_array_equal(*bits)

    def test_the_model_of_the_shorter_data_is_the_same_file(self, world):
        samples = estimation_samples(world.study, world.data, world.study.signal_year)
        again = fit_family(IPCA(), (1, 2), samples, world.study.training)
        assert again.to_bytes() == world.fitted.to_bytes()

    def test_what_a_sequence_model_would_see_is_the_same_too(self, small, world):
        """All that is known, with x_t of a look-back of twelve months, though IPCA reads none of it."""
        year, newest = world.study.signal_year, world.study.sample.last_year
        managed = world.data.managed_portfolios(newest - 1, newest).between(year - 1, year)
        known = known_at_end(world.study, world.data.characteristics[newest], managed.x)
        test = Sample(world.longer.panels[year], world.longer.managed_portfolios(year - 1, year))
        t = int(world.study.signal_month[5:]) - 1
        later = test.known(t)
        assert known.month == later.month
        for name in ("asset_id", "characteristics", "market_equity", "past_managed_portfolios"):
            ours, theirs = getattr(known, name), getattr(later, name)
            assert ours.dtype == theirs.dtype
            assert ours.shape == theirs.shape
            assert ours.tobytes() == theirs.tobytes(), name
        assert len(known.past_managed_portfolios) == 12 + t


@pytest.mark.parametrize("end", ["2004-12", "2005-06"])
def test_another_future_changes_nothing(small, make_study, write_tables, tmp_path_factory, end):
    """From raw files: those that end, those that go on, and those that go on otherwise."""
    sample = {"first_month": "2000-01", "last_month": end}
    signals = []
    other = with_another_future(small.tables, end)
    for name, column in (("stock_months", "ret"), ("factors", "risk_free"), ("statements", "assets")):
        assert (other[name][column] != small.tables[name][column]).sum() >= 6
    for tables in (until(small.tables, end), small.tables, other):
        source = write_tables(tmp_path_factory.mktemp("raw"), {**small.tables, **tables})
        study = make_study(models=MODELS, source=source, sample=sample)
        signals.append(run_signal(study, tmp_path_factory.mktemp("run")))
    assert signals[0].equals(signals[1])
    assert signals[0].equals(signals[2])
    # And it is the newest month that decides: another end, another signal.
    assert signals[0]["month"].unique().to_list() == [last_day(study.signal_month)]


class TestWeights:
    def test_by_hand(self, world):
        """Plain loops over the stocks of one model."""
        signal = world.signal
        panel = world.longer.panels[world.study.signal_year]
        rows = panel.rows(int(world.study.signal_month[5:]) - 1)
        equity = dict(zip(panel.asset_id[rows].tolist(), panel.market_equity[rows].tolist(), strict=True))
        for k in (1, 2):
            table = list(signal.filter(number_of_factors=k).iter_rows(named=True))
            ascending = sorted(table, key=lambda row: (row["expected_return"], row["asset_id"]))
            assert table == ascending[::-1]
            count = len(table)
            for place, row in enumerate(ascending):
                assert row["quantile"] == place * 5 // count + 1
            for q, sign in ((1, -1), (5, 1)):
                leg = [row for row in table if row["quantile"] == q]
                total = sum(equity[row["asset_id"]] for row in leg)
                for row in leg:
                    assert row["weight_equal"] == pytest.approx(sign / len(leg))
                    assert row["weight_value"] == pytest.approx(sign * equity[row["asset_id"]] / total)
            assert {row["weight_equal"] for row in table if 1 < row["quantile"] < 5} == {0.0}
            assert {row["weight_value"] for row in table if 1 < row["quantile"] < 5} == {0.0}

    def test_a_stock_without_market_equity_has_no_value_weight(self, world):
        newest = world.study.sample.last_year
        first = world.signal.filter(number_of_factors=1).row(0, named=True)
        unknown = pl.when(pl.col("asset_id") != first["asset_id"]).then(pl.col("market_equity"))
        characteristics = world.data.characteristics[newest].with_columns(unknown.alias("market_equity"))
        changed = replace(world, data=replace(world.data, characteristics={newest: characteristics})).signal
        row = changed.filter(number_of_factors=1).row(0, named=True)
        assert row["asset_id"] == first["asset_id"]
        assert row["weight_value"] == 0.0
        assert row["weight_equal"] == first["weight_equal"]
        legs = changed.group_by("number_of_factors", "quantile").agg(pl.col("weight_value").sum())
        assert legs.filter(quantile=5)["weight_value"].to_list() == pytest.approx([1.0, 1.0])
        assert legs.filter(quantile=1)["weight_value"].to_list() == pytest.approx([-1.0, -1.0])


@dataclass(frozen=True)
class Forecaster:
    slope: float

    def expected_returns(self, known):
        return self.slope * known.characteristics[:, 0].astype(float)

    def state(self):
        return {}


def test_forecasters_and_ensembles(world):
    """K = 0; the mean of the members' forecasts."""
    months = np.array([np.datetime64("2001-01", "M")])
    members = tuple(FittedForecaster(Forecaster(slope), months, {}) for slope in (0.01, 0.03))
    signal = replace(world, fitted=replace(world.fitted, models={0: members})).signal
    known = known_at_end(
        world.study, world.data.characteristics[world.study.sample.last_year], np.empty((0, 1))
    )
    by_asset = dict(zip(known.asset_id.tolist(), known.characteristics[:, 0].tolist(), strict=True))
    assert signal["number_of_factors"].unique().to_list() == [0]
    for row in signal.iter_rows(named=True):
        assert row["expected_return"] == pytest.approx(0.02 * by_asset[row["asset_id"]])


def test_the_csv_file_reads_back(world):
    signal = world.signal
    text = signal_csv(signal, world.study).decode()
    assert text.splitlines()[0] == (
        "family,number_of_factors,month,asset_id,expected_return,quantile,weight_equal,weight_value"
    )
    back = pl.read_csv(io.StringIO(text), try_parse_dates=True)
    assert back["month"].to_list() == signal["month"].to_list()
    assert back["asset_id"].to_list() == signal["asset_id"].to_list()
    for column in ("expected_return", "weight_equal", "weight_value"):
        np.testing.assert_allclose(back[column], signal[column], atol=5e-9)


def test_the_csv_file_of_public_files_names_tickers(public_source, make_study):
    """Ids of that source are tickers read as numbers; a person gets the ticker."""
    source = public_source().source
    study = make_study(models=MODELS, source=source.model_dump())
    ids = [asset_id_of(ticker) for ticker in ("BRK-B", "T01")]
    signal = pl.DataFrame({"family": "ipca", "asset_id": ids, "expected_return": [0.01, -0.0000000001]})
    lines = signal_csv(signal, study).decode().splitlines()
    assert lines[0] == "family,ticker,asset_id,expected_return"
    assert [line.split(",")[1:] for line in lines[1:]] == [
        [ticker_of(ids[0]), str(ids[0]), "0.01000000"], ["T01", str(ids[1]), "-0.00000000"],
    ]  # fmt: skip
    assert signal.columns == ["family", "asset_id", "expected_return"]


class TestBadInput:
    def test_models_of_another_window(self, world, refuses):
        other = replace(world.fitted, window=replace(world.fitted.window, test_year=2004))
        refuses(lambda: replace(world, fitted=other).signal, "models of ipca", "test year 2004",
                f"before {world.study.signal_year}")  # fmt: skip

    def test_the_newest_month_is_not_there(self, world, refuses):
        newest = world.study.sample.last_year
        managed = world.data.managed[newest].between(2000, 2001)
        args = (world.data.panels[newest], managed, world.data.characteristics[newest])
        refuses(lambda: next_month_signal(world.study, [world.fitted], *args),
                "managed portfolios end with no month", world.study.signal_month)  # fmt: skip

    def test_no_characteristics_of_the_newest_month(self, world, refuses):
        newest = world.study.sample.last_year
        old = {newest: world.data.characteristics[newest].filter(pl.col("month") < last_day("2004-12"))}
        refuses(lambda: replace(world, data=replace(world.data, characteristics=old)).signal,
                "no stock can be ranked")  # fmt: skip
