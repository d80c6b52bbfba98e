"""Files of bars as other programs write them: found, recognised, and read as bars frames without a database."""

from walle.bars.files.find import COMPRESSIONS, ENDINGS, find_files
from walle.bars.files.layout import Layout, Unread
from walle.bars.files.read import BATCH_ROWS, BarReader, describe, read_bars, read_frame
from walle.bars.files.sniff import MAXIMUM_BYTES

__all__ = [
    "BATCH_ROWS",
    "COMPRESSIONS",
    "ENDINGS",
    "MAXIMUM_BYTES",
    "BarReader",
    "Layout",
    "Unread",
    "describe",
    "find_files",
    "read_bars",
    "read_frame",
]
