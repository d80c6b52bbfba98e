"""What is known about bars beyond storing them: reading and checking input, and telling what was done with it."""

from walle.bars.check import Checked, check_bars
from walle.bars.parse import parse_bars
from walle.bars.transform import fill_gaps, resample
from walle.reports import IngestReport

__all__ = ["Checked", "IngestReport", "check_bars", "fill_gaps", "parse_bars", "resample"]
