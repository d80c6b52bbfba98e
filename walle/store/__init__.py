"""The store: one synchronous object for a notebook or a script, over one SQLite file or a PostgreSQL database.

```python
import walle

with walle.connect("research.db") as store:  # a path, a URL, or nothing: WALLE_DATABASE_URL
    print(store.bars.series(), store.runs.read())
    print(store.status())
```

A `Store` has eight parts: `store.bars` (`Bars`), `store.orders` (`Orders`), `store.fills` (`Fills`), `store.cash`
(`Cash`), `store.actions` (`Actions`), `store.instruments` (`Instruments`), `store.runs` (`Runs`) and `store.events`
(`Events`). Their guides are `walle.bars`, `walle.fills`, `walle.instruments`, `walle.runs` and `walle.events`.
`walle.errors` draws the tree of the errors that they raise.

## Opening

- **SQLite.** A path or `sqlite:///research.db`. The file is created when it does not exist, and a line
  on standard error names it. Beside a store with a similar name, it is a `walle.NewStoreWarning`.
- **PostgreSQL.** `postgresql://user:password@host/name`, after `pip install "walle[postgres]"`.
- **In memory.** Without any address WallE runs in memory and `store.durable` is False. Events follow the same rules and
  disappear with the process. Everything else, restart recovery included, raises `walle.PersistenceUnavailable`, which
  says how to name a database.
- **Read-only.** `walle.connect(url, read_only=True)` lets the database itself refuse writes.
- **Revisions.** WallE never migrates behind your back. A store with an older schema raises `walle.SchemaOutdated`,
  which names the command to run. `migrations/README.md` describes the tables, the revisions and the upgrade.

## Environment

| variable | meaning |
|---|---|
| `WALLE_DATABASE_URL` | the address of the database, where none is given |
| `WALLE_DATABASE_POOL_SIZE` | connections that are kept open, 1 to 1000 |
| `WALLE_DATABASE_POOL_OVERFLOW` | further connections that may be opened for a moment, 0 to 1000 |
| `WALLE_DATABASE_ECHO` | log every statement |
| `WALLE_DATABASE_TRANSACTION_POOLER` | a transaction pooler that WallE does not notice stands in between |
| `WALLE_PROGRESS` | 1 or 0: whether slow calls show a progress bar, and new stores a line |

A call that takes longer than a second shows a progress bar in a terminal or a notebook. `progress=False` turns it off
for a call or, in `connect`, for a store.

## Checking a store

`store.status()`, or `walle status`, reports the revision of the tables and whether every guard of immutability is in
place. `store.status(deep=True)`, or `walle status --deep`, reads everything: it runs SQLite's integrity_check and
foreign_key_check, or PostgreSQL's amcheck where that is installed, then checks every value, and the index of the bars
against the bars. It lists what it has checked, and what it has not and why. The exit code of the command is 1 when
anything is wrong. The pages of SQLite have no checksums, so a price in which a bit has flipped looks like any other.

## A SQLite file

A file belongs to the stores that have it open. When it is replaced, removed or renamed under a store, the next call
raises `walle.FileReplaced` and says whether anything was lost; close that store and connect again.

- **Copies.** Make a copy with `VACUUM INTO` or sqlite3's `.backup`.
- **Putting a copy back.** Close every store of the file, remove what is left of its `-wal` and `-shm`, and only then
  move the copy to its place. Alternatively use sqlite3's `.restore`, which may run beside open stores.
- **Leftover logs.** A killed process leaves its `-wal`, and `connect` cannot tell whether that belongs to the file:
  left beside a copy, it is applied to the copy without a warning.
- **Overwritten files.** A copy written into the open file itself, as `cp` does, mixes with the `-wal`. WallE notices it
  only when the copy is smaller and its pages no longer fit together.
- **Names and disks.** Use one name of a file: symbolic links are followed, but hard links are not safe. Use a local
  disk, because the log does not work over a network.

## Processes and threads

A store works from any thread, and inside a running event loop. It does not work in a forked child
(`walle.StoreForked`): connect in each process, and start processes by multiprocessing's `forkserver` or `spawn`. In a
fork of a process that has worked with frames, Polars' threads are gone, so that frames can be neither read nor written.
"""

from walle.store.actions import Actions
from walle.store.bars import Bars
from walle.store.cash import Cash
from walle.store.core import Store, connect, upgrade
from walle.store.events import Events
from walle.store.fills import Fills
from walle.store.instruments import Instruments
from walle.store.orders import Orders
from walle.store.runs import Runs
from walle.store.status import StoreStatus
from walle.store.streams import Streams

__all__ = [
    "Actions",
    "Bars",
    "Cash",
    "Events",
    "Fills",
    "Instruments",
    "Orders",
    "Runs",
    "Store",
    "StoreStatus",
    "Streams",
    "connect",
    "upgrade",
]
