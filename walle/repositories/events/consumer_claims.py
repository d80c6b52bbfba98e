"""The rules of consuming: who may claim a name, where an offset may move, and whether an owner is alive."""

from __future__ import annotations

import dataclasses
import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from walle.errors import ConsumerBusy, ConsumerFenced, InputError, NotFound
from walle.frames import INSTANT
from walle.records import Owner
from walle.runs import is_alive, is_this_process, this_process
from walle.validation import check_text

__all__ = [
    "OFFSETS",
    "Claim",
    "check_consumer",
    "check_forward",
    "check_free",
    "check_parked",
    "forward",
    "live_tokens",
    "liveness",
    "owner_of",
    "refresh_claim",
    "storable",
    "whoami",
]

OFFSETS = pl.Schema(
    {
        "consumer_id": pl.String(),
        "offset": pl.Int64(),
        "epoch": pl.Int64(),
        "owner": pl.String(),
        "heartbeat_at": INSTANT,
        "succeeded_at": INSTANT,
        "failed_at": INSTANT,
        "error": pl.String(),
        "updated_at": INSTANT,
        "lag": pl.Int64(),
        "next_at": INSTANT,
        "parked": pl.Int64(),
        "now": INSTANT,
    }
)
"""One row is a stored consumer, with the number of events after its offset, the time when the first of them was
stored, the number of its parked events, and the database's clock."""

ERROR_LENGTH = 10_000

live_tokens: set[str] = set()
"""The tokens of the consumers that run in this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=live_tokens.clear)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right of one process to consume under a name, until another process claims it.

    Parameters
    ----------
    consumer_id : str
    token : str
        Unique to this claim.
    epoch : int
        Increases with every claim and every reset.
    offset : int
        The id of the last settled event.
    """

    consumer_id: str
    token: str
    epoch: int
    offset: int


def refresh_claim(claim: Claim, row: Mapping[str, Any] | None) -> Claim:
    """Return a claim with the epoch and offset of its stored row, since the offset may have been reset.

    Raises
    ------
    ConsumerFenced
        If another process has claimed the name, or the claim has ended.
    """
    if row is None or not row["owner"] or row["owner"].get("token") != claim.token:
        raise ConsumerFenced(claim.consumer_id, claim.epoch)
    return dataclasses.replace(claim, epoch=row["epoch"], offset=row["last_offset"])


def check_consumer(consumer_id: object) -> str:
    """Check the name of a consumer, and return it.

    Raises
    ------
    InputError
        If it is not a text of 1 to 100 characters.
    """
    return check_text(consumer_id, "consumer", maximum=100)


def forward(claim: Claim, offset: int) -> int:
    """Check that a claim may move to an offset, and return it.

    Raises
    ------
    InputError
        If it is below the claim's.
    """
    check_forward(claim.consumer_id, claim.offset, offset)
    return offset


def check_forward(consumer_id: str, stored: int, offset: int) -> None:
    """Raise if an offset would move backwards, which only a reset may do.

    Raises
    ------
    InputError
        If it is below the stored one.
    """
    if offset < stored:
        raise InputError(
            f"consumer {consumer_id!r} is at offset {stored} and cannot go back to {offset}; an offset only moves "
            "forward, unless it is reset with a reason."
        )


def check_parked(consumer_id: str, wanted: set[int] | None, parked: set[int]) -> set[int]:
    """Return the wanted events, or all parked ones.

    Raises
    ------
    NotFound
        If one of them is not parked.
    """
    absent = sorted((wanted or set()) - parked)
    if absent:
        raise NotFound(
            f"event {absent[0]} is not parked for consumer {consumer_id!r}. "
            f"Parked: {', '.join(map(str, sorted(parked)[:10])) or 'nothing'}."
        )
    return parked if wanted is None else wanted


def owner_of(token: str, lease: timedelta, *, locked: bool) -> dict[str, Any]:
    """Return this process as an owner, in the form that is stored."""
    return dataclasses.asdict(this_process()) | {
        "token": token,
        "lease": lease.total_seconds(),
        "locked": locked,
    }


def liveness(owner: Mapping[str, Any], heartbeat_at: datetime | None, now: datetime) -> str:
    """Return an owner's state: running, stalled (it is or may be alive, but silent for its lease), or dead."""
    return _judged(owner, heartbeat_at, now)[0]


def _judged(owner: Mapping[str, Any], heartbeat_at: datetime | None, now: datetime) -> tuple[str, bool | None]:
    process = Owner.of(owner)
    alive = None if process is None else is_alive(process)
    if process is not None and is_this_process(process):
        alive = owner.get("token") in live_tokens  # the process is alive, but the consumer may have ended
    if alive is False:
        return "dead", alive
    lease = timedelta(seconds=owner.get("lease", 0))
    # a heartbeat from the future precedes a setback of the database's clock; its owner may be alive
    return "stalled" if heartbeat_at is None or now - heartbeat_at > lease else "running", alive


def check_free(
    consumer_id: str,
    owner: Mapping[str, Any] | None,
    heartbeat_at: datetime | None,
    now: datetime,
    *,
    locked: bool,
    take_over: bool,
) -> None:
    """Raise if a live owner holds a name.

    Raises
    ------
    ConsumerBusy
        If the owner is alive: on this host by its process, elsewhere by its heartbeat, its own lease and the
        database's clock.
    """
    if owner is None or take_over or (locked and owner.get("locked")):
        return
    state, alive = _judged(owner, heartbeat_at, now)
    if state == "running" or alive:
        raise ConsumerBusy(consumer_id, f"process {owner['pid']} on {owner['host']}")


def storable(error: str, event: int | None = None) -> str:
    """Return an error's text, with its event, in a form that every database can store."""
    error = error if event is None else f"event {event}: {error}"
    return error.replace("\0", "\\0").encode(errors="backslashreplace").decode()[:ERROR_LENGTH]


def whoami() -> str:
    """Return user@host, for the audit trail."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
