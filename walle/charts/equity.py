"""Charts of equity and drawdown."""

from __future__ import annotations

import altair as alt
import polars as pl

from walle.charts.drawing import (
    LayerChart,
    Themed,
    VConcatChart,
    chart_of,
    check_columns,
    empty,
    lasting,
    rows,
    theme_of,
    thinned,
    time_axis,
)
from walle.decimals import to_float

__all__ = ["equity"]

_POINTS = 600  # each is a mark in both plots


def equity(
    frame: pl.DataFrame,
    *,
    title: str | None = "Equity",
    theme: Themed = "light",
    width: int = 760,
    height: int = 220,
) -> VConcatChart | LayerChart:
    """Draw the equity of a run, and below it the drawdown: how far it was below its previous peak.

    Parameters
    ----------
    frame : polars.DataFrame
        As ``store.runs.equity`` returns it: time and equity; a null is a gap, across which no line is drawn. Of more
        than 600 rows the last row of each stretch is drawn, and the one with the lowest equity.
    title : str, optional
    theme : str
        ``light`` or ``dark``.
    width, height : int
        The size of the upper plot, in pixels.

    Returns
    -------
    altair.VConcatChart or altair.LayerChart
        A LayerChart if there is nothing to draw. Times are in UTC. A notebook displays it as a picture.

    Raises
    ------
    InputError
        If a column is missing.
    """
    colours = theme_of(theme)
    check_columns(frame, ("time", "equity"), "the frame")
    worth = to_float(frame.select("time", "equity")).sort("time")
    if worth["equity"].null_count() == worth.height:
        words = "no bars of this run are marked to market" if worth.height else "this run has no bars"
        return empty(words, colours, title=title, width=width, height=height)
    peak = pl.col("equity").cum_max().forward_fill()
    worth = worth.with_columns(drawdown=pl.when(peak > 0).then(100 * (pl.col("equity") / peak - 1)))
    deepest, last = worth["drawdown"].fill_null(0.0).to_list(), worth["equity"].drop_nulls()[-1]
    note = f"{last:,.2f} at the end, deepest drawdown {min(deepest):.2f} %, {lasting(worth['time'].to_list())}"
    holes = worth["equity"].null_count()
    if holes:
        note += f"; {holes:,} of {worth.height:,} moments cannot be marked"
    shown = thinned(worth, _POINTS, "equity").with_columns(when=pl.col("time").dt.strftime("%Y-%m-%d %H:%M UTC"))
    base = alt.Chart(rows(shown)).encode(x=time_axis("time", worth["time"][0], worth["time"][-1]))
    tips = [alt.Tooltip("when:N", title="time"), alt.Tooltip("equity:Q", format=",.2f")]
    upper = (
        base.mark_line(color=colours.line, strokeWidth=1.6, interpolate="step-after")
        .encode(y=alt.Y("equity:Q", title="equity", scale=alt.Scale(zero=False)), tooltip=tips)
        .properties(width=width, height=height)
    )
    lower = (
        base.mark_area(color=colours.fall, opacity=0.5, interpolate="step-after")
        .encode(
            y=alt.Y("drawdown:Q", title="drawdown, %"),
            tooltip=[tips[0], alt.Tooltip("drawdown:Q", format=".2f", title="drawdown, %")],
        )
        .properties(width=width, height=round(height * 0.4))
    )
    chart = VConcatChart(vconcat=[upper, lower]).resolve_scale(x="shared")
    return chart_of(chart, colours, f"equity: {note}", title=title, below=note)
