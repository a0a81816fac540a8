"""What the loop asks of an exchange, and what it hears from it; the one place where both are named.

Numbers travel as the exchange's text, so that what was computed is what is sent. Times are microseconds since 1970 of
the exchange's clock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from quantcore.data.instruments import Instrument
from quantcore.types import OrderStatus, OrderType, Rule, Side, TimeInForce, WorkingType


@dataclass(frozen=True, kw_only=True)
class Order:
    """An order as it is sent.

    Parameters
    ----------
    client_id : str
        Own and deterministic, at most 36 of ``.A-Z:/a-z0-9_-``; of a conditional order its ``clientAlgoId``.
    symbol : str
        Such as ``"BTCUSDT"``.
    side : Side
        Buy or sell.
    type : OrderType
        What is not MARKET or LIMIT is conditional and lives in the Algo Service.
    qty : str or None
        Coins; None with `close_position`.
    price, stop_price : str or None
        Limit, and trigger of a conditional order.
    callback : str or None
        Per cent by which a trailing stop follows.
    time_in_force : TimeInForce
        Of a limit.
    working_type : WorkingType
        The price that triggers.
    reduce_only, close_position : bool
        As the exchange has them.
    """

    client_id: str
    symbol: str
    side: Side
    type: OrderType
    qty: str | None = None
    price: str | None = None
    stop_price: str | None = None
    callback: str | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    working_type: WorkingType = WorkingType.CONTRACT_PRICE
    reduce_only: bool = False
    close_position: bool = False

    @property
    def conditional(self) -> bool:
        """Whether it lives in the Algo Service."""
        return self.type not in (OrderType.MARKET, OrderType.LIMIT)


class Outcome(Enum):
    """What is known of a request after its answer."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """Certainly not carried out."""
    UNKNOWN = "unknown"
    """It may have been carried out: to be queried before anything else, never to be sent again blindly."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a request.

    Parameters
    ----------
    outcome : Outcome
        What is known.
    order : OrderReport or None
        The order as the exchange has it, where it said so.
    code : int or None
        The exchange's, such as -2019.
    message : str
        The exchange's text, or what happened to the request; never a key or a signature.
    rule : Rule or None
        The rule of the account plane that stands for a refusal, where there is one.
    """

    outcome: Outcome
    order: OrderReport | None = None
    code: int | None = None
    message: str = ""
    rule: Rule | None = None


@dataclass(frozen=True, kw_only=True)
class OrderReport:
    """An order as the exchange has it.

    Parameters
    ----------
    client_id, symbol, side, type
        As in `Order`; orders that the exchange made itself have its ids (``autoclose-…``, ``adl_autoclose``, …).
    exchange_id : int
        ``orderId``, or ``algoId`` of a conditional order.
    conditional : bool
        Whether it is of the Algo Service.
    status : OrderStatus
        Of a conditional order that has triggered, that of the order it became.
    qty, filled : str
        Coins.
    price, stop_price : str or None
        As in `Order`.
    reduce_only, close_position : bool
        As in `Order`.
    stuck : bool
        A conditional order in TRIGGERING: its position may be naked.
    """

    client_id: str
    symbol: str
    side: Side
    type: OrderType
    exchange_id: int
    conditional: bool
    status: OrderStatus
    qty: str
    filled: str
    price: str | None = None
    stop_price: str | None = None
    reduce_only: bool = False
    close_position: bool = False
    stuck: bool = False


@dataclass(frozen=True, kw_only=True)
class PositionReport:
    """A position as the exchange has it, never flat.

    Parameters
    ----------
    symbol : str
        Its symbol.
    qty : str
        Signed coins.
    entry_price, mark_price, liquidation_price : str
        USDT per coin; ``"0"`` where there is none.
    isolated_wallet : str
        USDT; ``"0"`` in cross margin.
    """

    symbol: str
    qty: str
    entry_price: str
    mark_price: str
    liquidation_price: str
    isolated_wallet: str


@dataclass(frozen=True, kw_only=True)
class AccountReport:
    """The account as the exchange has it.

    Parameters
    ----------
    wallet, available : str
        USDT: wallet balance with isolated margin, and what may be used.
    other_assets : tuple of (str, str)
        What else has a balance.
    can_trade, can_withdraw : bool or None
        Of the key; None where the host does not say.
    hedge_mode, multi_assets, burns_bnb : bool
        Switches that must be off.
    """

    wallet: str
    available: str
    other_assets: tuple[tuple[str, str], ...]
    can_trade: bool | None
    can_withdraw: bool | None
    hedge_mode: bool
    multi_assets: bool
    burns_bnb: bool


@dataclass(frozen=True, kw_only=True)
class SymbolSettings:
    """What is set for a symbol: leverage, and whether its margin is isolated."""

    leverage: int
    isolated: bool


@dataclass(frozen=True, kw_only=True)
class Fill:
    """A trade of the account.

    Parameters
    ----------
    time_us : int
        When.
    trade_id : int
        Unique per symbol: the same trade may be told twice.
    client_id, exchange_id, symbol, side
        Of its order.
    qty, price, fee : str
        Coins, USDT per coin, and the commission in `fee_asset`.
    fee_asset : str
        ``"USDT"`` as long as nothing burns BNB.
    maker : bool
        Whether it rested.
    order_status : OrderStatus or None
        Of its order after it; None where it was read from the list of trades.
    realised : str
        USDT, as the exchange has it.
    """

    time_us: int
    trade_id: int
    client_id: str
    exchange_id: int
    symbol: str
    side: Side
    qty: str
    price: str
    fee: str
    fee_asset: str
    maker: bool
    order_status: OrderStatus | None
    realised: str


@dataclass(frozen=True, kw_only=True)
class OrderChange:
    """An order's new state without a trade: accepted, cancelled, expired, rejected, triggered or stuck."""

    time_us: int
    order: OrderReport
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Income:
    """Money that moved without a trade.

    Parameters
    ----------
    time_us : int
        When.
    kind : str
        The exchange's word: ``FUNDING_FEE``, ``TRANSFER``, ``INSURANCE_CLEAR``, …
    symbol : str or None
        Whose.
    amount : str
        USDT, > 0 received.
    income_id : str
        Unique per kind: the same income may be told twice; empty where the stream told it, which gives none.
    """

    time_us: int
    kind: str
    symbol: str | None
    amount: str
    income_id: str


@dataclass(frozen=True, kw_only=True)
class Balance:
    """The wallet and the positions after a change, as the user stream tells them.

    Parameters
    ----------
    time_us : int
        When.
    wallet : str
        USDT, isolated margin included.
    change : str
        Of the balance apart from profit and fees, USDT.
    kind : str
        ``ORDER``, ``FUNDING_FEE``, ``DEPOSIT``, …
    positions : tuple of (str, str, str)
        Symbol, signed coins, entry price of those that changed.
    """

    time_us: int
    wallet: str
    change: str
    kind: str
    positions: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A reason to compare everything with the exchange, such as a lost connection or a message not understood."""

    time_us: int
    reason: str


BrokerEvent = Fill | OrderChange | Balance | Doubt


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """The cancel of an own order."""

    client_id: str
    symbol: str
    conditional: bool


@dataclass(frozen=True, kw_only=True)
class BrokerHealth:
    """How the connection to the account does; see `live.journal.records.Health`."""

    requests: int
    failures: int
    clock_off_ms: float
    account_stream: bool


class Broker(Protocol):
    """An exchange account. Requests never raise for what the exchange answers; reads raise `VenueError`.

    A read is repeated a few times with growing pauses; a request that changes something is sent once.
    """

    async def start(self) -> None:
        """Connect: clock offset measured, user stream open."""
        ...

    async def close(self) -> None:
        """Leave without touching orders or positions."""
        ...

    def now_us(self) -> int:
        """Return the exchange's time."""
        ...

    def health(self) -> BrokerHealth:
        """Return how it does, for monitoring."""
        ...

    def events(self) -> AsyncIterator[list[BrokerEvent]]:
        """Yield what happens to the account, all that waits at a time, in order, for ever.

        Losses of the connection come as `Doubt`.
        """
        ...

    async def send(self, order: Order, *, urgent: bool = False) -> Answer:
        """Send an order; what reduces a position is `urgent` and goes before others when limits are near."""
        ...

    async def cancel(self, cancel: Cancel, *, urgent: bool = False) -> Answer:
        """Cancel an order."""
        ...

    async def query(self, cancel: Cancel) -> OrderReport | None:
        """Return an own order by its client id, None at once if the exchange does not know it.

        Just after an unknown outcome that is no answer yet: the request may still arrive. Whoever asks asks again for
        longer than a request may take (`live.sender`).
        """
        ...

    async def open_orders(self) -> list[OrderReport]:
        """Return every open order, ordinary and conditional, foreign ones too."""
        ...

    async def positions(self) -> list[PositionReport]:
        """Return every position."""
        ...

    async def account(self) -> AccountReport:
        """Return balances and switches."""
        ...

    async def symbol_settings(self) -> dict[str, SymbolSettings]:
        """Return leverage and margin type of every symbol."""
        ...

    async def fills_since(self, symbol: str, time_us: int) -> list[Fill]:
        """Return the account's trades of a symbol from a time on, oldest first.

        Raises `VenueError` if the exchange does not keep them any more: a part is never given for the whole.
        """
        ...

    async def incomes_since(self, time_us: int) -> list[Income]:
        """Return what else moved money from a time on, oldest first; see `fills_since`."""
        ...

    async def instruments(self, symbols: Sequence[str]) -> tuple[Instrument, ...]:
        """Return the rules of symbols as this host has them: filters, brackets, the account's own fees."""
        ...

    async def set_leverage(self, symbol: str, leverage: int) -> Answer:
        """Set a symbol's leverage; already set is accepted."""
        ...

    async def set_isolated(self, symbol: str, isolated: bool) -> Answer:
        """Set a symbol's margin type; already set is accepted."""
        ...

    async def set_one_way(self) -> Answer:
        """Leave hedge mode; already left is accepted."""
        ...

    async def countdown(self, symbol: str, milliseconds: int) -> Answer:
        """Let the exchange cancel a symbol's ordinary orders unless this is called again in time; 0 takes it back."""
        ...
