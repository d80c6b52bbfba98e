"""Cash flows: writing them, correcting them, and reading them."""

from walle.repositories.cash.repository import CashFlowRepository

__all__ = ["CashFlowRepository"]
