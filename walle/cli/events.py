"""``walle events``: follow the event log, and manage its consumers."""

from __future__ import annotations

import argparse
import json
from typing import Any

import polars as pl

from walle.cli.output import add_store, open_store, printable, report, safe, show, to_json
from walle.envelope import Event
from walle.errors import InputError

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add ``events`` and its subcommands.

    Parameters
    ----------
    commands : argparse's subparsers
    """
    parser = commands.add_parser("events", help="follow the events of a store, and look after their consumers")
    actions = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = actions.add_parser("tail", help="print the last events, and those that come")
    command.add_argument("-n", "--lines", type=_count, default=10, help="how many of the last ones (default: 10)")
    command.add_argument("-f", "--follow", action="store_true", help="go on with what is committed, until Ctrl-C")
    command.add_argument(
        "--give-up-after",
        type=float,
        metavar="SECONDS",
        help="with --follow: end after so long an outage of the database (default: wait for its end)",
    )
    command.add_argument("--types", action="append", metavar="PATTERN", help="such as 'orders.*'; may be repeated")
    command.add_argument("--run-id", metavar="ID", help="of this run alone")
    command.add_argument("--json", action="store_true", help="one envelope a line, as JSON")
    add_store(command, _tail, as_json=False)

    command = actions.add_parser("consumers", help="tell how far each consumer has come, and how it is")
    add_store(command, _consumers)

    command = actions.add_parser("reset", help="move a consumer's offset; without --yes only tell what that would do")
    command.add_argument("consumer", help="its name")
    place = command.add_mutually_exclusive_group(required=True)
    place.add_argument("--to", type=int, metavar="OFFSET", help="the new offset; -1 is before the first event")
    place.add_argument(
        "--since", metavar="TIME", help="go on with the first event that was stored at this time or later"
    )
    place.add_argument("--event", metavar="ID", help="go on with the event whose envelope has this id")
    command.add_argument("--reason", required=True, help="kept with the reset")
    command.add_argument("--yes", action="store_true", help="do it")
    add_store(command, _reset)

    command = actions.add_parser("parked", help="list the events that consumers set aside")
    command.add_argument("--consumer", help="of this one alone")
    add_store(command, _parked)

    command = actions.add_parser("replay", help="ask that parked events be handled again")
    command.add_argument("consumer", help="its name")
    command.add_argument("--offset", type=int, action="append", help="of this one; may be repeated")
    add_store(command, _replay, as_json=False)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def _tail(options: argparse.Namespace) -> int:
    wanted = {"types": options.types, "run_id": options.run_id}
    if options.give_up_after is not None and not options.follow:
        raise InputError("--give-up-after goes with --follow: without it the command ends at the first outage.")
    how = {"timeout": None, "give_up_after": options.give_up_after} if options.follow else {"timeout": 0}
    with open_store(options) as store:
        stored = store.events.read(**wanted, columns=["offset"])["offset"]
        last = stored.tail(options.lines)
        place = last[0] - 1 if last.len() else stored[-1] if stored.len() else -1
        for event in store.events.tail(**wanted, after=place, **how):
            print(_line(event, as_json=options.json), flush=True)
    return 0


def _line(event: Event, *, as_json: bool) -> str:
    if as_json:
        times = {"offset": event.offset, "created_at": event.created_at.isoformat() if event.created_at else None}
        return json.dumps(times | event.envelope())
    at = "" if event.created_at is None else event.created_at.strftime("%Y-%m-%d %H:%M:%S")
    return (
        f"{event.offset:>8}  {at}  {safe(event.type):<24} {safe(event.run_id or '-'):<20} {json.dumps(event.payload)}"
    )


def _consumers(options: argparse.Namespace) -> int:
    with open_store(options) as store:
        frame = store.events.consumers()
    if options.json:
        print(to_json(frame))
        return 0
    shown = frame.select(
        "consumer_id",
        "state",
        "offset",
        "lag",
        pl.col("lag_seconds").round(1).alias("lag (s)"),
        "parked",
        pl.col("heartbeat_at").dt.strftime("%Y-%m-%d %H:%M:%S"),
        "error",
    )
    show("Consumers", printable(shown))
    for row in frame.filter(pl.col("held") > 0).iter_rows(named=True):
        holder = safe(row["held_by"] or "a transaction that has just ended")
        print(f"{safe(row['consumer_id'])}: {row['held']:,} events wait for {holder}")
    return 0


def _reset(options: argparse.Namespace) -> int:
    place = {"to": options.to, "since": options.since, "event_id": options.event}
    with open_store(options, read_only=not options.yes) as store:
        report = store.events.reset_offset(options.consumer, **place, reason=options.reason, preview=not options.yes)
    if options.json:
        names = ("consumer_id", "from_offset", "to_offset", "reason", "applied", "replayed", "passed")
        print(json.dumps({name: getattr(report, name) for name in names}, indent=2))
        return 0
    if report.events.height:
        show(f"Events between (first 10 of {report.events.height:,})", printable(report.events.head(10)))
    print(report)
    if not options.yes:
        print("Do it with --yes.")
    return 0


def _parked(options: argparse.Namespace) -> int:
    with open_store(options) as store:
        frame = store.events.parked(options.consumer)
    return report(options, "Parked events", frame, frame.drop("envelope"))


def _replay(options: argparse.Namespace) -> int:
    with open_store(options, read_only=False) as store:
        asked = store.events.replay(options.consumer, options.offset)
    print(f"{asked} replays asked for; {options.consumer} handles them when it runs.")
    return 0
