"""Benchmarks through the registry: their file, their forecasts, and scores where there are no factors."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re

import numpy as np
import polars as pl
import pytest
import safetensors

from seqpricing_core.evaluation.performance import compute_performance
from seqpricing_core.evaluation.r_squared import compute_r_squared
from seqpricing_core.models.family import FAMILIES, FittedFamily, fit_family
from seqpricing_core.panel.panel import Sample
from seqpricing_core.pipeline import run_study
from seqpricing_core.predictions import predict_managed_portfolios, predict_test_year
from seqpricing_core.report.figures import (
    cumulative_returns_figure,
    quantile_returns_figure,
    r_squared_by_year_figure,
    to_svg,
)
from seqpricing_core.report.page import ReportInputs, render_report
from seqpricing_core.report.tables import Scores
from seqpricing_core.study import load_study
from seqpricing_dagster.checks import predictions_are_finite

FOREST = {"trees": 8, "depth": [2, 3], "features": [20], "minimum_leaf": 10}
NETWORK = {"grid": {"l1": [0.001], "learning_rate": [0.01], "beta_hidden": [[8, 4]]}}
MODELS = {
    "ipca": {},
    "ols": {"portfolios": "averages"},
    "rf": FOREST,
    "ols3_forecast": {"loss": "huber", "huber_quantile": 0.99},
    "rf_forecast": FOREST,
    "nn": NETWORK,
    "nn_forecast": NETWORK,
}
FORECASTERS = ("ols3_forecast", "rf_forecast", "nn_forecast")


@pytest.fixture(scope="module")
def study(make_study):
    return make_study(models=MODELS, training={"seeds": [1, 2], "max_epochs": 4})


@pytest.fixture(scope="module")
def fitted(study, small):
    samples = small.samples(2004)
    return {
        config.family: fit_family(config, study.number_of_factors, samples, study.training)
        for config in study.models
    }


@pytest.fixture(scope="module")
def run(study, tmp_path_factory):
    return run_study(study, tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("family", MODELS)
class TestFile:
    def test_round_trip(self, fitted, small, tmp_path, family):
        """Same bytes, same predictions, to the last bit."""
        path = tmp_path / "fitted.safetensors"
        path.write_bytes(fitted[family].to_bytes())
        restored = FittedFamily.from_files([path])
        assert restored.to_bytes() == path.read_bytes()
        sample = small.test_sample(2004)
        assert predict_test_year(restored, sample).equals(predict_test_year(fitted[family], sample))
        assert restored.months_seen == (np.datetime64("2000-01"), np.datetime64("2003-12"))

    def test_nothing_but_arrays_and_json(self, fitted, tmp_path, family):
        path = tmp_path / "fitted.safetensors"
        path.write_bytes(fitted[family].to_bytes())
        with safetensors.safe_open(path, framework="numpy") as file:
            header = json.loads(file.metadata()["seqpricing"])
            kinds = {file.get_tensor(name).dtype.kind for name in file.keys()}  # noqa: SIM118
        assert kinds <= set("fiub")
        assert header["config"]["family"] == family

    def test_same_seed_same_bytes(self, fitted, study, small, family):
        (config,) = (config for config in study.models if config.family == family)
        again = fit_family(config, study.number_of_factors, small.samples(2004), study.training)
        assert again.to_bytes() == fitted[family].to_bytes()


def test_keys_and_members(fitted):
    """Forecasters have K = 0 alone; forests and networks have one member a seed, least squares one."""
    members = {family: {k: len(m) for k, m in f.models.items()} for family, f in fitted.items()}
    assert members == {
        "ipca": {1: 1, 2: 1}, "ols": {1: 1, 2: 1}, "rf": {1: 2, 2: 2},
        "ols3_forecast": {0: 1}, "rf_forecast": {0: 2}, "nn": {1: 2, 2: 2}, "nn_forecast": {0: 2},
    }  # fmt: skip
    assert [f for f in MODELS if not FAMILIES[f].has_factors] == list(FORECASTERS)


@pytest.mark.parametrize("family", MODELS)
def test_no_forecast_sees_its_month_or_a_later_one(fitted, small, family):
    """Other returns from June on: forecasts up to June are the same, bit for bit."""
    sample = small.test_sample(2004)
    returns, x = sample.panel.excess_return.copy(), sample.managed.x.copy()
    returns[sample.panel.offsets[5] :] = returns[sample.panel.offsets[5] :][::-1] * 2
    x[sample.lookback + 5 :] *= -5
    other = Sample(
        dataclasses.replace(sample.panel, excess_return=returns), dataclasses.replace(sample.managed, x=x)
    )
    one, two = (predict_test_year(fitted[family], s)["expected_return"] for s in (sample, other))
    same = (one == two).to_numpy().reshape(len(fitted[family].models), -1)
    upto = sample.panel.offsets[6]
    assert same[:, :upto].all()
    if family in ("ols", "nn"):
        assert not same[:, upto:].any()
    if family in FORECASTERS:
        assert same.all()


class TestScores:
    def test_forecasters_have_no_fitted_return(self, run):
        forecasts = run.predictions.filter(pl.col("family").is_in(FORECASTERS))
        assert set(forecasts["number_of_factors"]) == {0}
        assert forecasts["fitted_return"].null_count() == len(forecasts) > 0
        assert forecasts["expected_return"].is_finite().all()
        others = run.predictions.filter(~pl.col("family").is_in(FORECASTERS))
        assert others["fitted_return"].null_count() == 0

    def test_no_total_r2_and_no_share_of_it(self, run):
        """Null: neither NaN nor the 1.0 that a sum over nothing would make of it."""
        total = pl.col("measure").str.starts_with("total_r2")
        forecasters = pl.col("family").is_in(FORECASTERS)
        rows = run.performance.filter(total, forecasters)
        assert len(rows) == 6
        assert rows["value"].null_count() == rows["share_of_oracle"].null_count() == 6
        rest = run.performance.filter(~(total & forecasters))
        assert rest["value"].is_finite().all()
        assert rest["value"].null_count() == 0

    def test_predictive_r2_by_hand(self, run):
        rows = run.predictions.filter(family="rf_forecast").drop_nulls("excess_return")
        missed = math.fsum((r - e) ** 2 for r, e in rows.select("excess_return", "expected_return").rows())
        total = math.fsum(r**2 for r in rows["excess_return"])
        value = run.performance.filter(family="rf_forecast", measure="predictive_r2_stocks")["value"].item()
        assert value == pytest.approx(1 - missed / total, abs=1e-12)

    def test_managed_portfolios(self, run, small):
        """Forecasts carried to x_t as numpy's least squares carries them; fitted stays null."""
        of_year = run.predictions.filter(pl.col("month").dt.year() == 2004, pl.col("family") != "oracle")
        projected = predict_managed_portfolios(of_year, small.panels[2004], constant=True)
        panel = small.panels[2004].with_returns()
        forecasts = projected.filter(family="rf_forecast")
        assert forecasts["fitted_return"].null_count() == len(forecasts) == 12 * 41
        rows = panel.rows(3)
        z = np.column_stack([panel.characteristics[rows].astype(float), np.ones(rows.stop - rows.start)])
        stocks = of_year.filter(pl.col("month").dt.month() == 4, family="rf_forecast")
        stocks = stocks.drop_nulls("excess_return")["expected_return"].to_numpy()
        ours = forecasts.filter(pl.col("month").dt.month() == 4)["expected_return"].to_numpy()
        np.testing.assert_allclose(ours, np.linalg.lstsq(z, stocks)[0], atol=1e-9)
        assert projected.filter(family="rf")["fitted_return"].is_finite().all()

    def test_a_missing_prediction_is_no_perfect_one(self):
        """R2 over the rows that have both, in numerator and denominator: 1 - 0.05^2 / 0.1^2."""
        table = pl.DataFrame({
            "family": ["a", "a", "b", "b"], "excess_return": [0.1, 0.2, 0.1, None],
            "expected_return": [0.05, None, 0.1, None], "fitted_return": [0.0, 0.0, None, None],
        }, schema_overrides={"fitted_return": pl.Float64})  # fmt: skip
        rows = compute_r_squared(table, ["family"]).rows()
        assert rows == [("a", 0.0, pytest.approx(0.75)), ("b", None, 1.0)]

    def test_performance_without_the_others_is_the_same(self, run, small, study):
        """A study of forecasters alone."""
        only = run.predictions.filter(pl.col("family").is_in(FORECASTERS))
        managed = pl.concat(
            predict_managed_portfolios(
                only.filter(pl.col("month").dt.year() == year), small.panels[year], constant=True
            )
            for year in (2004, 2005)
        )
        returns = run.portfolio_returns.filter(pl.col("family").is_in(FORECASTERS))
        alone = compute_performance(only, managed, returns)
        both = run.performance.filter(pl.col("family").is_in(FORECASTERS))
        keys = ["family", "measure"]
        assert alone.sort(keys).drop("share_of_oracle").equals(both.sort(keys).drop("share_of_oracle"))


class TestCheck:
    @pytest.mark.parametrize("column", ["expected_return", "fitted_return"])
    @pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
    @pytest.mark.parametrize("family", ["rf", "rf_forecast"])
    def test_catches_what_is_not_finite(self, run, with_value, family, column, value):
        table = run.predictions.filter(family=family)
        assert predictions_are_finite(table)
        allowed = family == "rf_forecast" and column == "fitted_return" and value is None
        assert predictions_are_finite(with_value(table, 3, column, value)) is allowed

    def test_a_forecaster_that_explains_is_caught(self, run, with_value):
        table = run.predictions.filter(family="ols3_forecast")
        assert not predictions_are_finite(with_value(table, 3, "fitted_return", 0.01))


def inputs(run, small, families) -> ReportInputs:
    performance, returns, predictions = (
        table.filter(pl.col("family").is_in(families))
        for table in (run.performance, run.portfolio_returns, run.predictions)
    )
    by_year = compute_r_squared(
        predictions.with_columns(year=pl.col("month").dt.year()), ["family", "number_of_factors", "year"]
    )
    managed = small.managed_portfolios(2000, 2005)
    return ReportInputs(performance, returns, by_year, managed, {})


def without_scripts(html: str) -> str:
    return re.sub(r"<script[^>]*>.*?</script>", "", html, flags=re.DOTALL)


class TestReport:
    def test_a_column_of_their_own(self, run, small, study):
        every = inputs(run, small, [*MODELS, "oracle"])
        html = without_scripts(render_report(study, every).html)
        assert html.index("K = –") < html.index("K = 1</th>")
        assert "K = 0" not in html
        assert "None" not in html
        assert "forecasts without factors" in html
        scores = Scores(study, every.performance)
        assert scores.factors == (0, 1, 2)
        total, predictive = (
            {row.labels: [cell.text for cell in row.cells] for row in table.blocks[0].rows}
            for table in (
                scores.table(m, "", [("", (("stocks", "r"),))], "") for m in _measures()
            )
        )  # fmt: skip
        assert total["RF forecast", "r"] == ["–", "–", "–"]
        assert total["OLS", "r"][0] == "–" != total["OLS", "r"][1]
        assert predictive["RF forecast", "r"][0] != "–"
        assert predictive["RF forecast", "r"][1:] == ["–", "–"]

    def test_in_every_figure(self, run, small):
        """Whatever K is drawn: a forecaster has none, so it is never absent."""
        every = inputs(run, small, list(MODELS))
        for figure in (
            cumulative_returns_figure(every.portfolio_returns, 2),
            quantile_returns_figure(every.portfolio_returns, 2),
            r_squared_by_year_figure(every.r2_by_year, 2),
        ):
            svg = to_svg(figure)
            assert all(FAMILIES[family].title in svg for family in MODELS)

    def test_without_an_oracle_or_any_factor(self, run, small, make_study):
        """The page of a study whose models are all forecasters."""
        study = make_study(models={f: MODELS[f] for f in FORECASTERS})
        only = inputs(run, small, list(FORECASTERS))
        assert Scores(study, only.performance).factors == (0,)
        html = without_scripts(render_report(study, only).html)
        assert "K = –" in html
        assert "K = 1" not in html
        assert "K = 0" not in html
        assert "forecast without factors has the highest predictive" in html
        assert "no model has a total R² of stocks that is a number" in html


def _measures():
    from seqpricing_core.report.tables import PREDICTIVE_R2, TOTAL_R2

    return TOTAL_R2, PREDICTIVE_R2


class TestStudyFile:
    @pytest.mark.parametrize("family", ["ols", "ols3_forecast"])
    def test_characteristics_the_panel_lacks(self, tmp_path, settings, refuses, family):
        import yaml

        file = tmp_path / "own.yaml"
        content = settings(characteristics=["mvel1", "mom_12", "turn"], models={family: {}})
        file.write_text(yaml.safe_dump(content))
        refuses(lambda: load_study(file), "own.yaml", family, "'bm'")
        content = copy.deepcopy(content)
        content["models"][family] = {"characteristics": ["mvel1", "mom_12", "turn"]}
        file.write_text(yaml.safe_dump(content))
        assert load_study(file).models[0].characteristics == ("mvel1", "mom_12", "turn")

    @pytest.mark.parametrize(
        ("options", "mention"),
        [
            ({"characteristics": ["mvel1", "bm", "mom12"]}, "did you mean 'mom_12'?"),
            ({"characteristics": ["mvel1", "bm", "bm"]}, "that differ"),
            ({"characteristics": ["mvel1", "bm"]}, "characteristics"),
            ({"portfolios": "x"}, "portfolios"),
        ],
    )
    def test_bad_options(self, tmp_path, settings, refuses, options, mention):
        import yaml

        file = tmp_path / "own.yaml"
        file.write_text(yaml.safe_dump(settings(models={"ols": options})))
        refuses(lambda: load_study(file), "own.yaml", mention)

    @pytest.mark.parametrize("option", [{"depth": []}, {"depth": [0]}, {"share_of_rows": 1.0}, {"trees": 0}])
    def test_bad_forests(self, tmp_path, settings, refuses, option):
        import yaml

        file = tmp_path / "own.yaml"
        file.write_text(yaml.safe_dump(settings(models={"rf": option})))
        refuses(lambda: load_study(file), "own.yaml", next(iter(option)))
