"""Networks of *sequence* against plain loops written from the paper's equations, stock by stock, in float64.

The oracle knows nothing of packing, gathering or shared projections: it takes the months with data of one
window and goes through them one by one. Gradients are compared with those that autograd finds through the
loop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from seqpricing_core.models.configs import DNN, GRU, LSTM, RNN, BiLSTM, LSTMAttention, Transformer
from seqpricing_core.models.sequence.predictor import NETWORKS, build
from seqpricing_core.nn.sequence_batch import SequenceBatch, longest_first, renumbered
from seqpricing_core.panel.sequences import Windows

P, L = 5, 6
CONFIGS = {
    "dnn": DNN(lookback=L, hidden=(7, 5, 3)),
    "rnn": RNN(lookback=L, hidden=4),
    "lstm": LSTM(lookback=L, hidden=4),
    "gru": GRU(lookback=L, hidden=4),
    "bi_lstm": BiLSTM(lookback=L, hidden=4),
    "lstm_att": LSTMAttention(lookback=L, hidden=4),
    "transformer": Transformer(lookback=L, hidden=8, heads=2, feed_forward=6),
}


@dataclass(frozen=True)
class Case:
    """Windows over a table of stock-months, some with months without data at the start or in between."""

    x: Tensor
    windows: Windows

    @property
    def batch(self) -> SequenceBatch:
        return SequenceBatch.of(self.windows, torch.device("cpu"))

    def months(self, b: int) -> list[tuple[int, Tensor]]:
        """Place in the window and x of each month with data of one window."""
        return [(k, self.x[row]) for k, row in enumerate(self.windows.rows[b]) if row >= 0]


def make_case(*, complete: bool = False, seed: int = 0) -> Case:
    random = np.random.default_rng(seed)
    rows = random.integers(20, size=(9, L)).astype(np.int32)
    if not complete:
        rows[1, :3] = -1  # a young stock
        rows[2, :5] = -1  # one month only
        rows[3, 2] = -1  # a gap
        rows[4, [0, 3, 4]] = -1
        rows = rows[longest_first(np.count_nonzero(rows >= 0, axis=1))]
    return Case(torch.tensor(random.uniform(-1, 1, (20, P))), Windows(rows))


def gates(layer, x, h) -> list[Tensor]:
    """W x + b and U h of each gate, in the order of the cell."""
    cell = layer.cell
    w, u, b = cell.input_weight[0], cell.hidden_weight[0], cell.bias[0]
    return [(w[g] @ x + b[g], u[g] @ h) for g in range(len(w))]


def run_layer(kind: str, layer, xs: list[Tensor]) -> list[Tensor]:
    """States h_1 .. h_T of one layer (RNN: eq. 4; LSTM: eq. 6-10; GRU: as in `cells`)."""
    h = c = torch.zeros(layer.cell.hidden, dtype=torch.double)
    states = []
    for x in xs:
        parts = gates(layer, x, h)
        if kind == "rnn":
            h = torch.tanh(parts[0][0] + parts[0][1])
        elif kind == "gru":
            update, reset = (1 / (1 + torch.exp(-(a + b))) for a, b in parts[:2])
            new = torch.tanh(parts[2][0] + reset * parts[2][1])
            h = update * h + (1 - update) * new
        else:
            f, i, o = (1 / (1 + torch.exp(-(a + b))) for a, b in parts[:3])
            c = f * c + i * torch.tanh(parts[3][0] + parts[3][1])
            h = o * torch.tanh(c)
        states.append(h)
    return states


def represent(family: str, network, case: Case, b: int) -> Tensor:
    """The representation of one window, from the equations."""
    months = case.months(b)
    xs = [x for _, x in months]
    if family == "dnn":
        flat = torch.zeros(L, P, dtype=torch.double)
        for k, x in months:
            flat[k] = x
        z = flat.reshape(-1)
        for layer in network.layers:
            z = (layer.weight @ z + layer.bias).clamp(min=0)
        return z
    if family in {"rnn", "gru", "lstm", "lstm_att"}:
        for layer in network.stack.layers:
            xs = run_layer(family, layer, xs)
        if family != "lstm_att":
            return xs[-1]
        scores = [network.score @ torch.tanh(network.of_each @ h + network.of_last @ xs[-1]) for h in xs]
        total = sum(torch.exp(e) for e in scores)
        return sum(torch.exp(e) / total * h for e, h in zip(scores, xs, strict=True))
    if family == "bi_lstm":
        for ahead, back in zip(network.ahead, network.back, strict=True):
            there = run_layer("lstm", ahead, xs)
            again = run_layer("lstm", back, xs[::-1])[::-1]
            xs = [torch.cat(pair) for pair in zip(there, again, strict=True)]
        return torch.cat([there[-1], again[0]])
    return transformer(network, months)


def transformer(network, months: list[tuple[int, Tensor]]) -> Tensor:
    """All months send queries, keys and values (Vaswani et al. 2017); the output at T is taken at the end."""
    d = network.query.weight.shape[0]
    width = d // network.heads
    embedded = []
    for k, x in months:
        place = torch.zeros(d, dtype=torch.double)
        for i in range(0, d, 2):
            place[i] = math.sin(k / 10_000 ** (i / d))
            place[i + 1] = math.cos(k / 10_000 ** (i / d))
        embedded.append(network.embedding.weight @ x + network.embedding.bias + place)
    key_value = [network.key_value.weight @ e + network.key_value.bias for e in embedded]
    outputs = []
    for e in embedded:
        query = network.query.weight @ e + network.query.bias
        heads = []
        for head in range(network.heads):
            mine = slice(head * width, (head + 1) * width)
            scores = torch.stack([query[mine] @ kv[:d][mine] / math.sqrt(width) for kv in key_value])
            alpha = torch.exp(scores) / torch.exp(scores).sum()
            heads.append(sum(a * kv[d:][mine] for a, kv in zip(alpha, key_value, strict=True)))
        y = norm(network.norms[0], e + network.out.weight @ torch.cat(heads) + network.out.bias)
        inner = (network.widen.weight @ y + network.widen.bias).clamp(min=0)
        outputs.append(norm(network.norms[1], y + network.narrow.weight @ inner + network.narrow.bias))
    return outputs[-1]


def norm(layer, x: Tensor) -> Tensor:
    centred = x - x.mean()
    return centred / torch.sqrt((centred**2).mean() + layer.eps) * layer.weight + layer.bias


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(1)
    return {family: build(config, P).double() for family, config in CONFIGS.items()}


def test_every_network_is_here():
    assert set(CONFIGS) == set(NETWORKS)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("complete", [False, True])
class TestAgainstThePaper:
    def test_forecasts_and_gradients(self, networks, family, complete):
        network, case = networks[family], make_case(complete=complete)
        weights = list(network.parameters())
        expected = torch.stack(
            [network.weight[0] @ represent(family, network, case, b) + network.bias[0] for b in range(9)]
        )
        found = network(network.project(case.x), case.batch)
        assert torch.allclose(found, expected, rtol=0, atol=1e-12)
        one, other = (torch.autograd.grad(y.sin().sum(), weights) for y in (found, expected))
        for ours, theirs in zip(one, other, strict=True):
            assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)

    def test_scoring_is_the_same_function(self, networks, family, complete):
        """Without gradients other code runs, step by step and nothing kept."""
        network, case = networks[family], make_case(complete=complete)
        trained = network(network.project(case.x), case.batch)
        with torch.inference_mode():
            scored = network(network.project(case.x), case.batch)
        assert torch.allclose(scored, trained.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("lookback", "heads"), [(1, 1), (1, 8), (4, 1), (4, 4), (4, 8)])
def test_transformer_of_any_shape(lookback, heads):
    """One month, one head, heads of one number, months missing: z, and the gradients of weights and x."""
    torch.manual_seed(2)
    config = Transformer(lookback=lookback, hidden=8, heads=heads, feed_forward=6)
    network = build(config, P).double()
    with torch.no_grad():
        network.query.weight *= 10  # attention far from equal
    rows = make_case(seed=4).windows.rows[:, -lookback:]
    rows = rows[longest_first(np.count_nonzero(rows >= 0, axis=1))]
    case = Case(make_case(seed=4).x.requires_grad_(), Windows(rows))
    expected = torch.stack([represent("transformer", network, case, b) for b in range(len(rows))])
    found = network.represent(network.project(case.x), case.batch)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    inner = [case.x, *(weight for name, weight in network.named_parameters() if "." in name)]
    one, other = (torch.autograd.grad(z.sin().sum(), inner) for z in (found, expected))
    for ours, theirs in zip(one, other, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-11)


def test_attention_is_not_rounded_under_autocast():
    """Training in bfloat16 rounds the wide products, not the weights of months."""
    torch.manual_seed(3)
    network, case = build(CONFIGS["transformer"], P), make_case()
    x = case.x.float()
    with torch.inference_mode():
        expected, z = network.attend(x, case.batch), network.represent(x, case.batch)
        with torch.autocast("cpu", torch.bfloat16):
            found, low = network.attend(x, case.batch), network.represent(x, case.batch)
    assert torch.equal(found, expected)
    assert 0 < (low - z).abs().max() < 0.05


@pytest.mark.parametrize("family", CONFIGS)
def test_padding_is_inert(networks, family):
    """Whatever lies in the rows that no window holds, and whichever row a missing month would point to."""
    network, case = networks[family], make_case()
    held = np.unique(case.windows.rows[case.windows.rows >= 0])
    junk = case.x.clone()
    junk[[row for row in range(len(junk)) if row not in held]] = 1e6
    junk = torch.cat([torch.full((1, P), 1e6, dtype=torch.double), junk])  # row 0: where padding points
    moved = Windows(np.where(case.windows.rows >= 0, case.windows.rows + 1, -1).astype(np.int32))
    with torch.inference_mode():
        one = network(network.project(case.x), case.batch)
        other = network(network.project(junk), SequenceBatch.of(moved, torch.device("cpu")))
    assert torch.allclose(one, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("family", ["lstm", "gru", "rnn", "bi_lstm", "lstm_att"])
def test_a_gap_is_passed_over(networks, family):
    """A recurrent state is what the months with data made it, however long ago."""
    network, case = networks[family], make_case(complete=True)
    rows = case.windows.rows[:1].copy()
    rows[0, 2] = -1
    early = np.concatenate([[[-1]], rows[:, :2], rows[:, 3:]], axis=1).astype(np.int32)
    with torch.inference_mode():
        one, other = (
            network(network.project(case.x), SequenceBatch.of(Windows(each), torch.device("cpu")))
            for each in (rows, early)
        )
    assert torch.allclose(one, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("family", ["lstm_att", "transformer"])
def test_attention(networks, family):
    """Sums to one, is positive where there is data and zero where there is none."""
    network, case = networks[family], make_case()
    with torch.inference_mode():
        weights = network.attend(network.project(case.x), case.batch).numpy()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=0, atol=1e-12)
    lengths = case.windows.lengths
    assert (np.count_nonzero(weights, axis=1) == lengths).all()
    if family == "transformer":
        assert ((weights > 0) == case.windows.observed).all()


def test_dropout_leaves_the_mean(networks):
    """A fifth of z is dropped in training, the rest scaled up; without a generator nothing is dropped."""
    network, case = networks["lstm"], make_case()
    with torch.no_grad():
        projected, batch = network.project(case.x), case.batch
        generator = torch.Generator().manual_seed(0)
        draws = torch.stack([network(projected, batch, generator) for _ in range(4000)])
        plain = network(projected, batch)
    assert (draws.std(0) > 0.01).all()
    np.testing.assert_allclose(draws.mean(0), plain, atol=5 * float(draws.std(0).max()) / math.sqrt(4000))


def test_renumbered_windows_hold_the_same_rows():
    """Against `numpy.unique`: each row once, and the same rows in each window."""
    random = np.random.default_rng(3)
    rows = random.integers(-1, 300, size=(50, L)).astype(np.int32)
    windows, held = renumbered(Windows(rows), random.integers(0, 9, 300).astype(np.int32))
    assert sorted(held) == list(np.unique(rows[rows >= 0]))
    assert (np.where(windows.rows >= 0, held[windows.rows], -1) == rows).all()
