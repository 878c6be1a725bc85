"""Same seed, same bytes: the simulated market, and a whole run; also in another process."""

from __future__ import annotations

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
FILES = ("stock_months", "statements", "factors", "truth")


def market(folder, **changes) -> dict[str, bytes]:
    source = SimulatedSource(kind="simulated", **({"stocks": 30, "seed": 5} | changes))
    write_simulated_market(source, 2000, 2002, folder)
    return {name: (folder / f"{name}.parquet").read_bytes() for name in FILES}


class TestSimulatedMarket:
    @pytest.mark.parametrize("loadings", ["linear", "nonlinear"])
    def test_same_seed_same_bytes(self, tmp_path, loadings):
        one, two = (market(tmp_path / name, loadings=loadings) for name in ("one", "two"))
        assert one == two

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
    environment = os.environ | {
        "PYTHONHASHSEED": "12345", "POLARS_MAX_THREADS": "1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        input=study.model_dump_json(), env=environment, capture_output=True, text=True,
        check=True, timeout=300,
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
