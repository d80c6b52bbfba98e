"""What somebody who asks wrongly is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import walle
from tests.samples import fill, run
from walle.errors import InputError

_NEAR = "no fill of run 'run-1' is of 'BTC/USDT'; did you mean 'BTC/USD'"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda store: store.fills.trades("run-1", symbol="BTC/USDT"), _NEAR),
        (lambda store: store.fills.trades(symbol="X"), "no fill is of 'X'; there are fills of: BTC/USD"),
        (lambda store: store.runs.equity("run-1", symbol="BTC/USDT"), _NEAR),
        (lambda store: store.runs.metrics("run-1", symbol="BTC/USDT"), _NEAR),
        (lambda store: store.runs.metrics("run-1", risk_free="4%"), "risk_free='4%' is no rate of a year"),
        (lambda store: store.runs.metrics("run-1", risk_free=float("nan")), "risk_free=nan is no rate"),
        (lambda _: walle.widgets.CoverageView("a.db"), r"CoverageView shows a store, not 'a\.db'; open it"),  # type: ignore[arg-type]
        (lambda _: walle.widgets.OutboxView("a.db"), r"OutboxView shows a store, not 'a\.db'; open it"),  # type: ignore[arg-type]
        (lambda _: walle.widgets.RunView("a.db", "run-1"), r"RunView shows a store, not 'a\.db'; open it"),  # type: ignore[arg-type]
        (lambda _: walle.widgets.Findings(None), "findings are a frame, not a NoneType"),  # type: ignore[arg-type]
    ],
)
def test_the_answer_says_what_to_do(store: walle.Store, ask: Callable[[Any], object], message: str) -> None:
    store.runs.save(run())
    store.fills.append(fill())
    with pytest.raises(InputError, match=message):
        ask(store)


def test_a_run_without_any_fill_has_none_of_a_symbol_either(store: walle.Store) -> None:
    store.runs.save(run())
    assert store.fills.trades("run-1", symbol="BTC/USD").is_empty()
    assert store.runs.equity("run-1", symbol="BTC/USD").is_empty()
    assert store.runs.metrics("run-1", symbol="BTC/USD").is_empty()
