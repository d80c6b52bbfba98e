"""What stores, reports and findings show of themselves in a notebook."""

from __future__ import annotations

import re
from collections.abc import Iterator

import polars as pl
import pytest

import walle
from tests.postgres import Server
from tests.samples import START, bars, fill, order, run
from walle import demo
from walle.errors import InputError
from walle.fills import WriteReport
from walle.fills.audit import FINDINGS
from walle.models import HEAD
from walle.widgets import Findings

HOSTILE = '<script>window.hacked = 1</script>\u202e\x1b[31m"'


@pytest.fixture
def findings(sqlite_address: str) -> Iterator[pl.DataFrame]:
    with walle.connect(sqlite_address) as store:
        demo.load(store)
        yield store.fills.audit()


def test_a_store_shows_what_it_is_and_holds(store: walle.Store, address: str) -> None:
    store.bars.ingest(bars(7), symbol="BTC/USD", timeframe="1m")
    store.runs.save(run(1))
    store.orders.save(order(1))
    store.fills.append([fill(1), fill(2)])
    page = store._repr_html_()
    assert f"revision {HEAD}" in page
    assert "1 series, 7 bars, 1 runs, 1 orders and 2 fills" in page
    for cell in ("BTC/USD", "1m", "2025-03-01 00:00", "2025-03-01 00:06", "run-1", "sma", "backtest", "pending"):
        assert f">{cell}</td>" in page
    assert not re.findall(r"<script|<style|https?:|\son\w+=|class=|id=", page)
    assert store._repr_html_() == page
    store.close()
    assert store.closed and "closed" in store._repr_html_()


def test_a_store_shows_the_first_series_and_the_latest_runs(store: walle.Store) -> None:
    for number in range(13):
        store.bars.ingest(bars(2), symbol=f"S{number:02}", timeframe="1m")
        store.runs.save(run(number))
    page = store._repr_html_()
    assert "S09" in page and "S10" not in page and "and 3 more series" in page
    assert "run-12" in page and "run-8<" in page and "run-7<" not in page and "and 8 more runs" in page


def test_a_store_shows_no_password(server: Server, postgres_address: str) -> None:
    secret = postgres_address.split("@")[0].split(":")[-1]
    with walle.connect(postgres_address) as store:
        page = store._repr_html_()
        assert "***" in page and (len(secret) < 4 or secret not in page)


def test_a_store_in_memory_or_empty_says_so(store: walle.Store) -> None:
    assert "0 series, 0 bars, 0 runs" in store._repr_html_()
    with walle.connect() as memory:
        assert "nothing is kept" in memory._repr_html_()


def test_what_stands_in_a_store_is_text(store: walle.Store) -> None:
    name = HOSTILE[:60]
    store.bars.ingest(bars(2), symbol=name, timeframe="1m")
    store.runs.save(run(1, id=name, strategy_id=name))
    page = store._repr_html_()
    assert "<script" not in page and page.isprintable()
    assert page.count("&lt;script&gt;window.hacked") == 3


def test_a_write_report_shows_its_counts() -> None:
    page = WriteReport(inserted=1_200, unchanged=3)._repr_html_()
    assert "Write of 1,203 rows" in page and ">1,200<" in page and "updated" not in page
    assert ">updated</td><td>7<" in WriteReport(updated=7)._repr_html_()


def test_findings_are_shown_in_whole_sentences_the_gravest_first(findings: pl.DataFrame) -> None:
    shown = Findings(findings.reverse())
    page, text = shown._repr_html_(), repr(shown)
    severities = shown.frame()["severity"].to_list()
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    assert shown.frame().sort(pl.all()).equals(findings.sort(pl.all()))
    for sentence in findings["sentence"].head(20):
        assert sentence in text
    counts = findings.group_by("rule").len()
    for rule, count in counts.iter_rows():
        assert f"{rule}: {count}" in text and rule in page
    assert not re.findall(r"<script|<style|https?:|\son\w+=|class=|id=", page)
    few = Findings(findings, rows=1)
    assert f"and {findings.height - 1} more in .frame()" in repr(few)
    assert few._repr_html_().count("<li ") == 1


def test_no_findings_say_so_and_what_is_none_is_refused() -> None:
    assert repr(Findings(pl.DataFrame(schema=FINDINGS))) == "Findings: the audit found nothing"
    assert "the audit found nothing" in Findings(pl.DataFrame(schema=FINDINGS))._repr_html_()
    with pytest.raises(InputError, match=r"'rule', 'severity'.*store.fills.audit"):
        Findings(bars(1))
    with pytest.raises(InputError, match="rows=0"):
        Findings(pl.DataFrame(schema=FINDINGS), rows=0)


def test_answered_findings_come_last_with_their_answers_and_are_counted(findings: pl.DataFrame) -> None:
    first = pl.int_range(pl.len()) == 0
    frame = findings.with_columns(answered=first, answer=pl.when(first).then(pl.lit("a late <feed>")))
    told, page = repr(Findings(frame)), Findings(frame)._repr_html_()
    assert told.splitlines()[0] == f"Findings: the audit found {frame.height - 1} errors; 1 is answered"
    assert told.splitlines()[-1].endswith(f"{frame['sentence'][0]} (answered: a late <feed>)")
    assert "(answered: a late &lt;feed&gt;)" in page
    assert f"{frame['rule'][0]}: 1, 1 answered" in told
    everything = repr(Findings(frame.with_columns(answered=pl.lit(True))))
    assert f"the audit found nothing that is unanswered; {frame.height} are answered" in everything


def test_hostile_findings_are_text() -> None:
    texts = {name: [HOSTILE] for name, kind in FINDINGS.items() if kind == pl.String}
    frame = pl.DataFrame({**texts, "time": [START], "answered": [True]}).select(list(FINDINGS)).cast(FINDINGS)
    for shown in (Findings(frame)._repr_html_(), repr(Findings(frame)).replace("\n", "")):
        assert shown.isprintable()
    assert "<script" not in Findings(frame)._repr_html_()
