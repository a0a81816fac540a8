"""What a person asks for from afar, and what is answered: a look at the run, and the kill switch's files.

The journal has one writer, the loop: so a wish to pause, to flatten or to go on is a file beside the journal, with who
asked and why, which the loop sees and writes down as an intervention.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from live.alerts.rules.rule import percent
from live.kill_switch import KillSwitch, Level
from live.monitor.positions import Held
from live.monitor.standing import Standing, kill_switch

_SWITCH = {
    Level.NONE: "off",
    Level.FREEZE: "FREEZE, nothing opens",
    Level.FLATTEN: "FLATTEN, everything is closed",
}
_POSITIONS_MAX = 25


class Hands:
    """Reads a run, and pulls its kill switch.

    Parameters
    ----------
    now : callable
        Returns how things stand; raises JournalError.
    folder : Path or None
        Of the mode, with the kill switch's files; None where it is not known: then the switch cannot be pulled.
    """

    def __init__(self, now: Callable[[], Standing], folder: Path | None) -> None:
        self._now = now
        self._folder = folder

    def status(self) -> str:
        """Return the run in a few lines."""
        return status_text(self._now())

    def positions(self) -> str:
        """Return what is held."""
        return positions_text(self._now())

    def warning(self, level: Level) -> str:
        """Return what it means to ask for a level; `Level.NONE` is to go on."""
        standing = self._now()
        if level is Level.FLATTEN:
            gross = sum(
                abs(held.notional) for held in standing.positions if not math.isnan(held.notional)
            )
            return (
                f"FLATTEN closes all {len(standing.positions)} positions of {standing.session.session.mode} at the "
                f"market, {gross:,.0f} USDT, and opens nothing until you /resume."
            )
        return (
            f"RESUME lets {standing.session.session.mode} open positions again. "
            f"The kill switch stands at {_SWITCH[standing.kill_switch or Level.NONE]}."
        )

    def pull(self, level: Level, by: str) -> str:
        """Write the kill switch's file, or remove it, and return what came of it.

        Parameters
        ----------
        level : Level
            Asked for; `Level.NONE` goes on.
        by : str
            Who asks and whence, for the loop's journal.
        """
        if self._folder is None or not self._folder.is_dir():
            return "NOT DONE: the run's folder with the kill switch is not known here (run=data/live/<mode>)."
        switch = KillSwitch(self._folder, lambda _: None)
        before = switch.level
        try:
            if level is Level.NONE:
                switch.release(by)
            elif level is Level.FREEZE:
                switch.freeze(by)
            else:
                switch.flatten(by)
        except OSError as error:
            return f"NOT DONE: the kill switch's file could not be removed ({error.strerror})."
        return _outcome(level, before, kill_switch(self._folder) or Level.NONE)


def status_text(standing: Standing) -> str:
    """Return a run in a few lines that fit a phone."""
    session, account = standing.session, standing.account
    state = "running" if standing.running else f"ended: {session.why_ended or 'nobody knows why'}"
    lines = [f"{session.session.mode}: {state}, last word {_clock(standing.last_us)} UTC"]
    if account is not None:
        lines.append(
            f"Equity {account.equity:,.2f} USDT · day {_signed(account.day_return)} · "
            f"drawdown {percent(account.drawdown)}"
        )
        lines.append(
            f"Leverage {account.leverage:.2f} · {len(standing.positions)} positions · {len(standing.orders)} orders"
        )
        lines.append(f"Risk level {account.risk_level.name.lower()}")
    switch = standing.kill_switch
    lines.append(f"Kill switch {'not known here' if switch is None else _SWITCH[switch]}")
    if standing.halted:
        lines.append(f"Not traded: {', '.join(standing.halted)}")
    return "\n".join(lines)


def positions_text(standing: Standing) -> str:
    """Return what is held, two lines for each position, the largest first."""
    if not standing.positions:
        return "Nothing is held."
    largest = sorted(standing.positions, key=lambda held: -_size(held))
    lines = [line for held in largest[:_POSITIONS_MAX] for line in _position(held)]
    if len(largest) > _POSITIONS_MAX:
        lines.append(f"… and {len(largest) - _POSITIONS_MAX} smaller ones")
    return "\n".join(lines)


def _position(held: Held) -> tuple[str, str]:
    side = "long" if held.qty > 0.0 else "short"
    stop = f"stop {held.stop_price:,.8g}" if held.has_stop else "no stop"
    away = held.liquidation_distance
    far = "" if math.isnan(away) else f" · liquidation {percent(away, 0)} away"
    return (
        f"{held.symbol} {side} {abs(held.qty):,.8g} at {held.entry_price:,.8g}, now {held.mark_price:,.8g}",
        f"  {_money(held.unrealised_pnl)} USDT · {stop}{far}",
    )


def _outcome(level: Level, before: Level, after: Level) -> str:
    if after is not level:
        if level is Level.FREEZE and after is Level.FLATTEN:
            return "FLATTEN holds already: nothing opens."
        return f"NOT DONE: the kill switch stands at {_SWITCH[after]}; is the disk full?"
    if before is level:
        return f"Nothing changes: the kill switch stood at {_SWITCH[level]} already."
    return f"Asked for: kill switch {_SWITCH[level]}. The loop says here when it has heard."


def _size(held: Held) -> float:
    return 0.0 if math.isnan(held.notional) else abs(held.notional)


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else ("+" if value >= 0.0 else "") + percent(value)


def _money(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+,.2f}".replace("-", "−")


def _clock(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%m-%d %H:%M:%S")
