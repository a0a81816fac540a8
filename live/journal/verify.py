"""Whether a journal is whole: all checks, in the order in which a reader wants their differences explained."""

from __future__ import annotations

from live.journal.findings import Check
from live.journal.journal import Journal
from live.journal.money import money_checks
from live.journal.replay_check import ReplayerOf, replay_checks
from live.journal.structure import structure_checks


def verify(journal: Journal, replayer_of: ReplayerOf | None = None) -> list[Check]:
    """Return every check of a journal, all seen at one instant although the loop may write on.

    Parameters
    ----------
    journal : Journal
        Open, for reading at least.
    replayer_of : callable or None
        Gives a session's replayer; without it the checks that need one say so.
    """
    with journal.transaction() as connection:
        return [
            *structure_checks(connection),
            *money_checks(connection),
            *replay_checks(connection, replayer_of),
        ]
