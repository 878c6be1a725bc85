"""Calendar months: ``date`` at month end in tables, ``datetime64[M]`` in arrays, 'YYYY-MM' in text."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BeforeValidator

Months: TypeAlias = npt.NDArray[np.datetime64]


def _month_text(value: Any) -> str:
    text = str(value)
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
        raise ValueError("a month such as 1996-01")
    return text


Month = Annotated[str, BeforeValidator(_month_text)]


def year_of(month: str) -> int:
    return int(month[:4])


def months_of(column: pl.Series) -> Months:
    """Dates of a table as months of an array."""
    months: Months = column.to_numpy().astype("datetime64[M]")
    return months


def month_ends(months: Months) -> pl.Series:
    """Months of an array as month-end dates of a table."""
    days = (months.astype("datetime64[M]") + 1).astype("datetime64[D]") - 1
    return pl.Series("month", days).cast(pl.Date)
