"""Versions of bars against a dict of versions: every policy, corrections, withdrawals, and reads as of every moment."""

from __future__ import annotations

import itertools
import time
import warnings
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import walle

MINUTE = timedelta(minutes=1)
PAST = datetime(2025, 3, 1, tzinfo=UTC)
PLACES = range(8)
"""Opening times: the first five are of the past, the last three of a day that has not ended."""

Rows = list[tuple[int, int]]
rows = st.lists(st.tuples(st.sampled_from(PLACES), st.integers(1, 3)), min_size=1, max_size=6)
past_rows = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), min_size=1, max_size=6)


@dataclass(frozen=True)
class Version:
    value: int | None
    provisional: bool
    moment: int
    reason: str | None = None


@dataclass
class Model:
    """What is stored: of each place its versions, and the moments at which each came."""

    bars: dict[int, list[Version]] = field(default_factory=dict)
    conflicts: set[tuple[int, int]] = field(default_factory=set)
    moment: int = 0

    def ingest(self, given: Rows, reason: str | None, unfinished: bool) -> dict[str, int]:
        """Take the rows in their order; return what became of them."""
        counts = dict.fromkeys(("inserted", "duplicates", "corrected", "conflicts"), 0)
        before = {place: versions[-1].provisional for place, versions in self.bars.items()}
        self.moment += 1
        for place, value in given:
            early = unfinished and place >= 5
            versions = self.bars.setdefault(place, [])
            new = Version(value, early, self.moment)
            if not versions:
                versions.append(new)
                counts["inserted"] += 1
                continue
            same = versions[-1].value == value
            if before.pop(place, False):
                if same and early:
                    counts["duplicates"] += 1
                    continue
                versions.append(new)
                counts["corrected"] += 1
            elif same:
                counts["duplicates"] += 1
            elif reason is not None:
                versions.append(replace(new, reason=reason))
                counts["corrected"] += 1
            else:
                counts["conflicts"] += 1
                self.conflicts.add((place, value))
        return counts

    def known(self, moment: int) -> dict[int, int]:
        """Return the value of each bar that was known then."""
        found = {}
        for place, versions in self.bars.items():
            by_then = [version.value for version in versions if version.moment <= moment]
            if by_then and by_then[-1] is not None:
                found[place] = by_then[-1]
        return found


class Versions(RuleBasedStateMachine):
    store: walle.Store
    numbers = itertools.count()

    @initialize()
    def begin(self) -> None:
        self.symbol = f"S{next(self.numbers)}"
        self.future = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(hours=1)
        self.model = Model()
        self.moments: list[tuple[int, str, datetime]] = []
        self.mark()

    def mark(self) -> None:
        """Remember this moment as a token and as a time."""
        time.sleep(0.003)  # the databases' clocks count milliseconds
        self.moments.append((self.model.moment, self.store.bars.now(), datetime.now(UTC)))
        time.sleep(0.003)

    def time_of(self, place: int) -> datetime:
        return PAST + place * MINUTE if place < 5 else self.future + place * MINUTE

    def frame(self, given: Rows) -> pl.DataFrame:
        values = [float(value) for _, value in given]
        times = pl.Series("timestamp", [self.time_of(place) for place, _ in given], pl.Datetime("us", "UTC"))
        return pl.DataFrame([times, *(pl.Series(name, values) for name in ("open", "high", "low", "close", "volume"))])

    def take(self, given: Rows, **options: Any) -> walle.IngestReport:
        return self.store.bars.ingest(self.frame(given), symbol=self.symbol, timeframe="1m", **options)

    def check(self, report: walle.IngestReport, counts: dict[str, int]) -> None:
        assert {name: getattr(report, name) for name in counts} == counts
        self.mark()

    # a source of bars that have ended, by the source's clock, or have not

    @rule(given=rows)
    def keep(self, given: Rows) -> None:
        report = self.take(given, clock_skew=timedelta(days=1))
        self.check(report, self.model.ingest(given, None, unfinished=False))

    @rule(given=rows)
    def correct(self, given: Rows) -> None:
        report = self.take(given, on_conflict="correct", reason="restated", clock_skew=timedelta(days=1))
        self.check(report, self.model.ingest(given, "restated", unfinished=False))

    @rule(given=rows)
    def keep_unfinished(self, given: Rows) -> None:
        report = self.take(given, unfinished="keep")
        self.check(report, self.model.ingest(given, None, unfinished=True))

    @rule(given=rows)
    def correct_unfinished(self, given: Rows) -> None:
        report = self.take(given, unfinished="keep", on_conflict="correct", reason="restated")
        self.check(report, self.model.ingest(given, "restated", unfinished=True))

    @rule(given=rows)
    def drop_unfinished(self, given: Rows) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", walle.UnfinishedBarsWarning)
            report = self.take(given)
        whole = [row for row in given if row[0] < 5]
        assert report.unfinished == len(given) - len(whole)
        self.check(report, self.model.ingest(whole, None, unfinished=False))

    @rule(given=rows)
    def refuse_unfinished(self, given: Rows) -> None:
        if any(place >= 5 for place, _ in given):
            with pytest.raises(walle.UnfinishedBars):
                self.take(given, unfinished="raise")

    @rule(given=past_rows)
    def refuse_conflicts(self, given: Rows) -> None:
        trial = Model({place: list(versions) for place, versions in self.model.bars.items()}, set(), self.model.moment)
        counts = trial.ingest(given, None, unfinished=False)
        if counts["conflicts"]:
            with pytest.raises(walle.ConflictingBars) as refused:
                self.take(given, on_conflict="raise")
            assert refused.value.conflict_rows.height == counts["conflicts"]
        else:
            self.check(self.take(given, on_conflict="raise"), self.model.ingest(given, None, unfinished=False))

    # what comes after an ingest

    @precondition(lambda self: self.model.conflicts)
    @rule(data=st.data())
    def accept(self, data: st.DataObject) -> None:
        place, value = data.draw(st.sampled_from(sorted(self.model.conflicts)))
        moment = self.time_of(place)
        stored = self.store.bars.conflicts(self.symbol).filter(
            pl.col("timestamp") == moment, pl.col("close") == float(value)
        )
        assert stored.height == 1
        versions = self.model.bars[place]
        differs = versions[-1].value != value
        assert self.store.bars.accept(stored, "accepted") == int(differs)
        if differs:
            self.model.moment += 1
            versions.append(Version(value, False, self.model.moment, "accepted"))
        self.mark()

    @precondition(lambda self: self.model.bars)
    @rule(first=st.sampled_from(PLACES), count=st.integers(1, 3))
    def withdraw(self, first: int, count: int) -> None:
        last = min(first + count, 5) if first < 5 else first + count
        there = [place for place in self.model.known(self.model.moment) if first <= place < last]
        ends = self.time_of(first), self.time_of(last - 1) + MINUTE
        if not there:
            with pytest.raises(walle.InputError, match="none to withdraw"):
                self.store.bars.withdraw(self.symbol, "1m", *ends, "a bad tick")
            return
        assert self.store.bars.withdraw(self.symbol, "1m", *ends, "a bad tick") == len(there)
        self.model.moment += 1
        for place in there:
            self.model.bars[place].append(Version(None, False, self.model.moment, "a bad tick"))
        self.mark()

    # what is read

    def read(self, **options: Any) -> dict[int, int]:
        frame = self.store.bars.read(self.symbol, "1m", **options)
        assert frame["timestamp"].is_sorted()
        places = {self.time_of(place): place for place in PLACES}
        return {places[moment]: int(close) for moment, close in frame.select("timestamp", "close").iter_rows()}

    @precondition(lambda self: self.model.bars)
    @invariant()
    def holds_the_newest(self) -> None:
        wanted, bars = self.model.known(self.model.moment), self.store.bars
        assert self.read() == wanted
        assert bars.count(self.symbol, "1m") == len(wanted)
        assert bars.scan(self.symbol, "1m").select(pl.len()).collect().item() == len(wanted)
        if wanted:
            assert bars.latest(self.symbol, "1m").close == wanted[max(wanted)]
            assert bars.coverage(self.symbol)["bars"].item() == len(wanted)
        stored = bars.versions(self.symbol, "1m")
        places = {self.time_of(place): place for place in PLACES}
        listed = [
            (places[moment], number, None if close is None else int(close), provisional, reason)
            for moment, number, close, provisional, reason in stored.select(
                "timestamp", "version", "close", "provisional", "reason"
            ).iter_rows()
        ]
        expected = [
            (place, number, version.value, version.provisional, version.reason)
            for place, versions in sorted(self.model.bars.items())
            for number, version in enumerate(versions, 1)
        ]
        ours = {"restated", "accepted", "a bad tick"}
        assert [(*row[:4], row[4] if row[4] in ours else None) for row in listed] == expected

    @precondition(lambda self: self.model.bars and self.moments)
    @rule(data=st.data())
    def knew(self, data: st.DataObject) -> None:
        moment, token, instant = data.draw(st.sampled_from(self.moments))
        wanted, bars = self.model.known(moment), self.store.bars
        assert self.read(as_of=token) == self.read(as_of=instant) == wanted
        assert bars.count(self.symbol, "1m", as_of=token) == len(wanted)
        assert bars.scan(self.symbol, "1m", as_of=token).collect().height == len(wanted)
        counted = bars.coverage(self.symbol, as_of=token)
        assert counted["bars"].sum() == len(wanted)

    def teardown(self) -> None:
        if self.model.bars:
            for moment, token, instant in self.moments:
                assert self.read(as_of=token) == self.read(as_of=instant) == self.model.known(moment)


@pytest.mark.parametrize(
    "count", [3, pytest.param(5, marks=pytest.mark.thorough), pytest.param(200, marks=pytest.mark.endurance)]
)
def test_every_read_is_that_of_a_dict_of_versions(store: walle.Store, count: int) -> None:
    class Machine(Versions):
        pass

    Machine.store = store
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=count,
            stateful_step_count=15,
            deadline=None,
            derandomize=True,
            database=None,
            print_blob=False,
            phases=[Phase.generate],  # a failure is short enough, and shrinking it would take minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
