"""Bars that come again with every price multiplied by one factor: an adjusted download, or another currency or unit."""

from __future__ import annotations

import math

import polars as pl

from walle.bars.spans import keys_of
from walle.enums import PRICES
from walle.frames import no_rows

__all__ = ["RESCALED", "rescaled", "throughout"]

RESCALED = pl.Schema(
    {
        "symbol": pl.String(),
        "timeframe": pl.String(),
        "first": pl.Datetime("us", "UTC"),
        "last": pl.Datetime("us", "UTC"),
        "bars": pl.Int64(),
        "factor": pl.Float64(),
        "lowest": pl.Float64(),
        "highest": pl.Float64(),
        "volume": pl.Float64(),
    }
)
"""One row is a series whose conflicts look rescaled: the first and last of them (opening times, UTC) and their number;
the median factor of the prices (new to stored) with its lowest and highest, which differ when several actions lie
between them; and the factor of the volumes, null where there is not one."""

_SERIES = ["symbol", "timeframe"]
_SHARE = 0.95
"""The share of the bars that has to agree: a vendor also corrects single bars."""

_NEAR = 0.002
"""The least distance of a factor from 1: vendors differ by a tenth of a percent, dividends pay more."""

_FAR = math.log(1.24)
"""The distance of a split's or unit's factor from 1 (five for four), as a logarithm; few bars are evidence enough."""

_LITTLE, _MUCH = 3.0, 10.0
"""How improbable it has to be that prices share a factor by chance, as a power of ten: far from 1, and near it."""

_FEW = 12
"""Bars below which factors may change once, and only if four or more agree."""

_NOISE = 2e-6
"""The relative error of a price that was kept as a float32 on its way, with room to spare."""

_COARSE = 0.05
"""The rounding, relative to a price, from which on any two prices might share a factor."""

_FIRST = 2_000
"""The first conflicts of a series that are looked at, before all are."""

_UNITS = 10.0
"""The least factor of volumes alone: lots for shares, thousands for units."""


def rescaled(conflicts: pl.DataFrame) -> pl.DataFrame:
    """Find the series whose conflicts are one rescaling.

    Parameters
    ----------
    conflicts : polars.DataFrame
        Columns of :data:`walle.frames.BAR_CONFLICTS`: bars of an ingest with other values than the stored ones.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`RESCALED`, sorted by series; empty for ordinary differences between vendors.

    Notes
    -----
    The four prices of a bar have to share one factor, within the rounding of both versions (the fewest decimals that
    hold all prices of the series, half a unit of the last one each), and so have the bars, up to a few steps where
    dividends lie between them: twelve or more, or one among four or more bars that all agree. A factor has to be four
    times as far from 1 as rounding reaches, and at least 0.2%. Three bars with four different prices are enough; beyond
    1.24 also three bars of any prices, of which one may differ where there are more.

    Fewer bars count by the chance that each further price has the same factor as the first one within rounding, if
    prices differed as far as the factor is from 1: far from 1 it has to be below 1 in 1,000 - two bars with a price
    each, or one bar with three, of prices that are not coarse -, and below 1 in 10,000,000,000 near 1, for two bars.
    The volumes decide only where no price differs: then they have to share a factor of at least 10.
    """
    alike = pl.all_horizontal([pl.col(name) == pl.col(f"stored_{name}") for name in (*PRICES, "volume")])
    conflicts = conflicts.filter(~alike.fill_null(False))  # those differ in further columns
    if conflicts.is_empty():
        return no_rows(RESCALED)
    rows = conflicts.drop_nulls([f"stored_{name}" for name in PRICES]).sort(*_SERIES, "timestamp")
    found = _judged(rows.group_by(_SERIES, maintain_order=True).head(_FIRST))  # most conflicts need no closer look
    if found.is_empty():
        return found
    return _judged(rows.join(found, on=_SERIES, how="semi", maintain_order="left"))


def throughout(found: pl.DataFrame, new: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Leave out series of which other bars came again unchanged, before the last of the rescaled ones.

    Bars after the last action are the same in an adjusted download; a few wrong bars among many right ones are not an
    adjustment.

    Parameters
    ----------
    found : polars.DataFrame
        Columns of :data:`RESCALED`.
    new, stored : polars.DataFrame
        The opening times of the source, and those that were stored before: columns of
        :data:`walle.bars.spans.SPANS`.

    Returns
    -------
    polars.DataFrame
        The same columns and ``overlap``: the number of bars that were stored before, up to the last rescaled one.
    """
    kept = []
    for row in found.iter_rows(named=True):
        mine = {"symbol": row["symbol"], "timeframe": row["timeframe"]}
        both = [keys_of(spans.filter(**mine)).select("timestamp") for spans in (new, stored)]
        shared = both[0].join(both[1], on="timestamp", how="semi")
        overlap = shared.filter(pl.col("timestamp") <= row["last"]).height
        if row["bars"] >= _SHARE * overlap:
            kept.append({**row, "overlap": max(overlap, row["bars"])})
    return pl.DataFrame(kept, schema={**RESCALED, "overlap": pl.Int64()})


def _judged(rows: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([_by_prices(rows), _by_volume(rows)]).sort(_SERIES)


def _by_prices(rows: pl.DataFrame) -> pl.DataFrame:
    stored, given = [f"stored_{name}" for name in PRICES], list(PRICES)
    unit = rows.group_by(_SERIES).agg(
        stored_unit=pl.min_horizontal([_unit(name) for name in stored]),
        unit=pl.min_horizontal([_unit(name) for name in given]),
    )
    rounding = pl.max_horizontal(
        [
            (pl.col("stored_unit") / pl.col(old).abs() + pl.col("unit") / pl.col(new).abs()) / 2
            for old, new in zip(stored, given, strict=True)
        ]
    )
    ratios = [pl.col(new) / pl.col(old) for old, new in zip(stored, given, strict=True)]
    bars = rows.join(unit, on=_SERIES, maintain_order="left").with_columns(
        ratio=pl.col("close") / pl.col("stored_close"),
        low_ratio=pl.min_horizontal(ratios),
        high_ratio=pl.max_horizontal(ratios),
        room=_NOISE + rounding,
    )
    bars = _pieces(bars, pl.lit(True))
    own = pl.col("ratio").median().over(*_SERIES, "piece")
    one = pl.max_horizontal((pl.col("low_ratio") / own - 1).abs(), (pl.col("high_ratio") / own - 1).abs())
    away = (own - 1).abs()
    agrees = (own > 0) & (one <= 2 * pl.col("room")) & (away >= _NEAR) & (away > 4 * pl.col("room"))
    agrees &= pl.col("room") <= _COARSE
    bars = _pieces(bars.with_columns(agrees=agrees.fill_null(False), own=own), pl.col("agrees"))
    prices = pl.concat_list(stored).explode(empty_as_null=True, keep_nulls=True).n_unique()
    judged = bars.group_by(_SERIES, maintain_order=True).agg(
        pl.col("timestamp").first().alias("first"),
        pl.col("timestamp").last().alias("last"),
        pl.len().cast(pl.Int64).alias("bars"),
        pl.col("own").filter("agrees").median().alias("factor"),
        pl.col("own").filter("agrees").min().alias("lowest"),
        pl.col("own").filter("agrees").max().alias("highest"),
        _volume_factor().alias("volume"),
        agree=pl.col("agrees").sum(),
        pieces=pl.col("piece").filter("agrees").n_unique(),
        prices=prices,
        room=pl.col("room").max(),
    )
    return judged.filter(_is_one_rescaling()).select(list(RESCALED))


def _pieces(bars: pl.DataFrame, among: pl.Expr) -> pl.DataFrame:
    """Return bars with the number of their piece; the factor changes between pieces, of the bars that count."""
    ratio, room = (pl.when(among).then(pl.col(name)).forward_fill().over(_SERIES) for name in ("ratio", "room"))
    bars = bars.with_columns(_ratio=ratio, _room=room)
    last, reach = (pl.col(name).shift(1).over(_SERIES) for name in ("_ratio", "_room"))
    changed = among & ((pl.col("ratio") / last - 1).abs() > pl.col("room") + reach)
    bars = bars.with_columns(changed=changed.fill_null(False))
    return bars.with_columns(piece=pl.col("changed").cum_sum().over(_SERIES)).drop("_ratio", "_room", "changed")


def _is_one_rescaling() -> pl.Expr:
    count, agree, pieces = pl.col("bars"), pl.col("agree"), pl.col("pieces")
    far = pl.col("factor").log().abs() >= _FAR
    distance = pl.when(far).then(pl.col("factor").log().abs()).otherwise((pl.col("factor") - 1).abs())
    evidence = (pl.col("prices") - pieces) * (distance / pl.col("room")).log10()
    several = count >= 3
    enough = several & (far | (pl.col("prices") >= 4))
    enough |= pl.when(far).then(evidence >= _LITTLE).otherwise((count == 2) & (evidence >= _MUCH))
    share = (agree >= _SHARE * count) | (far & (count >= 4) & (agree == count - 1))
    steady = (pieces == 1) | pl.when(count >= _FEW).then(pieces <= 1 + count // 3).otherwise(
        (pieces == 2) & (count >= 4) & (agree == count) & (evidence >= _MUCH)
    )
    return enough & share & steady


def _by_volume(rows: pl.DataFrame) -> pl.DataFrame:
    same = pl.all_horizontal([pl.col(name) == pl.col(f"stored_{name}") for name in PRICES]).all()
    judged = rows.group_by(_SERIES, maintain_order=True).agg(
        pl.col("timestamp").first().alias("first"),
        pl.col("timestamp").last().alias("last"),
        pl.len().cast(pl.Int64).alias("bars"),
        *(pl.lit(1.0).alias(name) for name in ("factor", "lowest", "highest")),
        _volume_factor().alias("volume"),
        same=same,
        different=pl.col("stored_volume").n_unique(),
        room=(_NOISE + 0.5 / pl.col("stored_volume") + 0.5 / pl.col("volume")).max(),
    )
    units = pl.max_horizontal(pl.col("volume"), 1 / pl.col("volume")) >= _UNITS
    evidence = (pl.col("different") - 1) * (pl.col("volume").log().abs() / pl.col("room")).log10()
    enough = (pl.col("bars") >= 3) & (pl.col("different") >= 3) | (pl.col("different") >= 2) & (evidence >= _LITTLE)
    return judged.filter(pl.col("same") & units & enough).select(list(RESCALED))


def _volume_factor() -> pl.Expr:
    """Return the factor that all volumes share, within half a unit of both; null where there is none."""
    old, new = pl.col("stored_volume"), pl.col("volume")
    traded = (old > 0) & (new > 0)
    ratio = new / old
    factor = ratio.filter(traded).median()
    room = _NOISE + 0.5 / old + 0.5 / new
    agrees = ((ratio / factor - 1).abs() <= room).filter(traded).mean() >= _SHARE
    return pl.when(agrees).then(factor)


def _unit(name: str) -> pl.Expr:
    """Return the unit of the last decimal of a column, 0 where its values have more than eight decimals."""
    value = pl.col(name)
    units = []
    for places in range(9):
        scaled = value * 10.0**places
        whole = ((scaled - scaled.round()).abs() <= 1e-4) & (scaled.abs() < 1e12)
        units.append(pl.when(whole.all()).then(pl.lit(10.0**-places)))
    return pl.coalesce(*units, pl.lit(0.0))
