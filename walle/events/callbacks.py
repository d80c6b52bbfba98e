"""Callbacks: functions of this process that are given each event after its commit."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

from walle.envelope import Event
from walle.errors import DatabaseError, InputError, StoreClosed
from walle.events.filters import EventFilter

__all__ = ["Callback", "Callbacks", "check_callback", "is_async"]

log: logging.Logger = logging.getLogger("walle")

Callback = Callable[[Event], Awaitable[object] | object]
"""Takes an event; async, or sync and then quick, because it runs in the loop itself."""

AT_ONCE = 500
"""Events that are fetched at once."""

PAUSES = (0.1, 0.5, 2.0, 10.0)
"""Seconds before an event log that fails is looked at again; then always the last."""

Follow = Callable[[EventFilter, int, int, float | None], Awaitable[tuple[list[Event], int]]]
"""Waits for the next events, and says how far the log was looked through: :meth:`walle.EventLog.follow`."""


@dataclass(slots=True)
class _Subscription:
    callback: Callback
    wanted: EventFilter
    place: int
    wanted_still: bool = True
    busy: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Callbacks:
    """The callbacks of one log; each follows it by itself, so that none holds up another.

    Parameters
    ----------
    follow : callable
        :meth:`walle.EventLog.follow` of that log.
    """

    def __init__(self, follow: Follow) -> None:
        self._follow = follow
        self._numbers = itertools.count(1)
        self._known: dict[int, _Subscription] = {}

    def add(self, callback: Callback, wanted: EventFilter, after: int) -> int:
        """Have a callback called with each event after an offset, and return the number by which it is removed."""
        number = next(self._numbers)
        subscription = _Subscription(callback, wanted, after)
        self._known[number] = subscription
        subscription.task = asyncio.get_running_loop().create_task(self._serve(number, subscription))
        return number

    def remove(self, number: int) -> bool:
        """End the calls; False when there is no such callback (any more). One that runs right now ends by itself."""
        subscription = self._known.pop(number, None)
        if subscription is None:
            return False
        subscription.wanted_still = False
        if subscription.task is not None and not subscription.busy:
            subscription.task.cancel()
        return True

    async def close(self) -> None:
        """End all of them, and wait until none runs any more; a second call does nothing."""
        loop, current = asyncio.get_running_loop(), asyncio.current_task()
        tasks = [one.task for one in self._known.values() if one.task is not None]
        for subscription in self._known.values():
            subscription.wanted_still = False
        self._known.clear()
        # a callback may close the log; and the tasks of a loop that was closed ended with it
        others = [task for task in tasks if task is not current and task.get_loop() is loop]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, number: int, subscription: _Subscription) -> None:
        failures = 0
        while subscription.wanted_still:
            try:
                events, upto = await self._follow(subscription.wanted, subscription.place, AT_ONCE, None)
            except StoreClosed:
                break
            except DatabaseError as error:
                pause = PAUSES[min(failures, len(PAUSES) - 1)]
                failures += 1
                log.warning("callback %s waits %s s, because the events cannot be read: %s", number, pause, error)
                await asyncio.sleep(pause)
                continue
            except Exception:  # else the task would keep it to itself, and the callback hear nothing for ever
                log.exception("callback %s ended: the events after %s cannot be read", number, subscription.place)
                break
            failures = 0
            for event in events:
                if not subscription.wanted_still:
                    return
                await _call(number, subscription, event)
            subscription.place = upto
        self._known.pop(number, None)


async def _call(number: int, subscription: _Subscription, event: Event) -> None:
    subscription.busy = True
    try:
        answer = subscription.callback(event)
        if inspect.isawaitable(answer):
            await cast("Awaitable[object]", answer)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        log.exception("callback %s cancelled itself at event %s; it goes on with the next", number, event.offset)
    except (Exception, SystemExit):  # SystemExit out of a task would end the loop
        log.exception("callback %s failed at event %s; it goes on with the next", number, event.offset)
    finally:
        subscription.busy = False


def is_async(function: object) -> bool:
    """Return whether a call of a function, or of another object, has to be awaited."""
    called = getattr(function, "__call__", None)  # noqa: B004  # an object may have an async one
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def check_callback(callback: object, name: str = "callback") -> None:
    """Raise unless an event can be given to a callback.

    Raises
    ------
    InputError
    """
    if not callable(callback):
        raise InputError(f"{name}={callback!r} is not callable; give a function that takes an event.")
    if inspect.isgeneratorfunction(callback) or inspect.isasyncgenfunction(callback):
        raise InputError(f"{name}={callback!r} is a generator, whose body would never run; take out its yield.")
