"""What an exchange tells is booked as the account step would have done it itself, and decided on in the same way."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from quantcore.account_follow import (
    ENDED_ORDER,
    FLOWED,
    FORCED,
    FUNDED,
    TRADED,
    Heard,
    follow_bar,
)
from quantcore.account_plane import AccountPlane, Events
from quantcore.backtest.engine import check_conservation
from quantcore.fold import FoldState
from quantcore.kernels import layout as at
from quantcore.types import FillReason, OrderStatus
from tests.account.random_cases import case_targets
from tests.account.test_routed_account import routed_case, steps

FORCED_BY = {FillReason.LIQUIDATION, FillReason.SETTLEMENT}
ENDS = (OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED)
EXITS = (at.STOP_LOSS, at.TAKE_PROFIT, at.TRAILING_STOP, at.TIME_EXIT_US)


def exchange_of(plane: AccountPlane) -> AccountPlane:
    """Return the plane of an exchange, which decides nothing."""
    config = plane.config.copy()
    for column in (at.RISK_BAR_US, at.POST_ONLY, at.SLIPPAGE, *EXITS):
        config[column] = at.OFF
    return replace(plane, config=config)


def told_by_exchange(events: Events) -> Heard:
    """Return what the exchange tells of what it did."""
    rows: list[tuple[list[int], list[float]]] = []
    number = events.number
    own = events.whole[events.whole[:, at.KIND] == at.EVENT_NEW_ORDER, at.EVENT_ORDER]
    for n, (w, v) in enumerate(zip(events.whole, number, strict=True)):
        kind, ts, s, order = (int(w[c]) for c in (at.KIND, at.TS, at.EVENT_SYMBOL, at.EVENT_ORDER))
        state, reason, lots = (int(w[c]) for c in (at.EVENT_STATE, at.EVENT_REASON, at.EVENT_LOTS))
        if kind == at.EVENT_FILL and reason in FORCED_BY:
            liquidation = number[n + 2] if reason == FillReason.LIQUIDATION else np.zeros(6)
            signed = lots * int(w[at.EVENT_SIDE])
            rows.append(
                ([FORCED, ts, s, order, signed, 0, reason], [v[at.B], liquidation[at.C], liquidation[at.D]])
            )  # fmt: skip
        elif kind == at.EVENT_FILL:
            signed = lots * int(w[at.EVENT_SIDE])
            rows.append(([TRADED, ts, s, order, signed, state, -1], [v[at.B], 0.0, 0.0]))
        elif kind == at.EVENT_FUNDING:
            rows.append(([FUNDED, ts, s, 0, 0, state, -1], [v[at.C], v[at.B], 0.0]))
        elif kind == at.EVENT_FLOW:
            rows.append(([FLOWED, ts, -1, 0, 0, 0, -1], [v[at.A], 0.0, 0.0]))
        elif kind == at.EVENT_STATUS and state in ENDS and order not in own:
            rows.append(([ENDED_ORDER, ts, s, order, 0, state, reason], [0.0, 0.0, 0.0]))
    return Heard.of(rows)


def same_state(one: FoldState, other: FoldState) -> None:
    """Assert that two states are equal in all that decides anything."""
    for name, array in one.items():
        mine, yours = array.copy(), other[name].copy()
        if name == "order":  # only a matching engine knows how far its queue has come
            mine[:, at.QUEUE] = yours[:, at.QUEUE] = 0.0
        if name in ("order", "ticket"):
            mine, yours = (a[: one["counter"][at.OPEN_ORDERS]] for a in (mine, yours))
        if name == "position":  # the mark that orders inside a bar know, and that of no position
            mine[:, at.FORMER_MARK] = yours[:, at.FORMER_MARK] = 0.0
            flat = one["held"][:, at.LOTS] == 0
            mine[flat, at.MARK] = yours[flat, at.MARK] = 0.0
        if name == "held":  # which take-profits wait for the next bar, and a hint
            for column in (at.INTRABAR_TS, at.TIER):
                mine[:, column] = yours[:, column] = 0
        np.testing.assert_array_equal(mine, yours, err_msg=name)


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("routed", [True, False])
def test_an_account_that_is_told_what_happened_is_the_one_that_found_out(
    routed: bool, seed: int
) -> None:
    case = routed_case(seed, latency=1)
    if not routed:
        case = replace(case, router=None)
    targets = case_targets(case, 1.2 * case.leverage)
    draw, state = random.Random(seed), None
    for row, before, after, events, bars, plane in steps(case, targets):
        bar = bars.rows(row, row + 1)
        _, theirs = exchange_of(plane).advance(before, bar)
        told = told_by_exchange(theirs)
        held = before if state is None else state
        state, mine = follow_bar(plane, held, bar, told, targets=targets[row])
        same_state(state, after)
        check_conservation(plane.capital, state)
        wanted = events.whole[:, at.KIND] == at.EVENT_NEW_ORDER
        mine_wanted = mine.whole[:, at.KIND] == at.EVENT_NEW_ORDER
        np.testing.assert_array_equal(mine.whole[mine_wanted], events.whole[wanted])
        np.testing.assert_array_equal(mine.number[mine_wanted], events.number[wanted])
        np.testing.assert_array_equal(mine.curve, events.curve)
        for found, known in zip(mine.of(at.EVENT_FILL), events.of(at.EVENT_FILL), strict=True):
            np.testing.assert_array_equal(found, known)
        if draw.random() < 0.3:  # as after a restart
            state = FoldState.from_bytes(state.to_bytes())


@pytest.mark.parametrize("reason", sorted(FORCED_BY))
def test_a_position_closed_by_force_in_parts_is_as_one_closed_at_once(reason: FillReason) -> None:
    case = replace(routed_case(3, latency=1), router=None)
    row, after, bars, plane = next(
        (row, after, bars, plane)
        for row, _, after, _, bars, plane in steps(case, case_targets(case, 1.2 * case.leverage))
        if np.abs(after["held"][:, at.LOTS]).max() > 2 and row + 1 < bars.n_bars
    )
    s = int(np.argmax(np.abs(after["held"][:, at.LOTS])))
    lots, bar = int(after["held"][s, at.LOTS]), bars.rows(row + 1, row + 2)
    price = float(bar.array("close")[0, s])

    def told(*parts: tuple[int, float]) -> FoldState:
        rows = [
            ([FORCED, int(bar.ts_us[0]), s, 0, part, 0, reason], [price, fee, 0.0])
            for part, fee in parts
        ]
        return follow_bar(plane, after, bar, Heard.of(rows))[0]

    first = -lots // 3
    whole, parts = told((-lots, 3.0)), told((first, 1.0), (-lots - first, 2.0))
    assert whole["held"][s, at.LOTS] == parts["held"][s, at.LOTS] == 0
    np.testing.assert_allclose(parts["cash"], whole["cash"], rtol=1e-12)
    some = told((first, 1.0))
    assert some["held"][s, at.LOTS] == lots + first
