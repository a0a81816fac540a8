"""Rules of faults, and what they do to one request or one message."""

from __future__ import annotations

from typing import Any

from live.simulator.faults import FaultRecord, Faults, RequestFault
from live.simulator.scenario import KINDS, FaultRule, Scenario, rule_of

ORDER = "POST /fapi/v1/order"
START_US = 1_704_067_200_000_000
SECOND_US = 1_000_000
CANDLE = {"e": "kline", "E": 1}
NEEDED: dict[str, dict[str, Any]] = {
    "partial_fill": {"fraction": 0.25},
    "price_gap": {"fraction": -0.1},
    "delisting": {"symbol": "ETHUSDT"},
    "filter_change": {"symbol": "ETHUSDT", "changes": {"stepSize": "0.1"}},
    "maintenance": {"duration_seconds": 60},
    "ban": {"duration_seconds": 60},
}
REQUESTS = [kind for kind in KINDS if KINDS[kind].family == "request"]
MESSAGES = [kind for kind in KINDS if KINDS[kind].family == "message"]
VENUE = [kind for kind in KINDS if KINDS[kind].family == "venue"]


def rule(kind: str, **settings: Any) -> FaultRule:
    return rule_of({"kind": kind, **NEEDED.get(kind, {}), **settings})


def faults(*rules: FaultRule, seed: int = 7) -> Faults:
    return Faults(Scenario(seed=seed, faults=rules), START_US)


def at(seconds: float) -> int:
    return START_US + round(seconds * SECOND_US)


def ask(of: Faults, seconds: float = 0.0, name: str = ORDER, key: str = "k") -> RequestFault | None:
    return of.on_request(name, key, at(seconds))


def told(of: Faults, kind: str, seconds: float) -> bool:
    """Bring one request or message at a time; return whether the fault happened to it."""
    before = of.counts.total()
    if KINDS[kind].family == "request":
        happened = ask(of, seconds) is not None
    else:
        event = {"e": "ACCOUNT_UPDATE" if kind == "account_reorder" else "kline"}
        deliveries = of.on_message("user:k", event, at(seconds))
        happened = [(d.payload, d.at_us) for d in deliveries] != [(event, at(seconds))]
    if kind != "stream_mute":
        assert of.counts.total() == before + happened
    return happened


def plain(log: list[FaultRecord]) -> list[tuple[Any, ...]]:
    return [((r.time_us - START_US) / SECOND_US, r.kind, r.target, r.done) for r in log]
