"""The ``walle`` command.

Exit codes: 0 for success, 1 for a problem of the database or the data, 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

import walle
from walle import demo, migrate
from walle.cli import audit, bars, events
from walle.cli.output import add_address, show
from walle.config import DatabaseConfig, masked
from walle.decimals import trim_zeros
from walle.errors import ConfigurationError, WalleError
from walle.progress import Meter, Progress
from walle.store.core import inspect_deeply, inspect_store
from walle.store.portal import Portal

__all__ = ["main"]

DEMO_FILE = "walle-demo.db"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        The exit code.
    """
    try:
        try:
            options = _parser().parse_args(arguments)
            logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
            return int(options.run(options))
        finally:
            sys.stdout.flush()  # here, since an error of the interpreter's own flush at its end cannot be caught
    except ConfigurationError as error:
        print(f"walle: {error}", file=sys.stderr)
        return 2
    except WalleError as error:
        print(f"walle: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("walle: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of the pipe is gone
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="walle", description="A research store for trading backtests.")
    parser.add_argument("--version", action="version", version=f"walle {walle.__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell what is done")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = commands.add_parser("demo", help="build a store from synthetic sample data, and show what is in it")
    command.add_argument("folder", nargs="?", default=".", type=Path, help="where to build it (default: here)")
    command.set_defaults(run=_demo)

    command = commands.add_parser("status", help="tell the state of a store")
    add_address(command)
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument(
        "--deep", action="store_true", help="check every page, index and value; exit code 1 if any is bad"
    )
    command.set_defaults(run=_status)

    command = commands.add_parser("upgrade", help="bring the tables of a store to the current revision")
    add_address(command)
    command.add_argument("--yes", action="store_true", help="also a database that the backend's own chain made")
    command.add_argument("--allow-rounding", action="store_true", help="round bars that float64 cannot hold")
    command.add_argument(
        "--set-aside", action="store_true", help="move rows that no reader can read into the table set_aside_rows"
    )
    command.set_defaults(run=_upgrade)

    bars.add_commands(commands)
    audit.add_commands(commands)
    events.add_commands(commands)
    return parser


def _demo(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    if not folder.is_dir():
        raise ConfigurationError(
            f"there is no folder {folder}; make it first, or leave it out to build the store here."
        )
    path = folder / DEMO_FILE
    with walle.connect(path) as store:
        bars, fills, stored = demo.load(store)
        loaded = f"{bars.inserted:,} bars, {fills.inserted:,} fills and {stored:,} events"
        new = loaded if bars.inserted or fills.inserted or stored else "nothing new"
        print(f"{path}: {new} (all of it is synthetic data, of no real market)\n")
        run = store.runs.read(mode="backtest").row(0, named=True)["id"]
        show("Series", store.bars.series())
        shown = ["symbol", "calendar", "bars", "expected", "missing", "coverage", "gaps", "longest_gap", "unexpected"]
        show("Coverage", store.bars.coverage().select(shown).with_columns(pl.col("coverage").round(6)))
        runs = store.runs.read().select(
            "id",
            "strategy_id",
            "mode",
            "status",
            pl.col("symbols").list.join(", "),
            pl.col("started_at").dt.strftime("%Y-%m-%d %H:%M"),
            pl.col("stopped_at").dt.strftime("%Y-%m-%d %H:%M"),
        )
        counts = store.fills.read().group_by("run_id").agg(fills=pl.len())
        show("Runs", runs.join(counts, left_on="id", right_on="run_id", how="left", maintain_order="left"))
        dead = [found.id for found in store.runs.recover()]
        if dead:
            print(f"Stored as running, but their process is gone: {', '.join(dead)}\n")
        show("What the audit finds", store.fills.audit().select("severity", "rule", "sentence"))
        frame = store.fills.read(run)
        shown = ["filled_at", "order_id", "symbol", "side", "quantity", "price", "commission", "liquidity"]
        show(f"Fills of {run} (first 8 of {frame.height})", trim_zeros(frame.select(shown).head(8)))
        events = store.events.read(run_id=run, columns=["type", "ts"])
        counts = events.group_by("type", maintain_order=True).agg(
            events=pl.len(), first=pl.min("ts"), last=pl.max("ts")
        )
        show(f"Events of {run}", counts)
    print(
        "Next, in Python:\n"
        "    import walle\n"
        f"    store = walle.connect({str(path)!r})\n"
        "    store.bars.read('BTC/USD', '1m', '2025-11-20', '2025-11-21')\n"
        f"    store.fills.trades({run!r})\n"
        f"    store.runs.history({run!r})\n"
        f"    store.events.read(types='orders.*', run_id={run!r})\n"
        "Or open notebooks/01_quickstart.ipynb."
    )
    return 0


def _status(options: argparse.Namespace) -> int:
    config = DatabaseConfig.from_environment(options.url)
    if config.url is None:
        with walle.connect() as store:
            status = store.status()
    elif options.deep:
        progress, portal = Progress("rows"), Portal("walle-status")
        try:
            with Meter(progress) as meter:
                status = portal.call(inspect_deeply, config, progress, meter=meter)
        finally:
            portal.close()
    else:
        status = inspect_store(config)
    print(json.dumps(status.as_dict(), indent=2) if options.json else status)
    return 0 if status.ok else 1


def _upgrade(options: argparse.Namespace) -> int:
    config = DatabaseConfig.from_environment(options.url)
    if config.url is None:
        raise ConfigurationError("which database? walle upgrade URL, or --url URL, or set WALLE_DATABASE_URL.")
    before = migrate.aside(config) if options.set_aside else 0
    ran = migrate.upgrade(
        config, confirmed=options.yes, allow_rounding=options.allow_rounding, set_aside=options.set_aside
    )
    label = masked(config.address)
    print(f"{label}: upgraded by {', '.join(ran)}" if ran else f"{label}: already up to date")
    if options.set_aside:
        moved = migrate.aside(config) - before
        print(
            f"{label}: moved aside {moved:,} {'row' if moved == 1 else 'rows'} into set_aside_rows"
            if moved
            else f"{label}: looked at every row, and found none to set aside. Where a reader complains all the same, "
            f"walle status --deep names what it can."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
