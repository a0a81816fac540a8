"""The exchange's state: its time, the market of the moment, the accounts, and what they are yet to be told.

What is done to it stands beside it by subject: `passage` of time, `matching` of orders, `booking` of what came of
both, `mishaps`. `venue.Venue` is all of it together.
"""

from __future__ import annotations

import pickle
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from live.simulator.accounts import VenueAccount, venue_account
from live.simulator.moment import Moment, one_row
from quantcore.account_plane import AccountSettings, account_plane, market_arrays
from quantcore.data.instruments import Instrument
from quantcore.execution.settings import ExecutionSettings, RestingSettings
from quantcore.exits import NO_EXITS
from quantcore.kernels import layout as at
from quantcore.settlements import settlement_rows
from quantcore.types import FloatArray

if TYPE_CHECKING:
    from live.simulator.faults import VenueFault
    from live.simulator.market import Tape

_CONSTANT = ("tape", "settings", "market", "paid", "undecided")
"""What a snapshot leaves out, because the market and the settings give it."""


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
    resting : RestingSettings or None
        What trades of a resting limit whose price a bar only touches, in lock-step; None: nothing.
    missing_funding_rate : float
        Charged to longs in lock-step where the market's funding history is missing, as a backtest does; 0: nothing.
    """

    lock_step: bool = False
    half_spread_bps: float = 1.0
    slippage_bps: float = 0.0
    maker_fee: float | None = None
    taker_fee: float | None = None
    resting: RestingSettings | None = None
    missing_funding_rate: float = 0.0


class Engine:
    """What changes on an exchange, and the market that it stands in; see `venue.Venue`.

    Parameters
    ----------
    tape : Tape
        The market that is replayed.
    settings : VenueSettings
        How it trades.

    Attributes
    ----------
    now_us : int
        Simulated time, microseconds.
    row : int
        In lock-step the bar that closed last.
    met_us : int
        Up to when accounts have met the market: up to `now_us`, but for maintenance.
    accounts : dict of VenueAccount
        By API key.
    forced : list of dict
        Payloads of liquidations that the market streams are yet to tell; what was told is history of the accounts.
    mishaps : list of VenueFault
        Faults in force.
    market : Market
        The bars, as the kernels read them.
    paid : tuple of arrays
        Their funding settlements, as the kernels read them.
    undecided : int64 array, shape (n_bars,)
        For the account step: no bar brings targets.
    """

    def __init__(self, tape: Tape, settings: VenueSettings) -> None:
        self.tape = tape
        self.settings = settings
        self.instruments: list[Instrument] = list(tape.instruments)
        self.accounts: dict[str, VenueAccount] = {}
        self.forced: list[dict[str, Any]] = []
        self.mishaps: list[VenueFault] = []
        self.market = market_arrays(tape.bars)
        self.paid = settlement_rows(tape.bars, missing_rate=settings.missing_funding_rate)
        self.undecided = np.full(tape.bars.n_bars, -1, dtype=np.int64)
        self.row = tape.row(tape.first_us)
        self.now_us = int(tape.bars.ts_us[self.row]) if settings.lock_step else tape.first_us
        self.met_us = self.now_us
        self._sent: deque[tuple[str, dict[str, Any]]] = deque()
        self._last_order = 1_000_000_001
        self._last_algo = 2_000_000_001
        self._last_trade = 0
        self._last_income = 0

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
            marks = np.array(self.market.mark_close[self.row])
            return np.where(marks > 0.0, marks, self.market.close[self.row])
        return self.tape.mark(self.now_us)

    @property
    def prices(self) -> FloatArray:
        """Last prices now, NaN where there is none."""
        if self.lock_step:
            return np.array(self.market.close[self.row])
        return self.tape.price(self.now_us)

    @property
    def ended(self) -> bool:
        """Whether the market has no later bar."""
        if self.lock_step:
            return self.row + 1 >= self.tape.bars.n_bars
        return self.now_us >= self.tape.end_us - 1

    @property
    def reopens_us(self) -> int:
        """When orders are taken and matched again after the last maintenance, 0 if there was none."""
        ends = (each.until_us or 0 for each in self.mishaps if each.kind == "maintenance")
        return max(ends, default=0)

    @property
    def closed(self) -> bool:
        """Whether there is maintenance: nothing is taken, nothing is matched."""
        return self.reopens_us > self.now_us

    def moment(self) -> Moment:
        """Return the market now: in lock-step the bar that closed last."""
        if self.lock_step:
            return Moment(market=self.market, row=self.row)
        price, mark = self.prices, self.marks
        return Moment(market=one_row(self.now_us, [price] * 4 + [mark] * 4), row=0)

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
                resting=self.settings.resting if self.lock_step else None,
            ),
            exits=NO_EXITS,
        )  # fmt: skip
        account = venue_account(plane, self.instruments, key, secret, capital)
        self.accounts[key] = account
        return account

    def delist(self, symbol: str) -> None:
        """End a symbol's trading: what is held is settled at its mark with the next step of the clock."""
        s = self.symbols.index(symbol)
        for account in self.accounts.values():
            account.rules.size[s, at.ENDS_US] = self.now_us

    def tell(self, account: VenueAccount, message: dict[str, Any]) -> None:
        """Send a message on an account's user stream."""
        self._sent.append((account.key, message))

    def take_back(self, order_id: int) -> None:
        """Take back what was told of an order since the last `drain`, because nothing is left of it."""
        self._sent = deque(sent for sent in self._sent if sent[1].get("o", {}).get("i") != order_id)

    def drain(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the user stream's messages since the last call, each with its account's key."""
        sent = list(self._sent)
        self._sent.clear()
        return sent

    def drain_forced(self) -> list[dict[str, Any]]:
        """Return the payloads of liquidations since the last call, for the market streams."""
        told, self.forced = self.forced, []
        return told

    def order_id(self) -> int:
        """Return a new order's number."""
        self._last_order += 1
        return self._last_order

    def algo_id(self) -> int:
        """Return a new conditional order's number."""
        self._last_algo += 1
        return self._last_algo

    def trade_id(self) -> int:
        """Return a new trade's number."""
        self._last_trade += 1
        return self._last_trade

    def income_id(self) -> int:
        """Return a new income's number."""
        self._last_income += 1
        return self._last_income

    def snapshot(self) -> bytes:
        """Return everything that changes, as `restore` takes it back."""
        kept = {name: value for name, value in self.__dict__.items() if name not in _CONSTANT}
        return pickle.dumps(kept)

    def restore(self, raw: bytes) -> None:
        """Take a snapshot of a venue with the same market back; only from where snapshots are trusted."""
        self.__dict__.update(pickle.loads(raw))
