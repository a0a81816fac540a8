"""Words of the house: aliases that name the forms of STYLE.md, and the codes that kernels and tables share."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

Panel: TypeAlias = pd.DataFrame
"""Wide frame of one field: UTC `ts` index, sorted symbols as columns, float64."""

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Array: TypeAlias = npt.NDArray[Any]


class Side(IntEnum):
    """Direction of an order or fill; the value is the sign of its quantity."""

    SELL = -1
    BUY = 1


class OrderType(IntEnum):
    """How an order executes."""

    MARKET = 0
    LIMIT = 1
    STOP_MARKET = 2
    TAKE_PROFIT_MARKET = 3
    TRAILING_STOP_MARKET = 4


class TimeInForce(IntEnum):
    """How long a limit order lives; GTX is post-only."""

    GTC = 0
    IOC = 1
    FOK = 2
    GTX = 3


class WorkingType(IntEnum):
    """The price series that triggers a conditional order."""

    CONTRACT_PRICE = 0
    MARK_PRICE = 1


class MarginType(IntEnum):
    """Whether a position shares the account's margin or has its own."""

    CROSS = 0
    ISOLATED = 1


class Liquidity(IntEnum):
    """Which side of a trade a fill was on."""

    TAKER = 0
    MAKER = 1


class OrderStatus(IntEnum):
    """What an order event says of its order."""

    NEW = 0
    PARTIALLY_FILLED = 1
    FILLED = 2
    CANCELED = 3
    REJECTED = 4
    EXPIRED = 5


class FillReason(IntEnum):
    """Why an order was sent; written to `fills.parquet` and `orders.parquet` in lower case."""

    TARGET = 0
    STOP_LOSS = 1
    TAKE_PROFIT = 2
    TRAILING_STOP = 3
    TIME_EXIT = 4
    SCRIPT = 5
    LIQUIDATION = 6
    SETTLEMENT = 7
    RISK = 8


class Stage(IntEnum):
    """The stage of the account plane that cut, refused or intervened."""

    PLANNER = 0
    VENUE = 1
    MARGIN = 2
    ACCOUNT = 3
    CONTROLLER = 4
    LIQUIDATION_MONITOR = 5
    ROUTER = 6
    SLIPPAGE = 7


class Rule(IntEnum):
    """The rule behind a row of `reasons.parquet`."""

    MIN_NOTIONAL = 0
    BELOW_STEP = 1
    MARKET_MAX_QTY = 2
    MARGIN = 3
    BRACKET_NOTIONAL = 4
    POST_ONLY_WOULD_CROSS = 5
    REDUCE_ONLY = 6
    FOK_NOT_FILLABLE = 7
    OPEN_ORDER_LIMIT = 8
    WITHDRAWAL = 9
    LIQUIDATION = 10
    NO_PRICE = 11
    WOULD_TRIGGER = 12
    SYMBOL_ENDED = 13
    DRAWDOWN = 14
    DAILY_LOSS = 15
    DAILY_VAR = 16
    LEVERAGE = 17
    NET_EXPOSURE = 18
    SYMBOL_CONCENTRATION = 19
    CLUSTER_CONCENTRATION = 20
    LIQUIDATION_PROBABILITY = 21
    MARGIN_RATIO = 22
    COOL_DOWN = 23
    EXPECTED_COST = 24
    EXCHANGE = 25
    """None of these: the exchange refused an order for a reason of its own, such as a key that it does not take."""


class Action(IntEnum):
    """What was done about it."""

    REFUSED = 0
    CUT = 1
    REJECTED = 2
    CANCELED = 3
    CLOSED = 4
    REDUCED = 5
    HALTED = 6
    STOPPED = 7
    RELEASED = 8


class RiskLevel(IntEnum):
    """Where an account stands on the risk controller's ladder."""

    NORMAL = 0
    REDUCE = 1
    """Targets are scaled down."""
    HALT = 2
    """Flat until the cool-down is over."""
    STOPPED = 3
    """Flat until a person lets it go on."""
