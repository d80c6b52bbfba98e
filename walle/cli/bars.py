"""``walle ingest``, ``coverage``, ``gaps``, ``calendar`` and ``explain``: ingest bars, and examine missing ones."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import polars as pl

from walle.cli.output import ADDRESS, add_store, open_store, printable, report, show, to_json
from walle.errors import FilesRefused, InputError, UnknownTimeframe
from walle.timeframe import check_timeframe

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add the commands.

    Parameters
    ----------
    commands : argparse's subparsers
    """
    _add_ingest(commands)

    command = commands.add_parser("coverage", help="tell of every series of bars how much of it is there")
    command.add_argument("--symbol", action="append", help="this one alone; may be repeated")
    command.add_argument("--timeframe", help="this one alone")
    _add_range(command)
    add_store(command, _coverage)

    command = commands.add_parser("gaps", help="list the bars that are missing in a series")
    command.add_argument("symbol")
    command.add_argument("timeframe", type=_timeframe, help="such as 1m or 1d")
    _add_range(command)
    add_store(command, _gaps)

    parser = commands.add_parser("calendar", help="remember when the markets of symbols are open")
    actions = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = actions.add_parser("list", help="list the calendars that are set")
    add_store(command, _list_calendars)
    command = actions.add_parser("set", help="set the calendar of a symbol")
    command.add_argument("symbol")
    command.add_argument("calendar", help="24/7, 24/5, or an exchange such as XNYS")
    add_store(command, _set_calendar, as_json=False)
    command = actions.add_parser("forget", help="forget the calendar of a symbol: 24/7 again")
    command.add_argument("symbol")
    command.set_defaults(calendar=None)
    add_store(command, _set_calendar, as_json=False)

    command = commands.add_parser("explain", help="say why bars of a symbol are missing")
    command.add_argument("symbol")
    command.add_argument("start", help="the first opening time, such as 2025-11-20T14:30 (UTC)")
    command.add_argument("end", help="the first opening time that is not meant any more")
    command.add_argument("--reason", required=True, help="kept with the gap")
    command.add_argument("--timeframe", help="of this one alone")
    command.add_argument("--author", help="who says so (default: user@host)")
    add_store(command, _explain)


def _add_ingest(commands: Any) -> None:
    command = commands.add_parser("ingest", help="take files of bars in: CSV, Parquet, Feather, JSON; compressed too")
    command.add_argument("files", nargs="+", metavar="FILE", help="a file, a folder, or a pattern in quotes")
    command.add_argument("--url", help=ADDRESS)
    command.add_argument("--symbol", help="of all rows (default: what the rows or the name of the file say)")
    command.add_argument("--timeframe", help="of all rows, such as 1m or 1d (default: likewise)")
    command.add_argument("--timezone", help="of times without a zone, such as America/New_York")
    command.add_argument(
        "--column", action="append", default=[], metavar="THEIRS=OURS", help="what a column is, such as last=close"
    )
    command.add_argument("--no-volume", action="store_true", help="there is no volume: it is 0")
    command.add_argument(
        "--extra",
        action="append",
        metavar="COLUMN",
        help="a column to keep beside OHLCV, such as vwap (repeat it for more); all keeps every one",
    )
    command.add_argument("--provider", help="who delivered the bars")
    command.add_argument("--quarantine", action="store_true", help="take the good rows in, and keep the bad ones apart")
    command.add_argument(
        "--stamp", choices=["open", "close"], default="open", help="what times are: when bars open (default) or end"
    )
    command.add_argument("--calendar", help="of symbols that have none: 24/7, 24/5, or an exchange such as XNYS")
    command.add_argument(
        "--on-conflict",
        choices=["keep", "raise", "correct"],
        default="keep",
        help="of bars that are stored with other values, keep those (default), refuse the file, or store a version",
    )
    command.add_argument("--reason", help="why the other values are right, to correct")
    command.add_argument(
        "--unfinished",
        choices=["drop", "raise", "keep"],
        default="drop",
        help="leave out bars that have not ended (default), refuse the file, or keep them as provisional",
    )
    command.add_argument("--again", action="store_true", help="read files that were ingested before")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=_ingest)


def _timeframe(text: str) -> str:
    """Return a timeframe; a forgotten one would otherwise be reported as a missing database.

    Raises
    ------
    argparse.ArgumentTypeError
        For an unknown timeframe.
    """
    try:
        return check_timeframe(text)
    except UnknownTimeframe as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _add_range(command: argparse.ArgumentParser) -> None:
    command.add_argument("--start", metavar="TIME", help="the first opening time, such as 2025-11-20 (UTC)")
    command.add_argument("--end", metavar="TIME", help="the first opening time that is not looked at any more")
    command.add_argument(
        "--calendar", help="24/7, 24/5, or an exchange such as XNYS (default: the symbol's own, or 24/7)"
    )


def _ingest(options: argparse.Namespace) -> int:
    pairs = [pair.partition("=") for pair in options.column]
    wrong = [theirs for theirs, _, ours in pairs if not theirs or not ours]
    if wrong:
        raise InputError(f"--column {wrong[0]}: write THEIRS=OURS, such as last=close.")
    columns: dict[str, str | None] = {theirs: ours for theirs, _, ours in pairs}
    if options.no_volume:
        columns["volume"] = None
    refused = None
    with open_store(options, read_only=False) as store:
        try:
            report = store.bars.ingest(
                options.files,
                symbol=options.symbol,
                timeframe=options.timeframe,
                columns=columns or None,
                timezone=options.timezone,
                on_invalid="quarantine" if options.quarantine else "raise",
                provider=options.provider,
                again=options.again,
                on_conflict=options.on_conflict,
                reason=options.reason,
                unfinished=options.unfinished,
                stamp=options.stamp,
                calendar=options.calendar,
                extra="all" if options.extra == ["all"] else options.extra,
            )
        except FilesRefused as error:
            refused, report = error, error.report
    if options.json:
        print(to_json(report.files))
    else:
        show("Files", printable(report.files.with_columns(refused=pl.col("error").is_not_null()).drop("error")))
        if report.rejected:
            counts = report.rejected_rows.group_by("reason").agg(rows=pl.len()).sort("rows", descending=True)
            show("Rows under quarantine", printable(counts.head(10)))
    if refused is None:
        return 0
    reasons = "\n".join(f"- {error}" for error in refused.errors.values())
    print(f"walle: {len(refused.errors):,} of {report.files.height:,} files were refused:\n{reasons}", file=sys.stderr)
    return 1


def _coverage(options: argparse.Namespace) -> int:
    with open_store(options) as store:
        frame = store.bars.coverage(
            options.symbol, options.timeframe, options.start, options.end, calendar=options.calendar
        )
    return report(options, "Coverage", frame, frame.with_columns(pl.col("coverage").round(6)))


def _gaps(options: argparse.Namespace) -> int:
    with open_store(options) as store:
        frame = store.bars.gaps(
            options.symbol, options.timeframe, options.start, options.end, calendar=options.calendar
        )
    title = f"Gaps of {options.symbol} {options.timeframe}: {frame.height}"
    return report(options, title, frame.with_columns(pl.col("duration").dt.total_seconds()), frame)


def _list_calendars(options: argparse.Namespace) -> int:
    with open_store(options) as store:
        frame = store.bars.calendars()
    return report(options, "Calendars", frame)


def _set_calendar(options: argparse.Namespace) -> int:
    with open_store(options, read_only=False) as store:
        store.bars.set_calendar(options.symbol, options.calendar)
        named = dict(store.bars.calendars().select("symbol", "calendar").iter_rows())
    print(f"{options.symbol}: {named.get(options.symbol, 'no calendar, so 24/7')}")
    return 0


def _explain(options: argparse.Namespace) -> int:
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
    return report(options, f"Explanations of {options.symbol}", frame, frame.drop("symbol"))
