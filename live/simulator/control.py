"""The control port: move the clock, look into the ledger, break something now, go back; and a page to watch it on."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

from live.simulator.faults import Faults, matches
from live.simulator.kept import Kept, restore, state_of
from live.simulator.page import body, page
from live.simulator.scenario import rule_of
from live.simulator.view import View, view_of
from live.simulator.wire import milliseconds
from quantcore.errors import QuantcoreError

if TYPE_CHECKING:
    from live.simulator.market import Tape

SNAPSHOTS = 16
"""Snapshots that are kept, the latest; they stay in the process, because a ledger is restored by pickle."""
RECORDS = 1_000
"""Records of the log in one answer."""
SYMBOL = "BTCUSDT"
"""Whose book the page shows at first, if the market has it."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"


class Ledger(Protocol):
    """What the control port needs of the venue."""

    def ledger(self) -> dict[str, Any]:
        """Return the books of all accounts."""

    def snapshot(self) -> bytes:
        """Return everything that changes."""

    def restore(self, raw: bytes) -> None:
        """Take a snapshot back."""


@dataclass(frozen=True, kw_only=True)
class Controls:
    """What the control port moves.

    Parameters
    ----------
    venue : Ledger
        The venue.
    tape : Tape
        Its market.
    faults : Faults
        What goes wrong.
    lock_step : bool
        Whether the clock is the driver's.
    clock : str
        How time passes, in words, such as ``"60 × real time"``.
    now_us : callable
        Brings the venue to the present, applies the faults due until then, and returns the simulated time.
    advance : callable
        Moves the clock to a simulated time, in lock-step alone: the venue, the faults and the streams.
    restored : callable
        Told after a restore, with the simulated time that it is again.
    kept : mapping of Kept
        What a snapshot holds beside the ledger, by name; the faults among it.
    """

    venue: Ledger
    tape: Tape
    faults: Faults
    lock_step: bool
    clock: str
    now_us: Callable[[], int]
    advance: Callable[[int], Awaitable[None]]
    restored: Callable[[int], Awaitable[None]]
    kept: Mapping[str, Kept]
    snapshots: dict[str, tuple[int, bytes, str]] = field(default_factory=dict)


class Bad(Exception):
    """A request that the control port refuses, in one line."""


def control_app(controls: Controls) -> web.Application:
    """Return the application of the control port.

    ========================  =========================================================================
    POST /advance             in lock-step ``{"bars": n}`` or ``{"to": milliseconds}``
    GET /time                 simulated time, span and clock
    GET /ledger               books of all accounts
    POST /fault               a `FaultRule` that counts from now
    GET /faults?since=n       the faults at work, and the log's records after number n
    POST /snapshot, /restore  ``{"name": text}`` of ledger, faults, listen keys and limits, in memory
    GET /                     the page; ``?symbol=`` chooses the book
    ========================  =========================================================================

    What is refused is answered with status 400 and ``{"error": one line}``.
    """
    app = web.Application(middlewares=[_refusals])
    parts = _Control(controls)
    app.add_routes(
        [
            web.post("/advance", parts.advance),
            web.get("/time", parts.time),
            web.get("/ledger", parts.ledger),
            web.post("/fault", parts.fault),
            web.get("/faults", parts.faults),
            web.post("/snapshot", parts.snapshot),
            web.post("/restore", parts.restore),
            web.get("/", parts.page),
        ]
    )
    return app


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what other web pages send to this port, and put every refusal in one form."""
    try:
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != request.host:
            raise web.HTTPForbidden(reason="a page of another origin may not use this port")
        return await handler(request)
    except (Bad, QuantcoreError) as error:
        return web.json_response({"error": str(error)}, status=400)
    except web.HTTPException as error:
        return web.json_response({"error": error.reason}, status=error.status)


@dataclass(frozen=True)
class _Control:
    """The routes."""

    of: Controls

    async def advance(self, request: web.Request) -> web.Response:
        asked = await _mapping(request)
        if not self.of.lock_step:
            raise Bad(f"advance must be asked in lock-step, the clock was {self.of.clock}")
        if len(asked) != 1 or not asked.keys() <= {"bars", "to"}:
            raise Bad(
                f'body must be {{"bars": n}} or {{"to": milliseconds}}, was {json.dumps(asked)}'
            )
        now_us, tape = self.of.now_us(), self.of.tape
        if "bars" in asked:
            to_us = now_us + _whole(asked, "bars", 1, 10_000_000) * tape.bar_us
        else:
            to_us = 1000 * _whole(asked, "to", milliseconds(now_us), milliseconds(tape.end_us))
        await self.of.advance(min(to_us, tape.end_us))
        return self._time()

    async def time(self, request: web.Request) -> web.Response:
        return self._time()

    async def ledger(self, request: web.Request) -> web.Response:
        self.of.now_us()
        return web.json_response(_finite(self.of.venue.ledger()))

    async def fault(self, request: web.Request) -> web.Response:
        rule = rule_of(await _mapping(request))
        symbols = self.of.tape.symbols
        if not any(matches(symbol, rule.symbol) for symbol in symbols):
            raise Bad(f"symbol must be or match one of {', '.join(symbols)}, was {rule.symbol}")
        self.of.faults.inject(rule, self.of.now_us())
        now_us = self.of.now_us()
        return web.json_response({"time": milliseconds(now_us), "fault": rule.plain()})

    async def faults(self, request: web.Request) -> web.Response:
        faults = self.of.faults
        since = _since(request.query.get("since", "0"))
        self.of.now_us()
        records = [asdict(record) for record in faults.log if record.number > since]
        for record in records:
            record["time"] = milliseconds(record.pop("time_us"))
        return web.json_response(
            {
                "faults": [s.rule.plain() | {"happened": s.happened} for s in faults.schedules],
                "counts": dict(faults.counts),
                "log": records[:RECORDS],
                "more": max(len(records) - RECORDS, 0),
            }
        )

    async def snapshot(self, request: web.Request) -> web.Response:
        name = _name(await _mapping(request))
        now_us = self.of.now_us()
        raw, state = self.of.venue.snapshot(), json.dumps(state_of(self.of.kept))
        kept = self.of.snapshots
        kept.pop(name, None)
        kept[name] = (now_us, raw, state)
        while len(kept) > SNAPSHOTS:
            del kept[next(iter(kept))]
        return web.json_response({"name": name, "time": milliseconds(now_us), "bytes": len(raw)})

    async def restore(self, request: web.Request) -> web.Response:
        name = _name(await _mapping(request))
        if name not in self.of.snapshots:
            raise Bad(
                f"name must be one of {', '.join(self.of.snapshots) or 'none yet'}, was {name}"
            )
        now_us, raw, state = self.of.snapshots[name]
        self.of.venue.restore(raw)
        restore(self.of.kept, json.loads(state))
        await self.of.restored(now_us)
        return self._time()

    async def page(self, request: web.Request) -> web.Response:
        view = self._view(request.query.get("symbol", SYMBOL))
        part = request.query.get("part") == "body"
        return web.Response(
            text=body(view) if part else page(view),
            content_type="text/html",
            headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"},
        )

    def _time(self) -> web.Response:
        tape = self.of.tape
        return web.json_response(
            {
                "time": milliseconds(self.of.now_us()),
                "start": milliseconds(tape.first_us),
                "end": milliseconds(tape.end_us),
                "bar": milliseconds(tape.bar_us),
                "clock": self.of.clock,
            }
        )

    def _view(self, symbol: str) -> View:
        now_us = self.of.now_us()
        return view_of(
            self.of.tape,
            self.of.venue.ledger(),
            self.of.faults,
            now_us=now_us,
            symbol=symbol,
            clock=self.of.clock,
            lock_step=self.of.lock_step,
        )


def _finite(value: Any) -> Any:
    """Return plain values with null where a number is missing: JSON has no word for NaN."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


async def _mapping(request: web.Request) -> dict[str, Any]:
    raw = await request.read()
    try:
        asked = json.loads(raw or b"{}")
    except (ValueError, RecursionError) as error:
        raise Bad(f"body must be JSON, was not: {error}") from error
    if not isinstance(asked, dict):
        raise Bad(f"body must be a mapping, was {json.dumps(asked)[:100]}")
    return asked


def _whole(asked: dict[str, Any], name: str, least: int, most: int) -> int:
    value = asked[name]
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        raise Bad(
            f"{name} must be a whole number in [{least}, {most}], was {json.dumps(value)[:100]}"
        )
    return int(value)


def _since(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise Bad(f"since must be a whole number, was {value[:100]}")
    return int(value)


def _name(asked: dict[str, Any]) -> str:
    name = asked.get("name", "last")
    if asked.keys() - {"name"} or not isinstance(name, str) or not 0 < len(name) <= 100:
        raise Bad(f'body must be {{"name": text}}, was {json.dumps(asked)[:100]}')
    return name
