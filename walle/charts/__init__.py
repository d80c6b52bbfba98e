"""Charts of what a store holds: functions over frames that return Altair charts, shown without any network.

They need Altair and vl-convert: ``pip install "walle[notebook]"``. Only here does money become a float.
"""

from walle.charts.drawing import Chart, picture  # first: it says what to install

# isort: split
from walle.charts.candles import candles
from walle.charts.costs import costs
from walle.charts.coverage import coverage
from walle.charts.equity import equity

__all__ = ["Chart", "candles", "costs", "coverage", "equity", "picture"]
