"""The tables of a study's inference: what is in them, what is absent and why."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from seqpricing_core.evaluation.factor_returns import FactorReturns
from seqpricing_core.evaluation.monthly_scores import compute_monthly_scores
from seqpricing_core.inference.alphas import compute_alphas
from seqpricing_core.inference.deflated_sharpe import deflated_sharpe
from seqpricing_core.inference.diebold_mariano import diebold_mariano
from seqpricing_core.inference.ledoit_wolf import ledoit_wolf
from seqpricing_core.inference.sharpe_difference import jobson_korkie_memmel
from seqpricing_core.inference.study_inference import InferenceSettings, compute_inference
from seqpricing_core.inference.study_series import model_pairs
from seqpricing_core.portfolios import MODEL, STRATEGY

QUICK = InferenceSettings(replications=99)
MODELS = 6
"""IPCA, CAE and SeqLAT with one and two factors; then the oracle."""


@pytest.fixture(scope="module")
def scores(results):
    return compute_monthly_scores(results.predictions, by_size=True)


@pytest.fixture(scope="module")
def factors(small):
    return FactorReturns.from_table(small.tables["factors"])


@pytest.fixture(scope="module")
def tables(results, scores, factors):
    return compute_inference(results.portfolio_returns, scores, factors, QUICK)


def series(results, family, factors, column="return", weights="equal", portfolio="long_short"):
    rows = results.portfolio_returns.filter(
        pl.col("family") == family, pl.col("number_of_factors") == factors,
        pl.col("weights") == weights, pl.col("portfolio") == portfolio,
    )  # fmt: skip
    return rows.sort("month")[column].to_numpy()


def only(table, **values) -> dict:
    (row,) = table.filter(*(pl.col(name) == value for name, value in values.items())).iter_rows(named=True)
    return row


class TestPairs:
    def test_same_k_and_the_oracle_against_all(self):
        models = [("ipca", 1), ("ipca", 2), ("ca2", 1), ("ca2", 2), ("oracle", 3)]
        assert model_pairs(models) == [
            (("ipca", 1), ("ca2", 1)), (("ipca", 1), ("oracle", 3)),
            (("ipca", 2), ("ca2", 2)), (("ipca", 2), ("oracle", 3)),
            (("ca2", 1), ("oracle", 3)), (("ca2", 2), ("oracle", 3)),
        ]  # fmt: skip

    def test_every_portfolio_before_and_after_costs(self, tables):
        pairs = 2 * 3 + MODELS
        assert len(tables.sharpe_tests) == pairs * 2 * 2 * 2
        assert len(tables.forecast_comparison) == pairs
        assert tables.sharpe_tests["months"].unique().to_list() == [24]


class TestValues:
    def test_sharpe_tests(self, tables, results):
        a, b = (series(results, f, 2, "net_return", "value") for f in ("ca2", "ipca"))
        row = only(
            tables.sharpe_tests, family_a="ca2", factors_a=2, family_b="ipca", factors_b=2,
            weights="value", portfolio="long_short", costs="after",
        )  # fmt: skip
        test = jobson_korkie_memmel(a, b, ddof=1)
        assert row["difference"] == pytest.approx(math.sqrt(12) * test.difference)
        assert row["sharpe_a"] - row["sharpe_b"] == pytest.approx(row["difference"])
        assert row["p_value"] == pytest.approx(test.p_value)
        one_sided = jobson_korkie_memmel(a, b, ddof=1, alternative="greater").p_value
        assert row["p_a_better"] == pytest.approx(one_sided)
        assert row["p_ledoit_wolf"] == ledoit_wolf(a, b, replications=99).p_value
        ranks = [np.argsort(np.argsort(x)) for x in (a, b)]
        assert row["rank_correlation"] == pytest.approx(np.corrcoef(*ranks)[0, 1])

    def test_sharpe_ratios_and_intervals_are_those_of_the_performance_table(self, tables, results):
        performance = results.performance.filter(pl.col("family") == "ca2")
        values = {row[:3]: row[3] for row in performance.iter_rows()}
        estimates = tables.intervals.filter(pl.col("family") == "ca2")
        compared = 0
        for family, k, measure, estimate, low, high in estimates.select(
            *MODEL, "measure", "estimate", "low", "high"
        ).iter_rows():
            assert low < estimate < high
            if (family, k, measure) in values:
                assert estimate == pytest.approx(values[family, k, measure])
                compared += 1
        # Of two K: two R2, and Sharpe ratios before and after costs and mean returns of four portfolios.
        assert compared == 2 * (2 + 4 * 3)

    def test_forecast_comparison(self, tables, scores):
        def errors(family):
            rows = scores.filter(
                pl.col("family") == family, pl.col("number_of_factors") == 1, pl.col("size_group") == "all"
            ).sort("month")
            return (rows["squared_error"] / rows["assets"]).to_numpy()

        row = only(tables.forecast_comparison, family_a="ipca", factors_a=1, family_b="seqlat", factors_b=1)
        test = diebold_mariano(errors("ipca"), errors("seqlat"))
        assert (row["difference"], row["p_value"]) == pytest.approx((test.difference, test.p_value))
        assert row["same_assets"]
        assert (row["p_a_better"] < 0.5) == (row["difference"] > 0)

    def test_deflated_sharpe_counts_the_models_without_the_oracle(self, tables, results):
        models = [(f, k) for f in ("ipca", "ca2", "seqlat") for k in (1, 2)]
        returns = {model: series(results, *model) for model in models}
        ratios = [r.mean() / r.std(ddof=1) for r in returns.values()]
        rows = tables.deflated.filter(
            pl.col("weights") == "equal", pl.col("portfolio") == "long_short", pl.col("costs") == "before"
        )
        assert set(rows.select(MODEL).iter_rows()) == set(models)
        row = only(rows, family="ca2", number_of_factors=2)
        expected = deflated_sharpe(returns["ca2", 2], ratios)
        assert row["trials"] == MODELS
        assert row["probability"] == pytest.approx(expected.probability)
        assert row["threshold"] == pytest.approx(math.sqrt(12) * expected.threshold)

    def test_alphas(self, tables, results, factors):
        assert len(tables.alphas) == (MODELS + 1) * 2 * 2 * 2 * 5
        rows = results.portfolio_returns.filter(
            pl.col("family") == "ca2", pl.col("number_of_factors") == 1,
            pl.col("weights") == "equal", pl.col("portfolio") == "long_short",
        )  # fmt: skip
        keys = {"family": "ca2", "number_of_factors": 1, "weights": "equal", "portfolio": "long_short"}
        found = only(tables.alphas, **keys, costs="after", factor_model="CAPM")
        expected = only(compute_alphas(rows, factors, "net_return"), factor_model="CAPM")
        assert found["alpha"] == pytest.approx(expected["alpha"])

    def test_joint_alphas_of_the_quantile_portfolios(self, tables, results, factors):
        """GRS by hand: inverse covariances of residuals and of the market, divisor T."""
        rows = results.portfolio_returns.filter(
            pl.col("family") == "ca2", pl.col("number_of_factors") == 1, pl.col("weights") == "value"
        )
        r = np.column_stack([
            rows.filter(pl.col("portfolio") == f"quantile_{q}").sort("month")["return"] for q in range(1, 6)
        ])  # fmt: skip
        m = rows.select("month").unique().join(factors.table, on="month").sort("month")["market"].to_numpy()
        slopes, alphas = np.polyfit(m, r, 1)
        residuals = r - alphas - np.outer(m, slopes)
        added = alphas @ np.linalg.inv(residuals.T @ residuals / 24) @ alphas
        row = only(
            tables.joint_alphas, family="ca2", number_of_factors=1, weights="value", factor_model="CAPM"
        )
        assert row["statistic"] == pytest.approx((24 - 5 - 1) / 5 * added / (1 + m.mean() ** 2 / m.var()))
        assert (row["portfolios"], row["months"]) == (5, 24)
        absent = tables.joint_alphas.filter(pl.col("factor_model") != "CAPM")
        assert absent["statistic"].null_count() == len(absent) == absent["reason"].count()

    def test_the_confidence_set_holds_the_smallest_error(self, tables):
        table = tables.confidence_set
        assert len(table) == MODELS
        best = table.sort("mean_squared_error").row(0, named=True)
        assert best["included"]
        assert best["p_value"] == 1
        assert best["p_superior_exists"] == table["p_superior_exists"].max()


class TestAdjusted:
    def test_holm_within_the_portfolio_without_the_oracle(self, tables):
        """Holm by hand over the six pairs of estimated models."""
        rows = tables.sharpe_tests.filter(
            pl.col("weights") == "equal", pl.col("portfolio") == "long_only", pl.col("costs") == "before"
        )
        of_oracle = rows.filter(pl.col("family_b") == "oracle")
        assert of_oracle["p_holm"].null_count() == len(of_oracle) == MODELS
        rows = rows.filter(pl.col("family_b") != "oracle").sort("p_value")
        highest, expected = 0.0, []
        for rank, p in enumerate(rows["p_value"]):
            highest = max(highest, min(1.0, (6 - rank) * p))
            expected.append(highest)
        assert rows["p_holm"].to_list() == pytest.approx(expected)


class TestAbsent:
    def test_a_simulated_market_has_the_market_alone(self, tables):
        by_model = tables.alphas.group_by("factor_model").agg(
            pl.col("alpha").null_count().alias("absent"), pl.len(), pl.col("reason").drop_nulls().unique()
        )
        found = {model: (absent, total) for model, absent, total, _ in by_model.iter_rows()}
        assert found["mean"][0] == found["CAPM"][0] == 0
        for model in ("FF3", "FF5", "FF5+MOM"):
            assert found[model][0] == found[model][1]
        reasons = dict(by_model.select("factor_model", "reason").iter_rows())
        assert reasons["FF3"] == ["no factor returns of smb, hml"]

    def test_few_months_give_reasons_not_errors(self, results, scores):
        def first(table):
            return table.filter(pl.col("month") < pl.date(2004, 7, 1))

        tables = compute_inference(first(results.portfolio_returns), first(scores), None, QUICK)
        assert tables.intervals["estimate"].null_count() == len(tables.intervals)
        assert set(tables.intervals["reason"]) == {"6 month(s) are too few"}
        assert set(tables.confidence_set["reason"]) == {"6 month(s) are too few"}
        assert tables.sharpe_tests["p_ledoit_wolf"].null_count() == len(tables.sharpe_tests)
        assert tables.sharpe_tests["p_value"].null_count() == 0
        assert tables.alphas.filter(pl.col("factor_model") == "CAPM")["alpha"].null_count() > 0

    def test_doubled_models_have_no_test_between_them(self, results, scores):
        """A second name for the same model: rows are there, with a reason."""

        def doubled(table):
            twin = table.filter(pl.col("family") == "ca2").with_columns(family=pl.lit("twin"))
            return pl.concat([table, twin])

        tables = compute_inference(doubled(results.portfolio_returns), doubled(scores), None, QUICK)
        same = (pl.col("family_a") == "ca2") & (pl.col("family_b") == "twin")
        assert set(tables.sharpe_tests.filter(same)["reason"]) == {"one series is a multiple of the other"}
        assert tables.forecast_comparison.filter(same)["p_value"].null_count() == 2
        p_values = {row[:2]: row[2] for row in tables.confidence_set.select(*MODEL, "p_value").iter_rows()}
        assert p_values["twin", 1] == p_values["ca2", 1]

    def test_models_are_compared_on_common_months(self, results, scores):
        def short(table):
            return table.filter((pl.col("family") != "ca2") | (pl.col("month").dt.year() == 2004))

        tables = compute_inference(short(results.portfolio_returns), short(scores), None, QUICK)
        assert set(tables.sharpe_tests["months"]) == set(tables.forecast_comparison["months"]) == {12}

    def test_one_model_alone(self, results, scores):
        def alone(table):
            return table.filter(pl.col("family") == "ipca", pl.col("number_of_factors") == 1)

        tables = compute_inference(alone(results.portfolio_returns), alone(scores), None, QUICK)
        assert len(tables.sharpe_tests) == len(tables.forecast_comparison) == 0
        assert tables.confidence_set["reason"].null_count() == 0
        assert set(tables.deflated["trials"]) == {1}
        assert tables.alphas.filter(pl.col("factor_model") == "mean")["alpha"].null_count() == 0


def test_infinite_returns_are_refused(refuses, results, scores, with_value):
    table = with_value(results.portfolio_returns, 5, "net_return", math.inf)
    refuses(lambda: compute_inference(table, scores, None, QUICK), "net_return is inf")


def test_the_order_of_rows_does_not_matter(tables, results, scores, factors):
    def shuffled(table):
        return table.sample(fraction=1.0, shuffle=True, seed=3)

    again = compute_inference(shuffled(results.portfolio_returns), shuffled(scores), factors, QUICK)
    key = [*STRATEGY, "costs", "factor_model"]
    left, right = (t.alphas.sort(key)["t_statistic"].to_numpy() for t in (tables, again))
    np.testing.assert_allclose(left, right)
    key = [*MODEL, "measure"]
    left, right = (t.intervals.sort(key)["high"].to_numpy() for t in (tables, again))
    np.testing.assert_allclose(left, right)


def test_heavy_libraries_wait_until_they_are_needed():
    """Importing the module loads none of them: the web server imports definitions often."""
    code = (
        "import sys, seqpricing_core.inference.study_inference, seqpricing_core.evaluation.performance\n"
        "heavy = ('statsmodels', 'arch', 'linearmodels', 'scipy.stats', 'pandas')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
