"""Trains a stack of members side by side: batches, early stopping, best weights; stopped members leave.

A member is one candidate with one number of factors and one seed. It becomes what it would have become
alone, up to rounding: members share only data and the order of batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from seqpricing_core.nn.batch_norm import BatchNorm
from seqpricing_core.nn.factor_model_network import FactorModelNetwork
from seqpricing_core.nn.months import TrainingMonths
from seqpricing_core.nn.stack import State, seats, select
from seqpricing_core.study import Training
from seqpricing_core.training.adam import StackedAdam
from seqpricing_core.training.search import Candidate


@dataclass(frozen=True)
class Member:
    """What sets a member apart from the others of its stack."""

    candidate: Candidate
    factors: int
    seed: int


@dataclass
class Course:
    """Losses epoch by epoch, and when to stop."""

    train_loss: list[float] = field(default_factory=list)
    """Mean squared residual per epoch, in squared percent, without the penalty."""
    validation_loss: list[float] = field(default_factory=list)

    @property
    def lowest_loss(self) -> float:
        """Infinite if not even the first epoch ended with a finite loss."""
        return min(self.validation_loss, default=math.inf)

    @property
    def best_epoch(self) -> int:
        """From 1; 0 if there was none."""
        return int(np.argmin(self.validation_loss)) + 1 if self.validation_loss else 0

    def remember(self, train: float, validation: float, patience: int) -> tuple[bool, bool]:
        """Note an epoch. Whether it is the best so far, and whether training is over."""
        if not math.isfinite(validation):
            return False, True
        self.train_loss.append(train)
        self.validation_loss.append(validation)
        epochs = len(self.validation_loss)
        return self.best_epoch == epochs, epochs - self.best_epoch >= patience


@dataclass
class TrainedMember(Course):
    """A member after early stopping, and the road there."""

    member: Member = field(kw_only=True)


def train_members(
    network: FactorModelNetwork,
    members: list[Member],
    months: tuple[TrainingMonths, TrainingMonths],
    training: Training,
    order: np.random.Generator,
) -> tuple[list[TrainedMember], State]:
    """Adam on mean squared residual plus l1 (*memory*, eq. 19), in random batches of whole months.

    A member stops when its validation loss has not improved for ``patience`` epochs, or is no longer
    finite. All members see the same batches in the same order.

    Parameters
    ----------
    network
        The stack, with the initial weights of the members in their order. It is used up.
    months
        Training and validation.

    Returns
    -------
    tuple
        The members, and the state of the stack with the best epoch's weights of each.
    """
    train, validation = months
    whole = validation.batch(np.arange(len(validation)))
    trained = [TrainedMember(member=member) for member in members]
    best: State = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    home = {name: list(range(len(tensor))) for name, tensor in best.items()}
    optimiser = _optimiser(network, members)
    active = list(range(len(members)))
    for _ in range(training.max_epochs):
        train_loss = _train_epoch(network, optimiser, train, training.batch_months, order)
        network.eval()
        with torch.no_grad():
            validation_loss = network.losses(whole).tolist()
        outcomes = [
            trained[seat].remember(*losses, training.patience)
            for seat, losses in zip(active, zip(train_loss, validation_loss, strict=True), strict=True)
        ]
        _keep_best(best, network, home, {place for place, (better, _) in enumerate(outcomes) if better})
        stay = [place for place, (_, over) in enumerate(outcomes) if not over]
        if not stay:
            break
        if len(stay) < len(active):
            places = select(network, stay)
            optimiser.select(places)
            home = {name: [home[name][place] for place in places[name]] for name in home}
            active = [active[place] for place in stay]
    return trained, best


def _train_epoch(
    network: FactorModelNetwork,
    optimiser: StackedAdam,
    train: TrainingMonths,
    size: int,
    order: np.random.Generator,
) -> list[float]:
    """Mean training loss of each active member over the epoch, as it learns."""
    network.train()
    squares = []
    for months in _batches(order.permutation(len(train)), size):
        batch = train.batch(months)
        losses = network.losses(batch)
        torch.autograd.backward(losses.sum())
        optimiser.step()
        squares.append(losses.detach().double() * batch.count)
    return [float(value) for value in (torch.stack(squares).sum(0) / train.total).tolist()]


def _optimiser(network: FactorModelNetwork, members: list[Member]) -> StackedAdam:
    """The theta of eq. 19 is weights and biases, without the scale and shift of batch norm."""
    norms = [name for name, module in network.named_modules() if isinstance(module, BatchNorm)]
    like = next(network.parameters())
    return StackedAdam(
        network,
        like.new_tensor([member.candidate.learning_rate for member in members]),
        like.new_tensor([member.candidate.l1 for member in members]),
        {f"{norm}.{name}" for norm in norms for name in ("scale", "shift")},
    )


def _keep_best(
    best: State, network: FactorModelNetwork, home: dict[str, list[int]], improved: set[int]
) -> None:
    """Copy the members that improved to their seats in the whole stack."""
    for name, tensor in network.state_dict().items():
        held = seats(network, name)
        places = [seat - held.start for seat in held if seat in improved]
        best[name][[home[name][place] for place in places]] = tensor[places]


def _batches(order: np.ndarray[Any, Any], size: int) -> Iterator[np.ndarray[Any, Any]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
