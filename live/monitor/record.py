"""What the Performance Tracker reads of a run: returns, orders, latencies and health, out of a journal."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from sqlalchemy import select

from live.folds import CLOSE, bars_of
from live.journal import tables
from live.journal.codec import unpack
from live.journal.records import SEND, START
from live.monitor.beats import Beats, beats_of
from live.monitor.place import Place
from live.monitor.view import View
from quantcore.backtest.report import open_folder
from quantcore.errors import JournalError
from quantcore.risk.limits import RiskSettings
from quantcore.settings import build_settings
from quantcore.timegrid import index_us, interval_us, to_us
from quantcore.types import Array, FloatArray, IntArray

ALERTS = "alerts.sqlite"
"""The alerts' own queue, beside the journal."""
LOCK_STEP = "parity"
"""Mode of a run whose exchange is moved bar by bar."""
_CHUNK = 500
_EXCHANGE_MADE = ("autoclose", "adl_autoclose")
"""How client ids of liquidations begin (BINANCE.md)."""


@dataclass(frozen=True, kw_only=True)
class Stability:
    """What only a live run has.

    Parameters
    ----------
    round_trip_us, sent_after_us : float64 array
        Of requests: from sending to the answer, and from the step's cause to sending; microseconds on this machine.
    account_us : float64 array
        Of the steps at closes: risk check, sizer and router.
    update_us : float64 array
        Of fills heard while the loop ran: from the exchange's own time to hearing, microseconds of this machine.
    alert_us : float64 array
        Of alerts that were sent at once: from the event's being known to its delivery; empty without the alerts' queue.
    beats : Beats
        Its heartbeats.
    closes_us : int64 array
        The closes of the bars that the journal holds, increasing, each once.
    skipped : Series of str, index `ts`
        Why decisions were not taken.
    """

    round_trip_us: FloatArray
    sent_after_us: FloatArray
    account_us: FloatArray
    update_us: FloatArray
    alert_us: FloatArray
    beats: Beats
    closes_us: IntArray
    skipped: pd.Series


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run, or the part of it inside the tracker's window.

    Parameters
    ----------
    name : str
        Mode or experiment.
    simulated : bool
        Whether its exchange is.
    interval, execution_interval : str
        Of decisions and bars.
    equity : DataFrame
        Rows of `equity.parquet`, at least one, with `nav`, `daily_var` and `liquidation_probability`.
    nav_before : float
        Unit value before the first row.
    orders, fills, funding : DataFrame
        As `parent_orders` takes them: `decision_ts` is the decision's, `reference_price` the price at its arrival.
    liquidations : int
        Fills that the exchange made.
    risk : RiskSettings or None
        The mode's limits.
    stability : Stability or None
        None of a backtest.
    """

    name: str
    simulated: bool
    interval: str
    execution_interval: str
    equity: pd.DataFrame = field(repr=False)
    nav_before: float
    orders: pd.DataFrame = field(repr=False)
    fills: pd.DataFrame = field(repr=False)
    funding: pd.DataFrame = field(repr=False)
    liquidations: int
    risk: RiskSettings | None
    stability: Stability | None = field(repr=False)

    @property
    def start(self) -> pd.Timestamp:
        """Of the first row."""
        return pd.Timestamp(self.equity["ts"].iloc[0])

    @property
    def end(self) -> pd.Timestamp:
        """Of the last row."""
        return pd.Timestamp(self.equity["ts"].iloc[-1])

    @property
    def days(self) -> float:
        """Length, days."""
        return float((self.end - self.start) / pd.Timedelta(days=1))


def record_of(place: Place, *, days: float | None = None) -> Record:
    """Read a run; with `days` only the last so many of it.

    Raises
    ------
    QuantcoreError
        If it cannot be read, or no bar has closed yet.
    """
    if place.results is not None:
        return _of_results(place.results, days)
    assert place.url is not None
    with View(place.url) as view:
        return _of_journal(view, days, place.folder)


def _of_journal(view: View, days: float | None, folder: Path | None) -> Record:
    session = view.sessions()[-1]
    plain = yaml.safe_load(session.session.config_yaml)
    equity = view.rows("equity")
    if equity.empty:
        raise JournalError(f"journal must hold a closed bar, {view.place} holds none yet")
    equity, nav_before, since = _window(equity, days)
    since_us = 0 if days is None else to_us(since)
    orders, fills = _orders(view, since)
    data, risk = plain.get("data", {}), plain.get("risk")
    execution_interval = str(data.get("execution_interval", "1h"))
    return Record(
        name=session.session.mode,
        simulated=session.session.mode in ("sim", LOCK_STEP),
        interval=str(data.get("interval", "1h")),
        execution_interval=execution_interval,
        equity=equity,
        nav_before=nav_before,
        orders=orders,
        fills=fills,
        funding=_funding(view, since_us),
        liquidations=int(fills["client_id"].str.startswith(_EXCHANGE_MADE).sum()),
        risk=build_settings(risk, kind=RiskSettings) if risk else None,
        stability=_stability(view, since_us, folder, execution_interval),
    )


def _of_results(folder: Path, days: float | None) -> Record:
    saved = open_folder(folder)
    equity, nav_before, since = _window(saved.tables["equity"], days)
    kept = {
        name: table[table[column] >= since]
        for name, column in (("orders", "decision_ts"), ("fills", "ts"), ("funding", "ts"))
        for table in (saved.tables[name],)
    }
    known = set(kept["orders"]["order_id"])
    risk = yaml.safe_load(saved.config_yaml).get("risk")
    return Record(
        name=str(saved.manifest.get("experiment", folder.name)),
        simulated=True,
        interval=saved.interval,
        execution_interval=saved.execution_interval,
        equity=equity,
        nav_before=nav_before,
        orders=kept["orders"],
        fills=kept["fills"][kept["fills"]["order_id"].isin(known)],
        funding=kept["funding"],
        liquidations=int((saved.tables["liquidations"]["ts"] >= since).sum()),
        risk=build_settings(risk, kind=RiskSettings) if risk else None,
        stability=None,
    )


def _window(equity: pd.DataFrame, days: float | None) -> tuple[pd.DataFrame, float, pd.Timestamp]:
    """Return the last days of an equity table, the unit value before them, and when they begin."""
    since = equity["ts"].iloc[0]
    if days is not None:
        since = max(since, equity["ts"].iloc[-1] - pd.Timedelta(days=days))
    kept = equity[equity["ts"] >= since].reset_index(drop=True)
    before = equity[equity["ts"] < since]
    return kept, 1.0 if before.empty else float(before["nav"].iloc[-1]), since


def _orders(view: View, since: pd.Timestamp) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return orders and fills by the decisions that asked for them, with the prices of their arrival."""
    requests = view.rows("requests")
    answers = view.rows("answers")
    decided = view.rows("decisions")
    decided = decided[decided["targets"].notna()]
    sent = requests[(requests["action"] == SEND) & (requests["ts"] >= since)].reset_index(drop=True)
    place = np.searchsorted(decided["row"].to_numpy(), sent["seq"].to_numpy(), side="right") - 1
    sent, place = sent[place >= 0].reset_index(drop=True), place[place >= 0]
    refused = set(answers.loc[answers["outcome"] == "refused", "intent_id"])
    status = sent["client_id"].map(_statuses(view)).fillna("new")
    seqs = decided["row"].to_numpy()[place]
    orders = sent.assign(
        order_id=sent["order_number"],
        decision_ts=pd.DatetimeIndex(decided["ts"]).take(place),
        decision_seq=seqs,
        status=status.where(~sent["row"].isin(refused), "rejected"),
        arrival=_arrivals(view, seqs, sent["symbol"].tolist()),
    )
    fills = view.rows("fills")
    known = orders.set_index("client_id")
    fills = fills[(fills["ts"] >= since)].reset_index(drop=True)
    number = fills["client_id"].map(known["order_id"]).fillna(-1).astype(np.int64)
    fills = fills.assign(
        order_id=number,
        reference_price=fills["client_id"].map(known["arrival"]).astype(np.float64),
        liquidity=np.where(fills["maker"].astype(bool), "maker", "taker"),
    )
    return orders, fills


def _funding(view: View, since_us: int) -> pd.DataFrame:
    """Return what was settled: by symbol out of the list of incomes, which nobody asks for in lock-step."""
    if view.sessions()[-1].session.mode == LOCK_STEP:
        told = view.rows("balances", since_us=since_us).assign(symbol=None)
        told = told.rename(columns={"change": "amount"})
    else:
        told = view.rows("incomes", since_us=since_us)
    settled = told[told["kind"] == "FUNDING_FEE"]
    return settled.assign(amount=-settled["amount"].astype(np.float64))[["ts", "symbol", "amount"]]


def _statuses(view: View) -> pd.Series:
    """Return the last status of each order by its client id."""
    changes = view.rows("order_changes")[["row", "client_id", "status"]]
    fills = view.rows("fills").rename(columns={"order_status": "status"})
    told = pd.concat([changes, fills[["row", "client_id", "status"]]]).dropna(subset="status")
    return (
        told.sort_values("row")
        .drop_duplicates("client_id", keep="last")
        .set_index("client_id")["status"]
    )


def _arrivals(view: View, seqs: IntArray, symbols: Sequence[str]) -> FloatArray:
    """Return the price of each symbol at the step of a decision; NaN of steps that were pruned."""
    closes: dict[int, dict[str, float]] = dict(_closes(view, np.unique(seqs)))
    nothing: dict[str, float] = {}
    return np.array(
        [
            closes.get(seq, nothing).get(symbol, math.nan)
            for seq, symbol in zip(seqs.tolist(), symbols, strict=True)
        ],
        dtype=np.float64,
    )


def _closes(view: View, seqs: IntArray) -> Iterator[tuple[int, dict[str, float]]]:
    columns = {each.session_id: each.session.symbols for each in view.sessions()}
    for seq, session_id, inputs in _inputs(view, seqs):
        symbols = columns[session_id]
        bar = bars_of(inputs, symbols=symbols, interval="1s")
        yield seq, dict(zip(symbols, bar.array("close")[-1].tolist(), strict=True))


def _inputs(view: View, seqs: IntArray) -> Iterator[tuple[int, int, dict[str, Array]]]:
    """Yield number, session and inputs of some steps; those that were pruned are left out."""
    table = tables.steps
    for first in range(0, len(seqs), _CHUNK):
        wanted = select(table.c.seq, table.c.session_id, table.c.inputs).where(
            table.c.seq.in_(seqs[first : first + _CHUNK].tolist()), table.c.inputs.is_not(None)
        )
        with view.journal.transaction() as connection:
            rows = connection.execute(wanted).all()
        for row in rows:
            yield row.seq, row.session_id, unpack(row.inputs)


def _stability(view: View, since_us: int, folder: Path | None, interval: str) -> Stability:
    beats = beats_of(view, since_us)
    answers = view.rows("answers", since_us=since_us)
    steps = view.rows("steps", since_us=since_us)
    closes = steps[steps["kind"] == CLOSE]
    decisions = view.rows("decisions", since_us=since_us)
    return Stability(
        round_trip_us=answers["answered_after_us"].to_numpy(np.float64),
        sent_after_us=answers["sent_after_us"].to_numpy(np.float64),
        account_us=closes["account_us"].to_numpy(np.float64),
        update_us=_updates(view, since_us, steps, beats.speed),
        alert_us=_alerts(folder),
        beats=beats,
        closes_us=_own_closes(view, closes, interval),
        skipped=decisions.set_index("ts")["skipped"].dropna(),
    )


def _own_closes(view: View, closes: pd.DataFrame, interval: str) -> IntArray:
    """Return when the bars of steps closed: of one that was caught up on the step is stamped later than its bar."""
    taken_us = index_us(pd.DatetimeIndex(closes["ts"]))
    length = interval_us(interval)
    late = (taken_us % length != 0) | (np.diff(taken_us, prepend=0) == 0)
    found = taken_us // length * length  # of a step whose bar was pruned
    seqs = closes["row"].to_numpy(np.int64)
    own_us = {seq: int(inputs["ts_us"][-1]) for seq, _, inputs in _inputs(view, seqs[late])}
    for place in np.flatnonzero(late):
        found[place] = own_us.get(int(seqs[place]), found[place])
    return np.unique(found)


def _updates(view: View, since_us: int, steps: pd.DataFrame, speed: float) -> FloatArray:
    """Return how long fills took to be heard, of those that happened after their session began."""
    if view.sessions()[-1].session.mode == LOCK_STEP:  # its exchange waits for the loop
        return np.empty(0)
    fills = view.rows("fills", since_us=since_us)
    begun = steps.loc[steps["kind"] == START, "ts"]
    heard, happened = (index_us(pd.DatetimeIndex(fills[name])) for name in ("heard_ts", "ts"))
    starts = np.append(index_us(pd.DatetimeIndex(begun)), np.iinfo(np.int64).max)
    same = np.searchsorted(starts, heard) == np.searchsorted(starts, happened)
    return np.asarray((heard - happened)[same] / speed, dtype=np.float64)


def _alerts(folder: Path | None) -> FloatArray:
    """Return the latencies of the alerts' queue, of alerts that neither quiet hours nor limits held back."""
    path = None if folder is None else folder / ALERTS
    if path is None or not path.is_file():
        return np.empty(0)
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as queue:
        try:
            rows = queue.execute("SELECT latency_us FROM latencies WHERE held = 0").fetchall()
        except sqlite3.DatabaseError:
            return np.empty(0)
    return np.array([latency_us for (latency_us,) in rows], dtype=np.float64)


def expected_bars(record: Record) -> int:
    """Return how many bars closed between the first and the last that the journal holds, both included."""
    assert record.stability is not None
    bars = record.stability.closes_us // interval_us(record.execution_interval)
    return 0 if not len(bars) else int(bars[-1] - bars[0]) + 1
