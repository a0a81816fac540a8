"""What an account's mode wants of the targets at each decision, and the exchange's smallest orders beside it.

The *normal size* is the weights that the mode holds of the targets where nothing has to be rounded and no loss has
moved it down its ladder. They are taken from an account that trades the targets in hundred-thousandths of a lot,
without costs and band, under the mode's limits of exposure, value at risk and liquidation; its holdings are those of
the decision before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np
import pandas as pd

from quantcore.account_plane import (
    AccountSettings,
    compile_rules,
)
from quantcore.backtest.engine import Decided, trade, traded_instruments
from quantcore.backtest.result import Run
from quantcore.backtest.tables import known_marks
from quantcore.data.instruments import Instrument
from quantcore.execution.settings import ExecutionSettings
from quantcore.kernels import layout as at
from quantcore.kernels.allocation import lot_grid
from quantcore.kernels.layout import Rules
from quantcore.risk.limits import RiskSettings
from quantcore.timegrid import index_us
from quantcore.types import BoolArray, FloatArray, IntArray

UNLIMITED_CAPITAL = 10_000.0
"""USDT that stand for an unlimited account: few enough for every symbol's first brackets."""

_FINER = 5  # decimals by which the lots of an unlimited account are finer
_DUST = 1e-6  # of equity: a weight of less is nothing that anybody wants


@dataclass(frozen=True, kw_only=True)
class Stage:
    """An account in its mode.

    Parameters
    ----------
    account, execution : AccountSettings, ExecutionSettings
        The account and its costs.
    risk : RiskSettings or None
        The mode; None limits nothing.
    """

    account: AccountSettings
    execution: ExecutionSettings
    risk: RiskSettings | None

    @property
    def size_limit(self) -> float:
        """Share of the normal gross exposure that is held."""
        return 1.0 if self.risk is None else self.risk.size_limit

    @property
    def margin_share(self) -> float:
        """Share of equity that may be initial margin."""
        return 1.0 - self.account.margin_buffer

    def gross_caps(self, gross: FloatArray) -> FloatArray:
        """Return the largest gross exposure over equity, given that of the normal size."""
        room = self.margin_share * self.account.leverage_max
        return np.minimum(self.size_limit * gross, room)

    def holding(self, capital: float) -> Stage:
        """Return the same mode on another capital, without deposits and whatever capital it is meant for."""
        risk = None if self.risk is None else replace(self.risk, stage_capital=None)
        account = replace(self.account, capital=capital, cash_flows=())
        return replace(self, account=account, risk=risk)


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is wanted at each decision that wants anything, and what the exchange takes at least.

    Parameters
    ----------
    rows : int64 array, shape (n_decisions,)
        Rows of the traded decisions.
    index : DatetimeIndex, shape (n_decisions,)
        Their stamps.
    symbols : tuple of str
        Columns of the arrays.
    weights : float64 array, shape (n_decisions, n_symbols)
        Signed notional over equity at the normal size; 0 where nothing is wanted.
    prices : float64 array, shape (n_decisions, n_symbols)
        Marks, USDT; NaN before a symbol is listed.
    lots, orders : float64 array, shape (n_decisions, n_symbols)
        USDT of one lot and of the smallest order that opens a position.
    last_lots, last_orders : float64 array, shape (n_symbols,)
        The same at the last known price of the data.
    ended : bool array, shape (n_symbols,)
        Whether a symbol has no price at the data's end.
    rules : Rules
        Of the exchange.
    instruments : tuple of Instrument
        The same as facts.
    """

    rows: IntArray = field(repr=False)
    index: pd.DatetimeIndex
    symbols: tuple[str, ...]
    weights: FloatArray = field(repr=False)
    prices: FloatArray = field(repr=False)
    lots: FloatArray = field(repr=False)
    orders: FloatArray = field(repr=False)
    last_lots: FloatArray = field(repr=False)
    last_orders: FloatArray = field(repr=False)
    ended: BoolArray = field(repr=False)
    rules: Rules = field(repr=False)
    instruments: tuple[Instrument, ...] = field(repr=False)

    @property
    def gross(self) -> FloatArray:
        """Gross exposure over equity at the normal size, shape ``(n_decisions,)``."""
        return np.asarray(np.abs(self.weights).sum(axis=1))


def demand(decided: Decided, stage: Stage) -> Demand:
    """Return what a mode wants of the targets, and the exchange's smallest orders beside it."""
    bars = decided.found.bars
    instruments = traded_instruments(decided.data)
    rules = compile_rules(instruments, account=stage.account, execution=stage.execution)
    weights = normal_weights(decided, stage, instruments)
    wanted = np.flatnonzero((weights != 0.0).any(axis=1))
    prices = known_marks(bars)
    lots, orders = smallest_orders(prices[wanted], rules)
    last_lots, last_orders = smallest_orders(prices[-1:], rules)
    return Demand(
        rows=wanted,
        index=bars.index[wanted],
        symbols=bars.symbols,
        weights=weights[wanted],
        prices=prices[wanted],
        lots=lots,
        orders=orders,
        last_lots=last_lots[0],
        last_orders=last_orders[0],
        ended=np.isnan(bars.array("close")[-1]),
        rules=rules,
        instruments=instruments,
    )


def normal_weights(decided: Decided, stage: Stage, instruments: Sequence[Instrument]) -> FloatArray:
    """Return the weights that a mode holds where nothing is rounded, nothing costs and nothing was lost.

    Returns
    -------
    float64 array, shape (n_decisions, n_symbols)
        Signed notional over equity, of the targets of the decision before.
    """
    free = stage.holding(UNLIMITED_CAPITAL)
    risk = free.risk
    if risk is not None:
        risk = replace(
            risk, size_limit=1.0, drawdown_max=None, drawdown_reduce=1.0, daily_loss_max=None
        )
    costless = ExecutionSettings(
        half_spread_bps=0.0,
        slippage_bps=0.0,
        latency_ms=stage.execution.latency_ms,
        maker_fee=0.0,
        taker_fee=0.0,
    )
    run = trade(
        decided,
        account=replace(free.account, no_trade_band=0.0),
        execution=costless,
        risk=risk,
        instruments=[finer(i) for i in instruments],
    )
    weights = weights_held(run, decided)
    return np.where(np.abs(weights) < _DUST, 0.0, weights)


def weights_held(run: Run, decided: Decided) -> FloatArray:
    """Return what a backtest held at each decision, signed notional over equity, ``(n_decisions, n_symbols)``."""
    held, equity = run.tables["positions"], run.tables["equity"]
    decisions_us = decided.found.bars.ts_us
    # The equity has a closing row besides those of the decisions.
    equity_us = index_us(pd.DatetimeIndex(equity["ts"]))
    worth = equity["equity"].to_numpy(np.float64)[np.searchsorted(equity_us, decisions_us)]
    row = np.searchsorted(decisions_us, index_us(pd.DatetimeIndex(held["ts"])))
    column = np.searchsorted(np.array(run.bars.symbols), held["symbol"].to_numpy(dtype=str))
    notional = held["qty"].to_numpy(np.float64) * held["mark_price"].to_numpy(np.float64)
    inside = row < len(decisions_us)
    weights = np.zeros((len(decisions_us), len(run.bars.symbols)))
    weights[row[inside], column[inside]] = notional[inside]
    np.divide(weights, worth[:, None], out=weights, where=worth[:, None] > 0.0)
    return weights


def finer(instrument: Instrument) -> Instrument:
    """Return an instrument with lots a hundred-thousandth in size and without a minimum notional.

    An account that trades it holds what one with 100,000 times the capital would, without that one's larger
    brackets and market orders.
    """
    step = format(Decimal(instrument.step_size).scaleb(-_FINER), "f")
    return replace(instrument, step_size=step, min_qty=step, min_notional=0.0)


def smallest_orders(prices: FloatArray, rules: Rules) -> tuple[FloatArray, FloatArray]:
    """Return what one lot and the smallest order that opens a position are worth at some prices.

    Parameters
    ----------
    prices : float64 array, shape (n_rows, n_symbols)
        USDT per coin; NaN gives NaN.
    rules : Rules
        Steps, minimum lots and minimum notionals.

    Returns
    -------
    tuple of float64 array, shape (n_rows, n_symbols)
        USDT.
    """
    step = rules.size[:, at.STEP_NUMERATOR] / rules.size[:, at.STEP_DENOMINATOR]
    lots = prices * step
    one, caps = np.ones(prices.shape[1]), np.full(2, 1e9)
    least = np.empty(prices.shape, dtype=np.int64)
    for t, row in enumerate(np.ascontiguousarray(prices)):
        least[t] = lot_grid(one, row, 1.0, rules, caps, False).least
    return lots, least * lots
