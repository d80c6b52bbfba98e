"""Which process runs a run, and whether it still lives.

Of a process of this machine the kernel decides, by counts that no setting of the clock moves. Of any other only its
last sign of life can be judged, by the clock of the database alone.
"""

from __future__ import annotations

import os
import socket

from walle.records import Owner
from walle.runs.kernel import INITIAL, Place, look, place

__all__ = ["is_alive", "is_this_process", "this_process"]

_START_TOLERANCE = 2.0  # seconds; the clock may have been set a little between the two readings


def this_process() -> Owner:
    """Return the owner that this process is."""
    import psutil

    seen, here = look(os.getpid()), place()
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
    """Tell whether an owner is this process; by its pid alone where nothing else was written down."""
    if (owner.host, owner.pid) != (socket.gethostname(), os.getpid()):
        return False
    seen, here = look(owner.pid), place()
    ticks = None if seen is None else seen.ticks
    known = ((owner.ticks, ticks), (owner.boot, here.boot), (owner.namespace, here.namespace))
    return all(stored in (None, now) or now is None for stored, now in known)


def is_alive(owner: Owner) -> bool | None:
    """Tell whether a process lives.

    Parameters
    ----------
    owner : Owner

    Returns
    -------
    bool or None
        None for a process that cannot be told from here, so that its signs of life decide: one of another host, of
        another container or machine that calls itself the same, or one of which only a time of day was written down
        that is not the start of the process that has its pid now. That process may be another one, or the clock was
        set; to take a living one for dead would be worse.
    """
    if owner.host != socket.gethostname():
        return None
    here = place()
    if None not in (owner.boot, here.boot) and owner.boot != here.boot:
        return False if _same_machine(owner, here) else None
    if None not in (owner.namespace, here.namespace) and owner.namespace != here.namespace:
        return None
    seen = look(owner.pid)
    if seen is None or seen.ended:
        return False
    if owner.ticks is not None:
        return seen.ticks is None or seen.ticks == owner.ticks  # one that may not be looked at is there
    return _started_then(owner)


def _same_machine(owner: Owner, here: Place) -> bool:
    if owner.machine is None or owner.machine != here.machine or owner.namespace != here.namespace:
        return False
    # an image may carry its machine id into many containers, which are then none of the system itself
    return owner.namespace is None or INITIAL in owner.namespace


def _started_then(owner: Owner) -> bool | None:
    import psutil

    try:
        started = psutil.Process(owner.pid).create_time()
    except psutil.NoSuchProcess:  # also one that is hidden from us
        return look(owner.pid) is not None
    except psutil.AccessDenied:
        return True
    return True if abs(started - owner.started) <= _START_TOLERANCE else None
