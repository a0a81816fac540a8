"""Matching orders with a bar: what trades at its open, inside it, and what margin forbids (DESIGN.md 1, 2, 3 and 5)."""

from __future__ import annotations

import math

from quantcore.kernels.compiled import inner
from quantcore.kernels.fills import (
    inside,
    reaches,
    taker_price,
    trades_through,
    volume_at,
    worse,
)
from quantcore.kernels.layout import (
    ACTIVE_TS,
    CLIENT,
    DECISION_TS,
    ENTRY,
    HEARD_END,
    HEARD_LOTS,
    INTRABAR_TS,
    LEVERAGE_SET,
    LIMIT_PRICE,
    LOCK,
    LOTS,
    MAKER_FEE,
    MARGIN,
    MARGIN_TYPE,
    MARK,
    NEVER,
    NO,
    NONE,
    NOTIONAL_MAX,
    OPEN_ORDERS,
    ORDER_ID,
    ORDER_LOTS,
    PAID,
    PAID_NOTIONAL,
    PAID_REFERENCE,
    QTY,
    QUEUE,
    REASON,
    RESTING,
    ROUTED,
    SEEN,
    SIDE,
    STOP_PRICE,
    SYMBOL,
    TAKER_FEE,
    TIME_IN_FORCE,
    TYPE,
    WALLET,
    WORKING,
    ZERO,
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
    fill,
    opening_lots,
    take_over,
    write_status,
)
from quantcore.kernels.orders import (
    EXPIRED,
    FILLED,
    FOK,
    GTX,
    IOC,
    LIMIT,
    MAKER,
    MARKET,
    ON_MARK,
    PARTIALLY_FILLED,
    PROFIT,
    REJECTED,
    TAKER,
    end_order,
    fillable,
    reduces,
    remove,
    unguard,
)
from quantcore.kernels.queue import post_only_fill
from quantcore.kernels.rules import quantity, whole_lots
from quantcore.types import (
    Action,
    FillReason,
    Rule,
    Stage,
)

_WHOLE = constant(NEVER)
_VENUE = constant(Stage.VENUE)
_REJECT = constant(Action.REJECTED)
_TARGET = constant(FillReason.TARGET)
_RISK = constant(FillReason.RISK)
_FIRST_EXIT = constant(FillReason.STOP_LOSS)
_LAST_EXIT = constant(FillReason.TIME_EXIT)
_BRACKET = constant(Rule.BRACKET_NOTIONAL)
_FOK = constant(Rule.FOK_NOT_FILLABLE)
_MARGIN = constant(Rule.MARGIN)
_NO_PRICE = constant(Rule.NO_PRICE)
_POST_ONLY = constant(Rule.POST_ONLY_WOULD_CROSS)
_REDUCE_ONLY = constant(Rule.REDUCE_ONLY)
_LIQUIDATED = constant(Rule.LIQUIDATION)


@inner()
def trade(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, k: int, most: int, price: float,
    liquidity: int, reference: float,
) -> bool:  # fmt: skip
    """Fill an order up to `most` lots, or reject it where margin or bracket forbid; it stays if some are left."""
    ticket = account.ticket[k]
    s, side, ts = ticket[SYMBOL], ticket[SIDE], market.ts_us[row]
    whole = fillable(account, k)
    if whole == 0:
        end_order(account, journal, k, ts, EXPIRED, _REDUCE_ONLY)
        return False
    lots = min(whole, most)
    held = account.held[s, LOTS]
    opening = opening_lots(held, lots * side)
    fee_rate = rules.rate[s, MAKER_FEE if liquidity == MAKER else TAKER_FEE]
    if opening < lots and _ruinous(account, rules, s, lots - opening, price, fee_rate):
        end_order(account, journal, k, ts, EXPIRED, _LIQUIDATED)
        take_over(account, rules, journal, s, price, ts)
        return True
    # A resting limit was tested when it became active; in cross margin a fill that has become too large is the margin
    # test's business, while an isolated position needs its margin from the wallet now.
    if opening > 0 and (liquidity == TAKER or rules.size[s, MARGIN_TYPE] == ISOLATED):
        rule = _margin_refusal(account, rules, journal, ts, k, lots, opening, price, fee_rate)
        if rule >= 0:
            end_order(account, journal, k, ts, REJECTED, rule)
            return False
    book_trade(
        account, rules, journal, market, row, k, lots, whole, price, fee_rate, liquidity, reference
    )  # fmt: skip
    return True


@inner()
def book_trade(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, k: int, lots: int, whole: int,
    price: float, fee_rate: float, liquidity: int, reference: float,
) -> None:  # fmt: skip
    """Book a trade of an open order, of `whole` lots that it may still trade; it stays if some are left."""
    ticket = account.ticket[k]
    s, side, ts = ticket[SYMBOL], ticket[SIDE], market.ts_us[row]
    held = account.held[s, LOTS]
    reason = ticket[REASON]
    fill(
        account, rules, journal, s, lots * side, price, fee_rate, ts, ticket[DECISION_TS],
        ticket[ORDER_ID], liquidity, reason, reference,
    )  # fmt: skip
    if liquidity == TAKER and len(account.liquidity) > 0 and reason in (_TARGET, _RISK):
        account.liquidity[s, PAID_NOTIONAL] = side * quantity(rules, s, lots) * price
        account.liquidity[s, PAID] = price
        account.liquidity[s, PAID_REFERENCE] = reference
    if held == 0 and not math.isnan(market.mark_open[row, s]):
        account.position[s, MARK] = market.mark_open[row, s]
    if _FIRST_EXIT <= reason <= _LAST_EXIT and account.held[s, LOTS] == 0:
        account.held[s, LOCK] = -side
    left = lots < whole
    write_status(journal, ts, s, ticket[ORDER_ID], PARTIALLY_FILLED if left else FILLED, NONE)
    if ticket[CLIENT] <= ROUTED:
        account.held[s, HEARD_LOTS] += lots
        account.held[s, HEARD_END] = ZERO if left else FILLED + 1
    if left:
        ticket[ORDER_LOTS] -= lots
    else:
        remove(account, k)


@inner()
def _ruinous(
    account: Account, rules: Rules, s: int, closing: int, price: float, fee_rate: float
) -> bool:
    """Return whether closing lots at a price, as after a gap, loses more than the margin behind the position."""
    position = account.position
    qty = position[s, QTY]
    profit = qty * (price - position[s, ENTRY])
    fee = abs(qty) * price * fee_rate
    if rules.size[s, MARGIN_TYPE] == ISOLATED:
        left = position[s, MARGIN] + profit
        return bool(left < 0.0 or left - fee + account.cash[WALLET] < 0.0)
    if closing < abs(account.held[s, LOTS]):
        return False  # what stays is tested with the bar's marks
    for other in range(len(position)):
        cross = rules.size[other, MARGIN_TYPE] != ISOLATED
        if other != s and cross and account.held[other, LOTS] != 0:
            return False
    return bool(account.cash[WALLET] + profit - fee < 0.0)


@inner()
def _margin_refusal(
    account: Account, rules: Rules, journal: Journal, ts: int, k: int, lots: int, opening: int, price: float,
    fee_rate: float,
) -> int:  # fmt: skip
    ticket = account.ticket[k]
    s = ticket[SYMBOL]
    held = account.held[s, LOTS]
    leverage = account.position[s, LEVERAGE_SET]
    after = abs(quantity(rules, s, held + lots * ticket[SIDE])) * price
    if after > rules.rate[s, NOTIONAL_MAX]:
        explain(journal, ts, s, _VENUE, _BRACKET, _REJECT, rules.rate[s, NOTIONAL_MAX], after)
        return _BRACKET
    free = available_margin(account, rules, k, NO)
    qty = account.position[s, QTY]
    if lots > opening:  # a flip frees the closing part first
        if rules.size[s, MARGIN_TYPE] == ISOLATED:
            proceeds = account.position[s, MARGIN] + qty * (price - account.position[s, ENTRY])
            free += max(proceeds, 0.0)
        else:
            mark = account.position[s, MARK]
            free += abs(qty) * mark / leverage + qty * (price - mark)
    needed = quantity(rules, s, opening) * price / leverage
    needed += quantity(rules, s, lots) * price * fee_rate
    if needed > free:
        explain(journal, ts, s, _VENUE, _MARGIN, _REJECT, free, needed)
        return _MARGIN
    return -1


@inner()
def arrive(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, open_ts: int
) -> None:
    """Let the orders that became active meet the bar's open: reducing ones first, then by symbol, then by sequence."""
    while True:
        chosen, best = NONE, NEVER
        for k in range(account.counter[OPEN_ORDERS]):
            ticket = account.ticket[k]
            waits = ticket[TYPE] == LIMIT and math.isnan(market.open[row, ticket[SYMBOL]])
            if ticket[SEEN] == 0 and ticket[ACTIVE_TS] <= open_ts and not waits:
                key = ticket[SYMBOL] if reduces(account, k) else ticket[SYMBOL] + len(account.held)
                if key < best:
                    chosen, best = k, key
        if chosen < 0:
            return
        _meet_open(account, rules, journal, market, row, chosen)


@inner()
def _meet_open(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, k: int
) -> None:
    ticket = account.ticket[k]
    ticket[SEEN] = 1
    s, side, kind = ticket[SYMBOL], ticket[SIDE], ticket[TYPE]
    reference, ts = market.open[row, s], market.ts_us[row]
    if kind == MARKET:
        if math.isnan(reference):
            unguard(account, k)
            end_order(account, journal, k, ts, REJECTED, _NO_PRICE)
        else:
            price = taker_price(rules, s, side, reference)
            trade(account, rules, journal, market, row, k, _WHOLE, price, TAKER, reference)
    elif kind == LIMIT:
        meet_open_limit(account, rules, journal, market, row, k, reference)


@inner()
def meet_open_limit(
    account: Account,
    rules: Rules,
    journal: Journal,
    market: Market,
    row: int,
    k: int,
    reference: float,
) -> None:
    """Let a limit meet a price, the bar's open or the other side's best: it trades, rests or ends."""
    ticket = account.ticket[k]
    s, side, tif, ts = ticket[SYMBOL], ticket[SIDE], ticket[TIME_IN_FORCE], market.ts_us[row]
    limit = account.order[k, LIMIT_PRICE]
    if (limit - reference) * side >= 0.0:  # crosses; never where there is no price
        if tif == GTX:
            end_order(account, journal, k, ts, REJECTED, _POST_ONLY)
            return
        price = taker_price(rules, s, side, reference)
        price = min(price, limit) if side > 0 else max(price, limit)
        trade(account, rules, journal, market, row, k, _WHOLE, price, TAKER, reference)
        return
    if tif in (IOC, FOK):
        end_order(account, journal, k, ts, EXPIRED, _FOK if tif == FOK else NONE)
        return
    lots = fillable(account, k)
    opening = opening_lots(account.held[s, LOTS], lots * side)
    if lots == 0:
        end_order(account, journal, k, ts, EXPIRED, _REDUCE_ONLY)
    elif opening > 0:
        fee_rate = rules.rate[s, MAKER_FEE]
        rule = _margin_refusal(account, rules, journal, ts, k, lots, opening, limit, fee_rate)
        if rule >= 0:
            end_order(account, journal, k, ts, REJECTED, rule)


@inner()
def _level(account: Account, market: Market, row: int, k: int, exits: bool) -> float:
    # The price at which an order trades or triggers in this bar; NaN where it does not, or not in this stage.
    ticket = account.ticket[k]
    s, side, kind = ticket[SYMBOL], ticket[SIDE], ticket[TYPE]
    if kind == LIMIT:
        if reduces(account, k) != exits:
            return math.nan
        if exits and account.held[s, INTRABAR_TS] == market.ts_us[row]:
            return math.nan  # which came first within the bar is unknown
        limit = account.order[k, LIMIT_PRICE]
        through = trades_through(side, limit, market.low[row, s], market.high[row, s])
        return limit if through else math.nan
    if kind == MARKET or (kind == PROFIT) != exits:
        return math.nan
    low, high = market.low[row, s], market.high[row, s]
    if ticket[WORKING] == ON_MARK and not math.isnan(market.mark_low[row, s]):
        low, high = market.mark_low[row, s], market.mark_high[row, s]
    stop = account.order[k, STOP_PRICE]
    if kind == PROFIT:
        if account.held[s, INTRABAR_TS] == market.ts_us[row]:
            return math.nan
        return stop if reaches(-side, stop, low, high) else math.nan
    return stop if reaches(side, stop, low, high) else math.nan


@inner()
def trade_inside(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, exits: bool
) -> bool:
    """Trade what the bar's range reaches; return whether anything filled.

    First (`exits` false) stops and entry limits, later take-profits and reducing limits. Within a symbol the level
    nearest to the open trades first.
    """
    filled = False
    for s in range(len(account.held)):
        while account.held[s, RESTING] > 0 and not math.isnan(market.open[row, s]):
            chosen, nearest, level = NONE, math.inf, math.nan
            for k in range(account.counter[OPEN_ORDERS]):
                if account.ticket[k, SYMBOL] != s or account.ticket[k, SEEN] == 0:
                    continue
                at = _level(account, market, row, k, exits)
                if abs(at - market.open[row, s]) < nearest:
                    chosen, nearest, level = k, abs(at - market.open[row, s]), at
            if chosen < 0:
                break
            filled |= _trade_at(account, rules, journal, market, row, chosen, level)
    return filled


@inner()
def trade_touched(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, touch_share: float
) -> None:
    """Trade resting limits whose price a bar touched, after the queue that stood before them."""
    k = ZERO
    while k < account.counter[OPEN_ORDERS]:
        ticket, here = account.ticket[k], k
        k += 1
        if ticket[TYPE] != LIMIT or ticket[SEEN] == 0:
            continue
        s, side, limit = ticket[SYMBOL], ticket[SIDE], account.order[here, LIMIT_PRICE]
        low, high = market.low[row, s], market.high[row, s]
        if (low if side > 0 else high) != limit:
            continue
        qty, left, _ = post_only_fill(
            side, limit, quantity(rules, s, ticket[ORDER_LOTS]), account.order[here, QUEUE], touch_share, high, low,
            market.close[row, s], volume_at(market, row, s),
        )  # fmt: skip
        account.order[here, QUEUE] = left
        lots = whole_lots(rules, s, qty)
        if lots > 0:
            standing = account.counter[OPEN_ORDERS]
            trade(account, rules, journal, market, row, here, lots, limit, MAKER, limit)
            k -= standing - account.counter[OPEN_ORDERS]


@inner()
def _trade_at(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, k: int, level: float
) -> bool:
    ticket = account.ticket[k]
    s, side, kind = ticket[SYMBOL], ticket[SIDE], ticket[TYPE]
    low, high = market.low[row, s], market.high[row, s]
    if kind == LIMIT:
        entering = not reduces(account, k)
        price = inside(level, low, high)
        done = trade(account, rules, journal, market, row, k, _WHOLE, price, MAKER, price)
        if done and entering:
            account.held[s, INTRABAR_TS] = market.ts_us[row]
        return done
    first = market.open[row, s]
    reference = inside(level, low, high) if kind == PROFIT else worse(side, level, first)
    price = taker_price(rules, s, side, reference)
    return trade(account, rules, journal, market, row, k, _WHOLE, price, TAKER, reference)
