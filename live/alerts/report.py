"""The day's report as a short text."""

from __future__ import annotations

import math

import pandas as pd

from live.alerts.rules.rule import percent
from live.journal.records import NoteKind
from live.monitor.view import View

_DAY_US = 86_400_000_000


def daily_report(view: View) -> tuple[str, str]:
    """Return subject and text of the exchange's last 24 hours up to the last closed bar.

    Raises
    ------
    JournalError
        If the journal cannot be read, or holds no session yet.
    """
    session = view.sessions()[-1]
    last = view.rows("equity", last=1)
    mode = session.session.mode
    if last.empty:
        return f"{mode}: daily report: no bar has closed yet", "Nothing has been traded."
    now = last["ts"].iloc[-1]
    since_us = int(now.timestamp() * 1e6) - _DAY_US
    equity = view.rows("equity", since_us=since_us)
    earned = _earned(equity)
    final = equity["equity"].iloc[-1]
    day = f"{now.day} {now:%b}"
    return (
        f"{mode}, {day}: {_signed(earned)} today, equity {final:,.2f} USDT",
        "\n".join(_lines(view, equity, since_us)),
    )


def _lines(view: View, equity: pd.DataFrame, since_us: int) -> list[str]:
    fills = view.rows("fills", since_us=since_us)
    notes = view.rows("notes", since_us=since_us)
    incomes = view.rows("incomes", since_us=since_us)
    funding = -incomes.loc[incomes["kind"] == "FUNDING_FEE", "amount"].sum()
    skipped = view.rows("decisions", since_us=since_us)["skipped"].notna().sum()
    turned_over = (fills["qty"] * fills["price"]).sum()
    hands = (notes["kind"] == NoteKind.INTERVENTION.value).sum()
    last = equity.iloc[-1]
    return [
        f"Drawdown now {percent(last['drawdown'])}, worst of the day {percent(equity['drawdown'].min())}",
        f"Leverage {last['gross_exposure'] / last['equity']:.2f}, margin ratio {percent(last['margin_ratio'])}",
        f"{len(fills):,} fills, {turned_over:,.0f} USDT traded; fees {fills['fee'].sum():,.2f}, "
        f"funding {funding:,.2f} USDT",
        f"{skipped} decisions not taken, {hands} interventions by hand, "
        f"{len(view.rows('differences', since_us=since_us))} differences from the exchange, "
        f"{len(notes) - hands} errors written down",
        f"Risk level {last['level'] or 'not known'}",
    ]


def _earned(equity: pd.DataFrame) -> float:
    """Return the day's return by unit value, so that deposits are none."""
    nav = equity["nav"]
    return float(nav.iloc[-1] / nav.iloc[0] - 1.0) if nav.iloc[0] > 0.0 else math.nan


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else ("+" if value >= 0.0 else "") + percent(value, 2)
