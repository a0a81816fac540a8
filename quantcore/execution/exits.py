"""Protective orders of a strategy's exit settings: placed at the close that filled the position, active a bar later."""

from __future__ import annotations

import math

from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import (
    ASKED,
    ASKED_LOTS,
    CANCEL_TS,
    CLIENT,
    CLOSE_POSITION,
    DECISION_TS,
    ENTRY,
    ENTRY_TS,
    GUARDED,
    LATENCY_US,
    LOTS,
    MARK,
    NONE,
    OFF,
    ONE,
    OPEN_ORDERS,
    ORDER_LOTS,
    REASON,
    RESTING,
    ROUTED,
    SIDE,
    STOP_LOSS,
    SYMBOL,
    TAKE_PROFIT,
    TIME_EXIT_US,
    TRAILING_STOP,
    YES,
    ZERO,
    Account,
    Journal,
    Market,
    Rules,
    constant,
)
from quantcore.kernels.orders import (
    CANCELED,
    MARKET,
    PROFIT,
    STOP,
    TRAILING,
    ask,
    end_order,
    expected_lots,
    place,
)
from quantcore.kernels.rules import tick_nearest
from quantcore.types import FillReason, FloatArray, Rule, WorkingType

_CLOSE = constant(CLOSE_POSITION)
_ON_MARK = constant(WorkingType.MARK_PRICE)
_ON_LAST = constant(WorkingType.CONTRACT_PRICE)
_STOP_LOSS = constant(FillReason.STOP_LOSS)
_TAKE_PROFIT = constant(FillReason.TAKE_PROFIT)
_TRAILING = constant(FillReason.TRAILING_STOP)
_TIME_EXIT = constant(FillReason.TIME_EXIT)
_TARGET = constant(FillReason.TARGET)
_RISK = constant(FillReason.RISK)
_WOULD_TRIGGER = constant(Rule.WOULD_TRIGGER)


@inner()
def guard_positions(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray
) -> None:
    """Keep each position's protective orders in step with it, as close-position orders that need no resizing."""
    for s in range(len(account.held)):
        lots = account.held[s, LOTS]
        entry = account.position[s, ENTRY]
        guarded = account.position[s, GUARDED]
        signed = math.copysign(entry, lots) if lots != 0 else 0.0
        if signed != guarded:
            moved = guarded * signed <= 0.0
            _withdraw(account, journal, market.ts_us[row], int(config[LATENCY_US]), s, not moved)
            account.position[s, GUARDED] = signed
            if lots != 0:
                _protect(account, rules, journal, market, row, config, s, moved)
        if lots != 0 and config[TIME_EXIT_US] != OFF:
            _leave_on_time(account, rules, journal, market, row, config, s)


@inner()
def _withdraw(
    account: Account, journal: Journal, ts: int, delay_us: int, s: int, keep_trailing: bool
) -> None:
    # A position that grew keeps its trailing stop: its extreme belongs to the position, not to the entry price.
    if account.held[s, RESTING] == 0:
        return
    for k in range(account.counter[OPEN_ORDERS] - 1, -1, -1):
        reason = account.ticket[k, REASON]
        if account.ticket[k, SYMBOL] == s and _STOP_LOSS <= reason <= _TIME_EXIT:
            if account.ticket[k, CLIENT] <= ROUTED:
                continue  # the router's own, which closes the position
            if keep_trailing and reason in (_TRAILING, _TIME_EXIT):
                continue
            if delay_us > 0:
                account.ticket[k, CANCEL_TS] = ts + delay_us
            else:
                end_order(account, journal, k, ts, CANCELED, NONE)


@inner()
def _protect(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, s: int, moved: bool
) -> None:  # fmt: skip
    entry = account.position[s, ENTRY]
    side = -1 if account.held[s, LOTS] > 0 else 1
    if config[STOP_LOSS] != OFF:
        stop = tick_nearest(rules, s, entry * (1.0 + side * config[STOP_LOSS]))
        _send(
            account,
            rules,
            journal,
            market,
            row,
            config,
            s,
            side,
            STOP,
            _ON_MARK,
            _STOP_LOSS,
            stop,
            math.nan,
        )
    if config[TAKE_PROFIT] != OFF:
        stop = tick_nearest(rules, s, entry * (1.0 - side * config[TAKE_PROFIT]))
        _send(
            account,
            rules,
            journal,
            market,
            row,
            config,
            s,
            side,
            PROFIT,
            _ON_LAST,
            _TAKE_PROFIT,
            stop,
            math.nan,
        )
    if config[TRAILING_STOP] != OFF and moved:
        callback = config[TRAILING_STOP]
        stop = account.position[s, MARK] * (1.0 + side * callback)
        _send(
            account, rules, journal, market, row, config, s, side, TRAILING, _ON_MARK, _TRAILING, stop, callback
        )  # fmt: skip


@inner()
def _send(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, s: int, side: int,
    kind: int, working: int, reason: int, stop: float, callback: float,
) -> None:  # fmt: skip
    # A trigger that the price has passed already is refused by the exchange: the position leaves at the next open.
    ts, delay = market.ts_us[row], int(config[LATENCY_US])
    mark = account.position[s, MARK]
    last = market.close[row, s]
    last = last if last > 0.0 else mark
    rule = place(
        account, rules, journal, ts, ts, delay, s, side, kind, ZERO, ZERO, ZERO, _CLOSE, working, reason, NONE,
        math.nan, stop, callback, mark, last,
    )  # fmt: skip
    if rule == _WOULD_TRIGGER:
        _leave(account, rules, journal, ts, delay, s, reason)


@inner()
def _leave(
    account: Account, rules: Rules, journal: Journal, ts: int, delay: int, s: int, reason: int
) -> None:  # fmt: skip
    """Close a position at the next open, whatever more the target wanted at the same close."""
    lots = account.held[s, LOTS]
    if len(account.route) > 0:
        goal = expected_lots(account, s)
        if account.held[s, ASKED]:
            goal = account.held[s, ASKED_LOTS]
        # The target itself leaves the position, or turns it; else only the exit counts. Both at once.
        ask(account, s, goal if goal * lots <= 0 else ZERO, reason, YES)
        if reason != _TIME_EXIT:
            account.position[s, GUARDED] = 0.0  # if that fails, the next close sees it unguarded
        return
    side = NONE if lots > 0 else ONE
    for k in range(account.counter[OPEN_ORDERS] - 1, -1, -1):
        ticket = account.ticket[k]
        planned = ticket[REASON] == _TARGET or ticket[REASON] == _RISK
        if ticket[SYMBOL] != s or not planned or ticket[DECISION_TS] != ts:
            continue
        if ticket[SIDE] != side:
            end_order(account, journal, k, ts, CANCELED, NONE)
        elif ticket[ORDER_LOTS] >= abs(lots):
            # The target itself leaves the position, or turns it; if that fails, the next close sees it unguarded.
            account.position[s, GUARDED] = 0.0
            return
    mark = account.position[s, MARK]
    place(
        account, rules, journal, ts, ts, delay, s, side, MARKET, ZERO, ZERO, ZERO, _CLOSE, _ON_MARK, reason, NONE,
        mark, math.nan, math.nan, mark, mark,
    )  # fmt: skip


@inner()
def _leave_on_time(
    account: Account,
    rules: Rules,
    journal: Journal,
    market: Market,
    row: int,
    config: FloatArray,
    s: int,
) -> None:
    ts = market.ts_us[row]
    if ts - account.held[s, ENTRY_TS] < config[TIME_EXIT_US]:
        return
    for k in range(account.counter[OPEN_ORDERS]):
        if account.ticket[k, SYMBOL] == s and account.ticket[k, REASON] == _TIME_EXIT:
            return  # on its way
    _leave(account, rules, journal, ts, int(config[LATENCY_US]), s, _TIME_EXIT)
