"""The account plane: one compiled fold over execution bars, from target weights and orders to fills and equity.

`advance` takes a state, bars and what was decided, and returns the next state and what happened. A backtest passes
all bars at once, the paper broker and the simulator one at a time: the result is the same to the last bit
(DESIGN.md 1, "Account semantics" and "Two clocks").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from quantcore.account_step import scan
from quantcore.data.instruments import Instrument, decimal_fraction
from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.execution import router, slippage
from quantcore.execution.settings import ROUTER_INTERVAL_US, ExecutionSettings
from quantcore.exits import ExitSettings
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.kernels.layout import Account, Journal, Market, Rules
from quantcore.orders import OrderScript
from quantcore.risk.limits import RiskSettings, check_stage, configure, start_risk
from quantcore.settlements import settlement_rows
from quantcore.timegrid import interval_us, to_us
from quantcore.types import FloatArray, IntArray, MarginType

KIND = "account"
VERSION = 3
OPEN_ORDERS_MAX = 200
"""Room for open orders per account; the exchange allows 200 per symbol (BINANCE.md)."""

_MARGIN_TYPES = {"cross": MarginType.CROSS, "isolated": MarginType.ISOLATED}


@dataclass(frozen=True, kw_only=True)
class CashFlow:
    """A deposit (> 0) or withdrawal (< 0) in USDT at a UTC time."""

    ts: str
    amount: float

    def __post_init__(self) -> None:
        to_us(self.ts)
        if not (math.isfinite(self.amount) and self.amount != 0.0):
            raise ValueError(f"amount must be finite and not 0, was {self.amount}")


@dataclass(frozen=True, kw_only=True)
class AccountSettings:
    """The account and how its targets become orders.

    Parameters
    ----------
    capital : float
        USDT at the start, > 0.
    margin : str
        ``"cross"`` or ``"isolated"``, for all symbols.
    leverage_max : int
        Initial leverage set for every symbol, >= 1; the symbol's brackets must allow it.
    no_trade_band : float
        A change of a position smaller than this share of equity is not traded, in [0, 1); exits always are. At a
        share of the normal size (`RiskSettings.size_limit`) it is that share of it.
    margin_buffer : float
        Share of the available margin that planning leaves unused, in [0, 1).
    missing_funding_rate : float
        Charged to longs per 8 h where funding history is missing, fraction of notional, >= 0; shorts get nothing.
    cash_flows : tuple of CashFlow
        Deposits and withdrawals by schedule.
    """

    capital: float
    margin: str
    leverage_max: int
    no_trade_band: float
    margin_buffer: float
    missing_funding_rate: float
    cash_flows: tuple[CashFlow, ...]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.capital) and self.capital > 0.0):
            raise ValueError(f"capital must be > 0, was {self.capital}")
        if self.margin not in _MARGIN_TYPES:
            raise ValueError(f"margin must be one of cross, isolated, was {self.margin!r}")
        if self.leverage_max < 1:
            raise ValueError(f"leverage_max must be >= 1, was {self.leverage_max}")
        for name in ("no_trade_band", "margin_buffer"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be in [0, 1), was {getattr(self, name)}")
        if not 0.0 <= self.missing_funding_rate <= 0.01:
            raise ValueError(
                f"missing_funding_rate must be in [0, 0.01], was {self.missing_funding_rate}"
            )


@dataclass(frozen=True, kw_only=True)
class Events:
    """What happened in a scan, in order: rows of `kernels.layout.Journal`.

    `free_margin` is what is left once every open order that opens has traded and none that reduces, USDT; known after a
    step that follows an exchange, else NaN.
    """

    whole: IntArray = field(repr=False)
    number: FloatArray = field(repr=False)
    curve_ts: IntArray = field(repr=False)
    curve: FloatArray = field(repr=False)
    free_margin: float = math.nan

    def of(self, kind: int) -> tuple[IntArray, FloatArray]:
        """Return the rows of one kind of event."""
        rows = self.whole[:, at.KIND] == kind
        return self.whole[rows], self.number[rows]


def joined_events(found: Sequence[Events]) -> Events:
    """Return events that follow each other as one."""
    return Events(
        whole=np.concatenate([events.whole for events in found]),
        number=np.concatenate([events.number for events in found]),
        curve_ts=np.concatenate([events.curve_ts for events in found]),
        curve=np.concatenate([events.curve for events in found]),
        free_margin=found[-1].free_margin,
    )


@dataclass(frozen=True, kw_only=True)
class AccountPlane:
    """The constant part of the fold: what exchange and settings say, as the kernels read it.

    Build it with `account_plane`; then `start` gives the first state and `advance` the next ones.
    """

    symbols: tuple[str, ...]
    interval: str
    capital: float
    missing_funding_rate: float
    rules: Rules = field(repr=False)
    config: FloatArray = field(repr=False)
    flow_time_us: IntArray = field(repr=False)
    flow_amount: FloatArray = field(repr=False)

    def start(self) -> FoldState:
        """Return the state of a fresh account that holds the capital and no position."""
        n_symbols = len(self.symbols)
        guarded = self.config[at.RISK_BAR_US] != at.OFF
        routed = self.config[at.POST_ONLY] != at.OFF
        route, quote = router.idle_routes(n_symbols if routed else 0)
        risk, pairs = start_risk(n_symbols if guarded else 0, int(self.config[at.BAR_US]))
        position = np.zeros((n_symbols, at.N_POSITION))
        position[:, at.LEVERAGE_SET] = self.rules.rate[:, at.LEVERAGE]
        cash = np.zeros(at.N_CASH)
        cash[at.WALLET] = cash[at.EQUITY] = self.capital
        cash[at.NAV_RATE] = 1.0 / self.capital
        cash[at.PEAK_NAV] = 1.0
        return FoldState(
            KIND,
            VERSION,
            {
                "symbols": np.array(self.symbols, dtype="S"),
                "cash": cash,
                "counter": np.zeros(at.N_COUNT, dtype=np.int64),
                "position": position,
                "held": np.zeros((n_symbols, at.N_HELD), dtype=np.int64),
                "order": np.zeros((OPEN_ORDERS_MAX, at.N_ORDER)),
                "ticket": np.zeros((OPEN_ORDERS_MAX, at.N_TICKET), dtype=np.int64),
                "risk": risk,
                "pairs": pairs,
                "route": route,
                "quote": quote,
                "liquidity": self._start_liquidity(),
            },
        )

    def _start_liquidity(self) -> FloatArray:
        if self.config[at.SLIPPAGE] == at.OFF:
            return np.zeros((0, at.N_LIQUIDITY))
        policy = self.config[at.SLIPPAGE : at.SLIPPAGE + slippage.N_POLICY]
        known = np.zeros((len(self.symbols), at.N_LIQUIDITY))
        known[:, : slippage.N_STATE] = slippage.slippage_init(policy, len(self.symbols))
        return known

    def advance(
        self,
        state: FoldState,
        bars: Bars,
        *,
        targets: FloatArray | None = None,
        decisions: IntArray | None = None,
        script: OrderScript | None = None,
        full_curve: bool = True,
    ) -> tuple[FoldState, Events]:
        """Advance the account over bars and return its new state and what happened.

        Parameters
        ----------
        state : FoldState
            From `start` or an earlier `advance`; not modified.
        bars : Bars
            Execution bars that follow the last ones, with the settlements inside them.
        targets : float64 array, shape (n_decisions, n_symbols), optional
            Target weights; NaN leaves a symbol as it is.
        decisions : int64 array, shape (n_bars,), optional
            Row of `targets` decided at each bar's close, -1 for none, -2 to record the curve and decide nothing;
            every bar by default.
        script : OrderScript, optional
            Orders given one by one, sent at the close of the bar they name.
        full_curve : bool
            Record all of `N_CURVE` columns per decision, or the equity alone.

        Raises
        ------
        SchemaMismatch
            If state, bars and targets do not belong together.
        """
        self.check(state, bars)
        if self.config[at.SLIPPAGE] != at.OFF and not bars.has("volume"):
            raise SchemaMismatch("bars must have a volume for execution.slippage, had none")
        market = market_arrays(bars)
        rows, n_decisions = _decision_rows(bars.n_bars, targets, decisions)
        weights = _weights(bars.n_symbols, targets)
        if weights.shape[1] != bars.n_symbols or (rows.size and rows.max() >= len(weights)):
            raise SchemaMismatch(
                f"targets must have shape (n_decisions, {bars.n_symbols}), had {weights.shape}"
            )
        held = state.copies()
        account = Account(**{name: held[name] for name in Account._fields})
        paid = settlement_rows(bars, missing_rate=self.missing_funding_rate)
        inside = (self.flow_time_us >= bars.ts_us[0] - interval_us(self.interval)) & (
            self.flow_time_us < bars.ts_us[-1]
        )
        flow_time = self.flow_time_us[inside]
        flow_row = np.searchsorted(bars.ts_us, flow_time, side="right")
        orders = OrderScript.empty() if script is None else script
        most = events_per_bar(account, paid[0][:, at.SETTLEMENT_ROW], flow_row, orders)
        journal = new_journal(4 * most, n_decisions, full_curve)
        row = 0
        while True:
            row = scan(
                account, market, self.rules, self.config, paid[0], paid[1], flow_row, flow_time,
                self.flow_amount[inside], rows, weights, orders.whole, orders.number, journal,
                len(journal.whole) - most, row, bars.n_bars,
            )  # fmt: skip
            if row >= bars.n_bars:
                break
            journal = _grown(journal)
        n_events, n_curve = journal.filled
        events = Events(
            whole=journal.whole[:n_events],
            number=journal.number[:n_events],
            curve_ts=bars.ts_us[rows != -1] if rows.size else bars.ts_us[:n_curve],
            curve=journal.curve[:, :n_curve].T,
        )
        return FoldState(KIND, VERSION, held), events

    def check_state(self, state: FoldState) -> None:
        """Refuse a state that lacks what these settings need: the kernels would write beside its arrays.

        Raises
        ------
        SchemaMismatch
            If an array that is needed has another shape.
        """
        state.expect(KIND, VERSION)
        for name, shape in self._shapes.items():
            if 0 not in shape and state[name].shape != shape:
                raise SchemaMismatch(
                    f"state must be of an account with these settings, its {name} must have shape {shape}, had "
                    f"{state[name].shape}"
                )

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: array.shape for name, array in self.start().items()}

    def check(self, state: FoldState, bars: Bars) -> None:
        """Refuse a state and bars that do not belong to this plane, or to each other.

        Raises
        ------
        SchemaMismatch
            If symbols, interval, time or settings do not fit.
        """
        state.expect(KIND, VERSION)
        held = tuple(name.decode() for name in state["symbols"])
        if not (held == self.symbols == bars.symbols):
            raise SchemaMismatch(
                f"state, rules and bars must have the same symbols, had {held}, {self.symbols}, {bars.symbols}"
            )
        self.check_state(state)
        if bars.interval != self.interval:
            raise SchemaMismatch(f"bars must be of {self.interval}, were of {bars.interval}")
        if bars.n_bars == 0:
            raise SchemaMismatch("bars must have at least one row")
        last = int(state["counter"][at.LAST_TS])
        if last and bars.ts_us[0] != last + interval_us(self.interval):
            raise SchemaMismatch(
                f"bars must follow the state's last bar at {last} us, began at {bars.ts_us[0]} us"
            )


def account_plane(
    instruments: Sequence[Instrument],
    *,
    interval: str,
    account: AccountSettings,
    execution: ExecutionSettings,
    exits: ExitSettings,
    risk: RiskSettings | None = None,
) -> AccountPlane:
    """Return the account plane of some symbols on an execution grid; without `risk` targets are held as they are.

    Raises
    ------
    ConfigError
        If the leverage exceeds what a symbol's brackets allow, or the account is too small for the mode.
    """
    bar_us = interval_us(interval)
    number = np.full(at.N_CONFIG, at.OFF)
    number[at.NO_TRADE_BAND] = account.no_trade_band
    number[at.MARGIN_BUFFER] = account.margin_buffer
    number[at.BAR_US] = bar_us
    number[at.LATENCY_US] = max(math.ceil(execution.latency_ms * 1000 / bar_us) - 1, 0) * bar_us
    for name, column in (
        ("stop_loss", at.STOP_LOSS),
        ("take_profit", at.TAKE_PROFIT),
        ("trailing_stop", at.TRAILING_STOP),
    ):
        value = getattr(exits, name)
        number[column] = at.OFF if value is None else value
    if execution.resting is not None:
        number[at.QUEUE_AHEAD] = execution.resting.queue_ahead
    number[at.TOUCH_SHARE] = 0.0 if execution.resting is None else execution.resting.touch_share
    if execution.router is not None and bar_us <= ROUTER_INTERVAL_US:
        router.configure(number, execution.router)
    if execution.slippage is not None:
        slippage.configure(number, execution.slippage, bar_us)
    number[at.TIME_EXIT_US] = at.OFF if exits.time_exit is None else exits.time_exit * bar_us
    if risk is not None:
        check_stage(risk, account.capital)
        configure(number, risk, bar_us)
        number[at.NO_TRADE_BAND] *= risk.size_limit
        stops = [each for each in (exits.stop_loss, risk.protective_stop) if each is not None]
        number[at.STOP_LOSS] = min(stops, default=at.OFF)
    flows = sorted((to_us(flow.ts), flow.amount) for flow in account.cash_flows)
    return AccountPlane(
        symbols=tuple(i.symbol for i in instruments),
        interval=interval,
        capital=account.capital,
        missing_funding_rate=account.missing_funding_rate,
        rules=compile_rules(instruments, account=account, execution=execution),
        config=number,
        flow_time_us=np.array([time for time, _ in flows], dtype=np.int64),
        flow_amount=np.array([amount for _, amount in flows], dtype=np.float64),
    )


def compile_rules(
    instruments: Sequence[Instrument], *, account: AccountSettings, execution: ExecutionSettings
) -> Rules:
    """Return the instruments' rules as arrays; the last bracket's cap is open, so that every notional has a tier."""
    depth = max(len(i.brackets) for i in instruments)
    rate = np.zeros((len(instruments), at.N_RATE))
    size = np.zeros((len(instruments), at.N_SIZE), dtype=np.int64)
    bracket = np.zeros((len(instruments), depth, at.N_BRACKET))
    for s, instrument in enumerate(instruments):
        if account.leverage_max > instrument.leverage_max:
            raise ConfigError(
                f"account.leverage_max must be <= {instrument.leverage_max} for {instrument.symbol} "
                f"(its highest bracket), was {account.leverage_max}"
            )
        allowed = [b for b in instrument.brackets if b.leverage_max >= account.leverage_max]
        rate[s, at.MIN_NOTIONAL] = instrument.min_notional
        rate[s, at.LEVERAGE] = account.leverage_max
        rate[s, at.MAKER_FEE] = _given(execution.maker_fee, instrument.maker_fee)
        rate[s, at.TAKER_FEE] = _given(execution.taker_fee, instrument.taker_fee)
        rate[s, at.LIQUIDATION_FEE] = instrument.liquidation_fee
        rate[s, at.TAKER_COST] = (execution.half_spread_bps + execution.slippage_bps) * 1e-4
        rate[s, at.HALF_SPREAD] = execution.half_spread_bps * 1e-4
        rate[s, at.NOTIONAL_MAX] = max(b.cap for b in allowed)
        step = decimal_fraction(instrument.step_size)
        tick = decimal_fraction(instrument.tick_size)
        size[s, at.STEP_NUMERATOR], size[s, at.STEP_DENOMINATOR] = step
        size[s, at.TICK_NUMERATOR], size[s, at.TICK_DENOMINATOR] = tick
        size[s, at.MIN_LOTS] = _lots(instrument.min_qty, step, up=True)
        size[s, at.MARKET_MAX_LOTS] = _lots(instrument.market_max_qty, step, up=False)
        size[s, at.LIMIT_MAX_LOTS] = _lots(instrument.limit_max_qty, step, up=False)
        size[s, at.MARGIN_TYPE] = int(_MARGIN_TYPES[account.margin])
        size[s, at.ENDS_US] = at.NEVER if instrument.ends is None else to_us(instrument.ends)
        for b in range(depth):
            row = instrument.brackets[min(b, len(instrument.brackets) - 1)]
            bracket[s, b] = (row.floor, row.cap, row.maintenance_margin_rate, row.cum)
        bracket[s, len(instrument.brackets) - 1 :, at.CAP] = math.inf
    return Rules(rate, size, bracket)


def _given(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _lots(qty: str, step: tuple[int, int], *, up: bool) -> int:
    numerator, denominator = decimal_fraction(qty)
    whole, rest = divmod(numerator * step[1], denominator * step[0])
    return whole + (1 if up and rest else 0)


def market_arrays(bars: Bars) -> Market:
    """Return the bars' arrays as the kernels read them; without marks, last prices stand in."""
    open_, high, low, close = (bars.array(name) for name in ("open", "high", "low", "close"))
    return Market(
        bars.ts_us,
        open_,
        high,
        low,
        close,
        bars.array("mark_open") if bars.has("mark_open") else open_,
        bars.array("mark_high") if bars.has("mark_high") else high,
        bars.array("mark_low") if bars.has("mark_low") else low,
        bars.array("mark_price") if bars.has("mark_price") else close,
        bars.array("volume") if bars.has("volume") else _unknown(bars.n_symbols),
    )


def _unknown(n_symbols: int) -> FloatArray:
    row = np.full((1, n_symbols), np.nan)
    # As the bars' own arrays: numba would compile the scan once more for one that may be written to.
    row.flags.writeable = False
    return row


def _weights(n_symbols: int, targets: FloatArray | None) -> FloatArray:
    # Always a read-only view: numba would compile the scan once more for an array that may be written to.
    held = np.empty((0, n_symbols)) if targets is None else np.ascontiguousarray(targets)
    view = held.view()
    view.flags.writeable = False
    return view


def _decision_rows(
    n_bars: int, targets: FloatArray | None, decisions: IntArray | None
) -> tuple[IntArray, int]:
    # No rows at all stand for a decision at every bar, which a long run need not spell out.
    if decisions is not None:
        rows = np.ascontiguousarray(decisions, dtype=np.int64)
        if len(rows) != n_bars:
            raise SchemaMismatch(
                f"decisions must have one row per bar, had {len(rows)} for {n_bars}"
            )
        return rows, int((rows != -1).sum())
    if targets is None:
        return np.full(n_bars, -1, dtype=np.int64), 0
    if len(targets) != n_bars:
        raise SchemaMismatch(f"targets must have one row per bar, had {len(targets)} for {n_bars}")
    return np.empty(0, dtype=np.int64), n_bars


def events_per_bar(
    account: Account, settlement_row: IntArray, flow_row: IntArray, script: OrderScript
) -> int:
    """Return more rows of the journal than any bar can fill."""
    # An order ends once, with notes; a symbol is liquidated at most twice, plans
    # one order or has a few of its router's, and guards itself with three.
    due = sum(
        int(np.bincount(rows).max()) if len(rows) else 0
        for rows in (settlement_row, flow_row, script.whole[:, at.SCRIPT_ROW])
    )
    return 8 * len(account.ticket) + 70 * len(account.held) + 6 * due + 64


def new_journal(room: int, n_decisions: int, full_curve: bool) -> Journal:
    """Return an empty journal with room for so many events and decisions."""
    return Journal(
        np.zeros(2, dtype=np.int64),
        np.empty((room, at.N_WHOLE), dtype=np.int64),
        np.empty((room, at.N_NUMBER)),
        np.empty((at.N_CURVE if full_curve else 1, n_decisions)),
    )


def _grown(journal: Journal) -> Journal:
    whole = np.empty((2 * len(journal.whole), at.N_WHOLE), dtype=np.int64)
    number = np.empty((2 * len(journal.number), at.N_NUMBER))
    used = int(journal.filled[0])
    whole[:used] = journal.whole[:used]
    number[:used] = journal.number[:used]
    return Journal(journal.filled, whole, number, journal.curve)
