"""The metrics of runs, read for many runs at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.calendars import Calendar
from walle.calendars import calendar as find_calendar
from walle.database import Database
from walle.enums import CashFlowKind
from walle.errors import InputError
from walle.exact import Exact
from walle.fills.equity import currencies_of, priced_in, single_cash
from walle.fills.holdings import with_holdings
from walle.fills.ledger import Cash
from walle.fills.market import Markets, no_market
from walle.fills.matching import check_method
from walle.fills.rates import Rate, convert_fees, convert_trades, notional_in
from walle.fills.trades import trades
from walle.frames import FILLS, no_rows
from walle.records import Run
from walle.repositories.as_of import known_at
from walle.repositories.bars.calendars import DEFAULT, calendars_of
from walle.repositories.common import IN_LIST, Time, check_name, known_run
from walle.repositories.fills.books import Beside, beside, flows_of_runs
from walle.repositories.fills.rates import check_rates, rates_to
from walle.repositories.fills.read import FillReader
from walle.repositories.runs.benchmark import Benchmarks
from walle.repositories.runs.markets import markets_of_runs
from walle.repositories.runs.read import RunReader
from walle.repositories.runs.worth import StartingCash, cash_of, equity_of, start_of
from walle.runs.figures import METRICS, widened
from walle.runs.marks import Curve
from walle.runs.metrics import Subject, check_periods, check_returns, check_risk_free, measured
from walle.runs.sessions import periods_per_year, session_starts
from walle.runs.tables import drawdowns, returns_by
from walle.timeframe import length
from walle.validation import EPOCH, check_decimal

__all__ = ["RunMetrics"]

Pair = tuple[Calendar, str]

_EXTERNAL = [kind.value for kind in CashFlowKind if kind.external]


@dataclass(slots=True)
class Held:
    """A run, and what it was worth."""

    run_id: str
    run: Run | None
    fills: pl.DataFrame
    cash: Decimal | Cash
    known: Beside
    markets: Markets = field(default_factory=dict)
    whole: Markets = field(default_factory=dict)
    equity: pl.DataFrame = field(default_factory=pl.DataFrame)
    currency: str | None = None
    rates: Mapping[str, Rate] | None = None
    """If the equity is converted: the rates that are known."""
    pairs: list[Pair] = field(default_factory=list)
    """The calendars of its symbols, each with the timeframe of its bars."""

    def curve(self, sessions: pl.DataFrame) -> Curve:
        """Return its equity by session."""
        paid = self._external()
        start, lacking = start_of(self, self.begun())
        if paid is not None and paid["amount"].null_count():
            lacking, paid = lacking or f"a cash flow has no price or rate in {self.currency}", None
        return Curve(
            equity=self.equity,
            start=start,
            flows=paid,
            currency=self.currency,
            run_id=self.run_id,
            sessions=sessions,
            timeframe=self.shortest() if self.pairs else None,
            lacking=lacking,
        )

    def begun(self) -> datetime:
        """Return the time of the first that is known of the run: its start, its first fill, or its first cash flow."""
        first = self.span()[0]
        return min(first, self.since or first)

    @property
    def since(self) -> datetime | None:
        """The start of the run or its first cash flow; None if neither is known."""
        started = None if self.run is None else self.run.started_at
        moments: list[datetime | None] = [started, *self.known.flows["time"].head(1)]
        return min((moment for moment in moments if moment is not None), default=None)

    def _external(self) -> pl.DataFrame | None:
        """Return what came in and went out before the last row, in the currency of the curve: time, amount."""
        if self.known.flows.is_empty() or self.equity.is_empty():
            return None
        last = self.equity["time"].max()
        flows = self.known.flows.filter(pl.col("kind").is_in(_EXTERNAL) & (pl.col("time") < last))
        flows = self._priced(with_holdings(flows, self.known.facts))
        same = flows["currency"].eq_missing(self.currency)
        amounts = flows["amount"].set(~same, None)
        for name, rate in (self.rates or {}).items():
            foreign = (flows["currency"] == name).fill_null(False) & ~same
            amounts = rate.convert(flows["amount"], flows["time"]).zip_with(foreign, amounts)
        paid = flows.select("time").with_columns(amounts.alias("amount"))
        if self.rates is None:  # the others have curves of their own
            paid = paid.filter(same)
        return paid if paid.height else None

    def _priced(self, flows: pl.DataFrame) -> pl.DataFrame:
        """Return flows; those of positions with their worth in the currency in which these settle, or null."""
        facts = {row["symbol"]: row for row in self.known.facts.iter_rows(named=True)}
        for symbol in flows["holding"].drop_nulls().unique().sort():
            mine, market = flows["holding"].eq_missing(symbol), self.markets.get(symbol, no_market())
            price, stale = market.last_close(flows["time"])
            # before a bar has ended, or after a gap: the open of the bar in which it lies
            price = price.set(stale, None).fill_null(market.price("open", market.place(flows["time"])))
            unit = Exact.of(price.fill_null(0)) * Exact.constant(facts[symbol]["multiplier"], flows.height)
            worth = (Exact.of(flows["amount"].fill_null(0)) * unit).decimal("amount").set(price.is_null(), None)
            settled = pl.Series([facts[symbol]["settle"]], dtype=pl.String).new_from_index(0, flows.height)
            flows = flows.with_columns(
                worth.zip_with(mine, flows["amount"]).alias("amount"),
                settled.zip_with(mine, flows["currency"]).alias("currency"),
            )
        return flows

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
        by: str,
        dust: Decimal | None,
        timeframe: str | None,
        starting_cash: StartingCash | None,
        returns: str,
        periods: float | None,
        risk_free: float,
        benchmark: str | None,
        wide: bool,
        currency: str | None,
        rates: pl.DataFrame | None,
        as_of: Time,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the usual figures of runs."""
        check_method(method)
        if dust is not None:
            check_decimal(dust, "dust", positive=True)
        check_returns(returns)
        check_risk_free(risk_free)
        if periods is not None:
            check_periods(periods)
        known = await known_at(self._database, as_of, session)
        runs = await self._worth(_ids(run_id), symbol, timeframe, starting_cash, session, currency, rates, known)
        peers = Benchmarks(self._database, benchmark, returns, periods)
        await peers.read([held for held in runs if held.fills.height], session, known)
        work = partial(_measured, runs, method, by, dust, returns, periods, risk_free, peers)
        found = await self._database.in_thread(work)
        return widened(found, benchmark=benchmark is not None) if wide else found

    async def drawdowns(
        self,
        run_id: str,
        top: int,
        symbol: str | None,
        timeframe: str | None,
        starting_cash: StartingCash | None,
        currency: str | None,
        rates: pl.DataFrame | None,
        as_of: Time,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the deepest falls of a run.

        Raises
        ------
        InputError
        """
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise InputError(f"top={top!r}: give how many drawdowns to list, 1 or more.")
        known = await known_at(self._database, as_of, session)
        runs = await self._worth(
            [check_name(run_id, "run_id")], symbol, timeframe, starting_cash, session, currency, rates, known
        )
        return await self._database.in_thread(lambda: drawdowns(_curves(runs), top=top))

    async def returns(
        self,
        run_id: str,
        period: str,
        symbol: str | None,
        timeframe: str | None,
        starting_cash: StartingCash | None,
        currency: str | None,
        rates: pl.DataFrame | None,
        as_of: Time,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the returns of a run by period."""
        known = await known_at(self._database, as_of, session)
        runs = await self._worth(
            [check_name(run_id, "run_id")], symbol, timeframe, starting_cash, session, currency, rates, known
        )
        return await self._database.in_thread(lambda: returns_by(_curves(runs), period=period))

    async def _worth(
        self,
        ids: Sequence[str],
        symbol: str | None,
        timeframe: str | None,
        starting_cash: StartingCash | None,
        session: AsyncSession | None,
        currency: str | None,
        rates: pl.DataFrame | None,
        known: datetime | None,
    ) -> list[Held]:
        """Read runs, their fills and their bars, each once, and reckon their equity."""
        check_rates(currency, rates)
        stored: dict[str, Run] = {}
        for at in range(0, len(ids), IN_LIST):
            part = await self._reader.records([models.runs.c.id.in_(ids[at : at + IN_LIST])], session)
            stored.update({run.id: run for run in part})
        fills = await FillReader(self._database).of_runs(ids, symbol, known=known, session=session)
        by_run = {str(name): part for (name,), part in fills.partition_by("run_id", as_dict=True).items()}
        for run_id in ids:
            if run_id not in stored and run_id not in by_run:
                await known_run(self._database, run_id, session)
        books = await beside(self._database, fills, None, session, known)
        flows = await flows_of_runs(self._database, ids, session, known)
        nothing = no_rows(FILLS)
        runs = []
        for run_id in ids:
            run = stored.get(run_id)
            mine = by_run.get(run_id, nothing)
            here = Beside(
                books.facts_for(mine),
                flows.filter(run_id=run_id).drop("run_id"),
                books.actions.filter(pl.col("symbol").is_in(mine["symbol"].implode())),
                books.stored,
                known,
            )
            here = here.of(symbol)
            if here.actions.height:
                here = here.until(*((None, None) if run is None else (run.stopped_at, run.prices)))
            runs.append(Held(run_id, run, mine, cash_of(run_id, run, starting_cash), here))
        await markets_of_runs(self._database, runs, timeframe, session, known)
        calendars = await calendars_of(self._database, fills["symbol"].drop_nulls().unique().sort(), session)
        for held in runs:
            held.pairs = [(calendars[name], market.timeframe) for name, market in held.markets.items()]
            if not held.pairs:
                named = held.fills["symbol"].drop_nulls().unique().sort()
                held.pairs = [(calendars[name], "1d") for name in named] or [(find_calendar(DEFAULT), "1d")]
        found = {} if currency is None else await self._rates(runs, currency, rates, timeframe, session, known)
        return await self._database.in_thread(partial(_reckon, runs, currency, found))

    async def _rates(
        self,
        runs: Sequence[Held],
        currency: str,
        given: pl.DataFrame | None,
        timeframe: str | None,
        session: AsyncSession | None,
        known: datetime | None,
    ) -> dict[str, Rate]:
        """Find the rates of all currencies of the runs, for all of their time."""
        names: set[str | None] = set()
        for held in runs:
            start = single_cash(held.cash, held.fills, held.known.facts, currency)
            names.update(currencies_of(held.fills, held.known.facts, start, held.known.flows))
            names.update(held.known.actions["currency"])
        first = min((held.begun() for held in runs if held.fills.height), default=EPOCH)
        ended = [None if held.run is None else held.run.stopped_at for held in runs]
        last = None if None in ended else max((end for end in ended if end is not None), default=None)
        return await rates_to(self._database, currency, names, given, (first, last), timeframe, session, known)


def _ids(run_id: str | Iterable[str]) -> list[str]:
    if isinstance(run_id, str) or not isinstance(run_id, Iterable):
        return [check_name(run_id, "run_id")]
    return list(dict.fromkeys(check_name(name, "run_id") for name in run_id))


def _reckon(runs: Sequence[Held], currency: str | None, rates: Mapping[str, Rate]) -> list[Held]:
    """Return the runs with their equity; one of several currencies once for each, if it is not converted."""
    found: list[Held] = []
    for held in runs:
        held.cash = single_cash(held.cash, held.fills, held.known.facts, currency)
        if currency is not None:
            found.append(dataclasses.replace(held, currency=currency, rates=rates))
            continue
        settles = priced_in(held.fills, held.known.facts) or [None]
        for name in settles:
            mine = held.known.facts.filter(pl.col("settle").eq_missing(pl.lit(name, pl.String)))["symbol"]
            own = held.fills if len(settles) == 1 else held.fills.filter(pl.col("symbol").is_in(mine.implode()))
            found.append(dataclasses.replace(held, fills=own, currency=name))
    for held, equity in zip(found, equity_of(found), strict=True):
        held.equity = equity
        if currency is not None:  # the equity took them from what is held of their currency
            held.fills = convert_fees(held.fills, held.known.facts, rates, currency)
            held.fills = held.fills.with_columns(notional_in(held.fills, held.known.facts, rates, currency))
    return found


def _curves(runs: Sequence[Held]) -> list[Curve]:
    some = [held for held in runs if held.fills.height]
    return [held.curve(starts) for held, starts in zip(some, _sessions(some), strict=True)]


def _measured(
    runs: Sequence[Held],
    method: str,
    by: str,
    dust: Decimal | None,
    returns: str,
    periods: float | None,
    risk_free: float,
    peers: Benchmarks,
) -> pl.DataFrame:
    some = [held for held in runs if held.fills.height]
    if not some:
        return no_rows(METRICS)
    deals = _deals(some, method, by, dust)
    subjects = []
    counted: dict[object, float] = {}
    for number, (held, starts) in enumerate(zip(some, _sessions(some), strict=True)):
        unit, (first, last) = held.shortest() if returns == "bar" else held.unit(), held.span()
        kind = (_kind(held.pairs), unit, first.year, last.year)
        if periods is None and kind not in counted:
            counted[kind] = periods_per_year([market for market, _ in held.pairs], unit, first, last)
        each = counted[kind] if periods is None else float(periods)
        curve = held.curve(starts)
        peer, known = peers.of(held, curve, unit), held.known.facts
        lots = deals[number].filter("by_lot")["symbol"].unique().sort().to_list()
        subjects.append(Subject(curve, deals[number], held.fills, each, peer, known, lots))
    return measured(subjects, returns, risk_free)


def _deals(runs: Sequence[Held], method: str, by: str, dust: Decimal | None) -> list[pl.DataFrame]:
    """Return the trades of each run; those on whose prices nothing depends are matched at once."""
    found: dict[int, pl.DataFrame] = {}
    facts = runs[0].known.facts
    plain = [
        number
        for number, held in enumerate(runs)
        if held.known.actions.is_empty() and held.known.flows.is_empty() and held.known.facts is facts
    ]
    if plain:
        every = _matched(
            pl.concat(runs[number].fills for number in plain),
            by,
            partial(trades, method=method, facts=facts, dust=dust),
        )
        by_run = {str(name): part for (name,), part in every.partition_by("run_id", as_dict=True).items()}
        found = {number: by_run.get(runs[number].run_id, every.clear()) for number in plain}
    for number, held in enumerate(runs):
        if number not in found:
            prices = None if held.run is None else held.run.prices
            known = held.known
            flows = known.flows.with_columns(run_id=pl.lit(held.run_id))
            match = partial(
                trades, method=method, facts=known.facts, actions=known.actions, prices=prices, flows=flows, dust=dust
            )
            found[number] = _matched(held.fills, by, match)
    return [_in_currency(found[number], held) for number, held in enumerate(runs)]


def _matched(fills: pl.DataFrame, by: str, match: Callable[..., pl.DataFrame]) -> pl.DataFrame:
    """Return trades, and whether they are lots: so from flat to flat are those of a position that was never flat."""
    found = match(fills, by=by).with_columns(by_lot=pl.lit(False))
    if by != "flat":
        return found
    keys = ["run_id", "symbol"]
    never = pl.col("is_open").all() & pl.col("exit_price").is_not_null().any()
    some = found.group_by(keys).agg(never=never).filter("never").select(keys)
    if some.is_empty():
        return found
    lots = match(fills.join(some, on=keys, how="semi", nulls_equal=True, maintain_order="left"), by="lot")
    others = found.join(some, on=keys, how="anti", nulls_equal=True, maintain_order="left")
    return pl.concat([others, lots.with_columns(by_lot=pl.lit(True))])


def _in_currency(deals: pl.DataFrame, held: Held) -> pl.DataFrame:
    """Return the trades of a curve; if it is converted, all of them, in its currency."""
    if held.rates is None or held.currency is None:
        return deals.filter(pl.col("currency").eq_missing(pl.lit(held.currency, pl.String)))
    return convert_trades(deals, held.rates, held.currency)


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
