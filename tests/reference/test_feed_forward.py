"""Feed-forward benchmarks: what a trained one returns, recomputed in numpy from the arrays of its file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from seqpricing_core.models.configs import NN, NNForecast
from seqpricing_core.models.factor_model import expected_returns
from seqpricing_core.models.family import fit_family
from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
from seqpricing_core.study import Training
from seqpricing_core.windows import Window, split_estimation

TRAINING = Training(max_epochs=12, patience=12, batch_months=12)
HIDDEN = [(), (6,), (6, 4), (5, 4, 3)]


def grid(hidden):
    return {"l1": [0.001], "learning_rate": [0.02], "beta_hidden": [hidden]}


@pytest.fixture(scope="module")
def arrays(make_arrays):
    return make_arrays(seed=31, stocks=40, factors=2, balanced=False)


def fit_one(config, samples, factors=2):
    models = fit_family(config, [factors], samples, TRAINING).models
    ((fitted,),) = models.values()
    return fitted


def network_by_hand(state, inputs):
    """Linear, batch norm with running statistics, ReLU per hidden layer; linear; percent to decimal."""
    layer, depth = inputs.astype(np.float64), 0
    while f"betas.0.weights.{depth}" in state:
        norm = {n: state[f"betas.0.norms.{depth}.{n}"] for n in ("mean", "variance", "scale", "shift")}
        layer = layer @ state[f"betas.0.weights.{depth}"].T
        layer = (layer - norm["mean"]) / np.sqrt(norm["variance"] + 1e-5)
        layer = np.maximum(layer * norm["scale"] + norm["shift"], 0)
        depth += 1
    return (layer @ state["betas.0.output"].T + state["betas.0.bias"])[:, 0] / 100


def factors_by_hand(state, arrays, averages):
    """(T, K) W'x_t of every month, from the stocks of the month."""
    factors = []
    for z, r in zip(arrays.z, arrays.r, strict=True):
        wide = np.column_stack([z.astype(np.float64), np.ones(len(z))])
        x = wide.T @ r / len(r) if averages else np.linalg.lstsq(wide, r)[0]
        factors.append(x @ state["weights"])
    return np.array(factors)


@pytest.mark.parametrize("hidden", HIDDEN, ids=len)
class TestGivenFactors:
    @pytest.mark.parametrize("portfolios", ["averages", "slopes"])
    def test_by_hand(self, arrays, hidden, portfolios):
        """g(z, f / volatility): factors in units of their volatility over the training months."""
        fitted = fit_one(NN(grid=grid(hidden), portfolios=portfolios), arrays.samples)
        state, sample = fitted.model.state(), arrays.samples.validation
        factors = factors_by_hand(state, arrays, portfolios == "averages")
        np.testing.assert_allclose(fitted.history.factors, factors, atol=1e-12)
        np.testing.assert_allclose(state["volatility"], factors[:36].std(axis=0), rtol=1e-10)
        for t in (0, 7):
            known = sample.known(t)
            scaled = np.tile(factors[36 + t] / state["volatility"], (len(known.asset_id), 1))
            by_hand = network_by_hand(state, np.column_stack([known.characteristics, scaled]))
            np.testing.assert_allclose(fitted.model.returns_given(known, factors[36 + t]), by_hand, atol=1e-6)

    def test_expected_returns_are_those_at_the_mean_of_the_factors(self, arrays, hidden):
        """And not the mean of g over past factors, which for a network is something else."""
        fitted = fit_one(NN(grid=grid(hidden)), arrays.samples)
        state, known = fitted.model.state(), arrays.samples.validation.known(11)
        upto = dataclasses.replace(
            fitted.history, months=fitted.history.months[:47], factors=fitted.history.factors[:47]
        )
        scaled = np.tile(upto.factors.mean(axis=0) / state["volatility"], (len(known.asset_id), 1))
        by_hand = network_by_hand(state, np.column_stack([known.characteristics, scaled]))
        found = expected_returns(fitted.model, known, upto)
        np.testing.assert_allclose(found, by_hand, atol=1e-6)
        mean = np.mean([fitted.model.returns_given(known, f) for f in upto.factors], axis=0)
        differs = bool(np.abs(mean - found).max() > 1e-4)
        assert differs is bool(hidden)  # the same where g is linear

    def test_trained_on_what_it_is_used_on(self, arrays, hidden):
        """The validation loss of the winner is the squared residual given f_t, in percent."""
        fitted = fit_one(NN(grid=grid(hidden)), arrays.samples)
        squares = []
        for t in range(36, 48):
            known = arrays.samples.validation.known(t - 36)
            fit = fitted.model.returns_given(known, fitted.history.factors[t])
            squares.extend((100 * (arrays.r[t] - fit)) ** 2)
        assert np.mean(squares) == pytest.approx(min(fitted.record["validation_loss"]), rel=1e-4)


@pytest.mark.parametrize("hidden", HIDDEN, ids=len)
def test_forecast_by_hand(arrays, hidden):
    """g(z) of the file's arrays, and the validation loss of the winner."""
    fitted = fit_one(NNForecast(grid=grid(hidden)), arrays.samples)
    squares = []
    for t in range(36, 48):
        known = arrays.samples.validation.known(t - 36)
        found = fitted.model.expected_returns(known)
        np.testing.assert_allclose(
            found, network_by_hand(fitted.model.state(), known.characteristics), atol=1e-6
        )
        squares.extend((100 * (arrays.r[t] - found)) ** 2)
    assert np.mean(squares) == pytest.approx(min(fitted.record["validation_loss"]), rel=1e-4)
    assert fitted.months_seen == (np.datetime64("2000-01"), np.datetime64("2003-12"))


def test_factors_know_training_months_only(arrays):
    """Other returns in the validation year: same weights and volatility, same factors before it."""
    returns = arrays.panel.excess_return.copy()
    returns[arrays.panel.offsets[36] :] *= -3
    panel = dataclasses.replace(arrays.panel, excess_return=returns)
    other = split_estimation(
        Window((2000, 2002), (2003, 2003), 2004), panel, compute_managed_portfolios(panel, constant=True)
    )
    one, two = (fit_one(NN(grid=grid((6,))), samples) for samples in (arrays.samples, other))
    for name in ("weights", "volatility"):
        np.testing.assert_array_equal(one.model.state()[name], two.model.state()[name])
    np.testing.assert_array_equal(one.history.factors[:36], two.history.factors[:36])
    assert (one.history.factors[36:] != two.history.factors[36:]).all()


def test_every_k_has_the_first_factors(arrays):
    fitted = fit_family(NN(grid=grid((6,))), [1, 3], arrays.samples, TRAINING)
    assert {k: len(members) for k, members in fitted.models.items()} == {1: 1, 3: 1}
    weights = {k: members[0].model.state()["weights"] for k, members in fitted.models.items()}
    np.testing.assert_array_equal(weights[1][:, 0], weights[3][:, 0])
    assert fitted.models[3][0].model.state()["betas.0.weights.0"].shape == (6, 4 + 3)
