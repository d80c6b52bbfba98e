"""A side that another program writes, such as short: nothing is reckoned from it as if it were a sale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import walle
from tests.raw import Raw
from tests.samples import bars, fill, order, run
from walle.errors import InputError

CALLS: dict[str, Callable[[walle.Store], Any]] = {
    "trades": lambda store: store.fills.trades("run-1"),
    "costs": lambda store: store.fills.costs("run-1"),
    "equity": lambda store: store.runs.equity("run-1", starting_cash=1000, timeframe="1m"),
    "metrics": lambda store: store.runs.metrics("run-1", starting_cash=1000, timeframe="1m"),
}


@pytest.mark.parametrize("what", CALLS)
@pytest.mark.parametrize("side", ["short", "SELL", ""])
def test_a_foreign_side_is_named_with_its_fill(what: str, side: str, address: str) -> None:
    with walle.connect(address) as store:
        store.runs.save(run())
        store.orders.save(order())
        store.fills.append(fill())
        store.bars.ingest(bars(9), symbol="BTC/USD", timeframe="1m")
        CALLS[what](store)
        Raw(address).run(
            "INSERT INTO fills (id, order_id, run_id, symbol, price, quantity, side, filled_at) SELECT "
            f"'odd', order_id, run_id, symbol, price, quantity, '{side}', filled_at FROM fills"
        )
        with pytest.raises(InputError) as caught:
            CALLS[what](store)
        for text in ("fill 'odd'", repr(side), "'buy' and 'sell'", "1 of 2 fills"):
            assert text in str(caught.value)
        assert dict(store.fills.read("run-1").select("id", "side").iter_rows()) == {"fill-1": "buy", "odd": side}
        assert store.fills.audit("run-1").height > 0


def test_shortfall_names_the_order(address: str) -> None:
    with walle.connect(address) as store:
        store.orders.save(order())
        Raw(address).run("UPDATE veda_orders SET side = 'short'")
        with pytest.raises(InputError, match="order 'order-1' has the side 'short'"):
            store.fills.shortfall("run-1")
