"""One comparison, whole: both sides' tables, what differs, the first difference in its surroundings, and the money."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from live.parity.case import Case
from live.parity.comparison import BACKTEST_ROW, LIVE_ROW, TOLD, Comparison, Tables, compare
from live.parity.exchange import exchange_of
from live.parity.gap import gap
from live.parity.kinds import MEANINGS, Kind
from live.parity.lockstep import LiveRun, trade, warm
from quantcore.backtest.engine import decide
from quantcore.backtest.engine import trade as traded
from quantcore.backtest.tables import known_marks, run_tables
from quantcore.frames import Bars
from quantcore.timegrid import to_index

if TYPE_CHECKING:
    from live.parity.recorded import Record

BACKTEST, LIVE = SIDES = ("backtest", "live")
AROUND = 5
"""Rows that are shown before and after the first difference, of both sides."""
SHOWN = 6
"""Symbols whose target weights are shown there."""
_COMPARED = ("targets", "orders", "fills", "liquidations", "funding", "equity")


@dataclass(frozen=True, kw_only=True)
class Study:
    """What the command found.

    Parameters
    ----------
    summary, manifest : mapping
        Of the results folder.
    config_yaml : str
        Settings of a real run; empty: those of the command.
    tables : mapping of str to mapping of str to DataFrame
        Each side's, by the names of `SIDES`.
    comparison : Comparison
        Of them.
    context : DataFrame
        Rows around the first difference: ``of`` (the side), ``row``, and the columns of its table; empty without one.
    bars : Bars
        The execution bars.
    """

    summary: Mapping[str, Any]
    manifest: Mapping[str, Any]
    config_yaml: str = field(default="", repr=False)
    tables: Mapping[str, Tables] = field(repr=False)
    comparison: Comparison
    context: pd.DataFrame = field(repr=False)
    bars: Bars = field(repr=False)

    @property
    def first(self) -> Mapping[str, Any] | None:
        """The first difference."""
        found: Mapping[str, Any] | None = self.summary["first_difference"]
        return found


def against_exchange(
    case: Case,
    *,
    experiment: str,
    manifest: Mapping[str, Any],
    progress: Callable[[int], None],
) -> Study:
    """Compare a backtest with the live loop on the exchange in lock-step.

    Parameters
    ----------
    case : Case
        What is compared.
    experiment : str
        Its name.
    manifest : mapping
        What the results follow from.
    progress : callable
        Told the number of bars that the live loop has done.
    """
    run = traded(
        decide(case.data, signal=case.signal),
        account=case.account,
        execution=case.execution,
        risk=case.risk,
    )
    warm(case)
    with exchange_of(case) as ready:
        live = asyncio.run(trade(case, ready, progress=progress))
    own = case.wallet(live.state)
    return studied(
        {name: run.tables[name] for name in run.tables},
        live_tables(case, live),
        bars=case.bars,
        capital=case.account.capital,
        facts={
            "experiment": experiment,
            "against": "the live loop on the exchange in lock-step",
            "interval": case.data.interval,
            "wallet_error": live.venue_wallet - own,
            "doubts": list(live.doubts),
            "notes": list(case.data.notes),
            "skipped": {},
        },
        manifest={**manifest, "data_fingerprint": case.data.bars.fingerprint()},
    )


def against_record(record: Record, *, place: str) -> Study:
    """Compare a backtest of a real run's bars with that run.

    Parameters
    ----------
    record : Record
        As `recorded.recorded` reads it out of a journal.
    place : str
        Where the journal is.
    """
    return studied(
        record.backtest,
        record.live,
        bars=record.bars,
        capital=record.capital,
        facts={
            "experiment": record.experiment,
            "against": f"the run of {place}",
            "interval": record.interval,
            "wallet_error": None,
            "doubts": list(record.doubts),
            "notes": list(record.notes),
            "skipped": dict(record.skipped),
        },
        manifest={"command": "live.parity", "journal": place, **record.versions},
        config_yaml=record.config_yaml,
        tolerance=TOLD,
        corrected=record.corrected,
    )


def live_tables(case: Case, live: LiveRun) -> Tables:
    """Return what the live loop did as the tables of a results folder."""
    decided = pd.DataFrame(
        live.targets, index=to_index(live.decided_us), columns=list(case.bars.symbols)
    )
    return run_tables(live.events, case.plane(case.instruments()), case.bars, decided)


def studied(
    backtest: Tables,
    live: Tables,
    *,
    bars: Bars,
    capital: float,
    facts: Mapping[str, Any],
    manifest: Mapping[str, Any],
    config_yaml: str = "",
    tolerance: float = 0.0,
    corrected: float = 0.0,
) -> Study:
    """Compare two sides' tables and put together what is said of them.

    Parameters
    ----------
    backtest, live : mapping of str to DataFrame
        As `comparison.compare` takes them.
    bars : Bars
        The execution bars.
    capital : float
        USDT at the start.
    facts, manifest : mapping
        What else the results folder says.
    config_yaml : str
        See `Study`.
    tolerance : float
        See `comparison.compare`.
    corrected : float
        See `gap.gap`.
    """
    found = compare(backtest, live, capital=capital, tolerance=tolerance)
    marks = dict(zip(bars.symbols, known_marks(bars)[-1].tolist(), strict=True))
    return Study(
        summary={
            **facts,
            "start": bars.index[0].isoformat(),
            "end": bars.index[-1].isoformat(),
            "bars": bars.n_bars,
            "symbols": list(bars.symbols),
            "capital": capital,
            **_counted(found),
            "max_equity_error": found.max_equity_error,
            "first_difference": _first(found),
            "by_kind": dict(found.by_kind),
            "gap": gap(backtest, live, found, marks, corrected=corrected),
        },
        manifest=manifest,
        config_yaml=config_yaml,
        tables={BACKTEST: backtest, LIVE: live},
        comparison=found,
        context=context(found, {BACKTEST: backtest, LIVE: live}),
        bars=bars,
    )


def context(found: Comparison, tables: Mapping[str, Tables]) -> pd.DataFrame:
    """Return the rows around the first difference in the table that holds it, of both sides; empty without one."""
    if not len(found.differences):
        return pd.DataFrame({"of": [], "row": []})
    first = found.differences.iloc[0]
    parts = []
    for side, column in ((BACKTEST, BACKTEST_ROW), (LIVE, LIVE_ROW)):
        table = tables[side][first["subject"]]
        if first["subject"] == "targets":
            others = [name for name in table.columns if name != first["symbol"]]
            shown = [first["symbol"], *others[: SHOWN - 1]]
            table = table[shown].rename_axis("ts").reset_index()
        when = "decision_ts" if first["subject"] == "orders" else "ts"
        row = int(first[column])
        if row < 0:  # where it would be
            row = int(pd.DatetimeIndex(table[when]).searchsorted(first["ts"]))
        begin = max(row - AROUND, 0)
        part = table.iloc[begin : row + AROUND + 1].copy()
        part.insert(0, "row", np.arange(begin, begin + len(part)))
        part.insert(0, "of", side)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _counted(found: Comparison) -> dict[str, int]:
    counts = {}
    for name in _COMPARED:
        compared, differing = found.counts[name]
        word = "decisions" if name == "targets" else name
        counts[word], counts[f"differing_{word}"] = compared, differing
    return {**counts, "expired_for_canceled": found.expired}


def _first(found: Comparison) -> dict[str, Any] | None:
    if not len(found.differences):
        return None
    first = found.differences.iloc[0]
    return {
        "ts": first["ts"].isoformat(),
        **{name: first[name] for name in ("subject", "kind", "symbol", "field")},
        **{side: first[side] for side in SIDES},
        "difference": float(first["difference"]),
        "meaning": MEANINGS[Kind(first["kind"])],
    }
