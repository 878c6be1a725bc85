"""What each source can provide, without reading its rows: decides which characteristics a study can have."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from seqpricing_core.errors import InputError
from seqpricing_core.source_configs import VendorSource
from seqpricing_core.sources.canonical_files import KEYS, CanonicalFiles
from seqpricing_core.sources.public_files import PublicFiles
from seqpricing_core.sources.vendors import open_vendor_source
from seqpricing_core.study import CanonicalFilesSource, PublicFilesSource, SimulatedSource, Source
from seqpricing_core.tables import (
    FACTOR_DAYS,
    FACTORS,
    STATEMENT_ITEMS,
    STATEMENTS,
    STOCK_DAYS,
    STOCK_MONTHS,
    required_columns,
)

EVERYTHING = frozenset(
    f"{schema.name}.{column}"
    for schema in (STOCK_MONTHS, STOCK_DAYS, STATEMENTS, FACTORS, FACTOR_DAYS)
    for column in schema.columns
    if column not in KEYS
) | {"statements.quarterly", "statements.annual"}
"""The inputs of a source that has it all."""

SIMULATED = frozenset(
    {f"stock_months.{column}" for column in required_columns(STOCK_MONTHS) if column not in KEYS}
    | {f"statements.{item}" for item in STATEMENT_ITEMS}
    | {"statements.quarterly", "factors.risk_free", "factors.market_excess"}
)
"""What a plain simulated market writes; a test compares it with the files."""


def source_inputs(source: Source) -> frozenset[str]:
    """What ``source`` can provide, as `RawTables.inputs` names it.

    Files that do not exist yet, or cannot be read, are taken to hold everything: opening the source
    says what is wrong with them.
    """
    if isinstance(source, SimulatedSource):
        return _simulated_inputs(source)
    if isinstance(source, PublicFilesSource):
        return PublicFiles(source).inputs()
    if not isinstance(source, CanonicalFilesSource):
        paths = [path for _, path in source if isinstance(path, Path)]
        return _vendor_inputs(source, tuple(path.stat().st_mtime_ns for path in paths if path.exists()))
    files = (
        source.stock_months, source.statements, source.factors, source.stock_days, source.factor_days,
    )  # fmt: skip
    modified = tuple(file.stat().st_mtime_ns if file and file.is_file() else 0 for file in files)
    return _canonical_inputs(files, modified)


def _simulated_inputs(source: SimulatedSource) -> frozenset[str]:
    if source.detail == "plain":
        return SIMULATED
    days = ("stock_days.", "factor_days.")
    return frozenset(name for name in EVERYTHING if source.daily or not name.startswith(days))


@lru_cache(maxsize=16)
def _canonical_inputs(files: tuple[Path | None, ...], _modified: tuple[int, ...]) -> frozenset[str]:
    months, statements, factors, days, factor_days = files
    assert months
    assert statements
    assert factors
    try:
        return CanonicalFiles(months, statements, factors, days, factor_days).inputs()
    except InputError:
        return EVERYTHING


@lru_cache(maxsize=16)
def _vendor_inputs(source: VendorSource, _modified: tuple[int, ...]) -> frozenset[str]:
    try:
        return open_vendor_source(source, Path()).inputs()
    except InputError:
        return EVERYTHING
