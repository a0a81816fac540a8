"""The exchange's engine: a clock, a market and accounts that trade on it.

Every account is advanced by the account step of the backtest. In lock-step a driver moves the clock from one bar's
close to the next, and orders meet the next bar as the backtest has it. Else the clock moves in short steps along the
path within the bars, and what crosses the spread fills at once against the book of the moment.
"""

from __future__ import annotations

import math
import pickle
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from live.simulator import user_events
from live.simulator.accounts import (
    Income,
    Trade,
    VenueAccount,
    each_event,
    venue_account,
)
from live.simulator.kernels import cancel, close_by_force, execute, rest, send
from live.simulator.orders import AlgoOrder, Order, Terms, qty_of
from live.simulator.resting import out_of_reach
from live.simulator.wire import Refused
from quantcore.account_plane import AccountSettings, account_plane, market_arrays
from quantcore.account_step import scan
from quantcore.data.instruments import Instrument
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import NO_EXITS
from quantcore.kernels import layout as at
from quantcore.kernels.layout import Journal, Market
from quantcore.settlements import settlement_rows
from quantcore.types import (
    FillReason,
    FloatArray,
    IntArray,
    Liquidity,
    OrderStatus,
    OrderType,
    Rule,
    Side,
    TimeInForce,
    WorkingType,
)

if TYPE_CHECKING:
    from live.simulator.faults import VenueFault
    from live.simulator.market import Tape

DEPTH = 500
"""Levels of the book that an order may take."""
NEAR = 10
"""Levels that are looked at first."""
STEP_KINDS = {
    "MARKET": OrderType.MARKET,
    "LIMIT": OrderType.LIMIT,
    "STOP_MARKET": OrderType.STOP_MARKET,
    "TAKE_PROFIT_MARKET": OrderType.TAKE_PROFIT_MARKET,
    "TRAILING_STOP_MARKET": OrderType.TRAILING_STOP_MARKET,
}
REFUSALS = {
    Rule.MIN_NOTIONAL: (-4164, "Order's notional must be no smaller than {least:g} (unless you choose reduce only)."),
    Rule.BELOW_STEP: (-4004, "Quantity less than min quantity."),
    Rule.MARKET_MAX_QTY: (-4005, "Quantity greater than max quantity."),
    Rule.MARGIN: (-2019, "Margin is insufficient."),
    Rule.BRACKET_NOTIONAL: (-2027, "Exceeded the maximum allowable position at current leverage."),
    Rule.POST_ONLY_WOULD_CROSS: (
        -5022,
        "Due to the order could not be executed as maker, the Post Only order will be rejected. "
        "The order will not be recorded in the order history",
    ),
    Rule.REDUCE_ONLY: (-2022, "ReduceOnly Order is rejected."),
    Rule.FOK_NOT_FILLABLE: (
        -5021,
        "Due to the order could not be filled immediately, the FOK order has been rejected. "
        "The order will not be recorded in the order history",
    ),
    Rule.OPEN_ORDER_LIMIT: (-2025, "Reach max open order limit."),
    Rule.NO_PRICE: (-1008, "Server is currently overloaded with other requests. Please try again in a few minutes."),
    Rule.WOULD_TRIGGER: (-2021, "Order would immediately trigger."),
    Rule.SYMBOL_ENDED: (-4140, "Invalid symbol status for opening position."),
    Rule.LIQUIDATION: (-2023, "User in liquidation mode now."),
}  # fmt: skip
"""What the exchange answers where the account step refuses an order by a rule."""
_ENDED = {
    OrderStatus.CANCELED: "CANCELED",
    OrderStatus.REJECTED: "EXPIRED",
    OrderStatus.EXPIRED: "EXPIRED",
}
_FORCED = {
    FillReason.LIQUIDATION: "autoclose-",
    FillReason.SETTLEMENT: "settlement_autoclose-",
}
_DELEVERAGED = "adl_autoclose"


@dataclass(frozen=True, kw_only=True)
class VenueSettings:
    """How a venue trades.

    Parameters
    ----------
    lock_step : bool
        Whether a driver moves the clock from one bar's close to the next.
    half_spread_bps, slippage_bps : float
        What a market order pays beside the price in lock-step, and a triggered one always, basis points.
    maker_fee, taker_fee : float or None
        Fractions of notional for all symbols; None: the symbols' own.
    """

    lock_step: bool = False
    half_spread_bps: float = 1.0
    slippage_bps: float = 0.0
    maker_fee: float | None = None
    taker_fee: float | None = None


@dataclass(kw_only=True)
class _Moment:
    """One row of the market as the kernels read it, at a stamp."""

    market: Market
    row: int


@dataclass
class Batch:
    """What one call of a kernel did to an account."""

    changed: set[int] = field(default_factory=set)
    transfer: float = 0.0
    reasons: list[str] = field(default_factory=list)


class Engine:
    """What moves accounts along the market, and matches and books their orders; see `venue.Venue`.

    Parameters
    ----------
    tape : Tape
        The market that is replayed.
    settings : VenueSettings
        How it trades.
    """

    def __init__(self, tape: Tape, settings: VenueSettings) -> None:
        self.tape = tape
        self.settings = settings
        self.instruments: list[Instrument] = list(tape.instruments)
        self.accounts: dict[str, VenueAccount] = {}
        self.forced: list[dict[str, Any]] = []
        self.mishaps: list[VenueFault] = []
        """Faults in force."""
        self._sent: deque[tuple[str, dict[str, Any]]] = deque()
        self._next_order = 1_000_000_001
        self._next_algo = 2_000_000_001
        self._next_trade = 1
        self._next_income = 1
        self._market = market_arrays(tape.bars)
        self._paid = settlement_rows(tape.bars, missing_rate=0.0)
        self._undecided = np.full(tape.bars.n_bars, -1, dtype=np.int64)
        self._row = tape.row(tape.first_us)
        self.now_us = int(tape.bars.ts_us[self._row]) if settings.lock_step else tape.first_us

    @property
    def lock_step(self) -> bool:
        """Whether a driver moves the clock."""
        return self.settings.lock_step

    @property
    def symbols(self) -> tuple[str, ...]:
        """Of all columns."""
        return self.tape.symbols

    @property
    def marks(self) -> FloatArray:
        """Mark prices now, NaN where there is none."""
        if self.lock_step:
            marks = np.array(self._market.mark_close[self._row])
            return np.where(marks > 0.0, marks, self._market.close[self._row])
        return self.tape.mark(self.now_us)

    @property
    def prices(self) -> FloatArray:
        """Last prices now, NaN where there is none."""
        if self.lock_step:
            return np.array(self._market.close[self._row])
        return self.tape.price(self.now_us)

    def open_account(self, key: str, secret: str, capital: float) -> VenueAccount:
        """Open an account that holds USDT; its key must be new."""
        plane = account_plane(
            self.instruments,
            interval=self.tape.bars.interval,
            account=AccountSettings(
                capital=capital, margin="cross", leverage_max=1, no_trade_band=0.0, margin_buffer=0.0,
                missing_funding_rate=0.0, cash_flows=(),
            ),
            execution=ExecutionSettings(
                half_spread_bps=self.settings.half_spread_bps, slippage_bps=self.settings.slippage_bps,
                latency_ms=100.0, maker_fee=self.settings.maker_fee, taker_fee=self.settings.taker_fee,
            ),
            exits=NO_EXITS,
        )  # fmt: skip
        account = venue_account(plane, self.instruments, key, secret, capital)
        self.accounts[key] = account
        return account

    def drain(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the user stream's messages since the last call, each with its account's key."""
        sent = list(self._sent)
        self._sent.clear()
        return sent

    # The clock.

    def advance(self, to_us: int) -> None:
        """Move the clock, and all accounts with it; an earlier time changes nothing."""
        if self.lock_step:
            while (
                self._row + 1 < self.tape.bars.n_bars and self._market.ts_us[self._row + 1] <= to_us
            ):
                self._advance_bar()
            return
        to_us = min(to_us, self.tape.end_us - 1)
        if to_us <= self.now_us:
            return
        self.meet_prints(to_us)
        self.pass_to(to_us)

    @property
    def ended(self) -> bool:
        """Whether the market has no later bar."""
        if self.lock_step:
            return self._row + 1 >= self.tape.bars.n_bars
        return self.now_us >= self.tape.end_us - 1

    def pass_to(self, to_us: int) -> None:
        """Let all accounts meet the path from now to a time."""
        moment = self._swept(self.now_us, to_us)
        whole, number = self._settled(self.now_us, to_us)
        self.now_us = to_us
        for account in self.accounts.values():
            with (
                out_of_reach(account, moment.market) if self.tape.fills_by_prints else nullcontext()
            ):
                self._scan(account, moment.market, 0, whole, number)
        self.look_after()

    def _advance_bar(self) -> None:
        self._row += 1
        self.now_us = int(self._market.ts_us[self._row])
        for account in self.accounts.values():
            self._scan(account, self._market, self._row, self._paid[0], self._paid[1])
        self.look_after()

    def meet_prints(self, to_us: int) -> None:
        """Let what rests meet the market's prints up to a time, where it fills by them."""
        raise NotImplementedError

    def look_after(self) -> None:
        """Do what is due after a step of the clock."""
        raise NotImplementedError

    def _scan(
        self,
        account: VenueAccount,
        market: Market,
        row: int,
        settlement: IntArray,
        value: FloatArray,
    ) -> None:
        due = settlement[settlement[:, at.SETTLEMENT_ROW] == row]
        journal = account.journal(np.zeros(len(due), dtype=np.int64))
        nothing, no_time = np.empty(0, dtype=np.int64), np.empty(0)
        script = np.empty((0, at.N_SCRIPT), dtype=np.int64)
        scan(
            account.account, market, account.rules, account.config, settlement, value, nothing, nothing, no_time,
            self._undecided[: len(market.ts_us)], _no_targets(len(self.symbols)), script,
            np.empty((0, 3)), journal, len(journal.whole) // 2, row, row + 1,
        )  # fmt: skip
        self.book(account, journal)

    def _swept(self, from_us: int, to_us: int) -> _Moment:
        swept = self.tape.swept(from_us, to_us)
        fields = [
            getattr(swept, name)
            for name in (
                "open",
                "high",
                "low",
                "close",
                "mark_open",
                "mark_high",
                "mark_low",
                "mark_close",
            )
        ]
        return _Moment(market=_one_row(to_us, fields), row=0)

    def _settled(self, from_us: int, to_us: int) -> tuple[IntArray, FloatArray]:
        due = self.tape.settlements(from_us, to_us)
        whole = np.zeros((len(due), at.N_SETTLEMENT), dtype=np.int64)
        number = np.empty((len(due), 2))
        for k, (time_us, s, rate, mark) in enumerate(due):
            whole[k, at.SETTLEMENT_TIME], whole[k, at.SETTLEMENT_SYMBOL] = time_us, s
            number[k] = rate, mark
        return whole, number

    def _moment(self) -> _Moment:
        """Return the market now: in lock-step the bar that closed last."""
        if self.lock_step:
            return _Moment(market=self._market, row=self._row)
        price, mark = self.prices, self.marks
        return _Moment(market=_one_row(self.now_us, [price] * 4 + [mark] * 4), row=0)

    # Orders.

    def submit(
        self, account: VenueAccount, terms: Terms, *, algo: AlgoOrder | None = None
    ) -> Order:
        """Take an order of the matching engine, and match it unless the clock is a driver's.

        Raises
        ------
        Refused
            If a rule of the exchange forbids it; nothing is left of it then.
        """
        moment = self._moment()
        if not self.lock_step:
            self._check_takeable(account, terms)
            self._check_margin(account, terms)
        order = Order(
            terms=terms, order_id=self.order_id(), number=account.next_number, made_us=self.now_us,
            changed_us=self.now_us, original=terms.type if algo is None else algo.terms.type, algo=algo,
        )  # fmt: skip
        account.next_number += 1
        journal = account.journal(np.empty(0, dtype=np.int64))
        self._send(account, moment, journal, order)
        account.orders[order.order_id] = order
        self.tell(account, user_events.order_update(order, "NEW", self.now_us))
        if not self.lock_step:
            self._match(account, moment, order)
        return order

    def submit_conditional(self, account: VenueAccount, terms: Terms) -> AlgoOrder:
        """Take a conditional order, which the account step watches.

        Raises
        ------
        Refused
            If a rule of the exchange forbids it.
        """
        moment = self._moment()
        algo = AlgoOrder(
            terms=terms, algo_id=self.algo_id(), number=account.next_number, made_us=self.now_us,
            changed_us=self.now_us,
        )  # fmt: skip
        account.next_number += 1
        journal = account.journal(np.empty(0, dtype=np.int64))
        place = self._send(account, moment, journal, algo)
        if not self.lock_step:
            account.held["ticket"][place, at.SEEN] = (
                1  # it watches from now on, not from the next bar
            )
        account.algos[algo.algo_id] = algo
        self.tell(account, user_events.algo_update(algo, self.now_us))
        return algo

    def watch(self, account: VenueAccount, terms: Terms) -> AlgoOrder:
        """Take a conditional order whose trigger the venue watches: a limit, or a trailing stop with an activation.

        Raises
        ------
        Refused
            -2021 if it would trigger at once.
        """
        algo = AlgoOrder(
            terms=terms,
            algo_id=self.algo_id(),
            number=-1,
            made_us=self.now_us,
            changed_us=self.now_us,
        )
        basis = (self.marks if terms.working_type == "MARK_PRICE" else self.prices)[terms.s]
        if terms.stop is not None:
            beyond = (terms.stop - basis) * terms.side * (1.0 if terms.type == "STOP" else -1.0)
            if not beyond > 0.0:
                raise self.refusal(terms.s, Rule.WOULD_TRIGGER)
        account.algos[algo.algo_id] = algo
        self.tell(account, user_events.algo_update(algo, self.now_us))
        return algo

    def end_algo(self, account: VenueAccount, algo: AlgoOrder, status: str) -> None:
        """End a conditional order that has not triggered."""
        if algo.step_id >= 0:
            self.end(account, algo, OrderStatus[status])
            return
        algo.status, algo.changed_us = status, self.now_us
        self.tell(account, user_events.algo_update(algo, self.now_us))

    def amend(self, account: VenueAccount, order: Order, lots: int, price: float) -> Order:
        """Give a resting limit another quantity and price; it loses its place in the queue.

        Raises
        ------
        Refused
            If the changed order is refused; the old one stays where nothing was taken back yet, else it is cancelled.
        """
        changed = replace(order.terms, lots=lots, price=price)
        if not self.lock_step:
            self._check_takeable(account, changed)
        moment, journal = self._moment(), account.journal(np.empty(0, dtype=np.int64))
        cancel(account.account, journal, order.number, self.now_us, int(OrderStatus.CANCELED))
        journal.filled[:] = 0
        account.by_step_id.pop(order.step_id, None)
        order.terms = replace(changed, lots=lots - order.done)
        try:
            self._send(account, moment, journal, order)
        except Refused:
            order.terms, order.status = replace(changed), "CANCELED"
            self.tell(account, user_events.order_update(order, "CANCELED", self.now_us))
            raise
        order.terms, order.changed_us = changed, self.now_us
        self.tell(account, user_events.order_update(order, "AMENDMENT", self.now_us))
        if not self.lock_step:
            self._match(account, moment, order)
        return order

    def _send(
        self, account: VenueAccount, moment: _Moment, journal: Journal, order: Order | AlgoOrder
    ) -> int:
        """Hand an order to the account step and return its place in the table of open ones."""
        whole, value = _script(order.number, order.terms)
        place = send(
            account.account, account.rules, journal, moment.market, moment.row, account.config, whole, value
        )  # fmt: skip
        rule = self._rule_of(journal)
        journal.filled[:] = 0
        if rule is not None:
            raise self.refusal(order.terms.s, rule)
        order.step_id = int(account.held["ticket"][place, at.ORDER_ID])
        account.by_step_id[order.step_id] = order
        return int(place)

    @staticmethod
    def _rule_of(journal: Journal) -> int | None:
        """Return the rule by which an order was refused, None where none was."""
        for row in range(int(journal.filled[0])):
            whole = journal.whole[row]
            if whole[at.KIND] == at.EVENT_STATUS and whole[at.EVENT_STATE] == OrderStatus.REJECTED:
                return int(whole[at.EVENT_REASON])
        return None

    def refusal(self, s: int, rule: int) -> Refused:
        """Return what the exchange answers where a rule of the account step refuses."""
        code, message = REFUSALS[Rule(rule)]
        return Refused(code, message.format(least=self.instruments[s].min_notional))

    def _check_takeable(self, account: VenueAccount, terms: Terms) -> None:
        """Refuse what may only rest and would cross, or may only fill whole and would not."""
        if terms.type != "LIMIT" or terms.tif not in ("GTX", "FOK"):
            return
        takeable = sum(lots for _, lots in self._levels(terms))
        if terms.tif == "GTX" and takeable > 0:
            raise self.refusal(terms.s, Rule.POST_ONLY_WOULD_CROSS)
        if terms.tif == "FOK" and takeable < terms.lots:
            raise self.refusal(terms.s, Rule.FOK_NOT_FILLABLE)

    def _check_margin(self, account: VenueAccount, terms: Terms) -> None:
        """Refuse an order whose opening part the available margin does not carry at the price of the moment."""
        if terms.reduce_only:
            return
        s, touch = terms.s, self._touch(terms)
        price = touch if terms.price is None else terms.price
        if terms.side < 0 and not math.isnan(touch):
            price = max(price, touch)
        opening = opening_lots(account.lots(s), terms.lots * int(terms.side))
        if opening == 0 or math.isnan(price):
            return
        after = abs(account.lots(s) + terms.lots * int(terms.side))
        if qty_of(terms, after) * price > account.rules.rate[s, at.NOTIONAL_MAX]:
            raise self.refusal(s, Rule.BRACKET_NOTIONAL)
        needed = qty_of(terms, opening) * price / account.leverage(s)
        needed += qty_of(terms, terms.lots) * price * float(account.rules.rate[s, at.TAKER_FEE])
        free = account.available(self.marks)
        if opening < terms.lots:  # a turn frees what it closes first
            mark = float(self.marks[s])
            free += abs(account.qty(s)) * mark / account.leverage(s)
        if needed > free:
            raise self.refusal(s, Rule.MARGIN)

    def _levels(self, terms: Terms) -> list[tuple[float, int]]:
        """Return price and lots of what an order may take from the book, best first, at least as far as it reaches."""
        found: list[tuple[float, int]] = []
        for levels in (NEAR, DEPTH):
            book = self.tape.book(terms.s, self.now_us, levels)
            side = book.asks if terms.side > 0 else book.bids
            found = []
            for ticks, lots in side:
                price = round(ticks * float(terms.instrument.tick_size), 12)
                if terms.price is not None and (price - terms.price) * terms.side > 1e-12:
                    return found
                found.append((price, lots))
            if len(side) < levels or sum(lots for _, lots in found) >= terms.lots:
                return found
        return found

    def _touch(self, terms: Terms) -> float:
        """Return the best price of the other side, NaN where there is none."""
        book = self.tape.book(terms.s, self.now_us, 1)
        side = book.asks if terms.side > 0 else book.bids
        return round(side[0][0] * float(terms.instrument.tick_size), 12) if side else math.nan

    def _match(self, account: VenueAccount, moment: _Moment, order: Order) -> None:
        terms = order.terms
        left = self._takes_now(account, terms, terms.lots - order.done)
        for price, lots in self._levels(terms):
            if not order.is_open or left <= 0:
                break
            taken = min(lots, left)
            left -= taken
            self.fill(account, moment, order, taken, price, Liquidity.TAKER)
        if not order.is_open:
            return
        if terms.type == "MARKET" or terms.tif in ("IOC", "FOK"):
            self.end(account, order, OrderStatus.EXPIRED)
            return
        touch = self._touch(terms)
        if terms.price is not None and (terms.price - touch) * terms.side >= 0.0:
            # What the book has not given, for its depth or by a fault, stands at its price from now on.
            table = account.held["ticket"]
            table[table[:, at.ORDER_ID] == order.step_id, at.SEEN] = 1
            return
        journal = account.journal(np.empty(0, dtype=np.int64))
        rest(
            account.account, account.rules, journal, moment.market, moment.row, order.number, touch
        )
        self._refuse_or_book(account, order, journal)

    def _takes_now(self, account: VenueAccount, terms: Terms, lots: int) -> int:
        """Return how many of an order's lots meet the book at once: all, unless a fault lets orders fill in part."""
        for fault in self.in_force("partial_fill", terms.s, account):
            return max(int(lots * fault.rule.fraction), 1)
        return lots

    def in_force(self, kind: str, s: int, account: VenueAccount) -> list[VenueFault]:
        """Return the faults of a kind that meet a symbol and an account now."""
        symbol = self.symbols[s]
        return [
            fault
            for fault in self.mishaps
            if fault.kind == kind
            and (fault.until_us is None or fault.until_us > self.now_us)
            and fault.meets(symbol=symbol, account=account.key)
        ]

    def force(self, account: VenueAccount, s: int, price: float, *, liquidates: bool) -> None:
        """Close an account's position in a symbol at a price, as the exchange does."""
        journal = account.journal(np.empty(0, dtype=np.int64))
        close_by_force(
            account.account, account.rules, journal, s, price, self.now_us, int(FillReason.RISK), liquidates
        )  # fmt: skip
        self.book(account, journal)

    def meet(self, s: int, price: float) -> None:
        """Let all accounts meet a price of one symbol for an instant: orders trigger, margins are tested."""
        last, mark = self.prices, self.marks
        last[s] = mark[s] = price
        market = _one_row(self.now_us, [last] * 4 + [mark] * 4)
        nothing = np.empty((0, at.N_SETTLEMENT), dtype=np.int64), np.empty((0, 2))
        for account in self.accounts.values():
            self._scan(account, market, 0, *nothing)
        self.look_after()

    def fill(
        self,
        account: VenueAccount,
        moment: _Moment | None,
        order: Order,
        lots: int,
        price: float,
        liquidity: Liquidity,
    ) -> None:
        """Fill part of an open order at a price.

        Raises
        ------
        Refused
            If margin or bracket forbid it and nothing of the order has filled yet: nothing is left of it then.
        """
        here = moment or self._moment()
        journal = account.journal(np.empty(0, dtype=np.int64))
        execute(
            account.account, account.rules, journal, here.market, here.row, order.number, lots, price, int(liquidity)
        )  # fmt: skip
        self._refuse_or_book(account, order, journal)

    def _refuse_or_book(self, account: VenueAccount, order: Order, journal: Journal) -> None:
        rule = self._rule_of(journal)
        self.book(account, journal)
        if rule is not None and order.done == 0:
            account.orders.pop(order.order_id, None)
            self._sent = deque(
                sent for sent in self._sent if sent[1].get("o", {}).get("i") != order.order_id
            )
            raise self.refusal(order.terms.s, rule)

    def end(self, account: VenueAccount, order: Order | AlgoOrder, status: OrderStatus) -> None:
        """End an open order at once."""
        journal = account.journal(np.empty(0, dtype=np.int64))
        cancel(account.account, journal, order.number, self.now_us, int(status))
        self.book(account, journal)

    def order_id(self) -> int:
        """Return a new order's number."""
        self._next_order += 1
        return self._next_order

    def algo_id(self) -> int:
        """Return a new conditional order's number."""
        self._next_algo += 1
        return self._next_algo

    # What happened.

    def tell(self, account: VenueAccount, message: dict[str, Any]) -> None:
        """Send a message on an account's user stream."""
        self._sent.append((account.key, message))

    def book(self, account: VenueAccount, journal: Journal) -> None:
        """Turn what a kernel wrote into orders, trades, incomes and messages."""
        batch = Batch()
        each_event(journal, lambda whole, number: self._event(account, batch, whole, number))
        if not (batch.changed or batch.reasons):
            return
        for s in batch.changed:
            account.touched_us[s] = self.now_us
        marks = self.marks
        reason = batch.reasons[0] if batch.reasons else "ORDER"
        self.tell(
            account,
            user_events.account_update(
                account, reason, batch.changed, batch.transfer, marks, self.now_us
            ),
        )

    def _event(
        self, account: VenueAccount, batch: Batch, whole: IntArray, number: FloatArray
    ) -> None:
        kind, s = int(whole[at.KIND]), int(whole[at.EVENT_SYMBOL])
        if kind == at.EVENT_NEW_ORDER and whole[at.EVENT_CLIENT] < 0:
            self._force(account, whole)
        elif kind == at.EVENT_STATUS:
            self._status(account, whole)
        elif kind == at.EVENT_FILL:
            self._fill(account, whole, number)
            batch.changed.add(s)
        elif kind == at.EVENT_FUNDING:
            self.income(
                account, self.symbols[s], "FUNDING_FEE", -float(number[at.D]), "FUNDING_FEE"
            )
            batch.changed.add(s)
            batch.transfer -= float(number[at.D])
            batch.reasons.append("FUNDING_FEE")
        elif kind == at.EVENT_LIQUIDATION:
            change = float(number[at.D] - number[at.C])
            self.income(account, self.symbols[s], "INSURANCE_CLEAR", change, "INSURANCE_CLEAR")
            batch.transfer += change

    def _force(self, account: VenueAccount, whole: IntArray) -> None:
        """Write down an order that the exchange makes: a liquidation's, or of a symbol that has ended."""
        s, reason = int(whole[at.EVENT_SYMBOL]), FillReason(int(whole[at.EVENT_REASON]))
        order_id = self.order_id()
        terms = Terms(
            instrument=self.instruments[s], s=s, side=Side(int(whole[at.EVENT_SIDE])), type="LIMIT", tif="IOC",
            lots=int(whole[at.EVENT_LOTS]), price=None, stop=None,
            client_id=self._forced_id(reason, order_id),
        )  # fmt: skip
        order = Order(
            terms=terms, order_id=order_id, number=-1, made_us=self.now_us, changed_us=self.now_us, original="LIMIT"
        )  # fmt: skip
        order.step_id = int(whole[at.EVENT_ORDER])
        account.orders[order_id] = order
        account.by_step_id[order.step_id] = order
        self.tell(account, user_events.order_update(order, "NEW", self.now_us))

    def _forced_id(self, reason: FillReason, order_id: int) -> str:
        """Return the client id of an order that the exchange makes."""
        if reason not in _FORCED:
            return _DELEVERAGED
        return f"{_FORCED[reason]}{self.now_us // 1000}{order_id % 1_000_000:06d}"

    def _status(self, account: VenueAccount, whole: IntArray) -> None:
        found = account.by_step_id.get(int(whole[at.EVENT_ORDER]))
        status = OrderStatus(int(whole[at.EVENT_STATE]))
        if found is None or status == OrderStatus.PARTIALLY_FILLED:
            return
        order = found.order if isinstance(found, AlgoOrder) else found
        if status == OrderStatus.FILLED:
            if order is not None:
                self._filled(account, order)
            return
        if isinstance(found, AlgoOrder):
            found.status = "CANCELED" if status == OrderStatus.CANCELED else "EXPIRED"
            found.changed_us = self.now_us
            account.by_step_id.pop(found.step_id, None)
            why = "Reduce Only reject" if whole[at.EVENT_REASON] == Rule.REDUCE_ONLY else ""
            self.tell(account, user_events.algo_update(found, self.now_us, why=why))
            return
        found.status = _ENDED[status]
        found.changed_us = self.now_us
        account.forget(found)
        refused = status == OrderStatus.REJECTED and found.done == 0
        if not (refused and not self.lock_step):
            self.tell(account, user_events.order_update(found, found.status, self.now_us))
        self._finish_algo(account, found)

    def _filled(self, account: VenueAccount, order: Order) -> None:
        order.status = "FILLED"
        order.terms.lots = order.done  # a reducing order was cut to what was held
        account.forget(order)
        self._finish_algo(account, order)

    def _finish_algo(self, account: VenueAccount, order: Order) -> None:
        if order.algo is not None and not order.is_open and order.algo.status == "TRIGGERED":
            order.algo.status, order.algo.changed_us = "FINISHED", self.now_us
            self.tell(account, user_events.algo_update(order.algo, self.now_us))

    def _fill(self, account: VenueAccount, whole: IntArray, number: FloatArray) -> None:
        found = account.by_step_id.get(int(whole[at.EVENT_ORDER]))
        if isinstance(found, AlgoOrder):
            found = self._triggered(account, found, int(whole[at.EVENT_LOTS]))
        if found is None:
            return
        s, lots, price = int(whole[at.EVENT_SYMBOL]), int(whole[at.EVENT_LOTS]), float(number[at.B])
        found.done += lots
        found.quote += float(number[at.A]) * price
        found.status = "FILLED" if found.done >= found.terms.lots else "PARTIALLY_FILLED"
        found.changed_us = self.now_us
        trade = Trade(
            id=self._next_trade, order=found, lots=lots, price=price, fee=float(number[at.C]),
            realised=float(number[at.F]), maker=bool(whole[at.EVENT_STATE] == Liquidity.MAKER), time_us=self.now_us,
        )  # fmt: skip
        self._next_trade += 1
        account.trades.append(trade)
        account.realised[s] = account.realised.get(s, 0.0) + trade.realised
        symbol = self.symbols[s]
        self.income(account, symbol, "COMMISSION", -trade.fee, str(trade.id), trade=trade.id)
        if trade.realised != 0.0:
            self.income(
                account, symbol, "REALIZED_PNL", trade.realised, str(trade.id), trade=trade.id
            )
        liquidated = whole[at.EVENT_REASON] == FillReason.LIQUIDATION
        execution = "CALCULATED" if liquidated else "TRADE"
        self.tell(account, user_events.trade_lite(trade))
        self.tell(account, user_events.order_update(found, execution, self.now_us, trade=trade))
        if liquidated:
            self.forced.append(user_events.force_order(trade, found.average))

    def _triggered(self, account: VenueAccount, algo: AlgoOrder, lots: int) -> Order:
        """Return the market order that a conditional order became, new at its first fill."""
        if algo.order is not None:
            return algo.order
        self.trigger(account, algo)
        terms = replace(algo.terms, type="MARKET", tif="GTC", stop=None)
        if terms.close_position:
            algo.terms.lots = terms.lots = lots
        order = Order(
            terms=terms, order_id=self.order_id(), number=algo.number, made_us=self.now_us, changed_us=self.now_us,
            original=algo.terms.type, algo=algo, step_id=algo.step_id,
        )  # fmt: skip
        account.by_step_id[order.step_id] = order
        self.become(account, algo, order)
        return order

    def trigger(self, account: VenueAccount, algo: AlgoOrder) -> None:
        """Let a conditional order trigger."""
        algo.status, algo.triggered_us, algo.changed_us = "TRIGGERING", self.now_us, self.now_us
        self.tell(account, user_events.algo_update(algo, self.now_us))

    def become(self, account: VenueAccount, algo: AlgoOrder, order: Order) -> None:
        """Let a conditional order that triggered become an order."""
        algo.order, algo.status = order, "TRIGGERED"
        account.orders[order.order_id] = order
        self.tell(account, user_events.algo_update(algo, self.now_us))
        self.tell(account, user_events.order_update(order, "NEW", self.now_us))

    def income(
        self,
        account: VenueAccount,
        symbol: str,
        kind: str,
        amount: float,
        info: str,
        trade: int | None = None,
    ) -> None:
        """Write a change of the wallet down."""
        account.incomes.append(
            Income(
                symbol=symbol, kind=kind, amount=amount, info=info, time_us=self.now_us, id=self._next_income,
                trade=trade,
            )
        )  # fmt: skip
        self._next_income += 1

    # What faults and the control port do.

    def delist(self, symbol: str) -> None:
        """End a symbol's trading: what is held is settled at its mark with the next step of the clock."""
        s = self.symbols.index(symbol)
        for account in self.accounts.values():
            account.rules.size[s, at.ENDS_US] = self.now_us

    def snapshot(self) -> bytes:
        """Return everything that changes, as `restore` takes it back."""
        kept = {name: value for name, value in self.__dict__.items() if name not in _CONSTANT}
        return pickle.dumps(kept)

    def restore(self, raw: bytes) -> None:
        """Take a snapshot of a venue with the same market back; only from where snapshots are trusted."""
        self.__dict__.update(pickle.loads(raw))


_CONSTANT = ("tape", "settings", "_market", "_paid", "_undecided")


def _script(number: int, terms: Terms) -> tuple[IntArray, FloatArray]:
    """Return an order as the account step's script has it."""
    whole = np.zeros((1, at.N_SCRIPT), dtype=np.int64)
    value = np.full((1, 3), np.nan)
    tif = {"IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK, "GTX": TimeInForce.GTX}
    whole[0, at.SCRIPT_CLIENT] = number
    whole[0, at.SCRIPT_SYMBOL] = terms.s
    whole[0, at.SCRIPT_SIDE] = int(terms.side)
    whole[0, at.SCRIPT_TYPE] = int(STEP_KINDS[terms.type])
    whole[0, at.SCRIPT_TIF] = int(tif.get(terms.tif, TimeInForce.GTC))
    whole[0, at.SCRIPT_LOTS] = terms.lots
    flags = at.CLOSE_POSITION if terms.close_position else 0
    whole[0, at.SCRIPT_FLAGS] = flags or (at.REDUCE_ONLY if terms.reduce_only else 0)
    whole[0, at.SCRIPT_WORKING] = int(WorkingType[terms.working_type])
    for place, number_or_none in enumerate((terms.price, terms.stop)):
        if number_or_none is not None:
            value[0, place] = number_or_none
    if terms.callback is not None:
        value[0, 2] = terms.callback / 100.0
    return whole, value


def _one_row(ts_us: int, fields: Sequence[FloatArray]) -> Market:
    stamps = np.array([ts_us], dtype=np.int64)
    rows = [
        np.ascontiguousarray(np.asarray(each, dtype=np.float64)[np.newaxis, :]) for each in fields
    ]
    rows.append(np.full((1, len(fields[0])), np.nan))
    for array in (stamps, *rows):
        array.flags.writeable = False  # as the bars' own: numba would compile the step once more
    return Market(stamps, *rows)


def opening_lots(held: int, lots: int) -> int:
    """Return how many of an order's signed lots would enlarge or turn the position held; as the ledger has it."""
    if held == 0 or (held > 0) == (lots > 0):
        return abs(lots)
    return max(abs(lots) - abs(held), 0)


def _no_targets(n_symbols: int) -> FloatArray:
    none = np.empty((0, n_symbols))
    none.flags.writeable = False
    return none
