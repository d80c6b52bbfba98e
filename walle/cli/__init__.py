"""The `walle` command: one file for each group of its subcommands.

| command | what it does |
|---|---|
| `walle demo` | builds a store from synthetic sample data and shows what it contains |
| `walle status`, `walle upgrade` | reports the state of a store; brings its tables to the current revision |
| `walle ingest` | stores files of bars: CSV, Parquet, Feather and JSON, compressed or not |
| `walle coverage`, `walle gaps` | reports how complete each series is; lists the bars that are missing in one |
| `walle calendar`, `walle explain` | stores when the market of a symbol is open; records why bars are missing |
| `walle audit`, `walle acknowledge` | compares fills with their orders, the bars and time; answers what it finds |
| `walle events` | follows events, and looks after their consumers |

```sh
walle ingest 'data/*.feather' --url research.db --provider binance
walle coverage research.db --calendar XNYS
walle gaps BTC/USD 1m research.db
walle calendar set ACME XNYS research.db
walle explain BTC/USD 2025-11-27T16:40 2025-11-27T17:15 research.db --reason maintenance
walle audit research.db --run sma-1  # --json for a program
walle acknowledge outside_bar:fill:f-1 research.db --reason 'the feed was late'
walle events tail research.db --follow --types 'orders.*'  # --give-up-after 60: end after an outage of 60 seconds
walle events consumers research.db
walle events reset printer research.db --to -1 --reason 'print it all again' --yes
walle status research.db --deep
```

Every command takes the address of the database as an argument, or from `WALLE_DATABASE_URL`, which keeps a password out
of the shell's history. `walle COMMAND --help` lists the options.

The exit code is 0 for success, 1 when the database or the data refused (for `walle audit`, when there is an unanswered
finding of severity error; for `walle status --deep`, when anything is wrong), 2 when the command was given wrongly, and
130 after Ctrl-C.
"""

__all__: list[str] = []  # a command has no names to import
