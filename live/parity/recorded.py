"""A real run as its journal tells it, and the backtest of the bars that it saw.

The live side is the run's own ledger, replayed step by step, so that every state is checked against the hash that was
committed. The backtest begins with the states that the journal holds of the run's start, and is both folds over the
journal's bars, by the settings and trading rules that the run kept: what a run finds out, such as when an order fills,
the account step models.

A backtest knows the closes of bars alone. So what the run did between two of them is put to the close of its bar, and
its funding to the hour for which it was paid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from live.broker.interface import Doubt
from live.folds import CLOSE, HALF_SPREAD, HALTED, MOMENT, RESTRAINED, bars_of, joined, traded
from live.journal import reading
from live.journal.journal import Journal
from live.journal.records import START, KeptSession, KeptStep
from live.parity.comparison import Tables
from live.parts import Kept, kept
from quantcore import account_follow as said
from quantcore.account_follow import Heard, follow_bar
from quantcore.account_plane import AccountPlane, Events, account_plane, joined_events
from quantcore.backtest.engine import decision_rows
from quantcore.backtest.tables import run_tables
from quantcore.errors import JournalError
from quantcore.exits import exits_of
from quantcore.fold import FoldState
from quantcore.frames import Bars, no_settlements, resample_bars
from quantcore.kernels import layout as at
from quantcore.signal_plane import signals
from quantcore.timegrid import interval_us, to_index
from quantcore.types import FloatArray

MODE = "parity"
"""Mode of a session in lock-step, whose account plane is the backtest's own."""
ASSUMING = (MODE, "paper")
"""Modes whose exchange charges funding where none is known; every other one has paid what it tells, and no more."""


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
    skipped : mapping of str to str
        Why it took no decision, by the decision's time.
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
    skipped: Mapping[str, str]
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What is read out of a journal: the last session, how often it was started, its steps, states and doubts."""

    session: KeptSession
    started: int
    steps: list[KeptStep]
    accounts: Mapping[int, FoldState]
    signal: FoldState | None
    doubts: tuple[str, ...]


def recorded(journal: Journal) -> Record:
    """Read a run out of a journal, from the start on with which its last session's symbols began.

    Raises
    ------
    JournalError
        If it holds no closed bar, no settings, or pruned steps, or a step does not give the state that it gave.
    """
    told = _told(journal)
    held = _settings(told.session, journal.place)
    symbols, interval = told.session.session.symbols, held.parts.execution_interval
    rows = [_bar(step, symbols, interval) for step in told.steps if step.kind == CLOSE]
    bars, missing = without_holes(rows)
    skipped = _skipped(told.steps)
    begun = told.accounts[told.steps[0].seq]
    if begun["counter"][at.OPEN_ORDERS]:
        raise JournalError(
            f"a run must begin without open orders, that of {journal.place} does not"
        )
    mode, account = told.session.session.mode, held.parts.account
    if mode not in ASSUMING:
        account = replace(account, missing_funding_rate=0.0)
    model = account_plane(
        held.instruments, interval=interval, account=account, execution=held.parts.execution,
        exits=exits_of(held.parts.signal.strategy), risk=held.parts.risk,
    )  # fmt: skip
    plane = model if mode == MODE else held.plane
    events = _replayed(plane, told)
    live = run_tables(events, plane, bars, _decided(told.steps, symbols))
    return Record(
        experiment=told.session.session.mode,
        interval=held.parts.interval,
        config_yaml=told.session.session.config_yaml,
        capital=float(begun["cash"][at.EQUITY]),
        bars=bars,
        backtest=_modelled(model, held, bars, told, begun),
        live=at_closes(live, interval),
        corrected=_corrected(told.steps),
        doubts=told.doubts,
        notes=tuple(_notes(told, missing, skipped)),
        skipped=skipped,
        versions=told.session.session.versions,
    )


def at_closes(tables: Tables, interval: str) -> dict[str, pd.DataFrame]:
    """Return a run's tables as a backtest can have them: stamps of closes, and hours for settlements."""
    bar = pd.Timedelta(interval_us(interval), unit="us")
    orders, fills, funding = (tables[name].copy() for name in ("orders", "fills", "funding"))
    orders["decision_ts"] = orders["decision_ts"].dt.ceil(bar)
    fills["ts"] = fills["ts"].dt.ceil(bar)
    funding["ts"] = funding["ts"].dt.floor("h")
    return {**tables, "orders": orders, "fills": fills, "funding": funding}


def _told(journal: Journal) -> _Told:
    with journal.transaction() as connection:
        session = reading.last_session(connection)
        if session is None:
            raise JournalError(f"journal must hold a session, {journal.place} holds none")
        same = {
            each.session_id
            for each in reading.sessions(connection)
            if each.session.symbols == session.session.symbols
        }
        steps = [step for step in reading.steps(connection) if step.session_id in same]
        _check_whole(steps, journal.place)
        accounts = {
            step.seq: reading.snapshot(connection, "account", upto=step.seq)
            for step in steps
            if step.kind == START
        }
        signal = reading.snapshot(connection, "signal", upto=steps[0].seq)
        events = reading.events(connection)
    closes = [n for n, step in enumerate(steps) if step.kind == CLOSE]
    if not closes:
        raise JournalError(f"journal must hold a closed bar, {journal.place} holds none")
    return _Told(
        session=session,
        started=len(same),
        steps=steps[: closes[-1] + 1],  # what came later has no bar yet
        accounts={seq: kept.state for seq, kept in accounts.items() if kept is not None},
        signal=None if signal is None else signal.state,
        doubts=tuple(event.reason for _, event in events if isinstance(event, Doubt)),
    )


def _check_whole(steps: list[KeptStep], place: str) -> None:
    if not steps or steps[0].kind != START:
        raise JournalError(f"a run must begin with a start, the first of {place} does not")
    pruned = [step.seq for step in steps if step.kind != START and step.inputs is None]
    if pruned:
        raise JournalError(
            f"steps must have their inputs to be compared, those of {place} up to {pruned[-1]} were pruned"
        )


def _settings(session: KeptSession, place: str) -> Kept:
    try:
        return kept(session)
    except (AttributeError, KeyError, TypeError) as error:
        raise JournalError(
            f"a session must hold settings and rules to be compared, that of {place} does not: {error}"
        ) from error


def _bar(step: KeptStep, symbols: tuple[str, ...], interval: str) -> Bars:
    assert step.inputs is not None
    return bars_of(step.inputs, symbols=symbols, interval=interval)


def without_holes(rows: list[Bars]) -> tuple[Bars, int]:
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


def _replayed(plane: AccountPlane, told: _Told) -> Events:
    """Return what the run's ledger did in all its steps."""
    found: list[Events] = []
    state = told.accounts[told.steps[0].seq]
    for step in told.steps:
        if step.kind == START:
            state = told.accounts[step.seq]
            continue
        assert step.inputs is not None
        closes = step.kind == CLOSE
        state, events = follow_bar(
            plane,
            state,
            _bar(step, plane.symbols, plane.interval if closes else MOMENT),
            Heard(whole=step.inputs["heard"].copy(), number=step.inputs["heard_value"].copy()),
            targets=traded(
                None if step.decision is None else step.decision.targets,
                step.inputs.get(HALTED),
                step.inputs.get(RESTRAINED),
            ),
            recorded=closes,
            closes=closes,
            half_spread=step.inputs.get(HALF_SPREAD),
        )
        if state.digest() != step.account_sha:
            raise JournalError(
                f"step {step.seq} must give its state again, gave another: the program has changed since"
            )
        found.append(events)
    return joined_events(found)


def _modelled(
    plane: AccountPlane, held: Kept, bars: Bars, told: _Told, account: FoldState
) -> Tables:
    """Return what a backtest makes of the bars, from the states at the run's start."""
    interval = held.parts.interval
    decided_on = [
        bars_of(step.decision.inputs, symbols=bars.symbols, interval=interval)
        for step in told.steps
        if step.decision is not None and step.decision.inputs
    ]
    seen = {int(bar.ts_us[-1]): bar for bar in decided_on}
    rows = resample_bars(bars, interval)
    made = {
        ts_us: rows.rows(row, row + 1)
        for row, ts_us in enumerate(rows.ts_us.tolist())
        if not seen or ts_us > min(seen)
    }
    decided = joined([bar for _, bar in sorted({**made, **seen}.items())])
    found = signals(decided, held.parts.signal, told.signal)
    _, events = plane.advance(
        account,
        bars,
        targets=np.ascontiguousarray(found.weight_array),
        decisions=decision_rows(bars.ts_us, decided.ts_us),
    )
    return run_tables(events, plane, bars, found.weights)


def _decided(steps: Iterable[KeptStep], symbols: tuple[str, ...]) -> pd.DataFrame:
    rows: dict[int, FloatArray] = {}
    for step in steps:
        if step.decision is not None and step.decision.targets is not None:
            rows[int(step.decision.inputs["ts_us"][-1])] = step.decision.targets
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


def _skipped(steps: Iterable[KeptStep]) -> dict[str, str]:
    """Return why decisions were skipped, by the time of their bar's close."""
    return {
        to_index(step.decision.inputs["ts_us"][-1:])[0].isoformat(): step.decision.skipped
        for step in steps
        if step.decision is not None and step.decision.skipped
    }


def _notes(told: _Told, missing: int, skipped: Mapping[str, str]) -> Iterable[str]:
    if skipped:
        last = list(skipped.values())[-1]
        yield f"{len(skipped)} decisions were skipped by the run, the last because {last}."
    halted = sum(step.inputs is not None and HALTED in step.inputs for step in told.steps)
    if halted:
        yield f"In {halted} steps some symbols were halted, which the backtest trades all the same."
    restrained = sum(step.inputs is not None and RESTRAINED in step.inputs for step in told.steps)
    if restrained:
        yield f"{restrained} decisions were restrained by a person, which the backtest takes whole."
    if missing:
        yield f"{missing} bars are not in the journal: the backtest holds what it has through them."
    if told.started > 1:
        yield f"The run was started {told.started} times."
