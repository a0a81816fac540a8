"""``python -m live.run`` that kills itself with SIGKILL at a named instant: ``python -m tests.loop.crash POINT ARGS…``.

Each point is a function of the loop, and whether the process dies before it runs, after it, or in the middle.
"""

from __future__ import annotations

import asyncio
import functools
import os
import runpy
import signal
import sys
from collections.abc import Callable
from typing import Any

from live import sender
from live.broker.interface import Cancel, Fill
from live.journal import revisions, tables
from live.journal.database import Database
from live.journal.journal import Journal
from live.loop import Loop
from live.sender import Sender


def die() -> None:
    """End without a trace."""
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """Dies at the n-th time that something is seen."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> None:
        self.left -= 1
        if self.left <= 0:
            die()


Seen = Callable[..., None]


def nothing(*given: Any, **named: Any) -> None:
    """Let it pass."""


def around(owner: Any, name: str, *, before: Seen = nothing, after: Seen = nothing) -> None:
    """Let something happen before or after a function or coroutine of a class or module."""
    former = getattr(owner, name)

    @functools.wraps(former)
    def wrapped(*given: Any, **named: Any) -> Any:
        before(*given, **named)
        found = former(*given, **named)
        after(*given, **named)
        return found

    @functools.wraps(former)
    async def awaited(*given: Any, **named: Any) -> Any:
        before(*given, **named)
        found = await former(*given, **named)
        after(*given, **named)
        return found

    setattr(owner, name, awaited if asyncio.iscoroutinefunction(former) else wrapped)


def with_requests(countdown: Countdown) -> Seen:
    """Return what counts the steps that want something sent."""

    def seen(journal: Journal, step: Any) -> None:
        if step.intents:
            countdown()

    return seen


def with_fills(countdown: Countdown) -> Seen:
    """Return what counts the events heard that are fills."""

    def seen(journal: Journal, events: Any, **named: Any) -> None:
        if any(isinstance(event, Fill) for event in events):
            countdown()

    return seen


def inside(table: Any, countdown: Countdown) -> None:
    """Die inside the transaction that writes a row into a table."""

    def seen(database: Database, connection: Any, written: Any, *rows: Any) -> None:
        if written is table:
            countdown()

    around(Database, "insert", after=seen)


def cancels_of_stops(countdown: Countdown) -> Seen:
    """Return what counts the cancels of protective orders that were answered."""

    def seen(broker: Any, wanted: Any) -> None:
        if isinstance(wanted.request, Cancel) and wanted.request.conditional:
            countdown()

    return seen


def always(countdown: Countdown) -> Seen:
    """Return what counts every time."""
    return lambda *given, **named: countdown()


POINTS: dict[str, Callable[[], None]] = {
    "inside the migration": lambda: around(revisions, "upgrade", after=always(Countdown(1))),
    "before the first states are committed": lambda: around(Loop, "begin", before=always(Countdown(1))),
    "inside the first states' transaction": lambda: inside(tables.steps, Countdown(1)),
    "after the first states are committed": lambda: around(Loop, "begin", after=always(Countdown(1))),
    "before a step is committed": lambda: around(Journal, "commit_step", before=with_requests(Countdown(5))),
    "inside a step's transaction": lambda: inside(tables.intents, Countdown(5)),
    "after a step is committed": lambda: around(Journal, "commit_step", after=with_requests(Countdown(5))),
    "before anything is sent": lambda: around(Sender, "submit", after=always(Countdown(5))),
    "between two requests of a step": lambda: around(sender, "request", before=always(Countdown(9))),
    "after a request, before its answer is written": lambda: around(sender, "request", after=always(Countdown(9))),
    "inside an answer's transaction": lambda: inside(tables.answers, Countdown(9)),
    "after an answer is written": lambda: around(Journal, "answer", after=always(Countdown(9))),
    "before a fill is written": lambda: around(Journal, "hear", before=with_fills(Countdown(3))),
    "inside a fill's transaction": lambda: inside(tables.fills, Countdown(3)),
    "after a fill is written, before it is booked": lambda: around(Journal, "hear", after=with_fills(Countdown(3))),
    "between two stops": lambda: around(sender, "request", after=cancels_of_stops(Countdown(2))),
}  # fmt: skip
"""What makes the process die, by the instant at which it does."""


if __name__ == "__main__":
    POINTS[sys.argv[1]]()
    sys.argv = ["live.run", *sys.argv[2:]]
    runpy.run_module("live.run", run_name="__main__", alter_sys=False)
