"""The event log: an outbox that any number of consumers read without missing an event.

What an engine announces is stored in the same transaction as the facts. `store.events` writes and reads it (see
`walle.store.Events`); `EventLog`, `Consumer` and `PullConsumer` are the async core. The same rules hold on SQLite, on
PostgreSQL and in memory.

```python
import polars as pl
import walle

store = walle.connect("research.db")
placed = walle.Event(type="orders.Placed", run_id="sma-1", payload={"order_id": "o-1", "qty": "0.5"})
filled = walle.Event(type="orders.Filled", payload={"order_id": "o-1"}).caused_by(placed)
offsets = store.events.append([placed, filled])

frame = store.events.read(types="orders.*", run_id="sma-1")  # one row per event, the envelope in columns
print(frame.select("type", order_id=pl.col("payload").str.json_path_match("$.order_id")))  # JSON, as text
for event in store.events.tail(after=-1, timeout=0):  # without the timeout it waits for further events
    print(event.offset, event.type, event.payload)

done = store.events.consume("printer", lambda event: print(event.id), types="orders.*", on_poison="park")
print(done, store.events.consumers().select("consumer_id", "state", "offset", "lag", "lag_seconds", "parked"))
print(store.events.reset_offset("printer", to=-1, reason="print it all again", preview=True))
store.close()
```

## Consumers

- **At least once.** A consumer handles each event at least once, in the order of offsets. After a crash the next start
  continues from the last commit. `follow=True` continues until Ctrl-C.
- **One at a time.** One process consumes under a name at a time. Every commit is a compare-and-set under the epoch of
  that claim, so a process that hung and comes back commits nothing (`walle.ConsumerBusy`, `walle.ConsumerFenced`).
- **Poison events.** A handler that fails `tries` times stops the consumer before that event. With `on_poison="park"`
  the consumer sets the event aside: `store.events.parked()` lists it with its error, and `store.events.replay(name)`
  handles it again.

## Order

PostgreSQL hands out ids before commit, so a reader that asks for "id > offset" loses events. WallE reads up to the
horizon: the id below which every transaction has ended. It derives the horizon from the locks that writers hold, never
from time. A writer that idles in its transaction holds back only what follows its own gap, and
`store.events.consumers()` names that writer (`held_by`).

## Searching

`store.events.search(where="order.side = buy", text="o-17")` starts at the newest event and looks into payloads. A page
returns within a moment even among millions of events and says how far it looked; `before=page.before` continues from
there. `store.events.lineage(offset)` returns what led to an event and what followed from it.
`walle.events.Mask.of(["password", "$.account.number"]).apply(frame)` hides values that nobody should see.

## Waiting

- **Wake-ups.** Readers poll ten times a second; on PostgreSQL, LISTEN/NOTIFY wakes them earlier. WallE notices a pooler
  such as PgBouncer, in session or transaction mode and configured as its package does it. Behind one, nothing needs a
  session, and consumers hold a lease that expires. If WallE does not notice a pooler, set
  `WALLE_DATABASE_TRANSACTION_POOLER=1`.
- **Outages.** `tail`, `subscribe` and `consume(follow=True)` wait for a database that is away, with growing pauses, log
  that they wait, and continue without a gap. `give_up_after=60` ends them after an outage of so many seconds. A fault
  that waiting does not mend, such as a wrong password, is raised at once, and so is a failure of the first look when
  they start with the next event.

## For an engine: the async core

`store.events` is a thin, synchronous face. An engine awaits the same names on the repositories, and may put several
writes into one transaction of its own:

```python
import asyncio
from datetime import UTC, datetime
from decimal import Decimal

from walle import Consumer, Database, Event, EventLog, Fill, FillRepository


async def handle(event: Event) -> None:
    print(event.offset, event.type)


async def engine(fill: Fill) -> None:
    database = Database("research.db")
    fills, log = FillRepository(database), EventLog(database)
    async with database.session() as session:
        await fills.append(fill, session=session)
        await log.append(Event(type="fills.Recorded", run_id="sma-1", payload={"fill_id": fill.id}), session=session)
        await session.commit()  # all, or nothing
    await Consumer(log, "sink", handle).run(follow=False)  # with follow=True: until consumer.stop()
    await database.close()


fill = Fill(
    id="f-1",
    order_id="o-1",
    run_id="sma-1",
    symbol="BTC/USD",
    side="buy",
    price=Decimal("91234.5"),
    quantity=Decimal("0.5"),
    filled_at=datetime(2025, 11, 20, 12, tzinfo=UTC),
)
asyncio.run(engine(fill))
```

A program with a loop of its own polls (`PullConsumer`), receives events through callbacks
(`number = await log.on(callback, types=types)`, `log.off(number)`), or keeps its own place (`OffsetStore`).
`tests/backend/adapter.py` gives all of this the names of the trading backend.

`notebooks/02_events.ipynb` is the tutorial.
"""

from walle.events.consumer import Consumer
from walle.events.log import EventLog
from walle.events.mask import Mask
from walle.events.offset_store import OffsetStore
from walle.events.pulling import PullConsumer
from walle.events.reset import ResetReport
from walle.events.search import EventPage

__all__ = ["Consumer", "EventLog", "EventPage", "Mask", "OffsetStore", "PullConsumer", "ResetReport"]
