"""Backtests of the same targets and mode on other capitals, and on an account for which nothing is rounded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from quantcore.backtest.curves import Curves
from quantcore.backtest.engine import Decided, trade, traded_instruments
from quantcore.backtest.metrics import compute_metrics
from quantcore.backtest.outlook import outlook
from quantcore.backtest.result import Run
from quantcore.research.feasibility_demand import UNLIMITED_CAPITAL, Stage, finer

UNLIMITED = "unlimited"
"""Name of the account whose lots are so fine that nothing is rounded."""

_REFUSING = ("refused", "cut", "rejected")
_METRICS = (
    "total_return", "annual_return", "annual_volatility", "sharpe", "sharpe_ci_low", "sharpe_ci_high", "max_drawdown",
    "turnover_annual", "trades",
)  # fmt: skip
_COSTS = ("fees", "funding", "slippage_cost", "liquidation_fees")


def capital_runs(decided: Decided, stage: Stage, capitals: Sequence[float]) -> dict[str, Run]:
    """Return a backtest of the same targets and mode for each capital and for `UNLIMITED`, the smallest first."""
    facts = traded_instruments(decided.data)
    runs = {}
    for capital in sorted({*capitals, stage.account.capital}):
        own = stage.holding(float(capital))
        runs[f"{capital:.12g}"] = trade(
            decided, account=own.account, execution=own.execution, risk=own.risk
        )
    own = stage.holding(UNLIMITED_CAPITAL)
    runs[UNLIMITED] = trade(
        decided,
        account=own.account,
        execution=own.execution,
        risk=own.risk,
        instruments=[finer(i) for i in facts],
    )
    return runs


def capital_table(
    runs: Mapping[str, Run], curve: Mapping[str, Curves], index: pd.DatetimeIndex
) -> pd.DataFrame:
    """Return what each capital would have come to.

    Parameters
    ----------
    runs, curve : mapping of str to Run and to Curves
        By name of the capital.
    index : DatetimeIndex
        Decisions that want anything, at which positions are counted.

    Returns
    -------
    DataFrame
        ``name capital`` (infinite where unlimited) and metrics as in `metrics.json`; ``positions_min
        positions_median positions_max``; ``halted_share`` of the decisions; ``fees funding slippage_cost
        liquidation_fees costs`` as fractions of the capital; ``refusals`` and ``refused_<rule>``, orders and targets
        refused, cut or rejected.
    """
    rows = []
    for name, run in runs.items():
        numbers = compute_metrics(run, ahead=outlook(run, curve[name]))
        held = run.tables["positions"].groupby("ts").size().reindex(index, fill_value=0)
        counted = held.to_numpy(np.float64) if len(held) else np.zeros(1)
        paid = {key: numbers[key] / run.capital for key in _COSTS}
        reasons = run.tables["reasons"]
        refused = Counter(reasons.loc[reasons["action"].isin(_REFUSING), "rule"].tolist())
        rows.append(
            {
                "name": name,
                "capital": math.inf if name == UNLIMITED else run.capital,
                **{key: numbers[key] for key in _METRICS},
                "positions_min": counted.min(),
                "positions_median": float(np.median(counted)),
                "positions_max": counted.max(),
                "halted_share": float(run.tables["equity"]["halted"].mean()),
                **paid,
                "costs": math.fsum(paid.values()),
                "refusals": refused.total(),
                **{f"refused_{rule}": refused[rule] for rule in sorted(refused)},
            }
        )
    table = pd.DataFrame(rows)
    rules = [str(c) for c in table if str(c).startswith("refused_")]
    kinds = dict.fromkeys(rules, np.int64) | dict.fromkeys(_METRICS, np.float64)
    return table.fillna(dict.fromkeys(rules, 0)).astype(kinds)


def curve_table(curve: Mapping[str, Curves]) -> pd.DataFrame:
    """Return the value of one unit of each account, a column per name of its capital, index ``ts``."""
    series = [
        pd.Series(c.nav, index=pd.to_datetime(c.ts_us, unit="us", utc=True), name=name)
        for name, c in curve.items()
    ]
    return pd.concat(series, axis=1).rename_axis(index="ts")
