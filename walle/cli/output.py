"""The shared parts of the commands: opening a store, and printing without terminal control characters."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import polars as pl
import polars.selectors as cs

import walle
from walle.config import DatabaseConfig
from walle.errors import ConfigurationError
from walle.store import Store

__all__ = ["ADDRESS", "add_address", "add_store", "open_store", "printable", "report", "safe", "show", "to_json"]

ADDRESS = "path or URL of the database (default: WALLE_DATABASE_URL, which keeps a password out of the shell's history)"
"""The help text of the commands for the address of the database."""


class _Address(argparse.Action):
    """Takes the address from its place or from ``--url``, but not from both."""

    def __call__(
        self, parser: argparse.ArgumentParser, options: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Keep the address; a place that was left empty gives none."""
        if values is None:
            return
        if options.url is not None:
            parser.error(f"the store is named twice: {options.url} and {values}")
        options.url = values


def add_address(command: argparse.ArgumentParser) -> None:
    """Add the address of the store to a command: as its last argument, or as ``--url``."""
    command.add_argument("url", nargs="?", action=_Address, help=ADDRESS)
    command.add_argument("--url", action=_Address, help="the same")


def add_store(
    command: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int], *, as_json: bool = True
) -> None:
    """Complete a command that works on a store: add the address and the choice of JSON, and set what it runs."""
    add_address(command)
    if as_json:
        command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=run)


def open_store(options: argparse.Namespace, *, read_only: bool = True) -> Store:
    """Open the store that a command names.

    Raises
    ------
    ConfigurationError
        If neither the command nor WALLE_DATABASE_URL names one.
    """
    if DatabaseConfig.from_environment(options.url).url is None:
        raise ConfigurationError(
            "which store? Give its path or URL last, or by --url, or set WALLE_DATABASE_URL; a store in memory "
            "ends with its process."
        )
    return walle.connect(options.url, read_only=read_only)


def show(title: str, frame: pl.DataFrame) -> None:
    """Print a title and a frame in its full width."""
    with pl.Config(
        tbl_rows=30,
        tbl_cols=-1,
        tbl_width_chars=200,
        fmt_str_lengths=120,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_formatting="UTF8_FULL_CONDENSED",
    ):
        print(f"{title}\n{frame}\n")


def report(options: argparse.Namespace, title: str, frame: pl.DataFrame, shown: pl.DataFrame | None = None) -> int:
    """Print a frame as JSON if the options ask for it, else as a table (of ``shown``); return the exit code."""
    if options.json:
        print(to_json(frame))
    else:
        show(title, printable(frame if shown is None else shown))
    return 0


def safe(text: str) -> str:
    """Escape the control characters of a text."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(text))


def printable(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame whose texts have no control characters."""
    return frame.with_columns(cs.string().map_elements(safe, return_dtype=pl.String))


def to_json(frame: pl.DataFrame) -> str:
    """Return a frame as JSON, a list of objects with instants as ISO texts in UTC."""
    texts = frame.with_columns(cs.datetime().dt.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00"))
    return json.dumps(texts.to_dicts(), indent=2)
