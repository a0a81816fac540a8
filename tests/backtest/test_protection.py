"""The time without a stop, from events written by hand."""

from __future__ import annotations

import numpy as np

from quantcore.account_plane import Events
from quantcore.backtest.protection import longest_without_stop
from quantcore.kernels import layout as at
from quantcore.timegrid import MINUTE_US
from quantcore.types import FillReason, OrderStatus, OrderType

BAR = MINUTE_US


def events(*rows: dict[int, int]) -> Events:
    whole = np.zeros((len(rows), at.N_WHOLE), dtype=np.int64)
    for k, row in enumerate(rows):
        for column, value in row.items():
            whole[k, column] = value
    return Events(
        whole=whole,
        number=np.zeros((len(rows), at.N_NUMBER)),
        curve_ts=np.array([20 * BAR]),
        curve=np.zeros((0, at.N_CURVE)),
    )


def fill(minute: int, lots: int, symbol: int = 0) -> dict[int, int]:
    return {
        at.KIND: int(at.EVENT_FILL), at.TS: minute * BAR, at.EVENT_SYMBOL: symbol, at.EVENT_ORDER: 99,
        at.EVENT_SIDE: 1 if lots > 0 else -1, at.EVENT_LOTS: abs(lots),
    }  # fmt: skip


def stop(minute: int, order: int, symbol: int = 0) -> dict[int, int]:
    return {
        at.KIND: int(at.EVENT_NEW_ORDER), at.TS: minute * BAR, at.EVENT_SYMBOL: symbol, at.EVENT_ORDER: order,
        at.EVENT_TYPE: OrderType.STOP_MARKET, at.EVENT_REASON: FillReason.STOP_LOSS,
    }  # fmt: skip


def over(minute: int, order: int, status: OrderStatus, symbol: int = 0) -> dict[int, int]:
    return {
        at.KIND: int(at.EVENT_STATUS), at.TS: minute * BAR, at.EVENT_SYMBOL: symbol, at.EVENT_ORDER: order,
        at.EVENT_STATE: status, at.EVENT_REASON: -1,
    }  # fmt: skip


def longest(*rows: dict[int, int], latency: int = 0) -> float:
    return longest_without_stop(events(*rows), bar_us=BAR, latency_us=latency * BAR) / BAR


def test_a_stop_at_the_close_of_the_fill_leaves_one_bar() -> None:
    assert longest(fill(5, 3), stop(5, 1)) == 1
    assert longest(fill(5, 3), stop(5, 1), latency=2) == 3


def test_a_stop_that_is_replaced_leaves_nothing_and_one_that_comes_late_counts() -> None:
    whole = [fill(5, 3), stop(5, 1), fill(7, 1), over(7, 1, OrderStatus.CANCELED), stop(7, 2)]
    assert longest(*whole) == 1
    assert longest(fill(5, 3), stop(9, 1)) == 5
    assert longest(*whole, over(10, 2, OrderStatus.EXPIRED), stop(14, 3)) == 4


def test_a_position_that_is_closed_before_its_stop_counts_until_then_and_other_symbols_do_not_help() -> (
    None
):
    assert longest(fill(5, 3), fill(8, -3)) == 4
    assert longest(fill(5, 3), stop(5, 1, symbol=1), fill(8, -3)) == 4


def test_a_position_that_never_gets_a_stop_counts_until_the_end() -> None:
    assert longest(fill(5, 3)) == 16
