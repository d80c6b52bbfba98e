"""The audit of fills: rules that compare fills with their orders, the bars and time, and their findings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property

import polars as pl

from walle.decimals import trimmed_text
from walle.errors import InputError
from walle.exact import Exact
from walle.fills.market import Markets
from walle.frames import DECIMAL, INSTANT, ORDERS

__all__ = ["FINDINGS", "SEVERITIES", "Evidence", "Rule", "Thresholds", "audit", "rule"]

SEVERITIES = ("error", "warning", "info")

FINDINGS = pl.Schema(
    {
        "rule": pl.String(),
        "severity": pl.String(),
        "run_id": pl.String(),
        "order_id": pl.String(),
        "fill_id": pl.String(),
        "symbol": pl.String(),
        "time": INSTANT,
        "actual": pl.String(),
        "expected": pl.String(),
        "sentence": pl.String(),
    }
)
"""One row is one finding: the rule, its severity (error, warning, info), the run, order and fill (null where it
concerns none), the time of the fill, the actual and the expected value (exact texts), and a sentence that explains
it."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The thresholds of the rules.

    Parameters
    ----------
    price_tolerance : Decimal
        The allowed difference between an order's average price and that of its fills, because engines round it.
    max_volume_share : Decimal
        The largest allowed share of a fill in its bar's volume; 1 is all of it.
    max_commission_rate : Decimal
        The largest allowed commission as a share of the notional; 0.01 is one per cent.
    """

    price_tolerance: Decimal = Decimal("0.00000001")
    max_volume_share: Decimal = Decimal("0.5")
    max_commission_rate: Decimal = Decimal("0.01")

    def __post_init__(self) -> None:
        """Raise unless every threshold is valid.

        Raises
        ------
        InputError
        """
        for name in ("price_tolerance", "max_volume_share", "max_commission_rate"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Decimal | int):
                raise InputError(f"{name}={value!r} is no exact number: give a Decimal, such as Decimal('0.01').")
            if not Decimal(value).is_finite() or value < 0:
                raise InputError(f"{name}={value!r}: it must be at least 0.")


@dataclass(frozen=True)
class Evidence:
    """The data that a rule examines.

    Parameters
    ----------
    fills, orders : polars.DataFrame
        Columns of :data:`walle.frames.FILLS` and :data:`walle.frames.ORDERS`. A fill that was written without a run or
        a symbol has those of its order.
    markets : mapping of symbol to Market
    thresholds : Thresholds
    """

    fills: pl.DataFrame
    orders: pl.DataFrame
    markets: Markets = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)

    @cached_property
    def known(self) -> pl.DataFrame:
        """The fills whose order is stored, with the order's columns under names that begin with ``order_``."""
        named = {name: f"order_{name}" for name in ORDERS if name != "id"}
        return self.fills.join(self.orders.rename(named), left_on="order_id", right_on="id", how="inner")

    @cached_property
    def sums(self) -> pl.DataFrame:
        """The orders that have fills: their columns, and ``fills`` (the count), ``filled`` and ``average`` of these."""
        numbers = self.orders.select(order_id="id").with_row_index("_n")
        mine = self.fills.select("order_id", "quantity", "price", "filled_at").join(numbers, on="order_id")
        size, count = Exact.of(mine["quantity"]), self.orders.height
        total = size.sum_by(mine["_n"], count)
        paid = (size * Exact.of(mine["price"])).sum_by(mine["_n"], count)
        per_order = mine.group_by("_n").agg(fills=pl.len(), last=pl.col("filled_at").max())
        joined = numbers.join(per_order, on="_n", how="left", maintain_order="left")
        return self.orders.with_columns(
            joined["fills"].fill_null(0).cast(pl.Int64),
            joined["last"],
            total.decimal("filled"),
            paid.over(total, "average"),
        ).filter(pl.col("fills") > 0)

    @cached_property
    def barred(self) -> pl.DataFrame:
        """The fills of symbols with bars, with the bar columns low, high, volume, gap, is_open and covered."""
        parts = []
        for part in self.fills.drop_nulls("symbol").partition_by("symbol", maintain_order=True):
            market = self.markets.get(part["symbol"][0])
            if market is None:
                continue
            times = part["filled_at"]
            place = market.place(times)
            prices = {name: market.price(name, place).alias(name) for name in ("low", "high", "volume")}
            first, last = market.reach()
            parts.append(
                part.with_columns(
                    *prices.values(),
                    gap=market.touches_gap(times, times),
                    is_open=market.is_open(times),
                    covered=times.is_between(first, last, "left"),
                )
            )
        extra = {"low": DECIMAL, "high": DECIMAL, "volume": DECIMAL}
        flags = dict.fromkeys(("gap", "is_open", "covered"), pl.Boolean())
        return pl.concat(parts) if parts else pl.DataFrame(schema={**self.fills.schema, **extra, **flags})


Check = Callable[[Evidence], pl.DataFrame]

_AGAINST_BARS = {"outside_bar", "in_hole", "market_closed", "large_for_bar"}
"""Rules that need bars."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the audit; :func:`rule` makes one from a function."""

    name: str
    severity: str
    check: Check

    @property
    def doc(self) -> str:
        """The first line of the function's docstring, which says what the rule looks for."""
        return (inspect.getdoc(self.check) or "").partition("\n")[0]

    def findings(self, evidence: Evidence) -> pl.DataFrame:
        """Return the findings of the rule: columns of :data:`FINDINGS`.

        Raises
        ------
        InputError
            If its function does not return such a frame.
        """
        found = self.check(evidence)
        allowed = [name for name in FINDINGS if name not in ("rule", "severity")]
        strange = [name for name in found.columns if name not in allowed] if isinstance(found, pl.DataFrame) else None
        if strange is None or strange or "sentence" not in found.columns:
            what = f"columns {strange}" if strange else "no frame with a column 'sentence'"
            raise InputError(f"rule {self.name!r} returned {what}; allowed are {', '.join(allowed)}.")
        named = found.with_columns(rule=pl.lit(self.name), severity=pl.lit(self.severity))
        lacking = [pl.lit(None).alias(name) for name in FINDINGS if name not in named.columns]
        return named.with_columns(lacking).select(list(FINDINGS)).cast(FINDINGS)


def rule(name: str, severity: str = "error") -> Callable[[Check], Rule]:
    """Make a rule from a function, to pass to an audit in ``extra_rules``.

    The function takes the :class:`Evidence` and returns a frame with ``sentence`` and any other columns of
    :data:`FINDINGS`; it works on whole columns. Its docstring says what it looks for.

    Parameters
    ----------
    name : str
    severity : str
        ``error``, ``warning`` or ``info``.

    Raises
    ------
    InputError
        For an unknown severity.

    Examples
    --------
    >>> @rule("round_lot", "warning")
    ... def odd_lots(evidence):
    ...     '''The quantity is not a whole number.'''
    ...     odd = evidence.fills.filter(pl.col("quantity") % 1 != 0)
    ...     return odd.select(fill_id="id", sentence=pl.format("fill {} is an odd lot.", "id"))
    >>> odd_lots.doc
    'The quantity is not a whole number.'
    """
    if severity not in SEVERITIES:
        raise InputError(f"severity={severity!r}: allowed are {', '.join(SEVERITIES)}.")
    return lambda check: Rule(name, severity, check)


def audit(evidence: Evidence, rules: Iterable[Rule]) -> pl.DataFrame:
    """Apply rules to fills.

    Parameters
    ----------
    evidence : Evidence
    rules : iterable of Rule
        :data:`walle.fills.rules.RULES`, and any custom rules.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`FINDINGS`; errors first, then by run, time, order, fill and rule. Empty without findings.

    Raises
    ------
    InputError
        If a custom rule does not return a frame of findings.
    """
    found = pl.concat([pl.DataFrame(schema=FINDINGS), *(each.findings(evidence) for each in rules)])
    rank = pl.col("severity").replace_strict({name: n for n, name in enumerate(SEVERITIES)}, return_dtype=pl.Int8)
    return found.sort(rank, "run_id", "time", "order_id", "fill_id", "rule", nulls_last=True)


def choose(rules: Sequence[Rule], names: Iterable[str] | None) -> list[Rule]:
    """Return the rules with these names, or all; with one that needs bars, also the rule that reports missing bars.

    Raises
    ------
    InputError
        For an unknown name.
    """
    if names is None:
        return list(rules)
    wanted = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in wanted if name not in {each.name for each in rules}]
    if unknown:
        raise InputError(f"no rule {unknown[0]!r}; there are: {', '.join(each.name for each in rules)}.")
    if not _AGAINST_BARS.isdisjoint(wanted):
        wanted.append("not_checked")
    return [each for each in rules if each.name in wanted]


def about(
    found: pl.DataFrame, sentence: pl.Expr, actual: pl.Expr | None = None, expected: pl.Expr | None = None
) -> pl.DataFrame:
    """Make findings about fills, from their ids, symbols and times, and a sentence."""
    none = pl.lit(None, pl.String)
    return found.rechunk().select(  # Polars 2.1 panics in format() of a conditional text on a frame of several chunks
        "run_id",
        "order_id",
        pl.col("id").alias("fill_id"),
        "symbol",
        pl.col("filled_at").alias("time"),
        (none if actual is None else trimmed_text(actual)).alias("actual"),
        (none if expected is None else trimmed_text(expected)).alias("expected"),
        sentence.alias("sentence"),
    )


def about_order(found: pl.DataFrame, sentence: pl.Expr, actual: pl.Expr, expected: pl.Expr) -> pl.DataFrame:
    """Make findings about orders, at the time of their last fill."""
    return found.rechunk().select(
        "run_id",
        pl.col("id").alias("order_id"),
        "symbol",
        pl.col("last").alias("time"),
        trimmed_text(actual).alias("actual"),
        trimmed_text(expected).alias("expected"),
        sentence.alias("sentence"),
    )
