"""The public methods for writing, reading and analysing runs."""

from __future__ import annotations

import builtins
import dataclasses
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, overload

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.backend import as_read
from walle.database import Database, Writer
from walle.enums import RunStatus
from walle.envelope import Event
from walle.errors import Conflict, DuplicateKey, IllegalTransition, InputError, LostUpdate, UnknownRun
from walle.fills import WriteReport
from walle.frames import FILL_CONFLICTS, INSTANT, ORDER_CONFLICTS, REJECTED_FILLS, REJECTED_ORDERS, RUNS
from walle.options import Floats, LotMethod, OnInvalid, ReturnPeriod, Returns, TradeLevel
from walle.records import BacktestResult, Run
from walle.reports import IngestReport
from walle.repositories.common import IN_LIST, Time
from walle.repositories.fills.fills import FillRepository
from walle.repositories.fills.orders import OrderRepository
from walle.repositories.runs.analysis import RunAnalysis
from walle.repositories.runs.backtest_results import BacktestResultRepository
from walle.repositories.runs.metrics import RunMetrics
from walle.repositories.runs.read import RunReader, record
from walle.repositories.select import read
from walle.runs import Results, RunReport, is_alive, is_this_process, this_process
from walle.runs.run_rows import runs_of
from walle.types import utc_now, wire

__all__ = ["LEASE", "RunRepository"]

LEASE = timedelta(minutes=5)
"""The time without a heartbeat after which a run on another host counts as dead."""


class RunRepository:
    """Runs, with detection of lost updates and of runs whose process died.

    The examples call the synchronous ``store`` with the sample data (:func:`walle.demo.load`); an engine awaits the
    same call on this repository.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader = RunReader(database)
        self._analysis = RunAnalysis(database, self._reader)
        self._metrics = RunMetrics(database, self._reader)

    @overload
    async def save(self, run: Run, *, session: AsyncSession | None = None) -> Run: ...

    @overload
    async def save(self, run: Iterable[Run] | pl.DataFrame, *, session: AsyncSession | None = None) -> WriteReport: ...

    @overload
    async def save(
        self, run: Run | Iterable[Run] | pl.DataFrame, *, session: AsyncSession | None = None
    ) -> Run | WriteReport: ...

    async def save(
        self, run: Run | Iterable[Run] | pl.DataFrame, *, session: AsyncSession | None = None
    ) -> Run | WriteReport:
        """Store one or several runs, all or none: insert new runs, and update those that were read from the store.

        This process becomes the owner of a run whose status becomes ``running``.

        Parameters
        ----------
        run : Run, iterable of Run, or a Polars, pandas or Arrow frame
            New (``revision`` 0), or a record of this store changed by :func:`dataclasses.replace`. A frame has columns
            of :data:`walle.frames.RUNS`: id, strategy_id and mode, and any of the others. When several are
            saved, a run whose content is already stored is unchanged, whatever its revision.
        session : AsyncSession, optional
            Join the caller's transaction, which the caller commits.

        Returns
        -------
        Run or WriteReport
            For one run, the stored run with its new revision: continue with this one. Without its own symbols or
            timeframe it has those in its config, see ``store.runs.read``. For several, the numbers of inserted, updated
            and unchanged runs.

        Raises
        ------
        LostUpdate
            If the run was saved again since it was read, or the id of a new run is taken.
        IllegalTransition
            If the status cannot follow the stored one.
        Conflict
            If the status is ``lost``, but the run had a heartbeat since it was read.
        InputError
            If ``run`` is not a run or several runs.

        Examples
        --------
        >>> run = walle.Run(id="bt-sma-eth-004", strategy_id="sma-crossover", mode="backtest", symbols=["ETH/USD"])
        >>> store.runs.save(run).revision
        1
        """
        if not isinstance(run, Run):
            return await self._save_all(runs_of(run), session)
        async with self._database.write(session) as writer:
            stored = (await self._locked(writer, [run.id])).get(run.id)
            saved = _saved(run, stored, await _now(writer) if run.status == RunStatus.RUNNING else None)
            table = models.runs
            if stored is not None:
                await writer.execute(sa.update(table).where(table.c.id == run.id).values(_row(saved)))
            else:
                await self._insert(writer, [saved])
            return as_read(saved)

    async def _save_all(self, runs: builtins.list[Run], session: AsyncSession | None) -> WriteReport:
        if not runs:
            return WriteReport()
        table, new, updated = models.runs, [], 0
        async with self._database.write(session) as writer:
            stored = await self._locked(writer, [run.id for run in runs])
            now = await _now(writer) if any(run.status == RunStatus.RUNNING for run in runs) else None
            for run in runs:
                before = stored.get(run.id)
                if before is not None and as_read(dataclasses.replace(run, revision=before.revision)) == before:
                    continue
                saved = _saved(run, before, now)
                if before is None:
                    new.append(saved)
                else:
                    await writer.execute(sa.update(table).where(table.c.id == run.id).values(_row(saved)))
                    updated += 1
            await self._insert(writer, new)
        return WriteReport(inserted=len(new), updated=updated, unchanged=len(runs) - len(new) - updated)

    async def _insert(self, writer: Writer, runs: builtins.list[Run]) -> None:
        for start in range(0, len(runs), IN_LIST):
            part = runs[start : start + IN_LIST]
            try:
                await writer.execute(sa.insert(models.runs), [_row(run) for run in part])
            except Exception as error:
                if isinstance(self._database.dialect.translate(error), DuplicateKey):
                    taken = part[0].id if len(part) == 1 else "one of this call"
                    raise LostUpdate(taken, 0, 1) from error  # another writer inserted it just now
                raise

    async def ingest(
        self,
        run: Run | Results,
        orders: object = None,
        fills: object = None,
        *,
        timezone: str | None = None,
        floats: Floats = "refuse",
        on_invalid: OnInvalid = "raise",
        session: AsyncSession | None = None,
    ) -> RunReport:
        """Store a run with its orders and fills in one transaction, all or none.

        Ingesting the same run again changes nothing.

        Parameters
        ----------
        run : Run or Results
            Results include orders and fills; see :func:`walle.from_backtesting`.
        orders, fills : records or frames, optional
            Of this run, as for :meth:`OrderRepository.ingest` and :meth:`FillRepository.ingest`.
        timezone, floats, on_invalid : str
            As for those methods.
        session : AsyncSession, optional
            Join the caller's transaction, which the caller commits.

        Returns
        -------
        RunReport

        Raises
        ------
        Conflict
            If another run with that id is stored (``created_at`` may differ).
        InvalidRows
            If rows are not valid orders or fills; nothing was written.
        InputError
            If a source cannot be read.

        Examples
        --------
        >>> run = walle.Run(id="bt-ema-eth-002", strategy_id="ema-crossover", mode="backtest", status="completed")
        >>> fill = {"id": "ema-1", "order_id": "ema-order-1", "side": "buy", "price": "3057.89", "quantity": "0.5"}
        >>> report = store.runs.ingest(run, fills=pl.DataFrame([fill | {"filled_at": run.created_at}]))
        >>> report.inserted, report.fills.inserted
        (True, 1)
        """
        if isinstance(run, Results):
            if orders is not None or fills is not None:
                raise InputError("these results include their own orders and fills; leave out orders= and fills=.")
            orders, fills, run = run.orders, run.fills, run.run
        if not isinstance(run, Run):
            raise InputError(
                f"a run is a walle.Run record or walle.Results, not a {type(run).__name__}; convert what "
                "Backtest.run() returned with walle.from_backtesting()."
            )
        options: dict[str, Any] = {"run_id": run.id, "floats": floats, "on_invalid": on_invalid, "timezone": timezone}
        async with self._joined(session) as joined:
            known = await self._same(run, joined)
            saved = known or await self.save(run, session=joined)
            reports = []
            for repository, source, nothing in (
                (OrderRepository(self._database), orders, _report(REJECTED_ORDERS, ORDER_CONFLICTS)),
                (FillRepository(self._database), fills, _report(REJECTED_FILLS, FILL_CONFLICTS)),
            ):
                reports.append(
                    nothing if source is None else await repository.ingest(source, **options, session=joined)
                )
        return RunReport(run=saved, inserted=known is None, orders=reports[0], fills=reports[1])

    @asynccontextmanager
    async def _joined(self, session: AsyncSession | None) -> AsyncIterator[AsyncSession]:
        """Open a session that commits at the end, or a savepoint in the caller's session."""
        if session is not None:
            async with self._database.write(session):
                yield session
            return
        async with self._database.session() as own:
            yield own
            await own.commit()

    async def _same(self, run: Run, session: AsyncSession) -> Run | None:
        """Return the stored run with that id.

        Raises
        ------
        Conflict
            If its content differs.
        """
        found = await self._reader.records([models.runs.c.id == run.id], session)
        if not found:
            return None
        kept = {name: getattr(found[0], name) for name in ("created_at", "revision", "owner", "heartbeat_at")}
        given = as_read(dataclasses.replace(run, **kept))
        names = [item.name for item in dataclasses.fields(Run)]
        differ = [name for name in names if getattr(given, name) != getattr(found[0], name)]
        if differ:
            raise Conflict(
                f"another run {run.id!r} is stored: its {', '.join(differ)} differ. Give this one another id. Nothing "
                "of this call was written."
            )
        return found[0]

    async def heartbeat(self, run_id: str, *, session: AsyncSession | None = None) -> None:
        """Record that this process is still running a run, without a new revision.

        Raises
        ------
        UnknownRun
            If the run is not stored.
        IllegalTransition
            If the run is not running.
        Conflict
            If another live process runs it, or one on another host had a heartbeat within the lease.

        Examples
        --------
        >>> run = walle.Run(id="paper-sma-sol-004", strategy_id="sma-crossover", mode="paper", status="running")
        >>> run = store.runs.save(run)
        >>> store.runs.heartbeat(run.id)  # every minute or so, while it runs
        """
        async with self._database.write(session) as writer:
            stored = (await self._locked(writer, [run_id])).get(run_id)
            if stored is None:
                raise UnknownRun(run_id)
            if stored.status != RunStatus.RUNNING:
                raise IllegalTransition(run_id, str(stored.status), "running (a heartbeat)", ())
            other = stored.owner is not None and not is_this_process(stored.owner)
            if other and stored.owner is not None and _lives(stored, await _now(writer), LEASE):
                raise Conflict(
                    f"run {run_id!r} is run by process {stored.owner.pid} on {stored.owner.host}, which is alive."
                )
            values = {"heartbeat_at": utc_now(), "owner": dataclasses.asdict(this_process())}
            await writer.execute(sa.update(models.runs).where(models.runs.c.id == run_id).values(values))

    async def recover(self, lease: timedelta = LEASE, *, session: AsyncSession | None = None) -> builtins.list[Run]:
        """Return the runs with the status running whose process is gone, without changing them.

        Parameters
        ----------
        lease : timedelta
            A run on another host counts as dead if its last heartbeat is older.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        list of Run
            Their owner is dead on this host, or silent for ``lease`` on another, or they have none; a live run is never
            included. Save each as ``lost``, then as ``running`` again, or with a final status.

        Examples
        --------
        >>> [run.id for run in store.runs.recover()]
        ['paper-sma-btc-003']
        """
        now = wire(utc_now(), self._database.dialect.name)
        clock = await read(self._database, sa.select(now.label("now")), pl.Schema({"now": INSTANT}), session)
        moment = clock["now"].item()
        running = await self.list(status=RunStatus.RUNNING, session=session)
        return [run for run in running if not _lives(run, moment, lease)]

    async def sweep(self, lease: timedelta = LEASE, *, session: AsyncSession | None = None) -> builtins.list[Run]:
        """Mark as ``lost`` every run with the status running whose process is gone.

        An engine calls this at its start, before it starts its own runs; opening a store never does. Each run is
        checked under the lock that a heartbeat takes, so that a run with a new heartbeat stays running. The same
        transaction appends one event ``run.Lost`` for each: its payload has the strategy, the mode, the owner, the last
        heartbeat and the lease. ``stopped_at`` stays empty, because the time is unknown and the run may be resumed.

        Parameters
        ----------
        lease : timedelta
            A run on another host counts as dead if its last heartbeat is older.
        session : AsyncSession, optional
            Join the caller's transaction, which the caller commits.

        Returns
        -------
        list of Run
            The marked runs as they are now stored, sorted by id; may be empty.

        Raises
        ------
        InputError
            If ``lease`` is not a positive timedelta.

        Examples
        --------
        >>> [(run.id, run.status.value) for run in store.runs.sweep()]
        [('paper-sma-btc-003', 'lost')]
        """
        if not isinstance(lease, timedelta) or lease <= timedelta(0):
            raise InputError(f"lease={lease!r} is not a positive timedelta, such as timedelta(minutes=5).")
        table, marked = models.runs, []
        async with self._database.write(session) as writer:
            columns = [table.c[name] for name in RUNS]
            running = sa.select(*columns).where(table.c.status == RunStatus.RUNNING).order_by(table.c.id)
            found = (await writer.execute(running.with_for_update())).mappings().all()
            now = await _now(writer)
            dead = [run for run in (record(dict(row), decoded=True) for row in found) if not _lives(run, now, lease)]
            for run in dead:
                # only these two columns: a run that another program wrote may hold values that a record may not
                values = {"status": str(RunStatus.LOST), "revision": run.revision + 1}
                same = sa.and_(table.c.id == run.id, table.c.revision == run.revision)
                changed = await writer.execute(sa.update(table).where(same).values(values))
                if changed.rowcount:
                    marked.append(_marked(run))
            events = [_lost(run, now, lease) for run in marked]
            if events:
                await writer.insert_events([event.type for event in events], [event.to_json() for event in events])
        return marked

    async def save_result(self, result: BacktestResult, *, session: AsyncSession | None = None) -> BacktestResult:
        """Store the result of a backtest; see :meth:`BacktestResultRepository.save`.

        Raises
        ------
        Conflict
            If another result of that run is stored.
        InputError
            If ``result`` is not a :class:`walle.BacktestResult`.

        Examples
        --------
        >>> run, equity = store.runs.get("bt-sma-eth-001"), store.runs.equity("bt-sma-eth-001")["equity"][-1]
        >>> span = {"start_time": run.started_at, "end_time": run.stopped_at, "timeframe": "1m", "symbols": run.symbols}
        >>> result = walle.BacktestResult(run_id=run.id, final_equity=equity, **span)
        >>> store.runs.save_result(result).final_equity
        Decimal('50702.035558')
        """
        return await BacktestResultRepository(self._database).save(result, session=session)

    async def result(self, run_id: str, *, session: AsyncSession | None = None) -> BacktestResult | None:
        """Return the stored result of a backtest, or None if there is none.

        Examples
        --------
        >>> store.runs.result("bt-sma-eth-001") is None  # until save_result() stores one
        True
        """
        return await BacktestResultRepository(self._database).get(run_id, session=session)

    async def results(self, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """Read the stored results of backtests.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.BACKTEST_RESULTS`; one row per run that has a result, sorted by run_id.

        Examples
        --------
        >>> run = store.runs.get("bt-sma-eth-001")
        >>> span = {"start_time": run.started_at, "end_time": run.stopped_at, "timeframe": "1m", "symbols": run.symbols}
        >>> result = store.runs.save_result(walle.BacktestResult(run_id=run.id, final_equity=50_702, **span))
        >>> store.runs.results()["run_id"].to_list()
        ['bt-sma-eth-001']
        """
        return await BacktestResultRepository(self._database).read(session=session)

    async def get(self, run_id: str, *, session: AsyncSession | None = None) -> Run:
        """Return one run.

        Raises
        ------
        UnknownRun
            If the run is not stored; it suggests similar ids.

        Examples
        --------
        >>> store.runs.get("bt-sma-eth-001").symbols
        ('ETH/USD',)
        """
        return await self._reader.get(run_id, session=session)

    async def list(
        self,
        *,
        status: str | Iterable[str] | None = None,
        mode: str | Iterable[str] | None = None,
        strategy_id: str | None = None,
        start: Time = None,
        end: Time = None,
        session: AsyncSession | None = None,
    ) -> builtins.list[Run]:
        """Return runs as records; arguments and order as in :meth:`read`.

        Raises
        ------
        InputError

        Examples
        --------
        >>> [run.id for run in store.runs.list(mode="paper")]
        ['paper-sma-stocks-002', 'paper-sma-btc-003']
        """
        return await self._reader.list(
            status=status, mode=mode, strategy_id=strategy_id, start=start, end=end, session=session
        )

    async def read(
        self,
        *,
        status: str | Iterable[str] | None = None,
        mode: str | Iterable[str] | None = None,
        strategy_id: str | None = None,
        start: Time = None,
        end: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read runs as a frame, each with its duration and its numbers of orders and fills.

        Parameters
        ----------
        status, mode : str or iterable of str, optional
        strategy_id : str, optional
        start, end : datetime, date, str or None
            Created in ``[start, end)``; ``end="2024-01-31"`` excludes that day. A date or text without a zone is UTC.
        session : AsyncSession, optional

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.RUN_SUMMARY`: those of :data:`walle.frames.RUNS`, then duration (Duration in
            microseconds, ``stopped_at - started_at``; null until it stopped), orders and fills (Int64, never null). One
            row per run, sorted by created_at, then id. A fill stored without a run counts for its order's run. A
            run stored without symbols or timeframe has those in its config, where the trading engine keeps them
            (:mod:`walle.backend` has the rule); ``config`` is unchanged.

        Raises
        ------
        InputError
            For an unknown status or mode, or an invalid range.

        Examples
        --------
        >>> store.runs.read(status="completed").select("id", "orders", "fills").row(0)
        ('bt-sma-eth-001', 109, 193)
        """
        return await self._reader.read(
            status=status, mode=mode, strategy_id=strategy_id, start=start, end=end, session=session
        )

    async def history(self, run_id: str, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """Read the history of a run, its orders, its fills and its events, sorted by time.

        Parameters
        ----------
        run_id : str
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.HISTORY`; see :func:`walle.runs.history`. Events are those of the run.

        Raises
        ------
        UnknownRun
            If nothing is stored of the run; it suggests similar ids.

        Examples
        --------
        >>> store.runs.history("paper-sma-btc-003")["what"].head(4).to_list()
        ['created', 'run.Created', 'started', 'run.Started']
        """
        return await self._reader.history(run_id, session=session)

    async def ledger(
        self,
        run_id: str,
        *,
        starting_cash: Decimal | int | Mapping[str, Decimal] | None = None,
        as_of: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Write down what a run did to its holdings: every fill, fee, cash flow and corporate action, exactly.

        Parameters
        ----------
        run_id : str
        starting_cash : Decimal, int, or mapping of currency to Decimal, optional
            As for :meth:`equity`.
        as_of : datetime, date, str or None
            As for :meth:`equity`.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.fills.ledger.LEDGER`: sequence, time (UTC), asset, amount (Decimal(38, 18), above 0
            for what came in), kind, book (cash or position), symbol, fill_id, order_id, cash_flow_id, action_id;
            :func:`walle.fills.ledger.ledger` says which entries there are. In the order of time; empty without fills.

        Raises
        ------
        UnknownRun
            If nothing is stored of it; it suggests similar ids.
        InputError
            For a starting cash that is no exact number or in an unnamed currency of several, and for a split or
            dividend inside a run that does not say on which prices it traded; as for :meth:`equity`.

        Examples
        --------
        >>> ledger = store.runs.ledger("bt-sma-eth-001")
        >>> ledger.filter(asset="USD")["amount"].sum().normalize()
        Decimal('44551.875558')
        """
        return await self._analysis.ledger(run_id, starting_cash, as_of, session)

    async def equity(
        self,
        run_id: str,
        *,
        symbol: str | None = None,
        timeframe: str | None = None,
        starting_cash: Decimal | int | Mapping[str, Decimal] | None = None,
        currency: str | None = None,
        rates: pl.DataFrame | None = None,
        as_of: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Mark a run to the market at the close of every bar, from its start to its end.

        Parameters
        ----------
        run_id : str
        symbol : str, optional
            Only its fills of this symbol.
        timeframe : str, optional
            Of the bars. None: that of the run, where bars of it are stored, else the shortest stored of each symbol.
        starting_cash : Decimal, int, or mapping of currency to Decimal, optional
            One amount is in the one currency of the run, or in ``currency``. None: ``starting_cash`` (or ``cash``) of
            the run's config, or else 0.
        currency : str, optional
            Convert everything into it. None: one curve for each currency of the run; they are never added up.
        rates : polars.DataFrame, optional
            Rates of one's own: columns of :data:`walle.fills.rates.RATES`. None: the closes of stored bars of the pair,
            directly, inversely, or over a third currency; a rate counts while no bar is missing since its bar ended.
        as_of : datetime, date, str or None
            Only the fills, corrections, cash flows, corporate actions and instruments that had been recorded by then
            (``recorded_at``), and the bars as they were known; an action that takes effect later has not happened. The
            run itself is as it is stored now. Fills that do not say when they were recorded count, and a warning says
            how many. A date or text without a zone is UTC.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.fills.equity.EQUITY`: time (UTC, the end of a bar), currency, cash,
            position_value, equity and fees (Decimal(38, 18)), fills, orphan_fills, foreign_fees (counts so far),
            unmarked (symbols without a price), rates (what converted it), reason (why it is null);
            :func:`walle.fills.equity.equity` defines each. Sorted by currency and time. Where a held symbol lacks a
            bar, position_value and equity are null. Empty without fills or bars.

        Raises
        ------
        UnknownRun
            If the run is not stored; it suggests similar ids.
        InputError
            If the starting cash is not an exact number, or one amount for a run of several currencies; for an
            ``as_of`` in the future of the database's clock.

        Examples
        --------
        >>> store.runs.equity("bt-sma-eth-001")["equity"][-1].normalize()
        Decimal('50702.035558')
        """
        return await self._analysis.equity(run_id, symbol, timeframe, starting_cash, currency, rates, as_of, session)

    async def metrics(
        self,
        run_id: str | Iterable[str],
        *,
        symbol: str | None = None,
        method: LotMethod = "fifo",
        by: TradeLevel = "flat",
        dust: Decimal | None = None,
        timeframe: str | None = None,
        starting_cash: Decimal | int | Mapping[str, Decimal] | None = None,
        returns: Returns = "session",
        periods: float | None = None,
        risk_free: float = 0.0,
        benchmark: str | None = None,
        wide: bool = False,
        currency: str | None = None,
        rates: pl.DataFrame | None = None,
        as_of: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Reckon the usual figures of a run, or of several: return, risk, drawdown, trades, fees.

        Parameters
        ----------
        run_id : str or iterable of str
            Fills and bars of several runs are read once for all of them.
        symbol : str, optional
            Only its fills of this symbol.
        method : str
            How fills become trades: ``fifo``, ``lifo`` or ``average``.
        by : str
            What a trade is in the figures of trades: from ``flat`` to flat, or of an ``order`` or ``lot``, as for
            ``store.fills.trades``. Of a position that was never flat the lots are counted, which the reason of
            ``trades`` says.
        dust : Decimal, optional
            As for ``store.fills.trades``: a position below it is flat.
        timeframe, starting_cash
            As for :meth:`equity`.
        returns : str
            What volatility, Sharpe, Sortino and what is relative to the benchmark look at. ``session``: the change from
            the last marked row of one session to that of the next, by the calendars of the symbols (24/7: the days in
            UTC); of several symbols, on each date on which any of their markets had a session, at the last close. On
            bars longer than a day, each bar is a session. ``bar``: the change from bar to bar.
        periods : float, optional
            How many of these returns a year has. None: as many as the calendars have in a mean year: 365.25 for 24/7,
            about 261 for 24/5 and 252 for XNYS; of ``1w`` bars 52.18, of ``1M`` bars 12, of ``3M`` bars 4.
        risk_free : float
            A year's interest without risk, such as 0.04.
        benchmark : str, optional
            The symbol of a stored series: alpha, beta, tracking_error and information_ratio are added, on its bars of
            the same timeframe as the run's, and on the sessions that both have.
        wide : bool
            One row per run and currency, with a column per figure.
        as_of : datetime, date, str or None
            As for :meth:`equity`.
        currency, rates
            As for :meth:`equity`. What a trade gained is converted at the time of its exit, a commission and a turnover
            at that of its fill.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.runs.METRICS`: run_id, metric, value (Float64: ratios, days, counts), amount
            (Decimal(38, 18): money), currency (of the equity; of the fees in a row of fees), unit, periods_per_year (of
            what is annualised), returns (Int64: how many returns counted, of what is made of returns), reason (why it
            could not be measured; value and amount are null then). :func:`walle.runs.metrics.metrics` lists the figures
            with their sources. Runs in the order in which they were given; no row of a run without fills. A run that
            was never saved, but has fills, starts with 0 cash unless told.

            With ``wide``: run_id, currency, then a column per figure, money as Decimal(38, 18) and others as Float64.
            Fees in a currency without equity have a row of their own.

        Raises
        ------
        UnknownRun
            When nothing at all is stored of one; near ids are offered.
        UnknownSymbol
            When the benchmark has no bars of the timeframe.
        InputError
            As for :meth:`equity`; also for an unknown method or ``returns``, or ``periods`` not above 0.

        Examples
        --------
        >>> metrics = store.runs.metrics("bt-sma-eth-001")
        >>> round(metrics.filter(metric="total_return")["value"].item(), 4)
        0.014
        """
        return await self._metrics.metrics(
            run_id,
            symbol,
            method,
            by,
            dust,
            timeframe,
            starting_cash,
            returns,
            periods,
            risk_free,
            benchmark,
            wide,
            currency,
            rates,
            as_of,
            session,
        )

    async def drawdowns(
        self,
        run_id: str,
        *,
        top: int = 5,
        symbol: str | None = None,
        timeframe: str | None = None,
        starting_cash: Decimal | int | Mapping[str, Decimal] | None = None,
        currency: str | None = None,
        rates: pl.DataFrame | None = None,
        as_of: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """List the deepest drawdowns of a run: from a peak of its equity until that was reached again.

        Parameters
        ----------
        run_id : str
        top : int
            How many to list, of each currency.
        symbol : str, optional
            Only its fills of this one.
        timeframe, starting_cash, currency, rates, as_of
            As for :meth:`equity`.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.runs.DRAWDOWNS`: currency, begin, bottom and recovery (UTC; recovery is null if the
            peak was not reached again), depth (Float64: a ratio below 0), amount (Decimal(38, 18): money below 0),
            days_to_bottom and days (Float64). The deepest first; :func:`walle.runs.drawdowns` has the definition.
            Empty without a drawdown, fills or bars.

        Raises
        ------
        UnknownRun
            When nothing at all is stored of it; near ids are offered.
        InputError
            As for :meth:`equity`; for a ``top`` below 1.

        Examples
        --------
        >>> worst = store.runs.drawdowns("bt-sma-eth-001", top=1)
        >>> worst["depth"].round(4).item()
        -0.0517
        """
        return await self._metrics.drawdowns(
            run_id, top, symbol, timeframe, starting_cash, currency, rates, as_of, session
        )

    async def returns(
        self,
        run_id: str,
        *,
        period: ReturnPeriod = "month",
        symbol: str | None = None,
        timeframe: str | None = None,
        starting_cash: Decimal | int | Mapping[str, Decimal] | None = None,
        currency: str | None = None,
        rates: pl.DataFrame | None = None,
        as_of: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """List the returns of a run by month, year or session.

        Parameters
        ----------
        run_id : str
        period : str
            ``month``, ``year``, or ``session``: of the calendars of its symbols, as for :meth:`metrics`.
        symbol : str, optional
            Only its fills of this one.
        timeframe, starting_cash, currency, rates, as_of
            As for :meth:`equity`.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.runs.RETURNS`: currency, period (Date: its first day, or that of the session),
            return (Float64: a ratio), returns (Int64: how many sessions in it have a known return), reason (why the
            return is null). Sorted by period; :func:`walle.runs.returns_by` has the definition. Empty without fills or
            bars.

        Raises
        ------
        UnknownRun
            When nothing at all is stored of it; near ids are offered.
        InputError
            As for :meth:`equity`; for another period.

        Examples
        --------
        >>> months = store.runs.returns("bt-sma-eth-001")
        >>> months["period"].to_list()
        [datetime.date(2025, 11, 1), datetime.date(2025, 12, 1)]
        """
        return await self._metrics.returns(
            run_id, period, symbol, timeframe, starting_cash, currency, rates, as_of, session
        )

    async def _locked(self, writer: Writer, names: Sequence[str]) -> dict[str, Run]:
        """Lock the stored ones of some runs in the order of their ids, which avoids deadlocks, and return them."""
        table, found = models.runs, {}
        columns = [table.c[name] for name in RUNS]
        wanted = sorted(names)
        for start in range(0, len(wanted), IN_LIST):
            part = sa.select(*columns).where(table.c.id.in_(wanted[start : start + IN_LIST])).order_by(table.c.id)
            rows = (await writer.execute(part.with_for_update())).mappings().all()
            found.update({row["id"]: record(dict(row), decoded=True) for row in rows})
        return found


async def _now(writer: Writer) -> datetime:
    """Return the time of the database's clock, which all hosts share."""
    now: datetime = (await writer.execute(sa.select(utc_now()))).scalar_one()
    return now


def _report(rejected: pl.Schema, conflicts: pl.Schema) -> IngestReport:
    """Return the report of an ingest without rows."""
    return IngestReport(rejected_rows=pl.DataFrame(schema=rejected), conflict_rows=pl.DataFrame(schema=conflicts))


def _saved(run: Run, stored: Run | None, now: datetime | None) -> Run:
    """Return the run to store, with its next revision.

    Parameters
    ----------
    run : Run
    stored : Run or None
    now : datetime or None
        The time of the database's clock; needed only for a run that may become ``running``.

    Raises
    ------
    LostUpdate
        If its revision is not the stored one's.
    IllegalTransition
        If its status cannot follow the stored one.
    Conflict
        If it is marked as lost, but had a heartbeat since.
    """
    if (stored.revision if stored else 0) != run.revision:
        raise LostUpdate(run.id, run.revision, stored.revision if stored else 0)
    if stored is not None and run.status != stored.status:
        _check_transition(run, stored)
        if run.status == RunStatus.LOST and run.heartbeat_at != stored.heartbeat_at:
            raise Conflict(f"run {run.id!r} is not lost: its process sent a heartbeat since it was read.")
    starts = run.status == RunStatus.RUNNING and (stored is None or stored.status != RunStatus.RUNNING)
    owner, heartbeat_at = (stored or run).owner, (stored or run).heartbeat_at
    if starts and (stored is not None or owner is None):  # a new run may bring its own owner
        owner, heartbeat_at = this_process(), now
    return dataclasses.replace(run, revision=run.revision + 1, owner=owner, heartbeat_at=heartbeat_at)


def _row(run: Run) -> dict[str, Any]:
    row = {item.name: getattr(run, item.name) for item in dataclasses.fields(run)}
    row.update(mode=str(run.mode), status=str(run.status))
    row["symbols"] = None if run.symbols is None else list(run.symbols)
    row["owner"] = None if run.owner is None else dataclasses.asdict(run.owner)
    return row


def _check_transition(run: Run, stored: Run) -> None:
    allowed = stored.status.next if isinstance(stored.status, RunStatus) else ()
    if run.status not in allowed:
        raise IllegalTransition(run.id, str(stored.status), str(run.status), [str(word) for word in allowed])


def _marked(run: Run) -> Run:
    row = {item.name: getattr(run, item.name) for item in dataclasses.fields(run)}
    return Run.from_row(row | {"status": str(RunStatus.LOST), "revision": run.revision + 1})


def _lost(run: Run, now: datetime, lease: timedelta) -> Event:
    payload = {
        "strategy_id": run.strategy_id,
        "mode": str(run.mode),
        "owner": None if run.owner is None else dataclasses.asdict(run.owner),
        "heartbeat_at": None if run.heartbeat_at is None else run.heartbeat_at.isoformat(),
        "lease_seconds": lease.total_seconds(),
    }
    return Event(type="run.Lost", run_id=run.id, ts=now, producer="walle", payload=payload)


def _lives(run: Run, now: datetime, lease: timedelta) -> bool:
    if run.owner is None:
        return False
    alive = is_alive(run.owner)
    if alive is not None:
        return alive
    return run.heartbeat_at is not None and now - run.heartbeat_at <= lease
