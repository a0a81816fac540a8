"""The simulator's process: puts the exchange together, serves it, keeps its snapshots, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from live.simulator.clock import ACCELERATED, LOCK_STEP, SimulatedClock
from live.simulator.exchange import Exchange
from live.simulator.gate import Gate, Parts
from live.simulator.limits import Limits, LimitSettings
from live.simulator.listener import Listener, listen
from live.simulator.rest import BODY_MAX, add_rest, carried_out
from live.simulator.security import Request
from live.simulator.state_file import (
    RunningExchange,
    find_running,
    remove_state,
    write_state,
    write_whole,
)
from live.simulator.wire import Refused
from quantcore.data.sources import MarketData
from quantcore.errors import ConfigError
from quantcore.execution.settings import ExecutionSettings
from quantcore.timegrid import interval_us, to_us

if TYPE_CHECKING:
    from live.simulator.market import Tape
    from live.simulator.recordings import Recording
    from live.simulator.scenario import Scenario
    from live.simulator.ws_api import Call

HISTORY_BARS = 1000
"""Bars that clients find before the start, where none is set and there are twice as many."""
_WATCH_SECONDS = 0.25

_LOG = logging.getLogger("live.simulator")


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How the simulator is run; ``conf/simulator.yaml`` says what each setting is.

    Raises
    ------
    ValueError
        If one is out of its range.
    """

    host: str
    port: int
    control_port: int
    clock: str
    speed: float
    start: str | None
    seed: int
    capital: float
    limits: LimitSettings
    legacy: str
    state_file: str
    snapshot_file: str | None
    snapshot_seconds: float
    idle_seconds: float | None

    def __post_init__(self) -> None:
        for name in ("port", "control_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise ValueError(f"{name} must be in [0, 65535], was {getattr(self, name)}")
        for name in ("capital", "snapshot_seconds"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be > 0, was {getattr(self, name)}")
        if self.idle_seconds is not None and not self.idle_seconds > 0.0:
            raise ValueError(f"idle_seconds must be > 0 or null, was {self.idle_seconds}")
        if not self.state_file:
            raise ValueError("state_file must name a file, was empty")
        if self.start is not None:
            to_us(self.start)
        self.clock_from(0, 0, 0.0)

    def clock_from(self, start_us: int, end_us: int, wall_s: float) -> SimulatedClock:
        """Return the clock that starts now."""
        return SimulatedClock(
            mode=self.clock, speed=self.speed, start_us=start_us, end_us=end_us, origin_s=wall_s
        )

    @property
    def lock_step(self) -> bool:
        """Whether a driver moves the clock."""
        return self.clock == LOCK_STEP

    @property
    def clock_words(self) -> str:
        """The clock as people read it."""
        if self.clock == ACCELERATED:
            return f"{self.speed:g} × real time"
        return "lock-step" if self.lock_step else "real time"

    def credentials(self) -> tuple[str, str]:
        """Return API key and secret, which follow from the seed: a restarted exchange has the same."""
        key, secret = (
            hashlib.sha256(f"simulator {self.seed} {what}".encode()).hexdigest()
            for what in ("key", "secret")
        )
        return key, secret


@dataclass(frozen=True, kw_only=True)
class Composition:
    """An exchange with what serves it.

    Parameters
    ----------
    exchange : Exchange
        What moves.
    app, control : web.Application
        REST with the streams, and the control port.
    identity : str
        What tells apart the market, account and clock that a snapshot belongs to.
    """

    exchange: Exchange
    app: web.Application
    control: web.Application
    identity: str


def compose(
    settings: ServerSettings,
    data: MarketData | Recording,
    execution: ExecutionSettings,
    scenario: Scenario,
    wall: Callable[[], float],
    *,
    missing_funding_rate: float = 0.0,
) -> Composition:
    """Put an exchange together, which opens one account; within a running event loop.

    `missing_funding_rate` is what `VenueSettings` says of it.

    Raises
    ------
    ConfigError
        If the start lies outside the data, or a part refuses its settings.
    """
    from live.simulator.connection import StreamSettings
    from live.simulator.control import Controls, control_app
    from live.simulator.engine import VenueSettings
    from live.simulator.faults import Faults
    from live.simulator.listen_keys import ListenKeys
    from live.simulator.mishaps import suffer
    from live.simulator.streams import Api, Streams
    from live.simulator.ticker_streams import opened
    from live.simulator.venue import Venue

    tape = market_of(data, settings, execution.half_spread_bps)
    venue = Venue(
        tape,
        VenueSettings(
            lock_step=settings.lock_step,
            half_spread_bps=execution.half_spread_bps,
            slippage_bps=execution.slippage_bps,
            maker_fee=execution.maker_fee,
            taker_fee=execution.taker_fee,
            resting=execution.resting,
            missing_funding_rate=missing_funding_rate,
        ),
    )
    venue.open_account(*settings.credentials(), settings.capital)
    faults = Faults(scenario, venue.now_us)
    keys = ListenKeys(settings.seed, age=not settings.lock_step)
    limits = Limits(settings.limits, enforced=not settings.lock_step)
    api = _Api()
    streams = Streams(
        venue,
        partial(opened, tape),
        keys,
        StreamSettings(legacy=settings.legacy),
        api=Api(api.perform, api.limits),
        faults=faults,
    )
    exchange = Exchange(
        venue,
        faults,
        streams,
        keys,
        clock=settings.clock_from(venue.now_us, max(tape.end_us, venue.now_us), wall()),
        bar_us=tape.bar_us,
        wall=wall,
        suffer=partial(suffer, venue),
        kept={"faults": faults, "listen_keys": keys, "limits": limits},
    )
    api.gate = gate = Gate(
        Parts(
            venue=venue,
            public=_public(tape, venue, faults.drift_us),
            listen_keys=keys.handle,
            advance=exchange.present,
            server_us=lambda now_us: now_us + faults.drift_us(now_us),
            answered=exchange.answered,
            limits=limits,
            wall_seconds=lambda span_us: exchange.clock.wall_seconds(span_us),
        )
    )
    api.on_request = faults.on_request
    app = web.Application(client_max_size=BODY_MAX)
    streams.add_routes(app)
    add_rest(app, gate, faults.on_request)
    control = control_app(
        Controls(
            venue=venue,
            tape=tape,
            faults=faults,
            lock_step=settings.lock_step,
            clock=settings.clock_words,
            now_us=exchange.present,
            advance=exchange.advance,
            restored=exchange.restored,
            kept=exchange.kept,
        )
    )
    return Composition(
        exchange=exchange, app=app, control=control, identity=identity_of(tape, settings)
    )


def market_of(
    data: MarketData | Recording, settings: ServerSettings, half_spread_bps: float
) -> Tape:
    """Return the market that is replayed: of bars, or of a recording, in lock-step by the bars of its prints.

    Raises
    ------
    ConfigError
        If the start lies outside the data.
    DataGap
        If a recording cannot be replayed.
    """
    from live.simulator.bar_tape import replay
    from live.simulator.recorded_bars import whole_bars
    from live.simulator.recorded_tape import recorded_tape

    if isinstance(data, MarketData):
        return replay(started(data, settings.start), half_spread_bps=half_spread_bps)
    start_us = None if settings.start is None or settings.lock_step else to_us(settings.start)
    tape = recorded_tape(data, start_us=start_us, half_spread_bps=half_spread_bps)
    for note in tape.notes:
        _LOG.info("%s", note)
    if not settings.lock_step:
        return tape
    bars = started(whole_bars(tape.bars, tape.notes), settings.start)
    return replay(bars, half_spread_bps=half_spread_bps, instruments=tape.instruments)


class _Api:
    """Requests over the WebSocket API, by the same gate and faults as REST."""

    gate: Gate
    on_request: Any

    async def perform(self, call: Call, address: str) -> Any:
        sent = Request(call.params, call.payload)
        answer = await carried_out(
            self.gate, self.on_request, call.name, sent, key=call.key, address=address
        )
        if answer is None:
            raise Refused(
                -1001, "Internal error; unable to process your request. Please try again."
            )
        if answer.status != 200:
            raise Refused(int(answer.body["code"]), str(answer.body["msg"]), answer.status)
        return answer.body

    def limits(self, call: Call | None, address: str) -> list[dict[str, Any]]:
        return self.gate.parts.limits.counts(
            address, None if call is None else call.key, self.gate.parts.advance()
        )


def _public(
    tape: Tape, venue: Any, drift_us: Callable[[int], int]
) -> Callable[[str, int, Mapping[str, str]], Any]:
    from live.simulator.public import answer

    def public(name: str, now_us: int, params: Mapping[str, str]) -> Any:
        shown_us = now_us + drift_us(now_us) if name.endswith("/time") else now_us
        return answer(name, tape, shown_us, params, instruments=venue.instruments)

    return public


def started(data: MarketData, start: str | None) -> MarketData:
    """Return the data with the start of the replay at the open of a bar.

    Without a start it is that of the data, or else after `HISTORY_BARS` bars, or half of them all.

    Raises
    ------
    ConfigError
        If it lies outside the bars.
    """
    bars = data.bars
    bar_us = interval_us(bars.interval)
    first_us, end_us = int(bars.ts_us[0]) - bar_us, int(bars.ts_us[-1])
    if start is None and data.start_us is None:
        at_us = first_us + min(HISTORY_BARS, bars.n_bars // 2) * bar_us
    else:
        at_us = to_us(start) if start is not None else int(data.start_us or 0)
        if start is not None and not first_us <= at_us < end_us:
            raise ConfigError(
                f"start must lie within the bars, from {bars.index[0]} to {bars.index[-1]}, was {start}"
            )
        at_us = max(at_us - (at_us - first_us) % bar_us, first_us)
    return replace(data, start_us=at_us)


def identity_of(tape: Tape, settings: ServerSettings) -> str:
    """Return what tells apart market (span, grid and closes), account and clock, as 16 hexadecimal digits."""
    bars = tape.bars
    parts = (bars.symbols, bars.interval, tape.end_us, settings.seed, settings.lock_step)
    digest = hashlib.sha256(repr(parts).encode())
    digest.update(bars.array("close").tobytes())
    return digest.hexdigest()[:16]


async def serve(
    settings: ServerSettings,
    build: Callable[[Callable[[], float]], Composition],
    ready: Callable[[RunningExchange], None],
) -> None:
    """Serve an exchange until it is told to end, or nobody has been there for `idle_seconds`.

    Parameters
    ----------
    settings : ServerSettings
        How.
    build : callable
        Makes the exchange from the wall's clock.
    ready : callable
        Called once, when it answers.

    Raises
    ------
    ConfigError
        If a port is taken, the state file belongs to an exchange that runs, or a file cannot be read or written.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    path = Path(settings.state_file)
    other = find_running(path)
    if other is not None:
        raise ConfigError(
            f"state_file must be of no running simulator, was of process {other.pid} at {other.rest}: {path}"
        )
    made = build(loop.time)
    _resume(settings, made)
    async with contextlib.AsyncExitStack() as stack:
        rest = await listen(made.app, host=settings.host, port=settings.port)
        stack.push_async_callback(rest.close)
        control = await listen(
            made.control, host=settings.host, port=settings.control_port, key="control_port"
        )
        stack.push_async_callback(control.close)
        running = _running(settings, rest, control)
        write_state(path, running)
        stack.callback(remove_state, path, running)
        pump = asyncio.create_task(made.exchange.pump())
        stack.callback(pump.cancel)
        ready(running)
        _LOG.info("%s, %s, process %d", running.rest, settings.clock_words, running.pid)
        await _watch(settings, made, (rest, control), ended)
        _save(settings, made)


def _running(settings: ServerSettings, rest: Listener, control: Listener) -> RunningExchange:
    key, secret = settings.credentials()
    return RunningExchange(
        pid=os.getpid(),
        rest=f"http://{rest.address}",
        ws=f"ws://{rest.address}",
        control=f"http://{control.address}",
        api_key=key,
        api_secret=secret,
    )


async def _watch(
    settings: ServerSettings,
    made: Composition,
    listeners: tuple[Listener, ...],
    ended: asyncio.Event,
) -> None:
    """Keep snapshots until the end, which comes by a signal or for want of clients."""
    loop = asyncio.get_running_loop()
    saved_s = busy_s = loop.time()
    seen: list[int] = []
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WATCH_SECONDS):
                await ended.wait()
        now_s = loop.time()
        activity = [listener.activity for listener in listeners]
        served = [requests for _, requests in activity]
        if any(clients for clients, _ in activity) or served != seen:
            seen, busy_s = served, now_s
        if settings.idle_seconds is not None and now_s - busy_s > settings.idle_seconds:
            _LOG.info("nobody for %g s", settings.idle_seconds)
            return
        if now_s - saved_s > settings.snapshot_seconds:
            saved_s = now_s
            _save(settings, made)


def _resume(settings: ServerSettings, made: Composition) -> None:
    path = None if settings.snapshot_file is None else Path(settings.snapshot_file)
    if path is None or not path.exists():
        return
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"snapshot_file must be readable, was {path}: {error.strerror}"
        ) from error
    made.exchange.resume(content, made.identity)
    _LOG.info("goes on from %s", path)


def _save(settings: ServerSettings, made: Composition) -> None:
    if settings.snapshot_file is None:
        return
    try:
        write_whole(Path(settings.snapshot_file), made.exchange.snapshot(made.identity))
    except OSError as error:  # a full disk must not end the exchange
        _LOG.error("snapshot_file could not be written: %s", error)
