"""``walle audit`` and ``acknowledge``: audit fills, and answer findings."""

from __future__ import annotations

import argparse
from typing import Any

import polars as pl

from walle.cli.output import add_store, open_store, printable, show, to_json
from walle.fills.rules import RULES

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add the command.

    Parameters
    ----------
    commands : argparse's subparsers
    """
    listed = "\n".join(f"  {each.name:<26}{each.severity:<9}{each.doc}" for each in RULES)
    command = commands.add_parser(
        "audit",
        help="hold fills against their orders, the bars and time; exit code 1 when there is an unanswered error",
        description="Hold fills against their orders, the bars and time. The exit code is 1 when there is an error "
        "that `walle acknowledge` did not answer.",
        epilog=f"rules:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--run", dest="run_id", metavar="RUN", help="this one alone")
    command.add_argument("--rule", action="append", metavar="RULE", help="only this rule; may be repeated")
    command.add_argument("--timeframe", help="of the bars (default: the shortest that is stored)")
    add_store(command, _audit)

    command = commands.add_parser("acknowledge", help="answer a finding of the audit: say why it is no fault")
    command.add_argument("finding", help="its key, such as outside_bar:fill:f-1; `walle audit` shows them")
    command.add_argument("--reason", required=True, help="kept with the answer")
    command.add_argument("--author", help="who says so (default: user@host)")
    command.add_argument("--withdraw", action="store_true", help="take the answer back, for this reason")
    add_store(command, _acknowledge)


def _audit(options: argparse.Namespace) -> int:
    with open_store(options) as store:
        found = store.fills.audit(options.run_id, rules=options.rule, timeframe=options.timeframe)
        bare = found.is_empty() and store.fills.read(options.run_id).is_empty()
    left = found.filter(~pl.col("answered"))
    if options.json:
        print(to_json(found))
    elif found.is_empty():
        print("No fills, so there was nothing to audit." if bare else "No findings.")
    else:
        counts = ", ".join(f"{count} {name}" for name, count in left["severity"].value_counts(sort=True).iter_rows())
        answered = f"; {found.height - left.height} answered" if left.height < found.height else ""
        columns = ["severity", "rule", "run_id", "sentence", "key", *(["answer"] if answered else [])]
        show(f"Findings: {counts or 'none is unanswered'}{answered}", printable(found.select(columns)))
    return 1 if (left["severity"] == "error").any() else 0


def _acknowledge(options: argparse.Namespace) -> int:
    with open_store(options, read_only=False) as store:
        store.fills.acknowledge(options.finding, options.reason, options.author, withdraw=options.withdraw)
        frame = store.fills.answers().filter(finding=options.finding)
    if options.json:
        print(to_json(frame))
    else:
        show(f"Answers to {printable(frame)['finding'][0]}", printable(frame.drop("finding")))
    return 0
