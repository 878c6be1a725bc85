"""Random forests of returns (Breiman 2001; Gu, Kelly, Xiu 2020, section 1.6), grown by LightGBM.

LightGBM's ``rf`` mode: every tree is grown on its own random rows, every split is sought among a few
random columns, the forest is the mean of its trees. Where it departs from the textbook forest:

- Rows are drawn without replacement. A share of 0.632 is what a bootstrap sample holds of distinct rows.
- Splits lie on histograms of up to 255 bins a column: that is what makes millions of stock-months quick.
- Few columns out of many are not drawn evenly by LightGBM's generator: see `evenly_drawn`.
- Returns are centred before, and the mean added after: a tree of LightGBM's that finds no split forgets the
  mean it was to start from.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import lightgbm
import numpy as np

from seqpricing_core.models.configs import ForestGrid
from seqpricing_core.models.factor_model import Arrays
from seqpricing_core.panel.panel import Float32, Float64, Sample
from seqpricing_core.study import Training

SQUARED_PERCENT = 1e4


@dataclass(frozen=True)
class Forest:
    """A grown forest. Kept as LightGBM's text, which restores it to the last bit."""

    text: str
    mean: float
    """Mean return of the rows it was grown on, decimal."""

    @cached_property
    def _booster(self) -> lightgbm.Booster:
        return lightgbm.Booster(model_str=self.text)

    def predict(self, rows: Float32, threads: int = 1) -> Float64:
        """(n, columns) -> (n,) decimal; the same for every number of threads."""
        predicted = np.asarray(self._booster.predict(rows, num_threads=threads), dtype=np.float64)
        return self.mean + predicted

    def state(self) -> Arrays:
        return {"forest": np.frombuffer(self.text.encode(), dtype=np.uint8), "mean": np.array(self.mean)}

    @classmethod
    def from_state(cls, state: Arrays) -> Forest:
        return cls(state["forest"].tobytes().decode(), state["mean"].item())


@dataclass(frozen=True)
class ForestRows:
    """Stock-months that have a return, as a forest wants them."""

    columns: Float32
    """(n, P + K) z_i,t-1, then f_t; column-major, so that its first columns need no copy."""
    excess_return: Float64
    """(n,) decimal"""

    @classmethod
    def of(cls, sample: Sample, factors: Float64) -> ForestRows:
        """The one copy of a panel that growing forests makes.

        Parameters
        ----------
        factors : (T, K)
            Of the months of the sample; K may be 0.
        """
        panel = sample.panel
        there = ~np.isnan(panel.excess_return)
        stocks = [int(there[panel.rows(t)].sum()) for t in range(len(panel.months))]
        width = panel.characteristics.shape[1]
        columns = np.empty((sum(stocks), width + factors.shape[1]), dtype=np.float32, order="F")
        for j in range(width):
            columns[:, j] = panel.characteristics[there, j]
        for k in range(factors.shape[1]):
            columns[:, width + k] = np.repeat(factors[:, k], stocks)
        return cls(columns, panel.excess_return[there])

    def first(self, width: int) -> ForestRows:
        """With its first columns only."""
        return ForestRows(self.columns[:, :width], self.excess_return)


def with_factors(characteristics: Float32, factors: Float64) -> Float32:
    """(N, P + K) z_i,t-1 and, in every row, f_t."""
    same = np.broadcast_to(factors.astype(np.float32), (len(characteristics), len(factors)))
    return np.hstack([characteristics, same])


def evenly_drawn(asked: int, columns: int) -> int:
    """The smallest number of columns, from ``asked`` up, that LightGBM draws evenly at a split.

    Below k log2(k) = columns its generator takes the low bits of a linear congruence, which repeat, and
    draws the last column twice as often as the others: with 10 of 41, the best column was drawn in
    13% or 33% of the splits by seed, not in 24%; the last columns are the factors.
    """
    even = (k for k in range(asked, columns) if k * math.log2(k) > columns)
    return next(even, columns)


def fit_forests(
    grid: ForestGrid, train: ForestRows, validation: ForestRows, training: Training
) -> list[tuple[Forest, dict[str, Any]]]:
    """One forest per seed, and how it came about.

    Every combination of depth and features is grown on the training rows with the first seed; that of
    the lowest mean squared error on the validation rows wins (the earlier one at a tie), and the
    other seeds grow the winner. As in Gu, Kelly, Xiu (2020) the forest is not grown again
    on the validation months.

    Returns
    -------
    Forest and JSON record per seed; losses in squared percent.
    """
    mean = float(train.excess_return.mean())
    varying = max(int((train.columns.max(axis=0) > train.columns.min(axis=0)).sum()), 1)
    grown = lightgbm.Dataset(
        train.columns, label=train.excess_return - mean, params=_parameters(grid, training)
    ).construct()

    def grow(depth: int, features: int, seed: int) -> tuple[Forest, float]:
        choice = {
            "max_depth": depth, "num_leaves": 2**depth, "feature_fraction_bynode": features / varying,
        }  # fmt: skip
        seeds = {"bagging_seed": seed, "feature_fraction_seed": seed}
        booster = lightgbm.train(_parameters(grid, training) | choice | seeds, grown, grid.trees)
        forest = Forest(booster.model_to_string(), mean)
        residual = validation.excess_return - forest.predict(validation.columns, training.threads)
        return forest, SQUARED_PERCENT * float(np.mean(residual**2))

    first, *others = training.seeds
    candidates, best = [], None
    numbers = dict.fromkeys(evenly_drawn(asked, varying) for asked in grid.features)
    for depth, features in itertools.product(grid.depth, numbers):
        forest, loss = grow(depth, features, first)
        candidates.append({"depth": depth, "features": features, "validation_loss": loss})
        if best is None or loss < best[1]:
            best = forest, loss, {"depth": depth, "features": features}
    assert best is not None  # a grid has at least one candidate
    forest, loss, winner = best
    record = {"trees": grid.trees, "winner": winner, "candidates": candidates}
    members = [(forest, {"seed": first, "validation_loss": loss, **record})]
    for seed in others:
        forest, loss = grow(winner["depth"], winner["features"], seed)
        members.append((forest, {"seed": seed, "validation_loss": loss, **record}))
    return members


def _parameters(grid: ForestGrid, training: Training) -> dict[str, Any]:
    """Everything that all candidates share; column-wise histograms need the least memory."""
    return {
        "objective": "regression", "boosting": "rf", "boost_from_average": False,
        "bagging_freq": 1, "bagging_fraction": grid.share_of_rows, "min_data_in_leaf": grid.minimum_leaf,
        "feature_pre_filter": False,
        "deterministic": True, "force_col_wise": True, "num_threads": training.threads, "verbosity": -1,
    }  # fmt: skip
