"""Events: the columns of the outbox, and the offset of each consumer."""

from walle.repositories.events.offsets import OffsetRepository

__all__ = ["OffsetRepository"]
