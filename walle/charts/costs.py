"""Charts of trading costs over time."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from walle.charts.drawing import (
    MARKS,
    LayerChart,
    Theme,
    Themed,
    VConcatChart,
    chart_of,
    check_columns,
    empty,
    lasting,
    rows,
    theme_of,
    time_axis,
)
from walle.decimals import to_float, trim_zeros
from walle.errors import InputError
from walle.fills.benchmarks import BENCHMARKS

__all__ = ["costs"]

_TEXTS = ("run_id", "order_id", "fill_id", "symbol", "side", "currency")
_NUMBERS = ("quantity", "price", "notional", "cost", "bps")
_NEEDED = (*_TEXTS, "time", *_NUMBERS, "benchmark", "fills", "measured")
_LINEAR = 5  # basis points
_BESIDE = 3  # the line at 0, the line at the median, and its label


def costs(
    frame: pl.DataFrame,
    *,
    title: str | None = "Costs",
    theme: Themed = "light",
    width: int = 760,
    height: int = 120,
) -> VConcatChart | LayerChart:
    """Draw the cost of each fill, order or run over time in basis points, in one plot per benchmark.

    An orange dot above the line at 0 is worse than the benchmark; a blue dot below it is better. A dashed line marks
    the median. All plots have the same scale, linear up to 5 basis points and logarithmic beyond, because most trades
    cost little and a single error may cost a lot.

    Parameters
    ----------
    frame : polars.DataFrame
        As ``store.fills.costs`` returns it. Rows that could not be measured are not drawn, but the subtitle counts
        them, as well as rows of which only some fills could be measured. If there are more than about 2,000 dots in
        total, neighbouring ones are joined: a dot is then their median, and a line spans from the smallest to the
        largest.
    title : str, optional
    theme : str
        ``light`` or ``dark``.
    width, height : int
        The size of the plot of one benchmark, in pixels.

    Returns
    -------
    altair.VConcatChart or altair.LayerChart
        A LayerChart if there is nothing to draw. Times are in UTC. A notebook displays it as a picture.

    Raises
    ------
    InputError
        If a column is missing, or a benchmark is not one of :data:`walle.fills.BENCHMARKS`.
    """
    colours = theme_of(theme)
    check_columns(frame, _NEEDED, "the frame")
    names = frame["benchmark"].unique(maintain_order=True).to_list()
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise InputError(f"benchmark {unknown[0]!r} is not known: allowed are {', '.join(BENCHMARKS)}.")
    what = _level(frame)
    if frame.is_empty():
        return empty("no costs to measure", colours, title=title, width=width, height=height)
    measured = frame.drop_nulls("bps").sort("time", maintain_order=True)
    note = f"{_most(frame):,} {what}, {lasting([frame['time'].min(), frame['time'].max()])}"
    note += _counted("not measurable", frame.filter(pl.col("bps").is_null()), names)
    note += _counted("of a part of their fills", measured.filter(pl.col("measured") < pl.col("fills")), names)
    if measured.is_empty():
        return empty(f"none of {note}", colours, title=title, width=width, height=height)
    shown = [name for name in names if (measured["benchmark"] == name).any()]
    most, ends = MARKS // len(shown) - _BESIDE, (measured["time"][0], measured["time"][-1])
    panels, joined, y = [], False, _axis(measured["bps"])
    for name in shown:
        part = measured.filter(pl.col("benchmark") == name)
        joined |= part.height > most
        dots = _joined(part, most // 2, what) if part.height > most else _each(part)
        dots = dots.with_columns(median=pl.lit(to_float(part.select("bps"))["bps"].median()))
        time = time_axis("time", *ends)
        if name != shown[-1]:
            time = time.axis(labels=False, ticks=False)
        panels.append(_panel(name, dots, time, y, colours).properties(width=width, height=height))
    note += f"; logarithmic beyond {_LINEAR} bps"
    if joined:
        note += f"; a dot is the median of neighbouring {what}, its line their range"
    chart = VConcatChart(vconcat=panels, spacing=14).resolve_scale(x="shared")
    return chart_of(chart, colours, f"costs of {note}", title=title, below=note)


def _level(frame: pl.DataFrame) -> str:
    """Return what a row stands for: a fill, an order or a run."""
    if frame["fill_id"].null_count() < frame.height:
        return "fills"
    return "orders" if frame["order_id"].null_count() < frame.height else "runs"


def _most(frame: pl.DataFrame) -> int:
    """Count the fills, orders or runs, each of which has one row per benchmark."""
    return max(frame.group_by("benchmark").len()["len"].to_list())


def _counted(what: str, frame: pl.DataFrame, names: list[str]) -> str:
    """Return a text with the number of rows of each benchmark; empty if there are none."""
    counts = {name: int((frame["benchmark"] == name).sum()) for name in names}
    parts = ", ".join(f"{count:,} against {name}" for name, count in counts.items() if count)
    return f"; {what}: {parts}" if parts else ""


def _each(part: pl.DataFrame) -> pl.DataFrame:
    """Return one dot per row, with its exact numbers as text."""
    done = pl.col("side").replace({"buy": "bought", "sell": "sold"})
    exact = trim_zeros(part.select(*_TEXTS, *_NUMBERS))
    money = pl.concat_str("cost", "currency", separator=" ", ignore_nulls=True)
    traded = pl.concat_str(done, "quantity", pl.lit("at"), "price", separator=" ")
    worth = pl.concat_str("notional", "currency", separator=" ", ignore_nulls=True)
    words = exact.select(
        pl.coalesce(traded, worth).alias("words"),
        money.alias("money"),
        pl.coalesce("fill_id", "order_id", "run_id").alias("id"),
        exact_bps="bps",
        share=part.select(pl.format("{} of {} fills", "measured", "fills")).to_series(),
    )
    dots = to_float(part.select("time", "bps")).with_columns(least="bps", largest="bps")
    return pl.concat([dots, words], how="horizontal").with_columns(part["symbol"])


def _joined(part: pl.DataFrame, count: int, what: str) -> pl.DataFrame:
    """Return one dot per group of consecutive rows in order of time: their median, smallest and largest value."""
    stretch = pl.int_range(pl.len()) * count // pl.len()
    return (
        to_float(part.select("time", "bps"))
        .group_by(stretch.alias("stretch"), maintain_order=True)
        .agg(
            pl.col("time").median(),
            pl.col("bps").median(),
            least=pl.col("bps").min(),
            largest=pl.col("bps").max(),
            words=pl.format(f"{{}} {what}", pl.len()),
        )
        .drop("stretch")
    )


def _axis(values: pl.Series) -> alt.Y:
    """Return the axis of basis points, which includes 0."""
    floats = [0.0, *to_float(values.to_frame())["bps"].to_list()]
    low, high = min(floats) * 1.25, max(floats) * 1.25
    far = max(high, -low)
    powers = [10.0**power for power in range(1 if far > 20 else 0, 24) if 10.0**power <= far]
    powers = powers[:: len(powers) // 4 + 1]
    ticks = [-power for power in powers if -power >= low][::-1] + [0.0] + [power for power in powers if power <= high]
    scale = alt.Scale(type="symlog", constant=_LINEAR, domain=[low, high] if high > low else [-1, 1], nice=False)
    # without a count, Vega leaves out ticks
    axis = alt.Axis(values=ticks, tickCount=len(ticks), format=",~f", labelOverlap=False)
    return alt.Y("bps:Q", scale=scale, axis=axis)


def _panel(name: str, dots: pl.DataFrame, time: alt.X, y: alt.Y, colours: Theme) -> alt.LayerChart:
    """Draw the dots of one benchmark and the line at their median."""
    median = dots["median"][0]
    drawn = dots.drop("median").with_columns(
        worse=pl.col("bps") > 0, when=pl.col("time").dt.strftime("%Y-%m-%d %H:%M:%S UTC")
    )
    y = y.title(f"{name}, bps")
    shade = alt.condition("datum.worse", alt.value(colours.fall), alt.value(colours.rise))
    tips: list[Any] = [alt.Tooltip("when:N", title="time"), alt.Tooltip("words:N", title="traded")]
    if "id" in dots.columns:
        tips += [
            alt.Tooltip("symbol:N"),
            alt.Tooltip("money:N", title="cost"),
            alt.Tooltip("exact_bps:N", title="bps"),
            alt.Tooltip("share:N", title="measured"),
            alt.Tooltip("id:N"),
        ]
    else:
        tips += [
            alt.Tooltip(f"{field}:Q", format=",.2f", title=words)
            for field, words in (("bps", "median"), ("least", "least"), ("largest", "largest"))
        ]
    base = alt.Chart(rows(drawn)).encode(x=time, tooltip=tips)
    line = alt.Chart(rows(pl.DataFrame({"bps": [0.0]}))).mark_rule(color=colours.ink, strokeWidth=1, opacity=0.7)
    said = pl.DataFrame({"bps": [median], "words": [f"median {median:,.2f}"]})
    middle = alt.Chart(rows(said))
    layers: list[Any] = [line.encode(y=y)]
    if "id" not in dots.columns:
        layers.append(
            base.mark_rule(strokeWidth=1, opacity=0.5).encode(y=alt.Y("least:Q"), y2="largest:Q", color=shade)
        )
    layers += [
        base.mark_circle(size=34, opacity=0.75).encode(y=y, color=shade),
        middle.mark_rule(color=colours.mark, strokeDash=[5, 4], strokeWidth=1.4).encode(y="bps:Q"),
        middle.mark_text(align="left", dx=6, color=colours.mark, fontSize=11, baseline="middle").encode(
            x=alt.value("width"), y="bps:Q", text="words:N"
        ),
    ]
    return alt.LayerChart(layer=layers)
