"""REST over HTTP: a request in, through the gate and the faults, and always an answer in the exchange's own form."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiohttp import web

from live.simulator.gate import Answer, Gate, route_of
from live.simulator.security import Request, read_request
from live.simulator.wire import Refused

BODY_MAX = 1 << 20
"""Bytes of a body; a batch of orders has a few thousand."""
BODY_SECONDS = 10.0
"""A body that takes longer to come is given up."""
KEY_HEADER = "X-MBX-APIKEY"

_LOG = logging.getLogger("live.simulator")


class Reply(Protocol):
    """What a fault answers in the exchange's stead (`replies.Reply`)."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def body(self) -> Any:
        """Plain values."""

    @property
    def retry_us(self) -> int | None:
        """For how long a retry is of no use, simulated microseconds."""


class RequestFault(Protocol):
    """What happens to a request (`faults.RequestFault`)."""

    @property
    def delay_s(self) -> float:
        """Seconds until it is carried out."""

    @property
    def answer_delay_s(self) -> float:
        """Seconds from then until it is answered."""

    @property
    def accepted(self) -> bool:
        """Whether it is carried out at all."""

    @property
    def reply(self) -> Reply | None:
        """What is answered instead."""

    @property
    def drop(self) -> bool:
        """Whether the connection is closed without an answer."""


OnRequest = Callable[[str, str, int, Mapping[str, str]], RequestFault | None]
"""Takes name, API key (``""`` if none was sent), simulated time and parameters."""


def add_rest(app: web.Application, gate: Gate, on_request: OnRequest) -> None:
    """Let an application answer whatever path no route before has taken, by every method.

    Parameters
    ----------
    app : web.Application
        To which the routes of the streams have been added before.
    gate : Gate
        What answers.
    on_request : callable
        What goes wrong.
    """
    endpoint = _Endpoint(gate, on_request)
    app.router.add_route("*", "/{path:.*}", endpoint.handle, expect_handler=_expect)


def unknown_error() -> Refused:
    """Return what is answered where the exchange itself has failed."""
    return Refused(-1000, "An unknown error occurred while processing the request.")


def json_response(answer: Any, status: int = 200) -> web.Response:
    """Return an answer as compact JSON; a number that is none raises ValueError."""
    text = json.dumps(answer, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return web.Response(body=text.encode(), status=status, content_type="application/json")


def error_response(refused: Refused) -> web.Response:
    """Return a refusal in the exchange's form."""
    return json_response(refused.body, refused.status)


def raw_query(target: str) -> str:
    """Return the query of a request's target as it was sent.

    Examples
    --------
    >>> raw_query("/fapi/v1/depth?symbol=BTCUSDT&limit=%35#top")
    'symbol=BTCUSDT&limit=%35'
    """
    return target.partition("#")[0].partition("?")[2]


async def carried_out(
    gate: Gate, on_request: OnRequest, name: str, sent: Request, *, key: str | None, address: str
) -> Answer | None:
    """Return the answer to a request through the faults, None if the connection is to be cut instead.

    Parameters
    ----------
    gate, on_request
        As for `add_rest`.
    name, sent, key, address
        As for `Gate.answer`.
    """
    fault = on_request(name, key or "", gate.parts.advance(), sent.params)
    if fault is None:
        return gate.answer(name, sent, key=key, address=address)
    await asyncio.sleep(fault.delay_s)
    answer = gate.answer(name, sent, key=key, address=address) if fault.accepted else None
    await asyncio.sleep(fault.answer_delay_s)
    if fault.drop:
        return None
    if fault.reply is not None:
        reply = fault.reply
        return Answer(reply.body, reply.status, gate.retry_after(reply.retry_us))
    return answer


class _Endpoint:
    def __init__(self, gate: Gate, on_request: OnRequest) -> None:
        self.gate = gate
        self.on_request = on_request

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            answer = await self._answer(request)
        except Refused as refused:
            return error_response(refused)
        except ConnectionError:  # the client has gone, nobody reads this
            return error_response(unknown_error())
        except Exception:  # whatever a request sets off must not stop the exchange
            _LOG.exception("%s %s failed", request.method, request.path)
            return error_response(unknown_error())
        if answer is not None:
            return answer
        if request.transport is not None:
            request.transport.abort()
        return error_response(unknown_error())

    async def _answer(self, request: web.Request) -> web.Response | None:
        name = f"{request.method} {request.path}"
        route_of(name)
        sent = read_request(raw_query(request.raw_path), await _body(request))
        key, address = request.headers.get(KEY_HEADER), request.remote or ""
        answer = await carried_out(self.gate, self.on_request, name, sent, key=key, address=address)
        if answer is None:
            return None
        response = json_response(answer.body, answer.status)
        response.headers.update(answer.headers)
        return response


async def _body(request: web.Request) -> bytes:
    """Return a request's body; refuses one that is too long, broken or does not come."""
    if (request.content_length or 0) > BODY_MAX:
        raise _too_long()
    if not request.can_read_body:
        return b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_long() from None
    except (web.RequestPayloadError, TimeoutError):
        raise Refused(-1100, "Illegal characters found in a parameter.") from None


def _too_long() -> Refused:
    return Refused(-1101, "Too many parameters sent for this endpoint.", 413)


async def _expect(request: web.Request) -> web.StreamResponse | None:
    """Let a client that asks first send its body; an expectation of another kind is passed over."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return None
