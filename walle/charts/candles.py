"""Candlestick charts of bars, with fills and findings."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import altair as alt
import polars as pl

from walle.charts.drawing import (
    LayerChart,
    Theme,
    Themed,
    chart_of,
    check_columns,
    empty,
    lasting,
    rows,
    step_of,
    theme_of,
    time_axis,
)
from walle.decimals import to_float, trim_zeros
from walle.enums import PRICES
from walle.errors import InputError
from walle.timeframe import COMMON_TIMEFRAMES, TIMEFRAMES

__all__ = ["candles"]

_CANDLES = 400  # more would be closer than two pixels
_FILLS = 300
_NEEDED = ("timestamp", *PRICES)


def candles(
    frame: pl.DataFrame,
    fills: pl.DataFrame | None = None,
    findings: pl.DataFrame | None = None,
    *,
    gaps: pl.DataFrame | None = None,
    title: str | None = None,
    theme: Themed = "light",
    width: int = 760,
    height: int = 320,
) -> LayerChart:
    """Draw bars as candles: blue where the price rose, orange where it fell.

    Parameters
    ----------
    frame : polars.DataFrame
        Bars of one series, as ``store.bars.read`` returns them. More than 400 are joined into bars of a longer
        timeframe, which the subtitle names. Missing bars leave a space.
    fills : polars.DataFrame, optional
        As ``store.fills.read`` returns them: a triangle points up for a purchase and down for a sale. Fills before the
        first or after the last bar are left out, and the subtitle counts them; more than 300 are joined by candle and
        side.
    findings : polars.DataFrame, optional
        As ``store.fills.audit`` returns them: a ring marks each fill that a finding concerns. Requires ``fills``.
    gaps : polars.DataFrame, optional
        As ``store.bars.gaps`` returns them: a band marks each gap.
    title : str, optional
    theme : str
        ``light`` or ``dark``.
    width, height : int
        The size of the plot, in pixels.

    Returns
    -------
    altair.LayerChart
        Times are in UTC. A notebook displays it as a picture.

    Raises
    ------
    InputError
        If a column is missing, or the frame holds several symbols.
    """
    colours = theme_of(theme)
    bars = _checked(frame)
    if bars.is_empty():
        return empty("no bars in this range", colours, title=title, width=width, height=height)
    step = step_of(bars["timestamp"])
    bars, step, joined = _joined(bars, step)
    name = title or _name(frame)
    note = f"{_timeframe(step, bars['timestamp'])} candles{joined}, {lasting(bars['timestamp'].to_list())}"
    first, last = bars["timestamp"][0], bars["timestamp"][-1]
    time = time_axis("timestamp", first, last)
    layers: list[Any] = []
    if gaps is not None and gaps.height:
        layers.append(_bands(gaps, bars, step, colours))
    drawn = rows(
        bars.with_columns(
            middle=pl.col("timestamp") + step / 2,
            rise=pl.col("close") >= pl.col("open"),
            when=pl.col("timestamp").dt.strftime("%Y-%m-%d %H:%M UTC"),
        )
    )
    shade = alt.condition("datum.rise", alt.value(colours.rise), alt.value(colours.fall))
    tips = [alt.Tooltip("when:N", title="opens"), *(f"{price}:Q" for price in _NEEDED[1:])]
    base = alt.Chart(drawn).encode(x=time_axis("middle", first, last), color=shade, tooltip=tips)
    slots = int((last - first) / step) + 1
    body = max(1.0, min(14.0, width / slots * 0.7))
    layers.append(base.mark_rule(strokeWidth=1).encode(y=alt.Y("low:Q", scale=alt.Scale(zero=False)), y2="high:Q"))
    layers.append(base.mark_bar(size=body).encode(y=alt.Y("open:Q", title="price"), y2="close:Q"))
    if fills is not None:
        marks, left = _fills(fills, bars, step)
        if left:
            note += f"; {left:,} fills lie outside"
        layers += _marks(marks, findings, colours, time)
    chart = LayerChart(layer=layers).properties(width=width, height=height)
    return chart_of(chart, colours, f"candles of {name}: {note}", title=name, below=note)


def _checked(frame: pl.DataFrame) -> pl.DataFrame:
    check_columns(frame, _NEEDED, "the frame")
    if "symbol" in frame.columns and frame["symbol"].n_unique() > 1:
        raise InputError(f"the frame holds {frame['symbol'].n_unique()} symbols; candles are of one: filter it first.")
    if not isinstance(frame.schema["timestamp"], pl.Datetime):
        raise InputError(f"column 'timestamp' is {frame.schema['timestamp']}, not a column of datetimes.")
    return frame.select(_NEEDED).sort("timestamp")


def _name(frame: pl.DataFrame) -> str:
    return str(frame["symbol"][0]) if "symbol" in frame.columns else "bars"


def _timeframe(step: timedelta, times: pl.Series) -> str:
    if step >= timedelta(days=28) and (times.dt.day() == 1).all():
        months = times.dt.year().cast(pl.Int64) * 12 + times.dt.month()
        return f"{int(months.diff().mode().min() or 1)}M"
    known = {length: name for name, length in TIMEFRAMES.items()}
    return known.get(step, f"{step}")


def _joined(bars: pl.DataFrame, step: timedelta) -> tuple[pl.DataFrame, timedelta, str]:
    """Join bars until there are few enough, into whole timeframes where possible."""
    if bars.height <= _CANDLES:
        return bars, step, ""
    common = (TIMEFRAMES[name] for name in COMMON_TIMEFRAMES if name != "1M")
    longer = [length for length in common if length > step]
    count, made = bars.height, bars
    while made.height > _CANDLES:
        step = longer.pop(0) if longer else step * 2
        made = bars.group_by(pl.col("timestamp").dt.truncate(step), maintain_order=True).agg(
            pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last()
        )
    return made, step, f" of {count:,} bars"


def _bands(gaps: pl.DataFrame, bars: pl.DataFrame, step: timedelta, colours: Theme) -> alt.Chart:
    first, last = bars["timestamp"][0], bars["timestamp"][-1] + step
    inside = gaps.filter(pl.col("end") > first, pl.col("start") < last).sort("missing", descending=True).head(_FILLS)
    shown = inside.select(
        pl.col("start").clip(first, last),
        pl.col("end").clip(first, last),
        words=pl.format("{} bars missing ({})", "missing", "cause"),
    )
    band = alt.Chart(rows(shown)).mark_rect(color=colours.shade, opacity=0.45)
    return band.encode(x=time_axis("start", first, last), x2="end:T", tooltip=alt.Tooltip("words:N"))


def _fills(fills: pl.DataFrame, bars: pl.DataFrame, step: timedelta) -> tuple[pl.DataFrame, int]:
    """Return the fills to draw (timestamp, price, side, id, ids, words), and how many lie outside the bars."""
    check_columns(fills, ("id", "order_id", "filled_at", "price", "quantity", "side"), "the frame of fills")
    inside = fills.filter(pl.col("filled_at").is_between(bars["timestamp"][0], bars["timestamp"][-1] + step))
    left = fills.height - inside.height
    floats = to_float(inside.select("price", weight="quantity"))
    shown = inside.select("id", "side", timestamp="filled_at", ids=pl.concat_list("id")).with_columns(*floats)
    if shown.height > _FILLS:
        joined = shown.group_by(pl.col("timestamp").dt.truncate(step), "side", maintain_order=True).agg(
            pl.col("id").first(),
            pl.col("ids").explode(),
            (pl.col("price") * pl.col("weight")).sum() / pl.col("weight").sum(),
            words=pl.format("{} fills", pl.len()),
        )
        return joined.with_columns(pl.col("timestamp") + step / 2), left
    done = inside["side"].replace({"buy": "bought", "sell": "sold"})
    amounts = trim_zeros(inside.select("quantity", "price"))
    words = amounts.select(pl.concat_str(done, pl.lit(" "), "quantity", pl.lit(" at "), "price")).to_series()
    return shown.with_columns(words.alias("words")), left


def _marks(shown: pl.DataFrame, findings: pl.DataFrame | None, colours: Theme, time: alt.X) -> list[alt.Chart]:
    if shown.is_empty():
        return []
    drawn = rows(shown.select("timestamp", "price", "side", "id", "words"))
    tips = [alt.Tooltip("words:N", title="fill"), alt.Tooltip("id:N")]
    buys = alt.condition("datum.side == 'buy'", alt.value("triangle-up"), alt.value("triangle-down"))
    paint = alt.condition("datum.side == 'buy'", alt.value(colours.rise), alt.value(colours.fall))
    marks = alt.Chart(drawn).mark_point(filled=True, size=70, opacity=1, stroke=colours.paper, strokeWidth=1.2)
    layers = [marks.encode(x=time, y="price:Q", shape=buys, fill=paint, tooltip=tips)]
    if findings is not None and findings.height and "fill_id" in findings.columns:
        each = shown.select("timestamp", "price", fill_id="ids").explode("fill_id")
        about = findings.select("fill_id", "sentence").join(each, on="fill_id", maintain_order="left")
        found = about.group_by("timestamp", "price", maintain_order=True).agg(
            pl.col("fill_id").first(), words=pl.col("sentence").head(3).str.join(" ")
        )
        ring = alt.Chart(rows(found.select("timestamp", "price", "words", "fill_id"))).mark_point(
            shape="circle", size=240, strokeWidth=2.4, color=colours.mark, filled=False, opacity=1
        )
        layers.append(
            ring.encode(
                x=time, y="price:Q", tooltip=[alt.Tooltip("words:N", title="finding"), alt.Tooltip("fill_id:N")]
            )
        )
    return layers
