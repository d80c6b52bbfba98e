"""The async use-cases of the store; they return no objects of SQLAlchemy."""

from walle.repositories.actions import CorporateActionRepository
from walle.repositories.bars import BarRepository
from walle.repositories.cash import CashFlowRepository
from walle.repositories.events import OffsetRepository
from walle.repositories.fills import FillRepository, OrderRepository
from walle.repositories.instruments import InstrumentRepository
from walle.repositories.runs import BacktestResultRepository, RunRepository

__all__ = [
    "BacktestResultRepository",
    "BarRepository",
    "CashFlowRepository",
    "CorporateActionRepository",
    "FillRepository",
    "InstrumentRepository",
    "OffsetRepository",
    "OrderRepository",
    "RunRepository",
]
