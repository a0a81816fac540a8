"""A post-only order that rests in the book: whether one bar fills it, and what the market did to it then.

Bars do not show the queue. So a trade beyond the limit fills the order, since everything at its price had to trade
first, while a touch fills it only after the volume assumed ahead of it has traded at its price.
"""

from __future__ import annotations

from quantcore.kernels.compiled import inner
from quantcore.kernels.fills import trades_through


@inner()
def post_only_crosses(side: int, limit: float, price: float) -> bool:
    """Return whether a post-only order would trade at once, at which the exchange rejects it.

    Parameters
    ----------
    side : int
        1 for a buy, -1 for a sale.
    limit : float
        Price of the order.
    price : float
        At which it would trade now: the other side's best, or the open where only bars are known; NaN never crosses.
    """
    return (limit - price) * side >= 0.0


@inner()
def post_only_fill(
    side: int,
    limit: float,
    qty: float,
    queue_ahead: float,
    touch_participation: float,
    high: float,
    low: float,
    close: float,
    volume: float,
) -> tuple[float, float, float]:
    """Return what one bar fills of a resting post-only order, the queue that is left, and the adverse move after.

    Parameters
    ----------
    side : int
        1 for a buy, -1 for a sale.
    limit : float
        Price of the order, a whole tick as the bar's prices are.
    qty : float
        Left of the order, in coins, >= 0.
    queue_ahead : float
        Coins assumed to stand before it at its price, >= 0; from the bar before, or as large as the book showed.
    touch_participation : float
        Share of a bar's volume that trades at its price when the bar only touches it, in [0, 1].
    high, low, close : float
        Of the bar; where they are NaN nothing happens.
    volume : float
        Of the bar, in coins; NaN counts as none.

    Returns
    -------
    (float, float, float)
        Coins filled, at the limit. The queue that is ahead of the rest afterwards, 0 as soon as anything is filled.
        And the move from the limit to the bar's close as a fraction of the limit, > 0 against the new position: what
        adverse selection costs at once; 0 where nothing was filled.

    References
    ----------
    A convention of this project; that trade-throughs fill and touches need not is common to models of bars. Deviation
    from a real queue: cancellations ahead are not seen, which makes fills by touch too rare, and a touch's share of
    the volume is the same in every bar.
    """
    filled, queue = 0.0, queue_ahead
    if trades_through(side, limit, low, high):
        filled, queue = qty, 0.0
    elif (low if side > 0 else high) == limit and volume > 0.0:
        traded = touch_participation * volume
        filled = min(max(traded - queue, 0.0), qty)
        queue = max(queue - traded, 0.0)
    adverse = side * (limit - close) / limit if filled > 0.0 else 0.0
    return filled, queue, adverse
