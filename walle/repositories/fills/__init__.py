"""Fills and orders: writing them, reading them, and what they add up to."""

from walle.repositories.fills.fills import FillRepository
from walle.repositories.fills.orders import OrderRepository

__all__ = ["FillRepository", "OrderRepository"]
