"""Validate bars, whole columns at a time, and give every invalid row its reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import polars as pl

from walle.bars.distances import shorter_timeframe
from walle.bars.exchanges import exchange_near
from walle.bars.mixed import mixed_grids, opens_too_early
from walle.bars.phase import Phases, names_in
from walle.enums import PRICES
from walle.errors import InputError, InvalidBars
from walle.frames import REJECTED_BARS, no_rows
from walle.timeframe import is_calendar

__all__ = ["UNSTORABLE_SYMBOL", "Checked", "Refused", "check_bars", "check_on_invalid", "judge_bars", "refuse"]

_KEY = ["symbol", "timeframe", "timestamp"]
_SHOWN = 5
_KEPT = 100_000
_TIME = r"\d{4,}-\d\d-\d\d \d\d:\d\d(:\d\d)? UTC"
"""A time in a reason, such as that of a neighbour."""

_STRAY = "it opens off the phase of its series"
_OFF_PERIODS = "it begins off the periods of its series, which follow one another from its first bars on"
_OFF_GRID = r"^it opens (off the phase|before the|on another grid)| opens before it has ended"
"""The reasons of bars that their grid leaves no room for."""
_UNDATED = (
    "a bar of days, weeks or months opens at midnight (of its own zone: dt.convert_time_zone), or at an instant that "
    "belongs to a session of its calendar (calendar=)"
)
_HINT = "Is it another timeframe?"
_SESSIONS = " Where sessions start the bars anew, say which, such as store.bars.set_calendar(symbol, {}).\n"

UNSTORABLE_SYMBOL = (
    (pl.col("symbol").str.len_chars() > 128)
    | (pl.col("symbol") == "")
    | (pl.col("symbol").str.strip_chars() != pl.col("symbol"))
    | pl.col("symbol").str.contains("\0", literal=True)
)


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check.

    Parameters
    ----------
    bars : polars.DataFrame
        Valid rows in order of time per series, the first one of each key; columns of ``BARS``.
    repeats : polars.DataFrame
        Further rows of a key that is already in ``bars``, in the source's order.
    rejected : polars.DataFrame
        Columns of ``REJECTED_BARS``.
    early : polars.DataFrame
        Rows that open before the previous bar has ended, when it is unclear which of the two bars is right; columns of
        ``REJECTED_BARS``.
    """

    bars: pl.DataFrame
    repeats: pl.DataFrame
    rejected: pl.DataFrame
    early: pl.DataFrame

    @property
    def suspects(self) -> set[str]:
        """The symbols with bars off their grid, except bars that their calendar expects."""
        if self.rejected.is_empty() and self.early.is_empty():
            return set()
        off = self.rejected.filter(pl.col("reason").str.contains(_OFF_GRID))
        return set(off["symbol"].unique()) | set(self.early["symbol"].unique())


class Refused:
    """Collects the refused rows of a source that is read in parts, so that one error reports all of them."""

    def __init__(self) -> None:
        self.total = 0
        self.rows = 0
        self._counts: Counter[str] = Counter()
        self._kept: list[pl.DataFrame] = []
        self._beside: list[pl.DataFrame] = []

    def add(self, rejected: pl.DataFrame, bars: pl.DataFrame | None = None) -> None:
        """Add refused rows (columns of ``REJECTED_BARS``), with the bars beside them that tell more of their market."""
        if rejected.height:
            kinds = rejected.select(pl.col("reason").str.replace_all(_TIME, "..."))
            self._counts.update(dict(kinds.group_by("reason").len().iter_rows()))
            self._beside += [rows.select(_KEY) for rows in (rejected, bars) if rows is not None]
            self._kept.append(rejected.head(max(0, _KEPT - self.rows)))
            self.rows += rejected.height

    def error(self, path: Path | None = None) -> InvalidBars:
        """Return the error that reports them and names their file."""
        rejected = pl.concat(self._kept)
        counts = dict(sorted(self._counts.items(), key=lambda item: (-item[1], item[0])))
        with pl.Config(
            tbl_rows=_SHOWN,
            fmt_str_lengths=80,
            tbl_cols=-1,
            tbl_width_chars=160,
            tbl_hide_dataframe_shape=True,
            tbl_hide_column_data_types=True,
        ):
            table = str(rejected.drop("symbol", "timeframe").head(_SHOWN))
        shown = list(counts.items())[:_SHOWN]
        listed = "; ".join(f"{reason}: {count}" for reason, count in shown)
        listed += f"; and {len(counts) - _SHOWN} more reasons" if len(counts) > _SHOWN else ""
        where = "" if path is None else f"{path}: "
        hint = self._hint(rejected, off_grid=any(re.search(_OFF_GRID, reason) for reason in counts))
        kept = "them all" if self.rows <= _KEPT else f"the first {_KEPT:,}"
        message = (
            f"{where}{self.rows} of {self.total} rows are not bars, so nothing was written ({listed}).\n{table}\n"
            f"{hint}Mend the source, or take the good rows with on_invalid='quarantine'; the error's .rejected_rows "
            f"has {kept}."
        )
        return InvalidBars(message, rejected, counts)

    def _hint(self, rejected: pl.DataFrame, *, off_grid: bool) -> str:
        """Say what the rows may be: bars of another timeframe, or of sessions that their hours allow."""
        if (likely := shorter_timeframe(rejected)) is not None:
            return f"Is it another timeframe? They lie mostly {likely} apart: timeframe={likely!r}.\n"
        if not off_grid:
            return ""
        times = pl.concat(self._beside)["timestamp"].drop_nulls()
        if (times.dt.weekday() > 5).any():
            return f"{_HINT}\n"
        name = exchange_near(times)
        return _HINT + _SESSIONS.format("..." if name is None else repr(name))


def check_bars(frame: pl.DataFrame, *, on_invalid: str = "raise", phases: Phases | None = None) -> Checked:
    """Separate valid bars from invalid rows.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns of ``BARS``; any row may hold nulls or nonsense.
    on_invalid : {"raise", "quarantine"}
        Raise if a row is refused, or return the refused rows beside the good ones.
    phases : Phases, optional
        The known phases of the series.

    Returns
    -------
    Checked

    Raises
    ------
    InvalidBars
        With every refused row; the message shows the first ones and all counts. Bars that open before the previous bar
        has ended raise under quarantine too.
    InputError
        For an unknown ``on_invalid``.
    """
    check_on_invalid(on_invalid)
    checked = judge_bars(frame, phases or Phases())
    refused = Refused()
    refused.total = frame.height
    refused.add(checked.early, checked.bars)
    if on_invalid == "raise":
        refused.add(checked.rejected, checked.bars)
    if refused.rows:
        raise refused.error()
    return checked


def check_on_invalid(on_invalid: object) -> None:
    """Raise unless ``on_invalid`` is ``raise`` or ``quarantine``.

    Raises
    ------
    InputError
    """
    if on_invalid not in ("raise", "quarantine"):
        raise InputError(f"on_invalid={on_invalid!r} is neither 'raise' nor 'quarantine'.")


def judge_bars(frame: pl.DataFrame, phases: Phases, *, first_row: int = 0) -> Checked:
    """Separate valid bars from invalid rows, without raising for the invalid ones.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns of ``BARS``; any row may hold nulls or nonsense.
    phases : Phases
        The known phases of the series; this call adds the phases of new series.
    first_row : int
        The position of the first row in its source.
    """
    dated = [name for name in names_in(frame["timeframe"]) if is_calendar(name)]
    off = _reasons_of_dates(dated, phases.off_weeks(frame), phases.off_periods(frame)) if dated else None
    reason = frame.select(_reason(off) if off else _plain_reason()).to_series()
    rejected = no_rows(REJECTED_BARS)
    good = frame
    if reason.null_count() < frame.height:
        rejected = _rejected(frame, reason, first_row)
        good = frame.filter(reason.is_null())
    stray = phases.strays(good)
    if stray.any():
        stray &= ~phases.on_grid(good)
    if stray.any() and not _is_denser(good, phases):
        places = reason.is_null().arg_true().filter(stray)
        reason = reason.scatter(places, _STRAY)
        rejected = _rejected(frame, reason, first_row)
        good = good.filter(~stray)
    bars, repeats = _first_of_each_key(good)
    off_grid, unclear = mixed_grids(bars, phases)
    early = no_rows(REJECTED_BARS)
    if unclear.height:
        placed = frame.with_row_index("row", first_row).cast({"row": pl.Int64})
        early = placed.join(unclear, on=_KEY, maintain_order="left").select(list(REJECTED_BARS))
    checked = Checked(bars, repeats, rejected, early)
    return refuse(checked, frame, off_grid, first_row=first_row) if off_grid.height else checked


def _is_denser(good: pl.DataFrame, phases: Phases) -> bool:
    """Return whether most bars open too early: the timeframe is then wrong, rather than a few bars."""
    bars, _ = _first_of_each_key(good)
    return int(opens_too_early(bars, phases).sum()) * 2 > bars.height


def _rejected(frame: pl.DataFrame, reason: pl.Series, first_row: int) -> pl.DataFrame:
    placed = frame.with_columns(reason.alias("reason")).with_row_index("row", first_row)
    return placed.filter(pl.col("reason").is_not_null()).cast({"row": pl.Int64}).select(list(REJECTED_BARS))


def refuse(checked: Checked, page: pl.DataFrame, reasons: pl.DataFrame, *, first_row: int) -> Checked:
    """Move bars that stand on another grid than their neighbours to the refused rows.

    Parameters
    ----------
    checked : Checked
        The judgement of ``page``.
    page : polars.DataFrame
        Columns of ``BARS``: the rows as they came.
    reasons : polars.DataFrame
        symbol, timeframe, timestamp, reason; of several for one bar the first counts.
    first_row : int
        The position of the page's first row in its source.
    """
    reasons = reasons.unique(_KEY, keep="first", maintain_order=True)
    placed = page.with_row_index("row", first_row).cast({"row": pl.Int64})
    rows = placed.join(reasons, on=_KEY, maintain_order="left").select(list(REJECTED_BARS))
    rows = rows.join(checked.rejected.select("row"), on="row", how="anti", maintain_order="left")
    return Checked(
        checked.bars.join(reasons, on=_KEY, how="anti", maintain_order="left"),
        checked.repeats.join(reasons, on=_KEY, how="anti", maintain_order="left"),
        pl.concat([checked.rejected, rows]).sort("row"),
        checked.early,
    )


@cache
def _plain_reason() -> pl.Expr:
    return _reason(())


def _reason(of_dates: Sequence[tuple[str, pl.Expr]]) -> pl.Expr:
    rules = [
        ("timestamp is missing, or skipped or repeated by a clock change", pl.col("timestamp").is_null()),
        *((f"{name} is missing", pl.col(name).is_null()) for name in ("symbol", "timeframe", *PRICES, "volume")),
        *((f"{name} is NaN or infinite", ~pl.col(name).is_finite()) for name in (*PRICES, "volume")),
        ("high is below low", pl.col("high") < pl.col("low")),
        ("open lies outside low..high", ~pl.col("open").is_between("low", "high")),
        ("close lies outside low..high", ~pl.col("close").is_between("low", "high")),
        ("volume is below 0", pl.col("volume") < 0),
        *of_dates,
        ("timestamp lies outside the years 1 to 9999", ~pl.col("timestamp").dt.year().is_between(1, 9999)),
        ("symbol is empty, padded, longer than 128 characters or holds NUL", UNSTORABLE_SYMBOL),
    ]
    return pl.coalesce(*(pl.when(broken).then(pl.lit(text)) for text, broken in rules)).alias("reason")


def _reasons_of_dates(
    dated: list[str], off_weeks: pl.Series, off_periods: pl.Series
) -> tuple[tuple[str, pl.Expr], ...]:
    timeframe, time = pl.col("timeframe"), pl.col("timestamp")
    return (
        (_UNDATED, timeframe.is_in(dated) & (time.dt.truncate("1d") != time)),
        ("a bar of 1w opens on a Monday, or on one other weekday in all of a series", pl.lit(off_weeks)),
        (
            "a bar of months opens on the first, or names its month by its last day or, with a calendar, its last "
            "session",
            timeframe.is_in([name for name in dated if name[-1] == "M"]) & (time.dt.day() != 1),
        ),
        (_OFF_PERIODS, pl.lit(off_periods)),
    )


def _first_of_each_key(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    one_series = (
        frame.height
        and frame.select(
            (pl.col("symbol").first() == pl.col("symbol")).all()
            & (pl.col("timeframe").first() == pl.col("timeframe")).all()
        ).item()
    )
    if one_series and (frame["timestamp"].to_physical().diff().drop_nulls() > 0).all():
        return frame, frame.clear()  # most sources are sorted and have no duplicates
    ordered = frame.sort(_KEY, maintain_order=True)
    first = ordered.select(pl.struct(_KEY).is_first_distinct()).to_series()
    return ordered.filter(first), ordered.filter(~first)
