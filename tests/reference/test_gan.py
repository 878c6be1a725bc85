"""GAN: losses against the paper's equations written out stock by stock, gradients, phases, bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqpricing_core.models.configs import GAN
from seqpricing_core.models.factor_model import expected_returns
from seqpricing_core.models.family import FittedFamily, fit_family
from seqpricing_core.models.sdf_gan import fit_gan
from seqpricing_core.nn.pricing_errors import (
    StockMonths,
    discount_factor,
    portfolio_returns,
    pricing_errors,
    pricing_loss,
    unexplained_variation,
)
from seqpricing_core.nn.sdf_networks import MacroScale, MacroStates, StateNetwork
from seqpricing_core.panel.macro import MacroSeries
from seqpricing_core.panel.panel import Sample
from seqpricing_core.study import Training
from seqpricing_core.windows import WindowSamples

SMALL = GAN(sdf_hidden=(8,), loading_hidden=(4,), minimum_epochs=2, conditional_epochs=6, learning_rate=0.01)
TRAINING = Training(max_epochs=8, patience=4, batch_months=12)


class Ragged:
    """9 assets, 7 months, each seen in some; one of them once."""

    def __init__(self, dtype=torch.float64):
        random = np.random.default_rng(4)
        there = random.random((7, 9)) < 0.6
        there[:, 8] = np.arange(7) == 3
        there[0, 0] = True
        self.month, self.asset = np.nonzero(there)
        self.r = random.normal(size=len(self.month))
        self.omega = random.normal(size=(len(self.month), 3))
        self.g = np.tanh(random.normal(size=(len(self.month), 2)))
        self.stocks, self.months = there.sum(axis=1), there.sum(axis=0)
        self.rows = StockMonths(
            torch.tensor(self.month), torch.tensor(self.asset),
            torch.tensor(self.stocks, dtype=dtype), torch.tensor(self.months, dtype=dtype),
        )  # fmt: skip

    def tensors(self, *names):
        return [torch.tensor(getattr(self, name)) for name in names]


@pytest.fixture(scope="module")
def ragged():
    return Ragged()


def slow_discount(data):
    """M_t, month by month (eq. 1 and 2)."""
    m = np.empty(7)
    for t in range(7):
        m[t] = 1.0
        for k in range(3):
            total = 0.0
            for row in np.flatnonzero(data.month == t):
                total += data.omega[row, k] * data.r[row]
            m[t] -= total / data.stocks[t]
    return m


def slow_loss(data, g):
    """Eq. 3 and 4, stock by stock, instrument by instrument."""
    m, total = slow_discount(data), 0.0
    for i in range(9):
        rows = np.flatnonzero(data.asset == i)
        for d in range(g.shape[1]):
            error = sum(m[data.month[row]] * data.r[row] * g[row, d] for row in rows) / len(rows)
            total += len(rows) / 7 * error**2
    return total / (9 * g.shape[1])


class TestLosses:
    @pytest.mark.parametrize("conditional", [False, True])
    def test_against_the_equations_stock_by_stock(self, ragged, conditional):
        omega, r, g = ragged.tensors("omega", "r", "g")
        g = g if conditional else torch.ones_like(g[:, :1])
        discount = discount_factor(portfolio_returns(omega, r, ragged.rows))
        np.testing.assert_allclose(discount, slow_discount(ragged), rtol=1e-13)
        loss = pricing_loss(pricing_errors(discount, r, g, ragged.rows), ragged.rows)
        np.testing.assert_allclose(float(loss), slow_loss(ragged, g.numpy()), rtol=1e-13)

    def test_unexplained_variation_is_that_of_least_squares(self, ragged):
        """numpy.linalg.lstsq month by month; months of fewer stocks than portfolios are fitted exactly."""
        left, all_of_it = 0.0, 0.0
        for t in range(7):
            r, omega = ragged.r[ragged.month == t], ragged.omega[ragged.month == t]
            left += np.mean((r - omega @ np.linalg.lstsq(omega, r, rcond=None)[0]) ** 2)
            all_of_it += np.mean(r**2)
        ours = unexplained_variation(*ragged.tensors("omega", "r"), ragged.rows)
        np.testing.assert_allclose(float(ours), left / all_of_it, atol=1e-5)

    def test_portfolio_returns_do_not_follow_the_number_of_stocks(self, ragged):
        """Every stock twice: the same F (eq. 1 divides by N_t)."""
        omega, r = ragged.tensors("omega", "r")
        rows = ragged.rows
        twice = StockMonths(rows.month.repeat(2), rows.asset.repeat(2), 2 * rows.stocks, rows.months)
        torch.testing.assert_close(
            portfolio_returns(omega.repeat(2, 1), r.repeat(2), twice), portfolio_returns(omega, r, rows)
        )

    def test_gradients(self, ragged):
        """torch.autograd.gradcheck: finite differences in double precision."""
        omega, r, g = ragged.tensors("omega", "r", "g")
        omega.requires_grad_()
        g.requires_grad_()

        def loss(omega, g):
            discount = discount_factor(portfolio_returns(omega, r, ragged.rows))
            return pricing_loss(pricing_errors(discount, r, g, ragged.rows), ragged.rows)

        assert torch.autograd.gradcheck(loss, (omega, g))
        one = omega.detach()[:, :1].requires_grad_()
        assert torch.autograd.gradcheck(lambda w: unexplained_variation(w, r, ragged.rows), (one,))


class TestNetworks:
    def test_one_network_on_characteristics_beside_the_states_of_the_month(self):
        """Against torch.nn.Sequential on the rows (z, h) written out."""
        torch.manual_seed(0)
        network = StateNetwork(3, 2, (5, 4), 2, dropout=0.5).double().eval()
        z, states = torch.randn(11, 3).double(), torch.randn(4, 2).double()
        month = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 3])
        layers = [network.first, *network.later]
        plain = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
        wanted = plain(torch.cat([z, states[month]], dim=1))
        torch.testing.assert_close(network(z, month, states), wanted)

    def test_in_blocks_the_gradient_is_the_same(self):
        """Activations computed again block by block, for memory: same values, same gradients."""
        torch.manual_seed(0)
        network = StateNetwork(3, 2, (5,), 2, dropout=0.0).double()
        z, states = torch.randn(50, 3).double(), torch.randn(1, 2).double().requires_grad_()
        month = torch.zeros(50, dtype=torch.long)
        gradients = []
        for rows_at_once in (None, 7):
            out = network(z, month, states, rows_at_once)
            gradients.append(torch.autograd.grad((out**3).sum(), [states, *network.parameters()]))
        for whole, blocks in zip(*gradients, strict=True):
            torch.testing.assert_close(whole, blocks)

    def test_blocks_with_dropout_draw_the_same_masks_twice(self):
        """The output is linear in the last weights: their gradient, from the recomputed hidden units, times
        the weights gives the sum of the output back, but only if the same units were dropped.
        """
        torch.manual_seed(0)
        network = StateNetwork(3, 0, (6,), 1, dropout=0.5).double().train()
        z, month = torch.randn(20, 3).double(), torch.zeros(20, dtype=torch.long)
        torch.manual_seed(5)
        out = network(z, month, None, 5)
        (weight,) = torch.autograd.grad(out.sum(), [network.later[0].weight])
        expected = (weight * network.later[0].weight).sum() + 20 * network.later[0].bias.sum()
        torch.testing.assert_close(out.sum(), expected)

    def test_states_are_an_lstm_by_hand(self):
        """Gates i, f, g, o of Hochreiter and Schmidhuber, month by month, on standardised series."""
        torch.manual_seed(1)
        macro = torch.randn(6, 3).double() * torch.tensor([1.0, 10.0, 0.0]) + 5
        layer = MacroStates(MacroScale.of(macro[:4]), 2, dropout=0.5).double().eval()
        x = (macro.numpy() - macro[:4].numpy().mean(axis=0)) / [*macro[:4, :2].numpy().std(axis=0), np.inf]
        w_x, w_h, b_x, b_h = (p.detach().numpy() for p in layer.lstm.parameters())
        h, c = np.zeros(2), np.zeros(2)
        for month in range(6):
            i, f, g, o = np.split(w_x @ x[month] + b_x + w_h @ h + b_h, 4)
            c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            h = np.tanh(c) / (1 + np.exp(-o))
            np.testing.assert_allclose(layer(macro)[month].detach().numpy(), h, atol=1e-12)


def with_macro(samples, *, seed=0, series=3):
    """Random macro series from the first month of training to the last of validation."""
    months = samples.validation.managed.months
    values = np.random.default_rng(seed).normal(size=(len(months), series))
    macro = MacroSeries(tuple(f"s{j}" for j in range(series)), months, values)
    train = Sample(samples.train.panel, samples.train.managed, macro.between(*samples.window.train))
    return WindowSamples(
        samples.window, train, Sample(samples.validation.panel, samples.validation.managed, macro)
    )


class TestPhases:
    @pytest.fixture(scope="class")
    def record(self, make_arrays):
        samples = with_macro(make_arrays(seed=2, stocks=40, balanced=False).samples)
        config = SMALL.model_copy(update={"dropout": 0.0, "criterion": "loss", "updates_per_epoch": 1})
        training = Training(max_epochs=60, patience=60, batch_months=12)
        return fit_gan(config, 1, samples, training, 1).record

    def test_order(self, record):
        assert [p["phase"] for p in record["phases"]] == [
            "unconditional",
            "moments",
            "conditional",
            "loadings",
        ]

    def test_the_sdf_network_lowers_the_pricing_error(self, record):
        """1 would be no SDF at all."""
        unconditional, _, conditional, _ = record["phases"]
        assert unconditional["train_loss"][-1] < 0.7 * unconditional["train_loss"][0]
        assert conditional["train_loss"][-1] < 0.98 * conditional["train_loss"][0]

    def test_the_conditional_network_raises_it(self, record):
        moments = record["phases"][1]["train_loss"]
        assert moments[-1] > 1.05 * moments[0]
        assert record["phases"][1]["best_epoch"] == int(np.argmax(moments)) + 1

    def test_the_sdf_then_starts_from_the_hardest_moments(self, record):
        """Its first loss is the highest that the conditional network reached with that SDF."""
        _, moments, conditional, _ = record["phases"]
        assert conditional["train_loss"][0] == pytest.approx(max(moments["train_loss"]), rel=1e-4)

    @pytest.mark.parametrize("criterion", ["sharpe", "loss"])
    def test_the_best_epoch_is_kept(self, make_arrays, criterion):
        """SDF weights that come out give the Sharpe ratio that the best epoch had in the record."""
        samples = make_arrays(seed=3, stocks=25).samples
        config = SMALL.model_copy(update={"criterion": criterion})
        fitted = fit_gan(config, 2, samples, TRAINING, 1)
        phase = fitted.record["phases"][2]
        curve = phase["validation_sharpe"] if criterion == "sharpe" else -np.array(phase["validation_loss"])
        assert phase["best_epoch"] == 2 + int(np.argmax(curve[2:])) + 1
        chosen = phase["validation_sharpe"][phase["best_epoch"] - 1]
        assert fitted.record["monthly_sdf_sharpe"]["validation"] == pytest.approx(chosen, rel=1e-6)

    def test_nothing_is_kept_before_the_minimum_epochs(self, make_arrays):
        config = SMALL.model_copy(update={"minimum_epochs": 6})
        phases = fit_gan(config, 1, make_arrays(stocks=20).samples, TRAINING, 1).record["phases"]
        assert phases[0]["best_epoch"] > 6
        assert phases[2]["best_epoch"] > 6


class TestFitted:
    @pytest.fixture(scope="class")
    def family(self, make_arrays):
        samples = with_macro(make_arrays(seed=5, stocks=20, balanced=False).samples)
        return samples, fit_family(SMALL, [1, 2], samples, TRAINING.model_copy(update={"seeds": (1, 2)}))

    def test_same_seed_same_bytes_other_seed_other_model(self, family):
        samples, fitted = family
        again = fit_family(SMALL, [1, 2], samples, TRAINING.model_copy(update={"seeds": (1, 2)}))
        assert again.to_bytes() == fitted.to_bytes()
        one, other = fitted.models[1]
        assert not np.allclose(one.history.factors, other.history.factors)

    def test_round_trip(self, family, tmp_path):
        samples, fitted = family
        file = tmp_path / "gan.safetensors"
        file.write_bytes(fitted.to_bytes())
        back = FittedFamily.from_files([file])
        assert back.to_bytes() == fitted.to_bytes()
        known = samples.validation.known(11)
        for factors in (1, 2):
            for old, new in zip(fitted.models[factors], back.models[factors], strict=True):
                np.testing.assert_array_equal(
                    old.model.factor_loadings(known), new.model.factor_loadings(known)
                )
                np.testing.assert_array_equal(old.model.sdf_weights(known), new.model.sdf_weights(known))
                np.testing.assert_array_equal(old.model.instruments(known), new.model.instruments(known))

    def test_shapes_and_normalised_weights(self, family):
        """Absolute SDF weights of a month sum to 1; instruments lie in (-1, 1)."""
        samples, fitted = family
        for t in (0, 11):
            known, model = samples.validation.known(t), fitted.models[2][0].model
            assert model.factor_loadings(known).shape == (len(known.asset_id), 2)
            assert np.abs(model.sdf_weights(known)).sum() == pytest.approx(1, rel=1e-12)
            assert model.instruments(known).shape == (len(known.asset_id), 8)
            assert (np.abs(model.instruments(known)) < 1).all()

    def test_factors_are_cross_sectional_regressions(self, family):
        """Normal equations, for the stocks that have a return."""
        samples, fitted = family
        known, outcome = samples.validation.known(4), samples.validation.outcome(4)
        b = fitted.models[2][0].model.factor_loadings(known)
        np.testing.assert_allclose(
            fitted.models[2][0].history.factors[36 + 4],
            np.linalg.solve(b.T @ b, b.T @ outcome.excess_return), rtol=1e-6,
        )  # fmt: skip

    def test_macro_before_the_first_month_of_training_is_not_used(self, family):
        """The states start from zero there, however far back the series given reach."""
        samples, fitted = family
        known = samples.validation.known(2)
        longer = np.vstack([np.full((5, 3), 99.0), known.macro])
        model = fitted.models[1][0].model
        np.testing.assert_array_equal(
            model.factor_loadings(type(known)(**{**vars(known), "macro": longer})),
            model.factor_loadings(known),
        )

    @pytest.mark.parametrize("macro", [None, np.zeros((3, 3))])
    def test_missing_macro_is_an_error(self, family, macro):
        samples, fitted = family
        known = samples.validation.known(2)
        with pytest.raises(ValueError, match=r"macro series of 2000-01 .. 2003-03"):
            fitted.models[1][0].model.factor_loadings(type(known)(**{**vars(known), "macro": macro}))

    def test_macro_of_later_months_changes_no_expected_return(self, family):
        """Rows after t of the series; the history stays as it was."""
        samples, fitted = family
        validation, member = samples.validation, fitted.models[2][0]
        t = 5
        values = validation.macro.values.copy()
        values[36 + t + 1 :] += 1e6
        other = Sample(
            validation.panel, validation.managed,
            MacroSeries(validation.macro.names, validation.macro.months, values),
        )  # fmt: skip
        history = type(member.history)(member.history.months[: 36 + t], member.history.factors[: 36 + t])
        before, after = (expected_returns(member.model, s.known(t), history) for s in (validation, other))
        np.testing.assert_array_equal(before, after)
        values[36 + t] += 1.0
        assert not np.array_equal(before, expected_returns(member.model, other.known(t), history))

    def test_standardised_by_the_training_months_alone(self, family):
        samples, fitted = family
        state = fitted.models[1][0].model.state()
        train = samples.train.macro.values
        np.testing.assert_allclose(state["sdf_states.mean"], train.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(state["sdf_states.scale"], 1 / train.std(axis=0), rtol=1e-12)


class TestHardInput:
    def test_few_stocks(self, make_arrays):
        """Three stocks and three portfolios: the regression for f has as many unknowns as returns."""
        fitted = fit_gan(SMALL, 3, make_arrays(stocks=3).samples, TRAINING, 1)
        assert np.isfinite(fitted.history.factors).all()

    def test_constant_characteristic(self, make_arrays):
        arrays = make_arrays(stocks=20)
        arrays.panel.characteristics[:, 1] = 0.0
        fitted = fit_gan(SMALL, 1, arrays.samples, TRAINING, 1)
        assert np.isfinite(fitted.history.factors).all()

    def test_stocks_without_a_return_do_not_train(self, make_arrays):
        """Rows whose return is NaN are known, not priced: without them the fit is the same to the bit."""
        arrays = make_arrays(seed=8, stocks=20)
        r = arrays.panel.excess_return
        r[::7] = np.nan
        full = arrays.samples
        cut = WindowSamples(
            full.window,
            *(Sample(s.panel.with_returns(), s.managed) for s in (full.train, full.validation)),
        )
        one, other = (fit_gan(SMALL, 1, s, TRAINING, 1) for s in (full, cut))
        for name, array in one.model.state().items():
            np.testing.assert_array_equal(array, other.model.state()[name])

    @pytest.mark.parametrize("factors", [1, 2])
    def test_nan_reaching_the_loss_names_test_year_and_seed(self, make_arrays, factors):
        arrays = make_arrays(stocks=20)
        arrays.panel.characteristics[3, 0] = np.nan
        with pytest.raises(
            FloatingPointError, match=rf"phase 'unconditional'.*K = {factors}, test year 2004, seed 7"
        ):
            fit_gan(SMALL, factors, arrays.samples, TRAINING, 7)

    def test_divergence_names_test_year_and_seed(self, make_arrays):
        """Steps so large that the first epoch overflows."""
        config = SMALL.model_copy(update={"learning_rate": 1e30})
        with pytest.raises(FloatingPointError, match=r"phase 'unconditional'.*test year 2004, seed 1"):
            fit_gan(config, 1, make_arrays(stocks=20).samples, TRAINING, 1)
