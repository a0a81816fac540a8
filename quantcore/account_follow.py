"""The account step where an exchange trades: what it said is booked, then the same decisions are taken.

A backtest finds out by itself what its orders do within a bar. In the live loop the exchange says so: `follow` books
its events with the kernels of the account step, and decides at a bar's close exactly as that does. Where the events are
those that the step would have made itself, in their order, state and decisions are the same to the last bit.

Between two closes an event can be followed at once (`closes` false): protective orders and the router's are kept in
step, nothing is decided, and neither risk nor curve sees it before the close.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.account_plane import (
    KIND as ACCOUNT,
)
from quantcore.account_plane import (
    VERSION,
    AccountPlane,
    Events,
    events_per_bar,
    market_arrays,
    new_journal,
)
from quantcore.account_step import RECORD_ONLY, decide
from quantcore.errors import SchemaMismatch
from quantcore.execution.crossing import cross_asked
from quantcore.execution.exits import guard_positions
from quantcore.execution.routing import hear_orders, work_routes
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.kernels.compiled import inner
from quantcore.kernels.fills import inside, worse
from quantcore.kernels.layout import (
    ACTIVE_ROUTES,
    ACTIVE_TS,
    BAR_US,
    CANCEL_TS,
    CHILD,
    CHILD_FLAGS,
    ENDED,
    ENDS_US,
    EQUITY,
    FEES,
    GOAL,
    GOAL_REASON,
    GUARDED,
    HALF_SPREAD,
    LAST_TS,
    LOTS,
    MAKER_FEE,
    NEVER,
    NO,
    NONE,
    OFF,
    OPEN_ORDERS,
    ORDER_ID,
    POST_ONLY,
    REASON,
    SEEN,
    SIDE,
    STOP_LOSS,
    STOP_PRICE,
    SYMBOL,
    TAKE_PROFIT,
    TAKER_FEE,
    TIME_EXIT_US,
    TRAILING_STOP,
    TYPE,
    URGENT,
    WALLET,
    YES,
    ZERO,
    Account,
    Journal,
    Market,
    Rules,
    constant,
)
from quantcore.kernels.layout import (
    STATE as ROUTE_STATE,
)
from quantcore.kernels.ledger import (
    available_margin,
    book_funding,
    fill,
    forced_fill,
    move_cash,
    opening_lots,
    pay_funding,
    write_liquidation,
)
from quantcore.kernels.liquidation import value
from quantcore.kernels.matching import book_trade
from quantcore.kernels.memory import lent
from quantcore.kernels.orders import (
    LIMIT,
    MAKER,
    PROFIT,
    ask,
    cancel_all,
    end_order,
    expected_lots,
    fillable,
)
from quantcore.kernels.orders import (
    follow as follow_extremes,
)
from quantcore.kernels.rules import quantity
from quantcore.orders import OrderScript
from quantcore.risk.controller import N_WORK
from quantcore.types import BoolArray, FillReason, FloatArray, IntArray

# What was heard: whole numbers
KIND = 0
TIME = 1  # microseconds
SYMBOL_AT = 2
ORDER = 3  # own number of the order
LOTS_TRADED = 4  # signed
STATE = 5  # liquidity of a trade, status of an end, 1 for an assumed funding rate, or where a position is to be closed
RULE = 6  # by which an order was refused, -1; reason of a forced trade
N_HEARD = 7
# and real ones
PRICE = 0  # of a trade; rate of a settlement; amount of a flow, payment or correction, USDT, > 0 received
FEE = 1  # of a forced trade, USDT; mark of a settlement
INSURED = 2  # what insurance paid of a forced trade, USDT
N_HEARD_VALUE = 3

TRADED = constant(0)
ENDED_ORDER = constant(1)
FUNDED = constant(2)
FLOWED = constant(3)
FORCED = constant(4)
CORRECTED = constant(5)
PAID = constant(6)  # funding of which the exchange told the amount alone
CALLED_OFF = constant(
    7
)  # a person's word: nothing opens in a symbol, and with STATE 1 what is held is closed

_TARGET = constant(FillReason.TARGET)
_STOP_LOSS = constant(FillReason.STOP_LOSS)
_TIME_EXIT = constant(FillReason.TIME_EXIT)
_LIQUIDATION = constant(FillReason.LIQUIDATION)
_SETTLEMENT = constant(FillReason.SETTLEMENT)
_RISK = constant(FillReason.RISK)


@njit(cache=True, error_model="numpy")
def follow(
    account: Account, market: Market, rules: Rules, config: FloatArray, heard: IntArray, heard_value: FloatArray,
    targets: FloatArray, decision: int, closes: bool, journal: Journal,
) -> float:  # fmt: skip
    """Book what was heard since the last call, and take the decisions of a row's close.

    Parameters
    ----------
    market : Market
        One row: the bar that closes, or with `closes` false the prices of the moment, which is its time.
    heard : int64 array, shape (n, N_HEARD)
        In order of time; the columns are named above.
    heard_value : float64 array, shape (n, N_HEARD_VALUE)
        Beside `heard`.
    targets : float64 array, shape (1, n_symbols)
        Target weights of the decision.
    decision : int
        0 where `targets` was decided, -1 for none, `account_step.RECORD_ONLY`.
    closes : bool
        Whether a bar closes.

    Returns
    -------
    float
        What is left of the margin with every open order counted, USDT; see `account_plane.Events`.
    """
    account, market, rules, journal = lent(account), lent(market), lent(rules), lent(journal)
    config, targets, heard, heard_value = (
        lent(config),
        lent(targets),
        lent(heard),
        lent(heard_value),
    )
    row = 0
    _hear(account, rules, journal, market, row, config, heard, heard_value, closes)
    isolated, pnl, maintenance, gross, net, _ = value(account, rules, market, row)
    equity = account.cash[WALLET] + isolated + pnl
    account.cash[EQUITY] = equity
    if config[POST_ONLY] == OFF and _is_called_off(heard):
        cross_asked(account, rules, journal, market, row, config)
    if closes:
        account.counter[LAST_TS] = market.ts_us[row]
        work, allowed = np.empty((N_WORK, len(account.held))), np.empty((1, len(account.held)))
        forced = np.zeros(len(account.held), dtype=np.bool_)
        decide(
            account, rules, journal, market, row, config, targets, decision, equity, pnl, maintenance, gross, net,
            work, allowed, forced,
        )  # fmt: skip
    elif config[POST_ONLY] != OFF and account.counter[ACTIVE_ROUTES] > 0:
        hear_orders(account, market, row, config)
    exits = NO
    for column in (STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, TIME_EXIT_US):
        exits |= config[column] != OFF
    if exits:
        guard_positions(account, rules, journal, market, row, config)
    if config[POST_ONLY] != OFF:
        work_routes(account, rules, journal, market, row, config)
    return float(available_margin(account, rules, NONE, YES))


@inner()
def _hear(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, heard: IntArray,
    heard_value: FloatArray, closes: bool,
) -> None:  # fmt: skip
    """Do what the exchange does within a bar, as far as it was heard of."""
    ts = market.ts_us[row]
    open_ts = ts - int(config[BAR_US]) if closes else ts
    _note_active(account, market, row, open_ts)
    lost = np.zeros(len(account.held), dtype=np.bool_)
    for n in range(len(heard)):
        _book(account, rules, journal, market, row, heard[n], heard_value[n], lost)
    for s in range(len(account.held)):
        if lost[s] and account.held[s, LOTS] != 0:  # it is placed anew
            account.position[s, GUARDED] = 0.0
    if not closes:
        return
    for s in range(len(account.held)):
        if ts >= rules.size[s, ENDS_US] and not account.held[s, ENDED]:
            account.held[s, ENDED] = 1
            cancel_all(account, journal, ts, s)
    if account.counter[OPEN_ORDERS] > 0:
        follow_extremes(account, market, row)


@inner()
def _note_active(account: Account, market: Market, row: int, open_ts: int) -> None:
    for k in range(account.counter[OPEN_ORDERS]):
        ticket = account.ticket[k]
        waits = ticket[TYPE] == LIMIT and math.isnan(market.open[row, ticket[SYMBOL]])
        if ticket[ACTIVE_TS] <= open_ts and not waits:
            ticket[SEEN] = 1


@inner()
def _book(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, heard: IntArray, number: FloatArray,
    lost: BoolArray,
) -> None:  # fmt: skip
    """Book one event of the exchange; note in `lost` the symbols whose protective order it ended."""
    kind, s, ts = heard[KIND], heard[SYMBOL_AT], market.ts_us[row]
    if kind == TRADED:
        k, lots = _slot(account, heard[ORDER]), heard[LOTS_TRADED]
        if k >= 0:
            _book_own(
                account, rules, journal, market, row, k, abs(lots), number[PRICE], heard[STATE]
            )  # fmt: skip
        else:  # of an order that was taken for gone
            rate = rules.rate[s, MAKER_FEE if heard[STATE] == MAKER else TAKER_FEE]
            fill(
                account, rules, journal, s, lots, number[PRICE], rate, ts, account.counter[LAST_TS], heard[ORDER],
                heard[STATE], _TARGET, number[PRICE],
            )  # fmt: skip
    elif kind == ENDED_ORDER:
        k = _slot(account, heard[ORDER])
        if k >= 0:
            unasked = account.ticket[k, CANCEL_TS] == NEVER
            lost[s] |= unasked and _STOP_LOSS <= account.ticket[k, REASON] <= _TIME_EXIT
            end_order(account, journal, k, ts, heard[STATE], heard[RULE])
    elif kind == FUNDED:
        pay_funding(
            account, rules, journal, s, heard[TIME], number[PRICE], number[FEE], heard[STATE]
        )
    elif kind == FLOWED:
        move_cash(account, rules, journal, heard[TIME], number[PRICE])
    elif kind == FORCED:
        _book_forced(account, rules, journal, ts, s, heard[LOTS_TRADED], number, heard[RULE])
    elif kind == PAID:
        book_funding(
            account, rules, journal, s, heard[TIME], math.nan, math.nan, -number[PRICE], ZERO
        )
    elif kind == CALLED_OFF:
        _call_off(account, s, heard[STATE])
    else:
        account.cash[WALLET] += number[PRICE]
        account.cash[FEES] -= number[PRICE]


@inner()
def _is_called_off(heard: IntArray) -> bool:
    """Return whether a person's word is among what was heard."""
    called = False
    for n in range(len(heard)):
        called |= heard[n, KIND] == CALLED_OFF
    return called


@inner()
def _call_off(account: Account, s: int, closes: int) -> None:
    """Call off what would open or enlarge a position, or ask at once for nothing of it.

    What reduces or protects one stays, and so does what an opening order fills while its cancel is on its way. Without
    a router there is nothing to call off: a market order cannot be taken back.
    """
    lots = account.held[s, LOTS]
    if closes:
        if lots != 0 or expected_lots(account, s) != 0:
            ask(account, s, ZERO, _RISK, YES)
        return
    if len(account.route) == 0 or account.route[s, ROUTE_STATE] == 0:
        return
    route = account.route[s]
    ending = route[CHILD] != NONE and route[CHILD_FLAGS] == 0 and not route[URGENT]
    if ending or opening_lots(lots, route[GOAL] - lots) > 0:
        ask(account, s, ZERO if route[GOAL] * lots < 0 else lots, route[GOAL_REASON], NO)


@inner()
def _book_own(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, k: int, lots: int, price: float,
    liquidity: int,
) -> None:  # fmt: skip
    """Book a trade of an own order, whatever margin and filters would have said: the exchange has decided."""
    ticket = account.ticket[k]
    s, side, kind = ticket[SYMBOL], ticket[SIDE], ticket[TYPE]
    maker = liquidity == MAKER
    reference = price if maker else market.open[row, s]
    if kind == PROFIT:
        reference = inside(account.order[k, STOP_PRICE], market.low[row, s], market.high[row, s])
    elif kind > LIMIT:
        reference = worse(side, account.order[k, STOP_PRICE], reference)
    fee_rate = rules.rate[s, MAKER_FEE if maker else TAKER_FEE]
    whole = max(fillable(account, k), lots)
    book_trade(
        account, rules, journal, market, row, k, lots, whole, price, fee_rate, liquidity, reference
    )  # fmt: skip


@inner()
def _book_forced(
    account: Account, rules: Rules, journal: Journal, ts: int, s: int, lots: int, number: FloatArray, reason: int
) -> None:  # fmt: skip
    """Book that the exchange closed a position or a part of it: by liquidation, with its fee, or as a symbol ended."""
    price = number[PRICE]
    if account.held[s, LOTS] == 0:
        return
    rate = rules.rate[s, TAKER_FEE] if reason == _SETTLEMENT else 0.0
    forced_fill(account, rules, journal, s, lots, price, rate, ts, reason)
    if reason == _LIQUIDATION:
        qty = quantity(rules, s, -lots)
        write_liquidation(account, journal, s, qty, price, number[FEE], number[INSURED], price, ts)


@inner()
def _slot(account: Account, order_id: int) -> int:
    """Return the place of an order in the table, -1 once it has left it."""
    for k in range(account.counter[OPEN_ORDERS]):
        if account.ticket[k, ORDER_ID] == order_id:
            return k
    return -1


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What the exchange said, in order: rows whose columns are named above.

    Parameters
    ----------
    whole : int64 array, shape (n, N_HEARD)
    number : float64 array, shape (n, N_HEARD_VALUE)
    """

    whole: IntArray
    number: FloatArray

    @classmethod
    def of(cls, rows: Sequence[tuple[Sequence[int], Sequence[float]]]) -> Heard:
        """Return rows told as pairs of their whole and their real numbers."""
        return cls(
            whole=np.array([whole for whole, _ in rows], dtype=np.int64).reshape(-1, N_HEARD),
            number=np.array([number for _, number in rows], dtype=np.float64).reshape(
                -1, N_HEARD_VALUE
            ),
        )

    def __len__(self) -> int:
        """Return how many events there are."""
        return len(self.whole)


NOTHING_HEARD = Heard.of([])


def follow_bar(
    plane: AccountPlane,
    state: FoldState,
    bars: Bars,
    heard: Heard,
    *,
    targets: FloatArray | None = None,
    recorded: bool = False,
    closes: bool = True,
    half_spread: FloatArray | None = None,
) -> tuple[FoldState, Events]:
    """Advance an account whose orders an exchange executes; return its state and what it did.

    Of the returned events, new orders that were not refused are to be sent, and cancels of the bar to be asked for.

    Parameters
    ----------
    plane : AccountPlane
        Its settings and rules.
    state : FoldState
        From `AccountPlane.start`, or an earlier call; not modified.
    bars : Bars
        One row: the bar that closes, or the prices of the moment at its time.
    heard : Heard
        What the exchange said since the last call.
    targets : float64 array, shape (n_symbols,), optional
        Target weights decided at this close; None: nothing is decided.
    recorded : bool
        Whether the curve is recorded where nothing is decided.
    closes : bool
        Whether a bar closes; between closes only protective orders and the router's follow.
    half_spread : float64 array, shape (n_symbols,), optional
        Half of the spread that the router sees around the row's closes, fraction of price; NaN where the book is not
        known and the plane's own holds, as it does for all without it.

    Raises
    ------
    SchemaMismatch
        If they do not belong together, or something is decided though no bar closes.
    """
    if bars.n_bars != 1:
        raise SchemaMismatch(f"bars must be one row, were {bars.n_bars}")
    if closes:
        plane.check(state, bars)
    else:
        plane.check_state(state)
    if not closes and targets is not None:
        raise SchemaMismatch("targets must be decided at a bar's close, were between two")
    weights = np.full((1, bars.n_symbols), math.nan)
    if targets is not None:
        weights[0] = targets
    decision = 0 if targets is not None else (RECORD_ONLY if recorded else -1)
    held = state.copies()
    account = Account(**{name: held[name] for name in Account._fields})
    none = np.empty(0, dtype=np.int64)
    most = events_per_bar(account, none, none, OrderScript.empty()) + 8 * len(heard)
    journal = new_journal(most, 1, full_curve=True)
    rules = _with_touch(plane.rules, half_spread)
    free_margin = follow(
        account, market_arrays(bars), rules, plane.config, heard.whole, heard.number, weights, decision, closes,
        journal,
    )  # fmt: skip
    n_events, n_curve = journal.filled
    events = Events(
        whole=journal.whole[:n_events],
        number=journal.number[:n_events],
        curve_ts=bars.ts_us[:n_curve],
        curve=journal.curve[:, :n_curve].T,
        free_margin=free_margin,
    )
    return FoldState(ACCOUNT, VERSION, held), events


def _with_touch(rules: Rules, half_spread: FloatArray | None) -> Rules:
    """Return rules with the spreads of the moment; those given stay as they are."""
    if half_spread is None:
        return rules
    rate = rules.rate.copy()
    known = ~np.isnan(half_spread)
    rate[known, HALF_SPREAD] = half_spread[known]
    return rules._replace(rate=rate)
