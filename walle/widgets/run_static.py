"""The static form of ``RunView``: a summary, a small picture of the equity, and short tables."""

from __future__ import annotations

import html
import math

import polars as pl

from walle.decimals import to_float
from walle.errors import WalleError
from walle.fills.audit import SEVERITIES
from walle.widgets.escape import format_value, html_table, moment, picture, text_of, text_table
from walle.widgets.run_data import RunData, format_tab
from walle.widgets.view import Static

__all__ = ["equity_words", "findings_words", "static_of", "worth_of"]

_WIDE, _HIGH, _DEEP = 480, 90, 30
_PALETTE = ((0, 0, 0, 0), (0x2F, 0x7F, 0xB8, 255), (0xD5, 0x5E, 0x00, 190), (0x80, 0x80, 0x80, 90))
_NONE, _LINE, _FALL, _GROUND = range(4)
_ROWS = 6
_FIGURES = (
    "net_profit",
    "total_return",
    "volatility",
    "sharpe",
    "max_drawdown",
    "trades",
    "win_rate",
    "profit_factor",
    "fees",
)


def worth_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Return time, equity and drawdown (0 to -1) as floats; rows that cannot be marked to market are null."""
    worth = to_float(frame.select("time", "equity"))
    peak = pl.col("equity").cum_max().forward_fill()
    return worth.with_columns(drawdown=pl.when(peak > 0).then(pl.col("equity") / peak - 1))


def equity_words(worth: pl.DataFrame) -> str:
    """Return a sentence about the equity of a run; ``worth`` comes from :func:`worth_of`."""
    known = worth.drop_nulls("equity")
    if known.is_empty():
        return "no bars of what the run traded: its worth is not known" if worth.height else "no bars, and no worth"
    first, last = known["equity"][0], known["equity"][-1]
    deepest = known["drawdown"].min()
    fell = f", deepest drawdown {100 * deepest:.2f} %" if isinstance(deepest, float) else ""
    holes = worth.height - known.height
    unknown = f"; {holes:,} of {worth.height:,} moments cannot be marked" if holes else ""
    return f"equity {first:,.2f} to {last:,.2f}{fell}{unknown}"


def findings_words(findings: pl.DataFrame) -> str:
    """Return a text about the findings of the audit."""
    if findings.is_empty():
        return "the audit found nothing"
    left = findings.filter(~pl.col("answered").fill_null(False))
    by = dict(left["severity"].value_counts().iter_rows())
    answered = findings.height - left.height
    parts = [
        f"{by[name]:,} {name}{'s' if by[name] != 1 and name != 'info' else ''}" for name in SEVERITIES if by.get(name)
    ]
    words = f"the audit found {', '.join(parts) or 'nothing that is unanswered'}"
    return f"{words}; {answered:,} {'is' if answered == 1 else 'are'} answered" if answered else words


def static_of(data: RunData, symbol: str) -> Static:
    """Return the static form of a run, or of one of its symbols."""
    of = f" of {text_of(symbol, 60)}" if symbol else ""
    head = f"{text_of(data.run_id, 80)}{of}: {data.summary()}"
    text = [f"RunView: {head}"]
    name, summary = html.escape(text_of(data.run_id, 80)), html.escape(data.summary())
    page = [f"<p><strong>Run {name}</strong>{html.escape(of)}: {summary}</p>"]
    for words, table, image in _parts(data, symbol):
        text.append(words)
        page.append(f"<p>{html.escape(words)}</p>{image}")
        if table is not None and table.height:
            text.append(text_table(table))
            page.append(html_table(table))
    return Static("\n".join(text), "".join(page))


def _parts(data: RunData, symbol: str) -> list[tuple[str, pl.DataFrame | None, str]]:
    """Return the text, table and picture of each section; the text says why one cannot be computed."""
    made: list[tuple[str, pl.DataFrame | None, str]] = []
    for name, make in (("equity", _equity), ("metrics", _metrics), ("findings", _findings), ("trades", _trades)):
        try:
            made.append(make(data.part(name, symbol)))
        except WalleError as error:
            made.append((text_of(f"{name}: {error}", 400), None, ""))
    return made


def _equity(frame: pl.DataFrame) -> tuple[str, pl.DataFrame | None, str]:
    worth = worth_of(frame)
    words = equity_words(worth)
    return words[0].upper() + words[1:], None, _line(worth, words)


def _metrics(frame: pl.DataFrame) -> tuple[str, pl.DataFrame | None, str]:
    table = format_tab("metrics", frame).drop_nulls("figure")
    chosen = table.filter(pl.col("metric").is_in(_FIGURES)).select("metric", "figure", "unit")
    return ("Figures" if chosen.height else "No figure can be told of a run without fills and bars"), chosen, ""


def _findings(frame: pl.DataFrame) -> tuple[str, pl.DataFrame | None, str]:
    table = format_tab("findings", frame).select("severity", "rule", "time", "finding").head(_ROWS)
    words = findings_words(frame)
    more = f"; the first {_ROWS} are shown" if frame.height > _ROWS else ""
    return f"{words[0].upper()}{words[1:]}{more}", table, ""


def _trades(frame: pl.DataFrame) -> tuple[str, pl.DataFrame | None, str]:
    if frame.is_empty():
        return "No trades", None, ""
    columns = ("symbol", "direction", "quantity", "from", "to", "entry", "exit", "net profit")
    table = format_tab("trades", frame.sort("entry_time").tail(_ROWS)).select(columns)
    last = f"; the last {_ROWS} are shown" if frame.height > _ROWS else ""
    count, still = frame.height, int(frame["is_open"].sum())
    words = f"{format_value(count)} trade{'s' if count != 1 else ''}{f', {still:,} still open' if still else ''}"
    return words + last, table, ""


def _line(worth: pl.DataFrame, words: str) -> str:
    """Draw the equity as a line, with the drawdown below it; leave a gap where it is unknown."""
    known = worth.filter(pl.col("equity").is_finite())
    if known.height < 2:
        return ""
    low, high = float(known["equity"].min()), float(known["equity"].max())  # type: ignore[arg-type]  # a number, as its column is
    first, last = worth["time"][0], worth["time"][-1]
    whole = max(1.0, (last - first).total_seconds())
    place = ((pl.col("time") - first).dt.total_microseconds() / 1e6 / whole * (_WIDE - 1)).floor().cast(pl.Int32)
    columns = known.group_by(place.alias("column")).agg(
        first=pl.col("equity").first(),
        last=pl.col("equity").last(),
        low=pl.col("equity").min(),
        high=pl.col("equity").max(),
        fall=pl.col("drawdown").min().fill_null(0.0),
    )
    deepest = float(columns["fall"].min() or 0.0)  # type: ignore[arg-type]  # a number, as its column is
    pixels = [bytearray(_WIDE) for _ in range(_HIGH + _DEEP)]
    pixels[_HIGH] = bytearray([_GROUND]) * _WIDE
    lost = {column for (column,) in worth.filter(pl.col("equity").is_null()).select(place.alias("column")).iter_rows()}
    before: tuple[int, float, float] | None = None
    for column, opens, closes, least, most, fall in columns.sort("column").iter_rows():
        if before is not None and not lost.intersection(range(before[0] + 1, column)):
            for between in range(before[0] + 1, column):  # equity changes only at the close of a bar
                _draw(pixels, between, before[1], before[1], low, high)
                _sink(pixels, between, before[2], deepest)
            least, most = min(least, before[1], opens), max(most, before[1], opens)
        _draw(pixels, column, least, most, low, high)
        _sink(pixels, column, fall, deepest)
        before = column, closes, fall
    span = f"{moment(first)} to {moment(last)} UTC"
    return picture([bytes(row) for row in pixels], _PALETTE, f"{words}; {span}")


def _draw(pixels: list[bytearray], column: int, least: float, most: float, low: float, high: float) -> None:
    scale = (_HIGH - 5) / (high - low) if high > low else 0.0
    top, bottom = (2 + math.floor((high - value) * scale) for value in (most, least))
    for row in range(top, min(bottom + 2, _HIGH)):
        pixels[row][column] = _LINE


def _sink(pixels: list[bytearray], column: int, fall: float, deepest: float) -> None:
    deep = round(fall / deepest * (_DEEP - 2)) if deepest < 0 else 0
    for row in range(_HIGH + 1, _HIGH + 1 + deep):
        pixels[row][column] = _FALL
