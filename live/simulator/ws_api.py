"""Requests over a WebSocket, `/ws-fapi/v1`: what is asked by which method, and how it is answered (pure)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from live.simulator.wire import Refused

METHODS: Mapping[str, str] = MappingProxyType(
    {
        "ping": "GET /fapi/v1/ping",
        "time": "GET /fapi/v1/time",
        "depth": "GET /fapi/v1/depth",
        "ticker.price": "GET /fapi/v2/ticker/price",
        "ticker.book": "GET /fapi/v1/ticker/bookTicker",
        "order.place": "POST /fapi/v1/order",
        "order.test": "POST /fapi/v1/order/test",
        "order.modify": "PUT /fapi/v1/order",
        "order.cancel": "DELETE /fapi/v1/order",
        "order.status": "GET /fapi/v1/order",
        "algoOrder.place": "POST /fapi/v1/algoOrder",
        "algoOrder.cancel": "DELETE /fapi/v1/algoOrder",
        "account.position": "GET /fapi/v2/positionRisk",
        "v2/account.position": "GET /fapi/v3/positionRisk",
        "account.balance": "GET /fapi/v2/balance",
        "v2/account.balance": "GET /fapi/v3/balance",
        "account.status": "GET /fapi/v2/account",
        "v2/account.status": "GET /fapi/v3/account",
        "userDataStream.start": "POST /fapi/v1/listenKey",
        "userDataStream.ping": "PUT /fapi/v1/listenKey",
        "userDataStream.stop": "DELETE /fapi/v1/listenKey",
    }
)
"""The route of REST that answers each method; the two APIs number their versions differently."""
_SESSION = ("session.logon", "session.status", "session.logout")
_LONGEST_ID = 36


class _Number(str):
    """A number of the JSON text, as it was written: the signature is over that."""

    __slots__ = ()


@dataclass(frozen=True)
class Call:
    """A request, as REST would have it.

    Parameters
    ----------
    name : str
        Verb and route, such as ``"POST /fapi/v1/order"``.
    params : mapping of str to str
        Its parameters, with `timestamp` and `signature`, without `apiKey`.
    key : str or None
        The API key.
    payload : str
        What the signature is over: all parameters but the signature, sorted by name.
    """

    name: str
    params: Mapping[str, str]
    key: str | None
    payload: str


@dataclass(frozen=True)
class Envelope:
    """What frames an answer.

    Parameters
    ----------
    request_id : object
        Sent back as it came: a whole number, text of at most 36 characters, or None.
    with_limits : bool
        Whether the client wants to hear of its rate limits.
    """

    request_id: Any = None
    with_limits: bool = True

    def success(self, result: Any, limits: list[dict[str, Any]]) -> str:
        """Return the text of an answer."""
        return self._text({"status": 200, "result": result}, limits)

    def failure(self, refusal: Refused, limits: list[dict[str, Any]]) -> str:
        """Return the text of a refusal."""
        return self._text({"status": refusal.status, "error": refusal.body}, limits)

    def _text(self, body: dict[str, Any], limits: list[dict[str, Any]]) -> str:
        told = {"rateLimits": limits} if self.with_limits else {}
        return json.dumps({"id": self.request_id, **body, **told}, separators=(",", ":"))


def read(text: str, *, with_limits: bool) -> tuple[Envelope, Call | Refused]:
    """Return how a request is to be answered, and what it asks for or why it is refused.

    Parameters
    ----------
    text : str
        As it came.
    with_limits : bool
        Whether the connection wants rate limits, unless the request says otherwise by `returnRateLimits`.
    """
    envelope = Envelope(with_limits=with_limits)
    try:
        request = _parse(text)
        envelope = Envelope(_id(request), with_limits)
        params = _params(request)
        wish = params.pop("returnRateLimits", None)
        if wish is not None:
            envelope = Envelope(envelope.request_id, wish == "true")
        return envelope, _call(request, params)
    except Refused as refusal:
        return envelope, refusal


def _parse(text: str) -> dict[str, Any]:
    try:
        request = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
    except (ValueError, RecursionError) as error:
        raise Refused(-1135, "Invalid JSON Request") from error
    if not isinstance(request, dict):
        raise Refused(-1135, "Invalid JSON Request")
    return request


def _id(request: dict[str, Any]) -> Any:
    value = request.get("id")
    if "id" not in request or not _is_id(value):
        raise Refused(
            -1135,
            "Invalid 'id' in JSON request; expected an integer, a string of up to 36 characters, or null.",
        )
    return int(value) if isinstance(value, _Number) else value


def _is_id(value: Any) -> bool:
    if isinstance(value, _Number):
        return re.fullmatch(r"-?\d{1,19}", value) is not None
    return value is None or (isinstance(value, str) and len(value) <= _LONGEST_ID)


def _params(request: dict[str, Any]) -> dict[str, str]:
    params = request.get("params")
    if params is None:
        params = {}
    if not isinstance(params, dict):
        raise Refused(-1135, "Invalid 'params' in JSON request; expected an object.")
    return {name: _text(name, value) for name, value in params.items() if value is not None}


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return str(value)
    raise Refused(
        -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    )


def _call(request: dict[str, Any], params: dict[str, str]) -> Call:
    method = request.get("method")
    if isinstance(method, str) and method in _SESSION:
        raise Refused(
            -1020,
            f"This operation is not supported: {method} needs an Ed25519 key; sign each request.",
        )
    if not isinstance(method, str) or isinstance(method, _Number) or method not in METHODS:
        raise Refused(-1020, "This operation is not supported: unknown method.")
    signed = sorted((name, value) for name, value in params.items() if name != "signature")
    payload = "&".join(f"{name}={value}" for name, value in signed)
    key = params.pop("apiKey", None)
    return Call(METHODS[method], params, key, payload)
