"""What is held: the last closed bar's positions and the fills since, their liquidation prices and their stops."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, func, select

from live.journal import tables
from live.journal.codec import number
from live.monitor.account import Account, ratio
from live.monitor.open_orders import OpenOrder
from live.monitor.rules import Rules
from live.monitor.view import selected
from quantcore.finance.liquidation import MarginAccount, liquidation_distance, liquidation_prices

_STOPS = ("stop_market", "trailing_stop_market")
_FLAT = 1e-9
"""Of a fill's quantity: what is left by rounding is nothing."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """A position.

    Parameters
    ----------
    symbol : str
        Of what.
    qty : float
        Coins, > 0 long; with the fills since the last closed bar.
    entry_price, mark_price : float
        USDT per coin; the mark is that of the last closed bar, NaN of a position younger than that.
    unrealised_pnl, notional : float
        USDT; the notional has the position's sign.
    leverage : float
        Notional over equity, > 0.
    liquidation_price, liquidation_distance : float
        Mark at which it is liquidated while the others' stand still, NaN if at none, and how far that is, a fraction.
    liquidation_probability : float
        Within 24 hours, as the liquidation monitor had it at its last check; NaN where it has not spoken.
    stop_price : float
        Trigger of the protective stop nearest to the mark; NaN without one.
    stop_stuck : bool
        Whether one of its stops has triggered and became nothing.
    """

    symbol: str
    qty: float
    entry_price: float
    mark_price: float
    unrealised_pnl: float
    notional: float
    leverage: float
    liquidation_price: float
    liquidation_distance: float
    liquidation_probability: float
    stop_price: float
    stop_stuck: bool

    @property
    def has_stop(self) -> bool:
        """Whether a protective stop is open."""
        return not math.isnan(self.stop_price)


class _Position(NamedTuple):
    qty: float
    entry: float
    mark: float
    isolated_margin: float
    chance: float


_NOTHING = _Position(0.0, math.nan, math.nan, math.nan, math.nan)


def positions(
    connection: Connection,
    account: Account | None,
    orders: Sequence[OpenOrder],
    rules: Rules | None,
) -> tuple[Held, ...]:
    """Return what is held: the last closed bar's positions and the fills since."""
    seq = connection.scalar(select(func.max(tables.equity.c.seq))) or 0
    held = {
        row.symbol: _Position(
            number(row.qty),
            number(row.entry_price),
            number(row.mark_price),
            number(row.isolated_margin),
            number(row.liquidation_chance),
        )
        for row in connection.execute(selected("positions", after=seq - 1, upto=seq))
    }
    known = connection.scalar(select(tables.steps.c.last_event).where(tables.steps.c.seq == seq))
    for fill in connection.execute(selected("fills", after=known or 0)):
        before = held.get(fill.symbol, _NOTHING)
        moved = float(fill.qty) if fill.side == "buy" else -float(fill.qty)
        qty, entry = booked(before.qty, before.entry, moved, float(fill.price))
        held[fill.symbol] = _Position(qty, entry, before.mark, before.isolated_margin, math.nan)
    held = {symbol: each for symbol, each in sorted(held.items()) if each.qty != 0.0}
    prices = _liquidation_prices(account, held, rules)
    equity = math.nan if account is None else account.equity
    return tuple(
        _held(symbol, each, prices.get(symbol, math.nan), equity, orders)
        for symbol, each in held.items()
    )


def booked(qty: float, entry: float, moved: float, price: float) -> tuple[float, float]:
    """Return quantity and entry price of a position after a fill of signed coins.

    What is reduced keeps its entry price; what is enlarged has the mean; what turns has that of the fill.

    Examples
    --------
    >>> booked(1.0, 100.0, 1.0, 110.0), booked(2.0, 100.0, -3.0, 110.0), booked(1.0, 100.0, -1.0, 9.0)
    ((2.0, 105.0), (-1.0, 110.0), (0.0, nan))
    """
    after = qty + moved
    if abs(after) <= _FLAT * abs(moved):
        return 0.0, math.nan
    if qty == 0.0 or qty * after < 0.0:
        return after, price
    if abs(after) < abs(qty):
        return after, entry
    return after, (qty * entry + moved * price) / after


def _held(
    symbol: str,
    position: _Position,
    liquidation_price: float,
    equity: float,
    orders: Sequence[OpenOrder],
) -> Held:
    qty, entry, mark, _, chance = position
    side = math.copysign(1.0, qty)
    stops = [
        order
        for order in orders
        if order.symbol == symbol
        and order.protects
        and order.type in _STOPS
        and order.side == ("sell" if qty > 0.0 else "buy")
    ]
    live = [order.stop_price for order in stops if not order.stuck]
    nearest = (max if side > 0.0 else min)(live) if live else math.nan
    return Held(
        symbol=symbol,
        qty=qty,
        entry_price=entry,
        mark_price=mark,
        unrealised_pnl=qty * (mark - entry),
        notional=qty * mark,
        leverage=ratio(abs(qty * mark), equity),
        liquidation_price=liquidation_price,
        liquidation_distance=liquidation_distance(liquidation_price, mark, side=side),
        liquidation_probability=chance,
        stop_price=nearest,
        stop_stuck=any(order.stuck for order in stops),
    )


def _liquidation_prices(
    account: Account | None, held: Mapping[str, _Position], rules: Rules | None
) -> dict[str, float]:
    """Return liquidation prices by symbol, of positions that a closed bar knows; none without the exchange's rules."""
    if account is None or rules is None:
        return {}
    known = {symbol: each for symbol, each in held.items() if not math.isnan(each.mark)}
    brackets = rules.brackets
    if not known or not brackets.keys() >= known.keys():
        return {}
    isolated = np.array([each.isolated_margin for each in known.values()])
    on_cross = rules.margin == "cross"
    qty, entry, mark = (np.array([each[n] for each in known.values()]) for n in range(3))
    found = liquidation_prices(
        MarginAccount(
            wallet=account.wallet_balance - (0.0 if on_cross else float(np.nansum(isolated))),
            qty=qty,
            entry=entry,
            mark=mark,
            brackets=np.array([brackets[symbol] for symbol in known]),
            isolated_margin=math.nan if on_cross else isolated,
        )
    )
    return dict(zip(known, found.tolist(), strict=True))
