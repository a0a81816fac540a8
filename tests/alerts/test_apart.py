"""Trading does not slow down because somebody looks on, hangs, is flooded or dies: measured on the simulator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.alerts.apart import (
    ALONE,
    HUNG,
    KILLED,
    MEASURES,
    PHASES,
    RUNNING,
    SENT,
    Sample,
    against_alone,
    measured,
)

PHASE_S = 40.0
ROUNDS = 3
NO_MORE_MS = 5.0
"""By which a median may be worse beyond doubt."""
MOST_MS = 50.0
"""Of 99 % of each latency, in each phase: what a closed bar has until its orders are sent."""
BOUND_MB = 1.1 * 8_000 * 4_096 / 1e6
"""Of a write-ahead log that nobody holds: where SQLite tidies it up."""
pytestmark = pytest.mark.filterwarnings(
    "ignore:'imghdr' is deprecated:DeprecationWarning"  # Apprise imports it for mail
)


def phases(rng: np.random.Generator, *, slower_ms: float) -> dict[str, dict[str, Sample]]:
    found = {}
    for phase, more_ms in ((ALONE, 0.0), (RUNNING, slower_ms)):
        sample = Sample()
        sample.add([(1e3 * (10.0 + more_ms + rng.exponential()), step // 4) for step in range(400)])
        found[phase] = {MEASURES[0]: sample}
    return found


@pytest.mark.parametrize(("slower_ms", "is_seen"), [(0.0, False), (0.5, True)])
def test_a_band_tells_what_is_slower_from_what_is_not(
    rng: np.random.Generator, slower_ms: float, is_seen: bool
) -> None:
    samples = phases(rng, slower_ms=slower_ms)
    median, far = against_alone(samples, RUNNING, MEASURES[0], rng)
    assert median.low < slower_ms < median.high
    assert (median.low > 0.0) is is_seen
    assert far.high - far.low > median.high - median.low


@pytest.mark.slow
@pytest.mark.integration
def test_the_loop_is_as_quick_whatever_becomes_of_those_who_look_on(
    tmp_path: Path,
    root: Path,
    rng: np.random.Generator,
    record_property: Callable[[str, object], None],
) -> None:
    run = measured(tmp_path, root, phase_s=PHASE_S, rounds=ROUNDS)
    record_property("write-ahead log", run.wal_mb)
    for measure in MEASURES:
        for phase in PHASES[1:]:
            median, far = against_alone(run.samples, phase, measure, rng)
            p50, p99 = run.samples[phase][measure].quantiles().tolist()
            figures = f"{measure}, {phase}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, {median}, {far}"
            record_property("latency", figures)
            assert median.low <= NO_MORE_MS, figures
            assert p99 <= MOST_MS, figures
    assert run.samples[KILLED][SENT].ms, "the loop must trade on"
    assert run.wal_mb[KILLED] <= BOUND_MB + run.wal_mb[HUNG]
