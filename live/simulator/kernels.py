"""What a venue does to an account between two steps: take an order, fill part of it, take it back.

The books are kept by the account step's own kernels, so that a fill here and a fill there are the same arithmetic.
"""

from __future__ import annotations

from numba import njit

from quantcore.account_step import send_scripted
from quantcore.kernels.layout import (
    CLIENT,
    LOTS,
    NONE,
    OPEN_ORDERS,
    SEEN,
    Account,
    Journal,
    Market,
    Rules,
)
from quantcore.kernels.ledger import forced_fill, take_over
from quantcore.kernels.matching import meet_open_limit, trade
from quantcore.kernels.memory import lent
from quantcore.kernels.orders import end_order
from quantcore.types import FloatArray, IntArray


@njit(cache=True, error_model="numpy")
def send(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, script: IntArray,
    script_value: FloatArray,
) -> int:  # fmt: skip
    """Send the first order of a script at a row's close; return its place in the table, -1 where it was refused."""
    before = account.counter[OPEN_ORDERS]
    send_scripted(
        lent(account),
        lent(rules),
        lent(journal),
        lent(market),
        row,
        config,
        script[0],
        script_value[0],
    )
    return before if account.counter[OPEN_ORDERS] > before else -1


@njit(cache=True, error_model="numpy")
def execute(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, client: int, lots: int, price: float,
    liquidity: int,
) -> int:  # fmt: skip
    """Fill up to `lots` of the order with a client number at a price; return whether it was there (1) or not (0).

    Margin and brackets may refuse it, as the journal then says.
    """
    k = _find(account, client)
    if k < 0:
        return 0
    account.ticket[k, SEEN] = 1
    trade(
        lent(account), lent(rules), lent(journal), lent(market), row, k, lots, price, liquidity, price
    )  # fmt: skip
    return 1


@njit(cache=True, error_model="numpy")
def rest(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, client: int, touch: float
) -> int:  # fmt: skip
    """Let a limit that does not cross `touch`, the other side's best price, join the book; margin may refuse it."""
    k = _find(account, client)
    if k < 0:
        return 0
    account.ticket[k, SEEN] = 1
    meet_open_limit(lent(account), lent(rules), lent(journal), lent(market), row, k, touch)
    return 1


@njit(cache=True, error_model="numpy")
def cancel(account: Account, journal: Journal, client: int, ts: int, status: int) -> int:
    """End the order with a client number at once; return whether it was there (1) or not (0)."""
    k = _find(account, client)
    if k < 0:
        return 0
    end_order(lent(account), lent(journal), k, ts, status, NONE)
    return 1


@njit(cache=True, error_model="numpy")
def close_by_force(
    account: Account, rules: Rules, journal: Journal, s: int, price: float, ts: int, reason: int, liquidates: bool
) -> int:  # fmt: skip
    """Let the exchange close a position at a price, as a liquidation with its fee or for another reason without."""
    if liquidates:
        take_over(lent(account), lent(rules), lent(journal), s, price, ts)
    else:
        lots = -account.held[s, LOTS]
        forced_fill(lent(account), lent(rules), lent(journal), s, lots, price, 0.0, ts, reason)
    return 1


@njit(cache=True, error_model="numpy")
def _find(account: Account, client: int) -> int:
    for k in range(account.counter[OPEN_ORDERS]):
        if account.ticket[k, CLIENT] == client:
            return k
    return -1
