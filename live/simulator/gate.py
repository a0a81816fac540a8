"""What every request goes through, by REST or by WebSocket: the exchange's checks in its order, then an answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from live.simulator.limits import Limited, Limits
from live.simulator.routes import ROUTES, Route, Security
from live.simulator.security import Request, check_key, check_parameters, check_signed
from live.simulator.wire import Refused


class Accounts(Protocol):
    """What answers signed requests (`venue.Venue`)."""

    @property
    def accounts(self) -> Mapping[str, Any]:
        """Accounts by API key, each with its `secret`."""
        ...

    def handle(self, account: Any, name: str, params: Mapping[str, str]) -> Any:
        """Return the answer to a signed request, or raise `Refused`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a gate leads to.

    Parameters
    ----------
    venue : Accounts
        Signed requests.
    public : callable
        Takes name, simulated time and parameters of a request that needs no signature.
    listen_keys : callable
        Takes name, API key, parameters and simulated time.
    advance : callable
        Moves the venue to the present and returns that, in microseconds.
    server_us : callable
        What the exchange's own clock shows at a simulated time: timestamps are held against it.
    answered : callable
        Called after every answer that may have set something off.
    limits : Limits
        Counters.
    wall_seconds : callable
        How long a simulated span in microseconds takes on the wall, for ``Retry-After``.
    """

    venue: Accounts
    public: Callable[[str, int, Mapping[str, str]], Any]
    listen_keys: Callable[[str, str, Mapping[str, str], int], Any]
    advance: Callable[[], int]
    server_us: Callable[[int], int]
    answered: Callable[[], None]
    limits: Limits
    wall_seconds: Callable[[int], float]


@dataclass(frozen=True)
class Answer:
    """What is answered: a body of plain values, the HTTP status and headers."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def route_of(name: str) -> Route:
    """Return a route by its name, such as ``"GET /fapi/v1/depth"``.

    Raises
    ------
    Refused
        -5000 with status 404, if there is none.
    """
    route = ROUTES.get(name)
    if route is None:
        method, _, path = name.partition(" ")
        raise Refused(-5000, f"Path {path}, Method {method} is invalid", 404)
    return route


class Gate:
    """The entrance to the exchange; nothing in it waits, so each request is carried out whole.

    Parameters
    ----------
    parts : Parts
        What it leads to.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def answer(self, name: str, request: Request, *, key: str | None, address: str) -> Answer:
        """Return the answer to a request, refusals included.

        Parameters
        ----------
        name : str
            Method and route, such as ``"GET /fapi/v1/depth"``.
        request : Request
            Its parameters and what its signature is over.
        key : str or None
            The API key that came with it.
        address : str
            Where it came from, whose weight is counted.
        """
        headers: dict[str, str] = {}
        try:
            route = route_of(name)
            now_us = self.parts.advance()
            self._spend(route, request, address, now_us, headers)
            body = self._perform(name, route, request, key, now_us, headers)
        except Refused as refused:
            return self._refusal(refused, headers)
        return Answer(body, 200, headers)

    def retry_after(self, retry_us: int | None) -> dict[str, str]:
        """Return the header that tells how long to wait: the client's seconds are the wall's, whatever the clock."""
        if retry_us is None:
            return {}
        return {"Retry-After": str(max(math.ceil(self.parts.wall_seconds(retry_us)), 1))}

    def _spend(
        self, route: Route, request: Request, address: str, now_us: int, headers: dict[str, str]
    ) -> None:
        limits = self.parts.limits
        if route.funding:
            limits.spend_funding(address, now_us)
        used = limits.spend(address, route.weight_of(request.params), now_us)
        headers["X-MBX-USED-WEIGHT-1M"] = str(used)

    def _perform(
        self,
        name: str,
        route: Route,
        request: Request,
        key: str | None,
        now_us: int,
        headers: dict[str, str],
    ) -> Any:
        parts, params = self.parts, request.params
        owner = "" if route.security is Security.NONE else check_key(key, parts.venue.accounts)
        check_parameters(params, route.mandatory)
        if route.security is not Security.SIGNED:
            if name.endswith("/listenKey"):
                return parts.listen_keys(name, owner, params, now_us)
            return parts.public(name, now_us, params)
        account = parts.venue.accounts[owner]
        check_signed(request, account.secret, parts.server_us(now_us))
        counts = parts.limits.place(owner, route.orders, now_us)
        own = {k: v for k, v in params.items() if k not in ("signature", "timestamp", "recvWindow")}
        try:
            body = parts.venue.handle(account, name, own)
        finally:
            parts.answered()
        headers |= {f"X-MBX-ORDER-COUNT-{window}": str(n) for window, n in counts.items()}
        return body

    def _refusal(self, refused: Refused, headers: dict[str, str]) -> Answer:
        if isinstance(refused, Limited):
            headers |= self.retry_after(refused.retry_us)
        return Answer(refused.body, refused.status, headers)
