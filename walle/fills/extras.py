"""What an engine or a venue says beside a fill or an order: a JSON object in the column ``extra``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from walle.errors import InputError
from walle.validation import check_json, json_text, parse_json

if TYPE_CHECKING:
    from walle.fills.coerce import Faults

__all__ = ["check_extras", "extra_text"]

_RULE = "it is no JSON object that every store can hold"


def extra_text(value: Mapping[str, Any]) -> str:
    """Return the text of a checked JSON object, with its keys in order: the same object has one text."""
    return json_text(value, ordered=True)


def check_extras(values: pl.Series, faults: Faults) -> pl.Series:
    """Convert a column ``extra`` to JSON texts, each with its keys in order.

    Parameters
    ----------
    values : polars.Series
        JSON texts of objects, where ``null`` is no object; or structs, whose null members are left out, because a
        struct has all fields in every row (one of nothing else is null).
    faults : Faults
        Collects the rows that are no JSON object, or hold NaN, an infinity, NUL, a lone surrogate, or in a struct a
        date or a decimal.

    Returns
    -------
    polars.Series
        String.

    Raises
    ------
    InputError
        For a column that is neither texts nor structs; for a bad row, unless ``faults`` keeps it.
    """
    if isinstance(values.dtype, pl.Struct):
        found, problems = _read(_members(row) for row in values.to_list())
        texts, broken = (pl.Series(values.name, part, dtype=pl.String) for part in (found, problems))
    elif values.dtype == pl.String:
        known = values.drop_nulls().unique(maintain_order=True)
        found, problems = _read(_parsed(text) for text in known)
        texts, broken = (values.replace_strict(known, part, return_dtype=pl.String) for part in (found, problems))
    else:
        raise InputError(f"{faults.named(values.name)} is {values.dtype}, neither JSON texts nor structs.")
    wrong = broken.is_not_null()
    if not wrong.any():
        return texts
    if faults.reasons is None:
        row = wrong.arg_true()[0]
        raise InputError(f"{faults.named(values.name)}, row {row}: {broken[row]} Nothing was written.")
    faults.keep(wrong, f"{values.name}: {_RULE}")
    return texts


def _read(documents: Iterable[object]) -> tuple[list[str | None], list[str | None]]:
    """Return the texts of documents, and what is wrong with each."""
    texts: list[str | None] = []
    problems: list[str | None] = []
    for given in documents:
        text = problem = None
        if isinstance(given, Mapping):
            try:
                text = extra_text(check_json(given, "extra"))
            except InputError as error:
                problem = str(error)
        elif given is not None:
            problem = f"{str(given)[:80]!r}: {_RULE}."
        texts.append(text)
        problems.append(problem)
    return texts, problems


def _parsed(text: str) -> object:
    """Return the document in a text; a text that is no JSON as it stands."""
    try:
        return parse_json(text)
    except (ValueError, RecursionError):
        return text


def _members(value: object) -> object:
    """Return a struct without its null members."""
    return _without_nulls(value) or None


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
