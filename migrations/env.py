"""Alembic's environment: the database comes from the caller, from ``-x url=...`` or from WALLE_DATABASE_URL."""

from alembic import context
from alembic.util import CommandError

from walle.config import DatabaseConfig
from walle.dialects import dialect_for
from walle.errors import ConfigurationError, WalleError
from walle.migrate import run_locked


def database() -> DatabaseConfig:
    """Find the database that is to be migrated.

    Raises
    ------
    ConfigurationError
        When nobody said which.
    """
    given = context.config.attributes.get("walle_config")
    if isinstance(given, DatabaseConfig):
        return given
    options = context.get_x_argument(as_dictionary=True)
    url = options.get("url")
    config = DatabaseConfig.from_environment(url if isinstance(url, str) else None)
    if config.url is None:
        raise ConfigurationError(
            "which database? Set WALLE_DATABASE_URL, or say: alembic -x url=research.db upgrade head"
        )
    return config


def run() -> None:
    """Migrate in one transaction, under a lock.

    Raises
    ------
    CommandError
        In offline mode.
    """
    if context.is_offline_mode():
        raise CommandError("offline mode is not supported: the guards are set by looking at the database.")
    config = database()
    dialect = dialect_for(config)
    # the alembic command says what it was asked for; walle.migrate asks for changes only
    command = getattr(context.config.cmd_opts, "cmd", None)
    changes = command is None or command[0].__name__ in ("upgrade", "downgrade", "stamp")
    if changes and dialect.is_absent():
        dialect.prepare_creation()
    engine = dialect.sync_engine(create=changes)
    try:
        with dialect.gate.passed(), engine.connect() as connection:
            run_locked(connection, dialect, changes=changes)
    finally:
        engine.dispose()


try:
    run()
except WalleError as error:
    if "walle_config" in context.config.attributes:
        raise
    raise CommandError(str(error)) from error  # the alembic command shows these without a traceback
