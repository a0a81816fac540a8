"""A stage in the account: symbols without a price, the day's choice, forced reductions; and isolated leverage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quantcore.account_plane import market_arrays
from quantcore.kernels import layout as at
from quantcore.kernels.layout import Account
from quantcore.risk.liquidation_monitor import lower_leverage
from quantcore.risk.stage import hold_what_fits
from quantcore.timegrid import DAY_US
from tests.account.random_cases import Case, case_bars, case_plane
from tests.account.several import NAN, limits


def test_a_symbol_without_a_price_is_left_out_also_where_the_kernel_runs_interpreted() -> None:
    case = Case(risk=limits(size_limit=0.5), n_bars=2, marks=False, capital=1e5, leverage=1)
    plane, made = case_plane(case), case_bars(case)
    closes = made.array("close").copy()
    closes[:, 1] = NAN
    market = market_arrays(replace(made, fields={**made.fields, "close": closes}))
    state = plane.start().copies()
    account = Account(**{name: state[name] for name in Account._fields})
    allowed, forced = np.array([[0.4, 0.4, 0.4]]), np.zeros(3, dtype=np.bool_)
    hold_what_fits(account, plane.rules, market, 0, plane.config, allowed, forced)
    assert allowed[0, 1] == 0.0
    assert 0.55 < allowed.sum() <= 0.6  # half of what is wanted, spread over the other two
    assert account.held[:, at.CHOSEN].tolist() == [1, 0, 1]


def staged(
    ts_us: int, chosen: list[int], held: list[int], allowed: list[float], forced: list[bool]
) -> tuple[list[float], list[int]]:
    """Return allowed weights and chosen symbols of a stage of a tenth, with 1,000 USDT and orders of 5, 5 and 100."""
    case = Case(risk=limits(size_limit=0.1), n_bars=1, marks=False, leverage=1)
    plane, made = case_plane(case), case_bars(case)
    closes = np.array([[100.0, 10.0, 20000.0]])
    fields = {**made.fields, **dict.fromkeys(("open", "high", "low", "close"), closes)}
    market = market_arrays(replace(made, fields=fields))._replace(ts_us=np.array([ts_us]))
    state = plane.start().copies()
    account = Account(**{name: state[name] for name in Account._fields})
    account.held[:, at.CHOSEN], account.held[:, at.LOTS] = chosen, held
    weights = np.array([allowed])
    hold_what_fits(account, plane.rules, market, 0, plane.config, weights, np.array(forced))
    return [round(float(w), 6) for w in weights[0]], account.held[:, at.CHOSEN].tolist()


NOON, MIDNIGHT = DAY_US // 2, DAY_US
NONE_FORCED = [False, False, False]


def test_which_symbols_are_held_is_chosen_at_midnight_and_kept_for_the_day() -> None:
    # A tenth of 0.6 is 0.06: with A and B alike 0.03 each. C needs 0.1 for its smallest order.
    wanted = [0.3, 0.3, 0.0]
    assert staged(NOON, [1, 0, 0], [0, 0, 0], wanted, NONE_FORCED) == ([0.06, 0.0, 0.0], [1, 0, 0])
    assert staged(MIDNIGHT, [1, 0, 0], [0, 0, 0], wanted, NONE_FORCED) == (
        [0.03, 0.03, 0.0],
        [1, 1, 0],
    )


def test_when_none_of_the_days_symbols_is_wanted_any_more_others_are_chosen() -> None:
    weights, chosen = staged(NOON, [0, 0, 1], [0, 0, 0], [0.3, 0.3, 0.0], NONE_FORCED)
    assert weights == [0.03, 0.03, 0.0]
    assert chosen == [1, 1, 0]


def test_what_exceeds_a_limit_is_not_the_stages_to_change() -> None:
    weights, _ = staged(NOON, [1, 1, 0], [9, 9, 0], [0.3, 0.3, 0.0], [True, False, False])
    assert weights == [0.3, 0.03, 0.0]


@pytest.mark.parametrize(
    ("isolated", "lots", "resting", "ceiling", "expected"),
    [
        (True, 0, 0, 6.0, 4.0),  # 0.8 of it, in whole numbers
        (True, 0, 0, 1.0, 1.0),
        (True, 0, 0, 1e9, 10.0),
        (True, 5, 0, 6.0, 10.0),
        (True, 0, 1, 6.0, 10.0),
        (False, 0, 0, 6.0, 10.0),
    ],
)
def test_isolated_leverage_is_lowered_while_there_is_neither_position_nor_order(
    isolated: bool, lots: int, resting: int, ceiling: float, expected: float
) -> None:
    case = Case(isolated=isolated, leverage=10)
    plane = case_plane(case)
    state = plane.start().copies()
    account = Account(**{name: state[name] for name in Account._fields})
    account.held[0, at.LOTS], account.held[0, at.RESTING] = lots, resting
    lower_leverage(account, plane.rules, 0, ceiling)
    assert account.position[0, at.LEVERAGE_SET] == expected
