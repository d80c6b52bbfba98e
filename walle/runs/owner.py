"""Which process runs a run, and whether it still lives."""

from __future__ import annotations

import os
import socket

from walle.records import Owner

__all__ = ["is_alive", "this_process"]

_START_TOLERANCE = 2.0  # seconds; the clock may have been set between the two readings


def this_process() -> Owner:
    """Return the owner that this process is."""
    import psutil

    return Owner(host=socket.gethostname(), pid=os.getpid(), started=psutil.Process().create_time())


def is_alive(owner: Owner) -> bool | None:
    """Tell whether a process lives.

    Parameters
    ----------
    owner : Owner

    Returns
    -------
    bool or None
        None for a process of another host, which cannot be looked at from here.
    """
    import psutil

    if owner.host != socket.gethostname():
        return None
    try:
        process = psutil.Process(owner.pid)
        same = abs(process.create_time() - owner.started) <= _START_TOLERANCE
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
