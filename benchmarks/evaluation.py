"""Evaluate predictions that do not fit into memory: seconds, peak memory, and the same numbers as pandas.

    python benchmarks/evaluation.py                           # 25 years x 3,500 stocks x 60 models
    python benchmarks/evaluation.py --years 2 --families 1    # a try

Random predictions are written in chunks, one Arrow IPC file per family and test year as a study does; then R2
and portfolios of every model are computed from the files. A straightforward pandas version does the same for
the first year of the first family. Peak memory is the resident set of the process that evaluates (VmHWM), in
which memory-mapped pages of files are counted, and beside it what is no file of that (sampled).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import polars as pl

from seqpricing_core.evaluation.r_squared import r_squared
from seqpricing_core.portfolios import MODEL, STRATEGY, compute_returns_of_families
from seqpricing_core.storage import frame_from_files, frame_to_bytes, scans_of_files, write_atomically
from seqpricing_core.study import Costs, Portfolios

FIRST_YEAR = 1999
PORTFOLIOS, COSTS = Portfolios(), Costs()
Result = TypeVar("Result")
R2 = ("total_r2", "predictive_r2")
MEASURES = ("return", "turnover", "net_return")


@dataclass(frozen=True)
class Size:
    years: int
    stocks: int
    families: int
    factors: int

    @property
    def models(self) -> int:
        return self.families * self.factors

    @property
    def rows(self) -> int:
        return self.years * 12 * self.stocks * self.models


@dataclass(frozen=True)
class Measured:
    seconds: float
    cpu_seconds: float
    peak_resident_mib: float
    peak_private_mib: float


def write_predictions(folder: Path, size: Size) -> None:
    """One file per family and year; the stocks of a month are drawn from half as many again."""
    random = np.random.default_rng(1)
    for year in range(FIRST_YEAR, FIRST_YEAR + size.years):
        months = pl.date_range(pl.date(year, 1, 1), pl.date(year, 12, 1), "1mo", eager=True).dt.month_end()
        ids = np.concatenate([
            np.sort(random.choice(size.stocks * 3 // 2, size.stocks, replace=False)) for _ in months
        ])  # fmt: skip
        outcome = random.standard_t(4, len(ids)) * 0.08
        outcome = pl.Series(np.maximum(outcome, -0.99)).set(pl.Series(random.random(len(ids)) < 0.01), None)
        market_equity = np.exp(random.normal(20, 2, len(ids)))
        for family in range(size.families):
            columns = {
                "month": months.repeat_by(size.stocks).explode(), "asset_id": ids + 10_000,
            }  # fmt: skip
            table = pl.concat(
                pl.DataFrame(columns).select(
                    pl.lit(f"family_{family:02d}").alias("family"),
                    pl.lit(k, pl.Int32).alias("number_of_factors"),
                    "month", "asset_id",
                    pl.Series("expected_return", random.normal(0.005, 0.01, len(ids))),
                    pl.Series("fitted_return", random.normal(0.005, 0.05, len(ids))),
                    outcome.alias("excess_return"),
                    pl.Series("market_equity", market_equity),
                )
                for k in range(1, size.factors + 1)
            )  # fmt: skip
            write_atomically(folder / f"family_{family:02d}" / f"{year}.arrow", frame_to_bytes(table))


def evaluate(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """R2 and portfolio returns of every model, family by family and year by year."""
    families = [scans_of_files(sorted(family.glob("*.arrow"))) for family in sorted(folder.iterdir())]
    outcome = pl.col("excess_return")
    scores = [
        pl.concat(tables)
        .group_by(MODEL)
        .agg(
            total_r2=r_squared(outcome, pl.col("fitted_return")),
            predictive_r2=r_squared(outcome, pl.col("expected_return")),
        )
        .collect(engine="streaming")
        for tables in families
    ]
    return pl.concat(scores).sort(MODEL), compute_returns_of_families(families, PORTFOLIOS, COSTS)


def evaluate_with_pandas(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same, as one would write it down."""
    keys, rows = list(MODEL), frame[frame["excess_return"].notna()]
    r = rows["excess_return"]
    sums = pd.DataFrame({
        "family": rows["family"], "number_of_factors": rows["number_of_factors"], "r": r**2,
        "total_r2": (r - rows["fitted_return"]) ** 2, "predictive_r2": (r - rows["expected_return"]) ** 2,
    }).groupby(keys).sum()  # fmt: skip
    scores = 1 - sums[list(R2)].div(sums["r"], axis=0)

    period = [*keys, "month"]
    frame = frame.sort_values([*period, "expected_return", "asset_id"])
    by_month = frame.groupby(period)
    place, count = by_month.cumcount(), by_month["asset_id"].transform("size")
    frame["quantile"] = place * PORTFOLIOS.quantiles // count + 1
    parts = []
    for weighting in PORTFOLIOS.weights:
        size = frame["market_equity"] if weighting == "value" else 1.0
        held = frame.assign(size=size)[frame["excess_return"].notna()]
        leg = [*keys, "quantile", "month"]
        held["weight"] = held["size"] / held.groupby(leg)["size"].transform("sum")
        held["earned"] = held["weight"] * held["excess_return"]
        returns = held.groupby(leg)["earned"].sum().rename("return").reset_index()
        drifted = held.merge(returns, on=leg)
        drifted["before"] = drifted["weight"] * (1 + drifted["excess_return"]) / (1 + drifted["return"])
        drifted["month"] += pd.offsets.MonthEnd(1)
        trades = held.merge(drifted[[*leg, "asset_id", "before"]], on=[*leg, "asset_id"], how="outer")
        trades["turnover"] = (trades["weight"].fillna(0) - trades["before"].fillna(0)).abs()
        turnover = trades.groupby(leg)["turnover"].sum().reset_index()
        table = returns.merge(turnover, on=leg)
        top, bottom = table[table["quantile"] == PORTFOLIOS.quantiles], table[table["quantile"] == 1]
        both = top.merge(bottom, on=period, suffixes=("", "_short"))
        both["return"] -= both["return_short"]
        both["turnover"] += both["turnover_short"]
        named = [
            both.assign(portfolio="long_short"), top.assign(portfolio="long_only"),
            table.assign(portfolio="quantile_" + table["quantile"].astype(str)),
        ]  # fmt: skip
        parts.append(pd.concat(named).assign(weights=weighting))
    result = pd.concat(parts)
    result["net_return"] = result["return"] - result["turnover"] * COSTS.basis_points / 1e4
    return scores, result.sort_values([*STRATEGY, "month"])


def compare_with_pandas(folder: Path) -> dict[str, float]:
    """Seconds of both for one family and year, the fastest of five, and the largest difference."""
    file = min(folder.glob("*/*.arrow"))
    with tempfile.TemporaryDirectory() as name:
        slice_folder = Path(name)
        write_atomically(slice_folder / file.parent.name / file.name, file.read_bytes())
        seconds, cpu, (scores, returns) = fastest(lambda: evaluate(slice_folder))
    frame = frame_from_files([file]).to_pandas()
    frame["month"] = pd.to_datetime(frame["month"])
    slow, slow_cpu, (slow_scores, slow_returns) = fastest(lambda: evaluate_with_pandas(frame.copy()))
    keys = [*STRATEGY, "month"]
    ours = returns.sort(keys).select(MEASURES).to_numpy()
    differences = [np.abs(ours - slow_returns[list(MEASURES)].to_numpy()).max()]
    differences.append(np.abs(scores.select(R2).to_numpy() - slow_scores.to_numpy()).max())
    return {
        "rows": len(frame), "seconds": seconds, "pandas_seconds": slow, "times_faster": slow / seconds,
        "cpu_seconds": cpu, "pandas_cpu_seconds": slow_cpu, "times_less_cpu": slow_cpu / cpu,
        "largest_difference": float(max(differences)),
    }  # fmt: skip


def fastest(action: Callable[[], Result], repeats: int = 5) -> tuple[float, float, Result]:
    """Seconds, seconds of processor time (of all threads), and result."""
    seconds, cpu_seconds = [], []
    for _ in range(repeats):
        start, cpu_start = time.perf_counter(), time.process_time()
        result = action()
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    return min(seconds), min(cpu_seconds), result


@contextmanager
def private_memory() -> Iterator[list[float]]:
    """Samples of the resident memory that is no file, in MiB, while the block runs (Linux)."""
    samples, stop = [0.0], threading.Event()

    def sample() -> None:
        while not stop.wait(0.05):
            samples.append(_status("RssAnon"))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def measure(folder: Path, output: Path) -> Measured:
    """Run in a process of its own, so that nothing else counts."""
    start, cpu_start = time.perf_counter(), time.process_time()
    with private_memory() as samples:
        scores, returns = evaluate(folder)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    write_atomically(output / "r_squared.arrow", frame_to_bytes(scores))
    write_atomically(output / "portfolio_returns.arrow", frame_to_bytes(returns))
    return Measured(seconds, cpu_seconds, _status("VmHWM"), max(samples))


def main() -> None:
    """Write, evaluate, compare, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--years", type=int, default=25)
    options.add_argument("--stocks", type=int, default=3500)
    options.add_argument("--families", type=int, default=10)
    options.add_argument("--factors", type=int, default=6)
    options.add_argument("--folder", type=Path, help="where predictions are written; removed at the end")
    options.add_argument("--measure", type=Path, nargs=2, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.measure:
        print(json.dumps(asdict(measure(*chosen.measure))))
        return
    size = Size(chosen.years, chosen.stocks, chosen.families, chosen.factors)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder, output = Path(name) / "predictions", Path(name) / "output"
        start = time.perf_counter()
        write_predictions(folder, size)
        stored = sum(file.stat().st_size for file in folder.rglob("*.arrow")) / 2**20
        print(f"{size.rows:,} rows of {size.models} models, {stored:,.0f} MiB, "
              f"written in {time.perf_counter() - start:.0f} s", flush=True)  # fmt: skip
        command = [sys.executable, __file__, "--measure", str(folder), str(output)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603
        rate = size.rows / found["seconds"] / 1e6
        print(f"evaluated in {found['seconds']:.1f} s ({rate:.1f} million rows a second; "
              f"{found['cpu_seconds']:.1f} s of processor time), peak memory "
              f"{found['peak_resident_mib']:,.0f} MiB, of that not files "
              f"{found['peak_private_mib']:,.0f} MiB", flush=True)  # fmt: skip
        print("one family and year against pandas:", json.dumps(compare_with_pandas(folder), indent=1))


if __name__ == "__main__":
    main()
