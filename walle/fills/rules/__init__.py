"""The rules of the audit, which check fills against their orders, bars and time, and check commissions."""

from walle.fills.rules import duplicates, events, fees, orders, prices, times

__all__ = ["RULES"]

RULES = (*orders.RULES, *times.RULES, *duplicates.RULES, *prices.RULES, *fees.RULES, *events.RULES)
"""All rules, in the order in which they are applied."""
