"""IPCA against the `ipca` package of Kelly, Pruitt and Su's co-authors, and against first principles.

Factors are identified up to a rotation only, so what is compared is what does not rotate: fitted
returns, and the subspace that Gamma spans.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import statsmodels.api as sm
from ipca import InstrumentedPCA
from scipy.linalg import subspace_angles

from seqpricing_core.models.configs import IPCA
from seqpricing_core.models.ipca import estimate_factors, fit_ipca
from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
from seqpricing_core.panel.panel import Panel, Sample
from seqpricing_core.windows import Window, WindowSamples

EXACT = IPCA(tolerance=1e-11, max_iterations=20_000)


def package_fit(arrays, factors, *, constant):
    """Gamma and fitted returns of the package, which is told about the constant by a column of ones."""
    z = np.concatenate(arrays.z).astype(np.float64)
    if constant:
        z = np.column_stack([z, np.ones(len(z))])
    month = np.repeat(np.arange(len(arrays.z)), [len(rows) for rows in arrays.z])
    indices = np.column_stack([np.concatenate(arrays.asset_id), month])
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        model = InstrumentedPCA(n_factors=factors, intercept=False, iter_tol=1e-11, max_iter=20_000)
        model = model.fit(X=z, y=np.concatenate(arrays.r), indices=indices.copy(), data_type="portfolio")
        gamma, f = model.get_factors()
    return gamma, np.einsum("nq,qk,nk->n", z, gamma, f.T[month])


def our_fit(arrays, factors, config=EXACT):
    """The fitted model and its fitted returns, through the objects that a study uses."""
    fitted = fit_ipca(config, factors, arrays.samples)
    returns = []
    for sample in (arrays.samples.train, arrays.samples.validation):
        for t in range(len(sample)):
            known, outcome = sample.known(t), sample.outcome(t)
            returns.append(fitted.model.factor_loadings(known) @ fitted.model.latent_factors(known, outcome))
    return fitted, np.concatenate(returns)


@pytest.mark.parametrize("balanced", [True, False], ids=["balanced", "unbalanced"])
@pytest.mark.parametrize("constant", [True, False], ids=["constant", "no constant"])
@pytest.mark.parametrize("factors", [1, 2, 3])
class TestAgainstThePackage:
    def test_same_subspace_and_fitted_returns(self, make_arrays, factors, constant, balanced):
        arrays = make_arrays(seed=factors, balanced=balanced, constant=constant)
        gamma, returns = package_fit(arrays, factors, constant=constant)
        fitted, ours = our_fit(arrays, factors)
        assert fitted.record["converged"]
        assert fitted.model.gamma.shape == gamma.shape == (4 + constant, factors)
        assert subspace_angles(fitted.model.gamma, gamma).max() < 1e-6
        np.testing.assert_allclose(ours, returns, atol=1e-7)

    def test_training_and_validation_months_both_count(self, make_arrays, factors, constant, balanced):
        """A fit on the training years alone is another one: the comparison above would see it."""
        arrays = make_arrays(seed=factors, balanced=balanced, constant=constant)
        cut = type(arrays)(
            arrays.z[:36], arrays.r[:36], arrays.asset_id[:36], arrays.panel, arrays.managed, arrays.samples
        )
        gamma, _ = package_fit(cut, factors, constant=constant)
        fitted, _ = our_fit(arrays, factors)
        assert subspace_angles(fitted.model.gamma, gamma).max() > 1e-3


class TestFirstPrinciples:
    @pytest.fixture(scope="class")
    def arrays(self, make_arrays):
        return make_arrays(seed=7, balanced=False, stocks=40)

    def test_factors_are_cross_sectional_regressions(self, arrays):
        """Statsmodels' OLS of the month's returns on Z Gamma, no intercept."""
        fitted, _ = our_fit(arrays, 3)
        for t in (0, 11):
            sample = arrays.samples.validation
            known, outcome = sample.known(t), sample.outcome(t)
            z = np.column_stack([arrays.z[36 + t].astype(float), np.ones(len(arrays.z[36 + t]))])
            ols = sm.OLS(arrays.r[36 + t], z @ fitted.model.gamma).fit()
            np.testing.assert_allclose(fitted.model.latent_factors(known, outcome), ols.params, atol=1e-12)
            np.testing.assert_allclose(fitted.history.factors[36 + t], ols.params, atol=1e-12)
            np.testing.assert_allclose(
                estimate_factors(fitted.model.gamma, arrays.managed)[36 + t], ols.params, atol=1e-10
            )

    def test_normalisation(self, arrays):
        """Gamma'Gamma = I, factors uncorrelated about zero with descending size, means positive."""
        fitted, _ = our_fit(arrays, 3)
        f, gamma = fitted.history.factors, fitted.model.gamma
        np.testing.assert_allclose(gamma.T @ gamma, np.eye(3), atol=1e-10)
        second = f.T @ f
        np.testing.assert_allclose(second - np.diag(np.diag(second)), 0, atol=1e-8)
        assert (np.diff(np.diag(second)) < 0).all()
        assert (f.mean(axis=0) > 0).all()

    def test_no_nearby_gamma_fits_better(self, arrays):
        """The sum of squared residuals, by stock-month, at 40 random perturbations of Gamma."""
        fitted, returns = our_fit(arrays, 2)
        r, random = np.concatenate(arrays.r), np.random.default_rng(0)
        best = np.sum((r - returns) ** 2)
        for _ in range(40):
            gamma = fitted.model.gamma + 0.01 * random.normal(size=fitted.model.gamma.shape)
            total = 0.0
            for z, outcome in zip(arrays.z, arrays.r, strict=True):
                loadings = np.column_stack([z.astype(float), np.ones(len(z))]) @ gamma
                total += np.sum((outcome - loadings @ np.linalg.lstsq(loadings, outcome, rcond=None)[0]) ** 2)
            assert total > best

    def test_true_subspace_without_noise(self, make_arrays):
        """Returns that are exactly Z Gamma f are fitted exactly."""
        arrays = make_arrays(seed=3, noise=0.0)
        _, returns = our_fit(arrays, 3)
        np.testing.assert_allclose(returns, np.concatenate(arrays.r), atol=1e-6)

    def test_a_constant_characteristic_takes_no_weight(self, arrays):
        """Z'Z is singular: a column that is always zero changes no fitted return and gets no loading."""
        from dataclasses import replace

        from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
        from seqpricing_core.windows import split_estimation

        wide = replace(
            arrays.panel,
            characteristic_names=(*arrays.panel.characteristic_names, "nothing"),
            characteristics=np.column_stack(
                [arrays.panel.characteristics, np.zeros(len(arrays.panel), dtype=np.float32)]
            ),
        )
        managed = compute_managed_portfolios(wide)
        assert (managed.condition_number > 1e12).all()
        other = replace(arrays, samples=split_estimation(arrays.samples.window, wide, managed))
        fitted, returns = our_fit(other, 2)
        _, expected = our_fit(arrays, 2)
        np.testing.assert_allclose(returns, expected, atol=1e-6)
        np.testing.assert_allclose(fitted.model.gamma[4], 0, atol=1e-10)

    def test_too_many_factors(self, arrays):
        with pytest.raises(ValueError, match=r"K must not exceed .* \(5\). Got 6"):
            fit_ipca(IPCA(), 6, arrays.samples)

    def test_says_when_it_did_not_converge(self, arrays):
        record = fit_ipca(IPCA(max_iterations=2, tolerance=1e-12), 3, arrays.samples).record
        assert record["iterations"] == 2
        assert not record["converged"]


class TestGrunfeld:
    """Grunfeld's investment data (11 firms, 1935-1954) on value and capital, the package's own example."""

    @staticmethod
    def samples(data):
        """Years stand for months; training and validation are the same ones, and the fit sees them once."""
        data = data.sort_values(["year", "firm"])
        months = np.datetime64("2000-01", "M") + np.arange(data["year"].nunique())
        panel = Panel(
            characteristic_names=("value", "capital"),
            months=months,
            offsets=np.concatenate([[0], data.groupby("year").size().cumsum()]).astype(np.int64),
            asset_id=data["firm"].astype("category").cat.codes.to_numpy(np.int64),
            characteristics=data[["value", "capital"]].to_numpy(np.float32),
            excess_return=data["invest"].to_numpy(),
            market_equity=np.ones(len(data)),
        )
        sample = Sample(panel, compute_managed_portfolios(panel, constant=False))
        return WindowSamples(Window((2000, 2000), (2001, 2001), 2002), sample, sample)

    @pytest.fixture(scope="class")
    def data(self):
        return sm.datasets.grunfeld.load_pandas().data

    def test_published_r_squared(self, data):
        """K = 1, no intercept: the package's scores, whose denominator is demeaned, unlike that of our R2.

        To 1e-6: they were obtained at the package's default tolerance.
        """
        samples = self.samples(data)
        sample = samples.train
        fitted = fit_ipca(EXACT, 1, samples)
        outcomes, explained, expected = [], [], []
        for t in range(len(sample)):
            loadings = fitted.model.factor_loadings(sample.known(t))
            outcomes.append(sample.outcome(t).excess_return)
            explained.append(loadings @ fitted.history.factors[t])
            expected.append(loadings @ fitted.history.factors.mean(axis=0))
        r = np.concatenate(outcomes)
        for fit, published in ((explained, 0.8599454948), (expected, 0.7523088719)):
            r2 = 1 - np.sum((r - np.concatenate(fit)) ** 2) / np.sum((r - r.mean()) ** 2)
            assert r2 == pytest.approx(published, abs=1e-6)

    def test_unbalanced(self, data):
        """A third of the firm-years gone: the package's Gamma and factors, up to the sign."""
        kept = data.sample(frac=0.67, random_state=3)
        kept = kept[kept.groupby("year")["firm"].transform("size") > 1].sort_values(["year", "firm"])
        fitted = fit_ipca(EXACT, 1, self.samples(kept))
        codes = [kept[name].astype("category").cat.codes for name in ("firm", "year")]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            model = InstrumentedPCA(n_factors=1, intercept=False, iter_tol=1e-11, max_iter=20_000)
            model = model.fit(
                X=kept[["value", "capital"]].to_numpy(), y=kept["invest"].to_numpy(),
                indices=np.column_stack(codes), data_type="panel",
            )  # fmt: skip
            gamma, f = model.get_factors()
        sign = np.sign(gamma[0, 0] * fitted.model.gamma[0, 0])
        np.testing.assert_allclose(fitted.model.gamma * sign, gamma, atol=1e-6)
        np.testing.assert_allclose(fitted.history.factors[:, 0] * sign, f[0], rtol=1e-5)
