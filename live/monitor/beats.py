"""A run's heartbeats, summed by the database that holds them: of a year there are two million."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from live.journal import tables
from live.monitor.view import View

LATE_US = 45_000_000
"""Between two heartbeats, from which on the loop counts as away."""
_SIMULATED = 1.5
"""Times real time from which on an exchange's clock is a simulated one."""


@dataclass(frozen=True, kw_only=True)
class Beats:
    """What the heartbeats of a run say of it.

    Parameters
    ----------
    n : int
        How many there are.
    span_us : int
        From the first to the last, on this machine's clock.
    away, away_us : int
        Spans between two of them of more than `LATE_US`: how many, and how long together.
    requests, failures : int
        Over REST, of all sessions.
    speed : float
        How many seconds of the exchange pass in one of this machine: 1 but for a simulated exchange.
    """

    n: int
    span_us: int
    away: int
    away_us: int
    requests: int
    failures: int
    speed: float


def beats_of(view: View, since_us: int) -> Beats:
    """Sum the heartbeats from a time of the exchange on."""
    first_us = view.sessions()[0].started_us
    with view.journal.transaction() as connection:
        n, span_us, away, away_us = _spans(connection, since_us)
        requests, failures = _requests(connection, since_us, is_whole=since_us <= first_us)
        speed = _speed(connection, since_us)
    return Beats(
        n=n, span_us=span_us, away=away, away_us=away_us, requests=requests, failures=failures, speed=speed,
    )  # fmt: skip


def speed_of(there_us: int, here_us: int) -> float:
    """Return how quickly an exchange's clock runs, of the same span on its clock and on this machine's."""
    found = there_us / here_us if here_us > 0 else 1.0
    return found if found > _SIMULATED else 1.0


def _spans(connection: Connection, since_us: int) -> tuple[int, int, int, int]:
    """Return how many heartbeats there are, what they span, and how often and how long they paused."""
    told = tables.health.c
    pause = told.wall_us - func.lag(told.wall_us).over(order_by=told.health_id)
    pauses = select(pause.label("us"), told.wall_us).where(told.ts_us >= since_us).subquery()
    late = pauses.c.us > LATE_US
    found: Any = connection.execute(
        select(
            func.count(),
            func.sum(pauses.c.us),
            func.count().filter(late),
            func.sum(pauses.c.us).filter(late),
        ).select_from(pauses)
    ).one()
    n, span_us, away, away_us = (int(number or 0) for number in found)
    return n, span_us, away, away_us


def _requests(connection: Connection, since_us: int, *, is_whole: bool) -> tuple[int, int]:
    """Return requests and failures; a session counts from nothing, so that a part of it is a difference."""
    told = tables.health.c
    of_session = (
        select(
            *(
                func.max(column) - (0 if is_whole else func.min(column))
                for column in (told.requests, told.failures)
            )
        )
        .where(told.ts_us >= since_us)
        .group_by(told.session_id)
    )
    counted = connection.execute(of_session).all()
    return sum(int(row[0]) for row in counted), sum(int(row[1]) for row in counted)


def _speed(connection: Connection, since_us: int) -> float:
    """Return the speed of the exchange's clock in the last session."""
    told = tables.health.c
    last = select(func.max(told.session_id)).scalar_subquery()
    ends = [
        connection.execute(
            select(told.ts_us, told.wall_us)
            .where(told.session_id == last, told.ts_us >= since_us)
            .order_by(order)
            .limit(1)
        ).one_or_none()
        for order in (told.health_id, told.health_id.desc())
    ]
    first, newest = ends
    if first is None or newest is None:
        return 1.0
    return speed_of(newest.ts_us - first.ts_us, newest.wall_us - first.wall_us)
