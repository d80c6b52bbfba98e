"""The facts about symbols that reckoning needs: what is stored, else what their text says."""

from __future__ import annotations

import polars as pl

from walle.currencies import fee_currency
from walle.exact import Exact
from walle.frames import DECIMAL, INSTANT

__all__ = ["FACTS", "facts_of", "own_fills", "said_by_symbols", "worth"]

FACTS = pl.Schema(
    {
        "symbol": pl.String(),
        "kind": pl.String(),
        "base": pl.String(),
        "quote": pl.String(),
        "settle": pl.String(),
        "multiplier": DECIMAL,
        "inverse": pl.Boolean(),
        "lot_size": DECIMAL,
        "expires_at": INSTANT,
        "from_fees": pl.Boolean(),
    }
)
"""One row is one symbol. ``settle`` is the currency of its profits and losses; ``multiplier`` is 1 where none is
stored; ``from_fees``: only its commissions say its currency. Null: unknown; never in symbol, multiplier, inverse and
from_fees."""

_STATES = (
    "AUD BRL CAD CHF CLP CNH CNY CZK DKK EUR GBP HKD HUF IDR ILS INR JPY KRW MXN MYR NOK NZD PHP PLN RON RUB SEK SGD "
    "THB TRY TWD USD VND ZAR"
)
STATES = frozenset(_STATES.split())
"""Currencies of states (ISO 4217). A fee in one of them is in the currency of the prices; one in BNB need not be."""

_FORM = r"^([^/:]+)/([^/:]+?)(?::([^-:/]+)(?:-(\d{6})(?:-([^-]+)-([CP]))?)?)?$"
_DERIVATIVES = ("future", "perpetual")


def said_by_symbols(symbols: pl.Series) -> pl.DataFrame:
    """Return what the texts of symbols say.

    Parameters
    ----------
    symbols : polars.Series
        String, without nulls.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`FACTS`; one row for each symbol, in their order.
    """
    named = ["base", "quote", "settle", "date", "strike", "right"]
    groups = symbols.alias("symbol").to_frame().with_columns(parts=pl.col("symbol").str.extract_groups(_FORM))
    parts = groups.with_columns(pl.col("parts").struct.rename_fields(named)).unnest("parts")
    slash = pl.col("symbol").str.extract(r"/([^/:]+)$")
    date = pl.col("date").str.to_datetime("%y%m%d", time_unit="us", time_zone="UTC", strict=False)
    kind = (
        pl.when(pl.col("base").is_null())
        .then(None)
        .when(pl.col("settle").is_null())
        .then(pl.lit("spot"))
        .when(pl.col("strike").is_not_null())
        .then(pl.lit("option"))
        .when(pl.col("date").is_not_null())
        .then(pl.lit("future"))
        .otherwise(pl.lit("perpetual"))
    )
    inverse = pl.col("settle").eq_missing(pl.col("base")) & pl.col("settle").is_not_null() & kind.is_in(_DERIVATIVES)
    return parts.with_columns(
        kind=kind,
        quote=pl.coalesce("quote", slash),
        settle=pl.coalesce("settle", "quote", slash),
        multiplier=pl.lit(1).cast(DECIMAL),
        inverse=inverse.fill_null(False),
        lot_size=pl.lit(None, DECIMAL),
        expires_at=date,
        from_fees=pl.lit(False),
    ).select(pl.col(name).cast(kind) for name, kind in FACTS.items())


def facts_of(fills: pl.DataFrame, stored: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return the facts about the symbols of some fills.

    A stored fact counts where it is valid at the last fill of its symbol. What neither it nor the symbol says is
    unknown, but for one thing: where all commissions of a symbol name one currency, and it is that of a state or the
    symbol ends with it (``BTCUSDT`` and USDT), the prices are in it.

    Parameters
    ----------
    fills : polars.DataFrame
        Columns of :data:`walle.frames.FILLS`.
    stored : polars.DataFrame, optional
        Columns of :data:`FACTS`, which may be null, with ``valid_from`` (null: always) and, of facts with the same
        ``valid_from``, the newest last; ``aliases`` (list of texts) are other names.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`FACTS`; one row for each symbol, sorted.
    """
    traded = fills.drop_nulls("symbol").group_by("symbol").agg(at=pl.col("filled_at").max()).sort("symbol")
    said = said_by_symbols(traded["symbol"])
    if stored is not None and stored.height:
        said = _known(said, _valid(traded, stored))
    paid = (
        fills.drop_nulls("symbol")
        .filter((pl.col("commission").fill_null(0) != 0) & pl.col("commission_currency").is_not_null())
        .group_by("symbol")
        .agg(fee=pl.col("commission_currency").first(), several=pl.col("commission_currency").n_unique() > 1)
    )
    fee = pl.when(
        ~pl.col("several") & (pl.col("fee").is_in(STATES) | pl.col("symbol").str.ends_with(pl.col("fee")))
    ).then("fee")
    joined = said.join(paid.with_columns(fee=fee), on="symbol", how="left", maintain_order="left")
    unknown = pl.col("quote").is_null() & pl.col("settle").is_null() & pl.col("fee").is_not_null()
    named = [pl.when(unknown).then("fee").otherwise(name).alias(name) for name in ("quote", "settle")]
    return joined.with_columns(*named, from_fees=unknown).select(list(FACTS))


def _valid(traded: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Return the stored facts, under the names that were traded, that were valid at the last fill."""
    newest = stored.unique(["symbol", "valid_from"], keep="last", maintain_order=True)
    names = newest.with_row_index("place").with_columns(
        name=pl.concat_list(pl.col("symbol"), pl.col("aliases").fill_null([]))
    )
    named = names.explode("name").unique(["place", "name"])
    joined = traded.join(named, left_on="symbol", right_on="name", how="inner", suffix="_stored")
    valid = joined.filter(pl.col("valid_from").is_null() | (pl.col("valid_from") <= pl.col("at")))
    # a symbol of its own comes before an alias, and an alias of several symbols names none of them
    own = pl.col("symbol") == pl.col("symbol_stored")
    several = pl.col("symbol_stored").n_unique().over("symbol") > 1
    clear = valid.filter(own | ~(own.any().over("symbol") | several))
    return clear.sort("symbol", "valid_from", "place", nulls_last=False).group_by("symbol", maintain_order=True).last()


def _known(said: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    joined = said.join(stored, on="symbol", how="left", suffix="_known", maintain_order="left")
    known = pl.col("place").is_not_null()
    columns = [
        pl.when(known).then(pl.coalesce(f"{name}_known", name)).otherwise(name).alias(name)
        for name in FACTS
        if name not in ("symbol", "from_fees")
    ]
    contract = pl.col("kind").is_in(_DERIVATIVES) & (pl.col("settle") == pl.col("base"))
    # an option's price is in the currency in which it settles, whatever a venue calls inverse
    inverse = (pl.col("inverse") & (pl.col("kind") != "option").fill_null(True)) | contract.fill_null(False)
    return joined.with_columns(columns).with_columns(inverse.alias("inverse")).select(list(FACTS))


def own_fills(fills: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    """Add to each fill the facts about its symbol, and what it did to the position.

    Parameters
    ----------
    fills : polars.DataFrame
        Columns of :data:`walle.frames.FILLS`.
    facts : polars.DataFrame
        Columns of :data:`FACTS`.

    Returns
    -------
    polars.DataFrame
        The fills in their order, with kind, base, settle, multiplier, inverse, lot_size of their symbols, and

        - fee_in: the currency of the commission: as written, else that in which the symbol settles, where an instrument
          or the symbol says it; null if unknown.
        - in_base: whether the commission is in the symbol's own base, and so leaves the position, not the cash.
        - derivative: whether it is a contract that settles in cash (Boolean, never null).
    """
    asked = facts.select("symbol", "kind", "base", "quote", "settle", "multiplier", "inverse", "lot_size", "from_fees")
    joined = fills.join(asked, on="symbol", how="left", maintain_order="left")
    settles = facts["settle"].drop_nulls().unique()
    if settles.len() == 1:  # then a fill whose symbol is unknown was paid in it, too
        nameless = pl.col("symbol").is_null()
        joined = joined.with_columns(settle=pl.when(nameless).then(pl.lit(settles[0])).otherwise("settle"))
    derivative = pl.col("kind").is_in(_DERIVATIVES).fill_null(False)
    # what only other commissions say of the prices need not hold for this one
    priced = pl.when(~pl.col("from_fees").fill_null(False)).then("settle")
    fee_in = pl.coalesce("commission_currency", priced, fee_currency())
    return joined.with_columns(
        pl.col("multiplier").fill_null(1),
        pl.col("inverse").fill_null(False),
        derivative=derivative,
        fee_in=fee_in,
        in_base=(~derivative & (fee_in == pl.col("base")) & (pl.col("base") != pl.col("settle"))).fill_null(False),
    )


def worth(price: Exact, size: Exact, own: pl.DataFrame) -> Exact:
    """Return what positions are worth, up to a constant: a difference is what a change of the price gains.

    Parameters
    ----------
    price, size : Exact
        At a price of 0, an inverse contract is worth 0.
    own : polars.DataFrame
        Their multiplier and inverse; never null.

    Returns
    -------
    Exact
        ``price x size x multiplier`` in the currency in which each settles; of an inverse contract
        ``-size x multiplier / price``, rounded half-even at 18 places.
    """
    units, inverse = size * Exact.of(own["multiplier"]), own["inverse"]
    linear = price * units
    if not inverse.any():
        return linear
    reciprocal = units.where(inverse).over(price, "worth").fill_null(0)
    return linear.where(~inverse) - Exact.of(reciprocal)
