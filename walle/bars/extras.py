"""Further columns of bars beside OHLCV: kept when asked for, as one JSON text per bar, and read by name.

A column that nobody asks for is ignored, except one that tells rows of one bar apart, such as the venue: a source with
several venues of one symbol has no one series in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import and_

import polars as pl

from walle.bars.spans import count_bars, join_spans, spans_of
from walle.enums import OHLCV
from walle.errors import InputError
from walle.frames import BAR_VERSIONS, BARS, STORED_CONFLICTS
from walle.validation import check_text

__all__ = [
    "ALL",
    "KINDS",
    "FurtherColumns",
    "check_extra",
    "laid_over",
    "merged_kinds",
    "normal",
    "tells_apart",
    "unpacked",
]

ALL = "all"

KINDS: dict[str, pl.DataType] = {
    "integer": pl.Int64(),
    "big integer": pl.Int64(),
    "float": pl.Float64(),
    "boolean": pl.Boolean(),
    "text": pl.String(),
}
"""The kinds of further columns, and their types in frames; of a big integer a float would lose digits."""

_WIDER = {
    frozenset({"integer", "float"}): "float",
    frozenset({"integer", "big integer"}): "big integer",
    frozenset({"integer", "text"}): "text",
    frozenset({"big integer", "text"}): "text",
}
"""The kind of a column with values of two kinds; others are refused."""

_RESERVED = frozenset({*BARS, *STORED_CONFLICTS, *BAR_VERSIONS})
_APART = frozenset(
    {
        *("publisher_id", "publisher", "exchange", "exchange_id", "exch", "venue", "venue_id", "mic", "market"),
        *("market_center", "source", "feed", "dataset", "data_source", "provider", "vendor", "broker"),
        *("instrument_id", "contract", "expiry", "expiration", "currency", "side", "price_type", "what_to_show"),
    }
)
"""Names of columns that tell where a bar is from, or which of several prices it is of."""

_KEY = ["symbol", "timeframe", "timestamp"]
_SEPARATOR = "\0"
_INTEGER = r"^[+-]?(0|[1-9]\d{0,17})$"
_FLOAT = r"^[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"
_LONG = r"^[+-]?\d{19,}$"
_NOTHING = ["", "nan", "null", "none", "na", "n/a", "-", "--", "."]
_WORDS = ["true", "false"]
_NAMED = 5

_GREATEST = 1e35
"""Greater numbers mean that none is known, and as JSON not every database gives them back."""

_TRACKED = 200_000
"""The spans that are kept of a column that may tell rows of several pages apart."""


@dataclass(slots=True)
class FurtherColumns:
    """The columns of one source that are no part of a bar: those that are kept, and those that may tell rows apart.

    Parameters
    ----------
    asked : tuple of str or "all" or None
        As :func:`check_extra` returns it.
    names : mapping of str to str
        Source name to the name under which a column is kept, where they differ.

    Attributes
    ----------
    kinds : dict of str to str
        The kinds of the kept columns so far.
    """

    asked: tuple[str, ...] | str | None
    names: Mapping[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    _apart: dict[str, list[pl.DataFrame] | None] = field(default_factory=dict)

    def wanted(self, others: Sequence[str], titles: Mapping[str, str] | None = None) -> dict[str, str]:
        """Choose from the columns that are no part of a bar: source name to the name under which it is kept.

        Parameters
        ----------
        others : sequence of str
            Their names in the source.
        titles : mapping of str to str, optional
            Names of columns that have none in the source.

        Raises
        ------
        InputError
            For a name that is asked for and not there, or that another column of a frame has.
        """
        if self.asked is None:
            return {}
        own = {**(titles or {}), **self.names}
        kept = {name: own.get(name, name) for name in others}
        if self.asked != ALL:
            absent = [name for name in self.asked if name not in kept.values()]
            if absent:
                every = f" For all of them say extra={ALL!r}." if ALL in absent else ""
                raise InputError(
                    f"extra={list(self.asked)!r}: the source has no further column {', '.join(map(repr, absent))}. "
                    f"Beside those of a bar it has: {', '.join(map(repr, kept)) or 'none'}.{every}"
                )
            kept = {source: name for source, name in kept.items() if name in self.asked}
        for source, name in kept.items():
            check_text(name, "a further column's name", maximum=64)
            if name == "*" or name.startswith("^"):
                raise InputError(
                    f"a further column cannot be called {name!r}, which selects columns in Polars. Name it otherwise: "
                    f"columns={{{source!r}: '...'}}."
                )
            if name in _RESERVED:
                raise InputError(
                    f"a further column cannot be called {name!r}, which frames of bars use for something else. Name it "
                    f"otherwise: columns={{{source!r}: '...'}}, or say which to keep: extra=[...]."
                )
        if len(set(kept.values())) < len(kept):
            raise InputError(f"two columns would be kept under one name: {kept}.")
        return kept

    def of(self, bars: pl.DataFrame, source: pl.DataFrame, kept: Mapping[str, str], *, parse: bool) -> pl.DataFrame:
        """Return bars with a column ``extra``, if any column is kept, and look at those that may tell rows apart.

        Parameters
        ----------
        bars : polars.DataFrame
            Columns of ``BARS``.
        source : polars.DataFrame
            The rows from which the bars were made, one for one.
        kept : mapping of str to str
            As :meth:`wanted` returns it.
        parse : bool
            Whether texts may be numbers, as in a CSV file.

        Raises
        ------
        InputError
            For values that cannot be kept.
        """
        for name in filter(tells_apart, source.columns):
            self._look(bars, source[name])
        if not kept:
            return bars
        columns = []
        for place, name in sorted(kept.items(), key=lambda pair: pair[1]):
            values, kind = _typed(source[place], self.kinds.get(name), parse=parse)
            if kind is not None:
                self.kinds = merged_kinds(self.kinds, {name: kind})
            columns.append(values.alias(name))
        return bars.with_columns(_packed(pl.DataFrame(columns)))

    def refuse_mixed(self) -> None:
        """Raise if a column tells rows of one bar apart that came in several pages.

        Raises
        ------
        InputError
        """
        for name, parts in self._apart.items():
            if parts:
                _refuse_apart(name, join_spans(pl.concat(parts)))

    def _look(self, bars: pl.DataFrame, values: pl.Series) -> None:
        """Raise for rows of one bar with several values, and keep what those of other pages are held against."""
        value = values.cast(pl.String, strict=False).fill_null("").alias("value")
        keys = bars.select(_KEY).with_columns(value).drop_nulls()
        name, whole = values.name, keys.with_columns(symbol=pl.concat_str("value", pl.lit(_SEPARATOR), "symbol"))
        tracked = self._apart.setdefault(name, [])
        if tracked is None and keys.select(pl.struct(_KEY).is_duplicated().any()).item():
            _refuse_apart(name, spans_of(whole))
        if tracked is None:
            return
        tracked.append(spans_of(whole))
        if sum(part.height for part in tracked) > _TRACKED:  # it changes from row to row
            _refuse_apart(name, join_spans(pl.concat(tracked)))
            self._apart[name] = None


def _refuse_apart(name: str, spans: pl.DataFrame) -> None:
    """Raise if opening times of one series come with several values, which stand before their symbol.

    Raises
    ------
    InputError
    """
    halves = pl.col("symbol").str.splitn(_SEPARATOR, 2).struct
    values = spans.select(halves[0]).to_series().unique().sort()
    if values.len() < 2:
        return
    own = join_spans(spans.with_columns(halves[1].alias("symbol")))
    rows, bars = (int(count_bars(part)["bars"].sum()) for part in (spans, own))
    if bars < rows:
        named = ", ".join(map(repr, values[:_NAMED])) + (", ..." if values.len() > _NAMED else "")
        raise InputError(
            f"column {name!r} tells rows of one bar apart: {rows - bars:,} of {rows:,} rows have the symbol, timeframe "
            f"and time of another one with another {name} ({named}). A series is of one of them: take its rows alone "
            f"(those where {name} is {values[-1]}), or make it a part of the symbol."
        )


def check_extra(extra: object) -> tuple[str, ...] | str | None:
    """Return which further columns are asked for: None, ``all``, or their names.

    Raises
    ------
    InputError
    """
    if extra is None or extra == ALL:
        return ALL if extra == ALL else None
    names = [] if isinstance(extra, str) or not isinstance(extra, Sequence) else list(extra)
    if not names or not all(isinstance(name, str) and name for name in names):
        hint = f" For one column: extra=[{extra!r}]." if isinstance(extra, str) and extra else ""
        raise InputError(f"extra={extra!r} is neither a list of columns, extra=['vwap', 'trades'], nor 'all'.{hint}")
    wrong = [name for name in names if name in BARS]
    if wrong or len(set(names)) < len(names):
        why = f"{wrong[0]!r} is a part of every bar" if wrong else "a name comes twice"
        raise InputError(f"extra={names!r}: {why}. Name columns beside {', '.join(OHLCV)}, each once.")
    return tuple(names)


def tells_apart(name: str) -> bool:
    """Return whether a column of this name may tell rows of one bar apart."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s\-.]+", "_", plain).lower() in _APART


def merged_kinds(known: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Return the kinds of columns that hold values of both; integers and floats are floats where none loses digits.

    Raises
    ------
    InputError
    """
    merged = dict(known)
    for name, kind in new.items():
        before = merged.setdefault(name, kind)
        wider = _WIDER.get(frozenset({before, kind}), kind)
        if wider == kind != before and frozenset({before, kind}) not in _WIDER:
            raise InputError(
                f"further column {name!r} holds {kind} values here and {before} values before. Convert it, keep it "
                f"under another name (columns={{{name!r}: '...'}}), or leave it out of extra=[...]."
            )
        merged[name] = wider
    return merged


def unpacked(texts: pl.Series, kinds: Mapping[str, str]) -> pl.DataFrame:
    """Return further columns by name, null where a bar has none.

    Parameters
    ----------
    texts : polars.Series
        JSON texts of objects, or null.
    kinds : mapping of str to str
        The columns that are wanted, and their kinds.
    """
    schema = pl.Schema({name: KINDS[kind] for name, kind in kinds.items()})
    if texts.null_count() == texts.len():
        return pl.DataFrame(schema=schema).clear(texts.len())
    return texts.str.json_decode(pl.Struct(schema)).struct.unnest()


def laid_over(stored: pl.Series, said: pl.Series, kinds: Mapping[str, str]) -> pl.DataFrame:
    """Lay further columns over the stored ones: what is null is not said, so that the stored value stays.

    Parameters
    ----------
    stored, said : polars.Series
        JSON texts of objects, or null.
    kinds : mapping of str to str
        All columns of the series.

    Returns
    -------
    polars.DataFrame
        stored, said and extra, what they give together (String, in one form, so that equal ones are equal); and adds
        (Boolean: no stored value differs, but some were not there).
    """
    before, after = unpacked(stored, kinds), unpacked(said, kinds)
    both = pl.DataFrame([after[name].fill_null(before[name]) for name in kinds])
    forms = {"stored": before, "said": after, "extra": both}
    frame = pl.DataFrame([_packed(columns).alias(name) for name, columns in forms.items()])
    kept = [(before[name].is_null() | (before[name] == both[name])).fill_null(True) for name in kinds]
    agrees = reduce(and_, kept)
    return frame.with_columns(adds=agrees & frame["stored"].ne_missing(frame["extra"]))


def normal(texts: pl.Series, kinds: Mapping[str, str]) -> pl.Series:
    """Return further columns in the one form of :func:`laid_over`."""
    return _packed(unpacked(texts, kinds)).alias(texts.name) if kinds else texts


def _packed(columns: pl.DataFrame) -> pl.Series:
    """Return the rows of a frame as JSON texts of what is not null, null where nothing is."""
    members = []
    for place, name in enumerate(sorted(columns.columns)):
        values = columns[name]
        one = values.to_frame().select(pl.struct(pl.all()).struct.json_encode()).to_series()
        bare = one.str.strip_prefix("{").str.strip_suffix("}").set(values.is_null(), None)
        members.append(bare.alias(f"{place}"))
    joined = pl.DataFrame(members).select(pl.concat_str(pl.all(), separator=",", ignore_nulls=True).alias("extra"))
    text = pl.when(pl.col("extra") != "").then(pl.format("{{{}}}", pl.col("extra")))
    return joined.select(text.alias("extra")).to_series()


def _typed(values: pl.Series, known: str | None, *, parse: bool) -> tuple[pl.Series, str | None]:
    """Return values in the type of a kind, and the kind: None where there is nothing.

    Raises
    ------
    InputError
    """
    dtype = values.dtype
    if values.null_count() == values.len():
        return values.cast(pl.String, strict=False), None
    if dtype == pl.Boolean:
        return values, "boolean"
    if dtype.is_integer():
        counted = values.cast(pl.Int64, strict=False)
        if counted.null_count() > values.null_count():
            raise InputError(f"further column {values.name!r} holds integers beyond 64 bits.")
        return counted, _integers(counted)
    if dtype.is_float() or isinstance(dtype, pl.Decimal):
        numbers = values.cast(pl.Float64).fill_nan(None)
        numbers = numbers.set((numbers == 0).fill_null(False), 0.0)  # as prices: -0.0 is no other number
        if (numbers.abs() > _GREATEST).any():
            worst = numbers.filter(numbers.abs() > _GREATEST)[0]
            raise InputError(
                f"further column {values.name!r} holds {worst!r}; numbers beyond {_GREATEST:.0e} are infinite, or "
                "stand for unknown ones. Make them null first."
            )
        return numbers, "float"
    if dtype.is_temporal():
        return values.dt.to_string("iso:strict"), "text"
    if dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise InputError(
            f"further column {values.name!r} is {dtype}; numbers, booleans, times and texts are kept. Leave it out: "
            "extra=[...]."
        )
    texts = values.cast(pl.String)
    if texts.str.contains("\0", literal=True).any():
        raise InputError(f"further column {values.name!r} holds a NUL character, which PostgreSQL cannot store.")
    return _parsed(texts, known) if parse else (texts, "text")


def _integers(values: pl.Series) -> str:
    return "integer" if (values.is_between(-(2**53), 2**53)).all() else "big integer"


def _parsed(texts: pl.Series, known: str | None) -> tuple[pl.Series, str | None]:
    plain = texts.str.strip_chars()
    plain = plain.set(plain.str.to_lowercase().is_in(_NOTHING), None)
    if plain.null_count() == plain.len():
        return plain, None
    if known == "text":
        return plain, "text"
    if plain.str.contains(_INTEGER).all():
        counted = plain.cast(pl.Int64)
        return counted, _integers(counted)
    if plain.str.contains(_FLOAT).all() and not plain.str.contains(_LONG).any():
        numbers = plain.cast(pl.Float64)
        if numbers.is_finite().all():
            return numbers, "float"
    if plain.str.to_lowercase().is_in(_WORDS).all():
        return plain.str.to_lowercase() == "true", "boolean"
    return plain, "text"
