"""Position Sizer: target weights to whole lots, inside the account step.

The plan is made at a decision's closing marks, and asks for positions; how they are traded is `execution`'s to say.
Orders that reduce free their margin; those that enlarge share what is available in proportion, so that the order of
symbols does not matter.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import (
    ENDED,
    ENTRY,
    EQUITY,
    LAST_REFUSAL,
    LEVEL,
    LEVERAGE_SET,
    LOCK,
    LOTS,
    MARGIN,
    MARGIN_BUFFER,
    MARGIN_TYPE,
    MARKET_MAX_LOTS,
    MIN_LOTS,
    MIN_NOTIONAL,
    NEVER,
    NO_TRADE_BAND,
    NONE,
    NOTIONAL_MAX,
    ONE,
    QTY,
    RESTING,
    STATE,
    STEP_DENOMINATOR,
    STEP_NUMERATOR,
    TAKER_COST,
    TAKER_FEE,
    YES,
    Account,
    Journal,
    Market,
    Rules,
    constant,
)
from quantcore.kernels.ledger import (
    ISOLATED,
    available_margin,
    explain,
    opening_lots,
    order_notional,
)
from quantcore.kernels.orders import ask, expected_lots, smallest_order
from quantcore.kernels.rules import quantity, whole_lots
from quantcore.types import (
    Action,
    BoolArray,
    FillReason,
    FloatArray,
    IntArray,
    RiskLevel,
    Rule,
    Stage,
    WorkingType,
)

DUST = 0.5
"""Share of the smallest order below which a position is not kept for a target that is as small."""
_CLOSED = constant(Action.CLOSED)
_HALT = float(RiskLevel.HALT)
_ANY = constant(NEVER)  # lots: what the exchange takes in one order is the router's business
_PLANNER = constant(Stage.PLANNER)
_REFUSED = constant(Action.REFUSED)
_CUT = constant(Action.CUT)

_TARGET = constant(FillReason.TARGET)
_RISK = constant(FillReason.RISK)
_ON_LAST = constant(WorkingType.CONTRACT_PRICE)
_BELOW_STEP = constant(Rule.BELOW_STEP)
_BRACKET = constant(Rule.BRACKET_NOTIONAL)
_MARGIN = constant(Rule.MARGIN)
_MARKET_MAX = constant(Rule.MARKET_MAX_QTY)
_MIN_NOTIONAL = constant(Rule.MIN_NOTIONAL)


@njit(cache=True, error_model="numpy", inline="always")  # at every decision, mostly to say no
def asks(
    account: Account, rules: Rules, market: Market, row: int, config: FloatArray, targets: FloatArray,
    decision: int, equity: float, forced: BoolArray,
) -> bool:  # fmt: skip
    """Return whether `plan_targets` would order, refuse or remember anything, given the equity at the row's close."""
    asked = False
    for s in range(targets.shape[1]):
        weight, close = targets[decision, s], market.close[row, s]
        if math.isnan(weight) or math.isnan(close):
            continue
        mark = market.mark_close[row, s]
        # As `quantity` has it, without a call.
        lot = rules.size[s, STEP_NUMERATOR] / rules.size[s, STEP_DENOMINATOR]
        lot_value = lot * (mark if mark > 0.0 else close)
        asked |= account.held[s, RESTING] > 0 or account.held[s, LAST_REFUSAL] != 0 or forced[s]
        if len(account.route) > 0:
            asked |= account.route[s, STATE] != 0
        asked |= moves(
            weight, equity, config[NO_TRADE_BAND], account.held[s, LOTS], lot_value,
            rules.rate[s, MIN_NOTIONAL], account.held[s, LOCK], account.held[s, ENDED] != 0,
        )  # fmt: skip
    return asked


@njit(cache=True, error_model="numpy", inline="always")
def moves(
    weight: float, equity: float, band: float, lots: int, lot_value: float, least: float, lock: int, ended: bool
) -> bool:  # fmt: skip
    """Return whether a target would trade a symbol, or free it from its lock, given what is held in lots."""
    flat = weight == 0.0 or ended or is_dust(weight * equity, lots * lot_value, least)
    if lock != 0:
        if not weight * lock > 0.0:
            return True
        flat = True
    change = weight * equity - lots * lot_value
    return lots != 0 if flat else not (abs(change) < band * equity or equity <= 0.0)


@njit(cache=True, error_model="numpy", inline="always")
def is_dust(wanted: float, held: float, least: float) -> bool:
    """Return whether held and wanted notional are both so far below the smallest order that neither can be traded to.

    Such a rest, as of a position that was reduced or fell, is closed by a reduce-only order, which has no minimum.
    """
    return held != 0.0 and abs(held) < DUST * least and abs(wanted) < DUST * least


@inner()
def plan_targets(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, weights: FloatArray,
    forced: BoolArray,
) -> None:  # fmt: skip
    """Ask for the positions of target weights: at once where a limit is exceeded, else as patiently as may be.

    Parameters
    ----------
    weights : float64 array, shape (n_symbols,)
        Signed notional over equity; NaN leaves a symbol as it is, 0 closes it whatever the band.
    forced : bool array, shape (n_symbols,)
        Whether the position exceeds a limit: then it is reduced whatever the band, by whole lots up.
    """
    symbols = len(weights)
    lots = np.zeros(symbols, dtype=np.int64)
    cut = np.zeros(symbols, dtype=np.bool_)
    wanted = False
    for s in range(symbols):
        if not math.isnan(weights[s]) and not math.isnan(market.close[row, s]):
            lots[s] = _wanted_lots(
                account, rules, journal, market, row, config, s, weights[s], forced[s]
            )
            wanted |= lots[s] != 0
    if wanted:
        _fit_margin(account, rules, journal, market, row, config, lots, cut)
    flat = account.risk[LEVEL] >= _HALT
    for s in range(symbols):
        if math.isnan(weights[s]) or math.isnan(market.close[row, s]):
            continue
        expected = expected_lots(account, s)
        urgent = forced[s] or (flat and (account.held[s, LOTS] != 0 or expected != 0))
        if lots[s] != 0 or urgent:
            ask(account, s, expected + lots[s], _RISK if forced[s] else _TARGET, urgent)
        if lots[s] != 0 and not cut[s]:
            account.held[s, LAST_REFUSAL] = 0


@inner()
def _price(market: Market, row: int, s: int) -> float:
    mark = market.mark_close[row, s]
    return float(mark) if mark > 0.0 else float(market.close[row, s])


@inner()
def _refuse(
    account: Account, journal: Journal, ts: int, s: int, rule: int, action: int, limit: float, value: float
) -> None:  # fmt: skip
    """Write a refusal when it begins: a target out of reach would else be written again at every decision."""
    if not (account.held[s, LAST_REFUSAL] >> rule) & 1:
        account.held[s, LAST_REFUSAL] |= 1 << rule
        explain(journal, ts, s, _PLANNER, rule, action, limit, value)


@inner()
def _wanted_lots(  # noqa: C901 - one rule after another, from the strictest
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, s: int,
    weight: float, forced: bool,
) -> int:  # fmt: skip
    """Return the signed lots to trade: within the band none, else toward the target and never beyond it."""
    held = expected_lots(account, s)
    lock = account.held[s, LOCK]
    if lock != 0:
        if weight * lock > 0.0:
            weight = 0.0
        else:
            account.held[s, LOCK] = 0
    price = _price(market, row, s)
    lot_value = quantity(rules, s, ONE) * price
    most = _ANY if len(account.route) > 0 else rules.size[s, MARKET_MAX_LOTS]
    equity, least = account.cash[EQUITY], rules.rate[s, MIN_NOTIONAL]
    dust = weight != 0.0 and is_dust(weight * equity, held * lot_value, least)
    if dust:
        ts, value = market.ts_us[row], held * lot_value
        explain(journal, ts, s, _PLANNER, _MIN_NOTIONAL, _CLOSED, least, value)
    if weight == 0.0 or dust or account.held[s, ENDED]:
        account.held[s, LAST_REFUSAL] = 0
        return -int(min(max(held, -most), most))
    if forced and weight * held >= 0.0:
        closing = abs(held) - whole_lots(rules, s, abs(weight) * equity / price)
        closing = min(max(closing, 0), most)
        return -int(closing) if held > 0 else int(closing)
    change = weight * equity - held * lot_value
    if abs(change) < config[NO_TRADE_BAND] * equity or equity <= 0.0:
        account.held[s, LAST_REFUSAL] = 0
        return 0
    lots = whole_lots(rules, s, change / price)
    ts = market.ts_us[row]
    opening = opening_lots(held, lots)
    if lots == 0 or (opening > 0 and abs(lots) < rules.size[s, MIN_LOTS]):
        step, wanted = quantity(rules, s, ONE), abs(change) / price
        _refuse(account, journal, ts, s, _BELOW_STEP, _REFUSED, step, wanted)
        return 0
    if abs(lots) > most:
        value = abs(lots) * lot_value
        explain(journal, ts, s, _PLANNER, _MARKET_MAX, _CUT, most * lot_value, value)
        lots = most if lots > 0 else -most
    ceiling = whole_lots(rules, s, rules.rate[s, NOTIONAL_MAX] / price)
    reach = max(ceiling, abs(held))
    if abs(held + lots) > reach:
        value = abs(held + lots) * lot_value
        _refuse(account, journal, ts, s, _BRACKET, _CUT, ceiling * lot_value, value)
        lots = (reach if lots > 0 else -reach) - held
        if lots == 0:
            return 0
    return _above_minimum(account, rules, journal, market, row, s, held, lots, lot_value)


@inner()
def _above_minimum(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, s: int, held: int, lots: int,
    lot_value: float,
) -> int:  # fmt: skip
    """Return the lots if the exchange takes an order of that size, else what of them only reduces.

    The router opens by an order of its own, of which it must be sure at the touch as well.
    """
    opening = opening_lots(held, lots)
    if opening == 0:
        return lots
    size, value = abs(lots), abs(lots) * lot_value
    enough = value >= rules.rate[s, MIN_NOTIONAL] and size >= rules.size[s, MIN_LOTS]
    if len(account.route) > 0:
        size, value = opening, opening * lot_value
        enough = size >= smallest_order(account, rules, market, row, s)
    if enough:
        return lots
    ts = market.ts_us[row]
    _refuse(account, journal, ts, s, _MIN_NOTIONAL, _REFUSED, rules.rate[s, MIN_NOTIONAL], value)
    return -held if opening < abs(lots) else 0


@inner()
def _freed(account: Account, rules: Rules, s: int, closing: int, price: float) -> float:
    """Return the margin that closing lots at a price makes available, USDT."""
    if closing == 0:
        return 0.0
    if rules.size[s, MARGIN_TYPE] != ISOLATED:
        return float(quantity(rules, s, closing) * price / account.position[s, LEVERAGE_SET])
    position = account.position
    proceeds = position[s, MARGIN] + position[s, QTY] * (price - position[s, ENTRY])
    share = min(closing / max(abs(account.held[s, LOTS]), 1), 1.0)
    return float(max(proceeds, 0.0) * share)


@inner()
def _fit_margin(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, lots: IntArray,
    was_cut: BoolArray,
) -> None:  # fmt: skip
    """Cut what enlarges positions, in proportion, to the margin available once the reductions have traded."""
    routed = len(account.route) > 0
    free = available_margin(account, rules, NONE, YES)
    needed = freed = committed = 0.0
    for s in range(len(lots)):
        leverage = account.position[s, LEVERAGE_SET]
        held = _counted_lots(account, s)
        change = expected_lots(account, s) + lots[s] - held
        price = _price(market, row, s)
        if routed and not math.isnan(price):  # its orders in the book are part of the change
            free += order_notional(account, rules, s, NONE, YES) / leverage
        if change == 0 or math.isnan(price):
            continue
        opening = opening_lots(held, change)
        cost = (
            quantity(rules, s, abs(change))
            * price
            * (rules.rate[s, TAKER_FEE] + rules.rate[s, TAKER_COST])
        )
        margin = quantity(rules, s, opening) * price / leverage + (cost if opening > 0 else 0.0)
        if lots[s] == 0:  # decided before, and on its way
            committed += margin
        else:
            needed += margin
        freed += _freed(account, rules, s, abs(change) - opening, price)
        freed -= cost if opening == 0 else 0.0
    if needed == 0.0:
        return
    free = (free + freed) * (1.0 - config[MARGIN_BUFFER]) - committed
    if needed <= free:
        return
    share = max(free, 0.0) / needed
    ts = market.ts_us[row]
    for s in range(len(lots)):
        held, expected = _counted_lots(account, s), expected_lots(account, s)
        change = expected + lots[s] - held
        opening = opening_lots(held, change)
        if opening == 0 or lots[s] == 0:
            continue
        price = _price(market, row, s)
        lot_value = quantity(rules, s, ONE) * price
        kept = math.floor(opening * share)
        _refuse(account, journal, ts, s, _MARGIN, _CUT, kept * lot_value, opening * lot_value)
        was_cut[s] = True
        closing = abs(change) - opening
        cut = closing + kept if change > 0 else -closing - kept
        left = (
            _above_minimum(account, rules, journal, market, row, s, held, cut, lot_value)
            if cut
            else 0
        )
        lots[s] = held + left - expected


@inner()
def _counted_lots(account: Account, s: int) -> int:
    """Return the lots from which a plan's margin counts: held, where the router's orders are part of the plan."""
    return int(account.held[s, LOTS]) if len(account.route) > 0 else expected_lots(account, s)
