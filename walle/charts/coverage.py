"""Charts of the coverage of bars."""

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
    """Draw the time span, the coverage and the gaps of each series.

    Parameters
    ----------
    frame : polars.DataFrame
        As ``store.bars.coverage`` returns it. Of more than 60 series only those with the lowest coverage are drawn, and
        the subtitle says so.
    gaps : polars.DataFrame, optional
        Columns symbol, timeframe, start, end, missing. Each gap is drawn at least a pixel wide; of more than 1,900 gaps
        only the longest are drawn.
    title : str, optional
    theme : str
        ``light`` or ``dark``.
    width : int
        The width of the plot, in pixels.

    Returns
    -------
    altair.LayerChart
        Times are in UTC. A notebook displays it as a picture.

    Raises
    ------
    InputError
        If a column is missing.
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
    share = (pl.col("coverage") * 10_000).floor().cast(pl.Int64)  # rounded down: 100 % only if nothing is missing
    parts = (share // 100, (share % 100).cast(pl.String).str.zfill(2), "missing", "gaps")
    words = pl.format("{}.{} %, {} missing in {} gaps", *parts)
    words = pl.when(pl.col("missing") == 0).then(pl.lit("complete")).otherwise(words)
    listed = series.select(name.alias("series"), "first", "last", "coverage", "bars", words=words)
    order = listed["series"].to_list()
    y = alt.Y("series:N", title=None, sort=order, axis=alt.Axis(ticks=False, domain=False, labelLimit=260))
    ends = series["first"].min(), series["last"].max()
    tips = [alt.Tooltip("series:N"), alt.Tooltip("bars:Q", format=","), alt.Tooltip("words:N", title="coverage")]
    base = alt.Chart(rows(listed)).encode(y=y)
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
    chart = LayerChart(layer=layers).properties(width=width, height=34 * listed.height)
    return chart_of(chart, colours, f"coverage of {note}", title=title, below=note)
