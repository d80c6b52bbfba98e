"""Inspect a database: the owner of its tables, their revision, and whether WallE can work with them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from walle import backend
from walle.config import DatabaseConfig
from walle.dialects import Dialect, dialect_for
from walle.dialects.base import open_for_inspection
from walle.dialects.columns import columns_of
from walle.errors import DatabaseBusy, DatabaseUnavailable, NotAWalleStore, SchemaError, SchemaOutdated, SchemaTooNew
from walle.models import GUARDED_SINCE, HEAD, REVISIONS, metadata

__all__ = [
    "Schema",
    "describe_unknown_revision",
    "guarded",
    "inspect",
    "open_for_inspection",
    "read_schema",
    "refuse_foreign",
    "require",
]

_VERSION_TABLE = "alembic_version"
_TRIES = 3
_MARKS = {"outbox", "consumer_offsets"}  # both exist since the first revision


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema found in a database.

    Parameters
    ----------
    revision : str or None
        The revision recorded in the database; None if it was never migrated.
    columns : dict of str to frozenset of str
        The existing tables of WallE, with their columns.
    foreign : tuple of str
        Tables that are not WallE's.
    populated : bool
        Whether any of WallE's tables has a row.
    missing_guards : tuple of str
        Guards of immutability that should exist but do not.
    """

    revision: str | None
    columns: Mapping[str, frozenset[str]]
    foreign: tuple[str, ...]
    populated: bool
    missing_guards: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether the database has no tables at all."""
        return self.revision is None and not self.columns and not self.foreign

    @property
    def ours(self) -> bool:
        """Whether WallE or the backend created the tables."""
        return self.revision is not None and set(self.columns) >= _MARKS

    @property
    def lacking(self) -> tuple[str, ...]:
        """Tables and columns of the head revision that are missing, although the database claims to be at it."""
        if self.revision != HEAD:
            return ()
        lacking = [name for name in metadata.tables if name not in self.columns]
        for name, present in self.columns.items():
            lacking += [f"{name}.{item.name}" for item in metadata.tables[name].columns if item.name not in present]
        return tuple(lacking)

    @property
    def guards(self) -> str:
        """The state of the guards: ``in place``, ``missing``, ``none`` (too old a revision), or ``not checked``."""
        if self.revision is not None and not self.known:
            return "not checked"
        if not guarded(self.revision):
            return "none"
        return "missing" if self.missing_guards else "in place"

    @property
    def known(self) -> bool:
        """Whether the revision belongs to the chain of this WallE."""
        return self.revision in REVISIONS

    @property
    def adoptable(self) -> bool:
        """Whether the revision is one of the backend's own, from which a database can be adopted."""
        return self.revision in backend.REVISIONS


def inspect(config: DatabaseConfig, *, read_only: bool = True) -> Schema:
    """Inspect a database without changing it.

    Parameters
    ----------
    config : DatabaseConfig
    read_only : bool
        Whether to open it read-only.

    Returns
    -------
    Schema

    Raises
    ------
    DatabaseUnavailable
        If the database cannot be opened.
    NotAWalleStore
        If the file is not a database.
    """
    dialect = dialect_for(config, read_only=read_only)
    if dialect.is_absent():
        path = Path(str(config.address.database))
        if config.address.get_backend_name() == "sqlite" and not path.exists():
            link = f" ({path} is a link to it)" if path.is_symlink() else ""
            raise DatabaseUnavailable(f"there is no file {path.resolve() if link else path}{link}.")
        return Schema(None, {}, (), False, ())
    for _ in range(_TRIES - 1):
        with suppress(DatabaseBusy), open_for_inspection(dialect) as connection:  # the file changed, and is not locked
            return read_schema(connection, dialect)
    with open_for_inspection(dialect) as connection:
        return read_schema(connection, dialect)


def require(schema: Schema, label: str, *, read_only: bool) -> None:
    """Raise if WallE cannot work with a schema.

    Raises
    ------
    SchemaOutdated
        If tables are missing or older.
    SchemaTooNew
        If the revision is unknown.
    SchemaError
        If the database lacks tables or columns of its revision.
    """
    # an address with a masked password cannot be pasted, so the message then shows no command with it
    how = "walle upgrade --yes" if schema.adoptable else "walle upgrade"
    how += f" '{label}'" if "***" not in label else ", with its address in WALLE_DATABASE_URL"
    upgrade = f"{how} (in Python: walle.upgrade(address))"
    if schema.empty:
        if read_only:
            raise SchemaOutdated(
                f"{label} has no tables yet, so there is nothing to read. Create them first: {upgrade}", None
            )
        raise SchemaOutdated(f"{label} has no tables yet. Create them: {upgrade}", None)
    refuse_foreign(schema, label)
    if schema.lacking:
        raise SchemaError(
            f"{label} stands at revision {schema.revision!r} but lacks {', '.join(schema.lacking)}: it was changed by "
            "hand, or is an incomplete copy. It was not touched; restore it from a complete copy."
        )
    if read_only:
        return
    if schema.adoptable:
        raise SchemaOutdated(
            f"{label} stands at revision {schema.revision!r} of the trading engine's own chain (the backend's), so it "
            f"is not written to. Take it over: {how} (in Python: walle.upgrade(address, confirmed=True)), after "
            "which the backend's own migrations no longer recognise it; or open it with read_only=True.",
            schema.revision,
        )
    if not schema.known:
        raise SchemaTooNew(describe_unknown_revision(schema.revision, label))
    if schema.revision != HEAD:
        raise SchemaOutdated(
            f"{label} stands at revision {schema.revision!r}, but this WallE works with {HEAD!r}. Upgrade it: "
            f"{upgrade}, or open it with read_only=True.",
            schema.revision,
        )


def describe_unknown_revision(revision: str | None, label: str) -> str:
    """Return a message about a revision that belongs to neither WallE nor the backend, and the remedy."""
    return (
        f"{label} stands at revision {revision!r}, which neither this WallE nor the trading engine (the backend) "
        "knows: a later WallE made it. Install a newer WallE, or open it with read_only=True."
    )


def refuse_foreign(schema: Schema, label: str) -> None:
    """Raise if the tables belong to another program.

    Raises
    ------
    NotAWalleStore
        It names some of them.
    """
    if schema.ours or schema.empty:
        return
    tables = ", ".join(sorted({*schema.foreign, *schema.columns})[:5])
    held = f"it holds the tables {tables}" if tables else f"it holds only the revision {schema.revision!r}"
    if schema.revision is None and set(schema.columns) >= _MARKS:
        held += f", and no revision in {_VERSION_TABLE}"
    raise NotAWalleStore(f"{label} is not a WallE store ({held}); it was not touched.")


def guarded(revision: str | None) -> bool:
    """Return whether the database itself keeps facts immutable at a revision (an unknown one counts as later)."""
    if revision is None or revision in backend.REVISIONS:
        return False
    return revision not in REVISIONS or REVISIONS.index(revision) >= REVISIONS.index(GUARDED_SINCE)


def read_schema(connection: Connection, dialect: Dialect) -> Schema:
    """Inspect the tables that a connection sees."""
    names = set(sa.inspect(connection).get_table_names())
    ours = {name for name in metadata.tables if name in names}
    columns = columns_of(connection, {*ours, _VERSION_TABLE})
    versioned = "version_num" in columns.pop(_VERSION_TABLE, ())
    known = ours | {_VERSION_TABLE} if versioned else ours
    # WallE's helper tables begin with its name; all other tables belong to another program
    foreign = {name for name in names - known if not name.startswith("walle_")}
    revision = None
    if versioned:
        revisions = connection.scalars(sa.text(f"SELECT version_num FROM {_VERSION_TABLE}")).all()
        revision = ", ".join(sorted(map(str, revisions))) or None
    filled = " OR ".join(f"EXISTS (SELECT 1 FROM {name})" for name in sorted(ours))
    populated = bool(ours) and bool(connection.scalar(sa.text(f"SELECT {filled}")))
    missing = dialect.missing_guards(connection) if guarded(revision) and revision in REVISIONS else []
    return Schema(revision, columns, tuple(sorted(foreign)), populated, tuple(missing))
