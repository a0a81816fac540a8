"""The loop's own account: what the exchange says becomes its events, what it wants becomes orders and cancels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from live.broker.interface import Cancel, Fill, Income, OrderChange
from live.clock import monotonic_us
from live.decimals import lots_of, qty_text
from live.wanted import ClientIds, Outgoing, Wanted, tickets_of
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

_ENDS = {OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED}
_NO_RULE = -1
_FEE_TOLERANCE = 1e-8
"""USDT by which the exchange's fee may differ from the rules' before it is booked: it has eight digits."""
_EXPIRY = re.compile(r"\((\d+)\)")
"""The exchange's reason for the end of an order, ``er`` of its update, as `OrderChange.why` has it."""
_RULES = {"4": Rule.REDUCE_ONLY, "7": Rule.SYMBOL_ENDED, "9": Rule.NO_PRICE}
_NOTHING_LEFT = "Reduce Only reject"
"""What a conditional order is told, ``rm`` of its update, that triggered when its position was gone."""
_NO_REFUSAL = {"2", "3", "5", "6", "8"}
"""Reasons that belong to an order's kind, or to what became of its position."""


@dataclass(frozen=True, kw_only=True)
class LedgerStep:
    """What one step did: the state after it, its events, and what it wants sent, in this order.

    `account_us` is how long the account step took: risk check, sizer, router, protective stops.
    """

    state: FoldState = field(repr=False)
    events: Events = field(repr=False)
    wanted: tuple[Wanted, ...]
    account_us: int


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
        self._outgoing = Outgoing(plane, instruments, ids)
        self.at = {instrument.symbol: s for s, instrument in enumerate(instruments)}

    def open_numbers(self) -> set[int]:
        """Return the numbers of the orders that it takes for open."""
        return set(tickets_of(self.state)[:, at.ORDER_ID].tolist())

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
            int(ticket[at.ORDER_ID]): self._outgoing.name(ticket)
            for ticket in tickets_of(self.state)
        }

    def opening_orders(self) -> dict[int, Cancel]:
        """Return what names each order that it takes for open and that may open or enlarge a position, by number."""
        return {
            int(ticket[at.ORDER_ID]): self._outgoing.name(ticket)
            for ticket in tickets_of(self.state)
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
        return tickets_of(self.state)

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
            wanted=tuple(self._outgoing.wanted(before, state, events, ended)),
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
