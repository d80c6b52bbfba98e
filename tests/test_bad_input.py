"""A wrong input gets an answer worth reading, and nothing is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import walle
from tests.postgres import PASSWORD, Server
from tests.samples import START, bars, fill, order, run
from walle import errors, models
from walle.config import DatabaseConfig

NAN = float("nan")


def changed(**columns: Any) -> pl.DataFrame:
    """Five bars, the third with other values."""
    frame = bars(5)
    return frame.with_columns(
        pl.when(pl.int_range(5) == 2).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
        for name, value in columns.items()
    )


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (bars(5).with_columns(pl.col("timestamp").dt.replace_time_zone(None)), "no time zone.*timezone='UTC'"),
        (bars(5).drop("close"), "no column for close; there is: timestamp, open, high, low, volume"),
        (bars(5).drop("volume"), r"columns=\{'volume': None\}"),
        (
            bars(5).rename({"timestamp": "when it was"}),
            r"no column for timestamp; .*columns=\{'their name': 'timestamp'\}",
        ),
        (changed(close=None), "close is missing: 1"),
        (changed(timestamp=None), "timestamp is missing"),
        (changed(open=NAN), "open is NaN or infinite: 1"),
        (changed(volume=NAN), "volume is NaN or infinite"),
        (changed(high=float("inf")), "high is NaN or infinite"),
        (changed(high=50.0), "high is below low: 1"),
        (changed(open=500.0), "open lies outside low..high"),
        (changed(close=1.0), "close lies outside low..high"),
        (changed(volume=-1.0), "volume is below 0"),
        (bars(5).with_columns(close=pl.lit("1.2.3")), "column 'close' holds '1.2.3': 5"),
        (bars(5).with_columns(pl.col("close").cast(pl.Decimal(20, 8))), "column 'close' is Decimal"),
        (bars(5).with_columns(close=pl.lit(2**53 + 1)), r"above 2\*\*53"),
        (bars(5).with_columns(timestamp=pl.lit("soon")), "'soon' .row 0., which is no time of a known form"),
        (
            bars(5).with_columns(pl.col("timestamp").dt.replace_time_zone(None).cast(pl.String)),
            "has no time zone, so its times name no instant",
        ),
        (bars(5).with_columns(pl.col("timestamp").dt.date()), "holds dates, but bars below one day need times"),
        (
            bars(5).with_columns(pl.col("timestamp").dt.cast_time_unit("ns") + pl.duration(nanoseconds=1)),
            "finer than a microsecond",
        ),
        ("bars.csv", "there is no file 'bars.csv'"),
        ("https://example.com/bars.csv", "is an address; bars are read from files on disk"),
        (pl.DataFrame(), "no column for timestamp, open, high, low, close, volume; there is: none"),
        ([1, 2], "not as list"),
        (pd.Series([1.0], name="close"), "not as a Series"),
    ],
)
def test_bars_that_are_none_are_refused(store: walle.Store, frame: object, message: str) -> None:
    with pytest.raises(errors.InputError, match=f"(?s){message}"):
        store.bars.ingest(frame, symbol="A", timeframe="1m")
    assert store.bars.series().is_empty()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"symbol": "A", "timeframe": "5min"}, "unknown timeframe '5min'. Did you mean '5m'?"),
        ({"symbol": "A", "timeframe": "1H"}, "Did you mean '1h'?"),
        ({"symbol": "A", "timeframe": "month"}, "Did you mean '1M'?"),
        ({"symbol": "A", "timeframe": "7m"}, "Did you mean '6m'? Allowed: <n>s, <n>m"),
        ({"timeframe": "1m"}, "which symbol?"),
        ({"symbol": "A\0B", "timeframe": "1m"}, "NUL"),
        ({"symbol": "A\ud800", "timeframe": "1m"}, "lone surrogate"),
        ({"symbol": " A", "timeframe": "1m"}, "white space"),
        ({"symbol": "", "timeframe": "1m"}, "symbol is empty"),
        ({"symbol": "A" * 129, "timeframe": "1m"}, "at most 128"),
        ({"symbol": "A", "timeframe": "1m", "columns": {"data": "close"}}, "'data', which the source does not have"),
        ({"symbol": "A", "timeframe": "1m", "columns": {"close": "last"}}, "to 'last'; allowed are"),
        ({"symbol": "A", "timeframe": "1m", "on_invalid": "drop"}, "neither 'raise' nor 'quarantine'"),
    ],
)
def test_wrong_arguments_of_an_ingest_are_named(store: walle.Store, options: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.InputError) as caught:
        store.bars.ingest(bars(5), **options)
    assert message in str(caught.value)
    assert store.bars.series().is_empty()


@pytest.mark.parametrize("ingest", ["1", 1.0, True])
def test_what_is_no_id_of_an_ingest_is_refused(store: walle.Store, ingest: Any) -> None:
    with pytest.raises(errors.InputError, match=r"is not the id of an ingest: store.bars.ingests\(\)"):
        store.bars.rejected(ingest)
    assert store.bars.rejected(99).is_empty()


def test_an_unknown_zone_is_named(store: walle.Store) -> None:
    naive = bars(5).with_columns(pl.col("timestamp").dt.replace_time_zone(None))
    with pytest.raises(errors.InputError, match="timezone='Mars/Olympus' is no IANA zone"):
        store.bars.ingest(naive, symbol="A", timeframe="1m", timezone="Mars/Olympus")
    skipped = naive.with_columns(timestamp=pl.lit(datetime(2025, 3, 9, 2, 30))).head(1)
    with pytest.raises(errors.InvalidBars, match="skipped or repeated by a clock change"):
        store.bars.ingest(skipped, symbol="A", timeframe="1m", timezone="America/New_York")
    with pytest.raises(errors.InputError, match=r"'timestamp' is in UTC\. Leave it out"):
        store.bars.ingest(bars(5), symbol="A", timeframe="1m", timezone="America/New_York")
    report = store.bars.ingest(naive, symbol="A", timeframe="1m", timezone="America/New_York")
    assert report.inserted == 5
    assert store.bars.read("A", "1m")["timestamp"][0] == START + timedelta(hours=5)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (datetime(2025, 1, 1), None, "start=.*has no time zone.*timezone.utc"),
        (None, datetime(2025, 1, 1), "end=.*has no time zone"),
        ("2025-02-01", "2025-01-31", "ends before it starts"),
        ("01/02/2025", None, "no ISO date"),
        (5, None, "not a datetime"),
        (
            datetime(1, 1, 1, tzinfo=UTC).replace(tzinfo=__import__("zoneinfo").ZoneInfo("Asia/Tokyo")),
            None,
            "years 1 to 9999",
        ),
    ],
)
def test_a_bad_range_is_refused_everywhere(store: walle.Store, start: Any, end: Any, message: str) -> None:
    reads: list[Callable[[], object]] = [
        lambda: store.bars.read("A", "1m", start, end),
        lambda: store.bars.scan("A", "1m", start, end),
        lambda: store.orders.read(start=start, end=end),
        lambda: store.fills.read(start=start, end=end),
        lambda: store.runs.read(start=start, end=end),
    ]
    for read in reads:
        with pytest.raises(errors.InputError, match=f"(?s){message}"):
            read()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: run(status="hibernating"), "status='hibernating' is not one of pending, running"),
        (lambda: run(mode="demo"), "mode='demo' is not one of live, paper, backtest"),
        (lambda: run(created_at=datetime(2025, 1, 1)), "Run.created_at=.*no time zone"),
        (lambda: run(config={"a": {"b": NAN}}), "Run.config.a.b=nan is not JSON"),
        (lambda: run(config={"a": ["x\0"]}), r"Run.config.a\[0\] holds a NUL"),
        (lambda: run(config={1: 2}), "the key 1; JSON keys are texts"),
        (lambda: run(config={"at": START}), r"\(datetime\) is nothing that JSON can hold"),
        (lambda: run(config={"\ud800": 1}), "lone surrogate"),
        (lambda: run(id=""), "Run.id is empty"),
        (lambda: run(symbols="BTC/USD"), r"give a list: \['BTC/USD'\]"),
        (lambda: order(side="long"), "side='long' is not one of buy, sell"),
        (lambda: order(qty=1.5), r"\(float\) is not a Decimal. A float is not exact. Write Decimal\('1.5'\)"),
        (lambda: order(qty=Decimal(0)), "must be above 0"),
        (lambda: order(filled_qty=Decimal(-1)), "at least 0"),
        (lambda: order(limit_price=Decimal("NaN")), "not a finite number"),
        (lambda: order(reject_reason="a\0"), "NUL"),
        (lambda: fill(price=Decimal("1e-19")), "19 places; at most 20 and 18 fit"),
        (lambda: fill(price=Decimal("1e20")), "21 integer digits"),
        (lambda: fill(filled_at="2025-01-01"), "not a datetime"),
        (
            lambda: walle.Bar(symbol="A", timeframe="1m", timestamp=START, open=1, high=1, low=2, close=1, volume=0),
            "low <=",
        ),
        (lambda: walle.Event(type="Filled"), "not namespace.PascalCase"),
        (lambda: walle.Event(type="orders.Filled", payload={"price": Decimal(1)}), "payload.price=.*Write it as text"),
    ],
)
def test_a_record_that_cannot_be_stored_cannot_be_made(make: Callable[[], object], message: str) -> None:
    with pytest.raises(errors.InputError, match=f"(?s){message}"):
        make()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mysql://user:secret@host/db", "scheme 'mysql' is not supported"),
        ("postgresql+pg8000://user:secret@host/db", "scheme 'postgresql+pg8000' is not supported"),
        (":memory:", "':memory:' is not supported"),
        ("sqlite://", "':memory:' is not supported"),
        ("sqlite:///:memory:", "':memory:' is not supported"),
        ("sqlite:///x.db?mode=ro", "'sqlite://...': a SQLite URL has no host and no options"),
        ("sqlite://x.db", "'sqlite://...': a SQLite URL has no host"),
        ("", "is empty"),
        ("postgresql://user:secret@host:port/db", "is not a database URL"),
        ("postgresql://user:secret@host", "names no database"),
        ("mailto:someone", "neither a path nor a URL"),
        (42, "not int"),
    ],
)
def test_an_address_that_cannot_work_is_refused(target: Any, message: str) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        walle.connect(target)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p@h/d",
        "postgresql://u:p@h/d",
        "postgresql+asyncpg://u:p@h/d?ssl=require",
        "postgresql+psycopg://u:p@h/d",
    ],
)
def test_every_spelling_of_an_address_means_the_same(url: str) -> None:
    address = DatabaseConfig(url=url).address
    assert (address.drivername, address.password, address.database) == ("postgresql", "p", "d")
    assert dict(address.query) == ({"sslmode": "require"} if "ssl" in url else {})


def test_settings_come_from_the_environment_and_are_checked() -> None:
    environ = {"WALLE_DATABASE_URL": "~/x.db", "WALLE_DATABASE_POOL_SIZE": "7", "WALLE_DATABASE_ECHO": "yes"}
    config = DatabaseConfig.from_environment(environ=environ)
    assert (config.pool_size, config.echo, config.address.database) == (7, True, str(Path.home() / "x.db"))
    assert DatabaseConfig.from_environment("y.db", pool_size=2, environ=environ).pool_size == 2
    assert DatabaseConfig.from_environment(environ={"WALLE_DATABASE_URL": " "}).url is None
    for name, value in (("POOL_SIZE", "many"), ("POOL_SIZE", "0"), ("ECHO", "perhaps"), ("POOL_OVERFLOW", "-1")):
        with pytest.raises(errors.ConfigurationError, match=f"(?i){name}"):
            DatabaseConfig.from_environment(environ={f"WALLE_DATABASE_{name}": value})


def test_a_password_is_shown_nowhere(server: Server, postgres_address: str) -> None:
    assert "***" in repr(DatabaseConfig(url=postgres_address))
    with walle.connect(postgres_address) as store:
        shown = [repr(store), store._repr_html_(), str(store.status()), repr(store.status()), repr(store._database)]
    wrong = server.url("postgres", password="Tr0ub4dor")
    with pytest.raises(errors.AuthenticationFailed, match="refused the user or the password") as caught:
        walle.connect(wrong)
    shown += [str(caught.value), repr(caught.value)]
    with pytest.raises(errors.ConfigurationError) as bad:
        walle.connect("postgresql://u@h:x/d?password=Tr0ub4dor")
    shown.append(str(bad.value))
    for text in shown:
        assert PASSWORD not in text
        assert "correct%20horse" not in text
        assert "Tr0ub4dor" not in text


def test_an_unreachable_server_is_named() -> None:
    with pytest.raises(errors.DatabaseUnavailable, match=r"127.0.0.1:1/db cannot be reached"):
        walle.connect("postgresql://u:secret@127.0.0.1:1/db")


def test_what_is_no_store_is_not_touched(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database " * 100)
    with pytest.raises(errors.NotAWalleStore, match=r"notes.txt is not a SQLite database"):
        walle.connect(text)
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE customers (id INTEGER)")
    connection.close()
    before = foreign.read_bytes()
    with pytest.raises(errors.NotAWalleStore, match="holds the tables customers"):
        walle.connect(foreign)
    assert foreign.read_bytes() == before
    with pytest.raises(errors.DatabaseUnavailable, match="is a folder; name a file in it"):
        walle.connect(tmp_path)
    with pytest.raises(errors.DatabaseUnavailable, match="does not exist; create it first"):
        walle.connect(tmp_path / "no" / "store.db")
    with pytest.raises(errors.DatabaseUnavailable, match="no file"):
        walle.connect(tmp_path / "absent.db", read_only=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign.db", "notes.txt"]


def test_a_read_only_store_refuses_writes(address: str) -> None:
    with walle.connect(address) as store:
        store.bars.ingest(bars(3), symbol="A", timeframe="1m")
    with walle.connect(address, read_only=True) as store:
        assert store.bars.read("A", "1m").height == 3
        for write in (
            lambda: store.bars.ingest(bars(5), symbol="A", timeframe="1m"),
            lambda: store.orders.save(order()),
            lambda: store.fills.append(fill()),
            lambda: store.runs.save(run()),
            lambda: store.upgrade(),
        ):
            with pytest.raises(errors.ReadOnly, match="read_only=True"):
                write()
        assert "read_only=True" in repr(store)
        assert store.bars.series()["bars"].to_list() == [3]


def test_a_store_without_a_database_says_what_to_do() -> None:
    with walle.connect() as store:
        assert store.durable is False
        assert "not" in repr(store) or "nothing is kept" in repr(store)
        for call in (
            lambda: store.bars.series(),
            lambda: store.bars.ingest(bars(), symbol="A", timeframe="1m"),
            lambda: store.orders.read(),
            lambda: store.fills.append(fill()),
            lambda: store.runs.recover(),
            lambda: store.upgrade(),
        ):
            with pytest.raises(
                errors.PersistenceUnavailable, match=r"walle.connect\('research.db'\).*WALLE_DATABASE_URL"
            ):
                call()
        assert not store.status().ok


def test_a_url_that_fails_never_becomes_a_store_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WALLE_DATABASE_URL", "postgresql://u@127.0.0.1:1/db")
    with pytest.raises(errors.DatabaseUnavailable):
        walle.connect()


@pytest.mark.parametrize("kind", ["polars", "lazy", "pandas", "pandas index", "arrow"])
def test_frames_of_every_library_go_in(store: walle.Store, kind: str) -> None:
    frame = bars(20)
    table = frame.to_arrow()
    sources = {
        "polars": frame,
        "lazy": frame.lazy(),
        "pandas": table.to_pandas(),
        "pandas index": table.to_pandas().set_index("timestamp"),
        "arrow": table,
    }
    assert store.bars.ingest(sources[kind], symbol="A", timeframe="1m").inserted == 20
    assert store.bars.read("A", "1m").equals(frame)


@pytest.mark.parametrize("name", ["we?ird #1 %20.db", "ünï cødé.db", "a&b=c;d.db", "-x", "it's.db"])
def test_a_file_may_have_any_name_and_is_whole_after_close(tmp_path: Path, name: str) -> None:
    with walle.connect(tmp_path / name) as store:
        store.bars.ingest(bars(20), symbol="A", timeframe="1m")
        assert store.bars.read("A", "1m").height == 20
    assert [path.name for path in tmp_path.iterdir()] == [name]  # one file to copy, nothing beside it
    with walle.connect(tmp_path / name, read_only=True) as store:
        assert store.bars.count("A", "1m") == 20


def test_a_wrong_type_is_named_and_never_reaches_the_driver(store: walle.Store) -> None:
    wrong: list[Callable[[Any], object]] = [
        lambda value: store.bars.read(value, "1m"),
        lambda value: store.bars.latest(value, "1m"),
        lambda value: store.fills.read(value),
        lambda value: store.fills.read(symbol=value),
        lambda value: store.orders.read(value),
        lambda value: store.runs.get(value),
        lambda value: store.runs.history(value),
        lambda value: store.runs.save(value),
        lambda value: store.runs.read(status=value),
    ]
    for call in wrong:
        for value in (5, object(), [5]):
            with pytest.raises(errors.InputError):
                call(value)
    with pytest.raises(errors.InputError, match=r"convert it: polars.DataFrame\(frame\)"):
        store.fills.append(pd.DataFrame({"id": ["a"]}))
    with pytest.raises(errors.InputError, match="no column 'prices'"):
        walle.to_float(store.fills.read(), ["prices"])


def test_an_empty_database_is_made_by_following_the_message(empty_postgres: str) -> None:
    with pytest.raises(errors.SchemaOutdated, match=r"walle.upgrade\(address\)") as caught:
        walle.connect(empty_postgres)
    assert "***' " not in str(caught.value)
    assert len(walle.upgrade(empty_postgres)) == len(models.REVISIONS)
    assert walle.upgrade(empty_postgres) == []
    with walle.connect(empty_postgres) as store:
        assert store.status().ok
        assert store.upgrade() == []


def test_a_store_does_not_travel(store: walle.Store) -> None:
    import pickle

    with pytest.raises(TypeError, match="Connect in each process"):
        pickle.dumps(store)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("ann:s3cret@db.example/research", "looks like a URL without its scheme"),
        ("postgresql:ann:s3cret@host/db", "without its scheme"),
        ("postgresql://ann:s3c@ret@host/db", "%40"),
        ("host=db user=ann password=s3cret dbname=x", "libpq connection string"),
    ],
)
def test_an_address_of_another_form_is_no_file_and_shows_no_password(target: str, message: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=message) as caught:
        walle.connect(target)
    for part in ("s3c", "cret"):
        assert part not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"volume": None}}, "but the source has one"),
        ({"columns": ["volume"]}, "not a mapping"),
        ({"provider": "a\0b"}, "NUL"),
        ({"provider": Path("x")}, "not a text"),
    ],
)
def test_options_that_would_lose_something_are_refused(
    store: walle.Store, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InputError, match=message):
        store.bars.ingest(bars(5), symbol="A", timeframe="1m", **options)
    assert store.bars.series().is_empty()


def test_times_of_another_unit_and_far_years_are_refused(store: walle.Store) -> None:
    wrong = bars(5).with_columns((pl.col("timestamp").dt.epoch("us") * 1000).cast(pl.Datetime("ms", "UTC")))
    with pytest.raises(errors.InputError, match="years 1 to 9999"):
        store.bars.ingest(wrong, symbol="A", timeframe="1m")
    store.fills.append(fill())
    far = store.fills.read().with_columns(pl.col("filled_at").dt.offset_by("12000y"), id=pl.lit("far"))
    with pytest.raises(errors.InputError, match="years 1 to 9999"):
        store.fills.append(far)
    padded = fill(2, price=Decimal("1." + "0" * 40), quantity=Decimal("0." + "0" * 17 + "1" + "0" * 30))
    store.fills.append(padded)
    assert store.fills.get("fill-2") == padded
