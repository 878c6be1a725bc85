"""A candidate that blows up loses; if all do, that is an error and no model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from seqpricing_core.models.configs import ConditionalAutoencoder, Grid
from seqpricing_core.models.family import FittedFamily, fit_family
from seqpricing_core.study import Training

TRAINING = Training(max_epochs=5, patience=5, batch_months=12)
EXPLODES = 1e30


def config(*rates: float) -> ConditionalAutoencoder:
    return ConditionalAutoencoder(grid=Grid(l1=(0.0,), learning_rate=rates, beta_hidden=((4,),)))


def test_a_diverging_candidate_loses_to_a_finite_one(make_arrays, tmp_path) -> None:
    fitted = fit_family(config(EXPLODES, 0.01), [2], make_arrays().samples, TRAINING)
    record = fitted.models[2][0].record
    assert record["winner"]["learning_rate"] == 0.01
    assert [c["validation_loss"] is None for c in record["candidates"]] == [True, False]
    assert np.isfinite(fitted.models[2][0].history.factors).all()
    file = tmp_path / "fitted.safetensors"
    file.write_bytes(fitted.to_bytes())
    kept = FittedFamily.from_files([file]).models[2][0].record
    assert kept == json.loads(json.dumps(record)), "the record must be plain JSON, without NaN or infinity"


def test_if_all_candidates_diverge_the_window_is_named(make_arrays) -> None:
    with pytest.raises(FloatingPointError, match=r"none of the 1 candidates .*test year 2004, seed 1"):
        fit_family(config(EXPLODES), [2], make_arrays().samples, TRAINING)
