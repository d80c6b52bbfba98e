"""Runs: what was started, by whom, and how it ended."""

from __future__ import annotations

import builtins
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Writer
from walle.envelope import Event
from walle.errors import Conflict, DuplicateKey, IllegalTransition, InputError, LostUpdate, UnknownRun
from walle.frames import RUNS
from walle.records import Owner, Run
from walle.repositories.run_analysis import RunAnalysis
from walle.repositories.run_reading import RunReading, record
from walle.runs import is_alive, this_process
from walle.words import RunStatus

__all__ = ["LEASE", "RunRepository"]

LEASE = timedelta(minutes=5)
"""How long a run on another host may be silent before it counts as dead."""


class RunRepository(RunReading, RunAnalysis):
    """Runs, with lost updates detected and dead ones found.

    Parameters
    ----------
    database : Database
    """

    async def save(self, run: Run, *, session: AsyncSession | None = None) -> Run:
        """Store a run: insert a new one, or update the one it was read from.

        A run that becomes ``running`` is owned by this process from then on.

        Parameters
        ----------
        run : Run
            New (``revision`` 0), or a record of this store changed by :func:`dataclasses.replace`.
        session : AsyncSession, optional
            Join the caller's transaction; nothing is committed here then.

        Returns
        -------
        Run
            As stored, with its new revision: go on with this one.

        Raises
        ------
        LostUpdate
            When somebody saved the run since it was read, or a new one's id is taken.
        IllegalTransition
            When the status cannot follow the stored one.
        Conflict
            When a run is to be ``lost`` that gave a sign of life since it was read.
        InputError
            For anything but a Run.
        """
        if not isinstance(run, Run):
            raise InputError(f"a run is a walle.Run record, not a {type(run).__name__}; save one at a time.")
        async with self._database.write(session) as writer:
            stored = await self._locked(writer, run.id)
            if (stored.revision if stored else 0) != run.revision:
                raise LostUpdate(run.id, run.revision, stored.revision if stored else 0)
            if stored is not None and run.status != stored.status:
                _check_transition(run, stored)
                if run.status == RunStatus.LOST and run.heartbeat_at != stored.heartbeat_at:
                    raise Conflict(f"run {run.id!r} is not lost: its process gave a sign of life since it was read.")
            starts = run.status == RunStatus.RUNNING and (stored is None or stored.status != RunStatus.RUNNING)
            owner, heartbeat_at = (stored or run).owner, (stored or run).heartbeat_at
            if starts and (stored is not None or owner is None):  # an owner that comes with a new run is its own
                owner, heartbeat_at = this_process(), datetime.now(UTC)
            saved = dataclasses.replace(
                run,
                revision=run.revision + 1,
                owner=owner,
                heartbeat_at=heartbeat_at,
            )
            table = models.runs
            if stored is not None:
                await writer.execute(sa.update(table).where(table.c.id == run.id).values(_row(saved)))
                return saved
            try:
                await writer.execute(sa.insert(table).values(_row(saved)))
            except Exception as error:
                if isinstance(self._database.dialect.translate(error), DuplicateKey):
                    raise LostUpdate(run.id, 0, 1) from error  # another writer made it at this moment
                raise
            return saved

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
            stored = await self._locked(writer, run_id)
            if stored is None:
                raise UnknownRun(run_id)
            if stored.status != RunStatus.RUNNING:
                raise IllegalTransition(run_id, str(stored.status), "running (a heartbeat)", ())
            me = this_process()
            if stored.owner is not None and not _same(stored.owner, me) and _lives(stored, datetime.now(UTC), LEASE):
                raise Conflict(
                    f"run {run_id!r} is run by process {stored.owner.pid} on {stored.owner.host}, which lives."
                )
            values = {"heartbeat_at": datetime.now(UTC), "owner": dataclasses.asdict(me)}
            await writer.execute(sa.update(models.runs).where(models.runs.c.id == run_id).values(values))

    async def recover(self, lease: timedelta = LEASE) -> builtins.list[Run]:
        """Return runs that are stored as running and whose process is gone; nothing is changed.

        Parameters
        ----------
        lease : timedelta
            A run on another host counts as dead when its last heartbeat is older.

        Returns
        -------
        list of Run
            Running, with an owner that is dead on this host, or silent for ``lease`` on another, or without an owner.
            Never one that is alive. Save each with the status ``running`` again (it is ``lost`` before), or an end.
        """
        now = datetime.now(UTC)
        return [run for run in await self.list(status=RunStatus.RUNNING) if not _lives(run, now, lease)]

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
            now = datetime.now(UTC)
            dead = [run for run in (record(dict(row)) for row in found) if not _lives(run, now, lease)]
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

    async def _locked(self, writer: Writer, run_id: str) -> Run | None:
        table = models.runs
        columns = [table.c[name] for name in RUNS]
        found = await writer.execute(sa.select(*columns).where(table.c.id == run_id).with_for_update())
        row = found.mappings().first()
        return None if row is None else record(dict(row))


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


def _same(one: Owner, other: Owner) -> bool:
    return (one.host, one.pid) == (other.host, other.pid) and abs(one.started - other.started) < 2


def _lives(run: Run, now: datetime, lease: timedelta) -> bool:
    if run.owner is None:
        return False
    alive = is_alive(run.owner)
    if alive is not None:
        return alive
    return run.heartbeat_at is not None and now - run.heartbeat_at <= lease
