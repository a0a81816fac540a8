"""A finished backtest as the page shows it, read once out of its results folder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from live.dashboard.board import (
    Amount,
    Board,
    Check,
    Curve,
    Entry,
    Gauge,
    Holding,
    State,
    Target,
    Told,
    Traded,
    Weight,
)
from live.dashboard.rows import STEERED
from quantcore.backtest.calls import open_called
from quantcore.backtest.markup import known
from quantcore.backtest.metrics import closing_positions
from quantcore.backtest.scorecard import Score
from quantcore.backtest.verdict import findings
from quantcore.backtest.view import OpenedRun
from quantcore.timegrid import index_us

SHOWN = 12
"""Rows of a table, the newest."""
_STATES = {"met": State.GOOD, "not met": State.BAD, "not measurable": State.UNKNOWN}
_INTERVENED = frozenset({"halted", "stopped", "released", "closed"})


class FinishedRun:
    """Reads a results folder; it never changes.

    Parameters
    ----------
    folder : Path
        A backtest's.

    Raises
    ------
    DataGap
        If it is none, or a file is missing.
    SchemaMismatch
        If a file cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._board = _board(open_called(folder))

    def has_news(self) -> bool:
        """Return False: what is over does not change."""
        return False

    def board(self) -> Board:
        """Return all of the page."""
        return self._board

    def close(self) -> None:
        """Do nothing: everything was read."""


def _board(run: OpenedRun) -> Board:
    equity = run.equity
    curve = Curve(
        ts_us=index_us(pd.DatetimeIndex(equity.index)),
        equity=_numbers(equity["equity"]),
        drawdown=run.curve.drawdown,
        nav=run.curve.nav,
    )
    last = equity.iloc[-1]
    found = findings(run.recorded, run.saved.metrics, run.curve)
    return Board(
        name=run.name,
        kind="backtest",
        is_live=False,
        runs=False,
        begun_us=int(curve.ts_us[0]),
        clock_us=int(curve.ts_us[-1]),
        level=_text(last.get("risk_level")) or "normal",
        curve=curve,
        gross=float(last["gross_exposure"]),
        net=float(last["net_exposure"]),
        daily_var=_real(last.get("daily_var")),
        liquidation_chance=_real(last.get("liquidation_probability")),
        regime=_text(last["regime"]),
        checks=tuple(_checks(run)),
        holdings=tuple(_holdings(run)),
        targets=tuple(_targets(run)),
        gauges=tuple(_gauges(run)),
        fills=tuple(_fills(run)),
        reasons=tuple(_reasons(run.reasons)),
        costs=tuple(_costs(run.metrics)),
        scores=tuple(_scores(found.scores)),
        log=tuple(_log(run.reasons)),
        verdict=found.verdict,
        facts=(f"{run.recorded.interval} decisions", f"{run.metrics['symbols']} symbols"),
    )


def _checks(run: OpenedRun) -> Iterator[Check]:
    liquidated = len(run.liquidations)
    state = State.BAD if liquidated else State.GOOD
    yield Check(
        name="liquidations" if liquidated else "no liquidation",
        state=state,
        text=f"the exchange closed {liquidated} positions" if liquidated else "",
    )
    halted = int(run.equity["halted"].sum())
    if halted:
        yield Check(name="halted", state=State.WATCH, text=f"at {halted:,} decisions")
    else:
        yield Check(name="never halted", state=State.GOOD, text="")


def _holdings(run: OpenedRun) -> Iterator[Holding]:
    equity = float(run.equity["equity"].iloc[-1])
    held = closing_positions(run.recorded)
    for row in held[held["qty"] != 0.0].to_dict("records"):
        notional = abs(row["qty"] * row["mark_price"])
        yield Holding(
            symbol=row["symbol"],
            qty=row["qty"],
            entry=row["entry_price"],
            mark=row["mark_price"],
            leverage=notional / equity if equity > 0.0 else math.nan,
            distance=math.nan,
            chance=math.nan,
            stop=math.nan,
            needs_stop=False,
        )


def _targets(run: OpenedRun) -> Iterator[Weight]:
    equity = float(run.equity["equity"].iloc[-1])
    held = closing_positions(run.recorded)
    sizes = dict(zip(held["symbol"], held["qty"] * held["mark_price"] / equity, strict=True))
    wanted = {} if run.targets.empty else run.targets.iloc[-1].dropna().to_dict()
    for symbol in sorted({*sizes, *wanted}):
        now, goal = float(sizes.get(symbol, 0.0)), float(wanted.get(symbol, math.nan))
        if now or (known(goal) and goal):
            yield Weight(name=str(symbol), wanted=goal, held=now)


def _gauges(run: OpenedRun) -> Iterator[Gauge]:
    """Yield the limits that the settings gave, with the most that was used of each."""
    risk = run.config.get("risk") or {}
    equity = run.equity
    gross = equity["gross_exposure"] / equity["equity"]
    net = (equity["net_exposure"] / equity["equity"]).abs()
    found = (
        ("leverage", gross.max(), "leverage_max", "times"),
        ("net exposure", net.max(), "net_max", "times"),
        ("daily value at risk", _most(equity, "daily_var"), "daily_var_max", "share"),
        ("drawdown", -float(run.curve.drawdown.min()), "drawdown_max", "share"),
        (
            "liquidation probability",
            _most(equity, "liquidation_probability"),
            "liquidation_probability_max",
            "share",
        ),
        ("margin ratio", equity["margin_ratio"].max(), "margin_ratio_max", "share"),
    )
    for name, value, key, unit in found:
        if risk.get(key) is not None:
            yield Gauge(
                name=name,
                value=float(value),
                limit=float(risk[key]),
                unit=unit,
                steered=name in STEERED,
                explained="the most over the run",
            )


def _most(equity: pd.DataFrame, name: str) -> float:
    return float(equity[name].max()) if name in equity else math.nan


def _fills(run: OpenedRun) -> Iterator[Traded]:
    newest = run.fills.iloc[::-1].head(SHOWN)
    ts_us = index_us(pd.DatetimeIndex(newest["ts"]))
    for when, row in zip(ts_us.tolist(), newest.to_dict("records"), strict=True):
        yield Traded(
            ts_us=when,
            symbol=row["symbol"],
            side=row["side"],
            qty=row["qty"],
            price=row["price"],
            fee=row["fee"],
            maker=row["liquidity"] == "maker",
            reason=row["reason"],
        )


def _reasons(reasons: pd.DataFrame) -> Iterator[Told]:
    newest = reasons.iloc[::-1].head(SHOWN)
    ts_us = index_us(pd.DatetimeIndex(newest["ts"]))
    for when, row in zip(ts_us.tolist(), newest.to_dict("records"), strict=True):
        yield Told(
            ts_us=when,
            symbol=_text(row["symbol"]),
            stage=row["stage"],
            rule=row["rule"],
            limit=_real(row["limit"]),
            value=_real(row["value"]),
            action=row["action"],
        )


def _costs(m: Mapping[str, Any]) -> Iterator[Amount]:
    found = (
        ("Price profit", m["gross_pnl"], "at the prices of fills, slippage inside"),
        ("Fees", _paid(m["fees"]), "of trading"),
        ("Funding", _paid(m["funding"]), "of positions held"),
        ("Liquidation fees", _paid(m["liquidation_fees"]), "of the exchange"),
        ("Slippage, in price profit", _paid(m["slippage_cost"]), "by the model"),
        ("Deposits, net", m["deposits"], "no profit"),
    )
    for name, amount, text in found:
        if amount is not None and known(amount):
            yield Amount(name=name, amount=float(amount), text=text)


def _paid(amount: float | None) -> float | None:
    return None if amount is None else -amount


def _scores(scores: Iterable[Score]) -> Iterator[Target]:
    for score in scores:
        yield Target(
            name=score.name,
            target=score.target,
            result=score.result,
            state=_STATES[score.verdict],
            verdict=score.verdict,
            reason=score.reason,
        )


def _log(reasons: pd.DataFrame) -> Iterator[Entry]:
    acted = reasons[reasons["action"].isin(_INTERVENED)].iloc[::-1].head(SHOWN)
    ts_us = index_us(pd.DatetimeIndex(acted["ts"]))
    for when, row in zip(ts_us.tolist(), acted.to_dict("records"), strict=True):
        yield Entry(
            ts_us=when,
            kind=row["action"],
            source=row["stage"],
            symbol=_text(row["symbol"]),
            text=row["rule"].replace("_", " "),
            state=State.GOOD if row["action"] == "released" else State.WATCH,
        )


def _numbers(column: pd.Series) -> Any:
    return column.to_numpy(dtype=np.float64)


def _real(value: Any) -> float:
    return math.nan if value is None else float(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
