"""What is known about runs beyond storing them."""

from walle.runs.history import history
from walle.runs.owner import is_alive, this_process

__all__ = ["history", "is_alive", "this_process"]
