"""Tables of forecasts: comparisons of squared errors, and the models that may be the best."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.inference.confidence_set import model_confidence_set, superior_predictive_ability
from seqpricing_core.inference.diebold_mariano import diebold_mariano
from seqpricing_core.inference.series import Float64, normal_p_value, varies
from seqpricing_core.inference.study_series import (
    COMMON,
    OF_MODEL,
    ORACLE,
    PAIR,
    InferenceSettings,
    Model,
    attempt,
    model_pairs,
    pair_keys,
    series_by_model,
    with_adjusted,
)
from seqpricing_core.portfolios import MODEL


def forecast_comparison_table(scores: pl.DataFrame) -> pl.DataFrame:
    """Diebold-Mariano tests of every pair of models."""
    schema = PAIR | dict.fromkeys(("difference", "statistic", "p_value", "p_a_better"), pl.Float64)
    schema |= {"lags": pl.Int64, "same_assets": pl.Boolean} | COMMON
    errors, assets = _mean_squared_errors(scores), series_by_model(scores, "assets")
    rows = [
        pair_keys(a, b)
        | {"months": len(errors[a]), "same_assets": bool(np.array_equal(assets[a], assets[b]))}
        | attempt(_forecast_test, errors[a], errors[b])
        for a, b in model_pairs(list(errors))
    ]
    return with_adjusted(rows, schema, ())


def _forecast_test(a: Float64, b: Float64) -> dict[str, Any]:
    test = diebold_mariano(a, b)
    if math.isnan(test.statistic):
        return {
            "difference": test.difference,
            "reason": "the squared errors differ by nothing, or by a constant",
        }
    better = normal_p_value(test.statistic, "greater")
    return asdict(test) | {"p_a_better": better}


def _mean_squared_errors(scores: pl.DataFrame) -> dict[Model, Float64]:
    """(T,) per model: the mean over stocks of each month."""
    return series_by_model(scores.with_columns(mse=pl.col("squared_error") / pl.col("assets")), "mse")


def confidence_set_table(scores: pl.DataFrame, settings: InferenceSettings) -> pl.DataFrame:
    """Model confidence set over all models, and for each whether a better one is among them."""
    schema = OF_MODEL | {
        "mean_squared_error": pl.Float64, "p_value": pl.Float64, "included": pl.Boolean,
        "p_superior_exists": pl.Float64,
    } | COMMON  # fmt: skip
    errors = {m: e for m, e in _mean_squared_errors(scores).items() if m[0] != ORACLE}
    if not errors:
        return pl.DataFrame(schema=schema)
    losses = np.column_stack(list(errors.values()))
    months = len(losses)
    rows = [
        dict(zip(MODEL, m, strict=True)) | {"months": months, "mean_squared_error": float(e.mean())}
        for m, e in errors.items()
    ]
    options: dict[str, Any] = {"replications": settings.replications or 999, "seed": settings.seed}
    names = [f"{family} {factors}" for family, factors in errors]
    try:
        found = model_confidence_set(losses, names, size=settings.confidence_set_size, **options)
    except InputError as error:
        return pl.DataFrame([row | {"reason": error.what} for row in rows], schema=schema)
    for column, (row, p_value, included) in enumerate(
        zip(rows, found["p_value"], found["included"], strict=True)
    ):
        row |= {"p_value": p_value, "included": included}
        own = losses[:, column]
        others = [c for c in range(losses.shape[1]) if varies(own - losses[:, c])]
        if others:
            row["p_superior_exists"] = superior_predictive_ability(
                own, losses[:, others], **options
            ).consistent
    return pl.DataFrame(rows, schema=schema)
