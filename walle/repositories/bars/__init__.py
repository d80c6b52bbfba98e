"""Write and read bars."""

from walle.repositories.bars.repository import BarRepository

__all__ = ["BarRepository"]
