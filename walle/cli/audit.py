"""``walle audit``: audit fills."""

from __future__ import annotations

import argparse
from typing import Any

from walle.cli.output import add_store, open_store, printable, show, to_json
from walle.fills.rules import RULES

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add the command.

    Parameters
    ----------
    commands : argparse's subparsers
    """
    listed = "\n".join(f"  {each.name:<24}{each.severity:<9}{each.doc}" for each in RULES)
    command = commands.add_parser(
        "audit",
        help="hold fills against their orders, the bars and time; exit code 1 when there is an error",
        description="Hold fills against their orders, the bars and time. The exit code is 1 when there is an error.",
        epilog=f"rules:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--run", dest="run_id", metavar="RUN", help="this one alone")
    command.add_argument("--rule", action="append", metavar="RULE", help="only this rule; may be repeated")
    command.add_argument("--timeframe", help="of the bars (default: the shortest that is stored)")
    add_store(command, _audit)


def _audit(options: argparse.Namespace) -> int:
    with open_store(options) as store:
        found = store.fills.audit(options.run_id, rules=options.rule, timeframe=options.timeframe)
        bare = found.is_empty() and store.fills.read(options.run_id).is_empty()
    if options.json:
        print(to_json(found))
    elif found.is_empty():
        print("No fills, so there was nothing to audit." if bare else "No findings.")
    else:
        counts = ", ".join(f"{count} {name}" for name, count in found["severity"].value_counts(sort=True).iter_rows())
        show(f"Findings: {counts}", printable(found.select("severity", "rule", "run_id", "sentence")))
    return 1 if (found["severity"] == "error").any() else 0
