"""What is known about runs beyond storing them."""

from walle.runs.history import history
from walle.runs.metrics import METRICS, metrics
from walle.runs.owner import is_alive, this_process

__all__ = ["METRICS", "history", "is_alive", "metrics", "this_process"]
