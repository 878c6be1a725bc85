"""The 94 characteristics of Gu, Kelly, Xiu (2020), as they publish them, and any file of that shape.

Where to get it: https://dachxiu.chicagobooth.edu (Empirical Data, ``datashare.zip``, 1.4 GB, one CSV of 3.6
GB), with ``permno, DATE`` (yyyymmdd), the characteristics, ``sic2``. It has no returns: those come from a
CRSP monthly file (`return_files`). CSV, zip, gzip or parquet; read as a stream and cut by year once, into the
study's outputs.

Timing. Their characteristics are lagged already: a row is dated with the month whose return it is to explain
(monthly items are those of the month before, quarterly ones at least 4, annual ones at least 6 months old).
Here it is known at the end of the month before DATE. ``month: known`` is for files dated otherwise. `mom1m`
must be the return of the month in which the row is known: this is checked against the returns, and a file
that is dated otherwise than the study says is refused.

Dropped: ``sic2``, and characteristics that are not numbers.
"""

from __future__ import annotations

from pathlib import Path

from seqpricing_core.source_configs import GKX_CHARACTERISTICS, GkxFilesSource
from seqpricing_core.sources.french import FactorFiles
from seqpricing_core.sources.ready_characteristics import ReadyCharacteristicFiles, ReadyTable
from seqpricing_core.sources.return_files import ReturnFile


def open_gkx_files(source: GkxFilesSource, folder: Path) -> ReadyCharacteristicFiles:
    """``folder`` takes the files cut by year."""
    table = ReadyTable(
        source.characteristics_file,
        folder / "characteristics_by_year",
        asset="permno",
        date="DATE",
        names={name: name for name in GKX_CHARACTERISTICS},
        months_until_known=-1 if source.month == "priced" else 0,
    )
    returns = ReturnFile(source.returns, folder / "returns_by_year")
    return ReadyCharacteristicFiles(table, returns, FactorFiles(source.factors), last_return="mom1m")
