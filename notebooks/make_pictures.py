"""Draw the pictures of the README and the guides from the sample data: ``python notebooks/make_pictures.py``.

The same data and versions give the same bytes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import polars as pl

import walle
from walle import demo
from walle.charts import candles, coverage, equity, picture

FOLDER = Path(__file__).parent / "pictures"
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def main() -> None:
    """Write every picture in both themes."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, walle.connect(Path(folder) / "sample.db") as store:
        demo.load(store)
        gaps = pl.concat(
            store.bars.gaps(symbol, "1m").select(
                pl.lit(symbol).alias("symbol"), pl.lit("1m").alias("timeframe"), "start", "end", "missing"
            )
            for symbol in demo.SERIES.values()
        )
        bars = store.bars.read("ETH/USD", "1m", "2025-11-21", "2025-11-24")
        fills = store.fills.read("bt-sma-eth-001", start="2025-11-21", end="2025-11-24")
        holes = store.bars.gaps("ETH/USD", "1m")
        worth = store.runs.equity("bt-sma-eth-001")
        for theme in THEMES:
            charts = {
                "coverage": coverage(store.bars.coverage(), gaps, theme=theme),
                "candles": candles(bars, fills, gaps=holes, title="ETH/USD", theme=theme),
                "equity": equity(worth, title="Equity of bt-sma-eth-001, USD", theme=theme),
            }
            for name, chart in charts.items():
                (FOLDER / f"{name}-{theme}.png").write_bytes(picture(chart))


if __name__ == "__main__":
    main()
