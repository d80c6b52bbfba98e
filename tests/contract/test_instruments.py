from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import walle
from walle.database import Database
from walle.errors import InputError, InstrumentConflict, UnknownInstrument
from walle.fills import WriteReport
from walle.frames import INSTRUMENTS
from walle.records import Instrument
from walle.repositories import InstrumentRepository

ES = Instrument(
    symbol="ESZ5",
    kind="future",
    quote="USD",
    multiplier=Decimal(50),
    tick_size=Decimal("0.25"),
    lot_size=Decimal(1),
    expires_at=datetime(2025, 12, 19, 14, 30, tzinfo=UTC),
    venue="XCME",
    aliases=("ES 12-25", 'ü "漢"'),
)
BTC = Instrument(symbol="BTC/USD", kind="spot", base="BTC", quote="USD", lot_size=Decimal("0.000000000000000001"))


@pytest.fixture
def instruments(database: Database) -> InstrumentRepository:
    return InstrumentRepository(database)


def since(year: int, **changes: Any) -> Instrument:
    return dataclasses.replace(ES, valid_from=datetime(year, 1, 1, tzinfo=UTC), **changes)


async def test_an_instrument_comes_back_equal(instruments: InstrumentRepository) -> None:
    bare = Instrument(symbol="?")
    inverse = Instrument(symbol="XBTUSD", kind="perpetual", base="BTC", quote="USD", inverse=True)
    assert await instruments.save([ES, BTC, bare, inverse]) == WriteReport(inserted=4)
    for one in (ES, BTC, bare, inverse):
        assert await instruments.get(one.symbol) == one
    frame = await instruments.read()
    assert frame.schema == INSTRUMENTS
    assert frame["symbol"].to_list() == ["?", "BTC/USD", "ESZ5", "XBTUSD"]
    assert frame["settle"].to_list() == [None, "USD", "USD", "BTC"]
    assert frame["aliases"].to_list() == [[], [], ["ES 12-25", 'ü "漢"'], []]
    assert frame["recorded_at"].null_count() == 0
    assert (await instruments.read(["ESZ5", "BTC/USD"])).height == 2


async def test_the_same_again_is_a_no_op_as_records_and_as_a_frame(instruments: InstrumentRepository) -> None:
    assert await instruments.save([ES, ES, BTC]) == WriteReport(inserted=2, unchanged=1)
    assert await instruments.save(ES) == WriteReport(unchanged=1)
    frame = await instruments.read()
    assert await instruments.save(frame) == WriteReport(unchanged=2)
    assert await instruments.save(frame.select("symbol", "kind", "base", "quote", "lot_size").head(1)) == WriteReport(
        unchanged=1
    )
    arrow = frame.drop("aliases").filter(symbol="BTC/USD").to_arrow()
    assert await instruments.save(arrow) == WriteReport(unchanged=1)
    assert await instruments.save([]) == WriteReport()


async def test_other_facts_need_a_reason_and_the_earlier_ones_stay(instruments: InstrumentRepository) -> None:
    await instruments.save([ES, BTC])
    wrong = dataclasses.replace(ES, multiplier=Decimal(5), aliases=())
    with pytest.raises(InstrumentConflict, match=r"'ESZ5' .* multiplier is 50, given 5.*reason=") as told:
        await instruments.save([wrong, Instrument(symbol="new")])
    assert told.value.symbol == "ESZ5"
    assert told.value.differences["multiplier"] == (50, 5)
    assert (await instruments.read())["symbol"].to_list() == ["BTC/USD", "ESZ5"]
    assert await instruments.save([wrong, BTC], reason="the exchange's page") == WriteReport(updated=1, unchanged=1)
    assert (await instruments.get("ESZ5")).multiplier == 5
    rows = (await instruments.read("ESZ5", history=True)).select("multiplier", "reason")
    assert rows.rows() == [(50, None), (5, "the exchange's page")]
    with pytest.raises(InstrumentConflict):  # back to the first facts is a change, too
        await instruments.save(ES)
    assert await instruments.save(ES, reason="the page was wrong") == WriteReport(updated=1)
    assert (await instruments.read("ESZ5", history=True)).height == 3
    assert (await instruments.read("ESZ5"))["multiplier"].to_list() == [50]


async def test_a_frame_may_bring_its_reasons(instruments: InstrumentRepository) -> None:
    await instruments.save(BTC)
    changed = (await instruments.read()).with_columns(venue=pl.lit("XKRA"))
    with pytest.raises(InstrumentConflict, match="venue is None, given XKRA"):
        await instruments.save(changed)
    assert await instruments.save(changed.with_columns(reason=pl.lit("told"))) == WriteReport(updated=1)
    assert (await instruments.read())["reason"].to_list() == ["told"]


async def test_facts_hold_from_a_time_on(instruments: InstrumentRepository) -> None:
    await instruments.save([since(2020), since(2022, multiplier=Decimal(5)), BTC])
    assert (await instruments.get("ESZ5", at="2021-06-01")).multiplier == 50
    assert (await instruments.get("ESZ5", at="2022-01-01")).multiplier == 5
    assert (await instruments.get("ESZ5", at=datetime(2021, 12, 31, 23, 59, tzinfo=UTC))).multiplier == 50
    assert (await instruments.get("ESZ5")).valid_from == datetime(2022, 1, 1, tzinfo=UTC)
    with pytest.raises(UnknownInstrument, match=r"'ESZ5' at 2019-01-01.*its facts hold from 2020-01-01"):
        await instruments.get("ESZ5", at="2019-01-01")
    await instruments.save(ES)  # from always on: a further row
    assert await instruments.get("ESZ5", at="2019-01-01") == ES
    assert (await instruments.read("ESZ5"))["valid_from"].to_list() == [
        None,
        datetime(2020, 1, 1, tzinfo=UTC),
        datetime(2022, 1, 1, tzinfo=UTC),
    ]
    assert await instruments.save([since(2020), ES]) == WriteReport(unchanged=2)
    with pytest.raises(InputError, match=r"at=.*no time zone"):
        await instruments.get("ESZ5", at=datetime(2020, 1, 1))


async def test_what_was_known_at_some_time_can_be_read(instruments: InstrumentRepository) -> None:
    await instruments.save(ES)
    first = (await instruments.read())["recorded_at"].item()
    while datetime.now(UTC) - first < timedelta(milliseconds=20):  # SQLite's clock counts milliseconds
        await asyncio.sleep(0.01)
    await instruments.save(dataclasses.replace(ES, multiplier=Decimal(5)), reason="r")
    assert (await instruments.read(as_of=first))["multiplier"].to_list() == [50]
    assert (await instruments.get("ESZ5", as_of=first)).multiplier == 50
    assert (await instruments.read(as_of=datetime.now(UTC)))["multiplier"].to_list() == [5]
    with pytest.raises(InputError, match="is in the future"):
        await instruments.read(as_of=datetime.now(UTC) + timedelta(minutes=5))
    with pytest.raises(InputError, match="is in the future"):
        await instruments.get("ESZ5", as_of=datetime.now(UTC) + timedelta(minutes=5))
    assert (await instruments.read(as_of="2001-01-01")).is_empty()


async def test_an_alias_leads_to_its_symbol(instruments: InstrumentRepository) -> None:
    await instruments.save([ES, BTC, Instrument(symbol="BTC/USDT", aliases=("BTCUSDT",))])
    assert (await instruments.get('ü "漢"')).symbol == "ESZ5"
    assert (await instruments.get("BTCUSDT")).symbol == "BTC/USDT"
    await instruments.save(Instrument(symbol="BTC/USDT:USDT", aliases=("BTCUSDT",)))
    with pytest.raises(InputError, match=r"'BTCUSDT' is an alias of several symbols: 'BTC/USDT', 'BTC/USDT:USDT'"):
        await instruments.get("BTCUSDT")
    await instruments.save(Instrument(symbol="BTCUSDT"))  # a symbol of that name goes before
    assert (await instruments.get("BTCUSDT")).symbol == "BTCUSDT"
    with pytest.raises(UnknownInstrument, match=r"no instrument 'ESZ6'; did you mean 'ESZ5'") as told:
        await instruments.get("ESZ6")
    assert (told.value.symbol, told.value.suggestions) == ("ESZ6", ["ESZ5"])
    with pytest.raises(UnknownInstrument, match=r"no instrument '§'\. store"):
        await instruments.get("§")


async def test_of_two_writers_at_once_the_second_has_to_say_why(instruments: InstrumentRepository) -> None:
    variants = [dataclasses.replace(ES, multiplier=Decimal(number)) for number in (1, 2, 3)]
    said = await asyncio.gather(*map(instruments.save, variants), return_exceptions=True)
    assert sum(isinstance(one, InstrumentConflict) for one in said) == 2
    assert (await instruments.read(history=True)).height == 1


async def test_a_callers_transaction_takes_it_or_leaves_it(
    database: Database, instruments: InstrumentRepository
) -> None:
    async with database.session() as session:
        await instruments.save(ES, session=session)
        assert await instruments.get("ESZ5", session=session) == ES
    assert (await instruments.read()).is_empty()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"multiplier": "0"}, "column 'multiplier' of instruments, row 0: '0': it must be above 0"),
        ({"multiplier": 0.1}, "never taken from floats"),
        ({"tick_size": "-1"}, "it must be above 0"),
        ({"kind": "swap"}, "allowed are spot, stock"),
        ({"quote": ""}, "it is empty or padded"),
        ({"quote": "x" * 21}, "at most 20 characters"),
        ({"symbol": None}, "no value in row 0"),
        ({"inverse": "yes"}, "neither true nor false"),
        ({"inverse": None}, "no value in row 0"),
        ({"aliases": ["a", ""]}, r"row 0: \"\['a', ''\]\": each name has 1 to 128 characters"),
        ({"aliases": "a"}, "not lists of names"),
        ({"valid_from": datetime(2020, 1, 1)}, "has no time zone"),
        ({"colour": "x"}, "have no column 'colour'"),
    ],
)
async def test_a_frame_that_is_wrong_names_column_and_rule(
    instruments: InstrumentRepository, changes: dict[str, Any], message: str
) -> None:
    row: dict[str, Any] = {"symbol": "ESZ5", "kind": "future", "quote": "USD"} | changes
    schema = {"symbol": pl.String, "inverse": pl.Boolean} if changes.get("inverse", "") is None else {}
    with pytest.raises(InputError, match=message):
        await instruments.save(pl.DataFrame([row], schema_overrides=schema))
    assert (await instruments.read()).is_empty()


async def test_what_makes_no_instrument_is_said(instruments: InstrumentRepository) -> None:
    with pytest.raises(InputError, match="not as int"):
        await instruments.save([7])
    with pytest.raises(InputError, match="not as str"):
        await instruments.save("BTC/USD")
    with pytest.raises(InputError, match="'BTC/USD' stands in this call with several contents, always"):
        await instruments.save([BTC, dataclasses.replace(BTC, venue="x")])
    with pytest.raises(InputError, match="reason is empty"):
        await instruments.save(BTC, reason="")
    with pytest.raises(InputError, match="history=1"):
        await instruments.read(history=1)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InputError, match="multiplier=0 must be above 0"):
        dataclasses.replace(ES, multiplier=Decimal(0))


def test_a_store_has_them_too(store: walle.Store) -> None:
    market = {"symbol": "BTC/USDT:USDT", "type": "swap", "base": "BTC", "quote": "USDT", "settle": "USDT"}
    markets = {"BTC/USDT:USDT": market | {"contractSize": 0.001, "linear": True, "inverse": False, "id": "BTCUSDT"}}
    assert store.instruments.save(markets) == WriteReport(inserted=1)
    assert store.instruments.save(markets) == WriteReport(unchanged=1)
    found = store.instruments.get("BTCUSDT")
    assert (found.kind, found.settle, found.multiplier) == ("perpetual", "USDT", Decimal("0.001"))
    assert repr(store.instruments) == "store.instruments: get, read, save"
    assert_frame_equal(store.instruments.read(), store.instruments.read(history=True))
