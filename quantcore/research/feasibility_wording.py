"""How what `feasibility` found is put into words and numbers, alike in the printed tables and on the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import pandas as pd

from quantcore.backtest.markup import MISSING, TIMES, known, percent, ratio

Summary: TypeAlias = Mapping[str, Any]
Tables: TypeAlias = Mapping[str, pd.DataFrame]

_VERDICTS = {"feasible": "feasible as a portfolio", "not_feasible": "not feasible as a portfolio"}


def verdict_told(summary: Summary) -> str:
    """Return the verdict and why, after the experiment's name."""
    return f"{summary['experiment']}: {_VERDICTS[summary['verdict']]}. {summary['reason']}"


def usdt(value: float) -> str:
    """Return an amount with its unit."""
    return f"{value:,.12g} USDT"


def capital_name(row: Mapping[str, Any]) -> str:
    """Return a row's capital in USDT without the unit, or its name where it is unlimited."""
    return f"{row['capital']:,.12g}" if math.isfinite(row["capital"]) else str(row["name"])


def times(value: float | None) -> str:
    """Return a multiple; a dash where there is none."""
    return f"{ratio(value, decimals=1)}{TIMES}" if known(value) else MISSING


def position_range(row: Mapping[str, Any]) -> str:
    """Return the median number of positions, and the least and the most."""
    return f"{row['positions_median']:g} ({row['positions_min']:g}–{row['positions_max']:g})"


def from_capital(value: float | None) -> str:
    """Return the whole USDT from which something is possible; a dash where no capital is enough."""
    return f"{math.ceil(value):,}" if value is not None and math.isfinite(value) else MISSING


def rough(value: float) -> str:
    """Return a fraction as whole per cent."""
    return f"{100.0 * value:.0f} %"


def fine(value: float | None) -> str:
    """Return a fraction as per cent with three decimals, for errors that differ little; a dash where there is none."""
    return percent(value, decimals=3) if known(value) else MISSING


def count(value: float | None) -> str:
    """Return a count that may be a median; a dash where there is none."""
    return f"{value:g}" if value is not None and math.isfinite(value) else MISSING


def records(values: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows by column name."""
    return [{str(k): v for k, v in row.items()} for row in values.to_dict("records")]


def refusal_rules(capitals: pd.DataFrame) -> list[str]:
    """Return the rules of `capital_table` by which anything was refused or cut."""
    return [str(c).removeprefix("refused_") for c in capitals if str(c).startswith("refused_")]
