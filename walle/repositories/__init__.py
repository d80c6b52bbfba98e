"""The async use-cases of the store; they return no objects of SQLAlchemy."""

from walle.repositories.bars import BarRepository
from walle.repositories.events import OffsetRepository
from walle.repositories.fills import FillRepository, OrderRepository
from walle.repositories.runs import BacktestResultRepository, RunRepository

__all__ = [
    "BacktestResultRepository",
    "BarRepository",
    "FillRepository",
    "OffsetRepository",
    "OrderRepository",
    "RunRepository",
]
