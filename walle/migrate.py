"""Create, upgrade, downgrade and check the schema of a database.

Alembic is imported only for migrations. A migration is one transaction on both databases: if it is killed, the old
schema stays.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from walle import backend
from walle.config import DatabaseConfig, masked
from walle.dialects import Dialect, dialect_for
from walle.errors import SchemaError, SchemaTooNew, UpgradeRefused
from walle.models import BASE_REVISIONS, FORMED_BY, HEAD, REVISIONS, metadata
from walle.schema import (
    Schema,
    describe_unknown_revision,
    guarded,
    inspect,
    open_for_inspection,
    read_schema,
    refuse_foreign,
    require,
)
from walle.set_aside import refuse_unreadable
from walle.set_aside import set_aside as move_aside

__all__ = [
    "Schema",
    "aside",
    "check",
    "current",
    "downgrade",
    "given",
    "guarded",
    "inspect",
    "pending",
    "prepare",
    "refuse_foreign",
    "refuse_loss",
    "run_locked",
    "script_location",
    "upgrade",
]

log: logging.Logger = logging.getLogger("walle")


def script_location() -> Path:
    """Return the folder of the migrations, in the repository or in an installed wheel."""
    package = Path(__file__).parent
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def prepare(config: DatabaseConfig, *, read_only: bool = False, made: Callable[[], None] | None = None) -> Schema:
    """Raise unless WallE can work with a database; create the schema of a new SQLite file.

    Parameters
    ----------
    config : DatabaseConfig
    read_only : bool
        Whether to accept any database that WallE or the backend wrote, at any revision.
    made : callable, optional
        Called when the schema of a new file was created.

    Returns
    -------
    Schema

    Raises
    ------
    SchemaOutdated, SchemaTooNew, NotAWalleStore
        If it is not at the revision of this WallE; the message says what to do.
    UpgradeRefused
        For a SQLite file at a revision of the trading engine's own chain.
    DatabaseUnavailable, AuthenticationFailed, ReadOnly
        If it cannot be opened.
    """
    dialect = dialect_for(config, read_only=read_only)
    if dialect.is_absent() and not read_only:
        dialect.prepare_creation()
    # not read-only when writes follow: a read-only connection would leave a -shm file behind
    schema = inspect(config, read_only=read_only)
    if schema.empty and dialect.name == "sqlite" and not read_only:
        # a crash between creating the file and its schema leaves an empty database, which gets its schema here
        dialect.prepare_creation()
        upgrade(config)
        log.info("made a new store: %s", dialect.label)
        if made is not None:
            made()
        schema = inspect(config)
    if schema.adoptable and not read_only:
        _refuse_file(dialect, schema.revision)
    require(schema, dialect.label, read_only=read_only)
    return schema


def current(config: DatabaseConfig) -> str | None:
    """Return the revision of a database; None for an empty one."""
    return inspect(config).revision


def aside(config: DatabaseConfig) -> int:
    """Count the rows that were set aside in a database; 0 if it does not have that table."""
    if dialect_for(config).is_absent():
        return 0
    schema = inspect(config, read_only=False)  # a read-only look would leave a -shm file behind
    if FORMED_BY not in schema.columns:
        return 0
    with open_for_inspection(dialect_for(config)) as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(metadata.tables[FORMED_BY])) or 0


def pending(config: DatabaseConfig) -> list[str]:
    """Return the revisions that an upgrade would run, oldest first.

    Raises
    ------
    SchemaTooNew
        If the revision of the database belongs to another chain.
    """
    return _pending(inspect(config), masked(config.address))


def _pending(schema: Schema, label: str) -> list[str]:
    if schema.revision is None:
        return list(REVISIONS)
    if schema.revision not in REVISIONS:
        if not schema.adoptable:
            raise SchemaTooNew(describe_unknown_revision(schema.revision, label))
        return list(REVISIONS[REVISIONS.index(backend.FORK) + 1 :])
    return list(REVISIONS[REVISIONS.index(schema.revision) + 1 :])


def upgrade(
    config: DatabaseConfig,
    revision: str = "head",
    *,
    confirmed: bool = False,
    allow_rounding: bool = False,
    set_aside: bool = False,
) -> list[str]:
    """Upgrade a database to a later revision; create the schema of an empty one.

    Parameters
    ----------
    config : DatabaseConfig
    revision : str
        ``head``, or one of :data:`walle.models.REVISIONS`.
    confirmed : bool
        Whether to upgrade a filled database at one of the base revisions, or to adopt one at a later revision of the
        backend's own chain, which will not recognise our revisions. Its rows and tables stay, and the symbols and the
        timeframe of its runs become columns again.
    allow_rounding : bool
        Whether bars that float64 cannot hold may be rounded to the nearest float64.
    set_aside : bool
        Whether to move rows of other programs that no reader can read, unchanged, into the table ``set_aside_rows``;
        this happens even if there is no revision to run.

    Returns
    -------
    list of str
        The revisions that were run; empty if there was nothing to do.

    Raises
    ------
    UpgradeRefused
        If a confirmation is needed, values would be lost, or rows cannot be read.
    NotAWalleStore, SchemaTooNew
        If the database is not ours to upgrade.
    """
    dialect = dialect_for(config)
    if dialect.is_absent():
        dialect.prepare_creation()
    schema = inspect(config, read_only=False)
    label = masked(config.address)
    refuse_foreign(schema, label)
    ran = _pending(schema, label)
    if schema.adoptable:
        _refuse_file(dialect, schema.revision)
    if schema.adoptable and not confirmed:
        raise UpgradeRefused(f"{label} {_adoption(schema.revision)} walle.upgrade(address, confirmed=True).")
    if schema.revision in BASE_REVISIONS and schema.populated and not confirmed and ran:
        raise UpgradeRefused(
            f"{label} holds rows and stands at the base revision {schema.revision!r}. After this upgrade the "
            "backend's own migration chain will not know the database any more. If that is meant: walle upgrade --yes, "
            "or walle.upgrade(address, confirmed=True)."
        )
    if revision == "head" and not (ran or schema.missing_guards or set_aside):
        return []  # without waiting for a lock
    allowed = {"allow-rounding": allow_rounding, "adopt": confirmed, "set-aside": set_aside}
    _alembic(config, "upgrade", revision, allowed)
    after = inspect(config, read_only=False).revision  # a read-only look would leave a -shm file behind
    return ran[: ran.index(after) + 1] if after in ran else []


def downgrade(config: DatabaseConfig, revision: str, *, discard: bool = False) -> None:
    """Downgrade a database to an earlier revision.

    Parameters
    ----------
    config : DatabaseConfig
    revision : str
        One of :data:`walle.models.REVISIONS`, or ``base`` for no tables at all.
    discard : bool
        Whether to allow the loss of digits, characters and rows that the earlier revision cannot hold.

    Raises
    ------
    UpgradeRefused
        If something would be lost, or the earlier revision cannot hold it in any form; the message names it.
    NotAWalleStore, DatabaseUnavailable
        If there is nothing of ours to downgrade.
    """
    if inspect(config).empty:
        return
    _alembic(config, "downgrade", revision, {"discard": discard})


def check(config: DatabaseConfig) -> list[str]:
    """Compare the schema of a database with the models and the guards.

    Returns
    -------
    list of str
        A line for every difference; empty if there is none.
    """
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    dialect = dialect_for(config, read_only=True)
    with open_for_inspection(dialect) as connection:
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "include_name": _ours_by_name, "target_metadata": metadata},
        )
        differences = [str(item) for item in compare_metadata(context, metadata)]
        return differences + [f"guard {name} is missing" for name in dialect.missing_guards(connection)]


def given(option: str) -> bool:
    """Return whether the caller of a migration passed an ``-x`` option that allows something."""
    from alembic import context

    return option in context.get_x_argument(as_dictionary=True)


def refuse_loss(connection: Connection, losses: Sequence[tuple[str, str]], option: str | None, hint: str) -> None:
    """Raise if any of the queries finds values that a migration would lose, naming the first of them.

    Parameters
    ----------
    connection : Connection
    losses : sequence of (what, query)
        Each query returns one text per lost value.
    option : str or None
        The ``-x`` option that allows the loss; None if nothing allows it.
    hint : str
        How to allow it.

    Raises
    ------
    UpgradeRefused
        If something would be lost and the option was not passed.
    """
    if option is not None and given(option):
        return
    found = []
    for what, query in losses:
        total = connection.scalar(sa.text(f"SELECT count(*) FROM ({query}) AS lost")) or 0
        if total:
            first = connection.scalars(sa.text(f"{query} LIMIT 5")).all()
            found.append(f"{what}: {total}, such as {', '.join(map(str, first))}")
    if found:
        raise UpgradeRefused(f"this migration would lose {'; '.join(found)}. Nothing was changed. {hint}")


def run_locked(connection: Connection, dialect: Dialect, *, changes: bool = True) -> None:
    """Run the migrations of Alembic's context in one transaction, and recreate the guards.

    Parameters
    ----------
    connection : Connection
    dialect : Dialect
    changes : bool
        False for a command that only reads: it takes no lock and changes no guard.

    Raises
    ------
    NotAWalleStore
        If the tables belong to somebody else; the ``alembic`` command does not check that earlier.
    UpgradeRefused
        If they belong to the backend, and their adoption was not requested.
    """
    from alembic import context

    with connection.begin():
        if changes:
            dialect.begin_migration(connection)
        schema = read_schema(connection, dialect)
        refuse_foreign(schema, dialect.label)
        if changes and schema.adoptable:
            _refuse_file(dialect, schema.revision)
            if not given("adopt"):
                raise UpgradeRefused(f"{dialect.label} {_adoption(schema.revision)} alembic -x adopt=yes upgrade head.")
            backend.adopt(connection)
        context.configure(
            connection=connection,
            target_metadata=metadata,
            compare_type=True,
            include_name=_ours_by_name,
            transactional_ddl=True,
            render_as_batch=dialect.name == "sqlite",
        )
        migrations = context.get_context()
        if changes:
            # a batch rebuild silently drops triggers, and a trigger may use a dropped column
            dialect.remove_guards(connection)
        with context.begin_transaction():
            context.run_migrations()
        if changes and given("set-aside") and FORMED_BY in sa.inspect(connection).get_table_names():
            move_aside(connection)
        elif changes and schema.missing_guards and schema.revision == HEAD == migrations.get_current_revision():
            refuse_unreadable(connection)  # PostgreSQL's checks would refuse them too, but without naming a row
        if changes and guarded(migrations.get_current_revision()):
            dialect.install_guards(connection)


def _refuse_file(dialect: Dialect, revision: str | None) -> None:
    """Raise for a SQLite file at a revision of the backend's own chain.

    Raises
    ------
    UpgradeRefused
    """
    if dialect.name == "sqlite":
        raise UpgradeRefused(
            f"{dialect.label} stands at revision {revision!r} of the trading engine's own chain (the backend's), which "
            "works on PostgreSQL only: nobody knows in which form this file keeps times and decimals. It was not "
            "touched. Open it with read_only=True, or ingest what you need of it into a store of your own."
        )


def _adoption(revision: str | None) -> str:
    return (
        f"stands at revision {revision!r} of the trading engine's own chain (the backend's). It can be taken over: all "
        "rows stay, backtest_results and other tables of the engine's too; symbols and timeframe of the runs become "
        "columns again, and stay in the config as well; config may be null again; then WallE's own revisions follow, "
        "all of it in one transaction. The backend's own migration chain will not know the database any more. If that "
        "is meant: walle upgrade --yes, or"
    )


def _ours_by_name(name: str | None, kind: str, _: object) -> bool:
    return not (kind == "table" and name is not None and name not in metadata.tables)


def _alembic(config: DatabaseConfig, action: str, revision: str, allowed: Mapping[str, bool]) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    words = argparse.Namespace(x=[f"{name}=yes" for name, yes in allowed.items() if yes])
    settings = Config(cmd_opts=words, attributes={"walle_config": config})
    settings.set_main_option("script_location", str(script_location()).replace("%", "%%"))
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
