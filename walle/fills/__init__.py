"""What is known about fills and orders beyond storing them."""

from walle.fills.audit import FINDINGS, Rule, audit, rule
from walle.fills.benchmarks import BENCHMARKS
from walle.fills.coerce import fills_frame, orders_frame
from walle.fills.costs import COSTS, costs
from walle.fills.report import WriteReport
from walle.fills.rules import RULES
from walle.fills.shortfall import SHORTFALL, shortfall
from walle.fills.trades import TRADES, trades

__all__ = [
    "BENCHMARKS",
    "COSTS",
    "FINDINGS",
    "RULES",
    "SHORTFALL",
    "TRADES",
    "Rule",
    "WriteReport",
    "audit",
    "costs",
    "fills_frame",
    "orders_frame",
    "rule",
    "shortfall",
    "trades",
]
