"""What the events of a log tell of orders and fills."""

from __future__ import annotations

import polars as pl

from walle.frames import DECIMAL, INSTANT

__all__ = ["ORDER_EVENTS", "order_events"]

ORDER_EVENTS = pl.Schema(
    {
        "offset": pl.Int64(),
        "type": pl.String(),
        "time": INSTANT,
        "run_id": pl.String(),
        **{name: pl.String() for name in ("order_id", "fill_id", "side")},
        **dict.fromkeys(("price", "quantity", "commission", "limit_price", "filled_qty"), DECIMAL),
    }
)
"""One row is one event about an order: its position in the log, its type, its time (its ``ts``, else the time when it
was stored) and its run; then the members of its payload with these names, null where it has none, or no such number."""

_MEMBERS = [name for name in ORDER_EVENTS if name not in ("offset", "type", "time", "run_id")]
_NUMBER = r"^-?\d{1,20}(\.\d{1,18}0*)?$"


def order_events(events: pl.DataFrame) -> pl.DataFrame:
    """Read what events tell of orders and fills.

    Parameters
    ----------
    events : polars.DataFrame
        offset, type, created_at, ts, run_id, payload; as in :data:`walle.frames.EVENTS`.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`ORDER_EVENTS`; the events that name an order, sorted by offset.
    """
    if events.is_empty():
        return pl.DataFrame(schema=ORDER_EVENTS)
    told = _members(events["payload"])
    numbers = [name for name, kind in ORDER_EVENTS.items() if kind == DECIMAL]
    exact = [pl.when(pl.col(name).str.contains(_NUMBER)).then(name).cast(DECIMAL).alias(name) for name in numbers]
    whole = events.select("offset", "type", "run_id", time=pl.coalesce("ts", "created_at")).hstack(told)
    return whole.with_columns(exact).drop_nulls("order_id").select(list(ORDER_EVENTS)).sort("offset")


def _members(payloads: pl.Series) -> pl.DataFrame:
    """Return the members of JSON objects as texts."""
    try:
        return payloads.str.json_decode(pl.Struct({name: pl.String() for name in _MEMBERS})).struct.unnest()
    except pl.exceptions.PolarsError:  # another program wrote what is no such object: one member at a time is lenient
        return pl.DataFrame([payloads.str.json_path_match(f"$.{name}").alias(name) for name in _MEMBERS])
