"""The metrics of runs, read for many runs at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import partial

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.calendars import Calendar
from walle.calendars import calendar as find_calendar
from walle.currencies import quote_of
from walle.database import Database
from walle.errors import InputError
from walle.fills.equity import currency_of
from walle.fills.market import Markets
from walle.fills.matching import check_method
from walle.fills.trades import trades
from walle.frames import FILLS
from walle.records import Run
from walle.repositories.bars.calendars import DEFAULT, calendars_of
from walle.repositories.common import IN_LIST, check_name, known_run
from walle.repositories.fills.read import FillReader
from walle.repositories.runs.benchmark import Benchmarks
from walle.repositories.runs.markets import markets_of_runs
from walle.repositories.runs.read import RunReader
from walle.repositories.runs.worth import cash_of, equity_of
from walle.runs.figures import METRICS, widened
from walle.runs.marks import Curve
from walle.runs.metrics import Subject, check_periods, check_returns, check_risk_free, measured
from walle.runs.sessions import periods_per_year, session_starts
from walle.runs.tables import drawdowns, returns_by
from walle.timeframe import length
from walle.validation import EPOCH

__all__ = ["RunMetrics"]

Pair = tuple[Calendar, str]


@dataclass(slots=True)
class Held:
    """A run, and what it was worth."""

    run_id: str
    run: Run | None
    fills: pl.DataFrame
    cash: Decimal
    markets: Markets = field(default_factory=dict)
    whole: Markets = field(default_factory=dict)
    equity: pl.DataFrame = field(default_factory=pl.DataFrame)
    currency: str | None = None
    pairs: list[Pair] = field(default_factory=list)
    """The calendars of its symbols, each with the timeframe of its bars."""

    def curve(self, sessions: pl.DataFrame) -> Curve:
        """Return its equity by session."""
        start = Fraction(self.cash)
        return Curve(equity=self.equity, start=start, currency=self.currency, run_id=self.run_id, sessions=sessions)

    def unit(self) -> str:
        """Return the timeframe of which a session is a bar: ``1d``, or that of bars that are longer."""
        return max("1d", self.shortest(), key=length)

    def shortest(self) -> str:
        """Return the shortest timeframe of its bars."""
        return min((timeframe for _, timeframe in self.pairs), key=length)

    def span(self) -> tuple[datetime, datetime]:
        """Return the times of its first and its last fill."""
        first, last = self.fills["filled_at"].min(), self.fills["filled_at"].max()
        return (first, last) if isinstance(first, datetime) and isinstance(last, datetime) else (EPOCH, EPOCH)


class RunMetrics:
    """The returns of runs, and what can be said of them.

    Parameters
    ----------
    database : Database
    reader : RunReader
    """

    def __init__(self, database: Database, reader: RunReader) -> None:
        self._database, self._reader = database, reader

    async def metrics(
        self,
        run_id: str | Iterable[str],
        symbol: str | None,
        method: str,
        timeframe: str | None,
        starting_cash: Decimal | int | None,
        returns: str,
        periods: float | None,
        risk_free: float,
        benchmark: str | None,
        wide: bool,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the usual figures of runs."""
        check_method(method)
        check_returns(returns)
        check_risk_free(risk_free)
        if periods is not None:
            check_periods(periods)
        runs = await self._worth(_ids(run_id), symbol, timeframe, starting_cash, session)
        beside = Benchmarks(self._database, benchmark, returns, periods)
        await beside.read([held for held in runs if held.fills.height], session)
        work = partial(_measured, runs, method, returns, periods, risk_free, beside)
        found = await self._database.in_thread(work)
        return widened(found, benchmark=benchmark is not None) if wide else found

    async def drawdowns(
        self,
        run_id: str,
        top: int,
        symbol: str | None,
        timeframe: str | None,
        starting_cash: Decimal | int | None,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the deepest falls of a run.

        Raises
        ------
        InputError
        """
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise InputError(f"top={top!r}: give how many drawdowns to list, 1 or more.")
        runs = await self._worth([check_name(run_id, "run_id")], symbol, timeframe, starting_cash, session)
        return await self._database.in_thread(lambda: drawdowns(_curves(runs), top=top))

    async def returns(
        self,
        run_id: str,
        period: str,
        symbol: str | None,
        timeframe: str | None,
        starting_cash: Decimal | int | None,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the returns of a run by period."""
        runs = await self._worth([check_name(run_id, "run_id")], symbol, timeframe, starting_cash, session)
        return await self._database.in_thread(lambda: returns_by(_curves(runs), period=period))

    async def _worth(
        self,
        ids: Sequence[str],
        symbol: str | None,
        timeframe: str | None,
        starting_cash: Decimal | int | None,
        session: AsyncSession | None,
    ) -> list[Held]:
        """Read runs, their fills and their bars, each once, and reckon their equity."""
        stored: dict[str, Run] = {}
        for at in range(0, len(ids), IN_LIST):
            part = await self._reader.records([models.runs.c.id.in_(ids[at : at + IN_LIST])], session)
            stored.update({run.id: run for run in part})
        fills = await FillReader(self._database).of_runs(ids, symbol, session=session)
        by_run = {str(name): part for (name,), part in fills.partition_by("run_id", as_dict=True).items()}
        for run_id in ids:
            if run_id not in stored and run_id not in by_run:
                await known_run(self._database, run_id, session)
        nothing = pl.DataFrame(schema=FILLS)
        runs = []
        for run_id in ids:
            run = stored.get(run_id)
            runs.append(Held(run_id, run, by_run.get(run_id, nothing), cash_of(run_id, run, starting_cash)))
        await markets_of_runs(self._database, runs, timeframe, session)
        calendars = await calendars_of(self._database, fills["symbol"].drop_nulls().unique().sort(), session)
        for held in runs:
            held.pairs = [(calendars[name], market.timeframe) for name, market in held.markets.items()]
            if not held.pairs:
                named = held.fills["symbol"].drop_nulls().unique().sort()
                held.pairs = [(calendars[name], "1d") for name in named] or [(find_calendar(DEFAULT), "1d")]
        await self._database.in_thread(partial(_reckon, runs))
        return runs


def _ids(run_id: str | Iterable[str]) -> list[str]:
    if isinstance(run_id, str) or not isinstance(run_id, Iterable):
        return [check_name(run_id, "run_id")]
    return list(dict.fromkeys(check_name(name, "run_id") for name in run_id))


def _reckon(runs: Sequence[Held]) -> None:
    every = pl.concat([pl.DataFrame(schema=FILLS), *(held.fills for held in runs)])
    quotes = every.group_by("run_id").agg(quote_of(pl.col("symbol")).drop_nulls().unique().alias("quotes"))
    named = {run_id: found[0] for run_id, found in quotes.iter_rows() if len(found) == 1}
    for held in runs:
        held.currency = named.get(held.run_id) or currency_of(held.fills)
    for held, equity in zip(runs, equity_of(runs), strict=True):
        held.equity = equity


def _curves(runs: Sequence[Held]) -> list[Curve]:
    some = [held for held in runs if held.fills.height]
    return [held.curve(starts) for held, starts in zip(some, _sessions(some), strict=True)]


def _measured(
    runs: Sequence[Held], method: str, returns: str, periods: float | None, risk_free: float, beside: Benchmarks
) -> pl.DataFrame:
    some = [held for held in runs if held.fills.height]
    if not some:
        return pl.DataFrame(schema=METRICS)
    found = trades(pl.concat(held.fills for held in some), method=method)
    by_run = {str(name): part for (name,), part in found.partition_by("run_id", as_dict=True).items()}
    subjects = []
    counted: dict[object, float] = {}
    for held, starts in zip(some, _sessions(some), strict=True):
        unit, (first, last) = held.shortest() if returns == "bar" else held.unit(), held.span()
        kind = (_kind(held.pairs), unit, first.year, last.year)
        if periods is None and kind not in counted:
            counted[kind] = periods_per_year([market for market, _ in held.pairs], unit, first, last)
        each = counted[kind] if periods is None else float(periods)
        curve = held.curve(starts)
        deals = by_run.get(held.run_id, found.clear())
        subjects.append(Subject(curve, deals, held.fills, each, beside.of(held, curve, unit)))
    return measured(subjects, returns, risk_free)


def _sessions(runs: Sequence[Held]) -> list[pl.DataFrame]:
    """Return the sessions of each run; those with the same markets share them."""
    groups: dict[object, list[int]] = {}
    for number, held in enumerate(runs):
        own = any(market.own is not None for market, _ in held.pairs)  # beyond these, each row is a day of its own
        groups.setdefault((_kind(held.pairs), number if own else None), []).append(number)
    found: dict[int, pl.DataFrame] = {}
    for numbers in groups.values():
        times = pl.concat(runs[number].equity["time"] for number in numbers)
        starts = session_starts(runs[numbers[0]].pairs, times)
        found.update(dict.fromkeys(numbers, starts))
    return [found[number] for number in range(len(runs))]


def _kind(pairs: Sequence[Pair]) -> frozenset[tuple[str, int, str]]:
    return frozenset((market.name, id(market.own), timeframe) for market, timeframe in pairs)
