"""Families of models: the registry, fitting all K of a window, and the file of a fitted window."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import safetensors
import safetensors.numpy
from pydantic import TypeAdapter

from seqpricing_core.models.configs import IPCA, ModelConfig, NetworkConfig
from seqpricing_core.models.latent_factor_model import FactorHistory, FittedModel, LatentFactorModel
from seqpricing_core.study import Training
from seqpricing_core.windows import Window, WindowSamples

if TYPE_CHECKING:
    from seqpricing_core.nn.factor_model_network import FactorModelNetwork

TITLES = {"ipca": "IPCA", "cae": "CAE", "seqlat": "SeqLAT", "oracle": "Oracle"}
"""Names as the literature writes them."""

NETWORKS = {
    "cae": "seqpricing_core.models.conditional_autoencoder",
    "seqlat": "seqpricing_core.models.sequence_factor",
}
"""Where the ``build`` of each network family lives; imported, and torch with it, when needed."""

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class FittedFamily:
    """All K of one family, fitted on one window. One seed gives one model; more are an ensemble."""

    suffix: ClassVar[str] = "safetensors"

    config: ModelConfig
    window: Window
    shape: tuple[int, int]
    """P characteristics, Q managed portfolios."""
    models: dict[int, tuple[FittedModel, ...]]
    """K -> one fitted model per seed."""

    def to_bytes(self) -> bytes:
        """One safetensors file: arrays, and everything else as JSON in its header."""
        arrays: Arrays = {}
        records: dict[str, Any] = {}
        for factors, members in self.models.items():
            for seat, member in enumerate(members):
                prefix = f"{factors}/{seat}"
                records[prefix] = member.record
                arrays[f"{prefix}/history/months"] = member.history.months.astype("datetime64[M]").astype(
                    np.int64
                )
                arrays[f"{prefix}/history/factors"] = member.history.factors
                arrays |= {f"{prefix}/model/{name}": a for name, a in member.model.state().items()}
        header = {
            "config": self.config.model_dump(mode="json"),
            "window": [*self.window.train, *self.window.validation, self.window.test_year],
            "shape": self.shape,
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
        shape = (header["shape"][0], header["shape"][1])
        models: dict[int, tuple[FittedModel, ...]] = {}
        for prefix in sorted(header["records"], key=lambda p: tuple(map(int, p.split("/")))):
            factors, record = int(prefix.split("/")[0]), header["records"][prefix]
            start = f"{prefix}/model/"
            state = {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}
            history = FactorHistory(
                arrays[f"{prefix}/history/months"].astype("datetime64[M]"),
                arrays[f"{prefix}/history/factors"],
            )
            model = _restore(config, factors, shape, record.get("winner"), state)
            models[factors] = (*models.get(factors, ()), FittedModel(model, history, record))
        a, b, c, d, test_year = header["window"]
        return cls(config, Window((a, b), (c, d), test_year), shape, models)


def fit_family(
    config: ModelConfig, factor_numbers: Sequence[int], samples: WindowSamples, training: Training
) -> FittedFamily:
    """Fit one family for every K on the estimation years of a window.

    **Timing.** Sees the months of the two samples and nothing else.
    """
    train = samples.train
    shape = (train.panel.characteristics.shape[1], train.managed.x.shape[1])
    if isinstance(config, IPCA):
        from seqpricing_core.models.ipca import fit_ipca

        models: dict[int, tuple[FittedModel, ...]] = {
            k: (fit_ipca(config, k, samples),) for k in factor_numbers
        }
    else:
        from seqpricing_core.training import fit_network

        models = {
            k: tuple(
                fit_network(_network(config, k, shape), config.grid, samples, training, seed)
                for seed in training.seeds
            )
            for k in factor_numbers
        }
    return FittedFamily(config, samples.window, shape, models)


def _network(
    config: NetworkConfig, factors: int, shape: tuple[int, int]
) -> Callable[[tuple[int, ...]], FactorModelNetwork]:
    """Makes the untrained network of a family for given hidden sizes."""
    build = importlib.import_module(NETWORKS[config.family]).build

    def untrained(beta_hidden: tuple[int, ...]) -> FactorModelNetwork:
        network: FactorModelNetwork = build(config, beta_hidden, factors, shape)
        return network

    return untrained


def _restore(
    config: ModelConfig, factors: int, shape: tuple[int, int], winner: dict[str, Any] | None, state: Arrays
) -> LatentFactorModel:
    if isinstance(config, IPCA):
        from seqpricing_core.models.ipca import InstrumentedModel

        return InstrumentedModel.from_state(state)
    from seqpricing_core.nn.factor_model_network import with_state

    assert winner is not None
    return with_state(_network(config, factors, shape)(tuple(winner["beta_hidden"])), state)
