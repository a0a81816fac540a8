"""Heartbeats summed by SQLite and by PostgreSQL, against sums over all of them here."""

from __future__ import annotations

import numpy as np
import pytest

from live.journal import open_journal
from live.monitor.beats import LATE_US, Beats, beats_of, speed_of
from live.monitor.view import View
from quantcore.types import IntArray
from tests.journal.conftest import server, url, url_at  # noqa: F401 - fixtures
from tests.journal.entries import session
from tests.monitor.test_view import beat

SECOND_US = 1_000_000
PAUSES_S = (15, 15, 45, 46, 15, 900, 15)
"""Of this machine; the exchange's clock runs twenty times as fast."""
SPEED = 20


def written(place: str) -> tuple[IntArray, IntArray]:
    """Write two sessions of the same heartbeats; return their times there and here."""
    here_us, told = 0, []
    for number in range(2):
        with open_journal(place) as journal:
            journal.begin(session(), now_us=here_us * SPEED)
            for n, pause_s in enumerate((15, *PAUSES_S)):
                here_us += pause_s * SECOND_US
                told.append((here_us * SPEED, here_us))
                journal.health(
                    beat(
                        ts_us=here_us * SPEED,
                        wall_us=here_us,
                        requests=100 * n,
                        failures=n // 3 + number,
                    )
                )
            journal.end("over", now_us=here_us * SPEED)
    there, here = np.array(told, dtype=np.int64).T
    return there, here


def test_all_heartbeats_of_a_run(url: str) -> None:  # noqa: F811 - the fixture
    _, here = written(url)
    pauses = np.diff(here)
    with View(url) as view:
        found = beats_of(view, 0)
    assert found == Beats(
        n=16,
        span_us=int(here[-1] - here[0]),
        away=4,
        away_us=int(pauses[pauses > LATE_US].sum()),
        requests=1400,
        failures=2 + 3,
        speed=float(SPEED),
    )
    assert found.away_us == 2 * (46 + 900) * SECOND_US


def test_a_part_counts_from_its_own_first_heartbeat(url: str) -> None:  # noqa: F811 - the fixture
    there, here = written(url)
    with View(url) as view:
        found = beats_of(view, int(there[11]))
    assert (found.n, found.span_us) == (5, int(here[-1] - here[11]))
    assert (found.away, found.away_us) == (2, 946 * SECOND_US)
    assert (found.requests, found.failures) == (400, 1)


def test_a_run_without_heartbeats(url: str) -> None:  # noqa: F811 - the fixture
    with open_journal(url) as journal:
        journal.begin(session(), now_us=1)
    with View(url) as view:
        found = beats_of(view, 0)
    assert found == Beats(n=0, span_us=0, away=0, away_us=0, requests=0, failures=0, speed=1.0)


@pytest.mark.parametrize(
    ("there_s", "here_s", "speed"), [(100.02, 100.0, 1.0), (2000.0, 100.0, 20.0), (0.0, 0.0, 1.0)]
)
def test_the_clock_of_a_real_exchange_runs_as_this_one(
    there_s: float, here_s: float, speed: float
) -> None:
    assert speed_of(int(there_s * SECOND_US), int(here_s * SECOND_US)) == pytest.approx(speed)
