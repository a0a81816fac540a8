"""Faults of the exchange itself that concern orders, positions, prices and rules, as they happen to a venue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from live.simulator import matching, passage
from live.simulator.accounts import VenueAccount
from live.simulator.kernels import cancel
from live.simulator.orders import AlgoOrder
from live.simulator.scenario import FILTERS
from live.simulator.watch import change_rules
from quantcore.types import Liquidity, OrderStatus

if TYPE_CHECKING:
    from live.simulator.engine import Engine
    from live.simulator.faults import VenueFault

TRADING = ("liquidation", "adl", "price_gap")
"""The kinds that are nothing but a trade at once."""


def suffer(venue: Engine, fault: VenueFault) -> None:
    """Let a fault happen; one that lasts is kept in `Engine.mishaps` until it ends.

    A price gap is met by orders and margins for an instant; the streams go on along the path.

    Raises
    ------
    ValueError
        If a filter change does not make an instrument, or the fault trades while the exchange is in maintenance.
    """
    venue.mishaps = [
        each for each in venue.mishaps if each.until_us is None or each.until_us > venue.now_us
    ]
    if venue.closed and fault.kind in TRADING:
        raise ValueError(f"kind must be none that trades in maintenance, was {fault.kind}")
    if fault.kind in ("partial_fill", "stuck_triggering", "maintenance"):
        venue.mishaps.append(fault)
    for s, symbol in enumerate(venue.symbols):
        if not fault.meets(symbol=symbol):
            continue
        if fault.kind == "delisting":
            venue.delist(symbol)
        elif fault.kind == "filter_change":
            change_rules(venue, s, filters(fault.rule.changes))
        elif fault.kind == "price_gap":
            passage.meet(venue, s, float(venue.prices[s]) * (1.0 + fault.rule.fraction))
        for account in list(venue.accounts.values()):
            if fault.meets(symbol=symbol, account=account.key):
                _to_account(venue, fault, s, account)


def _to_account(venue: Engine, fault: VenueFault, s: int, account: VenueAccount) -> None:
    if fault.kind in ("liquidation", "adl"):
        _force(venue, account, s, liquidates=fault.kind == "liquidation")
    elif fault.kind == "partial_fill":
        _fill_in_part(venue, account, s, fault.rule.fraction)
    elif fault.kind == "stuck_triggering":
        for algo in account.open_algos(s):
            if algo.step_id >= 0:
                _hand_over(venue, account, algo)


def _force(venue: Engine, account: VenueAccount, s: int, *, liquidates: bool) -> None:
    """Close a position at its mark: a liquidation, which first cancels the symbol's orders, or a deleveraging."""
    mark = float(venue.marks[s])
    if account.lots(s) == 0 or np.isnan(mark):
        return
    if liquidates:
        for order in account.open_orders(s):
            matching.end(venue, account, order, OrderStatus.CANCELED)
    matching.force(venue, account, s, mark, liquidates=liquidates)


def _fill_in_part(venue: Engine, account: VenueAccount, s: int, fraction: float) -> None:
    """Fill a share of every resting order at its price; not in maintenance, nor between two bars in lock-step."""
    if venue.lock_step or venue.closed:
        return
    for order in account.open_orders(s):
        left = order.terms.lots - order.done
        lots = min(max(int(left * fraction), 1), left)
        if order.terms.price is not None:
            matching.fill(venue, account, None, order, lots, order.terms.price, Liquidity.MAKER)


def _hand_over(venue: Engine, account: VenueAccount, algo: AlgoOrder) -> None:
    """Take a conditional order out of the account step; the venue watches it from now on."""
    journal = account.journal(np.empty(0, dtype=np.int64))
    cancel(account.account, journal, algo.number, venue.now_us, int(OrderStatus.CANCELED))
    account.by_step_id.pop(algo.step_id, None)
    algo.step_id = -1


def filters(changes: Mapping[str, str]) -> dict[str, Any]:
    """Return changed filters, some of `scenario.FILTERS`, as an instrument's fields."""
    fields = {FILTERS[name]: value for name, value in changes.items()}
    return {
        name: float(value) if name == "min_notional" else str(value)
        for name, value in fields.items()
    }
