"""Whether a process lives does not hang on the clock: the kernel's own counts say it, or the lease of the database."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psutil._pslinux
import pytest

import walle
from tests.reliability.consuming import append, consuming
from tests.reliability.processes import Child, command, script
from tests.reliability.test_recover import recovered, save_running
from tests.samples import run
from walle.records import Owner
from walle.repositories.events.consumer_claims import liveness
from walle.runs import is_alive, is_this_process, this_process
from walle.runs.kernel import INITIAL, FoundProcess, decode_kinfo, find_process, place

TELL = "import json, dataclasses, sys; from walle.runs import this_process\n"
TELL += "print('owner', json.dumps(dataclasses.asdict(this_process())), flush=True); sys.stdin.readline()\n"
ROOT_ONLY = pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="takes root")


def owner_of(child: Child) -> Owner:
    return Owner(**json.loads(child.expect("owner")))


@pytest.fixture(params=[-86_400, -3_600, 3_600])
def stepped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """The clock is set in this process's eyes: the time of the boot moves, and nothing else."""
    folder = tmp_path / "proc"
    folder.mkdir()
    lines = Path("/proc/stat").read_text().splitlines()
    moved = [f"btime {int(line.split()[1]) + request.param}" if line.startswith("btime") else line for line in lines]
    (folder / "stat").write_text("\n".join(moved) + "\n")
    real = psutil._pslinux.boot_time()
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: real + request.param)
    return int(request.param)


def test_a_living_process_lives_after_the_clock_was_set(stepped: int) -> None:
    with script(TELL) as child:
        owner = owner_of(child)
        assert abs(psutil.Process(owner.pid).create_time() - owner.started) > 3_000  # what it hung on before
        assert is_alive(owner) is True
        child.tell()
        child.succeed()
    assert is_alive(owner) is False


def test_a_setting_of_the_clock_marks_no_living_run_lost(address: str, stepped: int) -> None:
    with walle.connect(address) as store, command("own", address, "run-1") as child:
        child.expect("running")
        assert recovered(store) == [] == store.runs.sweep()
        child.signal(signal.SIGKILL)
        child.wait()
        assert recovered(store) == ["run-1"]


def test_a_setting_of_the_clock_takes_no_living_consumers_name(sqlite_address: str, stepped: int) -> None:
    append(sqlite_address, 2)
    with walle.connect(sqlite_address) as store, consuming(sqlite_address, lease=0.1) as child:
        child.expect("commit")
        with pytest.raises(walle.ConsumerBusy):
            store.events.consume("sink", print)
        assert store.events.consumers()["state"][0] in ("running", "stalled")
        child.signal(signal.SIGTERM)
        child.succeed()
        assert store.events.consume("sink", print) == 0


def test_a_run_keeps_its_owner_after_the_clock_was_set(store: walle.Store, stepped: int) -> None:
    saved = store.runs.save(run(status="running"))
    store.runs.heartbeat(saved.id)
    assert store.runs.get(saved.id).owner == saved.owner or stepped


def test_the_start_is_the_kernels_own_count(tmp_path: Path) -> None:
    stat = Path("/proc/self/stat").read_text()
    fields = stat[stat.rindex(")") + 2 :].split()
    assert this_process().ticks == int(fields[22 - 3])
    assert this_process().boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@pytest.mark.parametrize("name", ["python", "a b", "(sd-pam)", ") S 1 (", "a\nb", "\udcff"])
@pytest.mark.parametrize(("state", "ended"), [("S", False), ("T", False), ("Z", True), ("X", True)])
def test_a_process_may_be_called_anything(tmp_path: Path, name: str, state: str, ended: bool) -> None:
    (tmp_path / "7").mkdir()
    content = f"7 ({name}) {state} " + " ".join(map(str, range(4, 53)))
    (tmp_path / "7" / "stat").write_bytes(content.encode(errors="surrogateescape"))
    assert find_process(7, tmp_path) == FoundProcess(ended=ended, ticks=22)


def test_a_zombie_is_dead_and_a_stopped_process_alive() -> None:
    with script(TELL) as child:
        owner = owner_of(child)
        child.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, owner.pid, os.WSTOPPED | os.WNOWAIT)
        assert is_alive(owner) is True
        child.signal(signal.SIGKILL)
        os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{owner.pid}").exists()
        assert is_alive(owner) is False


def test_a_process_of_an_earlier_boot_is_dead_and_of_another_machine_unknown() -> None:
    me = this_process()
    assert is_this_process(me)
    assert is_alive(me) is True
    assert is_alive(dataclasses.replace(me, boot="another", machine="another")) is None
    assert is_alive(dataclasses.replace(me, boot="another", machine=None)) is None
    assert is_alive(dataclasses.replace(me, namespace="pid:[1] time:[1]")) is None
    assert is_alive(dataclasses.replace(me, host="another")) is None
    assert is_alive(dataclasses.replace(me, ticks=1)) is False
    others: list[dict[str, Any]] = [{"boot": "x"}, {"namespace": "x"}, {"ticks": 1}, {"host": "x"}, {"pid": 1}]
    assert not any(is_this_process(dataclasses.replace(me, **other)) for other in others)


def test_a_boot_of_the_same_machine_ends_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = tmp_path / "machine-id"
    machine.write_text("0123456789abcdef\n")
    assert place(machine=machine).machine == "0123456789abcdef"
    assert place(tmp_path, tmp_path / "none").machine is place(tmp_path).boot is None
    here = dataclasses.replace(place(machine=machine), namespace=f"{INITIAL} time:[4026531834]")
    monkeypatch.setattr("walle.runs.owner.place", lambda: here)
    assert is_alive(dataclasses.replace(this_process(), boot="an earlier one")) is False


def test_containers_that_share_the_id_of_a_machine_are_judged_by_their_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = tmp_path / "machine-id"
    machine.write_text("0123456789abcdef\n")
    here = dataclasses.replace(place(machine=machine), namespace="pid:[4026532501] time:[4026531834]")
    monkeypatch.setattr("walle.runs.owner.place", lambda: here)
    assert is_alive(dataclasses.replace(this_process(), boot="of another host")) is None


@ROOT_ONLY
@pytest.mark.parametrize("hiding", ["hidepid=1", "hidepid=2"])
def test_a_process_of_another_user_that_may_not_be_looked_at_is_there(hiding: str, tmp_path: Path) -> None:
    text = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from walle.runs.kernel import find_process\n"
        "pid = int(sys.argv[1]); print('seen', find_process(pid), find_process(4194305))\n"
        "print('stat', Path(f'/proc/{pid}/stat').exists())\n"
    )
    mounted = f"mount -t proc -o {hiding} proc /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups "
    packages = str(Path(psutil.__file__).parents[1])
    code = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounted + '"$@"', "sh", sys.executable, "-c", text, str(os.getpid()), "."],
        capture_output=True,
        text=True,
        cwd=Path(walle.__file__).parents[1],
        env={**os.environ, "PYTHONPATH": packages},
    )
    if code.returncode:
        pytest.skip(f"no such mount here: {code.stderr}")
    assert code.stdout.splitlines()[0] == "seen FoundProcess(ended=False, ticks=None) None"


@ROOT_ONLY
@pytest.mark.parametrize("kind", [["--pid", "--fork", "--mount-proc"], ["--time", "--boottime", "3600", "--fork"]])
def test_a_process_of_another_container_is_judged_by_its_lease_alone(kind: list[str], store: walle.Store) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    found = subprocess.Popen(
        ["unshare", *kind, sys.executable, "-c", TELL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert found.stdout is not None
    line = found.stdout.readline()
    try:
        if not line:
            pytest.skip("no namespaces here")
        owner = Owner(**json.loads(line.removeprefix("owner ")))
        assert (owner.host, owner.boot) == (socket.gethostname(), this_process().boot)
        assert is_alive(owner) is None
        save_running(store, owner, datetime.now(UTC))
        assert recovered(store) == []
    finally:
        found.communicate("\n")


def test_macos_keeps_the_time_of_the_fork() -> None:
    class Kinfo(ctypes.Structure):  # the head of struct extern_proc in <sys/proc.h>
        _fields_ = (
            ("p_starttime", ctypes.c_int64 * 2),
            ("p_vmspace", ctypes.c_void_p),
            ("p_sigacts", ctypes.c_void_p),
            ("p_flag", ctypes.c_int),
            ("p_stat", ctypes.c_char),
        )

    assert Kinfo.p_stat.offset == 36
    answer = bytearray(648)
    struct.pack_into("<qi", answer, 0, 1_700_000_000, 123_456)
    answer[36] = 2
    assert decode_kinfo(bytes(answer)) == FoundProcess(ended=False, ticks=1_700_000_000_123_456)
    answer[36] = 5
    assert decode_kinfo(bytes(answer)) == FoundProcess(ended=True, ticks=1_700_000_000_123_456)
    assert decode_kinfo(b"") is None


NOW = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("silent", "state"),
    [(timedelta(0), "running"), (timedelta(seconds=31), "stalled"), (timedelta(days=-1), "running")],
)
def test_elsewhere_the_lease_decides_and_a_clock_that_was_set_back_kills_nobody(silent: timedelta, state: str) -> None:
    owner = {"host": "elsewhere", "pid": 1, "started": 1.0, "token": "t", "lease": 30.0}
    assert liveness(owner, NOW - silent, NOW) == state
    assert liveness({**owner, "unknown": 1}, NOW - silent, NOW) == state


def test_the_clock_of_the_client_decides_nothing(address: str) -> None:
    """A client an hour ahead: its runs and those of others are judged by the database's clock alone."""
    text = (
        "import datetime as module, sys, walle\n"
        "from tests.samples import run\n"
        "class Ahead(module.datetime):\n"
        "    @classmethod\n"
        "    def now(cls, zone=None): return module.datetime.now(zone) + module.timedelta(hours=1)\n"
        "import walle.repositories.runs.repository as runs\n"
        "runs.datetime = Ahead\n"
        "with walle.connect(sys.argv[1]) as store:\n"
        "    print('found', [one.id for one in store.runs.recover()], len(store.runs.sweep()))\n"
        "    saved = store.runs.save(run(2, status='running'))\n"
        "    store.runs.heartbeat(saved.id)\n"
        "    print('beat', store.runs.get(saved.id).heartbeat_at.isoformat())\n"
    )
    with walle.connect(address) as store:
        elsewhere = Owner(host="another-host", pid=1, started=1.0)
        save_running(store, elsewhere, datetime.now(UTC))
        with script(text, address) as child:
            assert child.expect("found") == "[] 0"
            assert abs(datetime.fromisoformat(child.expect("beat")) - datetime.now(UTC)) < timedelta(minutes=5)
            child.succeed()
