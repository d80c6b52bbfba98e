"""Ask the kernel whether a process lives, and when it started, by a count that clock changes do not affect.

The time of day at which a process started is not reliable: on Linux it is derived from the time of the boot, which
moves whenever the clock is set (https://github.com/giampaolo/psutil/issues/2526).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FoundProcess", "Place", "find_process", "place"]

PROC = Path("/proc")
MACHINE = Path("/etc/machine-id")

_CTL_KERN, _KERN_PROC, _KERN_PROC_PID = 1, 14, 1
_ZOMBIE = 5  # SZOMB on macOS


@dataclass(frozen=True, slots=True)
class FoundProcess:
    """An existing process.

    Parameters
    ----------
    ended : bool
        Whether it has ended and waits for its parent to collect its exit status (a zombie).
    ticks : int or None
        When it started: clock ticks since the boot on Linux, microseconds on macOS and Windows. None if access is
        denied, or if the platform has no such count.
    """

    ended: bool = False
    ticks: int | None = None


INITIAL = "pid:[4026531836]"
"""The pid namespace of a Linux system outside any container (PROC_PID_INIT_INO)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process id is valid; unknown parts are None.

    Parameters
    ----------
    boot : str or None
        The id of the current boot.
    machine : str or None
        The id of the machine, which stays the same after a reboot.
    namespace : str or None
        The namespaces of process ids and of the time since the boot: a container has its own.
    """

    boot: str | None = None
    machine: str | None = None
    namespace: str | None = None


def find_process(pid: int, proc: Path = PROC) -> FoundProcess | None:
    """Look up a process; return None if it does not exist.

    Parameters
    ----------
    pid : int
    proc : Path
        The folder of the proc file system on Linux.
    """
    if sys.platform == "linux":
        return _of_linux(pid, proc)
    if sys.platform == "darwin":
        return _of_macos(pid)
    return _of_others(pid)


def place(proc: Path = PROC, machine: Path = MACHINE) -> Place:
    """Return the place of this process."""
    if sys.platform == "linux":
        return Place(_text(proc / "sys/kernel/random/boot_id"), _text(machine), _namespace(proc))
    if sys.platform == "darwin":
        return Place(_boot_of_macos(), _machine_of_macos())
    return Place()


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def _namespace(proc: Path) -> str | None:
    names = []
    for kind in ("pid", "time"):
        with contextlib.suppress(OSError):  # old kernels have no time namespaces
            names.append(str((proc / "self/ns" / kind).readlink()))
    return " ".join(names) or None


def _of_linux(pid: int, proc: Path) -> FoundProcess | None:
    try:
        stat = (proc / str(pid) / "stat").read_bytes()
    except PermissionError:
        return FoundProcess()
    except OSError:  # raised too if the processes of other users are hidden (hidepid)
        return FoundProcess() if _answers(pid) else None
    # the second field, the name, may contain blanks and brackets: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    fields = stat[stat.rindex(b")") + 1 :].split()
    return FoundProcess(ended=fields[0] in (b"Z", b"X", b"x"), ticks=int(fields[19]))


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _of_macos(pid: int) -> FoundProcess | None:
    query = (ctypes.c_int * 4)(_CTL_KERN, _KERN_PROC, _KERN_PROC_PID, pid)
    size, answer = ctypes.c_size_t(4096), ctypes.create_string_buffer(4096)
    if ctypes.CDLL(None).sysctl(query, 4, answer, ctypes.byref(size), None, 0):
        return FoundProcess() if _answers(pid) else None
    return decode_kinfo(answer.raw[: size.value])


def decode_kinfo(answer: bytes) -> FoundProcess | None:
    """Decode the start of macOS's ``struct kinfo_proc``: the time of the fork, which never changes afterwards."""
    if len(answer) < 40:
        return None
    seconds, microseconds = struct.unpack_from("<qi", answer)
    return FoundProcess(ended=answer[36] == _ZOMBIE, ticks=seconds * 1_000_000 + microseconds)


def _boot_of_macos() -> str | None:
    size, answer = ctypes.c_size_t(64), ctypes.create_string_buffer(64)
    failed = ctypes.CDLL(None).sysctlbyname(b"kern.bootsessionuuid", answer, ctypes.byref(size), None, 0)
    return None if failed else answer.value.decode("ascii", "replace") or None


def _machine_of_macos() -> str | None:
    answer, patience = ctypes.create_string_buffer(16), (ctypes.c_long * 2)(1, 0)
    return None if ctypes.CDLL(None).gethostuuid(answer, patience) else answer.raw.hex()


def _of_others(pid: int) -> FoundProcess | None:
    import psutil

    try:
        process = psutil.Process(pid)
        # on Windows the start time never changes; on other systems it moves with the clock
        ticks = round(process.create_time() * 1_000_000) if sys.platform == "win32" else None
        return FoundProcess(ended=process.status() == psutil.STATUS_ZOMBIE, ticks=ticks)
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return FoundProcess()
