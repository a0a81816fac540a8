"""A small stand-in for the venue behind the gate, and clients' requests signed by hand."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

from live.simulator.gate import Gate, Parts
from live.simulator.limits import Limits, LimitSettings
from live.simulator.wire import Refused

KEY = "k" * 64
SECRET = "s" * 64
NOW_US = 1_735_689_600_000_000
NOW_MS = NOW_US // 1000

LIMITS = LimitSettings(
    weight_1m=2400, orders_10s=300, orders_1m=1200, funding_5m=500, refusals_max=10
)


@dataclass
class Venue:
    """Remembers what it was asked, and answers with that; `answer` says otherwise."""

    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    answer: Callable[[str, Mapping[str, str]], Any] = lambda name, params: {"name": name, **params}
    now_us: int = NOW_US

    @property
    def accounts(self) -> Mapping[str, Any]:
        return {KEY: SimpleNamespace(secret=SECRET, key=KEY)}

    def handle(self, account: Any, name: str, params: Mapping[str, str]) -> Any:
        assert account.key == KEY
        self.asked.append((name, dict(params)))
        return self.answer(name, params)


def public(name: str, now_us: int, params: Mapping[str, str]) -> Any:
    if name == "GET /fapi/v1/time":
        return {"serverTime": now_us // 1000}
    if params.get("symbol", "BTCUSDT") != "BTCUSDT":
        raise Refused(-1121, "Invalid symbol.")
    return {"name": name}


def gate_of(
    venue: Venue,
    *,
    limits: Limits | None = None,
    drift_us: int = 0,
    answered: list[int] | None = None,
    speed: float = 1.0,
) -> Gate:
    heard = [] if answered is None else answered
    return Gate(
        Parts(
            venue=venue,
            public=public,
            listen_keys=lambda name, key, params, now_us: {"listenKey": key[::-1]},
            advance=lambda: venue.now_us,
            server_us=lambda now_us: now_us + drift_us,
            answered=lambda: heard.append(venue.now_us),
            limits=limits or Limits(LIMITS),
            wall_seconds=lambda span_us: span_us / 1e6 / speed,
        )
    )


def nothing(name: str, key: str, now_us: int, params: Mapping[str, str]) -> None:
    """No fault."""


def signed(params: Mapping[str, Any], *, secret: str = SECRET, at_ms: int = NOW_MS) -> str:
    """A query as clients send it: urlencoded, with timestamp and, last, the signature."""
    text = urlencode({**params, "timestamp": at_ms})
    return f"{text}&signature={digest(text, secret)}"


def digest(payload: str, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
