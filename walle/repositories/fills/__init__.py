"""Write, read and analyse fills and orders."""

from walle.repositories.fills.fills import FillRepository
from walle.repositories.fills.orders import OrderRepository

__all__ = ["FillRepository", "OrderRepository"]
