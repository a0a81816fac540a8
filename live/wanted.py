"""What a step of the account wants sent: new orders and cancels, under client ids that follow from its own count."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from live.broker.interface import Cancel, Order
from live.decimals import price_text, qty_text
from quantcore.account_plane import AccountPlane, Events
from quantcore.data.instruments import Instrument
from quantcore.fold import FoldState
from quantcore.kernels import layout as at
from quantcore.types import (
    FillReason,
    FloatArray,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
    WorkingType,
)

_SURE = 0.01
"""Of the wallet: with as much margin left, prices may move while orders are on their way."""
_DIGITS = 18
"""Of an order's number, at most: it is counted in 64 bits."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """An order or a cancel that a step asks for.

    Parameters
    ----------
    number : int
        Of the order, as the account counts them.
    request : Order or Cancel
        What is sent.
    urgent : bool
        Whether it makes a position smaller, or protects it.
    reason : FillReason or None
        Why it is sent; None for a cancel.
    wanted_qty : float
        Coins that the order's decision still wanted; NaN for a cancel.
    waits : bool
        Whether there is margin for it for certain only once what is urgent in its step has been carried out.
    """

    number: int
    request: Order | Cancel
    urgent: bool
    reason: FillReason | None = None
    wanted_qty: float = math.nan
    waits: bool = False


class ClientIds:
    """Client ids that follow from the account's own count of orders.

    Parameters
    ----------
    prefix : str
        Of this account alone: what does not begin with it is foreign.
    """

    def __init__(self, prefix: str) -> None:
        if not (prefix.isalnum() and prefix.isascii() and 1 <= len(prefix) <= 16):
            raise ValueError(f"prefix must be 1 to 16 letters and digits, was {prefix!r}")
        self._prefix = f"{prefix}-"

    def of(self, number: int) -> str:
        """Return the client id of an order by its number."""
        return f"{self._prefix}{number}"

    def number(self, client_id: str) -> int | None:
        """Return the number of an own order, None for a foreign one."""
        rest = client_id.removeprefix(self._prefix)
        if rest == client_id or not rest.isdecimal() or len(rest) > _DIGITS:
            return None
        number = int(rest)
        return number if self.of(number) == client_id else None


def tickets_of(state: FoldState) -> np.ndarray:
    """Return an account's open orders, one row each, columns as `kernels.layout` names them."""
    return np.asarray(state["ticket"][: int(state["counter"][at.OPEN_ORDERS])])


class Outgoing:
    """Turns what the account step has done into requests.

    Parameters
    ----------
    plane : AccountPlane
        The account's settings and rules.
    instruments : sequence of Instrument
        Of the plane's symbols, in their order.
    ids : ClientIds
        Of its orders.
    """

    def __init__(
        self, plane: AccountPlane, instruments: Sequence[Instrument], ids: ClientIds
    ) -> None:
        self.plane = plane
        self.instruments = tuple(instruments)
        self.ids = ids

    def wanted(
        self, before: FoldState, after: FoldState, events: Events, ended: set[int]
    ) -> Iterator[Wanted]:
        """Yield what a step wants sent, in this order.

        Parameters
        ----------
        before, after : FoldState
            The account's states around it.
        events : Events
            What the step did.
        ended : set of int
            Numbers of the orders of which the exchange said in this step that they have ended.
        """
        known = {int(t[at.ORDER_ID]): t for t in tickets_of(before)}
        open_after = {int(t[at.ORDER_ID]): t for t in tickets_of(after)}
        waits = not events.free_margin > _SURE * after["cash"][at.WALLET]  # NaN: not known
        asked = [n for n, t in open_after.items() if t[at.CANCEL_TS] != at.NEVER]
        # Before what is new: of close-position orders of one direction the exchange takes one alone (its -4130).
        for order in asked:
            if order in known and known[order][at.CANCEL_TS] == at.NEVER:
                yield self._cancel(known[order])
        for whole, number in zip(events.whole, events.number, strict=True):
            order, kind = int(whole[at.EVENT_ORDER]), whole[at.KIND]
            if kind == at.EVENT_NEW_ORDER and order in open_after:
                yield self._order(after, whole, number, waits=waits)
            elif kind == at.EVENT_STATUS and order in known and order not in ended:
                s = int(whole[at.EVENT_SYMBOL])
                if whole[at.EVENT_STATE] == OrderStatus.CANCELED and not after["held"][s, at.ENDED]:
                    yield self._cancel(known[order])
        for order in asked:
            if order not in known:
                yield self._cancel(open_after[order])

    def _cancel(self, ticket: np.ndarray) -> Wanted:
        return Wanted(number=int(ticket[at.ORDER_ID]), urgent=True, request=self.name(ticket))

    def name(self, ticket: np.ndarray) -> Cancel:
        """Return what names an order that is open."""
        return Cancel(
            client_id=self.ids.of(int(ticket[at.ORDER_ID])),
            symbol=self.instruments[ticket[at.SYMBOL]].symbol,
            conditional=bool(ticket[at.TYPE] > OrderType.LIMIT),
        )

    def _order(
        self, state: FoldState, whole: np.ndarray, value: FloatArray, *, waits: bool
    ) -> Wanted:
        instrument = self.instruments[whole[at.EVENT_SYMBOL]]
        kind, flags = OrderType(whole[at.EVENT_TYPE]), int(whole[at.EVENT_FLAGS])
        conditional = kind > OrderType.LIMIT
        closes, lots = bool(flags & at.CLOSE_POSITION), int(whole[at.EVENT_LOTS])
        trailing = kind == OrderType.TRAILING_STOP_MARKET
        told = closes and conditional and not trailing  # no other may be told to close the position
        if closes and not told:
            lots = self._closing_lots(state, int(whole[at.EVENT_SYMBOL]), resting=trailing)
        callback = state["order"][self._place(state, int(whole[at.EVENT_ORDER])), at.CALLBACK]
        order = Order(
            client_id=self.ids.of(int(whole[at.EVENT_ORDER])),
            symbol=instrument.symbol,
            side=Side(whole[at.EVENT_SIDE]),
            type=kind,
            qty=None if told else qty_text(instrument, lots),
            price=price_text(instrument, value[at.B]) if kind == OrderType.LIMIT else None,
            stop_price=(
                price_text(instrument, value[at.C]) if conditional and not trailing else None
            ),
            callback=f"{100.0 * callback:.1f}" if trailing else None,
            time_in_force=TimeInForce(whole[at.EVENT_TIF]),
            working_type=WorkingType(self._working(state, int(whole[at.EVENT_ORDER]))),
            reduce_only=flags != 0 and not told,
            close_position=told,
        )
        return Wanted(
            number=int(whole[at.EVENT_ORDER]),
            request=order,
            urgent=flags != 0,
            reason=FillReason(whole[at.EVENT_REASON]),
            wanted_qty=float(value[at.D]),
            waits=waits and flags == 0,
        )

    def _closing_lots(self, state: FoldState, s: int, *, resting: bool) -> int:
        """Return the lots of a reducing order that is to close a position.

        A position may grow while such an order rests, so that one asks for the most that an order may have: the
        exchange cuts a reducing order to what is held when it trades.
        """
        if resting:
            return int(self.plane.rules.size[s, at.MARKET_MAX_LOTS])
        return abs(int(state["held"][s, at.LOTS]))

    def _place(self, state: FoldState, number: int) -> int:
        return int(np.flatnonzero(tickets_of(state)[:, at.ORDER_ID] == number)[0])

    def _working(self, state: FoldState, number: int) -> int:
        return int(tickets_of(state)[self._place(state, number), at.WORKING])
