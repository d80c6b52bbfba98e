"""Instruments: writing what symbols are, and reading it."""

from walle.repositories.instruments.repository import InstrumentRepository

__all__ = ["InstrumentRepository"]
