"""The exchange's time, kept by a monotonic clock from what the exchange's own host says."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

MILLISECOND_US = 1000
_SECOND_US = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One look at the exchange's clock.

    Parameters
    ----------
    sent_s, received_s : float
        Of request and answer, on the monotonic clock.
    server_ms : int
        What the exchange said in between.
    """

    sent_s: float
    received_s: float
    server_ms: int

    @property
    def round_trip_s(self) -> float:
        """How long it took: the error is at most half of it."""
        return self.received_s - self.sent_s

    @property
    def middle_s(self) -> float:
        """When the exchange is taken to have looked at its clock."""
        return 0.5 * (self.sent_s + self.received_s)


class ExchangeClock:
    """The exchange's time between two measurements.

    Parameters
    ----------
    speed : float
        Seconds of the exchange per second here: 1 but for a simulated exchange; 0 where a driver moves its clock, which
        then shows what it was last heard to be.
    monotonic_s : callable
        Seconds of a clock that never jumps.
    wall_s : callable
        Seconds since 1970 of this machine.

    Raises
    ------
    ValueError
        If `speed` is negative or not finite.
    """

    def __init__(
        self,
        *,
        speed: float = 1.0,
        monotonic_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        if not 0.0 <= speed < math.inf:
            raise ValueError(f"speed must be >= 0 and finite, was {speed}")
        self.speed = speed
        self.monotonic_s = monotonic_s
        self.wall_s = wall_s
        self.error_us = 0
        """How far off the last measurement may be: half its round trip."""
        self.jump_us = 0
        """By how much the last measurement moved the clock: > 0 forwards."""
        self._origin_s = 0.0
        self._origin_us = 0

    @property
    def runs(self) -> bool:
        """Whether time passes by itself."""
        return self.speed > 0.0

    @property
    def is_set(self) -> bool:
        """Whether it was ever measured."""
        return self._origin_us > 0

    def now_us(self) -> int:
        """Return the exchange's time, microseconds since 1970; 0 before the first measurement."""
        return self._at_us(self.monotonic_s()) if self.is_set else 0

    def wall_offset_ms(self) -> float:
        """Return what is added to this machine's ``time.time()`` to have the exchange's, milliseconds."""
        return self.now_us() / MILLISECOND_US - self.wall_s() * 1000.0

    def wall_seconds(self, span_us: int) -> float:
        """Return how long a span of the exchange takes here; a clock that stands is taken for real."""
        return span_us / _SECOND_US / (self.speed if self.runs else 1.0)

    def heard(self, time_us: int) -> None:
        """Move a clock that stands forwards to a stamp of the exchange; one that runs is left alone."""
        if not self.runs and time_us > self._origin_us:
            self._origin_us = time_us

    def set_by(self, found: Measurement) -> None:
        """Take the time from a measurement, half its round trip ago."""
        server_us = found.server_ms * MILLISECOND_US
        self.jump_us = server_us - self._at_us(found.middle_s) if self.is_set else 0
        self.error_us = int(0.5 * found.round_trip_s * self.speed * _SECOND_US)
        self._origin_s, self._origin_us = found.middle_s, server_us

    async def measure(self, ask_ms: Callable[[], Awaitable[int]], *, samples: int) -> Measurement:
        """Ask the exchange several times and take the time from the quickest answer.

        Parameters
        ----------
        ask_ms : callable
            Returns the exchange's time, milliseconds.
        samples : int
            How often, >= 1.
        """
        found = []
        for _ in range(samples):
            sent_s = self.monotonic_s()
            server_ms = await ask_ms()
            received_s = self.monotonic_s()
            found.append(Measurement(sent_s=sent_s, received_s=received_s, server_ms=server_ms))
        best = min(found, key=lambda each: each.round_trip_s)
        self.set_by(best)
        return best

    def _at_us(self, monotonic_s: float) -> int:
        return self._origin_us + int((monotonic_s - self._origin_s) * self.speed * _SECOND_US)


def monotonic_us() -> int:
    """Return microseconds of a clock that never goes back, for what is measured on this machine."""
    return time.monotonic_ns() // 1000
