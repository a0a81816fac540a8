"""What the exchange keeps of trades and incomes, page by page, without a gap and without a row twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from quantcore.errors import VenueError

Row = Mapping[str, Any]

PAGE: Final = 1000
WINDOW_MS: Final = 7 * 24 * 3600 * 1000
"""Longest span of one request."""
REACH_MS: Final = 90 * 24 * 3600 * 1000
"""How far back it goes: three months (BINANCE.md, Orders)."""


@dataclass(frozen=True, kw_only=True)
class Pages:
    """How one kind of history is asked for.

    Parameters
    ----------
    name : str
        In words, for messages.
    between : callable
        Takes first and last millisecond, and returns the oldest `PAGE` rows between them, both included.
    after : callable or None
        Takes a row, and returns the oldest `PAGE` rows that follow it by number, whenever they were; None where the
        exchange has no such request.
    identity : callable
        What tells a row from all others.
    """

    name: str
    between: Callable[[int, int], Awaitable[list[Row]]]
    after: Callable[[Row], Awaitable[list[Row]]] | None
    identity: Callable[[Row], Hashable]


async def rows_since(pages: Pages, first_ms: int, now_ms: int) -> list[Row]:
    """Return every row from a time on, oldest first.

    A full page is followed by one that begins in the last row's own millisecond, so that what shares it is not lost;
    where a page holds but one millisecond, rows are counted on by their number.

    Parameters
    ----------
    pages : Pages
        How to ask.
    first_ms, now_ms : int
        First and last millisecond.

    Raises
    ------
    VenueError
        If the time lies further back than the exchange keeps, or a full page holds one millisecond and there is no
        other way on.
    """
    if first_ms < now_ms - REACH_MS:
        raise VenueError(
            f"{pages.name} must be asked for within {REACH_MS // 86_400_000} days, was "
            f"{(now_ms - first_ms) / 86_400_000:.1f} days ago: the exchange has forgotten what came before, and a "
            "journal that did not hear it cannot go on; move it aside, close by hand what is held, begin a new one"
        )
    found: dict[Hashable, Row] = {}
    begin_ms = first_ms
    while begin_ms <= now_ms:
        end_ms = min(begin_ms + WINDOW_MS - 1, now_ms)
        page = await pages.between(begin_ms, end_ms)
        found |= {pages.identity(row): row for row in page}
        if len(page) < PAGE:
            begin_ms = end_ms + 1
            continue
        last_ms = max(int(row["time"]) for row in page)
        if last_ms > begin_ms:
            begin_ms = last_ms
            continue
        crowd = await _crowd(pages, page[-1], begin_ms)
        found |= {pages.identity(row): row for row in crowd}
        begin_ms += 1
    return sorted(found.values(), key=lambda row: int(row["time"]))


async def _crowd(pages: Pages, last: Row, at_ms: int) -> list[Row]:
    """Return the rows of one millisecond that follow a row."""
    if pages.after is None:
        raise VenueError(
            f"{pages.name} of one millisecond must fit on a page of {PAGE}, did not at {at_ms}"
        )
    found: list[Row] = []
    while True:
        page = await pages.after(last)
        found += [row for row in page if int(row["time"]) == at_ms]
        if len(page) < PAGE or int(page[-1]["time"]) > at_ms:
            return found
        last = page[-1]
