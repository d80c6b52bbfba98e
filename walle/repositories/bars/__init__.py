"""Bars: the one door to them, in and out."""

from walle.repositories.bars.repository import BarRepository

__all__ = ["BarRepository"]
