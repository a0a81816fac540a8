"""What a notebook shows of a run: a card with its headline numbers, and its metrics as a table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from quantcore.backtest.markup import (
    MISSING,
    day,
    known,
    money,
    percent,
    plural,
    ratio,
    share,
    whole,
)
from quantcore.backtest.result import Recorded
from quantcore.backtest.verdict import Findings
from quantcore.cards import card, groups, paragraph, tiles

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Result": (
            "start",
            "end",
            "bars",
            "symbols",
            "capital",
            "deposits",
            "final_equity",
            "total_return",
            "annual_return",
            "annual_volatility",
            "benchmark_return",
            "alpha",
            "beta",
        ),
        "Belief": (
            "sharpe",
            "sharpe_ci_low",
            "sharpe_ci_high",
            "sortino",
            "calmar",
            "psr",
            "dsr",
            "trials",
            "min_track_record_days",
        ),
        "Risk": (
            "max_drawdown",
            "max_drawdown_days",
            "var_95_daily",
            "es_95_daily",
            "ruin_probability",
            "liquidation_probability_24h",
            "liquidations",
        ),
        "Trading": (
            "trades",
            "win_rate",
            "profit_factor",
            "expectancy",
            "turnover_annual",
            "fill_rate",
            "post_only_success",
            "mean_slippage_bps",
        ),
        "Costs, USDT": (
            "gross_pnl",
            "fees",
            "funding",
            "slippage_cost",
            "liquidation_fees",
            "insurance",
        ),
    }
)
"""Keys of `metrics.json` by what they tell; the others come under "Further"."""

_SHARES = frozenset(
    {
        *("total_return", "annual_return", "annual_volatility", "benchmark_return", "alpha"),
        *("max_drawdown", "var_95_daily", "es_95_daily", "ruin_probability", "win_rate"),
        *("liquidation_probability_24h", "fill_rate", "post_only_success", "psr", "dsr"),
    }
)
_SIGNED = frozenset({"total_return", "annual_return", "benchmark_return", "alpha"})
_MONEY = frozenset(
    {
        *("capital", "final_equity", "expectancy", "deposits", "insurance", "fees", "funding"),
        *("liquidation_fees", "slippage_cost", "gross_pnl", "shortfall_cost"),
    }
)
_COUNTS = frozenset(
    {
        *("bars", "symbols", "max_drawdown_days", "liquidations", "trades", "trials"),
        "min_track_record_days",
    }
)


class Metrics(dict[str, Any]):
    """The metrics of a run by the keys of `metrics.json`: fractions, USDT, None where a value is unknown.

    A plain dictionary in every way, so that ``pandas.DataFrame({name: run.metrics})`` compares runs; in a notebook it
    shows itself as a table with units.
    """

    def __repr__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(f"{key:<{width}}  {metric_text(key, v)}" for key, v in self.items())

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        grouped = {key for keys in GROUPS.values() for key in keys}
        told = {**GROUPS, "Further": tuple(key for key in self if key not in grouped)}
        parts = [
            (heading, [(key, metric_text(key, self[key])) for key in keys if key in self])
            for heading, keys in told.items()
        ]
        return card("Metrics", "by their keys", groups([part for part in parts if part[1]]))


def metric_text(key: str, value: Any) -> str:
    """Return a value of `metrics.json` as people read it, by its key; a dash where it is unknown.

    Examples
    --------
    >>> metric_text("total_return", 0.0123), metric_text("fees", 12.3456), metric_text("trades", 1234)
    ('+1.2 %', '12.35', '1,234')
    """
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value[:16].replace("T", " ")
    if key in _SHARES:
        return percent(value, signed=True) if key in _SIGNED else share(value)
    if key in _MONEY:
        return money(value)
    if key.endswith("_bps"):
        return f"{ratio(value)} bps"
    return whole(value) if key in _COUNTS else ratio(value)


def run_card(name: str, run: Recorded, found: Findings) -> str:
    """Return the card of a run: what was run, its headline numbers, and how far they can be believed."""
    m = found.metrics
    aside = (
        f"{day(m['start'])} to {day(m['end'])} · {plural(m['symbols'], 'symbol')} · {run.interval} decisions · "
        f"{run.execution_interval} execution bars"
    )
    return card(name, aside, tiles(_headline(found)), paragraph(found.verdict))


def _headline(found: Findings) -> list[tuple[str, str, str]]:
    m = found.metrics
    paid = sum(m[key] for key in ("fees", "funding", "liquidation_fees"))
    low, high = m["sharpe_ci_low"], m["sharpe_ci_high"]
    interval = f"95 %: {ratio(low)} to {ratio(high)}" if known(low) and known(high) else ""
    gained = f"{percent(m['win_rate'])} gained"
    spread = f"volatility {share(m['annual_volatility'])}"
    held = f"{found.benchmark} {percent(m['benchmark_return'], signed=True)}"
    trials = "trials unknown" if m["trials"] is None else f"best of {plural(m['trials'], 'trial')}"
    return [
        ("Total return", share(m["total_return"], signed=True), held if found.benchmark else ""),
        ("Sharpe ratio", ratio(m["sharpe"]), interval),
        ("Deflated Sharpe", percent(m["dsr"]) if known(m["dsr"]) else MISSING, trials),
        (
            "Maximum drawdown",
            share(m["max_drawdown"]),
            spread if known(m["annual_volatility"]) else "",
        ),
        ("Final equity", money(m["final_equity"]), f"from {money(m['capital'])} USDT"),
        ("Costs paid", money(paid), f"and {money(m['slippage_cost'])} slippage"),
        ("Round trips", whole(m["trades"]), gained if known(m["win_rate"]) else ""),
    ]
