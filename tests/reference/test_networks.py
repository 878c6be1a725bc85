"""Networks against plain numpy loops written from the paper's equations, and cells against torch's own.

*memory*: encoder eq. 5-6, hand-over eq. 7, attention eq. 8-10, decoder eq. 11, factors eq. 12-13, cells
eq. .7-.16 of appendix C, beta network eq. 14-16. One member and one sequence at a time, no tensors.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from seqpricing_core.models import conditional_autoencoder, sequence_factor
from seqpricing_core.models.configs import SeqGAT, SeqLAT, SeqRAT
from seqpricing_core.nn.beta_network import BetaNetwork, losses
from seqpricing_core.nn.cells import CELLS, GRU, LSTM, RNN
from seqpricing_core.nn.factor_model_network import NetworkFactorModel
from seqpricing_core.nn.factor_networks import AttentionFactorNetwork, Sequences
from seqpricing_core.nn.losses import Pass
from seqpricing_core.nn.months import Batch
from seqpricing_core.training.engine import Member, _optimiser
from seqpricing_core.training.search import Candidate

SEQUENCES = ("seqrat", "seqgat", "seqlat")
LINEAR = ("ca0", "ca1", "ca2", "ca3")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def arrays_of(network, member=0) -> dict[str, np.ndarray]:
    """The weights of one member, float64."""
    return {name: t[member].numpy().astype(np.float64) for name, t in network.state_dict().items()}


def gates_of(weights, name):
    """(W, U, b) of each gate of a cell."""
    return list(
        zip(*(weights[f"{name}.{part}"] for part in ("input_weight", "hidden_weight", "bias")), strict=True)
    )


def rnn_step(gates, x, h, c):
    """Eq. 6 and 11 with g = tanh."""
    ((w, u, b),) = gates
    return np.tanh(w @ x + u @ h + b), c


def gru_step(gates, x, h, c):
    """Eq. .13-.16, with U_h and b_h in the new content."""
    (wu, uu, bu), (wr, ur, br), (wh, uh, bh) = gates
    update = sigmoid(wu @ x + uu @ h + bu)  # .13
    reset = sigmoid(wr @ x + ur @ h + br)  # .14
    new = np.tanh(wh @ x + reset * (uh @ h) + bh)  # .15
    return update * h + (1 - update) * new, c  # .16


def lstm_step(gates, x, h, c):
    """Eq. .7-.12."""
    (wf, uf, bf), (wi, ui, bi), (wo, uo, bo), (wc, uc, bc) = gates
    forget = sigmoid(wf @ x + uf @ h + bf)  # .7
    admit = sigmoid(wi @ x + ui @ h + bi)  # .8
    candidate = np.tanh(wc @ x + uc @ h + bc)  # .9
    cell = forget * c + admit * candidate  # .10
    out = sigmoid(wo @ x + uo @ h + bo)  # .11
    return out * np.tanh(cell), cell  # .12


STEPS = {"seqrat": rnn_step, "seqgat": gru_step, "seqlat": lstm_step}


def factors_by_the_paper(family, weights, months, lookback):
    """f_t of one sequence, and the attention weights of each decoder step.

    ``months`` holds the observed months only: padding does not exist here.
    """
    step, encoder, decoder = STEPS[family], gates_of(weights, "encoder"), gates_of(weights, "decoder")
    h = c = np.zeros(len(weights["attention"]))  # eq. 5
    states = []
    for x in months:
        h, c = step(encoder, x, h, c)  # eq. 6
        states.append(h)
    # eq. 7, and the cell state goes along.
    decoded, attention = [], []
    for _ in range(lookback):
        scores = np.array([h @ weights["attention"] @ state for state in states])  # eq. 8, h'_i-1
        share = np.exp(scores) / np.exp(scores).sum()  # eq. 9
        context = sum(one * state for one, state in zip(share, states, strict=True))  # eq. 10
        h, c = step(decoder, context, h, c)  # eq. 11
        decoded.append(h)
        attention.append(share)
    flat = np.concatenate(decoded)  # eq. 12
    return weights["weight"].reshape(len(weights["bias"]), -1) @ flat + weights["bias"], attention  # eq. 13


def random_network(family, inputs, hidden, lookback, factors, members=1, seed=0):
    """Weights of size one: attention that is far from uniform."""
    torch.manual_seed(seed)
    network = AttentionFactorNetwork(CELLS[family], members, inputs, hidden, lookback, factors).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter))
        network.attention.mul_(6)
    return network


def sequences(x, lookback):
    """A sequence that ends with each month of x; the first ones are padded."""
    return Sequences.ending_at(torch.as_tensor(x), torch.arange(len(x)), lookback)


class TestCells:
    @pytest.mark.parametrize(
        ("cell", "theirs", "order"),
        [
            (RNN, torch.nn.RNNCell, [0]),
            (GRU, torch.nn.GRUCell, [1, 0, 2]),
            (LSTM, torch.nn.LSTMCell, [1, 0, 3, 2]),
        ],
    )  # torch's gates: (h); (reset, update, new); (input, forget, candidate, output)
    def test_torch(self, cell, theirs, order):
        """Three members, four steps: each member is a cell of torch's with its weights."""
        torch.manual_seed(1)
        ours = cell(3, 5, 4).double()
        x = torch.randn(4, 7, 5, dtype=torch.float64)
        state = tuple(torch.randn(3, 4, 7, dtype=torch.float64) for _ in range(cell.states))
        twins = [theirs(5, 4).double() for _ in range(3)]
        states = [[part[m].mT for part in state] for m in range(3)]
        with torch.no_grad():
            for m, twin in enumerate(twins):
                twin.weight_ih.copy_(ours.input_weight[m][order].flatten(0, 1))
                twin.weight_hh.copy_(ours.hidden_weight[m][order].flatten(0, 1))
                twin.bias_ih.copy_(ours.bias[m][order].flatten())
                twin.bias_hh.zero_()
            for t in range(4):
                state = ours.step(ours.project(x[t].mT), state)
                for m, twin in enumerate(twins):
                    after = twin(x[t], tuple(states[m]) if cell is LSTM else states[m][0])
                    states[m] = list(after) if cell is LSTM else [after]
                    for part, expected in zip(state, states[m], strict=True):
                        torch.testing.assert_close(part[m].mT, expected, rtol=0, atol=1e-13)

    @pytest.mark.parametrize("family", SEQUENCES)
    def test_the_paper(self, family):
        """One step of the loop below from a state that is not zero."""
        torch.manual_seed(2)
        cell = CELLS[family](2, 3, 4).double()
        x = torch.randn(5, 3, dtype=torch.float64)
        state = tuple(torch.randn(2, 4, 5, dtype=torch.float64) for _ in range(cell.states))
        with torch.no_grad():
            found = cell.step(cell.project(x.mT), state)
        for m in range(2):
            gates = gates_of({f"cell.{n}": v for n, v in arrays_of(cell, m).items()}, "cell")
            for b in range(5):
                before = [part[m, :, b].numpy() for part in state]
                expected = STEPS[family](gates, x[b].numpy(), before[0], before[-1])
                for part, value in zip(found, expected, strict=False):
                    np.testing.assert_allclose(part[m, :, b].numpy(), value, atol=1e-13)


@pytest.mark.parametrize("family", SEQUENCES)
class TestEncoderDecoder:
    @pytest.mark.parametrize(
        ("inputs", "hidden", "lookback", "factors"), [(5, 3, 4, 2), (3, 1, 12, 1), (2, 8, 1, 3)]
    )
    def test_whole_sequences(self, family, inputs, hidden, lookback, factors):
        """Three members with weights of their own."""
        network = random_network(family, inputs, hidden, lookback, factors, members=3)
        x = np.random.default_rng(1).normal(size=(lookback + 5, inputs))
        with torch.no_grad():
            found = network(sequences(x, lookback)).numpy()
        assert found.shape == (3, lookback + 5, factors)
        for m in range(3):
            for end in range(lookback - 1, lookback + 5):
                months = list(x[end - lookback + 1 : end + 1])
                expected, _ = factors_by_the_paper(family, arrays_of(network, m), months, lookback)
                np.testing.assert_allclose(found[m, end], expected, atol=1e-12)
        assert np.abs(found[0] - found[1]).max() > 1e-2

    def test_left_padding(self, family):
        """Sequences of 1 to 6 months in one batch: each as if the months before had never been."""
        network = random_network(family, 4, 3, 6, 2, members=2, seed=3)
        x = np.random.default_rng(2).normal(size=(6, 4))
        with torch.no_grad():
            found = network(sequences(x, 6)).numpy()
        for m in range(2):
            for end in range(6):
                expected, _ = factors_by_the_paper(family, arrays_of(network, m), list(x[: end + 1]), 6)
                np.testing.assert_allclose(found[m, end], expected, atol=1e-12)

    def test_attention_weights(self, family):
        """Those of the loop; they sum to one, and a padded month has none."""
        network = random_network(family, 4, 3, 5, 2, members=2, seed=4)
        x = np.random.default_rng(5).normal(size=(7, 4))
        with torch.no_grad():
            attention = network.attend(sequences(x, 5)).numpy()
        assert attention.shape == (2, 7, 5, 5)
        np.testing.assert_allclose(attention.sum(-1), 1, atol=1e-14)
        for m in range(2):
            for end in range(7):
                months = x[max(end - 4, 0) : end + 1]
                _, expected = factors_by_the_paper(family, arrays_of(network, m), list(months), 5)
                padded = 5 - len(months)
                np.testing.assert_array_equal(attention[m, end, :, :padded], 0)
                np.testing.assert_allclose(attention[m, end, :, padded:], expected, atol=1e-12)
        assert attention[:, -1].std() > 0.05  # far from uniform

    def test_attention_matters(self, family):
        """The loop would agree with a network that ignores W_att if W_att had no effect: it has."""
        network = random_network(family, 4, 3, 5, 2)
        x = np.random.default_rng(2).normal(size=(5, 4))
        with torch.no_grad():
            before = network(sequences(x, 5)).numpy()
            network.attention.mul_(-1)
            assert np.abs(network(sequences(x, 5)).numpy() - before)[0, -1].max() > 1e-3

    def test_sizes_of_the_study(self, family):
        """Encoder and decoder have K units unless the study says otherwise (section 3.2)."""
        config = {"seqrat": SeqRAT, "seqgat": SeqGAT, "seqlat": SeqLAT}[family]
        for hidden, expected in ((None, 3), (7, 7)):
            network = sequence_factor.build(config(hidden_size=hidden), (5, 6), {(8,): 2}, 3).factor
            assert type(network.encoder) is type(network.decoder) is CELLS[family]
            gates = {"seqrat": 1, "seqgat": 3, "seqlat": 4}[family]
            assert network.encoder.input_weight.shape == (2, gates, expected, 6)
            assert network.decoder.input_weight.shape == (2, gates, expected, expected)
            assert network.weight.shape == (2, 3, 12, expected)


class TestSequences:
    @pytest.mark.parametrize("lookback", [1, 3, 6])
    def test_slow_loop(self, lookback):
        """Month by month: x up to the end, oldest first; not observed where there is none."""
        x = np.random.default_rng(0).normal(size=(5, 2))
        found = Sequences.ending_at(torch.from_numpy(x), torch.tensor([0, 4, 2]), lookback)
        assert found.positions.shape == found.observed.shape == (3, lookback)
        for b, end in enumerate((0, 4, 2)):
            for place in range(lookback):
                month = end - lookback + 1 + place
                assert bool(found.observed[b, place]) == (month >= 0)
                if month >= 0:
                    np.testing.assert_array_equal(found.x[found.positions[b, place]], x[month])


def beta_by_the_paper(weights, z, *, training):
    """Eq. 14-16 with batch normalisation (algorithm 2) before the ReLU; no bias before a norm."""
    s, depth = z.astype(np.float64), 0  # eq. 14
    while f"weights.{depth}" in weights:
        s = s @ weights[f"weights.{depth}"].T
        if training:
            mean, variance = s.mean(axis=0), s.var(axis=0)
        else:
            mean, variance = weights[f"norms.{depth}.mean"], weights[f"norms.{depth}.variance"]
        s = (s - mean) / np.sqrt(variance + 1e-5)
        s = np.maximum(s * weights[f"norms.{depth}.scale"] + weights[f"norms.{depth}.shift"], 0)  # eq. 15
        depth += 1
    return s @ weights["output"].T + weights["bias"]  # eq. 16


def part(weights, name):
    """The arrays of one submodule."""
    return {
        key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")
    }


class TestBetaNetwork:
    @pytest.fixture(params=[(), (8,), (32, 16), (8, 6, 4)], ids=len)
    def network(self, request):
        """Two members, with norms that do something."""
        torch.manual_seed(0)
        network = BetaNetwork(2, 6, request.param, 3).double()
        with torch.no_grad():
            for norm in network.norms:
                norm.scale.copy_(torch.randn_like(norm.scale))
                norm.shift.copy_(torch.randn_like(norm.shift))
                norm.mean.copy_(torch.randn_like(norm.mean))
                norm.variance.copy_(torch.rand_like(norm.variance) + 0.5)
        return network

    def test_in_use(self, network):
        z = np.random.default_rng(0).uniform(-1, 1, size=(50, 6))
        with torch.no_grad():
            found = network.eval().loadings(torch.from_numpy(z)).numpy()
        for m in range(2):
            expected = beta_by_the_paper(arrays_of(network, m), z, training=False)
            np.testing.assert_allclose(found[m], expected, atol=1e-12)

    @pytest.mark.parametrize("training", [True, False])
    def test_losses(self, network, training):
        """Eq. 17 stock by stock: statistics of the batch in training, running ones in use."""
        random = np.random.default_rng(1)
        sizes = (7, 20, 13)
        z = [random.uniform(-1, 1, size=(n, 6)) for n in sizes]
        r = [random.normal(size=n) for n in sizes]
        factors = random.normal(size=(2, 3, 3))
        wide = [np.column_stack([ones, np.ones(len(ones))]) for ones in z]
        tensors = [(torch.from_numpy(a), torch.from_numpy(b)) for a, b in zip(wide, r, strict=True)]
        batch = Batch(
            Pass(tensors, 10_000),
            *(torch.from_numpy(np.stack(parts)) for parts in zip(
                *((a.T @ a, a.T @ b, b @ b) for a, b in zip(wide, r, strict=True)), strict=True
            )),
            x=torch.zeros(3, 1), ends=torch.arange(3), count=sum(sizes),
        )  # fmt: skip
        weights = [arrays_of(network, m) for m in range(2)]
        network.train(training)
        with torch.no_grad():
            found = losses([network], [torch.from_numpy(factors)], batch)[0].numpy()
        months = np.repeat(np.arange(3), sizes)
        for m in range(2):
            beta = beta_by_the_paper(weights[m], np.concatenate(z), training=training)
            residual = np.concatenate(r) - (beta * factors[m][months]).sum(axis=1)
            np.testing.assert_allclose(found[m], np.mean(residual**2), rtol=1e-10)

    def test_a_stock_is_priced_alone(self, network):
        """In use, the loadings of a stock do not depend on who else is in the month."""
        z = torch.rand(40, 6, dtype=torch.float64)
        with torch.no_grad():
            loadings = network.eval().loadings(z).numpy()
            np.testing.assert_allclose(loadings[:, :3], network.loadings(z[:3]).numpy(), atol=1e-13)


class TestFittedNetworks:
    """The models of the small study, through the objects that a study uses."""

    @pytest.mark.parametrize("family", [*LINEAR, *SEQUENCES])
    def test_loadings(self, small, family):
        """The loop above with the arrays that the file of the model holds."""
        model, known = small.fitted[family].models[2][0].model, small.test_sample(2004).known(6)
        weights = part({n: a.astype(np.float64) for n, a in model.state().items()}, "betas.0")
        beta = beta_by_the_paper(weights, known.characteristics, training=False)
        np.testing.assert_allclose(model.factor_loadings(known), beta, atol=2e-5)

    @pytest.mark.parametrize("family", LINEAR)
    def test_factors_of_conditional_autoencoders(self, small, family):
        """F = W x + b in percent; decimal outside."""
        model, test = small.fitted[family].models[2][0].model, small.test_sample(2004)
        w, b = (model.state()[f"factor.{name}"] for name in ("weight", "bias"))
        for t in (0, 6):
            factors = (w @ (100 * small.managed[2004].x[t]) + b) / 100
            np.testing.assert_allclose(
                model.latent_factors(test.known(t), test.outcome(t)), factors, atol=1e-6
            )

    def test_conditional_autoencoder_is_linear_in_x(self, small):
        """f(a x + (1 - a) y) = a f(x) + (1 - a) f(y), and past months do not matter."""
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

    @pytest.mark.parametrize("family", SEQUENCES)
    def test_sequence_factor(self, small, family):
        """The paper's loop over the last six months of x, across the turn of the year; attention too."""
        model, test = small.fitted[family].models[2][0].model, small.test_sample(2004)
        weights = part({n: a.astype(np.float64) for n, a in model.state().items()}, "factor")
        x = small.managed_portfolios(2003, 2004).x * 100
        for t in (0, 2, 11):
            months = [row.astype(np.float32).astype(float) for row in x[12 + t - 5 : 12 + t + 1]]
            expected, attention = factors_by_the_paper(family, weights, months, 6)
            found = model.latent_factors(test.known(t), test.outcome(t))
            np.testing.assert_allclose(found, expected / 100, atol=1e-6)
            np.testing.assert_allclose(
                model.attention_weights(test.known(t), test.outcome(t)), attention, atol=1e-5
            )

    @pytest.mark.parametrize("family", SEQUENCES)
    def test_first_months_of_the_sample_are_padded(self, small, family):
        """In January of the first year there is one month of x; in April there are four."""
        model, train = small.fitted[family].models[2][0].model, small.samples(2004).train
        weights = part({n: a.astype(np.float64) for n, a in model.state().items()}, "factor")
        x = small.managed[2000].x * 100
        for t in (0, 3):
            expected, _ = factors_by_the_paper(family, weights, list(x[: t + 1]), 6)
            found = model.latent_factors(train.known(t), train.outcome(t))
            np.testing.assert_allclose(found, expected / 100, atol=1e-6)

    @pytest.mark.parametrize("family", LINEAR)
    def test_linear_factors_attend_to_nothing(self, small, family):
        assert not hasattr(small.fitted[family].models[2][0].model, "attention_weights")

    @pytest.mark.parametrize("family", ["ipca", *LINEAR, *SEQUENCES])
    def test_history_holds_the_factors_of_every_estimation_month(self, small, family):
        member, samples = small.fitted[family].models[2][0], small.samples(2004)
        assert len(member.history.months) == 48
        for sample, t, place in ((samples.train, 20, 20), (samples.validation, 4, 40)):
            factors = member.model.latent_factors(sample.known(t), sample.outcome(t))
            # IPCA gets its history from Gram matrices, the same sums in another order.
            tolerance = 1e-12 if family == "ipca" else 0
            np.testing.assert_allclose(member.history.factors[place], factors, rtol=tolerance)


class TestPenalty:
    """Eq. 19: every weight and bias, but not the scale and shift of batch norm."""

    @pytest.mark.parametrize("family", ["ca2", "seqgat"])
    def test_penalised_parameters(self, family):
        """Gradients zero: Adam's first step is the step size against the sign of what is penalised."""
        if family == "ca2":
            network = conditional_autoencoder.build((5, 6), {(4, 3): 2}, 2)
        else:
            network = sequence_factor.build(SeqGAT(lookback=3), (5, 6), {(4, 3): 2}, 2)
        members = [Member(Candidate(l1, 0.25, (4, 3)), 2, 1) for l1 in (0.1, 0.0)]
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(torch.randn_like(parameter))
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        _optimiser(network, members).step()
        moved = {name: p.detach() - before[name] for name, p in network.named_parameters()}
        free = {f"betas.0.norms.{depth}.{name}" for depth in (0, 1) for name in ("scale", "shift")}
        assert free < moved.keys()
        for name, step in moved.items():
            expected = torch.zeros_like(step) if name in free else -0.25 * before[name].sign()
            expected[1] = 0  # the second member has no penalty
            torch.testing.assert_close(step, expected, rtol=1e-5, atol=1e-6, msg=name)
        assert isinstance(NetworkFactorModel(network).state(), dict)
