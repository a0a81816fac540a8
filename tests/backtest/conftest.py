"""A small account simulation in plain numpy, so that results and reports are tested without the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quantcore.backtest.result import SCHEMAS, Run
from quantcore.frames import Bars
from quantcore.timegrid import DAY_US, HOUR_US, to_index, to_us
from quantcore.types import FloatArray, IntArray

_NAMES = (
    "ADAUSDT AVAXUSDT BCHUSDT BNBUSDT BTCUSDT DOGEUSDT DOTUSDT ETCUSDT ETHUSDT FILUSDT "
    "LINKUSDT LTCUSDT NEARUSDT OPUSDT SOLUSDT SUIUSDT TRXUSDT UNIUSDT XLMUSDT XRPUSDT"
)
NAMES = _NAMES.split()
WARM_UP = 48
TAKER_FEE, MAKER_FEE = 5e-4, 2e-4
SLIPPAGE = 3e-4


@dataclass
class Book:
    """Mutable state of the simulated account and the rows it wrote."""

    cash: float
    qty: FloatArray
    entry: FloatArray
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def write(self, table: str, **row: Any) -> None:
        """Append a row to a table."""
        self.rows.setdefault(table, []).append(row)

    def trade(self, column: int, qty: float, price: float, fee: float) -> None:
        """Book a fill: cash, position and average entry price."""
        old, new = self.qty[column], round(self.qty[column] + qty, 3)
        if old * new <= 0.0 or old == 0.0:
            self.entry[column] = price
        elif abs(new) > abs(old):
            self.entry[column] = (self.entry[column] * abs(old) + price * abs(qty)) / abs(new)
        self.qty[column] = new
        self.cash -= qty * price + fee


def market(symbols: list[str], n_bars: int, rng: np.random.Generator) -> Bars:
    """Return hourly random-walk bars with marks close to the last price."""
    shape = (n_bars, len(symbols))
    steps = rng.standard_t(4, shape) * 0.004 + rng.standard_t(4, (n_bars, 1)) * 0.004
    close = 100.0 * np.exp(np.cumsum(steps, axis=0)) * np.linspace(0.5, 3.0, len(symbols))
    opens = np.vstack([close[:1], close[:-1]])
    wick = 1.0 + np.abs(rng.normal(0.0, 0.003, shape))
    high, low = np.maximum(opens, close) * wick, np.minimum(opens, close) / wick
    first = to_us("2023-01-01") - WARM_UP * HOUR_US
    return Bars(
        interval="1h",
        ts_us=first + HOUR_US * np.arange(1, n_bars + 1),
        symbols=tuple(symbols),
        fields={
            "open": opens,
            "high": high,
            "low": low,
            "close": close,
            "mark_price": close * (1.0 + rng.normal(0.0, 1e-4, shape)),
        },
    )


def simulate(
    *,
    symbols: int = 3,
    days: int = 60,
    seed: int = 7,
    orders_per_bar: float = 0.3,
    capital: float = 1000.0,
    deposits: tuple[tuple[int, float], ...] = ((30 * 24 + 5, 500.0),),
    edge: float = 0.0,
    liquidation_at: int | None = 400,
) -> Run:
    """Return a run of random orders, filled at the next open, with funding, cash flows and one liquidation."""
    rng = np.random.default_rng(seed)
    names = sorted({"BTCUSDT", *NAMES[:symbols]}) if symbols < len(NAMES) else NAMES
    names = names[-symbols:] if "BTCUSDT" in names[-symbols:] else names[:symbols]
    bars = market(names, WARM_UP + days * 24, rng)
    book = Book(capital, np.zeros(symbols), np.full(symbols, np.nan))
    mark = bars.array("mark_price")
    equity_rows: list[tuple[Any, ...]] = []
    held_qty, held_entry, order_id = [], [], 0
    pending: list[tuple[int, float, str]] = []
    nav, before, worst, peak = 1.0, capital, 0.0, 1.0
    for row in range(WARM_UP - 1, bars.n_bars):
        stamp = int(bars.ts_us[row])
        if row >= WARM_UP:
            _settle(book, bars, row, rng)
            for column, qty, reason in pending:
                order_id += 1
                _fill(book, bars, row, column, qty, reason, order_id, rng)
            due = liquidation_at is not None and row >= WARM_UP + liquidation_at
            if due and "liquidations" not in book.rows:
                _liquidate(book, bars, row)
        flow = sum(amount for at, amount in deposits if at + WARM_UP == row)
        if flow:
            book.cash += flow
            book.write("cash_flows", ts=stamp, amount=flow)
        value = book.cash + float(book.qty @ mark[row])
        nav, before = nav * (value - flow) / before, value
        peak = max(peak, nav)
        worst = nav / peak - 1.0
        exposure = book.qty * mark[row]
        open_pnl = float(np.nansum(book.qty * (mark[row] - book.entry)))
        gross = float(np.abs(exposure).sum())
        equity_rows.append(
            (
                stamp,
                value,
                value - open_pnl,
                open_pnl,
                0.01 * gross / value,
                gross,
                float(exposure.sum()),
                gross / value,
                worst,
                None,
                False,
                flow,
                nav,
                "normal",
                0.0,
                0.0,
            )
        )
        held_qty.append(book.qty.copy())
        held_entry.append(book.entry.copy())
        pending = _orders(book, bars, row, value, orders_per_bar, edge, rng)
    equity = pd.DataFrame(equity_rows, columns=SCHEMAS["equity"].names)
    tables = {
        name: _table(book, name)
        for name in SCHEMAS
        if name not in ("equity", "positions", "trades")
    }
    stamps = bars.ts_us[WARM_UP - 1 :]
    equity["ts"] = to_index(stamps)
    weights = np.array(held_qty) * mark[WARM_UP - 1 :] / equity["equity"].to_numpy()[:, None]
    return Run(
        bars=bars,
        interval="1h",
        capital=capital,
        tables=tables
        | {
            "equity": equity,
            "positions": _positions(
                np.array(held_qty), np.array(held_entry), mark[WARM_UP - 1 :], stamps, names
            ),
            "targets": pd.DataFrame(weights, index=to_index(stamps), columns=names),
        },
        notes=(
            "Funding is missing for ETCUSDT; the adverse side is charged 0.01 % per 8 h.",
            "Exchange rules of XLMUSDT are conservative defaults.",
            "Partial liquidation by tiers is not modelled: a position closes whole.",
        ),
        quality={"assumed_funding_share": 0.034, "fallback_mark_share": 0.0},
        config_yaml="experiment: fake\n",
        manifest={"experiment": "fake", "seed": seed},
    )


def _orders(
    book: Book,
    bars: Bars,
    row: int,
    value: float,
    rate: float,
    edge: float,
    rng: np.random.Generator,
) -> list[tuple[int, float, str]]:
    wanted = []
    ahead = min(row + 24, bars.n_bars - 1)
    for _ in range(rng.poisson(rate)):
        column = int(rng.integers(len(book.qty)))
        move = bars.array("close")[ahead, column] / bars.array("close")[row, column] - 1.0
        lean = edge * float(np.sign(move))
        weight = float(rng.normal(lean, 1.0)) / len(book.qty)
        qty = round(weight * value / bars.array("close")[row, column] - book.qty[column], 3)
        if rng.random() < 0.3:
            qty = -book.qty[column]
        if abs(qty) >= 0.001:
            wanted.append(
                (column, float(round(qty, 3)), "target" if rng.random() < 0.9 else "stop_loss")
            )
        else:
            book.write(
                "reasons",
                ts=int(bars.ts_us[row]),
                symbol=bars.symbols[column],
                stage="planner",
                rule="below_step",
                limit=0.001,
                value=abs(qty),
                action="refused",
            )
    return wanted


def _fill(
    book: Book,
    bars: Bars,
    row: int,
    column: int,
    qty: float,
    reason: str,
    order_id: int,
    rng: np.random.Generator,
) -> None:
    side = "buy" if qty > 0 else "sell"
    maker = rng.random() < 0.25
    reference = float(bars.array("open")[row, column])
    price = reference if maker else reference * (1.0 + np.sign(qty) * SLIPPAGE)
    fee = abs(qty) * price * (MAKER_FEE if maker else TAKER_FEE)
    book.trade(column, qty, price, fee)
    shared = {
        "symbol": bars.symbols[column],
        "side": side,
        "qty": abs(qty),
        "reason": reason,
        "order_id": order_id,
    }
    shared["decision_ts"] = int(bars.ts_us[row - 1])
    liquidity = "maker" if maker else "taker"
    book.write(
        "fills",
        ts=int(bars.ts_us[row]),
        price=price,
        fee=fee,
        liquidity=liquidity,
        reference_price=reference,
        **shared,
    )
    book.write(
        "orders",
        type="limit" if maker else "market",
        time_in_force="GTX" if maker else None,
        price=price if maker else np.nan,
        stop_price=np.nan,
        reduce_only=False,
        status="filled",
        **shared,
    )


def _settle(book: Book, bars: Bars, row: int, rng: np.random.Generator) -> None:
    opened = int(bars.ts_us[row]) - HOUR_US
    if opened % (DAY_US // 3):
        return
    for column in np.flatnonzero(book.qty):
        rate, price = (
            float(rng.normal(1e-4, 2e-4)),
            float(bars.array("mark_price")[row - 1, column]),
        )
        amount = book.qty[column] * price * rate
        book.cash -= amount
        book.write(
            "funding",
            ts=opened,
            symbol=bars.symbols[column],
            rate=rate,
            mark_price=price,
            qty=float(book.qty[column]),
            amount=amount,
            assumed=False,
        )


def _liquidate(book: Book, bars: Bars, row: int) -> None:
    if not np.any(book.qty):
        return
    column = int(np.argmax(np.abs(book.qty * bars.array("mark_price")[row])))
    qty, price = -float(book.qty[column]), float(bars.array("mark_price")[row, column])
    fee = 0.0125 * abs(qty) * price
    book.trade(column, qty, price, 0.0)
    book.cash += 1.5 - fee
    symbol = bars.symbols[column]
    book.write(
        "fills",
        ts=int(bars.ts_us[row]),
        symbol=symbol,
        side="buy" if qty > 0 else "sell",
        qty=abs(qty),
        price=price,
        fee=0.0,
        liquidity="taker",
        reason="liquidation",
        order_id=-1,
        decision_ts=int(bars.ts_us[row - 1]),
        reference_price=price,
    )
    book.write(
        "liquidations",
        ts=int(bars.ts_us[row]),
        symbol=symbol,
        qty=abs(qty),
        price=price,
        fee=fee,
        insurance=1.5,
    )
    book.write(
        "reasons",
        ts=int(bars.ts_us[row]),
        symbol=symbol,
        stage="account",
        rule="liquidation",
        limit=1.0,
        value=1.02,
        action="closed",
    )


def _positions(
    qty: FloatArray, entry: FloatArray, mark: FloatArray, stamps: IntArray, names: list[str]
) -> pd.DataFrame:
    row, column = np.nonzero(qty)
    held = (row, column)
    return pd.DataFrame(
        {
            "ts": to_index(stamps[row]),
            "symbol": np.array(names, dtype=object)[column],
            "qty": qty[held],
            "entry_price": entry[held],
            "mark_price": mark[held],
            "unrealised_pnl": qty[held] * (mark[held] - entry[held]),
        }
    )


def _table(book: Book, name: str) -> pd.DataFrame:
    table = pd.DataFrame(book.rows.get(name, []), columns=SCHEMAS[name].names)
    for column in ("ts", "decision_ts"):
        if column in table:
            table[column] = to_index(table[column].to_numpy(dtype=np.int64))
    numbers = [f.name for f in SCHEMAS[name] if str(f.type) == "double"]
    return table.astype(dict.fromkeys(numbers, "float64"))


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """Return the simulation itself, for tests that need another account."""
    return simulate


@pytest.fixture(scope="session")
def run() -> Run:
    """Three symbols, sixty days, turns of position, a deposit and a liquidation."""
    return simulate()
