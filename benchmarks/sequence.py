"""Sequence predictors: windows per CPU second in training and scoring, peak memory, against plain PyTorch.

    nice -n 10 env OMP_NUM_THREADS=1 python benchmarks/sequence.py

12 months x 51 characteristics, LSTM and GRU of 2 layers of 64, the paper's Transformer, batches of 800, one
thread. The baseline holds its windows materialised, 12 times the panel, and runs torch's own modules on them:
sliced from one tensor (``plain``), or handed out by a `DataLoader` (``loader``). Neither counts the time to
materialise; ours counts everything from the panel on. All take turns, and of each the best turn counts.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn

from seqpricing_core.models.configs import GRU, LSTM, SequencePredictor, Transformer
from seqpricing_core.models.sequence.predictor import build
from seqpricing_core.models.sequence.transformer import positions
from seqpricing_core.nn.recurrent_layers import share_buffers
from seqpricing_core.nn.sequence_network import SequenceNetwork
from seqpricing_core.nn.sequence_scoring import MonthlyScorer
from seqpricing_core.panel.panel import MonthKnown, Panel
from seqpricing_core.training.sequence_training import TrainingWindows, prepared, train_step

P, L, BATCH = 51, 12, 800
MEMORY_RUNS = 5
"""Of which the median counts: what the allocator keeps varies by a tenth."""
CPU = torch.device("cpu")
CONFIGS: dict[str, SequencePredictor] = {
    "LSTM": LSTM(hidden=64), "GRU": GRU(hidden=64), "Transformer": Transformer(),
}  # fmt: skip


def make_panel(stocks: int, months: int) -> Panel:
    """Every stock in every month; values do not matter here."""
    random = np.random.default_rng(0)
    count = stocks * months
    return Panel(
        characteristic_names=tuple(f"c{j}" for j in range(P)),
        months=np.arange("2000-01", months, dtype="datetime64[M]"),
        offsets=np.arange(0, count + 1, stocks),
        asset_id=np.tile(np.arange(stocks), months),
        characteristics=random.uniform(-1, 1, (count, P)).astype(np.float32),
        excess_return=random.normal(0, 0.1, count),
        market_equity=np.ones(count),
    )


class Recurrent(nn.Module):
    """torch's LSTM or GRU and a linear forecast."""

    def __init__(self, kind: Any, hidden: int, dropout: float) -> None:
        super().__init__()
        self.cells = kind(P, hidden, 2, batch_first=True)
        self.drop, self.head = nn.Dropout(dropout), nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B,)"""
        forecasts: Tensor = self.head(self.drop(self.cells(x)[0][:, -1]))[:, 0]
        return forecasts


class Encoder(nn.Module):
    """torch's encoder layer at the sizes of the paper."""

    def __init__(self, config: Transformer) -> None:
        super().__init__()
        self.embedding = nn.Linear(P, config.hidden)
        self.block = nn.TransformerEncoderLayer(
            config.hidden, config.heads, config.feed_forward, dropout=0.0, batch_first=True
        )
        self.drop, self.head = nn.Dropout(config.dropout), nn.Linear(config.hidden, 1)
        self.register_buffer("positions", positions(L, config.hidden).float())

    def forward(self, x: Tensor) -> Tensor:
        """(B,)"""
        z = self.block(self.embedding(x) + self.get_buffer("positions"))[:, -1]
        forecasts: Tensor = self.head(self.drop(z))[:, 0]
        return forecasts


def plain_network(name: str) -> nn.Module:
    config = CONFIGS[name]
    if isinstance(config, Transformer):
        return Encoder(config)
    return Recurrent(nn.LSTM if name == "LSTM" else nn.GRU, 64, config.dropout)


def adam(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), 1e-3, weight_decay=5e-4)


def plain_training(name: str, windows: Tensor, returns: Tensor, *, loader: bool) -> Callable[[], int]:
    """An epoch over materialised windows, in random order."""
    network = plain_network(name)
    optimiser = adam(network)
    data = torch.utils.data.TensorDataset(windows, returns)
    batches = torch.utils.data.DataLoader(data, BATCH, shuffle=True)

    def sliced() -> Any:
        order = torch.randperm(len(windows))
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            yield windows[part], returns[part]

    def epoch() -> int:
        network.train()
        for x, y in batches if loader else sliced():
            optimiser.zero_grad()
            loss = (network(x) - y).square().mean()
            torch.autograd.backward(loss)
            optimiser.step()
        return len(windows)

    return epoch


def plain_scoring(name: str, windows: Tensor, returns: Tensor, *, loader: bool) -> Callable[[], int]:
    network = plain_network(name).eval()
    data = torch.utils.data.TensorDataset(windows, returns)
    batches = torch.utils.data.DataLoader(data, BATCH)

    @torch.inference_mode()
    def score() -> int:
        if loader:
            for x, _ in batches:
                network(x)
        else:
            for start in range(0, len(windows), BATCH):
                network(windows[start : start + BATCH])
        return len(windows)

    return score


def our_training(name: str, panel: Panel, batches: int, run_months: int) -> Callable[[], int]:
    """From the panel: index, batches, steps."""
    config = CONFIGS[name]
    network = build(config, P)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3, weight_decay=5e-4, fused=True)
    share_buffers(network)
    windows = TrainingWindows(panel, L, 1)
    random, drop = np.random.default_rng(0), torch.Generator().manual_seed(0)

    def steps() -> int:
        count = 0
        ready = prepared(windows.batches(BATCH, run_months, random, CPU))
        for batch in ready:
            train_step(network, optimiser, batch, BATCH, drop)
            count += len(batch.returns)
            if count >= batches * BATCH:
                break
        ready.close()
        return count

    windows.rows  # noqa: B018 - made once for all epochs
    return steps


def our_scoring(name: str, panel: Panel) -> Callable[[], int]:
    """The last twelve months of the panel, each a batch; projections are shared between them."""
    network: SequenceNetwork = build(CONFIGS[name], P)
    months = len(panel.months)

    def known(t: int) -> MonthKnown:
        rows = panel.rows(t)
        return MonthKnown(
            panel.months[t], panel.asset_id[rows], panel.characteristics[rows], panel.market_equity[rows],
            np.empty((0, 0)), past=panel.past(t),
        )  # fmt: skip

    def score() -> int:
        scorer = MonthlyScorer(network, L, 1)
        return sum(len(scorer.forecast(known(t))) for t in range(months - 12, months))

    return score


def turns(runs: dict[str, Callable[[], int]], repeats: int) -> dict[str, float]:
    """Windows per CPU second of the best of several turns; the runs take turns."""
    best = dict.fromkeys(runs, 0.0)
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.process_time()
            count = run()
            best[name] = max(best[name], count / (time.process_time() - start))
    return best


def high_water() -> int:
    """Most memory that this process has had resident, in kB. `ru_maxrss` would count its parent's too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def peak_memory(name: str, stocks: int, months: int) -> None:
    """In a process of its own: the panel, and the peak while training and scoring, in MB."""
    torch.set_num_threads(1)
    warm = make_panel(50, 24)
    our_training(name, warm, 2, 12)()
    our_scoring(name, warm)()
    base = high_water()
    panel = make_panel(stocks, months)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget what making the panel took
    arrays = (panel.characteristics, panel.asset_id, panel.excess_return, panel.market_equity)
    our_training(name, panel, 20, 12)()
    our_scoring(name, panel)()
    peak = high_water()
    print(sum(array.nbytes for array in arrays) / 2**20, (peak - base) / 2**10)


def main(
    repeats: Annotated[int, typer.Option(help="Turns of each.")] = 7,
    stocks: Annotated[int, typer.Option(help="Of the panel that memory is measured on.")] = 3600,
    months: Annotated[int, typer.Option()] = 240,
    network: Annotated[
        list[str] | None, typer.Option(help="One of the table; repeatable. Default: all.")
    ] = None,
    memory_of: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """The table of docs/sequence.md."""
    if memory_of:
        peak_memory(memory_of, stocks, months)
        return
    torch.set_num_threads(1)
    names = network or list(CONFIGS)
    panel = make_panel(800, 24)
    index = TrainingWindows(panel, L, 1).index
    whole = np.arange(len(panel))[index.month >= L - 1]
    windows = torch.from_numpy(panel.characteristics[index.windows(whole, L).rows])[: 8 * BATCH].contiguous()
    returns = torch.from_numpy(panel.excess_return[whole].astype(np.float32) * 100)[: 8 * BATCH]
    # Whole windows only, as the baseline has.
    full = replace(panel, excess_return=np.where(index.month < L - 1, np.nan, panel.excess_return))
    print(
        "| network | | ours | plain | loader | ours / plain | ours / loader |\n|---|---" + "|---:" * 5 + "|"
    )
    for name in names:
        for what, runs in (
            ("training", {
                "ours": our_training(name, full, 8, 12),
                "plain": plain_training(name, windows, returns, loader=False),
                "loader": plain_training(name, windows, returns, loader=True),
            }),
            ("scoring", {
                "ours": our_scoring(name, panel),
                "plain": plain_scoring(name, windows, returns, loader=False),
                "loader": plain_scoring(name, windows, returns, loader=True),
            }),
        ):  # fmt: skip
            rate = turns(runs, repeats)
            ours, plain, loader = (rate[key] for key in ("ours", "plain", "loader"))
            print(
                f"| {name} | {what} | {ours:,.0f} | {plain:,.0f} | {loader:,.0f} | {ours / plain:.2f} | "
                f"{ours / loader:.2f} |",
                flush=True,
            )
    print("\n| network | panel MB | peak over the start MB | ratio |\n|---|---:|---:|---:|")
    for name in names:
        command = [sys.executable, __file__, "--memory-of", name]
        command += ["--stocks", str(stocks), "--months", str(months)]
        said = [
            subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - this file
            for _ in range(MEMORY_RUNS)
        ]
        held, peak = np.median([[float(one) for one in each.split()] for each in said], axis=0)
        print(f"| {name} | {held:.0f} | {peak:.0f} | {peak / held:.2f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
