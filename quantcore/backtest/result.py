"""What a backtest hands over: the `Run`, the schema of its tables, and the keys of `metrics.json` (DESIGN.md 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa

from quantcore.errors import SchemaMismatch
from quantcore.frames import Bars
from quantcore.kernels.layout import Rules
from quantcore.research.trials import TrialCount
from quantcore.signal_plane import Signals

_TS = pa.timestamp("us", tz="UTC")
_TEXT, _NUMBER, _WHOLE, _FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()

SCHEMAS: Mapping[str, pa.Schema] = MappingProxyType(
    {
        "fills": pa.schema(
            [
                ("ts", _TS),
                ("symbol", _TEXT),
                ("side", _TEXT),
                ("qty", _NUMBER),
                ("price", _NUMBER),
                ("fee", _NUMBER),
                ("liquidity", _TEXT),
                ("reason", _TEXT),
                ("order_id", _WHOLE),
                ("decision_ts", _TS),
                ("reference_price", _NUMBER),
            ]
        ),
        "orders": pa.schema(
            [
                ("order_id", _WHOLE),
                ("decision_ts", _TS),
                ("symbol", _TEXT),
                ("side", _TEXT),
                ("type", _TEXT),
                ("time_in_force", _TEXT),
                ("qty", _NUMBER),
                ("price", _NUMBER),
                ("stop_price", _NUMBER),
                ("reduce_only", _FLAG),
                ("status", _TEXT),
                ("reason", _TEXT),
                ("wanted_qty", _NUMBER),
            ]
        ),
        "funding": pa.schema(
            [
                ("ts", _TS),
                ("symbol", _TEXT),
                ("rate", _NUMBER),
                ("mark_price", _NUMBER),
                ("qty", _NUMBER),
                ("amount", _NUMBER),
                ("assumed", _FLAG),
            ]
        ),
        "liquidations": pa.schema(
            [
                ("ts", _TS),
                ("symbol", _TEXT),
                ("qty", _NUMBER),
                ("price", _NUMBER),
                ("fee", _NUMBER),
                ("insurance", _NUMBER),
            ]
        ),
        "cash_flows": pa.schema([("ts", _TS), ("amount", _NUMBER)]),
        "trades": pa.schema(
            [
                ("symbol", _TEXT),
                ("side", _TEXT),
                ("entry_ts", _TS),
                ("exit_ts", _TS),
                ("entry_price", _NUMBER),
                ("exit_price", _NUMBER),
                ("qty", _NUMBER),
                ("duration", pa.duration("us")),
                ("pnl", _NUMBER),
                ("fees", _NUMBER),
                ("funding", _NUMBER),
                ("mae", _NUMBER),
                ("mfe", _NUMBER),
                ("exit_reason", _TEXT),
            ]
        ),
        "equity": pa.schema(
            [
                ("ts", _TS),
                ("equity", _NUMBER),
                ("wallet_balance", _NUMBER),
                ("unrealised_pnl", _NUMBER),
                ("margin_ratio", _NUMBER),
                ("gross_exposure", _NUMBER),
                ("net_exposure", _NUMBER),
                ("leverage", _NUMBER),
                ("drawdown", _NUMBER),
                ("regime", _TEXT),
                ("halted", _FLAG),
                ("flow", _NUMBER),
                ("nav", _NUMBER),
                ("risk_level", _TEXT),
                ("daily_var", _NUMBER),
                ("liquidation_probability", _NUMBER),
            ]
        ),
        "positions": pa.schema(
            [
                ("ts", _TS),
                ("symbol", _TEXT),
                ("qty", _NUMBER),
                ("entry_price", _NUMBER),
                ("mark_price", _NUMBER),
                ("unrealised_pnl", _NUMBER),
            ]
        ),
        "reasons": pa.schema(
            [
                ("ts", _TS),
                ("symbol", _TEXT),
                ("stage", _TEXT),
                ("rule", _TEXT),
                ("limit", _NUMBER),
                ("value", _NUMBER),
                ("action", _TEXT),
            ]
        ),
    }
)
"""Columns and types of every long table of a results folder; `targets` is wide and has no fixed columns.

`cash_flows.amount` and `equity.flow` are USDT, > 0 deposited. `gross_exposure` and `net_exposure` are USDT,
`leverage` is gross exposure over equity. `trades.mae` and `trades.mfe` are fractions of the entry notional.
"""

OPTIONAL_COLUMNS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "fills": frozenset({"reference_price"}),
        "funding": frozenset({"assumed"}),
        "equity": frozenset({"flow", "nav", "risk_level", "daily_var", "liquidation_probability"}),
    }
)
"""Columns a table may lack; every other column of `SCHEMAS` must be there."""

RUN_TABLES = (
    "fills",
    "orders",
    "funding",
    "liquidations",
    "cash_flows",
    "equity",
    "positions",
    "targets",
    "reasons",
)
"""Tables the engine supplies; `trades` is derived from them."""

_CONTRACT = (
    "start end bars symbols capital final_equity total_return annual_return annual_volatility sharpe "
    "sharpe_ci_low sharpe_ci_high sortino calmar max_drawdown max_drawdown_days win_rate profit_factor "
    "expectancy benchmark_return alpha beta deposits insurance var_95_daily es_95_daily ruin_probability "
    "liquidation_probability_24h liquidations trades turnover_annual fees funding liquidation_fees "
    "slippage_cost gross_pnl fill_rate post_only_success mean_slippage_bps psr dsr trials "
    "min_track_record_days"
)
_FURTHER = (
    "shortfall_cost shortfall_bps shortfall_delay_bps shortfall_spread_bps shortfall_impact_bps "
    "shortfall_missed_bps shortfall_fees_bps adverse_selection_bps adverse_selection_1h_bps"
)
CONTRACT_KEYS = tuple(_CONTRACT.split())
"""Keys of `metrics.json` in the order of the contract (DESIGN.md 6)."""
METRIC_KEYS = (*CONTRACT_KEYS, *_FURTHER.split())
"""All keys of `metrics.json`, those of the contract first."""


class Recorded(Protocol):
    """What a finished run and a results folder that was read back both know of it."""

    @property
    def interval(self) -> str:
        """The decision interval."""
        ...

    @property
    def execution_interval(self) -> str:
        """The interval of the execution bars."""
        ...

    @property
    def capital(self) -> float:
        """Equity before the first row, USDT."""
        ...

    @property
    def tables(self) -> Mapping[str, pd.DataFrame]:
        """The tables of `RUN_TABLES`."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the data and the model, as far as they were kept."""
        ...


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything a finished backtest knows, before anything is derived from it.

    Parameters
    ----------
    bars : Bars
        Execution grid, with the warm-up rows that were not traded.
    interval : str
        Decision interval, such as ``"4h"``; a whole multiple of the bars' own.
    capital : float
        Equity before the first row, USDT, > 0.
    tables : mapping of str to DataFrame
        The tables of `RUN_TABLES` with the columns of `SCHEMAS`, sorted by `ts`; time columns are UTC microseconds.
        ``targets`` is a wide panel of weights with a ``ts`` index. ``equity`` has one row per decision and a closing
        row at the last bar.
    notes : tuple of str
        Sentences about the data and about what the model leaves out.
    quality : mapping of str to float
        Shares in [0, 1], such as ``assumed_funding_share`` and ``fallback_mark_share``.
    config_yaml : str
        The resolved settings.
    manifest : mapping of str to Any
        Versions, commit, fingerprint of the data, seeds; must be writable as JSON.
    rules : Rules or None
        The exchange's rules by symbol of `bars`, from which the liquidation probability follows; without them it is
        unknown.
    signals : Signals or None
        What the signal plane said at each decision, and of what that was made.
    variants : int or None
        How many variants of the strategies were looked at, as their files declare.
    trials : TrialCount or None
        How many trials it is the best of, from the ledger (`counting.counted`); None: only `variants` are known.

    Raises
    ------
    ValueError
        If `capital` is not positive.
    SchemaMismatch
        If a table or one of its columns is missing, or `equity` has no row.
    """

    bars: Bars = field(repr=False)
    interval: str
    capital: float
    tables: Mapping[str, pd.DataFrame] = field(repr=False)
    notes: tuple[str, ...]
    quality: Mapping[str, float]
    config_yaml: str = field(repr=False)
    manifest: Mapping[str, Any] = field(repr=False)
    rules: Rules | None = field(default=None, repr=False)
    signals: Signals | None = field(default=None, repr=False)
    variants: int | None = None
    trials: TrialCount | None = None

    def __post_init__(self) -> None:
        if not self.capital > 0.0:
            raise ValueError(f"capital must be > 0, was {self.capital}")
        for name in RUN_TABLES:
            if name not in self.tables:
                raise SchemaMismatch(f"a run must have the table {name}, had {sorted(self.tables)}")
            if name != "targets":
                check_columns(self.tables[name], name)
        if self.tables["equity"].empty:
            raise SchemaMismatch("table equity must have at least one row")

    @property
    def execution_interval(self) -> str:
        """The interval of the execution bars."""
        return self.bars.interval


def check_columns(table: pd.DataFrame, name: str) -> None:
    """Refuse a table that lacks a column of its schema or has one too many.

    Parameters
    ----------
    table : DataFrame
        Any table of a results folder but ``targets``.
    name : str
        Its key in `SCHEMAS`.

    Raises
    ------
    SchemaMismatch
        Naming the missing and the unknown columns.
    """
    wanted = set(SCHEMAS[name].names)
    missing = sorted(wanted - OPTIONAL_COLUMNS.get(name, frozenset()) - set(table.columns))
    unknown = sorted(set(table.columns) - wanted)
    if missing or unknown:
        raise SchemaMismatch(
            f"table {name} must have the columns of its schema, missing {missing}, unknown {unknown}"
        )
