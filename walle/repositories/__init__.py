"""The async use-cases of the store; no object of the database's library leaves them."""

from walle.repositories.backtest_results import BacktestResultRepository
from walle.repositories.bars import BarRepository
from walle.repositories.fills import FillRepository
from walle.repositories.offsets import OffsetRepository
from walle.repositories.orders import OrderRepository
from walle.repositories.reading import EmptySeriesWarning
from walle.repositories.runs import RunRepository

__all__ = [
    "BacktestResultRepository",
    "BarRepository",
    "EmptySeriesWarning",
    "FillRepository",
    "OffsetRepository",
    "OrderRepository",
    "RunRepository",
]
