"""Bars adjusted by the corporate actions that were known, on their way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.bars.adjust import ACTIONS, CLOSES, FACTORS, adjusted, close_ends, factors_at, factors_of, is_stale
from walle.database import Database
from walle.enums import OHLCV, PRICES
from walle.errors import InputError
from walle.frames import BARS, no_rows
from walle.instruments import facts_of
from walle.notices import AdjustmentWarning, warn
from walle.records import Bar
from walle.repositories.actions.known import known_actions
from walle.repositories.bars.as_of import resolve
from walle.repositories.bars.calendars import calendars_of
from walle.repositories.bars.read import StoredBars
from walle.repositories.bars.series import symbol_list
from walle.repositories.common import Time
from walle.repositories.instruments.stored import stored_facts
from walle.repositories.tokens import AsOf
from walle.timeframe import check_timeframe, is_calendar
from walle.validation import parse_range

__all__ = ["AdjustedBars"]

_NAMED = 3
"""Cases that a warning names."""


class AdjustedBars:
    """Bars as frames, adjusted.

    The actions are those that were recorded as of the same time as the bars, whatever range is read, so that the prices
    of a bar do not depend on the end of the range.

    Parameters
    ----------
    database : Database
    stored : StoredBars
    """

    def __init__(self, database: Database, stored: StoredBars) -> None:
        self._database, self._stored = database, stored

    async def read(
        self,
        adjust: str,
        symbol: str | Sequence[str],
        timeframe: str,
        start: Time,
        end: Time,
        columns: Sequence[str] | None,
        require_complete: bool,
        as_of: AsOf,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the bars that open in ``[start, end)``, adjusted.

        Raises
        ------
        InputError
        """
        one = symbol if isinstance(symbol, str) else None
        factors = await self._factors(adjust, symbol_list(symbol), timeframe, start, end, as_of, session)
        wanted = columns
        if columns and not isinstance(columns, str) and factors.height:
            keys = ["symbol", "timestamp"] if one is None else ["timestamp"]
            wanted = [*columns, *(name for name in keys if name not in columns)]
        bars = await self._stored.read(symbol, timeframe, start, end, wanted, require_complete, as_of, session)
        _refuse_further(adjust, columns)
        apply = partial(adjusted, bars, factors, symbol=one)
        frame = await self._database.in_thread(apply)
        return frame if columns is None else frame.select(columns)

    async def panel(
        self,
        adjust: str,
        symbols: str | Sequence[str],
        timeframe: str,
        field: str,
        start: Time,
        end: Time,
        as_of: AsOf,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return one field of several symbols side by side, adjusted.

        Raises
        ------
        InputError
        """
        factors = await self._factors(adjust, symbol_list(symbols), timeframe, start, end, as_of, session)
        panel = await self._stored.panel(symbols, timeframe, field, start, end, as_of, session)
        _refuse_further(adjust, [field])
        kind = "price" if field in PRICES else "volume"

        def apply() -> pl.DataFrame:
            return panel.with_columns(
                panel[name] * factors_at(own, panel["timestamp"], kind)
                for (name,), own in factors.partition_by("symbol", as_dict=True).items()
            )

        return await self._database.in_thread(apply)

    async def scan(
        self,
        adjust: str,
        symbol: str | Sequence[str],
        timeframe: str,
        start: Time,
        end: Time,
        columns: Sequence[str] | None,
        as_of: AsOf,
    ) -> pl.LazyFrame:
        """Return a lazy frame; its factors are those of this call.

        Raises
        ------
        InputError
        """
        _refuse_further(adjust, columns)
        factors = await self._factors(adjust, symbol_list(symbol), timeframe, start, end, as_of, None)
        bars = await self._stored.scan(symbol, timeframe, start, end, None, as_of)
        lazy = adjusted(bars, factors, symbol=symbol if isinstance(symbol, str) else None)
        return lazy if columns is None else lazy.select(columns)

    async def latest(self, adjust: str, symbol: str, timeframe: str, as_of: AsOf, session: AsyncSession | None) -> Bar:
        """Return the last bar of a series, adjusted by what is already known of later days."""
        _check(adjust)
        bar = await self._stored.latest(symbol, timeframe, as_of, session)
        factors = await self._factors(adjust, [symbol], timeframe, bar.timestamp, None, as_of, session)
        schema = {name: BARS[name] for name in ("timestamp", *OHLCV)}
        row = pl.DataFrame([{name: getattr(bar, name) for name in schema}], schema=schema)
        return replace(bar, **adjusted(row, factors, symbol=symbol).select(OHLCV).row(0, named=True))

    async def _factors(
        self,
        adjust: str,
        symbols: Sequence[str],
        timeframe: str,
        start: Time,
        end: Time,
        as_of: AsOf,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the factors of the bars from ``start`` on, and warn of those in the range that are not exact.

        Raises
        ------
        InputError
        """
        _check(adjust)
        check_timeframe(timeframe)
        first, last = parse_range(start, end)
        token = await resolve(self._database, as_of, session)
        known_at = None if token is None else token.moment
        if token is not None and known_at is None:
            raise InputError(f"as_of={as_of!r} is a token without a time; take the whole text of store.bars.now().")
        known = await known_actions(self._database, list(dict.fromkeys(symbols)), known_at, session)
        dated = known.with_columns(moment="ex_date" if is_calendar(timeframe) else "effective")
        # of a day to come, no close stands yet that a dividend could be measured by
        come = pl.col("effective") <= (known_at or datetime.now(UTC))
        counts = (pl.col("kind") == "split") | (come & pl.lit(adjust == "all") & (pl.col("kind") == "dividend"))
        actions = dated.filter(counts).select(list(ACTIONS))
        if first is not None:
            actions = actions.filter(pl.col("moment") > first)
        if actions.is_empty():
            return no_rows(FACTORS)
        closes = await self._closes(actions, timeframe, as_of, session)
        ended = closes.filter(pl.col("ended") <= pl.col("moment")).unique(
            ["symbol", "moment"], keep="first", maintain_order=True
        )
        dividends = actions.filter(kind="dividend").join(closes, on=["symbol", "moment"], how="semi")
        await self._refuse_other_currencies(dividends, known_at, session)
        factors = await self._database.in_thread(partial(factors_of, actions, ended))
        calendars = await calendars_of(self._database, dividends["symbol"].unique(), session)
        across = closes.filter(pl.col("ended") > pl.col("moment"))
        if first is not None:
            across = across.filter(pl.col("timestamp") >= first)
        if last is not None:
            across = across.filter(pl.col("timestamp") < last)
        _warn_of_bars_across(across, timeframe)
        paid = ended.join(dividends, on=["symbol", "moment"], how="semi").sort("symbol", "moment")
        _warn_of_old_closes(
            [row for row in paid.iter_rows(named=True) if is_stale(row, timeframe, calendars[row["symbol"]])]
        )
        _warn_of_no_close(dividends.join(ended, on=["symbol", "moment"], how="anti"), timeframe)
        return factors

    async def _closes(
        self, actions: pl.DataFrame, timeframe: str, as_of: AsOf, session: AsyncSession | None
    ) -> pl.DataFrame:
        """Return the last two bars that open before each action: of two, at least the earlier one has ended."""
        moments = actions.select("symbol", "moment").unique().sort("symbol", "moment")
        last = await self._stored.last_before(moments, timeframe, 2, as_of, session)
        calendars = await calendars_of(self._database, last["symbol"].unique(), session)
        return last.with_columns(close_ends(last, timeframe, calendars)).select(list(CLOSES))

    async def _refuse_other_currencies(
        self, dividends: pl.DataFrame, known_at: datetime | None, session: AsyncSession | None
    ) -> None:
        """Raise unless each dividend is in the currency of the prices.

        Raises
        ------
        InputError
        """
        if dividends.is_empty():
            return
        stored = await stored_facts(self._database, session, known_at)
        rounds = [dividends]
        if stored["valid_from"].null_count() < stored.height:
            # facts_of gives the facts of one time: that of the first dividends, then of the second ones, and so on
            nth = dividends.sort("symbol", "moment", "id").with_columns(nth=pl.int_range(pl.len()).over("symbol"))
            rounds = nth.partition_by("nth", include_key=False)
        for few in rounds:
            asked = few.select(
                "symbol", filled_at="moment", commission=None, commission_currency=pl.lit(None, pl.String)
            )
            quoted = few.join(facts_of(asked, stored).select("symbol", "quote"), on="symbol", how="left")
            wrong = quoted.filter(pl.col("quote").ne_missing(pl.col("currency")))
            if wrong.height:
                raise InputError(_other_currency(*wrong.select("id", "symbol", "moment", "currency", "quote").row(0)))


def _other_currency(action: str, symbol: str, moment: datetime, currency: str, quote: str | None) -> str:
    paid = f"the dividend of {symbol} on {moment.date()} ({action!r}) is in {currency}"
    if quote is None:
        saved = f"walle.Instrument(symbol={symbol!r}, kind='stock', quote={currency!r})"
        return (
            f"{paid}, and in which currency the prices of {symbol} are is unknown. Say so: "
            f"store.instruments.save({saved}); or read with adjust='splits'."
        )
    return (
        f"{paid}, and its prices are in {quote}; amounts of two currencies are not added up. Record it in {quote} "
        f"(store.actions.append(..., supersedes={action!r})), or read with adjust='splits'."
    )


def _refuse_further(adjust: str, columns: Sequence[str] | None) -> None:
    """Raise if a column is no part of every bar: no rule says how a split changes it.

    Raises
    ------
    InputError
    """
    others = [] if columns is None or isinstance(columns, str) else [name for name in columns if name not in BARS]
    if others:
        raise InputError(
            f"adjust={adjust!r} adjusts {', '.join(OHLCV)}, and no rule says what becomes of "
            f"{', '.join(map(repr, others))}. Read further columns without adjust=."
        )


def _check(adjust: object) -> None:
    if adjust not in ("splits", "all"):
        raise InputError(
            f"adjust={adjust!r} is neither None (bars as they are stored), 'splits' nor 'all' (splits and dividends)."
        )


def _warn_of_bars_across(across: pl.DataFrame, timeframe: str) -> None:
    if across.is_empty():
        return
    named = [f"{symbol} {opened.date()}" for symbol, opened in across.select("symbol", "timestamp").iter_rows()]
    warn(
        f"{across.height} {timeframe} bars open before an ex-date and end after it: {_some(named)}. They are adjusted "
        "whole, as all bars that open before it. For exact ones, resample adjusted bars of a shorter timeframe "
        "(walle.resample).",
        AdjustmentWarning,
    )


def _warn_of_old_closes(old: Sequence[dict[str, object]]) -> None:
    if not old:
        return
    named = [f"{row['symbol']} {_day(row['moment'])} by the close of {_day(row['timestamp'])}" for row in old]
    warn(
        f"{len(old)} dividends are measured by the last stored close, which is older than the session before their "
        f"ex-date: {_some(named)}. Ingest the bars that are missing.",
        AdjustmentWarning,
    )


def _warn_of_no_close(dividends: pl.DataFrame, timeframe: str) -> None:
    if dividends.is_empty():
        return
    named = [f"{symbol} {moment.date()}" for symbol, moment in dividends.select("symbol", "moment").iter_rows()]
    warn(
        f"{dividends.height} dividends adjust nothing, because no {timeframe} bar that ended before their ex-date is "
        f"stored: {_some(named)}. Ingest earlier bars.",
        AdjustmentWarning,
    )


def _some(named: Sequence[str]) -> str:
    more = len(named) - _NAMED
    return "; ".join(named[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _day(moment: object) -> str:
    assert isinstance(moment, datetime)
    return str(moment.date())
