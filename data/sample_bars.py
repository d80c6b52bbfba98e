"""One-minute bars of a made-up market: two crypto pairs and two stocks, all of them synthetic."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

MINUTE = timedelta(minutes=1)
STEPS_PER_BAR = 6
TICK_PLACES = 2

CRYPTO_START = datetime(2025, 11, 19, tzinfo=UTC)
CRYPTO_END = datetime(2025, 12, 3, tzinfo=UTC)

OUTAGES = (
    (datetime(2025, 11, 22, 3, 12, tzinfo=UTC), datetime(2025, 11, 22, 5, 59, tzinfo=UTC)),
    (datetime(2025, 11, 27, 16, 40, tzinfo=UTC), datetime(2025, 11, 27, 17, 15, tzinfo=UTC)),
)
"""Half-open ranges in which both crypto pairs are silent."""

MISSING = {
    "BTC/USD": (
        datetime(2025, 11, 19, 13, 7, tzinfo=UTC),
        datetime(2025, 11, 21, 22, 41, tzinfo=UTC),
        datetime(2025, 11, 24, 4, 18, tzinfo=UTC),
        datetime(2025, 11, 26, 9, 53, tzinfo=UTC),
        datetime(2025, 11, 29, 18, 26, tzinfo=UTC),
        datetime(2025, 12, 2, 1, 32, tzinfo=UTC),
    ),
    "ETH/USD": (
        datetime(2025, 11, 20, 2, 44, tzinfo=UTC),
        datetime(2025, 11, 23, 15, 9, tzinfo=UTC),
        datetime(2025, 11, 25, 20, 36, tzinfo=UTC),
        datetime(2025, 11, 30, 7, 58, tzinfo=UTC),
        datetime(2025, 12, 1, 11, 21, tzinfo=UTC),
    ),
}
"""Single minutes without a bar, by pair."""

SESSION_OPEN = time(14, 30)
"""09:30 in New York is 14:30 UTC on every day of the sample (no change of clocks falls into it)."""

SESSIONS = {
    date(2025, 11, 18): time(21, 0),
    date(2025, 11, 19): time(21, 0),
    date(2025, 11, 20): time(21, 0),
    date(2025, 11, 21): time(21, 0),
    date(2025, 11, 24): time(21, 0),
    date(2025, 11, 25): time(21, 0),
    date(2025, 11, 26): time(21, 0),
    date(2025, 11, 28): time(18, 0),
    date(2025, 12, 1): time(21, 0),
    date(2025, 12, 2): time(21, 0),
}
"""XNYS sessions and their closes in UTC: closed on Thanksgiving (27 November), early close on the 28th."""

BAR_SCHEMA = {
    "timestamp": pl.Datetime("us", "UTC"),
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
}


@dataclass(frozen=True, slots=True)
class Instrument:
    """How one made-up instrument behaves.

    Parameters
    ----------
    symbol : str
        Its name.
    price : float
        Price in USD before the first bar.
    sigma : float
        Typical standard deviation of a one-minute log return.
    loading : float
        Correlation of its returns with the shared factor of its market, 0 to 1.
    volume : float
        Typical volume of one minute.
    volume_places : int
        Decimal places of a volume.
    """

    symbol: str
    price: float
    sigma: float
    loading: float
    volume: float
    volume_places: int


CRYPTO = (
    Instrument("BTC/USD", 90_400.0, 0.00052, 0.94, 7.5, 4),
    Instrument("ETH/USD", 3_040.0, 0.00072, 0.90, 95.0, 4),
)
STOCKS = (
    Instrument("ACME", 184.20, 0.00062, 0.70, 5_200.0, 0),
    Instrument("GLOBEX", 61.75, 0.00080, 0.62, 7_400.0, 0),
)


class _Market:
    """Latent prices of instruments that share one factor and one slowly moving volatility."""

    def __init__(self, instruments: tuple[Instrument, ...], seed: int) -> None:
        self.instruments = instruments
        self._rng = random.Random(seed)
        self._prices = [instrument.price for instrument in instruments]
        self._heat = 0.0

    def jump(self, sigma: float) -> None:
        """Move every price at once, as a night without trading does.

        Parameters
        ----------
        sigma : float
            Standard deviation of the log return of the jump.
        """
        shared = self._rng.gauss(0.0, 1.0)
        for index, instrument in enumerate(self.instruments):
            self._prices[index] *= math.exp(sigma * self._shock(instrument, shared))

    def minute(self, activity: float) -> list[tuple[float, float, float, float, float]]:
        """Let one minute pass.

        Parameters
        ----------
        activity : float
            How busy this minute of the day is; 1 is typical.

        Returns
        -------
        list of tuple
            open, high, low, close, volume of each instrument.
        """
        rng = self._rng
        # An AR(1) of the log volatility (half-life about four hours) with rare bursts: volatility clusters.
        self._heat = 0.997 * self._heat + rng.gauss(0.0, 0.035)
        if rng.random() < 0.0005:
            self._heat += rng.uniform(0.5, 1.1)
        scale = math.exp(self._heat) * math.sqrt(activity)
        paths = [
            [price * math.exp(0.06 * instrument.sigma * scale * rng.gauss(0.0, 1.0))]
            for instrument, price in zip(self.instruments, self._prices, strict=True)
        ]
        for _ in range(STEPS_PER_BAR):
            shared = rng.gauss(0.0, 1.0)
            for instrument, path in zip(self.instruments, paths, strict=True):
                step = instrument.sigma * scale / math.sqrt(STEPS_PER_BAR)
                path.append(path[-1] * math.exp(step * self._shock(instrument, shared)))
        bars = []
        for index, (instrument, path) in enumerate(zip(self.instruments, paths, strict=True)):
            move = abs(math.log(path[-1] / path[0])) / instrument.sigma
            volume = instrument.volume * activity * (0.55 + 0.45 * move) * math.exp(rng.gauss(0.0, 0.4))
            floor = 10.0**-instrument.volume_places
            self._prices[index] = path[-1]
            first, high, low, last = (round(value, TICK_PLACES) for value in (path[0], max(path), min(path), path[-1]))
            bars.append((first, high, low, last, max(round(volume, instrument.volume_places), floor)))
        return bars

    def _shock(self, instrument: Instrument, shared: float) -> float:
        own = math.sqrt(1.0 - instrument.loading**2)
        return instrument.loading * shared + own * self._rng.gauss(0.0, 1.0)


def crypto_minutes() -> Iterator[datetime]:
    """Every minute of the crypto sample, outages included.

    Yields
    ------
    datetime
        The opening time of each minute in [CRYPTO_START, CRYPTO_END), ascending.
    """
    minute = CRYPTO_START
    while minute < CRYPTO_END:
        yield minute
        minute += MINUTE


def session_minutes(day: date) -> list[datetime]:
    """Every minute of one stock session.

    Parameters
    ----------
    day : date
        A key of SESSIONS.

    Returns
    -------
    list of datetime
        Opening times from 14:30 UTC up to the close, which is left out.
    """
    start = datetime.combine(day, SESSION_OPEN, UTC)
    end = datetime.combine(day, SESSIONS[day], UTC)
    return [start + index * MINUTE for index in range((end - start) // MINUTE)]


def is_silent(symbol: str, minute: datetime) -> bool:
    """Whether the sample leaves out a bar.

    Parameters
    ----------
    symbol : str
        A crypto pair.
    minute : datetime
        Opening time of the bar.

    Returns
    -------
    bool
        True inside an outage and on the pair's single missing minutes.
    """
    return minute in MISSING[symbol] or any(start <= minute < end for start, end in OUTAGES)


def _crypto_activity(minute: datetime) -> float:
    hour = minute.hour + minute.minute / 60
    daily = 1.0 + 0.4 * math.cos((hour - 15.0) / 24.0 * 2.0 * math.pi)
    return daily * (0.65 if minute.weekday() >= 5 else 1.0)


def _stock_activity(position: float) -> float:
    """Busy at the open and at the close: a U over the session, `position` running from 0 to 1."""
    return 0.55 + 1.9 * (2.0 * position - 1.0) ** 4 + 0.5 * math.exp(-position * 25.0)


def make_bars() -> dict[str, pl.DataFrame]:
    """Generate every bar of the sample.

    Returns
    -------
    dict of str to polars.DataFrame
        By symbol, one row per one-minute bar, sorted by timestamp. Columns: timestamp
        (Datetime("us", "UTC"), the bar's opening time), open, high, low, close (Float64, USD, ticks of
        0.01), volume (Float64, units of the instrument). Nothing is null.
    """
    return {**_make_crypto(), **_make_stocks()}


def _make_crypto() -> dict[str, pl.DataFrame]:
    market = _Market(CRYPTO, seed=28)
    rows: dict[str, list[tuple[object, ...]]] = {instrument.symbol: [] for instrument in CRYPTO}
    for minute in crypto_minutes():
        # Prices move on while the feed is silent, so that the first bar after an outage opens with a gap.
        for instrument, bar in zip(CRYPTO, market.minute(_crypto_activity(minute)), strict=True):
            if not is_silent(instrument.symbol, minute):
                rows[instrument.symbol].append((minute, *bar))
    return _frames(rows)


def _make_stocks() -> dict[str, pl.DataFrame]:
    market = _Market(STOCKS, seed=5)
    rows: dict[str, list[tuple[object, ...]]] = {instrument.symbol: [] for instrument in STOCKS}
    for day in SESSIONS:
        market.jump(0.009)
        minutes = session_minutes(day)
        for index, minute in enumerate(minutes):
            activity = _stock_activity(index / (len(minutes) - 1))
            for instrument, bar in zip(STOCKS, market.minute(activity), strict=True):
                rows[instrument.symbol].append((minute, *bar))
    return _frames(rows)


def _frames(rows: dict[str, list[tuple[object, ...]]]) -> dict[str, pl.DataFrame]:
    return {symbol: pl.DataFrame(found, schema=BAR_SCHEMA, orient="row") for symbol, found in rows.items()}
