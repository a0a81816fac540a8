"""An account of paper behind `Broker`: orders are taken at once and met by the bars of the feed, as in the backtest.

It is an account of the simulated exchange in lock-step: the backtest's account step fills its orders with the bar that
follows (`live.simulator.venue`), and requests and answers pass through the forms of the real exchange. What a bar did
is told as events at its close. There is no latency: an order that is sent after a close meets the next open.

What it told is kept with its state until the next bar, so that who was ended in between hears it again.
"""

from __future__ import annotations

import asyncio
import math
import pickle
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from live.broker import forms
from live.broker.errors import NO_SUCH_ORDER, classify
from live.broker.interface import (
    AccountReport,
    Answer,
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
from live.broker.requests import answer_of
from live.broker.user_stream import UserStream
from live.simulator.accounts import Trade, VenueAccount
from live.simulator.bar_tape import BarTape
from live.simulator.engine import VenueSettings
from live.simulator.orders import MONEY
from live.simulator.state_file import write_whole
from live.simulator.venue import Venue
from live.simulator.watch import change_rules
from live.simulator.wire import Refused, text
from quantcore.account_plane import AccountSettings, market_arrays
from quantcore.data.instruments import Instrument
from quantcore.errors import ConfigError, DataGap, VenueError
from quantcore.execution.settings import ExecutionSettings
from quantcore.frames import PRICE_FIELDS, Bars
from quantcore.kernels import layout as at
from quantcore.settlements import settlement_rows
from quantcore.timegrid import DAY_US, interval_us

KEPT_DAYS: Final = 30
"""How far back ended orders, fills and incomes are kept."""
_KEY: Final = "paper"
_BY_TRADES: Final = ("COMMISSION", "REALIZED_PNL")
_UNREADABLE: Final = (
    pickle.UnpicklingError, AttributeError, EOFError, ImportError, IndexError, TypeError, ValueError
)  # fmt: skip
"""What `pickle` raises for bytes that are cut off, damaged or of other code."""
_OTHERS_WRITE: Final = 0o022


@dataclass(frozen=True, kw_only=True)
class PaperSettings:
    """What an account of paper is made of; an account that goes on must have the same.

    Parameters
    ----------
    capital : float
        USDT at the start.
    missing_funding_rate : float
        As `AccountSettings` has it.
    costs : VenueSettings
        Spread, slippage, fees and what touches fill, in lock-step.
    """

    capital: float
    missing_funding_rate: float
    costs: VenueSettings

    @classmethod
    def of(cls, account: AccountSettings, execution: ExecutionSettings) -> PaperSettings:
        """Return those of a backtest's settings; its scheduled deposits, and delays beyond the next open, are not."""
        return cls(
            capital=account.capital,
            missing_funding_rate=account.missing_funding_rate,
            costs=VenueSettings(
                lock_step=True,
                half_spread_bps=execution.half_spread_bps,
                slippage_bps=execution.slippage_bps,
                maker_fee=execution.maker_fee,
                taker_fee=execution.taker_fee,
                resting=execution.resting,
            ),
        )


class PaperBroker:
    """An account of paper; satisfies `Broker`.

    Parameters
    ----------
    settings : PaperSettings
        What it is made of.
    instruments : sequence of Instrument
        The rules by which it trades, sorted by symbol.
    interval : str
        Of the rows that it is shown, whole minutes.
    path : Path or None
        Where its state is kept, whole after each change and before the change is answered; None keeps it nowhere. A
        state that is there goes on.
    now_us : callable or None
        The time of the feed's exchange; None: that of the last row.

    Raises
    ------
    ConfigError
        If the state is of another account or not whole, or others may write its file.
    """

    def __init__(
        self,
        settings: PaperSettings,
        instruments: Sequence[Instrument],
        *,
        interval: str,
        path: Path | None = None,
        now_us: Callable[[], int] | None = None,
    ) -> None:
        self.settings = settings
        self._path = path
        self._now_us = now_us
        self._row = _unpriced(instruments, interval, 0)
        self._venue = self._opened(instruments)
        self._stream = UserStream(stuck_us=0)
        self._queue: asyncio.Queue[BrokerEvent] = asyncio.Queue()
        self._told: list[BrokerEvent] = []
        self._changes = self._saved = 0
        self._saving = asyncio.Lock()
        if path is not None and path.exists():
            _check_private(path)
            self.restore(path.read_bytes())

    async def start(self) -> None:
        """Keep the account from now on."""
        if self._path is not None:
            self._path.parent.parent.mkdir(parents=True, exist_ok=True)
            self._path.parent.mkdir(mode=0o700, exist_ok=True)  # the journal is there as well
        await self._keep()

    async def close(self) -> None:
        """Leave without touching orders or positions."""

    def now_us(self) -> int:
        """Return the exchange's time."""
        return self._venue.now_us if self._now_us is None else self._now_us()

    def health(self) -> BrokerHealth:
        """Return that nothing can be away: the account is in this process."""
        return BrokerHealth(requests=0, failures=0, clock_off_ms=math.nan, account_stream=True)

    @property
    def last_row_us(self) -> int:
        """Stamp of the last row that it was shown, 0 before the first."""
        return int(self._row.ts_us[0])

    @property
    def is_idle(self) -> bool:
        """Whether it holds nothing and has no open order."""
        return not self._at_stake

    @property
    def wallet(self) -> float:
        """Wallet balance, isolated margin included, USDT."""
        held = self._account.held
        return float(held["cash"][at.WALLET] + held["position"][:, at.MARGIN].sum())

    async def show(self, row: Bars) -> None:
        """Let a bar that has closed meet the orders; what it did is then among the events.

        A bar that was shown before does nothing. What was told before is taken for heard, and not kept any longer.

        Parameters
        ----------
        row : Bars
            One row, with the settlements inside it; it follows the last one, unless nothing is held or open.

        Raises
        ------
        DataGap
            If rows between are missing.
        """
        length_us, ts_us = interval_us(row.interval), int(row.ts_us[-1])
        if ts_us <= self.last_row_us:
            return
        if self._at_stake and ts_us != self.last_row_us + length_us:
            raise DataGap(
                f"rows of a paper account must follow the last one at {self.last_row_us} us, the next was at {ts_us} us"
            )
        new_day = ts_us // DAY_US != self.last_row_us // DAY_US
        self._row, self._told = row, []
        self._face()
        self._venue.row = -1
        self._venue.advance(ts_us)
        if new_day:
            _forget(self._account, ts_us - KEPT_DAYS * DAY_US)
        await self._changed()

    async def events(self) -> AsyncIterator[list[BrokerEvent]]:
        """Yield what happens to the account, all that waits at a time, in order, for ever."""
        while True:
            yield [await self._queue.get(), *await self.caught_up()]

    async def caught_up(self) -> list[BrokerEvent]:
        """Return all that has happened and was not yet yielded."""
        found = []
        while not self._queue.empty():
            found.append(self._queue.get_nowait())
        return found

    async def send(self, order: Order, *, urgent: bool = False) -> Answer:
        """Send an order; it is refused at once or waits for the next row."""
        params = forms.order_params(order)
        if not order.conditional:
            return await self._change("POST /fapi/v1/order", params, read=forms.order_report)
        params["algoType"] = "CONDITIONAL"
        return await self._change("POST /fapi/v1/algoOrder", params, read=forms.algo_report)

    async def cancel(self, cancel: Cancel, *, urgent: bool = False) -> Answer:
        """Cancel an order at once."""
        params = forms.cancel_params(cancel)
        if cancel.conditional:
            return await self._change("DELETE /fapi/v1/algoOrder", params)
        return await self._change("DELETE /fapi/v1/order", params, read=forms.order_report)

    async def query(self, cancel: Cancel) -> OrderReport | None:
        """Return an own order by its client id, None if there was none in `KEPT_DAYS`."""
        params = forms.cancel_params(cancel)
        if not cancel.conditional:
            told = self._found("GET /fapi/v1/order", params)
            return None if told is None else forms.order_report(told)
        told = self._found("GET /fapi/v1/algoOrder", params)
        if told is None:
            return None
        order = forms.algo_report(told)
        if not told["actualOrderId"]:
            return order
        became = {"symbol": order.symbol, "orderId": told["actualOrderId"]}
        actual = self._found("GET /fapi/v1/order", became)
        if actual is None:
            return order
        ended = forms.order_report(actual)
        return replace(order, status=ended.status, filled=ended.filled)

    async def open_orders(self) -> list[OrderReport]:
        """Return every open order, ordinary and conditional."""
        found = [forms.order_report(each) for each in self._ask("GET /fapi/v1/openOrders")]
        return found + [
            forms.algo_report(each) for each in self._ask("GET /fapi/v1/openAlgoOrders")
        ]

    async def positions(self) -> list[PositionReport]:
        """Return every position."""
        return forms.position_reports(self._ask("GET /fapi/v3/positionRisk"))

    async def account(self) -> AccountReport:
        """Return balances and switches; there is no key that could withdraw."""
        return forms.account_report(
            self._ask("GET /fapi/v2/account"),
            hedge_mode=False,
            multi_assets=False,
            burns_bnb=False,
            permissions=None,
        )

    async def symbol_settings(self) -> dict[str, SymbolSettings]:
        """Return leverage and margin type of every symbol."""
        return forms.symbol_settings(self._ask("GET /fapi/v1/symbolConfig"))

    async def fills_since(self, symbol: str, time_us: int) -> list[Fill]:
        """Return the account's trades of a symbol from a time on, at most `KEPT_DAYS` back, oldest first."""
        s = self._venue.symbols.index(symbol)
        return [
            _fill(trade)
            for trade in self._account.trades
            if trade.order.terms.s == s and trade.time_us >= time_us
        ]

    async def incomes_since(self, time_us: int) -> list[Income]:
        """Return what else moved money from a time on, at most `KEPT_DAYS` back, oldest first."""
        return [
            Income(
                time_us=each.time_us,
                kind=each.kind,
                symbol=each.symbol or None,
                amount=text(each.amount, MONEY),
                income_id=str(each.id),
            )
            for each in self._account.incomes
            if each.time_us >= time_us and each.kind not in _BY_TRADES
        ]

    async def instruments(self, symbols: Sequence[str]) -> tuple[Instrument, ...]:
        """Return the rules of symbols, with the fees that the account pays.

        Raises
        ------
        ConfigError
            If it does not trade a symbol.
        """
        known = {each.symbol: each for each in self._venue.instruments}
        missing = [symbol for symbol in symbols if symbol not in known]
        if missing:
            raise ConfigError(
                f"symbols must be of the paper account's {', '.join(known)}, were also {', '.join(missing)}"
            )
        costs = self.settings.costs
        return tuple(
            replace(
                known[symbol],
                maker_fee=known[symbol].maker_fee if costs.maker_fee is None else costs.maker_fee,
                taker_fee=known[symbol].taker_fee if costs.taker_fee is None else costs.taker_fee,
            )
            for symbol in symbols
        )

    async def set_leverage(self, symbol: str, leverage: int) -> Answer:
        """Set a symbol's leverage."""
        self._stream.expect_leverage(symbol, leverage)
        params = {"symbol": symbol, "leverage": str(leverage)}
        return await self._change("POST /fapi/v1/leverage", params)

    async def set_isolated(self, symbol: str, isolated: bool) -> Answer:
        """Set a symbol's margin type; already set is accepted."""
        params = {"symbol": symbol, "marginType": "ISOLATED" if isolated else "CROSSED"}
        return await self._change("POST /fapi/v1/marginType", params)

    async def set_one_way(self) -> Answer:
        """Return that it is accepted: there is no other mode."""
        return await self._change("POST /fapi/v1/positionSide/dual", {"dualSidePosition": "false"})

    async def countdown(self, symbol: str, milliseconds: int) -> Answer:
        """Let a symbol's ordinary orders be cancelled at the first close after so long; 0 takes it back."""
        params = {"symbol": symbol, "countdownTime": str(milliseconds)}
        return await self._change("POST /fapi/v1/countdownCancelAll", params)

    def to_bytes(self) -> bytes:
        """Return the state: account, orders, the last row, and what was told since."""
        return pickle.dumps((self.settings, self._row, self._told, self._venue.snapshot()))

    def restore(self, raw: bytes) -> None:
        """Take a state of `to_bytes` back; only from where states are trusted.

        Raises
        ------
        ConfigError
            If it is of an account of other settings or symbols, or not whole.
        """
        try:
            settings, row, told, venue = pickle.loads(raw)
        except _UNREADABLE as error:
            raise ConfigError(
                f"a paper account's state must be whole and of this version, was not ({type(error).__name__})"
            ) from None
        instruments = self._venue.instruments
        for name, ours, theirs in (
            ("settings", self.settings, settings),
            ("symbols", self._row.symbols, row.symbols),
            ("interval", self._row.interval, row.interval),
        ):
            if ours != theirs:
                raise ConfigError(
                    f"a paper account must go on with its {name} {theirs}, was to with {ours}: move its file away to "
                    "begin a new one"
                )
        self._row, self._told = row, told
        self._venue.restore(venue)
        self._face()
        self._queue = asyncio.Queue()
        for event in told:
            self._queue.put_nowait(event)
        for s, instrument in enumerate(instruments):
            if instrument != self._venue.instruments[s]:
                changes = {f.name: getattr(instrument, f.name) for f in fields(Instrument)}
                change_rules(self._venue, s, changes)

    @property
    def _account(self) -> VenueAccount:
        return self._venue.accounts[_KEY]

    @property
    def _at_stake(self) -> bool:
        account = self._account
        held = any(account.lots(s) for s in range(len(self._row.symbols)))
        return held or bool(account.by_step_id) or bool(account.open_algos())

    def _opened(self, instruments: Sequence[Instrument]) -> Venue:
        tape = BarTape(bars=self._row, instruments=tuple(instruments))
        venue = Venue(tape, self.settings.costs)
        venue.open_account(_KEY, "", self.settings.capital)
        return venue

    def _face(self) -> None:
        """Put the venue before the last row, as a market of its own."""
        venue, row = self._venue, self._row
        venue.tape = BarTape(bars=row, instruments=tuple(venue.instruments))
        venue.market = market_arrays(row)
        venue.paid = settlement_rows(row, missing_rate=self.settings.missing_funding_rate)
        venue.undecided = np.full(1, -1, dtype=np.int64)

    async def _change(
        self, name: str, params: dict[str, str], *, read: Callable[[Any], OrderReport] | None = None
    ) -> Answer:
        try:
            told = self._venue.handle(self._account, name, params)
        except Refused as refused:
            return answer_of(classify(refused.status, refused.code, refused.message))
        await self._changed()
        order = None if read is None else read(told)
        return Answer(outcome=Outcome.ACCEPTED, order=order)

    def _ask(self, name: str, params: dict[str, str] | None = None) -> Any:
        return self._venue.handle(self._account, name, params or {})

    def _found(self, name: str, params: dict[str, str]) -> Any:
        try:
            return self._ask(name, params)
        except Refused as refused:
            if refused.code == NO_SUCH_ORDER:
                return None
            raise VenueError(f"{name}: {refused}") from None

    async def _changed(self) -> None:
        """Tell what happened, once it is kept."""
        told = [event for _, message in self._venue.drain() for event in self._stream.hear(message)]
        self._told += told
        self._changes += 1
        await self._keep()
        for event in told:
            self._queue.put_nowait(event)

    async def _keep(self) -> None:
        if self._path is None:
            return
        change = self._changes
        async with self._saving:
            if self._saved < change or not self._path.exists():
                change = self._changes
                await asyncio.to_thread(write_whole, self._path, self.to_bytes())
                self._saved = change


def _check_private(path: Path) -> None:
    """Refuse a state that others may write: reading it runs what it holds."""
    mode = path.stat().st_mode & 0o777
    if mode & _OTHERS_WRITE:
        raise ConfigError(f"{path} must be writable by its owner alone, has mode {mode:o}")


def _unpriced(instruments: Sequence[Instrument], interval: str, ts_us: int) -> Bars:
    """Return a row in which nothing trades."""
    symbols = tuple(each.symbol for each in instruments)
    nothing = np.full((1, len(symbols)), math.nan)
    return Bars(
        interval=interval,
        ts_us=np.array([ts_us], dtype=np.int64),
        symbols=symbols,
        fields=dict.fromkeys(PRICE_FIELDS, nothing),
    )


def _fill(trade: Trade) -> Fill:
    """Return a trade as the user stream told it, but for its order's status."""
    order = trade.order
    terms = order.terms
    named = terms if order.algo is None else order.algo.terms
    return Fill(
        time_us=trade.time_us // forms.MILLISECOND_US * forms.MILLISECOND_US,
        trade_id=trade.id,
        client_id=named.client_id,
        exchange_id=order.order_id,
        symbol=terms.instrument.symbol,
        side=terms.side,
        qty=terms.lots_text(trade.lots),
        price=terms.price_text(trade.price),
        fee=text(trade.fee, MONEY),
        fee_asset="USDT",
        maker=trade.maker,
        order_status=None,
        realised=text(trade.realised, MONEY),
    )


def _forget(account: VenueAccount, before_us: int) -> None:
    """Take what ended before a time out of an account's history, so that its state stays small."""
    for orders in (account.orders, account.algos):
        for number in [k for k, o in orders.items() if not o.is_open and o.changed_us < before_us]:
            del orders[number]
    for history in (account.trades, account.incomes):
        while history and history[0].time_us < before_us:
            history.popleft()
