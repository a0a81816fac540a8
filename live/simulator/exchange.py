"""One running exchange: venue, faults and streams moved by one clock."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Protocol

from live.simulator.clock import SimulatedClock
from live.simulator.kept import Kept, restore, state_of
from quantcore.errors import ConfigError

PUMP_SECONDS = 0.02
"""On the wall, between two moves of the venue while nobody asks for anything."""
_PAUSE_SECONDS = 1.0

_LOG = logging.getLogger("live.simulator")


class MovedVenue(Protocol):
    """What the clock moves (`venue.Venue`)."""

    now_us: int

    @property
    def accounts(self) -> Mapping[str, Any]:
        """By API key."""
        ...

    def advance(self, to_us: int) -> None:
        """Move to a later time."""
        ...

    def snapshot(self) -> bytes:
        """Return everything that changes."""
        ...

    def restore(self, raw: bytes) -> None:
        """Take a snapshot back."""
        ...


class FaultSchedule(Protocol):
    """What goes wrong with the exchange itself (`faults.Faults`)."""

    def on_venue(self, now_us: int) -> Sequence[Any]:
        """Return what has happened since the last call."""
        ...


class Delivery(Protocol):
    """What carries messages (`streams.Streams`)."""

    async def deliver(self, from_us: int, to_us: int) -> None:
        """Send what is due in (from, to]."""
        ...

    def disconnect(self, pattern: str) -> int:
        """Cut the connections whose path matches."""
        ...


class KeyExpiry(Protocol):
    """The listen keys (`listen_keys.ListenKeys`)."""

    def cut(self, account: str, now_us: int) -> None:
        """Let an account's key run out."""
        ...


class Exchange:
    """Moves the venue and delivers what happens on it, in order and each once.

    Parameters
    ----------
    venue, faults, streams, keys
        Its parts.
    clock : SimulatedClock
        Its time.
    bar_us : int
        Length of a bar, by which a driver moves it in lock-step.
    wall : callable
        Seconds of the clock that `clock` was made for.
    suffer : callable
        Lets a fault happen to the venue that concerns orders, positions, prices or rules (`mishaps.suffer`).
    kept : mapping of Kept
        What a snapshot holds beside the ledger, by name.
    """

    def __init__(
        self,
        venue: MovedVenue,
        faults: FaultSchedule,
        streams: Delivery,
        keys: KeyExpiry,
        *,
        clock: SimulatedClock,
        bar_us: int,
        wall: Callable[[], float],
        suffer: Callable[[Any], None],
        kept: Mapping[str, Kept],
    ) -> None:
        self.venue = venue
        self.faults = faults
        self.streams = streams
        self.keys = keys
        self.clock = clock
        self.bar_us = bar_us
        self.wall = wall
        self.suffer = suffer
        self.kept = kept
        self._delivered_us = venue.now_us
        self._owed = False  # whether an answer has set off what is not delivered yet
        self._changed = asyncio.Event()
        self._delivering = asyncio.Lock()

    def present(self) -> int:
        """Bring the venue to the present, and return that; in lock-step nothing moves."""
        self._move(self.clock.now_us(self.wall()) if self.clock.runs else self.venue.now_us)
        return self.venue.now_us

    def answered(self) -> None:
        """Let what a request set off be delivered as soon as it has been answered."""
        self._owed = True
        self._changed.set()

    async def advance(self, to_us: int) -> None:
        """Move the venue bar by bar up to a time, and deliver each bar's messages: the driver's part in lock-step."""
        async with self._delivering:
            if self._owed:  # at the time at which it happened, however soon the driver goes on
                await self._deliver()
            while self.venue.now_us + self.bar_us <= to_us:
                before_us = self.venue.now_us
                self._move(before_us + self.bar_us)
                if self.venue.now_us == before_us:
                    return
                self.clock = self.clock.moved_to(self.venue.now_us, self.wall())
                await self._deliver()

    async def deliver(self) -> None:
        """Send what is due up to the venue's time."""
        async with self._delivering:
            await self._deliver()

    async def restored(self, now_us: int) -> None:
        """Go on from the time to which the venue has been set back."""
        async with self._delivering:
            self.clock = self.clock.moved_to(now_us, self.wall())
            self._delivered_us = now_us

    async def pump(self) -> None:
        """Move and deliver for ever; a failure is logged and does not end it."""
        while True:
            try:
                async with asyncio.timeout(PUMP_SECONDS if self.clock.runs else None):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                self.present()
                await self.deliver()
            except Exception:  # what one client set off must not stop the others' exchange
                _LOG.exception("moving the exchange failed")
                await asyncio.sleep(_PAUSE_SECONDS)

    def snapshot(self, of: str) -> bytes:
        """Return ledger, time and what is kept beside them as the content of a file.

        Parameters
        ----------
        of : str
            What tells apart the market, account and clock that it belongs to.
        """
        raw = self.venue.snapshot()
        head = {"of": of, "sha256": sha256(raw).hexdigest(), "kept": state_of(self.kept)}
        return json.dumps(head).encode() + b"\n" + raw

    def resume(self, content: bytes, of: str) -> None:
        """Go on from a snapshot before anything has been served.

        Raises
        ------
        ConfigError
            If it is damaged, or does not belong here.
        """
        line, _, raw = content.partition(b"\n")
        try:
            head = json.loads(line)
            belongs, digest = head["of"], head["sha256"]
            kept = {name: head["kept"][name] for name in self.kept}
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError("snapshot_file must hold a whole snapshot, did not") from error
        if digest != sha256(raw).hexdigest():
            raise ConfigError("snapshot_file must hold a whole snapshot, did not")
        if belongs != of:
            raise ConfigError(
                f"snapshot_file must be of the same market, seed and clock ({of}), was of {belongs}"
            )
        self.venue.restore(raw)
        restore(self.kept, kept)
        self._delivered_us = self.venue.now_us
        self.clock = self.clock.moved_to(self.venue.now_us, self.wall())

    async def _deliver(self) -> None:
        self._owed = False
        from_us, to_us = self._delivered_us, self.venue.now_us
        self._delivered_us = to_us  # before it is sent: what fails half-way is not sent twice
        await self.streams.deliver(from_us, to_us)

    def _move(self, to_us: int) -> None:
        if to_us > self.venue.now_us:
            self.venue.advance(to_us)
        for fault in self.faults.on_venue(self.venue.now_us):
            self._suffer(fault)

    def _suffer(self, fault: Any) -> None:
        if fault.kind in ("disconnect", "maintenance"):
            self.streams.disconnect(fault.rule.streams)
        if fault.kind == "listen_key_expiry":
            for account in self.venue.accounts:
                if fault.meets(account=account):
                    self.keys.cut(account, self.venue.now_us)
        elif fault.kind not in ("clock_drift", "disconnect"):  # of the drift the gate asks itself
            try:
                self.suffer(fault)
            except ValueError as error:
                _LOG.error("fault %s could not happen: %s", fault.kind, error)
        self._changed.set()
