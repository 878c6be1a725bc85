"""Training of networks: one candidate at a time, plainly.

The one place where networks are trained. ``fit_network`` trains every candidate of the grid on the
training months and keeps the one with the lowest validation loss.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqpricing_core.models.configs import Grid, HiddenSizes
from seqpricing_core.models.latent_factor_model import FittedModel, factor_history
from seqpricing_core.nn.factor_model_network import (
    PERCENT,
    FactorModelNetwork,
    NetworkFactorModel,
    sequences,
)
from seqpricing_core.panel.panel import Sample
from seqpricing_core.study import Training
from seqpricing_core.windows import WindowSamples


@dataclass(frozen=True)
class Candidate:
    """One point of the grid."""

    l1: float
    learning_rate: float
    beta_hidden: HiddenSizes


@dataclass(frozen=True)
class TrainedCandidate:
    """A candidate after early stopping: the best epoch's weights and the road there."""

    candidate: Candidate
    network: FactorModelNetwork
    train_loss: list[float]
    """Mean squared residual per epoch, in squared percent, without the penalty."""
    validation_loss: list[float]

    @property
    def lowest_loss(self) -> float:
        """Infinite if not even the first epoch ended with a finite loss."""
        return min(self.validation_loss, default=math.inf)

    @property
    def best_epoch(self) -> int:
        """From 1; 0 if there was none."""
        return int(np.argmin(self.validation_loss)) + 1 if self.validation_loss else 0


def candidates_of(grid: Grid) -> list[Candidate]:
    """Every combination, in a fixed order."""
    return [
        Candidate(l1, rate, hidden)
        for hidden, l1, rate in itertools.product(grid.beta_hidden, grid.l1, grid.learning_rate)
    ]


def fit_network(
    build: Callable[[HiddenSizes], FactorModelNetwork],
    grid: Grid,
    samples: WindowSamples,
    training: Training,
    seed: int,
) -> FittedModel:
    """Train all candidates, keep the best on the validation months, compute its factor history.

    Parameters
    ----------
    build
        Makes the untrained network for the hidden sizes of the beta network.
    seed
        Of initial weights and of the order of batches; the same for every candidate.

    Raises
    ------
    FloatingPointError
        No candidate has a finite validation loss after its first epoch.
    """
    torch.set_num_threads(training.threads)
    months = (_Months(samples.train), _Months(samples.validation))
    trained = []
    for candidate in candidates_of(grid):
        torch.manual_seed(seed)
        network = build(candidate.beta_hidden)
        trained.append(train_candidate(network, candidate, months, training, seed))
    best = min(trained, key=lambda candidate: candidate.lowest_loss)
    if not best.validation_loss:
        raise FloatingPointError(
            f"none of the {len(trained)} candidates has a finite validation loss "
            f"(test year {samples.window.test_year}, seed {seed})"
        )
    model = NetworkFactorModel(best.network.eval())
    record = {
        "seed": seed,
        "winner": asdict(best.candidate),
        "candidates": [
            {
                **asdict(t.candidate),
                "validation_loss": min(t.validation_loss, default=None),
                "best_epoch": t.best_epoch,
            }
            for t in trained
        ],
        "best_epoch": best.best_epoch,
        "train_loss": best.train_loss,
        "validation_loss": best.validation_loss,
    }
    return FittedModel(model, factor_history(model, samples.train, samples.validation), record)


def train_candidate(
    network: FactorModelNetwork,
    candidate: Candidate,
    months: tuple[_Months, _Months],
    training: Training,
    seed: int,
) -> TrainedCandidate:
    """Adam on mean squared residual plus l1 (*memory*, eq. 19), in random batches of whole months.

    Stops when the validation loss has not improved for ``patience`` epochs, or is no longer finite;
    the weights of the best epoch are kept.
    """
    train, validation = months
    validation_batch = validation.gather(np.arange(len(validation.rows)), network.lookback)
    optimiser = torch.optim.Adam(network.parameters(), lr=candidate.learning_rate)
    penalised = network.penalised()
    shuffle = np.random.default_rng(seed)
    best_state: dict[str, Any] = copy.deepcopy(network.state_dict())
    train_loss: list[float] = []
    validation_loss: list[float] = []
    for _ in range(training.max_epochs):
        network.train()
        squares = 0.0
        for batch in _batches(shuffle.permutation(len(train.rows)), training.batch_months):
            optimiser.zero_grad(set_to_none=True)
            loss = _mean_squared_residual(network, *train.gather(batch, network.lookback))
            penalty = sum((p.abs().sum() for p in penalised), torch.zeros(()))
            torch.autograd.backward(loss + candidate.l1 * penalty)
            optimiser.step()
            squares += float(loss.detach()) * train.count(batch)
        network.eval()
        with torch.inference_mode():
            loss_now = float(_mean_squared_residual(network, *validation_batch))
        if not math.isfinite(loss_now):
            break
        train_loss.append(squares / train.total)
        validation_loss.append(loss_now)
        best = int(np.argmin(validation_loss))
        if best == len(validation_loss) - 1:
            best_state = copy.deepcopy(network.state_dict())
        elif len(validation_loss) - 1 - best >= training.patience:
            break
    network.load_state_dict(best_state)
    return TrainedCandidate(candidate, network, train_loss, validation_loss)


class _Months:
    """A sample as tensors: z and r (percent) of all rows, the rows of each month, x up to each month."""

    def __init__(self, sample: Sample) -> None:
        panel = sample.panel.with_returns()
        self.z = torch.tensor(panel.characteristics)
        self.r = torch.tensor((panel.excess_return * PERCENT).astype(np.float32))
        self.rows = [panel.rows(t) for t in range(len(sample))]
        self.sizes = np.diff(panel.offsets)
        self.total = len(panel)
        self._x = sample.managed.x
        self._lookback = sample.lookback

    def count(self, batch: np.ndarray[Any, Any]) -> int:
        return int(self.sizes[batch].sum())

    def gather(self, batch: np.ndarray[Any, Any], lookback: int) -> tuple[Tensor, ...]:
        """Z (n, P), r (n,), month of each row (n,), sequences (B, L, Q), observed (B, L)."""
        z = torch.cat([self.z[self.rows[t]] for t in batch])
        r = torch.cat([self.r[self.rows[t]] for t in batch])
        month = torch.repeat_interleave(torch.arange(len(batch)), torch.from_numpy(self.sizes[batch]))
        return z, r, month, *sequences(self._x, batch + self._lookback, lookback)


def _mean_squared_residual(
    network: FactorModelNetwork, z: Tensor, r: Tensor, month: Tensor, x: Tensor, observed: Tensor
) -> Tensor:
    """Mean over stock-months of (r - beta' f)^2, squared percent (*memory*, eq. 17)."""
    factors = network.factor(x, observed)
    residual = r - (network.beta(z) * factors[month]).sum(dim=1)
    return torch.mean(residual * residual)


def _batches(order: np.ndarray[Any, Any], size: int) -> Iterator[np.ndarray[Any, Any]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
