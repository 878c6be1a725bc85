"""One file per partition, written atomically; what is read is what the lineage says.

Assets hand over bytes (`stored`), so that the file, its fingerprint and the data version are the same thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import dagster as dg
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.inference.study_inference import InferenceTables
from seqpricing_core.models.family import FittedFamily
from seqpricing_core.models.training_record import read_training_records
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.report.page import Report
from seqpricing_core.running_year import RunningYear
from seqpricing_core.storage import (
    Artifact,
    fingerprint,
    frame_from_files,
    frame_to_bytes,
    scans_of_files,
    write_atomically,
)
from seqpricing_dagster.object_store import SharedFolder
from seqpricing_dagster.refusals import forget, require_accepted

Kind = Literal[
    "table",
    "table_scans",
    "panel",
    "managed_portfolios",
    "running_year",
    "fitted_family",
    "training_records",
    "inference",
    "report",
]

READERS: Mapping[Kind, tuple[str, Callable[[Sequence[Path]], Any]]] = {
    "table": ("arrow", frame_from_files),
    "table_scans": ("arrow", scans_of_files),
    "panel": (Panel.suffix, Panel.from_files),
    "managed_portfolios": (ManagedPortfolios.suffix, ManagedPortfolios.from_files),
    "running_year": (RunningYear.suffix, RunningYear.from_files),
    "fitted_family": (FittedFamily.suffix, lambda paths: FittedFamily.from_files(paths[-1:])),  # the newest
    "training_records": (FittedFamily.suffix, read_training_records),
    "inference": (InferenceTables.suffix, InferenceTables.from_files),
    "report": (Report.suffix, Report.from_files),
}


@dataclass(frozen=True)
class Encoded:
    """The bytes of a partition."""

    data: bytes


def stored(value: pl.DataFrame | Artifact, **metadata: Any) -> dg.MaterializeResult[Encoded]:
    """What an asset returns: its bytes, their fingerprint as data version, and metadata for the UI."""
    data = frame_to_bytes(value) if isinstance(value, pl.DataFrame) else value.to_bytes()
    return dg.MaterializeResult(
        value=Encoded(data),
        data_version=dg.DataVersion(fingerprint(data)),
        metadata={"bytes": len(data), "fingerprint": fingerprint(data), **metadata},
    )


class PartitionFiles(dg.ConfigurableIOManager):
    """``folder/<asset key>/<partition>.<suffix>``"""

    folder: str
    kind: Kind
    url: str | None = None
    """Where the files are shared between machines, if they are."""

    def handle_output(self, context: dg.OutputContext, obj: Encoded) -> None:
        """Write the partition of the output, whole or not at all."""
        partition = context.asset_partition_key if context.has_asset_partitions else None
        path = self.path(context.asset_key, partition)
        write_atomically(path, obj.data)
        self._files.publish([path])
        forget(self._files, path)  # last: what was refused must not look accepted if this process dies
        context.add_output_metadata({"path": dg.MetadataValue.path(path)})

    def load_input(self, context: dg.InputContext) -> Any:
        """Read the partitions that the mapping of the input names, in order; None if it may name none."""
        keys = context.asset_partition_keys if context.has_asset_partitions else [None]
        if not keys:  # the first window: there is none before it to start from
            return None
        return self.read(context.asset_key, keys, refused=_is_for_a_check(context))

    def read(self, asset: dg.AssetKey, keys: Sequence[str | None], *, refused: bool = False) -> Any:
        """These partitions, in order; ``refused`` ones too for a check, which judges them.

        Raises
        ------
        InputError
            A partition is not there, or failed a blocking check.
        """
        paths = [self.path(asset, key) for key in keys]
        there = self._files.fetch(paths)
        if missing := [path for path in paths if path not in there]:
            name = asset.path[-1]
            raise InputError(
                f"{len(missing)} partition(s) of {name} are not there",
                where=", ".join(map(str, missing[:5])),
                expected="every partition that this asset reads to be materialized first",
                remedy=f"materialize {name} for {', '.join(path.stem for path in missing[:30])}",
            )
        if not refused:
            require_accepted(self._files, paths)
        return READERS[self.kind][1](paths)

    def path(self, key: dg.AssetKey, partition: str | None) -> Path:
        """File of a partition, or of an asset without partitions."""
        name = partition or key.path[-1]
        return Path(self.folder).joinpath(*key.path, f"{name}.{READERS[self.kind][0]}")

    @property
    def _files(self) -> SharedFolder:
        return SharedFolder(Path(self.folder), self.url)


def _is_for_a_check(context: dg.InputContext) -> bool:
    """Checks judge what later steps must not read."""
    try:
        reader = context.step_context.assets_def
    except dg.DagsterInvariantViolationError:  # read by hand, outside of any run
        return False
    return reader is not None and not reader.keys


def io_managers(files: SharedFolder) -> dict[str, PartitionFiles]:
    """One per kind of artifact."""
    return {
        kind: PartitionFiles(folder=str(files.folder), url=files.url, kind=kind) for kind in get_args(Kind)
    }
