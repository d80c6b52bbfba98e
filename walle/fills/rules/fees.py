"""Rules about commissions."""

from __future__ import annotations

import polars as pl

from walle.currencies import fee_currency, quote_of
from walle.exact import Exact
from walle.fills.audit import about, about_run, rule, shown
from walle.fills.evidence import Evidence

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
    same = (fee_currency() == quote_of(pl.col("symbol"))).fill_null(True)  # another currency cannot be compared
    paid = evidence.fills.filter(pl.col("commission").is_not_null() & same)
    notional = Exact.of(paid["price"]) * Exact.of(paid["quantity"])
    most = abs(notional) * evidence.thresholds.max_commission_rate
    whole = paid.with_columns(notional.decimal("notional"))
    found = whole.filter(abs(Exact.of(paid["commission"])).compare(most) > 0)
    sentence = "fill {} cost {} in commission, on a notional of {}."
    words = pl.format(sentence, "id", shown(pl.col("commission")), shown(pl.col("notional")))
    return about(found, words, pl.col("commission"), pl.col("notional"))


RULES = (
    _commission_missing,
    _commissions_absent,
    _commission_implausible,
)
