"""What the loop says to a person who watches: one short line per decision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TextIO

import numpy as np
from rich.console import Console
from rich.text import Text

from live.guard.checks import Verdict
from live.guard.terminal import checklist
from live.kill_switch import Level
from live.latency import latencies
from live.replayer import naked
from quantcore.kernels import layout as at

if TYPE_CHECKING:
    from live.folds import Decided
    from live.guard.checks import Check
    from live.journal.journal import Journal
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
    def journal(self) -> Journal:
        """Where everything is written."""
        ...

    @property
    def sent(self) -> int:
        """Requests so far."""
        ...

    @property
    def fills(self) -> int:
        """New fills so far."""
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
        self._fills = 0

    def say(self, text: str) -> None:
        """Write one sentence."""
        self._console.print(text, markup=False, soft_wrap=True)

    def checked(self, checks: Iterable[Check], *, whole: bool) -> None:
        """Show the checklist of a pre-flight that passed, or say in one line that it did."""
        shown = list(checks)
        if whole:
            self._console.print(checklist(shown))
            return
        held = sum(check.verdict is Verdict.PASSED for check in shown)
        self.say(f"{_counted(held, 'check')} before the first order hold; dry_run=true lists them.")

    def stands(self, level: Level, switch: KillSwitch) -> None:
        """Say where the kill switch stands, and how a person takes it back."""
        does = {
            Level.NONE: "The kill switch is off: it trades on.",
            Level.FREEZE: "FROZEN: nothing that opens is sent, protective stops stay.",
            Level.FLATTEN: "FLATTEN: all own positions are closed, and nothing opens.",
        }
        again = "" if level is Level.NONE else f" Remove {switch.path(level)} to go on."
        did = "Released" if level is Level.NONE else "Asked for"
        by = f" {did} by {switch.why}." if switch.why else ""
        self.say(f"{does[level]}{by}{again}")

    def begun(self, place: str, driver: AnyDriver, *, resumed: bool) -> None:
        """Say where the session begins."""
        ledger = driver.loop.ledger
        how = "It goes on from" if resumed else "It begins"
        self.say(
            f"{how} {place}: {len(ledger.plane.symbols)} symbols, wallet {ledger.wallet:,.2f} USDT. "
            "Ctrl-C ends it in order: what opens is called off, protective stops stay at the exchange."
        )

    def recovered(self, n_events: int, n_differences: int) -> None:
        """Say that own books and exchange were compared, and what that brought."""
        told = f", {_counted(n_events, 'event')} of the time away booked" if n_events else ""
        found = (
            f"{_counted(n_differences, 'difference')} resolved"
            if n_differences
            else "nothing differs"
        )
        self.say(f"In step with the exchange{told}; {found}.")

    def decision(self, close_us: int, decided: Decided | None, driver: AnyDriver) -> None:
        """Write one line about a decision, or about one that was given up."""
        told = line(close_us, decided is not None, driver, fills=driver.fills - self._fills)
        self._fills = driver.fills
        self._console.print(told, soft_wrap=True)

    def caught_up(self, n_bars: int) -> None:
        """Say that bars were missed."""
        self.say(
            f"{_counted(n_bars, 'bar')} closed while it was away: known now, nothing was decided on."
        )

    def ended(self, driver: AnyDriver) -> None:
        """Say what is left at the exchange, and how quick it was."""
        ledger = driver.loop.ledger
        n_held, bare = _held(driver), naked(ledger.plane, ledger.state)
        stops = f"WITHOUT A STOP: {', '.join(bare)}" if bare else "each with its stop"
        what = _counted(n_held, "position")
        held = f"at the exchange stay {what}, {stops}" if n_held else "nothing is held"
        left = len(ledger.opening_orders())
        opens = (
            f"{left} ORDERS THAT OPEN ARE STILL THERE" if left else "nothing that opens rests there"
        )
        self.say(f"Ended in order: {held}; {opens}. The next start goes on from here.")
        for measured in latencies(driver.journal, last=True):
            if measured.n:
                self.say(f"  {measured.words()}")


def line(close_us: int, is_taken: bool, driver: AnyDriver, *, fills: int) -> Text:
    """Return one decision in one line; what needs a person's eye stands at its end, in red where there are colours.

    Parameters
    ----------
    close_us : int
        Of the decision bar.
    is_taken : bool
        Whether something was decided.
    driver : AnyDriver
        Whose.
    fills : int
        Since the line before.
    """
    ledger = driver.loop.ledger
    cash, lots = ledger.state["cash"], ledger.state["held"][:, at.LOTS]
    equity = float(cash[at.EQUITY])
    drawdown = 100.0 * max(0.0, 1.0 - equity * float(cash[at.NAV_RATE]) / float(cash[at.PEAK_NAV]))
    position = ledger.state["position"]
    gross = float(np.abs(position[:, at.QTY] * np.nan_to_num(position[:, at.MARK])).sum())
    told = Text(datetime.fromtimestamp(close_us / 1e6, UTC).strftime("%m-%d %H:%M"), style="dim")
    told.append(f"  equity {equity:10,.2f}", style="bold")
    told.append(
        f"  drawdown {drawdown:4.1f} %  {np.count_nonzero(lots > 0):2d} long {np.count_nonzero(lots < 0):2d} short"
        f"  {gross / max(equity, 1e-9):4.2f}x  {len(ledger.opening_orders()):2d} resting  {fills:3d} fills",
    )  # fmt: skip
    for trouble in _troubles(is_taken, driver):
        told.append(f"  {trouble}", style="red")
    return told


def _troubles(is_taken: bool, driver: AnyDriver) -> Iterator[str]:
    """Yield what a person should see."""
    loop, doubtful = driver.loop, driver.doubtful
    if not is_taken:
        yield "no decision"
    bare = naked(loop.ledger.plane, loop.ledger.state)
    if bare:
        yield f"stop on its way: {', '.join(bare)}"
    if doubtful:
        yield f"in doubt: {', '.join(sorted(doubtful))}"
    if loop.halted:
        yield f"halted: {', '.join(sorted(loop.halted))}"
    yield from (f"opens nothing: {why}" for why in driver.stopped.values())


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _held(driver: AnyDriver) -> int:
    return int(np.count_nonzero(driver.loop.ledger.state["held"][:, at.LOTS]))
