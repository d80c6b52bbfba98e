"""Find the columns of a table that hold the time, the prices, the volume, the symbol and the timeframe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from walle.enums import OHLCV
from walle.errors import InputError
from walle.frames import BARS

__all__ = ["Roles", "assign", "named"]

_WORDS: dict[str, tuple[str, ...]] = {
    "timestamp": (
        *("timestamp", "timestamp_utc", "utc_timestamp", "date", "datetime", "date_time", "datetime_utc", "date_utc"),
        *("utc", "utc_time", "time_utc", "gmt", "gmt_time", "time", "ts", "ts_event", "open_time", "opentime"),
        *("open_time_utc", "unix", "unix_time", "unix_timestamp", "epoch", "t", "start", "start_time", "begins_at"),
        *("dtyyyymmdd", "__index_level_0__"),
    ),
    "open": ("open", "o", "open_price", "price_open", "1_open"),
    "high": ("high", "h", "high_price", "price_high", "2_high"),
    "low": ("low", "l", "low_price", "price_low", "3_low"),
    "close": ("close", "c", "close_price", "price_close", "4_close"),
    "volume": ("volume", "vol", "v", "tick_volume", "tickvol", "tick_vol", "base_volume", "5_volume"),
    "symbol": ("symbol", "ticker", "pair", "sym"),
    "timeframe": ("timeframe", "interval", "rtype", "tf"),
}
_DATE_AND_TIME = ({"date", "time"}, {"dtyyyymmdd", "time"})
_BINANCE_HEADER = {"open_time", "close_time", "quote_volume"}
_BY_PLACE = ("timestamp", *OHLCV)
_BINANCE_PLACES = ("close_time", "quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume", "ignore")
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The role of each column.

    Parameters
    ----------
    layout : str
        The recognised layout: walle, freqtrade, binance, ccxt, yfinance, alpaca, databento, or generic.
    time : tuple of str
        The column of times, or the columns of dates and of times of day.
    numbers : dict of str to str
        The columns of open, high, low, close and volume; ``volume`` is absent if the table has none.
    symbol, timeframe : str or None
        The columns of symbols and timeframes.
    utc : bool
        Whether the name of the time column says that its times are UTC.
    ignored : tuple of str
        Columns that are not used.
    further : tuple of str
        Those of ``ignored`` that are read beside the bars.
    titles : dict of str to str
        The names that the layout gives to columns without a header.
    """

    layout: str
    time: tuple[str, ...]
    numbers: dict[str, str]
    symbol: str | None = None
    timeframe: str | None = None
    utc: bool = False
    ignored: tuple[str, ...] = field(default=())
    further: tuple[str, ...] = field(default=())
    titles: dict[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The columns to read."""
        others = [name for name in (self.symbol, self.timeframe, *self.further) if name is not None]
        return list(dict.fromkeys([*self.time, *self.numbers.values(), *others]))

    @property
    def mapping(self) -> dict[str, str]:
        """Source name to our name."""
        named = dict.fromkeys(self.time, "timestamp") | {column: name for name, column in self.numbers.items()}
        return named | {
            column: name for name, column in (("symbol", self.symbol), ("timeframe", self.timeframe)) if column
        }


def assign(
    names: Sequence[str],
    *,
    header: bool,
    columns: Mapping[str, str | None] | None = None,
    first: Sequence[object] = (),
    hint: str | None = None,
) -> Roles:
    """Assign a role to each column.

    Parameters
    ----------
    names : sequence of str
        The source's column names, ``column_1`` and so on where it has none.
    header : bool
        Whether the source names its columns; without names, their positions decide.
    columns : mapping, optional
        The caller's mapping of source name to our name; ``{"volume": None}`` means that there is no volume.
    first : sequence
        The cells of the first row, by which a column of times of day is recognised.
    hint : str, optional
        The layout that the form of the source suggests.

    Raises
    ------
    InputError
        If a role is missing or several columns could have it; the message names everything that is wrong.
    """
    given, without_volume = _given(names, columns)
    layout = _layout(names, header=header, hint=hint)
    found = _by_name(names, given) if header else _by_place(names, given, first)
    time = found.pop("timestamp")
    if len(time) == 2 and header and {_normal(name) for name in time} in _DATE_AND_TIME:
        time = sorted(time, key=lambda name: _normal(name) == "time")
    elif len(time) > 1 and header:
        found["timestamp"] = time
    chosen = _chosen(found, without_volume=without_volume)
    missing = [] if time else ["timestamp"]
    missing += [name for name in OHLCV if name not in chosen and not (name == "volume" and without_volume)]
    if missing:
        raise InputError(_missing(names, missing, header=header))
    numbers = {name: chosen[name] for name in OHLCV if name in chosen}
    used = {*time, *chosen.values()}
    return Roles(
        layout=layout,
        time=tuple(time),
        numbers=numbers,
        symbol=chosen.get("symbol"),
        timeframe=chosen.get("timeframe"),
        utc=any({"utc", "gmt"} & set(_normal(name).split("_")) for name in time),
        ignored=tuple(name for name in names if name not in used),
        titles={} if header or layout != "binance" else dict(zip(names[6:], _BINANCE_PLACES, strict=False)),
    )


def named(names: Sequence[str], role: str) -> list[str]:
    """Return the columns whose name says that they have a role, such as ``ticker`` for the symbol."""
    return [name for name in names if _normal(name) in _WORDS[role]]


def _chosen(found: Mapping[str, Sequence[str]], *, without_volume: bool) -> dict[str, str]:
    if without_volume and found["volume"]:
        raise InputError(
            f"columns={{'volume': None}} says that there is no volume, but there is a column "
            f"{found['volume'][0]!r}. Leave it out."
        )
    for name in BARS:
        choices = found.get(name, ())
        if len(choices) > 1:
            raise InputError(
                f"{' and '.join(map(repr, choices))} could each be the {name}. Say which: "
                f"columns={{{choices[0]!r}: {name!r}}}."
            )
    return {name: choices[0] for name, choices in found.items() if choices}


def _normal(name: str) -> str:
    return re.sub(r"[\s.\-/()<>\[\]_]+", "_", name.strip().lower()).strip("_") if "__index" not in name else name


def _given(names: Sequence[str], columns: Mapping[str, str | None] | None) -> tuple[dict[str, str], bool]:
    if columns is not None and not isinstance(columns, Mapping):
        raise InputError(
            f"columns={columns!r} is not a mapping of source names to ours: columns={{'date': 'timestamp'}}."
        )
    given = dict(columns or {})
    without_volume = given.get("volume", "") is None
    if without_volume:
        del given["volume"]
    for source, name in given.items():
        if source not in names:
            turned = source in BARS and name in names
            hint = f" Their name comes first: columns={{{name!r}: {source!r}}}." if turned else ""
            raise InputError(f"columns names {source!r}, which is not there. There is: {', '.join(names)}.{hint}")
        if name not in BARS:
            raise InputError(f"columns maps {source!r} to {name!r}; allowed are {', '.join(BARS)}.")
    if without_volume and "volume" in given.values():
        raise InputError("columns says both that there is no volume and which column it is.")
    if len(set(given.values())) != len(given):
        raise InputError(f"columns maps two source columns to one name: {given}.")
    return {source: name for source, name in given.items() if name is not None}, without_volume


def _by_name(names: Sequence[str], given: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, words in _WORDS.items():
        named = [source for source, target in given.items() if target == name]
        candidates = [source for source in names if source not in given and _normal(source) in words]
        # our own name takes precedence over other names for the same column
        own = [source for source in candidates if source == name]
        found[name] = named or own or candidates
    unnamed = [source for source in names[:1] if source in ("", "column_1", "Unnamed: 0") and source not in given]
    if not found["timestamp"] and unnamed:  # the name that pandas writes for an unnamed index
        found["timestamp"] = unnamed
    return found


def _by_place(names: Sequence[str], given: Mapping[str, str], first: Sequence[object]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in _WORDS}
    if given:
        for source, name in given.items():
            found[name] = [source]
        return found
    clock = len(first) > 1 and isinstance(first[1], str) and _CLOCK.fullmatch(first[1].strip()) is not None
    rest = names[1:] if clock else names
    if len(rest) not in (5, 6, 12):
        return found
    for name, source in zip(_BY_PLACE, rest, strict=False):
        found[name] = [source]
    if clock:
        found["timestamp"] = [names[0], names[1]]
    return found


def _layout(names: Sequence[str], *, header: bool, hint: str | None) -> str:
    words = {_normal(name) for name in names}
    if hint == "yfinance" or ({"adj_close", "close"} <= words):
        return "yfinance"
    if set(BARS) <= set(names):
        return "walle"
    if {"ts_event", "rtype"} <= words:
        return "databento"
    if {"timestamp", "trade_count", "vwap"} <= words:
        return "alpaca"
    if words >= _BINANCE_HEADER or (not header and len(names) == 12):
        return "binance"
    if hint == "freqtrade" and (not header or list(names) == ["date", *OHLCV]):
        return "freqtrade"
    return hint if hint not in (None, "freqtrade", "binance", "plain") else "generic"


def _missing(names: Sequence[str], missing: Sequence[str], *, header: bool) -> str:
    listed = ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
    if not header:
        return (
            f"there is no header, and {len(names)} columns are no known layout. Say what they are: "
            f"columns={{'column_1': 'timestamp', 'column_2': 'open', ...}}, or columns={{'volume': None, ...}} too "
            "where there is no volume."
            if len(missing) > 1
            else f"there is no {missing[0]} among the columns {listed}, which have no header. {_VOLUME}"
        )
    text = f"there is no column for {', '.join(missing)}; there is: {listed or 'none'}."
    if "volume" in missing:
        text += f" {_VOLUME}"
    if missing != ["volume"]:
        sought = next(name for name in missing if name != "volume")
        text += f" Say which is which: columns={{'their name': {sought!r}}}."
    return text


_VOLUME = "If there is no volume, say so: columns={'volume': None}; it is 0 then."
