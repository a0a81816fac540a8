"""Trading does not slow down because somebody looks on, hangs, is flooded or dies: measured on the simulator."""

from __future__ import annotations

import numpy as np
import pytest

from tests.alerts.apart import (
    ALONE,
    MEASURES,
    RUNNING,
    Sample,
    against_alone,
)

PHASE_S = 60.0
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
