"""Write simulated markets of any size, and draw the design of Gu, Kelly, Xiu: seconds, memory, R2.

    python benchmarks/simulated_market.py market --stocks 5000 --years 45 --daily
    python benchmarks/simulated_market.py market --stocks 50 --years 10 --detail plain
    python benchmarks/simulated_market.py design --draws 100

Seconds are those of the processor. Peak memory is the resident set of the process.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from seqpricing_core.sources.simulated import write_simulated_market
from seqpricing_core.sources.simulated.gu_kelly_xiu import PUBLISHED_OLS, draw_gu_kelly_xiu, ols_r_squared
from seqpricing_core.study import SimulatedSource

LAST_YEAR = 2023


def write_market(arguments: argparse.Namespace) -> None:
    source = SimulatedSource(
        kind="simulated", stocks=arguments.stocks, detail=arguments.detail, daily=arguments.daily
    )
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        started = time.process_time()
        write_simulated_market(source, LAST_YEAR - arguments.years + 1, LAST_YEAR, Path(folder))
        seconds = time.process_time() - started
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{arguments.stocks} stocks x {arguments.years} years, {arguments.detail}"
        f"{', days' if arguments.daily else ''}: {seconds:.0f} s, {peak:.0f} MiB, "
        f"{size / 2**20:.0f} MiB on disk"
    )


def draw_design(arguments: argparse.Namespace) -> None:
    scores: dict[tuple[str, int], list[tuple[float, float]]] = {design: [] for design in PUBLISHED_OLS}
    for seed in range(arguments.draws):
        draw = draw_gu_kelly_xiu(seed)
        for (form, count), of_design in scores.items():
            of_design.append(ols_r_squared(draw, "a" if form == "a" else "b", count))
    print("| design | published, in / out of sample | here | standard error |\n|---|---:|---:|---:|")
    for (form, count), of_design in scores.items():
        found = np.array(of_design)
        mean, error = found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(len(found))
        published = PUBLISHED_OLS[form, count]
        print(
            f"| ({form}), P_c = {count} | {published[0]:.2f} / {published[1]:.2f} "
            f"| {mean[0]:.2f} / {mean[1]:.2f} | {error[0]:.2f} / {error[1]:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    market = commands.add_parser("market")
    market.add_argument("--stocks", type=int, default=5000)
    market.add_argument("--years", type=int, default=45)
    market.add_argument("--detail", choices=("plain", "complete"), default="complete")
    market.add_argument("--daily", action="store_true")
    market.add_argument("--folder", type=Path, help="on a disk with room; temporary files are removed")
    market.set_defaults(command=write_market)
    design = commands.add_parser("design")
    design.add_argument("--draws", type=int, default=100)
    design.set_defaults(command=draw_design)
    arguments = parser.parse_args()
    arguments.command(arguments)


if __name__ == "__main__":
    main()
