"""Whatever the world: what may be held keeps every limit, exits are never held back, a halt is left only in time."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcore.account_plane import market_arrays
from quantcore.kernels import layout as at
from quantcore.kernels.layout import Account, Journal
from quantcore.risk.controller import N_WORK, check_alone
from quantcore.risk.limits import RiskSettings, configure
from quantcore.risk.liquidation_monitor import sigmas_of_chance
from quantcore.timegrid import DAY_US, HOUR_US, to_us
from quantcore.types import BoolArray, FloatArray, RiskLevel, Rule, Stage
from tests.account.random_cases import (
    SYMBOLS,
    Case,
    case_bars,
    case_plane,
    random_limits,
)

MIDNIGHT = to_us("2024-03-01")
SAME = 1e-9
CASE = Case(n_bars=2)
MARKET = market_arrays(case_bars(CASE))
RULES = case_plane(CASE).rules


@dataclass
class World:
    """An account in a random state, and what it wants."""

    account: Account
    targets: FloatArray
    config: FloatArray
    limits: RiskSettings

    @property
    def held(self) -> FloatArray:
        qty, mark = self.account.position[:, at.QTY], self.account.position[:, at.MARK]
        return np.asarray(qty * mark / self.account.cash[at.EQUITY])

    def check(self, ts_us: int = MIDNIGHT + HOUR_US) -> tuple[FloatArray, BoolArray, Journal]:
        market = MARKET._replace(ts_us=np.array([0, ts_us]))
        journal = Journal(
            np.zeros(2, dtype=np.int64), np.zeros((200, at.N_WHOLE), dtype=np.int64),
            np.zeros((200, at.N_NUMBER)), np.zeros((1, 1)),
        )  # fmt: skip
        allowed, forced = np.empty((1, len(SYMBOLS))), np.zeros(len(SYMBOLS), dtype=np.bool_)
        check_alone(
            self.account, RULES, journal, market, 1, self.config, self.targets[None], 0,
            np.empty((N_WORK, len(SYMBOLS))), allowed, forced,
        )  # fmt: skip
        return allowed[0], forced, journal


def world(seed: int) -> World:
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    limits = random_limits(draw)
    state = case_plane(replace(CASE, risk=limits)).start().copies()
    del state["symbols"]
    account = Account(**state)
    lots = rng.integers(-40, 41, 3) * (rng.random(3) < 0.7)
    steps = RULES.size[:, at.STEP_NUMERATOR] / RULES.size[:, at.STEP_DENOMINATOR]
    account.held[:, at.LOTS] = lots
    account.position[:, at.QTY] = lots * steps
    account.position[:, at.MARK] = account.position[:, at.ENTRY] = [100.0, 10.0, 20000.0]
    mixed = rng.normal(0.0, 1.0, (3, 3)) * rng.choice([0.2, 1.0]) + rng.normal(0.0, 1.0, (3, 1))
    account.pairs[0] = mixed @ mixed.T * rng.choice([1e-6, 2e-5, 2e-4])
    targets = rng.normal(0.0, rng.choice([0.1, 1.0]), 3)
    targets[rng.random(3) < 0.3] = np.nan
    config = np.full(at.N_CONFIG, at.OFF)
    configure(config, limits, HOUR_US)
    return World(account, targets, config, limits)


def exceeded(held: FloatArray, of: World) -> list[str]:
    """Return the limits that weights pass, in plain numpy."""
    limits, day = of.limits, of.account.pairs[0] * 24.0
    found = []
    size = np.abs(held)
    ceilings = {"net": limits.net_max, "symbol": limits.symbol_max, "cluster": limits.cluster_max}
    most = {name: math.inf if value is None else value for name, value in ceilings.items()}
    sigma = np.sqrt(np.diag(day))
    alike = day / np.outer(sigma, sigma) * np.sign(np.outer(held, held))
    members = (alike >= limits.cluster_correlation) | np.eye(len(held), dtype=bool)
    risk = math.sqrt(max(held @ day @ held, 0.0))
    for name, value, limit in (
        ("leverage", size.sum(), limits.leverage_max),
        ("net", abs(held.sum()), most["net"]),
        ("symbol", size.max(), most["symbol"]),
        ("cluster", max((members & (size > 0.0)) @ size), most["cluster"]),
        ("var", 1.6448536269514722 * risk, limits.daily_var_max or math.inf),
    ):
        if value > limit * (1.0 + SAME):
            found.append(name)
    if limits.liquidation_probability_max is not None:
        rates = np.array([0.01, 0.01, 0.01])  # at least: larger notionals need more
        floor = limits.volatility_floor / math.sqrt(365.0)
        wild = held * np.maximum(floor / sigma, 1.0)
        risk = math.sqrt(max(wild @ day @ wild, 0.0))
        if risk > 0.0 and (1.0 - size @ rates) / risk < sigmas_of_chance(0.005) * (1.0 - SAME):
            found.append("liquidation")
    net = abs(held.sum())
    if size.sum() * 0.01 + limits.stress_move * (net + (size.sum() - net) / 3.0) > 1.0 + SAME:
        found.append("stress")
    return found


@settings(max_examples=150)
@given(seed=st.integers(0, 10**9))
def test_what_may_be_held_keeps_every_limit(seed: int) -> None:
    each = world(seed)
    held = each.held
    allowed, forced, _ = each.check()
    after = np.where(np.isnan(allowed), held, allowed)
    assert exceeded(after, each) == []
    assert not forced[np.abs(after) >= np.abs(held)].any()


@settings(max_examples=150)
@given(seed=st.integers(0, 10**9))
def test_a_limit_passed_by_what_is_held_is_reduced_at_once(seed: int) -> None:
    each = replace(world(seed))
    each.targets[:] = np.nan
    held = each.held
    allowed, forced, journal = each.check()
    passed = exceeded(held, each)
    assert forced.any() == bool(passed)
    assert (~np.isnan(allowed) == forced).all()
    assert (np.abs(allowed[forced]) < np.abs(held[forced])).all()
    if passed:
        rows = journal.whole[: journal.filled[0]]
        assert (rows[:, at.EVENT_STATE] == Stage.CONTROLLER).all()
        assert len(rows) > 0


@settings(max_examples=100)
@given(seed=st.integers(0, 10**9))
def test_wishes_only_ever_shrink_and_exits_are_never_held_back(seed: int) -> None:
    each = world(seed)
    held = each.held
    base = np.where(np.isnan(each.targets), held, each.targets)
    allowed, _, _ = each.check()
    after = np.where(np.isnan(allowed), held, allowed)
    assert (np.abs(after) <= np.abs(base) * (1.0 + SAME)).all()
    assert (after * base >= 0.0).all()
    each = world(seed)
    each.targets[:] = 0.0
    allowed, _, _ = each.check()
    assert (allowed == 0.0).all()


@settings(max_examples=100)
@given(seed=st.integers(0, 10**9), order=st.permutations(range(3)))
def test_the_order_of_symbols_decides_nothing(seed: int, order: list[int]) -> None:
    first, second = world(seed), world(seed)
    second.targets[:] = second.targets[order]
    for array in (second.account.held, second.account.position):
        array[:] = array[order]
    second.account.pairs[0] = second.account.pairs[0][np.ix_(order, order)]
    # The rules of the symbols differ, so that only limits without them are compared.
    for each in (first, second):
        each.config[at.LIQUIDATION_SIGMAS] = each.config[at.STRESS_MOVE] = 0.0
        each.account.held[:, at.LOTS] = 0
    allowed, _, _ = first.check()
    permuted, _, _ = second.check()
    np.testing.assert_allclose(permuted, allowed[order], rtol=1e-12)


def test_within_all_limits_nothing_is_touched() -> None:
    each = world(3)
    configure(each.config, replace(FREE, leverage_max=50.0), HOUR_US)
    allowed, forced, journal = each.check()
    np.testing.assert_array_equal(allowed, each.targets)
    assert not forced.any()
    assert journal.filled[0] == 0


def ladder(path: list[tuple[int, float]], limits: RiskSettings) -> list[int]:
    """Return the level after each check of a path of stamps and unit values."""
    each = world(0)
    configure(each.config, limits, HOUR_US)
    each.account.cash[at.NAV_RATE] = 1.0
    each.account.held[:, at.LOTS] = 0
    each.account.position[:, at.QTY] = 0.0
    each.account.risk[at.PEAK] = each.account.risk[at.DAY_NAV] = 1.0
    levels = []
    for ts_us, nav in path:
        each.account.cash[at.EQUITY] = nav
        each.account.risk[at.PEAK] = max(each.account.risk[at.PEAK], nav)
        each.check(ts_us)
        levels.append(int(each.account.risk[at.LEVEL]))
        if ts_us % DAY_US == 0:
            each.account.risk[at.DAY_NAV] = nav
    return levels


LADDER = replace(
    random_limits(random.Random(1)), drawdown_max=0.2, drawdown_reduce=0.1, drawdown_restore=0.05, daily_loss_max=0.06,
    cool_down_hours=24.0, halts_max=1, resume_hours=None,
)  # fmt: skip


FREE = replace(
    LADDER, net_max=None, symbol_max=None, cluster_max=None, daily_var_max=None, liquidation_probability_max=None,
    stress_move=0.0,
)  # fmt: skip


def hours(*navs: float, first: int = 1) -> list[tuple[int, float]]:
    return [(MIDNIGHT + (first + k) * HOUR_US, nav) for k, nav in enumerate(navs)]


def test_a_fall_from_the_peak_scales_down_and_is_forgiven_with_hysteresis_after_the_cool_down() -> (
    None
):
    path = hours(1.0, 1.05, 0.99, *[0.944] * 3, *[0.96] * 24, 0.999, 1.0)
    levels = ladder(path, replace(LADDER, daily_loss_max=None))
    assert levels[:4] == [0, 0, 0, 1]
    assert levels[4:30] == [1] * 26
    assert levels[-1] == 0


def test_a_days_loss_halts_until_another_day_and_the_cool_down_is_over() -> None:
    path = hours(1.0, 0.95, 0.93, *[0.93] * 40)
    levels = ladder(path, LADDER)
    assert levels[:3] == [0, 0, 2]
    assert levels[3:26] == [2] * 23
    assert (
        levels[26] == 1
    )  # 24 hours later; the fall of 7 % is above the 5 % at which targets are whole again


def test_too_many_halts_and_the_largest_fall_need_a_person() -> None:
    path = hours(0.93, *[0.93] * 30, 0.86, *[0.86] * 60)
    levels = ladder(path, LADDER)
    assert levels[0] == 2
    assert levels[31] == 3
    assert levels[-1] == 3
    assert ladder(hours(1.0, 0.79, *[1.2] * 100), LADDER)[1:] == [3] * 101


def test_somebody_who_looks_after_some_hours_lets_it_go_on_scaled_down() -> None:
    levels = ladder(hours(0.79, *[0.79] * 40), replace(LADDER, resume_hours=30.0))
    assert levels[:30] == [3] * 30
    assert levels[30] == 1
    assert 3 not in levels[30:]


@settings(max_examples=100)
@given(seed=st.integers(0, 10**9))
def test_no_level_is_left_without_its_condition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    limits = replace(
        LADDER, resume_hours=float(rng.choice([48.0, 1e6])), halts_max=int(rng.integers(0, 3))
    )
    navs = np.exp(np.cumsum(rng.standard_t(3, 300) * 0.012))
    path = hours(*navs.tolist())
    levels = ladder(path, limits)
    peak, day_start, since = 1.0, 1.0, 0
    for k, ((ts_us, nav), level) in enumerate(zip(path, levels, strict=True)):
        before = levels[k - 1] if k else 0
        peak = max(peak, nav)
        fall, loss, waited = 1.0 - nav / peak, 1.0 - nav / day_start, ts_us - since
        if level < before:
            assert waited >= limits.cool_down_hours * HOUR_US
            assert before != RiskLevel.HALT or loss < 0.06
            assert before != RiskLevel.REDUCE or fall < 0.05
            assert before != RiskLevel.STOPPED or waited >= (limits.resume_hours or 1e9) * HOUR_US
            if before == RiskLevel.STOPPED:
                peak = day_start = nav
        else:
            assert fall < 0.2 or level == RiskLevel.STOPPED
            assert loss < 0.06 or level >= RiskLevel.HALT
            assert fall < 0.1 or level > RiskLevel.NORMAL
        since = ts_us if level != before else since
        day_start = nav if ts_us % DAY_US == 0 else day_start


@pytest.mark.parametrize("level", [RiskLevel.HALT, RiskLevel.STOPPED])
def test_a_halted_account_wants_nothing(level: RiskLevel) -> None:
    each = world(7)
    each.account.risk[at.LEVEL] = level
    each.account.risk[at.LEVEL_TS] = MIDNIGHT
    each.account.risk[at.PEAK] = each.account.risk[at.DAY_NAV] = 1.0
    allowed, _, _ = each.check()
    wanted = ~np.isnan(each.targets) | (each.held != 0.0)
    assert (allowed[wanted] == 0.0).all()


def test_a_limit_that_goes_on_binding_is_written_once() -> None:
    each = world(11)
    configure(each.config, replace(FREE, leverage_max=0.2), HOUR_US)
    each.targets[:] = 0.5
    _, _, journal = each.check()
    rules = journal.whole[: journal.filled[0], at.EVENT_REASON]
    assert list(rules).count(Rule.LEVERAGE) == 1
    number = journal.number[: journal.filled[0]]
    assert number[-1, at.A] == 0.2
    assert number[-1, at.B] == pytest.approx(1.5)
    _, _, journal = each.check()
    assert journal.filled[0] == 0
