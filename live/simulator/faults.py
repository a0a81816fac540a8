"""Faults on a seeded schedule: what happens to a request, a message and the exchange, and a log of all of it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import translate
from functools import lru_cache
from re import Pattern, compile
from typing import Any

from live.simulator.replies import Reply, is_exempt_from_overload, reply_of
from live.simulator.scenario import KINDS, FaultRule, Scenario
from live.simulator.schedule import Hit, Schedule, microseconds

LOG_LIMIT = 100_000
"""Records that the log keeps, the newest; the counts know of all."""


@dataclass(frozen=True, kw_only=True)
class RequestFault:
    """What happens to one request.

    Parameters
    ----------
    delay_s : float
        Seconds before the exchange handles it.
    answer_delay_s : float
        Seconds between its handling, or what stands in its place, and the answer.
    accepted : bool
        Whether the exchange handles it; if not, its ledger never hears of it.
    reply : Reply or None
        What is answered instead of the exchange's own answer.
    drop : bool
        The connection is closed without an answer.
    """

    delay_s: float = 0.0
    answer_delay_s: float = 0.0
    accepted: bool = True
    reply: Reply | None = None
    drop: bool = False

    @property
    def fails(self) -> bool:
        """Whether the exchange's own answer is not sent."""
        return self.drop or self.reply is not None


@dataclass(frozen=True)
class Delivery:
    """A payload that is due at a simulated time, microseconds; those due at the same time keep their order."""

    payload: Any
    at_us: int


@dataclass(frozen=True, kw_only=True)
class VenueFault:
    """Something that happens to the exchange itself.

    Parameters
    ----------
    time_us : int
        When it begins, simulated time in microseconds.
    until_us : int or None
        When it ends; None is for good, or that it happens at an instant.
    rule : FaultRule
        Its kind, the patterns of whom it meets, and its values.
    """

    time_us: int
    until_us: int | None
    rule: FaultRule

    @property
    def kind(self) -> str:
        """A key of `scenario.KINDS`."""
        return self.rule.kind

    def meets(self, *, symbol: str = "", account: str = "", path: str = "") -> bool:
        """Return whether it concerns a symbol, an API key and a connection's path; empty ones are not asked."""
        rule = self.rule
        asked = ((symbol, rule.symbol), (account, rule.account), (path, rule.streams))
        return all(not name or matches(name, pattern) for name, pattern in asked)


@dataclass(frozen=True, kw_only=True)
class FaultRecord:
    """One injected fault: its number from 1, simulated time in microseconds, kind, whom it met, what was done."""

    number: int
    time_us: int
    kind: str
    target: str
    done: str


class Faults:
    """The faults of a scenario, and those injected while it runs.

    Whether and how a fault happens to the n-th request of an account, or the n-th message of a stream, depends on the
    seed, the fault's place in the scenario, the account or stream, and n: neither on other accounts and streams nor
    on any clock. Every call brings the simulated time.

    Parameters
    ----------
    scenario : Scenario
        What goes wrong.
    start_us : int or None
        Simulated time from which `at_seconds` counts, microseconds; None is the time of the first call.
    """

    def __init__(self, scenario: Scenario, start_us: int | None = None) -> None:
        self.scenario = scenario
        self.counts: Counter[str] = Counter()
        self._log: deque[FaultRecord] = deque(maxlen=LOG_LIMIT)
        self._schedules: list[Schedule] = []
        self._met_by: dict[str, list[Schedule]] = {}
        self._due_us: dict[str, int] = {}
        self._is_begun = False
        if start_us is not None:
            self._begin(start_us)

    @property
    def log(self) -> list[FaultRecord]:
        """Everything that was injected, in the order in which it was: the newest `LOG_LIMIT` records."""
        return list(self._log)

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """The scenario's faults, then the injected ones, with their counts; empty before the first call."""
        return tuple(self._schedules)

    def inject(self, rule: FaultRule, now_us: int) -> None:
        """Add a fault whose `at_seconds` counts from now."""
        self._begin(now_us)
        self._add(rule, now_us)

    def on_request(
        self, name: str, key: str, now_us: int, params: Mapping[str, str] | None = None
    ) -> RequestFault | None:
        """Return what happens to a request, None if nothing.

        Parameters
        ----------
        name : str
            Method and route, such as ``"POST /fapi/v1/order"``.
        key : str
            API key, empty if it has none.
        now_us : int
            Simulated time, microseconds.
        params : mapping of str to str or None
            What it asks: orders that reduce a position are exempt from overload.
        """
        self._begin(now_us)
        target = f"{name} {key}".strip()
        if self.is_down(now_us):
            reply = reply_of("service_unavailable")
            self._record(
                now_us,
                "maintenance",
                target,
                f"{reply.status} ({reply.body['code']}), not carried out",
            )
            return RequestFault(accepted=False, reply=reply)
        fault = RequestFault()
        for schedule in self._of("request"):
            rule = schedule.rule
            if not (matches(name, rule.requests) and matches(key, rule.account)):
                continue
            if rule.kind == "overload" and is_exempt_from_overload(name, params or {}):
                continue
            hit = schedule.hit(key, now_us)
            if hit is None or (fault.fails and rule.kind != "latency"):
                continue
            fault, done = _failed(fault, schedule, hit, now_us)
            self._happened(schedule, now_us, target, done)
        return None if fault == RequestFault() else fault

    def on_message(self, stream: str, payload: Any, now_us: int) -> list[Delivery]:
        """Return what becomes of a message: each copy with the time at which it is due; empty if it is lost.

        Parameters
        ----------
        stream : str
            Its stream, such as ``"btcusdt@kline_1m"``; for user events one name per account, ``"user:KEY"``. Asked
            once per message, however many have subscribed.
        payload : object
            As it is sent; its key ``e``, or that of the first of a list, is the event type.
        now_us : int
            Simulated time, microseconds.
        """
        self._begin(now_us)
        if self.is_down(now_us):
            return []
        event = _event(payload)
        copies, late_us, held_us = 1, 0, 0
        for schedule in self._of("message"):
            rule = schedule.rule
            wanted = "ACCOUNT_UPDATE" if rule.kind == "account_reorder" else rule.events
            if not (matches(stream, rule.streams) and matches(event, wanted)):
                continue
            if rule.kind == "stream_mute":
                copies = 0 if self._is_muted(schedule, stream, now_us) else copies
                continue
            hit = schedule.hit(stream, now_us)
            if hit is None or copies == 0:
                continue
            late, held, done = _spoilt(rule, hit)
            copies = {"message_drop": 0, "message_duplicate": copies + 1}.get(rule.kind, copies)
            late_us, held_us = late_us + late, held_us + held
            self._happened(schedule, now_us, f"{stream} {event}".strip(), done)
        return self._deliveries(stream, payload, (now_us, late_us, held_us), copies)

    def on_connect(self, path: str, now_us: int) -> bool:
        """Return whether a connection by WebSocket is accepted: not during maintenance nor while a disconnect lasts."""
        self._begin(now_us)
        for schedule in (*self._of("maintenance"), *self._of("disconnect")):
            rule = schedule.rule
            lasting = rule.duration_seconds is not None and schedule.in_force(now_us) is not None
            if lasting and matches(path, rule.streams):
                self._record(now_us, rule.kind, path, "connection refused")
                return False
        return True

    def on_venue(self, now_us: int) -> list[VenueFault]:
        """Return what happens to the exchange itself since the last call up to now, in order of time."""
        self._begin(now_us)
        begun = []
        for schedule in self._of("venue"):
            for period in schedule.due(now_us):
                schedule.happened += 1
                begun.append(
                    VenueFault(
                        time_us=schedule.begin_us(period),
                        until_us=schedule.end_us(period),
                        rule=schedule.rule,
                    )
                )
        begun.sort(key=lambda fault: fault.time_us)
        for fault in begun:
            self._record(fault.time_us, fault.kind, _venue_target(fault.rule), _venue_done(fault))
        return begun

    def is_down(self, now_us: int) -> bool:
        """Return whether there is maintenance."""
        return any(down.in_force(now_us) is not None for down in self._of("maintenance"))

    def drift_us(self, now_us: int) -> int:
        """Return how far the exchange's clock is ahead of the simulated time, microseconds; negative is behind."""
        self._begin(now_us)
        return sum(
            microseconds(schedule.rule.seconds)
            for schedule in self._of("clock_drift")
            if schedule.in_force(now_us) is not None
        )

    def state(self) -> dict[str, Any]:
        """Return rules and counts, not the log, as plain values of which JSON can be made."""
        return {
            "seed": self.scenario.seed,
            "begun": self._is_begun,
            "schedules": [schedule.state() for schedule in self._schedules],
            "due_us": dict(self._due_us),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` returned; what was logged stays logged.

        Raises
        ------
        ConfigError
            If a rule of it is refused.
        """
        seed = int(state["seed"])
        self._schedules, self._met_by = [], {}
        for kept in state["schedules"]:
            self._put(Schedule.of(kept, seed))
        self.scenario = replace(self.scenario, seed=seed)
        self._due_us = {stream: int(at_us) for stream, at_us in state["due_us"].items()}
        self._is_begun = bool(state["begun"])

    def _begin(self, now_us: int) -> None:
        if not self._is_begun:
            self._is_begun = True
            for rule in self.scenario.faults:
                self._add(rule, now_us)

    def _add(self, rule: FaultRule, base_us: int) -> None:
        place = len(self._schedules)
        self._put(Schedule(rule=rule, seed=self.scenario.seed, place=place, base_us=base_us))

    def _put(self, schedule: Schedule) -> None:
        self._schedules.append(schedule)
        for name in (schedule.rule.family, schedule.rule.kind):
            self._met_by.setdefault(name, []).append(schedule)

    def _of(self, name: str) -> list[Schedule]:
        """Return the faults of a family or a kind."""
        return self._met_by.get(name, [])

    def _is_muted(self, schedule: Schedule, stream: str, now_us: int) -> bool:
        period = schedule.in_force(now_us, stream)
        if period is None:
            return False
        if schedule.told.get(stream) != period:
            schedule.told[stream] = period
            self._happened(schedule, now_us, stream, f"mute {_until(schedule.end_us(period))}")
        return True

    def _deliveries(
        self, stream: str, payload: Any, times_us: tuple[int, int, int], copies: int
    ) -> list[Delivery]:
        """Return the copies; what follows a late message is not due before it, what overtakes a held one is."""
        now_us, late_us, held_us = times_us
        if copies == 0:
            return []
        at_us = max(now_us + late_us, self._due_us.get(stream, now_us))
        if at_us > now_us:
            self._due_us[stream] = at_us
        else:
            self._due_us.pop(stream, None)
        return [Delivery(payload, at_us + held_us)] * copies

    def _happened(self, schedule: Schedule, now_us: int, target: str, done: str) -> None:
        schedule.happened += 1
        self._record(now_us, schedule.rule.kind, target, done)

    def _record(self, time_us: int, kind: str, target: str, done: str) -> None:
        self.counts[kind] += 1
        number = self.counts.total()
        self._log.append(
            FaultRecord(number=number, time_us=time_us, kind=kind, target=target, done=done)
        )


def matches(name: str, pattern: str) -> bool:
    """Return whether a name fits a pattern with ``*`` and ``?`` as in a shell, upper and lower case apart.

    Examples
    --------
    >>> matches("btcusdt@kline_1m", "*@kline_*"), matches("BTCUSDT", "btcusdt")
    (True, False)
    """
    return pattern == "*" or _compiled(pattern).match(name) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Pattern[str]:
    return compile(translate(pattern))


def _event(payload: Any) -> str:
    first = payload[0] if isinstance(payload, list | tuple) and payload else payload
    return str(first.get("e", "")) if isinstance(first, Mapping) else ""


def _failed(
    fault: RequestFault, schedule: Schedule, hit: Hit, now_us: int
) -> tuple[RequestFault, str]:
    """Return a request's fate with one more fault, and what was done in words."""
    rule = schedule.rule
    if rule.kind == "latency":
        delay_s = hit.delay_s(rule)
        if rule.stage == "before":
            return replace(fault, delay_s=fault.delay_s + delay_s), f"{delay_s:.3f} s late"
        later_s = fault.answer_delay_s + delay_s
        return replace(fault, answer_delay_s=later_s), f"answered {delay_s:.3f} s late"
    accepted = {
        "unknown_outcome": rule.placed,
        "timeout": rule.stage == "after",
        "connection_drop": rule.stage == "after",
    }.get(rule.kind, False)
    outcome = "carried out" if accepted else "not carried out"
    if rule.kind == "connection_drop":
        return replace(fault, accepted=accepted, drop=True), f"no answer, {outcome}"
    until_us = schedule.end_us(hit.period) if rule.kind == "ban" else None
    if rule.kind == "rate_limit":
        until_us = now_us + microseconds(rule.seconds)
    reply = reply_of(rule.kind, now_us=now_us, until_us=until_us)
    waits_s = rule.seconds if rule.kind == "timeout" else 0.0
    later_s = fault.answer_delay_s + waits_s
    failed = replace(fault, accepted=accepted, reply=reply, answer_delay_s=later_s)
    return failed, f"{reply.status} ({reply.body['code']}), {outcome}"


def _spoilt(rule: FaultRule, hit: Hit) -> tuple[int, int, str]:
    """Return how late a message is with all behind it, how long it alone is held back, microseconds, and words."""
    if rule.kind == "message_drop":
        return 0, 0, "lost"
    if rule.kind == "message_duplicate":
        return 0, 0, "sent twice"
    if rule.kind == "message_delay":
        delay_s = hit.delay_s(rule)
        return microseconds(delay_s), 0, f"{delay_s:.3f} s late, with all behind it"
    return 0, microseconds(rule.seconds), f"held {rule.seconds:g} s, overtaken by others"


def _venue_target(rule: FaultRule) -> str:
    """Return whom a fault of the exchange itself meets."""
    named = {"symbol": rule.symbol, "account": rule.account, "streams": rule.streams}
    read = KINDS[rule.kind].reads
    return " ".join(f"{name} {of}" for name, of in named.items() if name in read) or "exchange"


def _venue_done(fault: VenueFault) -> str:
    rule = fault.rule
    changes = ", ".join(f"{name} {value}" for name, value in rule.changes.items())
    lasts = _until(fault.until_us)
    refused = "" if fault.until_us is None else f", new ones refused {lasts}"
    return {
        "disconnect": f"connections closed{refused}",
        "listen_key_expiry": "listen key expired",
        "clock_drift": f"clock {abs(rule.seconds):g} s {'ahead' if rule.seconds > 0 else 'behind'} {lasts}",
        "stuck_triggering": f"algo orders stay TRIGGERING {lasts}",
        "partial_fill": f"orders fill by {rule.fraction:g} of what is open {lasts}",
        "liquidation": "positions liquidated",
        "adl": "positions deleveraged",
        "delisting": "positions settled, symbol ended",
        "filter_change": changes,
        "maintenance": f"down {lasts}",
        "price_gap": f"price jumps by {100.0 * rule.fraction:+g} %",
    }[rule.kind]


def _until(until_us: int | None) -> str:
    return "for good" if until_us is None else f"until {clock_text(until_us)}"


def clock_text(time_us: int) -> str:
    """Return a time in UTC, to the second, as people read it.

    Examples
    --------
    >>> clock_text(1_704_067_200_000_000)
    '2024-01-01 00:00:00'
    """
    return f"{datetime.fromtimestamp(time_us // 1_000_000, UTC):%Y-%m-%d %H:%M:%S}"
