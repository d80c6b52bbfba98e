"""Calendars that are remembered, gaps that are explained, and outages: the same on both databases."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from unittest import mock

import polars as pl
import pytest

import walle
from tests.samples import START, bars
from walle import calendars, demo, models
from walle.bars.coverage import GAPS
from walle.calendars import Calendar, from_sessions
from walle.database import Database
from walle.errors import ConfigurationError, InputError, UnknownCalendar, UnknownSymbol, UnknownTimeframe
from walle.frames import CALENDARS, EXPLANATIONS
from walle.repositories import BarRepository
from walle.repositories.bars.calendars import add_explanations, calendars_of
from walle.repositories.bars.coverage import SERIES_GAPS
from walle.repositories.events.consumer_claims import whoami


@pytest.fixture
def repository(database: Database) -> BarRepository:
    return BarRepository(database)


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


async def put(
    repository: BarRepository, symbol: str, *missing: int, count: int = 20, provider: str | None = None
) -> None:
    """Store one-minute bars but for the missing ones."""
    frame = bars(count).filter(~pl.col("timestamp").is_in([minute(number) for number in missing]))
    await repository.ingest(frame, symbol=symbol, timeframe="1m", provider=provider)


def halves() -> Calendar:
    """Open in the minutes 0 to 5 and 10 to 20."""
    day = {"open": minute(0), "break_start": minute(5), "break_end": minute(10), "close": minute(20)}
    return from_sessions(pl.DataFrame([day]), "halves")


async def test_a_calendar_is_remembered_for_a_symbol_until_it_is_forgotten(repository: BarRepository) -> None:
    await put(repository, "ACME", 3, 5, 6, 7, 8, 9)
    await put(repository, "BTC/USD", 3)
    assert (await repository.calendars()).schema == CALENDARS
    await repository.set_calendar("ACME", halves())
    with pytest.warns(walle.NoEffectWarning, match="no bars are stored of 'GBP/USD'.*, 'EUR/USD'"):
        await repository.set_calendar(["GBP/USD", "EUR/USD", "GBP/USD"], "24/5")
    listed = await repository.calendars()
    assert listed.schema == CALENDARS
    assert listed.drop("set_at").rows() == [("ACME", "halves"), ("EUR/USD", "24/5"), ("GBP/USD", "24/5")]
    assert listed["set_at"].is_between(datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC)).all()
    told = await repository.coverage()
    assert told.select("symbol", "expected", "missing", "calendar").rows() == [
        ("ACME", 15, 1, "halves"),
        ("BTC/USD", 20, 1, "24/7"),
    ]
    assert (await repository.gaps("ACME", "1m"))["start"].to_list() == [minute(3)]
    given = await repository.coverage("ACME", calendar="24/7")
    assert given.select("expected", "missing", "calendar").row(0) == (20, 6, "24/7")
    assert (await repository.gaps("ACME", "1m", calendar="24/7"))["missing"].to_list() == [1, 5]
    await repository.set_calendar("ACME", "24/5")
    assert (await repository.coverage("ACME"))["calendar"].item() == "24/5"
    with pytest.warns(walle.NoEffectWarning, match="no calendar to remove of 'never set': it is 24/7"):
        await repository.set_calendar(["ACME", "GBP/USD", "never set"], None)
    assert (await repository.calendars())["symbol"].to_list() == ["EUR/USD"]
    assert (await repository.coverage("ACME"))["calendar"].item() == "24/7"


async def test_sessions_of_ones_own_come_back_to_the_microsecond(address: str) -> None:
    frame = pl.DataFrame(
        {
            "session": [date(1969, 12, 31), date(2025, 3, 1)],
            "open": [datetime(1969, 12, 31, 9, tzinfo=UTC), START],
            "break_start": [None, minute(5)],
            "break_end": [None, minute(10) + timedelta(microseconds=1)],
            "close": [datetime(1969, 12, 31, 16, tzinfo=UTC), minute(20)],
        }
    )
    markets = {
        "with breaks": from_sessions(frame, "with breaks"),
        "XNYS": from_sessions(frame.select("open", "close"), "XNYS"),  # one's own, of a known name
        "never": from_sessions(frame.clear(), "never"),
    }
    database = Database(address)
    for name, market in markets.items():
        await BarRepository(database).set_calendar(name, market)
    await database.close()
    database = Database(address)
    kept = await calendars_of(database, [*markets, "unknown"])
    await database.close()
    for name, market in markets.items():
        assert kept[name].name == name
        assert kept[name].sessions("1900-01-01", "2100-01-01").equals(market.sessions("1900-01-01", "2100-01-01"))
    assert kept["unknown"].name == "24/7"


async def test_an_exchange_is_remembered_by_its_own_name(repository: BarRepository) -> None:
    pytest.importorskip("exchange_calendars", reason="the extra calendars is not installed")
    await repository.set_calendar("ACME", "NASDAQ")
    assert (await repository.calendars())["calendar"].to_list() == ["XNYS"]
    opens = datetime(2025, 11, 26, 14, 30, tzinfo=UTC)  # the day after is Thanksgiving
    await repository.ingest(bars(390, start=opens), symbol="ACME", timeframe="1m")
    told = (await repository.coverage("ACME", start="2025-11-26", end="2025-11-28")).row(0, named=True)
    assert (told["expected"], told["missing"], told["unexpected"], told["calendar"]) == (390, 0, 0, "XNYS")


async def test_what_cannot_be_a_calendar_is_refused_before_anything_is_written(repository: BarRepository) -> None:
    class Odd(Calendar):
        def known(self, lo: int, hi: int) -> pl.DataFrame:
            raise NotImplementedError

    with pytest.raises(UnknownCalendar, match="did you mean '24/7'"):
        await repository.set_calendar(["ACME", "GLOBEX"], "24/6")
    with pytest.raises(InputError, match="cannot be stored"):
        await repository.set_calendar("ACME", Odd("24/7"))
    with pytest.raises(UnknownCalendar):
        await repository.set_calendar("ACME", Odd("odd"))
    for symbol in ("", " ACME", "A\0", "x" * 129, [], ["ACME", 3], 3, None, ["ACME", ""]):
        with pytest.raises(InputError):
            await repository.set_calendar(symbol, "24/5")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InputError):
        await repository.set_calendar("ACME", 24.7)  # type: ignore[arg-type]  # wrong on purpose
    missing = mock.patch.dict("sys.modules", {"exchange_calendars": None})
    with missing, mock.patch.dict(calendars._calendars):
        calendars._calendars.pop("XTKS", None)  # another test may have asked for it
        with pytest.raises(ConfigurationError, match="pip install"):
            await repository.set_calendar("ACME", "XTKS")
    assert (await repository.calendars()).is_empty()


async def test_a_calendar_joins_the_callers_transaction(database: Database) -> None:
    repository = BarRepository(database)
    await put(repository, "ACME", 3)
    async with database.session() as session:
        await repository.set_calendar("ACME", "24/5", session=session)
        with pytest.warns(walle.NoEffectWarning, match="no 1m bar of 'ACME' is missing"):  # it is a Saturday
            await repository.explain_gap("ACME", minute(3), minute(4), "halted", session=session)
        assert (await repository.coverage("ACME", session=session))["calendar"].item() == "24/5"
        assert (await repository.explanations("ACME", session=session)).height == 1
    assert (await repository.calendars()).is_empty()
    assert (await repository.explanations()).is_empty()


async def test_a_gap_is_explained_when_one_explanation_covers_all_of_it(repository: BarRepository) -> None:
    await put(repository, "ACME", 3, 7, 8, 9, 15, 16)
    await put(repository, "GLOBEX", 3)
    await repository.explain_gap("ACME", minute(3), minute(4), "a halt", author="ann")
    for start, end, reason in ((7, 9, "too short"), (8, 10, "too late")):
        with pytest.warns(walle.NoEffectWarning, match=r"covers no gap.* from 2025-03-01T00:07.* to 2025-03-01T00:10"):
            await repository.explain_gap("ACME", minute(start), minute(end), reason)
    await repository.explain_gap("ACME", minute(14), minute(18), "first said")
    await repository.explain_gap("ACME", minute(15), minute(17), "then corrected", timeframe="1m", author="bob")
    await repository.ingest(bars(2, minutes=60), symbol="ACME", timeframe="1h")
    with pytest.warns(walle.NoEffectWarning, match="no 1h bar of 'ACME' is missing"):
        await repository.explain_gap("ACME", minute(0), minute(20), "of the hours", timeframe="1h")
    found = await repository.gaps("ACME", "1m")
    assert found.select("start", "missing", "reason", "author").rows() == [
        (minute(3), 1, "a halt", "ann"),
        (minute(7), 3, None, None),
        (minute(15), 2, "then corrected", "bob"),
    ]
    told = await repository.coverage(timeframe="1m")
    assert told.select("symbol", "missing", "explained").rows() == [("ACME", 6, 3), ("GLOBEX", 1, 0)]
    part = await repository.coverage("ACME", "1m", minute(0), minute(8))
    assert part.select("missing", "explained").row(0) == (2, 2)  # of the second gap only what was too short is asked
    listed = await repository.explanations(["ACME", "GLOBEX"])
    assert listed.schema == EXPLANATIONS
    assert listed["start"].to_list() == [minute(number) for number in (0, 3, 7, 8, 14, 15)]
    assert listed.row(1)[:6] == ("ACME", None, minute(3), minute(4), "a halt", "ann")
    assert listed["author"][2] == whoami()
    assert listed.equals(await repository.explanations())
    assert (await repository.explanations("GLOBEX")).is_empty()


def test_explanations_are_found_as_by_a_loop() -> None:
    chance = random.Random(11)
    for _ in range(200):
        size = chance.randrange(12)
        edges = sorted(chance.sample(range(60), 2 * size))
        pairs = list(zip(edges[::2], edges[1::2], strict=True))
        gaps = [(minute(lo), minute(hi), 1, timedelta(minutes=1), "hole") for lo, hi in pairs]
        said = []
        for number in range(chance.randrange(12)):
            lo, hi = sorted(chance.sample(range(60), 2))
            frame = chance.choice([None, "1m", "1h"])
            said.append(("A", frame, minute(lo), minute(hi), f"{number}", "ann", START, number))
        chance.shuffle(said)
        expected = []
        for start, end, *_ in gaps:
            latest = [row for row in said if row[1] != "1h" and row[2] <= start and end <= row[3]]
            expected.append(max(latest, key=lambda row: int(row[7]))[4] if latest else None)
        found = add_explanations(
            pl.DataFrame(gaps, schema=GAPS, orient="row"),
            pl.DataFrame(said, schema={**EXPLANATIONS, "id": pl.Int64()}, orient="row"),
            "1m",
        )
        assert found.schema == SERIES_GAPS
        assert found["reason"].to_list() == expected
        assert found["start"].to_list() == [row[0] for row in gaps]


async def test_what_explains_nothing_is_refused(repository: BarRepository) -> None:
    await put(repository, "ACME")
    for start, end in (("2025-03-01", "2025-03-01"), (None, "2025-03-01"), ("2025-03-01", None), (None, None)):
        with pytest.raises(InputError, match="needs both ends of a range"):
            await repository.explain_gap("ACME", start, end, "why")
    with pytest.raises(InputError, match="ends before it starts"):
        await repository.explain_gap("ACME", "2025-03-02", "2025-03-01", "why")
    with pytest.raises(InputError, match="no time zone"):
        await repository.explain_gap("ACME", datetime(2025, 3, 1), "2025-03-02", "why")
    for reason in ("", "   ", "x" * 2001, "nul\0", None, 3):
        with pytest.raises(InputError, match="reason"):
            await repository.explain_gap("ACME", "2025-03-01", "2025-03-02", reason)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InputError, match="author"):
        await repository.explain_gap("ACME", "2025-03-01", "2025-03-02", "why", author="")
    with pytest.raises(UnknownSymbol, match="did you mean 'ACME'"):
        await repository.explain_gap("ACNE", "2025-03-01", "2025-03-02", "why")
    with pytest.raises(UnknownSymbol, match="timeframes stored for 'ACME': 1m"):
        await repository.explain_gap("ACME", "2025-03-01", "2025-03-02", "why", timeframe="1h")
    with pytest.raises(UnknownTimeframe):
        await repository.explain_gap("ACME", "2025-03-01", "2025-03-02", "why", timeframe="1 minute")
    for name in (None, 3, ["ACME"]):
        with pytest.raises(InputError, match="give one symbol"):
            await repository.explain_gap(name, "2025-03-01", "2025-03-02", "why")  # type: ignore[arg-type]  # wrong on purpose
    for symbol in (3, [3]):
        with pytest.raises(InputError):
            await repository.explanations(symbol)  # type: ignore[arg-type]  # wrong on purpose
    assert (await repository.explanations()).is_empty()
    await repository.explain_gap("ACME", "2025-03-01", "2025-03-02", "x" * 2000)  # though nothing is missing
    hostile = "'); DROP TABLE bars; -- 😀"
    await repository.explain_gap("ACME", "2025-03-01", "2025-03-02", hostile, author=hostile)
    assert (await repository.explanations())["reason"][-1] == hostile


async def test_an_outage_is_a_gap_in_which_the_whole_provider_is_silent(repository: BarRepository) -> None:
    await put(repository, "A", 3, 7, 8, 9, 15, provider="X")
    await put(repository, "B", 6, 7, 8, 9, 10, 15, provider="X")
    assert (await repository.gaps("A", "1m"))["cause"].to_list() == ["single", "outage", "outage"]
    assert (await repository.gaps("B", "1m"))["cause"].to_list() == ["hole", "outage"]  # A was heard in the minute 6
    await put(repository, "C", 7, 8, 15, provider="Y")  # another provider's silence is nothing
    await put(repository, "D", 3, 7, 8, 9, 15)  # nobody's
    assert (await repository.gaps("C", "1m"))["cause"].to_list() == ["hole", "single"]
    assert (await repository.gaps("D", "1m"))["cause"].to_list() == ["single", "hole", "single"]
    await put(repository, "E", count=9, provider="X")  # it ends within the gap
    assert (await repository.gaps("A", "1m"))["cause"].to_list() == ["single", "hole", "outage"]
    around = await repository.gaps("A", "1m", minute(8), minute(16))
    assert around["cause"].to_list() == ["hole", "outage"]


async def test_a_closed_market_is_no_witness_of_an_outage(repository: BarRepository) -> None:
    await put(repository, "A", 6, 7, 12, 13, provider="X")
    await put(repository, "B", 6, 7, 12, 13, provider="X")
    await put(repository, "STOCK", 5, 6, 7, 8, 9, provider="X")
    assert (await repository.gaps("A", "1m"))["cause"].to_list() == ["outage", "hole"]
    await put(repository, "PAIR", 6, 7, 8, provider="Z")
    await put(repository, "SHARE", 5, 6, 7, 8, 9, provider="Z")
    await repository.set_calendar("SHARE", halves())
    assert (await repository.gaps("PAIR", "1m"))["cause"].to_list() == ["hole"]  # one series is no evidence
    await put(repository, "COIN", 6, 7, 8, provider="Z")
    assert (await repository.gaps("PAIR", "1m"))["cause"].to_list() == ["outage"]


async def test_the_two_planted_outages_are_found_in_the_sample_data(repository: BarRepository) -> None:
    for symbol, frame in demo.sample_bars().items():
        await repository.ingest(frame, symbol=symbol, timeframe="1m", provider="synthetic")
    await repository.set_calendar(demo.STOCKS, demo.sample_calendar())
    planted = [  # data/README.md lists them
        (datetime(2025, 11, 22, 3, 12, tzinfo=UTC), datetime(2025, 11, 22, 5, 59, tzinfo=UTC), 167),
        (datetime(2025, 11, 27, 16, 40, tzinfo=UTC), datetime(2025, 11, 27, 17, 15, tzinfo=UTC), 35),
    ]
    for symbol, singles in (("BTC/USD", 6), ("ETH/USD", 5)):
        found = await repository.gaps(symbol, "1m")
        assert found.filter(cause="outage").select("start", "end", "missing").rows() == planted
        assert found.filter(cause="single").height == singles == found.height - 2
        other = await repository.gaps(symbol, "1m", calendar="24/7")
        assert other.equals(found)


async def test_nothing_is_remembered_where_the_tables_are_missing(database: Database) -> None:
    columns = {"bars": frozenset(models.bars.c.keys())}
    await put(BarRepository(database), "ACME", 3)
    old = Database(database.config, read_only=True, columns=columns)
    repository = BarRepository(old)
    assert (await repository.calendars()).schema == CALENDARS
    assert (await repository.explanations()).schema == EXPLANATIONS
    assert (await repository.gaps("ACME", "1m")).select("cause", "reason").row(0) == ("single", None)
    with pytest.raises(walle.ReadOnly):
        await repository.set_calendar("ACME", "24/5")
    await old.close()


def test_the_store_remembers_too(store: walle.Store) -> None:
    store.bars.ingest(bars(20)[[0, 1, 19]], symbol="ACME", timeframe="1m")
    store.bars.set_calendar("ACME", halves())
    store.bars.explain_gap("ACME", minute(0), minute(20), "a test", timeframe="1m", author="ann")
    assert store.bars.coverage().select("missing", "explained", "calendar").row(0) == (12, 12, "halves")
    assert store.bars.gaps("ACME", "1m")["author"].to_list() == ["ann"]
    assert store.bars.calendars()["calendar"].to_list() == ["halves"]
    assert store.bars.explanations("ACME")["timeframe"].to_list() == ["1m"]
    with pytest.raises(walle.PersistenceUnavailable, match=r"store\.bars\.set_calendar"), walle.connect() as memory:
        memory.bars.set_calendar("ACME", "24/5")
