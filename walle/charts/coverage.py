"""What is there of the bars, and what is missing."""

from __future__ import annotations

import altair as alt
import polars as pl

from walle.charts.drawing import MARKS, LayerChart, Themed, chart_of, check_columns, empty, rows, theme_of, time_axis

__all__ = ["coverage"]

_NEEDED = ("symbol", "timeframe", "first", "last", "bars", "missing", "coverage", "gaps")
_SERIES = 60


def coverage(
    frame: pl.DataFrame,
    gaps: pl.DataFrame | None = None,
    *,
    title: str | None = "Coverage",
    theme: Themed = "light",
    width: int = 640,
) -> LayerChart:
    """Draw from when to when each series reaches, how much of it is there, and where it has gaps.

    Parameters
    ----------
    frame : polars.DataFrame
        As ``store.bars.coverage`` gives it. Of more than 60 series those of the least coverage are drawn, and the
        subtitle says so.
    gaps : polars.DataFrame, optional
        Columns symbol, timeframe, start, end, missing. Each is drawn at least a pixel wide; beyond 1,900, the longest.
    title : str, optional
    theme : str
        ``light`` or ``dark``.
    width : int
        Of the drawing, in pixels.

    Returns
    -------
    altair.LayerChart
        Times in UTC. In a notebook it shows itself as a picture.

    Raises
    ------
    InputError
        When a column is missing.
    """
    colours = theme_of(theme)
    check_columns(frame, _NEEDED, "the frame")
    series = frame.drop_nulls("first")
    if series.is_empty():
        return empty("no bars are stored", colours, title=title, width=width, height=80)
    note = f"{series.height:,} series, {int(series['missing'].sum()):,} bars missing"
    if series.height > _SERIES:
        series = series.sort("coverage", "symbol").head(_SERIES)
        note += f"; the {_SERIES} of the least coverage are shown"
    name = pl.format("{} {}", "symbol", "timeframe")
    share = (pl.col("coverage") * 10_000).floor().cast(pl.Int64)  # down: 100 % only when nothing is missing
    parts = (share // 100, (share % 100).cast(pl.String).str.zfill(2), "missing", "gaps")
    told = pl.format("{}.{} %, {} missing in {} gaps", *parts)
    told = pl.when(pl.col("missing") == 0).then(pl.lit("complete")).otherwise(told)
    shown = series.select(name.alias("series"), "first", "last", "coverage", "bars", words=told)
    order = shown["series"].to_list()
    y = alt.Y("series:N", title=None, sort=order, axis=alt.Axis(ticks=False, domain=False, labelLimit=260))
    ends = series["first"].min(), series["last"].max()
    tips = [alt.Tooltip("series:N"), alt.Tooltip("bars:Q", format=","), alt.Tooltip("words:N", title="coverage")]
    base = alt.Chart(rows(shown)).encode(y=y)
    layers = [
        base.mark_bar(height=14, color=colours.rise, opacity=0.85).encode(
            x=time_axis("first", *ends), x2="last:T", tooltip=tips
        ),
    ]
    if gaps is not None and gaps.height:
        check_columns(gaps, ("symbol", "timeframe", "start", "end", "missing"), "the frame of gaps")
        holes = gaps.with_columns(name.alias("series")).filter(pl.col("series").is_in(order))
        holes = holes.sort("missing", descending=True).head(MARKS - 2 * _SERIES)
        drawn = rows(holes.select("series", "start", "end", words=pl.format("{} missing", "missing")))
        layers.append(
            alt.Chart(drawn)
            .mark_bar(height=22, color=colours.fall, stroke=colours.fall, strokeWidth=1)
            .encode(y=y, x=time_axis("start", *ends), x2="end:T", tooltip="words:N")
        )
    layers.append(
        base.mark_text(align="left", dx=8, fontSize=11, color=colours.ink).encode(
            x=time_axis("last", *ends), text="words:N"
        )
    )
    chart = LayerChart(layer=layers).properties(width=width, height=34 * shown.height)
    return chart_of(chart, colours, f"coverage of {note}", title=title, below=note)
