"""A single symbol's account over many rows at a time, for sweeps: the account step's numbers in a fraction of its time.

Where one symbol is traded by market orders in cross margin and nothing else is asked for (no exits, limits, router or
script), most of the step's work is to find out that nothing happens. Here a span without targets is
crossed in windows (`account_hold`).

Whatever is not plain (a refusal of the exchange, a cut, a margin test that might fail, a missing price) is left to the
step: `solo` returns the row before which it stands, with the account as the step would have left it. The arithmetic is
the step's own, in its order, to the last bit; a property test holds the two together.
"""

from __future__ import annotations

import math

from quantcore.account_hold import Marks, draw, hold, pay, payment, survives
from quantcore.kernels.compiled import inner
from quantcore.kernels.fills import taker_price
from quantcore.kernels.layout import (
    ENDED,
    ENDS_US,
    ENTRY,
    ENTRY_TS,
    EQUITY,
    FEES,
    LAST_REFUSAL,
    LAST_TS,
    LATENCY_US,
    LEVERAGE_SET,
    LOCK,
    LOTS,
    MARGIN_BUFFER,
    MARGIN_TYPE,
    MARK,
    MARKET_MAX_LOTS,
    MIN_LOTS,
    MIN_NOTIONAL,
    NAV_RATE,
    NEXT_ORDER_ID,
    NO_TRADE_BAND,
    NONE,
    NOTIONAL_MAX,
    OFF,
    ONE,
    OPEN_ORDERS,
    PEAK_NAV,
    POST_ONLY,
    QTY,
    REALISED,
    REDUCE_ONLY,
    RISK_BAR_US,
    SETTLEMENT_ROW,
    SLIPPAGE,
    STOP_LOSS,
    TAKE_PROFIT,
    TAKER_COST,
    TAKER_FEE,
    TIER,
    TIME_EXIT_US,
    TRAILING_STOP,
    WALLET,
    ZERO,
    Account,
    Journal,
    Market,
    Rules,
    constant,
)
from quantcore.kernels.ledger import ISOLATED, opening_lots
from quantcore.kernels.orders import MARKET, place
from quantcore.kernels.rows import first_row
from quantcore.kernels.rules import quantity, whole_lots
from quantcore.kernels.tally import (
    DAYS,
    EQUITY_SUM,
    FIRST_DAY_ROW,
    NAV,
    PEAK,
    ROWS,
    add,
    count_fill,
)
from quantcore.kernels.tally import EQUITY as TALLY_EQUITY
from quantcore.kernels.tally import LAST_TS as TALLY_TS
from quantcore.risk.sizer import is_dust, moves
from quantcore.timegrid import DAY_US
from quantcore.types import FillReason, FloatArray, IntArray, Rule, WorkingType

_REDUCING = constant(REDUCE_ONLY)
_TARGET = constant(FillReason.TARGET)
_ON_LAST = constant(WorkingType.CONTRACT_PRICE)
_BELOW_STEP = constant(Rule.BELOW_STEP)
_MIN_NOTIONAL = constant(Rule.MIN_NOTIONAL)


@inner()
def is_plain(account: Account, rules: Rules, config: FloatArray, last_ts: int) -> bool:
    """Return whether nothing but targets moves an account of one symbol, up to a stamp."""
    asked = False
    for column in (STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, TIME_EXIT_US, RISK_BAR_US, POST_ONLY):
        asked |= config[column] != OFF
    asked |= config[SLIPPAGE] != OFF or config[LATENCY_US] > 0.0
    asked |= rules.size[0, MARGIN_TYPE] == ISOLATED or rules.size[0, ENDS_US] <= last_ts
    return len(account.held) == 1 and not asked


@inner()
def solo(  # noqa: C901 - one row's events in their order, as in `account_step.scan`
    account: Account, rules: Rules, market: Market, marks: Marks, settlement: IntArray, settlement_value: FloatArray,
    config: FloatArray, journal: Journal, tally: FloatArray, trips: FloatArray, daily: FloatArray, events: IntArray,
    weights: FloatArray, n_events: int, start: int, stop: int,
) -> int:  # fmt: skip
    """Advance a plain account and its tally over rows ``[start, stop)``; return the first row left to the step.

    Parameters
    ----------
    account, rules, market, config : from `kernels.layout`
        Of one symbol; `is_plain`.
    marks : Marks
        From `solo_marks`.
    settlement, settlement_value : arrays
        As in `account_step.scan`.
    journal : Journal
        Room for the event of an order that is handed on to the step.
    tally, trips, daily : float64 arrays
        Of `kernels.tally`, advanced in place.
    events : int64 array, shape (n,)
        Rows at whose close a target is given, increasing.
    weights : float64 array, shape (n, 1)
        The targets.
    n_events : int
        Targets given.
    start, stop : int
        Rows.
    """
    held, position, cash = account.held, account.position, account.cash
    if account.counter[OPEN_ORDERS] > 0 or held[0, LOCK] != 0 or held[0, ENDED] != 0:
        return start
    ts_us, close, day_end = market.ts_us, marks.close, marks.day_end
    wallet, nav_rate = cash[WALLET], cash[NAV_RATE]
    lots, qty, entry = int(held[0, LOTS]), position[0, QTY], position[0, ENTRY]
    mark, tier, refused = position[0, MARK], int(held[0, TIER]), int(held[0, LAST_REFUSAL])
    leverage, taker_fee = position[0, LEVERAGE_SET], rules.rate[0, TAKER_FEE]
    lot, least, band = quantity(rules, 0, ONE), rules.rate[0, MIN_NOTIONAL], config[NO_TRADE_BAND]
    if start == 0 and ts_us[0] % DAY_US == 0:
        tally[FIRST_DAY_ROW] = 1.0
    pending, planned, orders = ZERO, 0.0, ZERO
    k, p = first_row(events[:n_events], start), first_row(settlement[:, SETTLEMENT_ROW], start)
    d = first_row(day_end, start)
    equity = wallet + qty * (mark - entry) if qty != 0.0 else wallet
    row = start
    while row < stop:
        event = events[k] if k < n_events else stop
        if pending == 0 and event > row:
            before = row
            row, d, p, tier, wallet = hold(
                rules, market, marks, settlement, settlement_value, cash, tally, trips, daily, wallet, nav_rate, qty,
                entry, mark, tier, d, p, row, min(event, stop),
            )  # fmt: skip
            if row == before:
                break
            equity = wallet
            if qty != 0.0:
                mark = close[row - 1]
                equity = wallet + qty * (mark - entry)
            continue
        due, amount = ZERO, 0.0
        while p + due < len(settlement) and settlement[p + due, SETTLEMENT_ROW] == row:
            amount = payment(market, settlement, settlement_value, p + due, qty, mark)
            due += 1
        if due > 1:
            break
        # A row with a fill or a target: worked out first, booked once nothing in it is out of the plain.
        new_wallet, new_lots, new_qty, new_entry = wallet - amount, lots, qty, entry
        price = fee = realised = traded = 0.0
        opened = False
        if pending != 0:
            reference = market.open[row, 0]
            if math.isnan(reference):
                break
            price = taker_price(rules, 0, ONE if pending > 0 else NONE, reference)
            traded = quantity(rules, 0, abs(pending))
            fee = traded * price * taker_fee
            opening = opening_lots(lots, pending)
            closing = abs(pending) - opening
            if not _can_trade(
                rules, new_wallet, qty, entry, mark, lots, pending, opening, price, fee, leverage
            ):
                break
            if closing > 0:
                realised = quantity(rules, 0, closing if lots > 0 else -closing) * (price - entry)
            new_wallet += realised - fee
            new_lots = lots + pending
            new_qty = quantity(rules, 0, new_lots)
            opened = opening > 0 and (lots == 0 or closing > 0)
            if opened:
                new_entry = price
            elif opening > 0:
                new_entry = (abs(qty) * entry + traded * price) / (abs(qty) + traded)
            elif new_lots == 0:
                new_entry = 0.0
        new_tier, new_equity = tier, new_wallet
        if new_qty != 0.0:
            new_tier = survives(rules, marks, row, new_qty, new_entry, new_wallet, tier)
            if new_tier < 0:
                break
            new_equity = new_wallet + new_qty * (close[row] - new_entry)
        wanted, new_refused = ZERO, refused
        if event == row:
            weight = weights[k, 0]
            if not (math.isnan(weight) or math.isnan(market.close[row, 0])):
                if math.isnan(close[row]):
                    break
                value = lot * close[row]
                asked = moves(weight, new_equity, band, new_lots, value, least, ZERO, False)
                if asked or refused != 0:
                    wanted, new_refused = _wanted(
                        rules, weight, new_equity, band, new_lots, close[row], value, refused
                    )
                    if new_refused < 0:
                        break
                    if wanted != 0:
                        if not _can_order(
                            rules, wanted, new_lots, new_qty, new_entry, new_wallet, close[row], leverage,
                            config[MARGIN_BUFFER],
                        ):  # fmt: skip
                            break
                        new_refused = ZERO
        pay(cash, tally, trips, wallet, amount)
        p += due
        if pending != 0:
            cash[REALISED] += realised
            cash[FEES] += fee
            signed = traded if pending > 0 else -traded
            count_fill(tally, trips, 0, signed, price, fee, market.open[row, 0], True)
            if opened:
                held[0, ENTRY_TS] = ts_us[row]
            orders += 1
        wallet, lots, qty, entry = new_wallet, new_lots, new_qty, new_entry
        tier, equity, refused = new_tier, new_equity, new_refused
        if qty != 0.0:
            mark = close[row]
        draw(tally, equity * nav_rate, ts_us, row)
        add(tally, EQUITY_SUM, equity)
        tally[ROWS] += 1.0
        if d < len(day_end) and day_end[d] == row:
            daily[d] = equity * nav_rate
            d += 1
        pending, planned = wanted, close[row]
        if event == row:
            k += 1
        row += 1
    if row == start:
        return row
    last = row - 1
    cash[WALLET], cash[EQUITY], cash[PEAK_NAV] = wallet, equity, tally[PEAK]
    held[0, LOTS], held[0, TIER], held[0, LAST_REFUSAL] = lots, tier, refused
    position[0, QTY], position[0, ENTRY], position[0, MARK] = qty, entry, mark
    account.counter[LAST_TS] = ts_us[last]
    account.counter[NEXT_ORDER_ID] += orders
    tally[NAV], tally[TALLY_EQUITY], tally[TALLY_TS] = equity * nav_rate, equity, ts_us[last]
    # A day that has begun counts from its first row on.
    ended = day_end[d - 1] if d > 0 else int(tally[FIRST_DAY_ROW]) - 1
    if d < len(day_end) and last > ended:
        daily[d] = equity * nav_rate
        d += 1
    tally[DAYS] = d
    if pending != 0:
        flags = _REDUCING if opening_lots(lots, pending) == 0 else ZERO
        place(
            account, rules, journal, ts_us[last], ts_us[last], ZERO, ZERO, ONE if pending > 0 else NONE, MARKET, ZERO,
            abs(pending), abs(pending), flags, _ON_LAST, _TARGET, NONE, planned, math.nan, math.nan, planned,
            market.close[last, 0],
        )  # fmt: skip
    return row


@inner()
def _can_trade(
    rules: Rules, wallet: float, qty: float, entry: float, mark: float, lots: int, pending: int, opening: int,
    price: float, fee: float, leverage: float,
) -> bool:  # fmt: skip
    """Return whether the exchange fills an order as it was sent; as `matching.trade` has it."""
    size = abs(pending)
    if size - opening >= abs(lots) and lots != 0:
        whole_fee = abs(qty) * price * rules.rate[0, TAKER_FEE]
        if wallet + qty * (price - entry) - whole_fee < 0.0:
            return False
    if opening == 0:
        return True
    if abs(quantity(rules, 0, lots + pending)) * price > rules.rate[0, NOTIONAL_MAX]:
        return False
    free = wallet
    if qty != 0.0:
        free += qty * (mark - entry) - abs(qty) * mark / leverage
    if size > opening:
        free += abs(qty) * mark / leverage + qty * (price - mark)
    return quantity(rules, 0, opening) * price / leverage + fee <= free


@inner()
def _wanted(
    rules: Rules, weight: float, equity: float, band: float, held: int, price: float, lot_value: float, refused: int
) -> tuple[int, int]:  # fmt: skip
    """Return the lots to trade and which rules refuse what is wanted; -1 for what the step must cut.

    As `sizer._wanted_lots`.
    """
    least, most = rules.rate[0, MIN_NOTIONAL], int(rules.size[0, MARKET_MAX_LOTS])
    if weight == 0.0 or is_dust(weight * equity, held * lot_value, least):
        return -int(min(max(held, -most), most)), ZERO
    change = weight * equity - held * lot_value
    if abs(change) < band * equity or equity <= 0.0:
        return ZERO, ZERO
    lots = whole_lots(rules, 0, change / price)
    opening = opening_lots(held, lots)
    if lots == 0 or (opening > 0 and abs(lots) < rules.size[0, MIN_LOTS]):
        return ZERO, refused | (ONE << _BELOW_STEP)
    reach = max(whole_lots(rules, 0, rules.rate[0, NOTIONAL_MAX] / price), abs(held))
    if abs(lots) > most or abs(held + lots) > reach:
        return ZERO, NONE
    size = abs(lots)
    if opening == 0 or (size * lot_value >= least and size >= rules.size[0, MIN_LOTS]):
        return lots, refused
    return (-held if opening < size else ZERO), refused | (ONE << _MIN_NOTIONAL)


@inner()
def _can_order(
    rules: Rules, lots: int, held: int, qty: float, entry: float, wallet: float, price: float, leverage: float,
    buffer: float,
) -> bool:  # fmt: skip
    """Return whether margin allows an order and the exchange takes it; as `sizer._fit_margin` and `orders.place`."""
    size, opening = abs(lots), opening_lots(held, lots)
    if size < max(rules.size[0, MIN_LOTS], 1) or size > rules.size[0, MARKET_MAX_LOTS]:
        return False
    if opening > 0 and quantity(rules, 0, size) * price < rules.rate[0, MIN_NOTIONAL]:
        return False
    free = wallet
    if qty != 0.0:
        free += qty * (price - entry) - abs(qty) * price / leverage
    cost = quantity(rules, 0, size) * price * (rules.rate[0, TAKER_FEE] + rules.rate[0, TAKER_COST])
    if opening == 0:
        return True
    needed = quantity(rules, 0, opening) * price / leverage + cost
    freed = quantity(rules, 0, size - opening) * price / leverage if size > opening else 0.0
    return bool(needed <= (free + freed) * (1.0 - buffer))
