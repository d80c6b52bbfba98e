"""Write, read and analyse runs."""

from walle.repositories.runs.backtest_results import BacktestResultRepository
from walle.repositories.runs.repository import RunRepository

__all__ = ["BacktestResultRepository", "RunRepository"]
