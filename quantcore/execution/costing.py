r"""Slippage Controller in the account step: the market's liquidity, the cost of what is asked for, and what was paid.

Once an hour, or on every execution bar where that is longer, the notional traded and the squared return since the
last time move two exponentially weighted means, as of a day. From them follows what an order is expected to cost
(`quantcore.execution.slippage`), before it is sent. What crossed is compared with the price at which it arrived.
"""

from __future__ import annotations

import math

from quantcore.execution.slices import slice_count
from quantcore.execution.slippage import (
    BUDGET,
    N_POLICY,
    REFUSE,
    SEND,
    affordable_notional,
    expected_cost,
    observe,
    verdict,
)
from quantcore.kernels.compiled import inner
from quantcore.kernels.ewm import ewm_step
from quantcore.kernels.fills import volume_at
from quantcore.kernels.layout import (
    BAR_US,
    CROSS_AFTER_US,
    DAILY_NOTIONAL,
    DAILY_VARIANCE,
    ESTIMATES,
    LIQUIDITY_CLOSE,
    LIQUIDITY_DECAY,
    MIN_LOTS,
    NO,
    ONE,
    PAID,
    PAID_NOTIONAL,
    PAID_REFERENCE,
    SCHEDULE_URGENCY,
    SLICE_PAUSE_US,
    SLICES,
    SLIPPAGE,
    TOO_DEAR,
    TRADED,
    Account,
    Journal,
    Market,
    Rules,
    constant,
)
from quantcore.kernels.ledger import explain, opening_lots
from quantcore.kernels.rules import quantity, whole_lots
from quantcore.timegrid import DAY_US, HOUR_US
from quantcore.types import Action, FloatArray, Rule, Stage

_STAGE = constant(Stage.SLIPPAGE)
_COST = constant(Rule.EXPECTED_COST)
_CUT = constant(Action.CUT)
_REFUSED = constant(Action.REFUSED)


@inner()
def liquidity_bar_us(config: FloatArray) -> int:
    """Return how often the market's liquidity is estimated."""
    return int(max(config[BAR_US], HOUR_US))


@inner()
def count_volume(account: Account, market: Market, row: int) -> None:
    """Add a bar's turnover to what was traded since the last estimate."""
    for s in range(len(account.liquidity)):
        turnover = volume_at(market, row, s) * market.close[row, s]
        if turnover > 0.0:
            account.liquidity[s, TRADED] += turnover


@inner()
def estimate_liquidity(account: Account, market: Market, row: int, config: FloatArray) -> None:
    """Move the estimates of turnover and volatility by what happened since the last time; a hole moves nothing."""
    per_day = DAY_US / liquidity_bar_us(config)
    for s in range(len(account.liquidity)):
        known, close = account.liquidity[s], market.close[row, s]
        if not close > 0.0:
            continue
        if known[LIQUIDITY_CLOSE] > 0.0:
            move = close / known[LIQUIDITY_CLOSE] - 1.0
            weight, decay = known[ESTIMATES], config[LIQUIDITY_DECAY]
            known[DAILY_NOTIONAL], _ = ewm_step(
                known[DAILY_NOTIONAL], weight, known[TRADED] * per_day, decay
            )
            known[DAILY_VARIANCE], known[ESTIMATES] = ewm_step(
                known[DAILY_VARIANCE], weight, move * move * per_day, decay
            )
        known[LIQUIDITY_CLOSE] = close
        known[TRADED] = 0.0


@inner()
def learn(account: Account, config: FloatArray) -> None:
    """Let what crossed since the last close teach what crossing costs."""
    policy = config[SLIPPAGE : SLIPPAGE + N_POLICY]
    for s in range(len(account.liquidity)):
        known = account.liquidity[s]
        notional = known[PAID_NOTIONAL]
        if notional != 0.0:
            observe(
                policy, known, 1 if notional > 0.0 else -1, known[PAID_REFERENCE], known[PAID], math.nan,
                _daily_vol(known), notional, _daily_notional(known),
            )  # fmt: skip
            known[PAID_NOTIONAL] = 0.0


@inner()
def affordable_goal(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, s: int, held: int,
    goal: int,
) -> int:  # fmt: skip
    """Return the position to trade toward, given what it costs; where it is refused, what of it only reduces.

    With a router an order that is too dear at once is cut into so many slices that the largest is not, as far as there
    is time for them; without, so much is traded as one order may cost.
    """
    known, policy = account.liquidity[s], config[SLIPPAGE : SLIPPAGE + N_POLICY]
    price, lots = market.close[row, s], abs(goal - held)
    notional = lots * quantity(rules, s, ONE) * price
    vol, turnover = _daily_vol(known), _daily_notional(known)
    cost = expected_cost(policy, known, math.nan, vol, notional, turnover)
    # Without a router the rest is asked for again at the next decision: an order may be as small as need be.
    routed, time_for = len(account.route) > 0, math.inf
    if routed:
        account.route[s, SLICES] = 0
        time_for = max(1.0, math.floor(config[CROSS_AFTER_US] / slice_us(config)))
    patient = expected_cost(policy, known, math.nan, vol, notional / time_for, turnover)
    said = verdict(policy, cost, patient, math.nan, NO)
    if said == SEND:
        known[TOO_DEAR] = 0.0
        return goal
    most = affordable_notional(policy, known, math.nan, vol, turnover)
    most_lots = 0  # also where the costs are not known
    if said != REFUSE and most > 0.0:
        most_lots = whole_lots(rules, s, min(most, notional) / price)
    if most_lots > 0:
        known[TOO_DEAR] = 0.0
        if routed:
            account.route[s, SLICES] = slice_count(
                lots, rules.size[s, MIN_LOTS], most_lots, config[SCHEDULE_URGENCY], int(time_for)
            )
            return goal
        explain(journal, market.ts_us[row], s, _STAGE, _COST, _CUT, policy[BUDGET], cost)
        return held + min(most_lots, lots) * (1 if goal > held else -1)
    if known[TOO_DEAR] == 0.0:
        known[TOO_DEAR] = 1.0
        explain(journal, market.ts_us[row], s, _STAGE, _COST, _REFUSED, policy[BUDGET], cost)
    return 0 if opening_lots(held, goal - held) < lots else held


@inner()
def slice_us(config: FloatArray) -> int:
    """Return the time from one slice to the next: its pause, at least an execution bar."""
    return int(max(config[SLICE_PAUSE_US], config[BAR_US]))


@inner()
def _daily_vol(known: FloatArray) -> float:
    return math.sqrt(known[DAILY_VARIANCE]) if known[ESTIMATES] > 0.0 else math.nan


@inner()
def _daily_notional(known: FloatArray) -> float:
    return float(known[DAILY_NOTIONAL]) if known[ESTIMATES] > 0.0 else math.nan
