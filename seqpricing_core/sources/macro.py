"""Macro series from a file: FRED-MD as published, or a plain table of months and series.

**Timing.** A value that describes month m is known at the end of month m + L, L its publication lag in
months. Month t is forecast at the end of t-1, so the row of month t holds

    y_t = g(x_m, x_m-1, x_m-2),    m = t - 1 - L,

g the transformation to stationarity. For FRED-MD L = 1: a month's figures come out in the course of the next
month, so those of t-1 appear during t, too late for a forecast of t, which sees t-2. Some series take two
months. In the vintage of early 2020 those without a value for the newest month are CMRMTSPLx, HWI, HWIURATIO,
ACOGNO, BUSINVx, ISRATIOx, NONREVSL, CONSPI, S.P.div.yield, DTCOLNVHFNM and DTCTHFNM: give them
``publication_lags`` of 2 or leave them out. Prices and interest rates, known at once, may be given 0.

**Revisions.** A FRED-MD file is one vintage: its past values were revised up to the day of the file, the
seasonal adjustment included. Lags undo the delay of publication, not the revisions; a study that must be
strictly point in time needs series that are not revised (interest rates, prices), or first releases in a
table.

Transformation codes (McCracken, Ng 2016, section 2): 1 x, 2 change, 3 second change, 4 log x, 5 change of
log, 6 second change of log, 7 change of x_m / x_m-1 - 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.months import Months, month_ends
from seqpricing_core.panel.panel import Float64
from seqpricing_core.storage import collect_table, scan_table
from seqpricing_core.study import Macro, Study

CODES = range(1, 8)
MISSING = ("", ".", "NA", "N/A", "NaN", "nan")
"""Text that stands for no value."""
_MONTH_FORMATS = ("%Y-%m-%d", "%Y-%m", "%m/%d/%Y", "%Y%m")


def read_macro(study: Study, year: int) -> pl.DataFrame:
    """Macro series for the months of ``year`` that lie in the study's sample.

    Returns
    -------
    DataFrame
        ``month`` (t, month end), then one column per series: what was known of it at the end of t-1.

    Raises
    ------
    InputError
        The file lacks a month or a series, has a cell that is no number or a code that is none, or a series
        has no value where the study needs one.
    """
    assert study.macro is not None
    settings = study.macro
    last = min(np.datetime64(f"{year}-12", "M"), np.datetime64(study.sample.last_month or "9999-12", "M"))
    wanted: Months = np.arange(np.datetime64(f"{year}-01", "M"), last + 1)
    months, table, codes = _opened(settings)
    columns = {}
    for name in _selected(settings, table.columns):
        stationary = transform(_numbers(table[name], months, settings.file), codes[name])
        lag = settings.publication_lags.get(name, settings.publication_lag_months)
        columns[name] = _at(stationary, months, wanted - 1 - lag)
    _refuse_gaps(columns, wanted, months, settings)
    return pl.DataFrame({"month": month_ends(wanted), **columns})


def transform(x: Float64, code: int) -> Float64:
    """(T,) the series made stationary; NaN where the months before are missing or a logarithm has none.

    Codes of McCracken, Ng (2016, section 2), see the module.
    """
    if code == 7:
        before = _before(x)
        return _change(x / np.where(before == 0, np.nan, before) - 1)
    if code >= 4:
        x = np.log(np.where(x > 0, x, np.nan))
    for _ in range((code - 1) % 3):
        x = _change(x)
    return x


def _before(x: Float64) -> Float64:
    return np.concatenate([[np.nan], x[:-1]])


def _change(x: Float64) -> Float64:
    return x - _before(x)


def _at(values: Float64, months: Months, wanted: Months) -> Float64:
    """(len(wanted),) values of the wanted months, NaN outside the file."""
    position = (wanted - months[0]).astype(np.int64)
    inside = (position >= 0) & (position < len(months))
    return np.where(inside, values[np.clip(position, 0, len(months) - 1)], np.nan)


def _opened(settings: Macro) -> tuple[Months, pl.DataFrame, dict[str, int]]:
    """Months of the file, its series as they stand there, and the code of each."""
    file = settings.file
    opened = scan_table(file)
    if file.suffix == ".csv":
        # As text: types guessed from the first rows fail on series that start late.
        opened = pl.scan_csv(file, infer_schema=False)
    fred = settings.format == "fred_md"
    key = "sasdate" if fred else settings.month_column
    table = collect_table(opened, file)
    if key not in table.columns:
        raise InputError(
            f"missing month column '{key}'",
            where=f"{file} (its columns: {', '.join(table.columns[:10])} ...)",
            expected="the column 'sasdate' of FRED-MD"
            if fred
            else "the column that macro.month_column names",
            remedy="correct macro.format or macro.month_column in the study file",
        )
    codes = {name: settings.default_transform for name in table.columns if name != key}
    if fred:
        codes = _codes_of_first_row(table, key, file)
        table = table[1:]
    table = table.filter(~pl.all_horizontal(pl.all().cast(pl.String).fill_null("").is_in(MISSING)))
    return _months(table[key], file), table.drop(key), codes | settings.transforms


def _codes_of_first_row(table: pl.DataFrame, key: str, file: Path) -> dict[str, int]:
    row = table.row(0, named=True) if len(table) else {key: None}
    if not str(row[key]).strip().lower().startswith("transform"):
        raise InputError(
            "the first row holds no transformation codes",
            where=f"{file}, row 1, {key} = {row[key]!r}",
            expected="a first row that begins with 'Transform:', as FRED-MD is published",
            remedy="take the file as published, or set macro.format to table",
        )
    codes = {}
    for name, cell in row.items():
        if name == key:
            continue
        number = pl.Series([cell]).cast(pl.String).cast(pl.Float64, strict=False).item()
        codes[name] = int(number) if number in CODES else 0
        if not codes[name]:
            raise InputError(
                f"unknown transformation code {cell!r}",
                where=f"{file}, first row, column {name}",
                expected="a whole number from 1 to 7",
                remedy="correct the code in the file",
            )
    return codes


def _months(column: pl.Series, file: Path) -> Months:
    """Consecutive months, or an error that names the first that is not."""
    if column.dtype.is_temporal():
        dates = column.cast(pl.Date)
    else:
        text = column.cast(pl.String).str.strip_chars()
        dates = pl.Series("month", [None] * len(text), dtype=pl.Date)
        for form in _MONTH_FORMATS:
            day, of_day = ("", "") if "%d" in form else ("-01", "-%d")
            dates = dates.fill_null((text + day).str.to_date(form + of_day, strict=False))
    unread = dates.is_null().arg_true().to_list()
    if unread or not len(dates):
        raise InputError(
            "a month cannot be read" if unread else "the file holds no months",
            where=f"{file}, column {column.name}"
            + (f", row {unread[0] + 1}: {column[unread[0]]!r}" if unread else ""),
            expected="dates, or text such as 1996-01-31, 1996-01, 1/1/1996 or 199601",
            remedy="correct the month in the file",
        )
    months: Months = dates.to_numpy().astype("datetime64[M]")
    steps = np.diff(months.astype(np.int64))
    if (steps != 1).any():
        at = int(np.flatnonzero(steps != 1)[0])
        raise InputError(
            "the months of the macro file do not follow each other",
            where=f"{file}: {months[at + 1]} stands after {months[at]}",
            expected="every month once, in order, without gaps",
            remedy="add the missing months (cells may be empty), drop doubles, or sort the file",
        )
    return months


def _selected(settings: Macro, there: Iterable[str]) -> list[str]:
    names = list(there)
    asked = {
        "series": () if settings.series == "all" else settings.series,
        "exclude": settings.exclude,
        "transforms": settings.transforms,
        "publication_lags": settings.publication_lags,
    }
    for key, wanted in asked.items():
        for name in wanted:
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1)
                raise InputError(
                    f"unknown macro series '{name}'",
                    where=f"key macro.{key} of the study; {settings.file}",
                    expected=f"did you mean '{close[0]}'?"
                    if close
                    else f"one of {', '.join(names[:20])} ...",
                    remedy="correct the name in the study file",
                )
    chosen = names if settings.series == "all" else list(settings.series)
    chosen = [name for name in chosen if name not in settings.exclude]
    if not chosen:
        raise InputError(
            "no macro series is left",
            where=f"keys macro.series and macro.exclude of the study; {settings.file}",
            expected="at least one series",
            remedy="exclude fewer, or leave the section macro out",
        )
    return chosen


def _numbers(column: pl.Series, months: Months, file: Path) -> Float64:
    """(T,) with NaN where the cell is empty."""
    text = column.cast(pl.String).str.strip_chars() if column.dtype == pl.String else None
    present = column.is_not_null() if text is None else ~text.fill_null("").is_in(MISSING)
    values = column.cast(pl.Float64, strict=False) if text is None else text.cast(pl.Float64, strict=False)
    array = values.fill_null(np.nan).to_numpy().astype(np.float64)
    bad = present.to_numpy() & (np.isinf(array) | (values.is_null().to_numpy()))
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"a cell of the macro series '{column.name}' is no number",
            where=f"{file}, column {column.name}, month {months[at]}: {column[at]!r}",
            expected="finite numbers with a decimal point and no thousands separators, or empty cells",
            remedy="correct the cell, or leave the series out by macro.exclude",
        )
    return array


def _refuse_gaps(columns: dict[str, Float64], wanted: Months, months: Months, settings: Macro) -> None:
    gaps = {name: wanted[np.isnan(values)] for name, values in columns.items() if np.isnan(values).any()}
    if gaps:
        shown = [
            f"{name} for {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            for name, missing in list(gaps.items())[:8]
        ]
        raise InputError(
            f"{len(gaps)} macro series without a value that the study needs",
            where=f"{settings.file} ({months[0]} .. {months[-1]}): " + "; ".join(shown),
            expected="a value of the months that were published by the end of the month before "
            f"(lag {settings.publication_lag_months}), and of those before that the transformation takes; "
            "positive where the code takes a logarithm",
            remedy=f"leave these series out by macro.exclude: [{', '.join(gaps)}], or change sample or lags",
        )
