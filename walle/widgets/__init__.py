"""Views of a store in a notebook: interactive where ipywidgets is installed, and readable where it is not.

The interactive parts need ipywidgets and anywidget: ``pip install "walle[notebook]"``.
"""

from walle.widgets.coverage import CoverageView
from walle.widgets.findings import Findings
from walle.widgets.outbox import OutboxView
from walle.widgets.run import RunView
from walle.widgets.view import View

__all__ = ["CoverageView", "Findings", "OutboxView", "RunView", "View"]
