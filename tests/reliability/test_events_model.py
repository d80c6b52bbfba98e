"""The horizon alone, against a model of a server: no id that a reader has passed appears later."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reliability.processes import sizes
from walle.events.horizon import Horizon


class Plain(Horizon):
    """Goes by ``id > offset``."""

    def look(self, highest: int, holders: Iterable[str]) -> int:
        return self.advance(highest)


class Disowning(Horizon):
    """Takes a prepared transaction under its new name for a newcomer."""

    def look(self, highest: int, holders: Iterable[str]) -> int:
        return super().look(highest, [f"prepared {holder}" for holder in holders])


class Mistaking(Horizon):
    """Lets a prepared transaction inherit only from names that are gone; after a restart another may have its name."""

    def look(self, highest: int, holders: Iterable[str]) -> int:
        present, fresh = set(holders), self._highest or 0
        inherited = min([fresh, *(floor for holder, floor in self._floors.items() if holder not in present)])
        self._floors = {
            holder: self._floors.get(holder, inherited if holder.startswith("-1/") else fresh) for holder in present
        }
        self._highest = max(highest, fresh)
        return self.advance(min([highest, *self._floors.values()]))


class Trusting(Horizon):
    """Takes newcomers to have nothing below what is visible now."""

    def look(self, highest: int, holders: Iterable[str]) -> int:
        self._floors = {holder: self._floors.get(holder, highest) for holder in holders}
        return self.advance(min([highest, *self._floors.values()]))


class Forgetful(Horizon):
    """Takes every holder for a newcomer at each look."""

    def look(self, highest: int, holders: Iterable[str]) -> int:
        return super().look(highest, [f"{highest} {holder}" for holder in holders])


# the horizon alone


class Session:
    """What one backend does in its transaction: the lock comes before ids, and visible rows before its end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ids: list[int] = []
        self.locks = False
        self.ending = False


class Simulation:
    """A server as the horizon sees it; every method is one step that cannot be divided.

    Parameters
    ----------
    horizon : Horizon
    renames : bool
        Whether PREPARE gives a transaction another name at once, as servers before PostgreSQL 14 do.
    late : bool
        Whether a look sees the locks first and the rows later, which it must not.
    """

    def __init__(self, horizon: Horizon, *, renames: bool = False, late: bool = False) -> None:
        self.horizon = horizon
        self.renames, self.late = renames, late
        self.sequence = 0
        self.visible: set[int] = set()
        self.sessions: dict[int, Session] = {}
        self.prepared: list[Session] = []
        self.numbers: dict[int, int] = {}
        self.transactions = itertools.count(700)
        self.snapshot: int | None = None
        self.seen: list[str] = []

    def session(self, who: int) -> Session:
        if who not in self.sessions:
            self.numbers[who] = self.numbers.get(who, 0) + 1
            self.sessions[who] = Session(f"{who + 3}/{self.numbers[who]}")
        return self.sessions[who]

    def lock(self, who: int) -> None:
        if not self.session(who).ending:
            self.session(who).locks = True

    def take(self, who: int) -> None:
        """Take an id; an INSERT has its lock by then."""
        session = self.session(who)
        if session.locks and not session.ending:
            self.sequence += 1
            session.ids.append(self.sequence)

    def append(self, who: int) -> None:
        self.lock(who)
        self.take(who)

    def undo(self, who: int) -> None:
        """Roll back to a savepoint before everything; that gives the lock back."""
        if not self.session(who).ending:
            self.session(who).ids, self.session(who).locks = [], False

    def commit(self, who: int) -> None:
        """Become visible; the lock is let go a moment later, and meanwhile the transaction has no number."""
        session = self.session(who)
        if not session.ending:
            self._publish(session)
            session.ending, session.name = True, f"{who + 3}/0"

    def release(self, who: int) -> None:
        if self.session(who).ending:
            del self.sessions[who]

    def roll_back(self, who: int) -> None:
        if not self.session(who).ending:
            del self.sessions[who]

    def prepare(self, who: int) -> None:
        session = self.session(who)
        if session.ids and not session.ending:
            self.prepared.append(self.sessions.pop(who))
            if self.renames:
                session.name = f"-1/{next(self.transactions)}"

    def end_prepared(self, who: int) -> None:
        if self.prepared:
            session = self.prepared.pop(who % len(self.prepared))
            if who % 2 == 0:
                self._publish(session)

    def restart(self, who: int) -> None:
        """Keep what was prepared, under another name; the numbers of sessions begin again."""
        del who
        self.sessions, self.numbers, self.snapshot = {}, {}, None
        for session in self.prepared:
            if not session.name.startswith("-1/"):
                session.name = f"-1/{next(self.transactions)}"

    def look(self, who: int) -> None:
        """Begin a look, or end it."""
        del who
        if self.snapshot is None:
            self.snapshot, self.seen = self._highest(), self._holders()
            return
        highest, holders = (self._highest(), self.seen) if self.late else (self.snapshot, self._holders())
        settled = self.horizon.look(highest, holders)
        assert settled <= max(self._highest(), self.horizon.settled)
        assert holders or settled >= highest, "nobody writes, and yet something is held back"
        self.snapshot = None

    def _highest(self) -> int:
        return max(self.visible, default=0)

    def _holders(self) -> list[str]:
        return [session.name for session in (*self.sessions.values(), *self.prepared) if session.locks]

    def _publish(self, session: Session) -> None:
        assert all(place > self.horizon.settled for place in session.ids), "a reader has passed what now appears"
        self.visible |= set(session.ids)


STEPS = {"append": 6, "lock": 1, "look": 8, "commit": 3, "release": 6, "roll_back": 1, "undo": 1}
PREPARED = {"prepare": 1, "end_prepared": 1}


def walk(simulation: Simulation, chance: random.Random, steps: dict[str, int]) -> None:
    """Take random steps, and end everything at last; two looks later nothing may be held back."""
    for step in chance.choices(list(steps), list(steps.values()), k=60):
        getattr(simulation, step)(chance.randrange(3))
    while simulation.prepared:
        simulation.end_prepared(0)
    simulation.sessions, simulation.snapshot = {}, None
    for _ in range(2):
        simulation.look(0)
    assert simulation.horizon.settled >= max(simulation.visible, default=0)


@pytest.mark.parametrize("renames", [False, True], ids=["name kept", "name changed"])
@sizes("examples", always=[2_000], full=[50_000])
def test_no_id_at_or_below_the_horizon_appears_later(renames: bool, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(st.integers(0, 2**64).map(random.Random))
    def check(chance: random.Random) -> None:
        walk(Simulation(Horizon(), renames=renames), chance, STEPS | PREPARED)

    check()


@pytest.mark.parametrize("mutant", [Plain, Trusting, Forgetful, Disowning])
def test_the_model_of_the_horizon_catches_each_wrong_one(mutant: type[Horizon]) -> None:
    with pytest.raises(AssertionError, match="a reader has passed what now appears"):
        for seed in range(2_000):
            walk(Simulation(mutant(), renames=True), random.Random(seed), STEPS | PREPARED)


def test_the_model_of_the_horizon_catches_a_look_that_sees_the_locks_before_the_rows() -> None:
    with pytest.raises(AssertionError, match="a reader has passed what now appears"):
        for seed in range(2_000):
            walk(Simulation(Horizon(), late=True), random.Random(seed), STEPS)


GAP_BEFORE_RESTART = (
    *(("look", 0), ("look", 0)),
    *(("lock", 0), ("take", 0), ("lock", 1), ("take", 1), ("commit", 1), ("release", 1)),
    *(("look", 0), ("look", 0), ("prepare", 0), ("restart", 0)),
)
LOOK_AND_COMMIT = (("look", 0), ("look", 0), ("end_prepared", 0))
NAMESAKE = (("lock", 0), ("look", 0), ("look", 0), ("roll_back", 0))


@pytest.mark.parametrize("between", [(), NAMESAKE], ids=["nobody", "a namesake"])
def test_a_prepared_transaction_is_known_again_after_a_restart(between: tuple[tuple[str, int], ...]) -> None:
    simulation = Simulation(Horizon())
    for step, who in (*GAP_BEFORE_RESTART, *between, *LOOK_AND_COMMIT):
        getattr(simulation, step)(who)
    assert simulation.visible == {1, 2}


@pytest.mark.parametrize(("wrong", "between"), [(Disowning, ()), (Mistaking, NAMESAKE)])
def test_the_model_of_a_restart_catches_a_horizon_that_takes_it_for_a_newcomer(
    wrong: type[Horizon], between: tuple[tuple[str, int], ...]
) -> None:
    simulation = Simulation(wrong())
    with pytest.raises(AssertionError, match="a reader has passed what now appears"):
        for step, who in (*GAP_BEFORE_RESTART, *between, *LOOK_AND_COMMIT):
            getattr(simulation, step)(who)
