"""``walle coverage``, ``gaps``, ``calendar`` and ``explain``: which bars are there, and what is known of the others."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import polars as pl

from walle.cli_events import open_store, printable, to_json

__all__ = ["add_commands"]

Show = Callable[[str, pl.DataFrame], None]


def add_commands(commands: Any, where: str, show: Show) -> None:
    """Add the commands.

    Parameters
    ----------
    commands : argparse's subparsers
    where : str
        The help of the address.
    show : callable
        Prints a title and a frame.
    """
    command = commands.add_parser("coverage", help="tell of every series of bars how much of it is there")
    command.add_argument("url", nargs="?", help=where)
    command.add_argument("--symbol", help="this one alone")
    command.add_argument("--timeframe", help="this one alone")
    _add_range(command)
    command.set_defaults(run=lambda options: _coverage(options, show))

    command = commands.add_parser("gaps", help="list the bars that are missing in a series")
    command.add_argument("symbol")
    command.add_argument("timeframe")
    command.add_argument("url", nargs="?", help=where)
    _add_range(command)
    command.set_defaults(run=lambda options: _gaps(options, show))

    parser = commands.add_parser("calendar", help="remember when the markets of symbols are open")
    actions = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = actions.add_parser("list", help="list the calendars that are set")
    command.add_argument("url", nargs="?", help=where)
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=lambda options: _list_calendars(options, show))
    command = actions.add_parser("set", help="set the calendar of a symbol")
    command.add_argument("symbol")
    command.add_argument("calendar", help="24/7, 24/5, or an exchange such as XNYS")
    command.add_argument("url", nargs="?", help=where)
    command.set_defaults(run=_set_calendar)
    command = actions.add_parser("forget", help="forget the calendar of a symbol: 24/7 again")
    command.add_argument("symbol")
    command.add_argument("url", nargs="?", help=where)
    command.set_defaults(run=_set_calendar, calendar=None)

    command = commands.add_parser("explain", help="say why bars of a symbol are missing")
    command.add_argument("symbol")
    command.add_argument("start", help="the first opening time, such as 2025-11-20T14:30 (UTC)")
    command.add_argument("end", help="the first opening time that is not meant any more")
    command.add_argument("url", nargs="?", help=where)
    command.add_argument("--reason", required=True, help="kept with the gap")
    command.add_argument("--timeframe", help="of this one alone")
    command.add_argument("--author", help="who says so (default: user@host)")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=lambda options: _explain(options, show))


def _add_range(command: argparse.ArgumentParser) -> None:
    command.add_argument("--start", metavar="TIME", help="the first opening time, such as 2025-11-20 (UTC)")
    command.add_argument("--end", metavar="TIME", help="the first opening time that is not looked at any more")
    command.add_argument(
        "--calendar", help="24/7, 24/5, or an exchange such as XNYS (default: the symbol's own, or 24/7)"
    )
    command.add_argument("--json", action="store_true", help="as JSON")


def _coverage(options: argparse.Namespace, show: Show) -> int:
    with open_store(options) as store:
        frame = store.bars.coverage(
            options.symbol, options.timeframe, options.start, options.end, calendar=options.calendar
        )
    if options.json:
        print(to_json(frame))
    else:
        show("Coverage", printable(frame.with_columns(pl.col("coverage").round(6))))
    return 0


def _gaps(options: argparse.Namespace, show: Show) -> int:
    with open_store(options) as store:
        frame = store.bars.gaps(
            options.symbol, options.timeframe, options.start, options.end, calendar=options.calendar
        )
    if options.json:
        print(to_json(frame.with_columns(pl.col("duration").dt.total_seconds())))
    else:
        show(f"Gaps of {options.symbol} {options.timeframe}: {frame.height}", printable(frame))
    return 0


def _list_calendars(options: argparse.Namespace, show: Show) -> int:
    with open_store(options) as store:
        frame = store.bars.calendars()
    if options.json:
        print(to_json(frame))
    else:
        show("Calendars", printable(frame))
    return 0


def _set_calendar(options: argparse.Namespace) -> int:
    with open_store(options, read_only=False) as store:
        store.bars.set_calendar(options.symbol, options.calendar)
        named = dict(store.bars.calendars().select("symbol", "calendar").iter_rows())
    print(f"{options.symbol}: {named.get(options.symbol, 'no calendar, so 24/7')}")
    return 0


def _explain(options: argparse.Namespace, show: Show) -> int:
    with open_store(options, read_only=False) as store:
        store.bars.explain_gap(
            options.symbol,
            options.start,
            options.end,
            options.reason,
            timeframe=options.timeframe,
            author=options.author,
        )
        frame = store.bars.explanations(options.symbol)
    if options.json:
        print(to_json(frame))
    else:
        show(f"Explanations of {options.symbol}", printable(frame.drop("symbol")))
    return 0
