"""The shared parts of the charts: colours, sizes, labels, and the picture that a notebook displays."""

from __future__ import annotations

import struct
import unicodedata
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import polars as pl
import polars.selectors as cs

from walle.decimals import to_float
from walle.enums import OHLCV
from walle.errors import ConfigurationError, InputError
from walle.interop import beyond_years

try:
    import altair as alt
except ModuleNotFoundError as error:
    raise ConfigurationError('charts need Altair; install it: pip install "walle[notebook]".') from error

__all__ = [
    "MARKS",
    "Chart",
    "LayerChart",
    "Theme",
    "Themed",
    "VConcatChart",
    "chart_of",
    "check_columns",
    "empty",
    "label",
    "lasting",
    "picture",
    "rows",
    "step_of",
    "theme_of",
    "thinned",
    "time_axis",
]

Themed = Literal["light", "dark"]
ChartKind = TypeVar("ChartKind", bound="alt.TopLevelMixin")

MARKS = 2_000
"""The maximum number of marks in a chart; more would be slow to draw and finer than any screen."""

_LABEL = 60
_RESOLUTION = 2.0  # pixels of the picture per pixel of the page, to look sharp on high-density screens


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of a chart, chosen so that people with red-green colour blindness can tell them apart."""

    paper: str
    ink: str
    faint: str
    rise: str
    fall: str
    line: str
    shade: str
    mark: str


# after Okabe and Ito, "Color Universal Design" (2008)
_THEMES: Mapping[str, Theme] = MappingProxyType(
    {
        "light": Theme("#ffffff", "#24292f", "#d8dee4", "#0072b2", "#d55e00", "#0072b2", "#b9c0c7", "#a0307a"),
        "dark": Theme("#111417", "#e6edf3", "#343b43", "#56b4e9", "#e69f00", "#56b4e9", "#555d66", "#f08fc8"),
    }
)


class Chart:
    """A mixin that displays an Altair chart as a picture: without a script or network, and the same in every viewer."""

    _summary = "chart"

    def _repr_mimebundle_(self, *_: object, **__: object) -> tuple[dict[str, Any], dict[str, Any]]:
        data = picture(self)
        width, height = struct.unpack(">II", data[16:24])
        size = {"width": round(width / _RESOLUTION), "height": round(height / _RESOLUTION)}
        return {"image/png": data, "text/plain": repr(self)}, {"image/png": size}

    def __repr__(self) -> str:
        """Return the summary of the chart."""
        return f"<Chart: {self._summary}>"


class LayerChart(Chart, alt.LayerChart):
    """Layers in one chart."""


class VConcatChart(Chart, alt.VConcatChart):
    """Charts stacked vertically."""


def picture(
    chart: alt.TopLevelMixin, format: Literal["png", "svg"] = "png", *, scale: float = _RESOLUTION, effort: int = 9
) -> bytes:
    """Render a chart without a browser; the same chart gives the same bytes.

    Parameters
    ----------
    chart : altair chart
    format : str
        ``png`` or ``svg``.
    scale : float
        The number of PNG pixels per pixel of the chart.
    effort : int
        The compression level of a PNG, 1 to 9: higher levels save space in notebooks, lower ones are faster.

    Returns
    -------
    bytes

    Raises
    ------
    InputError
        For an unknown format or effort.
    ConfigurationError
        If vl-convert is not installed.

    Examples
    --------
    >>> from walle.charts import candles
    >>> chart = candles(pl.DataFrame(schema={"timestamp": pl.Datetime("us", "UTC"), **_PRICES}))
    >>> picture(chart)[1:4]
    b'PNG'
    """
    if format not in ("png", "svg"):
        raise InputError(f"format={format!r}: allowed are png and svg.")
    if effort not in range(1, 10):
        raise InputError(f"effort={effort!r}: allowed are 1 to 9.")
    try:
        import vl_convert
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            'a picture needs vl-convert-python; install it: pip install "walle[notebook]".'
        ) from error
    # chart.save validates each row against the schema of a chart, which takes longer than drawing
    with alt.data_transformers.enable("default"), alt.data_transformers.disable_max_rows():
        drawing = chart.to_dict(validate=False)
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    if format == "svg":
        return str(vl_convert.vegalite_to_svg(drawing, vl_version=version)).encode()
    return _packed(vl_convert.vegalite_to_png(drawing, vl_version=version, scale=scale), effort)


_PRICES = dict.fromkeys(OHLCV, pl.Float64())


def theme_of(name: str) -> Theme:
    """Return the colours of a theme.

    Raises
    ------
    InputError
    """
    if name not in _THEMES:
        raise InputError(f"theme={name!r}: allowed are {', '.join(_THEMES)}.")
    return _THEMES[name]


def chart_of(
    chart: ChartKind, colours: Theme, summary: str, *, title: str | None = None, below: str | None = None
) -> ChartKind:
    """Set the colours, the title and the summary of a chart; the summary is its text form."""
    quiet = {"labelColor": colours.ink, "titleColor": colours.ink, "domainColor": colours.faint}
    lined = {"gridColor": colours.faint, "tickColor": colours.faint, "gridOpacity": 0.6}
    if title is not None:
        heading = alt.TitleParams(
            label(title),
            subtitle=below or "",
            anchor="start",
            color=colours.ink,
            subtitleColor=colours.ink,
            fontSize=15,
            subtitleFontSize=11,
            subtitlePadding=4,
            offset=10,
        )
        chart = chart.properties(title=heading)
    chart = chart.properties(background=colours.paper, padding=12, description=label(summary, 300))
    chart = chart.configure_view(stroke=None)
    chart = chart.configure_axis(**quiet, **lined, titleFontWeight="normal", titleFontSize=11, labelFontSize=10)
    chart = chart.configure_legend(labelColor=colours.ink, titleColor=colours.ink, titleFontWeight="normal")
    object.__setattr__(chart, "_summary", label(summary, 300))
    return chart


def empty(words: str, colours: Theme, *, title: str | None, width: int, height: int) -> LayerChart:
    """Return a chart that says why there is nothing to see."""
    text = alt.Chart(alt.Data(values=[{"words": label(words, 200)}])).mark_text(
        color=colours.ink, fontSize=13, opacity=0.8
    )
    drawn = LayerChart(layer=[text.encode(text="words:N")]).properties(width=width, height=height)
    return chart_of(drawn, colours, words, title=title)


def check_columns(frame: pl.DataFrame, needed: Iterable[str], what: str) -> None:
    """Raise if a frame lacks columns that a chart needs, or has times that cannot be drawn.

    Raises
    ------
    InputError
    """
    lacking = [name for name in needed if name not in frame.columns]
    if lacking:
        raise InputError(f"{what} lacks {', '.join(map(repr, lacking))}; it has: {', '.join(frame.columns)}.")
    far = [values.name for values in frame if beyond_years(values)]
    if far:
        raise InputError(f"{what}: column {far[0]!r} holds a time outside the years 1 to 9999, which no chart shows.")


def label(text: str, length: int = _LABEL) -> str:
    """Return a text for a chart, of limited length and without control characters."""
    shown = text if len(text) <= length else f"{text[: length - 1]}\u2026"
    return "".join("\ufffd" if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co") else sign for sign in shown)


def rows(frame: pl.DataFrame) -> alt.Data:
    """Return a frame as the data of a chart: decimals as floats, instants in ISO form, texts as labels."""
    shown = to_float(frame).with_columns(
        cs.datetime().dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"),
        cs.string().map_elements(lambda text: label(text, 300), return_dtype=pl.String),
    )
    return alt.Data(values=[_finite(row) for row in shown.to_dicts()])


def thinned(frame: pl.DataFrame, most: int, keep: str) -> pl.DataFrame:
    """Return at most ``most`` rows in order: the last row of each stretch, and the one with the smallest ``keep``.

    The first and last rows stay, and so do rows without a value, so that gaps in a line remain visible.
    """
    if frame.height <= most:
        return frame
    stretch = pl.int_range(pl.len()) * (most // 3) // pl.len()
    numbered = frame.with_row_index("_row").with_columns(_stretch=stretch)
    chosen = numbered.group_by("_stretch").agg(
        last=pl.col("_row").last(),
        least=pl.col("_row").sort_by(pl.col(keep), nulls_last=True).first(),
        hole=pl.col("_row").filter(pl.col(keep).is_null()).first(),
    )
    kept = pl.concat([chosen["last"], chosen["least"], chosen["hole"], pl.Series([0], dtype=pl.UInt32)]).drop_nulls()
    return frame[kept.unique().sort()]


def time_axis(field: str, first: object, last: object) -> alt.X:
    """Return a time axis in UTC: with times of day for a few days, or with dates and years for many."""
    lasts = last - first if isinstance(first, datetime) and isinstance(last, datetime) else timedelta(0)
    long = lasts > timedelta(days=200)
    # with ticks every twelve hours, crowded labels would drop those at midnight, which show the dates
    ticks = 8 if long else "day" if timedelta(days=7) < lasts <= timedelta(days=31) else alt.Undefined
    day = "%Y-%m-%d" if long else "%b %d"
    expression = (
        "utchours(datum.value) == 0 && utcminutes(datum.value) == 0"
        f" ? utcFormat(datum.value, '{day}') : utcFormat(datum.value, '%H:%M')"
    )
    axis = alt.Axis(labelExpr=expression, labelOverlap=True, tickCount=ticks)
    return alt.X(f"{field}:T", title=None, scale=alt.Scale(type="utc"), axis=axis)


def step_of(times: pl.Series) -> timedelta:
    """Return the most frequent distance between sorted instants; a day if there are fewer than two."""
    steps = times.diff().drop_nulls()
    common = steps.mode().min() if steps.len() else None
    return common if isinstance(common, timedelta) and common > timedelta(0) else timedelta(days=1)


def lasting(moments: Sequence[Any]) -> str:
    """Return the span of instants as text for a subtitle."""
    first, last = (moment for moment in (moments[0], moments[-1]))
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return ""
    return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"


def _packed(png: bytes, effort: int) -> bytes:
    """Recompress a PNG to a fifth of the size that vl-convert makes, because a notebook keeps every picture."""
    parts, pixels, place = [png[:8]], b"", 8
    while place < len(png):
        size = int.from_bytes(png[place : place + 4], "big")
        kind, end = png[place + 4 : place + 8], place + 12 + size
        if kind == b"IDAT":
            pixels += png[place + 8 : end - 4]
        else:
            if kind == b"IEND":
                body = b"IDAT" + zlib.compress(zlib.decompress(pixels), effort)
                parts.append(struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
            parts.append(png[place:end])
        place = end
    return b"".join(parts)


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not -1e308 < value < 1e308 else value for name, value in row.items()
    }
