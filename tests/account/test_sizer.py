"""Target weights to orders: direction, size, band, minimum, margin."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quantcore.account_plane import (
    AccountSettings,
    account_plane,
)
from quantcore.backtest.tables import run_tables
from quantcore.data.instruments import Bracket, Instrument
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import ExitSettings
from quantcore.frames import Bars
from quantcore.timegrid import HOUR_US, to_us
from quantcore.types import FloatArray

SYMBOLS = ("AAAUSDT", "BBBUSDT")
NAN = np.nan


def instrument(symbol: str, leverage_max: int = 20) -> Instrument:
    return Instrument(
        symbol=symbol,
        tick_size="0.01",
        step_size="0.01",
        min_qty="0.01",
        market_max_qty="1000",
        limit_max_qty="1000",
        min_notional=20.0,
        maker_fee=0.0002,
        taker_fee=0.0005,
        liquidation_fee=0.01,
        funding_interval_hours=8,
        brackets=(
            Bracket(
                floor=0.0, cap=5e3, maintenance_margin_rate=0.01, cum=0.0, leverage_max=leverage_max
            ),
            Bracket(floor=5e3, cap=1e6, maintenance_margin_rate=0.02, cum=50.0, leverage_max=4),
        ),
        origin="made up",
    )


def orders(
    weights: list[list[float]],
    *,
    prices: tuple[float, float] = (100.0, 100.0),
    capital: float = 1000.0,
    leverage: int = 2,
    band: float = 0.01,
    buffer: float = 0.0,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Orders, reasons and fills of weights on flat prices without costs."""
    n = len(weights) + 1
    flat = np.tile(np.array(prices), (n, 1))
    bars = Bars(
        interval="1h",
        ts_us=to_us("2024-01-01T00:30") // HOUR_US * HOUR_US + HOUR_US * np.arange(1, n + 1),
        symbols=SYMBOLS,
        fields=dict.fromkeys(("open", "high", "low", "close"), flat),
    )
    plane = account_plane(
        [instrument(s) for s in SYMBOLS],
        interval="1h",
        account=AccountSettings(
            capital=capital,
            margin="cross",
            leverage_max=leverage,
            no_trade_band=band,
            margin_buffer=buffer,
            missing_funding_rate=0.0,
            cash_flows=(),
        ),
        execution=ExecutionSettings(
            half_spread_bps=0.0, slippage_bps=0.0, latency_ms=0.0, maker_fee=0.0, taker_fee=0.0
        ),
        exits=ExitSettings(stop_loss=None, take_profit=None, trailing_stop=None, time_exit=None),
    )
    targets: FloatArray = np.array([*weights, [NAN, NAN]])
    _, events = plane.advance(plane.start(), bars, targets=targets)
    tables = run_tables(events, plane, bars, pd.DataFrame())
    sent = tables["orders"]
    sent["qty"] *= np.where(sent.side == "buy", 1.0, -1.0)
    return sent, tables["reasons"], tables["fills"]


def test_a_reduction_is_sent_once_and_reduce_only() -> None:
    sent, _, _ = orders([[0.5, NAN], [0.2, NAN]])
    assert list(sent.qty) == [5.0, -3.0]
    assert list(sent.reduce_only) == [False, True]


def test_a_flip_is_one_order_through_zero() -> None:
    sent, _, _ = orders([[0.5, NAN], [-0.3, NAN]])
    assert list(sent.qty) == [5.0, -8.0]
    assert not sent.reduce_only.any()


def test_a_weight_of_nan_leaves_the_position_and_a_weight_of_zero_closes_it() -> None:
    sent, _, _ = orders([[0.5, 0.5], [NAN, 0.0], [NAN, NAN]])
    assert list(zip(sent.symbol, sent.qty, strict=True)) == [
        ("AAAUSDT", 5.0),
        ("BBBUSDT", 5.0),
        ("BBBUSDT", -5.0),
    ]


def test_a_change_inside_the_band_is_not_traded_and_an_exit_always_is() -> None:
    sent, _, _ = orders([[0.5, NAN], [0.45, NAN], [0.0, NAN]], band=0.06)
    assert list(sent.qty) == [5.0, -5.0]


def test_rounding_stops_short_of_the_target_from_either_side() -> None:
    sent, _, _ = orders([[0.5, NAN], [0.25, NAN]], prices=(99.9, 1.0))
    assert sent.qty[0] == 5.0  # 500 / 99.9 = 5.005
    assert sent.qty[1] == -2.49  # 5.0 - 249.875 / 99.9 = 2.4988 wanted


def test_reducing_orders_leave_before_enlarging_ones() -> None:
    sent, _, fills = orders([[0.1, 0.9], [0.9, 0.1]])
    assert list(sent.symbol[2:]) == ["BBBUSDT", "AAAUSDT"]
    assert list(fills.symbol[2:]) == ["BBBUSDT", "AAAUSDT"]


def test_below_the_minimum_notional_nothing_opens_but_reductions_pass() -> None:
    sent, reasons, _ = orders([[0.019, NAN], [0.03, NAN], [0.02, NAN]], band=0.0)
    assert list(sent.qty) == [0.3, -0.1]
    assert list(reasons.rule) == ["min_notional"]
    assert reasons.limit[0] == 20.0
    assert reasons.value[0] == pytest.approx(19.0)


def test_dust_is_closed_by_a_reducing_order_and_what_is_half_an_order_or_more_is_kept() -> None:
    # The smallest order is 20 USDT: 12 are kept, 8 wanted and held are not.
    sent, reasons, _ = orders([[0.02, NAN], *[[0.012, NAN]] * 3], band=0.001)
    assert list(sent.qty) == [0.2, -0.08]
    sent, reasons, _ = orders([[0.02, NAN], *[[0.008, NAN]] * 3], band=0.001)
    assert list(sent.qty) == [0.2, -0.12, -0.08]
    assert list(sent.reduce_only) == [False, True, True]
    told = reasons[reasons.action == "closed"].iloc[0]
    assert (told.rule, told.limit) == ("min_notional", 20.0)
    assert told.value == pytest.approx(8.0)


def test_dust_is_kept_for_a_target_of_half_an_order_or_more_and_closing_it_is_no_dust() -> None:
    # 8 USDT are held; 15 of 20 are too little to trade to, but too much to leave the position for.
    sent, reasons, _ = orders([[0.02, NAN], [0.008, NAN], [0.015, NAN]], band=0.001)
    assert list(sent.qty) == [0.2, -0.12]
    assert list(reasons.action) == ["refused"]
    sent, reasons, _ = orders([[0.02, NAN], [0.008, NAN], [0.0, NAN]], band=0.001)
    assert list(sent.qty) == [0.2, -0.12, -0.08]
    assert list(reasons.action) == []


def test_a_flip_too_small_on_the_other_side_only_closes() -> None:
    sent, reasons, _ = orders([[0.02, NAN], [-0.019, NAN]], band=0.0)
    assert list(sent.qty) == [0.2, -0.39]  # 39 USDT in all, above the minimum: one flip
    sent, reasons, _ = orders([[0.02, NAN], [0.008, NAN], [-0.005, NAN]], band=0.0)
    assert list(sent.qty) == [0.2, -0.12, -0.08]
    assert list(reasons.rule) == ["min_notional"]


def test_what_margin_does_not_cover_is_cut_in_proportion() -> None:
    sent, reasons, _ = orders([[3.0, -1.0]], leverage=2)
    assert list(sent.qty) == [15.0, -5.0]
    assert list(reasons.rule) == ["margin", "margin"]
    assert list(reasons.action) == ["cut", "cut"]


def test_the_margin_buffer_stays_unused() -> None:
    sent, _, _ = orders([[3.0, NAN]], leverage=2, buffer=0.1)
    assert list(sent.qty) == [18.0]


def test_positions_stay_under_the_cap_of_the_bracket_that_allows_the_leverage() -> None:
    sent, reasons, _ = orders([[6.0, NAN]], leverage=10)
    assert list(sent.qty) == [50.0]
    assert list(reasons.rule) == ["bracket_notional"]


def test_orders_do_not_exceed_the_market_maximum() -> None:
    sent, reasons, _ = orders([[2.0, NAN]], prices=(1.0, 1.0), leverage=4)
    assert list(sent.qty) == [1000.0]
    assert "market_max_qty" in set(reasons.rule)


def test_a_refusal_is_written_when_it_begins_and_again_after_it_ended() -> None:
    _, reasons, _ = orders([[0.019, NAN]] * 5 + [[0.0, NAN]] + [[0.019, NAN]] * 2, band=0.0)
    assert list(reasons.rule) == ["min_notional", "min_notional"]


def test_an_exit_above_the_market_maximum_leaves_in_pieces() -> None:
    sent, _, _ = orders(
        [[1.0, NAN], [1.5, NAN], [0.0, NAN], [0.0, NAN]], prices=(1.0, 1.0), leverage=4
    )
    assert list(sent.qty) == [1000.0, 500.0, -1000.0, -500.0]
    assert list(sent.status) == ["filled"] * 4
