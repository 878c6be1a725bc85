"""Networks against plain numpy loops written from the paper's equations.

*memory*: encoder eq. 5-6, hand-over eq. 7, attention eq. 8-10, decoder eq. 11, factors eq. 12-13, LSTM cell
eq. .7-.12 of appendix C, beta network eq. 14-16.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqpricing_core.models import conditional_autoencoder, sequence_factor
from seqpricing_core.models.configs import ConditionalAutoencoder, SequenceFactor
from seqpricing_core.nn.beta_network import BetaNetwork
from seqpricing_core.nn.encoder_decoder import AttentionFactorNetwork
from seqpricing_core.nn.factor_model_network import NetworkFactorModel, sequences


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class LSTM:
    """Eq. .7-.12, one step for one sequence; torch stacks the gates in the order i, f, c, o."""

    def __init__(self, cell: torch.nn.LSTMCell) -> None:
        w, u = cell.weight_ih.detach().numpy(), cell.weight_hh.detach().numpy()
        b = (cell.bias_ih + cell.bias_hh).detach().numpy()
        self.i, self.f, self.c, self.o = (
            tuple(np.split(part, 4)[gate] for part in (w, u, b)) for gate in range(4)
        )

    def step(self, x, h, c):
        def linear(gate):
            w, u, b = gate
            return w @ x + u @ h + b

        forget = sigmoid(linear(self.f))  # .7
        admit = sigmoid(linear(self.i))  # .8
        candidate = np.tanh(linear(self.c))  # .9
        cell = forget * c + admit * candidate  # .10
        out = sigmoid(linear(self.o))  # .11
        return out * np.tanh(cell), cell  # .12


def factors_by_the_paper(network: AttentionFactorNetwork, months: list[np.ndarray]) -> np.ndarray:
    """f_t of one sequence. ``months`` holds the observed months only: padding does not exist here."""
    hidden = network.encoder.hidden_size
    encoder, decoder = LSTM(network.encoder), LSTM(network.decoder)
    w_att = network.attention.detach().numpy()
    h = c = np.zeros(hidden)  # eq. 5
    states = []
    for x in months:
        h, c = encoder.step(x, h, c)  # eq. 6
        states.append(h)
    # eq. 7, and the cell state goes along.
    decoded = []
    for _ in range(network.lookback):
        scores = np.array([h @ w_att @ state for state in states])  # eq. 8, h'_i-1
        weights = np.exp(scores) / np.exp(scores).sum()  # eq. 9
        context = sum(weight * state for weight, state in zip(weights, states, strict=True))  # eq. 10
        h, c = decoder.step(context, h, c)  # eq. 11
        decoded.append(h)
    stacked = np.concatenate(decoded)  # eq. 12
    return network.factor.weight.detach().numpy() @ stacked + network.factor.bias.detach().numpy()  # eq. 13


def random_network(inputs, hidden, lookback, factors, seed=0):
    torch.manual_seed(seed)
    network = AttentionFactorNetwork(inputs, hidden, lookback, factors).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter))  # attention that is far from uniform
    return network


class TestEncoderDecoder:
    @pytest.mark.parametrize(
        ("inputs", "hidden", "lookback", "factors"), [(5, 3, 4, 2), (3, 1, 12, 1), (2, 8, 1, 3)]
    )
    def test_whole_sequences(self, inputs, hidden, lookback, factors):
        network = random_network(inputs, hidden, lookback, factors)
        x = np.random.default_rng(1).normal(size=(6, lookback, inputs))
        with torch.no_grad():
            found = network(torch.from_numpy(x), torch.ones(6, lookback, dtype=torch.bool)).numpy()
        for b in range(6):
            np.testing.assert_allclose(found[b], factors_by_the_paper(network, list(x[b])), atol=1e-12)

    def test_left_padding(
        self,
    ):
        """One batch with 0 to 5 missing months: each row as if the months before had never been."""
        network = random_network(4, 3, 6, 2, seed=3)
        x = np.random.default_rng(2).normal(size=(6, 6, 4))
        observed = np.arange(6)[None, :] >= np.arange(6)[:, None]
        x[~observed] = 1e6
        with torch.no_grad():
            found = network(torch.from_numpy(x), torch.from_numpy(observed)).numpy()
        for b in range(6):
            np.testing.assert_allclose(found[b], factors_by_the_paper(network, list(x[b, b:])), atol=1e-12)

    def test_attention_matters(self):
        """The loop would agree with a network that ignores W_att if W_att had no effect: it has."""
        network = random_network(4, 3, 5, 2)
        x = torch.from_numpy(np.random.default_rng(2).normal(size=(1, 5, 4)))
        observed = torch.ones(1, 5, dtype=torch.bool)
        with torch.no_grad():
            before = network(x, observed).numpy()
            network.attention.mul_(-1)
            assert np.abs(network(x, observed).numpy() - before).max() > 1e-3

    def test_sizes_of_the_study(self):
        """Encoder and decoder have K units unless the study says otherwise (section 3.2)."""
        for hidden, expected in ((None, 3), (7, 7)):
            network = sequence_factor.build(SequenceFactor(hidden_size=hidden), (8,), 3, (5, 6)).factor
            assert network.encoder.hidden_size == network.decoder.hidden_size == expected
            assert network.factor.in_features == 12 * expected
            assert (network.encoder.input_size, network.factor.out_features) == (6, 3)


class TestSequences:
    @pytest.mark.parametrize("lookback", [1, 3, 6])
    def test_slow_loop(self, lookback):
        """Month by month: x up to the end, oldest first, in percent; False where there is none."""
        x = np.random.default_rng(0).normal(size=(5, 2))
        values, observed = sequences(x, [0, 4, 2], lookback)
        assert values.dtype == torch.float32
        for b, end in enumerate((0, 4, 2)):
            for place in range(lookback):
                month = end - lookback + 1 + place
                assert bool(observed[b, place]) == (month >= 0)
                wanted = 100 * x[month] if month >= 0 else np.zeros(2)
                np.testing.assert_allclose(values[b, place].numpy(), wanted, rtol=1e-6)


def beta_by_the_paper(network: BetaNetwork, z, *, training):
    """Eq. 14-16 with batch normalisation (algorithm 2) before the ReLU."""
    s, layers = z.astype(np.float64), list(network.layers)  # eq. 14
    for linear, norm in zip(layers[:-1:3], layers[1:-1:3], strict=True):
        s = s @ linear.weight.detach().numpy().T.astype(float) + linear.bias.detach().numpy()
        if training:
            mean, variance = s.mean(axis=0), s.var(axis=0)
        else:
            mean, variance = norm.running_mean.numpy(), norm.running_var.numpy()
        s = (s - mean) / np.sqrt(variance + norm.eps)
        s = np.maximum(s * norm.weight.detach().numpy() + norm.bias.detach().numpy(), 0)  # eq. 15
    return s @ layers[-1].weight.detach().numpy().T + layers[-1].bias.detach().numpy()  # eq. 16


class TestBetaNetwork:
    @pytest.mark.parametrize("hidden", [(8,), (32, 16)])
    def test_training_and_use(self, hidden):
        torch.manual_seed(0)
        network = BetaNetwork(6, hidden, 3)
        random = np.random.default_rng(0)
        z = random.uniform(-1, 1, size=(50, 6)).astype(np.float32)
        for norm in (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm1d)):
            torch.nn.init.normal_(norm.weight)
            torch.nn.init.normal_(norm.bias)
        with torch.no_grad():
            training = network(torch.from_numpy(z)).numpy()
            network(torch.from_numpy(z[:20] * 2))  # moves the running statistics
            network.eval()
            used = network(torch.from_numpy(z)).numpy()
        np.testing.assert_allclose(training, beta_by_the_paper(network, z, training=True), atol=2e-5)
        np.testing.assert_allclose(used, beta_by_the_paper(network, z, training=False), atol=2e-5)
        assert np.abs(training - used).max() > 1e-2

    def test_a_stock_is_priced_alone(self):
        """In use, the loadings of a stock do not depend on who else is in the month."""
        torch.manual_seed(0)
        network = BetaNetwork(6, (16,), 2).eval()
        z = torch.rand(40, 6)
        with torch.no_grad():
            np.testing.assert_allclose(network(z)[:3].numpy(), network(z[:3]).numpy(), atol=1e-6)


class TestFittedNetworks:
    """The models of the small study, through the objects that a study uses."""

    def test_conditional_autoencoder(self, small):
        """F = W x + b in percent, beta by the loop above; decimal outside."""
        model, test = small.fitted["ca2"].models[2][0].model, small.test_sample(2004)
        state = model.state()
        for t in (0, 6):
            known, outcome = test.known(t), test.outcome(t)
            w, b = state["factor.linear.weight"], state["factor.linear.bias"]
            factors = (w @ (100 * small.managed[2004].x[t]) + b) / 100
            np.testing.assert_allclose(model.latent_factors(known, outcome), factors, atol=1e-6)
            beta = beta_by_the_paper(model.network.beta, known.characteristics, training=False)
            np.testing.assert_allclose(model.factor_loadings(known), beta, atol=2e-5)

    def test_conditional_autoencoder_is_linear_in_x(self, small):
        """f(a x + (1 - a) y) = a f(x) + (1 - a) f(y), and past months do not matter."""
        from dataclasses import replace

        model, test = small.fitted["ca2"].models[2][0].model, small.test_sample(2004)
        known, first, second = test.known(5), test.outcome(5), test.outcome(6)
        mixed = replace(
            first, managed_portfolios=0.3 * first.managed_portfolios + 0.7 * second.managed_portfolios
        )
        expected = 0.3 * model.latent_factors(known, first) + 0.7 * model.latent_factors(known, second)
        np.testing.assert_allclose(model.latent_factors(known, mixed), expected, atol=1e-6)
        np.testing.assert_array_equal(
            model.latent_factors(test.known(0), first), model.latent_factors(test.known(11), first)
        )

    def test_sequence_factor(self, small):
        """The paper's loop over the last six months of x, across the turn of the year."""
        model, test = small.fitted["seqlat"].models[2][0].model, small.test_sample(2004)
        x = small.managed_portfolios(2003, 2004).x * 100
        for t in (0, 2, 11):
            months = [row.astype(np.float32).astype(float) for row in x[12 + t - 5 : 12 + t + 1]]
            expected = factors_by_the_paper(model.network.factor, months) / 100
            found = model.latent_factors(test.known(t), test.outcome(t))
            np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_first_months_of_the_sample_are_padded(self, small):
        """In January of the first year there is one month of x; in April there are four."""
        model, train = small.fitted["seqlat"].models[2][0].model, small.samples(2004).train
        x = small.managed[2000].x * 100
        for t in (0, 3):
            expected = factors_by_the_paper(model.network.factor, list(x[: t + 1])) / 100
            found = model.latent_factors(train.known(t), train.outcome(t))
            np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_history_holds_the_factors_of_every_estimation_month(self, small):
        for family in ("ipca", "ca2", "seqlat"):
            member, samples = small.fitted[family].models[2][0], small.samples(2004)
            assert len(member.history.months) == 48
            for sample, t, place in ((samples.train, 20, 20), (samples.validation, 4, 40)):
                factors = member.model.latent_factors(sample.known(t), sample.outcome(t))
                np.testing.assert_array_equal(member.history.factors[place], factors)

    def test_penalised_parameters(self):
        """Eq. 19: every weight and bias, but not the scale and shift of batch norm."""
        network = conditional_autoencoder.build(ConditionalAutoencoder(), (4, 3), 2, (5, 6))
        sizes = sorted(parameter.numel() for parameter in network.penalised())
        assert sizes == sorted([5 * 4, 4, 4 * 3, 3, 3 * 2, 2, 6 * 2, 2])
        assert isinstance(NetworkFactorModel(network).state(), dict)
