"""Runs: writing them, reading them, and what they were worth."""

from walle.repositories.runs.backtest_results import BacktestResultRepository
from walle.repositories.runs.repository import RunRepository

__all__ = ["BacktestResultRepository", "RunRepository"]
