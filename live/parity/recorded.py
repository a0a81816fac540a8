"""A real run as its journal tells it, and the backtest of the bars that it saw.

The live side is the run's own ledger, replayed step by step, so that every state is checked against the hash that was
committed. The backtest begins with the states that the journal holds of the run's start, and is both folds over the
journal's bars: what the run could not know, such as how an order would have filled, the account step models.

An account whose trading rules are not those of ``data/instruments`` cannot be replayed: the journal holds no rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import yaml

from live.broker.interface import Doubt
from live.folds import CLOSE, bars_of, joined
from live.journal import reading
from live.journal.journal import Journal
from live.journal.records import START, KeptSession, KeptStep
from live.parity.comparison import Tables
from quantcore import account_follow as said
from quantcore.account_follow import Heard, follow_bar
from quantcore.account_plane import AccountPlane, AccountSettings, Events, account_plane
from quantcore.backtest.engine import decision_rows, traded_instruments
from quantcore.backtest.tables import run_tables
from quantcore.data.sources import MarketData
from quantcore.data.universe import UniverseSettings
from quantcore.errors import JournalError
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import exits_of
from quantcore.fold import FoldState
from quantcore.frames import Bars, no_settlements, resample_bars
from quantcore.kernels import layout as at
from quantcore.regime.detector import RegimeSettings
from quantcore.risk.limits import RiskSettings
from quantcore.settings import build_settings
from quantcore.signal_plane import PORTFOLIOS, SignalSettings, signals
from quantcore.signals.strategy_matrix import MatrixSettings
from quantcore.timegrid import interval_us, to_index
from quantcore.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run and the backtest of its bars.

    Parameters
    ----------
    experiment, interval, config_yaml : str
        As its last session was started with.
    capital : float
        Equity at its start, USDT.
    bars : Bars
        The execution bars that it saw, a row of NaN where it saw none.
    backtest, live : mapping of str to DataFrame
        Both sides' tables.
    corrected : float
        By how much the wallet was corrected, because the exchange reported another, USDT.
    doubts, notes : tuple of str
        What it did not understand, and what is to be known.
    versions : mapping of str to str
        Of the program that ran.
    """

    experiment: str
    interval: str
    config_yaml: str = field(repr=False)
    capital: float
    bars: Bars = field(repr=False)
    backtest: Tables = field(repr=False)
    live: Tables = field(repr=False)
    corrected: float
    doubts: tuple[str, ...]
    notes: tuple[str, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """What a session was started with, as far as both folds ask."""

    name: str
    interval: str
    execution_interval: str
    signal: SignalSettings
    account: AccountSettings
    execution: ExecutionSettings
    risk: RiskSettings | None


def recorded(journal: Journal) -> Record:
    """Read a run out of a journal: from its first step on, or from the first of the last session's symbols.

    Raises
    ------
    JournalError
        If it holds no step, no settings, or pruned steps, or a step does not give the state that it gave.
    """
    with journal.transaction() as connection:
        session = reading.last_session(connection)
        if session is None:
            raise JournalError(f"journal must hold a session, {journal.place} holds none")
        settings = _settings(session, journal.place)
        same = [
            s for s in reading.sessions(connection) if s.session.symbols == session.session.symbols
        ]
        steps = [
            step
            for step in reading.steps(connection)
            if step.session_id in {s.session_id for s in same}
        ]
        _check_whole(steps, journal.place)
        starts = {
            (step.seq, plane): reading.snapshot(connection, plane, upto=step.seq)
            for step in steps
            if step.kind == START
            for plane in ("account", "signal")
        }
        told = reading.events(connection)
    symbols = session.session.symbols
    rows = [_row(step, symbols, settings) for step in steps if step.kind == CLOSE]
    if not rows:
        raise JournalError(f"journal must hold a closed bar, {journal.place} holds none")
    bars, missing = _without_holes(rows)
    plane = _plane(settings, bars)
    begun = starts[steps[0].seq, "account"]
    assert begun is not None  # a step of kind START is kept with its state
    if begun.state["counter"][at.OPEN_ORDERS]:
        raise JournalError(
            f"journal must begin without open orders, {journal.place} begins with some"
        )
    states = {seq: kept.state for (seq, name), kept in starts.items() if kept and name == "account"}
    seen = starts[steps[0].seq, "signal"]
    live = _replayed(plane, steps, states, symbols, settings)
    model = _modelled(
        plane, settings, bars, steps, begun.state, None if seen is None else seen.state
    )
    return Record(
        experiment=settings.name,
        interval=settings.interval,
        config_yaml=session.session.config_yaml,
        capital=float(begun.state["cash"][at.EQUITY]),
        bars=bars,
        backtest=model,
        live=run_tables(live, plane, bars, _decided(steps, symbols)),
        corrected=_corrected(steps),
        doubts=tuple(event.reason for _, event in told if isinstance(event, Doubt)),
        notes=tuple(_notes(steps, missing, same)),
        versions=session.session.versions,
    )


def _settings(session: KeptSession, place: str) -> _Settings:
    """Build what both folds need of a session's settings."""
    plain: Any = yaml.safe_load(session.session.config_yaml)
    needed = ("data", "strategy", "portfolio", "account", "execution")
    missing = [n for n in needed if not (isinstance(plain, Mapping) and n in plain)]
    if missing:
        raise JournalError(
            f"a session must hold its settings to be compared, that of {place} lacks {', '.join(missing)}"
        )

    def built(name: str, kind: Any = Any) -> Any:
        return build_settings(plain[name], path=name, kind=kind) if plain.get(name) else None

    portfolio: Any = PORTFOLIOS
    return _Settings(
        name=str(plain.get("name", session.session.mode)),
        interval=plain["data"]["interval"],
        execution_interval=plain["data"]["execution_interval"],
        signal=SignalSettings(
            strategy=built("strategy"),
            portfolio=built("portfolio", portfolio),
            universe=built("universe", UniverseSettings),
            regime=built("regime", RegimeSettings),
            matrix=built("matrix", MatrixSettings),
        ),
        account=built("account", AccountSettings),
        execution=built("execution", ExecutionSettings),
        risk=built("risk", RiskSettings),
    )


def _plane(settings: _Settings, bars: Bars) -> AccountPlane:
    data = MarketData(bars=bars, interval=settings.interval, start_us=None, notes=())
    return account_plane(
        traded_instruments(data),
        interval=bars.interval,
        account=settings.account,
        execution=settings.execution,
        exits=exits_of(settings.signal.strategy),
        risk=settings.risk,
    )


def _check_whole(steps: list[KeptStep], place: str) -> None:
    if not steps or steps[0].kind != START:
        raise JournalError(f"a run must begin with a start, the first of {place} does not")
    pruned = [step.seq for step in steps if step.kind != START and step.inputs is None]
    if pruned:
        raise JournalError(
            f"steps must have their inputs to be compared, those of {place} up to {pruned[-1]} were pruned"
        )


def _row(step: KeptStep, symbols: tuple[str, ...], settings: _Settings) -> Bars:
    assert step.inputs is not None
    return bars_of(step.inputs, symbols=symbols, interval=settings.execution_interval)


def _without_holes(rows: list[Bars]) -> tuple[Bars, int]:
    """Return the bars as one, with rows of NaN where the run saw none, and how many those are."""
    length = interval_us(rows[0].interval)
    whole, missing = [rows[0]], 0
    for row in rows[1:]:
        for ts_us in range(int(whole[-1].ts_us[-1]) + length, int(row.ts_us[-1]), length):
            whole.append(_empty(row, ts_us))
            missing += 1
        if row.ts_us[-1] > whole[-1].ts_us[-1]:  # a restart may tell its last bar again
            whole.append(row)
    return joined(whole), missing


def _empty(like: Bars, ts_us: int) -> Bars:
    nothing = np.full((1, like.n_symbols), np.nan)
    return replace(
        like,
        ts_us=np.array([ts_us], dtype=np.int64),
        fields=dict.fromkeys(like.fields, nothing),
        settlements=no_settlements(),
    )


def _replayed(
    plane: AccountPlane,
    steps: Iterable[KeptStep],
    starts: Mapping[int, FoldState],
    symbols: tuple[str, ...],
    settings: _Settings,
) -> Events:
    """Return what the run's ledger did in all its steps."""
    found: list[Events] = []
    state = None
    for step in steps:
        if step.kind == START:
            state = starts[step.seq]
            continue
        assert state is not None
        assert step.inputs is not None
        heard = Heard(whole=step.inputs["heard"], number=step.inputs["heard_value"])
        targets = None if step.decision is None else step.decision.targets
        closes = step.kind == CLOSE
        state, events = follow_bar(
            plane, state, _row(step, symbols, settings), heard,
            targets=targets, recorded=closes, closes=closes,
        )  # fmt: skip
        if state.digest() != step.account_sha:
            raise JournalError(
                f"step {step.seq} must give its state again, gave another: the rules of the exchange traded on are not "
                "those of data/instruments, or the program has changed since"
            )
        found.append(events)
    return joined_events(found)


def joined_events(found: list[Events]) -> Events:
    """Return events that follow each other as one."""
    return Events(
        **{
            name: np.concatenate([getattr(events, name) for events in found])
            for name in ("whole", "number", "curve_ts", "curve")
        }
    )


def _modelled(
    plane: AccountPlane,
    settings: _Settings,
    bars: Bars,
    steps: Iterable[KeptStep],
    account: FoldState,
    signal: FoldState | None,
) -> Tables:
    """Return what a backtest makes of the bars, from the states at the run's start."""
    told = {
        step.ts_us: bars_of(step.decision.inputs, symbols=bars.symbols, interval=settings.interval)
        for step in steps
        if step.decision is not None and step.decision.inputs
    }
    rows = resample_bars(bars, settings.interval) if bars.interval != settings.interval else bars
    decided = [
        told.get(ts_us, rows.rows(row, row + 1)) for row, ts_us in enumerate(rows.ts_us.tolist())
    ]
    missing = [
        bar for ts_us, bar in sorted(told.items()) if not len(rows.ts_us) or ts_us < rows.ts_us[0]
    ]
    bar = joined([*missing, *decided])
    found = signals(bar, settings.signal, signal)
    _, events = plane.advance(
        account,
        bars,
        targets=np.ascontiguousarray(found.weight_array),
        decisions=decision_rows(bars.ts_us, bar.ts_us),
    )
    return run_tables(events, plane, bars, found.weights)


def _decided(steps: Iterable[KeptStep], symbols: tuple[str, ...]) -> pd.DataFrame:
    rows: dict[int, FloatArray] = {}
    for step in steps:
        if step.decision is not None and step.decision.targets is not None:
            rows[step.ts_us] = step.decision.targets
    return pd.DataFrame(
        np.array(list(rows.values())).reshape(len(rows), len(symbols)),
        index=to_index(np.array(list(rows), dtype=np.int64)),
        columns=list(symbols),
    )


def _corrected(steps: Iterable[KeptStep]) -> float:
    total = 0.0
    for step in steps:
        if step.inputs is not None and "heard" in step.inputs:
            rows = step.inputs["heard"][:, said.KIND] == said.CORRECTED
            total += float(step.inputs["heard_value"][rows, said.PRICE].sum())
    return total


def _notes(steps: Iterable[KeptStep], missing: int, sessions: list[KeptSession]) -> Iterable[str]:
    skipped = [s.decision.skipped for s in steps if s.decision is not None and s.decision.skipped]
    if skipped:
        yield f"{len(skipped)} decisions were skipped by the run, the last because {skipped[-1]}."
    if missing:
        yield f"{missing} bars are not in the journal: the backtest holds what it has through them."
    if len(sessions) > 1:
        yield f"The run was started {len(sessions)} times."
    yield "Trading rules are those of data/instruments, by which every step gave its state again."
