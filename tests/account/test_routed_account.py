"""The router inside the account: it overshoots nothing, doubles nothing and leaves nothing behind, bar after bar."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from quantcore.account_plane import AccountPlane, Events
from quantcore.backtest.engine import check_conservation
from quantcore.execution.router import RouterSettings, RouterState
from quantcore.execution.settings import RestingSettings
from quantcore.exits import ExitSettings
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.orders import OrderRequest, order_script
from quantcore.timegrid import MINUTE_US
from quantcore.types import (
    FillReason,
    FloatArray,
    Liquidity,
    OrderStatus,
    OrderType,
    RiskLevel,
    Side,
    TimeInForce,
)
from tests.account.random_cases import (
    NO_EXITS,
    SYMBOLS,
    TICKS,
    Case,
    case_bars,
    case_instruments,
    case_plane,
    case_targets,
    random_limits,
    random_resting,
    random_router,
    random_slippage,
    stamp_text,
)

FINAL = {OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED}


def routed_case(seed: int, *, latency: int | None = None) -> Case:
    draw = random.Random(seed)
    exits = ExitSettings(
        stop_loss=draw.choice([None, 0.003, 0.02]),
        take_profit=draw.choice([None, 0.01]),
        trailing_stop=draw.choice([None, 0.01]),
        time_exit=draw.choice([None, 12]),
    )
    return Case(
        seed=draw.randrange(2**31),
        n_bars=80,
        leverage=draw.choice([1, 3, 10]),
        isolated=draw.random() < 0.3,
        capital=draw.choice([100.0, 1e3, 1e4, 1e5]),
        interval=draw.choice(["1m", "1m", "5m"]),
        volatility=draw.choice([0.0003, 0.001, 0.004]),
        crash=draw.choice([0.0, 0.0, 0.3]),
        marks=draw.random() < 0.7,
        holes=draw.random() < 0.3,
        ends=draw.random() < 0.2,
        costs_bps=draw.choice([0.0, 2.0, 20.0]),
        latency_bars=latency or draw.choice([1, 1, 1, 2, 3]),
        small_maximum=draw.random() < 0.2,
        exits=exits,
        no_trade_band=draw.choice([0.0, 0.05]),
        risk=random_limits(draw) if draw.random() < 0.5 else None,
        router=random_router(draw),
        resting=random_resting(draw),
        slippage=random_slippage(draw) if draw.random() < 0.3 else None,
    )


def steps(
    case: Case, targets: FloatArray | None = None
) -> Iterator[tuple[int, FoldState, FoldState, Events, Bars, AccountPlane]]:
    """Yield row, state before and after it, and what happened, one bar at a time."""
    bars, plane = case_bars(case), case_plane(case)
    wanted = case_targets(case, 1.2 * case.leverage) if targets is None else targets
    state = plane.start()
    for row in range(bars.n_bars):
        before = state
        state, events = plane.advance(
            before, bars.rows(row, row + 1), targets=wanted[row : row + 1]
        )
        yield row, before, state, events, bars, plane


def lots_at(price: float, notional: float, lot: float) -> float:
    return notional / (price * lot)


SEEDS = range(120)


@pytest.mark.parametrize("seed", SEEDS)
def test_at_every_close_routes_and_orders_agree_and_no_fill_goes_beyond_its_goal(seed: int) -> None:
    case = routed_case(seed)
    for row, before, state, events, _, plane in steps(case):
        check_conservation(plane.capital, state)
        open_orders = state["ticket"][: state["counter"][at.OPEN_ORDERS]]
        routed = open_orders[open_orders[:, at.CLIENT] <= at.ROUTED]
        active = state["route"][:, at.STATE] != RouterState.IDLE
        assert state["counter"][at.ACTIVE_ROUTES] == active.sum()
        for s, route in enumerate(state["route"]):
            mine = routed[routed[:, at.SYMBOL] == s]
            if route[at.STATE] in (RouterState.IDLE, RouterState.PAUSING):
                assert len(mine) == 0, f"bar {row}: an order without its route"
                assert route[at.CHILD] == -1
                continue
            assert len(mine) == 1, f"bar {row}: a route with {len(mine)} orders"
            assert mine[0, at.CLIENT] == at.ROUTED - route[at.CHILD]
            assert mine[0, at.ORDER_LOTS] == route[at.CHILD_LOTS]
            assert mine[0, at.SIDE] == route[at.CHILD_SIDE]
        # With more delay a market order may be on its way while its goal changes: that is followed by the way back.
        if case.latency_bars == 1:
            check_fills(before, events, row)


def check_fills(before: FoldState, events: Events, row: int) -> None:
    """Assert that what the router's orders traded brings the position toward the goal they had, and not beyond."""
    routed = {
        int(t[at.ORDER_ID]): int(t[at.FLAGS])
        for t in before["ticket"][: before["counter"][at.OPEN_ORDERS]]
        if t[at.CLIENT] <= at.ROUTED
    }
    held = before["held"][:, at.LOTS].copy()
    for whole in events.of(at.EVENT_FILL)[0]:
        s, lots = whole[at.EVENT_SYMBOL], whole[at.EVENT_SIDE] * whole[at.EVENT_LOTS]
        order = int(whole[at.EVENT_ORDER])
        if order in routed:
            goal = before["route"][s, at.GOAL]
            after = held[s] + lots
            assert whole[at.EVENT_SIDE] * (goal - after) >= 0, f"bar {row}: {after} beyond {goal}"
            if routed[order] == at.REDUCE_ONLY:
                assert abs(after) < abs(held[s])
                assert after * held[s] >= 0
        held[s] += lots


@pytest.mark.parametrize("seed", SEEDS)
def test_every_order_of_the_router_keeps_the_filters_and_only_one_is_alive(seed: int) -> None:
    case = routed_case(seed)
    bars, plane = case_bars(case), case_plane(case)
    _, events = plane.advance(plane.start(), bars, targets=case_targets(case, 1.2 * case.leverage))
    alive: dict[int, int] = {}
    of_symbol: dict[int, int] = {}
    posted = crossed = 0
    for whole, number in zip(events.whole, events.number, strict=True):
        kind, order, s = whole[at.KIND], int(whole[at.EVENT_ORDER]), int(whole[at.EVENT_SYMBOL])
        if kind == at.EVENT_STATUS and whole[at.EVENT_STATE] in FINAL:
            alive.pop(order, None)
        if kind != at.EVENT_NEW_ORDER or whole[at.EVENT_CLIENT] > at.ROUTED:
            continue
        assert s not in {of_symbol[o] for o in alive}, f"order {order} beside {alive}"
        alive[order] = int(whole[at.EVENT_LOTS])
        of_symbol[order] = s
        row = int(np.searchsorted(bars.ts_us, whole[at.TS]))
        close = float(bars.array("close")[row, s])
        assert whole[at.EVENT_DECISION] <= whole[at.TS]
        size, rate = plane.rules.size[s], plane.rules.rate[s]
        posts = whole[at.EVENT_TYPE] == OrderType.LIMIT
        most = size[at.LIMIT_MAX_LOTS if posts else at.MARKET_MAX_LOTS]
        assert 1 <= whole[at.EVENT_LOTS] <= most
        assert number[at.D] >= number[at.A] * (1.0 - 1e-12)  # no more than its decision wants
        if whole[at.EVENT_FLAGS] == 0:
            assert whole[at.EVENT_LOTS] >= size[at.MIN_LOTS]
            assert number[at.A] * number[at.B] >= rate[at.MIN_NOTIONAL]
        if posts:
            posted += 1
            assert whole[at.EVENT_TIF] == TimeInForce.GTX
            ticks = number[at.B] / float(TICKS[s])
            assert ticks == pytest.approx(round(ticks), abs=1e-6)
            # Never at or beyond the other side, which is half a spread and at least a tick away.
            half = rate[at.HALF_SPREAD]
            ask = close * (1.0 + half * whole[at.EVENT_SIDE])
            assert (number[at.B] - ask) * whole[at.EVENT_SIDE] < float(TICKS[s])
        else:
            crossed += 1
    if case.router is not None and not case.router.post_only:
        assert posted == 0


def test_the_cases_post_cross_fill_in_parts_and_are_called_off() -> None:
    """The properties above hold for something: each of these happens in some of their cases."""
    seen: dict[str, int] = dict.fromkeys(
        ("maker", "taker", "part", "would_cross", "canceled", "exit", "risk", "dropped", "dear"), 0
    )
    for seed in SEEDS:
        case = routed_case(seed)
        bars, plane = case_bars(case), case_plane(case)
        targets = case_targets(case, 1.2 * case.leverage)
        _, events = plane.advance(plane.start(), bars, targets=targets)
        fills = events.of(at.EVENT_FILL)[0]
        ended = events.of(at.EVENT_STATUS)[0]
        why = events.of(at.EVENT_WHY)[0]
        seen["maker"] += int((fills[:, at.EVENT_STATE] == Liquidity.MAKER).sum())
        seen["taker"] += int((fills[:, at.EVENT_STATE] == Liquidity.TAKER).sum())
        seen["part"] += int((ended[:, at.EVENT_STATE] == OrderStatus.PARTIALLY_FILLED).sum())
        seen["would_cross"] += int((ended[:, at.EVENT_REASON] == 5).sum())
        seen["canceled"] += int((ended[:, at.EVENT_STATE] == OrderStatus.CANCELED).sum())
        seen["exit"] += int((fills[:, at.EVENT_REASON] == FillReason.TIME_EXIT).sum())
        seen["risk"] += int((fills[:, at.EVENT_REASON] == FillReason.RISK).sum())
        seen["dropped"] += int((why[:, at.EVENT_STATE] == 6).sum())
        seen["dear"] += int((why[:, at.EVENT_STATE] == 7).sum())
    assert all(count >= 5 for count in seen.values()), seen


@pytest.mark.parametrize("seed", range(60))
def test_a_target_that_stays_is_reached_or_dropped_within_the_routers_patience(seed: int) -> None:
    draw = random.Random(seed)
    case = replace(
        routed_case(seed, latency=1), exits=NO_EXITS, risk=None, slippage=None, crash=0.0, holes=False, ends=False,
        leverage=10, capital=1e4, n_bars=80, no_trade_band=0.9, small_maximum=False, isolated=False,
        bracket_scale=100.0,
    )  # fmt: skip
    assert case.router is not None
    router = replace(case.router, participation_max=1.0, cross_after_seconds=300.0)
    case = replace(case, router=router, interval="1m")
    targets = np.full((case.n_bars, len(SYMBOLS)), np.nan)
    targets[0] = [draw.choice([-1.5, 1.2, 2.0]) for _ in SYMBOLS]
    targets[40] = 0.0
    for row, before, state, _, _, _ in steps(case, targets):
        # Patience, then a cancel and a market order; a slice may take one bar each.
        if row in (39, 79):
            assert state["counter"][at.ACTIVE_ROUTES] == 0
            assert state["counter"][at.OPEN_ORDERS] == 0
        if row == 39:
            goals = before["route"][:, at.GOAL]
            assert (state["held"][:, at.LOTS] == goals).all()
            assert (goals != 0).all()
        if row == 79:
            assert (state["held"][:, at.LOTS] == 0).all()


@pytest.mark.parametrize("seed", range(80))
def test_what_exceeds_a_symbols_limit_crosses_at_once(seed: int) -> None:
    """Seen at every close: whatever rests is called off, and the reduction is a market order of the next open."""
    draw = random.Random(seed)
    limits = replace(
        random_limits(draw), leverage_max=3.0, symbol_max=0.4, cluster_max=None, net_max=None, size_limit=1.0,
        volatility_floor=0.0, stress_move=0.0,
        liquidation_probability_max=None, daily_var_max=None,
    )  # fmt: skip
    case = replace(
        routed_case(seed, latency=1), risk=limits, exits=NO_EXITS, slippage=None, leverage=5, volatility=0.01,
        crash=0.0, holes=False, ends=False, isolated=False, capital=1e4, no_trade_band=0.0, interval="1m",
    )  # fmt: skip
    for row, _, state, _, _, plane in steps(case):
        equity = state["cash"][at.EQUITY]
        for s in range(len(SYMBOLS)):
            lots = int(state["held"][s, at.LOTS])
            mark = state["position"][s, at.MARK]
            lot = plane.rules.size[s, at.STEP_NUMERATOR] / plane.rules.size[s, at.STEP_DENOMINATOR]
            if abs(lots) * lot * mark <= 0.4 * equity * (1.0 + 1e-9):
                continue
            route = state["route"][s]
            goal = route[at.GOAL] if route[at.STATE] != RouterState.IDLE else lots
            assert abs(goal) * lot * mark <= 0.4 * equity or goal * lots <= 0, f"bar {row}"
            assert route[at.STATE] == RouterState.CROSSING, f"bar {row}"
            assert route[at.CHILD_SIDE] * lots < 0
            if state["risk"][at.LEVEL] < RiskLevel.HALT:
                assert route[at.GOAL_REASON] == FillReason.RISK, f"bar {row}"
            if case.small_maximum:
                continue
            left = lots + route[at.CHILD_SIDE] * route[at.CHILD_LOTS]
            assert abs(left) * lot * mark <= 0.4 * equity


@pytest.mark.parametrize("seed", range(80))
def test_every_position_has_its_stop_at_the_close_that_filled_it_or_is_leaving(seed: int) -> None:
    case = routed_case(seed, latency=1)
    case = replace(case, exits=replace(case.exits, stop_loss=0.01), holes=False)
    for row, _, state, _, _, _ in steps(case):
        orders = state["ticket"][: state["counter"][at.OPEN_ORDERS]]
        for s in range(len(SYMBOLS)):
            lots = int(state["held"][s, at.LOTS])
            if lots == 0:
                continue
            stops = orders[
                (orders[:, at.SYMBOL] == s)
                & (orders[:, at.REASON] == FillReason.STOP_LOSS)
                & (orders[:, at.TYPE] == OrderType.STOP_MARKET)
            ]
            route = state["route"][s]
            leaving = route[at.STATE] == RouterState.CROSSING and route[at.GOAL] * lots <= 0
            assert leaving or (len(stops) == 1 and stops[0, at.SIDE] * lots < 0), f"bar {row}, {s}"


@pytest.mark.parametrize("seed", range(40))
def test_pieces_joined_by_states_give_the_same_bits(seed: int) -> None:
    case = routed_case(seed)
    bars, plane = case_bars(case), case_plane(case)
    targets = case_targets(case, 1.2 * case.leverage)
    state, events = plane.advance(plane.start(), bars, targets=targets)
    parts = list(steps(case))
    for name, values in parts[-1][2].copies().items():
        assert np.array_equal(state[name], values, equal_nan=values.dtype.kind == "f"), name
    whole = np.concatenate([part[3].whole for part in parts])
    assert np.array_equal(events.whole, whole)


# A market of one symbol, bar by bar, with the arithmetic beside it. Ticks of 0.1, lots of 0.1, volume 100 a bar.
PATIENT = RouterSettings(
    post_only=True,
    inside_ticks=0,
    requote_after_seconds=120.0,
    requote_bps=1000.0,
    requotes_max=1,
    cross_after_seconds=240.0,
    participation_max=1.0,
    slice_pause_seconds=0.0,
    schedule_urgency=1.0,
)
BASE = Case(
    capital=1000.0, leverage=5, interval="1m", marks=False, funding=False, costs_bps=0.0, router=PATIENT,
    resting=RestingSettings(queue_ahead=0.05, touch_share=0.03),
)  # fmt: skip


def story(
    rows: list[tuple[float, float, float, float]],
    weights: dict[int, float],
    case: Case = BASE,
) -> tuple[FoldState, Events]:
    """Run the first symbol alone over given bars; the others have no price."""
    case = replace(case, n_bars=len(rows))
    made = case_bars(case)
    fields = {
        name: np.full(made.array("close").shape, np.nan)
        for name in ("open", "high", "low", "close", "volume")
    }
    for k, row in enumerate(rows):
        for name, value in zip(("open", "high", "low", "close"), row, strict=True):
            fields[name][k, 0] = value
        fields["volume"][k, 0] = 100.0
    bars = replace(made, fields=fields)
    targets = np.full((len(rows), len(SYMBOLS)), np.nan)
    for row_number, weight in weights.items():
        targets[row_number, 0] = weight
    plane = case_plane(case)
    return plane.advance(plane.start(), bars, targets=targets)


def told(events: Events) -> list[str]:
    """Return orders and fills in words: minute, what, lots, price."""
    lines = []
    first = int(events.curve_ts[0]) if len(events.curve_ts) else int(events.whole[0, at.TS])
    for whole, number in zip(events.whole, events.number, strict=True):
        minute = (int(whole[at.TS]) - first) // MINUTE_US
        side = {1: "buy", -1: "sell"}.get(int(whole[at.EVENT_SIDE]), "")
        if whole[at.KIND] == at.EVENT_NEW_ORDER:
            kind = OrderType(whole[at.EVENT_TYPE]).name.lower()
            price = f" at {number[at.B]:g}" if kind == "limit" else ""
            lines.append(f"{minute} {kind} {side} {number[at.A]:g}{price}")
        elif whole[at.KIND] == at.EVENT_FILL:
            how = Liquidity(whole[at.EVENT_STATE]).name.lower()
            lines.append(f"{minute} filled {side} {number[at.A]:g} at {number[at.B]:g} {how}")
        elif whole[at.KIND] == at.EVENT_STATUS and whole[at.EVENT_STATE] in (
            OrderStatus.CANCELED, OrderStatus.REJECTED
        ):  # fmt: skip
            lines.append(f"{minute} {OrderStatus(whole[at.EVENT_STATE]).name.lower()}")
    return lines


def test_a_post_only_order_is_filled_as_maker_once_the_bar_trades_through_it() -> None:
    # Half the capital of 1,000 at 100: 5 coins. Spread 0: bid 100, ask 100.1.
    _, events = story([(100, 100, 100, 100), (100.1, 100.2, 99.9, 100.1)], {0: 0.5})
    assert told(events) == ["0 limit buy 5 at 100", "1 filled buy 5 at 100 maker"]
    assert events.of(at.EVENT_FILL)[1][0, at.C] == pytest.approx(5 * 100 * 0.0002)


def test_touches_fill_what_trades_there_after_the_queue() -> None:
    # Queue 5 % of 100 coins = 5; each touch trades 3 % of 100 = 3: 5 - 3 = 2 left, then 3 - 2 = 1 is ours, then 3.
    touch = (100.1, 100.2, 100.0, 100.1)
    case = replace(BASE, router=replace(PATIENT, requote_after_seconds=3600.0))
    _, events = story([(100, 100, 100, 100), touch, touch, touch], {0: 0.5}, case)
    assert told(events) == [
        "0 limit buy 5 at 100",
        "2 filled buy 1 at 100 maker",
        "3 filled buy 3 at 100 maker",
    ]


def test_every_limit_that_a_bar_touches_has_its_turn() -> None:
    case = replace(
        BASE, router=None, resting=RestingSettings(queue_ahead=0.0, touch_share=0.05), n_bars=3
    )
    made = case_bars(case)
    fields = {
        name: np.full((3, len(SYMBOLS)), np.nan)
        for name in ("open", "high", "low", "close", "volume")
    }
    for name, values in (
        ("open", 100.1),
        ("high", 100.2),
        ("low", 100.0),
        ("close", 100.1),
        ("volume", 100.0),
    ):
        fields[name][:, 0] = values
    fields["low"][0, 0] = 100.1
    bars, plane = replace(made, fields=fields), case_plane(case)
    # 5 % of 100 coins trade at the price for each: the first is filled whole and leaves, the second and third follow.
    requests = [
        OrderRequest(
            ts=stamp_text(int(bars.ts_us[0])), symbol=SYMBOLS[0], side=Side.BUY, type=OrderType.LIMIT, qty=qty,
            price=100.0, time_in_force=TimeInForce.GTC,
        )
        for qty in (2.0, 3.0, 7.0)
    ]  # fmt: skip
    script = order_script(requests, bars, case_instruments(case))
    _, events = plane.advance(plane.start(), bars, script=script)
    assert [line for line in told(events) if "filled" in line] == [
        "1 filled buy 2 at 100 maker",
        "1 filled buy 3 at 100 maker",
        "1 filled buy 5 at 100 maker",
        "2 filled buy 2 at 100 maker",
    ]


def test_a_quote_left_behind_follows_once_and_then_crosses() -> None:
    away = (100.5, 100.6, 100.4, 100.5)
    _, events = story([(100, 100, 100, 100), away, away, away, away, away, away], {0: 0.5})
    assert told(events) == [
        "0 limit buy 5 at 100",  # left behind at minute 1, and old enough to follow at 2
        "2 canceled",
        "2 limit buy 5 at 100.5",
        "3 rejected",  # it opens at 100.5: the order would cross; that was one re-quote too many
        "3 market buy 5",
        "4 filled buy 5 at 100.5 taker",
    ]


def test_after_its_patience_the_rest_crosses() -> None:
    still = (100.1, 100.1, 100.1, 100.1)
    case = replace(BASE, resting=None)
    _, events = story([(100, 100, 100, 100), *[still] * 6], {0: 0.5}, case)
    assert told(events) == [
        "0 limit buy 5 at 100",
        "2 canceled",  # after two minutes it follows the touch
        "2 limit buy 5 at 100.1",
        "3 rejected",
        "3 market buy 5",
        "4 filled buy 5 at 100.1 taker",
    ]


def test_a_target_that_turns_closes_first_and_then_opens() -> None:
    case = replace(BASE, router=replace(PATIENT, post_only=False))
    flat = (100.0, 100.0, 100.0, 100.0)
    _, events = story([flat] * 6, {0: 0.5, 2: -0.3}, case)
    # 1,000 less 0.25 of fees: -0.3 of 999.75 is 2.9 coins in whole lots of 0.1.
    assert told(events) == [
        "0 market buy 5",
        "1 filled buy 5 at 100 taker",
        "2 market sell 5",
        "3 filled sell 5 at 100 taker",
        "3 market sell 2.9",
        "4 filled sell 2.9 at 100 taker",
    ]
    new = events.of(at.EVENT_NEW_ORDER)[0]
    assert new[:, at.EVENT_FLAGS].tolist() == [0, at.REDUCE_ONLY, 0]


def test_an_exit_calls_off_what_rests_and_crosses() -> None:
    # A time exit after 3 bars, while half of the position still rests in the book.
    case = replace(BASE, exits=replace(NO_EXITS, time_exit=3))
    touch, quiet = (100.1, 100.2, 100.0, 100.1), (100.1, 100.2, 100.1, 100.1)
    state, events = story([(100, 100, 100, 100), touch, touch, quiet, quiet, quiet, quiet], {0: 0.5}, replace(
        case, router=replace(PATIENT, requotes_max=50, requote_after_seconds=3600.0, cross_after_seconds=3600.0)
    ))  # fmt: skip
    assert told(events) == [
        "0 limit buy 5 at 100",
        "2 filled buy 1 at 100 maker",
        "5 canceled",
        "5 market sell 1",
        "6 filled sell 1 at 100.1 taker",
    ]
    assert events.of(at.EVENT_FILL)[0][-1, at.EVENT_REASON] == FillReason.TIME_EXIT
    assert state["held"][0, at.LOCK] == 1


def test_a_stop_that_fills_beside_a_resting_order_leaves_nothing_behind() -> None:
    # 1 coin is held, 4 rest at 100 when the bar falls through both the order and the stop at 98.
    case = replace(
        BASE, exits=replace(NO_EXITS, stop_loss=0.02),
        router=replace(PATIENT, requotes_max=50, requote_after_seconds=3600.0, cross_after_seconds=3600.0),
    )  # fmt: skip
    touch, fall = (100.1, 100.2, 100.0, 100.1), (100.1, 100.1, 97.0, 97.5)
    flat = (97.5, 97.5, 97.5, 97.5)
    state, _ = story([(100, 100, 100, 100), touch, touch, fall, flat, flat, flat], {0: 0.5}, case)
    assert state["held"][0, at.LOTS] == 0
    assert state["counter"][at.OPEN_ORDERS] == 0
    assert state["counter"][at.ACTIVE_ROUTES] == 0


def test_on_bars_over_five_minutes_every_order_crosses() -> None:
    case = replace(BASE, interval="15m")
    bars, plane = case_bars(replace(case, n_bars=4)), case_plane(replace(case, n_bars=4))
    assert len(plane.start()["route"]) == 0
    targets = np.full((4, 3), np.nan)
    targets[0] = 0.3
    _, events = plane.advance(plane.start(), bars, targets=targets)
    assert (events.of(at.EVENT_FILL)[0][:, at.EVENT_STATE] == Liquidity.TAKER).all()
    assert len(events.of(at.EVENT_FILL)[0]) == 3


def test_a_halted_account_is_flat_a_bar_later_even_when_the_monitor_acts_on_the_same_close() -> (
    None
):
    """At one close the margin ratio passes its threshold and the day's loss its limit: all is closed, not a part."""
    limits = replace(
        random_limits(random.Random(0)), leverage_max=20.0, net_max=None, symbol_max=None, cluster_max=None,
        daily_var_max=None, drawdown_max=None, daily_loss_max=0.05, size_limit=1.0, liquidation_probability_max=None,
        stress_move=0.0, volatility_floor=0.0, margin_ratio_max=0.1, margin_ratio_after=0.05, halts_max=2,
        protective_stop=None,
    )  # fmt: skip
    flat, fall = (100.0, 100.0, 100.0, 100.0), (100.0, 100.0, 90.0, 90.0)
    for router in (None, PATIENT):
        case = replace(BASE, router=router, risk=limits, leverage=10, resting=None)
        rows = [flat, flat, flat, fall, (90.0, 90.0, 90.0, 90.0)]
        weights = {0: 5.0}
        if router is not None:
            rows[1] = (100.0, 100.1, 99.9, 100.0)
        state, events = story(rows, weights, case)
        why = events.of(at.EVENT_WHY)[0]
        assert {int(r) for r in why[:, at.EVENT_REASON]} >= {15, 22}, "both act"
        assert state["risk"][at.LEVEL] >= RiskLevel.HALT
        assert state["held"][0, at.LOTS] == 0
        assert not math.isnan(state["cash"][at.EQUITY])
