"""Columns of the arrays on which the account step works: the state, the rules, the market and the journal.

Kernels know no objects, so a record is a row of two arrays: whole numbers (lots, ids, stamps in microseconds) and
real numbers (USDT, prices, quantities). The names below are their columns.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np

from quantcore.types import FloatArray, IntArray


class Account(NamedTuple):
    """The state of an account: everything that decides what the next bar does to it."""

    cash: FloatArray
    """USDT totals, shape ``(N_CASH,)``."""
    counter: IntArray
    """Counters, shape ``(N_COUNT,)``."""
    position: FloatArray
    """Shape ``(n_symbols, N_POSITION)``."""
    held: IntArray
    """Shape ``(n_symbols, N_HELD)``."""
    order: FloatArray
    """Open orders in order of sequence, shape ``(capacity, N_ORDER)``."""
    ticket: IntArray
    """Open orders' whole numbers, shape ``(capacity, N_TICKET)``."""
    risk: FloatArray
    """Where the account stands on the ladder of the risk controller, shape ``(N_RISK,)``."""
    pairs: FloatArray
    """Covariance of returns per risk bar and its weight, shape ``(2, n_symbols, n_symbols)``; no symbols without."""
    route: IntArray
    """Where each symbol's route stands, shape ``(n_symbols, N_ROUTE)``; no symbols without a router."""
    quote: FloatArray
    """Prices of the routes, shape ``(n_symbols, N_QUOTE)``; no symbols without a router."""
    liquidity: FloatArray
    """What trading costs, as learnt, shape ``(n_symbols, N_LIQUIDITY)``; no symbols without a slippage controller."""


class Rules(NamedTuple):
    """What the exchange and the settings say of each symbol; constant during a run."""

    rate: FloatArray
    """Shape ``(n_symbols, N_RATE)``."""
    size: IntArray
    """Shape ``(n_symbols, N_SIZE)``."""
    bracket: FloatArray
    """Margin brackets, shape ``(n_symbols, n_brackets, N_BRACKET)``; the last cap is infinite."""


class Market(NamedTuple):
    """Execution bars, each field of shape ``(n_bars, n_symbols)``; NaN where a symbol has no bar or no mark."""

    ts_us: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    mark_open: FloatArray
    mark_high: FloatArray
    mark_low: FloatArray
    mark_close: FloatArray
    volume: FloatArray
    """In coins; a single row of NaN where it is not known."""


class Journal(NamedTuple):
    """What happened, in order: preallocated rows that the caller enlarges between scans."""

    filled: IntArray
    """Rows used: events, curve."""
    whole: IntArray
    """Shape ``(capacity, N_WHOLE)``."""
    number: FloatArray
    """Shape ``(capacity, N_NUMBER)``."""
    curve: FloatArray
    """One column per decision, shape ``(1, N_LEAN or N_CURVE, capacity)``; with one row the equity alone."""


def constant(value: int) -> int:
    """Return a whole number to pass to kernels: a literal would make numba compile the callee anew for each value."""
    return cast("int", np.int64(value))


def flag(value: bool) -> bool:
    """Return a truth value to pass to kernels, for the reason of `constant`."""
    return cast("bool", np.bool_(value))


NONE = constant(-1)
ZERO = constant(0)
ONE = constant(1)
YES = flag(True)
NO = flag(False)

# Account.cash
WALLET = 0  # cross wallet, isolated margin excluded
NAV_RATE = (
    1  # value of one unit per USDT of equity; deposits and withdrawals change it, profit does not
)
PEAK_NAV = 2
NET_DEPOSITS = 3
REALISED = 4
FEES = 5
FUNDING = 6
LIQUIDATION_FEES = 7
INSURANCE = 8
EQUITY = 9  # at the last bar's closing marks
N_CASH = 10

# Account.counter
NEXT_ORDER_ID = 0
OPEN_ORDERS = 1
LAST_TS = 2
ACTIVE_ROUTES = 3
N_COUNT = 4

# Account.position
QTY = 0  # signed coins
ENTRY = 1
MARGIN = 2  # isolated wallet
MARK = 3  # last known mark
BEST = 4  # best mark since entry, for trailing stops
GUARDED = 5  # entry price for which protective orders stand, signed
FORMER_MARK = 6  # the mark that orders inside a bar know
RISK_CLOSE = 7  # last close that the risk controller's covariance knows
LEVERAGE_SET = 8  # initial leverage set at the exchange, at most the settings'
DISTANCE = 9  # adverse move of this symbol alone that ends in liquidation, a fraction, at the last risk check
CHANCE = 10  # of that move within 24 hours
N_POSITION = 11

# Account.held
LOTS = 0  # signed whole steps
TIER = 1  # bracket of the last maintenance margin, a hint
ENTRY_TS = 2  # close of the bar that opened the position
LOCK = 3  # side that an exit rule closed: no new entry on it until the target leaves it
RESTING = 4  # open orders of the symbol
INTRABAR_TS = 5  # bar in which an entry limit filled: take-profits wait for the next one
ENDED = 6
LAST_REFUSAL = 7  # the rules that refuse what is wanted, one bit each: written when it begins
CHOSEN = 8  # 1 where a stage that holds fewer symbols than are wanted holds this one
# What the router is asked for at a close, and what it is to hear of its order there
ASKED = 9  # `FillReason` of the asked position, plus one; 0 where nothing is asked
ASKED_LOTS = 10  # signed position
ASKED_URGENT = 11
HEARD_LOTS = 12  # traded since the last close
HEARD_END = 13  # `OrderStatus` at which the order left the table, plus one
HEARD_RULE = 14
N_HELD = 15

# Account.order
LIMIT_PRICE = 0
STOP_PRICE = 1
CALLBACK = 2
EXTREME = 3
QUEUE = 4  # coins assumed to stand before a resting limit at its price
N_ORDER = 5

# Account.risk; stamps in microseconds are whole in a float
LEVEL = 0  # `RiskLevel`
LEVEL_TS = 1  # since when
PEAK = 2  # highest unit value at a check since the start or the last release
DAY_NAV = 3  # unit value at the day's start
HALTS = 4  # since the last release
VAR = 5  # one-day value at risk of what is held, as a fraction of equity
LIQUIDATION_CHANCE = 6  # within 24 hours, of what is held
BINDING = 7  # limits that bind, one bit per rule: an intervention is written when it begins
N_RISK = 8

# Account.route
STATE = 0  # `execution.router.RouterState`
GOAL = 1  # signed lots of the position that is wanted
EXPECTED = 2  # signed lots held, so far as the router knows of trades
URGENT = 3
DECIDED_TS = 4  # of the decision since which the position moves the same way
REQUOTES = 5  # since then
NEXT_TS = 6  # no child is sent before
CHILDREN = 7  # sent so far: the next child's number
CHILD = 8  # number of the order that is out, or -1
CHILD_SIDE = 9
CHILD_LOTS = 10  # not yet filled
CHILD_FLAGS = 11  # REDUCE_ONLY or 0
CHILD_TS = 12  # when it was sent
SLICED = 13  # whether it was cut, so that a pause follows
OTHERS_TRADED = 14  # whether something else did since the decision: nothing opens any more
REFUSED_BY = 15  # rule that ended the goal short of it, or -1
GOAL_REASON = 16  # `FillReason` of its orders
SLICES = 17  # of the schedule by which the slippage controller slows the goal; 0 where it does not
N_ROUTE = 18

# Account.quote
ARRIVAL = 0  # mid price at the decision, NaN if no touch was known
QUOTE = 1  # of the posted child
N_QUOTE = 2

# Account.ticket
ORDER_ID = 0
SYMBOL = 1
SIDE = 2
TYPE = 3
TIME_IN_FORCE = 4
ORDER_LOTS = 5
FLAGS = 6
WORKING = 7
REASON = 8
DECISION_TS = 9
ACTIVE_TS = 10  # the first bar that opens at or after it sees the order
SEEN = 11
CANCEL_TS = 12  # a cancel takes effect at the first bar that opens at or after it
CLIENT = 13
N_TICKET = 14

# Account.liquidity; the first eight are the state of `execution.slippage`
TRADED = 8  # notional since the last estimate, USDT
DAILY_NOTIONAL = 9  # of the market, USDT; NaN before the first estimate
DAILY_VARIANCE = 10  # of returns; NaN before the first estimate
ESTIMATES = 11  # their weight
LIQUIDITY_CLOSE = 12  # at the last estimate
PAID_NOTIONAL = 13  # of what crossed since the last close, USDT, > 0 bought
PAID = 14  # its price
PAID_REFERENCE = 15  # and the price at which it arrived
TOO_DEAR = 16  # 1 while orders are refused for their cost: a refusal is written when it begins
N_LIQUIDITY = 17

REDUCE_ONLY = 1
CLOSE_POSITION = 2
NEVER = 2**62
ROUTED = -2  # client numbers of the router's orders: this one less the child's

# Rules.rate
MIN_NOTIONAL = 0
LEVERAGE = 1
MAKER_FEE = 2
TAKER_FEE = 3
LIQUIDATION_FEE = 4
TAKER_COST = 5  # half-spread and slippage, fraction of price
NOTIONAL_MAX = 6  # the brackets' cap at this leverage
HALF_SPREAD = 7  # fraction of price
N_RATE = 8

# Rules.size
STEP_NUMERATOR = 0
STEP_DENOMINATOR = 1
TICK_NUMERATOR = 2
TICK_DENOMINATOR = 3
MIN_LOTS = 4
MARKET_MAX_LOTS = 5
LIMIT_MAX_LOTS = 6
MARGIN_TYPE = 7
ENDS_US = 8
N_SIZE = 9

# Rules.bracket
FLOOR = 0
CAP = 1
MAINTENANCE_RATE = 2
CUM = 3
N_BRACKET = 4

# Journal.whole; the kind of an event says which of its columns mean something
KIND = 0
TS = 1
EVENT_SYMBOL = 2
EVENT_ORDER = 3
EVENT_SIDE = 4
EVENT_LOTS = 5
EVENT_TYPE = 6
EVENT_TIF = 7
EVENT_FLAGS = 8
EVENT_STATE = (
    9  # liquidity of a fill, status of an order, stage of a reason, 1 for an assumed funding rate
)
EVENT_REASON = 10  # reason of an order or fill, rule of a status or reason
EVENT_DECISION = 11
EVENT_ACTION = 12
EVENT_CLIENT = 13
N_WHOLE = 14

# Journal.number, by kind
A = 0  # quantity; funding quantity; flow amount; limit of a reason
B = 1  # price; funding mark; value of a reason
C = 2  # fee; stop price of an order; funding rate; liquidation fee
D = 3  # reference price; funding amount; insurance; quantity that an order's decision still wanted
E = 4  # entry price after a fill
F = 5  # realised PnL of a fill
N_NUMBER = 6

EVENT_NEW_ORDER = constant(0)
EVENT_STATUS = constant(1)
EVENT_FILL = constant(2)
EVENT_FUNDING = constant(3)
EVENT_LIQUIDATION = constant(4)
EVENT_FLOW = constant(5)
EVENT_WHY = constant(6)

# Journal.curve
CURVE_EQUITY = 0
CURVE_NAV = 1
CURVE_DRAWDOWN = 2
N_LEAN = 3  # columns of a curve that knows these alone
CURVE_WALLET = 3
CURVE_UNREALISED = 4
CURVE_MARGIN_RATIO = 5
CURVE_GROSS = 6
CURVE_NET = 7
CURVE_LEVEL = 8
CURVE_VAR = 9
CURVE_LIQUIDATION = 10
N_CURVE = 11

# Account.config: numbers that hold for all symbols
NO_TRADE_BAND = 0
MARGIN_BUFFER = 1
STOP_LOSS = 2
TAKE_PROFIT = 3
TRAILING_STOP = 4
TIME_EXIT_US = 5
LATENCY_US = 6  # whole execution bars beyond the next open
BAR_US = 7
# The risk controller's, read only where RISK_BAR_US is not OFF
RISK_BAR_US = 8  # every so often the covariance moves and held positions are checked
COVARIANCE_DECAY = 9
SIZE_LIMIT = 10
LEVERAGE_MAX = 11  # gross exposure over equity
NET_MAX = 12
SYMBOL_MAX = 13
CLUSTER_MAX = 14
CLUSTER_CORRELATION = 15
VAR_MAX = 16
VAR_SIGMAS = 17  # value at risk in standard deviations
DRAWDOWN_MAX = 18
DRAWDOWN_REDUCE = 19
DRAWDOWN_RESTORE = 20
REDUCE_SCALE = 21
DAILY_LOSS_MAX = 22
COOL_DOWN_US = 23
HALTS_MAX = 24
RESUME_US = 25
LIQUIDATION_SIGMAS = (
    26  # distance to liquidation in standard deviations of a day at the probability allowed
)
MARGIN_RATIO_MAX = 27
MARGIN_RATIO_AFTER = 28
VOLATILITY_FLOOR = 29  # of a day, for the liquidation monitor
STRESS_MOVE = 30  # adverse move of all coins at once that the account is to survive
# Limits that rest in the book
QUEUE_AHEAD = 31  # coins that stand before an order, as a share of the volume of the bar at whose close it is sent
TOUCH_SHARE = (
    32  # of a bar's volume that trades at a price that it only touches; 0: touches fill nothing
)
# The router's, read only where POST_ONLY is not OFF
POST_ONLY = 33  # 1: post before crossing
INSIDE_TICKS = 34
REQUOTE_AFTER_US = 35
REQUOTE_FRACTION = 36
REQUOTES_MAX = 37
CROSS_AFTER_US = 38
PARTICIPATION_MAX = 39
SLICE_PAUSE_US = 40
SCHEDULE_URGENCY = 41
# The slippage controller's, read only where SLIPPAGE is not OFF
SLIPPAGE = 42  # first of the seven numbers of its policy (`execution.slippage`)
LIQUIDITY_DECAY = 49  # per hour, or per execution bar where that is longer
N_CONFIG = 50
OFF = -1.0

# Scripted orders
SCRIPT_ROW = 0
SCRIPT_CLIENT = 1
SCRIPT_SYMBOL = 2
SCRIPT_SIDE = 3
SCRIPT_TYPE = 4
SCRIPT_TIF = 5
SCRIPT_LOTS = 6
SCRIPT_FLAGS = 7
SCRIPT_WORKING = 8
SCRIPT_CANCEL = 9  # 1: cancel the open order of that client number
N_SCRIPT = 10

# Funding settlements of a run
SETTLEMENT_ROW = 0
SETTLEMENT_TIME = 1
SETTLEMENT_SYMBOL = 2
SETTLEMENT_ASSUMED = 3
N_SETTLEMENT = 4
