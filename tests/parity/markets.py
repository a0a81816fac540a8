"""Comparisons over small made-up markets, with settings as on the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from live.parity.case import Case, case_of, narrowed
from live.parity.exchange import exchange_of
from live.parity.lockstep import trade, warm
from live.parity.study import Study, against_exchange, live_tables, studied
from quantcore.account_plane import AccountSettings
from quantcore.backtest.engine import decide
from quantcore.backtest.engine import trade as traded
from quantcore.backtest.experiment import signal_settings
from quantcore.config import build, compose
from quantcore.data.sources import MarketData
from quantcore.execution.settings import ExecutionSettings
from quantcore.frames import Bars, Settlements, funding_rows
from quantcore.risk.limits import RiskSettings

HOURLY = ("data.days=50", "data.n_symbols=3", "data.late_listings=0")
MINUTES = ("data.days=25", "data.n_symbols=2", "data.late_listings=0", "data.execution_interval=1m")


def case(
    root: Path,
    overrides: Sequence[str],
    *,
    days: int,
    symbols: int = 3,
    edit: Callable[[MarketData], MarketData] | None = None,
) -> Case:
    """Return a comparison of the last days of a market."""
    cfg = compose("parity", [f"data.root={root}", *overrides])
    data = build(cfg.data).load(reviewed=bool(cfg.universe))
    if edit is not None:
        data = edit(data)
    data = narrowed(data, days=days, symbols=symbols)
    return case_of(
        data,
        signal=signal_settings(cfg),
        account=build(cfg.account, AccountSettings),
        execution=build(cfg.execution, ExecutionSettings),
        risk=build(cfg.risk, RiskSettings) if cfg.risk else None,
    )


def compared(case: Case) -> Study:
    return against_exchange(case, experiment="small", manifest={}, progress=lambda _: None)


def against_another(case: Case, other: Case, *, live: Case | None = None) -> Study:
    """Return a case's backtest against the loop on the exchange of another case, itself perhaps of a third."""
    loop = case if live is None else live
    run = traded(
        decide(case.data, signal=case.signal),
        account=case.account,
        execution=case.execution,
        risk=case.risk,
    )
    warm(loop)
    with exchange_of(other) as ready:
        found = asyncio.run(trade(loop, ready, progress=lambda _: None))
    return studied(
        dict(run.tables),
        live_tables(loop, found),
        bars=case.bars,
        capital=case.account.capital,
        facts={
            "experiment": "planted", "against": "another exchange", "interval": case.data.interval,
            "wallet_error": None, "doubts": list(found.doubts), "notes": [], "skipped": {},
        },
        manifest={},
    )  # fmt: skip


def without_late_funding(data: MarketData) -> MarketData:
    """Return the data without the settlements of its first symbol, and of all symbols in its last ten days."""
    known = data.bars.settlements
    late = int(data.bars.ts_us[-1]) - 10 * 86_400_000_000
    kept = known.where((known.symbol != 0) & (known.time_us < late))
    return replace(data, bars=_settled(data.bars, kept))


def with_funding(data: MarketData, factor: float) -> MarketData:
    """Return the data with every rate multiplied."""
    known = data.bars.settlements
    return replace(data, bars=_settled(data.bars, replace(known, rate=known.rate * factor)))


def _settled(bars: Bars, settlements: Settlements) -> Bars:
    changed = replace(bars, settlements=settlements)
    return replace(
        changed, fields={**bars.fields, "funding_rate": funding_rows(changed, changed.settlements)}
    )
