"""The bars of a series stand on one grid, also across ingests, files, pages and writers."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

import walle
from tests.raw import Raw
from tests.samples import bars
from walle.bars import ingest_source
from walle.database import Database
from walle.errors import InputError, InvalidBars
from walle.repositories import BarRepository
from walle.repositories.bars.neighbours import Neighbours

MIDNIGHT = datetime(2025, 1, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(times: list[datetime]) -> pl.DataFrame:
    return bars(len(times)).with_columns(timestamp=pl.Series(times, dtype=pl.Datetime("us", "UTC")))


def every(hours: int, count: int, start: datetime = MIDNIGHT) -> pl.DataFrame:
    return at([start + hours * HOUR * number for number in range(count)])


def opens(store: walle.Store, symbol: str = "A", timeframe: str = "4h") -> list[datetime]:
    return store.bars.read(symbol, timeframe)["timestamp"].to_list()


@pytest.mark.parametrize("late", [HOUR, -HOUR])
def test_a_second_source_an_hour_off_does_not_interleave(store: walle.Store, address: str, late: timedelta) -> None:
    first, other = every(4, 12), every(4, 12, MIDNIGHT + late)
    store.bars.ingest(first, symbol="A", timeframe="4h")
    with pytest.raises(InvalidBars, match=r"12 of 12 rows .*a series has one grid") as caught:
        store.bars.ingest(other, symbol="A", timeframe="4h")
    assert caught.value.rejected_rows["row"].to_list() == list(range(12))
    assert caught.value.rejected_rows["timestamp"].to_list() == other["timestamp"].to_list()
    assert Raw(address).value("SELECT count(*) FROM ingests") == 1
    report = store.bars.ingest(other, symbol="A", timeframe="4h", on_invalid="quarantine")
    assert (report.inserted, report.rejected) == (0, 12)
    inside = store.bars.rejected().filter(pl.col("timestamp") > MIDNIGHT)["reason"][0]
    assert inside.startswith("it opens before the stored bar of 2025-01-06 00:00 UTC has ended; a series has one grid")
    assert opens(store) == first["timestamp"].to_list()
    assert store.bars.ingest(every(4, 20), symbol="A", timeframe="4h").inserted == 8
    assert store.bars.ingest(other, symbol="A.other", timeframe="4h").inserted == 12


def test_bars_before_the_stored_ones_and_in_their_gaps_are_held_against_them(store: walle.Store) -> None:
    times = [MIDNIGHT + 4 * HOUR * number for number in (*range(6), *range(12, 18))]
    store.bars.ingest(at(times), symbol="A", timeframe="4h")
    for start, refused in ((-7, 8), (21, 3), (23, 1), (45, 1)):  # hours from midnight: before, in the gap, at its end
        moved = at([MIDNIGHT + HOUR * start + 4 * HOUR * number for number in range(refused)])
        with pytest.raises(InvalidBars, match="a series has one grid"):
            store.bars.ingest(moved, symbol="A", timeframe="4h")
    (last,) = at([MIDNIGHT - 3 * HOUR])["timestamp"]
    with pytest.raises(InvalidBars, match=r"the stored bar of \.\.\. opens before it has ended") as caught:
        store.bars.ingest(at([last]), symbol="A", timeframe="4h")
    assert "the stored bar of 2025-01-06 00:00 UTC" in caught.value.rejected_rows["reason"][0]
    assert opens(store) == times
    filling = at([MIDNIGHT + 4 * HOUR * number for number in range(-3, 21)])
    assert store.bars.ingest(filling, symbol="A", timeframe="4h").inserted == 12


def test_bars_of_the_clock_and_of_sessions_do_not_mix(store: walle.Store) -> None:
    clock = at([MIDNIGHT + HOUR * hour for hour in range(14, 21)])
    sessions = at([MIDNIGHT + HOUR * hour + HOUR / 2 for hour in range(14, 21)])  # from 09:30 in New York
    for first, second in ((clock, sessions), (sessions, clock)):
        symbol = "ACME" if first is clock else "ACME2"
        store.bars.ingest(first, symbol=symbol, timeframe="1h", calendar="XNYS")
        with pytest.raises(InvalidBars, match="7 of 7 rows"):
            store.bars.ingest(second, symbol=symbol, timeframe="1h")
        assert opens(store, symbol, "1h") == first["timestamp"].to_list()


@pytest.mark.parametrize("given", [False, True], ids=["set before", "given"])
def test_a_session_cuts_bars_short_also_between_two_ingests(store: walle.Store, given: bool) -> None:
    if not given:
        store.bars.set_calendar("7203", "XTKS")
    morning = [datetime(2025, 1, 6, tzinfo=UTC) + timedelta(days=day) for day in range(4)]  # 09:00 in Tokyo
    afternoon = [time + timedelta(hours=3, minutes=30) for time in morning]
    unknown = pytest.warns(walle.ContradictionWarning, match="1d apart") if given else contextlib.nullcontext()
    with unknown:  # nothing says yet that a session begins every day
        assert store.bars.ingest(at(morning), symbol="7203", timeframe="4h").inserted == 4
    calendar = "XTKS" if given else None
    assert store.bars.ingest(at(afternoon), symbol="7203", timeframe="4h", calendar=calendar).inserted == 4
    with pytest.raises(InvalidBars):
        store.bars.ingest(at([time + HOUR for time in morning]), symbol="7203", timeframe="4h")
    assert opens(store, "7203") == sorted(morning + afternoon)


def test_summer_follows_winter_and_the_other_way_round(store: walle.Store) -> None:
    winter = [datetime(2025, 3, 6, 22, tzinfo=UTC) + 4 * HOUR * number for number in range(6)]  # to Friday 22:00
    summer = [datetime(2025, 3, 9, 21, tzinfo=UTC) + 4 * HOUR * number for number in range(30)]
    for symbol, parts in (("A", (winter, summer)), ("B", (summer, winter))):
        for part in parts:
            assert store.bars.ingest(at(part), symbol=symbol, timeframe="4h").inserted == len(part)
        assert opens(store, symbol) == winter + summer
        assert store.bars.ingest(at(winter + summer), symbol=symbol, timeframe="4h").inserted == 0


def test_two_pages_of_one_file_have_one_grid(
    store: walle.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_source, "READ_ROWS", 12)
    both = pl.concat([every(4, 12), every(4, 12, MIDNIGHT + HOUR)])
    both.write_csv(tmp_path / "x.csv")
    for on_invalid in ("raise", "quarantine"):  # it is unclear which of them is right
        with pytest.raises(InvalidBars, match=r"x\.csv: .* rows are not bars.*the bar of \.\.\. has ended"):
            store.bars.ingest(tmp_path / "x.csv", symbol="A", timeframe="4h", on_invalid=on_invalid)
    assert store.bars.series().is_empty()
    every(4, 48).write_csv(tmp_path / "y.csv")
    assert store.bars.ingest(tmp_path / "y.csv", symbol="A", timeframe="4h").inserted == 48


def test_a_later_page_is_held_against_the_stored_bars_too(
    store: walle.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_source, "READ_ROWS", 10)
    store.bars.ingest(every(4, 10, MIDNIGHT + timedelta(days=10)), symbol="A", timeframe="4h")
    dates = [MIDNIGHT + 4 * HOUR * number for number in range(90)]
    dates[63:67] = [time + HOUR for time in dates[63:67]]  # inside the stored ones
    dates[67] += timedelta(days=60)
    at(dates).write_csv(tmp_path / "x.csv")
    report = store.bars.ingest(tmp_path / "x.csv", symbol="A", timeframe="4h", on_invalid="quarantine")
    assert report.rejected_rows["row"].to_list() == [63, 64, 65, 66]
    assert (report.inserted, report.rows) == (81, 90)  # five of ten that are stored came again


@pytest.mark.parametrize("start", [datetime(2025, 1, 10, 1, tzinfo=UTC), datetime(2024, 12, 20, 1, tzinfo=UTC)])
def test_an_hour_off_without_a_change_of_clocks_is_another_grid(store: walle.Store, start: datetime) -> None:
    store.bars.ingest(every(4, 12), symbol="A", timeframe="4h")
    with pytest.raises(
        InvalidBars,
        match=r"6 of 6 rows .*it opens on another grid than the stored bar of \.\.\.; a series has one grid",
    ):
        store.bars.ingest(every(4, 6, start), symbol="A", timeframe="4h")
    summer = every(4, 6, datetime(2025, 4, 10, 3, tzinfo=UTC))  # New York's and London's are an hour ahead
    assert store.bars.ingest(summer, symbol="A", timeframe="4h").inserted == 6
    wrong = every(4, 6, datetime(2025, 4, 20, 1, tzinfo=UTC))  # and this would be an hour behind
    with pytest.raises(InvalidBars, match="another grid than the stored bar"):
        store.bars.ingest(wrong, symbol="A", timeframe="4h")


def test_a_change_from_the_clock_to_sessions_is_another_grid(store: walle.Store) -> None:
    store.bars.set_calendar("ACME", "XNYS")
    store.bars.ingest(at([MIDNIGHT + HOUR * hour for hour in range(14, 21)]), symbol="ACME", timeframe="1h")
    later = at([MIDNIGHT + timedelta(days=2) + HOUR * hour + HOUR / 2 for hour in range(14, 21)])
    # the first one might be the short first bar of hours on the clock
    with pytest.raises(InvalidBars, match=r"6 of 7 rows .*off the phase of its series"):
        store.bars.ingest(later, symbol="ACME", timeframe="1h")


async def test_one_transaction_sees_its_own_bars(database: Database) -> None:
    repository = BarRepository(database)
    async with database.session() as session:
        await repository.ingest(every(4, 6), symbol="A", timeframe="4h", session=session)
        with pytest.raises(InvalidBars):
            await repository.ingest(every(4, 6, MIDNIGHT + HOUR), symbol="A", timeframe="4h", session=session)
        await repository.ingest(every(4, 8), symbol="A", timeframe="4h", session=session)
        await session.commit()
    assert await repository.count("A", "4h") == 8


def test_bars_of_another_program_count(store: walle.Store, address: str) -> None:
    raw = Raw(address)
    rows = [("A", "4h", MIDNIGHT + 4 * HOUR * number, 1, 1, 1, 1, 1) for number in range(3)]
    raw.insert("bars", ["symbol", "timeframe", "timestamp", "open", "high", "low", "close", "volume"], rows)
    with pytest.raises(InvalidBars, match="3 of 3 rows"):
        store.bars.ingest(every(4, 3, MIDNIGHT + HOUR), symbol="A", timeframe="4h")


def meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two writers go on to write together, once each has judged its bars."""
    both, real = threading.Barrier(2, timeout=60), Neighbours.judge

    async def judge(*arguments: object) -> object:
        judged = await real(*arguments)  # type: ignore[arg-type]  # passed on
        both.wait()
        return judged

    monkeypatch.setattr(Neighbours, "judge", judge)


def together(address: str, *works: Callable[[walle.Store], object]) -> list[object]:
    """Run works at once, each with a store of its own; return what they return or raise."""
    ended: list[object] = [None] * len(works)

    def run(place: int) -> None:
        with walle.connect(address) as store:
            try:
                ended[place] = works[place](store)
            except walle.WalleError as error:
                ended[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended


@pytest.mark.parametrize("known", [True, False])
def test_of_two_writers_with_two_grids_one_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    if known:  # else both begin the series, with two phases
        with walle.connect(address) as store:
            store.bars.ingest(every(4, 3, MIDNIGHT - timedelta(days=9)), symbol="A", timeframe="4h")
    meet(monkeypatch)
    frames = [every(4, 6), every(4, 6, MIDNIGHT + HOUR)]
    ended = together(
        address, *(lambda store, frame=frame: store.bars.ingest(frame, symbol="A", timeframe="4h") for frame in frames)
    )
    kinds = sorted(type(each).__name__ for each in ended)
    assert kinds in ([["IngestReport", "InvalidBars"]] if known else [["DatabaseBusy", "IngestReport"]])
    winner = next(place for place, each in enumerate(ended) if isinstance(each, walle.IngestReport))
    with walle.connect(address) as store:
        assert opens(store)[3 * known :] == frames[winner]["timestamp"].to_list()


def test_two_writers_on_one_grid_both_go_in(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    meet(monkeypatch)
    frames = [every(4, 6), every(4, 6, MIDNIGHT + 24 * HOUR)]
    ended = together(
        address, *(lambda store, frame=frame: store.bars.ingest(frame, symbol="A", timeframe="4h") for frame in frames)
    )
    assert all(isinstance(each, walle.IngestReport) for each in ended), ended
    with walle.connect(address) as store:
        assert opens(store) == every(4, 12)["timestamp"].to_list()


def follows(mine: datetime, there: datetime) -> bool:
    """Whether the clocks of a market show the same time of a two-hour grid; those that change in March 2025."""
    zones = [ZoneInfo(name) for name in ("UTC", "America/New_York", "Europe/London", "Asia/Jerusalem")]
    shown = [(mine.astimezone(zone).replace(tzinfo=UTC), there.astimezone(zone).replace(tzinfo=UTC)) for zone in zones]
    return any((one - other) % (2 * HOUR) == timedelta(0) for one, other in shown)


@pytest.mark.parametrize("seed", range(4))
def test_any_ingests_leave_what_a_plain_model_allows(store: walle.Store, seed: int) -> None:
    dice, spring, lasting = random.Random(seed), datetime(2025, 3, 1, tzinfo=UTC), 2 * HOUR
    flat = [pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close", "volume")]
    stored: dict[str, set[datetime]] = {"A": {spring}, "B": {spring}}
    for symbol in stored:
        store.bars.ingest(at([spring]).with_columns(flat), symbol=symbol, timeframe="2h")
    outcomes = []
    for _ in range(25):
        symbol, late = dice.choice("AB"), dice.choice((0, 0, -1))
        first = dice.randint(1, 30) * 12
        times = [spring + lasting * place + HOUR * late for place in range(first, first + dice.randint(1, 30))]
        fits = True
        for mine in set(times) - stored[symbol]:
            others = [max((time for time in stored[symbol] if time < mine), default=None)]
            others.append(min((time for time in stored[symbol] if time > mine), default=None))
            near = [time for time in others if time is not None]
            fits &= all(abs(mine - time) >= lasting for time in near)
            fits &= not late or all(follows(mine, time) for time in near)
        outcomes.append(fits)
        try:
            store.bars.ingest(at(times).with_columns(flat), symbol=symbol, timeframe="2h")
        except InvalidBars:
            assert not fits
        else:
            assert fits
            stored[symbol].update(times)
        assert opens(store, symbol, "2h") == sorted(stored[symbol])
    assert len(set(outcomes)) == 2
    for opened in stored.values():
        assert all(later - earlier >= lasting for earlier, later in itertools.pairwise(sorted(opened)))


def two(hours: int, late: timedelta, count: int, more: int = 0, start: datetime = MIDNIGHT) -> pl.DataFrame:
    """Bars of two sources in one frame: so many of a second one that begins later, and more of the first."""
    first = [start + hours * HOUR * number for number in range(count + more)]
    return at(first + [time + late for time in first[:count]])


@pytest.mark.parametrize(
    ("timeframe", "frame"),
    [
        ("4h", two(4, HOUR, 12)),
        ("4h", two(4, 3 * HOUR, 12, 3)),
        ("2h", two(2, HOUR, 12)),
        ("1h", two(1, HOUR / 2, 12)),
        ("1h", two(1, HOUR / 4, 12, 1)),
        ("4h", at([time for half in (every(4, 9), every(4, 9, MIDNIGHT + 49 * HOUR)) for time in half["timestamp"]])),
        ("4h", at([MIDNIGHT + 12 * HOUR * number + HOUR * (number % 2) for number in range(20)])),
        ("1d", at([MIDNIGHT + 24 * HOUR * day + hours * HOUR for day in range(4) for hours in (0, 5)])),
    ],
)
def test_two_grids_in_one_source_are_refused(
    store: walle.Store, tmp_path: Path, timeframe: str, frame: pl.DataFrame
) -> None:
    frame.write_csv(tmp_path / "x.csv")
    both = pl.concat([frame.with_columns(symbol=pl.lit(symbol)) for symbol in "AB"])
    records = [walle.Bar(symbol="A", timeframe="4h", **row) for row in frame.iter_rows(named=True)]
    sources: list[tuple[object, dict[str, str]]] = [(frame, {"symbol": "A"}), (tmp_path / "x.csv", {"symbol": "A"})]
    sources += [(both, {}), (frame, {"symbol": "A", "calendar": "24/5"})]
    for source, given in sources:
        with pytest.raises(
            InputError, match=r"would both be|midnight|the bar of \.\.\. (has ended|opens)|grid than the"
        ):
            store.bars.ingest(source, timeframe=timeframe, **given)  # type: ignore[arg-type]  # mypy takes any keyword
    if timeframe == "4h":
        with pytest.raises(InvalidBars):
            store.bars.ingest(records)
    assert store.bars.series().is_empty()


def test_the_grid_of_most_bars_is_kept_and_the_others_name_it(store: walle.Store) -> None:
    frame = two(4, HOUR, 8, 3)
    with pytest.raises(InvalidBars, match=r"8 of 19 rows .*before the bar of \.\.\. has ended; a series has one grid"):
        store.bars.ingest(frame, symbol="A", timeframe="4h")
    report = store.bars.ingest(frame, symbol="A", timeframe="4h", on_invalid="quarantine")
    assert (report.inserted, report.rejected_rows["row"].to_list()) == (11, list(range(11, 19)))
    refused = report.rejected_rows.select("timestamp", "reason").row(1)
    assert refused[0] == MIDNIGHT + 5 * HOUR
    assert refused[1].startswith("it opens before the bar of 2025-01-06 04:00 UTC has ended; a series has one grid")
    assert opens(store) == every(4, 11)["timestamp"].to_list()
    early = at([*every(4, 6)["timestamp"], MIDNIGHT - HOUR])
    with pytest.raises(InvalidBars, match=r"1 of 7 rows .*the bar of \.\.\. opens before it has ended"):
        store.bars.ingest(early, symbol="B", timeframe="4h")
    apart = at([*every(4, 6)["timestamp"], *every(4, 3, MIDNIGHT + 73 * HOUR)["timestamp"]])
    report = store.bars.ingest(apart, symbol="B", timeframe="4h", on_invalid="quarantine")
    assert (report.inserted, report.rejected_rows["row"].to_list()) == (6, [6, 7, 8])
    assert "another grid than the bar of 2025-01-06 20:00 UTC" in report.rejected_rows["reason"][0]


@pytest.mark.parametrize("frame", [two(4, HOUR, 12), two(4, 2 * HOUR, 10, 2), every(1, 12)])
def test_without_a_grid_of_most_bars_quarantine_raises(store: walle.Store, frame: pl.DataFrame) -> None:
    with pytest.raises(InvalidBars, match=r"before the bar of \.\.\. has ended"):
        store.bars.ingest(frame, symbol="A", timeframe="4h", on_invalid="quarantine")
    assert store.bars.series().is_empty()


def test_a_calendar_tells_which_grid_is_right(store: walle.Store) -> None:
    days = [datetime(2025, 1, day, tzinfo=UTC) for day in (6, 7, 8, 9)]
    tokyo = [day + hours * HOUR for day in days for hours in (0, 2, 3.5, 5.5)]
    frame = at([*tokyo, days[1] + HOUR, days[2] + 4.5 * HOUR])
    report = store.bars.ingest(frame, symbol="7203", timeframe="2h", calendar="XTKS", on_invalid="quarantine")
    assert (report.inserted, report.rejected_rows["row"].to_list()) == (16, [16, 17])
    assert opens(store, "7203", "2h") == tokyo


def test_a_half_day_and_a_change_of_clocks_leave_one_grid(store: walle.Store) -> None:
    market = walle.calendars.calendar("XNYS")  # 2024-11-29 closes at 18:00 UTC, and the clocks change on 2025-03-09
    for timeframe in ("30m", "1h", "2h", "4h"):
        whole = market.grid(timeframe, "2024-11-25", "2025-04-01").to_list()
        assert store.bars.ingest(at(whole), symbol="ACME", timeframe=timeframe, calendar="XNYS").inserted == len(whole)
    clock = [time for time in market.grid("30m", "2025-03-03", "2025-03-22").to_list() if time.minute == 0]
    opening = [time.replace(minute=30) - HOUR for time in clock if time.hour == (15 if time.day < 9 else 14)]
    short = at(sorted(clock + opening))
    assert store.bars.ingest(short, symbol="SHORT", timeframe="1h", calendar="XNYS").inserted == short.height
    for zone in ("America/New_York", "Europe/London", "Australia/Sydney"):
        there = datetime(2025, 1, 6, 9, tzinfo=ZoneInfo(zone))
        days = [there + timedelta(days=day) for day in range(300) if (there + timedelta(days=day)).weekday() < 5]
        local = [(day + timedelta(hours=4 * number)).astimezone(UTC) for day in days for number in range(3)]
        assert store.bars.ingest(at(local), symbol=zone, timeframe="4h").inserted == len(local)


def test_an_hour_off_in_a_later_page_is_another_grid(
    store: walle.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_source, "READ_ROWS", 12)
    both = pl.concat([every(4, 12), every(4, 12, MIDNIGHT + 97 * HOUR)])
    both.write_csv(tmp_path / "x.csv")
    with pytest.raises(InvalidBars, match=r"x\.csv: .*another grid than the bar of"):
        store.bars.ingest(tmp_path / "x.csv", symbol="A", timeframe="4h")
    assert store.bars.series().is_empty()


def test_a_hint_names_no_calendar_that_the_bars_contradict(store: walle.Store) -> None:
    def hint(start: datetime, step: timedelta = HOUR, count: int = 100) -> str:
        times = [start + step * number for number in range(count)]
        times[50:] = [time + timedelta(minutes=7) for time in times[50:]]
        with pytest.raises(InvalidBars) as caught:
            store.bars.ingest(at(times), symbol="A", timeframe="1h")
        return str(caught.value)

    assert "set_calendar(symbol, ...)" in hint(MIDNIGHT)  # it reaches over no weekend, but all hours are there
    assert "set_calendar" not in hint(MIDNIGHT + timedelta(days=3))
    assert "set_calendar(symbol, 'XNYS')" in hint(MIDNIGHT + 15.5 * HOUR, 168 * HOUR)
    assert "set_calendar(symbol, 'XTKS')" in hint(MIDNIGHT + HOUR, 168 * HOUR)


def test_accepted_conflicts_bring_no_second_grid_back(store: walle.Store) -> None:
    day = timedelta(days=1)
    old, series = every(4, 6), dict[str, Any](symbol="A", timeframe="4h")
    store.bars.ingest(old, **series)
    store.bars.ingest(old.with_columns(volume=7.0), **series)
    conflicts = store.bars.conflicts()
    store.bars.withdraw("A", "4h", MIDNIGHT, MIDNIGHT + day, "another feed")
    late = every(4, 3, MIDNIGHT + 9 * HOUR)
    assert store.bars.ingest(late, **series).inserted == 3
    with pytest.raises(InvalidBars, match=r"4 of 6 rows .*a series has one grid") as caught:
        store.bars.accept(conflicts, "restated")
    assert caught.value.rejected_rows["timestamp"].to_list() == old["timestamp"].to_list()[2:]
    assert opens(store) == late["timestamp"].to_list()
    assert store.bars.versions("A", "4h")["version"].max() == 2
    assert store.bars.accept(conflicts.head(2), "restated") == 2
    assert opens(store) == old["timestamp"].to_list()[:2] + late["timestamp"].to_list()
    assert store.bars.series()["bars"].item() == 5
    store.bars.withdraw("A", "4h", MIDNIGHT, MIDNIGHT + day, "neither")
    store.bars.ingest(late.with_columns(volume=7.0), **series)
    both = store.bars.conflicts().filter(pl.col("volume") == 7.0)
    with pytest.raises(InvalidBars, match="has ended"):
        store.bars.accept(both, "restated")  # two grids at once
    assert store.bars.accept(both.filter(pl.col("timestamp").is_in(late["timestamp"].implode())), "restated") == 3
    assert opens(store) == late["timestamp"].to_list()


def test_accepted_conflicts_of_bars_that_hold_need_no_room(store: walle.Store) -> None:
    store.bars.ingest(every(4, 6), symbol="A", timeframe="4h")
    store.bars.ingest(every(4, 6).with_columns(volume=7.0), symbol="A", timeframe="4h")
    assert store.bars.accept(store.bars.conflicts(), "restated") == 6
    assert store.bars.read("A", "4h")["volume"].unique().to_list() == [7.0]
    assert store.bars.series()["bars"].item() == 6
