"""What a database holds: whose tables they are, at which revision, and whether WallE can work with them."""

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
from walle.dialects.base import looking
from walle.errors import DatabaseBusy, DatabaseUnavailable, NotAWalleStore, SchemaError, SchemaOutdated, SchemaTooNew
from walle.models import GUARDED_SINCE, HEAD, REVISIONS, metadata

__all__ = ["Schema", "guarded", "inspect", "look_at", "looking", "nobodys", "refuse_foreign", "require"]

_VERSION_TABLE = "alembic_version"
_TRIES = 3
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
        lacking = [name for name in metadata.tables if name not in self.columns]
        for name, present in self.columns.items():
            lacking += [f"{name}.{item.name}" for item in metadata.tables[name].columns if item.name not in present]
        return tuple(lacking)

    @property
    def guards(self) -> str:
        """What is known of the guards: ``in place``, ``missing``, ``none`` (too early), or ``not checked``."""
        if self.revision is not None and not self.known:
            return "not checked"
        if not guarded(self.revision):
            return "none"
        return "missing" if self.missing_guards else "in place"

    @property
    def known(self) -> bool:
        """Whether the revision is one of this WallE's chain."""
        return self.revision in REVISIONS

    @property
    def adoptable(self) -> bool:
        """Whether the revision is one of the backend's own, from which a database is taken over."""
        return self.revision in backend.REVISIONS


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
        path = Path(str(config.address.database))
        if config.address.get_backend_name() == "sqlite" and not path.exists():
            link = f" ({path} is a link to it)" if path.is_symlink() else ""
            raise DatabaseUnavailable(f"there is no file {path.resolve() if link else path}{link}.")
        return Schema(None, {}, (), False, ())
    for _ in range(_TRIES - 1):
        with suppress(DatabaseBusy), looking(dialect) as connection:  # the file was changed beside who cannot hold it
            return look_at(connection, dialect)
    with looking(dialect) as connection:
        return look_at(connection, dialect)


def require(schema: Schema, label: str, *, read_only: bool) -> None:
    """Raise when WallE cannot work with what was found.

    Raises
    ------
    SchemaOutdated
        When tables are missing or older.
    SchemaTooNew
        When the revision is not known here.
    SchemaError
        When the database lacks what its revision has.
    """
    # a masked password cannot be pasted back, so the address is not shown as a command there
    how = "walle upgrade --yes" if schema.adoptable else "walle upgrade"
    how += f" '{label}'" if "***" not in label else ", with its address in WALLE_DATABASE_URL"
    upgrade = f"{how} (in Python: walle.upgrade(address))"
    if schema.empty:
        if read_only:
            raise SchemaOutdated(
                f"{label} has no tables yet, so there is nothing to read. Make them first: {upgrade}", None
            )
        raise SchemaOutdated(f"{label} has no tables yet. Make them: {upgrade}", None)
    refuse_foreign(schema, label)
    if schema.lacking:
        raise SchemaError(
            f"{label} stands at revision {schema.revision!r} but lacks {', '.join(schema.lacking)}: it was changed by "
            "hand, or is half a copy. It was not touched; restore it from a whole copy."
        )
    if read_only:
        return
    if schema.adoptable:
        raise SchemaOutdated(
            f"{label} stands at revision {schema.revision!r} of the trading engine's own chain (the backend's), so it "
            f"is not written to. Take it over: {how} (in Python: walle.upgrade(address, confirmed=True)), after "
            "which the backend's own migrations will not know it any more; or open it with read_only=True.",
            schema.revision,
        )
    if not schema.known:
        raise SchemaTooNew(nobodys(schema.revision, label))
    if schema.revision != HEAD:
        raise SchemaOutdated(
            f"{label} stands at revision {schema.revision!r}, this WallE works with {HEAD!r}. Upgrade it: "
            f"{upgrade}, or open it with read_only=True.",
            schema.revision,
        )


def nobodys(revision: str | None, label: str) -> str:
    """Tell of a revision that is neither ours nor the backend's, and what to do about it."""
    return (
        f"{label} stands at revision {revision!r}, which is neither one of this WallE's nor of the trading engine's "
        "(the backend's): a later WallE made it. Install a newer WallE, or open it with read_only=True."
    )


def refuse_foreign(schema: Schema, label: str) -> None:
    """Raise when somebody else's tables were found.

    Raises
    ------
    NotAWalleStore
        Naming some of them.
    """
    if schema.ours or schema.empty:
        return
    tables = ", ".join(sorted({*schema.foreign, *schema.columns})[:5])
    held = f"it holds the tables {tables}" if tables else f"it holds nothing but the revision {schema.revision!r}"
    if schema.revision is None and set(schema.columns) >= _MARKS:
        held += f", and no revision in {_VERSION_TABLE}"
    raise NotAWalleStore(f"{label} is not a WallE store ({held}); it was not touched.")


def guarded(revision: str | None) -> bool:
    """Tell whether the database keeps facts immutable itself at a revision (an unknown one counts as later)."""
    if revision is None or revision in backend.REVISIONS:
        return False
    return revision not in REVISIONS or REVISIONS.index(revision) >= REVISIONS.index(GUARDED_SINCE)


def look_at(connection: Connection, dialect: Dialect) -> Schema:
    """Look at the tables that a connection sees."""
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
