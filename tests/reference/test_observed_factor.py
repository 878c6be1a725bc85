"""Principal components and least squares on them: against scikit-learn, numpy and statsmodels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.decomposition import PCA, TruncatedSVD

from seqpricing_core.errors import InputError
from seqpricing_core.models.configs import OLS
from seqpricing_core.models.factor_model import expected_returns
from seqpricing_core.models.observed_factor import fit
from seqpricing_core.models.principal_factors import principal_factors
from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.study import Training
from seqpricing_core.windows import Window, split_estimation

CONFIG = OLS(characteristics=("c2", "c0", "c1"))
COLUMNS = [2, 0, 1]
WINDOW = Window((2000, 2002), (2003, 2003), 2004)


def fit_one(samples, factors, config=CONFIG):
    (fitted,) = fit(config, [factors], samples, Training())[factors]
    return fitted


def samples_of(panel, *, constant=True):
    return split_estimation(WINDOW, panel, compute_managed_portfolios(panel, constant=constant))


def changed(arrays, *, drop=None, **columns) -> Panel:
    """The panel with columns replaced, or without the rows ``drop``."""
    panel = dataclasses.replace(arrays.panel, **columns)
    if drop is None:
        return panel
    keep = ~drop
    return dataclasses.replace(
        panel,
        offsets=np.concatenate([[0], np.cumsum(keep)])[panel.offsets],
        **{
            name: getattr(panel, name)[keep]
            for name in ("asset_id", "characteristics", "excess_return", "market_equity")
        },
    )


def stacked(panel, fitted):
    """One row per stock-month with a return: (c2, c0, c1, 1) kron f_t, by plain loops, and r."""
    design, returns = [], []
    for t, f in enumerate(fitted.history.factors):
        for row in range(panel.offsets[t], panel.offsets[t + 1]):
            if np.isnan(panel.excess_return[row]):
                continue
            w = [*panel.characteristics[row, COLUMNS].astype(float), 1.0]
            design.append([a * b for a in w for b in f])
            returns.append(panel.excess_return[row])
    return np.array(design), np.array(returns)


class TestPrincipalFactors:
    @pytest.mark.parametrize("portfolios", ["slopes", "averages"])
    def test_against_scikit_learn(self, make_arrays, portfolios):
        """Undemeaned components are those of the sample and its mirror image, whose mean is zero."""
        managed = make_arrays(seed=1).samples.train.managed
        x = managed.x if portfolios == "slopes" else managed.cross / managed.stocks[:, None]
        ours = principal_factors(managed, 3, portfolios)
        package = PCA(n_components=3).fit(np.vstack([x, -x]))
        np.testing.assert_allclose(np.abs(package.components_ @ ours.weights), np.eye(3), atol=1e-10)
        svd = TruncatedSVD(n_components=3, algorithm="arpack").fit(x)
        np.testing.assert_allclose(np.abs(svd.transform(x)), np.abs(ours.over(managed)), atol=1e-10)
        assert (ours.over(managed).mean(axis=0) > 0).all()

    @pytest.mark.parametrize("constant", [True, False])
    @pytest.mark.parametrize("portfolios", ["slopes", "averages"])
    def test_a_month_is_a_row_of_all_months(self, make_arrays, portfolios, constant):
        """Also where stocks have left: they count in neither."""
        arrays = make_arrays(seed=2)
        returns = arrays.panel.excess_return.copy()
        returns[::7] = np.nan
        sample = samples_of(changed(arrays, excess_return=returns), constant=constant).train
        principal = principal_factors(sample.managed, 2, portfolios)
        for t in (0, 5, 35):
            np.testing.assert_allclose(
                principal.of_month(sample.known(t), sample.outcome(t)),
                principal.over(sample.managed)[t],
                rtol=1e-12, atol=1e-15,
            )  # fmt: skip

    def test_weights_know_training_months_only(self, make_arrays):
        """Other returns in the validation year: same weights, and same factors before it."""
        arrays = make_arrays(seed=3)
        returns = arrays.panel.excess_return.copy()
        returns[arrays.panel.offsets[36] :] *= -3
        one, two = fit_one(arrays.samples, 2), fit_one(samples_of(changed(arrays, excess_return=returns)), 2)
        np.testing.assert_array_equal(one.model.principal.weights, two.model.principal.weights)
        np.testing.assert_array_equal(one.history.factors[:36], two.history.factors[:36])
        assert (one.history.factors[36:] != two.history.factors[36:]).all()

    def test_components_are_nested(self, make_arrays):
        fits = fit(CONFIG, [1, 3], make_arrays(seed=4).samples, Training())
        weights = {k: members[0].model.principal.weights for k, members in fits.items()}
        np.testing.assert_array_equal(weights[1][:, 0], weights[3][:, 0])

    def test_more_than_the_rank(self, make_arrays):
        """A constant characteristic says what the constant says: five portfolios have rank four."""
        arrays = make_arrays(seed=5)
        z = arrays.panel.characteristics.copy()
        z[:, 3] = 0.5
        samples = samples_of(changed(arrays, characteristics=z))
        assert fit_one(samples, 4).history.factors.shape == (48, 4)
        with pytest.raises(InputError, match=r"5 principal components.*rank 4(.|\n)*2000-01 .. 2002-12"):
            fit_one(samples, 5)


@pytest.mark.parametrize("balanced", [True, False], ids=["balanced", "unbalanced"])
@pytest.mark.parametrize("factors", [1, 3])
class TestLeastSquares:
    def test_against_numpy_and_statsmodels(self, make_arrays, factors, balanced):
        """On the whole design at once, training and validation months."""
        arrays = make_arrays(seed=factors, balanced=balanced)
        fitted = fit_one(arrays.samples, factors)
        design, returns = stacked(arrays.panel, fitted)
        numpy = np.linalg.lstsq(design, returns)[0]
        np.testing.assert_allclose(fitted.model.coefficients.ravel(), numpy, rtol=1e-9, atol=1e-12)
        package = sm.OLS(returns, design).fit()
        np.testing.assert_allclose(fitted.model.coefficients.ravel(), package.params, rtol=1e-9, atol=1e-12)

    def test_returns_given_factors_are_the_fitted_values(self, make_arrays, factors, balanced):
        arrays = make_arrays(seed=factors, balanced=balanced)
        fitted = fit_one(arrays.samples, factors)
        design, returns = stacked(arrays.panel, fitted)
        values = sm.OLS(returns, design).fit().fittedvalues
        for sample, start in ((arrays.samples.train, 0), (arrays.samples.validation, 36)):
            for t in range(len(sample)):
                f = fitted.model.latent_factors(sample.known(t), sample.outcome(t))
                np.testing.assert_allclose(f, fitted.history.factors[start + t], rtol=1e-12, atol=1e-16)
                rows = arrays.panel.rows(start + t)
                ours = fitted.model.returns_given(sample.known(t), f)
                np.testing.assert_allclose(ours, values[rows], atol=1e-12)


class TestEdges:
    def test_a_constant_characteristic(self, make_arrays):
        """Collinear with the constant: coefficients are not unique, fitted values are numpy's."""
        arrays = make_arrays(seed=6)
        z = arrays.panel.characteristics.copy()
        z[:, 1] = 0.25
        panel = changed(arrays, characteristics=z)
        fitted = fit_one(samples_of(panel), 2)
        design, returns = stacked(panel, fitted)
        numpy = design @ np.linalg.lstsq(design, returns)[0]
        np.testing.assert_allclose(design @ fitted.model.coefficients.ravel(), numpy, atol=1e-9)
        assert np.abs(fitted.model.coefficients).max() < 10

    @pytest.mark.parametrize("left", [1, 2], ids=["one stock", "fewer stocks than characteristics"])
    def test_a_thin_month(self, make_arrays, left):
        arrays = make_arrays(seed=7)
        drop = np.zeros(len(arrays.panel), dtype=bool)
        drop[arrays.panel.rows(5)] = True
        drop[arrays.panel.rows(5).start : arrays.panel.rows(5).start + left] = False
        panel = changed(arrays, drop=drop)
        fitted = fit_one(samples_of(panel), 2, CONFIG.model_copy(update={"portfolios": "averages"}))
        design, returns = stacked(panel, fitted)
        assert len(design) == 47 * 30 + left
        numpy = np.linalg.lstsq(design, returns)[0]
        np.testing.assert_allclose(fitted.model.coefficients.ravel(), numpy, rtol=1e-8, atol=1e-11)

    def test_stocks_that_left_are_left_out(self, make_arrays):
        arrays = make_arrays(seed=8)
        returns = arrays.panel.excess_return.copy()
        returns[3::11] = np.nan
        panel = changed(arrays, excess_return=returns)
        fitted = fit_one(samples_of(panel), 2)
        numpy = np.linalg.lstsq(*stacked(panel, fitted))[0]
        np.testing.assert_allclose(fitted.model.coefficients.ravel(), numpy, rtol=1e-9, atol=1e-12)


def test_expected_returns_use_the_mean_of_earlier_factors(make_arrays):
    arrays = make_arrays(seed=9)
    fitted = fit_one(arrays.samples, 2)
    known = dataclasses.replace(arrays.samples.validation.known(11), month=np.datetime64("2004-01", "M"))
    mean = fitted.history.factors.mean(axis=0)
    np.testing.assert_allclose(
        expected_returns(fitted.model, known, fitted.history),
        fitted.model.factor_loadings(known) @ mean, rtol=1e-12,
    )  # fmt: skip


@pytest.mark.parametrize("portfolios", ["slopes", "averages"])
def test_least_squares_finds_a_truth_that_is_linear_in_its_characteristics(make_arrays, portfolios):
    """Two true factors, loadings linear in the three characteristics: errors shrink as stocks grow."""
    config = OLS(characteristics=("c0", "c1", "c2"), portfolios=portfolios)
    shares = []
    for stocks in (30, 300):
        noisy, silent = (
            make_arrays(seed=21, stocks=stocks, width=3, factors=2, noise=noise) for noise in (0.05, 0.0)
        )
        fitted = fit_one(noisy.samples, 2, config)
        sample, missed, total = noisy.samples.validation, 0.0, 0.0
        for t in range(len(sample)):
            f = fitted.model.latent_factors(sample.known(t), sample.outcome(t))
            true = silent.r[36 + t]
            missed += np.sum((fitted.model.returns_given(sample.known(t), f) - true) ** 2)
            total += np.sum(true**2)
        shares.append(missed / total)
    assert shares[1] < 0.02
    assert shares[1] < shares[0] / 4
