"""Which predictor finds which truth: SIMULATED markets where the path of a characteristic pays, or its end.

    nice -n 10 env OMP_NUM_THREADS=1 python benchmarks/sequence_recovery.py   # the table of docs/sequence.md

Characteristics are new ranks every month, so that the last month says nothing about those before. In the
``path`` market the expected return rises with the mean of the first characteristic over the three months
*before* the last; in the ``last month`` market with its last value. One of five characteristics matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import polars as pl
import typer

from seqpricing_core.models.configs import (
    DNN,
    GRU,
    LSTM,
    RNN,
    BiLSTM,
    LSTMAttention,
    SequencePredictor,
    Transformer,
)
from seqpricing_core.models.family import TITLES, fit_family
from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
from seqpricing_core.panel.panel import Float64, Panel
from seqpricing_core.predictions import predict_test_year
from seqpricing_core.study import Training
from seqpricing_core.windows import Window, sample_of_test_year, split_estimation

Market: TypeAlias = Literal["path", "last month"]
WINDOW = Window((2000, 2005), (2006, 2007), 2008)
STOCKS, CHARACTERISTICS = 100, 5
SIGNAL, NOISE = 0.03, 0.09
"""Monthly volatility of expected returns and of what is not expected: the oracle's R2 is 10%."""
TRAINING = Training(max_epochs=25, patience=8, seeds=(1,))
FAST: dict[str, Any] = {"lookback": 6, "batch": 200, "learning_rate": 4e-3, "l2": 1.25e-4}
"""l2 weighs against the squared errors of a batch: a quarter of the paper's for a quarter of its batch."""


def models() -> dict[str, SequencePredictor]:
    """The paper's networks with few units, and the DNN on the last month alone."""
    return {
        "DNN, last month": DNN(**FAST | {"lookback": 1}),
        "DNN": DNN(**FAST),
        **{
            TITLES[kind.model_fields["family"].default]: kind(hidden=16, **FAST)
            for kind in (RNN, LSTM, GRU, BiLSTM, LSTMAttention)
        },
        "Transformer": Transformer(hidden=32, heads=4, **FAST),
    }


def simulate(market: Market, seed: int) -> tuple[Panel, Float64]:
    """The panel of 9 years and the true expected returns."""
    random = np.random.default_rng(seed)
    months = 9 * 12
    order = random.random((months + 12, STOCKS, CHARACTERISTICS)).argsort(axis=1).argsort(axis=1)
    z = (order + 1) * 2 / (STOCKS + 1) - 1
    if market == "path":
        raw = np.mean([z[12 - back : len(z) - back, :, 0] for back in range(1, 4)], axis=0)
    else:
        raw = z[12:, :, 0]
    expected = SIGNAL * raw / raw.std()
    returns = expected + NOISE * random.standard_t(5, raw.shape) / np.sqrt(5 / 3)
    panel = Panel(
        tuple(f"c{j}" for j in range(CHARACTERISTICS)), np.arange("2000-01", months, dtype="datetime64[M]"),
        np.arange(months + 1) * STOCKS, np.tile(np.arange(STOCKS), months),
        z[12:].reshape(-1, CHARACTERISTICS).astype(np.float32), returns.ravel(), np.ones(returns.size),
    )  # fmt: skip
    return panel, expected.ravel()


def share_of_oracle(config: SequencePredictor, panel: Panel, expected: Float64) -> float:
    """Predictive R2 in the test year over that of the true expected returns."""
    managed = compute_managed_portfolios(panel)
    estimation = WINDOW.estimation
    samples = split_estimation(WINDOW, panel.between(*estimation), managed.between(*estimation))
    test = sample_of_test_year(WINDOW, panel.between(2007, 2008), managed.between(2007, 2008))
    forecasts = predict_test_year(fit_family(config, [1], samples, TRAINING), test)
    returns = forecasts["excess_return"].to_numpy()
    missed, least = (
        np.sum((returns - forecast) ** 2)
        for forecast in (forecasts["expected_return"].to_numpy(), expected[-len(returns) :])
    )
    total = np.sum(returns**2)
    return float((total - missed) / (total - least))


def main(
    seeds: Annotated[int, typer.Option(help="Markets of each kind.")] = 5,
    only: Annotated[str, typer.Option(help="Names of models, by commas; empty: all.")] = "",
) -> None:
    """Print share of the oracle's R2: mean and standard deviation over markets, and each market."""
    markets: Sequence[Market] = ("path", "last month")
    chosen = {name: c for name, c in models().items() if not only or name in only.split(",")}
    rows = []
    for seed in range(1, seeds + 1):
        for market in markets:
            panel, expected = simulate(market, seed)
            for name, config in chosen.items():
                share = share_of_oracle(config, panel, expected)
                rows.append({"market": market, "seed": seed, "model": name, "share": share})
                print(f"{market} {seed} {name}: {share:.2f}", flush=True)
    table = pl.DataFrame(rows)
    print("\n| model | path | last month |\n|---|---:|---:|")
    for name in chosen:
        cells = []
        for market in markets:
            shares = table.filter(market=market, model=name)["share"]
            cells.append(f"{shares.mean():.2f} ± {shares.std() or 0:.2f}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    typer.run(main)
