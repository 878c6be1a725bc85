"""The calendar that closes a study without a last month."""

from __future__ import annotations

import datetime as dt


def today() -> dt.date:
    """The day in UTC: everything that depends on the calendar asks here, so that a test can pretend."""
    return dt.datetime.now(dt.UTC).date()
