"""Training against explicit loops: the loss by hand, early stopping, the choice of a candidate."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from seqpricing_core import training
from seqpricing_core.models import conditional_autoencoder
from seqpricing_core.models.configs import ConditionalAutoencoder, Grid
from seqpricing_core.models.family import fit_family
from seqpricing_core.models.factor_model import fitted_returns
from seqpricing_core.nn.factor_model_network import FactorModelNetwork
from seqpricing_core.study import Training
from seqpricing_core.training import Candidate, candidates_of, fit_network, train_candidate
from seqpricing_core.windows import split_estimation

HIDDEN = (6, 4)


@pytest.fixture(scope="module")
def arrays(make_arrays):
    return make_arrays(seed=11, stocks=25, factors=2, balanced=False)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return conditional_autoencoder.build(ConditionalAutoencoder(), HIDDEN, 2, (4, 5))


def months_of(arrays):
    return training._Months(arrays.samples.train), training._Months(arrays.samples.validation)


def loss_by_hand(state, arrays, months, *, batch_statistics):
    """Mean over stock-months of (100 r - beta' f)^2 in numpy; ``state`` holds the weights."""
    w = {name: value.astype(np.float64) for name, value in state.items() if "num_batches" not in name}
    s = np.concatenate([arrays.z[t] for t in months]).astype(np.float64)
    for layer in (0, 3):
        s = s @ w[f"beta.layers.{layer}.weight"].T + w[f"beta.layers.{layer}.bias"]
        norm = f"beta.layers.{layer + 1}"
        if batch_statistics:
            mean, variance = s.mean(axis=0), s.var(axis=0)
        else:
            mean, variance = w[f"{norm}.running_mean"], w[f"{norm}.running_var"]
        s = (s - mean) / np.sqrt(variance + 1e-5) * w[f"{norm}.weight"] + w[f"{norm}.bias"]
        s = np.maximum(s, 0)
    beta = s @ w["beta.layers.6.weight"].T + w["beta.layers.6.bias"]
    squares, place = [], 0
    for t in months:
        factors = w["factor.linear.weight"] @ (100 * arrays.managed.x[t]) + w["factor.linear.bias"]
        for outcome in arrays.r[t]:
            squares.append((100 * outcome - beta[place] @ factors) ** 2)
            place += 1
    return math.fsum(squares) / len(squares)


def state_of(network):
    return {name: tensor.detach().numpy().copy() for name, tensor in network.state_dict().items()}


class TestLoss:
    @pytest.mark.parametrize("l1", [0.0, 0.05])
    def test_penalised_loss_of_one_batch(self, arrays, network, monkeypatch, l1):
        """Eq. 17 and 19 by hand, for the one batch that holds all training months."""
        before, seen = state_of(network), []
        backward = torch.autograd.backward

        def watch(loss, *args, **kwargs):
            seen.append(loss.item())
            backward(loss, *args, **kwargs)

        monkeypatch.setattr(torch.autograd, "backward", watch)
        trained = train_candidate(
            network, Candidate(l1, 0.01, HIDDEN), months_of(arrays),
            Training(max_epochs=1, batch_months=36), seed=1,
        )  # fmt: skip
        fit = loss_by_hand(before, arrays, range(36), batch_statistics=True)
        penalty = sum(
            np.abs(value).astype(np.float64).sum()
            for name, value in before.items()
            if name.startswith("factor") or name.split(".")[2] in "036"
        )
        assert seen == pytest.approx([fit + l1 * penalty], rel=1e-5)
        assert trained.train_loss == pytest.approx([fit], rel=1e-5)

    def test_validation_loss_uses_running_statistics(self, arrays, network):
        trained = train_candidate(
            network, Candidate(0.01, 0.01, HIDDEN), months_of(arrays),
            Training(max_epochs=1, batch_months=7), seed=1,
        )  # fmt: skip
        by_hand = loss_by_hand(state_of(network), arrays, range(36, 48), batch_statistics=False)
        assert trained.validation_loss == pytest.approx([by_hand], rel=1e-5)

    def test_gradient_steps(self, arrays, network):
        """Three epochs of one batch each against Adam written out (algorithm 1, torch's epsilon)."""
        torch.manual_seed(0)
        twin = conditional_autoencoder.build(ConditionalAutoencoder(), HIDDEN, 2, (4, 5))
        train_candidate(
            network, Candidate(0.02, 0.01, HIDDEN), months_of(arrays),
            Training(max_epochs=3, patience=9, batch_months=36), seed=1,
        )  # fmt: skip
        z = torch.from_numpy(np.concatenate(arrays.z[:36]))
        r = torch.from_numpy(100 * np.concatenate(arrays.r[:36])).float()
        month = torch.from_numpy(np.repeat(np.arange(36), [len(rows) for rows in arrays.z[:36]]))
        x = torch.from_numpy(100 * arrays.managed.x[:36]).float()
        parameters = list(twin.parameters())
        first, second = [torch.zeros_like(p) for p in parameters], [torch.zeros_like(p) for p in parameters]
        norms = [p for m in twin.modules() if isinstance(m, torch.nn.BatchNorm1d) for p in m.parameters()]
        twin.train()
        for step in (1, 2, 3):
            residual = r - (twin.beta(z) * twin.factor.linear(x)[month]).sum(1)
            penalty = sum(p.abs().sum() for p in parameters if all(p is not n for n in norms))
            gradients = torch.autograd.grad((residual**2).mean() + 0.02 * penalty, parameters)
            with torch.no_grad():
                for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
                    m.mul_(0.9).add_(0.1 * g)
                    v.mul_(0.999).add_(0.001 * g**2)
                    p.sub_(0.01 * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8))
        for ours, theirs in zip(network.parameters(), parameters, strict=True):
            # The order of stocks within the batch is another one, so sums differ in their last digits.
            np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), atol=1e-5)


class TestBatches:
    @pytest.mark.parametrize("size", [1, 7, 36, 64])
    def test_every_training_month_once_an_epoch(self, arrays, network, size):
        """Counted from what the factor network is given: each epoch is a permutation of all months."""
        months = {tuple(row): t for t, row in enumerate((100 * arrays.managed.x[:36]).astype(np.float32))}
        seen, sizes = [], []

        def watch_factor(module, given):
            if module.training:
                seen.append([months[tuple(row)] for row in given[0][:, -1].numpy()])

        def watch_beta(module, given):
            if module.training:
                sizes.append(len(given[0]))

        network.factor.register_forward_pre_hook(watch_factor)
        network.beta.register_forward_pre_hook(watch_beta)
        train_candidate(
            network, Candidate(0.0, 0.01, HIDDEN), months_of(arrays),
            Training(max_epochs=2, patience=9, batch_months=size), seed=1,
        )  # fmt: skip
        per_epoch = -(-36 // size)
        assert len(seen) == 2 * per_epoch
        assert all(len(batch) <= size for batch in seen)
        epochs = [list(itertools.chain(*seen[:per_epoch])), list(itertools.chain(*seen[per_epoch:]))]
        assert [sorted(epoch) for epoch in epochs] == [list(range(36))] * 2
        assert epochs[0] != epochs[1]
        assert sizes == [sum(len(arrays.z[t]) for t in batch) for batch in seen]


class ScriptedBeta(torch.nn.Module):
    """Learns while it trains; in use it predicts so that zero returns give the scripted losses."""

    def __init__(self, losses) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.script, self.states, self.loss = iter(losses), [], math.nan

    def train(self, mode=True):  # noqa: FBT002 - torch's own signature
        if self.training and not mode:
            self.loss = next(self.script, self.loss)
            self.states.append(self.weight.item())
        return super().train(mode)

    def forward(self, z):
        return z[:, :1] * self.weight if self.training else torch.full((len(z), 1), math.sqrt(self.loss))


class One(torch.nn.Module):
    """A factor that is one in every month."""

    def forward(self, x, observed):
        return torch.ones(len(x), 1)


@pytest.fixture(scope="module")
def quiet(arrays):
    """The same months; nothing happens in the validation year, so its loss is the squared prediction."""
    returns = arrays.panel.excess_return.copy()
    returns[arrays.panel.offsets[36] :] = 0.0
    panel = replace(arrays.panel, excess_return=returns)
    return replace(arrays, samples=split_estimation(arrays.samples.window, panel, arrays.managed))


class TestEarlyStopping:
    """The validation loss of every epoch is scripted, so that the right answer is known."""

    @staticmethod
    def train(quiet, losses, **options):
        beta = ScriptedBeta([float(loss) for loss in losses])
        trained = train_candidate(
            FactorModelNetwork(beta, One(), lookback=1), Candidate(0.0, 0.01, HIDDEN), months_of(quiet),
            Training(batch_months=12, **options), seed=1,
        )  # fmt: skip
        return trained, beta.states, beta.weight.item()

    @pytest.mark.parametrize(
        ("losses", "patience", "epochs", "best"),
        [
            ([5, 4, 3, 3.5, 3.2, 1], 2, 5, 3),
            ([5, 4, 3, 3.5, 2, 2.5, 2.5], 2, 7, 5),
            ([1, 2, 3], 1, 2, 1),
            ([3, 3, 3, 3], 2, 3, 1),
            ([5, 4, 3, 2], 2, 4, 4),
        ],
        ids=["stops", "recovers within patience", "first is best", "a tie is no improvement", "never stops"],
    )
    def test_when_it_stops_and_what_it_keeps(self, quiet, losses, patience, epochs, best):
        trained, states, kept = self.train(quiet, losses, patience=patience, max_epochs=len(losses))
        assert trained.validation_loss == pytest.approx(losses[:epochs], rel=1e-6)
        assert len(trained.train_loss) == len(states) == epochs
        assert trained.best_epoch == best
        assert len(set(states)) == epochs
        assert kept == states[best - 1]

    @pytest.mark.parametrize("diverged", [math.nan, math.inf])
    @pytest.mark.parametrize("before", [[], [5.0, 4.0], [4.0, 5.0, 5.0]])
    def test_an_epoch_that_diverged_is_not_the_best(self, quiet, before, diverged):
        """NaN is no minimum: the weights of the best finite epoch are kept, if there is one."""
        trained, states, kept = self.train(quiet, [*before, *[diverged] * 5], patience=9, max_epochs=5)
        if before:
            best = int(np.argmin(before))
            assert trained.best_epoch == best + 1
            assert kept == states[best]
        else:
            assert not np.isfinite(trained.validation_loss).any()

    def test_nothing_converges(self, quiet):
        with pytest.raises(FloatingPointError, match=r"4 candidates.*test year 2004, seed 3"):
            fit_network(
                lambda hidden: FactorModelNetwork(ScriptedBeta([math.nan]), One(), lookback=1),
                Grid(l1=(0.0, 0.1), learning_rate=(0.01, 0.02), beta_hidden=((3,),)),
                quiet.samples, Training(max_epochs=2), seed=3,
            )  # fmt: skip

    def test_the_kept_weights_have_the_lowest_loss(self, arrays, network):
        """Recomputed in numpy from the returned network, after a training that went too far."""
        trained = train_candidate(
            network, Candidate(0.0, 0.05, HIDDEN), months_of(arrays),
            Training(max_epochs=60, patience=8, batch_months=12), seed=1,
        )  # fmt: skip
        assert 1 < trained.best_epoch < len(trained.validation_loss)
        by_hand = loss_by_hand(state_of(trained.network), arrays, range(36, 48), batch_statistics=False)
        assert by_hand == pytest.approx(min(trained.validation_loss), rel=1e-5)
        assert by_hand != pytest.approx(trained.validation_loss[-1], rel=1e-5)


class TestGrid:
    GRID = Grid(l1=(0.0, 0.3), learning_rate=(1e-5, 0.02), beta_hidden=((3,), HIDDEN))

    @pytest.fixture(scope="class")
    def fitted(self, arrays):
        def build(hidden):
            return conditional_autoencoder.build(ConditionalAutoencoder(), hidden, 2, (4, 5))

        options = Training(max_epochs=15, patience=4, batch_months=12)
        return fit_network(build, self.GRID, arrays.samples, options, seed=3)

    def test_every_combination_once(self):
        found = [(c.l1, c.learning_rate, c.beta_hidden) for c in candidates_of(self.GRID)]
        assert len(found) == len(set(found)) == 8
        assert set(found) == {
            (l1, rate, hidden) for l1 in (0.0, 0.3) for rate in (1e-5, 0.02) for hidden in ((3,), HIDDEN)
        }

    def test_the_winner_has_the_lowest_validation_loss(self, fitted, arrays):
        """Recomputed through the objects a study uses: fitted returns of the validation year, in percent."""
        record, sample = fitted.record, arrays.samples.validation
        losses = [candidate["validation_loss"] for candidate in record["candidates"]]
        assert len(losses) == 8
        winner = record["candidates"][int(np.argmin(losses))]
        assert record["winner"] == {name: winner[name] for name in ("l1", "learning_rate", "beta_hidden")}
        squares = []
        for t in range(12):
            known, outcome = sample.known(t), sample.outcome(t)
            loadings = fitted.model.factor_loadings(known)
            fit = fitted_returns(loadings, fitted.model.latent_factors(known, outcome))
            squares.extend((100 * (outcome.excess_return - fit)) ** 2)
        assert np.mean(squares) == pytest.approx(min(losses), rel=1e-5)

    def test_a_candidate_equals_its_twin_trained_alone(self, fitted, arrays):
        """Candidates do not disturb each other: each alone gives the same loss, bit for bit."""
        for place in (1, 6):
            candidate = candidates_of(self.GRID)[place]
            alone = fit_network(
                lambda hidden: conditional_autoencoder.build(ConditionalAutoencoder(), hidden, 2, (4, 5)),
                Grid(
                    l1=(candidate.l1,), learning_rate=(candidate.learning_rate,),
                    beta_hidden=(candidate.beta_hidden,),
                ),
                arrays.samples, Training(max_epochs=15, patience=4, batch_months=12), seed=3,
            )  # fmt: skip
            expected = fitted.record["candidates"][place]["validation_loss"]
            assert alone.record["candidates"][0]["validation_loss"] == expected

    def test_seeds_matter_and_repeat(self, small):
        config = small.study.models[1]
        options = small.study.training.model_copy(update={"seeds": (1, 2, 1)})
        members = fit_family(config, [1], small.samples(2004), options).models[1]
        weights = [member.model.state()["factor.linear.weight"].tobytes() for member in members]
        assert weights[0] == weights[2] != weights[1]
