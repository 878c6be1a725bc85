"""Trains a network of *sequence* on one window: batches of runs of months, early stopping, best weights.

Deterministic on a CPU: seed and test year decide initial weights, order of batches and dropout.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqpricing_core.errors import InputError
from seqpricing_core.models.configs import SequencePredictor
from seqpricing_core.nn.months import PERCENT
from seqpricing_core.nn.recurrent_layers import share_buffers
from seqpricing_core.nn.sequence_batch import SequenceBatch, longest_first, renumbered
from seqpricing_core.nn.sequence_network import SequenceNetwork
from seqpricing_core.nn.sequence_scoring import MonthlyScorer
from seqpricing_core.nn.stack import State
from seqpricing_core.panel.panel import Float32, Panel, Sample
from seqpricing_core.panel.sequences import Int32, SequenceIndex, Windows
from seqpricing_core.study import Training
from seqpricing_core.training.engine import Course
from seqpricing_core.windows import WindowSamples

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Windows, the stock-months that they hold, and what they are to forecast."""

    x: Tensor
    """(S, P) each stock-month once"""
    windows: SequenceBatch
    returns: Tensor
    """(B,) percent"""


@dataclass(frozen=True)
class TrainingWindows:
    """All windows of a panel whose last month has a return."""

    panel: Panel
    lookback: int
    minimum_months: int

    @cached_property
    def index(self) -> SequenceIndex:
        """Made when asked for, then kept."""
        return SequenceIndex.of(self.panel.months, self.panel.offsets, self.panel.asset_id)

    @cached_property
    def rows(self) -> Int32:
        """(m,) last row of each window, by asset, then month."""
        index = self.index
        rows = np.flatnonzero(~np.isnan(self.panel.excess_return))
        if self.minimum_months > 1:
            enough = [
                index.windows(part, self.lookback).lengths >= self.minimum_months
                for part in np.array_split(rows, max(1, len(rows) // 100_000))
            ]
            rows = rows[np.concatenate(enough)]
        ordered: Int32 = rows[np.lexsort((index.month[rows], index.asset[rows]))].astype(np.int32)
        return ordered

    def order(self, run_months: int, random: np.random.Generator) -> Int32:
        """`rows` in random order, runs of consecutive months of a stock together.

        Where runs begin is drawn anew for each stock, so that windows meet in other batches every time.
        """
        rows = self.rows
        if run_months == 1:
            return random.permutation(rows)
        asset, month = self.index.asset[rows], self.index.month[rows]
        shift = random.integers(run_months, size=len(self.index.table)).astype(np.int32)[asset]
        run = (month + shift) // run_months
        begins = np.ones(len(rows), dtype=bool)
        begins[1:] = (asset[1:] != asset[:-1]) | (run[1:] != run[:-1])
        starts = np.flatnonzero(begins)
        lengths = np.diff(starts, append=len(rows))
        drawn = random.permutation(len(starts))
        lengths = lengths[drawn]
        ends = np.cumsum(lengths)
        places = np.repeat((starts[drawn] - (ends - lengths)).astype(np.int32), lengths)
        places += np.arange(len(rows), dtype=np.int32)
        ordered: Int32 = rows[places]
        return ordered

    def batches(
        self, size: int, run_months: int, random: np.random.Generator, device: torch.device
    ) -> Iterator[Batch]:
        """All windows once."""
        order = self.order(run_months, random)
        scratch = np.zeros(len(self.panel), dtype=np.int32)
        for start in range(0, len(order), size):
            yield self._batch(order[start : start + size], scratch, device)

    def _batch(self, rows: Int32, scratch: np.ndarray[Any, Any], device: torch.device) -> Batch:
        windows = self.index.windows(rows, self.lookback)
        if int(windows.lengths.sum()) < windows.rows.size:
            longest = longest_first(windows.lengths)
            rows, windows = rows[longest], Windows(windows.rows[longest])
        windows, held = renumbered(windows, scratch)
        x: Float32 = self.panel.characteristics[held]
        returns = (self.panel.excess_return[rows] * PERCENT).astype(np.float32)
        return Batch(
            torch.from_numpy(x).to(device, non_blocking=True),
            SequenceBatch.of(windows, device),
            torch.from_numpy(returns).to(device, non_blocking=True),
        )


def prepared(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches; the next is made ready in another thread while one is used."""
    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(next, batches, None)
        while (batch := ahead.result()) is not None:
            ahead = thread.submit(next, batches, None)
            yield batch


@dataclass
class TrainedPredictor:
    """The best weights, and the road there."""

    state: State
    course: Course
    start_loss: float | None
    """Validation loss of the weights that it started from, where it is fine-tuned; if no epoch is better,
    these are kept."""


def train_predictor(
    network: SequenceNetwork,
    config: SequencePredictor,
    samples: WindowSamples,
    training: Training,
    seed: int,
    *,
    warm: bool = False,
) -> TrainedPredictor:
    """Adam on  sum (r - r_hat)^2 + l2 |theta|^2 / 2  per batch (*sequence*, eq. 3 and optimisation).

    The paper names no validation; we stop early on the months of `WindowSamples.validation`. Networks see
    percent: the sum is scaled by 1e4 / batch, and l2 with it, which Adam does not notice.

    Parameters
    ----------
    network
        With its initial weights, on its device. It is used up.
    warm
        The initial weights are those of the year before.

    Raises
    ------
    InputError
        No window to train on, or the training months are fewer than the look-back.
    FloatingPointError
        The first epoch ends with a loss that is not finite.
    """
    train = TrainingWindows(samples.train.panel, config.lookback, config.minimum_months)
    _require_windows(train, samples)
    device = network.bias.device
    decay = config.l2 * PERCENT**2 / config.batch
    optimiser = torch.optim.Adam(network.parameters(), config.learning_rate, weight_decay=decay, fused=True)
    random = np.random.default_rng([samples.window.test_year, seed])
    drop = torch.Generator(device).manual_seed(int(random.integers(2**31)))
    share_buffers(network)
    start = validation_loss(network, config, samples.validation) if warm else None
    best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    course = Course()
    clock = time.monotonic()
    for epoch in range(training.max_epochs):
        network.precision = torch.bfloat16 if training.precision == "bfloat16" else None
        batches = prepared(train.batches(config.batch, config.run_months, random, device))
        squares = sum(train_step(network, optimiser, batch, config.batch, drop) for batch in batches)
        network.precision = None
        loss = validation_loss(network, config, samples.validation)
        better, over = course.remember(float(squares) / len(train.rows), loss, training.patience)
        if better and (start is None or loss < start):
            best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        _report(config, samples, course, training, (epoch + 1, len(train.rows), time.monotonic() - clock))
        if over:
            break
    if not course.validation_loss:
        raise FloatingPointError(
            f"the validation loss of {config.family} is not finite after its first epoch "
            f"(test year {samples.window.test_year}, seed {seed})"
        )
    return TrainedPredictor(best, course, start)


def validation_loss(network: SequenceNetwork, config: SequencePredictor, sample: Sample) -> float:
    """Mean squared error over all stock-months with a return, in squared percent."""
    scorer = MonthlyScorer(network, config.lookback, config.minimum_months)
    squares, count = 0.0, 0
    for t in range(len(sample)):
        returns = sample.panel.excess_return[sample.panel.rows(t)]
        there = ~np.isnan(returns)
        errors = (returns - scorer.forecast(sample.known(t)))[there] * PERCENT
        squares, count = squares + float(errors @ errors), count + len(errors)
    return squares / max(count, 1)


def train_step(
    network: SequenceNetwork,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    size: int,
    drop: torch.Generator,
) -> Tensor:
    """One update; the sum of squared errors before it. The last batch of an epoch may be short."""
    low = network.precision is not None
    with torch.autocast(batch.x.device.type, network.precision or torch.bfloat16, enabled=low):
        forecasts = network(network.project(batch.x), batch.windows, drop)
    squares: Tensor = (batch.returns - forecasts.float()).square().sum()
    optimiser.zero_grad()
    torch.autograd.backward(squares / size)
    optimiser.step()
    return squares.detach()


def _report(
    config: SequencePredictor,
    samples: WindowSamples,
    course: Course,
    training: Training,
    so_far: tuple[int, int, float],
) -> None:
    """How far it is, how fast, and how long it may still take."""
    epochs, windows, seconds = so_far
    left = min(training.max_epochs - epochs, training.patience - (epochs - course.best_epoch))
    LOG.info(
        "%s, test year %d: epoch %d of at most %d, validation loss %.4f (lowest in epoch %d); %.0f windows a "
        "second, %.0f s left if no epoch is better, at most %.0f s",
        config.family, samples.window.test_year, epochs, training.max_epochs,
        course.validation_loss[-1] if course.validation_loss else float("nan"), course.best_epoch,
        epochs * windows / max(seconds, 1e-9), seconds / epochs * max(left, 0),
        seconds / epochs * (training.max_epochs - epochs),
    )  # fmt: skip


def _require_windows(train: TrainingWindows, samples: WindowSamples) -> None:
    first, last = samples.window.train
    if len(train.panel.months) < train.lookback:
        raise InputError(
            f"a look-back of {train.lookback} months is longer than the {len(train.panel.months)} months "
            "of training",
            where=f"window of test year {samples.window.test_year}, train {first}-{last}",
            expected="at least as many months of training as the model looks back",
            remedy="lower the model's lookback, or raise windows.train_years in the study file",
        )
    if not len(train.rows):
        raise InputError(
            f"no stock has a return and {train.minimum_months} month(s) of data in the training years",
            where=f"window of test year {samples.window.test_year}, train {first}-{last}",
            expected="at least one window to train on",
            remedy="lower the model's minimum_months, or check the panel of these years",
        )
