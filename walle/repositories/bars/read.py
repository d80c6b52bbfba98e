"""Reading several series at once, and reading that does not overlook what is missing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle.bars.parse import NUMBERS
from walle.errors import IncompleteBars, InputError
from walle.repositories.bars.coverage import BarCoverage
from walle.repositories.common import Time

__all__ = ["BarReading", "EmptySeriesWarning"]


class EmptySeriesWarning(UserWarning):
    """Of several symbols that were read together, some have no bar in the range."""


class BarReading(BarCoverage):
    """The part of the bars' repository that reads several series, and looks whether they are whole.

    Parameters
    ----------
    database : Database
    """

    async def panel(
        self,
        symbols: str | Sequence[str],
        timeframe: str,
        field: str = "close",
        start: Time = None,
        end: Time = None,
        *,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read one field of several symbols side by side.

        Parameters
        ----------
        symbols : sequence of str
            Each once.
        timeframe : str
        field : {"close", "open", "high", "low", "volume"}
        start, end : datetime, date, str or None
            As in :meth:`read`.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            timestamp (UTC, the opening time), then a column of Float64 for each symbol in the given order. Sorted by
            timestamp: each at which any of the symbols has a bar; null where a symbol has none. Nothing is filled in.

        Raises
        ------
        UnknownSymbol
            When no bar of a symbol and timeframe is stored at all; near names are offered.
        UnknownTimeframe
        InputError
            For another field, a symbol given twice, and one that is called timestamp.

        Warns
        -----
        EmptySeriesWarning
            As in :meth:`read`.
        """
        names = self._symbols(symbols)
        if len(set(names)) < len(names) or "timestamp" in names:
            raise InputError(
                f"symbols={symbols!r}: each names a column, so give it once, and none that is called 'timestamp'."
            )
        if field not in NUMBERS:
            raise InputError(f"field={field!r}: choose one of {', '.join(NUMBERS)}.")
        bars = await self.read(names, timeframe, start, end, columns=["symbol", "timestamp", field], session=session)
        return await self._database.in_thread(partial(_side_by_side, bars, field, names))

    async def _require_complete(
        self, symbols: Sequence[str], timeframe: str, start: Time, end: Time, session: AsyncSession | None
    ) -> None:
        """Do nothing when no bar is missing that nobody has explained.

        Raises
        ------
        IncompleteBars
        """
        lacking = []
        for symbol in dict.fromkeys(symbols):
            gaps = await self._gaps(symbol, timeframe, start, end, None, session)
            gaps = await self._outages(gaps.filter(pl.col("reason").is_null()), symbol, timeframe, session)
            lacking.append(gaps.select(pl.lit(symbol).alias("symbol"), pl.lit(timeframe).alias("timeframe"), pl.all()))
        found = pl.concat(lacking)
        if found.height:
            raise IncompleteBars(_lacking(found), found)

    async def _without_bars(
        self,
        bars: pl.DataFrame,
        symbol: str | Sequence[str],
        timeframe: str,
        start: Time,
        end: Time,
        session: AsyncSession | None,
    ) -> list[str]:
        """Return the symbols of which there is no bar in the range; ``bars`` are what was read of them."""
        names = list(dict.fromkeys(self._symbols(symbol)))
        if bars.is_empty():
            return names
        if len(names) == 1:
            return []
        if "symbol" in bars.columns:
            present = set(bars["symbol"].unique())
            return [name for name in names if name not in present]
        empty = []
        for name in names:
            there = sa.exists().where(*self._where(name, timeframe, start, end))
            statement = sa.select(sa.case((there, 1), else_=0).label("there"))
            if not (await self._database.fetch(statement, {"there": pl.Int64()}, session)).item():
                empty.append(name)
        return empty

    @abstractmethod
    async def read(
        self,
        symbol: str | Sequence[str],
        timeframe: str,
        start: Time = None,
        end: Time = None,
        *,
        columns: Sequence[str] | None = None,
        require_complete: bool = False,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read bars that opened in ``[start, end)``."""

    @abstractmethod
    def _where(
        self, symbol: str | Sequence[str], timeframe: str, start: Time, end: Time
    ) -> list[sa.ColumnElement[bool]]:
        """Return the conditions of the bars in a range."""


def _side_by_side(bars: pl.DataFrame, field: str, names: Sequence[str]) -> pl.DataFrame:
    return bars.pivot("symbol", on_columns=names, index="timestamp", values=field).sort("timestamp")


def _lacking(gaps: pl.DataFrame) -> str:
    shown = [
        f"{row['symbol']} {row['timeframe']} lacks {row['missing']:,} from {row['start'].isoformat()}"
        for row in gaps.head(3).iter_rows(named=True)
    ]
    more = f"; and {gaps.height - len(shown):,} more gaps" if gaps.height > len(shown) else ""
    lost = gaps["missing"].sum()
    bars = "1 bar is" if lost == 1 else f"{lost:,} bars are"
    holes = "1 unexplained gap" if gaps.height == 1 else f"{gaps.height:,} unexplained gaps"
    return (
        f"{bars} missing, in {holes}: {'; '.join(shown)}{more}. "
        "This error's .gaps has them all, store.bars.gaps() the explained ones too. Ingest the bars; or say when the "
        "market is open (store.bars.set_calendar), or why they are missing (store.bars.explain_gap)."
    )
