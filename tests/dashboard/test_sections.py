"""The sections say what a board holds, the worst first, and take no word of others for markup."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from live.dashboard.board import EMPTY, Board, Check, Gauge, State
from live.dashboard.chart import chart, ticks
from live.dashboard.feed import RANGES, shown
from live.dashboard.pieces import MANY
from live.dashboard.sections import SECTIONS
from quantcore.timegrid import DAY_US, HOUR_US
from tests.dashboard.boards import NOON_US, curve, hostile, read

PLAIN = Board(
    name="main", kind="sim", is_live=True, runs=True, begun_us=0, clock_us=NOON_US, level="normal"
)


def words(name: str, board: Board) -> list[str]:
    return read(SECTIONS[name](board)).words


@pytest.mark.parametrize("name", SECTIONS)
def test_no_text_of_others_is_taken_for_markup(name: str) -> None:
    html = SECTIONS[name](hostile())
    told = read(html)
    assert told.tags <= {
        "section", "div", "h1", "h2", "h3", "p", "span", "small", "b", "i", "u", "table", "thead", "tbody", "tr",
        "th", "td", "details", "summary",
    }  # fmt: skip
    assert told.attributes <= {"class", "title", "style", "data-name", "data-fold"}
    assert "<script" not in html
    assert "<img" not in html
    shown_as = [" ".join(told.words), html]
    assert any("alert(1)" in text for text in shown_as), "the text itself is to be read"
    assert read(SECTIONS[name](hostile("x"))).tags == told.tags


@pytest.mark.parametrize("name", SECTIONS)
def test_an_account_that_has_just_begun_has_its_sections_too(name: str) -> None:
    html = SECTIONS[name](PLAIN)
    read(html)
    assert "nan" not in html.replace("finance", "")


def test_what_matters_is_said_at_the_top() -> None:
    board = replace(
        PLAIN,
        curve=curve([1000.0, 1000.0, 1010.0, 1005.0], step_us=6 * HOUR_US),
        checks=(Check(name="loop runs", state=State.GOOD, text=""),),
    )
    told = words("headline", board)
    for word in ("1,005.00", "▲ +5.00 (+0.50 %)", "today", "All is well", "loop runs", "−0.50 %"):
        assert word in told, word


def test_today_begins_at_midnight_utc_and_without_a_row_before_at_the_first() -> None:
    noon = curve([100.0, 110.0, 121.0], step_us=12 * HOUR_US)  # noon, midnight, noon
    assert noon.change(0.0) == pytest.approx((11.0, 0.1))
    assert noon.change(None) == pytest.approx((21.0, 0.21))
    assert noon.since(NOON_US - 1).ts_us.tolist() == [NOON_US - 12 * HOUR_US, NOON_US]
    at_midnight = curve([100.0, 110.0], step_us=12 * HOUR_US, last_us=20_000 * DAY_US)
    assert at_midnight.change(0.0)[1] == pytest.approx(0.1)  # the day that ends is still the day
    assert all(math.isnan(value) for value in EMPTY.change(0.0))


def test_a_deposit_is_no_profit() -> None:
    held = curve([100.0, 200.0, 220.0])
    unit = np.array([1.0, 1.0, 1.1])
    deposited = replace(held, nav=unit, drawdown=np.zeros(3))
    assert deposited.change(None) == pytest.approx((20.0, 0.1))


def test_the_worst_check_decides_what_is_said_and_comes_first() -> None:
    checks = (
        Check(name="a", state=State.GOOD, text=""),
        Check(name="b", state=State.WATCH, text="why b"),
        Check(name="c", state=State.BAD, text="why c"),
    )
    told = words("headline", replace(PLAIN, checks=checks))
    assert "Needs you" in told
    assert told.index("c") < told.index("b") < told.index("a")
    assert "Worth a look" in words("headline", replace(PLAIN, checks=checks[:2]))


@pytest.mark.parametrize(
    ("used", "steered", "state"),
    [
        (0.79, False, State.GOOD),
        (0.8, False, State.WATCH),
        (1.0, False, State.BAD),
        (1.0, True, State.GOOD),
        (1.06, True, State.WATCH),
        (math.nan, False, State.GOOD),
    ],
)
def test_a_limit_is_watched_before_it_is_reached(used: float, steered: bool, state: State) -> None:
    gauge = Gauge(
        name="drawdown", value=used, limit=1.0, unit="share", steered=steered, explained=""
    )
    assert gauge.state is state


def test_a_position_without_the_stop_that_it_needs_is_marked() -> None:
    (holding,) = hostile("BTCUSDT").holdings
    bare = replace(holding, stop=math.nan)
    assert "none" in words("positions", replace(PLAIN, holdings=(bare,)))
    free = replace(bare, needs_stop=False)
    assert "none" not in words("positions", replace(PLAIN, holdings=(free,)))
    told = words("positions", replace(PLAIN, holdings=(holding,)))
    for word in ("BTC", "short", "+1.50", "+10.00 %", "0.50 ×", "40.0 %", "0.10 %", "12", "33.3 %"):
        assert word in told, word


def test_many_protective_stops_are_folded_up_but_not_the_one_that_is_stuck() -> None:
    (order,) = hostile("x").orders
    stops = tuple(
        replace(order, symbol=f"S{n}USDT", protects=True, state="open", side="sell")
        for n in range(MANY + 1)
    )
    few = SECTIONS["orders"](replace(PLAIN, orders=stops[1:]))
    assert "details" not in read(few).tags
    many = SECTIONS["orders"](replace(PLAIN, orders=stops))
    assert f"{MANY + 1} protective stops" in read(many).words
    assert many.index("<details") < many.index("S0<small>")
    stuck = replace(stops[0], state="stuck")
    told = SECTIONS["orders"](replace(PLAIN, orders=(stuck, stops[0], *stops[1:])))
    assert told.index("S0<small>") < told.index("<details")


def test_many_positions_are_small_cards() -> None:
    (holding,) = hostile("BTCUSDT").holdings
    few = SECTIONS["positions"](replace(PLAIN, holdings=(holding,) * MANY))
    many = SECTIONS["positions"](replace(PLAIN, holdings=(holding,) * (MANY + 1)))
    assert "dense" not in few
    assert 'class="cards dense"' in many


def test_a_year_of_hours_is_thinned_and_keeps_its_extremes() -> None:
    rng = np.random.default_rng(7)
    year = curve((10_000.0 + np.cumsum(rng.normal(0.0, 10.0, 8_760))).tolist())
    html = chart(year)
    assert len(html) < 60_000
    points = read(html)
    assert {"svg", "polyline", "figure"} <= points.tags
    for value in (year.equity.max(), year.equity.min()):
        assert f"{value:.2f}".rstrip("0") in html
    assert set(shown(replace(PLAIN, curve=year)).curves) == set(RANGES)


def test_ranges_cut_the_curve() -> None:
    year = curve([1000.0 + n for n in range(24 * 60)])
    cuts = shown(replace(PLAIN, curve=year)).curves
    lengths = {name: html.count("],[") + 1 for name, html in cuts.items()}
    assert lengths["1"] == 25
    assert lengths["7"] == 7 * 24 + 1
    assert lengths["1"] < lengths["7"] < lengths["30"] <= lengths["all"]


@pytest.mark.parametrize("values", [[], [1000.0], [1000.0, 1000.0], [math.nan, 5.0, 6.0]])
def test_a_short_or_flat_curve_is_drawn_or_said_to_be_none(values: list[float]) -> None:
    html = chart(curve(values) if values else EMPTY)
    read(html)
    assert "nan" not in html


def test_a_day_is_named_once_beneath_the_curve() -> None:
    html = chart(curve([1000.0 + n for n in range(3 * 24 + 1)]))  # noon to noon, five labels
    beneath = html.split('<div class="times">')[1].split("</div>")[0]
    assert beneath.count("<span>") == 5
    named = [name for name in read(beneath).words if name]
    assert named == ["1 Oct", "2 Oct", "3 Oct", "4 Oct"]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (7690.0, 7731.0), (-3.0, 1e6), (5.0, 5.0)])
def test_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    found = ticks(low, high, 4)
    assert 1 <= len(found) <= 5
    assert all(low <= value <= high for value in found)


@pytest.mark.parametrize(("deepest", "is_loud"), [(95.0, False), (91.0, True)])
def test_a_drawdown_is_loud_only_near_its_limit(deepest: float, is_loud: bool) -> None:
    fallen = curve([100.0, deepest])
    used = -float(fallen.drawdown[-1])
    gauge = Gauge(
        name="drawdown", value=used, limit=0.10, unit="share", steered=False, explained=""
    )
    board = replace(PLAIN, curve=fallen, gauges=(gauge,))
    tile = (
        SECTIONS["headline"](board).split('<div class="name">Drawdown</div>')[1].split("</div>")[0]
    )
    assert ('class="loss"' in tile) is is_loud
    assert "stopped at −10 %" in words("headline", board)
