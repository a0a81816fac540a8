"""What every open page is told: the sections as HTML, made once for all readers, in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from live.dashboard.board import Board, Check, State, Target
from live.dashboard.chart import chart
from live.dashboard.finished import FinishedRun
from live.dashboard.headline import headline
from live.dashboard.running import RunningAccount
from live.dashboard.sections import SECTIONS
from live.monitor.estimates import State as Measured
from live.monitor.place import Place
from live.monitor.record import record_of
from live.monitor.scores import scores
from quantcore.errors import QuantcoreError
from quantcore.settings import one_line

log = logging.getLogger(__name__)

RANGES: Mapping[str, float | None] = {"1": 1.0, "7": 7.0, "30": 30.0, "all": None}
"""Days that the curve may show, as the page's buttons name them."""
_AGAIN_S = 1.0
ANSWER_S = 5.0
"""Within which the journal should answer, until that is told."""
SCORE_S = 600.0
"""Between two measurements of the targets, which take seconds."""
_STATES = {Measured.MET: State.GOOD, Measured.MISSED: State.BAD}


class Source(Protocol):
    """Where the board comes from; of one thread."""

    def has_news(self) -> bool:
        """Return whether the board would differ from the last one."""
        ...

    def board(self) -> Board:
        """Return all of the page."""
        ...

    def close(self) -> None:
        """Leave it."""
        ...


class Reader(Protocol):
    """An open page."""

    def show(self, shown: Shown) -> None:
        """Take what is shown from now on."""
        ...


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One moment as HTML: the sections by name, and the curve by range."""

    board: Board = field(repr=False)
    sections: Mapping[str, str] = field(repr=False)
    curves: Mapping[str, str] = field(repr=False)


def shown(board: Board) -> Shown:
    """Return a board as HTML."""
    curve = board.curve
    last = int(curve.ts_us[-1]) if len(curve.ts_us) else 0
    cuts = {
        name: curve if days is None else curve.since(last - int(days * 86_400e6))
        for name, days in RANGES.items()
    }
    return Shown(
        board=board,
        sections={name: made(board) for name, made in SECTIONS.items()},
        curves={name: chart(cut) for name, cut in cuts.items()},
    )


def targets(place: Place) -> tuple[Target, ...]:
    """Return what became of the system's targets so far, as the performance tracker measures them.

    Raises
    ------
    QuantcoreError
        If the run cannot be read, or there is nothing to judge yet.
    """
    return tuple(
        Target(
            name=score.name,
            target=score.target,
            result=score.value,
            state=_STATES.get(score.state, State.UNKNOWN),
            verdict=score.state.value,
            reason=score.reason,
        )
        for score in scores(record_of(place))
    )


def open_source(place: Place) -> Source:
    """Open what is looked at.

    Raises
    ------
    ConfigError, DataGap, JournalError, SchemaMismatch
        If it cannot be read.
    """
    return RunningAccount(place) if place.results is None else FinishedRun(Path(place.results))


class Feed:
    """Looks at the source again and again, and tells the readers what is new.

    Parameters
    ----------
    place : Place
        Of the source.
    look_s : float
        Seconds between two looks.
    answer_s : float
        Seconds after which a look that is still waited for is told.
    """

    def __init__(self, place: Place, *, look_s: float, answer_s: float = ANSWER_S) -> None:
        self._place = place
        self._look_s = look_s
        self._answer_s = answer_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._source: Source | None = None
        self._readers: set[Reader] = set()
        self._now: Shown | None = None
        self._measuring = ThreadPoolExecutor(max_workers=1, thread_name_prefix="targets")
        self._scores: tuple[Target, ...] = ()
        self._unscored = ""
        self._rescored = False

    @property
    def now(self) -> Shown:
        """The newest; `begin` makes the first."""
        assert self._now is not None
        return self._now

    def begin(self) -> None:
        """Read the first board, before anybody asks for it; raises as `open_source`."""
        self._now = self._thread.submit(self._first).result()

    def add(self, reader: Reader) -> None:
        """Tell a reader what is new from now on."""
        self._readers.add(reader)

    def remove(self, reader: Reader) -> None:
        """Tell him nothing any more."""
        self._readers.discard(reader)

    async def run(self) -> None:
        """Look for ever; a journal that cannot be read, or does not answer, is told, and tried again."""
        try:
            while True:
                await asyncio.sleep(self._look_s)
                await self._look()
        except BaseException:
            self._tell(
                self._lost("the page follows it no more, the dashboard must be started again")
            )
            raise

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        looking = loop.run_in_executor(self._thread, self._next)
        try:
            await asyncio.wait({looking}, timeout=self._answer_s)
            if not looking.done():
                self._tell(self._lost(f"it has not answered for {self._answer_s:.0f} s"))
            found = await looking
        except QuantcoreError as error:
            if not self.now.board.lost:
                log.warning("the journal cannot be read: %s", error)
            self._tell(self._lost(one_line(error)))
            await asyncio.sleep(_AGAIN_S)
            return
        if found is not None:
            if self.now.board.lost:
                log.warning("the journal can be read again")
            self._tell(found)

    def _tell(self, found: Shown) -> None:
        self._now = found
        for reader in tuple(self._readers):
            reader.show(found)

    async def measure(self) -> None:
        """Measure the targets of a running account for ever, beside the looks; a finished run has its own.

        What goes wrong with it is told on the page, and tried again.
        """
        loop = asyncio.get_running_loop()
        while self._place.results is None:
            try:
                self._scores = await loop.run_in_executor(self._measuring, targets, self._place)
                self._unscored = ""
            except QuantcoreError as error:
                self._unscored = one_line(error)
                log.warning("the targets cannot be measured: %s", self._unscored)
            except Exception as error:  # a journal that somebody else has written to
                self._unscored = f"the journal was not understood: {type(error).__name__}"
                log.exception("the targets cannot be measured")
            self._rescored = True
            await asyncio.sleep(SCORE_S)

    def close(self) -> None:
        """Leave the source; what is being measured is not waited for."""
        self._measuring.shutdown(wait=False, cancel_futures=True)
        if self._source is not None:
            self._thread.submit(self._source.close).result()
        self._thread.shutdown()

    def _first(self) -> Shown:
        self._source = open_source(self._place)
        self._source.has_news()
        return shown(self._source.board())

    def _next(self) -> Shown | None:
        assert self._source is not None
        is_lost = self.now.board.lost
        if not self._source.has_news() and not is_lost and not self._rescored:
            return None
        self._rescored = False
        board = self._source.board()
        scored = replace(board, scores=self._scores or board.scores, unscored=self._unscored)
        return shown(scored)

    def _lost(self, why: str) -> Shown:
        """Return what was shown before, with the reason why it stays."""
        board = self.now.board
        said = f"{why}; the page is that of its last word"
        told = Check(name="journal not readable", state=State.BAD, text=said)
        kept = tuple(check for check in board.checks if check.name != told.name)
        board = replace(board, lost=True, checks=(told, *kept))
        return replace(
            self.now, board=board, sections={**self.now.sections, "headline": headline(board)}
        )
