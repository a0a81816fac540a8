"""What goes wrong, when and how often: a seeded scenario of faults as frozen settings, read from YAML."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import yaml

from quantcore.errors import ConfigError
from quantcore.settings import TARGET, build_settings, nearest, one_line

Family = Literal["request", "message", "venue"]
"""What a fault meets: a request by REST, a message of a stream, or the exchange itself."""
Distribution = Literal["constant", "uniform", "exponential", "lognormal"]
Stage = Literal["before", "after"]


class Kind(NamedTuple):
    """What a kind of fault meets, and the settings of `FaultRule` that it reads beside the common ones."""

    family: Family
    reads: tuple[str, ...]


_REQUEST = ("requests", "account", "nth")
_MESSAGE = ("streams", "events", "nth")
_DELAY = ("seconds", "distribution", "spread")
KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "latency": Kind("request", (*_REQUEST, *_DELAY, "stage")),
        "unknown_outcome": Kind("request", (*_REQUEST, "placed")),
        "service_unavailable": Kind("request", _REQUEST),
        "overload": Kind("request", _REQUEST),
        "timeout": Kind("request", (*_REQUEST, "stage", "seconds")),
        "connection_drop": Kind("request", (*_REQUEST, "stage")),
        "rate_limit": Kind("request", (*_REQUEST, "seconds")),
        "ban": Kind("request", _REQUEST),
        "message_drop": Kind("message", _MESSAGE),
        "message_delay": Kind("message", (*_MESSAGE, *_DELAY)),
        "message_duplicate": Kind("message", _MESSAGE),
        "message_reorder": Kind("message", (*_MESSAGE, "seconds")),
        "account_reorder": Kind("message", ("streams", "nth", "seconds")),
        "stream_mute": Kind("message", ("streams", "events")),
        "disconnect": Kind("venue", ("streams",)),
        "listen_key_expiry": Kind("venue", ("account",)),
        "clock_drift": Kind("venue", ("seconds",)),
        "stuck_triggering": Kind("venue", ("symbol", "account")),
        "partial_fill": Kind("venue", ("symbol", "account", "fraction")),
        "liquidation": Kind("venue", ("symbol", "account")),
        "adl": Kind("venue", ("symbol", "account")),
        "delisting": Kind("venue", ("symbol",)),
        "filter_change": Kind("venue", ("symbol", "changes")),
        "maintenance": Kind("venue", ()),
        "price_gap": Kind("venue", ("symbol", "fraction")),
    }
)
"""Every kind of fault."""
LASTING = ("disconnect", "clock_drift", "stuck_triggering", "partial_fill", "maintenance")
"""The kinds that meet the exchange itself and last; the others of that family happen at an instant."""
BOUNDED = ("ban", "maintenance")
"""The kinds that must end."""
FILTERS: Mapping[str, str] = MappingProxyType(
    {
        "tickSize": "tick_size",
        "stepSize": "step_size",
        "minQty": "min_qty",
        "maxQty": "limit_max_qty",
        "marketMaxQty": "market_max_qty",
        "notional": "min_notional",
        "minNotional": "min_notional",
    }
)
"""Fields of a symbol's filters that may change, by the exchange's names, and those of an `Instrument` that they are."""
COMMON = ("kind", "at_seconds", "duration_seconds", "every_seconds", "probability", "times")
"""The settings that every kind reads."""


@dataclass(frozen=True, kw_only=True)
class FaultRule:
    """One fault: what, when, how often, and whom it meets.

    In lock-step simulated time stands at the closes of bars: what lasts for less than a bar meets requests and messages
    only if a close lies in it.

    Parameters
    ----------
    kind : str
        A key of `KINDS`, which also says which of the settings below the line of `times` it reads.
    at_seconds : float
        Simulated seconds from the start of the run (of an injected fault: from its injection) until it is in force.
    duration_seconds : float or None
        How long it is in force, or lasts, from `at_seconds` on; None is for good.
    every_seconds : float or None
        It comes back at this distance, at least 1; None is once.
    probability : float
        Of each request or message that it meets while in force; of a mute stream and of what meets the exchange
        itself, of each time that it comes back.
    times : int or None
        It happens at most so often; what comes back, in the first so many periods.
    nth : int or None
        It happens only to the n-th request of an account, or the n-th message of a stream, that it meets while in
        force, counted from 1.
    requests : str
        Pattern of method and route, such as ``"POST /fapi/v?/order"``; in patterns ``*`` and ``?`` are as in a shell.
    streams : str
        Pattern of the stream's name, such as ``"btcusdt@*"``; of a disconnect, of the connection's path.
    events : str
        Pattern of the payload's event type ``e``, such as ``"ORDER_TRADE_UPDATE"``.
    account : str
        Pattern of the API key; requests without one have the empty key.
    symbol : str
        Pattern of the symbol; for delisting and filter change its plain name.
    seconds : float
        Of a delay: all of it (constant), its middle (uniform), mean (exponential) or median (lognormal); of a
        timeout, until it is answered; of a rate limit, until a retry is allowed; of a message out of order, how long
        others may overtake it; of a clock drift, how far the exchange's clock is ahead (negative: behind).
    distribution : {"constant", "uniform", "exponential", "lognormal"}
        Of a delay.
    spread : float
        Seconds to either side (uniform), or the standard deviation of the logarithm (lognormal).
    stage : {"before", "after"}
        Whether it happens before the exchange has accepted the request, or after.
    placed : bool
        Whether a request whose outcome stays unknown is carried out nevertheless.
    fraction : float
        Of a partial fill, the share of the open quantity that fills, within (0, 1); of a price gap, the jump of the
        price as a fraction of it, above -1 and not 0.
    changes : mapping of str to str
        Some of `FILTERS` with their new values, such as ``{"stepSize": "0.01", "minQty": "0.01"}``.

    Raises
    ------
    ValueError
        If a value is out of its range, missing, or not read by this kind.

    Examples
    --------
    >>> FaultRule(kind="message_drop", probability=0.1).family
    'message'
    >>> FaultRule(kind="message_drop", stage="after")
    Traceback (most recent call last):
    ...
    ValueError: stage must be left out of kind message_drop, was after
    """

    kind: str
    at_seconds: float = 0.0
    duration_seconds: float | None = None
    every_seconds: float | None = None
    probability: float = 1.0
    times: int | None = None
    nth: int | None = None
    requests: str = "*"
    streams: str = "*"
    events: str = "*"
    account: str = "*"
    symbol: str = "*"
    seconds: float = 1.0
    distribution: Distribution = "constant"
    spread: float = 0.0
    stage: Stage = "before"
    placed: bool = True
    fraction: float = 0.0
    changes: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            near = nearest(self.kind, KINDS)
            hint = f"; nearest: {near}" if near else ""
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, was {self.kind}{hint}")
        for f in fields(self):
            value = getattr(self, f.name)
            default = {} if f.name == "changes" else f.default
            if f.name not in (*COMMON, *KINDS[self.kind].reads) and value != default:
                raise ValueError(f"{f.name} must be left out of kind {self.kind}, was {value}")
        object.__setattr__(self, "changes", MappingProxyType(dict(self.changes)))
        self._check_times()
        self._check_values()

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what pickle needs, which knows no read-only mappings."""
        return rule_of, (self.plain(),)

    @property
    def family(self) -> Family:
        """What it meets."""
        return KINDS[self.kind].family

    def plain(self) -> dict[str, Any]:
        """Return the settings that its kind reads, as plain values of which JSON can be made."""
        kept = {name: getattr(self, name) for name in (*COMMON, *KINDS[self.kind].reads)}
        return {k: dict(v) if k == "changes" else v for k, v in kept.items() if v is not None}

    def _check_times(self) -> None:
        _check(0.0 <= self.at_seconds < math.inf, "at_seconds must be >= 0", self.at_seconds)
        _check(0.0 <= self.probability <= 1.0, "probability must be in [0, 1]", self.probability)
        for name in ("duration_seconds", "times", "nth"):
            value = getattr(self, name)
            _check(value is None or 0 < value < math.inf, f"{name} must be > 0", value)
        lasts, every = self.duration_seconds, self.every_seconds
        _check(every is None or 1.0 <= every < math.inf, "every_seconds must be >= 1", every)
        if lasts is None:
            again = every is not None and (self.family != "venue" or self.kind in LASTING)
            why = f"kind {self.kind}" + (" with every_seconds" if again else "")
            _check(
                self.kind not in BOUNDED and not again,
                f"duration_seconds must be given for {why}",
                "missing",
            )
            return
        instant = self.family == "venue" and self.kind not in LASTING
        _check(not instant, f"duration_seconds must be left out of kind {self.kind}", lasts)
        _check(
            every is None or lasts <= every,
            f"duration_seconds must be <= every_seconds ({every})",
            lasts,
        )

    def _check_values(self) -> None:
        drift = self.kind == "clock_drift"
        _check(math.isfinite(self.seconds), "seconds must be finite", self.seconds)
        _check(drift or self.seconds >= 0.0, "seconds must be >= 0", self.seconds)
        wide = self.distribution == "uniform" and self.spread > self.seconds
        _check(not wide, f"spread must be <= seconds ({self.seconds})", self.spread)
        _check(0.0 <= self.spread < math.inf, "spread must be >= 0", self.spread)
        if self.kind == "partial_fill":
            _check(0.0 < self.fraction < 1.0, "fraction must be in (0, 1)", self.fraction)
        if self.kind == "price_gap":
            real = -1.0 < self.fraction < math.inf and self.fraction != 0.0
            _check(real, "fraction must be above -1 and not 0", self.fraction)
        if self.kind in ("delisting", "filter_change"):
            plain = not set(self.symbol) & set("*?[]")
            _check(plain and bool(self.symbol), "symbol must be one symbol's name", self.symbol)
        if self.kind == "filter_change":
            _check_changes(self.changes)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A seeded list of faults.

    Parameters
    ----------
    seed : int
        Of every probability and every delay; with the same requests it gives the same faults.
    faults : tuple of FaultRule
        What goes wrong; where several failures meet one request, the first of them answers, and delays add up.

    Raises
    ------
    ValueError
        If the seed is negative.
    """

    seed: int = 7
    faults: tuple[FaultRule, ...] = ()

    def __post_init__(self) -> None:
        _check(self.seed >= 0, "seed must be >= 0", self.seed)


def scenario_of(text: str, *, path: str = "") -> Scenario:
    """Return the scenario that a YAML text describes.

    Parameters
    ----------
    text : str
        A mapping of `seed` and `faults`, as in ``conf/faults``.
    path : str
        Where it was read, put behind every refusal.

    Raises
    ------
    ConfigError
        One line: what, the rule and the value.

    Examples
    --------
    >>> scenario_of("faults: [{kind: ban, duration_seconds: 120}]").faults[0].duration_seconds
    120.0
    """
    try:
        node = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"scenario must be YAML, was not: {one_line(error)}") from error
    plain = {k: v for k, v in node.items() if k != TARGET} if isinstance(node, dict) else node or {}
    built: Scenario = build_settings(plain, kind=Scenario, locate=lambda _: path)
    return built


def rule_of(node: object) -> FaultRule:
    """Return the fault that plain values describe, as JSON gives them.

    Raises
    ------
    ConfigError
        One line: what, the rule and the value.
    """
    built: FaultRule = build_settings(node, kind=FaultRule)
    return built


def _check_changes(changes: Mapping[str, str]) -> None:
    known = bool(changes) and changes.keys() <= set(FILTERS)
    _check(known, f"changes must name some of {', '.join(FILTERS)}", ", ".join(changes) or "none")
    for name, value in changes.items():
        decimal = re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) is not None and float(value) > 0.0
        _check(decimal, f"changes.{name} must be a decimal above 0 as text", value)


def _check(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{rule}, was {value}")
