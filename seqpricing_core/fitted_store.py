"""A store of fitted windows by what they were fitted from: what was trained once is never trained again.

The key of a fit is the fingerprint of everything `fit_family` is handed (architecture, K, every array of the
samples, training settings, the fit it starts from), of the source it runs, and of the libraries it computes
with. Same key, same bytes, on one machine: so a retry, a second materialization or a run after a crash finds
the fit and returns it.

An entry is two files, ``<key>.safetensors`` and ``<key>.json``, each written whole or not at all. It counts
only if the JSON names the fingerprint of the other; anything else is trained again and replaced.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel

from seqpricing_core.code_version import code_version, sources_of
from seqpricing_core.locks import SUFFIX, ProcessIdentity, exclusive
from seqpricing_core.models.configs import ModelConfig
from seqpricing_core.models.family import FAMILIES, FittedFamily, fit_family
from seqpricing_core.storage import fingerprint, write_atomically
from seqpricing_core.study import Training
from seqpricing_core.windows import WindowSamples

LIBRARIES = ("numpy", "scipy", "torch", "numba", "lightgbm", "scikit-learn", "optuna")
"""What families compute with; another version may round otherwise."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredFit:
    """A fit, and whether it was trained just now."""

    fitted: FittedFamily
    key: str
    reused: bool
    seconds: float
    """That training took, whenever it was."""


class Sharing(Protocol):
    """Where several machines keep the same files, if they do: `seqpricing_dagster.object_store`."""

    def publish(self, paths: Sequence[Path]) -> None: ...

    def fetch(self, paths: Sequence[Path]) -> list[Path]: ...


@dataclass(frozen=True)
class FittedStore:
    """``folder/<first two digits of the key>/<key>.{safetensors,json}``"""

    folder: Path
    shared: Sharing | None = None

    def fit(
        self,
        config: ModelConfig,
        factor_numbers: Sequence[int],
        samples: WindowSamples,
        training: Training,
        previous: FittedFamily | None = None,
    ) -> StoredFit:
        """What `fit_family` gives for these arguments: read if it is there, else trained and kept.

        Of several processes that ask for the same fit at once one trains; the others wait for it. So on one
        machine: of two that share files each may train the window once if they begin at the same time.
        """
        inputs = fit_inputs(config, factor_numbers, samples, training, previous)
        key = fit_key(inputs)
        if (found := self.find(key)) is not None:
            return found
        with exclusive(self._file(key, SUFFIX), waiting=lambda owner: _say_waiting(key, owner)):
            if self.shared:
                self.shared.fetch(self._files(key))
            if (found := self.find(key)) is not None:
                return found
            started = time.perf_counter()
            fitted = fit_family(config, factor_numbers, samples, training, previous)
            seconds = time.perf_counter() - started
            self._keep(key, fitted, {"inputs": inputs, "seconds": seconds})
        return StoredFit(fitted, key, reused=False, seconds=seconds)

    def find(self, key: str) -> StoredFit | None:
        """The fit of this key; None if it is not there, or not whole."""
        record = self.record(key)
        if record is None:
            return None
        fitted = FittedFamily.from_files([self._file(key, ".safetensors")])
        return StoredFit(fitted, key, reused=True, seconds=record["seconds"])

    def record(self, key: str) -> dict[str, Any] | None:
        """What is known of a whole entry: its inputs, seconds of training, fingerprint. Else None."""
        try:
            record: dict[str, Any] = json.loads(self._file(key, ".json").read_text(encoding="utf-8"))
            data = self._file(key, ".safetensors").read_bytes()
        except (OSError, ValueError):
            return None
        return record if record.get("fingerprint") == fingerprint(data) else None

    def keys(self) -> list[str]:
        """Of everything that looks like an entry."""
        return sorted(path.stem for path in self.folder.glob("*/*.json") if not path.name.startswith("."))

    def _keep(self, key: str, fitted: FittedFamily, record: dict[str, Any]) -> None:
        data = fitted.to_bytes()
        record |= {"family": fitted.config.family, "test_year": fitted.window.test_year}
        record |= {"fingerprint": fingerprint(data), "bytes": len(data)}
        contents = (data, json.dumps(record, indent=1, sort_keys=True).encode())
        for path, content in zip(self._files(key), contents, strict=True):
            write_atomically(path, content)
        if self.shared:
            self.shared.publish(self._files(key))

    def _files(self, key: str) -> list[Path]:
        """The fit, and then what says that it is whole."""
        return [self._file(key, ".safetensors"), self._file(key, ".json")]

    def _file(self, key: str, suffix: str) -> Path:
        return self.folder / key[:2] / f"{key}{suffix}"


def fit_inputs(
    config: ModelConfig,
    factor_numbers: Sequence[int],
    samples: WindowSamples,
    training: Training,
    previous: FittedFamily | None = None,
) -> dict[str, str]:
    """Fingerprints of all that decides a fit, by name: two fits differ where these do."""
    return {
        "architecture": _fingerprint_of(config),
        "number_of_factors": ",".join(map(str, factor_numbers)),
        "samples": _fingerprint_of(samples),
        "training": _fingerprint_of(training),
        "previous": fingerprint(previous.to_bytes()) if previous else "none",
        "code": fit_code_version(config.family),
        "libraries": library_versions(),
    }


def fit_key(inputs: dict[str, str]) -> str:
    """32 hex digits."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:32]


@cache
def fit_code_version(family: str) -> str:
    """Fingerprint of the source that fits a family: its module and all it imports from the core."""
    return code_version(*sources_of(f"models.{FAMILIES[family].module}"))


@cache
def library_versions() -> str:
    """Such as ``numpy 2.2.0, torch 2.13.0``."""
    return ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _fingerprint_of(value: Any) -> str:
    digest = hashlib.sha256()
    for part in _parts(value):
        digest.update(part)
    return digest.hexdigest()[:16]


def _parts(value: Any) -> Iterator[bytes | memoryview]:
    """All bytes of nested dataclasses, settings, arrays and plain values, with names, types and shapes."""
    if isinstance(value, np.ndarray):
        yield f"{value.dtype}{value.shape}".encode()
        plain = value.view(np.int64) if value.dtype.kind == "M" else value
        yield np.ascontiguousarray(plain).reshape(-1).view(np.uint8).data
    elif isinstance(value, BaseModel):
        yield value.model_dump_json().encode()
    elif dataclasses.is_dataclass(value):
        yield type(value).__name__.encode()
        for field in dataclasses.fields(value):
            yield f"{field.name}=".encode()
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        yield f"{len(value)} items".encode()
        for item in value:
            yield from _parts(item)
    elif isinstance(value, dict | str | int | float | bool | None):
        yield json.dumps(value, sort_keys=True).encode()
    else:
        raise TypeError(f"a fit cannot be told from others by a {type(value).__name__}")


def _say_waiting(key: str, owner: ProcessIdentity | None) -> None:
    who = f"process {owner.pid} on {owner.host}" if owner else "another process"
    log.info("waiting for %s, which is fitting the same window (%s)", who, key[:8])
