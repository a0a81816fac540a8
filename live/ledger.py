"""The loop's own account: what the exchange says becomes its events, what it wants becomes orders and cancels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from live.broker.interface import Cancel, Fill, Income, Order, OrderChange
from live.clock import monotonic_us
from live.decimals import lots_of, price_text, qty_text
from quantcore import account_follow as said
from quantcore.account_follow import Heard, follow_bar
from quantcore.account_plane import AccountPlane, Events
from quantcore.data.instruments import Instrument
from quantcore.fold import FoldState
from quantcore.frames import Bars, no_settlements
from quantcore.kernels import layout as at
from quantcore.settlements import settlement_rows
from quantcore.types import (
    FillReason,
    FloatArray,
    Liquidity,
    OrderStatus,
    OrderType,
    Rule,
    Side,
    TimeInForce,
    WorkingType,
)

Row = tuple[Sequence[int], Sequence[float]]
"""One event as the account step hears it: its whole and its real numbers."""

LIQUIDATED = "autoclose-"
"""Beginning of the client id of a liquidation's order (BINANCE.md)."""
FORCED_BY = {
    LIQUIDATED: FillReason.LIQUIDATION,
    "adl_autoclose": FillReason.LIQUIDATION,
    "settlement_autoclose-": FillReason.SETTLEMENT,
}
"""Beginnings of the client ids of orders that the exchange makes itself, and why."""

_DIGITS = 18
"""Of an order's number, at most: it is counted in 64 bits."""
_ENDS = {OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED}
_NO_RULE = -1
_FEE_TOLERANCE = 1e-8
"""USDT by which the exchange's fee may differ from the rules' before it is booked: it has eight digits."""
_SURE = 0.01
"""Of the wallet: with as much margin left, prices may move while orders are on their way."""
_EXPIRY = re.compile(r"\((\d+)\)")
"""The exchange's reason for the end of an order, ``er`` of its update, as `OrderChange.why` has it."""
_RULES = {"4": Rule.REDUCE_ONLY, "7": Rule.SYMBOL_ENDED, "9": Rule.NO_PRICE}
_NOTHING_LEFT = "Reduce Only reject"
"""What a conditional order is told, ``rm`` of its update, that triggered when its position was gone."""
_NO_REFUSAL = {"2", "3", "5", "6", "8"}
"""Reasons that belong to an order's kind, or to what became of its position."""


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


@dataclass(frozen=True, kw_only=True)
class LedgerStep:
    """What one step did: the state after it, its events, and what it wants sent, in this order.

    `account_us` is how long the account step took: risk check, sizer, router, protective stops.
    """

    state: FoldState = field(repr=False)
    events: Events = field(repr=False)
    wanted: tuple[Wanted, ...]
    account_us: int


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


class Ledger:
    """The account that the loop believes in.

    Parameters
    ----------
    plane : AccountPlane
        Its settings and rules.
    instruments : sequence of Instrument
        Of the plane's symbols, in their order, as the host traded on has them.
    ids : ClientIds
        Of its orders.
    state : FoldState or None
        Where it stands; None: a fresh account.
    """

    def __init__(
        self,
        plane: AccountPlane,
        instruments: Sequence[Instrument],
        ids: ClientIds,
        state: FoldState | None = None,
    ) -> None:
        self.plane = plane
        self.instruments = tuple(instruments)
        self.ids = ids
        self.state = plane.start() if state is None else state
        self.at = {instrument.symbol: s for s, instrument in enumerate(instruments)}

    def open_numbers(self) -> set[int]:
        """Return the numbers of the orders that it takes for open."""
        return set(self._tickets(self.state)[:, at.ORDER_ID].tolist())

    def lots(self, symbol: str) -> int:
        """Return the signed lots that it holds."""
        return int(self.state["held"][self.at[symbol], at.LOTS])

    def qty(self, symbol: str) -> str:
        """Return the signed coins that it holds."""
        return qty_text(self.instruments[self.at[symbol]], self.lots(symbol))

    @property
    def wallet(self) -> float:
        """Wallet balance, isolated margin included, USDT."""
        margins = self.state["position"][:, at.MARGIN].sum()
        return float(self.state["cash"][at.WALLET] + margins)

    def open_orders(self) -> dict[int, Cancel]:
        """Return what names each order that it takes for open, by number."""
        return {
            int(ticket[at.ORDER_ID]): self._name(ticket) for ticket in self._tickets(self.state)
        }

    def opening_orders(self) -> dict[int, Cancel]:
        """Return what names each order that it takes for open and that may open or enlarge a position, by number."""
        return {
            int(ticket[at.ORDER_ID]): self._name(ticket)
            for ticket in self._tickets(self.state)
            if ticket[at.FLAGS] == 0
        }

    def hear(self, event: Fill | OrderChange | Income) -> list[Row] | None:
        """Return an event as the account step hears it; None for one of a foreign order, which is not booked."""
        if isinstance(event, Fill):
            return self._fill(event)
        if isinstance(event, Income):
            return [self._income(event)]
        number = self.ids.number(event.order.client_id)
        if number is None or event.order.symbol not in self.at:
            return None
        if event.order.status not in _ENDS:
            return []
        status, rule = event.order.status, self._rule(event)
        if status == OrderStatus.EXPIRED and rule not in (None, Rule.REDUCE_ONLY):
            status = OrderStatus.REJECTED
        return [self.ended(number, event.order.symbol, status, rule, event.time_us)]

    def ended(
        self, number: int, symbol: str, status: OrderStatus, rule: Rule | None, time_us: int
    ) -> Row:
        """Return the end of an own order as the account step hears it; `rule` is that of a refusal."""
        broken = _NO_RULE if rule is None else int(rule)
        whole = (said.ENDED_ORDER, time_us, self.at[symbol], number, 0, int(status), broken)
        return whole, (0.0, 0.0, 0.0)

    def corrected(self, amount: float, time_us: int) -> Row:
        """Return a correction of the wallet, USDT, as the account step hears it."""
        return (said.CORRECTED, time_us, 0, 0, 0, 0, _NO_RULE), (amount, 0.0, 0.0)

    def cleared(self, rows: Sequence[Row], income: Income) -> list[Row] | None:
        """Return rows with what a liquidation among them cost or insurance paid; None where there is none of it.

        The exchange tells it as an income of its own after the trades (``INSURANCE_CLEAR``).
        """
        s = self.at.get(income.symbol or "")
        for place in range(len(rows) - 1, -1, -1):
            whole, (price, fee, insured) = rows[place]
            liquidation = (said.FORCED, int(FillReason.LIQUIDATION))
            if (whole[said.KIND], whole[said.RULE]) != liquidation or whole[said.SYMBOL_AT] != s:
                continue
            amount = float(income.amount)
            paid = (price, fee + max(-amount, 0.0), insured + max(amount, 0.0))
            return [*rows[:place], (whole, paid), *rows[place + 1 :]]
        return None

    def called_off(self, symbol: str, time_us: int, *, closes: bool) -> Row:
        """Return the word that nothing opens in a symbol, or that it is closed, as the account step hears it."""
        return (said.CALLED_OFF, time_us, self.at[symbol], 0, 0, int(closes), _NO_RULE), (
            0.0,
            0.0,
            0.0,
        )

    def tickets(self) -> np.ndarray:
        """Return the orders that it takes for open, one row each, columns as `kernels.layout` names them."""
        return self._tickets(self.state)

    def _income(self, income: Income) -> Row:
        """Return money that moved without a trade: funding of a symbol held, a transfer, or else a correction."""
        s = self.at.get(income.symbol or "")
        amount = (float(income.amount), 0.0, 0.0)
        if income.kind == "FUNDING_FEE" and s is not None:
            return (said.PAID, income.time_us, s, 0, 0, 0, _NO_RULE), amount
        kind = said.FLOWED if income.kind == "TRANSFER" else said.CORRECTED
        return (kind, income.time_us, 0, 0, 0, 0, _NO_RULE), amount

    def settlements(self, bars: Bars) -> list[Row]:
        """Return the funding that is settled inside a bar, as the account step hears it."""
        whole, number = settlement_rows(bars, missing_rate=self.plane.missing_funding_rate)
        opens = bars.array("mark_open") if bars.has("mark_open") else bars.array("open")
        rows: list[Row] = []
        for paid, (rate, mark) in zip(whole.tolist(), number.tolist(), strict=True):
            s = paid[at.SETTLEMENT_SYMBOL]
            known = (
                mark,
                opens[0, s],
                bars.array("open")[0, s],
                self.state["position"][s, at.MARK],
            )
            used = next((float(price) for price in known if price > 0.0), 0.0)
            rows.append(
                (
                    (
                        said.FUNDED,
                        paid[at.SETTLEMENT_TIME],
                        s,
                        0,
                        0,
                        paid[at.SETTLEMENT_ASSUMED],
                        -1,
                    ),
                    (rate, used, 0.0),
                )
            )
        return rows

    def step(
        self,
        bar: Bars,
        heard: Iterable[Row],
        *,
        targets: FloatArray | None = None,
        recorded: bool = False,
        closes: bool = True,
        half_spread: FloatArray | None = None,
    ) -> LedgerStep:
        """Return what a step would do; nothing changes until `take` is called with it.

        Parameters
        ----------
        bar : Bars
            One row; see `account_follow.follow_bar`.
        heard : iterable of Row
            What was said since the last step, in order.
        targets, recorded, closes, half_spread
            See `account_follow.follow_bar`.
        """
        told = Heard.of(list(heard))
        before, began_us = self.state, monotonic_us()
        state, events = follow_bar(
            self.plane,
            before,
            bar,
            told,
            targets=targets,
            recorded=recorded,
            closes=closes,
            half_spread=half_spread,
        )
        account_us = monotonic_us() - began_us
        ended = set(told.whole[told.whole[:, said.KIND] == said.ENDED_ORDER, said.ORDER].tolist())
        return LedgerStep(
            state=state,
            events=events,
            wanted=tuple(self._wanted(before, state, events, ended)),
            account_us=account_us,
        )

    def warm(self) -> None:
        """Compile what a step needs, before a connection waits for it; nothing changes."""
        last_us = int(self.state["counter"][at.LAST_TS])
        length_us = int(self.plane.config[at.BAR_US])
        empty = np.full((1, len(self.instruments)), np.nan)
        bar = Bars(
            interval=self.plane.interval,
            ts_us=np.array([last_us + length_us if last_us else length_us], dtype=np.int64),
            symbols=self.plane.symbols,
            fields=dict.fromkeys(("open", "high", "low", "close", "volume"), empty),
            settlements=no_settlements(),
        )
        self.step(bar, [], targets=empty[0])

    def take(self, step: LedgerStep) -> None:
        """Go on from a step's state."""
        self.state = step.state

    def _fill(self, fill: Fill) -> list[Row] | None:
        s = self.at.get(fill.symbol)
        if s is None:
            return None
        number = self.ids.number(fill.client_id)
        forced = next((r for name, r in FORCED_BY.items() if fill.client_id.startswith(name)), None)
        if number is None and forced is None:
            return None
        lots, price = lots_of(self.instruments[s], fill.qty), float(fill.price)
        if number is not None:
            liquidity = int(Liquidity.MAKER if fill.maker else Liquidity.TAKER)
            signed = lots * int(fill.side)
            whole = (said.TRADED, fill.time_us, s, number, signed, liquidity, _NO_RULE)
            return [(whole, (price, 0.0, 0.0)), *self._fee_difference(fill, s, lots, price)]
        assert forced is not None
        whole = (said.FORCED, fill.time_us, s, 0, lots * int(fill.side), 0, int(forced))
        return [(whole, (price, float(fill.fee), 0.0))]

    def _fee_difference(self, fill: Fill, s: int, lots: int, price: float) -> list[Row]:
        """Return the correction where the exchange took another fee than the rules say."""
        if fill.fee_asset != "USDT":
            return []
        rate = self.plane.rules.rate[s, at.MAKER_FEE if fill.maker else at.TAKER_FEE]
        own = abs(lots) * float(Decimal(self.instruments[s].step_size)) * price * float(rate)
        away = own - float(fill.fee)
        return [self.corrected(away, fill.time_us)] if abs(away) > _FEE_TOLERANCE else []

    def _rule(self, event: OrderChange) -> Rule | None:
        """Return the account step's rule by which the exchange refused an order that it had taken."""
        order = event.order
        found = _EXPIRY.search(event.why)
        code = "" if found is None else found.group(1)
        if order.status == OrderStatus.CANCELED or code in _NO_REFUSAL:
            return None
        if code in _RULES:
            return _RULES[code]
        if order.conditional and event.why == _NOTHING_LEFT:
            return Rule.REDUCE_ONLY
        if order.status == OrderStatus.EXPIRED and (order.conditional or float(order.filled)):
            return None
        return Rule.POST_ONLY_WOULD_CROSS if order.type == OrderType.LIMIT else Rule.MARGIN

    @staticmethod
    def _tickets(state: FoldState) -> np.ndarray:
        return np.asarray(state["ticket"][: int(state["counter"][at.OPEN_ORDERS])])

    def _wanted(
        self, before: FoldState, after: FoldState, events: Events, ended: set[int]
    ) -> Iterable[Wanted]:
        known = {int(t[at.ORDER_ID]): t for t in self._tickets(before)}
        open_after = {int(t[at.ORDER_ID]): t for t in self._tickets(after)}
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
        return Wanted(number=int(ticket[at.ORDER_ID]), urgent=True, request=self._name(ticket))

    def _name(self, ticket: np.ndarray) -> Cancel:
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
        return int(np.flatnonzero(self._tickets(state)[:, at.ORDER_ID] == number)[0])

    def _working(self, state: FoldState, number: int) -> int:
        return int(self._tickets(state)[self._place(state, number), at.WORKING])
