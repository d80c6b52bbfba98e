"""Rules about commissions."""

from __future__ import annotations

import polars as pl

from walle.currencies import fee_currency
from walle.decimals import trimmed_text
from walle.exact import Exact
from walle.fills.audit import about, about_run, rule
from walle.fills.evidence import Evidence
from walle.frames import FILL_ORDER
from walle.instruments import worth

__all__ = ["RULES"]

_CURRENCY = "currency of its commission"


@rule("commission_missing", "warning")
def _commission_missing(evidence: Evidence) -> pl.DataFrame:
    """The fill has no commission, or nothing says its currency, though others of its run have."""
    found = _without_commission(evidence).filter(~pl.col("whole"))
    lacks = pl.when(pl.col("commission").is_null()).then(pl.lit("commission")).otherwise(pl.lit(_CURRENCY))
    return about(found, pl.format("fill {} has no {}.", "id", lacks))


@rule("commissions_absent", "info")
def _commissions_absent(evidence: Evidence) -> pl.DataFrame:
    """No fill of the run has a commission, or of no commission is the currency known."""
    found = _without_commission(evidence).filter("whole")
    lacks = pl.when(pl.col("commission").is_null()).then(pl.lit("commission")).otherwise(pl.lit(_CURRENCY))
    return about_run(found.with_columns(lacks=lacks), "{} fills of {} have no {}, and no other has.", "lacks")


def _without_commission(evidence: Evidence) -> pl.DataFrame:
    """Return the fills that lack a commission or its currency, and ``whole``: whether all of their run do."""
    paid = pl.col("commission")
    costly = paid.is_not_null() & (paid != 0)
    bare = costly & fee_currency().is_null()
    if evidence.fills.select((paid.is_null() | bare).any()).item() is not True:
        return evidence.fills.clear().with_columns(whole=pl.lit(True))
    counts = evidence.fills.group_by("run_id").agg(
        no_fee=paid.is_null().all(), no_currency=(costly.sum() == bare.sum()) & costly.any()
    )
    lacking = evidence.fills.filter(paid.is_null() | bare)
    judged = lacking.join(counts, on="run_id", how="left", nulls_equal=True, maintain_order="left")
    return judged.with_columns(whole=pl.when(paid.is_null()).then("no_fee").otherwise("no_currency"))


@rule("commission_implausible", "warning")
def _commission_implausible(evidence: Evidence) -> pl.DataFrame:
    """The commission, or rebate, exceeds a share of the notional (``max_commission_rate``)."""
    # in another currency it cannot be compared; in the base of its own symbol it is a part of the quantity
    same = (pl.col("fee_in") == pl.col("settle")).fill_null(True) | pl.col("in_base")
    paid = evidence.own.filter(pl.col("commission").is_not_null() & same)
    size, cost = Exact.of(paid["quantity"]), Exact.of(paid["commission"])
    price, in_base = Exact.of(paid["price"]), paid["in_base"]
    notional = size.where(in_base) + abs(worth(price, size, paid)).where(~in_base)
    whole = paid.with_columns(notional.decimal("notional"))
    found = whole.filter(abs(cost).compare(notional * evidence.thresholds.max_commission_rate) > 0)
    sentence = "fill {} cost {} in commission, on a notional of {}."
    words = pl.format(sentence, "id", trimmed_text(pl.col("commission")), trimmed_text(pl.col("notional")))
    return about(found, words, pl.col("commission"), pl.col("notional"))


@rule("taker_rebate", "warning")
def _taker_rebate(evidence: Evidence) -> pl.DataFrame:
    """The commission of a fill that took liquidity is below 0; rebates are for makers."""
    found = evidence.fills.filter(pl.col("liquidity") == "taker", pl.col("commission") < 0)
    words = pl.format("fill {} took liquidity, but its commission is {}.", "id", trimmed_text(pl.col("commission")))
    return about(found, words, pl.col("commission"))


@rule("fee_currency", "warning")
def _fee_currency(evidence: Evidence) -> pl.DataFrame:
    """Commissions are in a currency that is neither the symbol's nor one that the run is known to hold."""
    paid = evidence.fills.filter(pl.col("commission") != 0, pl.col("commission_currency").is_not_null())
    if paid.is_empty():
        return about(paid, pl.lit(""))
    per = paid.group_by("run_id", "symbol", "commission_currency").agg(
        fills=pl.len(), id=pl.col("id").sort_by(*FILL_ORDER).first(), filled_at=pl.col("filled_at").min()
    )
    traded = evidence.fills.select("run_id", "symbol").unique().join(evidence.currencies, on="symbol")
    held = pl.concat([traded.select("run_id", "currency"), evidence.holdings]).unique()
    known = per.join(evidence.currencies, on="symbol", how="semi")
    found = known.join(
        held, left_on=["run_id", "commission_currency"], right_on=["run_id", "currency"], how="anti", nulls_equal=True
    ).sort("filled_at", "id")
    sentence = "{} commissions of {} are in {}, which is neither a currency of the symbol nor held; the first is of {}."
    words = pl.format(sentence, "fills", "symbol", "commission_currency", "id")
    return about(found.with_columns(order_id=pl.lit(None, pl.String)), words).with_columns(
        actual=found["commission_currency"]
    )


@rule("fee_outlier", "warning")
def _fee_outlier(evidence: Evidence) -> pl.DataFrame:
    """The commission is a multiple of those of its peers (``max_fee_ratio``), or 0 where theirs are not.

    Peers are the fills of the same run, symbol, liquidity and currency. The expected commission is their median share
    of the notional, but at least their smallest one, because brokers have a minimum; a rate is a float here.
    """
    limits, group = evidence.thresholds, ["run_id", "symbol", "liquidity", "commission_currency"]
    numbers = {name: pl.col(name).cast(pl.Float64) for name in ("commission", "price", "quantity")}
    fee, worth = numbers["commission"].abs(), numbers["price"].abs() * numbers["quantity"]
    paid = evidence.fills.select("id", "order_id", *group, fee=fee, worth=worth).drop_nulls("fee")
    costly = paid.filter(pl.col("fee") > 0, pl.col("worth") > 0)
    peers = costly.group_by(group).agg(
        rate=(pl.col("fee") / pl.col("worth")).median(), least=pl.col("fee").min(), peers=pl.len()
    )
    every = paid.join(peers.filter(pl.col("peers") >= limits.min_peers), on=group, nulls_equal=True)
    share, most = pl.col("rate") * pl.col("worth"), float(limits.max_fee_ratio) * (1 - 1e-9)
    dear = pl.col("fee") >= most * pl.max_horizontal(share, "least")
    free = (pl.col("fee") == 0) & (share >= pl.col("least") / 2)
    few = every.filter(dear | free).with_columns(expected=share.round_sig_figs(4).cast(pl.String))
    # a broker that charges an order once has fills at 0, and so has one that charges some kind of fill nothing
    zeros = paid.filter(pl.col("fee") == 0).group_by(group).agg(zeros=pl.len())
    few = few.join(zeros, on=group, how="left", nulls_equal=True)
    charged = few["order_id"].is_in(costly["order_id"].implode())
    rare = few["zeros"].fill_null(0) * 20 <= few["peers"]
    few = few.filter((few["fee"] > 0) | (rare & ~charged))
    found = evidence.fills.join(few.select("id", "expected"), on="id", maintain_order="left")
    sentence = "fill {} cost {} in commission; by those of its peers it would be about {}."
    words = pl.format(sentence, "id", trimmed_text(pl.col("commission")), "expected")
    return about(found, words, pl.col("commission")).with_columns(expected=found["expected"])


RULES = (
    _commission_missing,
    _commissions_absent,
    _commission_implausible,
    _taker_rebate,
    _fee_currency,
    _fee_outlier,
)
