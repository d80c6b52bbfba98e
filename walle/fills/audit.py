"""The audit of fills: rules that compare fills with their orders, the bars and time, and their findings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from walle.decimals import trimmed_text
from walle.errors import InputError
from walle.fills.evidence import Evidence
from walle.frames import INSTANT

__all__ = ["FINDINGS", "SEVERITIES", "Evidence", "Rule", "audit", "rule"]

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
        "key": pl.String(),
        "answered": pl.Boolean(),
        "answer": pl.String(),
    }
)
"""One row is one finding: the rule, its severity (error, warning, info), the run, order and fill (null where it
concerns none), the time of the fill, the actual and the expected value (exact texts), and a sentence that explains
it. ``key`` names the finding: the rule and the fill, order or run that it is about; it stays the same from audit to
audit. ``answered`` says whether somebody acknowledged it, and ``answer`` why (null: nobody did)."""

_GIVEN = ("rule", "severity", "key", "answered", "answer")
"""The columns that no rule returns."""


Check = Callable[[Evidence], pl.DataFrame]

_AGAINST_BARS = {"outside_bar", "in_hole", "market_closed", "large_for_bar", "stop_not_reached", "at_extremes"}
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
        allowed = [name for name in FINDINGS if name not in _GIVEN]
        strange = [name for name in found.columns if name not in allowed] if isinstance(found, pl.DataFrame) else None
        if strange is None or strange or "sentence" not in found.columns:
            what = f"columns {strange}" if strange else "no frame with a column 'sentence'"
            raise InputError(f"rule {self.name!r} returned {what}; allowed are {', '.join(allowed)}.")
        named = found.with_columns(rule=pl.lit(self.name), severity=pl.lit(self.severity))
        lacking = [pl.lit(None).alias(name) for name in FINDINGS if name not in named.columns]
        whole = named.with_columns(lacking).with_columns(key=_key(), answered=pl.lit(False))
        return whole.select(list(FINDINGS)).cast(FINDINGS)


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


def _key() -> pl.Expr:
    """Return what names a finding: its rule, and the fill, else the order, else the run and symbol."""
    symbol = pl.when(pl.col("symbol").is_null()).then(pl.lit("")).otherwise(pl.format(":symbol:{}", "symbol"))
    whole = pl.format("run:{}{}", pl.col("run_id").cast(pl.String).fill_null(""), symbol)
    about = pl.coalesce(pl.format("fill:{}", "fill_id"), pl.format("order:{}", "order_id"), whole)
    return pl.format("{}:{}", "rule", about)


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


def about_run(found: pl.DataFrame, sentence: str, *further: str) -> pl.DataFrame:
    """Make one finding about all fills of a run, at the time of the first.

    The sentence takes the number of fills, the run, and the values of further columns.
    """
    named = pl.col("run_id").fill_null("no run")
    per_run = found.group_by("run_id", *further, maintain_order=True).agg(
        time=pl.col("filled_at").min(), fills=pl.len().cast(pl.String)
    )
    words = pl.format(sentence, "fills", pl.format("run {}", named), *further)
    return per_run.rechunk().select("run_id", "time", actual="fills", sentence=words)


def time_text(name: str) -> pl.Expr:
    """Format an instant as text."""
    return pl.col(name).dt.strftime("%Y-%m-%d %H:%M:%S%.6f UTC")


price_text, quantity_text = trimmed_text(pl.col("price")), trimmed_text(pl.col("quantity"))
