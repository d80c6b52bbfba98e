"""The life of the schema: what a database is, and bringing it to another revision.

Alembic is imported only when something is migrated. A migration is one transaction on both databases: a killed one
leaves the old schema.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from walle.config import DatabaseConfig, masked
from walle.dialects import Dialect, dialect_for
from walle.errors import (
    DatabaseUnavailable,
    NotAWalleStore,
    SchemaError,
    SchemaOutdated,
    SchemaTooNew,
    UpgradeRefused,
)
from walle.models import BASE_REVISIONS, GUARDED_SINCE, HEAD, REVISIONS, metadata

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = [
    "Schema",
    "check",
    "current",
    "downgrade",
    "guarded",
    "inspect",
    "pending",
    "prepare",
    "refuse_loss",
    "run_locked",
    "script_location",
    "upgrade",
]

log = logging.getLogger("walle")

_VERSION_TABLE = "alembic_version"
_MARKS = {"outbox", "consumer_offsets"}  # both stand from the first revision on


@dataclass(frozen=True, slots=True)
class Schema:
    """What was found in a database.

    Parameters
    ----------
    revision : str or None
        As it stands in the database; None when nothing was migrated there.
    columns : dict of str to frozenset of str
        WallE's tables that are there, with their columns.
    foreign : tuple of str
        Tables that are not WallE's.
    populated : bool
        Whether any of WallE's tables holds a row.
    missing_guards : tuple of str
        Guards of immutability that should be there and are not.
    """

    revision: str | None
    columns: Mapping[str, frozenset[str]]
    foreign: tuple[str, ...]
    populated: bool
    missing_guards: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether the database has no table at all."""
        return self.revision is None and not self.columns and not self.foreign

    @property
    def ours(self) -> bool:
        """Whether WallE, or the backend, made the tables."""
        return self.revision is not None and set(self.columns) >= _MARKS

    @property
    def lacking(self) -> tuple[str, ...]:
        """Tables and columns that the head revision has and this database, which says it stands there, has not."""
        if self.revision != HEAD:
            return ()
        tables = [name for name in metadata.tables if name not in self.columns]
        columns = [
            f"{table.name}.{column}"
            for table in metadata.tables.values()
            for column in (item.name for item in table.columns)
            if column not in self.columns.get(table.name, {column})
        ]
        return (*tables, *columns)

    @property
    def known(self) -> bool:
        """Whether the revision is one of this WallE's chain."""
        return self.revision in REVISIONS


def script_location() -> Path:
    """Return the folder of the migrations: the repository's, or the one inside an installed wheel."""
    package = Path(__file__).parent
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def inspect(config: DatabaseConfig, *, read_only: bool = True) -> Schema:
    """Look at a database without changing it.

    Parameters
    ----------
    config : DatabaseConfig
    read_only : bool
        How to open it.

    Returns
    -------
    Schema

    Raises
    ------
    DatabaseUnavailable
        When it cannot be opened.
    NotAWalleStore
        When the file is no database.
    """
    dialect = dialect_for(config, read_only=read_only)
    if dialect.is_absent():
        if config.address.get_backend_name() == "sqlite" and not Path(str(config.address.database)).exists():
            raise DatabaseUnavailable(f"there is no file {config.address.database}.")
        return Schema(None, {}, (), False, ())
    with _connection(dialect) as connection:
        return _inspect(connection, dialect)


def prepare(config: DatabaseConfig, *, read_only: bool = False) -> Schema:
    """See to it that a database can be worked with; make the schema of a new SQLite file.

    Parameters
    ----------
    config : DatabaseConfig
    read_only : bool
        Then any database that WallE or the backend wrote will do, at any revision.

    Returns
    -------
    Schema

    Raises
    ------
    SchemaOutdated, SchemaTooNew, NotAWalleStore
        When it is not at this WallE's revision; the message says what to do.
    DatabaseUnavailable, AuthenticationFailed, ReadOnly
        When it cannot be opened.
    """
    dialect = dialect_for(config, read_only=read_only)
    if dialect.is_absent() and not read_only:
        dialect.prepare_creation()
    # not read-only when writes follow: a read-only connection would leave a -shm file behind
    schema = inspect(config, read_only=read_only)
    if schema.empty and dialect.name == "sqlite" and not read_only:
        # a crash between the making of the file and its schema leaves an empty database: it is made whole here
        dialect.prepare_creation()
        upgrade(config)
        log.info("made a new store: %s", dialect.label)
        schema = inspect(config)
    _judge(schema, dialect.label, read_only=read_only)
    return schema


def _judge(schema: Schema, label: str, *, read_only: bool) -> None:
    if schema.empty:
        if read_only:
            raise SchemaOutdated(
                f"{label} has no tables yet. Open it once without read_only=True, or run: walle upgrade", None
            )
        raise SchemaOutdated(f"{label} has no tables yet. Make them: walle upgrade '{label}'", None)
    _refuse_foreign(schema, label)
    if schema.lacking:
        raise SchemaError(
            f"{label} stands at revision {schema.revision!r} but lacks {', '.join(schema.lacking)}: it was changed by "
            "hand, or is half a copy. It was not touched; restore it from a whole copy."
        )
    if read_only:
        return
    if not schema.known:
        raise SchemaTooNew(
            f"{label} stands at revision {schema.revision!r}, which this WallE does not know. Install a newer WallE, "
            "or open it with read_only=True."
        )
    if schema.revision != HEAD:
        raise SchemaOutdated(
            f"{label} stands at revision {schema.revision!r}, this WallE works with {HEAD!r}. Upgrade it: "
            f"walle upgrade '{label}' (or WALLE_DATABASE_URL), or open it with read_only=True.",
            schema.revision,
        )


def _refuse_foreign(schema: Schema, label: str) -> None:
    if schema.ours or schema.empty:
        return
    tables = ", ".join(sorted({*schema.foreign, *schema.columns})[:5])
    held = f"it holds the tables {tables}" if tables else f"it holds nothing but the revision {schema.revision!r}"
    if schema.revision is None and set(schema.columns) >= _MARKS:
        held += f", and no revision in {_VERSION_TABLE}"
    raise NotAWalleStore(f"{label} is not a WallE store ({held}); it was not touched.")


def current(config: DatabaseConfig) -> str | None:
    """Return the revision that a database stands at; None for an empty one."""
    return inspect(config).revision


def pending(config: DatabaseConfig) -> list[str]:
    """Return the revisions that an upgrade would run, oldest first.

    Raises
    ------
    SchemaTooNew
        When the database stands at a revision of another chain.
    """
    revision = current(config)
    if revision is None:
        return list(REVISIONS)
    if revision not in REVISIONS:
        raise SchemaTooNew(f"{masked(config.address)} stands at revision {revision!r}, which this WallE does not know.")
    return list(REVISIONS[REVISIONS.index(revision) + 1 :])


def upgrade(
    config: DatabaseConfig, revision: str = "head", *, confirmed: bool = False, allow_rounding: bool = False
) -> list[str]:
    """Bring a database to a later revision; make the schema of an empty one.

    Parameters
    ----------
    config : DatabaseConfig
    revision : str
        ``head``, or one of :data:`walle.models.REVISIONS`.
    confirmed : bool
        Yes to upgrading a filled database at one of the base revisions: the backend's own chain will not know ours.
    allow_rounding : bool
        Let bars that float64 cannot hold be rounded to the nearest float64.

    Returns
    -------
    list of str
        The revisions that were run; empty when there was nothing to do.

    Raises
    ------
    UpgradeRefused
        When a yes is needed, or values would be lost.
    NotAWalleStore, SchemaTooNew
        When the database is not ours to upgrade.
    """
    dialect = dialect_for(config)
    if dialect.is_absent():
        dialect.prepare_creation()
    schema = inspect(config, read_only=False)
    label = masked(config.address)
    if not schema.empty:
        _refuse_foreign(schema, label)
        before = pending(config)
        if schema.revision in BASE_REVISIONS and schema.populated and not confirmed and before:
            raise UpgradeRefused(
                f"{label} holds rows and stands at the base revision {schema.revision!r}. After this upgrade the "
                "backend's own migration chain will not know the database any more. If that is meant: "
                f"walle upgrade --yes '{label}'"
            )
    ran = pending(config) if not schema.empty else list(REVISIONS)
    _alembic(config, "upgrade", revision, {"allow-rounding": "yes"} if allow_rounding else {})
    after = current(config)
    return ran[: ran.index(after) + 1] if after in ran else []


def downgrade(config: DatabaseConfig, revision: str, *, discard: bool = False) -> None:
    """Bring a database back to an earlier revision.

    Parameters
    ----------
    config : DatabaseConfig
    revision : str
        One of :data:`walle.models.REVISIONS`, or ``base`` for no tables at all.
    discard : bool
        Allow the loss of digits, characters and rows that the earlier revision cannot hold.

    Raises
    ------
    UpgradeRefused
        Naming what would be lost, or what the earlier revision cannot hold in any form.
    NotAWalleStore, DatabaseUnavailable
        When there is nothing of ours to downgrade.
    """
    if inspect(config).empty:
        return
    _alembic(config, "downgrade", revision, {"discard": "yes"} if discard else {})


def check(config: DatabaseConfig) -> list[str]:
    """Compare the schema of a database with the models and the guards.

    Returns
    -------
    list of str
        A line for every difference; empty when there is none.
    """
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    dialect = dialect_for(config, read_only=True)
    with _connection(dialect) as connection:
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "include_name": _ours_by_name, "target_metadata": metadata},
        )
        differences = [str(item) for item in compare_metadata(context, metadata)]
        return differences + [f"guard {name} is missing" for name in dialect.missing_guards(connection)]


def guarded(revision: str | None) -> bool:
    """Tell whether the database keeps facts immutable itself at a revision (an unknown one counts as later)."""
    return revision is not None and (
        revision not in REVISIONS or REVISIONS.index(revision) >= REVISIONS.index(GUARDED_SINCE)
    )


def refuse_loss(connection: Connection, losses: Sequence[tuple[str, str]], option: str | None, hint: str) -> None:
    """Raise when any of the queries finds values that a migration would lose, naming the first of them.

    Parameters
    ----------
    connection : Connection
    losses : sequence of (what, query)
        A query gives one text per lost value.
    option : str or None
        The ``-x`` option by which a user allows the loss; None: nothing allows it.
    hint : str
        How to allow it.

    Raises
    ------
    UpgradeRefused
        When something would be lost and the option was not given.
    """
    from alembic import context

    if option is not None and option in context.get_x_argument(as_dictionary=True):
        return
    found = []
    for what, query in losses:
        total = connection.scalar(sa.text(f"SELECT count(*) FROM ({query}) AS lost")) or 0
        if total:
            first = connection.scalars(sa.text(f"{query} LIMIT 5")).all()
            found.append(f"{what}: {total}, such as {', '.join(map(str, first))}")
    if found:
        raise UpgradeRefused(f"this migration would lose {'; '.join(found)}. Nothing was changed. {hint}")


def run_locked(connection: Connection, dialect: Dialect) -> None:
    """Run the migrations that Alembic's context asks for, in one transaction, and set the guards right.

    Raises
    ------
    NotAWalleStore
        When the tables are somebody else's; the ``alembic`` command comes here without a look at them before.
    """
    from alembic import context

    with connection.begin():
        dialect.begin_migration(connection)
        _refuse_foreign(_inspect(connection, dialect), dialect.label)
        context.configure(
            connection=connection,
            target_metadata=metadata,
            compare_type=True,
            include_name=_ours_by_name,
            transactional_ddl=True,
            render_as_batch=dialect.name == "sqlite",
        )
        migrations = context.get_context()
        # a batch rebuild drops triggers without a word, and a dropped column may stand in one
        dialect.remove_guards(connection)
        with context.begin_transaction():
            context.run_migrations()
        if guarded(migrations.get_current_revision()):
            dialect.install_guards(connection)


def _ours_by_name(name: str | None, kind: str, _: object) -> bool:
    return not (kind == "table" and name is not None and name not in metadata.tables)


def _alembic(config: DatabaseConfig, action: str, revision: str, options: Mapping[str, str]) -> None:
    from alembic import command
    from alembic.util import CommandError

    settings = _settings(config, options)
    dialect = dialect_for(config)
    try:
        (command.upgrade if action == "upgrade" else command.downgrade)(settings, revision)
    except CommandError as error:
        raise SchemaError(f"{dialect.label}: {error}") from error
    except Exception as error:
        ours = dialect.translate(error)
        if ours is None:
            raise
        raise ours from error


def _settings(config: DatabaseConfig, options: Mapping[str, str]) -> Config:
    from alembic.config import Config

    words = argparse.Namespace(x=[f"{key}={value}" for key, value in options.items()])
    settings = Config(cmd_opts=words, attributes={"walle_config": config})
    settings.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    return settings


class _connection:
    """A connection for looking, whose driver errors are ours; a class so that it reads as one line."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def __enter__(self) -> Connection:
        self.engine = self.dialect.sync_engine()
        try:
            self.connection = self.engine.connect()
            # deferred: looking must not wait for a writer
            self.connection.execution_options(walle_deferred=True)
            self.connection.execute(sa.select(1))
        except Exception as error:
            self.engine.dispose()
            ours = self.dialect.translate(error)
            raise (ours or error) from error
        return self.connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.connection.close()
        self.engine.dispose()
        ours = self.dialect.translate(error) if error is not None else None
        if ours is not None:
            raise ours from error


def _inspect(connection: Connection, dialect: Dialect) -> Schema:
    inspector = sa.inspect(connection)
    names = set(inspector.get_table_names())
    ours = {name for name in metadata.tables if name in names}
    versioned = _VERSION_TABLE in names and "version_num" in {
        item["name"] for item in inspector.get_columns(_VERSION_TABLE)
    }
    known = ours | {_VERSION_TABLE} if versioned else ours
    # WallE's helpers carry its name; everything else is somebody else's
    foreign = {name for name in names - known if not name.startswith("walle_")}
    columns = {name: frozenset(item["name"] for item in inspector.get_columns(name)) for name in ours}
    revision = None
    if versioned:
        revisions = connection.scalars(sa.text(f"SELECT version_num FROM {_VERSION_TABLE}")).all()
        revision = ", ".join(sorted(map(str, revisions))) or None
    populated = any(connection.scalar(sa.text(f"SELECT EXISTS (SELECT 1 FROM {name})")) for name in sorted(ours))
    missing = dialect.missing_guards(connection) if guarded(revision) and revision in REVISIONS else []
    return Schema(revision, columns, tuple(sorted(foreign)), populated, tuple(missing))
