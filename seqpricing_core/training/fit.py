"""Train every candidate of a network family for every K and seed; keep the best by validation loss."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from seqpricing_core.models.configs import Grid, HiddenSizes
from seqpricing_core.models.factor_model import FittedFactorModel, FittedModel, factor_history
from seqpricing_core.nn.factor_model_network import FactorModelNetwork, as_factor_model
from seqpricing_core.nn.months import TrainingMonths
from seqpricing_core.nn.stack import State, fill, initial_state, member_state
from seqpricing_core.study import Training
from seqpricing_core.training.engine import Member, TrainedMember, train_members
from seqpricing_core.training.search import open_search
from seqpricing_core.windows import WindowSamples

Build: TypeAlias = Callable[[Mapping[HiddenSizes, int], int], FactorModelNetwork]
"""Members of each choice of hidden sizes, K -> an untrained stack."""

Fits: TypeAlias = Mapping[int, tuple[FittedModel, ...]]


@dataclass(frozen=True)
class Winner:
    """The candidate with the lowest validation loss, trained, and the record of all candidates."""

    network: FactorModelNetwork
    record: dict[str, Any]


def fit_networks(
    build: Build,
    grid: Grid,
    factor_numbers: Sequence[int],
    samples: WindowSamples,
    training: Training,
    previous: Fits | None = None,
) -> dict[int, tuple[FittedFactorModel, ...]]:
    """The winners of `train_networks` as latent factor models, with their factors in every month."""

    def fitted(winner: Winner) -> FittedFactorModel:
        model = as_factor_model(winner.network)
        history = factor_history(model, samples.train, samples.validation)
        return FittedFactorModel(model, history, winner.record)

    winners = train_networks(build, grid, factor_numbers, samples, training, previous)
    return {k: tuple(map(fitted, members)) for k, members in winners.items()}


def train_networks(
    build: Build,
    grid: Grid,
    factor_numbers: Sequence[int],
    samples: WindowSamples,
    training: Training,
    previous: Fits | None = None,
) -> dict[int, tuple[Winner, ...]]:
    """Train all candidates for all K and seeds; per K and seed keep the best on the validation months.

    A seed decides initial weights. The order of batches depends on the test year alone and
    is the same for all.

    Parameters
    ----------
    previous
        Fits of the window before, for a warm start: candidates of the same architecture begin with
        the winner's weights.

    Raises
    ------
    FloatingPointError
        No candidate of some K has a finite validation loss after its first epoch.
    """
    torch.set_num_threads(training.threads)
    engine = _Engine(build, samples, training, previous or {})
    keys = list(itertools.product(factor_numbers, training.seeds))
    searches = {key: open_search(training.search, grid, key[1]) for key in keys}
    trained: dict[tuple[int, int], list[_Trained]] = {key: [] for key in keys}
    while asked := {key: round_ for key in keys if (round_ := searches[key].ask())}:
        members = [Member(candidate, *key) for key, round_ in asked.items() for candidate in round_]
        results = iter(engine.train(members))
        for key, round_ in asked.items():
            mine = list(itertools.islice(results, len(round_)))
            searches[key].tell([one.lowest_loss for one, _ in mine])
            trained[key] += mine
    test_year = samples.window.test_year
    return {
        k: tuple(_winner(build, test_year, trained[k, seed]) for seed in training.seeds)
        for k in factor_numbers
    }


_Trained: TypeAlias = tuple[TrainedMember, State]


@dataclass
class _Engine:
    """Stacks of members of like architecture, over the months of one window."""

    build: Build
    samples: WindowSamples
    training: Training
    previous: Fits

    def __post_init__(self) -> None:
        name = self.training.device
        self.device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
        )
        block = self.training.block_mib or (256 if self.device.type == "cuda" else 16)
        self.months = (
            TrainingMonths(
                self.samples.train, self.device, block, precision=getattr(torch, self.training.precision)
            ),
            TrainingMonths(self.samples.validation, self.device, block),
        )

    def train(self, members: list[Member]) -> list[_Trained]:
        """The members trained, in their order, each with its best weights.

        All that have the same number of hidden layers train in one pass.
        """
        done: dict[int, _Trained] = {}
        for depth in sorted({len(member.candidate.beta_hidden) for member in members}):
            places = [p for p, one in enumerate(members) if len(one.candidate.beta_hidden) == depth]
            places.sort(key=lambda place: members[place].candidate.beta_hidden)
            stack = self._train_stack([members[place] for place in places])
            done |= dict(zip(places, stack, strict=True))
        return [done[place] for place in range(len(members))]

    def _train_stack(self, members: list[Member]) -> Iterator[_Trained]:
        """Members in the order of their hidden sizes."""
        groups = Counter(member.candidate.beta_hidden for member in members)
        factors = max(member.factors for member in members)
        network = fill(self.build(groups, factors), [self._initial(member) for member in members])
        order = np.random.default_rng(self.samples.window.test_year)
        trained, states = train_members(network.to(self.device), members, self.months, self.training, order)
        whole = self.build(groups, factors)
        for seat, one in enumerate(trained):
            like = self.build({one.member.candidate.beta_hidden: 1}, one.member.factors).state_dict()
            yield one, member_state(whole, states, seat, like)

    def _initial(self, member: Member) -> State:
        before = self.previous.get(member.factors, ())
        for fitted in before:
            hidden = tuple(fitted.record["winner"]["beta_hidden"])
            if fitted.record["seed"] == member.seed and hidden == member.candidate.beta_hidden:
                return {name: torch.tensor(array)[None] for name, array in fitted.model.state().items()}
        return initial_state(
            lambda: self.build({member.candidate.beta_hidden: 1}, member.factors), member.seed
        )


def _winner(build: Build, test_year: int, trained: list[_Trained]) -> Winner:
    best, state = min(trained, key=lambda one: one[0].lowest_loss)
    candidate, factors, seed = best.member.candidate, best.member.factors, best.member.seed
    if not best.validation_loss:
        raise FloatingPointError(
            f"none of the {len(trained)} candidates has a finite validation loss "
            f"(test year {test_year}, K = {factors}, seed {seed})"
        )
    network = build({candidate.beta_hidden: 1}, factors)
    network.load_state_dict(state)
    record: dict[str, Any] = {
        "seed": seed,
        "winner": asdict(candidate),
        "candidates": [
            {
                **asdict(one.member.candidate),
                "validation_loss": min(one.validation_loss, default=None),
                "best_epoch": one.best_epoch,
                "epochs": len(one.validation_loss),
            }
            for one, _ in trained
        ],
        "best_epoch": best.best_epoch,
        "train_loss": best.train_loss,
        "validation_loss": best.validation_loss,
    }
    return Winner(network.eval(), record)
