"""The training engine against its plain twin: torch's own modules, autograd, one candidate at a time.

The twin is ``benchmarks/plain_loop.py``. Gradients also by finite differences (gradcheck, float64).
"""

from __future__ import annotations

import copy
import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch

from seqpricing_core.models import conditional_autoencoder, sequence_factor
from seqpricing_core.models.configs import SeqGAT, SeqLAT, SeqRAT
from seqpricing_core.models.family import fit_family
from seqpricing_core.nn.batch_norm import BatchNorm
from seqpricing_core.nn.losses import (
    Pass,
    hidden_moments,
    squared_residuals,
    squared_residuals_of_groups,
)
from seqpricing_core.nn.months import TrainingMonths
from seqpricing_core.nn.residuals import _by_torch, split_layer
from seqpricing_core.nn.stack import fill, initial_state, member_state, select
from seqpricing_core.study import Training
from seqpricing_core.training.engine import Member, train_members
from seqpricing_core.training.search import Candidate

CPU = torch.device("cpu")
SEQUENCES = {"seqrat": SeqRAT, "seqgat": SeqGAT, "seqlat": SeqLAT}
LOOKBACK = 4


@pytest.fixture(scope="module")
def arrays(make_arrays):
    return make_arrays(seed=11, stocks=25, factors=2, balanced=False)


def months_of(arrays, dtype=torch.float64):
    samples = arrays.samples
    return tuple(TrainingMonths(s, CPU, 1, dtype) for s in (samples.train, samples.validation))


def builder(family, shape=(4, 5)):
    def build(groups, factors):
        if family in SEQUENCES:
            return sequence_factor.build(SEQUENCES[family](lookback=LOOKBACK), shape, groups, factors)
        return conditional_autoencoder.build(shape, groups, factors)

    return build


def alone(family, member):
    return builder(family)({member.candidate.beta_hidden: 1}, member.factors)


def stack_of(family, members):
    groups = Counter(member.candidate.beta_hidden for member in members)
    network = builder(family)(groups, max(member.factors for member in members))
    return fill(network, [initial_state(lambda m=m: alone(family, m), m.seed) for m in members]).double()


HIDDEN = {
    "ca0": [()], "ca1": [(6,), (3,)], "ca2": [(6, 4), (3, 5)], "ca3": [(6, 4, 3)],
    "seqrat": [(5,), (2,)], "seqgat": [(5,), (2,)], "seqlat": [(5,), (2,), (7,)],
}  # fmt: skip


class TestTwins:
    """A batched fit: penalties, step sizes, widths, K = 1 and 3, two seeds; some members stop early."""

    TRAINING = Training(max_epochs=25, patience=3, batch_months=9)

    @pytest.fixture(scope="class", params=HIDDEN)
    def fits(self, request, arrays, plain_loop):
        family = request.param
        members = [
            Member(Candidate(l1, rate, hidden), k, seed)
            for hidden in HIDDEN[family]
            for l1, rate, k, seed in itertools.product((0.0, 0.05), (0.003, 0.05), (1, 3), (1, 2))
        ]
        stack = stack_of(family, members)
        initial = {name: tensor.clone() for name, tensor in stack.state_dict().items()}
        whole, order = copy.deepcopy(stack), np.random.default_rng(5)
        trained, states = train_members(stack, members, months_of(arrays), self.TRAINING, order)
        twins = []
        for seat, member in enumerate(members):
            like, hidden = alone(family, member).state_dict(), member.candidate.beta_hidden
            own = {n: t[0].numpy() for n, t in member_state(whole, initial, seat, like).items()}
            model = plain_loop.plain_model(family, own, hidden, LOOKBACK).double()
            losses = plain_loop.train_plainly(
                model, member.candidate.l1, member.candidate.learning_rate,
                tuple(
                    plain_loop.PlainMonths(s, torch.float64)
                    for s in (arrays.samples.train, arrays.samples.validation)
                ),
                max_epochs=25, patience=3, batch_months=9, order=np.random.default_rng(5),
            )  # fmt: skip
            best = {n: t[0].numpy() for n, t in member_state(whole, states, seat, like).items()}
            twins.append((model, losses, plain_loop.plain_model(family, best, hidden, LOOKBACK)))
        return trained, twins

    def test_same_losses_epoch_by_epoch(self, fits):
        """1e-6 relative: a rounding error of 1e-16 grows through some hundred steps of Adam."""
        for ours, (_, (train_loss, validation_loss), _) in zip(*fits, strict=True):
            assert len(ours.validation_loss) == len(validation_loss)
            np.testing.assert_allclose(ours.train_loss, train_loss, rtol=1e-6)
            np.testing.assert_allclose(ours.validation_loss, validation_loss, rtol=1e-6)

    def test_same_best_weights(self, fits):
        for _, (twin, _, ours) in zip(*fits, strict=True):
            theirs = twin.state_dict()
            for name, value in ours.state_dict().items():
                if "num_batches" not in name:
                    np.testing.assert_allclose(value, theirs[name], rtol=1e-4, atol=1e-6, err_msg=name)

    def test_members_stop_at_different_times(self, fits):
        """Else nobody ever left the stack early and the test above says little."""
        assert len({len(one.validation_loss) for one in fits[0]}) > 1


class TestGradients:
    @staticmethod
    def inputs(depth, seed=0):
        random = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return torch.randn(*shape, generator=random, dtype=torch.float64).requires_grad_()

        widths = [4, 5, 3, 2][: depth + 1]
        weights = [draw(3, b, a + 1) for a, b in itertools.pairwise(widths)]
        v, c = draw(3, 2, widths[-1]), draw(3, 2)
        months = []
        for n in (7, 300):  # the second month spans two blocks
            z = torch.randn(n, 5, generator=random, dtype=torch.float64)
            z[:, -1] = 1
            months.append((z, torch.randn(n, generator=random, dtype=torch.float64)))
        return Pass(months, 1), v, c, weights

    @staticmethod
    def loss(weights, v, c, stocks):
        if len(weights) == 1:
            return squared_residuals_of_groups(weights, [v], [c], stocks)[0]
        return squared_residuals(weights, v, c, stocks)

    @pytest.mark.parametrize("depth", [1, 2, 3])
    def test_loss_by_finite_differences(self, depth):
        stocks, v, c, weights = self.inputs(depth)
        assert torch.autograd.gradcheck(lambda v, c, *w: self.loss(w, v, c, stocks), (v, c, *weights))

    @pytest.mark.parametrize("depth", [1, 2, 3])
    def test_loss_against_autograd(self, depth):
        """The same loss written with torch's operations; members get different upstream gradients."""
        stocks, v, c, weights = self.inputs(depth, seed=1)
        upstream = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
        ours = self.loss(weights, v, c, stocks)
        found = torch.autograd.grad(ours @ upstream, (v, c, *weights))
        total = torch.zeros(3, dtype=torch.float64)
        for month, (z, r) in enumerate(stocks.months):
            layer = z.mT.expand(3, -1, -1)[:, :-1]
            for w in weights:
                layer = torch.relu(w[..., :-1] @ layer + w[..., -1:])
            prediction = (v[:, month, :, None] * layer).sum(1) + c[:, month, None]
            total = total + ((r - prediction) ** 2).sum(1)
        torch.testing.assert_close(ours, total)
        for one, other in zip(found, torch.autograd.grad(total @ upstream, (v, c, *weights)), strict=True):
            torch.testing.assert_close(one, other)

    @pytest.mark.parametrize("depth", [1, 2])
    def test_moments_by_finite_differences(self, depth):
        stocks, _, _, weights = self.inputs(depth)
        assert torch.autograd.gradcheck(lambda *w: hidden_moments(w, stocks), weights)


class TestBatchNorm:
    @pytest.mark.parametrize("training", [True, False])
    def test_torch(self, training):
        """Linear map, then nn.BatchNorm1d, for each member: values, gradients and running statistics."""
        random = torch.Generator().manual_seed(3)
        z = torch.randn(50, 4, generator=random, dtype=torch.float64) * torch.tensor([1, 0.1, 3, 1])
        weight = torch.randn(2, 3, 4, generator=random, dtype=torch.float64).requires_grad_()
        norm = BatchNorm(2, 3).double()
        with torch.no_grad():
            norm.scale.copy_(torch.rand(2, 3, generator=random) + 0.5)
            norm.shift.copy_(torch.randn(2, 3, generator=random))
            norm.mean.copy_(torch.randn(2, 3, generator=random))
            norm.variance.copy_(torch.rand(2, 3, generator=random) + 0.5)
        theirs = []
        for member in range(2):
            twin = torch.nn.BatchNorm1d(3).double().train(training)
            for name, value in (
                ("weight", norm.scale),
                ("bias", norm.shift),
                ("running_mean", norm.mean),
                ("running_var", norm.variance),
            ):
                getattr(twin, name).data.copy_(value[member])
            theirs.append((twin, twin(z @ weight[member].mT)))
        folded = norm.of_batch(weight, z.sum(0), z.mT @ z, 50) if training else norm.of_training(weight)
        ours = (folded[..., :-1] @ z.mT + folded[..., -1:]).mT
        square = sum((out**3).sum() for _, out in theirs)
        expected = torch.autograd.grad(square, weight)[0]
        torch.testing.assert_close(torch.autograd.grad((ours**3).sum(), weight)[0], expected)
        for member, (twin, out) in enumerate(theirs):
            torch.testing.assert_close(ours[member], out)
            torch.testing.assert_close(norm.mean[member], twin.running_mean)
            torch.testing.assert_close(norm.variance[member], twin.running_var)

    def test_constant_characteristic(self):
        """Variance zero: the norm returns its shift, as torch's does, and gradients stay finite."""
        z = torch.full((20, 1), 0.37, dtype=torch.float64)
        weight = torch.ones(1, 1, 1, dtype=torch.float64, requires_grad=True)
        norm = BatchNorm(1, 1).double()
        folded = norm.of_batch(weight, z.sum(0), z.mT @ z, 20)
        value = folded[0, 0, 0] * 0.37 + folded[0, 0, 1]
        assert abs(float(value.detach())) < 1e-6
        assert torch.isfinite(torch.autograd.grad(value, weight)[0]).all()


class TestPadding:
    @pytest.mark.parametrize("family", HIDDEN)
    def test_members_of_unlike_k(self, arrays, family):
        """K = 1 beside K = 3: losses and gradients are those of the member alone, and its padding stays 0."""
        candidate = Candidate(0.0, 0.01, HIDDEN[family][0])
        small, large = Member(candidate, 1, 4), Member(candidate, 3, 4)
        train, _ = months_of(arrays)
        batch = train.batch(np.arange(9))
        single, together = stack_of(family, [small]), stack_of(family, [small, large])
        losses = [network.losses(batch) for network in (single, together)]
        torch.testing.assert_close(losses[0][0], losses[1][0])
        for loss in losses:
            loss.sum().backward()
        for (name, own), padded in zip(single.named_parameters(), together.parameters(), strict=True):
            corner = (0, *(slice(0, size) for size in own.shape[1:]))
            torch.testing.assert_close(padded.grad[corner], own.grad[0], msg=name)
            rest = padded.grad[0].clone()
            rest[corner[1:]] = 0
            assert not rest.any(), name

    @pytest.mark.parametrize("family", ["ca1", "ca2", "seqgat"])
    def test_all_members_of_a_width_leave(self, arrays, family):
        """They diverge in the first epoch; the one that stays learns as it does alone."""
        narrow, wide = ((3,), (6,)) if family != "ca2" else ((3, 5), (6, 4))
        stays = Member(Candidate(0.01, 0.01, wide), 2, 1)
        leaves = [Member(Candidate(0.0, math.inf, narrow), k, 1) for k in (1, 2)]
        training = Training(max_epochs=4, patience=4, batch_months=12)
        fits = []
        for members in ([*leaves, stays], [stays]):
            trained, states = train_members(
                stack_of(family, members), members, months_of(arrays), training, np.random.default_rng(5)
            )
            like = alone(family, stays).state_dict()
            fits.append((trained, member_state(stack_of(family, members), states, len(members) - 1, like)))
        (together, state), ((expected,), expected_state) = fits
        assert [len(one.validation_loss) for one in together] == [0, 0, 4]
        np.testing.assert_allclose(together[2].validation_loss, expected.validation_loss, rtol=1e-9)
        for name, tensor in expected_state.items():
            torch.testing.assert_close(state[name], tensor, rtol=1e-6, atol=1e-9, msg=name)

    def test_select(self):
        """Members of two widths; one of each stays, and the best weights of all can still be told apart."""
        members = [Member(Candidate(0.0, 0.01, hidden), k, 1) for hidden in ((5,), (2,)) for k in (1, 2)]
        stack = stack_of("seqgat", members)
        before = {name: tensor.clone() for name, tensor in stack.state_dict().items()}
        places = select(stack, [1, 2])
        for name, tensor in stack.state_dict().items():
            expected = {"betas.0": [1], "betas.1": [0]}.get(name[:7], [1, 2])
            assert places[name] == expected
            assert torch.equal(tensor, before[name][expected])


class TestWholeFits:
    def test_company_does_not_matter(self, arrays):
        """One K, one candidate: the validation losses of the whole grid and both K, to 1e-4 (float32)."""
        grid = {"l1": [0.01, 0.1], "learning_rate": [0.003, 0.01], "beta_hidden": [[4], [6]]}
        training = Training(max_epochs=6, patience=2, batch_months=12)
        whole = fit_family(SeqLAT(lookback=3, grid=grid), [1, 2], arrays.samples, training)
        record = whole.models[2][0].record
        for entry in record["candidates"]:
            one = {name: [entry[name]] for name in ("l1", "learning_rate", "beta_hidden")}
            alone = fit_family(SeqLAT(lookback=3, grid=one), [2], arrays.samples, training)
            np.testing.assert_allclose(
                min(alone.models[2][0].record["validation_loss"]), entry["validation_loss"], rtol=1e-4
            )

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_cuda(self, arrays):
        """Same validation losses on a GPU, to 1e-3 relative."""
        losses = []
        for device in ("cpu", "cuda"):
            training = Training(max_epochs=6, patience=6, batch_months=12, device=device)
            fitted = fit_family(SeqLAT(lookback=3), [1, 2], arrays.samples, training)
            losses.append([min(m.record["validation_loss"]) for ms in fitted.models.values() for m in ms])
        np.testing.assert_allclose(*losses, rtol=1e-3)


class TestCompiledPass:
    """The compiled pass against torch operations, for what a block may hold."""

    WIDTHS = (3, 3, 1, 8)

    @pytest.mark.parametrize("precision", [torch.float64, torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("stocks", [1, 255, 256, 700])
    def test_equals_torch(self, precision, stocks):
        torch.manual_seed(stocks)
        sums = torch.float64 if precision == torch.float64 else torch.float32
        rows = sum(self.WIDTHS)
        layer = torch.randn(rows, stocks, dtype=sums).to(precision)
        layer[2, 0] = 0.0
        # Weights and residuals that bfloat16 holds exactly, so that only its rounding of e is compared.
        v = torch.randn(rows).bfloat16().to(sums)
        r, c = torch.randn(stocks, dtype=sums), torch.randn(len(self.WIDTHS), dtype=sums)
        theirs_layer = layer.to(sums, copy=True)
        theirs = _by_torch(theirs_layer, r, v, c, self.WIDTHS, flows=True)
        ours = split_layer(layer, r, v, c, self.WIDTHS, flows=True)
        assert torch.allclose(layer.to(sums), theirs_layer.to(precision).to(sums), rtol=2e-2, atol=1e-5)
        for name in ("squares", "sums", "flow"):
            assert torch.allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-4, atol=1e-4), name

    def test_what_diverged_stays_visible(self):
        layer = torch.randn(sum(self.WIDTHS), 300)
        layer[4, 17] = math.nan
        v, r, c = torch.ones(len(layer)), torch.zeros(300), torch.zeros(len(self.WIDTHS))
        squares = split_layer(layer, r, v, c, self.WIDTHS, flows=True).squares
        assert squares.isnan().tolist() == [False, True, False, False]
