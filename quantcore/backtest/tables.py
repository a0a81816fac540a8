"""The account's events as the tables of a results folder (DESIGN.md 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from quantcore.account_plane import AccountPlane, Events
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.timegrid import index_us, to_index
from quantcore.types import (
    Action,
    Array,
    FillReason,
    FloatArray,
    IntArray,
    Liquidity,
    OrderStatus,
    OrderType,
    Panel,
    RiskLevel,
    Rule,
    Stage,
    TimeInForce,
)


def run_tables(
    events: Events,
    plane: AccountPlane,
    bars: Bars,
    targets: Panel,
    *,
    regimes: Sequence[str | None] = (),
) -> Mapping[str, pd.DataFrame]:
    """Return fills, orders, funding, liquidations, cash flows, equity, positions, targets and reasons.

    Parameters
    ----------
    events : Events
        Of one scan over `bars`.
    plane : AccountPlane
        Whose rules turn lots into coins.
    bars : Bars
        The execution bars that were scanned.
    targets : Panel
        The target weights that were decided.
    regimes : sequence of str or None
        The market's likeliest state at each decision; empty where none is detected.
    """
    symbols = np.array([*bars.symbols, ""], dtype=object)  # -1, the account itself, has no name
    return {
        "fills": _fills(events, symbols),
        "orders": _orders(events, symbols),
        "funding": _funding(events, symbols),
        "liquidations": _liquidations(events, symbols),
        "cash_flows": _cash_flows(events),
        "equity": _equity(events, index_us(pd.DatetimeIndex(targets.index)), regimes),
        "positions": _positions(events, plane, bars),
        "targets": targets,
        "reasons": _reasons(events, symbols),
    }


def _words(
    kind: type[
        OrderType | RiskLevel | Rule | Stage | Action | FillReason | Liquidity | OrderStatus
    ],
) -> Array:
    return np.array([member.name.lower() for member in kind], dtype=object)


def _stamps(values: IntArray) -> pd.DatetimeIndex:
    return to_index(values).rename(None)


_SIDES = np.array(["sell", "", "buy"], dtype=object)
_TIMES_IN_FORCE = np.array([*(member.name for member in TimeInForce), None], dtype=object)


def _fills(events: Events, symbols: Array) -> pd.DataFrame:
    whole, number = events.of(at.EVENT_FILL)
    return pd.DataFrame(
        {
            "ts": _stamps(whole[:, at.TS]),
            "symbol": symbols[whole[:, at.EVENT_SYMBOL]],
            "side": _SIDES[whole[:, at.EVENT_SIDE] + 1],
            "qty": number[:, at.A],
            "price": number[:, at.B],
            "fee": number[:, at.C],
            "liquidity": _words(Liquidity)[whole[:, at.EVENT_STATE]],
            "reason": _words(FillReason)[whole[:, at.EVENT_REASON]],
            "order_id": whole[:, at.EVENT_ORDER],
            "decision_ts": _stamps(whole[:, at.EVENT_DECISION]),
            "reference_price": number[:, at.D],
        }
    )


def _orders(events: Events, symbols: Array) -> pd.DataFrame:
    """Return every order with how it stands at the end; a refused one carries the rule, else why it was sent."""
    whole, number = events.of(at.EVENT_NEW_ORDER)
    ended, _ = events.of(at.EVENT_STATUS)
    status = np.full(len(whole), int(OrderStatus.NEW))
    reason = _words(FillReason)[whole[:, at.EVENT_REASON]]
    # Order numbers rise with time, so an order's row is found by its number.
    row = np.searchsorted(whole[:, at.EVENT_ORDER], ended[:, at.EVENT_ORDER])
    status[row] = ended[:, at.EVENT_STATE]
    refused = ended[:, at.EVENT_REASON] >= 0
    reason[row[refused]] = _words(Rule)[ended[refused, at.EVENT_REASON]]
    kind = whole[:, at.EVENT_TYPE]
    price = np.where(kind == OrderType.LIMIT, number[:, at.B], np.nan)
    return pd.DataFrame(
        {
            "order_id": whole[:, at.EVENT_ORDER],
            "decision_ts": _stamps(whole[:, at.EVENT_DECISION]),
            "symbol": symbols[whole[:, at.EVENT_SYMBOL]],
            "side": _SIDES[whole[:, at.EVENT_SIDE] + 1],
            "type": _words(OrderType)[kind],
            "time_in_force": _TIMES_IN_FORCE[
                np.where(kind == OrderType.LIMIT, whole[:, at.EVENT_TIF], len(TimeInForce))
            ],
            "qty": number[:, at.A],
            "price": price,
            "stop_price": number[:, at.C],
            "reduce_only": whole[:, at.EVENT_FLAGS] != 0,
            "status": _words(OrderStatus)[status],
            "reason": reason,
            "wanted_qty": number[:, at.D],
        }
    )


def _funding(events: Events, symbols: Array) -> pd.DataFrame:
    whole, number = events.of(at.EVENT_FUNDING)
    return pd.DataFrame(
        {
            "ts": _stamps(whole[:, at.TS]),
            "symbol": symbols[whole[:, at.EVENT_SYMBOL]],
            "rate": number[:, at.C],
            "mark_price": number[:, at.B],
            "qty": number[:, at.A],
            "amount": number[:, at.D],
            "assumed": whole[:, at.EVENT_STATE] == 1,
        }
    )


def _liquidations(events: Events, symbols: Array) -> pd.DataFrame:
    whole, number = events.of(at.EVENT_LIQUIDATION)
    return pd.DataFrame(
        {
            "ts": _stamps(whole[:, at.TS]),
            "symbol": symbols[whole[:, at.EVENT_SYMBOL]],
            "qty": number[:, at.A],
            "price": number[:, at.B],
            "fee": number[:, at.C],
            "insurance": number[:, at.D],
        }
    )


def _cash_flows(events: Events) -> pd.DataFrame:
    whole, number = events.of(at.EVENT_FLOW)
    return pd.DataFrame({"ts": _stamps(whole[:, at.TS]), "amount": number[:, at.A]})


def _equity(events: Events, decided_us: IntArray, regimes: Sequence[str | None]) -> pd.DataFrame:
    curve = events.curve
    equity = curve[:, at.CURVE_EQUITY]
    whole, number = events.of(at.EVENT_FLOW)
    flow = np.zeros(len(curve))
    np.add.at(
        flow, np.searchsorted(events.curve_ts, whole[:, at.TS], side="right"), number[:, at.A]
    )
    gross = curve[:, at.CURVE_GROSS]
    return pd.DataFrame(
        {
            "ts": _stamps(events.curve_ts),
            "equity": equity,
            "wallet_balance": curve[:, at.CURVE_WALLET],
            "unrealised_pnl": curve[:, at.CURVE_UNREALISED],
            "margin_ratio": curve[:, at.CURVE_MARGIN_RATIO],
            "gross_exposure": gross,
            "net_exposure": curve[:, at.CURVE_NET],
            "leverage": np.divide(gross, equity, out=np.zeros_like(gross), where=equity > 0.0),
            "drawdown": curve[:, at.CURVE_DRAWDOWN],
            "regime": _labels(events.curve_ts, decided_us, regimes),
            "halted": curve[:, at.CURVE_LEVEL] >= RiskLevel.HALT,
            "flow": flow,
            "nav": curve[:, at.CURVE_NAV],
            "risk_level": _words(RiskLevel)[curve[:, at.CURVE_LEVEL].astype(np.int64)],
            "daily_var": curve[:, at.CURVE_VAR],
            "liquidation_probability": curve[:, at.CURVE_LIQUIDATION],
        }
    )


def _labels(ts_us: IntArray, decided_us: IntArray, regimes: Sequence[str | None]) -> Array:
    """Return the label of the last decision at or before each stamp."""
    labels = np.full(len(ts_us), None, dtype=object)
    if len(regimes):
        last = np.searchsorted(decided_us, ts_us, side="right") - 1
        labels[last >= 0] = np.array(regimes, dtype=object)[last[last >= 0]]
    return labels


def _positions(events: Events, plane: AccountPlane, bars: Bars) -> pd.DataFrame:
    """Return what was held at each row of the curve, rebuilt from the fills in whole lots."""
    whole, number = events.of(at.EVENT_FILL)
    rows = np.searchsorted(bars.ts_us, events.curve_ts)
    marks = known_marks(bars)
    parts = []
    for s in range(bars.n_symbols):
        mine = whole[:, at.EVENT_SYMBOL] == s
        if not mine.any():
            continue
        lots = np.cumsum(whole[mine, at.EVENT_LOTS] * whole[mine, at.EVENT_SIDE])
        last = np.searchsorted(whole[mine, at.TS], events.curve_ts, side="right") - 1
        held = np.where(last >= 0, lots[last], 0)
        keep = np.flatnonzero(held)
        numerator, denominator = plane.rules.size[s, [at.STEP_NUMERATOR, at.STEP_DENOMINATOR]]
        qty = held[keep] * numerator / denominator
        entry = number[mine, at.E][last[keep]]
        mark = marks[rows[keep], s]
        parts.append((keep, np.full(len(keep), s), qty, entry, mark))
    columns: list[Array] = [np.empty(0)] * 5
    if parts:
        columns = [np.concatenate(part) for part in zip(*parts, strict=True)]
    order = np.lexsort((columns[1], columns[0]))
    row, symbol, qty, entry, mark = (column[order] for column in columns)
    return pd.DataFrame(
        {
            "ts": _stamps(events.curve_ts[row.astype(np.int64)]),
            "symbol": np.array(bars.symbols, dtype=object)[symbol.astype(np.int64)],
            "qty": qty,
            "entry_price": entry,
            "mark_price": mark,
            "unrealised_pnl": qty * (mark - entry),
        }
    )


def known_marks(bars: Bars) -> FloatArray:
    """Return closing marks as the account values them: else the last price, else the last one known before."""
    close = bars.array("close")
    marks = close
    if bars.has("mark_price"):
        mark = bars.array("mark_price")
        marks = np.where(np.isnan(mark), close, mark)
    if not np.isnan(marks).any():
        return marks
    row = np.where(np.isnan(marks), 0, np.arange(len(marks))[:, None])
    np.maximum.accumulate(row, axis=0, out=row)
    return np.take_along_axis(marks, row, axis=0)


def _reasons(events: Events, symbols: Array) -> pd.DataFrame:
    whole, number = events.of(at.EVENT_WHY)
    return pd.DataFrame(
        {
            "ts": _stamps(whole[:, at.TS]),
            "symbol": symbols[whole[:, at.EVENT_SYMBOL]],
            "stage": _words(Stage)[whole[:, at.EVENT_STATE]],
            "rule": _words(Rule)[whole[:, at.EVENT_REASON]],
            "limit": number[:, at.A],
            "value": number[:, at.B],
            "action": _words(Action)[whole[:, at.EVENT_ACTION]],
        }
    )
