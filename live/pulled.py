"""The kill switch's hand on an account: what it stops, what it calls off, and what the journal is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from live import hand
from live.kill_switch import Level
from live.loop import Loop


@dataclass
class Pulled:
    """A person's hand on an account that is traded.

    Parameters
    ----------
    loop : Loop
        Whose level it sets.
    stopped : dict of str to str
        Why nothing opens, by who says so; it adds and removes its own line.
    note : callable
        Writes an intervention into the journal.
    """

    loop: Loop
    stopped: dict[str, str]
    note: Callable[[str], None]
    _flat: bool = field(default=False, init=False)
    """Whether it was told that all is flat."""

    def stand(self, level: Level, why: str) -> None:
        """Stop what opens, or close everything, or let it go on, from the next look on.

        Parameters
        ----------
        level : Level
            How far.
        why : str
            Who asked for it, in the words of the kill switch.
        """
        self.loop.level, self._flat = level, False
        self.stopped.pop(hand.SOURCE, None)
        said = hand.words(level, why)
        if level is not Level.NONE:
            self.stopped[hand.SOURCE] = said
        self.note(said)

    def call_off(self, now_us: int) -> bool:
        """Let the next step call off what opens, or close what is held, unless that is on its way; return whether."""
        rows = hand.called_off(self.loop.ledger, self.loop.level, now_us)
        for row in rows.values():
            self.loop.tell(row)
        return bool(rows)

    def look(self) -> None:
        """Tell once that everything which was to be closed is closed."""
        if self.loop.level is Level.FLATTEN and not self._flat and hand.is_flat(self.loop.ledger):
            self._flat = True
            self.note(hand.FLAT)
