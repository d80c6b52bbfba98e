"""Bars: the one door to them, in and out."""

from walle.repositories.bars.read import EmptySeriesWarning
from walle.repositories.bars.repository import BarRepository

__all__ = ["BarRepository", "EmptySeriesWarning"]
