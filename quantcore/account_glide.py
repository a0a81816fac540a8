"""The account's fast way over bars in which nothing happens but the marks: in blocks of rows, one symbol at a time.

A row glides if the account step would only mark it to market: no order on its way or reached, no position near
liquidation, leaving its bracket or without a price, no target beyond the no-trade band. The tests err on the side of
the step, which then takes the row itself; the arithmetic is that of the step, to the last bit.
"""

from __future__ import annotations

import math

from quantcore.execution.costing import count_volume
from quantcore.kernels.compiled import inner
from quantcore.kernels.curve import record
from quantcore.kernels.fills import reaches, trades_through
from quantcore.kernels.layout import (
    ACTIVE_ROUTES,
    CALLBACK,
    CANCEL_TS,
    CAP,
    CUM,
    CURVE_DRAWDOWN,
    CURVE_EQUITY,
    CURVE_NAV,
    ENDED,
    ENTRY,
    ENTRY_TS,
    EQUITY,
    EXTREME,
    FLOOR,
    GUARDED,
    LAST_REFUSAL,
    LAST_TS,
    LEVEL,
    LIMIT_PRICE,
    LOCK,
    LOTS,
    MAINTENANCE_RATE,
    MARGIN,
    MARGIN_TYPE,
    MARK,
    MIN_NOTIONAL,
    N_LEAN,
    NAV_RATE,
    NEVER,
    NO_TRADE_BAND,
    OFF,
    ONE,
    OPEN_ORDERS,
    PEAK,
    PEAK_NAV,
    QTY,
    SEEN,
    SIDE,
    STOP_PRICE,
    SYMBOL,
    SYMBOL_MAX,
    TIER,
    TIME_EXIT_US,
    TOUCH_SHARE,
    TYPE,
    WALLET,
    WORKING,
    Account,
    Journal,
    Market,
    Rules,
)
from quantcore.kernels.ledger import ISOLATED
from quantcore.kernels.memory import unsigned
from quantcore.kernels.orders import LIMIT, MARKET, ON_MARK, PROFIT, TRAILING, follow
from quantcore.kernels.rules import quantity
from quantcore.risk.controller import beyond, next_step_down
from quantcore.risk.sizer import moves
from quantcore.types import FloatArray, IntArray, RiskLevel

_HALT = float(RiskLevel.HALT)

BLOCK = 512
"""Rows of a long block: its 40 KB of buffers stay in the processor's second cache."""
SHORTEST = 2
"""Rows of the first block; each further one is twice as long, so that an early end costs little."""

# Buffers of one number per row of a block
PNL = 0
WORST = 1  # cross equity, each position at its own adverse mark
MOST = 2  # maintenance margin of the cross positions at its highest
EQUITIES = 3
GROSS = 4
NET = 5
MAINTENANCE = 6
PRICE = 7
ADVERSE = 8
ENDS = 9
N_SCRATCH = 10


@inner()
def glide(  # noqa: C901 - what ends a block is read in one place
    account: Account, market: Market, rules: Rules, config: FloatArray, decisions: IntArray, targets: FloatArray,
    journal: Journal, scratch: FloatArray, exits: bool, guarded: bool, costed: bool, start: int, stop: int,
) -> int:  # fmt: skip
    """Mark to market from row `start` on, at most up to `stop`; return the first row that the step must take.

    `scratch` has shape ``(N_SCRATCH, BLOCK)``; its content means nothing before or after.
    """
    if not _at_rest(account, exits) or (guarded and not _watchable(account, rules)):
        return start
    if config[TIME_EXIT_US] != OFF:
        stop = _before_time_exit(account, market, config, start, stop)
    row, length = start, SHORTEST
    while row < stop:
        most = min(BLOCK, stop - row)
        # Where targets are rare the block ends before the next one, else it grows while nothing happens.
        wanted = _without_target(targets, decisions, row, most)
        asked = wanted == 0
        if asked:
            wanted = min(length, most)
            length *= 2
        calm = wanted
        if account.counter[OPEN_ORDERS] > 0:
            calm = _untouched(account, market, row, calm, config[TOUCH_SHARE] > 0.0)
        calm = _far_from_liquidation(account, rules, market, scratch, row, calm)
        if guarded:
            # What a limit makes of a target is the step's to say.
            calm = 0 if asked else _within_limits(account, rules, market, config, scratch, row, calm)  # fmt: skip
        elif asked:
            calm = _within_band(
                account, rules, market, config, decisions, targets, scratch, row, calm
            )
        if calm > 0:
            _mark(account, rules, market, decisions, journal, scratch, guarded, row, calm)
            if costed:
                for r in range(calm):
                    count_volume(account, market, row + r)
        row += calm
        if calm < wanted:
            break
    if row > start:
        account.counter[LAST_TS] = market.ts_us[row - 1]
    return row


@inner()
def _at_rest(account: Account, exits: bool) -> bool:
    """Return whether every open order rests, no route is worked and every position has its protective orders."""
    if account.counter[ACTIVE_ROUTES] > 0:
        return False
    for k in range(account.counter[OPEN_ORDERS]):
        ticket = account.ticket[k]
        if ticket[SEEN] == 0 or ticket[TYPE] == MARKET or ticket[CANCEL_TS] != NEVER:
            return False
    if exits:
        for s in range(len(account.held)):
            lots = account.held[s, LOTS]
            signed = math.copysign(account.position[s, ENTRY], lots) if lots != 0 else 0.0
            if signed != account.position[s, GUARDED]:
                return False
    return True


@inner()
def _before_time_exit(
    account: Account, market: Market, config: FloatArray, start: int, stop: int
) -> int:
    """Return the first row at whose close a position has been held for long enough, else `stop`."""
    first = NEVER
    for s in range(len(account.held)):
        if account.held[s, LOTS] != 0:
            first = min(first, account.held[s, ENTRY_TS] + int(config[TIME_EXIT_US]))
    if market.ts_us[stop - 1] < first:
        return stop
    row = start
    while market.ts_us[row] < first:
        row += 1
    return row


@inner(forceinline=True)
def _without_target(targets: FloatArray, decisions: IntArray, row: int, n: int) -> int:
    """Return how many of `n` rows come before the first that is given a target."""
    if len(decisions) > 0:
        if len(targets) > 0:
            for r in range(n):
                if decisions[unsigned(row + r)] >= 0:
                    return r
        return n
    flat, width = targets.reshape(-1), targets.shape[1]
    given = False
    for k in range(row * width, (row + n) * width):
        given |= flat[unsigned(k)] == flat[unsigned(k)]
    if not given:
        return n
    k = row * width
    while math.isnan(flat[unsigned(k)]):
        k += 1
    return int(k // width - row)


@inner()
def _untouched(account: Account, market: Market, row: int, n: int, touches: bool) -> int:
    """Return how many of `n` rows reach no resting order."""
    for k in range(account.counter[OPEN_ORDERS]):
        s, side = account.ticket[k, SYMBOL], account.ticket[k, SIDE]
        kind, on_mark = account.ticket[k, TYPE], account.ticket[k, WORKING] == ON_MARK
        limit, stop = account.order[k, LIMIT_PRICE], account.order[k, STOP_PRICE]
        extreme, callback = account.order[k, EXTREME], account.order[k, CALLBACK]
        for r in range(n):
            at = unsigned(row + r)
            low, high = market.low[at, s], market.high[at, s]
            if kind == LIMIT:
                touched = touches and (low if side > 0 else high) == limit
                if touched or trades_through(side, limit, low, high):
                    n = r
                    break
                continue
            if on_mark and not math.isnan(market.mark_low[at, s]):
                low, high = market.mark_low[at, s], market.mark_high[at, s]
            if reaches(-side if kind == PROFIT else side, stop, low, high):
                n = r
                break
            best = low if side > 0 else high
            if kind == TRAILING and (extreme - best) * side > 0.0:  # as `follow` has it
                extreme, stop = best, best * (1.0 + side * callback)
    return n


@inner(forceinline=True)
def _far_from_liquidation(
    account: Account, rules: Rules, market: Market, scratch: FloatArray, row: int, n: int
) -> int:
    """Fill `EQUITIES`; return how many of `n` rows endanger nothing.

    As `kernels.liquidation.value`; a row without a price, or beyond a position's bracket, ends the block.
    """
    wallet, isolated = account.cash[WALLET], 0.0
    for r in range(n):
        scratch[PNL, r], scratch[WORST, r], scratch[MOST, r] = 0.0, wallet, 0.0
    for s in range(len(account.held)):
        qty, own = account.position[s, QTY], account.position[s, MARGIN]
        if qty == 0.0:
            continue
        marks, lasts = (
            (market.mark_low, market.low) if qty > 0.0 else (market.mark_high, market.high)
        )
        _gather(market.mark_close, market.close, marks, lasts, scratch, row, n, s)
        alone = rules.size[s, MARGIN_TYPE] == ISOLATED
        if alone:
            isolated += own
        tier = unsigned(account.held[s, TIER])
        n = _add(
            scratch, n, qty, account.position[s, ENTRY], own, alone,
            rules.bracket[s, tier, FLOOR], rules.bracket[s, tier, CAP],
            rules.bracket[s, tier, MAINTENANCE_RATE], rules.bracket[s, tier, CUM],
        )  # fmt: skip
    near = False
    for r in range(n):
        scratch[EQUITIES, r] = wallet + isolated + scratch[PNL, r]
        near |= (scratch[MOST, r] > 0.0) & (scratch[WORST, r] <= scratch[MOST, r])
    if near:
        for r in range(n):
            if scratch[MOST, r] > 0.0 and scratch[WORST, r] <= scratch[MOST, r]:
                return r
    return n


@inner(forceinline=True)
def _gather(
    mark: FloatArray, last: FloatArray, mark_worst: FloatArray, worst: FloatArray, scratch: FloatArray,
    row: int, n: int, s: int,
) -> None:  # fmt: skip
    """Fill `PRICE` and `ADVERSE` with a symbol's marks, or last prices where there are none."""
    for r in range(n):
        at = unsigned(row + r)
        # All four are read: a load that depends on a condition would keep the loop from whole vectors.
        at_mark, at_last = mark[at, s], last[at, s]
        worst_mark, worst_last = mark_worst[at, s], worst[at, s]
        scratch[PRICE, r] = at_mark if at_mark > 0.0 else at_last
        scratch[ADVERSE, r] = worst_mark if at_mark > 0.0 else worst_last


@inner(forceinline=True)
def _add(
    scratch: FloatArray, n: int, qty: float, entry: float, own: float, alone: bool,
    floor: float, cap: float, rate: float, cum: float,
) -> int:  # fmt: skip
    """Add a position to `PNL`, `WORST` and `MOST`; return how many of `n` rows leave it in its bracket and alive."""
    ends = False
    for r in range(n):
        price, adverse = scratch[PRICE, r], scratch[ADVERSE, r]
        notional = abs(qty * price)
        highest = notional if qty > 0.0 else -qty * adverse
        needed = highest * rate - cum
        loss = qty * (adverse - entry)
        scratch[PNL, r] += qty * (price - entry)
        scratch[WORST, r] += 0.0 if alone else loss
        scratch[MOST, r] += 0.0 if alone else needed
        end = (not floor <= notional) | (notional >= cap) | (highest >= cap)
        end |= alone & (own + loss <= needed)
        ends |= end
        scratch[ENDS, r] = end
    if ends:
        for r in range(n):
            if scratch[ENDS, r] != 0.0:
                return r
    return n


@inner(forceinline=True)
def _within_band(
    account: Account, rules: Rules, market: Market, config: FloatArray, decisions: IntArray, targets: FloatArray,
    scratch: FloatArray, row: int, n: int,
) -> int:  # fmt: skip
    """Return how many of `n` rows have no target that the sizer would act on."""
    band = config[NO_TRADE_BAND]
    everywhere = len(decisions) == 0
    for s in range(len(account.held)):
        lots, lock = account.held[s, LOTS], account.held[s, LOCK]
        ended, refused = account.held[s, ENDED] != 0, account.held[s, LAST_REFUSAL] != 0
        lot, least = quantity(rules, s, ONE), rules.rate[s, MIN_NOTIONAL]
        for r in range(n):
            at = unsigned(row + r)
            decision = row + r if everywhere else decisions[at]
            if decision < 0:
                continue
            weight = targets[unsigned(decision), s]
            if math.isnan(weight) or math.isnan(market.close[at, s]):
                continue
            mark = market.mark_close[at, s]
            price = mark if mark > 0.0 else market.close[at, s]
            equity = scratch[EQUITIES, r]
            if refused or moves(weight, equity, band, lots, lot * price, least, lock, ended):
                n = r
                break
    return n


@inner()
def _watchable(account: Account, rules: Rules) -> bool:
    """Return whether a look at the account's totals tells that no limit is reached.

    It does not with isolated positions, nor while a halted account holds anything.
    """
    halted = account.risk[LEVEL] >= _HALT
    for s in range(len(account.held)):
        if account.held[s, LOTS] != 0 and (halted or rules.size[s, MARGIN_TYPE] == ISOLATED):
            return False
    return True


@inner()
def _within_limits(
    account: Account, rules: Rules, market: Market, config: FloatArray, scratch: FloatArray, row: int, n: int
) -> int:  # fmt: skip
    """Return how many of `n` rows keep every limit that is tested on every execution bar (`controller.calls`)."""
    nav_rate, peak = account.cash[NAV_RATE], account.risk[PEAK]
    fall, least = next_step_down(account.risk, config)
    _notionals(account, rules, market, scratch, row, n)
    for r in range(n):
        equity = scratch[EQUITIES, r]
        nav = equity * nav_rate
        peak = max(peak, nav)
        if beyond(
            config, nav, peak, fall, least, equity, scratch[GROSS, r], scratch[NET, r], scratch[MAINTENANCE, r]
        ):  # fmt: skip
            n = r
            break
    for s in range(len(account.held)):
        qty = abs(account.position[s, QTY])
        if qty == 0.0 or config[SYMBOL_MAX] == math.inf:
            continue
        for r in range(n):
            at = unsigned(row + r)
            mark = market.mark_close[at, s]
            price = mark if mark > 0.0 else market.close[at, s]
            if qty * price > config[SYMBOL_MAX] * scratch[EQUITIES, r]:
                n = r
                break
    return n


@inner(forceinline=True)
def _mark(
    account: Account, rules: Rules, market: Market, decisions: IntArray, journal: Journal, scratch: FloatArray,
    guarded: bool, row: int, n: int,
) -> None:  # fmt: skip
    """Bring the account to the close of the n-th row, and write the curve of those that record it."""
    if len(journal.curve) > N_LEAN:
        _record_all(account, rules, market, decisions, journal, scratch, row, n)
    elif len(journal.curve) > 1:
        _record_lean(account.cash, decisions, journal, scratch, row, n)
    else:
        _record_equity(decisions, journal, scratch, row, n)
        _raise_peak(account.cash, scratch, n)
    account.cash[EQUITY] = scratch[EQUITIES, n - 1]
    if guarded:
        _raise_risk_peak(account, scratch, n)
    _set_marks(account.position, market.mark_close, market.close, row + n - 1)
    for k in range(account.counter[OPEN_ORDERS]):
        if account.ticket[k, TYPE] == TRAILING:
            for r in range(n):
                follow(account, market, row + r)
            break


@inner()
def _record_all(
    account: Account, rules: Rules, market: Market, decisions: IntArray, journal: Journal, scratch: FloatArray,
    row: int, n: int,
) -> None:  # fmt: skip
    _notionals(account, rules, market, scratch, row, n)
    cash, recorded = account.cash, journal.filled[1]
    for r in range(n):
        equity = scratch[EQUITIES, r]
        cash[PEAK_NAV] = max(cash[PEAK_NAV], equity * cash[NAV_RATE])
        if len(decisions) == 0 or decisions[unsigned(row + r)] != -1:
            journal.curve[CURVE_EQUITY, recorded] = equity
            _set_marks(account.position, market.mark_close, market.close, row + r)
            pnl, needed = scratch[PNL, r], scratch[MAINTENANCE, r]
            gross, net = scratch[GROSS, r], scratch[NET, r]
            record(account, rules, journal, recorded, pnl, needed, gross, net)
            recorded += 1
    journal.filled[1] = recorded


@inner(forceinline=True)
def _record_equity(
    decisions: IntArray, journal: Journal, scratch: FloatArray, row: int, n: int
) -> None:
    recorded, curve = journal.filled[1], journal.curve
    if len(decisions) == 0:
        for r in range(n):
            curve[CURVE_EQUITY, unsigned(recorded + r)] = scratch[EQUITIES, r]
        recorded += n
    else:
        for r in range(n):
            if decisions[unsigned(row + r)] != -1:
                curve[CURVE_EQUITY, unsigned(recorded)] = scratch[EQUITIES, r]
                recorded += 1
    journal.filled[1] = recorded


@inner()
def _record_lean(
    cash: FloatArray, decisions: IntArray, journal: Journal, scratch: FloatArray, row: int, n: int
) -> None:
    nav_rate, peak, recorded = cash[NAV_RATE], cash[PEAK_NAV], journal.filled[1]
    curve, everywhere = journal.curve, len(decisions) == 0
    for r in range(n):
        equity = scratch[EQUITIES, r]
        nav = equity * nav_rate
        peak = max(peak, nav)
        if everywhere or decisions[unsigned(row + r)] != -1:
            at = unsigned(recorded)
            curve[CURVE_EQUITY, at] = equity
            curve[CURVE_NAV, at] = nav
            curve[CURVE_DRAWDOWN, at] = nav / peak - 1.0
            recorded += 1
    cash[PEAK_NAV] = peak
    journal.filled[1] = recorded


@inner(forceinline=True)
def _raise_peak(cash: FloatArray, scratch: FloatArray, n: int) -> None:
    # Mostly there is none: the first loop runs over whole vectors, the second waits for each comparison.
    nav_rate, peak = cash[NAV_RATE], cash[PEAK_NAV]
    higher = False
    for r in range(n):
        higher |= scratch[EQUITIES, r] * nav_rate > peak
    if higher:
        for r in range(n):
            peak = max(peak, scratch[EQUITIES, r] * nav_rate)
        cash[PEAK_NAV] = peak


@inner(forceinline=True)
def _raise_risk_peak(account: Account, scratch: FloatArray, n: int) -> None:
    nav_rate, peak = account.cash[NAV_RATE], account.risk[PEAK]
    for r in range(n):
        peak = max(peak, scratch[EQUITIES, r] * nav_rate)
    account.risk[PEAK] = peak


@inner(forceinline=True)
def _set_marks(position: FloatArray, marks: FloatArray, closes: FloatArray, row: int) -> None:
    for s in range(len(position)):
        if position[s, QTY] != 0.0:
            position[s, MARK] = marks[row, s] if marks[row, s] > 0.0 else closes[row, s]


@inner()
def _notionals(
    account: Account, rules: Rules, market: Market, scratch: FloatArray, row: int, n: int
) -> None:
    """Fill `GROSS`, `NET` and `MAINTENANCE` at the closing marks, as `kernels.liquidation.value`."""
    marks, closes = market.mark_close, market.close
    for r in range(n):
        scratch[GROSS, r] = scratch[NET, r] = scratch[MAINTENANCE, r] = 0.0
    for s in range(len(account.held)):
        qty, tier = account.position[s, QTY], account.held[s, TIER]
        if qty == 0.0:
            continue
        rate, cum = rules.bracket[s, tier, MAINTENANCE_RATE], rules.bracket[s, tier, CUM]
        for r in range(n):
            at = unsigned(row + r)
            notional = qty * (marks[at, s] if marks[at, s] > 0.0 else closes[at, s])
            scratch[NET, r] += notional
            scratch[GROSS, r] += abs(notional)
            scratch[MAINTENANCE, r] += abs(notional) * rate - cum
