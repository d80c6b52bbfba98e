"""Widen the types: float64 bars, 64-bit keys, numerics and texts without a ceiling.

SQLite has had these types from the first; only PostgreSQL changes.

Revision ID: e6a1c0d2f4b8
Revises: d4e5f6a7b8c9
"""

from collections.abc import Iterator

from alembic import op

from walle.migrate import refuse_loss

revision = "e6a1c0d2f4b8"
down_revision = "d4e5f6a7b8c9"
branch_labels = None
depends_on = None

PRICES = ("open", "high", "low", "close", "volume")
MONEY = {
    "veda_orders": ("qty", "limit_price", "stop_price", "filled_qty", "filled_avg_price"),
    "fills": ("price", "quantity"),
}
TEXTS = {
    "outbox": {"type": 100},
    "consumer_offsets": {"consumer_id": 100},
    "veda_orders": {
        "id": 36,
        "client_order_id": 36,
        "exchange_order_id": 100,
        "run_id": 100,
        "symbol": 50,
        "side": 10,
        "order_type": 20,
        "time_in_force": 10,
        "status": 20,
        "reject_reason": 500,
        "error_code": 50,
    },
    "bars": {"symbol": 32, "timeframe": 8},
    "runs": {"id": 100, "strategy_id": 100, "mode": 20, "status": 20, "timeframe": 20, "error": 2000},
    "fills": {"id": 100, "order_id": 100, "side": 10, "exchange_fill_id": 100},
}
UNIQUE = {
    "consumer_offsets": ("consumer_id",),
    "veda_orders": ("id",),
    "bars": ("symbol", "timeframe", "timestamp"),
    "runs": ("id",),
    "fills": ("id",),
}


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    op.execute("SET LOCAL extra_float_digits = 1")  # with 0, a float8 would show 15 digits only
    # float8 -> text gives the shortest text that returns the same float: equal to the decimal, nothing is lost.
    # A direct cast float8 -> numeric would keep 15 digits and find losses where there are none.
    losses = [
        (
            f"digits of bars.{name} beyond float64",
            f"SELECT symbol || ' ' || timeframe || ' ' || timestamp || ' ' || {name} FROM bars "
            f"WHERE {name}::float8::text::numeric <> {name}",
        )
        for name in PRICES
    ]
    refuse_loss(
        op.get_bind(),
        losses,
        "allow-rounding",
        "To round them: walle upgrade --allow-rounding, or alembic -x allow-rounding=yes upgrade head",
    )
    changes = [f"ALTER COLUMN {name} TYPE double precision" for name in PRICES]
    op.execute(f"ALTER TABLE bars {', '.join(changes)}")
    for table in ("bars", "outbox"):
        op.execute(f"ALTER TABLE {table} ALTER COLUMN id TYPE bigint")
        op.execute(f"ALTER SEQUENCE {table}_id_seq AS bigint")
    for table, columns in MONEY.items():
        op.execute(f"ALTER TABLE {table} {', '.join(f'ALTER COLUMN {name} TYPE numeric' for name in columns)}")
    for table, texts in TEXTS.items():
        op.execute(f"ALTER TABLE {table} {', '.join(f'ALTER COLUMN {name} TYPE text' for name in texts)}")
    # the backend made it at first, and drops it later: idx_fills_order_filled begins with the same column
    op.execute("DROP INDEX IF EXISTS ix_fills_order_id")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    op.execute("SET LOCAL extra_float_digits = 1")
    refuse_loss(op.get_bind(), [*_impossible()], None, "Nothing can cut that to fit: stay at this revision.")
    losses = [
        (
            f"digits of {table}.{name}",
            f"SELECT {row} || ' ' || {name} FROM {table} WHERE round({exact}, 8) <> {exact}",
        )
        for table, name, exact, row in _numbers()
    ]
    for table, texts in TEXTS.items():
        losses += [
            (
                f"characters of {table}.{name}",
                f"SELECT left({name}, 60) FROM {table} WHERE length({name}) > {length}",
            )
            for name, length in texts.items()
        ]
    refuse_loss(
        op.get_bind(),
        losses,
        "discard",
        "Digits and characters can be cut off with: alembic -x discard=yes downgrade d4e5f6a7b8c9",
    )
    for table, texts in TEXTS.items():
        changes = [
            f"ALTER COLUMN {name} TYPE varchar({size}) USING left({name}, {size})" for name, size in texts.items()
        ]
        op.execute(f"ALTER TABLE {table} {', '.join(changes)}")
    for table, columns in MONEY.items():
        op.execute(f"ALTER TABLE {table} {', '.join(f'ALTER COLUMN {name} TYPE numeric(18, 8)' for name in columns)}")
    for table in ("bars", "outbox"):
        op.execute(f"ALTER TABLE {table} ALTER COLUMN id TYPE integer")
        op.execute(f"ALTER SEQUENCE {table}_id_seq AS integer")
    changes = [f"ALTER COLUMN {name} TYPE numeric(18, 8) USING {name}::text::numeric" for name in PRICES]
    op.execute(f"ALTER TABLE bars {', '.join(changes)}")


def _numbers() -> Iterator[tuple[str, str, str, str]]:
    """Yield of each column that becomes numeric(18, 8): table, column, its exact value, what names its row."""
    for name in PRICES:
        yield "bars", name, f"{name}::text::numeric", "symbol || ' ' || timeframe || ' ' || timestamp"
    for table, columns in MONEY.items():
        for name in columns:
            yield table, name, name, "id"


def _impossible() -> Iterator[tuple[str, str]]:
    for table, name, exact, row in _numbers():
        # ten integer digits fit, and NaN, which PostgreSQL sorts above infinity
        beyond = f"round(abs({exact}), 8) BETWEEN 10000000000 AND 'Infinity'"
        yield f"integer digits of {table}.{name}", f"SELECT {row} || ' ' || {name} FROM {table} WHERE {beyond}"
    for table in ("bars", "outbox"):
        yield f"ids of {table}", f"SELECT id::text FROM {table} WHERE id > 2147483647"
    for table, key in UNIQUE.items():
        cut = [f"left({name}, {TEXTS[table][name]})" if name in TEXTS[table] else name for name in key]
        query = f"SELECT {cut[0]} FROM {table} GROUP BY {', '.join(cut)} HAVING count(*) > 1"
        yield f"different {table}.{key[0]} that would become the same", query
