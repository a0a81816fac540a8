"""When a run's account was nearest to liquidation, and how near: the accounts it held, put before past shocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantcore.backtest.result import Run
from quantcore.finance.first_passage import first_passage
from quantcore.finance.liquidation import MarginAccount
from quantcore.finance.liquidation_probability import (
    MIN_SHOCKS,
    LiquidationEstimate,
    filter_shocks,
    liquidation_probability,
)
from quantcore.frames import Bars, resample_bars
from quantcore.kernels import layout as at
from quantcore.kernels.layout import Rules
from quantcore.timegrid import DAY_US, DAYS_PER_YEAR, HOUR_US, index_us, interval_us
from quantcore.types import FloatArray, MarginType

HORIZON_HOURS = 24
TRAILING_DAYS = 30
"""History from which the closed form reads an account's volatility."""
SHOCK_DAYS = 365
"""History whose bars are drawn as shocks."""
HALF_LIFE_DAYS = 3.0
"""Of the volatility that scales the shocks."""
PATHS = 10_000
"""Resampled futures per estimate: a probability of 0.5 % is then known to 0.07 %."""
SEED = 20_240_101
"""Any constant: the same run gives the same numbers."""


@dataclass(frozen=True, kw_only=True)
class LiquidationRisk:
    """The day on which liquidation was nearest.

    Parameters
    ----------
    ts_us : int
        First decision of the riskiest day: the fewest standard deviations of the month before away from liquidation.
    leverage : float
        Gross exposure over equity then.
    estimate : LiquidationEstimate
        Of the next 24 hours, by simulation with the year's shocks before it.
    typical : float
        Median of the closed form's probability over the days with a position.
    days : int
        Days looked at.
    """

    ts_us: int
    leverage: float
    estimate: LiquidationEstimate
    typical: float
    days: int


@dataclass(frozen=True)
class _Snapshot:
    """What was held at a decision: arrays of shape ``(n_symbols,)``, flat symbols 0."""

    ts_us: int
    qty: FloatArray
    entry: FloatArray
    mark: FloatArray
    wallet: float
    equity: float
    known: int
    """Rows of the bars that were known then."""

    @property
    def notional(self) -> FloatArray:
        return self.qty * self.mark


def liquidation_risk(run: Run) -> LiquidationRisk | None:
    """Return how near the account of a run came to liquidation, seen from its riskiest day.

    The first decision of each UTC day is put before the volatility of its own portfolio over the month before
    (`finance.liquidation_probability.first_passage` of equity to maintenance margin); the riskiest is simulated.
    Bars finer than an hour are read by the hour. A position's funding goes on at the rate it was last charged.

    Returns
    -------
    LiquidationRisk or None
        None where the run knows no rules, held nothing, or never had enough history to say.
    """
    if run.rules is None or run.tables["positions"].empty:
        return None
    fine = interval_us(run.bars.interval) < HOUR_US
    bars = resample_bars(run.bars, "1h") if fine else run.bars
    closes = bars.array("close")
    returns = np.full_like(closes, np.nan)
    returns[1:] = closes[1:] / closes[:-1] - 1.0
    per_day = max(DAY_US // interval_us(bars.interval), 1)
    rated = [
        (*near, snapshot)
        for snapshot in _snapshots(run, bars)
        if (near := _closed_form(snapshot, run.rules, returns, per_day)) is not None
    ]
    if not rated:
        return None
    riskiest = min(rated, key=lambda entry: entry[1])[2]
    shocks = filter_shocks(
        returns[max(riskiest.known - SHOCK_DAYS * per_day, 0) : riskiest.known],
        half_life_hours=HALF_LIFE_DAYS * per_day,
        block_hours=float(per_day),
    )
    held = riskiest.qty != 0.0
    if (np.isfinite(shocks.values[:, held]).sum(axis=0) < MIN_SHOCKS).any():
        return None
    estimate = liquidation_probability(
        _account(run, run.rules, riskiest, step_hours=24.0 / per_day),
        shocks,
        horizon_hours=max(HORIZON_HOURS * per_day // 24, 1),
        n_paths=PATHS,
        rng=np.random.default_rng(SEED),
    )
    return LiquidationRisk(
        ts_us=riskiest.ts_us,
        leverage=float(np.abs(riskiest.notional).sum()) / riskiest.equity,
        estimate=estimate,
        typical=float(np.median([chance for chance, _, _ in rated])),
        days=len(rated),
    )


def _snapshots(run: Run, bars: Bars) -> Iterator[_Snapshot]:
    """Yield what was held at the first decision of each UTC day, where equity was left and every mark is known."""
    table, equity = run.tables["positions"], run.tables["equity"]
    stamps = index_us(pd.DatetimeIndex(table["ts"]))
    rows, first = np.unique(stamps, return_index=True)
    _, days = np.unique((rows - 1) // DAY_US, return_index=True)
    bounds = np.append(first, len(stamps))
    columns = np.searchsorted(np.array(bars.symbols), table["symbol"].to_numpy(dtype=str))
    held = table[["qty", "entry_price", "mark_price"]].to_numpy(np.float64)
    at_equity = np.searchsorted(index_us(pd.DatetimeIndex(equity["ts"])), rows)
    balance = equity["wallet_balance"].to_numpy(np.float64)[at_equity]
    worth = equity["equity"].to_numpy(np.float64)[at_equity]
    known = np.searchsorted(bars.ts_us, rows, side="right")
    for k in days:
        part = slice(bounds[k], bounds[k + 1])
        spread = np.zeros((3, bars.n_symbols))
        spread[:, columns[part]] = held[part].T
        qty, entry, mark = spread
        if worth[k] > 0.0 and (mark[qty != 0.0] > 0.0).all():
            yield _Snapshot(
                int(rows[k]), qty, entry, mark, float(balance[k]), float(worth[k]), int(known[k])
            )


def _isolated_margin(rules: Rules, held: _Snapshot) -> FloatArray:
    """Return what entry took for each isolated position, USDT, before funding and fees; NaN on cross margin."""
    alone = (rules.size[:, at.MARGIN_TYPE] == MarginType.ISOLATED) & (held.qty != 0.0)
    # The files do not keep isolated wallets.
    return np.where(alone, np.abs(held.qty) * held.entry / rules.rate[:, at.LEVERAGE], np.nan)


def _account(run: Run, rules: Rules, held: _Snapshot, *, step_hours: float) -> MarginAccount:
    # The simulation counts steps, which are longer than an hour on coarse bars.
    margin = _isolated_margin(rules, held)
    rate, interval = _last_funding(run.bars, held.ts_us)
    return MarginAccount(
        wallet=held.wallet - float(np.nansum(margin)),
        qty=held.qty,
        entry=held.entry,
        mark=held.mark,
        brackets=rules.bracket,
        isolated_margin=margin,
        liquidation_fee=rules.rate[:, at.LIQUIDATION_FEE],
        funding_rate=rate,
        funding_interval_hours=interval / step_hours,
    )


def _last_funding(bars: Bars, ts_us: int) -> tuple[FloatArray, FloatArray]:
    """Return the rate each symbol was charged last and the hours since the charge before; 0 and 8 where unknown."""
    paid = bars.settlements
    rate, hours = np.zeros(bars.n_symbols), np.full(bars.n_symbols, 8.0)
    stop = int(np.searchsorted(paid.time_us, ts_us, side="right"))
    start = int(np.searchsorted(paid.time_us, ts_us - 2 * DAY_US))
    last = np.full(bars.n_symbols, -1, dtype=np.int64)
    for k in range(start, stop):
        s = paid.symbol[k]
        if last[s] >= 0 and paid.time_us[k] > last[s]:
            hours[s] = (paid.time_us[k] - last[s]) / HOUR_US
        last[s], rate[s] = paid.time_us[k], paid.rate[k]
    return np.nan_to_num(rate), hours


def _closed_form(
    held: _Snapshot, rules: Rules, returns: FloatArray, per_day: int
) -> tuple[float, float] | None:
    """Return the probability that the cross account, or an isolated position, falls to its maintenance margin.

    Without jumps, at the volatility of the month before; and the least distance in daily standard deviations. None if
    that volatility is not known.
    """
    some = held.qty != 0.0
    window = returns[max(held.known - TRAILING_DAYS * per_day, 0) : held.known, some]
    if (np.isfinite(window).sum(axis=0) < min(MIN_SHOCKS, TRAILING_DAYS * per_day // 2)).any():
        return None
    notional = held.notional[some]
    changes = np.nan_to_num(window) * notional
    needed = _maintenance(np.abs(notional), rules.bracket[some])
    margin = _isolated_margin(rules, held)[some]
    own = margin + notional - (held.qty * held.entry)[some]
    cross = np.isnan(margin)
    # Each pool of margin as one price: what lies above its maintenance margin, over the volatility of its PnL.
    room = own[~cross] - needed[~cross]
    spread = changes[:, ~cross].std(axis=0)
    if cross.any():
        balance = held.equity - float(own[~cross].sum())
        room = np.append(room, balance - needed[cross].sum())
        spread = np.append(spread, changes[:, cross].sum(axis=1).std())
    scale = np.abs(notional).sum()
    survival = 1.0 - first_passage(
        np.clip(room / scale, 0.0, 1.0 - 1e-9),
        side=1.0,
        annual_vol=spread / scale * np.sqrt(per_day * DAYS_PER_YEAR),
        horizon_hours=HORIZON_HOURS,
    )
    sigmas = room / (spread * np.sqrt(per_day))
    return 1.0 - float(np.prod(survival)), float(np.nanmin(sigmas, initial=np.inf))


def _maintenance(notional: FloatArray, brackets: FloatArray) -> FloatArray:
    tier = (notional[:, np.newaxis] >= brackets[:, :, at.FLOOR]).sum(axis=1) - 1
    row = brackets[np.arange(len(notional)), tier]
    return np.asarray(notional * row[:, at.MAINTENANCE_RATE] - row[:, at.CUM])
