"""``Findings``: the findings of an audit, in whole sentences."""

from __future__ import annotations

import html

import polars as pl

from walle.errors import InputError
from walle.fills.audit import FINDINGS, SEVERITIES
from walle.widgets.escape import format_value, html_table, rows_of, text_of
from walle.widgets.run_static import findings_words

__all__ = ["Findings"]

_ROWS = 20
_LONG = 1_000


class Findings:
    """The findings of an audit: a summary by rule and a sentence for each finding, the most severe first.

    Answered ones (``store.fills.acknowledge``) come last, with their answers. It needs only the frame, and looks the
    same without a kernel or scripts.

    Parameters
    ----------
    frame : polars.DataFrame
        As ``store.fills.audit`` returns it, whole or filtered.
    rows : int
        The maximum number of sentences; a note counts the others.

    Raises
    ------
    InputError
        If a column is missing, or for a number of rows below 1.

    Examples
    --------
    >>> walle.widgets.Findings(store.fills.audit("bt-sma-eth-001"))
    """

    def __init__(self, frame: pl.DataFrame, *, rows: int = _ROWS) -> None:
        if not isinstance(frame, pl.DataFrame):
            raise InputError(
                f"findings are a frame, not a {type(frame).__name__}; give what store.fills.audit returned."
            )
        lacking = [name for name in FINDINGS if name not in frame.columns]
        if lacking:
            raise InputError(f"findings lack {', '.join(map(repr, lacking))}; give what store.fills.audit returned.")
        if rows < 1:
            raise InputError(f"rows={rows!r}: give a number of rows, 1 or more.")
        grave = frame["severity"].replace_strict(list(SEVERITIES), range(len(SEVERITIES)), default=len(SEVERITIES))
        answered = frame["answered"].fill_null(False)
        ranked = frame.with_columns(_answered=answered, _grave=grave).sort("_answered", "_grave", maintain_order=True)
        self._frame = ranked.drop("_answered", "_grave")
        self._rows = rows

    def frame(self) -> pl.DataFrame:
        """Return the findings, errors first, and answered ones last.

        Returns
        -------
        polars.DataFrame
            All columns and rows of the frame that was passed.
        """
        return self._frame

    def __repr__(self) -> str:
        """Return the findings as lines of text."""
        lines = [f"Findings: {findings_words(self._frame)}"]
        for severity, rule, count, *answered in self._counts().iter_rows():
            known = f", {answered[0]:,} answered" if answered and answered[0] else ""
            lines.append(f"  {text_of(severity, 20)}  {text_of(rule, 60)}: {count:,}{known}")
        for severity, time, sentence in self._first_findings().iter_rows():
            lines.append(f"{text_of(severity, 20)}  {format_value(time)}  {text_of(sentence, _LONG)}")
        return "\n".join([*lines, *self._more()])

    def _repr_html_(self) -> str:
        page = f"<p><strong>Findings</strong>: {html.escape(findings_words(self._frame))}</p>"
        if self._frame.is_empty():
            return page
        page += html_table(self._counts())
        cells = [
            f'<li style="text-align: left"><b>{html.escape(grave)}</b> {html.escape(time)} '
            f"{html.escape(text_of(sentence, _LONG))}</li>"
            for (grave, time), sentence in zip(
                rows_of(self._first_findings().select("severity", "time")),
                self._first_findings()["sentence"],
                strict=True,
            )
        ]
        more = "".join(f"<p><small>{html.escape(line)}</small></p>" for line in self._more())
        return f"{page}<ul>{''.join(cells)}</ul>{more}"

    def _counts(self) -> pl.DataFrame:
        """Return the number of findings of each rule, and how many of them are answered."""
        counts = self._frame.group_by("severity", "rule", maintain_order=True).agg(
            findings=pl.len(), answered=pl.col("answered").sum()
        )
        return counts if counts["answered"].sum() else counts.drop("answered")

    def _first_findings(self) -> pl.DataFrame:
        answer = pl.format(" (answered: {})", "answer").fill_null("")
        named = self._frame.with_columns(pl.col("sentence") + answer)
        return named.select("severity", "time", "sentence").head(self._rows)

    def _more(self) -> list[str]:
        rest = self._frame.height - self._rows
        return [f"... and {rest:,} more in .frame()"] if rest > 0 else []
