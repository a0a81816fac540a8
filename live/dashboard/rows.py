"""Rows of a journal, and what stands now, as the records of the page (all pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from live.dashboard.board import (
    Curve,
    Entry,
    Gauge,
    Holding,
    OpenOrder,
    State,
    Told,
    Traded,
    Weight,
)
from live.journal.codec import number
from live.journal.records import KeptSession, NoteKind
from live.monitor.limits import Limit
from live.monitor.standing import Standing
from quantcore.backtest.markup import plural
from quantcore.fold import FoldState
from quantcore.regime.detector import LABELS
from quantcore.timegrid import to_us

Rows = Sequence[Any]
"""Rows of a table of the view, with its columns as attributes, the newest first."""

STOPS = ("stop_market", "trailing_stop_market")
_ACTS = frozenset({"halted", "stopped", "released", "closed", "reduced"})
_TIMES = frozenset({"leverage", "net exposure", "largest position"})
STEERED = frozenset({*_TIMES, "daily value at risk"})
"""Limits to which the risk controller cuts targets."""
_EXPLAINED = MappingProxyType(
    {
        "leverage": "gross exposure over equity",
        "net exposure": "longs less shorts over equity",
        "largest position": "one symbol's exposure over equity",
        "daily value at risk": "of one day, as a share of equity",
        "drawdown": "fall from the peak at which the account is stopped",
        "loss of the day": "fall since the UTC day began at which the account halts",
        "liquidation probability": "of the account within 24 hours",
        "margin ratio": "maintenance margin over margin balance: positions are reduced beyond the limit",
    }
)


def joined(curve: Curve, equity: Rows) -> Curve:
    """Return a curve with the rows that follow it, in order; a bar that is told again has its last word."""
    times = np.array([row.ts_us for row in equity], dtype=np.int64)
    ts_us = np.concatenate([curve.ts_us, times])
    keep = np.append(np.diff(ts_us) > 0, True)
    columns = {
        name: np.concatenate(
            [getattr(curve, name), [number(getattr(row, name)) for row in equity]]
        )[keep]
        for name in ("equity", "drawdown", "nav")
    }
    return Curve(ts_us=ts_us[keep], **columns)


def regimes(state: FoldState) -> tuple[Weight, ...]:
    """Return the probability of each regime, the calmest first, as the signal plane had them; none without any."""
    chances = state.get("regime/probabilities")
    if chances is None or np.isnan(chances).any():
        return ()
    numbered = tuple(f"state {k + 1}" for k in range(len(chances)))
    return tuple(map(_share, LABELS.get(len(chances), numbered), chances.tolist()))


def strategies(counted: Mapping[str, float]) -> tuple[Weight, ...]:
    """Return how much each strategy counts, as a share of what all of them do."""
    total = sum(abs(value) for value in counted.values()) or 1.0
    return tuple(_share(name, value / total) for name, value in counted.items())


def _share(name: str, value: float) -> Weight:
    return Weight(name=name, wanted=math.nan, held=value)


def holdings(standing: Standing, *, needs_stop: bool) -> Iterator[Holding]:
    """Yield positions; `needs_stop` says whether each should have a protective stop."""
    for held in standing.positions:
        yield Holding(
            symbol=held.symbol,
            qty=held.qty,
            entry=held.entry_price,
            mark=held.mark_price,
            leverage=held.leverage,
            distance=held.liquidation_distance,
            chance=held.liquidation_probability,
            stop=held.stop_price,
            needs_stop=needs_stop,
        )


def orders(standing: Standing) -> Iterator[OpenOrder]:
    """Yield open orders."""
    for order in standing.orders:
        yield OpenOrder(
            symbol=order.symbol,
            side=order.side,
            kind=order.type,
            qty=order.qty,
            filled=order.filled,
            price=order.price,
            stop_price=order.stop_price,
            reduce_only=order.protects,
            protects=order.protects and order.type in STOPS,
            sent_us=to_us(order.since),
            state="stuck" if order.stuck else order.state,
        )


def weights(standing: Standing) -> Iterator[Weight]:
    """Yield what each symbol is wanted to be and is, as a share of equity."""
    equity = math.nan if standing.account is None else standing.account.equity
    held = {p.symbol: p.notional / equity for p in standing.positions}
    for symbol in sorted({*held, *standing.targets}):
        now, goal = held.get(symbol, 0.0), standing.targets.get(symbol, math.nan)
        if now or goal > 0.0 or goal < 0.0:
            yield Weight(name=symbol, wanted=goal, held=now)


def gauge(limit: Limit) -> Gauge:
    """Return a limit with what of it is used."""
    return Gauge(
        name=limit.name,
        value=limit.value,
        limit=limit.limit,
        unit="times" if limit.name in _TIMES else "share",
        steered=limit.name in STEERED,
        explained=_EXPLAINED.get(limit.name, ""),
    )


def traded(rows: Rows) -> Iterator[Traded]:
    """Yield fills."""
    for row in rows:
        yield Traded(
            ts_us=row.ts_us,
            symbol=row.symbol,
            side=row.side,
            qty=float(row.qty),
            price=float(row.price),
            fee=float(row.fee),
            maker=bool(row.maker),
            reason="not of an own order" if row.reason is None else row.reason,
        )


def told(rows: Rows) -> Iterator[Told]:
    """Yield cuts, refusals and interventions."""
    for row in rows:
        yield Told(
            ts_us=row.ts_us,
            symbol=row.symbol,
            stage=row.stage,
            rule=row.rule,
            limit=number(row.limit),
            value=number(row.value),
            action=row.action,
        )


def log(
    sessions: Sequence[KeptSession], notes: Rows, differences: Rows, reasons: Rows, *, most: int
) -> tuple[Entry, ...]:
    """Return what happened besides trading, the newest first: starts, ends, interventions, errors, differences."""
    entries = [*_starts(sessions), *_notes(notes), *_differences(differences), *_acts(reasons)]
    return tuple(sorted(entries, key=lambda entry: -entry.ts_us)[:most])


def _starts(sessions: Iterable[KeptSession]) -> Iterator[Entry]:
    for each in sessions:
        symbols = plural(len(each.session.symbols), "symbol")
        yield _entry(each.started_us, "started", "loop", symbols, State.GOOD)
        if each.ended_us is not None:
            yield _entry(each.ended_us, "ended", "loop", each.why_ended or "", State.WATCH)


def _notes(notes: Rows) -> Iterator[Entry]:
    for row in notes:
        state = State.BAD if row.kind == NoteKind.ERROR.value else State.WATCH
        yield _entry(row.ts_us, row.kind, row.source, row.message, state, row.symbol)


def _differences(differences: Rows) -> Iterator[Entry]:
    for row in differences:
        text = f"{row.subject}: expected {row.expected}, found {row.found}; {row.rule}"
        yield _entry(row.ts_us, "difference", "reconcile", text, State.WATCH, row.symbol)


def _acts(reasons: Rows) -> Iterator[Entry]:
    for row in reasons:
        if row.action in _ACTS:
            state = State.GOOD if row.action == "released" else State.WATCH
            text = row.rule.replace("_", " ")
            yield _entry(row.ts_us, row.action, row.stage, text, state, row.symbol)


def _entry(
    ts_us: int, kind: str, source: str, text: str, state: State, symbol: str | None = None
) -> Entry:
    return Entry(ts_us=ts_us, kind=kind, source=source, symbol=symbol or "", text=text, state=state)
