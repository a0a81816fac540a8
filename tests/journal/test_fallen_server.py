"""``python -m live.run conf=sim`` with its copy in PostgreSQL, whose server is killed, stays away and comes back."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from live.broker.interface import Order, Outcome
from live.journal import open_journal, reading, tables
from live.journal.records import SEND
from live.journal.verify import verify
from live.replayer import replayer_of
from tests.journal.server import Server
from tests.journal.test_transfer import fingerprints
from tests.loop.on_exchange import Ground, ground, whole
from tests.loop.test_kill import decisions, started

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MOST = 40
"""Steps that the copy may lack where that is tried: a few seconds of the loop."""
LIMIT = f"the journal's copy must lack at most {MOST:,} steps, lacks more"


@dataclass(frozen=True)
class Seen:
    """What a journal tells."""

    steps: int
    orders: int
    """Sent, not withheld."""
    behind: tuple[int, ...]
    """What the copy lacked, by heartbeat."""
    notes: tuple[str, ...]


def seen(there: Ground) -> Seen:
    with open_journal(there.journal, read_only=True) as journal, journal.transaction() as found:
        health, answers = tables.health.c, tables.answers.c
        taken = select(func.count()).where(answers.outcome == Outcome.ACCEPTED.value)
        notes = tables.notes.c
        return Seen(
            steps=reading.last_seq(found),
            orders=found.scalar(taken) or 0,
            behind=tuple(found.scalars(select(health.copy_behind).order_by(health.health_id))),
            notes=tuple(found.scalars(select(notes.message).where(notes.source == "copy"))),
        )


def until(holds: Callable[[Seen], bool], there: Ground, seconds: float, what: str) -> Seen:
    """Wait until a journal tells something, and return all that it tells then."""
    end_s = time.monotonic() + seconds
    while not holds(told := seen(there)):
        assert time.monotonic() < end_s, f"{what} within {seconds:g} s, was {told}"
        time.sleep(0.25)
    return told


@contextmanager
def running(there: Ground, *overrides: str) -> Iterator[subprocess.Popen[str]]:
    """Let a loop trade in a process of its own until it has decided twice, and end it in order after the body."""
    process = started(there, *overrides)
    assert process.stderr is not None
    try:
        decisions(process, 2, 120.0)
        yield process
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def copied(there: Ground, url: str) -> None:
    """Prove the copy whole, and equal to the journal."""
    examined = whole(there)
    with (
        open_journal(there.journal, read_only=True) as journal,
        open_journal(url, read_only=True) as copy,
    ):
        assert fingerprints(copy) == fingerprints(journal)
        checks = verify(copy, replayer_of)
    assert [check.differences for check in checks if check.differences] == []
    found = {check.name: check.examined for check in checks}
    assert {**found, "database": examined["database"]} == examined


def test_a_server_that_is_killed_under_a_running_loop_is_caught_up_with(
    tmp_path: Path, own_server: Server
) -> None:
    url = own_server.empty()
    with ground(tmp_path) as there, running(there, f"conf.copy_url='{url}'"):
        until(lambda told: told.orders > 0, there, 60, "an order")
        own_server.kill()
        at_kill = seen(there)
        rising = until(
            lambda told: len(risen := [n for n in told.behind if n]) >= 2 and risen[-1] > risen[0] > 0,
            there, 90, "two heartbeats with a copy that falls behind",
        )  # fmt: skip
        assert rising.steps > at_kill.steps
        assert rising.orders > at_kill.orders
        own_server.revive()
        until(lambda told: len(told.notes) == 2, there, 60, "the copy to have caught up")
        told = until(lambda told: told.behind[-1] == 0, there, 60, "a heartbeat that says so")
    assert told.notes[0].startswith("journal must be a database that works, postgresql")
    assert told.notes[1].endswith("has caught up")
    copied(there, url)


def opened_between(found: Connection, since_us: int, upto_us: int) -> list[tuple[str, str]]:
    """Return outcome and message of the orders that open, decided between two times."""
    intents, answers, steps = tables.intents, tables.answers, tables.steps
    rows = found.execute(
        select(intents, answers.c.outcome, answers.c.message)
        .join(steps, steps.c.seq == intents.c.seq)
        .join(answers, answers.c.intent_id == intents.c.intent_id)
        .where(intents.c.action == SEND, steps.c.ts_us > since_us, steps.c.ts_us < upto_us)
    ).all()
    wanted: list[tuple[Any, Any]] = [(reading.intent_of(row).request, row) for row in rows]
    return [
        (row.outcome, row.message)
        for order, row in wanted
        if isinstance(order, Order) and not (order.reduce_only or order.close_position)
    ]


def test_a_loop_that_starts_without_the_server_opens_nothing_beyond_what_its_file_may_hold(
    tmp_path: Path, own_server: Server
) -> None:
    url = own_server.empty()
    own_server.kill()
    limits = (f"conf.copy_url='{url}'", f"conf.copy_behind_max={MOST}")
    with ground(tmp_path) as there, running(there, *limits):
        before = seen(there)
        assert before.notes[0].startswith("journal must be a database that works, postgresql")
        withheld = until(
            lambda told: told.behind[-1] > MOST, there, 90, "a copy that is too far behind"
        )
        until(lambda told: told.steps > withheld.steps + 30, there, 60, "thirty steps")
        own_server.revive()
        back = until(lambda told: len(told.notes) == 2, there, 60, "the copy to have caught up")
        until(lambda told: told.orders > back.orders + 3, there, 90, "orders again")
    with open_journal(there.journal, read_only=True) as journal, journal.transaction() as found:
        health, notes = tables.health.c, tables.notes.c
        stopped = select(func.min(health.ts_us)).where(health.stopped == LIMIT)
        caught_up = select(func.max(notes.ts_us)).where(notes.source == "copy")
        since_us, upto_us = found.scalar(stopped), found.scalar(caught_up)
        assert since_us is not None
        assert upto_us is not None
        refused = {("refused", f"not sent: {LIMIT}")}
        assert set(opened_between(found, since_us, upto_us)) == refused
        outcomes = [outcome for outcome, _ in opened_between(found, upto_us, 10**18)]
    assert "accepted" in outcomes
    copied(there, url)
