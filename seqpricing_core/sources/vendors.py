"""Opening and preparing the vendors' sources that a study can name."""

from __future__ import annotations

from pathlib import Path

from seqpricing_core.source_configs import (
    DailyFilesSource,
    GkxFilesSource,
    MappedFilesSource,
    OpenAssetPricingSource,
    VendorSource,
    WrdsSource,
)
from seqpricing_core.sources.base import RawTables
from seqpricing_core.sources.daily_files import DailyFiles
from seqpricing_core.sources.gkx_files import open_gkx_files
from seqpricing_core.sources.mapped_files import open_mapped_files
from seqpricing_core.sources.open_asset_pricing import open_open_asset_pricing
from seqpricing_core.sources.ready_characteristics import ReadyCharacteristicFiles
from seqpricing_core.sources.wrds import Wrds
from seqpricing_core.study import Study


def open_vendor_source(source: VendorSource, folder: Path) -> RawTables:
    """``folder`` takes large files, cut by year."""
    match source:
        case WrdsSource():
            return Wrds(source)
        case GkxFilesSource():
            return open_gkx_files(source, folder)
        case OpenAssetPricingSource():
            return open_open_asset_pricing(source, folder)
        case MappedFilesSource():
            return open_mapped_files(source, folder)
        case DailyFilesSource():
            return DailyFiles(source, folder)


def prepare_vendor_source(source: RawTables, study: Study) -> None:
    """Copy from the server, or cut by year, what is not there yet; other sources need nothing."""
    match source:
        case Wrds():
            source.copy(study.sample.first_year - 1 - study.history_years, study.sample.last_year)
        case ReadyCharacteristicFiles() | DailyFiles():
            source.prepare()
