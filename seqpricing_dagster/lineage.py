"""What Dagster recorded of the assets behind a report, as the core's lineage."""

from collections.abc import Iterable

import dagster as dg

from seqpricing_core.report.lineage import Lineage

DATA_VERSION, CODE_VERSION = "dagster/data_version", "dagster/code_version"
UNKNOWN = "not recorded"
MOST_RECORDS = 5000


def recorded_lineage(instance: dg.DagsterInstance, assets: Iterable[str]) -> tuple[Lineage, ...]:
    """The newest materialization of every partition of every asset that has one; partitions ascending.

    Parameters
    ----------
    assets
        Keys as paths.
    """
    return tuple(one for asset in assets for one in _of_asset(instance, asset))


def _of_asset(instance: dg.DagsterInstance, asset: str) -> list[Lineage]:
    found: dict[str, Lineage] = {}
    records = instance.fetch_materializations(dg.AssetKey(asset.split("/")), limit=MOST_RECORDS).records
    for record in records:  # the newest comes first
        event = record.asset_materialization
        partition = record.partition_key or ""
        if event is None or partition in found:
            continue
        tags = event.tags or {}
        found[partition] = Lineage(
            asset, partition, record.run_id, tags.get(DATA_VERSION, UNKNOWN), tags.get(CODE_VERSION, UNKNOWN)
        )
    return [found[partition] for partition in sorted(found)]
