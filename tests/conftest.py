"""Real databases for every test: SQLite files, and one PostgreSQL server that the tests start themselves."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path

import pytest
import pytest_asyncio

import walle
from tests import examples
from tests.postgres import Server, start_server
from walle import migrate
from walle.config import DatabaseConfig
from walle.database import Database
from walle.events import EventLog

_numbers = itertools.count()

HERE = Path(__file__).parent
QUICK = "not endurance and not thorough"
"""What runs when nothing else is asked for; as in pyproject.toml."""

FAST = "fast"
"""What needs neither PostgreSQL nor a notebook and is quick: for every few minutes of work."""

ENDURANCE_TIMEOUT = 3_600.0
"""Seconds of one test at its full size."""

MEMORY = Path("/dev/shm")
"""A folder in memory, on Linux."""

TEMPORARY = "PYTEST_DEBUG_TEMPROOT"
"""Where pytest makes its temporary folders."""

THOROUGH = [
    *("backend", "benchmarks", "fuzz", "pooler", "reliability"),
    *("bars_files/test_memory.py", "ingest/test_memory.py"),
    *("test_migrations_kill.py", "test_migrations_loss.py", "test_migrations_states.py", "test_site.py"),
]
"""Folders and files whose tests all are, and so is what needs the browser."""

SQLITE_FIRST = [
    *("widgets", "test_cli.py", "test_audit.py", "test_bad_input.py", "test_fee_currency.py", "test_migrations.py"),
    *("test_foreign_rows.py", "test_foreign_sides.py", "test_foreign_values.py", "test_immutability_guards.py"),
    *("ingest/test_layouts.py", "ingest/test_pages.py", "ingest/test_refused.py"),
    *("contract/test_no_guess.py", "contract/test_one_grid.py", "contract/test_stamps.py"),
]
"""Folders and files of long lists of cases, most of them judged before a database is asked: all are on SQLite in the
quick set; on PostgreSQL the first of each list is thorough, and the others run with the loops at their full size."""

SLOW = [
    *("widgets", "ingest/test_index_series.py", "ingest/test_layouts.py", "ingest/test_progress.py"),
    *("test_audit.py", "test_audit_clean.py", "test_backend_database.py", "test_backtesting.py", "test_charts.py"),
    *("test_cli.py", "test_costs.py", "test_docs.py", "test_equities.py", "test_examples_of_docstrings.py"),
    *("test_fee_currency.py", "test_foreign_rows.py", "test_foreign_sides.py", "test_foreign_values.py"),
    *("test_immutability_guards.py", "test_ledger.py", "test_migrations.py", "test_notebooks.py"),
    "test_sample_data.py",
]
"""Folders and files that draw pictures, start processes, or upgrade many databases: none of it is fast."""


LONG = [
    *("benchmarks", "contract/test_versions_model.py", "reliability", "widgets", "test_migrations_kill.py"),
    *("../notebooks", "ingest/test_pieces.py", "ingest/test_memory.py", "test_charts.py", "backend"),
    *("contract/test_versions_pages.py", "contract/test_unnoticed_bars.py", "contract/test_extra_columns.py"),
]
"""Folders and files that take long: they come first, so that all workers end at the same time."""


def pytest_configure(config: pytest.Config) -> None:
    asked = re.sub(r"\bnot \w+", "", config.option.markexpr)
    whole = not config.option.markexpr or "thorough" in asked
    examples.choose(config.option.hypothesis_profile or (examples.THOROUGH if whole else "quick"))
    if TEMPORARY not in os.environ and config.option.basetemp is None and _has_room(MEMORY, 2**33):
        root = MEMORY / f"walle-tests-{os.getuid()}"  # no test asks whether a disk keeps what it was told to
        root.mkdir(mode=0o700, exist_ok=True)
        os.environ[TEMPORARY] = str(root)  # the workers have it from here
    if workers := getattr(config.option, "numprocesses", None):
        # before its first frame; else the threads of each worker would wait for those of the others
        os.environ.setdefault("POLARS_MAX_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _place(item.path))
    lists: set[str] = set()
    for item in items:
        if _is_on_postgresql(item) and _is_in(item, SQLITE_FIRST):
            cases = item.nodeid.partition("[")[0]
            if cases in lists:
                item.add_marker("endurance")
            lists.add(cases)
        if item.get_closest_marker("endurance"):
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(ENDURANCE_TIMEOUT))
        elif _is_thorough(item):
            item.add_marker("thorough")
        elif _is_fast(item):
            item.add_marker("fast")


def _is_in(item: pytest.Item, names: list[str]) -> bool:
    return any(item.path.is_relative_to(HERE / name) for name in names)


@cache
def _place(path: Path) -> int:
    """Where a file comes among the others."""
    return next((at for at, name in enumerate(LONG) if path.is_relative_to((HERE / name).resolve())), len(LONG))


def _is_thorough(item: pytest.Item) -> bool:
    if item.get_closest_marker("thorough") or "lab" in getattr(item, "fixturenames", ()):
        return True
    chosen = item.config.option.hypothesis_profile is None and examples.is_thorough()
    if chosen and getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
        return True  # the quick set tries few of its examples
    return _is_in(item, THOROUGH) or (_is_on_postgresql(item) and _is_in(item, SQLITE_FIRST))


def _is_on_postgresql(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    values = [] if callspec is None else callspec.params.values()
    return any(isinstance(value, str) and value == "postgresql" for value in values)


def _is_fast(item: pytest.Item) -> bool:
    if not item.path.is_relative_to(HERE) or _is_in(item, SLOW) or item.get_closest_marker("slow"):
        return False
    return "server" not in getattr(item, "fixturenames", ()) and not _is_on_postgresql(item)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    left_out = {
        FAST: "left out: PostgreSQL, notebooks and what takes seconds (pytest -n 2), and all that those leave out.",
        QUICK: "left out: loops, outages, browser, memory, poolers, fuzzing, benchmarks, most examples of properties, "
        "some of long lists of cases (pytest -n 2 -m thorough), loops and lists at full size (pytest -m endurance); "
        ".ci/run makes all checks.",
    }
    if config.option.markexpr in left_out:
        terminalreporter.write_line(left_out[config.option.markexpr])


@pytest.fixture(scope="session", autouse=True)
def _quiet_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WALLE_")]:
            patch.delenv(name)
        patch.setenv("WALLE_PROGRESS", "0")
        yield


def _has_room(folder: Path, least: int = 2**32) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > least


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A PostgreSQL server over loopback with scram passwords."""
    if request.config.option.markexpr == FAST:
        pytest.fail("a test of the fast set needs PostgreSQL: mark it slow")
    # each database is some 400 files, which some disks make slowly; a socket's path has at most 107 characters
    folder = Path(tempfile.mkdtemp(prefix="walle-pg-", dir=MEMORY if _has_room(MEMORY) else None))
    running = start_server(folder)
    try:
        migrate.upgrade(DatabaseConfig(url=running.create("walle_template")))
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "store.db"
    walle.connect(path).close()
    return path


@pytest.fixture
def sqlite_address(sqlite_template: Path, tmp_path: Path) -> str:
    """The path of a new SQLite store."""
    path = tmp_path / f"store{next(_numbers)}.db"
    shutil.copy(sqlite_template, path)
    return str(path)


@pytest.fixture
def postgres_address(server: Server) -> Iterator[str]:
    """The URL of a new PostgreSQL store."""
    name = f"store_{os.getpid()}_{next(_numbers)}"
    yield server.create(name, template="walle_template")
    server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest) -> str:
    """A new store at the head revision, once on each database."""
    value = request.getfixturevalue("sqlite_address" if request.param == "sqlite" else "postgres_address")
    assert isinstance(value, str)
    return value


@pytest.fixture
def empty_postgres(server: Server) -> Iterator[str]:
    """The URL of a PostgreSQL database without tables."""
    name = f"empty_{os.getpid()}_{next(_numbers)}"
    yield server.create(name)
    server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables, once on each: an absent file, or an empty database."""
    if request.param == "sqlite":
        return str(tmp_path / f"absent{next(_numbers)}.db")
    value = request.getfixturevalue("empty_postgres")
    assert isinstance(value, str)
    return value


@pytest_asyncio.fixture
async def database(address: str) -> AsyncIterator[Database]:
    """The async database of a new store."""
    opened = Database(address)
    yield opened
    await opened.close()


@pytest_asyncio.fixture(params=["memory", "sqlite", "postgresql"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[EventLog]:
    """A new event log: in memory, and once on each database."""
    database = None
    if request.param != "memory":
        name = "sqlite_address" if request.param == "sqlite" else "postgres_address"
        database = Database(request.getfixturevalue(name))
    opened = EventLog(database)
    yield opened
    await opened.close()
    if database is not None:
        await database.close()


@pytest.fixture
def store(address: str) -> Iterator[walle.Store]:
    """A new store."""
    with walle.connect(address) as opened:
        yield opened
