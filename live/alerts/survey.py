"""Looks at positions and orders, which takes longer than a look at what is new."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from live.alerts.news import Holding
from live.monitor.standing import Standing, Watch
from live.monitor.view import Marks, View


class Survey:
    """Tells what is held. Of one thread, with its own view.

    Parameters
    ----------
    view : View
        Of the journal.
    folder : Path or None
        Of the mode, with the kill switch's files.
    """

    def __init__(self, view: View, folder: Path | None) -> None:
        self._view = view
        self._watch = Watch(view, folder)
        self._marks: Marks | None = None

    def now(self) -> Standing:
        """Return how things stand.

        Raises
        ------
        JournalError
            If the journal cannot be read, or holds no session yet.
        """
        return self._watch.look()

    def holdings(self) -> Sequence[Holding] | None:
        """Return what is held, None if nothing is new since it was asked last.

        Raises
        ------
        JournalError
            If the journal cannot be read, or holds no session yet.
        """
        if not self._view.replaced and self._view.marks() == self._marks:
            return None
        standing = self.now()
        self._marks = standing.marks
        return [
            Holding(held.symbol, held.has_stop and not held.stop_stuck, held.liquidation_distance)
            for held in standing.positions
        ]

    def reopen(self) -> None:
        """Open the journal anew after it could not be read."""
        self._view.reopen()
