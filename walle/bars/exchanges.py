"""The usual hours of well-known exchanges, for hints that need no calendar."""

from __future__ import annotations

import polars as pl

__all__ = ["EXCHANGES", "exchange_near"]

EXCHANGES = {
    "XNYS": ("America/New_York", 570, 960),
    "XTSE": ("America/Toronto", 570, 960),
    "XLON": ("Europe/London", 480, 990),
    "XETR": ("Europe/Berlin", 540, 1050),
    "XPAR": ("Europe/Paris", 540, 1050),
    "XTKS": ("Asia/Tokyo", 540, 930),
    "XHKG": ("Asia/Hong_Kong", 570, 960),
    "XSHG": ("Asia/Shanghai", 570, 900),
    "XBOM": ("Asia/Kolkata", 555, 930),
    "XASX": ("Australia/Sydney", 600, 960),
}
"""Calendars by name: the zone, and when the exchange opens and closes there, in minutes."""


def exchange_near(times: pl.Series) -> str | None:
    """Return the first exchange in whose usual hours all bars open, or None.

    Parameters
    ----------
    times : polars.Series
        Datetime("us", "UTC"), without nulls.
    """
    for name, (zone, opens, closes) in EXCHANGES.items():
        local = times.dt.convert_time_zone(zone)
        minutes = local.dt.hour().cast(pl.Int64) * 60 + local.dt.minute()
        if (minutes.is_between(opens, closes, closed="left") & (local.dt.weekday() <= 5)).all():
            return name
    return None
