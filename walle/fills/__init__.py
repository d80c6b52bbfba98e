"""What is known about fills and orders beyond storing them."""

from walle.fills.audit import FINDINGS, Rule, audit, rule
from walle.fills.conform import fills_frame, orders_frame
from walle.fills.report import WriteReport
from walle.fills.rules import RULES
from walle.fills.trades import TRADES, trades

__all__ = [
    "FINDINGS",
    "RULES",
    "TRADES",
    "Rule",
    "WriteReport",
    "audit",
    "fills_frame",
    "orders_frame",
    "rule",
    "trades",
]
