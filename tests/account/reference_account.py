"""A slow, plain account: DESIGN.md 1, "Account semantics", one rule after the other, for scripted orders.

Written from the text alone, with floats, lists and dataclasses, to be compared with the compiled account plane.
Where the text is silent the function that decides says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from quantcore.account_plane import (
    AccountSettings,
)
from quantcore.data.instruments import Bracket, Instrument
from quantcore.execution.settings import ExecutionSettings
from quantcore.frames import Bars
from quantcore.orders import OrderRequest
from quantcore.timegrid import HOUR_US, interval_us, to_us
from quantcore.types import OrderStatus, OrderType, Rule, Side, TimeInForce, WorkingType

NAN = math.nan
SLOT_US = 8 * HOUR_US
FOREVER = 2**62
ON_TICK = 1e-6
"""A price this close to a tick, in ticks, is on it: 100 * 1.001 is 100.1."""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What one symbol's rules say, as numbers."""

    name: str
    tick: Fraction
    step: Fraction
    min_lots: int
    market_max_lots: int
    limit_max_lots: int
    min_notional: float
    maker_fee: float
    taker_fee: float
    liquidation_fee: float
    leverage: int
    notional_max: float
    brackets: tuple[Bracket, ...]
    ends_us: int

    def qty(self, lots: int) -> float:
        return lots * self.step.numerator / self.step.denominator

    def price(self, ticks: int) -> float:
        return ticks * self.tick.numerator / self.tick.denominator

    def down(self, price: float) -> float:
        return self.price(math.floor(price / self.tick + ON_TICK))

    def up(self, price: float) -> float:
        return self.price(math.ceil(price / self.tick - ON_TICK))

    def worse(self, price: float, side: int) -> float:
        """Round to the tick that is worse for a taker of this side."""
        return self.up(price) if side > 0 else self.down(price)

    def maintenance(self, notional: float) -> float:
        row = self.brackets[0]
        for bracket in self.brackets:
            if notional >= bracket.floor:
                row = bracket
        return notional * row.maintenance_margin_rate - row.cum


@dataclass(frozen=True, kw_only=True)
class Prices:
    """One bar of one symbol; marks already fall back to last prices and, in a hole, to the last mark."""

    open: float
    high: float
    low: float
    close: float
    mark_open: float
    mark_high: float
    mark_low: float
    mark_close: float
    marked: bool
    mark_of_open: float

    def priced(self, working: WorkingType) -> bool:
        return not self.hole or (self.marked and working == WorkingType.MARK_PRICE)

    @property
    def hole(self) -> bool:
        return math.isnan(self.open)

    def high_of(self, working: WorkingType) -> float:
        return self.mark_high if working == WorkingType.MARK_PRICE else self.high

    def low_of(self, working: WorkingType) -> float:
        return self.mark_low if working == WorkingType.MARK_PRICE else self.low

    def close_of(self, working: WorkingType) -> float:
        return self.mark_close if working == WorkingType.MARK_PRICE else self.close


@dataclass(kw_only=True)
class Position:
    lots: int = 0
    entry: float = 0.0
    margin: float = 0.0
    mark: float = NAN
    ended: bool = False


@dataclass(kw_only=True)
class Order:
    number: int
    symbol: int
    side: int
    type: OrderType
    time_in_force: TimeInForce
    working: WorkingType
    lots: int
    price: float
    stop: float
    callback: float
    reduce: bool
    close: bool
    sequence: int
    active_us: int
    extreme: float = NAN
    seen: bool = False
    cancel_us: int = FOREVER
    status: OrderStatus = OrderStatus.NEW
    rule: Rule | None = None
    done_us: int = -1

    def level(self) -> float:
        if self.type == OrderType.LIMIT:
            return self.price
        if self.type == OrderType.TRAILING_STOP_MARKET:
            return self.extreme * (1.0 + self.side * self.callback)
        return self.stop


@dataclass(frozen=True)
class Fill:
    ts_us: int
    symbol: int
    side: int
    lots: int
    price: float
    fee: float
    maker: bool
    reason: str
    number: int


@dataclass(frozen=True)
class Liquidation:
    ts_us: int
    symbol: int
    qty: float
    price: float
    fee: float
    insurance: float


@dataclass(kw_only=True)
class Books:
    """What happened, and the totals that must explain it."""

    fills: list[Fill] = field(default_factory=list)
    liquidations: list[Liquidation] = field(default_factory=list)
    funding: list[tuple[int, int, float]] = field(default_factory=list)
    flows: list[tuple[int, float]] = field(default_factory=list)
    wallet: list[float] = field(default_factory=list)
    unrealised: list[float] = field(default_factory=list)
    margins: list[list[float]] = field(default_factory=list)
    realised: float = 0.0
    fees: float = 0.0
    insurance: float = 0.0
    insured_trades: int = 0


def contract(
    instrument: Instrument, account: AccountSettings, execution: ExecutionSettings
) -> Contract:
    step = Fraction(instrument.step_size)
    allowed = [b.cap for b in instrument.brackets if b.leverage_max >= account.leverage_max]
    return Contract(
        name=instrument.symbol,
        tick=Fraction(instrument.tick_size),
        step=step,
        min_lots=math.ceil(Fraction(instrument.min_qty) / step),
        market_max_lots=math.floor(Fraction(instrument.market_max_qty) / step),
        limit_max_lots=math.floor(Fraction(instrument.limit_max_qty) / step),
        min_notional=instrument.min_notional,
        maker_fee=instrument.maker_fee if execution.maker_fee is None else execution.maker_fee,
        taker_fee=instrument.taker_fee if execution.taker_fee is None else execution.taker_fee,
        liquidation_fee=instrument.liquidation_fee,
        leverage=account.leverage_max,
        notional_max=max(allowed),
        brackets=instrument.brackets,
        ends_us=FOREVER if instrument.ends is None else to_us(instrument.ends),
    )


class ReferenceAccount:
    """The account as a list of rules; `run` takes it through bars."""

    def __init__(
        self,
        instruments: Sequence[Instrument],
        *,
        interval: str,
        account: AccountSettings,
        execution: ExecutionSettings,
    ) -> None:
        self.contracts = [contract(i, account, execution) for i in instruments]
        self.isolated = account.margin == "isolated"
        self.missing_rate = account.missing_funding_rate
        self.cash_flows = sorted((to_us(f.ts), f.amount) for f in account.cash_flows)
        self.cost = (execution.half_spread_bps + execution.slippage_bps) * 1e-4
        self.bar_us = interval_us(interval)
        bars_late = math.ceil(execution.latency_ms * 1000 / self.bar_us)
        self.latency_us = max(bars_late - 1, 0) * self.bar_us
        self.wallet = account.capital
        self.positions = [Position() for _ in instruments]
        self.orders: list[Order] = []
        self.all_orders: dict[int, Order] = {}
        self.books = Books()
        self.now = 0
        self.prices: list[Prices] = []
        self.entered: set[int] = set()

    # ------------------------------------------------------------------ bars

    def run(self, bars: Bars, requests: Sequence[OrderRequest]) -> Books:
        for row in range(bars.n_bars):
            self.now = int(bars.ts_us[row])
            self.prices = [self._prices(bars, row, s) for s in range(bars.n_symbols)]
            self.entered = set()
            self._move_cash()
            self._pay_funding(bars)
            self._cancel_due()
            self._orders_at_open()
            self._inside_bar(early=True)
            self._liquidate_inside()
            self._inside_bar(early=False)
            self._trail()
            self._mark()
            self._settle_ended()
            self._liquidate_at_close()
            self._send(bars.symbols, requests)
            self._record()
        return self.books

    def _prices(self, bars: Bars, row: int, symbol: int) -> Prices:
        def read(name: str) -> float:
            return float(bars.array(name)[row, symbol]) if bars.has(name) else NAN

        last = {name: read(name) for name in ("open", "high", "low", "close")}
        before = self.positions[symbol].mark
        marks = {}
        for name, mark_name in (
            ("open", "mark_open"),
            ("high", "mark_high"),
            ("low", "mark_low"),
            ("close", "mark_price"),
        ):
            value = read(mark_name)
            value = last[name] if math.isnan(value) else value
            marks[f"mark_{name}"] = before if math.isnan(value) else value
        return Prices(
            **last,
            **marks,
            marked=not math.isnan(read("mark_price")),
            mark_of_open=read("mark_open") if bars.has("mark_open") else last["open"],
        )

    def _record(self) -> None:
        self.books.wallet.append(self.wallet + sum(p.margin for p in self.positions))
        self.books.unrealised.append(sum(self._pnl(s) for s in self._held()))
        self.books.margins.append([p.margin for p in self.positions])

    def _held(self) -> list[int]:
        return [s for s, p in enumerate(self.positions) if p.lots]

    def _qty(self, symbol: int) -> float:
        return self.contracts[symbol].qty(self.positions[symbol].lots)

    def _pnl(self, symbol: int, mark: float | None = None) -> float:
        position = self.positions[symbol]
        at = position.mark if mark is None else mark
        return self._qty(symbol) * (at - position.entry)

    # ------------------------------------------------------- funding and cash

    def _pay_funding(self, bars: Bars) -> None:
        """Pay what was settled in [open, close), and an assumed charge at regular slots without a settlement."""
        start = self.now - self.bar_us
        known = bars.settlements
        due = [
            (int(t), int(s), float(rate), float(mark))
            for t, s, rate, mark in zip(
                known.time_us, known.symbol, known.rate, known.mark_price, strict=True
            )
            if start <= t < self.now
        ]
        happened = {(t, s) for t, s, _, _ in due}
        slot = -(-start // SLOT_US) * SLOT_US
        while slot < self.now and self.missing_rate > 0.0:
            longs = [s for s in self._held() if self.positions[s].lots > 0]
            due += [(slot, s, self.missing_rate, NAN) for s in longs if (slot, s) not in happened]
            slot += SLOT_US
        for time_us, s, rate, mark in sorted(due, key=lambda item: item[:2]):
            if self.positions[s].lots:
                at = self.prices[s].mark_open if math.isnan(mark) else mark
                self._pay(time_us, s, self._qty(s) * at * rate)

    def _pay(self, time_us: int, symbol: int, amount: float) -> None:
        """Isolated margin receives and pays funding first; the wallet pays what it cannot."""
        self.books.funding.append((time_us, symbol, amount))
        if self.isolated:
            self._charge_isolated(symbol, amount)
        else:
            self.wallet -= amount

    def _charge_isolated(self, symbol: int, amount: float) -> None:
        """Take a cost from the isolated margin, then from the wallet; the position's profit carries what is left."""
        position = self.positions[symbol]
        from_wallet = min(max(amount - max(position.margin, 0.0), 0.0), max(self.wallet, 0.0))
        self.wallet -= from_wallet
        position.margin -= amount - from_wallet

    def _move_cash(self) -> None:
        """Move cash before the bar's funding; the text leaves the order of the two open."""
        for time_us, wanted in self.cash_flows:
            if self.now - self.bar_us <= time_us < self.now:
                amount = wanted
                if amount < 0.0:
                    free = min(self._available(unseen=True), self.wallet)
                    amount = -min(-amount, max(free, 0.0))
                self.wallet += amount
                self.books.flows.append((time_us, amount))

    # ------------------------------------------------------------------ margin

    def _available(self, *, without: Order | None = None, unseen: bool = False) -> float:
        free = self.wallet
        for s, position in enumerate(self.positions):
            rules = self.contracts[s]
            signed = self._qty(s) * position.mark if position.lots else 0.0
            if not self.isolated and position.lots:
                free += self._pnl(s) - abs(signed) / rules.leverage
            buys = sells = 0.0
            for order in self.orders:
                if order.symbol != s or order.reduce or order is without:
                    continue
                if order.type in (OrderType.LIMIT, OrderType.MARKET) and (order.seen or unseen):
                    notional = rules.qty(order.lots) * order.price
                    buys += notional if order.side > 0 else 0.0
                    sells += notional if order.side < 0 else 0.0
            exposure = max(abs(signed + buys), abs(signed - sells), abs(signed))
            free -= (exposure - abs(signed)) / rules.leverage
        return free

    def _refusal(self, order: Order, lots: int, price: float, fee_rate: float) -> Rule | None:
        """Return the rule by which the venue refuses an order that it sees or that triggers."""
        if order.reduce:
            return None
        rules = self.contracts[order.symbol]
        position = self.positions[order.symbol]
        notional = rules.qty(lots) * price
        closing = min(lots, max(-order.side * position.lots, 0))
        opening = lots - closing
        if opening == 0:
            return None
        after = position.lots + order.side * lots
        if rules.qty(abs(after)) * price > rules.notional_max:
            return Rule.BRACKET_NOTIONAL
        free = self._available(without=order)
        if closing and self.isolated:
            free += max(position.margin + self._pnl(order.symbol, price), 0.0)
        elif closing:
            held = self._qty(order.symbol)
            free += abs(held) * position.mark / rules.leverage + held * (price - position.mark)
        needed = rules.qty(opening) * price / rules.leverage + fee_rate * notional
        return None if needed <= free else Rule.MARGIN

    # ------------------------------------------------------------------ orders

    def _finish(self, order: Order, status: OrderStatus, rule: Rule | None = None) -> None:
        order.status, order.rule, order.done_us = status, rule, self.now
        self.orders = [o for o in self.orders if o is not order]

    def _cancel_due(self) -> None:
        for order in list(self.orders):
            if order.cancel_us <= self.now - self.bar_us:
                self._finish(order, OrderStatus.CANCELED)

    def _send(self, symbols: Sequence[str], requests: Sequence[OrderRequest]) -> None:
        for number, request in enumerate(requests):
            if to_us(request.ts) != self.now:
                continue
            if request.cancel is not None:
                earlier = self.all_orders.get(request.cancel)
                if earlier is not None and earlier.cancel_us == FOREVER:
                    earlier.cancel_us = self.now + self.latency_us
                continue
            order = self._new(number, symbols.index(request.symbol), request)
            self.all_orders[number] = order
            self.orders.append(order)
            rule = self._refusal_when_sent(order)
            if rule is not None:
                self._finish(order, OrderStatus.REJECTED, rule)

    def _new(self, number: int, symbol: int, request: OrderRequest) -> Order:
        rules = self.contracts[symbol]
        price, stop = NAN, NAN
        if request.type == OrderType.MARKET:
            price = self.prices[symbol].mark_close  # what it is expected to cost
        if request.price is not None:
            better = rules.down if request.side == Side.BUY else rules.up
            price = better(request.price)
        if request.stop_price is not None:
            stop = rules.price(round(request.stop_price / rules.tick))
        return Order(
            number=number,
            symbol=symbol,
            side=int(request.side),
            type=request.type,
            time_in_force=request.time_in_force,
            working=request.working_type,
            lots=math.floor(request.qty / rules.step + ON_TICK),
            price=price,
            stop=stop,
            callback=NAN if request.callback is None else request.callback,
            reduce=request.reduce_only or request.close_position,
            close=request.close_position,
            sequence=len(self.all_orders),
            active_us=self.now + self.latency_us,
            extreme=self.prices[symbol].close_of(request.working_type),
        )

    def _refusal_when_sent(self, order: Order) -> Rule | None:
        """Return the rule by which an order is refused when it is sent, the most fundamental one first."""
        rules, bar = self.contracts[order.symbol], self.prices[order.symbol]
        position = self.positions[order.symbol]
        if position.ended:
            return Rule.SYMBOL_ENDED
        at_close = bar.close_of(order.working)
        # The last mark stands in for a hole's mark, but it is no price of this bar.
        if math.isnan(at_close) or not bar.priced(order.working):
            return Rule.NO_PRICE
        if order.reduce and position.lots * order.side >= 0:
            return Rule.REDUCE_ONLY
        if not order.close and order.lots < max(rules.min_lots, 1):
            return Rule.BELOW_STEP
        most = rules.limit_max_lots if order.type == OrderType.LIMIT else rules.market_max_lots
        if not order.close and order.lots > most:
            return Rule.MARKET_MAX_QTY
        price = bar.mark_close if order.type == OrderType.MARKET else order.level()
        if not order.reduce and rules.qty(order.lots) * price < rules.min_notional:
            return Rule.MIN_NOTIONAL
        conditional = order.type in (OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET)
        rising = order.side if order.type == OrderType.STOP_MARKET else -order.side
        if conditional and rising * (at_close - order.stop) >= 0.0:
            return Rule.WOULD_TRIGGER
        return None

    def _orders_at_open(self) -> None:
        """Show the venue its new orders: reducing ones first, then by symbol, then by sequence."""
        due = [o for o in self.orders if not o.seen and o.active_us <= self.now - self.bar_us]
        while due:
            order = min(due, key=lambda o: (not self._reduces(o), o.symbol, o.sequence))
            due.remove(order)
            hole = self.prices[order.symbol].hole
            if hole and order.type == OrderType.MARKET:
                self._finish(order, OrderStatus.REJECTED, Rule.NO_PRICE)
            elif not (hole and order.type == OrderType.LIMIT):  # a limit waits for its first open
                order.seen = True
                self._activate(order)

    def _reduces(self, order: Order) -> bool:
        """Return whether an order can only make its symbol's position smaller: by its flag, or by side and size."""
        against = -order.side * self.positions[order.symbol].lots
        return order.reduce or order.lots <= against

    def _activate(self, order: Order) -> None:
        rules = self.contracts[order.symbol]
        at = self.prices[order.symbol].open
        if order.type == OrderType.MARKET:
            self._execute(order, self._taker_price(order, at), maker=False)
        elif order.type == OrderType.LIMIT:
            if order.side * (order.price - at) >= 0.0:
                if order.time_in_force == TimeInForce.GTX:
                    self._finish(order, OrderStatus.REJECTED, Rule.POST_ONLY_WOULD_CROSS)
                    return
                price = self._taker_price(order, at)
                price = min(price, order.price) if order.side > 0 else max(price, order.price)
                self._execute(order, price, maker=False)
            elif order.time_in_force == TimeInForce.IOC:
                self._finish(order, OrderStatus.EXPIRED)
            elif order.time_in_force == TimeInForce.FOK:
                self._finish(order, OrderStatus.EXPIRED, Rule.FOK_NOT_FILLABLE)
            elif order.reduce and order.side * self.positions[order.symbol].lots >= 0:
                self._finish(order, OrderStatus.EXPIRED, Rule.REDUCE_ONLY)
            else:
                rule = self._refusal(order, order.lots, order.price, rules.maker_fee)
                if rule is not None:
                    self._finish(order, OrderStatus.REJECTED, rule)

    def _taker_price(self, order: Order, reference: float) -> float:
        rules = self.contracts[order.symbol]
        return rules.worse(reference * (1.0 + order.side * self.cost), order.side)

    def _is_early(self, order: Order) -> bool:
        """Return whether an order belongs to stage 3: stops, trailing stops, limits that do not reduce."""
        if order.type == OrderType.LIMIT:
            return not self._reduces(order)
        return order.type != OrderType.TAKE_PROFIT_MARKET

    def _inside_bar(self, *, early: bool) -> None:
        for s in range(len(self.positions)):
            if self.prices[s].hole:
                continue
            while True:
                at = self.prices[s].open
                reached = [
                    o for o in self.orders
                    if o.symbol == s and o.seen and self._is_early(o) == early and self._reached(o)
                ]  # fmt: skip
                if not reached:
                    break
                order = min(reached, key=lambda o: (abs(o.level() - at), o.sequence))
                self._trade_inside(order, entering=early and order.type == OrderType.LIMIT)

    def _reached(self, order: Order) -> bool:
        bar, level = self.prices[order.symbol], order.level()
        if order.symbol in self.entered and not self._is_early(order):
            return False
        if order.type == OrderType.LIMIT:
            return bar.low < level if order.side > 0 else bar.high > level
        if (order.side > 0) != (order.type == OrderType.TAKE_PROFIT_MARKET):
            return bar.high_of(order.working) >= level
        return bar.low_of(order.working) <= level

    def _trade_inside(self, order: Order, *, entering: bool) -> None:
        bar, level = self.prices[order.symbol], order.level()
        clamped = min(max(level, bar.low), bar.high)
        if order.type == OrderType.LIMIT:
            if self._execute(order, clamped, maker=True) and entering:
                self.entered.add(order.symbol)
            return
        reference = max(level, bar.open) if order.side > 0 else min(level, bar.open)
        if order.type == OrderType.TAKE_PROFIT_MARKET:
            reference = clamped
        self._execute(order, self._taker_price(order, reference), maker=False)

    def _execute(self, order: Order, price: float, *, maker: bool) -> bool:
        rules, position = self.contracts[order.symbol], self.positions[order.symbol]
        lots = order.lots
        if order.reduce:
            against = max(-order.side * position.lots, 0)
            if against == 0:
                self._finish(order, OrderStatus.EXPIRED, Rule.REDUCE_ONLY)
                return False
            lots = against if order.close else min(lots, against)
        rate = rules.maker_fee if maker else rules.taker_fee
        closing = min(lots, max(-order.side * position.lots, 0))
        if closing and self._ruinous(order.symbol, closing, price, rate):
            self._finish(order, OrderStatus.EXPIRED, Rule.LIQUIDATION)
            self._take_over(order.symbol, price)
            return True
        # A resting limit was tested when it became active; an isolated one needs its margin from the wallet now.
        tested = not maker or self.isolated
        rule = self._refusal(order, lots, price, rate) if tested else None
        if rule is not None:
            self._finish(order, OrderStatus.REJECTED, rule)
            return False
        fee = rate * rules.qty(lots) * price
        self.books.fills.append(
            Fill(
                self.now, order.symbol, order.side, lots, price, fee, maker, "SCRIPT", order.number
            )
        )
        fresh = position.lots == 0
        self._trade(order.symbol, order.side * lots, price, fee)
        if fresh:
            marked = self.prices[order.symbol].mark_of_open
            position.mark = price if math.isnan(marked) else marked
        self._finish(order, OrderStatus.FILLED)
        return True

    def _ruinous(self, symbol: int, closing: int, price: float, rate: float) -> bool:
        """Return whether closing at a price, as after a gap, loses more than the margin behind the position."""
        position = self.positions[symbol]
        profit = self._pnl(symbol, price)
        fee = rate * abs(self._qty(symbol)) * price
        if self.isolated:
            left = position.margin + profit
            return left < 0.0 or left - fee + self.wallet < 0.0
        if closing < abs(position.lots) or len(self._held()) > 1:
            return False
        return self.wallet + profit - fee < 0.0

    def _take_over(self, symbol: int, price: float) -> None:
        """Let the exchange close the whole position at a price at which nothing is left; insurance pays the rest."""
        position = self.positions[symbol]
        margin = position.margin
        left = (margin if self.isolated else self.wallet) + self._pnl(symbol, price)
        fee = self._close_at(symbol, price, left)
        insurance = max(-left, 0.0)
        position.margin = 0.0
        self.wallet += margin + insurance - fee
        self.books.insurance += insurance
        self._note_liquidation(symbol, price, fee, insurance)

    def _trail(self) -> None:
        for order in self.orders:
            bar = self.prices[order.symbol]
            if order.type != OrderType.TRAILING_STOP_MARKET or not order.seen:
                continue
            if not bar.priced(order.working):
                continue
            if order.side < 0:
                order.extreme = max(order.extreme, bar.high_of(order.working))
            else:
                order.extreme = min(order.extreme, bar.low_of(order.working))

    # ------------------------------------------------------------------ trades

    def _trade(self, symbol: int, lots: int, price: float, fee: float) -> None:
        """Change a position by signed lots: the closing part first, then what opens, then the fee."""
        position, rules = self.positions[symbol], self.contracts[symbol]
        side = 1 if lots > 0 else -1
        closing = min(abs(lots), max(-side * position.lots, 0))
        if closing:
            self._reduce(symbol, closing, price)
        opening = abs(lots) - closing
        if opening:
            held, added = rules.qty(abs(position.lots)), rules.qty(opening)
            position.lots += side * opening
            whole = rules.qty(abs(position.lots))
            position.entry = (held * position.entry + added * price) / whole if held else price
            if self.isolated:
                moved = added * price / rules.leverage
                position.margin += moved
                self.wallet -= moved
        self.books.fees += fee
        if self.isolated and position.lots:
            self._charge_isolated(symbol, fee)
        else:
            self.wallet -= fee
        if not position.lots:
            self.books.insured_trades += self._insure() > 0.0

    def _reduce(self, symbol: int, closing: int, price: float) -> None:
        position, rules = self.positions[symbol], self.contracts[symbol]
        side = 1 if position.lots > 0 else -1
        pnl = side * rules.qty(closing) * (price - position.entry)
        share = position.margin * closing / abs(position.lots)
        position.lots -= side * closing
        position.margin = position.margin - share if position.lots else 0.0
        self.books.realised += pnl
        freed = share + pnl
        if self.isolated and freed < 0.0:
            from_margin = min(-freed, max(position.margin, 0.0))
            position.margin -= from_margin
            self.books.insurance += -freed - from_margin
            self.books.insured_trades += -freed > from_margin
            freed = 0.0
        self.wallet += freed
        if not position.lots:
            position.entry = 0.0

    def _insure(self) -> float:
        """Pay a negative wallet that no cross position backs."""
        backed = not self.isolated and bool(self._held())
        if backed or self.wallet >= 0.0:
            return 0.0
        paid, self.wallet = -self.wallet, 0.0
        self.books.insurance += paid
        return paid

    # ------------------------------------------------------------- liquidation

    def _liquidate_inside(self) -> None:
        if self.isolated:
            ends = [
                p.mark_low if x.lots > 0 else p.mark_high
                for p, x in zip(self.prices, self.positions, strict=True)
            ]
            self._liquidate_all_isolated(ends)
            return
        lows = [p.mark_low for p in self.prices]
        highs = [p.mark_high for p in self.prices]
        while self._held():
            worst = min((lows, highs), key=self._excess)
            if self._excess(worst) > 0.0:
                return
            self._liquidate_cross(worst)

    def _liquidate_at_close(self) -> None:
        """Test the closing marks, which did happen: trigger and start of the path are both there."""
        self.prices = [replace(p, mark_open=p.mark_close) for p in self.prices]
        closes = [p.mark_close for p in self.prices]
        if self.isolated:
            self._liquidate_all_isolated(closes)
        elif self._held() and self._excess(closes) <= 0.0:
            self._liquidate_cross(closes)

    def _excess(self, marks: Sequence[float]) -> float:
        """Return margin balance less maintenance margin of the cross account at some marks."""
        return self.wallet + sum(
            self._pnl(s, marks[s]) - self._need(s, marks[s]) for s in self._held()
        )

    def _need(self, symbol: int, mark: float) -> float:
        return self.contracts[symbol].maintenance(abs(self._qty(symbol)) * mark)

    def _along(self, end: Sequence[float], part: float) -> list[float]:
        return [
            p.mark_open + part * (stop - p.mark_open)
            for p, stop in zip(self.prices, end, strict=True)
        ]

    def _first_crossing(self, end: Sequence[float], safe: float) -> float:
        """Return how far from the opens to the end the account, not due before `safe`, meets its maintenance margin."""
        if self._excess(self._along(end, safe)) <= 0.0:
            return safe
        due = 1.0
        for _ in range(200):
            middle = 0.5 * (safe + due)
            if self._excess(self._along(end, middle)) <= 0.0:
                due = middle
            else:
                safe = middle
        return due

    def _liquidate_cross(self, end: Sequence[float]) -> None:
        for order in list(self.orders):
            self._finish(order, OrderStatus.CANCELED)
        part = 0.0
        while self._held() and self._excess(end) <= 0.0:
            part = self._first_crossing(end, part)  # time does not run backwards
            trigger = self._along(end, part)
            symbol = max(self._held(), key=lambda s: (self._need(s, trigger[s]), -s))
            others = self.wallet + sum(
                self._pnl(s, trigger[s]) for s in self._held() if s != symbol
            )
            bankrupt = self.positions[symbol].entry - others / self._qty(symbol)
            price = self._liquidation_price(symbol, trigger[symbol], bankrupt)
            left = others + self._pnl(symbol, price)
            fee = self._close_at(symbol, price, left)
            self.wallet -= fee
            self._note_liquidation(symbol, price, fee, self._insure())

    def _liquidate_all_isolated(self, ends: Sequence[float]) -> None:
        before = len(self.books.liquidations)
        for s in self._held():
            self._liquidate_isolated(s, ends[s])
        if len(self.books.liquidations) > before:
            last = self.books.liquidations[-1]
            paid = self._insure()
            self.books.liquidations[-1] = replace(last, insurance=last.insurance + paid)

    def _liquidate_isolated(self, symbol: int, end: float) -> None:
        position, bar = self.positions[symbol], self.prices[symbol]

        def excess(mark: float) -> float:
            return position.margin + self._pnl(symbol, mark) - self._need(symbol, mark)

        if excess(end) > 0.0:
            return
        for order in [o for o in self.orders if o.symbol == symbol]:
            self._finish(order, OrderStatus.CANCELED)
        safe, due = 0.0, 1.0
        if excess(bar.mark_open) <= 0.0:
            due = 0.0
        for _ in range(200 if due else 0):
            middle = 0.5 * (safe + due)
            if excess(bar.mark_open + middle * (end - bar.mark_open)) <= 0.0:
                due = middle
            else:
                safe = middle
        trigger = bar.mark_open + due * (end - bar.mark_open)
        bankrupt = position.entry - position.margin / self._qty(symbol)
        price = self._liquidation_price(symbol, trigger, bankrupt)
        left = position.margin + self._pnl(symbol, price)
        insurance = max(-left, 0.0)
        margin = position.margin
        fee = self._close_at(symbol, price, left)
        # `_close_at` moved the PnL to the wallet; the margin follows it.
        position.margin = 0.0
        self.wallet += margin + insurance - fee
        self.books.insurance += insurance
        self._note_liquidation(symbol, price, fee, insurance)

    def _liquidation_price(self, symbol: int, trigger: float, bankrupt: float) -> float:
        """Return the worse of trigger and open, on the worse tick, but no worse than bankruptcy within the bar."""
        bar, rules = self.prices[symbol], self.contracts[symbol]
        bound = min(max(bankrupt, bar.mark_low), bar.mark_high)
        if self.positions[symbol].lots > 0:
            return max(rules.down(min(trigger, bar.mark_open)), bound)
        return min(rules.up(max(trigger, bar.mark_open)), bound)

    def _close_at(self, symbol: int, price: float, left: float) -> float:
        """Close a whole position into the wallet and return the liquidation fee that is due."""
        position, rules = self.positions[symbol], self.contracts[symbol]
        fee = min(
            rules.liquidation_fee * abs(self._qty(symbol)) * price,
            max(left, 0.0),
        )
        pnl = self._pnl(symbol, price)
        self.books.fills.append(
            Fill(
                self.now, symbol, -1 if position.lots > 0 else 1, abs(position.lots), price,
                0.0, False, "LIQUIDATION", -1,
            )
        )  # fmt: skip
        self._closed_qty = self._qty(symbol)
        self.wallet += pnl
        self.books.realised += pnl
        position.lots, position.entry = 0, 0.0
        return fee

    def _note_liquidation(self, symbol: int, price: float, fee: float, insurance: float) -> None:
        self.books.liquidations.append(
            Liquidation(self.now, symbol, self._closed_qty, price, fee, insurance)
        )

    # ------------------------------------------------------------------ close

    def _mark(self) -> None:
        for position, bar in zip(self.positions, self.prices, strict=True):
            position.mark = bar.mark_close

    def _settle_ended(self) -> None:
        """Settle at the close of the first bar that ends at or after the symbol's end; its orders are cancelled."""
        for s, position in enumerate(self.positions):
            rules = self.contracts[s]
            if position.ended or rules.ends_us > self.now:
                continue
            position.ended = True
            for order in [o for o in self.orders if o.symbol == s]:
                self._finish(order, OrderStatus.CANCELED)
            # What the closing marks liquidate does not settle: a loss ends with its margin.
            if position.lots:
                self._liquidate_at_close()
            if position.lots:
                lots, price = position.lots, position.mark
                fee = rules.taker_fee * rules.qty(abs(lots)) * price
                side = -1 if lots > 0 else 1
                self.books.fills.append(
                    Fill(self.now, s, side, abs(lots), price, fee, False, "SETTLEMENT", -1)
                )
                self._trade(s, -lots, price, fee)
