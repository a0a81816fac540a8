"""The backtest: both folds over all bars at once, and what comes out as a `Run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from quantcore.account_plane import (
    AccountPlane,
    AccountSettings,
    Events,
    account_plane,
)
from quantcore.account_step import RECORD_ONLY
from quantcore.backtest.protection import longest_without_stop
from quantcore.backtest.result import Run
from quantcore.backtest.tables import run_tables
from quantcore.data.instruments import Instrument, load_instruments
from quantcore.data.sources import MarketData
from quantcore.data.universe import survivorship_note
from quantcore.errors import ConfigError, DataGap, QuantcoreError
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import exits_of
from quantcore.frames import Bars, to_kernel
from quantcore.kernels import layout as at
from quantcore.regime.detector import regime_labels
from quantcore.risk.limits import RiskSettings
from quantcore.signal_plane import (
    Signals,
    SignalSettings,
    declared_variants,
    signals,
    warm_up,
)
from quantcore.signals.plain import Progress
from quantcore.timegrid import MINUTE_US, to_index
from quantcore.types import Array, FloatArray, IntArray, Rule

MODEL_LIMITS = (
    "Liquidation closes whole positions, largest maintenance margin first; the exchange's partial liquidation by "
    "brackets is not modelled.",
    "Market orders trade whole at the next open: the account's own market impact on the price is not modelled.",
    "Tick sizes, minimum orders, brackets and fees are those of the instruments' files; what applied earlier may "
    "have differed.",
)
"""What every report says the model leaves out."""


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What the signal plane said of the traded span: it depends on no account, so that several can trade it.

    Parameters
    ----------
    data : MarketData
        What was decided on.
    signal : SignalSettings
        By what.
    found : Signals
        From the first traded decision on.
    notes : tuple of str
        Sentences for the report.
    """

    data: MarketData
    signal: SignalSettings
    found: Signals
    notes: tuple[str, ...]


def run_backtest(
    data: MarketData,
    *,
    signal: SignalSettings,
    account: AccountSettings,
    execution: ExecutionSettings,
    risk: RiskSettings | None = None,
    config_yaml: str = "",
    manifest: Mapping[str, Any] | None = None,
    progress: Progress = iter,
    before_account: Callable[[], None] | None = None,
) -> Run:
    """Run one backtest: bars to target weights to fills to equity.

    Signals are computed on all decision bars (a plain strategy only on the traded ones, which do not depend on the
    others); the account trades from the first decision at or after the data's start. A decision at a bar's close is
    executed in the next execution bar at the earliest. `progress` shows how far a plain strategy's rows are;
    `before_account` is called once between signals and account, to wait for what the account needs.

    Raises
    ------
    DataGap
        If no decision falls into the traded span.
    ConfigError
        If a setting does not fit the instruments, such as leverage above a bracket's maximum, or nothing could be
        decided because the data is shorter than the warm-up.
    """
    return trade(
        decide(data, signal=signal, progress=progress),
        account=account,
        execution=execution,
        risk=risk,
        config_yaml=config_yaml,
        manifest=manifest,
        before_account=before_account,
    )


def decide(data: MarketData, *, signal: SignalSettings, progress: Progress = iter) -> Decided:
    """Make the first half of a backtest, bars to target weights; arguments and errors as `run_backtest`."""
    decision_bars = data.decision_bars()
    start_us = decision_bars.ts_us[:1] if data.start_us is None else np.array([data.start_us])
    first = int(np.searchsorted(decision_bars.ts_us, start_us[0])) if len(start_us) else 0
    if first >= decision_bars.n_bars:
        raise DataGap(f"data must hold a decision bar of {data.interval} from {data.start_us} on")
    found = signals(decision_bars, signal, first=first, progress=progress).since(first)
    notes = _idle_notes(found, decision_bars, signal)
    return Decided(data=data, signal=signal, found=found, notes=tuple(notes))


def trade(
    decided: Decided,
    *,
    account: AccountSettings,
    execution: ExecutionSettings,
    risk: RiskSettings | None = None,
    instruments: Sequence[Instrument] | None = None,
    config_yaml: str = "",
    manifest: Mapping[str, Any] | None = None,
    before_account: Callable[[], None] | None = None,
) -> Run:
    """Make the second half of a backtest, target weights to fills to equity; arguments and errors as `run_backtest`.

    `instruments` are those of the data's symbols by default (`traded_instruments`).
    """
    data, signal, found = decided.data, decided.signal, decided.found
    targets, decided_us = found.weights, found.bars.ts_us
    begin = int(np.searchsorted(data.bars.ts_us, decided_us[0]))
    bars = data.bars.rows(begin, data.bars.n_bars)
    facts = traded_instruments(data) if instruments is None else instruments
    plane = account_plane(
        facts,
        interval=bars.interval,
        account=account,
        execution=execution,
        exits=exits_of(signal.strategy),
        risk=risk,
    )
    if before_account is not None:
        before_account()
    state, events = plane.advance(
        plane.start(),
        bars,
        targets=to_kernel(targets),
        decisions=decision_rows(bars.ts_us, decided_us),
    )
    check_conservation(plane.capital, state)
    tables = run_tables(events, plane, bars, targets, regimes=regime_labels(found.regimes))
    return Run(
        bars=data.bars,
        interval=data.interval,
        capital=account.capital,
        tables=tables,
        notes=(
            *data.notes,
            *_instrument_notes(facts),
            *_event_notes(plane, events),
            *_stop_notes(plane, events),
            *([] if signal.universe is None else [survivorship_note(data.bars)]),
            *decided.notes,
            *MODEL_LIMITS,
        ),
        quality=_quality(tables, bars),
        config_yaml=config_yaml,
        manifest={**(manifest or {}), "data_fingerprint": data.bars.fingerprint()},
        rules=plane.rules,
        signals=found,
        variants=declared_variants(signal),
    )


def decision_rows(ts_us: IntArray, decision_ts_us: IntArray) -> IntArray:
    """Return for each execution bar the decision at its close, -1 for none; the last bar is recorded in any case."""
    rows = np.searchsorted(decision_ts_us, ts_us)
    found = (rows < len(decision_ts_us)) & (
        decision_ts_us[np.minimum(rows, len(decision_ts_us) - 1)] == ts_us
    )
    result = np.where(found, rows, -1)
    if result[-1] == -1:
        result[-1] = RECORD_ONLY
    return result.astype(np.int64)


def traded_instruments(data: MarketData) -> tuple[Instrument, ...]:
    """Return the instruments of the data's symbols, with the ends that the data declares.

    A symbol without committed facts is sized by its first known close, so that no rule depends on the future.
    """
    close = data.bars.array("close")
    known = ~np.isnan(close)
    prices = {
        symbol: float(close[np.argmax(known[:, s]), s])
        for s, symbol in enumerate(data.bars.symbols)
        if known[:, s].any()
    }
    found = load_instruments(data.bars.symbols, prices=prices)
    return tuple(
        replace(i, ends=to_index(np.array([data.ends_us[i.symbol]]))[0].isoformat())
        if i.symbol in data.ends_us
        else i
        for i in found
    )


def check_conservation(capital: float | FloatArray, state: Mapping[str, Array]) -> None:
    """Refuse a result whose books do not add up: the ledger's own totals must explain its equity.

    Parameters
    ----------
    capital : float or float64 array, shape (...)
        USDT at the start; of many accounts at once, one of each.
    state : mapping of str to array
        ``cash``, shape ``(..., N_CASH)``, and ``position``, ``(..., n_symbols, N_POSITION)``; see `kernels.layout`.

    Raises
    ------
    QuantcoreError
        If equity differs from capital, flows, PnL and costs by more than 1e-9 of the capital that was at work.
    """
    cash, position = np.moveaxis(state["cash"], -1, 0), np.moveaxis(state["position"], -1, 0)
    unrealised = (position[at.QTY] * (position[at.MARK] - position[at.ENTRY])).sum(axis=-1)
    explained = (
        capital
        + cash[at.NET_DEPOSITS]
        + cash[at.REALISED]
        + unrealised
        - cash[at.FEES]
        - cash[at.FUNDING]
        - cash[at.LIQUIDATION_FEES]
        + cash[at.INSURANCE]
    )
    scale = capital + np.abs(cash[at.NET_DEPOSITS]) + np.abs(cash[at.REALISED]) + cash[at.FEES]
    wrong = np.flatnonzero(~(np.abs(explained - cash[at.EQUITY]) <= 1e-9 * scale))
    if len(wrong):
        found, said = np.ravel(cash[at.EQUITY])[wrong[0]], np.ravel(explained)[wrong[0]]
        raise QuantcoreError(
            f"equity must equal capital, flows, PnL and costs, was {found!r} against {said!r}"
        )


def _instrument_notes(instruments: Sequence[Instrument]) -> list[str]:
    defaulted = [i.symbol for i in instruments if i.defaulted]
    if not defaulted:
        return []
    return [
        f"No exchange facts are on file for {', '.join(defaulted)}: conservative defaults stand in."
    ]


def _event_notes(plane: AccountPlane, events: Events) -> list[str]:
    unpaid = plane.flow_time_us.size - len(events.of(at.EVENT_FLOW)[0])
    notes = (
        [f"{unpaid} cash flows lie outside the traded span and were left out."] if unpaid else []
    )
    whole, number = events.of(at.EVENT_WHY)
    cut = np.flatnonzero(whole[:, at.EVENT_REASON] == Rule.WITHDRAWAL)
    dates = to_index(whole[cut, at.TS])
    return notes + [
        f"The withdrawal of {number[row, at.B]:,.2f} USDT due on {date:%Y-%m-%d} exceeded what the account had free: "
        f"{number[row, at.A]:,.2f} USDT were paid."
        for row, date in zip(cut, dates, strict=True)
    ]


def _stop_notes(plane: AccountPlane, events: Events) -> list[str]:
    """Say for how long a position was without its stop, where every position is to have one."""
    if plane.config[at.STOP_LOSS] == at.OFF:
        return []
    bar_us, latency_us = (int(plane.config[c]) for c in (at.BAR_US, at.LATENCY_US))
    longest = longest_without_stop(events, bar_us=bar_us, latency_us=latency_us)
    return [
        "A stop is sent at the close of the bar that opens a position: no position was without one for more than "
        f"{longest / MINUTE_US:,.12g} minutes, counted from the open of that bar."
    ]


def _idle_notes(found: Signals, decision_bars: Bars, signal: SignalSettings) -> list[str]:
    """Say that no position was ever wanted, or refuse where that is only because the data is too short."""
    if np.any(np.nan_to_num(found.weight_array) != 0.0):
        return []
    needed = warm_up(signal, decision_bars.interval)
    no_view = bool(np.isnan(found.combined).all())
    if no_view and needed > decision_bars.n_bars:
        raise ConfigError(
            f"strategy and portfolio need {needed:,} bars to warm up, the data holds "
            f"{decision_bars.n_bars:,}: no decision could be taken"
        )
    return ["No position was ever wanted: every target weight is 0 or missing."]


def _quality(tables: Mapping[str, pd.DataFrame], bars: Bars) -> dict[str, float]:
    """Return which shares of the notional held were charged an assumed funding rate and valued without a mark."""
    funding, positions = tables["funding"], tables["positions"]
    paid = (funding.qty * funding.mark_price).abs()
    assumed = float(paid[funding.assumed].sum() / paid.sum()) if paid.sum() > 0 else 0.0
    held = (positions.qty * positions.mark_price).abs().to_numpy()
    fallback = 1.0 if len(held) else 0.0
    if bars.has("mark_price") and held.sum() > 0:
        rows = np.searchsorted(bars.index, positions.ts)
        columns = np.searchsorted(np.array(bars.symbols), positions.symbol.to_numpy(dtype=str))
        missing = np.isnan(bars.array("mark_price")[rows, columns])
        fallback = float(held[missing].sum() / held.sum())
    return {"assumed_funding_share": assumed, "fallback_mark_share": fallback}
