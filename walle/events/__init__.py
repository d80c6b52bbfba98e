"""The event log: one port, in memory and on the outbox, with consumers that resume."""

from walle.events.consumer import Consumer
from walle.events.log import EventLog
from walle.events.mask import Mask
from walle.events.offset_store import OffsetStore
from walle.events.pulling import PullConsumer
from walle.events.reset import ResetReport
from walle.events.search import EventPage

__all__ = ["Consumer", "EventLog", "EventPage", "Mask", "OffsetStore", "PullConsumer", "ResetReport"]
