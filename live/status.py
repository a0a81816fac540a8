"""What the loop says to a person who watches: one short line per decision."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TextIO

import numpy as np
from rich.console import Console

from live.guard.terminal import checklist
from live.kill_switch import Level
from quantcore.kernels import layout as at

if TYPE_CHECKING:
    from live.folds import Decided
    from live.guard.checks import Check
    from live.kill_switch import KillSwitch
    from live.loop import Loop

WIDTH = 120
"""Columns where nobody watches."""


class AnyDriver(Protocol):
    """What is told of a driver."""

    @property
    def loop(self) -> Loop:
        """With the ledger."""
        ...

    @property
    def sent(self) -> int:
        """Requests so far."""
        ...

    @property
    def doubtful(self) -> set[str]:
        """Symbols with a request of which nobody knows what became."""
        ...

    @property
    def stopped(self) -> dict[str, str]:
        """Why nothing opens, by who says so."""
        ...


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

    def checked(self, checks: Iterable[Check]) -> None:
        """Show the checklist of the pre-flight."""
        self._console.print(checklist(checks))

    def stands(self, level: Level, switch: KillSwitch) -> None:
        """Say where the kill switch stands, and how a person takes it back."""
        does = {
            Level.NONE: "The kill switch is released: it trades on.",
            Level.FREEZE: "FROZEN: nothing that opens is sent, protective stops stay.",
            Level.FLATTEN: "FLATTEN: all own positions are closed, and nothing opens.",
        }
        again = "" if level is Level.NONE else f" Remove {switch.path(level)} to go on."
        by = f" Asked for by {switch.why}." if switch.why else ""
        self.say(f"{does[level]}{by}{again}")

    def begun(self, place: str, driver: AnyDriver, *, resumed: bool) -> None:
        """Say where the session begins."""
        ledger = driver.loop.ledger
        how = "It goes on from" if resumed else "It begins"
        self.say(
            f"{how} {place}: {len(ledger.plane.symbols)} symbols, wallet {ledger.wallet:,.2f} USDT. "
            "Ctrl-C ends it; orders and stops stay at the exchange."
        )

    def decision(self, close_us: int, decided: Decided | None, driver: AnyDriver) -> None:
        """Write one line about a decision, or about one that was given up."""
        self.say(line(close_us, decided is not None, driver))

    def caught_up(self, n_bars: int) -> None:
        """Say that bars were missed."""
        self.say(
            f"{n_bars} bars closed while it was away: they are known now, nothing was decided."
        )

    def ended(self, driver: AnyDriver) -> None:
        """Say what is left at the exchange."""
        ledger = driver.loop.ledger
        self.say(
            f"Ended in order: {_positions(driver)} positions and {len(ledger.open_orders())} orders stay at the "
            "exchange, protective stops among them. The next start goes on from here."
        )


def line(close_us: int, is_taken: bool, driver: AnyDriver) -> str:
    """Return one decision in one line."""
    loop = driver.loop
    cash = loop.ledger.state["cash"]
    equity = float(cash[at.EQUITY])
    drawdown = 100.0 * (equity * float(cash[at.NAV_RATE]) / float(cash[at.PEAK_NAV]) - 1.0)
    when = datetime.fromtimestamp(close_us / 1e6, UTC).strftime("%m-%d %H:%M")
    parts = (
        when,
        f"equity {equity:10,.2f}",
        f"drawdown {min(drawdown, 0.0):5.1f} %",
        f"{_positions(driver):2d} positions",
        f"{len(loop.ledger.open_orders()):2d} orders",
        f"{driver.sent:5d} sent",
        "" if is_taken else "no decision",
        f"in doubt: {', '.join(sorted(driver.doubtful))}" if driver.doubtful else "",
        f"halted: {', '.join(sorted(loop.halted))}" if loop.halted else "",
        *(f"opens nothing: {why}" for why in driver.stopped.values()),
    )
    return "  ".join(part for part in parts if part)


def _positions(driver: AnyDriver) -> int:
    return int(np.count_nonzero(driver.loop.ledger.state["held"][:, at.LOTS]))
