"""The event log: one port, in memory and on the outbox, with consumers that resume."""

from walle.events.consumer import Consumer
from walle.events.log import EventLog
from walle.events.reset import ResetReport

__all__ = ["Consumer", "EventLog", "ResetReport"]
