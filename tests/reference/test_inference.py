"""Tests of returns and forecasts against published numbers, other packages, closed forms and slow loops."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.stats
import statsmodels.api as sm
from linearmodels.asset_pricing import TradedFactorModel
from linearmodels.datasets import french
from statsmodels.stats.multitest import multipletests

from seqpricing_core.evaluation.factor_returns import FactorReturns
from seqpricing_core.inference.alphas import FACTOR_MODELS, compute_alphas
from seqpricing_core.inference.confidence_set import model_confidence_set, superior_predictive_ability
from seqpricing_core.inference.deflated_sharpe import (
    deflated_sharpe,
    expected_maximum_sharpe,
    probabilistic_sharpe,
)
from seqpricing_core.inference.diebold_mariano import diebold_mariano
from seqpricing_core.inference.fama_macbeth import estimate_fama_macbeth
from seqpricing_core.inference.grs import gibbons_ross_shanken
from seqpricing_core.inference.intervals import (
    MEAN,
    R_SQUARED,
    SHARPE,
    _kernel,
    bootstrap_interval,
    optimal_block,
    resampled_months,
)
from seqpricing_core.inference.ledoit_wolf import ledoit_wolf
from seqpricing_core.inference.multiple_testing import METHODS, add_adjusted_p_values, adjust_p_values
from seqpricing_core.inference.newey_west import newey_west_lags, newey_west_regression
from seqpricing_core.inference.sharpe_difference import jobson_korkie_memmel
from seqpricing_core.inference.squared_sharpe import nested_squared_sharpe, squared_sharpe_difference


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    """Monthly US returns 1949-2017 that come with linearmodels."""
    return french.load()


def excess(data, columns):
    return data[columns].sub(data["RF"], axis=0).to_numpy()


SIZE_VALUE = ["S1V1", "S1V3", "S1V5", "S3V1", "S3V3", "S3V5", "S5V1", "S5V3", "S5V5"]
SIZE_MOMENTUM = [name.replace("V", "M") for name in SIZE_VALUE]
INDUSTRIES = [
    "NoDur", "Durbl", "Manuf", "Enrgy", "Chems", "BusEq", "Telcm", "Utils", "Shops", "Hlth", "Money", "Other"
]  # fmt: skip


def bartlett_error(x, residuals, lags):
    """Newey and West's covariance by its formula: (X'X)^-1 (sum_l w_l sum_t u_t u_t-l' ...) (X'X)^-1."""
    u = x * residuals[:, None]
    middle = np.zeros((x.shape[1], x.shape[1]))
    for lag in range(lags + 1):
        for t in range(lag, len(u)):
            product = np.outer(u[t], u[t - lag]) * (1 - lag / (lags + 1))
            middle += product if lag == 0 else product + product.T
    bread = np.linalg.inv(x.T @ x)
    return np.sqrt(np.diag(bread @ middle @ bread))


class TestJobsonKorkieMemmel:
    def test_published_number(self):
        """The t statistic of a widely used reference implementation for this draw, with ddof 0."""
        state = np.random.RandomState(1)
        a, b = state.multivariate_normal((1, 1), ((1, 0.5), (0.5, 1)), 100).T
        test = jobson_korkie_memmel(a, b)
        assert test.statistic == pytest.approx(0.9820495880707653, abs=1e-12)
        assert test.p_value == pytest.approx(2 * scipy.stats.norm.sf(0.9820495880707653))
        student = jobson_korkie_memmel(a, b, distribution="t", alternative="greater")
        assert student.p_value == pytest.approx(scipy.stats.t.sf(0.9820495880707653, 99))

    def test_sampling_variance_by_simulation(self):
        """Of 4,000 pairs of normal series, z around the true difference has mean 0 and variance 1."""
        random = np.random.default_rng(0)
        months, mean = 240, np.array([0.3, 0.1])
        draws = random.multivariate_normal(mean, [[1, 0.6], [0.6, 1]], size=(4000, months))
        z = np.array([
            (t.difference - 0.2) * t.statistic / t.difference
            for t in (jobson_korkie_memmel(*pair.T) for pair in draws)
        ])  # fmt: skip
        assert z.mean() == pytest.approx(0, abs=0.06)
        assert z.std() == pytest.approx(1, abs=0.04)

    def test_sides(self):
        a, b = np.random.default_rng(3).normal(0.01, 0.05, (2, 60))
        p = {
            side: jobson_korkie_memmel(a, b, alternative=side).p_value
            for side in ("greater", "less", "two-sided")
        }
        assert p["greater"] + p["less"] == pytest.approx(1)
        assert p["two-sided"] == pytest.approx(2 * min(p["greater"], p["less"]))

    def test_a_multiple_of_itself_is_no_test(self):
        a = np.random.default_rng(3).normal(0.01, 0.05, 60)
        assert math.isnan(jobson_korkie_memmel(a, 2 * a).statistic)
        assert math.isnan(ledoit_wolf(a, 2 * a).p_value)


class TestLedoitWolf:
    def test_resamples_against_a_slow_loop(self):
        """Section 3.2.2 written out, one resample after the other, on the same draws of blocks."""
        random = np.random.default_rng(5)
        a = random.standard_t(5, 61) * 0.04 + 0.008
        b = 0.5 * a + random.standard_t(5, 61) * 0.03
        length, replications = 4, 200
        test = ledoit_wolf(a, b, block_length=length, replications=replications, seed=7)

        def ratio(x):
            return x.mean() / x.std()

        blocks = len(a) // length
        first = np.random.default_rng(7).integers(len(a), size=(replications, blocks))
        beyond = 0
        for starts in first:
            rows = np.concatenate([(start + np.arange(length)) % len(a) for start in starts])
            x, y = a[rows], b[rows]
            means = np.array([x.mean(), y.mean(), (x**2).mean(), (y**2).mean()])
            va, vb = means[2] - means[0] ** 2, means[3] - means[1] ** 2
            gradient = np.array(
                [means[2] / va**1.5, -means[3] / vb**1.5, -means[0] / (2 * va**1.5), means[1] / (2 * vb**1.5)]
            )
            centred = np.column_stack([x, y, x**2, y**2]) - means
            psi = np.zeros((4, 4))
            for j in range(blocks):
                zeta = centred[j * length : (j + 1) * length].sum(axis=0) / math.sqrt(length)
                psi += np.outer(zeta, zeta) / blocks
            error = math.sqrt(gradient @ psi @ gradient / len(rows))
            beyond += abs(ratio(x) - ratio(y) - test.difference) / error >= abs(test.statistic)
        assert test.difference == pytest.approx(ratio(a) - ratio(b))
        assert test.p_value == pytest.approx((beyond + 1) / (replications + 1))

    def test_the_error_of_long_normal_series_is_memmels(self):
        """Normal and independent months: both estimate the same standard error."""
        draws = np.random.default_rng(2).multivariate_normal([0.3, 0.2], [[1, 0.5], [0.5, 1]], 20_000).T
        kernel, closed = ledoit_wolf(*draws, replications=99), jobson_korkie_memmel(*draws)
        assert kernel.statistic == pytest.approx(closed.statistic, rel=0.05)

    def test_size_under_dependence(self):
        """Equal ratios, autocorrelation .3, 500 worlds of 120 months: about 5% are rejected at 5%."""
        random, rejected = np.random.default_rng(11), 0
        for seed in range(500):
            shocks = random.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 140)
            x = np.zeros_like(shocks)
            for t in range(1, 140):
                x[t] = 0.3 * x[t - 1] + shocks[t]
            x = x[20:] + 0.2
            rejected += ledoit_wolf(*x.T, replications=199, seed=seed).p_value <= 0.05
        assert 0.025 <= rejected / 500 <= 0.085


class TestNeweyWest:
    def test_lag_rule(self):
        assert [newey_west_lags(months) for months in (60, 100, 120, 300, 600)] == [3, 4, 4, 5, 5]

    def test_against_the_formula(self, data):
        y = data["S1V5"].to_numpy()[:150]
        x = data[["MktRF", "SMB"]].to_numpy()[:150]
        fit = newey_west_regression(y, x)
        design = np.column_stack([np.ones(150), x])
        slopes = np.linalg.lstsq(design, y)[0]
        errors = bartlett_error(design, y - design @ slopes, 4)
        assert [c.estimate for c in fit.coefficients] == pytest.approx(slopes)
        assert [c.standard_error for c in fit.coefficients] == pytest.approx(errors)
        assert fit.lags == 4


class TestAlphas:
    def factors(self, data, columns):
        table = pl.from_pandas(data[["dates", *columns]]).rename({"dates": "date"})
        return FactorReturns.from_table(table.with_columns(pl.col("date").cast(pl.Date)))

    def test_against_linearmodels(self, data):
        """TradedFactorModel's alpha and kernel error (its divisor is T too) of size-value portfolio S1V5."""
        columns = ["MktRF", "SMB", "HML"]
        factors = self.factors(data, columns)
        r = excess(data, ["S1V5"])[:, 0]
        table = factors.table.select("month").with_columns(pl.Series("return", r))
        row = compute_alphas(table, factors, lags=6).row(2, named=True)
        fit = TradedFactorModel(r[:, None], data[columns]).fit(
            cov_type="kernel", kernel="bartlett", bandwidth=6, debiased=False
        )
        assert row["factor_model"] == "FF3"
        assert row["alpha"] == pytest.approx(fit.alphas.iloc[0])
        assert row["market_beta"] == pytest.approx(fit.params.iloc[0, 1])
        assert row["standard_error"] == pytest.approx(fit.std_errors.iloc[0, 0], rel=5e-3)

    def test_what_the_factors_lack_is_absent_with_its_reason(self, data):
        factors = self.factors(data, ["MktRF"])
        r = excess(data, ["S1V5"])[:, 0]
        table = compute_alphas(factors.table.select("month").with_columns(pl.Series("return", r)), factors)
        assert table["factor_model"].to_list() == list(FACTOR_MODELS)
        assert table["alpha"].is_null().to_list() == [False, False, True, True, True]
        assert table["reason"].to_list()[2:4] == [
            "no factor returns of smb, hml", "no factor returns of smb, hml, rmw, cma",
        ]  # fmt: skip

    def test_months_without_a_factor_are_left_out(self, data):
        factors = self.factors(data, ["MktRF", "SMB", "HML"])
        gap = FactorReturns(factors.table.with_columns(
            pl.when(pl.int_range(pl.len()) >= 100).then("hml").alias("hml")
        ))  # fmt: skip
        r = factors.table.select("month").with_columns(pl.Series("return", excess(data, ["S1V5"])[:, 0]))
        table = compute_alphas(r, gap)
        assert table["months"].to_list()[:3] == [len(r), len(r), len(r) - 100]
        assert table.row(2) == compute_alphas(r[100:], factors).row(2)

    def test_a_factor_has_no_alpha_on_itself(self, data):
        factors = self.factors(data, ["MktRF"])
        table = compute_alphas(factors.table.select("month", pl.col("market").alias("return")), factors)
        assert table["alpha"].is_null().to_list()[:2] == [False, True]
        assert table["reason"][1] == "the factors explain every month exactly"

    def test_no_common_month(self, data):
        factors = self.factors(data, ["MktRF"])
        returns = pl.DataFrame({"month": [dt.date(2030, 1, 31)], "return": [0.1]})
        assert compute_alphas(returns, factors)["reason"][1] == "0 months with returns and factors"


class TestGibbonsRossShanken:
    @pytest.mark.parametrize(
        ("assets", "statistic"),
        [(SIZE_VALUE, 5.754111936), (INDUSTRIES, 5.183005880), (SIZE_MOMENTUM, 12.705639708)],
    )
    def test_three_factors_on_french_data(self, data, assets, statistic):
        test = gibbons_ross_shanken(excess(data, assets), data[["MktRF", "SMB", "HML"]])
        assert test.statistic == pytest.approx(statistic, abs=1e-8)
        if assets == SIZE_VALUE:
            assert test.p_value == pytest.approx(9.021e-8, rel=1e-3)

    def test_one_asset_is_the_squared_t_of_its_alpha(self, data):
        """With one asset, F is the square of least squares' t (statsmodels, unadjusted)."""
        r, f = excess(data, ["S1V1"]), data[["MktRF", "SMB", "HML"]].to_numpy()
        fit = sm.OLS(r[:, 0], sm.add_constant(f)).fit()
        test = gibbons_ross_shanken(r, f)
        assert test.statistic == pytest.approx(fit.tvalues[0] ** 2)
        assert test.p_value == pytest.approx(fit.pvalues[0])
        assert test.alphas == pytest.approx(fit.params[:1])


class TestSquaredSharpe:
    def test_nested_is_the_difference_of_squared_ratios(self, data):
        """*deepchar*, appendix C as printed, with its divisors: T-D-1 for residuals, T for factors."""
        f, g = data[["HML", "Mom"]].to_numpy(), data[["MktRF", "SMB"]].to_numpy()
        months, p, d = len(f), 2, 2
        both = np.column_stack([f, g])

        def squared(x):
            return x.mean(axis=0) @ np.linalg.inv(np.cov(x.T, ddof=0)) @ x.mean(axis=0)

        test = nested_squared_sharpe(f, g)
        added = squared(both) - squared(g)
        assert test.squared_sharpe_all - test.squared_sharpe_factors == pytest.approx(added)
        unbiased = added * (months - d - 1) / months
        printed = months / p * (months - p - d) / (months - d - 1) * unbiased / (1 + squared(g))
        assert test.statistic == pytest.approx(printed)
        assert test.p_value == pytest.approx(scipy.stats.f.sf(printed, p, months - p - d))

    def test_the_error_against_a_numerical_delta_method(self, data):
        """Moments and their sample covariance, gradient by differences: none of the formula for d_t."""
        columns = data[["MktRF", "HML", "Mom"]].to_numpy()
        months = len(columns)
        index = [(i, j) for i in range(3) for j in range(i, 3)]
        moments = np.column_stack([columns, *(columns[:, i] * columns[:, j] for i, j in index)])

        def difference(means):
            second = np.zeros((3, 3))
            for (i, j), value in zip(index, means[3:], strict=True):
                second[i, j] = second[j, i] = value
            covariance = second - np.outer(means[:3], means[:3])

            def squared(which):
                mean = means[which]
                return mean @ np.linalg.solve(covariance[np.ix_(which, which)], mean)

            return squared([0, 1]) - squared([0, 2])

        means = moments.mean(axis=0)
        steps = 1e-6 * moments.std(axis=0)
        gradient = np.array([
            (difference(means + step * unit) - difference(means - step * unit)) / (2 * step)
            for step, unit in zip(steps, np.eye(len(means)), strict=True)
        ])  # fmt: skip
        error = math.sqrt(gradient @ np.cov(moments.T, ddof=0) @ gradient / months)
        test = squared_sharpe_difference(columns[:, [0, 1]], columns[:, [0, 2]])
        assert test.difference == pytest.approx(difference(means))
        assert test.standard_error == pytest.approx(error, rel=1e-5)
        assert test.p_value == pytest.approx(2 * scipy.stats.norm.sf(abs(test.difference / error)), rel=1e-4)


class TestFamaMacBeth:
    def test_against_a_loop_of_regressions(self):
        """Numpy's least squares month by month; Newey-West of the slopes by its formula."""
        random = np.random.default_rng(8)
        months = pl.date_range(dt.date(2000, 1, 1), dt.date(2003, 12, 1), "1mo", eager=True).dt.month_end()
        frames, slopes = [], []
        for month in months:
            n = int(random.integers(20, 40))
            x = random.normal(size=(n, 2))
            y = 0.01 + x @ [0.02, -0.01] + random.normal(0, 0.1, n)
            frames.append(
                pl.DataFrame({"month": month, "asset_id": np.arange(n), "r": y, "a": x[:, 0], "b": x[:, 1]})
            )
            slopes.append(np.linalg.lstsq(np.column_stack([np.ones(n), x]), y)[0])
        table = estimate_fama_macbeth(pl.concat(frames), "r", ["a", "b"], lags=3)
        slopes = np.array(slopes)
        assert table["coefficient"].to_list() == ["intercept", "a", "b"]
        assert table["estimate"].to_list() == pytest.approx(slopes.mean(axis=0))
        one = np.ones((48, 1))
        errors = [bartlett_error(one, s - s.mean(), 3)[0] for s in slopes.T]
        assert table["standard_error"].to_list() == pytest.approx(errors)
        assert table["months"].to_list() == [48] * 3


class TestDieboldMariano:
    def test_against_the_formula(self):
        random = np.random.default_rng(6)
        a = 0.01 + 0.002 * random.random(120)
        b = a + 0.0003 * random.standard_normal(120) + 0.0001
        test = diebold_mariano(a, b)
        d = b - a
        error = bartlett_error(np.ones((120, 1)), d - d.mean(), 4)[0]
        assert (test.difference, test.statistic) == pytest.approx((d.mean(), d.mean() / error))
        assert test.p_value == pytest.approx(2 * scipy.stats.norm.sf(abs(d.mean() / error)))

    def test_equal_forecasts(self):
        a = np.random.default_rng(6).random(30)
        test = diebold_mariano(a, a)
        assert test.difference == 0
        assert math.isnan(test.statistic)


class TestConfidenceSet:
    @pytest.mark.parametrize("gap", [0.0, 0.1, 0.2, 0.3])
    def test_two_models_are_a_two_sided_t_test(self, gap):
        """Independent months: the range statistic of two models is |t|, its bootstrap near normal."""
        losses = np.random.default_rng(1).standard_normal((200, 2)) + np.array([1.0, 1.0 + gap])
        d = losses[:, 1] - losses[:, 0]
        p = 2 * scipy.stats.norm.sf(abs(d.mean() / d.std() * math.sqrt(200)))
        table = model_confidence_set(losses, ["a", "b"], replications=2000, block_length=1)
        assert table["p_value"].min() == pytest.approx(p, abs=0.03)
        assert table["p_value"].max() == 1
        worse = table["mean_loss"].arg_max()
        assert table["p_value"][worse] == table["p_value"].min()

    def test_it_holds_the_best_model(self):
        """Three models, the first the best, 300 worlds: in the 90% set at least about nine times in ten."""
        random, held = np.random.default_rng(2), 0
        for seed in range(300):
            losses = random.standard_normal((80, 3)) + np.array([0.0, 0.05, 0.4])
            held += model_confidence_set(losses, "abc", replications=150, block_length=1, seed=seed)[
                "included"
            ][0]
        assert held / 300 >= 0.87

    def test_doubles_share_their_p_value(self):
        losses = np.random.default_rng(1).standard_normal((100, 3))
        table = model_confidence_set(losses[:, [0, 1, 0, 2]], "abcd")
        assert table["p_value"][0] == table["p_value"][2]
        assert model_confidence_set(losses[:, [0, 0]], "ab")["included"].all()

    @pytest.mark.parametrize("gap", [-0.2, -0.1, 0.0, 0.1])
    def test_superior_ability_of_one_model_is_a_one_sided_t_test(self, gap):
        """With a single rival the studentised maximum is t, where that is above zero."""
        random = np.random.default_rng(4)
        benchmark, rival = random.standard_normal(300), random.standard_normal(300) + gap
        d = benchmark - rival
        p = scipy.stats.norm.sf(d.mean() / d.std() * math.sqrt(300))
        found = superior_predictive_ability(benchmark, rival, replications=2000, block_length=1)
        assert found.lower <= found.consistent <= found.upper
        if p < 0.5:
            assert found.upper == pytest.approx(p, abs=0.03)
        else:
            assert found.upper > 0.4


class TestDeflatedSharpe:
    def test_published_example(self):
        """Bailey and Lopez de Prado (2014): annual ratio 2.5 over five years of days, skewness -3, kurtosis
        10, 100 trials with annual variance 1/2: threshold .1132 a day, probability .9004; .9505 with 46
        trials; and .9505 with 88 trials were returns normal.
        """
        sharpe = 2.5 / math.sqrt(250)
        threshold = {n: expected_maximum_sharpe(0.5 / 250, n) for n in (46, 88, 100)}
        assert threshold[100] == pytest.approx(0.1132, abs=5e-5)
        assert probabilistic_sharpe(sharpe, threshold[100], 1250, -3, 10) == pytest.approx(0.9004, abs=5e-5)
        assert probabilistic_sharpe(sharpe, threshold[46], 1250, -3, 10) == pytest.approx(0.9505, abs=5e-5)
        assert probabilistic_sharpe(sharpe, threshold[88], 1250, 0, 3) == pytest.approx(0.9505, abs=5e-5)

    def test_expected_maximum_by_simulation(self):
        highest = np.random.default_rng(0).standard_normal((20_000, 60)).max(axis=1)
        assert expected_maximum_sharpe(1.0, 60) == pytest.approx(highest.mean(), rel=0.02)

    def test_one_trial_needs_to_beat_zero(self):
        r = np.random.default_rng(0).normal(0.01, 0.05, 120)
        found = deflated_sharpe(r, [r.mean() / r.std(ddof=1)])
        assert (found.threshold, found.trials) == (0, 1)
        assert found.probability == pytest.approx(
            scipy.stats.norm.cdf(found.sharpe * math.sqrt(119) / math.sqrt(
                1 - scipy.stats.skew(r) * found.sharpe
                + (scipy.stats.kurtosis(r, fisher=False) - 1) / 4 * found.sharpe**2))
        )  # fmt: skip


class TestIntervals:
    def test_the_standard_error_is_that_of_resampled_means(self):
        """Lemma 1 of Politis and Romano against the spread of 20,000 means of arch's own resamples."""
        x = np.cumsum(np.random.default_rng(0).standard_normal(60)) * 0.01
        means = x[resampled_months(60, 5, 20_000, 1)].mean(axis=1)
        centred = x - x.mean()
        assert math.sqrt(centred @ _kernel(60, 5) @ centred) / 60 == pytest.approx(means.std(), rel=0.02)

    def test_independent_months_have_the_textbook_error(self):
        x = np.random.default_rng(0).standard_normal(100)
        found = bootstrap_interval(MEAN, x, block_length=1)
        assert found.standard_error == pytest.approx(x.std() / 10)

    def test_student_t_and_lo_for_normal_months(self):
        """A mean's interval is near Student's; a ratio's error near Lo's (2002) sqrt((1 + SR^2/2)/T)."""
        x = np.random.default_rng(7).standard_normal(400) + 0.2
        mean = bootstrap_interval(MEAN, x, block_length=1, replications=9999)
        low, high = scipy.stats.t.interval(0.95, 399, x.mean(), x.std(ddof=1) / 20)
        assert (mean.low, mean.high) == pytest.approx((low, high), abs=0.01)
        sharpe = bootstrap_interval(SHARPE, x, block_length=1)
        ratio = x.mean() / x.std()
        assert sharpe.estimate == pytest.approx(ratio)
        assert sharpe.standard_error == pytest.approx(math.sqrt((1 + ratio**2 / 2) / 400), rel=0.05)

    @pytest.mark.parametrize("statistic", [MEAN, SHARPE, R_SQUARED])
    def test_gradients_by_differences(self, statistic):
        means = np.array([0.02, 0.05]) if statistic is not MEAN else np.array([0.02])
        steps = 1e-6 * np.eye(len(means))
        numeric = [(statistic.value(means + s) - statistic.value(means - s)) / 2e-6 for s in steps]
        assert statistic.gradient(means) == pytest.approx(np.array(numeric), rel=1e-6)

    def test_percentiles_against_a_loop(self):
        x = np.random.default_rng(3).normal(0.01, 0.05, 48)
        found = bootstrap_interval(SHARPE, x, method="percentile", block_length=3, replications=199, seed=5)
        ratios = [x[rows].mean() / x[rows].std() for rows in resampled_months(48, 3, 199, 5)]
        ordered = sorted(ratios)
        # The 5th and the 195th of 199: (199 + 1) times 2.5% and 97.5%.
        assert (found.low, found.high) == pytest.approx((ordered[4], ordered[194]))

    def test_blocks_grow_with_dependence(self):
        random = np.random.default_rng(0)
        noise = random.standard_normal(600)
        dependent = np.convolve(noise, 0.9 ** np.arange(60))[:600]
        assert optimal_block(noise) < optimal_block(dependent) <= 150


class TestMultipleTesting:
    @pytest.mark.parametrize(("ours", "theirs"), zip(METHODS, ("holm", "fdr_bh", "fdr_by"), strict=True))
    def test_against_statsmodels(self, ours, theirs):
        p = np.random.default_rng(0).random(40) ** 3
        p[3] = p[7]
        assert adjust_p_values(p, ours) == pytest.approx(multipletests(p, method=theirs)[1])

    def test_groups_are_families_of_their_own_and_missing_tests_are_none(self):
        table = pl.DataFrame(
            {"g": ["a", "b", "a", "b", "a"], "p_value": [0.01, 0.04, 0.03, None, float("nan")]}
        )
        found = add_adjusted_p_values(table, ["g"])
        assert found["p_holm"].to_list() == pytest.approx([0.02, 0.04, 0.03, None, None])
