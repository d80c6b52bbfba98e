"""What holds for every value, not only for the ones that somebody thought of."""

from __future__ import annotations

import dataclasses
import math
import os
import struct
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import walle
from tests.examples import examples
from tests.samples import START, fill
from walle.errors import InputError
from walle.validation import check_decimal, decimal_text, from_microseconds, to_microseconds

on_a_store = settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[walle.Store]:
    """One store for all examples; each example uses names of its own."""
    if request.param == "sqlite":
        address = str(tmp_path_factory.mktemp("properties") / "store.db")
    else:
        server = request.getfixturevalue("server")
        address = server.create(f"properties_{os.getpid()}", template="walle_template")
    with walle.connect(address) as store:
        yield store


_names = iter(range(10**9))


def fresh(prefix: str) -> str:
    return f"{prefix}-{next(_names)}"


fitting = st.builds(
    lambda sign, digits, places: Decimal((sign, tuple(map(int, str(digits))), -places)),
    st.integers(0, 1),
    st.integers(0, 10**38 - 1),
    st.just(18),
) | st.decimals(min_value=-(10**20) + 1, max_value=10**20 - 1, places=8)


@on_a_store
@given(price=fitting, quantity=fitting.map(abs).filter(bool))
def test_a_decimal_that_fits_returns_equal(shared: walle.Store, price: Decimal, quantity: Decimal) -> None:
    written = fill(id=fresh("fill"), order_id=fresh("order"), price=price, quantity=quantity)
    shared.fills.append(written)
    assert shared.fills.get(written.id) == written
    frame = shared.fills.read(order_id=written.order_id)
    assert frame.select("price", "quantity").row(0) == (price, quantity)
    assert shared.fills.append(frame).unchanged == 1


@given(
    st.one_of(
        st.decimals(allow_nan=True, allow_infinity=True).filter(lambda value: not value.is_finite()),
        st.integers(10**20, 10**40).map(Decimal),
        st.integers(1, 10**10).filter(lambda n: n % 10).map(lambda n: Decimal(n).scaleb(-19)),
        st.integers(10**20, 10**30).map(lambda n: -Decimal(n) - Decimal("0.5")),
    )
)
def test_a_decimal_that_does_not_fit_raises(value: Decimal) -> None:
    with pytest.raises(InputError):
        check_decimal(value, "price")
    with pytest.raises(InputError):
        dataclasses.replace(fill(), price=value)


@given(fitting)
def test_the_text_of_a_decimal_is_exact_and_canonical(value: Decimal) -> None:
    text = decimal_text(value)
    assert Decimal(text) == value
    assert "E" not in text
    assert text != "-0"
    assert text == decimal_text(Decimal(text))


prices = st.floats(allow_nan=False, allow_infinity=False)


@on_a_store
@given(st.lists(prices, min_size=1, max_size=30))
def test_any_float64_returns_bit_equal(shared: walle.Store, values: list[float]) -> None:
    symbol = fresh("S")
    frame = pl.DataFrame(
        {
            "timestamp": [START + timedelta(minutes=n) for n in range(len(values))],
            **dict.fromkeys(("open", "high", "low", "close"), values),
            "volume": [abs(value) for value in values],
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )
    assert shared.bars.ingest(frame, symbol=symbol, timeframe="1m").inserted == len(values)
    got = shared.bars.read(symbol, "1m")
    # the sign of a zero is the one bit that SQLite does not keep: both stores write 0.0
    expected = [0.0 if value == 0 else value for value in values]
    assert bits(got["close"].to_list()) == bits(expected)
    assert bits(got["volume"].to_list()) == bits([math.fabs(value) for value in expected])
    assert shared.bars.ingest(frame, symbol=symbol, timeframe="1m").duplicates == len(values)


def bits(values: list[float]) -> list[bytes]:
    return [struct.pack(">d", value) for value in values]


instants = st.datetimes(
    min_value=datetime(1, 1, 2),
    max_value=datetime(9999, 12, 30),
    timezones=st.one_of(
        st.timezones(),
        st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    ),
)


@pytest.fixture(params=["America/St_Johns", "Asia/Kathmandu"])
def local_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@on_a_store
@given(instant=instants)
def test_an_aware_datetime_returns_as_the_same_instant(
    shared: walle.Store, local_zone: None, instant: datetime
) -> None:
    written = fill(id=fresh("fill"), order_id=fresh("order"), filled_at=instant)
    shared.fills.append(written)
    got = shared.fills.get(written.id)
    assert got is not None
    assert got.filled_at == instant.astimezone(UTC)
    assert got.filled_at.utcoffset() == timedelta(0)
    # in UTC: an hour that a zone has twice is never equal to a time of another zone
    read = shared.fills.read(order_id=written.order_id, start=instant)
    assert read["filled_at"][0] == instant.astimezone(UTC)
    assert shared.fills.read(order_id=written.order_id, end=instant).is_empty()


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_count_every_instant(instant: datetime) -> None:
    assert from_microseconds(to_microseconds(instant)) == instant


minutes = st.integers(0, 300)


@on_a_store
@given(present=st.sets(minutes, min_size=1), ends=st.tuples(minutes, minutes, minutes).map(sorted))
def test_a_read_is_the_sum_of_its_parts(shared: walle.Store, present: set[int], ends: list[int]) -> None:
    symbol = fresh("S")
    times = [START + timedelta(minutes=minute) for minute in sorted(present)]
    frame = pl.DataFrame(
        {"timestamp": times, **{name: [1.0] * len(times) for name in ("open", "high", "low", "close", "volume")}},
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )
    shared.bars.ingest(frame, symbol=symbol, timeframe="1m")
    a, b, c = (START + timedelta(minutes=end) for end in ends)
    whole = shared.bars.read(symbol, "1m", a, c)
    assert whole["timestamp"].to_list() == [instant for instant in times if a <= instant < c]
    parts = pl.concat([shared.bars.read(symbol, "1m", a, b), shared.bars.read(symbol, "1m", b, c)])
    assert parts.equals(whole)
    assert shared.bars.scan(symbol, "1m", a, c).collect().equals(whole)


rows = st.lists(st.tuples(st.integers(0, 8), st.sampled_from([1.0, 2.0, 3.0])), max_size=25)


@on_a_store
@given(st.lists(rows, min_size=1, max_size=4))
def test_any_batches_give_the_first_version_of_each_bar(
    shared: walle.Store, batches: list[list[tuple[int, float]]]
) -> None:
    symbol = fresh("S")
    model: dict[int, float] = {}
    for batch in batches:
        frame = pl.DataFrame(
            {
                "timestamp": [START + timedelta(minutes=minute) for minute, _ in batch],
                **{name: [value for _, value in batch] for name in ("open", "high", "low", "close", "volume")},
            },
            schema_overrides={
                "timestamp": pl.Datetime("us", "UTC"),
                **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64),
            },
        )
        inserted = duplicates = 0
        for minute, value in batch:
            if minute not in model:
                model[minute] = value
                inserted += 1
            elif model[minute] == value:
                duplicates += 1
        report = shared.bars.ingest(frame, symbol=symbol, timeframe="1m")
        conflicts = len(batch) - inserted - duplicates
        assert (report.inserted, report.duplicates, report.conflicts) == (inserted, duplicates, conflicts)
        again = shared.bars.ingest(frame, symbol=symbol, timeframe="1m")
        assert (again.inserted, again.conflicts) == (0, conflicts)
    stored = shared.bars.read(symbol, "1m") if model else None
    if stored is not None:
        assert dict(zip(stored["timestamp"].to_list(), stored["close"].to_list(), strict=True)) == {
            START + timedelta(minutes=minute): value for minute, value in model.items()
        }
