"""The step of the account plane and its scan: one execution bar after another, each in the order of DESIGN.md 1."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from quantcore.account_glide import BLOCK, N_SCRATCH, glide
from quantcore.execution.costing import count_volume, estimate_liquidity, learn, liquidity_bar_us
from quantcore.execution.crossing import cross_asked
from quantcore.execution.exits import guard_positions
from quantcore.execution.routing import hear_orders, work_routes
from quantcore.kernels.compiled import inner
from quantcore.kernels.curve import record
from quantcore.kernels.layout import (
    ACTIVE_ROUTES,
    BAR_US,
    CLOSE_POSITION,
    COVARIANCE_DECAY,
    CURVE_EQUITY,
    ENDED,
    ENDS_US,
    EQUITY,
    FORMER_MARK,
    LAST_TS,
    LATENCY_US,
    LEVEL,
    LOTS,
    MARK,
    NAV_RATE,
    NO,
    OFF,
    OPEN_ORDERS,
    PEAK,
    PEAK_NAV,
    POST_ONLY,
    RISK_BAR_US,
    SCRIPT_CANCEL,
    SCRIPT_CLIENT,
    SCRIPT_FLAGS,
    SCRIPT_LOTS,
    SCRIPT_ROW,
    SCRIPT_SIDE,
    SCRIPT_SYMBOL,
    SCRIPT_TIF,
    SCRIPT_TYPE,
    SCRIPT_WORKING,
    SETTLEMENT_ASSUMED,
    SETTLEMENT_ROW,
    SETTLEMENT_SYMBOL,
    SETTLEMENT_TIME,
    SIZE_LIMIT,
    SLIPPAGE,
    STOP_LOSS,
    TAKE_PROFIT,
    TAKER_FEE,
    TIME_EXIT_US,
    TOUCH_SHARE,
    TRAILING_STOP,
    WALLET,
    YES,
    ZERO,
    Account,
    Journal,
    Market,
    Rules,
    constant,
)
from quantcore.kernels.ledger import (
    forced_fill,
    move_cash,
    pay_funding,
)
from quantcore.kernels.liquidation import AT_CLOSE, mark_at, test_margin, value
from quantcore.kernels.matching import arrive, trade_inside, trade_touched
from quantcore.kernels.memory import lent
from quantcore.kernels.orders import (
    LIMIT,
    ON_MARK,
    TRAILING,
    cancel_all,
    due_cancels,
    follow,
    place,
    queue_up,
    request_cancel,
)
from quantcore.kernels.rows import first_row
from quantcore.risk.controller import N_WORK, begin_day, calls, check_risk, observe_returns
from quantcore.risk.liquidation_monitor import reduce_in_emergency
from quantcore.risk.sizer import asks, plan_targets
from quantcore.risk.stage import hold_what_fits
from quantcore.timegrid import DAY_US
from quantcore.types import BoolArray, FillReason, FloatArray, IntArray, RiskLevel

RECORD_ONLY = -2
"""A row of `decisions` at which the curve is recorded and nothing is decided."""

_HALT = float(RiskLevel.HALT)
_SCRIPT = constant(FillReason.SCRIPT)
_SETTLEMENT = constant(FillReason.SETTLEMENT)


@njit(cache=True, error_model="numpy")
def scan(  # noqa: C901 - the order of events within a bar is read in one place
    account: Account, market: Market, rules: Rules, config: FloatArray,
    settlement: IntArray, settlement_value: FloatArray,
    flow_row: IntArray, flow_time: IntArray, flow_amount: FloatArray,
    decisions: IntArray, targets: FloatArray, script: IntArray, script_value: FloatArray,
    journal: Journal, room: int, start: int, stop: int,
) -> int:  # fmt: skip
    """Advance the account over rows ``[start, stop)``; return the first row before which the journal passed `room`."""
    account, market, rules, journal = lent(account), lent(market), lent(rules), lent(journal)
    config, settlement, settlement_value = lent(config), lent(settlement), lent(settlement_value)
    flow_row, flow_time, flow_amount = lent(flow_row), lent(flow_time), lent(flow_amount)
    decisions, targets, script, script_value = (
        lent(decisions),
        lent(targets),
        lent(script),
        lent(script_value),
    )
    exits = NO
    for column in (STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, TIME_EXIT_US):
        exits |= config[column] != OFF
    endings = NO
    for s in range(len(account.held)):
        endings |= rules.size[s, ENDS_US] <= market.ts_us[stop - 1]
    scratch = np.empty((N_SCRATCH, BLOCK))
    guarded, routed = config[RISK_BAR_US] != OFF, config[POST_ONLY] != OFF
    costed = config[SLIPPAGE] != OFF
    work, allowed = np.empty((N_WORK, len(account.held))), np.empty((1, len(account.held)))
    forced = np.zeros(len(account.held), dtype=np.bool_)
    paid = first_row(settlement[:, SETTLEMENT_ROW], start)
    flow = first_row(flow_row, start)
    sent = first_row(script[:, SCRIPT_ROW], start)
    bar_us = int(config[BAR_US])
    row = start
    while row < stop:
        if journal.filled[0] > room:
            return row
        if not endings:
            until = stop
            if flow < len(flow_row):
                until = min(until, flow_row[flow])
            if paid < len(settlement):
                until = min(until, settlement[paid, SETTLEMENT_ROW])
            if sent < len(script):
                until = min(until, script[sent, SCRIPT_ROW])
            if guarded:
                until = min(
                    until, _next_row(market.ts_us[row], config, row, int(config[RISK_BAR_US]))
                )
            if costed:
                until = min(
                    until, _next_row(market.ts_us[row], config, row, liquidity_bar_us(config))
                )
            row = glide(
                account, market, rules, config, decisions, targets, journal, scratch, exits, guarded, costed, row,
                until,
            )  # fmt: skip
            if row == stop:
                break
        while flow < len(flow_row) and flow_row[flow] == row:
            move_cash(account, rules, journal, flow_time[flow], flow_amount[flow])
            flow += 1
        while paid < len(settlement) and settlement[paid, SETTLEMENT_ROW] == row:
            _settle_funding(
                account, rules, journal, market, row, settlement[paid], settlement_value[paid]
            )
            paid += 1
        if account.counter[OPEN_ORDERS] > 0:
            open_ts = market.ts_us[row] - bar_us
            due_cancels(account, journal, open_ts, market.ts_us[row])
            arrive(account, rules, journal, market, row, open_ts)
        if account.counter[OPEN_ORDERS] > 0:
            trade_inside(account, rules, journal, market, row, NO)
            _copy_marks(account, MARK, FORMER_MARK)
        # Valued once, and again only after something was closed: first within the bar, then at its close.
        at_close = False
        while True:
            isolated, pnl, maintenance, gross, net, endangered = value(account, rules, market, row)
            if not at_close:
                at_close = True
                busy = endangered or endings or account.counter[OPEN_ORDERS] > 0
                if busy and _trade_on(
                    account, rules, journal, market, row, config, endangered, endings
                ):
                    continue
            if not (endangered and test_margin(account, rules, journal, market, row, YES)):
                break
        equity = account.cash[WALLET] + isolated + pnl
        account.cash[EQUITY] = equity
        account.counter[LAST_TS] = market.ts_us[row]
        decision = decisions[row] if len(decisions) > 0 else row
        decide(
            account, rules, journal, market, row, config, targets, decision, equity, pnl, maintenance, gross, net,
            work, allowed, forced,
        )  # fmt: skip
        while sent < len(script) and script[sent, SCRIPT_ROW] == row:
            send_scripted(
                account, rules, journal, market, row, config, script[sent], script_value[sent]
            )
            sent += 1
        if exits:
            guard_positions(account, rules, journal, market, row, config)
        if routed:
            work_routes(account, rules, journal, market, row, config)
        row += 1
    return stop


@inner()
def decide(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, targets: FloatArray,
    decision: int, equity: float, pnl: float, maintenance: float, gross: float, net: float, work: FloatArray,
    allowed: FloatArray, forced: BoolArray,
) -> None:  # fmt: skip
    """Do at a row's close what follows its trades: hear and learn from them, watch the risk, plan for the targets.

    Parameters
    ----------
    decision : int
        Row of `targets` that was decided, -1 for none, `RECORD_ONLY` to record the curve alone.
    equity, pnl, maintenance, gross, net : float
        Of the account at the close, as `kernels.liquidation.value` has them.
    work : float64 array, shape (N_WORK, n_symbols)
        Its content means nothing before or after.
    allowed : float64 array, shape (1, n_symbols)
        As `work`.
    forced : bool array, shape (n_symbols,)
        As `work`; False outside the risk controller.
    """
    guarded, routed = config[RISK_BAR_US] != OFF, config[POST_ONLY] != OFF
    costed = config[SLIPPAGE] != OFF
    nav = equity * account.cash[NAV_RATE]
    if nav > account.cash[PEAK_NAV]:
        account.cash[PEAK_NAV] = nav
    emergency = False
    if routed and account.counter[ACTIVE_ROUTES] > 0:
        hear_orders(account, market, row, config)
    if costed:
        learn(account, config)
        count_volume(account, market, row)
        if market.ts_us[row] % liquidity_bar_us(config) == 0:
            estimate_liquidity(account, market, row, config)
    if guarded:
        if nav > account.risk[PEAK]:
            account.risk[PEAK] = nav
        emergency = _watch(
            account, rules, journal, market, row, config, targets, decision, gross, net, maintenance,
            work, allowed, forced,
        )  # fmt: skip
    if decision != -1:
        curve = journal.filled[1]
        journal.filled[1] = curve + 1
        journal.curve[CURVE_EQUITY, curve] = equity
        if len(journal.curve) > 1:
            record(account, rules, journal, curve, pnl, maintenance, gross, net)
    _plan(
        account, rules, journal, market, row, config, targets, decision, equity, allowed, forced, emergency
    )  # fmt: skip


@inner()
def _plan(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, targets: FloatArray,
    decision: int, equity: float, allowed: FloatArray, forced: BoolArray, emergency: bool,
) -> None:  # fmt: skip
    """Ask for the positions of the targets, as far as limits allow, and without a router order them."""
    if config[RISK_BAR_US] != OFF:
        # What an emergency asks for is less than any plan; only a halt closes more.
        plans = not emergency or account.risk[LEVEL] >= _HALT
        plans = plans and asks(account, rules, market, row, config, allowed, 0, equity, forced)
    else:
        plans = decision >= 0 and asks(
            account, rules, market, row, config, targets, decision, equity, forced
        )
        if plans:
            for s in range(len(forced)):
                allowed[0, s] = targets[decision, s]
    if plans:
        plan_targets(account, rules, journal, market, row, config, allowed[0], forced)
    if (plans or emergency) and config[POST_ONLY] == OFF:
        cross_asked(account, rules, journal, market, row, config)


@inner()
def _next_row(ts_us: int, config: FloatArray, row: int, every_us: int) -> int:
    """Return the first row from this one on that closes a bar of a longer grid."""
    into = ts_us % every_us
    return row if into == 0 else row + int((every_us - into) // int(config[BAR_US]))


@inner()
def _watch(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, targets: FloatArray,
    decision: int, gross: float, net: float, maintenance: float, work: FloatArray, allowed: FloatArray,
    forced: BoolArray,
) -> bool:  # fmt: skip
    """Let the liquidation monitor and the risk controller look at a row's close; return whether the first acted."""
    ts = market.ts_us[row]
    on_risk_bar = ts % int(config[RISK_BAR_US]) == 0
    passed = calls(account, rules, config, gross, net, maintenance)
    acted = passed and reduce_in_emergency(account, rules, journal, market, row, config)
    if on_risk_bar:
        observe_returns(account, market, row, config[COVARIANCE_DECAY])
    asked = False
    for s in range(len(forced)):
        allowed[0, s], forced[s] = math.nan, False
        asked |= decision >= 0 and not math.isnan(targets[decision, s])
    if asked or on_risk_bar or passed:
        check_risk(
            account, rules, journal, market, row, config, targets, decision, work, allowed, forced
        )
        if asked and config[SIZE_LIMIT] < 1.0:
            hold_what_fits(account, rules, market, row, config, allowed, forced)
    if ts % DAY_US == 0:
        begin_day(account)
    return acted


@inner()
def _trade_on(
    account: Account,
    rules: Rules,
    journal: Journal,
    market: Market,
    row: int,
    config: FloatArray,
    endangered: bool,
    endings: bool,
) -> bool:
    """Do what follows the entries within a bar: liquidation, exits, settlement; return whether positions changed."""
    changed = endangered and test_margin(account, rules, journal, market, row, NO)
    if account.counter[OPEN_ORDERS] > 0:
        # Orders inside the bar do not know its closing marks yet; the positions are valued once more after them.
        _copy_marks(account, FORMER_MARK, MARK)
        trade_inside(account, rules, journal, market, row, YES)
        if config[TOUCH_SHARE] > 0.0:
            trade_touched(account, rules, journal, market, row, config[TOUCH_SHARE])
        follow(account, market, row)
        changed = True
    if endings:
        changed |= _settle_ended(account, rules, journal, market, row)
    return changed


@inner()
def _copy_marks(account: Account, source: int, target: int) -> None:
    for s in range(len(account.held)):
        account.position[s, target] = account.position[s, source]


@inner()
def _settle_funding(
    account: Account,
    rules: Rules,
    journal: Journal,
    market: Market,
    row: int,
    whole: IntArray,
    number: FloatArray,
) -> None:
    """Pay one settlement at the mark at its time; where that is not known, at the bar's open."""
    s = whole[SETTLEMENT_SYMBOL]
    rate, mark = number[0], number[1]
    if not mark > 0.0:
        mark = market.mark_open[row, s]
    if not mark > 0.0:
        mark = market.open[row, s]
    if not mark > 0.0:
        mark = account.position[s, MARK]
    pay_funding(
        account, rules, journal, s, whole[SETTLEMENT_TIME], rate, mark, whole[SETTLEMENT_ASSUMED]
    )  # fmt: skip


@inner()
def _settle_ended(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int
) -> bool:
    """Settle symbols whose trading has ended at their last mark, with taker fee."""
    settled = False
    for s in range(len(account.held)):
        if account.held[s, ENDED] or market.ts_us[row] < rules.size[s, ENDS_US]:
            continue
        account.held[s, ENDED] = 1
        cancel_all(account, journal, market.ts_us[row], s)
        # What the closing marks liquidate does not settle: a loss ends with its margin.
        if account.held[s, LOTS] != 0:
            settled |= test_margin(account, rules, journal, market, row, YES)
        if account.held[s, LOTS] != 0:
            mark, fee_rate = mark_at(account, market, row, s, AT_CLOSE), rules.rate[s, TAKER_FEE]
            lots = -account.held[s, LOTS]
            forced_fill(
                account, rules, journal, s, lots, mark, fee_rate, market.ts_us[row], _SETTLEMENT
            )  # fmt: skip
            settled = True
    return settled


@inner()
def send_scripted(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray,
    whole: IntArray, number: FloatArray,
) -> None:  # fmt: skip
    """Send one order of a script at a row's close, or ask for the cancel of an earlier one."""
    ts, delay = market.ts_us[row], int(config[LATENCY_US])
    if whole[SCRIPT_CANCEL]:
        request_cancel(account, whole[SCRIPT_CLIENT], ts + delay)
        return
    s, side, kind = whole[SCRIPT_SYMBOL], whole[SCRIPT_SIDE], whole[SCRIPT_TYPE]
    last = market.close[row, s]
    mark = market.mark_close[row, s]
    mark = mark if mark > 0.0 else last
    price, stop, callback = number[0], number[1], number[2]
    if math.isnan(price):
        price = mark
    if kind == TRAILING:
        basis = mark if whole[SCRIPT_WORKING] == ON_MARK else last
        stop = basis * (1.0 + side * callback)
    lots = ZERO if whole[SCRIPT_FLAGS] & CLOSE_POSITION else whole[SCRIPT_LOTS]
    rule = place(
        account, rules, journal, ts, ts, delay, s, side, kind, whole[SCRIPT_TIF], lots, lots, whole[SCRIPT_FLAGS],
        whole[SCRIPT_WORKING], _SCRIPT, whole[SCRIPT_CLIENT], price, stop, callback, mark, last,
    )  # fmt: skip
    if rule < 0 and kind == LIMIT:
        queue_up(account, market, row, config, s)
