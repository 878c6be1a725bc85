"""Where numbers come from: every table of the report names an asset, and this is what was recorded of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from seqpricing_core.storage import fingerprint, frame_to_bytes

WITHOUT_RUN: Final = "none: called in Python, not by an orchestrator"


@dataclass(frozen=True)
class Lineage:
    """What made one partition of an asset, or an asset without partitions."""

    asset: str
    """Its key as a path."""
    partition: str
    """A test year, say; "" for an asset without partitions."""
    run: str
    """Of the orchestrator."""
    data_fingerprint: str
    """Of the content (`storage.fingerprint`)."""
    code_version: str
    """Of the code and settings that made it."""

    @property
    def anchor(self) -> str:
        return anchor(self.asset)


def anchor(asset: str) -> str:
    """Of an asset's lines on the page; also of a folder of assets, such as ``models``."""
    return "lineage-" + asset.replace("/", "-")


def lineage_of_tables(tables: Mapping[str, pl.DataFrame], code_version: str) -> tuple[Lineage, ...]:
    """Of tables that were computed without an orchestrator.

    Parameters
    ----------
    tables
        By the name of the asset that would hold them.
    """
    return tuple(
        Lineage(name, "", WITHOUT_RUN, fingerprint(frame_to_bytes(table)), code_version)
        for name, table in tables.items()
    )


def by_asset(lineage: Iterable[Lineage]) -> dict[str, list[Lineage]]:
    """In the order given."""
    found: dict[str, list[Lineage]] = {}
    for one in lineage:
        found.setdefault(one.asset, []).append(one)
    return found


def link_of(source: str, assets: Sequence[str]) -> str:
    """Anchor of a table's source; the first asset below it if the source is a folder; "" if unknown."""
    for asset in assets:
        if asset == source or asset.startswith(f"{source}/"):
            return anchor(asset)
    return ""
