"""``recover()`` returns the runs whose process is gone, and never one that is alive."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
from datetime import UTC, datetime, timedelta

import psutil
import pytest
import sqlalchemy as sa

import walle
from tests.reliability.processes import command
from tests.samples import run
from walle.models import runs
from walle.records import Owner
from walle.repositories.runs.repository import LEASE
from walle.runs import this_process


def recovered(store: walle.Store) -> list[str]:
    return [found.id for found in store.runs.recover()]


def save_running(store: walle.Store, owner: Owner | None, heartbeat_at: datetime | None = None) -> None:
    """Store a running run of another owner, as that one would have done."""
    saved = store.runs.save(run())
    running = store.runs.save(dataclasses.replace(saved, status="running"))
    assert running.owner is not None
    assert store._database is not None
    values = {"owner": None if owner is None else dataclasses.asdict(owner), "heartbeat_at": heartbeat_at}
    engine = store._database.dialect.sync_engine()
    with engine.begin() as connection:
        connection.execute(sa.update(runs).values(values))
    engine.dispose()


def test_a_run_whose_process_was_killed_is_recovered(address: str) -> None:
    with walle.connect(address) as store, command("own", address, "run-1") as child:
        assert child.expect("running") == str(child.process.pid)
        assert recovered(store) == []
        child.signal(signal.SIGKILL)
        child.wait()
        assert recovered(store) == ["run-1"]
        assert store.runs.get("run-1").status == "running"


def test_a_killed_process_that_nobody_waited_for_is_dead(address: str) -> None:
    with walle.connect(address) as store, command("own", address, "run-1") as child:
        child.expect("running")
        child.signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOWAIT)
        assert psutil.Process(child.process.pid).status() == psutil.STATUS_ZOMBIE
        assert recovered(store) == ["run-1"]


def test_a_stopped_process_is_alive(address: str) -> None:
    with walle.connect(address) as store, command("own", address, "run-1") as child:
        child.expect("running")
        child.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.process.pid, os.WSTOPPED | os.WNOWAIT)
        assert recovered(store) == []


def test_a_run_of_this_very_process_is_alive(store: walle.Store) -> None:
    store.runs.save(run(status="running"))
    assert recovered(store) == []


@pytest.mark.parametrize("status", ["completed", "stopped", "error", "lost"])
def test_a_run_that_has_ended_is_not_recovered(store: walle.Store, status: str) -> None:
    save_running(store, None)
    (dead,) = store.runs.recover()
    store.runs.save(dataclasses.replace(dead, status=status))
    assert recovered(store) == []


def test_a_pending_run_is_not_recovered(store: walle.Store) -> None:
    store.runs.save(run())
    assert recovered(store) == []


ELSEWHERE = Owner(host="another-host", pid=os.getpid(), started=psutil.Process().create_time())


@pytest.mark.parametrize(
    ("age", "ids"), [(LEASE + timedelta(seconds=5), ["run-1"]), (LEASE - timedelta(seconds=30), []), (None, ["run-1"])]
)
def test_a_run_on_another_host_lives_as_long_as_its_heartbeat_is_fresh(
    store: walle.Store, age: timedelta | None, ids: list[str]
) -> None:
    save_running(store, ELSEWHERE, None if age is None else datetime.now(UTC) - age)
    assert recovered(store) == ids


def test_an_old_heartbeat_on_this_host_kills_nobody_that_is_alive(store: walle.Store) -> None:
    me = dataclasses.replace(ELSEWHERE, host=socket.gethostname())
    save_running(store, me, datetime.now(UTC) - timedelta(days=30))
    assert recovered(store) == []


def test_a_run_without_an_owner_is_recovered(store: walle.Store) -> None:
    save_running(store, None, datetime.now(UTC))
    assert recovered(store) == ["run-1"]


@pytest.mark.parametrize("earlier", [1, 8_640_000])
def test_a_reused_pid_is_another_process(store: walle.Store, earlier: int) -> None:
    me = this_process()
    assert me.ticks is not None
    save_running(store, dataclasses.replace(me, ticks=me.ticks - earlier), datetime.now(UTC))
    assert recovered(store) == ["run-1"]


@pytest.mark.parametrize("moved", [-3_600.0, 60.0, 86_400.0])
@pytest.mark.parametrize(("age", "ids"), [(timedelta(0), []), (LEASE + timedelta(seconds=5), ["run-1"])])
def test_of_a_row_without_the_kernels_count_another_start_is_no_proof_and_the_lease_decides(
    store: walle.Store, moved: float, age: timedelta, ids: list[str]
) -> None:
    owner = Owner(host=socket.gethostname(), pid=os.getpid(), started=psutil.Process().create_time() + moved)
    save_running(store, owner, datetime.now(UTC) - age)
    assert recovered(store) == ids


def test_a_recovered_run_goes_on_under_its_new_owner(address: str) -> None:
    with walle.connect(address) as store:
        with command("own", address, "run-1") as child:
            child.expect("running")
            child.signal(signal.SIGKILL)
            child.wait()
        (dead,) = store.runs.recover()
        lost = store.runs.save(dataclasses.replace(dead, status="lost"))
        again = store.runs.save(dataclasses.replace(lost, status="running"))
        assert again.owner is not None
        assert again.owner.pid == os.getpid()
        assert recovered(store) == []
