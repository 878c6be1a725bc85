"""Which model finds which truth: five SIMULATED markets of each kind, scores as shares of the oracle's.

    python benchmarks/recovery.py            # the table of docs/recovery.md

Loadings are linear in three characteristics or bend (squares, products, signs: the two designs of Gu,
Kelly, Xiu 2020, internet appendix A). Factors are independent over time, in a market of 300 stocks whose x_t
tells f_t well; or persistent, in one of 40 stocks, where a noisy x_t leaves something for memory to filter.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer

from seqpricing_core.evaluation.r_squared import compute_r_squared
from seqpricing_core.models.configs import CA2, IPCA, Grid, SeqGAT, SeqLAT, SeqRAT
from seqpricing_core.models.family import TITLES, fit_family
from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
from seqpricing_core.panel.panel import Panel, Sample
from seqpricing_core.predictions import predict_test_year
from seqpricing_core.study import Training
from seqpricing_core.windows import Window, split_estimation

YEARS = {"train": 20, "validation": 5, "test": 10}
CHARACTERISTICS, FACTORS = 20, 3
STAY = 0.9
"""Autocorrelation of a month's persistent characteristics, and of persistent factors."""
TRAINING = Training(max_epochs=300, patience=30, batch_months=60, seeds=(1,), threads=1)


@dataclass(frozen=True)
class Truth:
    """A kind of market."""

    loadings: str
    factors: str
    stocks: int
    noise: float
    """Monthly idiosyncratic volatility."""

    @property
    def name(self) -> str:
        return f"{self.loadings} loadings, {self.factors} factors, {self.stocks} stocks"


TRUTHS = [
    Truth(loadings, factors, stocks, 0.10)
    for (factors, stocks), loadings in itertools.product(
        (("independent", 300), ("persistent", 40)), ("linear", "bent")
    )
]


def models() -> list[Any]:
    """Grids of one width, so that the table takes minutes."""
    grid = {"l1": (0.001, 0.01, 0.1), "learning_rate": (0.003, 0.01)}
    flat, deep = Grid(beta_hidden=((16,),), **grid), Grid(beta_hidden=((32, 16),), **grid)
    return [IPCA(), CA2(grid=deep), *(kind(grid=flat, hidden_size=8) for kind in (SeqRAT, SeqGAT, SeqLAT))]


def simulate(truth: Truth, seed: int) -> tuple[Panel, np.ndarray, np.ndarray]:
    """The panel, and per stock-month the true fitted and expected return."""
    random = np.random.default_rng(seed)
    months = sum(YEARS.values()) * 12
    state = random.normal(size=(truth.stocks, CHARACTERISTICS))
    factor, mean = np.zeros(FACTORS), np.array([0.008, 0.006, 0.006])
    z, fitted, expected = [], [], []
    for _ in range(months):
        state = STAY * state + np.sqrt(1 - STAY**2) * random.normal(size=state.shape)
        ranks = np.argsort(np.argsort(state, axis=0), axis=0)
        c = (ranks + 1) * 2 / (truth.stocks + 1) - 1
        shock = 0.03 * random.normal(size=FACTORS)
        persistence = STAY if truth.factors == "persistent" else 0.0
        factor = persistence * factor + np.sqrt(1 - persistence**2) * shock
        beta = loadings(c, truth.loadings)
        z.append(c.astype(np.float32))
        fitted.append(beta @ (mean + factor))
        expected.append(beta @ mean)
    true, premia = np.concatenate(fitted), np.concatenate(expected)
    first = np.datetime64("1980-01", "M")
    panel = Panel(
        tuple(f"c{j}" for j in range(CHARACTERISTICS)), np.arange(first, first + months),
        np.arange(months + 1) * truth.stocks, np.tile(np.arange(truth.stocks), months), np.concatenate(z),
        true + truth.noise * random.normal(size=len(true)), np.ones(len(true)),
    )  # fmt: skip
    return panel, true, premia


def loadings(c: np.ndarray, design: str) -> np.ndarray:
    """(N, 3)"""
    if design == "linear":
        return np.column_stack([1 + 0.5 * c[:, 3], 1.2 * c[:, 1], 1.2 * c[:, 2]])
    return np.column_stack(
        [1 + 0.8 * (3 * c[:, 3] ** 2 - 1), 2.0 * c[:, 1] * c[:, 0], 1.2 * c[:, 2] * np.sign(c[:, 4])]
    )


def scores(truth: Truth, seed: int) -> Iterator[dict[str, Any]]:
    """Out-of-sample R2 of every model and of the oracle, pooled over the test years."""
    panel, true, premia = simulate(truth, seed)
    managed = compute_managed_portfolios(panel)
    first = 1980
    window = Window(
        (first, first + YEARS["train"] - 1),
        (first + YEARS["train"], first + YEARS["train"] + YEARS["validation"] - 1),
        first + YEARS["train"] + YEARS["validation"],
    )
    samples = split_estimation(window, panel.between(*window.estimation), managed.between(*window.estimation))
    last = first + sum(YEARS.values()) - 1
    test = Sample(panel.between(window.test_year, last), managed.between(window.test_year - 2, last))
    rows = slice(len(panel) - len(test.panel), None)
    oracle = pl.DataFrame(
        {
            "excess_return": panel.excess_return[rows],
            "fitted_return": true[rows],
            "expected_return": premia[rows],
        }
    )
    best = compute_r_squared(oracle.with_columns(one=1), ["one"]).drop("one").row(0, named=True)
    yield {"truth": truth.name, "seed": seed, "model": "Oracle", **best, "recovered": 1.0}
    for config in models():
        fitted = fit_family(config, [FACTORS], samples, TRAINING)
        predictions = predict_test_year(fitted, test)
        missed = predictions["fitted_return"].to_numpy() - true[rows]
        yield {
            "truth": truth.name, "seed": seed, "model": TITLES[config.family],
            **compute_r_squared(predictions, ["family"]).drop("family").row(0, named=True),
            "recovered": 1 - np.sum(missed**2) / np.sum(true[rows] ** 2),
        }  # fmt: skip


def _all(job: tuple[Truth, int]) -> list[dict[str, Any]]:
    return list(scores(*job))


def main(seeds: int = 5, workers: Annotated[int, typer.Option(help="processes")] = 2) -> None:
    """Print the table in markdown: mean over seeds, and the standard deviation over seeds."""
    jobs = list(itertools.product(TRUTHS, range(1, seeds + 1)))
    with ProcessPoolExecutor(workers) as pool:
        rows = pl.DataFrame(list(itertools.chain(*pool.map(_all, jobs))))
    for truth in TRUTHS:
        print(f"\n{truth.name}\n\n| model | total R2 % | truth recovered | predictive R2 % |")
        print("|---|---:|---:|---:|")
        for model in rows["model"].unique(maintain_order=True):
            one = rows.filter(truth=truth.name, model=model)
            cells = [
                f"{scale * one[name].mean():.2f} ± {scale * one[name].std():.2f}"
                for name, scale in (("total_r2", 100), ("recovered", 1), ("predictive_r2", 100))
            ]
            print(f"| {model} | {' | '.join(cells)} |")


if __name__ == "__main__":
    typer.run(main)
