"""What a subscriber may say on a market or user stream, and what the exchange answers (pure)."""

from __future__ import annotations

import json
from typing import Any

from live.simulator.hub import MAX_NAME, Hub, Subscriber, SubscriptionError

_MAX_ID = 2**64 - 1
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


def answer(hub: Hub, subscriber: Subscriber, text: str) -> str:
    """Return what the exchange answers to a message of a subscriber, which may change its subscriptions.

    Parameters
    ----------
    hub : Hub
        Holds the subscriptions.
    subscriber : Subscriber
        Who speaks.
    text : str
        As it came.

    Returns
    -------
    str
        ``{"result": …, "id": …}``, or ``{"error": {"code": …, "msg": …}}`` with the id if it was a valid one. The
        exchange's documents give the codes and their texts; that they come inside ``error`` is seen on the wire.
    """
    known: dict[str, Any] = {}
    try:
        request = _parse(text)
        if _is_id(request.get("id")):
            known["id"] = request["id"]
        result = _perform(hub, subscriber, request, text)
    except SubscriptionError as error:
        return json.dumps({"error": error.body, **known})
    return json.dumps({"result": result, **known})


def _perform(hub: Hub, subscriber: Subscriber, request: dict[str, Any], text: str) -> Any:
    method = _method(request, text)
    if not _is_id(request.get("id")):
        raise SubscriptionError(2, "Invalid request: request ID must be an unsigned integer")
    parameters = request.get("params")
    if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
        change = hub.subscribe if method == "SUBSCRIBE" else hub.unsubscribe
        change(subscriber, _names(parameters, text))
        return None
    if method == "LIST_SUBSCRIPTIONS":
        if parameters:
            raise SubscriptionError(2, "Invalid request: too many parameters")
        return list(subscriber.names)
    if method == "GET_PROPERTY":
        _property(parameters, 1)
        return subscriber.combined
    subscriber.combined = _property(parameters, 2)
    return None


def _parse(text: str) -> dict[str, Any]:
    try:
        request = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise SubscriptionError(3, f"Invalid JSON: expected value at {where}") from error
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or thousands of brackets.
        raise SubscriptionError(3, "Invalid JSON: number out of range or too deep") from error
    if not isinstance(request, dict):
        raise SubscriptionError(2, f"Invalid request: expected an object at {_end_of(text, text)}")
    return request


def _method(request: dict[str, Any], text: str) -> str:
    if "method" not in request:
        raise SubscriptionError(
            2, f"Invalid request: missing field `method` at {_end_of(text, text)}"
        )
    method = request["method"]
    if not isinstance(method, str):
        raise SubscriptionError(
            2, f"Invalid request: method must be a string at {_end_of(text, text)}"
        )
    if method not in _METHODS:
        known = ", ".join(f"`{name}`" for name in _METHODS)
        where = _end_of(text, json.dumps(method, ensure_ascii=False))
        raise SubscriptionError(
            2,
            f"Invalid request: unknown variant `{method[:MAX_NAME]}`, expected one of {known} at {where}",
        )
    return method


def _end_of(text: str, part: str) -> str:
    """Return where a part of the text ends, as the exchange's parser writes it; the whole, if it is not found."""
    at = text.find(part)
    before = text if at < 0 else text[: at + len(part)]
    before = before.rstrip()
    return f"line {before.count(chr(10)) + 1} column {len(before) - before.rfind(chr(10)) - 1}"


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_ID


def _names(parameters: Any, text: str) -> list[str]:
    if parameters is None:
        raise SubscriptionError(
            2, f"Invalid request: missing field `params` at {_end_of(text, text)}"
        )
    if not isinstance(parameters, list) or not all(isinstance(p, str) for p in parameters):
        raise SubscriptionError(2, "Invalid request: params must be an array of strings")
    if any(len(name) > MAX_NAME for name in parameters):
        raise SubscriptionError(2, f"Invalid request: stream name longer than {MAX_NAME}")
    return parameters


def _property(parameters: Any, count: int) -> bool:
    """Return the value that is set, True if none is: ``combined`` is the only property."""
    given = parameters if isinstance(parameters, list) else []
    if not given or not isinstance(given[0], str):
        raise SubscriptionError(2, "Invalid request: property name must be a string")
    if len(given) > count:
        raise SubscriptionError(2, "Invalid request: too many parameters")
    if given[0] != "combined":
        raise SubscriptionError(0, "Unknown property")
    if count == 1:
        return True
    if len(given) < count or not isinstance(given[1], bool):
        raise SubscriptionError(1, "Invalid value type: expected Boolean")
    return given[1]
