"""The exchange itself behind `Broker`: an account of a Binance USDT-M futures host, real or simulated."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from live.broker import calls, forms
from live.broker.budget import Budget, Priority
from live.broker.calls import Call
from live.broker.client import Client
from live.broker.errors import (
    NO_LISTEN_KEY,
    NO_SUCH_ORDER,
    unanswered,
)
from live.broker.history import PAGE, Pages, Row, rows_since
from live.broker.interface import (
    AccountReport,
    Answer,
    BrokerEvent,
    BrokerHealth,
    Cancel,
    Doubt,
    Fill,
    Income,
    Order,
    OrderReport,
    Outcome,
    PositionReport,
    SymbolSettings,
)
from live.broker.requests import RequestFailed, Requests
from live.broker.settings import BrokerSettings
from live.broker.user_socket import EventQueue, KeyRefused, ListenKeys, UserSocket
from live.broker.user_stream import UserStream
from live.clock import ExchangeClock
from quantcore.data.instruments import Instrument, instruments_from_exchange
from quantcore.errors import VenueError

log = logging.getLogger(__name__)

_CLOCK_SAMPLES: Final = 5
_NAMES_KEPT: Final = 20_000


class BinanceBroker:
    """An account of a Binance USDT-M futures host, real or simulated; satisfies `Broker`.

    Parameters
    ----------
    settings : BrokerSettings
        Where and how.

    Raises
    ------
    ConfigError
        If the credentials are not in the environment.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self.settings = settings
        self.clock = ExchangeClock(speed=settings.clock_speed)
        self.budget = Budget(self.clock)
        self._credentials = settings.find_credentials()
        self._client: Client | None = None
        self._names: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._queue = EventQueue(settings.queue_max, self.clock.now_us)
        self._stream = UserStream(stuck_us=int(settings.stuck_seconds * 1e6))
        self._socket = UserSocket(
            settings.stream_url,
            keys=ListenKeys(create=self._make_key, extend=self._extend_key),
            stream=self._stream,
            clock=self.clock,
            queue=self._queue,
            ping_seconds=settings.ping_seconds,
            mute_seconds=settings.mute_seconds,
        )
        self._requests = Requests(
            self._perform,
            self.budget,
            measure_clock=self._measure_clock,
            read_attempts=settings.read_attempts,
            patience_s=settings.patience_s,
            exit_patience_s=settings.exit_patience_s,
        )
        self._read = self._requests.read
        self._schedule: asyncio.Task[None] | None = None
        self._is_off = False

    async def start(self) -> None:
        """Connect: clock measured, limits read, user stream open.

        Raises
        ------
        VenueError
            If the host cannot be reached, does not take the key, or its user stream does not open.
        """
        self._client = Client(self.settings, self._credentials, self.budget, self.clock)
        opened = False
        try:
            await self._read(calls.TIME)
            await self._measure_clock()
            info = await self._read(calls.INFO)
            with forms.legible(calls.INFO.method):
                self.budget.publish(info["rateLimits"])
            await self._read(calls.MAKE_KEY)
            await self._socket.open(self.settings.timeout_s)
            opened = True
        except TimeoutError:
            raise VenueError(
                f"the user stream must open within {self.settings.timeout_s:g} s, did not"
            ) from None
        except RequestFailed as error:
            failure = error.failure
        finally:
            if not opened:
                await self.close()
        if not opened:
            raise VenueError(f"the exchange's clock must be measured, was not: {failure}")
        self._schedule = asyncio.create_task(self._keep_time(), name="exchange clock")

    async def close(self) -> None:
        """Leave without touching orders or positions; nothing of ours stays open."""
        if self._schedule is not None:
            self._schedule.cancel()
            await asyncio.wait({self._schedule})
        await self._socket.close()
        if self._client is not None:
            await self._client.close()

    def now_us(self) -> int:
        """Return the exchange's time."""
        return self.clock.now_us()

    def health(self) -> BrokerHealth:
        """Return how it does, for monitoring."""
        real = self.clock.speed == 1.0 and self.clock.is_set
        return BrokerHealth(
            requests=0 if self._client is None else self._client.asked,
            failures=0 if self._client is None else self._client.failed,
            clock_off_ms=self.clock.wall_offset_ms() if real else math.nan,
            account_stream=self._socket.is_open,
        )

    async def events(self) -> AsyncIterator[list[BrokerEvent]]:
        """Yield what happens to the account, all that waits at a time, in order, for ever."""
        while True:
            yield self._taken(await self._queue.get())

    async def caught_up(self) -> list[BrokerEvent]:
        """Return what waits in the queue once all is heard that the exchange has sent: the loop's part in lock-step.

        Raises
        ------
        VenueError
            If the user stream does not answer.
        """
        if not await self._socket.caught_up(self.settings.timeout_s):
            raise VenueError(
                f"the user stream must answer within {self.settings.timeout_s:g} s, did not"
            )
        return self._taken(self._queue.waiting())

    def _taken(self, events: list[BrokerEvent]) -> list[BrokerEvent]:
        for event in events:
            if isinstance(event, Fill):
                self._remember(event.symbol, event.exchange_id, event.client_id)
        return events

    async def send(self, order: Order, *, urgent: bool = False) -> Answer:
        """Send an order; see `Broker.send`."""
        params = forms.order_params(order)
        exempt = order.reduce_only or order.close_position
        priority = Priority.EXIT if urgent or exempt else Priority.ENTRY
        if not order.conditional:
            self._socket.sending(order.client_id)
        answer, told = await self._requests.change(
            calls.SEND, priority=priority, exempt=exempt, **params
        )
        read = forms.algo_report if order.conditional else forms.order_report
        answer = self._with_order(answer, told, read)
        accepted = answer.outcome is Outcome.ACCEPTED
        self._socket.sent(order.client_id, accepted=accepted)
        return answer

    async def cancel(self, cancel: Cancel, *, urgent: bool = False) -> Answer:
        """Cancel an order; see `Broker.cancel`. Cancels go before what opens, urgent or not."""
        answer, told = await self._requests.change(
            calls.CANCEL, priority=Priority.EXIT, exempt=True, **forms.cancel_params(cancel)
        )
        if cancel.conditional or answer.outcome is not Outcome.ACCEPTED:
            return answer  # the Algo Service does not send the order
        return self._with_order(answer, told, forms.order_report)

    async def query(self, cancel: Cancel) -> OrderReport | None:
        """Return an own order by its client id, None if the exchange does not know it.

        Of a conditional order that has triggered the order that it became is asked for, too.
        """
        told = await self._found(**forms.cancel_params(cancel))
        if told is None:
            return None
        with forms.legible(calls.QUERY.method):
            if not cancel.conditional:
                return self._report(told)
            order = self._algo(told)
            became = str(told.get("actualOrderId") or "")
        if not became.isdigit() or int(became) == 0:
            return order
        self._remember(order.symbol, int(became), order.client_id)  # its fills are the own order's
        actual = await self._found(symbol=order.symbol, orderId=became)
        if actual is None:
            return order
        with forms.legible(calls.QUERY.method):
            ended = forms.order_report(actual)
        return replace(order, status=ended.status, filled=ended.filled)

    async def open_orders(self) -> list[OrderReport]:
        """Return every open order of both services, foreign ones too."""
        ordinary = await self._read(calls.OPEN_ORDERS)
        conditional = await self._read(calls.OPEN_ORDERS, conditional=True)
        with forms.legible(calls.OPEN_ORDERS.method):
            found = [self._report(each) for each in forms.rows_of(ordinary)]
            return found + [self._algo(each) for each in forms.rows_of(conditional)]

    async def positions(self) -> list[PositionReport]:
        """Return every position."""
        told = await self._read(calls.POSITIONS)
        with forms.legible(calls.POSITIONS.method):
            return forms.position_reports(told)

    async def account(self) -> AccountReport:
        """Return balances and switches; whether the key may withdraw is known where a host tells permissions."""
        told = await self._read(calls.ACCOUNT)
        mode = await self._read(calls.POSITION_MODE)
        assets = await self._read(calls.MULTI_ASSETS)
        burn = await self._read(calls.FEE_BURN)
        told_host = self.settings.permissions_url is not None
        permissions = await self._read(calls.PERMISSIONS) if told_host else None
        with forms.legible(calls.ACCOUNT.method):
            return forms.account_report(
                told,
                hedge_mode=forms.flag_of(mode["dualSidePosition"]),
                multi_assets=forms.flag_of(assets["multiAssetsMargin"]),
                burns_bnb=forms.flag_of(burn["feeBurn"]),
                permissions=permissions,
            )

    async def symbol_settings(self) -> dict[str, SymbolSettings]:
        """Return leverage and margin type of every symbol."""
        told = await self._read(calls.SYMBOL_CONFIG)
        with forms.legible(calls.SYMBOL_CONFIG.method):
            return forms.symbol_settings(told)

    async def fills_since(self, symbol: str, time_us: int) -> list[Fill]:
        """Return the account's trades of a symbol from a time on, oldest first.

        Trades are listed without their orders' client ids; those not heard of before are asked for.

        Raises
        ------
        VenueError
            If the exchange does not keep them any more, or cannot be asked.
        """
        ask = partial(self._read, calls.TRADES, symbol=symbol, limit=PAGE)

        async def between(first_ms: int, last_ms: int) -> list[Row]:
            return forms.rows_of(await ask(startTime=first_ms, endTime=last_ms))

        async def after(row: Row) -> list[Row]:
            return forms.rows_of(await ask(fromId=int(row["id"]) + 1))

        pages = Pages(
            name=f"trades of {symbol}", between=between, after=after, identity=lambda row: row["id"]
        )
        now_ms = await self._now_ms()
        with forms.legible(calls.TRADES.method):
            rows = await rows_since(pages, -(-time_us // 1000), now_ms)
            fills = [forms.fill_of(row) for row in rows]
        fills.sort(key=lambda fill: (fill.time_us, fill.trade_id))
        return [replace(fill, client_id=await self._name_of(fill)) for fill in fills]

    async def incomes_since(self, time_us: int) -> list[Income]:
        """Return what else moved money from a time on, oldest first: all but commissions and realised profit.

        Raises
        ------
        VenueError
            If the exchange does not keep it any more, or cannot be asked.
        """

        async def between(first_ms: int, last_ms: int) -> list[Row]:
            told = await self._read(calls.INCOME, startTime=first_ms, endTime=last_ms, limit=PAGE)
            return forms.rows_of(told)

        pages = Pages(
            name="incomes",
            between=between,
            after=None,
            identity=lambda row: (row["incomeType"], row["tranId"], row["symbol"]),
        )
        now_ms = await self._now_ms()
        with forms.legible(calls.INCOME.method):
            rows = await rows_since(pages, -(-time_us // 1000), now_ms)
            return [income for row in rows if (income := forms.income_of(row)) is not None]

    async def instruments(self, symbols: Sequence[str]) -> tuple[Instrument, ...]:
        """Return the rules of symbols as this host has them.

        Raises
        ------
        VenueError
            If the host cannot be asked.
        ConfigError
            If it does not describe a symbol, or contradicts itself.
        """
        info = await self._read(calls.INFO)
        brackets = await self._read(calls.BRACKETS)
        funding = await self._read(calls.FUNDING_INFO)
        host = self.settings.rest_url.partition("://")[2]
        with forms.legible(calls.INFO.method):
            self.budget.publish(info["rateLimits"])
            described = instruments_from_exchange(
                info,
                brackets,
                symbols=symbols,
                funding_hours={
                    str(each["symbol"]): int(each["fundingIntervalHours"])
                    for each in forms.rows_of(funding)
                },
                origin=f"exchangeInfo, leverageBracket and commissionRate of {host}",
            )
        fees = [await self._read(calls.FEES, symbol=each.symbol) for each in described]
        with forms.legible(calls.FEES.method):
            return tuple(
                replace(
                    each,
                    maker_fee=float(fee["makerCommissionRate"]),
                    taker_fee=float(fee["takerCommissionRate"]),
                )
                for each, fee in zip(described, fees, strict=True)
            )

    async def set_leverage(self, symbol: str, leverage: int) -> Answer:
        """Set a symbol's leverage."""
        self._stream.expect_leverage(symbol, leverage)
        return await self._set(calls.LEVERAGE, symbol=symbol, leverage=leverage)

    async def set_isolated(self, symbol: str, isolated: bool) -> Answer:
        """Set a symbol's margin type; already set is accepted."""
        kind = "ISOLATED" if isolated else "CROSSED"
        return await self._set(calls.MARGIN_TYPE, symbol=symbol, marginType=kind)

    async def set_one_way(self) -> Answer:
        """Leave hedge mode; already left is accepted."""
        return await self._set(calls.SET_MODE, dualSidePosition="false")

    async def countdown(self, symbol: str, milliseconds: int) -> Answer:
        """Let the exchange cancel a symbol's ordinary orders unless this is called again in time."""
        return await self._set(calls.COUNTDOWN, symbol=symbol, countdownTime=milliseconds)

    async def _set(self, call: Call, **params: Any) -> Answer:
        answer, _ = await self._requests.change(
            call, priority=Priority.EXIT, exempt=False, **params
        )
        return answer

    def _with_order(self, answer: Answer, told: Any, read: Any) -> Answer:
        """Return an answer with its order; success of a form that is not understood is an unknown outcome."""
        if answer.outcome is not Outcome.ACCEPTED:
            return answer
        try:
            with forms.legible("success"):
                order = read(told)
        except VenueError as error:
            return Answer(outcome=Outcome.UNKNOWN, message=str(error))
        if not order.conditional:
            self._remember(order.symbol, order.exchange_id, order.client_id)
        return replace(answer, order=order)

    async def _found(self, **params: Any) -> Any:
        """Return an order's JSON, None if the exchange says that it does not know it."""
        try:
            told = await self._requests.read_or_fail(calls.QUERY, **params)
        except RequestFailed as error:
            failure = error.failure
        else:
            if told is None:
                raise VenueError(f"{calls.QUERY.method}: answered with nothing")
            return told
        if failure.code == NO_SUCH_ORDER:
            return None
        raise VenueError(f"{calls.QUERY.method}: {failure}")

    def _report(self, told: Any) -> OrderReport:
        order = forms.order_report(told)
        self._remember(order.symbol, order.exchange_id, order.client_id)
        return order

    def _algo(self, told: Any) -> OrderReport:
        """Return a conditional order; one that has been TRIGGERING for too long is stuck."""
        since_ms = int(told.get("triggerTime") or told.get("updateTime") or 0)
        waited_us = self.clock.now_us() - since_ms * forms.MILLISECOND_US
        stuck = (
            told["algoStatus"] == forms.TRIGGERING and waited_us > self.settings.stuck_seconds * 1e6
        )
        return forms.algo_report(told, stuck=stuck)

    def _remember(self, symbol: str, exchange_id: int, client_id: str) -> None:
        self._names[symbol, exchange_id] = client_id
        if len(self._names) > _NAMES_KEPT:
            self._names.popitem(last=False)

    async def _name_of(self, fill: Fill) -> str:
        """Return the client id of a fill's order, empty where the exchange has forgotten the order."""
        known = self._names.get((fill.symbol, fill.exchange_id))
        if known is not None:
            return known
        told = await self._found(symbol=fill.symbol, orderId=fill.exchange_id)
        name = "" if told is None else str(told["clientOrderId"])
        self._remember(fill.symbol, fill.exchange_id, name)
        return name

    async def _now_ms(self) -> int:
        """Return the exchange's time; of a clock that stands, what it shows now."""
        if not self.clock.runs:
            await self._measure_clock()
        return self.clock.now_us() // 1000

    async def _make_key(self) -> str:
        return str(await self._key(calls.MAKE_KEY))

    async def _extend_key(self, key: str) -> None:
        await self._key(calls.EXTEND_KEY, listenKey=key)

    async def _key(self, call: Call, **params: Any) -> Any:
        """Ask about the listen key once; the socket has its own pauses."""
        try:
            return await self._requests.once(call, priority=Priority.EXIT, **params)
        except RequestFailed as error:
            failure = error.failure
        if failure.code == NO_LISTEN_KEY:
            raise KeyRefused(str(failure))
        raise ConnectionError(str(failure))

    async def _measure_clock(self) -> None:
        async def ask_ms() -> int:
            told = await self._requests.once(calls.TIME, priority=Priority.EXIT)
            try:
                return forms.time_of(told["serverTime"]) // forms.MILLISECOND_US
            except (KeyError, TypeError, ValueError):
                failure = unanswered("answered in a form not understood")
            raise RequestFailed(failure)

        await self.clock.measure(ask_ms, samples=_CLOCK_SAMPLES if self.clock.runs else 1)
        self._check_clock()

    def _check_clock(self) -> None:
        """Report this machine's clock once when it is found far off, and again after it was right."""
        most_ms = self.settings.clock_off_max_ms
        if most_ms is None:
            return
        off_ms = self.clock.wall_offset_ms()
        was_off, self._is_off = self._is_off, abs(off_ms) > most_ms
        if self._is_off and not was_off:
            reason = (
                f"this machine's clock must be within {most_ms} ms of the exchange's, "
                f"is {abs(off_ms):.0f} ms {'behind' if off_ms > 0 else 'ahead'}"
            )
            log.warning("%s", reason)
            self._queue.put(Doubt(time_us=self.clock.now_us(), reason=reason))

    async def _keep_time(self) -> None:
        """Measure the clock on schedule."""
        while True:
            await asyncio.sleep(self.settings.clock_seconds)
            try:
                await self._measure_clock()
            except RequestFailed as error:
                log.warning("the exchange's clock was not measured: %s", error)

    async def _perform(self, call: Call, /, **params: Any) -> Any:
        assert self._client is not None
        return await self._client.perform(call, **params)
