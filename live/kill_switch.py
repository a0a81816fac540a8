"""The kill switch: freeze or flatten, by signal, by file or by the dashboard, until a person takes it back.

*Freeze*: nothing that opens is sent; protective stops stay. *Flatten*: all own positions are closed as well, and what
is flat stays frozen. The state is a file beside the journal, ``FREEZE`` or ``FLATTEN``, whoever asked for it: so it
survives a restart, a person can make it with ``touch``, and goes on by removing it. Beside them ``RELEASED`` says who
took it back last, for the journal; it decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from live.simulator.state_file import write_whole

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.25
"""Between two looks at the files."""


class Level(IntEnum):
    """How far trading is stopped."""

    NONE = 0
    FREEZE = 1
    FLATTEN = 2


FILES: Final = (Level.FREEZE, Level.FLATTEN)
"""Levels that have a file of their name."""
RELEASED: Final = "RELEASED"
"""Name of the file that says who released it last; of a release by ``rm`` nobody knows."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where the switch stands (pure).

    Parameters
    ----------
    level : Level
        How far trading is stopped.
    kept : bool
        Whether its file was seen: only then does a file that is gone mean that a person took it back.
    """

    level: Level = Level.NONE
    kept: bool = True

    def asked(self, level: Level) -> Standing:
        """Return where it stands once a level was asked for; a higher one is never lowered by this."""
        return self if level <= self.level else Standing(level=level, kept=False)

    def seen(self, on_disk: Level) -> Standing:
        """Return where it stands once the files were looked at."""
        if on_disk >= self.level or self.kept:
            return Standing(level=on_disk, kept=True)
        return self


class KillSwitch:
    """What the driver asks before it sends anything, and what a person pulls.

    Parameters
    ----------
    folder : Path
        Of the mode, ``data/live/<mode>``.
    tell : callable or None
        Told each change of the level, in the event loop; see `report_to`.

    Attributes
    ----------
    ends : asyncio.Event
        Set when the process is asked to end in order, by SIGTERM or SIGINT.
    """

    def __init__(self, folder: Path, tell: Callable[[Level], None] | None = None) -> None:
        self._folder = folder
        self._tell = tell
        self._standing = Standing()
        self._why = ""
        self._pulled_ns = 0
        self._told = Level.NONE
        self.ends = asyncio.Event()
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)  # the journal is there as well
        self.look()

    def report_to(self, tell: Callable[[Level], None]) -> None:
        """Tell each change of the level from now on, and at once where it stands if it is pulled."""
        self._tell = tell
        if self.level is not Level.NONE:
            tell(self.level)

    def hear(self) -> None:
        """Hear SIGUSR1 and SIGUSR2 before there is an event loop: what they ask for holds once it trades."""
        signal.signal(signal.SIGUSR1, lambda *_: self.freeze("SIGUSR1"))
        signal.signal(signal.SIGUSR2, lambda *_: self.flatten("SIGUSR2"))

    @property
    def level(self) -> Level:
        """How far trading is stopped."""
        return self._standing.level

    @property
    def why(self) -> str:
        """Who asked for it, or released it, as the files have it; empty where a person did so by hand."""
        return self._why

    def may_open(self, symbol: str) -> bool:
        """Return whether an order that opens or enlarges a position of a symbol may be sent."""
        return self.level is Level.NONE

    def wants_flat(self) -> bool:
        """Return whether all own positions are to be closed, by orders that only reduce."""
        return self.level is Level.FLATTEN

    def freeze(self, by: str) -> None:
        """Stop what opens; `by` says who asked, such as ``"dashboard"``."""
        self._ask(Level.FREEZE, by)

    def flatten(self, by: str) -> None:
        """Close all own positions, and stop what opens."""
        self._ask(Level.FLATTEN, by)

    def release(self, by: str) -> None:
        """Go on, by a person's wish; who it was is left beside the files for the process that trades.

        Raises
        ------
        OSError
            If a file cannot be removed; then nothing changes.
        """
        try:
            write_whole(self._folder / RELEASED, f"{by}\n".encode())
        except OSError as error:  # a full disk keeps nobody from going on
            log.warning("who released the kill switch could not be kept: %s", error.strerror)
        for level in FILES:
            self.path(level).unlink(missing_ok=True)
        log.info("the kill switch is released by %s", by)
        self._why = by
        self._stand(Standing())

    def look(self) -> None:
        """Look at the files, and write what could not be written before.

        A folder that is gone or cannot be looked at takes nothing back.
        """
        try:
            if not self._folder.is_dir():
                return
            found = [level for level in FILES if self.path(level).exists()]
        except OSError as error:
            log.warning("the kill switch cannot be looked at: %s", error.strerror)
            return
        standing = self._standing.seen(max(found, default=Level.NONE))
        if standing.level is not self._standing.level:
            self._why = self._released_by() if not found else self._written(standing.level)
        self._pulled_ns = max(map(self._changed_ns, found), default=self._pulled_ns)
        self._stand(standing)
        if not self._standing.kept:
            self._keep()

    async def watch(self) -> None:
        """Look at the files for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hear signals: SIGUSR1 freezes, SIGUSR2 flattens, SIGTERM and SIGINT end in order, a second one at once."""
        loop.add_signal_handler(signal.SIGUSR1, self.freeze, "SIGUSR1")
        loop.add_signal_handler(signal.SIGUSR2, self.flatten, "SIGUSR2")
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, loop, number)

    def deafen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Leave signals to the process as it was."""
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    def _end(self, loop: asyncio.AbstractEventLoop, number: signal.Signals) -> None:
        log.warning("%s: ending in order", number.name)
        self.ends.set()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)

    def _ask(self, level: Level, by: str) -> None:
        raised = self._standing.asked(level)
        log.info("%s is asked for by %s", level.name.lower(), by)
        if raised is self._standing:
            return
        self._why = by
        self._stand(raised)
        self._keep()

    def _keep(self) -> None:
        """Write the file of the level; where that fails the level holds in memory, and each look tries again."""
        level = self._standing.level
        try:
            write_whole(self.path(level), f"{self._why}\n".encode())
        except OSError as error:
            log.error(
                "the kill switch stands at %s, its file could not be written: %s",
                level.name,
                error.strerror,
            )
            return
        self._pulled_ns = self._changed_ns(level)
        self._stand(self._standing.seen(level))

    def _stand(self, standing: Standing) -> None:
        self._standing = standing
        if standing.level is not self._told:
            self._told = standing.level
            if self._tell is not None:
                self._tell(standing.level)

    def _written(self, level: Level) -> str:
        return _text(self.path(level))

    def _released_by(self) -> str:
        """Return who released it; what was left by an earlier release than the last pull says nothing."""
        with contextlib.suppress(OSError):
            file = self._folder / RELEASED
            return _text(file) if file.stat().st_mtime_ns >= self._pulled_ns else ""
        return ""

    def _changed_ns(self, level: Level) -> int:
        with contextlib.suppress(OSError):
            return self.path(level).stat().st_mtime_ns
        return self._pulled_ns

    def path(self, level: Level) -> Path:
        """Return the file of a level, by whose removal a person takes it back."""
        return self._folder / level.name


def _text(path: Path) -> str:
    """Return the beginning of what somebody wrote into a file, empty where that cannot be read."""
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").strip()[:200]
    return ""
