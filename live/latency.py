"""Latencies of a run, out of its journal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import func, select

from live.folds import CLOSE, EVENT
from live.journal import tables
from live.journal.journal import Journal
from live.journal.records import SEND

_STOP = "stop_loss"
_MS_US = 1000.0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One thing that was measured.

    Parameters
    ----------
    what : str
        From what to what.
    n : int
        How often.
    p50_ms, p99_ms, most_ms : float
        Milliseconds; NaN if it never happened.
    """

    what: str
    n: int
    p50_ms: float
    p99_ms: float
    most_ms: float

    def words(self) -> str:
        """Return it in one line."""
        if self.n == 0:
            return f"{self.what}: never"
        return (
            f"{self.what}: p50 {self.p50_ms:.2f} ms, p99 {self.p99_ms:.2f} ms, at most {self.most_ms:.2f} ms "
            f"({self.n:,} times)"
        )


def latencies(journal: Journal, *, last: bool = False) -> tuple[Measured, ...]:
    """Return what the journal kept.

    A stop that closes a position must be gone before the next one is taken (the exchange's -4130), so that between a
    fill and the new stop lies the exchange's answer to the cancel of the old one: both are told, the first request and
    the new stop.

    Parameters
    ----------
    journal : Journal
        Of a real run.
    last : bool
        Whether the last session alone counts.
    """
    steps, sent, answers = tables.steps, tables.intents, tables.answers
    newest = select(func.max(tables.sessions.c.session_id)).scalar_subquery()
    own = (steps.c.session_id == newest,) if last else ()
    orders = (
        select(
            steps.c.seq, steps.c.kind, sent.c.action, sent.c.symbol, sent.c.reason, sent.c.request,
            answers.c.sent_after_us,
        )
        .join(sent, sent.c.seq == steps.c.seq)
        .join(answers, answers.c.intent_id == sent.c.intent_id)
        .where(answers.c.sent_after_us.is_not(None), *own)
    )  # fmt: skip
    risk = (
        select(steps.c.account_us)
        .join(tables.decisions, tables.decisions.c.seq == steps.c.seq)
        .where(steps.c.account_us.is_not(None), *own)
    )
    with journal.transaction() as connection:
        rows = connection.execute(orders).all()
        checks = [row.account_us for row in connection.execute(risk)]
    decided = [row.sent_after_us for row in rows if row.kind == CLOSE and row.action == SEND]
    stops = [row for row in rows if row.kind == EVENT and _of_a_stop(row)]
    first: dict[tuple[int, str], int] = {}
    for row in stops:
        known = first.get((row.seq, row.symbol), row.sent_after_us)
        first[row.seq, row.symbol] = min(known, row.sent_after_us)
    return (
        _of("closed bar to order sent", decided),
        _of("fill heard to its stop asked for", list(first.values())),
        _of("fill heard to new stop sent", [r.sent_after_us for r in stops if r.action == SEND]),
        _of("risk check, sizer and router of a decision", checks),
    )


def _of_a_stop(row: Any) -> bool:
    """Return whether a request places a protective stop, or calls one off to make room for the next."""
    return bool(
        row.reason == _STOP if row.action == SEND else json.loads(row.request)["conditional"]
    )


def _of(what: str, found_us: Sequence[int]) -> Measured:
    if not found_us:
        return Measured(what=what, n=0, p50_ms=np.nan, p99_ms=np.nan, most_ms=np.nan)
    p50, p99, most = np.percentile(np.array(found_us) / _MS_US, [50, 99, 100]).tolist()
    return Measured(what=what, n=len(found_us), p50_ms=p50, p99_ms=p99, most_ms=most)
