"""Find out which process executes a run, and whether it is still alive.

For a process of this machine the kernel decides, by counts that clock changes do not affect. Any other process can only
be judged by its last heartbeat, on the clock of the database.
"""

from __future__ import annotations

import os
import socket

from walle.records import Owner
from walle.runs.kernel import INITIAL, Place, find_process, place

__all__ = ["is_alive", "is_this_process", "this_process"]

_START_TOLERANCE = 2.0  # seconds; the clock may have been adjusted slightly between the two readings


def this_process() -> Owner:
    """Return this process as an owner."""
    import psutil

    seen, here = find_process(os.getpid()), place()
    return Owner(
        host=socket.gethostname(),
        pid=os.getpid(),
        started=psutil.Process().create_time(),
        ticks=None if seen is None else seen.ticks,
        boot=here.boot,
        machine=here.machine,
        namespace=here.namespace,
    )


def is_this_process(owner: Owner) -> bool:
    """Return whether an owner is this process, by its pid alone if nothing else was recorded."""
    if (owner.host, owner.pid) != (socket.gethostname(), os.getpid()):
        return False
    seen, here = find_process(owner.pid), place()
    ticks = None if seen is None else seen.ticks
    known = ((owner.ticks, ticks), (owner.boot, here.boot), (owner.namespace, here.namespace))
    return all(stored in (None, now) or now is None for stored, now in known)


def is_alive(owner: Owner) -> bool | None:
    """Return whether a process is alive.

    Parameters
    ----------
    owner : Owner

    Returns
    -------
    bool or None
        None if it cannot be determined from here, so that heartbeats decide: for a process of another host, or of
        another container or machine with the same name; and if only a time of day was recorded that differs from the
        start of the process that has the pid now. That may be a different process, or the clock was set; it would be
        worse to take a live process for a dead one.
    """
    if owner.host != socket.gethostname():
        return None
    here = place()
    if None not in (owner.boot, here.boot) and owner.boot != here.boot:
        return False if _same_machine(owner, here) else None
    if None not in (owner.namespace, here.namespace) and owner.namespace != here.namespace:
        return None
    seen = find_process(owner.pid)
    if seen is None or seen.ended:
        return False
    if owner.ticks is not None:
        return seen.ticks is None or seen.ticks == owner.ticks  # a process to which access is denied exists
    return _started_then(owner)


def _same_machine(owner: Owner, here: Place) -> bool:
    if owner.machine is None or owner.machine != here.machine or owner.namespace != here.namespace:
        return False
    # an image may give many containers the same machine id; only the system outside containers can rely on it
    return owner.namespace is None or INITIAL in owner.namespace


def _started_then(owner: Owner) -> bool | None:
    import psutil

    try:
        started = psutil.Process(owner.pid).create_time()
    except psutil.NoSuchProcess:  # raised for hidden processes too
        return find_process(owner.pid) is not None
    except psutil.AccessDenied:
        return True
    return True if abs(started - owner.started) <= _START_TOLERANCE else None
