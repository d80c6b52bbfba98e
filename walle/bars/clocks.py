"""What the clocks of markets show: bars longer than an hour may follow them, and then move with summer time."""

from __future__ import annotations

import polars as pl

__all__ = ["ZONES", "clock", "follows"]

ZONES = (
    *("America/New_York", "Europe/London", "Australia/Sydney", "Pacific/Auckland", "America/Santiago"),
    *("America/Sao_Paulo", "America/Mexico_City", "Asia/Jerusalem", "Asia/Tehran", "Africa/Cairo", "Europe/Moscow"),
)
"""Zones that between them have the clock changes of the markets; Chicago's and New York's are the same, say."""


def clock(name: str, zone: str) -> pl.Expr:
    """Return what the clocks of a zone show, in microseconds.

    Parameters
    ----------
    name : str
        A column of Datetime("us", "UTC").
    zone : str
    """
    there = pl.col(name).dt.convert_time_zone(zone)
    offset = there.dt.base_utc_offset() + there.dt.dst_offset()
    return pl.col(name).to_physical() + offset.dt.total_microseconds()


def follows(one: str, other: str, unit: pl.Expr) -> pl.Expr:
    """Return whether the clocks of some market show the same time of a grid at two instants.

    Parameters
    ----------
    one, other : str
        Columns of Datetime("us", "UTC").
    unit : polars.Expr
        The distance of the grid's times, in microseconds.
    """
    return pl.any_horizontal([(clock(one, zone) - clock(other, zone)) % unit == 0 for zone in ZONES])
