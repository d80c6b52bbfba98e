"""Judge bars: whole columns at a time, every row that is no bar with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from walle.errors import InputError, InvalidBars
from walle.frames import BARS, REJECTED_BARS
from walle.timeframe import CALENDAR_TIMEFRAMES, length

__all__ = ["Checked", "check_bars"]

_KEY = ["symbol", "timeframe", "timestamp"]
_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found.

    Parameters
    ----------
    bars : polars.DataFrame
        Good rows in time order per series, the first of each key; columns of ``BARS``.
    repeats : polars.DataFrame
        Further rows of a key that is already in ``bars``, in the source's order.
    rejected : polars.DataFrame
        Columns of ``REJECTED_BARS``.
    """

    bars: pl.DataFrame
    repeats: pl.DataFrame
    rejected: pl.DataFrame


def check_bars(frame: pl.DataFrame, *, on_invalid: str = "raise") -> Checked:
    """Separate the rows that are bars from those that are not.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns of ``BARS``; any row may hold nulls or nonsense.
    on_invalid : {"raise", "quarantine"}
        Raise when a row is refused, or return it beside the good ones.

    Returns
    -------
    Checked

    Raises
    ------
    InvalidBars
        With every refused row; the message shows the first ones and all counts. Bars that open before the bar before
        them has ended stop a call under quarantine too.
    InputError
        For another ``on_invalid``.
    """
    if on_invalid not in ("raise", "quarantine"):
        raise InputError(f"on_invalid={on_invalid!r} is neither 'raise' nor 'quarantine'.")
    given = frame
    reason = frame.select(_reason()).to_series()
    rejected = pl.DataFrame(schema=REJECTED_BARS)
    if reason.null_count() < frame.height:
        bad = reason.is_not_null()
        rejected = (
            frame.with_columns(reason.alias("reason")).with_row_index("row").filter(bad).cast({"row": pl.Int64})
        ).select(list(REJECTED_BARS))
        if on_invalid == "raise":
            raise InvalidBars(*_refusal(rejected, frame.height))
        frame = frame.filter(~bad)
    bars, repeats = _first_of_each_key(frame)
    crowded = _opens_too_early(bars)
    if crowded.any():
        why = pl.lit("it opens before the bar before it has ended: another timeframe?").alias("reason")
        keys = bars.filter(crowded).select(_KEY)
        early = given.with_row_index("row").join(keys, on=_KEY, how="semi", maintain_order="left")
        early = early.with_columns(why).cast({"row": pl.Int64}).select(list(REJECTED_BARS))
        # also under quarantine: which of two such bars is the good one cannot be told
        raise InvalidBars(*_refusal(early, given.height))
    return Checked(bars, repeats, rejected)


def _opens_too_early(bars: pl.DataFrame) -> pl.Series:
    lengths = {name: length(name) // timedelta(microseconds=1) for name in bars["timeframe"].unique().to_list()}
    lengths |= {"1M": timedelta(days=28) // timedelta(microseconds=1)} if "1M" in lengths else {}
    times = pl.col("timestamp").to_physical()
    if not lengths:
        return pl.Series(dtype=pl.Boolean)
    if len(lengths) == 1 and bars["symbol"].n_unique() == 1:
        return bars.select((times.diff() < next(iter(lengths.values()))).fill_null(False)).to_series()
    shortest = pl.col("timeframe").replace_strict(lengths, return_dtype=pl.Int64)
    return bars.select((times.diff().over("symbol", "timeframe") < shortest).fill_null(False)).to_series()


def _reason() -> pl.Expr:
    midnight = pl.col("timestamp").dt.truncate("1d") == pl.col("timestamp")
    calendar = pl.col("timeframe").is_in(CALENDAR_TIMEFRAMES)
    rules = [
        (
            "timestamp is missing, or skipped or repeated by a clock change",
            pl.col("timestamp").is_null(),
        ),
        *((f"{name} is missing", pl.col(name).is_null()) for name in ("symbol", "timeframe", *_PRICES, "volume")),
        *((f"{name} is NaN or infinite", ~pl.col(name).is_finite()) for name in (*_PRICES, "volume")),
        ("high is below low", pl.col("high") < pl.col("low")),
        ("open lies outside low..high", ~pl.col("open").is_between("low", "high")),
        ("close lies outside low..high", ~pl.col("close").is_between("low", "high")),
        ("volume is below 0", pl.col("volume") < 0),
        ("a bar of 1d, 1w or 1M opens at midnight (of its own zone: dt.convert_time_zone)", calendar & ~midnight),
        (
            "a bar of 1w opens on a Monday",
            (pl.col("timeframe") == "1w") & (pl.col("timestamp").dt.weekday() != 1),
        ),
        (
            "a bar of 1M opens on the first",
            (pl.col("timeframe") == "1M") & (pl.col("timestamp").dt.day() != 1),
        ),
        ("timestamp lies outside the years 1 to 9999", ~pl.col("timestamp").dt.year().is_between(1, 9999)),
        (
            "symbol is empty, padded, longer than 128 characters or holds NUL",
            (pl.col("symbol").str.len_chars() > 128)
            | (pl.col("symbol") == "")
            | (pl.col("symbol").str.strip_chars() != pl.col("symbol"))
            | pl.col("symbol").str.contains("\0", literal=True),
        ),
    ]
    return pl.coalesce(*(pl.when(broken).then(pl.lit(text)) for text, broken in rules)).alias("reason")


def _refusal(rejected: pl.DataFrame, total: int) -> tuple[str, pl.DataFrame, dict[str, int]]:
    counts = dict(rejected.group_by("reason").len().sort("len", "reason", descending=[True, False]).iter_rows())
    with pl.Config(
        tbl_rows=5,
        fmt_str_lengths=80,
        tbl_cols=-1,
        tbl_width_chars=160,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
    ):
        shown = str(rejected.drop("symbol", "timeframe").head(5))
    listed = "; ".join(f"{reason}: {count}" for reason, count in counts.items())
    message = (
        f"{rejected.height} of {total} rows are not bars, so nothing was written ({listed}).\n{shown}\n"
        "Mend the source, or take the good rows with on_invalid='quarantine'; the error's .rejected_rows has them all."
    )
    return message, rejected, counts


def _first_of_each_key(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    one_series = (
        frame.height
        and frame.select(
            (pl.col("symbol").first() == pl.col("symbol")).all()
            & (pl.col("timeframe").first() == pl.col("timeframe")).all()
        ).item()
    )
    if one_series and (frame["timestamp"].to_physical().diff().drop_nulls() > 0).all():
        return frame, pl.DataFrame(schema=BARS)  # already in order and without repeats: most sources are
    ordered = frame.sort(_KEY, maintain_order=True)
    first = ordered.select(pl.struct(_KEY).is_first_distinct()).to_series()
    return ordered.filter(first), ordered.filter(~first)
