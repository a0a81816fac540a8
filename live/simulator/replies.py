"""What the exchange answers when it is at fault: statuses, codes and words of its own documentation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from live.simulator.wire import milliseconds

OVERLOADED = ("POST /fapi/v1/order", "POST /fapi/v1/batchOrders", "POST /fapi/v1/order/test")
"""The routes that system-level protection throttles; cancels and queries never."""

_BODIES: Mapping[str, tuple[int, int, str]] = {
    "unknown_outcome": (503, -1000, "Unknown error, please check your request or try again later."),
    "service_unavailable": (503, -1000, "Service Unavailable."),
    "overload": (
        503,
        -1008,
        "Request throttled by system-level protection. Reduce-only/close-position orders are exempt. "
        "Please try again.",
    ),
    "timeout": (
        408,
        -1007,
        "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    ),
    "rate_limit": (
        429,
        -1003,
        "Too many requests; current limit is 2400 requests per minute. "
        "Please use the websocket for live updates to avoid polling the API.",
    ),
    "ban": (
        418,
        -1003,
        "Way too many requests; IP banned until {until}. Please use the websocket for live updates to avoid bans.",
    ),
}


@dataclass(frozen=True)
class Reply:
    """An answer that stands in place of the exchange's own.

    Parameters
    ----------
    status : int
        HTTP status.
    body : mapping
        What is sent as JSON.
    retry_us : int or None
        For how long a retry is of no use, simulated microseconds; None where nothing says so.
    """

    status: int
    body: Mapping[str, Any]
    retry_us: int | None = None


def reply_of(kind: str, *, now_us: int = 0, until_us: int | None = None) -> Reply:
    """Return the answer of a kind of fault.

    Parameters
    ----------
    kind : str
        A failing kind of `scenario.KINDS`.
    now_us, until_us : int
        Simulated time, microseconds, and until when a retry is of no use; without an end the client is not told.

    Examples
    --------
    >>> reply_of("ban", now_us=0, until_us=90_500_000).retry_us
    90500000
    """
    status, code, text = _BODIES[kind]
    body = {"code": code, "msg": text.format(until=milliseconds(until_us or now_us))}
    if until_us is None or status not in (418, 429):
        return Reply(status, body)
    return Reply(status, body, until_us - now_us)


def is_exempt_from_overload(name: str, params: Mapping[str, str]) -> bool:
    """Return whether system-level protection lets a request pass: all but new orders, and those that reduce.

    Parameters
    ----------
    name : str
        Method and route.
    params : mapping of str to str
        As sent; a batch is exempt if each of its orders is.

    Examples
    --------
    >>> is_exempt_from_overload("POST /fapi/v1/order", {"side": "SELL", "reduceOnly": "true"})
    True
    """
    if name not in OVERLOADED:
        return True
    if name != "POST /fapi/v1/batchOrders":
        return _reduces(params)
    try:
        orders = json.loads(params.get("batchOrders", ""))
    except ValueError:
        return False
    return (
        isinstance(orders, list)
        and bool(orders)
        and all(isinstance(o, dict) and _reduces(o) for o in orders)
    )


def _reduces(order: Mapping[str, Any]) -> bool:
    asked = {str(order.get(name, "")).lower() for name in ("reduceOnly", "closePosition")}
    closing = (order.get("positionSide"), order.get("side")) in (("LONG", "SELL"), ("SHORT", "BUY"))
    return "true" in asked or closing
