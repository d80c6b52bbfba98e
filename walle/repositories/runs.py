"""Runs: what was started, by whom, and how it ended."""

from __future__ import annotations

import builtins
import dataclasses
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database, Writer
from walle.errors import Conflict, DuplicateKey, IllegalTransition, InputError, LostUpdate, UnknownRun
from walle.frames import RUNS, expression, read
from walle.records import Owner, Run
from walle.repositories.common import Time, canonical, check_name, in_range, known_run, one_of
from walle.repositories.fills import FillRepository
from walle.repositories.orders import OrderRepository
from walle.repositories.run_analysis import RunAnalysis
from walle.runs import history, is_alive, this_process
from walle.words import RunMode, RunStatus

__all__ = ["LEASE", "RunRepository"]

LEASE = timedelta(minutes=5)
"""How long a run on another host may be silent before it counts as dead."""


class RunRepository(RunAnalysis):
    """Runs, with lost updates detected and dead ones found.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

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

    async def get(self, run_id: str, *, session: AsyncSession | None = None) -> Run:
        """Return one run.

        Raises
        ------
        UnknownRun
            When it is not stored; near ids are offered.
        """
        found = await self._records([models.runs.c.id == check_name(run_id, "run_id")], session)
        if not found:
            await known_run(self._database, run_id)
            raise UnknownRun(run_id)
        return found[0]

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
        """
        return await self._records(_conditions(status, mode, strategy_id, start, end), session)

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
        """Read runs as a frame.

        Parameters
        ----------
        status, mode : str or iterable of str, optional
        strategy_id : str, optional
        start, end : datetime, date, str or None
            Created in ``[start, end)``; ``end="2024-01-31"`` leaves that day out. A date or text without a zone is UTC.
        session : AsyncSession, optional

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.RUNS`; one row per run, sorted by created_at, then id.

        Raises
        ------
        InputError
            For an unknown status or mode, or a bad range.
        """
        conditions = _conditions(status, mode, strategy_id, start, end)
        return await self._frame(conditions, session)

    async def history(self, run_id: str) -> pl.DataFrame:
        """Read the life of a run: its own moments, its orders' and its fills', in the order of time.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.HISTORY`; see :func:`walle.runs.history`.

        Raises
        ------
        UnknownRun
            When nothing at all is stored of it; near ids are offered.
        """
        await known_run(self._database, check_name(run_id, "run_id"))
        runs = await self._frame([models.runs.c.id == run_id], None)
        orders = await OrderRepository(self._database).read(run_id)
        fills = await FillRepository(self._database).read(run_id)
        return history(runs, orders, fills)

    def _column(self, name: str) -> sa.ColumnElement[Any]:
        table = models.runs
        if (
            name in ("symbols", "timeframe")
            and not self._database.has(table, name)
            and self._database.has(table, "config")
        ):
            # the backend moved both into the config
            inside = sa.type_coerce(table.c.config, sa.JSON)[name]
            text = inside.as_string() if name == "timeframe" else sa.cast(inside, sa.Text)
            return text.label(name)
        return expression(self._database, table, name)

    async def _records(
        self, conditions: builtins.list[sa.ColumnElement[bool]], session: AsyncSession | None
    ) -> builtins.list[Run]:
        return [_record(row) for row in (await self._frame(conditions, session)).iter_rows(named=True)]

    async def _frame(
        self, conditions: builtins.list[sa.ColumnElement[bool]], session: AsyncSession | None
    ) -> pl.DataFrame:
        if not self._database.has(models.runs):
            return pl.DataFrame(schema=RUNS)
        statement: sa.Select[Any] = sa.select(*(self._column(name) for name in RUNS)).where(*conditions)
        return (await read(self._database, statement, RUNS, session)).sort("created_at", "id")

    async def _locked(self, writer: Writer, run_id: str) -> Run | None:
        table = models.runs
        columns = [table.c[name] for name in RUNS]
        found = await writer.execute(sa.select(*columns).where(table.c.id == run_id).with_for_update())
        row = found.mappings().first()
        return None if row is None else _record(dict(row))


def _row(run: Run) -> dict[str, Any]:
    row = {item.name: getattr(run, item.name) for item in dataclasses.fields(run)}
    row.update(mode=str(run.mode), status=str(run.status))
    row["symbols"] = None if run.symbols is None else list(run.symbols)
    row["owner"] = None if run.owner is None else dataclasses.asdict(run.owner)
    return row


def _record(row: dict[str, Any]) -> Run:
    for name in ("config", "owner"):
        if isinstance(row[name], str):
            row[name] = json.loads(row[name])
    owner = row["owner"]
    known = isinstance(owner, dict) and {"host", "pid", "started"} <= owner.keys()
    row["owner"] = Owner(host=owner["host"], pid=owner["pid"], started=owner["started"]) if known else None
    row["symbols"] = None if row["symbols"] is None else tuple(row["symbols"])
    row["revision"] = row["revision"] or 0
    return Run.from_row(canonical(row))


def _check_transition(run: Run, stored: Run) -> None:
    allowed = stored.status.next if isinstance(stored.status, RunStatus) else ()
    if run.status not in allowed:
        raise IllegalTransition(run.id, str(stored.status), str(run.status), [str(word) for word in allowed])


def _conditions(
    status: str | Iterable[str] | None,
    mode: str | Iterable[str] | None,
    strategy_id: str | None,
    start: Time,
    end: Time,
) -> builtins.list[sa.ColumnElement[bool]]:
    table = models.runs
    return [
        *one_of(table.c.status, status, RunStatus),
        *one_of(table.c.mode, mode, RunMode),
        *one_of(table.c.strategy_id, strategy_id),
        *in_range(table.c.created_at, start, end),
    ]


def _same(one: Owner, other: Owner) -> bool:
    return (one.host, one.pid) == (other.host, other.pid) and abs(one.started - other.started) < 2


def _lives(run: Run, now: datetime, lease: timedelta) -> bool:
    if run.owner is None:
        return False
    alive = is_alive(run.owner)
    if alive is not None:
        return alive
    return run.heartbeat_at is not None and now - run.heartbeat_at <= lease
