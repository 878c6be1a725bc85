"""Delisting returns against a slow loop over stocks that follows METHODS, section 1."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl

from seqpricing_core.sources.delisting import with_delisting_returns

CODES = (100, 231, 332, 450, 500, 505, 519, 520, 552, 574, 584, 585, 591)


def slow(months: list[dict[str, Any]], left: list[dict[str, Any]]) -> dict[tuple[int, dt.date], Any]:
    """(asset, month) -> (ret, code), one stock at a time."""
    expected = {(row["asset_id"], row["month"]): (row["ret"], None) for row in months}
    for event in left:
        code, asset, month = event["delisting_code"], event["asset_id"], event["month"]
        own = sorted((row for row in months if row["asset_id"] == asset), key=lambda row: row["month"])
        if code < 200 or not own:
            continue
        last = own[-1]
        next_month = (last["month"] + dt.timedelta(days=1)).replace(day=28) + dt.timedelta(days=4)
        next_end = next_month - dt.timedelta(days=next_month.day)
        if (asset, month) not in expected and month != next_end:
            continue
        ret = expected.get((asset, month), (None, None))[0]
        value = event["delisting_return"]
        if value is None and (code == 500 or 520 <= code <= 584):
            value = -0.55 if last["exchange"] == "NASDAQ" else -0.30
        if value is not None:
            ret = value if ret is None else (1 + ret) * (1 + value) - 1
        expected[asset, month] = (ret, code)
    return expected


def test_equals_the_slow_loop() -> None:
    random = np.random.default_rng(2)
    ends = (
        pl.date_range(dt.date(2000, 1, 1), dt.date(2001, 12, 1), "1mo", eager=True).dt.month_end().to_list()
    )
    months, left = [], []
    for asset in range(200):
        length = int(random.integers(3, 20))
        exchange = ["NYSE", "NASDAQ", "AMEX"][asset % 3]
        for month in ends[:length]:
            ret = None if random.random() < 0.2 else float(random.normal(0, 0.1))
            months.append({"asset_id": asset, "month": month, "ret": ret, "exchange": exchange})
        left.append({
            "asset_id": asset,
            "month": ends[length - 1 + int(random.integers(0, 3))],  # the last month, the next, or far away
            "delisting_code": CODES[int(random.integers(len(CODES)))],
            "delisting_return": None if random.random() < 0.5 else float(random.uniform(-1, 0.3)),
        })  # fmt: skip
    schema = {"asset_id": pl.Int64, "month": pl.Date, "ret": pl.Float64, "exchange": pl.String}
    frame = pl.DataFrame(months, schema=schema)
    events = pl.DataFrame(left, schema_overrides={"delisting_code": pl.Int32, "delisting_return": pl.Float64})
    found = with_delisting_returns(frame, events)
    expected = slow(months, left)
    assert len(found) == len(expected) > len(frame)
    for row in found.iter_rows(named=True):
        ret, code = expected[row["asset_id"], row["month"]]
        assert row["delisting_code"] == code
        assert row["ret"] == ret or abs(row["ret"] - ret) < 1e-12


def test_no_earlier_row_changes() -> None:
    month = pl.date_range(dt.date(2000, 1, 1), dt.date(2000, 3, 1), "1mo", eager=True).dt.month_end()
    frame = pl.DataFrame({"asset_id": [1, 1, 1], "month": month, "ret": [0.1, 0.2, 0.3], "exchange": "NYSE"})
    event = pl.DataFrame(
        {"asset_id": [1], "month": [month[2]], "delisting_code": [552], "delisting_return": [None]},
        schema_overrides={"delisting_code": pl.Int32, "delisting_return": pl.Float64},
    )
    assert with_delisting_returns(frame, event)["ret"].to_list() == [0.1, 0.2, 1.3 * 0.7 - 1]
