"""Two sides that agree, small enough to plant a difference in by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from live.parity.comparison import Tables
from live.parity.study import Study, studied
from quantcore.frames import Bars

HOUR_US = 3_600_000_000
FIRST_US = 1_704_067_200_000_000  # 2024-01-01
SYMBOLS = ("BTCUSDT", "ETHUSDT")
CAPITAL = 1000.0
CLOSES = np.array([[100.0, 10.0], [101.0, 10.5], [102.0, 10.25], [103.0, 10.0], [104.0, 9.5]])


def stamps(hours: list[int]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(
        pd.to_datetime([FIRST_US + h * HOUR_US for h in hours], unit="us", utc=True)
    ).as_unit("us")


def bars() -> Bars:
    return Bars(
        interval="1h",
        ts_us=FIRST_US + HOUR_US * np.arange(5, dtype=np.int64),
        symbols=SYMBOLS,
        fields=dict.fromkeys(("open", "high", "low", "close"), CLOSES),
    )


def side() -> dict[str, pd.DataFrame]:
    """Return an account that buys 2 BTC, sells 5 ETH short, guards both, and leaves half of the BTC.

    The stop of the ETH ends with nothing.
    """
    orders = pd.DataFrame(
        {
            "order_id": [0, 1, 2, 3],
            "decision_ts": stamps([0, 0, 1, 2]),
            "symbol": ["BTCUSDT", "ETHUSDT", "ETHUSDT", "BTCUSDT"],
            "side": ["buy", "sell", "buy", "sell"],
            "type": ["market", "market", "stop_market", "market"],
            "time_in_force": [None, None, None, None],
            "qty": [2.0, 5.0, 0.0, 1.0],
            "price": [np.nan] * 4,
            "stop_price": [np.nan, np.nan, 11.0, np.nan],
            "reduce_only": [False, False, True, True],
            "status": ["filled", "filled", "canceled", "filled"],
            "reason": ["target", "target", "stop_loss", "target"],
            "wanted_qty": [2.0, 5.0, np.nan, 1.0],
        }
    )
    fills = pd.DataFrame(
        {
            "ts": stamps([1, 1, 3]),
            "symbol": ["BTCUSDT", "ETHUSDT", "BTCUSDT"],
            "side": ["buy", "sell", "sell"],
            "qty": [2.0, 5.0, 1.0],
            "price": [100.5, 10.1, 102.5],
            "fee": [0.1, 0.025, 0.05],
            "liquidity": ["taker"] * 3,
            "reason": ["target"] * 3,
            "order_id": [0, 1, 3],
            "decision_ts": stamps([0, 0, 2]),
            "reference_price": [100.4, 10.2, 102.6],
        }
    )
    funding = pd.DataFrame(
        {
            "ts": stamps([2, 2]),
            "symbol": list(SYMBOLS),
            "rate": [0.0001, -0.0002],
            "mark_price": [101.0, 10.5],
            "qty": [2.0, -5.0],
            "amount": [0.0202, 0.0105],
            "assumed": [False, False],
        }
    )
    return {
        "targets": pd.DataFrame(
            [[0.2, -0.05], [0.2, -0.05], [0.1, -0.05], [0.1, -0.05], [0.1, np.nan]],
            index=stamps([0, 1, 2, 3, 4]),
            columns=list(SYMBOLS),
        ),
        "orders": orders,
        "fills": fills,
        "funding": funding,
        "liquidations": pd.DataFrame(
            {
                "ts": stamps([]),
                "symbol": np.array([], dtype=object),
                **{name: np.array([], dtype=np.float64) for name in ("qty", "price", "fee", "insurance")},
            }
        ),
        "cash_flows": pd.DataFrame({"ts": stamps([]), "amount": np.array([], dtype=np.float64)}),
        "equity": pd.DataFrame({"ts": stamps([0, 1, 2, 3, 4]), "equity": _equity(fills, funding)}),
    }  # fmt: skip


def revalued(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables with the equity that follows from their fills and funding."""
    equity = tables["equity"].assign(equity=_equity(tables["fills"], tables["funding"]))
    return tables | {"equity": equity}


def _equity(fills: pd.DataFrame, funding: pd.DataFrame) -> np.ndarray:
    found = []
    for row, ts in enumerate(stamps([0, 1, 2, 3, 4])):
        equity = CAPITAL - funding.loc[funding["ts"] <= ts, "amount"].sum()
        done: Any = fills[fills["ts"] <= ts].itertuples(index=False)
        for f in done:
            signed = f.qty if f.side == "buy" else -f.qty
            equity += signed * (CLOSES[row, SYMBOLS.index(f.symbol)] - f.price) - f.fee
        found.append(float(equity))
    return np.array(found)


def changed(table: str, row: int, **values: Any) -> dict[str, pd.DataFrame]:
    """Return the side with some numbers of one row replaced."""
    tables = side()
    tables[table] = tables[table].copy()
    for name, value in values.items():
        tables[table].loc[tables[table].index[row], name] = value
    return tables


def without(table: str, row: int) -> dict[str, pd.DataFrame]:
    """Return the side without one row."""
    tables = side()
    tables[table] = tables[table].drop(tables[table].index[row]).reset_index(drop=True)
    return tables


def study(backtest: Tables, live: Tables) -> Study:
    return studied(
        backtest,
        live,
        bars=bars(),
        capital=CAPITAL,
        facts={
            "experiment": "planted", "against": "a side made by hand", "interval": "1h", "wallet_error": 0.0,
            "doubts": [], "notes": [], "skipped": {},
        },
        manifest={},
    )  # fmt: skip
