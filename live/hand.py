"""What the kill switch means for the account: what may still be wanted, and what is called off (all pure)."""

from __future__ import annotations

import numpy as np

from live.kill_switch import Level
from live.ledger import Ledger, Row
from quantcore.execution.router import RouterState
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.types import FloatArray, OrderType

SOURCE = "kill switch"
"""Who says so in the journal, and why nothing opens."""
RELEASED, FLAT = "released", "all own positions are closed"


def words(level: Level, why: str) -> str:
    """Return what the journal says of a level; `why` is as the kill switch has it, empty for what was done by hand."""
    if level is Level.NONE:
        return f"{RELEASED} by {why}" if why else RELEASED
    return f"{level.name.lower()} by {why or 'hand'}"


def restrain(targets: FloatArray, level: Level, ledger: Ledger, row: Bars) -> FloatArray:
    """Return what of decided targets may be asked for.

    Frozen, a position may become smaller and no larger, and nothing turns; flattened, everything is to be flat.

    Parameters
    ----------
    targets : float64 array, shape (n_symbols,)
        Target weights; NaN leaves a symbol as it is.
    level : Level
        How far trading is stopped.
    ledger : Ledger
        What is held.
    row : Bars
        The bar that closes.
    """
    if level is Level.NONE:
        return targets
    if level is Level.FLATTEN:
        return np.zeros_like(targets)
    held = _weights(ledger, row)
    kept = np.where(np.abs(targets) < np.abs(held), targets, np.nan)
    return np.where(targets * held <= 0.0, 0.0, kept)


def called_off(ledger: Ledger, level: Level, now_us: int) -> dict[str, Row]:
    """Return by symbol the word by which what opens is called off, and what is held is closed if all is to be flat.

    Where that is on its way already nothing is said.
    """
    flat = level is Level.FLATTEN
    rows = {}
    for symbol, s in ledger.at.items():
        unfit = _stays(ledger, s) if flat else _grows(ledger, s)
        if level is not Level.NONE and unfit:
            rows[symbol] = ledger.called_off(symbol, now_us, closes=flat)
    return rows


def is_flat(ledger: Ledger) -> bool:
    """Return whether nothing is held, and nothing that could open is on its way or at the exchange."""
    idle = not any(_is_active(ledger, s) for s in ledger.at.values())
    return idle and not ledger.state["held"][:, at.LOTS].any() and not ledger.opening_orders()


def _weights(ledger: Ledger, row: Bars) -> FloatArray:
    """Return what is held over equity, at the row's marks."""
    marks = ledger.state["position"][:, at.MARK]
    for name in ("close", "mark_price"):
        if row.has(name):
            told = row.array(name)[-1]
            marks = np.where(told > 0.0, told, marks)
    qty = ledger.state["position"][:, at.QTY]
    return np.asarray(np.where(qty == 0.0, 0.0, qty * marks) / ledger.state["cash"][at.EQUITY])


def _is_active(ledger: Ledger, s: int) -> bool:
    routes = ledger.state["route"]
    return len(routes) > 0 and int(routes[s, at.STATE]) != RouterState.IDLE


def _stays(ledger: Ledger, s: int) -> bool:
    """Return whether something is held or wanted and not on its way to nothing at once."""
    lots = int(ledger.state["held"][s, at.LOTS])
    if _is_active(ledger, s):
        route = ledger.state["route"][s]
        return bool((lots or route[at.GOAL]) and (route[at.GOAL] or not route[at.URGENT]))
    leaves = any(
        ticket[at.SYMBOL] == s and ticket[at.TYPE] == OrderType.MARKET
        for ticket in ledger.tickets()
    )
    return lots != 0 and not leaves


def _grows(ledger: Ledger, s: int) -> bool:
    """Return whether the router is on its way to more than is held, or away from what an opening order has filled."""
    if not _is_active(ledger, s):
        return False
    route, lots = ledger.state["route"][s], int(ledger.state["held"][s, at.LOTS])
    goal = int(route[at.GOAL])
    opens = route[at.CHILD] != at.NONE and route[at.CHILD_FLAGS] == 0 and not route[at.URGENT]
    return bool(opens and goal != lots) or goal * lots < 0 or abs(goal) > abs(lots)
