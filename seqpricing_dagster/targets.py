"""Which partitions a year, a month, a changed file asks for: what the jobs of `automation` materialize."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.data_version import (
    CachingStaleStatusResolver,
    StaleCauseCategory,
    StaleStatus,
)
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.loader import LoadingContextForTest as SimpleLoadingContext
from dagster._time import get_current_timestamp

Graph: TypeAlias = AssetGraph
Targets: TypeAlias = Mapping[dg.AssetKey, frozenset[str] | None]
"""Asset -> its partitions; None for an asset without partitions."""
SIGNAL = dg.AssetKey(["signal", "next_month_signal"])
RAW = "raw"
FINISHED = (BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED_FAILED, BulkActionStatus.CANCELED)


def whole_year(graph: Graph, test_year: int) -> Targets:
    """A test year from its raw tables on, models of the window after it, and everything over all years."""
    return _of_years(graph, graph.get_all_asset_keys(), test_year)


def next_month(graph: Graph, newest_year: int) -> Targets:
    """What next month's signal is made from: the newest year's data read again, and the newest window."""
    return _of_years(graph, _ancestors(graph, SIGNAL) | {SIGNAL}, newest_year)


def raw_tables(graph: Graph) -> Targets:
    """All years as they now stand in the vendor's files; cheap beside what is trained from them."""
    targets: dict[dg.AssetKey, frozenset[str] | None] = {}
    for key in graph.get_all_asset_keys():
        if key.path[0] == RAW:
            partitions = graph.get(key).partitions_def
            targets[key] = frozenset(partitions.get_partition_keys()) if partitions else None
    return targets


@dataclass(frozen=True)
class Restatement:
    """Partitions made from data that has changed since, and what is computed over all years from them."""

    targets: Targets
    events: frozenset[int]
    """The records of the changes: the same ones mean the same restatement."""


def restated(instance: dg.DagsterInstance, graph: Graph) -> Restatement:
    """What has to be made again because of data; a change of code or settings is a person's decision.

    A partition whose parents are to be made again first appears once they are there, and only if they
    really changed: fingerprints decide, not dates.
    """
    resolver = CachingStaleStatusResolver(instance, graph, SimpleLoadingContext(instance))
    stale: dict[dg.AssetKey, frozenset[str] | None] = {}
    changed: set[AssetKeyPartitionKey] = set()
    for key in graph.get_all_asset_keys():
        partitions = graph.get(key).partitions_def
        for name in partitions.get_partition_keys() if partitions else [None]:
            if resolver.get_status(key, name) != StaleStatus.STALE:
                continue
            causes = [
                c for c in resolver.get_stale_causes(key, name) if c.category == StaleCauseCategory.DATA
            ]
            if causes:
                stale[key] = None if name is None else (stale.get(key) or frozenset()) | {name}
                changed |= {cause.dependency for cause in causes if cause.dependency}
    partitioned = {key for key, names in stale.items() if names}
    for key in graph.get_all_asset_keys():
        # Dagster does not track what an asset without partitions reads of all partitions of another.
        if graph.get(key).partitions_def is None and partitioned & _ancestors(graph, key):
            stale[key] = None
    records = [instance.get_latest_data_version_record(k.asset_key, False, k.partition_key) for k in changed]
    return Restatement(stale, frozenset(record.storage_id for record in records if record))


def launch(
    instance: dg.DagsterInstance, graph: Graph, targets: Targets, backfill_id: str, **words: str
) -> bool:
    """Ask for a backfill of ``targets`` under this name; False if it was asked for before.

    Parameters
    ----------
    words
        Its title, and a priority.
    """
    if instance.get_backfill(backfill_id) is not None:
        return False
    partitioned = {key: (graph.get(key).partitions_def, names) for key, names in targets.items() if names}
    subset = AssetGraphSubset(  # type: ignore[call-arg]  # both fields are given
        partitions_subsets_by_asset_key={
            key: partitions.subset_with_partition_keys(names)
            for key, (partitions, names) in partitioned.items()
            if partitions
        },
        non_partitioned_asset_keys={key for key, names in targets.items() if names is None},
    )
    instance.add_backfill(
        PartitionBackfill.from_asset_graph_subset(
            backfill_id=backfill_id,
            backfill_timestamp=get_current_timestamp(),
            tags={"dagster/priority": words.get("priority", "0")},
            dynamic_partitions_store=instance,
            asset_graph_subset=subset,
            title=words.get("title"),
            description=None,
            run_config=None,
        )
    )
    return True


def backfill_in_progress(instance: dg.DagsterInstance) -> bool:
    """Whether any is; what it makes would look restated or missing meanwhile."""
    return any(one.status not in FINISHED for one in instance.get_backfills(limit=100))


def _of_years(graph: Graph, keys: Iterable[dg.AssetKey], year: int) -> Targets:
    """Partition ``year`` of each, with the year after it for models: that window ends with ``year``."""
    targets: dict[dg.AssetKey, frozenset[str] | None] = {}
    for key in keys:
        partitions = graph.get(key).partitions_def
        if partitions is None:
            targets[key] = None
            continue
        wanted = {str(year), str(year + 1)} if key.path[0] == "models" else {str(year)}
        if found := frozenset(name for name in wanted if partitions.has_partition_key(name)):
            targets[key] = found
    return targets


def _ancestors(graph: Graph, key: dg.AssetKey) -> set[dg.AssetKey]:
    found: set[dg.AssetKey] = set()
    waiting = [key]
    while waiting:
        for parent in graph.get(waiting.pop()).parent_keys:
            if parent not in found and parent != key:
                found.add(parent)
                waiting.append(parent)
    return found
