"""Which candidates to train: the whole grid, random draws from its ranges, or optuna's proposals.

A search is asked for candidates until it has none, and told their validation losses in between; what it
asks for at once trains at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from seqpricing_core.models.configs import Grid, HiddenSizes
from seqpricing_core.study import GridSearch, OptunaSearch, RandomSearch


@dataclass(frozen=True)
class Candidate:
    """One point of the grid, or of the ranges it spans."""

    l1: float
    learning_rate: float
    beta_hidden: HiddenSizes


class Search(Protocol):
    """Proposes candidates for one number of factors and one seed."""

    def ask(self) -> list[Candidate]:
        """The next round; empty when the search is over."""
        ...

    def tell(self, losses: Sequence[float]) -> None:
        """Lowest validation losses of the round, in its order; infinite where training failed."""
        ...


def open_search(config: GridSearch | RandomSearch | OptunaSearch, grid: Grid, seed: int) -> Search:
    """The search that the study asks for."""
    if isinstance(config, GridSearch):
        return _Once(candidates_of(grid))
    if isinstance(config, RandomSearch):
        return _Once(_draw(grid, config.trials, np.random.default_rng([config.seed, seed])))
    return _Optuna(grid, config, seed)


def candidates_of(grid: Grid) -> list[Candidate]:
    """Every combination, in a fixed order."""
    return [
        Candidate(l1, rate, hidden)
        for hidden, l1, rate in itertools.product(grid.beta_hidden, grid.l1, grid.learning_rate)
    ]


class _Once:
    """All candidates in one round."""

    def __init__(self, candidates: list[Candidate]) -> None:
        self._rest = candidates

    def ask(self) -> list[Candidate]:
        now, self._rest = self._rest, []
        return now

    def tell(self, losses: Sequence[float]) -> None:
        """Nothing follows from them."""


class _Optuna:
    """Tree-structured Parzen estimator over the ranges of the grid, ``round_size`` candidates at a time."""

    def __init__(self, grid: Grid, config: OptunaSearch, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._grid, self._config = grid, config
        sampler = optuna.samplers.TPESampler(
            seed=config.seed * 1_000 + seed, n_startup_trials=config.round_size, constant_liar=True
        )
        self._study = optuna.create_study(sampler=sampler)
        self._asked: list[optuna.Trial] = []
        self._left = config.trials

    def ask(self) -> list[Candidate]:
        count = min(self._config.round_size, self._left)
        self._left -= count
        self._asked = [self._study.ask() for _ in range(count)]
        grid = self._grid
        # A list is no optuna choice that survives its storage: the position in the grid is.
        return [
            Candidate(
                trial.suggest_float("l1", min(grid.l1), max(grid.l1), log=min(grid.l1) > 0),
                trial.suggest_float(
                    "learning_rate", min(grid.learning_rate), max(grid.learning_rate), log=True
                ),
                grid.beta_hidden[
                    trial.suggest_categorical("beta_hidden", list(range(len(grid.beta_hidden))))
                ],
            )
            for trial in self._asked
        ]

    def tell(self, losses: Sequence[float]) -> None:
        import optuna

        for trial, loss in zip(self._asked, losses, strict=True):
            if math.isfinite(loss):
                self._study.tell(trial, loss)
            else:
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _draw(grid: Grid, trials: int, random: np.random.Generator) -> list[Candidate]:
    """Log-uniform between the smallest and largest value of the grid (uniform if one is 0)."""

    def between(values: Sequence[float]) -> float:
        low, high = min(values), max(values)
        if low <= 0:
            return float(random.uniform(low, high))
        return float(np.exp(random.uniform(math.log(low), math.log(high))))

    return [
        Candidate(
            between(grid.l1),
            between(grid.learning_rate),
            grid.beta_hidden[int(random.integers(len(grid.beta_hidden)))],
        )
        for _ in range(trials)
    ]
