"""The table of open orders: placing, activating, filling and removing them, one bar at a time."""

from __future__ import annotations

import math

from quantcore.kernels.compiled import inner
from quantcore.kernels.fills import volume_at
from quantcore.kernels.layout import (
    ACTIVE_TS,
    ASKED,
    ASKED_LOTS,
    ASKED_URGENT,
    CALLBACK,
    CANCEL_TS,
    CLIENT,
    CLOSE_POSITION,
    DECISION_TS,
    ENDED,
    EXTREME,
    FLAGS,
    GOAL,
    GUARDED,
    HALF_SPREAD,
    HEARD_END,
    HEARD_RULE,
    LIMIT_MAX_LOTS,
    LIMIT_PRICE,
    LOTS,
    MARK,
    MARKET_MAX_LOTS,
    MIN_LOTS,
    MIN_NOTIONAL,
    N_ORDER,
    N_TICKET,
    NEVER,
    NONE,
    OPEN_ORDERS,
    ORDER_ID,
    ORDER_LOTS,
    QUEUE,
    QUEUE_AHEAD,
    REASON,
    RESTING,
    ROUTED,
    SEEN,
    SIDE,
    STATE,
    STOP_PRICE,
    SYMBOL,
    TIME_IN_FORCE,
    TYPE,
    WORKING,
    Account,
    Journal,
    Market,
    Rules,
    constant,
)
from quantcore.kernels.ledger import (
    explain,
    next_order_id,
    write_new_order,
    write_status,
)
from quantcore.kernels.rules import quantity, tick_price
from quantcore.types import (
    Action,
    FillReason,
    FloatArray,
    Liquidity,
    OrderStatus,
    OrderType,
    Rule,
    Stage,
    TimeInForce,
    WorkingType,
)

MARKET = constant(OrderType.MARKET)
LIMIT = constant(OrderType.LIMIT)
STOP = constant(OrderType.STOP_MARKET)
PROFIT = constant(OrderType.TAKE_PROFIT_MARKET)
TRAILING = constant(OrderType.TRAILING_STOP_MARKET)
IOC = constant(TimeInForce.IOC)
FOK = constant(TimeInForce.FOK)
GTX = constant(TimeInForce.GTX)
ON_MARK = constant(WorkingType.MARK_PRICE)
TAKER = constant(Liquidity.TAKER)
MAKER = constant(Liquidity.MAKER)
FILLED = constant(OrderStatus.FILLED)
PARTIALLY_FILLED = constant(OrderStatus.PARTIALLY_FILLED)
CANCELED = constant(OrderStatus.CANCELED)
REJECTED = constant(OrderStatus.REJECTED)
EXPIRED = constant(OrderStatus.EXPIRED)
_VENUE = constant(Stage.VENUE)
_REJECT = constant(Action.REJECTED)
_TARGET = constant(FillReason.TARGET)
_RISK = constant(FillReason.RISK)
_FIRST_EXIT = constant(FillReason.STOP_LOSS)
_LAST_EXIT = constant(FillReason.TIME_EXIT)
_BELOW_STEP = constant(Rule.BELOW_STEP)
_BRACKET = constant(Rule.BRACKET_NOTIONAL)
_ENDED = constant(Rule.SYMBOL_ENDED)
_MARGIN = constant(Rule.MARGIN)
_MARKET_MAX = constant(Rule.MARKET_MAX_QTY)
_MIN_NOTIONAL = constant(Rule.MIN_NOTIONAL)
_NO_PRICE = constant(Rule.NO_PRICE)
_REDUCE_ONLY = constant(Rule.REDUCE_ONLY)
_TABLE_FULL = constant(Rule.OPEN_ORDER_LIMIT)
_TRIGGERS = constant(Rule.WOULD_TRIGGER)


@inner()
def remove(account: Account, k: int) -> None:
    """Take an order out of the table; later ones move up, so that the table stays in order of sequence."""
    count = account.counter[OPEN_ORDERS]
    account.held[account.ticket[k, SYMBOL], RESTING] -= 1
    # Number by number: assigning rows would bring in numba's texts about shapes that do not fit, seconds of compiling.
    for j in range(k, count - 1):
        for c in range(N_TICKET):
            account.ticket[j, c] = account.ticket[j + 1, c]
        for c in range(N_ORDER):
            account.order[j, c] = account.order[j + 1, c]
    account.counter[OPEN_ORDERS] = count - 1


@inner()
def end_order(account: Account, journal: Journal, k: int, ts: int, status: int, rule: int) -> None:
    """Remove an order and write how it ended; a refusal is also explained, and the router hears of its own."""
    s = account.ticket[k, SYMBOL]
    if account.ticket[k, CLIENT] <= ROUTED:
        account.held[s, HEARD_END] = status + 1
        account.held[s, HEARD_RULE] = rule
    write_status(journal, ts, s, account.ticket[k, ORDER_ID], status, rule)
    if (
        status == REJECTED and rule != _MARGIN and rule != _BRACKET
    ):  # those are explained with numbers
        explain(journal, ts, s, _VENUE, rule, _REJECT, math.nan, math.nan)
    remove(account, k)


@inner()
def unguard(account: Account, k: int) -> None:
    """Forget that a position is guarded when the exchange ends its protective order: it is placed anew."""
    if _FIRST_EXIT <= account.ticket[k, REASON] <= _LAST_EXIT:
        account.position[account.ticket[k, SYMBOL], GUARDED] = 0.0


@inner()
def cancel_all(account: Account, journal: Journal, ts: int, symbol: int) -> None:
    """Cancel every open order of a symbol, or of the account where symbol is -1, for the exchange."""
    for k in range(account.counter[OPEN_ORDERS] - 1, -1, -1):
        if symbol < 0 or account.ticket[k, SYMBOL] == symbol:
            unguard(account, k)
            end_order(account, journal, k, ts, CANCELED, NONE)


@inner()
def place(
    account: Account, rules: Rules, journal: Journal, ts: int, decision_ts: int, delay_us: int, s: int, side: int,
    kind: int, tif: int, lots: int, wanted: int, flags: int, working: int, reason: int, client: int, price: float,
    stop: float, callback: float, mark: float, last: float,
) -> int:  # fmt: skip
    """Send an order at a bar's close; return the broken rule where the venue refuses it at once, else -1.

    `mark` and `last` are the prices at that close. A market order's `price` is the one it was planned at, on which
    its notional is measured. It becomes active with the first bar that opens `delay_us` after `ts` or later. `wanted`
    are the lots that its decision still wants, of which the order may be a part.
    """
    order_id = next_order_id(account)
    qty = quantity(rules, s, lots)
    write_new_order(
        journal, ts, decision_ts, s, order_id, side, lots, kind, tif, flags, reason, client, qty, price, stop,
        quantity(rules, s, wanted),
    )  # fmt: skip
    basis = mark if working == ON_MARK else last
    rule = _refusal(account, rules, s, side, kind, lots, flags, price, stop, basis)
    if rule >= 0:
        write_status(journal, ts, s, order_id, REJECTED, rule)
        limit = rules.rate[s, MIN_NOTIONAL] if rule == _MIN_NOTIONAL else math.nan
        value = qty * price if rule == _MIN_NOTIONAL else math.nan
        explain(journal, ts, s, _VENUE, rule, _REJECT, limit, value)
        return rule
    k = account.counter[OPEN_ORDERS]
    account.counter[OPEN_ORDERS] = k + 1
    account.held[s, RESTING] += 1
    ticket = account.ticket[k]
    ticket[ORDER_ID] = order_id
    ticket[SYMBOL] = s
    ticket[SIDE] = side
    ticket[TYPE] = kind
    ticket[TIME_IN_FORCE] = tif
    ticket[ORDER_LOTS] = lots
    ticket[FLAGS] = flags
    ticket[WORKING] = working
    ticket[REASON] = reason
    ticket[DECISION_TS] = decision_ts
    ticket[ACTIVE_TS] = ts + delay_us
    ticket[SEEN] = 0
    ticket[CANCEL_TS] = NEVER
    ticket[CLIENT] = client
    account.order[k, LIMIT_PRICE] = price
    account.order[k, STOP_PRICE] = stop
    account.order[k, CALLBACK] = callback
    account.order[k, EXTREME] = basis
    account.order[k, QUEUE] = 0.0
    return -1


@inner()
def queue_up(account: Account, market: Market, row: int, config: FloatArray, s: int) -> None:
    """Let the limit that was placed last stand behind what is assumed to rest at its price already."""
    volume = volume_at(market, row, s)
    ahead = config[QUEUE_AHEAD] * volume if volume > 0.0 else 0.0
    account.order[account.counter[OPEN_ORDERS] - 1, QUEUE] = max(ahead, 0.0)


@inner()
def _refusal(  # noqa: C901 - one line per filter of the exchange, in its order
    account: Account, rules: Rules, s: int, side: int, kind: int, lots: int, flags: int, price: float,
    stop: float, basis: float,
) -> int:  # fmt: skip
    if account.held[s, ENDED]:
        return _ENDED
    if account.counter[OPEN_ORDERS] >= len(account.ticket):
        return _TABLE_FULL
    if math.isnan(basis):
        return _NO_PRICE
    # What opens the position may be on its way, ahead of what reduces it.
    if flags != 0 and account.held[s, LOTS] * side >= 0 and expected_lots(account, s) * side >= 0:
        return _REDUCE_ONLY
    if not flags & CLOSE_POSITION:
        if lots < max(rules.size[s, MIN_LOTS], 1):
            return _BELOW_STEP
        most = rules.size[s, LIMIT_MAX_LOTS if kind == LIMIT else MARKET_MAX_LOTS]
        if lots > most:
            return _MARKET_MAX
        value = price if kind <= LIMIT else stop
        if flags == 0 and quantity(rules, s, lots) * value < rules.rate[s, MIN_NOTIONAL]:
            return _MIN_NOTIONAL
    # The trigger must lie beyond the price, or it would fire at once (the exchange's -2021).
    if kind == STOP and (basis - stop) * side >= 0.0:
        return _TRIGGERS
    if kind == PROFIT and (stop - basis) * side >= 0.0:
        return _TRIGGERS
    return -1


@inner()
def ask(account: Account, s: int, lots: int, reason: int, urgent: bool) -> None:
    """Ask the router for a position of signed lots; what was asked at the same close before does not count."""
    account.held[s, ASKED] = reason + 1
    account.held[s, ASKED_LOTS] = lots
    account.held[s, ASKED_URGENT] = urgent


@inner()
def expected_lots(account: Account, s: int) -> int:
    """Return the signed lots held once what was decided has traded: the router's goal, or orders on their way.

    Without a router and with one bar's latency that is what is held.
    """
    if len(account.route) > 0:
        return int(
            account.route[s, GOAL] if account.route[s, STATE] != 0 else account.held[s, LOTS]
        )
    lots = account.held[s, LOTS]
    if account.held[s, RESTING] > 0:
        for k in range(account.counter[OPEN_ORDERS]):
            ticket = account.ticket[k]
            wanted = ticket[REASON] == _TARGET or ticket[REASON] == _RISK
            if ticket[SYMBOL] == s and ticket[SEEN] == 0 and wanted:
                lots += ticket[SIDE] * ticket[ORDER_LOTS]
    return int(lots)


@inner()
def smallest_order(account: Account, rules: Rules, market: Market, row: int, s: int) -> int:
    """Return the least lots of an order of the router that opens at a close.

    It is measured at its own price, or at the mark: at the lowest of them it is surely large enough.
    """
    close, mark = market.close[row, s], market.mark_close[row, s]
    lowest = account.position[s, MARK]
    if close > 0.0:
        lowest = min(close, mark) if mark > 0.0 else close
        lowest = lowest * (1.0 - rules.rate[s, HALF_SPREAD]) - tick_price(rules, s, 1.0)
    least, lot = 1, quantity(rules, s, 1)
    if lowest > 0.0:
        least = math.ceil(rules.rate[s, MIN_NOTIONAL] / (lot * lowest) + 1e-9)
    return int(max(least, rules.size[s, MIN_LOTS], 1))


@inner()
def due_cancels(account: Account, journal: Journal, open_ts: int, ts: int) -> None:
    """Cancel the orders whose cancel has reached the venue when the bar opens."""
    for k in range(account.counter[OPEN_ORDERS] - 1, -1, -1):
        if account.ticket[k, CANCEL_TS] <= open_ts:
            end_order(account, journal, k, ts, CANCELED, NONE)


@inner()
def fillable(account: Account, k: int) -> int:
    """Return the lots an order may still trade: a reducing one never more than the position it reduces."""
    ticket = account.ticket[k]
    flags = ticket[FLAGS]
    if flags == 0:
        return int(ticket[ORDER_LOTS])
    held = account.held[ticket[SYMBOL], LOTS]
    if held * ticket[SIDE] >= 0:
        return 0
    if flags & CLOSE_POSITION:
        return abs(int(held))
    return min(int(ticket[ORDER_LOTS]), abs(int(held)))


@inner()
def reduces(account: Account, k: int) -> bool:
    """Return whether an order can only make its symbol's position smaller."""
    ticket = account.ticket[k]
    if ticket[FLAGS] != 0:
        return True
    held = account.held[ticket[SYMBOL], LOTS]
    return bool(held * ticket[SIDE] < 0 and ticket[ORDER_LOTS] <= abs(held))


@inner()
def follow(account: Account, market: Market, row: int) -> None:
    """Move trailing stops with the bar's extremes, for the bars that follow."""
    for k in range(account.counter[OPEN_ORDERS]):
        ticket = account.ticket[k]
        if ticket[TYPE] != TRAILING:
            continue
        s, side = ticket[SYMBOL], ticket[SIDE]
        low, high = market.low[row, s], market.high[row, s]
        if ticket[WORKING] == ON_MARK and not math.isnan(market.mark_low[row, s]):
            low, high = market.mark_low[row, s], market.mark_high[row, s]
        best = low if side > 0 else high
        if (
            not math.isnan(best)
            and (account.order[k, EXTREME] - best) * side > 0.0
            and ticket[SEEN]
        ):
            account.order[k, EXTREME] = best
            account.order[k, STOP_PRICE] = best * (1.0 + side * account.order[k, CALLBACK])


@inner()
def request_cancel(account: Account, client: int, cancel_ts: int) -> None:
    """Ask for the cancel of the open order with a client number."""
    for k in range(account.counter[OPEN_ORDERS]):
        if account.ticket[k, CLIENT] == client:
            account.ticket[k, CANCEL_TS] = min(account.ticket[k, CANCEL_TS], cancel_ts)
