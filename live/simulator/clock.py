"""The exchange's time: real, so many times faster, or moved by a driver alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

REAL: Final = "real"
ACCELERATED: Final = "accelerated"
LOCK_STEP: Final = "lock_step"
MILLISECOND_US = 1000
MODES = (REAL, ACCELERATED, LOCK_STEP)


@dataclass(frozen=True, kw_only=True)
class SimulatedClock:
    """What time it is on the exchange when so many seconds have passed on the wall.

    Parameters
    ----------
    mode : str
        One of `MODES`. In lock-step time stands still until `moved_to` gives another.
    speed : float
        Simulated seconds per second on the wall, > 0; 1 unless accelerated.
    start_us : int
        Simulated time at `origin_s`, microseconds of UTC.
    end_us : int
        Where the market ends; time stops there.
    origin_s : float
        The wall's clock at `start_us`, seconds of any monotonic clock.

    Raises
    ------
    ValueError
        If an option is out of its range.
    """

    mode: str
    speed: float
    start_us: int
    end_us: int
    origin_s: float

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"clock must be one of {', '.join(MODES)}, was {self.mode}")
        if not 0.0 < self.speed < math.inf:
            raise ValueError(f"speed must be > 0 and finite, was {self.speed}")
        if self.mode != ACCELERATED and self.speed != 1.0:
            raise ValueError(f"speed must be 1 unless clock=accelerated, was {self.speed}")
        if self.start_us > self.end_us:
            raise ValueError(f"start_us must be <= end_us, was {self.start_us} > {self.end_us}")

    @property
    def runs(self) -> bool:
        """Whether time passes by itself."""
        return self.mode != LOCK_STEP

    def now_us(self, wall_s: float) -> int:
        """Return the simulated time, which never runs back and stops at the end of the market.

        It goes in whole milliseconds from the start, as the exchange shows it: requests of the same one move nothing.
        """
        if not self.runs:
            return self.start_us
        passed = max(wall_s - self.origin_s, 0.0) * self.speed
        # Compared before it is made whole: an absurd speed must not overflow.
        passed_us = int(min(passed * 1e6, self.end_us - self.start_us))
        return self.start_us + passed_us // MILLISECOND_US * MILLISECOND_US

    def moved_to(self, now_us: int, wall_s: float) -> SimulatedClock:
        """Return the clock that shows `now_us` when the wall's shows `wall_s`."""
        return replace(self, start_us=min(now_us, self.end_us), origin_s=wall_s)

    def wall_seconds(self, span_us: int) -> float:
        """Return how long a simulated span takes on the wall; a driver's time is taken for real."""
        return span_us / 1e6 / self.speed
