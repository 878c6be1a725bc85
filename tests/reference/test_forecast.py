"""OLS-3 against statsmodels; its Huber version against scipy's minimiser and statsmodels' RLM."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize

from seqpricing_core.models.configs import OLS3Forecast, RandomForestForecast
from seqpricing_core.models.factor_model import FittedForecaster
from seqpricing_core.models.forecast import fit, huber_regression
from seqpricing_core.study import Training

NAMES = ("c3", "c0", "c1")


def stacked(arrays):
    z = arrays.panel.characteristics.astype(float)
    return np.column_stack([z[:, [3, 0, 1]], np.ones(len(z))]), arrays.panel.excess_return


def test_least_squares_with_an_intercept(make_arrays):
    """K plays no part: one key, and no factor."""
    arrays = make_arrays(seed=1, balanced=False)
    fits = fit(OLS3Forecast(characteristics=NAMES), [1, 2, 3], arrays.samples, Training())
    assert set(fits) == {0}
    (fitted,) = fits[0]
    assert isinstance(fitted, FittedForecaster)
    w, returns = stacked(arrays)
    package = sm.OLS(returns, w).fit()
    np.testing.assert_allclose(fitted.model.coefficients, package.params, rtol=1e-9, atol=1e-13)
    known = arrays.samples.validation.known(3)
    rows = arrays.panel.rows(39)
    np.testing.assert_allclose(fitted.model.expected_returns(known), package.fittedvalues[rows], atol=1e-13)
    assert fitted.months_seen == (np.datetime64("2000-01"), np.datetime64("2003-12"))


class TestHuber:
    @pytest.fixture(scope="class")
    def heavy(self, make_arrays):
        """Student-t errors with two degrees of freedom: quantiles that bite."""
        arrays = make_arrays(seed=2)
        w, returns = stacked(arrays)
        return w, returns + 0.05 * np.random.default_rng(3).standard_t(2, size=len(returns))

    @pytest.mark.parametrize("quantile", [0.8, 0.95, 0.999])
    def test_against_the_minimiser_of_its_loss(self, heavy, quantile):
        w, returns = heavy
        start = np.linalg.lstsq(w, returns)[0]
        ours, details = huber_regression(w, returns, start, quantile)
        xi = np.quantile(np.abs(returns - w @ start), quantile)

        def loss(b):
            e = np.abs(returns - w @ b)
            return np.where(e <= xi, e**2, 2 * xi * e - xi**2).sum()

        theirs = minimize(loss, start, method="BFGS", options={"gtol": 1e-9})
        np.testing.assert_allclose(ours, theirs.x, atol=2e-6)
        assert loss(ours) <= theirs.fun * (1 + 1e-12) < loss(start)
        assert details["converged"]
        assert details["huber_threshold"] == pytest.approx(xi)

    def test_against_statsmodels(self, heavy):
        """Its scale held at the first one, and the threshold expressed in it."""
        w, returns = heavy
        start = np.linalg.lstsq(w, returns)[0]
        ours, details = huber_regression(w, returns, start, 0.9)
        scale = sm.robust.mad(returns - w @ start, center=0)
        norm = sm.robust.norms.HuberT(t=details["huber_threshold"] / scale)
        package = sm.RLM(returns, w, M=norm).fit(update_scale=False, tol=1e-12, maxiter=500)
        np.testing.assert_allclose(ours, package.params, atol=1e-8)

    def test_an_exact_fit_needs_no_weights(self):
        w = np.column_stack([np.arange(5.0), np.ones(5)])
        ours, details = huber_regression(w, w @ [0.5, 1.0], np.array([0.5, 1.0]), 0.9)
        np.testing.assert_allclose(ours, [0.5, 1.0], atol=1e-12)
        assert details["converged"]

    def test_in_a_family(self, make_arrays):
        arrays = make_arrays(seed=4)
        config = OLS3Forecast(characteristics=NAMES, loss="huber", huber_quantile=0.9)
        ((fitted,),) = fit(config, [1], arrays.samples, Training()).values()
        w, returns = stacked(arrays)
        start = np.linalg.lstsq(w, returns)[0]
        np.testing.assert_allclose(
            fitted.model.coefficients, huber_regression(w, returns, start, 0.9)[0], atol=1e-9
        )
        assert fitted.record["converged"]
        assert np.abs(fitted.model.coefficients - start).max() > 1e-5


def test_a_forest_sees_all_characteristics_and_no_factor(make_arrays):
    arrays = make_arrays(seed=5, stocks=60)
    config = RandomForestForecast(trees=10, depth=(3,), features=(2,))
    members = fit(config, [1, 2], arrays.samples, Training(seeds=(1, 2)))[0]
    assert len(members) == 2
    known = arrays.samples.validation.known(0)
    forecast = members[0].model.expected_returns(known)
    assert forecast.shape == (60,)
    assert len(np.unique(forecast)) > 5
    assert members[0].months_seen == (np.datetime64("2000-01"), np.datetime64("2003-12"))
