"""Safe text and HTML for values: of limited length, escaped, and without control characters."""

from __future__ import annotations

import base64
import html
import struct
import unicodedata
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl

from walle.validation import decimal_text

__all__ = ["duration", "format_value", "html_table", "moment", "picture", "rows_of", "text_of", "text_table"]

_MOST = 300
_STEERING = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
_PLAIN = {ord("\n"): " ", ord("\t"): " ", ord("\r"): " "}


def text_of(text: str, most: int = _MOST) -> str:
    """Return a text of limited length, on one line, with control characters replaced.

    Parameters
    ----------
    text : str
    most : int
        The maximum number of characters; a longer text is cut and ends with its full length.
    """
    kept = text[:most]
    if not kept.isprintable():
        kept = kept.translate(_PLAIN)
        kept = "".join("\ufffd" if unicodedata.category(sign) in _STEERING else sign for sign in kept)
    return kept if len(text) <= most else f"{kept[: most - 24]}\u2026 ({len(text):,} characters)"


def format_value(value: object) -> str:
    """Format a value for a table: instants in UTC, counts with separators, null as an empty text."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return moment(value)
        case timedelta():
            return duration(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.12g}"
        case Decimal():
            return decimal_text(value)
        case str():
            return text_of(value)
    return text_of(str(value))


def moment(value: datetime) -> str:
    """Format an instant in UTC as short as possible: without a time at midnight, without seconds at full minutes."""
    there = value.astimezone(UTC)
    if there.microsecond:
        return there.isoformat(" ", "milliseconds" if there.microsecond % 1000 == 0 else "microseconds")[:-6]
    if there.second:
        return there.strftime("%Y-%m-%d %H:%M:%S")
    return there.strftime("%Y-%m-%d %H:%M" if there.hour or there.minute else "%Y-%m-%d")


def duration(value: timedelta) -> str:
    """Format a duration in its two largest units."""
    seconds = abs(value) // timedelta(seconds=1)
    if not seconds:
        return f"{value // timedelta(milliseconds=1)} ms"
    parts = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    texts = []
    for unit, size in parts:
        count, seconds = divmod(seconds, size)
        if count:
            texts.append(f"{count:,} {unit}")
    return ("-" if value < timedelta(0) else "") + " ".join(texts[:2])


def rows_of(frame: pl.DataFrame) -> list[list[str]]:
    """Return the rows of a short frame as texts."""
    return [[format_value(value) for value in row] for row in frame.iter_rows()]


def html_table(
    frame: pl.DataFrame, titles: Mapping[str, str] | None = None, *, pictures: Mapping[str, Sequence[str]] | None = None
) -> str:
    """Return a short frame as an HTML table without any active content.

    Parameters
    ----------
    frame : polars.DataFrame
    titles : mapping of a column to its title, optional
        By default the column's name.
    pictures : mapping of a title to images, optional
        Further columns, with an ``img`` element from :func:`picture` for each row.
    """
    images = pictures or {}
    numeric = [kind.is_numeric() for kind in frame.dtypes]
    heads = [(titles or {}).get(name, name) for name in frame.columns]
    head = "".join(f"<th>{html.escape(text_of(title))}</th>" for title in [*heads, *images])
    body = []
    for number, row in enumerate(rows_of(frame)):
        cells = [
            f'<td style="text-align: {"right" if right else "left"}">{html.escape(value)}</td>'
            for value, right in zip(row, numeric, strict=True)
        ]
        cells += [f"<td>{images[title][number]}</td>" for title in images]
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def picture(pixels: Sequence[bytes], palette: Sequence[tuple[int, int, int, int]], words: str) -> str:
    """Return an ``img`` element with an embedded PNG.

    Parameters
    ----------
    pixels : sequence of bytes
        The rows of pixels, with one byte per pixel: its index in the palette.
    palette : sequence of (red, green, blue, alpha)
    words : str
        The alternative text.
    """
    width, height = len(pixels[0]), len(pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    colours = b"".join(bytes(colour[:3]) for colour in palette)
    parts = [
        _chunk(b"IHDR", head),
        _chunk(b"PLTE", colours),
        _chunk(b"tRNS", bytes(colour[3] for colour in palette)),
        _chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in pixels), 9)),
        _chunk(b"IEND", b""),
    ]
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()
    label = html.escape(text_of(words))
    return f'<img width="{width}" height="{height}" alt="{label}" title="{label}" src="data:image/png;base64,{data}">'


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def text_table(frame: pl.DataFrame, heads: Iterable[str] | None = None) -> str:
    """Return a short frame as lines of text with aligned columns."""
    rows = [[text_of(head) for head in heads or frame.columns], *rows_of(frame)]
    widths = [max(len(row[place]) for row in rows) for place in range(frame.width)]
    numeric = [kind.is_numeric() for kind in frame.dtypes]
    return "\n".join(
        "  ".join(
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in rows
    )
