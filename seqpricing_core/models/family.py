"""Families of models: the registry, fitting all K of a window, and the file of a fitted window.

A family is one module with

    fit(config, factor_numbers, samples, training) -> {K: one fitted model per seed}
    restore(config, factors, record, state) -> the model whose arrays are ``state``

A forecaster has no factors: its one key is K = 0.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import safetensors
import safetensors.numpy
from pydantic import TypeAdapter

from seqpricing_core.models.configs import ModelConfig
from seqpricing_core.models.factor_model import (
    Arrays,
    FactorHistory,
    FittedFactorModel,
    FittedForecaster,
    FittedModel,
)
from seqpricing_core.study import Training
from seqpricing_core.windows import Window, WindowSamples


@dataclass(frozen=True)
class Family:
    """How a family is called, and where it is."""

    title: str
    """As the literature writes it."""
    module: str
    """In `seqpricing_core.models`; imported, and torch with it, when needed."""
    kind: str
    """The library that fits it."""
    has_factors: bool = True
    """A forecaster has none."""
    warm: bool = False
    """Its ``fit`` also takes ``previous``, the fits of the window before, for a warm start."""


FAMILIES = {
    "ipca": Family("IPCA", "ipca", "numpy"),
    "ca0": Family("CA0", "conditional_autoencoder", "pytorch", warm=True),
    "ca1": Family("CA1", "conditional_autoencoder", "pytorch", warm=True),
    "ca2": Family("CA2", "conditional_autoencoder", "pytorch", warm=True),
    "ca3": Family("CA3", "conditional_autoencoder", "pytorch", warm=True),
    "seqrat": Family("SeqRAT", "sequence_factor", "pytorch", warm=True),
    "seqgat": Family("SeqGAT", "sequence_factor", "pytorch", warm=True),
    "seqlat": Family("SeqLAT", "sequence_factor", "pytorch", warm=True),
    "gan": Family("GAN", "sdf_gan", "pytorch"),
    "ols": Family("OLS", "observed_factor", "numpy"),
    "rf": Family("RF", "observed_factor", "lightgbm"),
    "nn": Family("NN", "feed_forward", "pytorch"),
    "ols3_forecast": Family("OLS-3 forecast", "forecast", "numpy", has_factors=False),
    "rf_forecast": Family("RF forecast", "forecast", "lightgbm", has_factors=False),
    "nn_forecast": Family("NN forecast", "feed_forward", "pytorch", has_factors=False),
    **{
        name: Family(title, "sequence.predictor", "pytorch", has_factors=False, warm=True)
        for name, title in (
            ("dnn", "DNN"),
            ("rnn", "RNN"),
            ("lstm", "LSTM"),
            ("gru", "GRU"),
            ("bi_lstm", "Bi-LSTM"),
            ("lstm_att", "LSTM-ATT"),
            ("transformer", "Transformer"),
        )
    },
}

TITLES = {name: family.title for name, family in FAMILIES.items()} | {"oracle": "Oracle"}


@dataclass(frozen=True)
class FittedFamily:
    """All K of one family, fitted on one window. One seed gives one model; more are an ensemble."""

    suffix: ClassVar[str] = "safetensors"

    config: ModelConfig
    window: Window
    models: dict[int, tuple[FittedModel, ...]]
    """K -> one fitted model per seed."""

    @property
    def months_seen(self) -> tuple[np.datetime64, np.datetime64]:
        """First and last month that any fit of the family was made from."""
        seen = [month for members in self.models.values() for m in members for month in m.months_seen]
        return min(seen), max(seen)

    def to_bytes(self) -> bytes:
        """One safetensors file: arrays, and everything else as JSON in its header."""
        arrays: Arrays = {}
        records: dict[str, Any] = {}
        for factors, members in self.models.items():
            for seat, member in enumerate(members):
                prefix = f"{factors}/{seat}"
                records[prefix] = member.record
                arrays |= {f"{prefix}/model/{name}": a for name, a in member.model.state().items()}
                months = member.history.months if isinstance(member, FittedFactorModel) else member.months
                arrays[f"{prefix}/months"] = months.astype("datetime64[M]").astype(np.int64)
                if isinstance(member, FittedFactorModel):
                    arrays[f"{prefix}/factors"] = member.history.factors
        header = {
            "config": self.config.model_dump(mode="json"),
            "window": [*self.window.train, *self.window.validation, self.window.test_year],
            "records": records,
        }
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        return safetensors.numpy.save(contiguous, {"seqpricing": json.dumps(header, sort_keys=True)})

    @classmethod
    def from_files(cls, paths: Sequence[Path]) -> FittedFamily:
        (path,) = paths
        with safetensors.safe_open(path, framework="numpy") as file:
            header = json.loads(file.metadata()["seqpricing"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config: ModelConfig = TypeAdapter(ModelConfig).validate_python(header["config"])
        models: dict[int, tuple[FittedModel, ...]] = {}
        for prefix in sorted(header["records"], key=lambda p: tuple(map(int, p.split("/")))):
            factors, record = int(prefix.split("/")[0]), header["records"][prefix]
            start = f"{prefix}/model/"
            state = {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}
            model = _module(config).restore(config, factors, record, state)
            months = arrays[f"{prefix}/months"].astype("datetime64[M]")
            member: FittedModel = FittedForecaster(model, months, record)
            if f"{prefix}/factors" in arrays:
                history = FactorHistory(months, arrays[f"{prefix}/factors"])
                member = FittedFactorModel(model, history, record)
            models[factors] = (*models.get(factors, ()), member)
        a, b, c, d, test_year = header["window"]
        return cls(config, Window((a, b), (c, d), test_year), models)


def starts_warm(config: ModelConfig, training: Training) -> bool:
    """Whether a model begins with the weights of the window before: it is asked to, and its family can."""
    fine_tuned = getattr(config, "refit", None) == "fine_tune"
    return FAMILIES[config.family].warm and (fine_tuned or training.warm_start)


def fit_family(
    config: ModelConfig,
    factor_numbers: Sequence[int],
    samples: WindowSamples,
    training: Training,
    previous: FittedFamily | None = None,
) -> FittedFamily:
    """Fit one family for every K on the estimation years of a window.

    **Timing.** Sees the months of the two samples and, for a warm start, the fit of the window before.
    """
    warm = {"previous": previous.models} if previous and FAMILIES[config.family].warm else {}
    models = _module(config).fit(config, factor_numbers, samples, training, **warm)
    return FittedFamily(config, samples.window, models)


def _module(config: ModelConfig) -> Any:
    return importlib.import_module(f"seqpricing_core.models.{FAMILIES[config.family].module}")
