"""What is known about runs beyond storing them."""

from walle.runs.history import history
from walle.runs.metrics import METRICS, metrics
from walle.runs.owner import is_alive, is_this_process, this_process
from walle.runs.report import RunReport
from walle.runs.results import Results, from_backtesting

__all__ = [
    "METRICS",
    "Results",
    "RunReport",
    "from_backtesting",
    "history",
    "is_alive",
    "is_this_process",
    "metrics",
    "this_process",
]
