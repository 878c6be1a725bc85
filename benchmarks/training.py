"""The training engine against the usual one-by-one loop, on the same data, in the same run.

    python benchmarks/training.py                      # 240 + 48 months, 3,600 stocks, 64 characteristics
    python benchmarks/training.py --stocks 400 --converge --device cpu

Prints seconds per epoch and to convergence, first-layer GFLOP/s as a share of the machine's matrix-product
rate, peak memory, whether the validation losses agree, and IPCA against the ``ipca`` package. SIMULATED data.
"""

from __future__ import annotations

import itertools
import resource
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import plain_loop
import torch
import typer

from seqpricing_core.models import sequence_factor
from seqpricing_core.models.configs import IPCA, HiddenSizes, SeqLAT
from seqpricing_core.models.ipca import fit_ipca
from seqpricing_core.nn.factor_model_network import FactorModelNetwork
from seqpricing_core.nn.losses import squared_residuals_of_groups
from seqpricing_core.nn.months import TrainingMonths
from seqpricing_core.nn.stack import fill, initial_state
from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.study import Training
from seqpricing_core.training.engine import Member, train_members
from seqpricing_core.training.search import candidates_of
from seqpricing_core.windows import Window, WindowSamples, split_estimation

TRAIN, VALIDATION, FACTORS, SEED = 240, 48, 3, 1
CONFIG = SeqLAT()


def simulate(stocks: int, characteristics: int, months: int = TRAIN + VALIDATION) -> WindowSamples:
    """Ranks drawn afresh each month, loadings linear in a few of them, heavy idiosyncratic noise."""
    random = np.random.default_rng(0)
    rows = months * stocks
    z = random.uniform(-1, 1, size=(rows, characteristics)).astype(np.float32)
    gamma = random.normal(size=(characteristics, FACTORS)) * 0.2
    factors = random.normal(0.005, 0.04, size=(months, FACTORS))
    r = np.einsum("tnp,tp->tn", z.reshape(months, stocks, -1), factors @ gamma.T).ravel()
    first = np.datetime64("1980-01", "M")
    panel = Panel(
        tuple(f"c{j}" for j in range(characteristics)), np.arange(first, first + months),
        np.arange(months + 1) * stocks, np.tile(np.arange(stocks), months), z,
        r + 0.1 * random.normal(size=rows), np.ones(rows),
    )  # fmt: skip
    window = Window((1980, 1980 + TRAIN // 12 - 1), (2000, 2000 + VALIDATION // 12 - 1), 2004)
    return split_estimation(window, panel, compute_managed_portfolios(panel))


class Engine:
    """All candidates in one pass per architecture."""

    def __init__(self, samples: WindowSamples, device: str, precision: str) -> None:
        self.device = torch.device(device)
        block = 256 if device == "cuda" else 16
        self.months = (
            TrainingMonths(samples.train, self.device, block, precision=getattr(torch, precision)),
            TrainingMonths(samples.validation, self.device, block),
        )

    def run(self, epochs: int, patience: int, factors: Sequence[int]) -> list[list[float]]:
        """Validation losses of every candidate and K, in the order of the grid."""
        members = [Member(c, k, SEED) for c in candidates_of(CONFIG.grid) for k in factors]
        groups = Counter(member.candidate.beta_hidden for member in members)
        states = [initial(member.candidate.beta_hidden, member.factors) for member in members]
        network = fill(build(groups, max(factors)), states).to(self.device)
        training = Training(max_epochs=epochs, patience=patience)
        trained, _ = train_members(network, members, self.months, training, np.random.default_rng(0))
        return [one.validation_loss for one in trained]


class Loop:
    """One candidate at a time."""

    def __init__(self, samples: WindowSamples) -> None:
        self.months = tuple(plain_loop.PlainMonths(s) for s in (samples.train, samples.validation))

    def run(self, epochs: int, patience: int, factors: Sequence[int]) -> list[list[float]]:
        """As the engine's."""
        losses = []
        for candidate, k in itertools.product(candidates_of(CONFIG.grid), factors):
            state = {name: tensor[0].numpy() for name, tensor in initial(candidate.beta_hidden, k).items()}
            model = plain_loop.plain_model("seqlat", state, candidate.beta_hidden, CONFIG.lookback)
            _, validation = plain_loop.train_plainly(
                model, candidate.l1, candidate.learning_rate, self.months, max_epochs=epochs,
                patience=patience, batch_months=64, order=np.random.default_rng(0),
            )  # fmt: skip
            losses.append(validation)
        return losses


SHAPE = [64, 65]


def build(groups: Mapping[HiddenSizes, int], factors: int) -> FactorModelNetwork:
    return sequence_factor.build(CONFIG, (SHAPE[0], SHAPE[1]), groups, factors)


def initial(hidden: tuple[int, ...], factors: int) -> dict[str, torch.Tensor]:
    return initial_state(lambda: build({hidden: 1}, factors), SEED)


def seconds(action: Callable[[], Any], device: str) -> float:
    start = time.perf_counter()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def seconds_per_epoch(runner: Engine | Loop, device: str, repeats: int, factors: Sequence[int]) -> float:
    """The fastest of several runs of one epoch, validation included; the data stand ready."""
    return min(seconds(lambda: runner.run(1, 99, factors), device) for _ in range(repeats))


def matrix_rate(device: str) -> float:
    """GFLOP/s of a large single-precision matrix product."""
    a = torch.randn(4096, 4096, device=device)
    return max(2 * 4096**3 / seconds(lambda: a @ a, device) / 1e9 for _ in range(8))


def first_layer_rate(months: TrainingMonths, device: str) -> float:
    """GFLOP/s of forward and backward of the fused loss of the 27 candidates, its two products counted."""
    batch = months.batch(np.arange(min(64, len(months))))
    width, b = batch.gram.shape[-1], len(batch.ends)
    sizes = [(9, 8), (9, 16), (9, 64)]
    weights = [torch.randn(*size, width, device=device).requires_grad_() for size in sizes]
    v = [torch.randn(members, b, hidden, device=device) for members, hidden in sizes]
    c = [torch.zeros(members, b, device=device) for members, _ in sizes]

    def both() -> None:
        losses = squared_residuals_of_groups(weights, v, c, batch.stocks)
        torch.cat(losses).sum().backward()

    flops = 4 * sum(members * hidden for members, hidden in sizes) * width * batch.count
    return max(flops / seconds(both, device) / 1e9 for _ in range(6))


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare_ipca(stocks: int, months: int, characteristics: int) -> None:
    """Alternating least squares on Gram matrices against the ``ipca`` package, same data, K = 3."""
    import pandas as pd
    from ipca import InstrumentedPCA

    samples = simulate(stocks, characteristics, TRAIN + VALIDATION)
    panel = samples.train.panel
    both = WindowSamples(samples.window, samples.train, samples.train)
    ours = seconds(lambda: fit_ipca(IPCA(), FACTORS, both), "cpu")
    z = np.column_stack([panel.characteristics, np.ones(len(panel))]).astype(float)
    index = pd.MultiIndex.from_arrays([panel.asset_id, np.repeat(np.arange(months), stocks)])
    x, y = pd.DataFrame(z, index=index), pd.Series(panel.excess_return, index=index)
    package = InstrumentedPCA(n_factors=FACTORS, intercept=False, max_iter=10_000, iter_tol=1e-6)
    theirs = seconds(lambda: package.fit(X=x, y=y), "cpu")
    print(f"IPCA, N = {stocks}, T = {months}, P = {characteristics}: ours {ours:.3f} s, "
          f"ipca package {theirs:.1f} s, {theirs / ours:.0f} times")  # fmt: skip


def main(
    stocks: int = 3600,
    characteristics: int = 64,
    repeats: int = 4,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    threads: int = 2,
    *,
    converge: Annotated[bool, typer.Option(help="also train to convergence, engine and loop")] = False,
    ipca: Annotated[bool, typer.Option(help="also time IPCA")] = True,
) -> None:
    """Print the figures; ratios are engine against loop, in this run."""
    torch.set_num_threads(threads)
    SHAPE[:] = characteristics, characteristics + 1
    print(f"SIMULATED: {TRAIN} + {VALIDATION} months x {stocks} stocks x {characteristics} characteristics, "
          f"SeqLAT, {device}, {threads} threads")  # fmt: skip
    samples = simulate(stocks, characteristics)
    base, machine = peak_mib(), matrix_rate(device)
    print(f"matrix products in float32: {machine:.0f} GFLOP/s; data alone: {base:.0f} MiB")
    engines = {name: Engine(samples, device, name) for name in ("float32", "bfloat16")}
    for name, engine in engines.items():
        layer = first_layer_rate(engine.months[0], device)
        print(f"first layer, forward and backward, {name}: {layer:.0f} GFLOP/s "
              f"({layer / machine:.0%} of the machine's float32)")  # fmt: skip
    for factors in ([3], [1, 2, 3, 4, 5, 6]):
        print(f"27 candidates x K = {', '.join(map(str, factors))}:")
        times = {n: seconds_per_epoch(e, device, repeats, factors) for n, e in engines.items()}
        memory, loop = peak_mib(), Loop(samples)
        slow = seconds_per_epoch(loop, "cpu", repeats if len(factors) == 1 else 1, factors)
        print(f"  loop              {slow:6.2f} s an epoch, {peak_mib():.0f} MiB at most")
        expected = list(itertools.chain(*loop.run(2, 99, factors)))
        for name, engine in engines.items():
            pairs = zip(itertools.chain(*engine.run(2, 99, factors)), expected, strict=True)
            apart = max(abs(a / b - 1) for a, b in pairs)
            print(f"  engine, {name:9} {times[name]:6.2f} s an epoch, {memory:.0f} MiB at most: "
                  f"{slow / times[name]:.1f} times faster; "
                  f"validation losses at most {apart:.1e} apart")  # fmt: skip
    if converge:
        for name, runner in (*engines.items(), ("loop", loop)):
            start = time.perf_counter()
            losses = runner.run(200, 10, [FACTORS])
            taken, run = time.perf_counter() - start, statistics.mean(map(len, losses))
            print(f"{name} to convergence, K = {FACTORS}: {taken:.0f} s, {run:.0f} epochs a candidate, "
                  f"lowest validation loss {min(map(min, losses)):.4f}")  # fmt: skip
    if ipca:
        compare_ipca(1000, TRAIN, characteristics)


if __name__ == "__main__":
    typer.run(main)
