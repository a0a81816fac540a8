"""What the loop says to a person who watches: one short line per decision."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

import numpy as np
from rich.console import Console

from quantcore.kernels import layout as at

if TYPE_CHECKING:
    from live.driver import Driver
    from live.folds import Decided

WIDTH = 120
"""Columns where nobody watches."""


class Status:
    """Writes to one stream.

    Parameters
    ----------
    stream : TextIO
        Such as stderr.
    """

    def __init__(self, stream: TextIO) -> None:
        width = None if stream.isatty() else WIDTH
        self._console = Console(file=stream, width=width, highlight=False)

    def say(self, text: str) -> None:
        """Write one sentence."""
        self._console.print(text, markup=False, soft_wrap=True)

    def begun(self, mode: str, place: str, driver: Driver, *, resumed: bool) -> None:
        """Say where the session begins."""
        symbols = driver.loop.ledger.plane.symbols
        how = "goes on from" if resumed else "begins"
        self.say(
            f"conf={mode} {how} {place}: {len(symbols)} symbols, wallet {driver.loop.ledger.wallet:,.2f} USDT. "
            "Ctrl-C ends it; orders and stops stay at the exchange."
        )

    def decision(self, close_us: int, decided: Decided | None, driver: Driver) -> None:
        """Write one line about a decision, or about one that was not taken."""
        self.say(line(close_us, decided is not None, driver))

    def ended(self, driver: Driver) -> None:
        """Say what is left at the exchange."""
        ledger = driver.loop.ledger
        held = _held(ledger.state["held"][:, at.LOTS])
        self.say(
            f"Ended in order. At the exchange stay {held} positions and {len(ledger.open_orders())} orders, "
            "protective stops among them; the next start goes on from here."
        )


def line(close_us: int, is_taken: bool, driver: Driver) -> str:
    """Return one decision in one line."""
    state = driver.loop.ledger.state
    cash = state["cash"]
    equity = float(cash[at.EQUITY])
    nav, peak = equity * float(cash[at.NAV_RATE]), float(cash[at.PEAK_NAV])
    when = datetime.fromtimestamp(close_us / 1e6, UTC).strftime("%m-%d %H:%M")
    parts: Sequence[str] = (
        f"{when}  equity {equity:10,.2f}",
        f"drawdown {100.0 * (nav / peak - 1.0):5.1f} %",
        f"{_held(state['held'][:, at.LOTS]):2d} positions",
        f"{int(state['counter'][at.OPEN_ORDERS]):2d} open orders",
        f"{driver.sender.sent:4d} sent",
        "" if is_taken else "no decision",
        f"halted: {', '.join(sorted(driver.loop.halted))}" if driver.loop.halted else "",
        driver.opens_nothing,
    )
    return "  ".join(part for part in parts if part)


def _held(lots: np.ndarray) -> int:
    return int(np.count_nonzero(lots))
