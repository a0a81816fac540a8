"""A broker that asks the exchange and changes nothing: what would be sent is told instead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from live.broker.interface import (
    AccountReport,
    Answer,
    Broker,
    BrokerEvent,
    BrokerHealth,
    Cancel,
    Fill,
    Income,
    Order,
    OrderReport,
    Outcome,
    PositionReport,
    SymbolSettings,
)
from quantcore.data.instruments import Instrument


class DryBroker:
    """An account that is looked at; satisfies `Broker`. Whatever would change it is refused, and certainly not sent.

    Parameters
    ----------
    broker : Broker
        The account.
    tell : callable
        Told one line for each order, cancel or setting that would have been sent.
    """

    def __init__(self, broker: Broker, tell: Callable[[str], None]) -> None:
        self._broker = broker
        self._tell = tell

    async def start(self) -> None:
        """Connect."""
        await self._broker.start()

    async def close(self) -> None:
        """Leave."""
        await self._broker.close()

    def now_us(self) -> int:
        """Return the exchange's time."""
        return self._broker.now_us()

    def health(self) -> BrokerHealth:
        """Return how it does, for monitoring."""
        return self._broker.health()

    def events(self) -> AsyncIterator[list[BrokerEvent]]:
        """Yield what happens to the account."""
        return self._broker.events()

    async def send(self, order: Order, *, urgent: bool = False) -> Answer:
        """Tell of an order."""
        return self._unsent(order_told(order))

    async def cancel(self, cancel: Cancel, *, urgent: bool = False) -> Answer:
        """Tell of a cancel."""
        return self._unsent(f"cancel {cancel.client_id} of {cancel.symbol}")

    async def query(self, cancel: Cancel) -> OrderReport | None:
        """Return an own order by its client id."""
        return await self._broker.query(cancel)

    async def open_orders(self) -> list[OrderReport]:
        """Return every open order."""
        return await self._broker.open_orders()

    async def positions(self) -> list[PositionReport]:
        """Return every position."""
        return await self._broker.positions()

    async def account(self) -> AccountReport:
        """Return balances and switches."""
        return await self._broker.account()

    async def symbol_settings(self) -> dict[str, SymbolSettings]:
        """Return leverage and margin type of every symbol."""
        return await self._broker.symbol_settings()

    async def fills_since(self, symbol: str, time_us: int) -> list[Fill]:
        """Return the account's trades of a symbol from a time on."""
        return await self._broker.fills_since(symbol, time_us)

    async def incomes_since(self, time_us: int) -> list[Income]:
        """Return what else moved money from a time on."""
        return await self._broker.incomes_since(time_us)

    async def instruments(self, symbols: Sequence[str]) -> tuple[Instrument, ...]:
        """Return the rules of symbols."""
        return await self._broker.instruments(symbols)

    async def set_leverage(self, symbol: str, leverage: int) -> Answer:
        """Tell of a leverage."""
        return self._unsent(f"leverage {leverage}x for {symbol}")

    async def set_isolated(self, symbol: str, isolated: bool) -> Answer:
        """Tell of a margin type."""
        return self._unsent(f"{'isolated' if isolated else 'cross'} margin for {symbol}")

    async def set_one_way(self) -> Answer:
        """Tell of the position mode."""
        return self._unsent("one-way mode")

    async def countdown(self, symbol: str, milliseconds: int) -> Answer:
        """Tell of a countdown."""
        return self._unsent(f"countdown of {milliseconds} ms for {symbol}")

    def _unsent(self, what: str) -> Answer:
        self._tell(f"would send: {what}")
        return Answer(outcome=Outcome.REFUSED, message="a dry run sends nothing")


def order_told(order: Order) -> str:
    """Return an order in one line, without what it leaves at its default."""
    parts = [order.side.name, order.type.name, order.qty or "all", order.symbol]
    if order.price is not None:
        parts.append(f"at {order.price} {order.time_in_force.name}")
    if order.stop_price is not None:
        parts.append(f"from {order.stop_price} of {order.working_type.name}")
    if order.callback is not None:
        parts.append(f"following by {order.callback} %")
    if order.close_position:
        parts.append("close-position")
    elif order.reduce_only:
        parts.append("reduce-only")
    return f"{' '.join(parts)} ({order.client_id})"
