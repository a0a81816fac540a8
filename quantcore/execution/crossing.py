"""What is asked for, traded the plain way: one market order for each change, at the next open."""

from __future__ import annotations

import math

from quantcore.execution.costing import affordable_goal
from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import (
    ASKED,
    ASKED_LOTS,
    ASKED_URGENT,
    LATENCY_US,
    NONE,
    OFF,
    REDUCE_ONLY,
    SLIPPAGE,
    ZERO,
    Account,
    Journal,
    Market,
    Rules,
    constant,
)
from quantcore.kernels.ledger import opening_lots
from quantcore.kernels.orders import MARKET, expected_lots, place
from quantcore.types import FloatArray, WorkingType

_REDUCING = constant(REDUCE_ONLY)
_ON_LAST = constant(WorkingType.CONTRACT_PRICE)


@inner()
def cross_asked(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray
) -> None:
    """Send a market order for every position that is asked for, reducing ones first."""
    ts, delay = market.ts_us[row], int(config[LATENCY_US])
    for reducing in (True, False):
        for s in range(len(account.held)):
            if account.held[s, ASKED] == 0:
                continue
            expected = expected_lots(account, s)
            lots = account.held[s, ASKED_LOTS] - expected
            opening = opening_lots(expected, lots)
            if (opening == 0) != reducing:
                continue
            reason = account.held[s, ASKED] - 1
            account.held[s, ASKED] = 0
            if config[SLIPPAGE] != OFF and opening > 0 and not account.held[s, ASKED_URGENT]:
                goal = affordable_goal(
                    account, rules, journal, market, row, config, s, expected, expected + lots
                )
                lots = goal - expected
            if lots == 0:
                continue
            close, mark = market.close[row, s], market.mark_close[row, s]
            price = mark if mark > 0.0 else close
            flags = _REDUCING if opening_lots(expected, lots) == 0 else ZERO
            place(
                account, rules, journal, ts, ts, delay, s, 1 if lots > 0 else -1, MARKET, ZERO, abs(lots), abs(lots),
                flags, _ON_LAST, reason, NONE, price, math.nan, math.nan, price, close,
            )  # fmt: skip
