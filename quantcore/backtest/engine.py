"""The backtest: both folds over all bars at once, and what comes out as a `Run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quantcore.account_plane import (
    AccountPlane,
    AccountSettings,
    Events,
    account_plane,
    joined_events,
)
from quantcore.account_step import RECORD_ONLY
from quantcore.backtest.notes import (
    MODEL_LIMITS,
    event_notes,
    idle_notes,
    instrument_notes,
    quality,
    stop_notes,
)
from quantcore.backtest.result import Run
from quantcore.backtest.tables import run_tables
from quantcore.data.instruments import Instrument, load_instruments
from quantcore.data.sources import MarketData
from quantcore.data.universe import survivorship_note
from quantcore.errors import ConfigError, DataGap, QuantcoreError
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import ExitSettings, exits_of
from quantcore.fold import FoldState
from quantcore.frames import Bars, to_kernel
from quantcore.kernels import layout as at
from quantcore.regime.detector import regime_labels
from quantcore.risk.limits import RiskSettings
from quantcore.signal_plane import (
    Signals,
    SignalSettings,
    declared_variants,
    signals,
)
from quantcore.signals.plain import Progress
from quantcore.timegrid import to_index
from quantcore.types import Array, FloatArray, IntArray


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
    notes = idle_notes(found, decision_bars, signal)
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
    facts = traded_instruments(decided.data) if instruments is None else instruments
    turn = Turn(
        from_us=int(decided.found.bars.ts_us[0]),
        account=account,
        execution=execution,
        exits=exits_of(decided.signal.strategy),
        risk=risk,
    )
    return trade_in_turn(
        decided,
        [turn],
        instruments=facts,
        config_yaml=config_yaml,
        manifest=manifest,
        before_account=before_account,
    )


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The settings of an account's plane from one decision on, until those of the next turn take over.

    Parameters
    ----------
    from_us : int
        The decision, microseconds since 1970.
    account, execution, exits, risk : AccountSettings, ExecutionSettings, ExitSettings, RiskSettings or None
        As in `account_plane`.
    """

    from_us: int
    account: AccountSettings
    execution: ExecutionSettings
    exits: ExitSettings
    risk: RiskSettings | None


def trade_in_turn(
    decided: Decided,
    turns: Sequence[Turn],
    *,
    instruments: Sequence[Instrument] | None = None,
    config_yaml: str = "",
    manifest: Mapping[str, Any] | None = None,
    before_account: Callable[[], None] | None = None,
) -> Run:
    """Trade targets in one account whose settings change at given decisions; other arguments and errors as `trade`.

    Positions and resting orders are carried over; a protective order stays as it was sent.

    Parameters
    ----------
    decided : Decided
        What the signal plane said.
    turns : sequence of Turn
        In order of time, the first from the first decision on. What can change is what the account decides by: limits,
        exits, band. Capital, leverage, fees and the kind of what is switched on cannot.

    Raises
    ------
    ConfigError
        Also if settings change that cannot.
    """
    data, signal, found = decided.data, decided.signal, decided.found
    targets, decided_us = found.weights, found.bars.ts_us
    begin = int(np.searchsorted(data.bars.ts_us, decided_us[0]))
    bars = data.bars.rows(begin, data.bars.n_bars)
    facts = traded_instruments(data) if instruments is None else instruments
    planes = [
        account_plane(
            facts,
            interval=bars.interval,
            account=turn.account,
            execution=turn.execution,
            exits=turn.exits,
            risk=turn.risk,
        )
        for turn in turns
    ]
    _check_turns(planes)
    if before_account is not None:
        before_account()
    starts = np.searchsorted(bars.ts_us, [turn.from_us for turn in turns])
    state, events = _advance(planes, starts, bars, to_kernel(targets), decided_us)
    plane = planes[-1]
    check_conservation(plane.capital, state)
    tables = run_tables(events, plane, bars, targets, regimes=regime_labels(found.regimes))
    return Run(
        bars=data.bars,
        interval=data.interval,
        capital=plane.capital,
        tables=tables,
        notes=(
            *data.notes,
            *instrument_notes(facts),
            *event_notes(plane, events),
            *stop_notes(planes, events),
            *([] if signal.universe is None else [survivorship_note(data.bars)]),
            *decided.notes,
            *MODEL_LIMITS,
        ),
        quality=quality(tables, bars),
        config_yaml=config_yaml,
        manifest={**(manifest or {}), "data_fingerprint": data.bars.fingerprint()},
        rules=plane.rules,
        signals=found,
        variants=declared_variants(signal),
    )


def _check_turns(planes: Sequence[AccountPlane]) -> None:
    first = planes[0]
    shapes = {name: array.shape for name, array in first.start().items()}
    for plane in planes[1:]:
        same = (
            plane.capital == first.capital
            and plane.missing_funding_rate == first.missing_funding_rate
            and np.array_equal(plane.flow_time_us, first.flow_time_us)
            and np.array_equal(plane.flow_amount, first.flow_amount)
            and all(map(np.array_equal, plane.rules, first.rules))
            and {name: array.shape for name, array in plane.start().items()} == shapes
        )
        if not same:
            raise ConfigError(
                "capital, cash flows, leverage, margin, fees and costs, and whether risk, router and slippage control "
                "are on, must be the same in all turns of one account, were not"
            )


def _advance(
    planes: Sequence[AccountPlane],
    starts: IntArray,
    bars: Bars,
    targets: FloatArray,
    decided_us: IntArray,
) -> tuple[FoldState, Events]:
    rows = decision_rows(bars.ts_us, decided_us)
    state, found = planes[0].start(), []
    for plane, start, stop in zip(planes, starts, [*starts[1:], bars.n_bars], strict=True):
        state, events = plane.advance(
            state, bars.rows(start, stop), targets=targets, decisions=rows[start:stop]
        )
        found.append(events)
    return state, found[0] if len(found) == 1 else joined_events(found)


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
