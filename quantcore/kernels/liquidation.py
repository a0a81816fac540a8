"""What the bar's mark prices do to the account: valuation, the margin test, and liquidation (DESIGN.md 1, 4)."""

from __future__ import annotations

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.kernels.fills import inside, worse
from quantcore.kernels.layout import (
    CAP,
    CUM,
    ENTRY,
    EVENT_LIQUIDATION,
    FLOOR,
    INSURANCE,
    KIND,
    LIQUIDATION_FEE,
    LOTS,
    MAINTENANCE_RATE,
    MARGIN,
    MARGIN_TYPE,
    MARK,
    NONE,
    QTY,
    TIER,
    WALLET,
    ZERO,
    Account,
    D,
    Journal,
    Market,
    Rules,
    constant,
)
from quantcore.kernels.ledger import ISOLATED, forced_fill, write_liquidation
from quantcore.kernels.margin import bracket_of, crossing, excess, maintenance_margin
from quantcore.kernels.memory import unsigned
from quantcore.kernels.orders import cancel_all
from quantcore.kernels.rules import tick_down, tick_up
from quantcore.types import Action, FillReason, FloatArray, IntArray, Rule, Stage

_LIQUIDATION = constant(FillReason.LIQUIDATION)
_MARGIN_STAGE = constant(Stage.MARGIN)
_RULE = constant(Rule.LIQUIDATION)
_CLOSED = constant(Action.CLOSED)

AT_LOWS = constant(0)
AT_HIGHS = constant(1)
AT_CLOSE = constant(2)


@inner()
def tier_of(rules: Rules, s: int, notional: float, hint: int) -> int:
    """Return the row of a symbol's brackets that holds a notional; a view of them would be counted, atomically."""
    tier = hint
    while notional < rules.bracket[s, tier, FLOOR]:
        tier -= 1
    while notional >= rules.bracket[s, tier, CAP]:
        tier += 1
    return unsigned(tier)


@njit(
    cache=True, inline="always"
)  # the hot path: a call would pass some hundred words of array descriptors
def value(
    account: Account, rules: Rules, market: Market, row: int
) -> tuple[float, float, float, float, float, bool]:
    """Mark the positions to the bar's closing marks.

    Returns
    -------
    isolated, pnl, maintenance, gross, net : float
        Isolated margin, unrealised PnL, maintenance margin, gross and net notional at the closing marks, USDT.
    endangered : bool
        False only if no path of marks within the bar can bring the account or an isolated position to liquidation:
        each position at its own worst mark, with maintenance margin at its highest.
    """
    position, bracket = account.position, rules.bracket
    isolated = pnl = maintenance = gross = net = 0.0
    worst, most = account.cash[WALLET], 0.0
    endangered = False
    for s in range(len(position)):
        qty = position[s, QTY]
        if qty == 0.0:
            continue
        mark = market.mark_close[row, s]
        adverse = market.mark_low[row, s] if qty > 0.0 else market.mark_high[row, s]
        if not mark > 0.0:  # no mark: the last price stands in
            mark = market.close[row, s]
            adverse = market.low[row, s] if qty > 0.0 else market.high[row, s]
        if not mark > 0.0:  # a hole: held at the last mark
            mark = adverse = position[s, MARK]
        entry = position[s, ENTRY]
        notional = qty * mark
        net += notional
        notional = abs(notional)
        gross += notional
        tier = unsigned(account.held[s, TIER])
        if not bracket[s, tier, FLOOR] <= notional < bracket[s, tier, CAP]:
            tier = tier_of(rules, s, notional, account.held[s, TIER])
            account.held[s, TIER] = tier
        margin = notional * bracket[s, tier, MAINTENANCE_RATE] - bracket[s, tier, CUM]
        maintenance += margin
        # Maintenance margin rises with notional: a long needs less at its low than at its close, a short more.
        if qty < 0.0:
            highest = -qty * adverse
            if highest >= bracket[s, tier, CAP]:
                tier = tier_of(rules, s, highest, account.held[s, TIER])
            margin = highest * bracket[s, tier, MAINTENANCE_RATE] - bracket[s, tier, CUM]
        loss = qty * (adverse - entry)
        pnl += qty * (mark - entry)
        if rules.size[s, MARGIN_TYPE] == ISOLATED:
            isolated += position[s, MARGIN]
            endangered |= position[s, MARGIN] + loss <= margin
        else:
            worst += loss
            most += margin
        position[s, MARK] = mark  # last: after a store into an array numba loads its fields anew
    return isolated, pnl, maintenance, gross, net, endangered or (most > 0.0 and worst <= most)


@inner()
def test_margin(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, at_close: bool
) -> bool:
    """Liquidate what the bar's marks demand; return whether anything was closed.

    Cross margin is tested at all marks' lows and at all marks' highs, the worse first, isolated positions at their
    own adverse extreme; at the close, which did happen, both are tested at the closing marks.
    """
    closed = False
    alone = np.empty(1, dtype=np.int64)
    for s in range(len(account.held)):
        if account.held[s, LOTS] != 0 and rules.size[s, MARGIN_TYPE] == ISOLATED:
            scenario = (
                AT_CLOSE if at_close else (AT_LOWS if account.held[s, LOTS] > 0 else AT_HIGHS)
            )
            alone[0] = s
            closed |= _liquidate(account, rules, journal, market, row, alone, scenario)
    while True:
        members = _cross_members(account, rules)
        if len(members) == 0:
            break
        if at_close:
            scenario = AT_CLOSE
        else:
            low = _excess_at(account, rules, market, row, members, AT_LOWS)
            high = _excess_at(account, rules, market, row, members, AT_HIGHS)
            scenario = AT_LOWS if low <= high else AT_HIGHS
        if not _liquidate(account, rules, journal, market, row, members, scenario):
            break
        closed = True
    if closed:
        _cover_shortfall(account, rules, journal)
    return closed


@inner()
def _cross_members(account: Account, rules: Rules) -> IntArray:
    members = np.empty(len(account.held), dtype=np.int64)
    count = 0
    for s in range(len(account.held)):
        if account.held[s, LOTS] != 0 and rules.size[s, MARGIN_TYPE] != ISOLATED:
            members[count] = s
            count += 1
    return members[:count]


@inner()
def mark_at(account: Account, market: Market, row: int, s: int, scenario: int) -> float:
    """Return a bar's mark of a scenario; without one the last price, in a hole the last known mark."""
    if scenario == AT_CLOSE:
        mark, last = market.mark_close[row, s], market.close[row, s]
    elif scenario == AT_LOWS:
        mark, last = market.mark_low[row, s], market.low[row, s]
    else:
        mark, last = market.mark_high[row, s], market.high[row, s]
    if mark > 0.0:
        return float(mark)
    return float(last) if last > 0.0 else float(account.position[s, MARK])


@inner()
def _mark_open(account: Account, market: Market, row: int, s: int) -> float:
    low, high = (
        mark_at(account, market, row, s, AT_LOWS),
        mark_at(account, market, row, s, AT_HIGHS),
    )
    start = market.mark_open[row, s]
    if not start > 0.0:
        start = market.open[row, s]
    if not start > 0.0:
        start = account.position[s, MARK]
    return inside(start, low, high)


@inner()
def _excess_at(
    account: Account, rules: Rules, market: Market, row: int, members: IntArray, scenario: int
) -> float:
    margin = account.cash[WALLET]
    for s in members:
        mark = mark_at(account, market, row, s, scenario)
        qty = account.position[s, QTY]
        notional = abs(qty) * mark
        tier = bracket_of(rules.bracket[s], notional, ZERO)
        margin += qty * (mark - account.position[s, ENTRY])
        margin -= maintenance_margin(rules.bracket[s], notional, tier)
    return float(margin)


@inner()
def _liquidate(
    account: Account,
    rules: Rules,
    journal: Journal,
    market: Market,
    row: int,
    members: IntArray,
    scenario: int,
) -> bool:
    """Walk the scenario's marks from the bar's open; close by largest maintenance margin until margin suffices."""
    count = len(members)
    isolated = rules.size[members[0], MARGIN_TYPE] == ISOLATED
    qty, entry = np.empty(count), np.empty(count)
    start, stop = np.empty(count), np.empty(count)
    for k in range(count):
        s = members[k]
        qty[k], entry[k] = account.position[s, QTY], account.position[s, ENTRY]
        stop[k] = mark_at(account, market, row, s, scenario)
        start[k] = stop[k] if scenario == AT_CLOSE else _mark_open(account, market, row, s)
    brackets = rules.bracket
    wallet = account.position[members[0], MARGIN] if isolated else account.cash[WALLET]
    at, closed = 0.0, False
    mark = np.empty(count)
    left = count
    while left > 0 and excess(wallet, qty, entry, stop, members, brackets) <= 0.0:
        if not closed:
            cancel_all(account, journal, market.ts_us[row], members[0] if isolated else NONE)
            closed = True
        at = max(at, crossing(wallet, qty, entry, start, stop, members, brackets))
        for k in range(count):
            mark[k] = start[k] + at * (stop[k] - start[k])
        k = _largest_margin(qty, mark, members, brackets)
        # What the others leave, at these marks, is what this position may lose before the margin is gone.
        others = wallet
        for j in range(count):
            if j != k:
                others += qty[j] * (mark[j] - entry[j])
        _close(account, rules, journal, market, row, members[k], others, mark[k], start[k])
        qty[k] = 0.0
        left -= 1
        wallet = account.cash[WALLET]
    return closed


@inner()
def _largest_margin(
    qty: FloatArray, mark: FloatArray, members: IntArray, brackets: FloatArray
) -> int:
    chosen, largest = NONE, -1.0
    for k in range(len(qty)):
        notional = abs(qty[k]) * mark[k]
        bracket = brackets[members[k]]
        margin = maintenance_margin(bracket, notional, bracket_of(bracket, notional, ZERO))
        if qty[k] != 0.0 and margin > largest:
            chosen, largest = k, margin
    return chosen


@inner()
def _close(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, s: int, others: float,
    mark: float, start: float,
) -> None:  # fmt: skip
    """Close one position at the worse of trigger and opening mark, bounded by bankruptcy within the bar's marks."""
    qty, entry = account.position[s, QTY], account.position[s, ENTRY]
    lots = account.held[s, LOTS]
    side = -1 if lots > 0 else 1
    low, high = (
        mark_at(account, market, row, s, AT_LOWS),
        mark_at(account, market, row, s, AT_HIGHS),
    )
    bankruptcy = inside(entry - others / qty, low, high)
    price = worse(side, mark, start)
    price = tick_up(rules, s, price) if side > 0 else tick_down(rules, s, price)
    price = worse(-side, price, bankruptcy)
    left = max(others + qty * (price - entry), 0.0)
    fee = min(rules.rate[s, LIQUIDATION_FEE] * abs(qty) * price, left)
    ts = market.ts_us[row]
    forced_fill(account, rules, journal, s, -lots, price, 0.0, ts, _LIQUIDATION)
    # The loss of an isolated position ends with its own margin.
    insurance = max(-(others + qty * (price - entry)), 0.0) if _is_isolated(rules, s) else 0.0
    write_liquidation(account, journal, s, qty, price, fee, insurance, mark, ts)


@inner()
def _is_isolated(rules: Rules, s: int) -> bool:
    return bool(rules.size[s, MARGIN_TYPE] == ISOLATED)


@inner()
def _cover_shortfall(account: Account, rules: Rules, journal: Journal) -> None:
    """Let the insurance fund pay what a cross account owes after its last position is closed."""
    wallet = account.cash[WALLET]
    if wallet >= 0.0 or len(_cross_members(account, rules)) > 0:
        return
    for row in range(journal.filled[0] - 1, -1, -1):
        if journal.whole[row, KIND] == EVENT_LIQUIDATION:
            journal.number[row, D] += -wallet
            account.cash[WALLET] = 0.0
            account.cash[INSURANCE] += -wallet
            return
