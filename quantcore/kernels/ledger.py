"""The account's books: fills, funding, deposits, margin in use; and the journal in which each is written."""

from __future__ import annotations

import math

from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import (
    CUM,
    ENTRY,
    ENTRY_TS,
    EQUITY,
    EVENT_ACTION,
    EVENT_CLIENT,
    EVENT_DECISION,
    EVENT_FILL,
    EVENT_FLAGS,
    EVENT_FLOW,
    EVENT_FUNDING,
    EVENT_LIQUIDATION,
    EVENT_LOTS,
    EVENT_NEW_ORDER,
    EVENT_ORDER,
    EVENT_REASON,
    EVENT_SIDE,
    EVENT_STATE,
    EVENT_STATUS,
    EVENT_SYMBOL,
    EVENT_TIF,
    EVENT_TYPE,
    EVENT_WHY,
    FEES,
    FLAGS,
    FUNDING,
    INSURANCE,
    KIND,
    LAST_TS,
    LEVERAGE_SET,
    LIMIT_PRICE,
    LIQUIDATION_FEE,
    LIQUIDATION_FEES,
    LOTS,
    MAINTENANCE_RATE,
    MARGIN,
    MARGIN_TYPE,
    MARK,
    NAV_RATE,
    NET_DEPOSITS,
    NEXT_ORDER_ID,
    NONE,
    ONE,
    OPEN_ORDERS,
    ORDER_LOTS,
    QTY,
    REALISED,
    SEEN,
    SIDE,
    SYMBOL,
    TIER,
    TS,
    TYPE,
    WALLET,
    YES,
    ZERO,
    A,
    Account,
    B,
    C,
    D,
    E,
    F,
    Journal,
    Rules,
    constant,
)
from quantcore.kernels.margin import bracket_of
from quantcore.kernels.rules import quantity
from quantcore.types import (
    Action,
    FillReason,
    Liquidity,
    MarginType,
    OrderStatus,
    OrderType,
    Rule,
    Stage,
)

ISOLATED = constant(MarginType.ISOLATED)
MARKET = constant(OrderType.MARKET)
LIMIT = constant(OrderType.LIMIT)
_TAKER = constant(Liquidity.TAKER)
_FILLED = constant(OrderStatus.FILLED)
_ACCOUNT = constant(Stage.ACCOUNT)
_WITHDRAWAL = constant(Rule.WITHDRAWAL)
_LIQUIDATION = constant(FillReason.LIQUIDATION)
_LIQUIDATED = constant(Rule.LIQUIDATION)
_MARGIN_STAGE = constant(Stage.MARGIN)
_CLOSED = constant(Action.CLOSED)
_CUT = constant(Action.CUT)


@inner()
def event(journal: Journal, kind: int, ts: int, symbol: int) -> int:
    """Open the next row of the journal and return it."""
    row = journal.filled[0]
    journal.filled[0] = row + 1
    journal.whole[row, :] = 0
    journal.number[row, :] = 0.0
    journal.whole[row, KIND] = kind
    journal.whole[row, TS] = ts
    journal.whole[row, EVENT_SYMBOL] = symbol
    return int(row)


@inner()
def explain(
    journal: Journal,
    ts: int,
    symbol: int,
    stage: int,
    rule: int,
    action: int,
    limit: float,
    value: float,
) -> None:
    """Write why something was cut, refused or closed."""
    row = event(journal, EVENT_WHY, ts, symbol)
    journal.whole[row, EVENT_STATE] = stage
    journal.whole[row, EVENT_REASON] = rule
    journal.whole[row, EVENT_ACTION] = action
    journal.number[row, A] = limit
    journal.number[row, B] = value


@inner()
def write_new_order(
    journal: Journal, ts: int, decision_ts: int, symbol: int, order_id: int, side: int, lots: int, kind: int, tif: int,
    flags: int, reason: int, client: int, qty: float, price: float, stop: float, wanted: float,
) -> None:  # fmt: skip
    """Write that an order was sent, and the coins that its decision still wanted then."""
    row = event(journal, EVENT_NEW_ORDER, ts, symbol)
    whole = journal.whole
    whole[row, EVENT_ORDER] = order_id
    whole[row, EVENT_SIDE] = side
    whole[row, EVENT_LOTS] = lots
    whole[row, EVENT_TYPE] = kind
    whole[row, EVENT_TIF] = tif
    whole[row, EVENT_FLAGS] = flags
    whole[row, EVENT_REASON] = reason
    whole[row, EVENT_DECISION] = decision_ts
    whole[row, EVENT_CLIENT] = client
    journal.number[row, A] = qty
    journal.number[row, B] = price
    journal.number[row, C] = stop
    journal.number[row, D] = wanted


@inner()
def write_status(
    journal: Journal, ts: int, symbol: int, order_id: int, status: int, rule: int
) -> None:
    """Write how an order ended; rule is -1 where none was broken."""
    row = event(journal, EVENT_STATUS, ts, symbol)
    journal.whole[row, EVENT_ORDER] = order_id
    journal.whole[row, EVENT_STATE] = status
    journal.whole[row, EVENT_REASON] = rule


@inner()
def next_order_id(account: Account) -> int:
    """Return a new order's number."""
    order_id = account.counter[NEXT_ORDER_ID]
    account.counter[NEXT_ORDER_ID] = order_id + 1
    return int(order_id)


@inner()
def opening_lots(held: int, lots: int) -> int:
    """Return how many of an order's signed lots would enlarge or turn the position held."""
    if held == 0 or (held > 0) == (lots > 0):
        return abs(lots)
    return max(abs(lots) - abs(held), 0)


@inner()
def fill(
    account: Account, rules: Rules, journal: Journal, s: int, lots: int, price: float, fee_rate: float,
    ts: int, decision_ts: int, order_id: int, liquidity: int, reason: int, reference: float,
) -> None:  # fmt: skip
    """Book a trade of signed lots: position, entry price, realised PnL, fee and isolated margin."""
    position, held, cash = account.position, account.held, account.cash
    before = held[s, LOTS]
    after = before + lots
    opening = opening_lots(before, lots)
    closing = abs(lots) - opening
    entry = position[s, ENTRY]
    realised = 0.0
    if closing > 0:
        realised = quantity(rules, s, closing if before > 0 else -closing) * (price - entry)
    qty = quantity(rules, s, abs(lots))
    fee = qty * price * fee_rate
    cash[REALISED] += realised
    cash[FEES] += fee
    if rules.size[s, MARGIN_TYPE] == ISOLATED:
        _move_isolated(account, rules, s, before, closing, opening, price, realised, fee)
    else:
        cash[WALLET] += realised - fee
    if opening > 0:
        if before == 0 or closing > 0:
            position[s, ENTRY] = price
            held[s, ENTRY_TS] = ts
        else:
            kept = abs(position[s, QTY])
            position[s, ENTRY] = (kept * entry + qty * price) / (kept + qty)
    elif after == 0:
        position[s, ENTRY] = 0.0
    if before == 0:
        position[s, MARK] = price
    held[s, LOTS] = after
    position[s, QTY] = quantity(rules, s, after)
    row = event(journal, EVENT_FILL, ts, s)
    journal.whole[row, EVENT_ORDER] = order_id
    journal.whole[row, EVENT_SIDE] = 1 if lots > 0 else -1
    journal.whole[row, EVENT_LOTS] = abs(lots)
    journal.whole[row, EVENT_STATE] = liquidity
    journal.whole[row, EVENT_REASON] = reason
    journal.whole[row, EVENT_DECISION] = decision_ts
    journal.number[row, A] = qty
    journal.number[row, B] = price
    journal.number[row, C] = fee
    journal.number[row, D] = reference
    journal.number[row, E] = position[s, ENTRY]
    journal.number[row, F] = realised


@inner()
def forced_fill(
    account: Account, rules: Rules, journal: Journal, s: int, lots: int, price: float, fee_rate: float, ts: int,
    reason: int,
) -> None:  # fmt: skip
    """Trade signed lots of a position by an order that the exchange makes, decided at the previous close."""
    order_id = next_order_id(account)
    decision_ts = account.counter[LAST_TS]
    side = ONE if lots > 0 else NONE
    qty = quantity(rules, s, abs(lots))
    write_new_order(
        journal, ts, decision_ts, s, order_id, side, abs(lots), MARKET, ZERO, ZERO, reason, NONE, qty,
        math.nan, math.nan, qty,
    )  # fmt: skip
    fill(
        account,
        rules,
        journal,
        s,
        lots,
        price,
        fee_rate,
        ts,
        decision_ts,
        order_id,
        _TAKER,
        reason,
        price,
    )
    write_status(journal, ts, s, order_id, _FILLED, NONE)


@inner()
def take_over(
    account: Account, rules: Rules, journal: Journal, s: int, price: float, ts: int
) -> None:
    """Let the exchange close a position that would end below zero at a price; insurance pays what is missing."""
    qty = account.position[s, QTY]
    left = account.cash[WALLET]
    if rules.size[s, MARGIN_TYPE] == ISOLATED:
        left = account.position[s, MARGIN]
    left += qty * (price - account.position[s, ENTRY])
    fee = min(rules.rate[s, LIQUIDATION_FEE] * abs(qty) * price, max(left, 0.0))
    forced_fill(account, rules, journal, s, -account.held[s, LOTS], price, 0.0, ts, _LIQUIDATION)
    write_liquidation(account, journal, s, qty, price, fee, max(-left, 0.0), price, ts)


@inner()
def write_liquidation(
    account: Account, journal: Journal, s: int, qty: float, price: float, fee: float, insurance: float,
    trigger: float, ts: int,
) -> None:  # fmt: skip
    """Book a liquidation's fee and insurance, and write it with its cause: the mark that triggered it."""
    cash = account.cash
    cash[WALLET] += insurance - fee
    cash[LIQUIDATION_FEES] += fee
    cash[INSURANCE] += insurance
    row = event(journal, EVENT_LIQUIDATION, ts, s)
    journal.number[row, A] = qty
    journal.number[row, B] = price
    journal.number[row, C] = fee
    journal.number[row, D] = insurance
    explain(journal, ts, s, _MARGIN_STAGE, _LIQUIDATED, _CLOSED, trigger, qty)


@inner()
def _move_isolated(
    account: Account, rules: Rules, s: int, before: int, closing: int, opening: int, price: float,
    realised: float, fee: float,
) -> None:  # fmt: skip
    # Closing frees its share of the margin with its profit; a loss beyond that share takes from what stays.
    cash, position = account.cash, account.position
    margin = position[s, MARGIN]
    if closing > 0:
        freed = margin * (closing / abs(before)) if closing < abs(before) else margin
        margin -= freed
        proceeds = freed + realised
        if proceeds < 0.0:
            taken = min(max(margin, 0.0), -proceeds)
            margin -= taken
            proceeds += taken
        cash[WALLET] += proceeds
    if opening > 0:
        added = quantity(rules, s, opening) * price / account.position[s, LEVERAGE_SET]
        cash[WALLET] -= added
        margin += added
    position[s, MARGIN] = margin
    if closing < abs(before) or opening > 0:
        _charge_isolated(account, s, fee)
    else:
        cash[WALLET] -= fee


@inner()
def _charge_isolated(account: Account, s: int, amount: float) -> None:
    """Take a cost from a position's margin, then from the wallet; the rest its profit carries, as margin below 0."""
    cash, position = account.cash, account.position
    if amount > 0.0:
        beyond = max(amount - max(position[s, MARGIN], 0.0), 0.0)
        paid = min(beyond, max(cash[WALLET], 0.0))
        cash[WALLET] -= paid
        amount -= paid
    position[s, MARGIN] -= amount


@inner()
def pay_funding(
    account: Account, rules: Rules, journal: Journal, s: int, time_us: int, rate: float, mark: float, assumed: int
) -> None:  # fmt: skip
    """Pay or receive one settlement on the position held; an assumed rate is charged to longs and pays nobody."""
    qty = account.position[s, QTY]
    if qty == 0.0 or (assumed and qty * rate < 0.0):
        return
    book_funding(account, rules, journal, s, time_us, rate, mark, qty * mark * rate, assumed)


@inner()
def book_funding(
    account: Account, rules: Rules, journal: Journal, s: int, time_us: int, rate: float, mark: float, amount: float,
    assumed: int,
) -> None:  # fmt: skip
    """Book one payment of funding, > 0 paid."""
    account.cash[FUNDING] += amount
    if rules.size[s, MARGIN_TYPE] == ISOLATED:
        _charge_isolated(account, s, amount)
    else:
        account.cash[WALLET] -= amount
    row = event(journal, EVENT_FUNDING, time_us, s)
    journal.whole[row, EVENT_STATE] = assumed
    journal.number[row, A] = account.position[s, QTY]
    journal.number[row, B] = mark
    journal.number[row, C] = rate
    journal.number[row, D] = amount


@inner()
def move_cash(
    account: Account, rules: Rules, journal: Journal, time_us: int, amount: float
) -> None:
    """Book a deposit, or a withdrawal as far as the available margin allows; returns are measured per unit."""
    cash = account.cash
    if amount < 0.0:
        free = max(min(available_margin(account, rules, NONE, YES), cash[WALLET]), 0.0)
        if -amount > free:
            explain(journal, time_us, NONE, _ACCOUNT, _WITHDRAWAL, _CUT, free, -amount)
            amount = -free if free > 0.0 else 0.0
    equity = cash[EQUITY]
    cash[WALLET] += amount
    cash[NET_DEPOSITS] += amount
    cash[EQUITY] = equity + amount
    # Nothing is left of a unit's value when equity reaches zero: a later deposit cannot undo the loss.
    cash[NAV_RATE] *= equity / (equity + amount) if equity > 0.0 and equity + amount > 0.0 else 1.0
    if equity <= 0.0:
        cash[NAV_RATE] = 0.0
    row = event(journal, EVENT_FLOW, time_us, NONE)
    journal.number[row, A] = amount


@inner()
def available_margin(account: Account, rules: Rules, without: int, with_pending: bool) -> float:
    """Return wallet + cross unrealised PnL - initial margin of positions and of open orders, at last marks, USDT.

    One order's own reservation can be left out (its slot, -1 for none); orders that the venue has not seen yet
    count only `with_pending`.
    """
    free = account.cash[WALLET]
    for s in range(len(account.held)):
        qty = account.position[s, QTY]
        leverage = account.position[s, LEVERAGE_SET]
        if qty != 0.0 and rules.size[s, MARGIN_TYPE] != ISOLATED:
            mark = account.position[s, MARK]
            free += qty * (mark - account.position[s, ENTRY]) - abs(qty) * mark / leverage
        if account.counter[OPEN_ORDERS] > 0:
            free -= order_notional(account, rules, s, without, with_pending) / leverage
    return float(free)


@inner()
def order_notional(
    account: Account, rules: Rules, s: int, without: int, with_pending: bool
) -> float:
    """Return by how much a symbol's open orders could enlarge its position's notional, USDT."""
    buys, sells = 0.0, 0.0
    for k in range(account.counter[OPEN_ORDERS]):
        ticket = account.ticket[k]
        if ticket[SYMBOL] != s or k == without or not (ticket[SEEN] or with_pending):
            continue
        # Conditional orders reserve nothing before they trigger; reducing ones nothing at all.
        if ticket[TYPE] > LIMIT or ticket[FLAGS] != 0:
            continue
        notional = quantity(rules, s, ticket[ORDER_LOTS]) * account.order[k, LIMIT_PRICE]
        if ticket[SIDE] > 0:
            buys += notional
        else:
            sells += notional
    if buys == 0.0 and sells == 0.0:
        return 0.0
    held = account.position[s, QTY] * account.position[s, MARK]
    return float(max(abs(held + buys), abs(held - sells), abs(held)) - abs(held))


@inner()
def position_margin(account: Account, rules: Rules, s: int, mark: float) -> float:
    """Return a position's maintenance margin at a mark, USDT."""
    notional = abs(account.position[s, QTY]) * mark
    tier = bracket_of(rules.bracket[s], notional, account.held[s, TIER])
    account.held[s, TIER] = tier
    return float(notional * rules.bracket[s, tier, MAINTENANCE_RATE] - rules.bracket[s, tier, CUM])
