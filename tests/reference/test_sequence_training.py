"""Training against the usual loop: torch's own LSTM over materialised windows, Adam, the same batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from seqpricing_core.models.configs import LSTM, Transformer
from seqpricing_core.models.family import fit_family
from seqpricing_core.models.sequence.predictor import build
from seqpricing_core.study import Training
from seqpricing_core.training.sequence_training import TrainingWindows, train_predictor

CONFIG = LSTM(lookback=5, hidden=6, dropout=0.0, batch=64, learning_rate=5e-3, run_months=4)
ORDER = [1, 0, 3, 2]
"""torch's gates are input, forget, candidate, output."""


class Plain(nn.Module):
    """Weights of one of our networks in torch's LSTM; one bias per gate, as the paper has it."""

    def __init__(self, network, inputs: int) -> None:
        super().__init__()
        self.cells = nn.LSTM(inputs, CONFIG.hidden, CONFIG.layers, batch_first=True)
        self.head = nn.Linear(CONFIG.hidden, 1)
        with torch.no_grad():
            for k, layer in enumerate(network.stack.layers):
                names = {"weight_ih": "input_weight", "weight_hh": "hidden_weight", "bias_ih": "bias"}
                for name, ours in names.items():
                    gates = getattr(layer.cell, ours)[0][torch.tensor(ORDER)]
                    getattr(self.cells, f"{name}_l{k}").copy_(gates.flatten(0, 1))
                getattr(self.cells, f"bias_hh_l{k}").zero_().requires_grad_(False)
            self.head.weight.copy_(network.weight)
            self.head.bias.copy_(network.bias)

    def forward(self, sequences):
        packed = nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
        return self.head(self.cells(packed)[1][0][-1])[:, 0]


def materialised(windows: TrainingWindows, rows):
    """One tensor per window: its months with data."""
    z = windows.panel.characteristics
    held = windows.index.windows(rows, windows.lookback).rows
    return [torch.tensor(z[row[row >= 0]]) for row in held]


def plain_losses(samples, network, seed: int, epochs: int) -> tuple[list[float], list[float]]:
    """Training and validation loss per epoch."""
    train = TrainingWindows(samples.train.panel, CONFIG.lookback, 1)
    plain = Plain(network, samples.shape[0])
    decay = 1e4 * CONFIG.l2 / CONFIG.batch
    optimiser = torch.optim.Adam(
        [p for p in plain.parameters() if p.requires_grad], CONFIG.learning_rate, weight_decay=decay
    )
    random = np.random.default_rng([samples.window.test_year, seed])
    random.integers(2**31)
    history = TrainingWindows(samples.validation.history, CONFIG.lookback, 1)
    tested = np.flatnonzero(history.panel.month_of_row >= samples.validation.panel.months[0])
    tested = tested[~np.isnan(history.panel.excess_return[tested])]
    train_losses, validation_losses = [], []
    for _ in range(epochs):
        order, squares = train.order(CONFIG.run_months, random), 0.0
        for start in range(0, len(order), CONFIG.batch):
            rows = order[start : start + CONFIG.batch]
            returns = torch.tensor(train.panel.excess_return[rows] * 100, dtype=torch.float32)
            loss = (returns - plain(materialised(train, rows))).square().sum()
            optimiser.zero_grad()
            (loss / CONFIG.batch).backward()
            optimiser.step()
            squares += loss.item()
        train_losses.append(squares / len(order))
        with torch.no_grad():
            errors = history.panel.excess_return[tested] * 100 - plain(materialised(history, tested)).numpy()
        validation_losses.append(float((errors**2).mean()))
    return train_losses, validation_losses


def test_losses_of_the_plain_loop(make_arrays):
    """Three epochs, stocks that come and go: the same losses up to the rounding of single precision."""
    samples = make_arrays(balanced=False).samples
    network = build(CONFIG, samples.shape[0])
    expected = plain_losses(samples, network, 7, 3)
    trained = train_predictor(network, CONFIG, samples, Training(max_epochs=3, patience=3), 7)
    np.testing.assert_allclose(trained.course.train_loss, expected[0], rtol=2e-5)
    np.testing.assert_allclose(trained.course.validation_loss, expected[1], rtol=2e-5)


class TestFits:
    @pytest.fixture(scope="class")
    def samples(self, make_arrays):
        return make_arrays(balanced=False).samples

    def test_early_stopping_keeps_the_best_epoch(self, samples):
        fast = CONFIG.model_copy(update={"learning_rate": 0.1, "l2": 0.0})
        fitted = fit_family(fast, [1], samples, Training(max_epochs=40, patience=3)).models[0][0]
        losses = fitted.record["validation_loss"]
        assert len(losses) < 40
        assert fitted.record["best_epoch"] == len(losses) - 3 == int(np.argmin(losses)) + 1
        sample = samples.validation
        errors = np.concatenate([
            sample.outcome(t).excess_return - fitted.model.expected_returns(sample.known(t))
            for t in range(len(sample))
        ])  # fmt: skip
        assert 1e4 * np.nanmean(errors**2) == pytest.approx(min(losses), rel=1e-5)

    def test_fine_tuning_starts_where_the_year_before_ended_and_is_never_worse(self, samples):
        """Losses of epoch zero are those of the weights handed over; kept if no epoch improves on them."""
        before = fit_family(CONFIG, [1], samples, Training(max_epochs=6, patience=6))
        again = fit_family(CONFIG, [1], samples, Training(max_epochs=2, patience=2), before).models[0][0]
        assert again.record["fine_tuned"]
        assert again.record["start_loss"] == pytest.approx(min(before.models[0][0].record["validation_loss"]))
        wild = CONFIG.model_copy(update={"learning_rate": 1e3})
        kept = fit_family(wild, [1], samples, Training(max_epochs=2, patience=2), before).models[0][0]
        assert kept.record["best_epoch"] == 0
        for name, array in before.models[0][0].model.state().items():
            assert (kept.model.state()[name] == array).all()

    def test_seeds_are_an_ensemble_and_repeat(self, samples):
        one, again, three = (
            fit_family(CONFIG, [1], samples, Training(max_epochs=2, seeds=seeds))
            for seeds in ((1, 2), (1, 2), (3,))
        )
        assert one.to_bytes() == again.to_bytes()
        states = [member.model.state()["weight"] for member in (*one.models[0], *three.models[0])]
        assert all((states[i] != states[j]).any() for i, j in ((0, 1), (0, 2), (1, 2)))

    @pytest.mark.parametrize("config", [CONFIG, Transformer(lookback=5, hidden=16, heads=2, batch=64)])
    def test_bfloat16_is_close(self, samples, config):
        """Products in bfloat16 while training, everything else and all losses in float32."""
        full, half = (
            fit_family(config, [1], samples, Training(max_epochs=3, precision=precision)).models[0][0].record
            for precision in ("float32", "bfloat16")
        )
        assert half["validation_loss"] != full["validation_loss"]
        np.testing.assert_allclose(half["validation_loss"], full["validation_loss"], rtol=0.02)

    def test_a_stock_without_a_return_does_not_train(self, samples):
        """It is a window all the same for those that hold it later."""
        returns = samples.train.panel.excess_return.copy()
        returns[::3] = np.nan
        panel = replace(samples.train.panel, excess_return=returns)
        rows = TrainingWindows(panel, 5, 1).rows
        assert sorted(rows) == list(np.flatnonzero(~np.isnan(returns)))
