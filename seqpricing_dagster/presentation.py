"""What the UI shows of every asset whoever defines it: who owns it, and where its columns come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import dagster as dg

OWNERS = {"raw": "team:data", "panel": "team:data", "evaluation": "team:research", "signal": "team:trading"}
"""By group; the groups of families are the modellers'."""
MODELLERS = "team:models"
Sources: TypeAlias = list[tuple[tuple[str, ...], str]]
"""Asset key and column."""


def presented(assets: Iterable[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets, each with an owner."""
    return [*dg.map_asset_specs(_with_owner, list(assets))]


def _with_owner(spec: dg.AssetSpec) -> dg.AssetSpec:
    if spec.owners:
        return spec
    return spec.replace_attributes(owners=[OWNERS.get(spec.group_name or "", MODELLERS)])


def panel_columns(characteristics: Sequence[str]) -> dict[str, Any]:
    """Schema of a panel, and where each column comes from."""
    stock_months, factors = ("raw", "stock_months"), ("raw", "factors")
    known = ("panel", "characteristics")
    return _columns({
        "month": ("date", [(stock_months, "month")]),
        "asset_id": ("int64", [(stock_months, "asset_id")]),
        "excess_return": ("float64", [(stock_months, "ret"), (factors, "risk_free")]),
        "market_equity": ("float64", [(known, "mvel1")]),
        **{name: ("float32, rank in (-1, 1)", [(known, name)]) for name in characteristics},
    })  # fmt: skip


def prediction_lineage(characteristics: Sequence[str]) -> dict[str, Any]:
    """Which columns of the panel the columns of predictions come from."""
    panel = ("panel", "panel")
    same = ("month", "asset_id", "excess_return", "market_equity")
    columns: dict[str, Sources] = {name: [(panel, name)] for name in same}
    forecast: Sources = [(panel, name) for name in characteristics]
    columns |= {"expected_return": forecast, "fitted_return": [*forecast, (panel, "excess_return")]}
    return _lineage(columns)


def _columns(columns: Mapping[str, tuple[str, Sources]]) -> dict[str, Any]:
    schema = dg.TableSchema([dg.TableColumn(name, kind) for name, (kind, _) in columns.items()])
    return {"dagster/column_schema": schema} | _lineage({name: deps for name, (_, deps) in columns.items()})


def _lineage(columns: Mapping[str, Sources]) -> dict[str, Any]:
    return {
        "dagster/column_lineage": dg.TableColumnLineage({
            column: [dg.TableColumnDep(dg.AssetKey([*key]), name) for key, name in deps]
            for column, deps in columns.items()
        })
    }  # fmt: skip
