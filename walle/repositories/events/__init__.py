"""Events: the columns of the outbox, and how far each consumer has come."""

from walle.repositories.events.offsets import OffsetRepository

__all__ = ["OffsetRepository"]
