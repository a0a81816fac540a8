"""What the exchange does by itself as time passes: orders that end, triggers that it watches, warnings, new rules."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from live.simulator import booking, matching, user_events
from live.simulator.accounts import VenueAccount
from live.simulator.orders import AlgoOrder
from live.simulator.wire import Refused
from quantcore.account_plane import AccountSettings, compile_rules
from quantcore.data.instruments import Instrument
from quantcore.execution.settings import ExecutionSettings
from quantcore.kernels import layout as at
from quantcore.types import OrderStatus

if TYPE_CHECKING:
    from live.simulator.engine import Engine

CALL_RATIO = 0.8
"""Share of the margin that maintenance may take before the account is warned.

The exchange documents no figure: it warns when "the user's position risk ratio is too high", as guidance only, maybe at
the moment of liquidation.
"""


def look_after(venue: Engine, account: VenueAccount) -> None:
    """Do what is due after a step of the clock."""
    _expire(venue, account)
    for algo in [a for a in account.open_algos() if a.step_id < 0]:
        _watch(venue, account, algo)
    close_guards(venue, account)
    _warn(venue, account)


def _expire(venue: Engine, account: VenueAccount) -> None:
    now_ms = venue.now_us // 1000
    for order in account.open_orders():
        if 0 < order.terms.good_till_ms <= now_ms:
            matching.end(venue, account, order, OrderStatus.EXPIRED)
    for s, until in list(account.countdown_us.items()):
        if until <= venue.now_us:
            del account.countdown_us[s]
            for order in account.open_orders(s):
                matching.end(venue, account, order, OrderStatus.CANCELED)


def close_guards(venue: Engine, account: VenueAccount) -> None:
    """Let the close-position orders of symbols that hold nothing any more expire."""
    for algo in account.open_algos():
        if algo.terms.close_position and account.lots(algo.terms.s) == 0:
            matching.end_algo(venue, account, algo, "EXPIRED")


def _watch(venue: Engine, account: VenueAccount, algo: AlgoOrder) -> None:
    """Trigger a conditional order that the venue watches, at the prices now; a fault can keep it from being sent."""
    terms, s = algo.terms, algo.terms.s
    if algo.status == "TRIGGERING":
        if not venue.in_force("stuck_triggering", s, account):
            _become(venue, account, algo)
        return
    basis = (venue.marks if terms.working_type == "MARK_PRICE" else venue.prices)[s]
    if math.isnan(basis):
        return
    if terms.type == "TRAILING_STOP_MARKET":
        triggered = _trails(algo, float(basis))
    else:
        stop = terms.stop or math.nan
        rising = terms.type.startswith("STOP") == (terms.side > 0)
        triggered = basis >= stop if rising else basis <= stop
    if triggered:
        booking.trigger(venue, account, algo)
        if not venue.in_force("stuck_triggering", s, account):
            _become(venue, account, algo)


def _become(venue: Engine, account: VenueAccount, algo: AlgoOrder) -> None:
    """Send the order that a conditional order of the venue's becomes."""
    terms = algo.terms
    kind = "LIMIT" if terms.type in ("STOP", "TAKE_PROFIT") else "MARKET"
    lots = abs(account.lots(terms.s)) if terms.close_position else terms.lots
    became = replace(terms, type=kind, stop=None, lots=lots, close_position=False)
    try:
        order = matching.submit(venue, account, became, algo=algo)
    except Refused as refused:
        algo.status, algo.changed_us = "REJECTED", venue.now_us
        venue.tell(account, user_events.algo_update(algo, venue.now_us, why=refused.message))
        return
    algo.order = order
    if algo.status == "TRIGGERING":
        algo.status = "TRIGGERED" if order.is_open else "FINISHED"
    venue.tell(account, user_events.algo_update(algo, venue.now_us))


def _trails(algo: AlgoOrder, price: float) -> bool:
    """Let a trailing stop follow a price; return whether it is hit."""
    terms = algo.terms
    if math.isnan(algo.extreme):
        reached = terms.activation is None or (terms.activation - price) * terms.side >= 0.0
        if not reached:
            return False
        algo.extreme = price
    if (algo.extreme - price) * terms.side > 0.0:
        algo.extreme = price
    stop = algo.extreme * (1.0 + int(terms.side) * (terms.callback or 0.0) / 100.0)
    return (price - stop) * terms.side >= 0.0


def _warn(venue: Engine, account: VenueAccount) -> None:
    """Send a margin call when maintenance begins to take most of the margin."""
    held = np.flatnonzero(account.held["position"][:, at.QTY])
    if not len(held):
        account.warned = False
        return
    marks = venue.marks
    marks = np.where(np.isnan(marks), account.held["position"][:, at.MARK], marks)
    needed = sum(account.maintenance_margin(int(s), float(marks[s])) for s in held)
    margin = account.balance + float(account.unrealised(marks).sum())
    short = needed >= CALL_RATIO * margin
    if short and not account.warned:
        venue.tell(account, user_events.margin_call(account, marks, venue.now_us))
    account.warned = short


def change_rules(venue: Engine, s: int, changes: dict[str, Any]) -> None:
    """Give a symbol other rules, for all accounts: ``Instrument`` fields by name.

    Raises
    ------
    ValueError
        If they do not make an instrument.
    """
    changed: Instrument = replace(venue.instruments[s], **changes)
    venue.instruments[s] = changed
    rules = compile_rules(
        [changed],
        account=AccountSettings(
            capital=1.0, margin="cross", leverage_max=1, no_trade_band=0.0, margin_buffer=0.0,
            missing_funding_rate=0.0, cash_flows=(),
        ),
        execution=ExecutionSettings(
            half_spread_bps=venue.settings.half_spread_bps, slippage_bps=venue.settings.slippage_bps,
            latency_ms=100.0, maker_fee=venue.settings.maker_fee, taker_fee=venue.settings.taker_fee,
        ),
    )  # fmt: skip
    for account in venue.accounts.values():
        margin, ends = account.rules.size[s, at.MARGIN_TYPE], account.rules.size[s, at.ENDS_US]
        if account.lots(s) == 0 and not account.open_orders(s):
            account.rules.size[s] = rules.size[0]  # lots held are counted in the old steps
        account.rules.size[s, at.MARGIN_TYPE], account.rules.size[s, at.ENDS_US] = margin, ends
        account.rules.rate[s] = rules.rate[0]
        account.instruments = venue.instruments
        account.set_leverage(s, min(account.leverage(s), changed.leverage_max))
