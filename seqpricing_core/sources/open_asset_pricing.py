"""Open Source Asset Pricing (Chen and Zimmermann 2022): signed predictors of firms, and long-short
portfolios.

Where to get it: https://www.openassetpricing.com/data, "Firm Level Characteristics",
``signed_predictors_dl_wide.zip`` (1.6 GB: ``permno, yyyymm`` and some 209 predictors) and "Portfolio
Returns", ``PredictorLSretWide.csv``. The firm-level file holds no returns, and neither Price, Size nor
STreversal, which are CRSP's: returns and market equity come from a CRSP monthly file (`return_files`); take
``universe: {require: []}``, as no predictor stands for size.

Timing. ``yyyymm`` is the month at whose end the predictor is known; it prices the next month. Signs are such
that a higher value means a higher expected return.

Long-short returns are percent and, month by month, missing where a portfolio did not exist.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.source_configs import OpenAssetPricingSource
from seqpricing_core.sources.french import FactorFiles
from seqpricing_core.sources.ready_characteristics import ReadyCharacteristicFiles, ReadyTable
from seqpricing_core.sources.return_files import ReturnFile
from seqpricing_core.sources.vendor_files import as_days, read_text, refuse_duplicates
from seqpricing_core.storage import collect_table, scan_table


def open_open_asset_pricing(source: OpenAssetPricingSource, folder: Path) -> ReadyCharacteristicFiles:
    """``folder`` takes the files cut by year."""
    table = ReadyTable(
        source.predictors_file,
        folder / "characteristics_by_year",
        asset="permno",
        date="yyyymm",
        names={name: name for name in source.predictors},
        months_until_known=0,
    )
    last_return = "STreversal" if "STreversal" in source.predictors else None
    returns = ReturnFile(source.returns, folder / "returns_by_year")
    return ReadyCharacteristicFiles(table, returns, FactorFiles(source.factors), last_return)


def read_long_short_portfolios(path: Path) -> pl.DataFrame:
    """``month`` and one column per predictor: decimal returns of its long-short portfolio, null where
    missing.

    Raises
    ------
    InputError
        No column ``date``, text among numbers, a month twice, or returns that are no percent.
    """
    if path.suffix != ".parquet":
        read_text(path)  # a web page or another encoding is named as such
    table = collect_table(scan_table(path), path)
    texts = [name for name, kind in table.schema.items() if name != "date" and not kind.is_numeric()]
    if "date" not in table.columns or texts:
        raise InputError(
            f"text in column {texts[0]}" if texts else "no column 'date'",
            where=f"{path} (its columns: {', '.join(table.columns[:10])} ...)",
            expected="date, then one column of numbers per predictor",
            remedy="take PredictorLSretWide.csv",
        )
    month = as_days(table["date"], str(path)).dt.month_end().alias("month")
    numbers = table.drop("date").cast(pl.Float64).fill_nan(None)
    typical = pl.concat(numbers.get_columns()).abs().median() if numbers.width else None
    if not isinstance(typical, float) or typical < 0.1:
        raise InputError(
            f"returns with a median size of {typical!r}",
            where=str(path),
            expected="percent, as published: a median size of about 1 to 3",
            remedy="take the published file; one divided by 100 would be divided again",
        )
    rows = numbers.select(pl.all() * 0.01).insert_column(0, month)
    refuse_duplicates(rows, ["month"], str(path))
    return rows.sort("month")
