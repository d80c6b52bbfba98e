"""Runs: what was started, by whom, and how it ended."""

from __future__ import annotations

import builtins
import dataclasses
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, overload

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.backend import as_read
from walle.database import Writer
from walle.enums import RunStatus
from walle.envelope import Event
from walle.errors import Conflict, DuplicateKey, IllegalTransition, InputError, LostUpdate, UnknownRun
from walle.fills import WriteReport
from walle.frames import FILL_CONFLICTS, INSTANT, ORDER_CONFLICTS, REJECTED_FILLS, REJECTED_ORDERS, RUNS
from walle.records import BacktestResult, Run
from walle.reports import IngestReport
from walle.repositories.common import IN_LIST
from walle.repositories.fills.fills import FillRepository
from walle.repositories.fills.orders import OrderRepository
from walle.repositories.runs.analysis import RunAnalysis
from walle.repositories.runs.backtest_results import BacktestResultRepository
from walle.repositories.runs.read import RunReading, record
from walle.repositories.select import read
from walle.runs import Results, RunReport, is_alive, is_this_process, this_process
from walle.runs.run_rows import runs_of
from walle.types import utc_now, wire

__all__ = ["LEASE", "RunRepository"]

LEASE = timedelta(minutes=5)
"""How long a run on another host may be silent before it counts as dead."""


class RunRepository(RunReading, RunAnalysis):
    """Runs, with lost updates detected and dead ones found.

    Parameters
    ----------
    database : Database
    """

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
        """Store a run, or several: insert a new one, or update the one it was read from; all of the call or nothing.

        A run that becomes ``running`` is owned by this process from then on.

        Parameters
        ----------
        run : Run, iterable of Run, or a Polars, pandas or Arrow frame
            New (``revision`` 0), or a record of this store changed by :func:`dataclasses.replace`. A frame has columns
            of :data:`walle.frames.RUNS`: id, strategy_id and mode, and any of the others. Of several, one that is
            stored with the same content is left as it is, whatever its revision.
        session : AsyncSession, optional
            Join the caller's transaction; nothing is committed here then.

        Returns
        -------
        Run or WriteReport
            One run as it is read from now on, with its new revision: go on with this one. Without symbols or timeframe
            of its own it has those in its config, see ``store.runs.read``. Of several, how many were inserted, updated
            and there already.

        Raises
        ------
        LostUpdate
            When somebody saved the run since it was read, or a new one's id is taken.
        IllegalTransition
            When the status cannot follow the stored one.
        Conflict
            When a run is to be ``lost`` that gave a sign of life since it was read.
        InputError
            For anything but runs.
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
                    raise LostUpdate(taken, 0, 1) from error  # another writer made it at this moment
                raise

    async def ingest(
        self,
        run: Run | Results,
        orders: object = None,
        fills: object = None,
        *,
        timezone: str | None = None,
        floats: str = "refuse",
        on_invalid: str = "raise",
        session: AsyncSession | None = None,
    ) -> RunReport:
        """Bring in a run with its orders and fills, in one transaction: all of the call or nothing.

        The same again changes nothing.

        Parameters
        ----------
        run : Run or Results
            Results have their own orders and fills; see :func:`walle.from_backtesting`.
        orders, fills : records or frames, optional
            As for :meth:`OrderRepository.ingest` and :meth:`FillRepository.ingest`; of this run.
        timezone, floats, on_invalid : str
            As for those.
        session : AsyncSession, optional
            Join the caller's transaction; nothing is committed here then.

        Returns
        -------
        RunReport

        Raises
        ------
        Conflict
            When another run of that id is stored; ``created_at`` may differ.
        InvalidRows
            When rows are no orders or fills; nothing was written.
        InputError
            For a source that cannot be read.
        """
        if isinstance(run, Results):
            if orders is not None or fills is not None:
                raise InputError("these results have orders and fills of their own; leave orders and fills out.")
            orders, fills, run = run.orders, run.fills, run.run
        if not isinstance(run, Run):
            raise InputError(
                f"a run is a walle.Run record or walle.Results, not a {type(run).__name__}; what Backtest.run() "
                "returned goes through walle.from_backtesting()."
            )
        said: dict[str, Any] = {"run_id": run.id, "floats": floats, "on_invalid": on_invalid, "timezone": timezone}
        async with self._joined(session) as joined:
            known = await self._same(run, joined)
            saved = known or await self.save(run, session=joined)
            reports = []
            for repository, source, nothing in (
                (OrderRepository(self._database), orders, _report(REJECTED_ORDERS, ORDER_CONFLICTS)),
                (FillRepository(self._database), fills, _report(REJECTED_FILLS, FILL_CONFLICTS)),
            ):
                reports.append(nothing if source is None else await repository.ingest(source, **said, session=joined))
        return RunReport(run=saved, inserted=known is None, orders=reports[0], fills=reports[1])

    @asynccontextmanager
    async def _joined(self, session: AsyncSession | None) -> AsyncIterator[AsyncSession]:
        """Open a session that commits at the end, or a savepoint in the caller's."""
        if session is not None:
            async with self._database.write(session):
                yield session
            return
        async with self._database.session() as own:
            yield own
            await own.commit()

    async def _same(self, run: Run, session: AsyncSession) -> Run | None:
        """Return the stored run of that id.

        Raises
        ------
        Conflict
            When it is another one.
        """
        found = await self._records([models.runs.c.id == run.id], session)
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
        """Say that this process still runs a run; its revision stays.

        Raises
        ------
        UnknownRun
            When it is not stored.
        IllegalTransition
            When it is not running.
        Conflict
            When another process runs it that lives, or on another host gave a sign of life within the lease.
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
                    f"run {run_id!r} is run by process {stored.owner.pid} on {stored.owner.host}, which lives."
                )
            values = {"heartbeat_at": utc_now(), "owner": dataclasses.asdict(this_process())}
            await writer.execute(sa.update(models.runs).where(models.runs.c.id == run_id).values(values))

    async def recover(self, lease: timedelta = LEASE, *, session: AsyncSession | None = None) -> builtins.list[Run]:
        """Return runs that are stored as running and whose process is gone; nothing is changed.

        Parameters
        ----------
        lease : timedelta
            A run on another host counts as dead when its last heartbeat is older.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        list of Run
            Running, with an owner that is dead on this host, or silent for ``lease`` on another, or without an owner.
            Never one that is alive. Save each with the status ``running`` again (it is ``lost`` before), or an end.
        """
        now = wire(utc_now(), self._database.dialect.name)
        clock = await read(self._database, sa.select(now.label("now")), pl.Schema({"now": INSTANT}), session)
        moment = clock["now"].item()
        running = await self.list(status=RunStatus.RUNNING, session=session)
        return [run for run in running if not _lives(run, moment, lease)]

    async def sweep(self, lease: timedelta = LEASE, *, session: AsyncSession | None = None) -> builtins.list[Run]:
        """Mark as ``lost`` every run that is stored as running and whose process is gone.

        An engine calls this when it starts, before it starts runs of its own; opening a store never does. Each run is
        looked at again under the lock that a heartbeat takes, so one that gave a sign of life meanwhile stays running.
        With each goes one event ``run.Lost`` into the log, in the same transaction: its payload names the strategy, the
        mode, the owner, the last heartbeat and the lease. ``stopped_at`` stays empty, because nobody knows when it
        stopped, and the run may be taken up again.

        Parameters
        ----------
        lease : timedelta
            A run on another host counts as dead when its last heartbeat is older.
        session : AsyncSession, optional
            Join the caller's transaction; nothing is committed here then.

        Returns
        -------
        list of Run
            Those that it marked, as they are stored now; sorted by id. Empty when there was none.

        Raises
        ------
        InputError
            For a lease that is no positive timedelta.
        """
        if not isinstance(lease, timedelta) or lease <= timedelta(0):
            raise InputError(f"lease={lease!r} is no positive timedelta, such as timedelta(minutes=5).")
        table, marked = models.runs, []
        async with self._database.write(session) as writer:
            columns = [table.c[name] for name in RUNS]
            running = sa.select(*columns).where(table.c.status == RunStatus.RUNNING).order_by(table.c.id)
            found = (await writer.execute(running.with_for_update())).mappings().all()
            now = await _now(writer)
            dead = [run for run in (record(dict(row), decoded=True) for row in found) if not _lives(run, now, lease)]
            for run in dead:
                # only these two columns: a run that another program wrote may hold words that no record may
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
        """Store what an engine reports of a backtest; see :meth:`BacktestResultRepository.save`.

        Raises
        ------
        Conflict
            When another result of that run is stored.
        InputError
            For anything but a :class:`walle.BacktestResult`.
        """
        return await BacktestResultRepository(self._database).save(result, session=session)

    async def result(self, run_id: str, *, session: AsyncSession | None = None) -> BacktestResult | None:
        """Return what the engine reported of a backtest, or None when it reported nothing."""
        return await BacktestResultRepository(self._database).get(run_id, session=session)

    async def results(self, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """Read what engines reported of their backtests.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.BACKTEST_RESULTS`; one row per run that has a result, sorted by run_id.
        """
        return await BacktestResultRepository(self._database).read(session=session)

    async def _locked(self, writer: Writer, names: Sequence[str]) -> dict[str, Run]:
        """Return those runs that are stored, locked in the order of their ids: no two writers wait in a ring."""
        table, found = models.runs, {}
        columns = [table.c[name] for name in RUNS]
        wanted = sorted(names)
        for start in range(0, len(wanted), IN_LIST):
            part = sa.select(*columns).where(table.c.id.in_(wanted[start : start + IN_LIST])).order_by(table.c.id)
            rows = (await writer.execute(part.with_for_update())).mappings().all()
            found.update({row["id"]: record(dict(row), decoded=True) for row in rows})
        return found


async def _now(writer: Writer) -> datetime:
    """Return the database's clock: the one that all hosts share."""
    now: datetime = (await writer.execute(sa.select(utc_now()))).scalar_one()
    return now


def _report(rejected: pl.Schema, conflicts: pl.Schema) -> IngestReport:
    """Return the report of an ingest without rows."""
    return IngestReport(rejected_rows=pl.DataFrame(schema=rejected), conflict_rows=pl.DataFrame(schema=conflicts))


def _saved(run: Run, stored: Run | None, now: datetime | None) -> Run:
    """Return a run as it is to be stored, with its next revision.

    Parameters
    ----------
    run : Run
    stored : Run or None
    now : datetime or None
        By the database's clock; only for a run that may become ``running``.

    Raises
    ------
    LostUpdate
        When it is not the stored one's revision.
    IllegalTransition
        When its status cannot follow.
    Conflict
        When it is not lost.
    """
    if (stored.revision if stored else 0) != run.revision:
        raise LostUpdate(run.id, run.revision, stored.revision if stored else 0)
    if stored is not None and run.status != stored.status:
        _check_transition(run, stored)
        if run.status == RunStatus.LOST and run.heartbeat_at != stored.heartbeat_at:
            raise Conflict(f"run {run.id!r} is not lost: its process gave a sign of life since it was read.")
    starts = run.status == RunStatus.RUNNING and (stored is None or stored.status != RunStatus.RUNNING)
    owner, heartbeat_at = (stored or run).owner, (stored or run).heartbeat_at
    if starts and (stored is not None or owner is None):  # an owner that comes with a new run is its own
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
    told = {
        "strategy_id": run.strategy_id,
        "mode": str(run.mode),
        "owner": None if run.owner is None else dataclasses.asdict(run.owner),
        "heartbeat_at": None if run.heartbeat_at is None else run.heartbeat_at.isoformat(),
        "lease_seconds": lease.total_seconds(),
    }
    return Event(type="run.Lost", run_id=run.id, ts=now, producer="walle", payload=told)


def _lives(run: Run, now: datetime, lease: timedelta) -> bool:
    if run.owner is None:
        return False
    alive = is_alive(run.owner)
    if alive is not None:
        return alive
    return run.heartbeat_at is not None and now - run.heartbeat_at <= lease
