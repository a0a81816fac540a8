"""How long positions were held without a protective stop: from a fill to the bar that first sees the stop."""

from __future__ import annotations

from quantcore.account_plane import Events
from quantcore.kernels import layout as at
from quantcore.types import FillReason, OrderStatus, OrderType, Rule

_OVER = {
    int(status)
    for status in (
        OrderStatus.FILLED,
        OrderStatus.CANCELED,
        OrderStatus.REJECTED,
        OrderStatus.EXPIRED,
    )
}


def longest_without_stop(events: Events, *, bar_us: int, latency_us: int) -> int:
    """Return the longest time for which a position was held and no stop of it was active, microseconds.

    A fill is counted from the open of its bar, since when within the bar it happened is not known; a stop is active
    from the open of the first bar that sees it, at the close at which it is sent or `latency_us` later.

    Parameters
    ----------
    events : Events
        Of one scan, of an account that gives every position a stop.
    bar_us, latency_us : int
        Of the execution bars, and what an order takes beyond the next open.
    """
    held: dict[int, int] = {}
    naked_since: dict[int, int] = {}
    active: dict[int, int] = {}  # stop orders and their symbols
    guards: dict[int, int] = {}  # symbols, with the number of their stops
    longest = 0
    fills = events.whole[:, at.KIND] == at.EVENT_FILL
    new = (events.whole[:, at.KIND] == at.EVENT_NEW_ORDER) & (
        events.whole[:, at.EVENT_REASON] == FillReason.STOP_LOSS
    )
    new &= events.whole[:, at.EVENT_TYPE] == OrderType.STOP_MARKET
    for row in events.whole[fills | new | (events.whole[:, at.KIND] == at.EVENT_STATUS)].tolist():
        kind, ts, symbol, order = (
            row[c] for c in (at.KIND, at.TS, at.EVENT_SYMBOL, at.EVENT_ORDER)
        )
        if kind == at.EVENT_NEW_ORDER:
            active[order] = symbol
            guards[symbol] = guards.get(symbol, 0) + 1
            since = naked_since.pop(symbol, None)
            if since is not None:
                longest = max(longest, ts + latency_us - since)
        elif kind == at.EVENT_STATUS:
            if row[at.EVENT_STATE] in _OVER and active.pop(order, None) is not None:
                guards[symbol] -= 1
                # A stop that would have triggered at once protected nothing, since the fill.
                late = row[at.EVENT_REASON] == Rule.WOULD_TRIGGER
                if held.get(symbol, 0) and not guards[symbol]:
                    naked_since.setdefault(symbol, ts - bar_us if late else ts)
        else:
            before = held.get(symbol, 0)
            held[symbol] = before + row[at.EVENT_SIDE] * row[at.EVENT_LOTS]
            if before == 0:
                naked_since.setdefault(symbol, ts - bar_us)
            elif held[symbol] == 0:
                since = naked_since.pop(symbol, None)
                if since is not None:
                    longest = max(longest, ts - since)
    end = int(events.curve_ts[-1]) if len(events.curve_ts) else 0
    return max([longest, *(end - since for since in naked_since.values())])
