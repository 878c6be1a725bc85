"""Raw data: one file per vendor format; `open_source` picks the one a study names."""

from __future__ import annotations

from pathlib import Path

from seqpricing_core.sources.base import RawTables
from seqpricing_core.sources.canonical_files import CanonicalFiles
from seqpricing_core.sources.public_files import PublicFiles
from seqpricing_core.sources.simulated import write_simulated_market
from seqpricing_core.study import CanonicalFilesSource, PublicFilesSource, SimulatedSource, Study

__all__ = ["RawTables", "open_source", "prepare_source", "truth_file"]


def prepare_source(study: Study, folder: Path) -> RawTables:
    """Make sure the source's files exist: the simulated market is written, other files must be there."""
    if isinstance(study.source, SimulatedSource):
        from seqpricing_core.characteristics.compute import HISTORY_YEARS

        write_simulated_market(
            study.source,
            first_year=study.sample.first_year - 1 - HISTORY_YEARS,
            last_year=study.sample.last_year,
            folder=folder,
        )
    source = open_source(study, folder)
    source.files()
    return source


def open_source(study: Study, folder: Path) -> RawTables:
    """The study's source; ``folder`` is where a simulated market was written."""
    source = study.source
    if isinstance(source, SimulatedSource):
        return CanonicalFiles(
            folder / "stock_months.parquet", folder / "statements.parquet", folder / "factors.parquet"
        )
    if isinstance(source, CanonicalFilesSource):
        return CanonicalFiles(
            source.stock_months, source.statements, source.factors, source.stock_days, source.factor_days
        )
    assert isinstance(source, PublicFilesSource)
    return PublicFiles(source)


def truth_file(study: Study, folder: Path) -> Path | None:
    """True expected returns, loadings and factors: there are none but in a simulated market."""
    return folder / "truth.parquet" if isinstance(study.source, SimulatedSource) else None
