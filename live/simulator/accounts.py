"""One account of the exchange: the account step's state, and what clients may see of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from live.simulator.orders import AlgoOrder, Order
from quantcore.account_plane import AccountPlane, events_per_bar
from quantcore.data.instruments import Instrument
from quantcore.kernels import layout as at
from quantcore.kernels.layout import Account, Journal, Rules
from quantcore.orders import OrderScript
from quantcore.types import Array, FloatArray, IntArray, MarginType

LEVERAGE = 20
"""What the exchange sets for a symbol that nobody touched, or the symbol's highest if that is lower."""
HISTORY = 100_000
"""Trades and incomes that are kept."""
ENDED_ORDERS = 20_000
"""Ended orders that are kept."""


@dataclass(kw_only=True)
class Trade:
    """One fill."""

    id: int
    order: Order
    lots: int
    price: float
    fee: float
    realised: float
    maker: bool
    time_us: int


@dataclass(kw_only=True)
class Income:
    """One change of the wallet that is not a transfer between margins."""

    symbol: str
    kind: str
    amount: float
    info: str
    time_us: int
    id: int
    trade: int | None = None


@dataclass(kw_only=True)
class VenueAccount:
    """What an API key owns.

    Parameters
    ----------
    key, secret : str
        Credentials.
    instruments : sequence of Instrument
        Of all symbols.
    held : dict of arrays
        The account step's state.
    rules : Rules
        Of this account: leverage and margin types are its own.
    config : float64 array
        The step's numbers.
    capital : float
        USDT at the start.
    """

    key: str
    secret: str
    instruments: Sequence[Instrument]
    held: dict[str, Array]
    rules: Rules = field(repr=False)
    config: FloatArray = field(repr=False)
    capital: float
    next_number: int = 0
    orders: dict[int, Order] = field(default_factory=dict)
    by_step_id: dict[int, Order | AlgoOrder] = field(default_factory=dict)
    """What is open, by the number that the account step gave."""
    algos: dict[int, AlgoOrder] = field(default_factory=dict)
    trades: deque[Trade] = field(default_factory=lambda: deque(maxlen=HISTORY))
    incomes: deque[Income] = field(default_factory=lambda: deque(maxlen=HISTORY))
    margin_changes: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=HISTORY))
    realised: dict[int, float] = field(default_factory=dict)
    """Profit realised by symbol, fees left out, USDT."""
    touched_us: dict[int, int] = field(default_factory=dict)
    """When a symbol's position changed last."""
    countdown_us: dict[int, int] = field(default_factory=dict)
    """When a symbol's orders are cancelled unless its countdown is set again."""
    warned: bool = False
    """Whether a margin call was sent since the margin was last enough."""

    @property
    def account(self) -> Account:
        """The state as the kernels read it."""
        return Account(**{name: self.held[name] for name in Account._fields})

    @property
    def wallet(self) -> float:
        """Cross wallet, USDT: isolated margin excluded."""
        return float(self.held["cash"][at.WALLET])

    @property
    def balance(self) -> float:
        """Wallet balance, isolated margin included, USDT."""
        return self.wallet + float(self.held["position"][:, at.MARGIN].sum())

    def lots(self, s: int) -> int:
        """Return the signed lots held."""
        return int(self.held["held"][s, at.LOTS])

    def qty(self, s: int) -> float:
        """Return the signed coins held."""
        return float(self.held["position"][s, at.QTY])

    def entry(self, s: int) -> float:
        """Return the entry price, 0 without a position."""
        return float(self.held["position"][s, at.ENTRY])

    def leverage(self, s: int) -> int:
        """Return the initial leverage set."""
        return int(self.held["position"][s, at.LEVERAGE_SET])

    def isolated(self, s: int) -> bool:
        """Return whether a symbol's margin is its own."""
        return bool(self.rules.size[s, at.MARGIN_TYPE] == MarginType.ISOLATED)

    def unrealised(self, marks: FloatArray) -> FloatArray:
        """Return each position's unrealised profit at some marks, USDT."""
        position = self.held["position"]
        known = np.where(np.isnan(marks), position[:, at.MARK], marks)
        return np.asarray(position[:, at.QTY] * (known - position[:, at.ENTRY]))

    def initial_margin(self, marks: FloatArray) -> FloatArray:
        """Return the initial margin of each position, USDT."""
        position = self.held["position"]
        known = np.where(np.isnan(marks), position[:, at.MARK], marks)
        return np.asarray(np.abs(position[:, at.QTY]) * known / position[:, at.LEVERAGE_SET])

    def maintenance_margin(self, s: int, mark: float) -> float:
        """Return a position's maintenance margin at a mark, USDT."""
        notional = abs(self.qty(s)) * mark
        for row in self.rules.bracket[s]:
            if row[at.FLOOR] <= notional < row[at.CAP]:
                return float(notional * row[at.MAINTENANCE_RATE] - row[at.CUM])
        return 0.0

    def order_margin(self, s: int, mark: float) -> float:
        """Return what open orders of a symbol reserve, USDT: by how much they could enlarge its position."""
        buys = sells = 0.0
        for order in self.open_orders(s):
            terms = order.terms
            if terms.reduce_only or terms.price is None:
                continue
            value = float(terms.lots_text(terms.lots - order.done)) * terms.price
            buys, sells = (buys + value, sells) if terms.side > 0 else (buys, sells + value)
        held = self.qty(s) * mark
        return (max(abs(held + buys), abs(held - sells), abs(held)) - abs(held)) / self.leverage(s)

    def available(self, marks: FloatArray) -> float:
        """Return what may be used as margin, or withdrawn, USDT; never below 0."""
        free = self.wallet
        margins, profits = self.initial_margin(marks), self.unrealised(marks)
        for s in range(len(self.instruments)):
            if self.qty(s) and not self.isolated(s):
                free += float(profits[s] - margins[s])
        for s in {order.terms.s for order in self.open_orders()}:
            free -= self.order_margin(s, float(np.nan_to_num(marks[s])))
        return max(free, 0.0)

    def open_orders(self, s: int | None = None) -> list[Order]:
        """Return the open orders, of one symbol or all, the oldest first."""
        found = [o for o in self.by_step_id.values() if isinstance(o, Order) and o.is_open]
        return [o for o in found if s is None or o.terms.s == s]

    def open_algos(self, s: int | None = None) -> list[AlgoOrder]:
        """Return the conditional orders that may still trigger, of one symbol or all."""
        found = list(self._watched.values())
        for algo in found:
            if not algo.is_open:
                del self._watched[algo.algo_id]
        return [a for a in found if a.is_open and (s is None or a.terms.s == s)]

    @cached_property
    def _watched(self) -> dict[int, AlgoOrder]:
        """Conditional orders that may still trigger, and such as have ended since they were last asked for."""
        return {algo_id: a for algo_id, a in self.algos.items() if a.is_open}

    def watch(self, algo: AlgoOrder) -> None:
        """Take a conditional order in, and the oldest ended ones out of memory."""
        self._watched[algo.algo_id] = algo
        self.algos[algo.algo_id] = algo
        _drop_ended(self.algos)

    def set_leverage(self, s: int, leverage: int) -> None:
        """Set a symbol's initial leverage, and with it the largest position."""
        self.held["position"][s, at.LEVERAGE_SET] = leverage
        self.rules.rate[s, at.LEVERAGE] = leverage
        self.rules.rate[s, at.NOTIONAL_MAX] = notional_max(self.instruments[s], leverage)

    def journal(self, settlement_row: IntArray) -> Journal:
        """Return room for what one row of the market can do to the account."""
        script = OrderScript.empty()
        no_flow = np.empty(0, dtype=np.int64)
        most = events_per_bar(self.account, settlement_row, no_flow, script)
        return Journal(
            np.zeros(2, dtype=np.int64),
            np.empty((2 * most, at.N_WHOLE), dtype=np.int64),
            np.empty((2 * most, at.N_NUMBER)),
            np.empty((1, 0)),
        )

    def forget(self, order: Order) -> None:
        """Take an ended order out of the open ones, and the oldest ended ones out of memory."""
        self.by_step_id.pop(order.step_id, None)
        _drop_ended(self.orders)


def _drop_ended(orders: dict[int, Any]) -> None:
    """Forget the oldest ended orders where there are very many."""
    if len(orders) > ENDED_ORDERS:
        ended = [number for number, order in orders.items() if not order.is_open]
        for number in ended[: ENDED_ORDERS // 2]:
            del orders[number]


def venue_account(
    plane: AccountPlane, instruments: Sequence[Instrument], key: str, secret: str, capital: float
) -> VenueAccount:
    """Return a fresh account that holds USDT and nothing else."""
    state = plane.start()
    found = VenueAccount(
        key=key,
        secret=secret,
        instruments=instruments,
        held=state.copies(),
        rules=Rules(plane.rules.rate.copy(), plane.rules.size.copy(), plane.rules.bracket.copy()),
        config=plane.config.copy(),
        capital=capital,
    )
    for s, instrument in enumerate(instruments):
        found.set_leverage(s, min(LEVERAGE, instrument.leverage_max))
    return found


def notional_max(instrument: Instrument, leverage: int) -> float:
    """Return the largest position that a leverage allows, USDT."""
    return max(b.cap for b in instrument.brackets if b.leverage_max >= leverage)


Record = Callable[[IntArray, FloatArray], None]
"""Takes one event of the journal: its whole and its real numbers."""


def each_event(journal: Journal, record: Record) -> None:
    """Hand on what a journal holds, in order, and empty it."""
    for row in range(int(journal.filled[0])):
        record(journal.whole[row], journal.number[row])
    journal.filled[:] = 0
