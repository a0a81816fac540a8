"""An account's orders that rest, as the account step holds them between two of its steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from live.simulator.accounts import VenueAccount
from quantcore.kernels import layout as at
from quantcore.kernels.layout import Market
from quantcore.types import IntArray, OrderType


def tickets(account: VenueAccount) -> IntArray:
    """Return the whole numbers of an account's open orders, which may be written to."""
    table: IntArray = account.held["ticket"][: account.held["counter"][at.OPEN_ORDERS]]
    return table


@contextmanager
def out_of_reach(account: VenueAccount, market: Market) -> Iterator[None]:
    """Keep an account's limits where the path over a market of one row does not trade through them."""
    table, prices = tickets(account), account.held["order"]
    kept: dict[int, float] = {}
    for k in np.flatnonzero(table[:, at.TYPE] == OrderType.LIMIT).tolist():
        s, limit = table[k, at.SYMBOL], float(prices[k, at.LIMIT_PRICE])
        kept[int(table[k, at.ORDER_ID])] = limit
        low, high = market.low[0, s], market.high[0, s]
        buys = table[k, at.SIDE] > 0
        prices[k, at.LIMIT_PRICE] = np.fmin(limit, low) if buys else np.fmax(limit, high)
    yield
    for k, number in enumerate(tickets(account)[:, at.ORDER_ID].tolist()):
        if number in kept:
            prices[k, at.LIMIT_PRICE] = kept[number]
