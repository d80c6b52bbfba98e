"""Which bars crowd others, found from spans, is what a plain comparison of all pairs finds."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from walle.bars.neighbours import CROWDED, crowded_by, crowded_within, off_phase
from walle.bars.phase import Phases
from walle.bars.spans import join_spans, spans_of
from walle.frames import BARS

BEGIN, LASTING = datetime(2025, 1, 1, tzinfo=UTC), timedelta(hours=4)


def spans(times: list[datetime], symbol: str = "A", timeframe: str = "4h") -> pl.DataFrame:
    columns = {"symbol": [symbol] * len(times), "timeframe": [timeframe] * len(times), "timestamp": times}
    return spans_of(pl.DataFrame(columns, schema={name: BARS[name] for name in columns}))


@pytest.mark.parametrize("seed", range(100))
def test_crowded_bars_are_those_of_a_plain_comparison(seed: int) -> None:
    dice, hours = random.Random(seed), [BEGIN + timedelta(hours=hour) for hour in range(60)]
    stored, new = (sorted(dice.sample(hours, dice.randint(0, 20))) for _ in range(2))
    wanted = []
    for mine in set(new) - set(stored):
        near = [max((time for time in stored if time < mine), default=None)]
        near.append(min((time for time in stored if time > mine), default=None))
        wanted += [(mine, time) for time in near if time is not None and abs(mine - time) < LASTING]
    found = crowded_by(pl.concat([spans(new), spans(new, "B")]), pl.concat([spans(stored), spans(hours, "C")]))
    assert found.schema == CROWDED
    assert found.select("timestamp", "neighbour").rows() == sorted(wanted)
    both = join_spans(pl.concat([spans(stored), spans(new)]))
    ordered = sorted({*stored, *new})
    close = [(later, one) for one, later in itertools.pairwise(ordered) if later - one < LASTING]
    assert crowded_within(both).select("timestamp", "neighbour").rows() == close


def test_months_and_unknown_timeframes_crowd_nothing() -> None:
    months = [datetime(2025, month, 1, tzinfo=UTC) for month in (1, 2, 3)]
    for timeframe in ("1M", "7x"):
        assert crowded_by(spans(months, timeframe=timeframe), spans([BEGIN], timeframe=timeframe)).is_empty()
        assert off_phase(spans(months, timeframe=timeframe), Phases()) == set()


@pytest.mark.parametrize("count", [1, 30])  # told one by one, and as a frame
def test_what_is_off_the_phase_is_told_by_series(count: int) -> None:
    hour = 3_600_000_000
    phases = Phases({("A", "4h"): 0, ("B", "4h"): hour})
    times = [BEGIN + 3 * LASTING * number for number in range(count)]
    days = [BEGIN + 2 * timedelta(days=number) for number in range(count)]
    given = pl.concat([spans(times), spans(times, "B"), spans(days, "C", "1d")])
    assert off_phase(given, phases) == {("B", "4h")}


def test_the_first_and_the_last_years_have_neighbours_too() -> None:
    for edge in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 20, tzinfo=UTC)):
        late = edge + timedelta(hours=1)
        assert crowded_by(spans([late]), spans([edge]))["neighbour"].to_list() == [edge]
