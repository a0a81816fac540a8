"""Leaving out what nobody will replay any more: inputs of old steps, old snapshots, balances, doubts and heartbeats."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, delete, exists, func, or_, select, update

from live.journal import tables
from live.journal.journal import Journal

_DROPPED_EVENTS = {"balance": tables.balances, "doubt": tables.doubts}


@dataclass(frozen=True)
class Pruned:
    """How much was left out, and the step from which on everything can still be replayed."""

    from_seq: int
    steps: int
    snapshots: int
    events: int
    health: int


def prune(journal: Journal, *, before_us: int) -> Pruned:
    """Drop what was needed to replay the time before an instant, and return how much that was.

    It drops the inputs of steps (their hashes stay), the input rows of decisions (their targets stay), snapshots,
    the balances and doubts that such steps knew and the heartbeats before the instant, but the last of each. Fills,
    orders, answers, incomes, equity, positions, reasons, notes and differences stay, and all that is later than the
    last snapshot of either plane.

    Parameters
    ----------
    journal : Journal
        Open for writing.
    before_us : int
        Steps up to the last account snapshot before it are pruned.
    """
    steps, snapshots, events = tables.steps, tables.snapshots, tables.events
    with journal.transaction() as connection:
        keep = connection.scalar(
            select(func.max(snapshots.c.seq))
            .join(steps)
            .where(snapshots.c.plane == "account", steps.c.ts_us <= before_us)
        )
        signal = connection.scalar(
            select(func.max(snapshots.c.seq)).where(
                snapshots.c.plane == "signal", snapshots.c.seq <= (keep or 0)
            )
        )
        if keep is None:
            return Pruned(0, 0, 0, 0, 0)
        # Decisions after the signal plane's own snapshot are needed to bring it to the account's.
        from_seq = keep if signal is None else min(keep, signal)
        old = and_(steps.c.seq <= from_seq, steps.c.inputs.is_not(None))
        n_steps = connection.execute(update(steps).where(old).values(inputs=None)).rowcount
        connection.execute(
            update(tables.decisions)
            .where(tables.decisions.c.seq <= from_seq)
            .values(input_row=None)
        )
        n_snapshots = connection.execute(
            delete(snapshots).where(
                or_(
                    and_(snapshots.c.plane == "account", snapshots.c.seq < from_seq),
                    and_(snapshots.c.plane == "signal", snapshots.c.seq < (signal or 0)),
                )
            )
        ).rowcount
        known = connection.scalar(select(steps.c.last_event).where(steps.c.seq == from_seq))
        n_events = 0
        for kind, details in _DROPPED_EVENTS.items():
            # The last one stays: its number is not given again, and the wallet remains known.
            last = select(func.max(details.c.event_id)).where(details.c.event_id <= known)
            connection.execute(delete(details).where(details.c.event_id < last.scalar_subquery()))
            gone = and_(
                events.c.kind == kind, ~exists().where(details.c.event_id == events.c.event_id)
            )
            n_events += connection.execute(delete(events).where(gone)).rowcount
        health = tables.health
        newest = select(func.max(health.c.health_id)).scalar_subquery()
        n_health = connection.execute(
            delete(health).where(health.c.ts_us < before_us, health.c.health_id < newest)
        ).rowcount
    return Pruned(from_seq, n_steps, n_snapshots, n_events, n_health)
