"""What is asked for against what it costs, inside the account step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quantcore.account_plane import AccountPlane, market_arrays
from quantcore.execution.costing import affordable_goal, count_volume, estimate_liquidity, learn
from quantcore.execution.router import RouterSettings
from quantcore.execution.routing import work_routes
from quantcore.execution.slippage import SlippageSettings
from quantcore.kernels import layout as at
from quantcore.kernels.layout import Account, Journal, Market
from quantcore.kernels.orders import ask
from quantcore.types import Rule
from tests.account.random_cases import Case, case_bars, case_plane

BUDGET = SlippageSettings(
    budget_bps=10.0, edge_multiple=0.0, half_spread_bps=0.5, prior_coefficient=1.0, prior_error=0.5,
    prior_noise=0.2, half_life_fills=50.0, liquidity_half_life_hours=24.0,
)  # fmt: skip


@pytest.mark.parametrize(("held", "goal", "left"), [(0, 50, 0), (20, 50, 20), (20, -50, 0)])
def test_before_any_estimate_nothing_opens_also_where_the_kernel_runs_interpreted(
    held: int, goal: int, left: int
) -> None:
    case = Case(slippage=BUDGET, n_bars=3)
    plane, state = case_plane(case), case_plane(case).start().copies()
    account = Account(**{name: state[name] for name in Account._fields})
    journal = Journal(
        np.zeros(2, dtype=np.int64), np.zeros((9, at.N_WHOLE), dtype=np.int64),
        np.zeros((9, at.N_NUMBER)), np.zeros((1, 0)),
    )  # fmt: skip
    market = market_arrays(case_bars(case))
    got = affordable_goal(
        account, plane.rules, journal, market, 0, plane.config, 0, held, goal
    )  # fmt: skip
    assert got == left
    assert journal.filled[0] == 1


def a_routed_account(*, routed: bool) -> tuple[Account, AccountPlane, Journal, Market]:
    """Return a fresh account whose first symbol turns over 1,000,000 USDT a day at 5 % of volatility."""
    router = RouterSettings(
        post_only=False, inside_ticks=0, requote_after_seconds=60.0, requote_bps=1.0, requotes_max=1,
        cross_after_seconds=1200.0, participation_max=0.01, slice_pause_seconds=120.0,
        schedule_urgency=0.0,
    )  # fmt: skip
    case = Case(
        slippage=BUDGET, n_bars=3, interval="1m", marks=False, router=router if routed else None
    )
    plane = case_plane(case)
    state = plane.start().copies()
    account = Account(**{name: state[name] for name in Account._fields})
    account.liquidity[0, at.DAILY_NOTIONAL] = 1e6
    account.liquidity[0, at.DAILY_VARIANCE] = 0.05**2
    account.liquidity[0, at.ESTIMATES] = 100.0
    journal = Journal(
        np.zeros(2, dtype=np.int64), np.zeros((9, at.N_WHOLE), dtype=np.int64),
        np.zeros((9, at.N_NUMBER)), np.zeros((1, 0)),
    )  # fmt: skip
    flat = {name: np.full((3, 3), 100.0) for name in ("open", "high", "low", "close")}
    flat["volume"] = np.full((3, 3), 1000.0)
    return account, plane, journal, market_arrays(replace(case_bars(case), fields=flat))


# Of 10 bps, half a basis point is the spread: 9.5 bps = 2/3 · 0.05 · sqrt(Q / 1e6), so Q = 812.25 USDT, 81 lots of 10.
AFFORDABLE = 81


@pytest.mark.parametrize("side", [1, -1])
def test_without_a_router_so_much_is_traded_as_one_order_may_cost(side: int) -> None:
    account, plane, journal, market = a_routed_account(routed=False)
    config = plane.config
    inputs = (account, plane.rules, journal, market, 0, config, 0)
    assert affordable_goal(*inputs, 0, 80 * side) == 80 * side
    assert journal.filled[0] == 0
    assert affordable_goal(*inputs, 0, 500 * side) == AFFORDABLE * side
    assert affordable_goal(*inputs, 10 * side, 500 * side) == (AFFORDABLE + 10) * side
    assert journal.whole[0, at.EVENT_REASON] == Rule.EXPECTED_COST


def test_with_a_router_what_is_too_dear_at_once_is_sliced_and_what_is_too_dear_in_slices_refused() -> (
    None
):
    # Ten slices in twenty minutes, one every two: up to 812 lots.
    account, plane, journal, market = a_routed_account(routed=True)
    inputs = (account, plane.rules, journal, market, 0, plane.config, 0)
    assert affordable_goal(*inputs, 0, 80) == 80
    assert account.route[0, at.SLICES] == 0
    assert affordable_goal(*inputs, 0, 800) == 800
    assert account.route[0, at.SLICES] == 10  # of 80 lots
    assert affordable_goal(*inputs, 0, 830) == 0
    assert affordable_goal(*inputs, 0, 830) == 0
    assert account.route[0, at.SLICES] == 0
    assert journal.filled[0] == 1, "a refusal is written when it begins"


def test_an_order_that_opens_is_sliced_and_one_that_is_urgent_or_only_reduces_is_not() -> None:
    for held, goal, urgent, lots in (
        (0, 800, False, 80),  # a tenth: ten equal slices
        (0, 800, True, 800),
        (800, 0, False, 100),  # a hundredth of 1,000 coins, in lots of 0.1
        (800, 0, True, 800),
    ):
        account, plane, journal, market = a_routed_account(routed=True)
        account.cash[at.WALLET] = account.cash[at.EQUITY] = 1e6
        account.held[0, at.LOTS], account.position[0, at.QTY] = held, 0.1 * held
        account.position[0, [at.ENTRY, at.MARK]] = 100.0
        account.route[0, at.SLICES] = 7  # of an earlier goal
        ask(account, 0, goal, 0, urgent)
        work_routes(account, plane.rules, journal, market, 0, plane.config)
        assert account.route[0, at.CHILD_LOTS] == lots, f"{held} to {goal}"
        assert account.held[0, at.ASKED] == 0


def test_liquidity_is_learnt_as_of_a_day_from_what_traded_since_the_last_time() -> None:
    case = Case(slippage=BUDGET, n_bars=3, interval="1m", marks=False)
    plane = case_plane(case)
    state = plane.start().copies()
    account = Account(**{name: state[name] for name in Account._fields})
    closes = np.array([[100.0] * 3, [102.0] * 3, [102.0] * 3])
    fields = dict.fromkeys(("open", "high", "low", "close"), closes)
    fields["volume"] = np.full((3, 3), 10.0)
    market = market_arrays(replace(case_bars(case), fields=fields))
    known = account.liquidity[0]
    for row in range(3):
        count_volume(account, market, row)
        estimate_liquidity(account, market, row, plane.config)
        assert known[at.TRADED] == 0.0
        if row == 1:  # 10 coins at 102 in an hour, and 2 %
            assert known[at.DAILY_NOTIONAL] == pytest.approx(24 * 1020.0)
            assert known[at.DAILY_VARIANCE] == pytest.approx(24 * 0.02**2)
    assert known[at.DAILY_NOTIONAL] == pytest.approx(24 * 1020.0)
    assert known[at.DAILY_VARIANCE] < 24 * 0.02**2


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_what_crossed_dearly_makes_crossing_dearer_and_is_learnt_once(side: float) -> None:
    account, plane, _, _ = a_routed_account(routed=False)
    known = account.liquidity[0]
    known[at.PAID_NOTIONAL], known[at.PAID_REFERENCE] = side * 1e4, 100.0
    known[at.PAID] = 100.0 + 2.0 * side
    before = known[0]
    learn(account, plane.config)
    after = known[0]
    assert after > before
    assert known[at.PAID_NOTIONAL] == 0.0
    learn(account, plane.config)
    assert known[0] == after
