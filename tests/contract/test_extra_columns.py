"""Columns beside OHLCV: kept when they are asked for, read by name, a part of every version."""

from __future__ import annotations

import asyncio
import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import walle
from tests.raw import Raw
from tests.samples import START, bars

SERIES: Any = {"symbol": "A", "timeframe": "1m"}


def extended(count: int = 4, *, price: float = 100.0) -> pl.DataFrame:
    """Bars with one further column of each kind, and one bar that lacks some."""
    return bars(count, price=price).with_columns(
        vwap=pl.when(pl.int_range(count) != 1).then(price + pl.int_range(count) / 7),
        trades=pl.int_range(count) * 3 + 2**53 + 1,
        is_final=pl.int_range(count) % 2 == 0,
        note=pl.when(pl.int_range(count) != 2).then(pl.lit('"quoted" \\ é')),
    )


NAMES = ["timestamp", "close", "vwap", "trades", "is_final", "note"]


def test_columns_that_are_asked_for_are_read_by_name(store: walle.Store) -> None:
    given = extended()
    assert store.bars.ingest(given, **SERIES, extra="all").inserted == 4
    read = store.bars.read("A", "1m", columns=NAMES)
    assert read.equals(given.select(NAMES))
    assert read.schema == pl.Schema({name: given.schema[name] for name in NAMES})
    assert store.bars.read("A", "1m").columns == ["timestamp", "open", "high", "low", "close", "volume"]
    assert store.bars.read("A", "1m", columns=["vwap"])["vwap"].equals(given["vwap"])
    assert store.bars.scan("A", "1m", columns=NAMES).collect().equals(read)
    lazy = store.bars.scan("A", "1m", columns=NAMES).select("trades").filter(pl.col("trades") > 2**53 + 4)
    assert lazy.collect()["trades"].to_list() == given["trades"].to_list()[2:]
    store.bars.ingest(extended(price=50.0), symbol="B", timeframe="1m", extra=["vwap"])
    panel = store.bars.panel(["A", "B"], "1m", "vwap")
    assert panel["A"].equals(given["vwap"].alias("A"))
    assert panel["B"].to_list() == extended(price=50.0)["vwap"].to_list()
    both = store.bars.read(["B", "A"], "1m", columns=["symbol", "timestamp", "note"])
    assert both["note"].to_list() == [*given["note"], *[None] * 4]
    assert store.bars.extra_columns("A").rows() == [
        ("A", "1m", "is_final", "boolean"),
        ("A", "1m", "note", "text"),
        ("A", "1m", "trades", "big integer"),
        ("A", "1m", "vwap", "float"),
    ]
    assert store.bars.extra_columns(timeframe="1h").is_empty()
    assert store.bars.extra_columns(["B"])["column"].to_list() == ["vwap"]


def test_columns_that_nobody_asks_for_cost_nothing(store: walle.Store, address: str) -> None:
    store.bars.ingest(extended(), **SERIES)
    assert Raw(address).value("SELECT count(*) FROM bar_extras") == 0
    assert store.bars.extra_columns().is_empty()
    with pytest.raises(walle.InputError, match=r"choose from .*volume, each once"):
        store.bars.read("A", "1m", columns=["vwap"])
    with pytest.raises(walle.InputError, match="extra_columns"):
        store.bars.panel(["A"], "1m", "vwap")


def test_a_further_column_that_comes_later_is_a_further_version(store: walle.Store) -> None:
    store.bars.ingest(bars(4), **SERIES)
    before = store.bars.now()
    report = store.bars.ingest(extended(), **SERIES, extra=["vwap"])
    assert (report.inserted, report.corrected, report.duplicates, report.conflicts) == (0, 3, 1, 0)
    assert store.bars.read("A", "1m", columns=["vwap"])["vwap"].equals(extended()["vwap"])
    assert store.bars.read("A", "1m", columns=["vwap"], as_of=before)["vwap"].null_count() == 4
    report = store.bars.ingest(extended(), **SERIES, extra=["vwap", "trades"])
    assert (report.corrected, report.duplicates) == (4, 0)
    assert store.bars.read("A", "1m", columns=["vwap", "trades"]).equals(extended().select("vwap", "trades"))
    told = store.bars.versions("A", "1m", START, START + timedelta(minutes=1))
    assert told.select("version", "vwap", "trades", "reason").rows() == [
        (1, None, None, None),
        (2, 100.0, None, "further columns"),
        (3, 100.0, 2**53 + 1, "further columns"),
    ]
    assert told.columns.index("trades") == told.columns.index("volume") + 1
    assert store.bars.ingest(extended(), **SERIES, extra=["trades"]).duplicates == 4
    assert store.bars.ingest(extended(), **SERIES).duplicates == 4


def test_another_value_is_a_conflict_or_a_correction(store: walle.Store) -> None:
    store.bars.ingest(extended(), **SERIES, extra="all")
    other = extended().with_columns(vwap=pl.lit(7.0))  # one of them had none
    report = store.bars.ingest(other, **SERIES, extra=["vwap"])
    assert (report.corrected, report.conflicts, report.duplicates) == (1, 3, 0)
    kept = store.bars.conflicts()
    assert kept.equals(kept.sort("timestamp"))
    assert kept["extra"].str.json_path_match("$.vwap").to_list() == ["7.0"] * 3
    stored = kept["stored_extra"].str.json_decode(pl.Struct({"vwap": pl.Float64()})).struct.field("vwap")
    assert stored.to_list() == extended()["vwap"].drop_nulls().to_list()
    assert report.conflict_rows["extra"].str.json_path_match("$.vwap").to_list() == ["7.0"] * 3
    with pytest.raises(walle.ConflictingBars):
        store.bars.ingest(other, **SERIES, extra=["vwap"], on_conflict="raise")
    assert store.bars.accept(kept.head(1), "their vwap was wrong") == 1
    vwap = [7.0, 7.0, *extended()["vwap"][2:]]
    assert store.bars.read("A", "1m", columns=["vwap"])["vwap"].to_list() == vwap
    report = store.bars.ingest(other, **SERIES, extra=["vwap"], on_conflict="correct", reason="again")
    assert (report.corrected, report.duplicates) == (2, 2)
    newest = store.bars.read("A", "1m", columns=NAMES)
    assert newest.equals(other.select(NAMES))  # what was not said of them has stayed
    first = store.bars.versions("A", "1m").filter(pl.col("version") == 1)
    assert first["vwap"].equals(extended()["vwap"])


def test_a_correction_of_prices_keeps_the_further_columns(store: walle.Store) -> None:
    store.bars.ingest(extended(), **SERIES, extra="all")
    store.bars.ingest(bars(4, price=101.0), **SERIES, on_conflict="correct", reason="restated")
    read = store.bars.read("A", "1m", columns=NAMES)
    assert read["close"].equals(bars(4, price=101.0)["close"])
    assert read.drop("close").equals(extended().select(NAMES).drop("close"))
    store.bars.withdraw("A", "1m", START, START + timedelta(minutes=1), "a bad tick")
    assert store.bars.read("A", "1m", columns=["trades"])["trades"].equals(extended()["trades"][1:])
    assert store.bars.versions("A", "1m")["trades"].to_list()[2] is None
    store.bars.ingest(extended().head(1), **SERIES, extra=["trades"], on_conflict="correct", reason="it was one")
    assert store.bars.read("A", "1m", columns=["trades", "vwap"]).row(0) == (2**53 + 1, None)


def test_provisional_bars_have_them_too(store: walle.Store) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    given = bars(1).with_columns(timestamp=pl.lit(now), trades=5)
    with pytest.warns(walle.UnfinishedBarsWarning):
        store.bars.ingest(given, symbol="A", timeframe="1h", extra=["trades"])
    store.bars.ingest(given, symbol="A", timeframe="1h", extra=["trades"], unfinished="keep")
    assert store.bars.read("A", "1h", columns=["trades"])["trades"].to_list() == [5]
    whole = given.with_columns(trades=9)
    report = store.bars.ingest(whole, symbol="A", timeframe="1h", extra=["trades"], clock_skew=timedelta(days=1))
    assert report.corrected == 1
    assert store.bars.read("A", "1h", columns=["trades"])["trades"].to_list() == [9]
    assert store.bars.versions("A", "1h").select("trades", "provisional").rows() == [(5, True), (9, False)]


def test_numbers_widen_and_other_kinds_are_refused(store: walle.Store) -> None:
    def one(place: int, **columns: object) -> pl.DataFrame:
        return bars(place + 1).tail(1).with_columns(**{name: pl.lit(value) for name, value in columns.items()})

    store.bars.ingest(one(0, n=1, code=7), **SERIES, extra="all")
    store.bars.ingest(one(1, n=2.5, code="T"), **SERIES, extra="all")
    store.bars.ingest(one(2, n=float("nan")), **SERIES, extra="all")
    read = store.bars.read("A", "1m", columns=["n", "code"])
    assert read.rows() == [(1.0, "7"), (2.5, "T"), (None, None)]
    for wrong in ({"n": "text"}, {"n": True}, {"code": 1.5}):
        with pytest.raises(walle.InputError, match="values here and"):
            store.bars.ingest(one(3, **wrong), **SERIES, extra="all")
    for column, message in (
        (pl.lit(float("inf")), "infinite"),
        (pl.lit(1.7976931348623157e308), "stand for unknown ones"),
        (pl.lit(2**64 - 1, pl.UInt64), "64 bits"),
        (pl.lit("a\0b"), "NUL"),
        (pl.lit([1, 2]), "numbers, booleans, times and texts"),
    ):
        with pytest.raises(walle.InputError, match=message):
            store.bars.ingest(one(3).with_columns(x=column), **SERIES, extra="all")
    assert store.bars.count("A", "1m") == 3
    store.bars.ingest(one(3).with_columns(seen=pl.lit(START), day=pl.lit(START.date())), **SERIES, extra="all")
    assert store.bars.read("A", "1m", columns=["seen", "day"]).row(3) == (
        "2025-03-01T00:00:00.000000+00:00",
        "2025-03-01",
    )


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("vwap", r"For one column: extra=\['vwap'\]"),
        ([], "neither a list"),
        ([1], "neither a list"),
        (["close"], "is a part of every bar"),
        (["vwap", "vwap"], "comes twice"),
        (["vwpa"], r"no further column 'vwpa'.*'vwap'"),
    ],
)
def test_wrong_requests_are_refused(store: walle.Store, extra: object, message: str) -> None:
    with pytest.raises(walle.InputError, match=message):
        store.bars.ingest(extended(), **SERIES, extra=extra)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(walle.InputError, match="say extra='all'"):
        store.bars.ingest(extended(), **SERIES, extra=["all", "vwap"])
    named = extended().rename({"note": "reason"})
    with pytest.raises(walle.InputError, match="cannot be called 'reason'"):
        store.bars.ingest(named, **SERIES, extra="all")
    store.bars.ingest(named, **SERIES, extra="all", columns={"reason": "note"})
    assert store.bars.read("A", "1m", columns=["note"])["note"].equals(extended()["note"])


def test_a_wrong_symbol_is_named_before_its_columns(store: walle.Store) -> None:
    store.bars.ingest(extended(), symbol="AAPL", timeframe="1m", extra="all")
    for read in (store.bars.read, store.bars.scan):
        with pytest.raises(walle.UnknownSymbol, match="AAPL"):
            read("APPL", "1m", columns=["vwap"])
    with pytest.raises(walle.UnknownSymbol, match="AAPL"):
        store.bars.panel(["APPL"], "1m", "vwap")
    with pytest.raises(walle.UnknownSymbol, match="AAPL"):
        store.bars.extra_columns("APPL")


def test_files_bring_their_columns(store: walle.Store, tmp_path: Path) -> None:
    lines = [
        f"{1735689600000 + 60_000 * place},1.5,2,1,1.5,10,{1735689659999 + 60_000 * place},{place}.25,{7 * place},.5,,0"
        for place in range(3)
    ]
    path = tmp_path / "BTCUSDT-1m-2025-01.csv.gz"
    header = (
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,"
        "ignore"
    )
    path.write_bytes(gzip.compress("\n".join([header, *lines]).encode()))
    report = store.bars.ingest(path, extra=["quote_volume", "trades"], columns={"count": "trades"})
    assert report.inserted == 3
    read = store.bars.read("BTCUSDT", "1m", columns=["quote_volume", "trades"])
    assert read.rows() == [(0.25, 0), (1.25, 7), (2.25, 14)]
    assert (
        store.bars.ingest(path, extra=["quote_volume", "trades"], columns={"count": "trades"}).files["skipped"].item()
    )
    report = store.bars.ingest(path, extra=["taker_buy_volume"])  # asks for more, so it is read again
    assert report.corrected == 3
    assert store.bars.read("BTCUSDT", "1m", columns=["taker_buy_volume", "trades"]).rows() == [
        (0.5, 0),
        (0.5, 7),
        (0.5, 14),
    ]
    extended().write_parquet(tmp_path / "A-1m.parquet")
    store.bars.ingest(tmp_path / "A-1m.parquet", extra="all")
    assert store.bars.read("A", "1m", columns=NAMES).equals(extended().select(NAMES))


def test_many_pages_give_the_same_as_one(store: walle.Store, tmp_path: Path) -> None:
    count = 150_000  # more than two pages of a file
    given = bars(count, start=datetime(2020, 1, 1, tzinfo=UTC)).with_columns(
        vwap=pl.when(pl.int_range(count) % 3 != 0).then(pl.int_range(count) / 7),
        trades=pl.when(pl.int_range(count) < 70_000).then(None).otherwise(pl.int_range(count)),
    )
    given.write_csv(tmp_path / "A-1m.csv")
    assert store.bars.ingest(tmp_path / "A-1m.csv", extra="all").inserted == count
    names = ["timestamp", "vwap", "trades"]
    assert store.bars.read("A", "1m", columns=names).equals(given.select(names).cast({"trades": pl.Int64}))
    twice = pl.concat([given, given.head(100).with_columns(vwap=pl.lit(-1.0))]).sort("timestamp", maintain_order=True)
    assert store.bars.ingest(twice, symbol="B", timeframe="1m", extra="all").conflicts == 66
    expected = given.with_columns(
        vwap=pl.when(pl.col("vwap").is_null() & (pl.int_range(count) < 100)).then(-1.0).otherwise("vwap")
    )  # where the first row says nothing, the second one does
    assert store.bars.read("B", "1m", columns=["vwap"])["vwap"].equals(expected["vwap"])
    mixed = pl.concat([given.slice(1000, 10), given.head(20).with_columns(vwap=pl.lit(5.0))])
    store.bars.ingest(given.head(10), symbol="C", timeframe="1m")
    report = store.bars.ingest(mixed, symbol="C", timeframe="1m", extra=["vwap"])
    assert (report.inserted, report.corrected) == (20, 10)
    assert (
        store.bars.read("C", "1m", columns=["vwap"])["vwap"].to_list()
        == [5.0] * 20 + given["vwap"].to_list()[1000:1010]
    )


@pytest.mark.parametrize("name", ["publisher_id", "exchange", "Venue", "dataSource"])
def test_a_column_that_tells_rows_of_one_bar_apart_refuses_them(store: walle.Store, tmp_path: Path, name: str) -> None:
    one, other = (bars(50).with_columns(pl.lit(value).alias(name)) for value in ("XNAS", "XNYS"))
    for mixed in (pl.concat([one, other]), pl.concat([one, other]).sort("timestamp"), pl.concat([one, other.tail(1)])):
        for given in (mixed, mixed.with_columns(symbol=pl.lit("A"))):
            with pytest.raises(walle.InputError, match=f"column '{name}' tells rows of one bar apart.*'XNAS', 'XNYS'"):
                store.bars.ingest(given, symbol="A", timeframe="1m")
        mixed.write_csv(tmp_path / "A-1m.csv")
        with pytest.raises(walle.InputError, match="tells rows of one bar apart"):
            store.bars.ingest(tmp_path / "A-1m.csv", extra="all")
    assert store.bars.series().is_empty()
    apart = pl.concat([one.with_columns(symbol=pl.lit("A")), other.with_columns(symbol=pl.lit("B"))])
    assert store.bars.ingest(apart, timeframe="1m", extra=[name]).inserted == 100
    assert store.bars.read("B", "1m", columns=[name])[name].unique().to_list() == ["XNYS"]
    later = pl.concat([one.head(10), other.tail(10)])  # a series may move from one to the other
    assert store.bars.ingest(later, symbol="C", timeframe="1m").inserted == 20


def test_rows_of_several_pages_are_told_apart(store: walle.Store, tmp_path: Path) -> None:
    whole = bars(70_000, start=datetime(2020, 1, 1, tzinfo=UTC))
    parts = [whole.with_columns(publisher_id=pl.lit(number)) for number in (1, 2)]
    pl.concat(parts).write_csv(tmp_path / "A-1m.csv")
    with pytest.raises(walle.InputError, match=r"70,000 of 140,000 rows .* \('1', '2'\)"):
        store.bars.ingest(tmp_path / "A-1m.csv")
    assert store.bars.series().is_empty()


def test_integers_that_a_float_would_round_stay_what_they_are(store: walle.Store) -> None:
    first = bars(1).with_columns(n=2**53 + 1)
    store.bars.ingest(first, **SERIES, extra=["n"])
    with pytest.raises(walle.InputError, match="float values here and big integer values before"):
        store.bars.ingest(bars(2).tail(1).with_columns(n=0.5), **SERIES, extra=["n"])
    assert store.bars.ingest(first.with_columns(n=2**53), **SERIES, extra=["n"]).conflicts == 1
    store.bars.ingest(bars(1).with_columns(z=0.0), symbol="B", timeframe="1m", extra=["z"])
    assert store.bars.ingest(bars(1).with_columns(z=-0.0), symbol="B", timeframe="1m", extra=["z"]).duplicates == 1


def test_accepting_a_conflict_leaves_what_its_source_did_not_say(store: walle.Store) -> None:
    store.bars.ingest(bars(1).with_columns(v=1.0, w=1), **SERIES, extra="all")
    store.bars.ingest(bars(1).with_columns(volume=9.0), **SERIES)
    store.bars.ingest(bars(1).with_columns(w=3, volume=8.0), **SERIES, extra=["w"])
    assert store.bars.conflicts()["extra"].str.json_path_match("$.w").to_list() == [None, "3"]
    assert store.bars.conflicts()["extra"].str.json_path_match("$.v").to_list() == [None, None]
    store.bars.ingest(bars(1).with_columns(v=5.0), **SERIES, extra=["v"], on_conflict="correct", reason="v was wrong")
    store.bars.accept(store.bars.conflicts().filter(volume=9.0), "the volume")
    names = ["volume", "v", "w"]
    assert store.bars.read("A", "1m", columns=names).row(0) == (9.0, 5.0, 1)
    store.bars.accept(store.bars.conflicts().filter(volume=8.0), "the other one")
    assert store.bars.read("A", "1m", columns=names).row(0) == (8.0, 5.0, 3)
    assert store.bars.conflicts()["accepted_at"].null_count() == 0


def test_what_is_accepted_is_what_was_given_or_nothing(store: walle.Store) -> None:
    store.bars.ingest(bars(1).with_columns(v=1), **SERIES, extra="all")
    first = store.bars.ingest(bars(1).with_columns(v=7), **SERIES, extra="all").conflict_rows
    second = store.bars.ingest(bars(1).with_columns(v=6), **SERIES, extra="all").conflict_rows
    assert store.bars.conflicts()["accepted_at"].to_list() == [None]
    with pytest.raises(walle.InputError, match="the first is stored"):
        store.bars.accept(second, "6 is right")
    assert store.bars.read("A", "1m", columns=["v"])["v"].to_list() == [1]
    assert store.bars.accept(first, "7 is right") == 1
    assert store.bars.read("A", "1m", columns=["v"])["v"].to_list() == [7]
    assert store.bars.conflicts()["accepted_at"].null_count() == 0
    with pytest.raises(walle.ConflictingBars, match=r'extra .*"v": ?7.* and .*"v": ?6'):
        store.bars.ingest(bars(1).with_columns(v=6), **SERIES, extra="all", on_conflict="raise")


def test_other_columns_of_other_series_are_no_obstacle(store: walle.Store) -> None:
    one, other = (bars(2).with_columns(vwap=1.5, symbol=pl.lit(symbol)) for symbol in "AB")
    store.bars.ingest(one.with_columns(flag=pl.lit("x")), timeframe="1m", extra="all")
    store.bars.ingest(other.with_columns(flag=0.5), timeframe="1m", extra="all")
    assert store.bars.read(["A", "B"], "1m", columns=["symbol", "vwap"])["vwap"].to_list() == [1.5] * 4
    assert store.bars.panel(["A", "B"], "1m", "vwap").height == 2
    assert store.bars.ingest(pl.concat([one, other]), timeframe="1m", extra=["vwap"]).duplicates == 4
    both = pl.concat([one, other]).with_columns(volume=7.0, vwap=2.5)
    assert store.bars.ingest(both, timeframe="1m", extra=["vwap"]).conflicts == 4
    assert store.bars.accept(store.bars.conflicts(), "restated") == 4
    assert store.bars.read("A", "1m", columns=["vwap", "flag"]).rows() == [(2.5, "x")] * 2
    with pytest.raises(walle.InputError, match="'flag' holds text values in A 1m and float values in B 1m"):
        store.bars.read(["A", "B"], "1m", columns=["symbol", "flag"])


def test_an_adjusted_download_is_found_beside_revised_columns(store: walle.Store) -> None:
    given = bars(60, price=1208.0).with_columns(n=pl.int_range(60))
    store.bars.ingest(given, **SERIES, extra=["n"])
    halved = pl.when(pl.int_range(60) < 30).then(0.5).otherwise(1.0)
    again = given.with_columns(*(pl.col(name) * halved for name in ("open", "high", "low", "close")), n=pl.col("n") + 1)
    with pytest.raises(walle.RescaledBars):
        store.bars.ingest(again, **SERIES, extra=["n"])


def test_a_file_without_a_header_has_the_names_of_its_layout(store: walle.Store, tmp_path: Path) -> None:
    lines = [
        f"{1735689600000 + 60_000 * place},1.5,2,1,1.5,10,{1735689659999 + 60_000 * place},{place}.25,{7 * place},1,-,0"
        for place in range(3)
    ]
    (tmp_path / "BTCUSDT-1m-2025-01.csv").write_text("\n".join(lines))
    store.bars.ingest(tmp_path / "BTCUSDT-1m-2025-01.csv", extra=["count", "quote_volume", "taker_buy_quote_volume"])
    read = store.bars.read("BTCUSDT", "1m", columns=["count", "quote_volume"])
    assert read.rows() == [(0, 0.25), (7, 1.25), (14, 2.25)]


async def test_two_writers_that_bring_different_columns_first_lose_none(database: walle.Database, address: str) -> None:
    await walle.BarRepository(database).ingest(bars(1), **SERIES)
    others = [walle.Database(database.config) for _ in range(2)]
    try:
        for turn in range(1, 6):
            frames = [bars(100).slice(10 * turn + 5 * place, 2) for place in range(2)]
            named = [frame.with_columns(pl.lit(turn).alias(f"c{turn}_{place}")) for place, frame in enumerate(frames)]
            writing = (
                walle.BarRepository(other).ingest(frame, **SERIES, extra="all", provider="x")
                for other, frame in zip(others, named, strict=True)
            )
            await asyncio.gather(*writing)
    finally:
        for other in others:
            await other.close()
    told = await walle.BarRepository(database).extra_columns()
    assert told["column"].to_list() == sorted(f"c{turn}_{place}" for turn in range(1, 6) for place in range(2))


async def test_they_join_the_callers_transaction(database: walle.Database) -> None:
    repository = walle.BarRepository(database)
    async with database.session() as session:
        await repository.ingest(extended(), **SERIES, extra="all", session=session)
        inside = await repository.read("A", "1m", columns=NAMES, session=session)
        assert inside.equals(extended().select(NAMES))
        await session.rollback()
    assert (await repository.extra_columns()).is_empty()
    async with database.session() as session:
        await repository.ingest(bars(2), **SERIES, session=session)
        await repository.ingest(extended(), **SERIES, extra=["trades"], session=session)
        await session.commit()
    assert (await repository.read("A", "1m", columns=["trades"]))["trades"].equals(extended()["trades"])


def test_other_programs_rows_are_read_as_they_are(store: walle.Store, address: str) -> None:
    store.bars.ingest(extended(), **SERIES, extra=["trades"])
    raw = Raw(address)
    time = str(int(START.timestamp() * 1_000_000)) if raw.sqlite else f"'{START.isoformat()}'"
    later = str(int((START + timedelta(minutes=9)).timestamp() * 1_000_000))
    later = later if raw.sqlite else f"'{(START + timedelta(minutes=9)).isoformat()}'"
    columns = "symbol, timeframe, timestamp, open, high, low, close, volume"
    raw.run(f"INSERT INTO bars ({columns}) VALUES ('A', '1m', {later}, 1, 1, 1, 1, 1)")
    assert store.bars.read("A", "1m", columns=["trades"])["trades"].to_list()[-1] is None
    assert raw.value(f"SELECT count(*) FROM bars WHERE timestamp = {time}") == 1
