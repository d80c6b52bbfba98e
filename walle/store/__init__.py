"""The sync facade: a store as a notebook or script uses it."""

from walle.store.core import Store, connect, upgrade
from walle.store.status import StoreStatus

__all__ = ["Store", "StoreStatus", "connect", "upgrade"]
