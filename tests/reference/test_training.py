"""Training against explicit loops: the loss and its steps by hand, early stopping, the choice of a candidate.

The engine as a whole is compared with its plain twin in test_engine.py; here are its parts and its rules.
"""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

import numpy as np
import optuna
import pytest
import torch

from seqpricing_core.models import conditional_autoencoder
from seqpricing_core.models.configs import CA1, CA2, Grid, SeqLAT
from seqpricing_core.models.factor_model import fitted_returns
from seqpricing_core.models.family import fit_family
from seqpricing_core.nn.months import TrainingMonths
from seqpricing_core.nn.stack import fill, initial_state, select
from seqpricing_core.study import GridSearch, OptunaSearch, RandomSearch, Training
from seqpricing_core.training.adam import StackedAdam
from seqpricing_core.training.engine import Member, TrainedMember, train_members
from seqpricing_core.training.search import Candidate, candidates_of, open_search

HIDDEN = (6, 4)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def arrays(make_arrays):
    return make_arrays(seed=11, stocks=25, factors=2, balanced=False)


def months_of(arrays, dtype=torch.float64):
    samples = arrays.samples
    return tuple(TrainingMonths(s, CPU, 1, dtype) for s in (samples.train, samples.validation))


def stack(members):
    """A float64 stack of CA2."""

    def build(count, factors):
        return conditional_autoencoder.build((4, 5), {HIDDEN: count}, factors)

    states = [initial_state(lambda m=m: build(1, m.factors), m.seed) for m in members]
    return fill(build(len(members), 2), states).double()


def train(arrays, members, training, network=None, order=1):
    """The stack, its members and their best weights."""
    network = stack(members) if network is None else network
    return network, *train_members(
        network, members, months_of(arrays), training, np.random.default_rng(order)
    )


def weights_of(state, seat):
    return {name: tensor[seat].detach().numpy().copy() for name, tensor in state.items()}


def gradient_by_hand(w, arrays, months):
    """Loss of a batch and its gradient, layer by layer: algorithm 2 of *memory* and its derivative."""
    z = np.concatenate([arrays.z[t] for t in months]).astype(np.float64)
    r = 100 * np.concatenate([arrays.r[t] for t in months])
    x = 100 * arrays.managed.x[months]
    month = np.repeat(np.arange(len(months)), [len(arrays.z[t]) for t in months])
    layers, inner, g = [z], [], {}
    for depth in (0, 1):
        a = layers[-1] @ w[f"betas.0.weights.{depth}"].T
        deviation = np.sqrt(a.var(axis=0) + 1e-5)
        normal = (a - a.mean(axis=0)) / deviation
        inner.append((normal, deviation))
        shifted = normal * w[f"betas.0.norms.{depth}.scale"] + w[f"betas.0.norms.{depth}.shift"]
        layers.append(np.maximum(shifted, 0))
    beta = layers[-1] @ w["betas.0.output"].T + w["betas.0.bias"]
    f = x @ w["factor.weight"].T + w["factor.bias"]
    residual = r - (beta * f[month]).sum(axis=1)
    d = -2 * residual / len(r)
    d_beta = d[:, None] * f[month]
    d_f = np.stack([(d[:, None] * beta)[month == t].sum(axis=0) for t in range(len(months))])
    g["factor.weight"], g["factor.bias"] = d_f.T @ x, d_f.sum(axis=0)
    g["betas.0.output"], g["betas.0.bias"] = d_beta.T @ layers[-1], d_beta.sum(axis=0)
    above = d_beta @ w["betas.0.output"]
    for depth in (1, 0):
        normal, deviation = inner[depth]
        above = above * (layers[depth + 1] > 0)
        g[f"betas.0.norms.{depth}.scale"] = (above * normal).sum(axis=0)
        g[f"betas.0.norms.{depth}.shift"] = above.sum(axis=0)
        d_normal = above * w[f"betas.0.norms.{depth}.scale"]
        d_a = (d_normal - d_normal.mean(axis=0) - normal * (d_normal * normal).mean(axis=0)) / deviation
        g[f"betas.0.weights.{depth}"] = d_a.T @ layers[depth]
        above = d_a @ w[f"betas.0.weights.{depth}"]
    return float(np.mean(residual**2)), g


def loss_in_use(w, arrays, months):
    """Mean over stock-months of (100 r - beta' f)^2, stock by stock, with running statistics."""
    squares = []
    for t in months:
        f = w["factor.weight"] @ (100 * arrays.managed.x[t]) + w["factor.bias"]
        for z, r in zip(arrays.z[t].astype(np.float64), arrays.r[t], strict=True):
            s = z
            for depth in (0, 1):
                norm = {n: w[f"betas.0.norms.{depth}.{n}"] for n in ("mean", "variance", "scale", "shift")}
                s = (w[f"betas.0.weights.{depth}"] @ s - norm["mean"]) / np.sqrt(norm["variance"] + 1e-5)
                s = np.maximum(s * norm["scale"] + norm["shift"], 0)
            squares.append((100 * r - (w["betas.0.output"] @ s + w["betas.0.bias"]) @ f) ** 2)
    return math.fsum(squares) / len(squares)


class TestLoss:
    MEMBERS = tuple(Member(Candidate(l1, rate, HIDDEN), 2, 4) for l1, rate in ((0.0, 0.01), (0.02, 0.03)))

    def test_one_batch(self, arrays):
        """Eq. 17, its gradient, and the training loss of an epoch, which leaves the penalty out."""
        network = stack(self.MEMBERS)
        before = weights_of(network.state_dict(), 1)
        batch = months_of(arrays)[0].batch(np.arange(36))
        losses = network.train().losses(batch)
        losses.sum().backward()
        loss, gradient = gradient_by_hand(before, arrays, np.arange(36))
        assert losses[1].item() == pytest.approx(loss, rel=1e-10)
        for name, parameter in network.named_parameters():
            np.testing.assert_allclose(parameter.grad[1], gradient[name], atol=1e-9, err_msg=name)
        training = Training(max_epochs=1, batch_months=36)
        _, trained, _ = train(arrays, list(self.MEMBERS), training)
        assert trained[1].train_loss == pytest.approx([loss], rel=1e-10)

    def test_steps(self, arrays):
        """Three epochs of one batch each: Adam of algorithm 1 written out, l1 in the gradient (eq. 19)."""
        training = Training(max_epochs=3, patience=9, batch_months=36)
        network, _, _ = train(arrays, list(self.MEMBERS), training)
        for seat, member in enumerate(self.MEMBERS):
            w = weights_of(stack(self.MEMBERS).state_dict(), seat)
            first, second = (dict.fromkeys(w, 0.0) for _ in range(2))
            for step in (1, 2, 3):
                _, gradient = gradient_by_hand(w, arrays, np.arange(36))
                for name, of_loss in gradient.items():
                    l1 = 0.0 if "norms" in name else member.candidate.l1
                    g = of_loss + l1 * np.sign(w[name])
                    first[name] = 0.9 * first[name] + 0.1 * g
                    second[name] = 0.999 * second[name] + 0.001 * g**2
                    mean, square = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
                    w[name] = w[name] - member.candidate.learning_rate * mean / (np.sqrt(square) + 1e-8)
            for name, parameter in network.named_parameters():
                np.testing.assert_allclose(parameter.detach()[seat], w[name], atol=1e-8, err_msg=name)

    def test_validation_loss_uses_running_statistics(self, arrays):
        network, trained, _ = train(arrays, list(self.MEMBERS), Training(max_epochs=1, batch_months=7))
        for seat in (0, 1):
            w = weights_of(network.state_dict(), seat)
            by_hand = loss_in_use(w, arrays, range(36, 48))
            assert trained[seat].validation_loss == pytest.approx([by_hand], rel=1e-10)

    def test_the_kept_weights_have_the_lowest_loss(self, arrays):
        """Recomputed in numpy from the returned weights, after a training that went too far."""
        members = [Member(Candidate(0.0, rate, HIDDEN), 2, 4) for rate in (0.05, 0.1)]
        _, trained, best = train(arrays, members, Training(max_epochs=60, patience=8, batch_months=12))
        for seat, one in enumerate(trained):
            assert 1 < one.best_epoch < len(one.validation_loss)
            by_hand = loss_in_use(weights_of(best, seat), arrays, range(36, 48))
            assert by_hand == pytest.approx(min(one.validation_loss), rel=1e-10)
            assert by_hand != pytest.approx(one.validation_loss[-1], rel=1e-5)


def group_of(bias):
    """As much of a group of beta networks as a stack needs to count its members."""
    group = torch.nn.Module()
    group.bias = torch.nn.Parameter(bias.clone())
    return group


class Bowl(torch.nn.Module):
    """Two parameters per member, ``w`` of the whole stack and the bias of a group, which is not penalised."""

    def __init__(self, w, biases) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(w.clone())
        self.betas = torch.nn.ModuleList(map(group_of, biases))

    @property
    def free(self):
        return torch.cat([group.bias for group in self.betas])

    def losses(self):
        return ((self.w - 0.3) ** 4).sum((1, 2)) + ((self.free + 1) ** 2).sum(1) * self.w.sum((1, 2)).cos()


class TestAdam:
    RATES, L1 = (0.01, 0.1, 0.003), (0.0, 0.2, 1.0)

    def test_torch(self):
        """Each member is what torch.optim.Adam makes of it alone; the first group's second leaves early."""
        random = torch.Generator().manual_seed(7)
        w = torch.randn(3, 4, 2, generator=random, dtype=torch.float64)
        bias = torch.randn(3, 5, generator=random, dtype=torch.float64)
        network = Bowl(w, [bias[:2], bias[2:]])
        unpenalised = {"betas.0.bias", "betas.1.bias"}
        optimiser = StackedAdam(network, torch.tensor(self.RATES), torch.tensor(self.L1), unpenalised)
        twins = []
        for seat in range(3):
            twin = Bowl(w[[seat]], [bias[[seat]]])
            # The stack holds its step sizes and penalties in float32.
            rate, l1 = (float(torch.tensor(v[seat])) for v in (self.RATES, self.L1))
            adam = torch.optim.Adam(twin.parameters(), lr=rate)
            for _ in range(10 if seat == 1 else 25):
                adam.zero_grad()
                (twin.losses().sum() + l1 * twin.w.abs().sum()).backward()
                adam.step()
            twins.append(twin)

        def same(place, seat):
            for name in ("w", "free"):
                ours, theirs = getattr(network, name)[place], getattr(twins[seat], name)[0]
                torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)

        for step in range(25):
            if step == 10:
                same(1, 1)
                optimiser.select(select(network, [0, 2]))
            network.losses().sum().backward()
            optimiser.step()
            assert network.w.grad is None
        same(0, 0)
        same(1, 2)


class Scripted(torch.nn.Module):
    """Learns while it trains; in use its losses are scripted, epoch by epoch, member by member.

    The weight of a member in epoch e of its training is kept in ``history``; ``seen`` holds the batches.
    """

    def __init__(self, scripts) -> None:
        super().__init__()
        self.betas = torch.nn.ModuleList([group_of(torch.ones(len(scripts)))])
        self.register_buffer("script", torch.tensor(scripts, dtype=torch.float64))
        self.register_buffer("seat", torch.arange(len(scripts)))
        self.epoch, self.history, self.seen = 0, [[] for _ in scripts], []

    def losses(self, batch):
        weight = self.betas[0].bias
        if self.training:
            self.seen.append((batch.ends.tolist(), batch.count))
            return (weight - 100) ** 2
        self.epoch += 1
        for place, seat in enumerate(self.seat.tolist()):
            self.history[seat].append(weight[place].item())
        return self.script[:, self.epoch - 1]


def scripted(arrays, scripts, patience=9, batch_months=12):
    longest = max(map(len, scripts))
    padded = [[*map(float, script), *[script[-1]] * (longest - len(script))] for script in scripts]
    network = Scripted(padded)
    members = [Member(Candidate(0.0, 0.5, HIDDEN), 1, seed) for seed in range(len(scripts))]
    training = Training(max_epochs=longest, patience=patience, batch_months=batch_months)
    return train(arrays, members, training, network)


class TestBatches:
    @pytest.mark.parametrize("size", [1, 7, 36, 64])
    def test_every_training_month_once_an_epoch(self, arrays, size):
        """Each epoch is a permutation of all months, in batches of the size asked for and one rest."""
        network, _, _ = scripted(arrays, [[2, 1]], batch_months=size)
        per_epoch = -(-36 // size)
        batches = [months for months, _ in network.seen]
        assert [len(months) for months in batches[:per_epoch]] == [
            *[size] * (36 // size), *([36 % size] if 36 % size else []),
        ]  # fmt: skip
        epochs = [list(itertools.chain(*part)) for part in (batches[:per_epoch], batches[per_epoch:])]
        assert [sorted(epoch) for epoch in epochs] == [list(range(36))] * 2
        assert epochs[0] != epochs[1]
        assert all(count == sum(len(arrays.z[t]) for t in months) for months, count in network.seen)

    def test_a_batch_holds_its_months(self, arrays):
        """The stocks, their moments and the end of the sequence of every month, whatever their order."""
        batch = months_of(arrays)[1].batch(np.array([7, 0, 3]))
        for place, t in enumerate((43, 36, 39)):
            z, r = (tensor.numpy() for tensor in batch.stocks.months[place])
            np.testing.assert_allclose(z, np.column_stack([arrays.z[t], np.ones(len(arrays.z[t]))]))
            np.testing.assert_allclose(r, 100 * arrays.r[t])
            np.testing.assert_allclose(batch.gram[place], z.T @ z, rtol=1e-12)
            np.testing.assert_allclose(batch.cross[place], z.T @ r, atol=1e-10)
            assert batch.squares[place].item() == pytest.approx(r @ r)
            np.testing.assert_allclose(batch.x[batch.ends[place]], 100 * arrays.managed.x[t])

    def test_the_order_depends_on_the_test_year_alone(self, arrays, monkeypatch):
        """The same for all K, seeds and families, so that members of a stack can be compared."""
        orders = []
        from seqpricing_core.training import fit

        def watch(network, members, months, training, order):
            orders.append(order.bit_generator.state["state"])
            return train_members(network, members, months, training, order)

        monkeypatch.setattr(fit, "train_members", watch)
        two_depths = {"l1": [0.01], "learning_rate": [0.01], "beta_hidden": [[8], [8, 4]]}  # two stacks
        for config, seeds in ((CA1(), (1, 2)), (SeqLAT(lookback=2, grid=two_depths), (3,))):
            fit_family(config, [1], arrays.samples, Training(max_epochs=1, seeds=seeds))
        assert len(orders) == 3
        assert all(order == orders[0] for order in orders)


class TestEarlyStopping:
    """The validation loss of every epoch is scripted, so that the right answer is known."""

    CASES: ClassVar = {
        "stops": ([5, 4, 3, 3.5, 3.2, 1], 2, 5, 3),
        "recovers within patience": ([5, 4, 3, 3.5, 2, 2.5, 2.5], 2, 7, 5),
        "first is best": ([1, 2, 3], 1, 2, 1),
        "a tie is no improvement": ([3, 3, 3, 3], 2, 3, 1),
        "never stops": ([5, 4, 3, 2], 2, 4, 4),
    }

    @pytest.mark.parametrize(("losses", "patience", "epochs", "best"), CASES.values(), ids=CASES)
    def test_when_it_stops_and_what_it_keeps(self, arrays, losses, patience, epochs, best):
        network, (trained,), state = scripted(arrays, [losses], patience)
        assert trained.validation_loss == losses[:epochs]
        assert len(trained.train_loss) == len(network.history[0]) == epochs
        assert (trained.best_epoch, trained.lowest_loss) == (best, losses[best - 1])
        assert len(set(network.history[0])) == epochs
        assert state["betas.0.bias"].tolist() == [network.history[0][best - 1]]

    @pytest.mark.parametrize("diverged", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("before", [[], [5.0, 4.0], [4.0, 5.0, 5.0]])
    def test_an_epoch_that_diverged_is_not_the_best(self, arrays, before, diverged):
        """NaN is no minimum: training ends, and the best finite epoch is kept, if there is one."""
        network, (trained,), state = scripted(arrays, [[*before, *[diverged] * 5]])
        assert trained.validation_loss == before
        assert len(network.history[0]) == len(before) + 1
        if before:
            best = int(np.argmin(before))
            assert trained.best_epoch == best + 1
            assert state["betas.0.bias"].tolist() == [network.history[0][best]]
        else:
            assert (trained.best_epoch, trained.lowest_loss) == (0, math.inf)

    def test_each_member_stops_on_its_own(self, arrays):
        """All the cases above and a diverging one in one stack: every member as if it were alone."""
        cases = [case for case in self.CASES.values() if case[1] == 2]
        scripts = [*(case[0] for case in cases), [4, math.nan, 1], [9, 8, 7, 6, 5, 4, 3]]
        network, trained, state = scripted(arrays, scripts, patience=2)
        # The scripts go on with their last value where another member's is longer.
        epochs = [5, 7, 3, 6, 1, 7]
        best = [3, 5, 1, 4, 1, 7]
        assert [len(one.validation_loss) for one in trained] == epochs
        assert [one.best_epoch for one in trained] == best
        assert [len(history) for history in network.history] == [5, 7, 3, 6, 2, 7]
        kept = [history[epoch - 1] for history, epoch in zip(network.history, best, strict=True)]
        assert state["betas.0.bias"].tolist() == kept
        assert [one.member.seed for one in trained] == list(range(6))
        # Members with the same step size take the same steps, whoever leaves beside them.
        longest = network.history[-1]
        assert all(history == longest[: len(history)] for history in network.history)

    def test_nothing_is_kept_after_the_last_has_stopped(self, arrays):
        network, _, _ = scripted(arrays, [[1, 2, 3, 4], [1, 1, 1, 1]], patience=1)
        assert network.epoch == 2


class TestGrid:
    GRID = Grid(l1=(0.0, 0.3), learning_rate=(1e-5, 0.02), beta_hidden=((3, 2), HIDDEN))
    TRAINING = Training(max_epochs=15, patience=4, batch_months=12, seeds=(3,))

    @pytest.fixture(scope="class")
    def fitted(self, arrays):
        return fit_family(CA2(grid=self.GRID), [2], arrays.samples, self.TRAINING).models[2][0]

    def test_every_combination_once(self):
        found = [(c.l1, c.learning_rate, c.beta_hidden) for c in candidates_of(self.GRID)]
        assert len(found) == len(set(found)) == 8
        assert set(found) == set(itertools.product((0.0, 0.3), (1e-5, 0.02), ((3, 2), HIDDEN)))
        search = open_search(GridSearch(), self.GRID, 1)
        assert search.ask() == candidates_of(self.GRID)
        search.tell([1.0] * 8)
        assert search.ask() == []

    def test_the_winner_has_the_lowest_validation_loss(self, fitted, arrays):
        """Recomputed through the objects a study uses: fitted returns of the validation year, in percent."""
        record, sample = fitted.record, arrays.samples.validation
        losses = [candidate["validation_loss"] for candidate in record["candidates"]]
        assert len(losses) == len(set(losses)) == 8
        winner = record["candidates"][int(np.argmin(losses))]
        assert record["winner"] == {name: winner[name] for name in ("l1", "learning_rate", "beta_hidden")}
        assert min(record["validation_loss"]) == winner["validation_loss"]
        assert record["best_epoch"] == winner["best_epoch"] == np.argmin(record["validation_loss"]) + 1
        assert winner["epochs"] == len(record["validation_loss"]) == len(record["train_loss"])
        squares = []
        for t in range(12):
            known, outcome = sample.known(t), sample.outcome(t)
            fit = fitted_returns(fitted.model, known, fitted.model.latent_factors(known, outcome))
            squares.extend((100 * (outcome.excess_return - fit)) ** 2)
        assert np.mean(squares) == pytest.approx(min(losses), rel=1e-5)

    def test_seeds_matter_and_repeat(self, arrays):
        """The same study twice: the same bytes. Another seat in the stack: the same up to float32."""
        config = CA1(grid=Grid(l1=(0.01,), learning_rate=(0.01,), beta_hidden=((5,),)))
        one, again, turned = (
            fit_family(config, [1], arrays.samples, self.TRAINING.model_copy(update={"seeds": seeds}))
            for seeds in ((1, 2), (1, 2), (2, 1))
        )
        assert one.to_bytes() == again.to_bytes()
        first, second = (member.model.state() for member in one.models[1])
        for state, other in zip((second, first), (m.model.state() for m in turned.models[1]), strict=True):
            for name, array in state.items():
                np.testing.assert_allclose(other[name], array, rtol=1e-3, atol=1e-4, err_msg=name)
        assert np.abs(first["factor.weight"] - second["factor.weight"]).max() > 0.05


class TestSearches:
    """Random draws and optuna's proposals, within the ranges that the grid spans."""

    GRID = Grid(l1=(1e-3, 1e-1), learning_rate=(1e-4, 1e-3, 1e-2), beta_hidden=((8,), (16,), (64,)))

    @staticmethod
    def distance(candidate):
        """A loss with its minimum inside the ranges."""
        hidden = {(8,): 1.0, (16,): 0.0, (64,): 2.0}[candidate.beta_hidden]
        return (
            (math.log10(candidate.l1) + 2.6) ** 2 + (math.log10(candidate.learning_rate) + 2.2) ** 2 + hidden
        )

    def rounds(self, config, seed=1, loss=None, grid=None):
        search = open_search(config, grid or self.GRID, seed)
        done = []
        while asked := search.ask():
            done.append(asked)
            search.tell([(loss or self.distance)(candidate) for candidate in asked])
        return done

    SEARCHES = (RandomSearch(kind="random", trials=25), OptunaSearch(kind="optuna", trials=25, round_size=10))

    @pytest.mark.parametrize("config", SEARCHES, ids=lambda c: c.kind)
    def test_within_the_ranges(self, config):
        found = list(itertools.chain(*self.rounds(config)))
        assert len(found) == len(set(found)) == 25
        assert all(1e-3 <= c.l1 <= 1e-1 and 1e-4 <= c.learning_rate <= 1e-2 for c in found)
        assert {c.beta_hidden for c in found} == set(self.GRID.beta_hidden)
        # Log-uniform, not on the grid: about as many draws below the middle of a range as above it.
        below = np.mean([c.l1 < 1e-2 for c in found])
        assert 0.2 < below <= 1.0
        assert not {c.learning_rate for c in found} & set(self.GRID.learning_rate)

    @pytest.mark.parametrize("config", SEARCHES, ids=lambda c: c.kind)
    def test_reproducible(self, config):
        """The seed of the search and that of the network both count; the same two give the same."""
        first = self.rounds(config)
        assert first == self.rounds(config)
        assert first != self.rounds(config, seed=2)
        assert first != self.rounds(config.model_copy(update={"seed": 2}))

    @pytest.mark.parametrize("config", SEARCHES, ids=lambda c: c.kind)
    def test_a_penalty_that_may_be_zero(self, config):
        """No logarithm of zero: uniform then."""
        grid = self.GRID.model_copy(update={"l1": (0.0, 0.1)})
        flat = list(itertools.chain(*self.rounds(config, grid=grid, loss=lambda _: 1.0)))
        assert all(0 <= c.l1 <= 0.1 for c in flat)
        assert max(c.l1 for c in flat) > 0.03

    @pytest.mark.parametrize("config", SEARCHES, ids=lambda c: c.kind)
    def test_a_single_point(self, config):
        grid = Grid(l1=(0.01,), learning_rate=(0.001,), beta_hidden=((8,),))
        for candidate in itertools.chain(*self.rounds(config, grid=grid, loss=lambda _: 1.0)):
            assert candidate.beta_hidden == (8,)
            assert candidate.l1 == pytest.approx(0.01, rel=1e-12)
            assert candidate.learning_rate == pytest.approx(0.001, rel=1e-12)

    def test_rounds(self):
        assert [len(r) for r in self.rounds(self.SEARCHES[1])] == [10, 10, 5]
        assert [len(r) for r in self.rounds(self.SEARCHES[0])] == [25]

    def test_losses_steer_optuna(self):
        """The last round is nearer to the minimum than the first, which is random; else it is not."""
        gains, blind = [], []
        for seed in range(4):
            config = OptunaSearch(kind="optuna", trials=60, round_size=15, seed=seed)
            for kept, loss in ((gains, None), (blind, lambda _: 1.0)):
                rounds = self.rounds(config, loss=loss)
                first, last = (np.mean([self.distance(c) for c in r]) for r in (rounds[0], rounds[-1]))
                kept.append(first - last)
        assert min(gains) > 0.3
        assert np.mean(gains) > np.mean(blind) + 0.5

    @pytest.mark.parametrize("failed", [math.inf, math.nan])
    def test_failures_are_told_as_failed(self, failed):
        """They are no finite loss, and the search goes on."""
        search = open_search(OptunaSearch(kind="optuna", trials=6, round_size=3), self.GRID, 1)
        search.ask()
        search.tell([2.0, failed, 1.0])
        states = [trial.state for trial in search._study.trials]
        complete, fail = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL
        assert states == [complete, fail, complete]
        assert search._study.best_value == 1.0
        assert len(search.ask()) == 3

    @pytest.mark.parametrize(
        "config", [c.model_copy(update={"trials": 5}) for c in SEARCHES], ids=lambda c: c.kind
    )
    def test_whole_fit(self, arrays, config):
        """Every K and seed has its own trials, the best of them wins; the same study, the same bytes."""
        if config.kind == "optuna":
            config = config.model_copy(update={"round_size": 2})
        training = Training(max_epochs=4, batch_months=12, seeds=(1, 2), search=config)
        one, two = (
            fit_family(SeqLAT(lookback=2, grid=self.GRID), [1, 2], arrays.samples, training) for _ in range(2)
        )
        assert one.to_bytes() == two.to_bytes()
        tried = []
        for members in one.models.values():
            assert [member.record["seed"] for member in members] == [1, 2]
            for member in members:
                candidates = member.record["candidates"]
                assert len(candidates) == 5
                best = min(candidates, key=lambda c: c["validation_loss"])
                assert member.record["winner"] == {n: best[n] for n in member.record["winner"]}
                assert all(1e-4 <= c["learning_rate"] <= 1e-2 for c in candidates)
                tried.append(tuple(c["l1"] for c in candidates))
        assert tried[0] != tried[1]  # the seeds


class TestWarmStart:
    CONFIG = CA1(grid=Grid(l1=(0.0,), learning_rate=(1e-7,), beta_hidden=((5,),)))
    COLD = Training(max_epochs=1, batch_months=36, seeds=(1, 2))

    @pytest.fixture(scope="class")
    def before(self, arrays):
        """A fit that learned something."""
        config = CA1(grid=Grid(l1=(0.0,), learning_rate=(0.02,), beta_hidden=((5,),)))
        training = Training(max_epochs=30, patience=30, batch_months=12, seeds=(1, 2))
        return fit_family(config, [1, 2], arrays.samples, training)

    def test_continues_from_the_winner(self, arrays, before):
        """Steps so small that the first epoch has the loss of the weights it began with."""
        warm = fit_family(self.CONFIG, [1, 2], arrays.samples, self.COLD, before)
        cold = fit_family(self.CONFIG, [1, 2], arrays.samples, self.COLD)
        for k in (1, 2):
            for old, new, fresh in zip(before.models[k], warm.models[k], cold.models[k], strict=True):
                for name, array in old.model.state().items():
                    if name.rsplit(".", 1)[-1] not in ("mean", "variance"):
                        np.testing.assert_allclose(new.model.state()[name], array, atol=1e-6, err_msg=name)
                assert new.record["train_loss"][0] < 0.98 * fresh.record["train_loss"][0]
                np.testing.assert_allclose(
                    new.record["validation_loss"][0], min(old.record["validation_loss"]), rtol=0.05
                )

    def test_another_architecture_starts_cold(self, arrays, before):
        """Other hidden layers, a K that was not there, another seed."""
        wider = CA1(grid=Grid(l1=(0.0,), learning_rate=(1e-7,), beta_hidden=((6,),)))
        for config, k, seeds in ((wider, 2, (1,)), (self.CONFIG, 3, (1,)), (self.CONFIG, 2, (5,))):
            training = self.COLD.model_copy(update={"seeds": seeds})
            warm = fit_family(config, [k], arrays.samples, training, before)
            assert warm.to_bytes() == fit_family(config, [k], arrays.samples, training).to_bytes()

    def test_the_one_before_is_not_changed(self, arrays, before):
        bytes_before = before.to_bytes()
        fit_family(self.CONFIG.model_copy(), [1, 2], arrays.samples, Training(max_epochs=3), before)
        assert before.to_bytes() == bytes_before


def test_remember_needs_no_engine():
    """The rule itself, epoch by epoch: improved, over."""
    one = TrainedMember(member=Member(Candidate(0.0, 0.1, ()), 1, 1))
    steps = [one.remember(0.0, loss, 2) for loss in (3.0, 2.0, 2.0, 1.5, 1.6, 1.6)]
    assert steps == [
        (True, False), (True, False), (False, False), (True, False), (False, False), (False, True),
    ]  # fmt: skip
