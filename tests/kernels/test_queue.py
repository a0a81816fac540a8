"""A resting post-only order: through or touched, behind a queue, and what the market did then."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.kernels.queue import post_only_crosses, post_only_fill

BUY, SELL = 1, -1
amounts = st.floats(0.0, 1e4)
ticks = st.integers(-3, 3)


def rest(
    *,
    side: int = BUY,
    qty: float = 2.0,
    queue: float = 5.0,
    share: float = 0.2,
    high: float = 102.0,
    low: float = 100.0,
    close: float = 101.0,
    volume: float = 50.0,
) -> tuple[float, float, float]:
    """A bar that touches a limit of 100 from above, unless said otherwise."""
    bar = (side, 100.0, qty, queue, share, high, low, close, volume)
    found = post_only_fill(*bar)
    assert found == pytest.approx(post_only_fill.py_func(*bar), rel=0.0, abs=0.0, nan_ok=True)
    return found


def test_a_bar_that_trades_through_fills_all_whatever_is_ahead() -> None:
    assert rest(low=99.9, queue=1e9, volume=0.1)[:2] == (2.0, 0.0)
    assert rest(side=SELL, high=100.1, queue=1e9, volume=0.1)[:2] == (2.0, 0.0)


def test_a_touch_fills_what_it_trades_behind_the_queue() -> None:
    assert rest(volume=50.0)[:2] == (2.0, 0.0)  # 10 traded at the price, 5 of them before us
    assert rest(volume=30.0)[:2] == (1.0, 0.0)
    assert rest(volume=20.0)[:2] == (0.0, 1.0)
    assert rest(volume=25.0)[:2] == (0.0, 0.0)
    assert rest(side=SELL, high=100.0, low=99.0, volume=30.0)[:2] == (1.0, 0.0)


def test_a_bar_that_stays_away_or_is_missing_changes_nothing() -> None:
    nothing = (0.0, 5.0, 0.0)
    assert rest(low=100.1) == nothing
    assert rest(side=SELL, high=99.9) == nothing
    assert rest(high=math.nan, low=math.nan, close=math.nan, volume=math.nan) == nothing
    assert rest(volume=math.nan) == nothing
    assert rest(share=0.0) == nothing


def test_the_adverse_move_runs_from_the_limit_to_the_close() -> None:
    assert rest(low=99.0, close=99.5)[2] == pytest.approx(0.005)
    assert rest(low=99.0, close=101.0)[2] == pytest.approx(-0.01)
    assert rest(side=SELL, high=101.0, close=100.5)[2] == pytest.approx(0.005)
    assert rest(volume=1.0, close=100.0)[2] == 0.0


@given(st.sampled_from([BUY, SELL]), amounts, amounts, st.floats(0.0, 1.0), amounts, ticks)
def test_no_more_is_filled_than_was_left_or_traded(
    side: int, qty: float, queue: float, share: float, volume: float, beyond: int
) -> None:
    reach = 100.0 - side * beyond
    bar = {"high": max(reach, 105.0), "low": reach} if side == BUY else {"high": reach, "low": 95.0}
    filled, left, _ = rest(side=side, qty=qty, queue=queue, share=share, volume=volume, **bar)
    assert 0.0 <= filled <= qty
    assert 0.0 <= left <= queue
    if filled > 0.0:
        assert left == 0.0
    if beyond == 0:
        assert filled + (queue - left) <= share * volume * (1.0 + 1e-12) + 1e-9
    elif beyond > 0:
        assert filled == qty
    else:
        assert (filled, left) == (0.0, queue)


@given(amounts, amounts, amounts, amounts)
def test_more_volume_never_fills_less_and_a_longer_queue_never_more(
    queue: float, longer: float, volume: float, more: float
) -> None:
    filled = rest(queue=queue, volume=volume, qty=100.0)[0]
    assert rest(queue=queue, volume=volume + more, qty=100.0)[0] >= filled
    assert rest(queue=queue + longer, volume=volume, qty=100.0)[0] <= filled


def test_an_order_that_would_trade_at_once_is_known() -> None:
    assert post_only_crosses(BUY, 100.0, 100.0)
    assert post_only_crosses(SELL, 100.0, 100.5)
    assert not post_only_crosses(BUY, 100.0, 100.1)
    assert not post_only_crosses(SELL, 100.0, 99.9)
    assert not post_only_crosses(BUY, 100.0, math.nan)
