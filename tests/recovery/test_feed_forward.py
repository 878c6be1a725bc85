"""Markets that are not linear in characteristics: networks find what least squares cannot.

    with factors:  r_it = (1.5 z_1 z_2 + z_3) f_t + u_it
    forecasts:     r_it = 0.03 z_1 z_2 + 0.01 z_3 + u_it

200 stocks, six years of training, two of validation, two fresh years; u has a volatility of 5%. Of what is
not noise in the fresh years the networks explained, over two seeds, 0.85 and 0.92 given factors, 0.95 and
0.96 as forecasts; least squares 0.55 and 0.57, 0.24 and 0.25.
"""

from __future__ import annotations

import numpy as np
import pytest

from seqpricing_core.models.configs import NN, OLS, NNForecast, OLS3Forecast
from seqpricing_core.models.family import fit_family
from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
from seqpricing_core.panel.panel import Panel, Sample
from seqpricing_core.study import Training
from seqpricing_core.windows import Window, split_estimation

pytestmark = pytest.mark.slow

GRID = {"l1": [0.001], "learning_rate": [0.01], "beta_hidden": [(16, 8)]}
TRAINING = Training(max_epochs=60, patience=10, batch_months=6)
NAMES = ("a", "b", "c")


def market(seed, truth):
    """Panel of 2000-2009 and the part of every return that is not noise; ``truth`` of z and f_t."""
    random = np.random.default_rng(seed)
    months = np.arange("2000-01", "2010-01", dtype="datetime64[M]")
    z = [random.uniform(-1, 1, size=(200, 3)) for _ in months]
    signal = [truth(ranks, 0.01 + 0.05 * random.normal()) for ranks in z]
    panel = Panel(
        characteristic_names=NAMES,
        months=months,
        offsets=200 * np.arange(len(months) + 1),
        asset_id=np.tile(np.arange(200), len(months)),
        characteristics=np.concatenate(z).astype(np.float32),
        excess_return=np.concatenate(signal) + 0.05 * random.normal(size=200 * len(months)),
        market_equity=np.ones(200 * len(months)),
    )
    return panel, np.array(signal)


def explained(config, panel, signal, returns_of):
    """1 - squared error / squares of the signal in 2008 and 2009."""
    managed = compute_managed_portfolios(panel, constant=True)
    samples = split_estimation(
        Window((2000, 2005), (2006, 2007), 2008), panel.between(2000, 2007), managed.between(2000, 2007)
    )
    ((fitted,),) = fit_family(config, [1], samples, TRAINING).models.values()
    fresh = Sample(panel.between(2008, 2009), managed.between(2008, 2009))
    found = np.array([returns_of(fitted.model, fresh.known(t), fresh.outcome(t)) for t in range(24)])
    return 1 - np.sum((found - signal[-24:]) ** 2) / np.sum(signal[-24:] ** 2)


def given_factors(model, known, outcome):
    return model.returns_given(known, model.latent_factors(known, outcome))


def forecast(model, known, _outcome):
    return model.expected_returns(known)


@pytest.mark.parametrize("seed", [1, 2])
def test_given_factors(seed):
    panel, signal = market(seed, lambda z, f: (1.5 * z[:, 0] * z[:, 1] + z[:, 2]) * f)
    network = explained(NN(grid=GRID), panel, signal, given_factors)
    linear = explained(OLS(characteristics=NAMES), panel, signal, given_factors)
    assert network > 0.78
    assert linear < 0.65


@pytest.mark.parametrize("seed", [1, 2])
def test_forecast(seed):
    panel, signal = market(seed, lambda z, _: 0.03 * z[:, 0] * z[:, 1] + 0.01 * z[:, 2])
    network = explained(NNForecast(grid=GRID), panel, signal, forecast)
    linear = explained(OLS3Forecast(characteristics=NAMES), panel, signal, forecast)
    assert network > 0.9
    assert linear < 0.35
