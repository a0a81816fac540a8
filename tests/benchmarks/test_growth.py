"""Time grows no faster than bars and sets do, and memory not at all with sets."""

from __future__ import annotations

import pytest

from tests.benchmarks.growth import OURS, measure

LINEAR = 1.25
"""Most by which ten times the work may cost more than ten times as much: timings of some milliseconds vary by that."""
GROUPS_MIB = 64.0
"""Room for one group of sets, whose size does not depend on their number."""


@pytest.mark.parametrize("axis", ["account, bars", "sweep, bars", "sweep, sets"])
def test_time_is_linear(axis: str) -> None:
    small = min(measure(axis, 10, OURS).seconds for _ in range(2))
    large = measure(axis, 100, OURS).seconds
    assert large < 10.0 * LINEAR * small


def test_memory_is_flat_in_sets() -> None:
    for times in (10, 100):
        assert measure("sweep, sets", times, OURS).mebibytes < GROUPS_MIB
