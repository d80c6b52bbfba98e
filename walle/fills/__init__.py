"""What is known about fills and orders beyond storing them."""

from walle.fills.conform import fills_frame, orders_frame
from walle.fills.report import WriteReport
from walle.fills.trades import TRADES, trades

__all__ = ["TRADES", "WriteReport", "fills_frame", "orders_frame", "trades"]
