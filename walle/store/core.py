"""The store: opening it, and what it holds together."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Self

from sqlalchemy.engine import URL

from walle import migrate
from walle.config import DatabaseConfig, masked
from walle.database import Database
from walle.errors import PersistenceUnavailable, ReadOnly, StoreClosed
from walle.events import EventLog
from walle.models import HEAD
from walle.progress import Meter, Progress
from walle.repositories import (
    BarRepository,
    CashFlowRepository,
    CorporateActionRepository,
    FillRepository,
    InstrumentRepository,
    OrderRepository,
    RunRepository,
)
from walle.repositories.integrity import Integrity
from walle.store.actions import Actions
from walle.store.bars import Bars
from walle.store.cash import Cash
from walle.store.events import Events
from walle.store.fills import Fills
from walle.store.html import html_of
from walle.store.instruments import Instruments
from walle.store.new_store import tell_new_store
from walle.store.orders import Orders
from walle.store.portal import Portal
from walle.store.runs import Runs
from walle.store.status import StoreStatus

__all__ = ["Store", "connect", "upgrade"]


def connect(
    target: str | Path | URL | None = None,
    *,
    read_only: bool = False,
    pool_size: int | None = None,
    pool_overflow: int | None = None,
    echo: bool | None = None,
    transaction_pooler: bool | None = None,
    progress: bool | None = None,
) -> Store:
    """Open a store.

    Parameters
    ----------
    target : str, pathlib.Path, URL or None
        A path of a SQLite file (made when absent, which is told), or a URL: ``sqlite:///research.db``,
        ``postgresql://user:password@host/name``. None: ``WALLE_DATABASE_URL``; without that, a store in memory that is
        not durable: events work, and everything else raises ``PersistenceUnavailable``.
    read_only : bool
        Let the database itself refuse writes. Then a database at any revision opens, the backend's included.
    pool_size, pool_overflow, echo, transaction_pooler
        See :class:`walle.DatabaseConfig`; ``WALLE_DATABASE_POOL_SIZE`` and so on by default.
    progress : bool, optional
        Show a bar when a call takes longer than a second, and a line on standard error when a new store was made. None:
        as ``WALLE_PROGRESS`` (1 or 0) says, else the line, and bars in a terminal or a notebook.

    Returns
    -------
    Store
        Also a context manager.

    Raises
    ------
    ConfigurationError
        For an address that cannot work.
    SchemaOutdated, SchemaTooNew, NotAWalleStore
        When the tables are not the ones that this WallE works with; nothing is migrated behind your back.
    DatabaseUnavailable, AuthenticationFailed, ReadOnly
        When the database cannot be opened.

    Warns
    -----
    NewStoreWarning
        When a new store was made beside one with a similar name.

    Examples
    --------
    >>> with walle.connect("research.db") as store:
    ...     print(store.bars.series().columns)
    ['symbol', 'timeframe', 'first', 'last', 'bars']
    """
    config = DatabaseConfig.from_environment(
        target,
        pool_size=pool_size,
        pool_overflow=pool_overflow,
        echo=echo,
        transaction_pooler=transaction_pooler,
    )
    if config.url is None:
        return Store(None, progress=progress)
    path = config.address.database
    schema = migrate.prepare(config, read_only=read_only, made=lambda: tell_new_store(Path(str(path)), shown=progress))
    columns = None if schema.revision == HEAD else schema.columns
    database = Database(config, read_only=read_only, columns=columns)
    database.dialect.verify()  # from here on it is that file, also before the first use
    return Store(database, progress=progress)


def upgrade(
    target: str | Path | URL | None = None,
    *,
    confirmed: bool = False,
    allow_rounding: bool = False,
    set_aside: bool = False,
) -> list[str]:
    """Bring the tables of a database to the current revision; make them in an empty one.

    Parameters
    ----------
    target : str, pathlib.Path, URL or None
        As in :func:`connect`; None: ``WALLE_DATABASE_URL``.
    confirmed : bool
        Yes to upgrading a filled database that the backend's own chain made, or one at a later revision of that chain,
        which will not know it any more.
    allow_rounding : bool
        Let bars that float64 cannot hold be rounded to the nearest float64.
    set_aside : bool
        Move rows that no reader can read, which another program wrote, whole into the table ``set_aside_rows``.

    Returns
    -------
    list of str
        The revisions that were run; empty when there was nothing to do.

    Raises
    ------
    ConfigurationError
        When there is no address in either place.
    UpgradeRefused
        When a yes is needed, values would be lost, or rows cannot be read.
    NotAWalleStore, SchemaTooNew
        When the database is not ours to upgrade.

    Examples
    --------
    >>> revisions = walle.upgrade("research.db")  # a new file: makes the tables
    >>> walle.upgrade("research.db")
    []
    """
    config = DatabaseConfig.from_environment(target)
    return migrate.upgrade(
        DatabaseConfig(url=config.address), confirmed=confirmed, allow_rounding=allow_rounding, set_aside=set_aside
    )


class Store:
    """Bars, orders, fills, cash flows, runs and events, for a notebook or a script; made by :func:`walle.connect`.

    Usable from any thread, and inside a running event loop. A store that is never closed is closed at the exit.
    The examples of its methods, and of those of its parts, are run on the sample data of :func:`walle.demo.load`.

    Attributes
    ----------
    bars : walle.store.bars.Bars
    orders : walle.store.orders.Orders
    fills : walle.store.fills.Fills
    cash : walle.store.cash.Cash
    actions : walle.store.actions.Actions
    instruments : walle.store.instruments.Instruments
    runs : walle.store.runs.Runs
    events : walle.store.events.Events
    """

    def __init__(self, database: Database | None, *, progress: bool | None = None) -> None:
        self._database = database
        # the portal closes the database as the last thing in its loop, also when the store was forgotten
        self._portal = Portal("walle-store", None if database is None else database.close)
        self.bars: Bars = Bars(None if database is None else BarRepository(database), self._portal, progress)
        self.orders: Orders = Orders(None if database is None else OrderRepository(database), self._portal, progress)
        self.fills: Fills = Fills(None if database is None else FillRepository(database), self._portal, progress)
        self.cash: Cash = Cash(None if database is None else CashFlowRepository(database), self._portal, progress)
        actions = None if database is None else CorporateActionRepository(database)
        self.actions: Actions = Actions(actions, self._portal, progress)
        instruments = None if database is None else InstrumentRepository(database)
        self.instruments: Instruments = Instruments(instruments, self._portal, progress)
        self.runs: Runs = Runs(None if database is None else RunRepository(database), self._portal, progress)
        self.events: Events = Events(EventLog(database), self._portal, progress)
        self._progress = progress
        self._closed = False

    @property
    def durable(self) -> bool:
        """Whether there is a database that keeps what is written."""
        return self._database is not None

    @property
    def read_only(self) -> bool:
        """Whether the store was opened with ``read_only=True``."""
        return self._database is not None and self._database.read_only

    @property
    def closed(self) -> bool:
        """Whether the store was closed."""
        return self._closed

    @property
    def config(self) -> DatabaseConfig | None:
        """The settings that the store was opened with; None for a store in memory."""
        return None if self._database is None else self._database.config

    def status(self, *, deep: bool = False) -> StoreStatus:
        """Look at the state of the schema and of its guards.

        Parameters
        ----------
        deep : bool
            Check the content as well, which takes as long as reading all of it: the database's own checks of pages and
            indexes, every value, and the index of the bars against the bars.

        Returns
        -------
        StoreStatus
            Print it, or use ``.ok`` and ``.as_dict()``.

        Raises
        ------
        StoreClosed
        DatabaseUnavailable

        Examples
        --------
        >>> store.status().ok
        True
        """
        self._check_open()
        if self._database is None:
            return StoreStatus(
                address=None, database="memory", durable=False, read_only=False, revision=None, head=HEAD, guards="none"
            )
        self._database.dialect.verify()
        config, read_only = self._database.config, self._database.read_only
        if not deep:
            return inspect_store(config, read_only=read_only)
        progress = Progress("rows")
        with Meter(progress, self._progress) as meter:
            return self._portal.call(inspect_deeply, config, progress, read_only=read_only, meter=meter)

    def upgrade(self, *, confirmed: bool = False, allow_rounding: bool = False, set_aside: bool = False) -> list[str]:
        """Bring the schema to the current revision.

        Parameters
        ----------
        confirmed, allow_rounding, set_aside : bool
            See :func:`walle.migrate.upgrade`.

        Returns
        -------
        list of str
            The revisions that were run; empty when there was nothing to do.

        Raises
        ------
        UpgradeRefused
            When a yes is needed, values would be lost, or rows cannot be read.
        ReadOnly
            When the store was opened with ``read_only=True``.
        PersistenceUnavailable
            Without a database.

        Examples
        --------
        >>> store.upgrade()
        []
        """
        self._check_open()
        if self._database is None:
            raise PersistenceUnavailable("store.upgrade()")
        if self._database.read_only:
            raise ReadOnly(
                f"{self._database.dialect.label} was opened with read_only=True; use walle.upgrade(address)."
            )
        self._database.dialect.verify()
        return migrate.upgrade(
            self._database.config, confirmed=confirmed, allow_rounding=allow_rounding, set_aside=set_aside
        )

    def close(self) -> None:
        """Close every connection and end the store's thread; a second call does nothing.

        Examples
        --------
        >>> store.close()
        >>> store.closed
        True
        """
        self._closed = True
        self._portal.close()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store."""
        self.close()

    def __reduce__(self) -> str:
        """Refuse pickling: connections do not travel.

        Raises
        ------
        TypeError
            Saying what to do instead.
        """
        raise TypeError("a store cannot be pickled: its connections belong to this process. Connect in each process.")

    def __repr__(self) -> str:
        """Show the address with the password masked."""
        if self._database is None:
            return f"Store(in memory, durable=False: events only, nothing is kept{', closed' if self._closed else ''})"
        flags = ", read_only=True" if self.read_only else ""
        return f"Store({self._database.dialect.label!r}{flags}{', closed' if self._closed else ''})"

    def _repr_html_(self) -> str:
        return html_of(self)

    def _check_open(self) -> None:
        self._portal.check_process()
        if self._closed:
            raise StoreClosed("this store was closed. Open it again with walle.connect(...).")


def inspect_store(config: DatabaseConfig, *, read_only: bool = False) -> StoreStatus:
    """Look at the schema of a database, whatever its revision.

    Raises
    ------
    DatabaseUnavailable, NotAWalleStore
    """
    return _status(config, _schema(config), read_only)


async def inspect_deeply(config: DatabaseConfig, progress: Progress, *, read_only: bool = False) -> StoreStatus:
    """Look at the schema of a database and check its content, by connections of its own that cannot write.

    Raises
    ------
    DatabaseUnavailable, NotAWalleStore
    """
    schema = _schema(config)
    status = _status(config, schema, read_only)
    if not schema.ours:
        return status
    database = Database(config, read_only=True, columns=schema.columns)
    try:
        found = await Integrity(database, schema).check(progress)
    finally:
        await database.close()
    return dataclasses.replace(
        status,
        checked=tuple(found.checked),
        not_checked=tuple(found.not_checked),
        problems=(*status.problems, *found.problems),
    )


def _schema(config: DatabaseConfig) -> migrate.Schema:
    schema = migrate.inspect(config)
    migrate.refuse_foreign(schema, masked(config.address))
    return schema


def _status(config: DatabaseConfig, schema: migrate.Schema, read_only: bool) -> StoreStatus:
    known = schema.revision is None or schema.known or schema.adoptable
    return StoreStatus(
        address=masked(config.address),
        database=config.address.get_backend_name(),
        durable=True,
        read_only=read_only,
        revision=schema.revision,
        head=HEAD,
        pending=tuple(migrate.pending(config)) if known else (),
        guards=schema.guards,
        missing_guards=schema.missing_guards,
        problems=tuple(f"{name} is not there, though this revision has it" for name in schema.lacking),
    )
