"""PgBouncer before the tests' server, as its package leaves it: only where it listens and whom it lets in is set."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.postgres import PASSWORD, Server

__all__ = ["MODES", "bouncing"]

MODES = ("session", "transaction")

_SETTINGS = """\
[databases]
* = host=127.0.0.1 port={server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = {mode}
logfile = {folder}/log
{more}
"""


def program() -> str:
    """Return the path of PgBouncer, or skip the test; CI must have it."""
    found = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        assert os.environ.get("CI") != "true", "CI=true needs PgBouncer"
        pytest.skip("PgBouncer is needed: apt-get install pgbouncer")
    return found


@contextmanager
def bouncing(server: Server, mode: str, *, more: str = "") -> Iterator[int]:
    """Run PgBouncer before a server, and yield its port."""
    command = [program()]
    if os.geteuid() == 0:  # it refuses to run as root
        command += ["-u", "nobody"]
    folder = Path(tempfile.mkdtemp(prefix="walle-pgbouncer-"))
    folder.chmod(0o777)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "users.txt").write_text(f'"walle" "{PASSWORD}"\n')
    settings = folder / "pgbouncer.ini"
    settings.write_text(_SETTINGS.format(server=server.port, port=port, folder=folder, mode=mode, more=more))
    process = subprocess.Popen([*command, str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(port, folder)
        yield port
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _await(port: int, folder: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    log = folder / "log"
    raise AssertionError(f"PgBouncer does not listen: {log.read_text() if log.exists() else 'it wrote no log'}")
