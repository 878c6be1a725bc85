"""Same seed, same bytes: the simulated market, and a whole run; also in another process."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from seqpricing_core.models.family import FAMILIES
from seqpricing_core.models.sequence.predictor import NETWORKS
from seqpricing_core.pipeline import run_study
from seqpricing_core.sources.simulated import write_simulated_market
from seqpricing_core.storage import fingerprint, frame_to_bytes
from seqpricing_core.study import SimulatedSource

ROOT = Path(__file__).parents[2]
COMPLETE = {"detail": "complete", "daily": True}
AS_EVER = {
    "stock_months": {"asset_id": 6010768, "ret": 18.926233500757895, "market_equity": 698310759606.0391,
                     "dollar_volume": 61409033255.72068, "zero_volume_days": 151},
    "statements": {"asset_id": 6009221, "assets": 739535921264.0884, "cash": 74584158134.99496,
                   "revenue": 185216781960.00836, "earnings": 8487909972.654165},
    "truth": {"expected_return": 5.328003939170578, "fitted_return": 16.22084679065265,
              "beta_3": -5.700362318840586, "factor_2": 8.792970870271148},
}  # fmt: skip


def market(folder, **changes) -> dict[str, bytes]:
    source = SimulatedSource(kind="simulated", **({"stocks": 30, "seed": 5} | changes))
    write_simulated_market(source, 2000, 2002, folder)
    return {file.stem: file.read_bytes() for file in folder.iterdir()}


class TestSimulatedMarket:
    @pytest.mark.parametrize(
        "changes", [{"loadings": "linear"}, {"loadings": "nonlinear"}, {"loadings": "path"}, COMPLETE]
    )
    def test_same_seed_same_bytes(self, tmp_path, changes):
        one, two = (market(tmp_path / name, **changes) for name in ("one", "two"))
        assert one == two
        assert len(one) == (7 if changes == COMPLETE else 4)

    def test_the_plain_market_is_what_it_was(self, tmp_path):
        """Sums over what version 0.1 drew: published figures rest on it, and additions must not move it."""
        write_simulated_market(SimulatedSource(kind="simulated", stocks=25, seed=1), 2000, 2001, tmp_path)
        for name, sums in AS_EVER.items():
            found = pl.read_parquet(tmp_path / f"{name}.parquet").select(*sums).sum().row(0, named=True)
            assert found == pytest.approx(sums, rel=1e-9)

    def test_a_longer_sample_keeps_its_earlier_years(self, tmp_path):
        """Of a complete market: whatever was known by the end of 2001 is the same, bit for bit."""
        source = SimulatedSource(kind="simulated", stocks=30, seed=5, **COMPLETE)
        for last in (2001, 2003):
            write_simulated_market(source, 2000, last, tmp_path / str(last))
        end = dt.date(2001, 12, 31)
        for name, day in (("stock_months", "month"), ("truth", "month"), ("factors", "month"),
                          ("stock_days", "day"), ("factor_days", "day"), ("statements", "available_from"),
                          ("names", "first_day")):  # fmt: skip
            shorter, longer = (
                pl.read_parquet(tmp_path / last / f"{name}.parquet").filter(pl.col(day) <= end)
                for last in ("2001", "2003")
            )
            if name == "names":  # a spell that goes on ends later, or has since ended
                shorter, longer = (
                    f.with_columns(pl.col("last_day").clip(upper_bound=end)) for f in (shorter, longer)
                )
            assert shorter.equals(longer), name

    def test_memory_does_not_grow_with_the_years(self, tmp_path):
        """In its own process: from the third year to the ninth by less than what two years of days take."""
        script = (
            "import pathlib, resource, sys\n"
            "from seqpricing_core.sources.simulated.market import SimulatedMarket\n"
            "from seqpricing_core.sources.simulated.files import write_simulated_market\n"
            "from seqpricing_core.study import SimulatedSource\n"
            "source = SimulatedSource(kind='simulated', stocks=200, detail='complete', daily=True)\n"
            "step, peaks = SimulatedMarket._next, []\n"
            "def watched(self, month):\n"
            "    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
            "    return step(self, month)\n"
            "SimulatedMarket._next = watched\n"
            "write_simulated_market(source, 2000, 2008, pathlib.Path(sys.argv[1]))\n"
            "print(peaks[48 + 35], peaks[-1])\n"
        )
        early, late = (int(kilobytes) for kilobytes in _run(script, str(tmp_path)).split())
        rows = pl.read_parquet(tmp_path / "stock_days.parquet", columns=["day"])["day"].dt.year()
        year_of_days = (rows == 2008).sum() * 12 * 8 / 1024
        assert late - early < 2 * year_of_days

    @pytest.mark.parametrize("changes", [{"seed": 6}, {"stocks": 31}])
    def test_another_seed_is_another_market(self, tmp_path, changes):
        one, two = market(tmp_path / "one"), market(tmp_path / "two", **changes)
        assert all(one[name] != two[name] for name in ("stock_months", "statements", "truth"))


def elsewhere(study, folder) -> str:
    """Fingerprint of the predictions of a run in a fresh process."""
    script = (
        "import sys, pathlib\n"
        "from seqpricing_core.study import Study\n"
        "from seqpricing_core.pipeline import run_study\n"
        "from seqpricing_core.storage import fingerprint, frame_to_bytes\n"
        "study = Study.model_validate_json(sys.stdin.read())\n"
        "print(fingerprint(frame_to_bytes(run_study(study, pathlib.Path(sys.argv[1])).predictions)))\n"
    )
    return _run(script, str(folder), study.model_dump_json())


def _run(script, argument, text="") -> str:
    environment = os.environ | {
        "PYTHONHASHSEED": "12345", "POLARS_MAX_THREADS": "1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, argument],
        input=text, env=environment, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return done.stdout.strip()


class TestWholeRuns:
    def test_two_runs_are_the_same_byte_for_byte(self, small, results, tmp_path):
        again = run_study(small.study, tmp_path)
        for name in ("predictions", "portfolio_returns", "performance"):
            one, two = (frame_to_bytes(getattr(r, name)) for r in (results, again))
            assert one == two, name

    def test_in_another_process(self, small, results, tmp_path):
        """Another hash seed and a single polars thread: no set, dict or thread decides anything."""
        assert elsewhere(small.study, tmp_path) == fingerprint(frame_to_bytes(results.predictions))

    @pytest.mark.slow
    def test_every_family_in_another_process(self, make_study, latent_factor_models, tmp_path):
        """All that the registry has, on one test year."""
        forest = {"trees": 6, "depth": [3], "features": [20], "minimum_leaf": 10}
        gan = {"sdf_hidden": [8], "sdf_states": 2, "conditional_states": 2, "instruments": 2,
               "loading_hidden": [4], "minimum_epochs": 0, "conditional_epochs": 2}  # fmt: skip
        others = {"gan": gan, "ols": {}, "rf": forest, "ols3_forecast": {}, "rf_forecast": forest}
        one = {"l1": [0.001], "learning_rate": [0.01]}
        networks = {name: {"grid": one | {"beta_hidden": [[8, 4]]}} for name in ("nn", "nn_forecast")}
        sample = {"first_month": "2000-01", "last_month": "2004-12"}
        sequences = {f: {"hidden": 8, "lookback": 4, "batch": 200} for f in NETWORKS}
        sequences["dnn"]["hidden"] = [8, 4]
        study = make_study(models=latent_factor_models | others | networks | sequences, sample=sample)
        assert set(study.families) == set(FAMILIES)
        here = run_study(study, tmp_path / "here").predictions
        assert set(here["family"]) == {*FAMILIES, "oracle"}
        assert elsewhere(study, tmp_path / "elsewhere") == fingerprint(frame_to_bytes(here))

    def test_another_training_seed_is_another_network(self, small, results, make_study, tmp_path):
        options = small.study.training.model_dump() | {"seeds": [2]}
        other = run_study(make_study(training=options), tmp_path).predictions
        key = ["family", "number_of_factors", "month", "asset_id"]
        both = results.predictions.join(other, on=key, suffix="_other", maintain_order="left")
        same = both.group_by("family").agg(
            (pl.col("expected_return") == pl.col("expected_return_other")).mean()
        )
        share = dict(same.iter_rows())
        assert share["ipca"] == share["oracle"] == 1
        assert max(share["ca2"], share["seqlat"]) < 0.01
