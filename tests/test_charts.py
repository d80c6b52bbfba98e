"""The charts: what they hold, that they stay small, and that they are drawn without a network."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import altair as alt
import polars as pl
import pytest

import walle
from walle import charts, demo
from walle.charts import candles, costs, coverage, equity, picture
from walle.charts.drawing import MARKS, thinned
from walle.fills.costs import COSTS
from walle.options import CostLevel
from walle.repositories.bars.coverage import SERIES_COVERAGE

START = datetime(2025, 11, 19, tzinfo=UTC)
HOSTILE = [
    "<script>window.hacked = true</script>",
    "<img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "\x1b[31mred\x1b[0m",
    "\u202eright to left",
    "'); datum.x = (function(){return 1})() //",
    "a" * 1_000_000,
]


def bars(count: int, step: timedelta = timedelta(minutes=1)) -> pl.DataFrame:
    """Bars whose price goes up and down."""
    places = pl.int_range(count, eager=True)
    close = 100 + (places.cast(pl.Float64) / 50).sin() * 10
    opens = close.shift(1).fill_null(100.0)
    return pl.DataFrame(
        {
            "timestamp": pl.datetime_range(START, START + step * (count - 1), step, time_unit="us", eager=True)
            if count
            else pl.Series([], dtype=pl.Datetime("us", "UTC")),
            "open": opens,
            "high": opens.zip_with(opens > close, close) + 1,
            "low": opens.zip_with(opens < close, close) - 1,
            "close": close,
            "volume": pl.Series([1.0] * count, dtype=pl.Float64),
        }
    )


def fills(count: int, step: timedelta = timedelta(minutes=1)) -> pl.DataFrame:
    rows = [
        (f"fill-{n}", f"order-{n}", START + step * n, Decimal("100.5"), Decimal("0.25"), ("buy", "sell")[n % 2])
        for n in range(count)
    ]
    names = ["id", "order_id", "filled_at", "price", "quantity", "side"]
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(
        pl.col("filled_at").cast(pl.Datetime("us", "UTC")), pl.col("price", "quantity").cast(pl.Decimal(38, 18))
    )


def chart_rows(chart: Any) -> list[dict[str, Any]]:
    """The rows of data of every drawing in a chart."""

    def find(part: Any) -> Iterator[dict[str, Any]]:
        if isinstance(part, dict):
            if isinstance(part.get("values"), list):
                yield from (row for row in part["values"] if isinstance(row, dict))  # not the ticks of an axis
            for value in part.values():
                yield from find(value)
        elif isinstance(part, list):
            for value in part:
                yield from find(value)

    return list(find(chart.to_dict()))


def size(data: bytes) -> tuple[int, int]:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_few_bars_are_drawn_one_by_one_and_many_are_joined_without_losing_an_extreme() -> None:
    few, many = bars(100), bars(20_000)
    assert "1m candles, 2025-11-19 00:00" in repr(candles(few))
    assert len([row for row in chart_rows(candles(few)) if "close" in row]) == 100
    rows = [row for row in chart_rows(candles(many)) if "close" in row]
    assert "1h candles of 20,000 bars" in repr(candles(many))
    assert max(row["high"] for row in rows) == many["high"].max()
    assert min(row["low"] for row in rows) == many["low"].min()
    assert sum(row["open"] for row in rows[:1]) == many["open"][0]


def test_no_chart_holds_more_marks_than_a_screen_shows() -> None:
    many = bars(50_000)
    gaps = pl.DataFrame(
        {"start": many["timestamp"], "end": many["timestamp"] + timedelta(minutes=1), "missing": 1, "cause": "single"}
    )
    found = pl.DataFrame({"fill_id": [f"fill-{n}" for n in range(5_000)], "sentence": "doubtful"})
    rows = chart_rows(candles(many, fills(5_000), found, gaps=gaps))
    assert len(rows) + sum("close" in row for row in rows) <= MARKS  # a candle is a wick and a body
    worth = many.select(time="timestamp", equity="close")
    assert 2 * len(chart_rows(equity(worth))) <= MARKS


def test_no_candle_and_no_line_bridges_a_hole() -> None:
    holed = bars(300).filter(~pl.col("timestamp").dt.hour().is_between(2, 3))
    times = {row["timestamp"] for row in chart_rows(candles(holed)) if "close" in row}
    assert not any("T02:" in time or "T03:" in time for time in times)
    worth = bars(6).select(time="timestamp", equity=pl.Series([1.0, 2.0, None, 3.0, 1.5, 4.0]))
    assert [row["equity"] for row in chart_rows(equity(worth))[:6]] == [1.0, 2.0, None, 3.0, 1.5, 4.0]
    assert "deepest drawdown -50.00 %" in repr(equity(worth))
    assert "1 of 6 moments cannot be marked" in repr(equity(worth))


def test_a_thinned_line_keeps_its_ends_its_holes_and_its_lowest_point() -> None:
    values = pl.DataFrame({"equity": [float(n % 97) for n in range(10_000)]})
    values = values.with_columns(equity=pl.when(pl.int_range(pl.len()) == 5_000).then(None).otherwise("equity"))
    values = values.with_columns(equity=pl.when(pl.int_range(pl.len()) == 777).then(-5.0).otherwise("equity"))
    kept = thinned(values, 600, "equity")["equity"]
    assert kept.len() <= 600
    assert (kept[0], kept[-1]) == (values["equity"][0], values["equity"][-1])
    assert kept.min() == -5.0
    assert kept.null_count() == 1


def test_fills_and_findings_stand_at_their_exact_prices() -> None:
    found = pl.DataFrame({"fill_id": ["fill-3", None], "sentence": ["too dear", "not about a fill"]})
    chart = candles(bars(10), fills(20), found)
    marks = {row["id"]: row for row in chart_rows(chart) if "id" in row}
    assert len(marks) == 11  # one at the end of the last bar
    assert marks["fill-3"]["words"] == "sold 0.25 at 100.5"
    assert "9 fills lie outside" in repr(chart)
    assert [row["words"] for row in chart_rows(chart) if row.get("fill_id")] == ["too dear"]


def test_the_ring_of_a_fill_that_is_joined_with_others_stays() -> None:
    many = fills(1_200)
    found = pl.DataFrame({"fill_id": ["fill-123", "fill-123"], "sentence": ["too dear", "too late"]})
    chart = candles(bars(600), many, found)
    marks = [row for row in chart_rows(chart) if str(row.get("words", "")).endswith(" fills")]
    assert 0 < len(marks) <= 300 * 2
    assert sum(int(row["words"].split()[0]) for row in marks) == 1_200 - int(repr(chart).split("; ")[1].split()[0])
    (ring,) = [row for row in chart_rows(chart) if row.get("fill_id")]
    assert ring["words"] == "too dear too late"
    assert (ring["timestamp"], ring["price"]) in [(row["timestamp"], row["price"]) for row in marks]


def test_coverage_says_what_is_missing_of_every_series(store: walle.Store) -> None:
    demo.load(store)
    gaps = store.bars.gaps("BTC/USD", "1m").with_columns(symbol=pl.lit("BTC/USD"), timeframe=pl.lit("1m"))
    chart = coverage(store.bars.coverage(), gaps)
    words = {row["series"]: row["words"] for row in chart_rows(chart) if "coverage" in row}
    assert words["ACME 1m"] == "complete"
    assert words["BTC/USD 1m"] == "98.96 %, 208 missing in 8 gaps"
    assert len([row for row in chart_rows(chart) if "start" in row]) == 8


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("format", ["png", "svg"])
def test_a_picture_is_drawn_offline_and_the_same_each_time(theme: Any, format: Any) -> None:
    made = [picture(candles(bars(50), fills(50), theme=theme), format) for _ in range(2)]
    assert made[0] == made[1]
    assert b"http" not in made[0].replace(b"http://www.w3.org", b"")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_text_and_of_bounded_length(text: str) -> None:
    frame = bars(5).with_columns(symbol=pl.lit(text))
    marks = fills(3).with_columns(id=pl.lit(text))
    found = pl.DataFrame({"fill_id": [text], "sentence": [text]})
    chart = candles(frame, marks, found)
    drawing = picture(chart, "svg").decode()
    assert "<script" not in drawing and "<img" not in drawing
    assert not any(sign in drawing for sign in "\x1b\u202e")
    assert len(drawing) < 200_000
    assert len(repr(chart)) < 1_000
    assert size(picture(chart))[0] < 2_000


def test_an_empty_chart_says_why() -> None:
    nothing = bars(0)
    assert "no bars in this range" in repr(candles(nothing))
    assert "no bars are stored" in repr(coverage(pl.DataFrame(schema=SERIES_COVERAGE)))
    assert "this run has no bars" in repr(equity(nothing.select(time="timestamp", equity="close")))
    assert b"no bars in this range" in picture(candles(nothing), "svg")


def test_bad_input_is_named() -> None:
    with pytest.raises(walle.InputError, match="lacks 'close'"):
        candles(bars(3).drop("close"))
    with pytest.raises(walle.InputError, match="2 symbols"):
        candles(bars(2).with_columns(symbol=pl.Series(["a", "b"])))
    with pytest.raises(walle.InputError, match="allowed are light, dark"):
        candles(bars(2), theme="pink")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(walle.InputError, match="lacks 'equity'"):
        equity(bars(2).rename({"timestamp": "time"}))
    with pytest.raises(walle.InputError, match="png and svg"):
        picture(candles(bars(2)), "gif")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(walle.InputError, match="1 to 9"):
        picture(candles(bars(2)), effort=10)


def test_a_notebook_gets_a_picture_of_the_right_size_and_words() -> None:
    chart = candles(bars(30), width=500, height=200)
    assert isinstance(chart, alt.LayerChart)
    data, metadata = chart._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}
    assert data["text/plain"] == repr(chart)
    width, height = size(data["image/png"])
    assert metadata["image/png"] == {"width": round(width / 2), "height": round(height / 2)}


def test_the_charts_are_found_by_name_and_loaded_only_then() -> None:
    code = (
        "import sys, json, walle; before = 'altair' in sys.modules; walle.charts.candles;"
        "print(json.dumps([before, 'altair' in sys.modules, 'pandas' in sys.modules]))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == [False, True, False]
    assert walle.charts is charts


def test_without_altair_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['altair'] = None\n"
        "import walle\n"
        "try:\n    walle.charts\nexcept walle.ConfigurationError as error:\n    print(error)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "walle[notebook]"' in answer.stdout


def costed(
    count: int, names: tuple[str, ...] = ("arrival", "vwap"), step: timedelta = timedelta(minutes=1)
) -> pl.DataFrame:
    """Costs of orders, as the store gives them: the first of each benchmark is 0.25 bps, and the next 0.25 more."""
    rows = [
        {
            "run_id": "run-1",
            "order_id": f"order-{n}",
            "symbol": "BTC/USD",
            "side": ("buy", "sell")[n % 2],
            "time": START + step * n,
            "currency": "USD",
            "quantity": Decimal("0.5"),
            "price": Decimal("100.5"),
            "notional": Decimal("50.25"),
            "benchmark": name,
            "cost": Decimal(n + 1) / 1000,
            "bps": Decimal(n + 1) / 4,
            "fills": 1,
            "measured": 1,
        }
        for n in range(count)
        for name in names
    ]
    return pl.DataFrame(rows, schema=COSTS)


def dots(chart: Any) -> list[dict[str, Any]]:
    return [row for row in chart_rows(chart) if "worse" in row]


def test_a_cost_is_a_dot_for_each_benchmark_with_its_exact_numbers() -> None:
    chart = costs(costed(3))
    assert "costs of 3 orders, 2025-11-19 00:00 to 2025-11-19 00:02 UTC" in repr(chart)
    assert "not measurable" not in repr(chart)
    assert [panel["layer"][0]["encoding"]["y"]["title"] for panel in chart.to_dict()["vconcat"]] == [
        "arrival, bps",
        "vwap, bps",
    ]
    assert [row["bps"] for row in dots(chart)] == [0.25, 0.5, 0.75] * 2
    found = dots(chart)[1]
    assert (found["id"], found["words"]) == ("order-1", "sold 0.5 at 100.5")
    assert (found["money"], found["exact_bps"]) == ("0.002 USD", "0.5")
    assert [row["words"] for row in chart_rows(chart) if str(row.get("words")).startswith("median")] == [
        "median 0.50"
    ] * 4  # a line and its words


def test_what_cannot_be_measured_is_counted_and_not_drawn_as_nothing() -> None:
    some = (pl.col("order_id") == "order-1") & (pl.col("benchmark") == "vwap")
    frame = costed(3).with_columns(pl.when(~some).then(pl.col("cost", "bps")))
    chart = costs(frame)
    assert "3 orders" in repr(chart) and "not measurable: 1 against vwap" in repr(chart)
    assert [row["bps"] for row in dots(chart)] == [0.25, 0.5, 0.75, 0.25, 0.75]
    nothing = frame.with_columns(bps=pl.lit(None, pl.Decimal(38, 18)))
    assert "none of 3 orders" in repr(costs(nothing)) and "3 against arrival, 3 against vwap" in repr(costs(nothing))
    assert b"not measurable" in picture(costs(nothing), "svg")
    one = costs(nothing.filter(benchmark="vwap").vstack(costed(3, ("arrival",))))
    assert [row["bps"] for row in dots(one)] == [0.25, 0.5, 0.75]  # no empty drawing of the other


def test_a_cost_of_a_part_of_the_fills_says_so() -> None:
    some = (pl.col("order_id") == "order-2") & (pl.col("benchmark") == "arrival")
    chart = costs(costed(3).with_columns(fills=pl.when(some).then(4).otherwise("fills")))
    assert "; of a part of their fills: 1 against arrival;" in repr(chart)
    assert [row["share"] for row in dots(chart)] == [
        "1 of 1 fills",
        "1 of 1 fills",
        "1 of 4 fills",
        *["1 of 1 fills"] * 3,
    ]
    assert "of a part" not in repr(costs(costed(3)))


def test_many_costs_are_joined_without_losing_the_worst_or_the_best() -> None:
    names = ("arrival", "vwap", "open", "close")
    worst = pl.when(pl.col("order_id") == "order-1234").then(pl.lit(Decimal(-90_000))).otherwise("bps")
    frame = costed(3_000, names).with_columns(bps=worst.cast(pl.Decimal(38, 18)))
    chart = costs(frame)
    found = dots(chart)
    assert len(chart_rows(chart)) <= MARKS
    assert "the median of neighbouring orders" in repr(chart)
    assert min(row["least"] for row in found) == -90_000
    assert max(row["largest"] for row in found) == 750
    assert sum(int(row["words"].split()[0]) for row in found) == 2 * 12_000  # in a line and in a dot
    assert len(dots(costs(costed(450, names)))) == 1_800


@pytest.mark.thorough
def test_costs_of_the_sample_data_are_drawn_at_every_level(store: walle.Store) -> None:
    demo.load(store)
    levels: list[tuple[CostLevel, str]] = [("fill", "fills"), ("order", "orders"), ("run", "runs")]
    for by, what in levels:
        frame = store.fills.costs(by=by)
        chart = costs(frame)
        measured = frame.drop_nulls("bps")
        assert f"costs of {frame.height // 4} {what}" in repr(chart)
        assert len(dots(chart)) == measured.height
        assert {row["id"] for row in dots(chart)} == set(measured[f"{by}_id"])
        assert picture(chart) == picture(costs(frame))
    assert "no costs to measure" in repr(costs(frame.clear()))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_order_is_text_in_a_chart_of_costs(text: str) -> None:
    names = ("run_id", "order_id", "symbol", "side", "currency")
    drawing = picture(costs(costed(3).with_columns(pl.lit(text).alias(name) for name in names)), "svg").decode()
    assert "<script" not in drawing and "<img" not in drawing
    assert not any(sign in drawing for sign in "\x1b\u202e")
    assert len(drawing) < 200_000


@pytest.mark.parametrize("bps", ["0", "1e19", "-1e19", "1e-18"])
def test_the_axis_of_costs_holds_any_number(bps: str) -> None:
    chart = costs(costed(3).with_columns(bps=pl.lit(bps).cast(pl.Decimal(38, 18))), theme="dark")
    low, high = chart.to_dict()["vconcat"][0]["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert low <= float(bps) <= high and low <= 0 <= high and low < high
    assert b"NaN" not in picture(chart, "svg")


def test_a_benchmark_that_there_is_not_is_refused() -> None:
    with pytest.raises(walle.InputError, match="'<b>' is not known: allowed are arrival, vwap, open, close"):
        costs(costed(1, ("<b>",)))
    with pytest.raises(walle.InputError, match="lacks 'bps'"):
        costs(costed(1).drop("bps"))
