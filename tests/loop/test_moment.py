"""The prices of a moment, and the spread by which the router sees the book's own touch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from live.feed.quotes import Quote
from live.moment import half_spreads, moment
from quantcore.data.instruments import load_instruments
from quantcore.execution.routing import _touch
from quantcore.frames import MARK_FIELDS, PRICE_FIELDS, Bars, no_settlements
from quantcore.kernels import layout as at
from quantcore.types import FloatArray
from tests.loop.made import plane_of

SYMBOLS = ("BTCUSDT", "ETHUSDT")
INSTRUMENTS = load_instruments(SYMBOLS)
RULES = plane_of(SYMBOLS).rules
NOW_US = 1_704_182_283_456_789


def quotes(**btc: float) -> dict[str, Quote]:
    return {"BTCUSDT": Quote("BTCUSDT", **btc), "ETHUSDT": Quote("ETHUSDT", last=2000.0)}  # type: ignore[arg-type]  # prices


def last_row() -> Bars:
    prices = np.array([[41_000.0, 1990.0]])
    return Bars(
        interval="1m",
        ts_us=np.array([1_704_182_280_000_000]),
        symbols=SYMBOLS,
        fields={
            **dict.fromkeys(PRICE_FIELDS, prices),
            **dict.fromkeys(MARK_FIELDS, prices + 1.0),
            "volume": np.array([[7.0, 9.0]]),
        },
        settlements=no_settlements(),
    )


def test_a_moment_has_the_middle_of_the_book_the_mark_and_the_last_bars_volume() -> None:
    row = moment(quotes(bid=42_000.0, ask=42_000.2, mark=42_001.5), SYMBOLS, NOW_US, last_row())
    assert row.ts_us.tolist() == [1_704_182_283_000_000]
    for name in PRICE_FIELDS:
        assert row.array(name)[0].tolist() == [42_000.1, 2000.0]
    assert row.array("mark_price")[0].tolist() == [42_001.5, 1991.0]
    assert row.array("volume")[0].tolist() == [7.0, 9.0]


def test_a_moment_without_any_price_is_missing_not_old_news() -> None:
    row = moment({s: Quote(s) for s in SYMBOLS}, SYMBOLS, NOW_US, None)
    assert np.isnan(row.array("close")).all()
    assert np.isnan(row.array("volume")).all()


@pytest.mark.parametrize(
    ("bid", "ask"), [(42_000.0, 42_000.1), (42_000.0, 42_000.2), (41_990.3, 42_010.9), (0.1, 0.2)]
)
def test_the_router_sees_the_books_own_touch_around_its_middle(bid: float, ask: float) -> None:
    told = quotes(bid=bid, ask=ask)
    row = moment(told, SYMBOLS, NOW_US, None)
    assert seen(half_spreads(told, INSTRUMENTS, row.array("close")[0]), row) == (bid, ask)


def test_the_touch_is_the_books_own_at_any_price(rng: np.random.Generator) -> None:
    for _ in range(500):
        bid = int(rng.integers(1, 10_000_000))
        ask = bid + int(rng.integers(1, 40))
        told = quotes(bid=bid / 10, ask=ask / 10)
        row = moment(told, SYMBOLS, NOW_US, None)
        spread = half_spreads(told, INSTRUMENTS, row.array("close")[0])
        assert seen(spread, row) == (bid / 10, ask / 10)


@pytest.mark.parametrize("close", [41_999.0, 42_000.0, 42_000.1, 42_003.0])
def test_around_a_bars_close_what_is_posted_never_crosses_the_book(close: float) -> None:
    told = quotes(bid=42_000.0, ask=42_000.1)
    row = moment(quotes(last=close), SYMBOLS, NOW_US, None)
    bid, ask = seen(half_spreads(told, INSTRUMENTS, row.array("close")[0]), row)
    assert bid <= 42_000.0
    assert ask >= 42_000.1


def test_a_spread_is_not_known_without_a_book() -> None:
    found = half_spreads(quotes(bid=42_000.0, ask=42_000.1), INSTRUMENTS, np.array([42_000.0, 2e3]))
    assert math.isnan(found[1])
    assert found[0] > 0.0


def seen(spread: FloatArray, row: Bars) -> tuple[float, float]:
    """Return the touch of BTCUSDT as the router has it."""
    from quantcore.account_plane import market_arrays

    rate = RULES.rate.copy()
    rate[0, at.HALF_SPREAD] = spread[0]
    bid, ask = _touch.py_func(RULES._replace(rate=rate), market_arrays(row), 0, 0)
    return round(float(bid), 8), round(float(ask), 8)
