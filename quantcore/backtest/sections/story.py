"""What the sections of the tearsheet tell: a run and everything derived from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from quantcore import plots
from quantcore.backtest.curves import Curves
from quantcore.backtest.outlook import Outlook
from quantcore.backtest.result import Run
from quantcore.backtest.verdict import Findings
from quantcore.timegrid import to_index
from quantcore.types import FloatArray, Panel

SHORT_DAYS = 92
"""Span in days up to which returns and turnover are told by day instead of by month."""

Section: TypeAlias = tuple[str, dict[str, plots.Spec]]


@dataclass(frozen=True, kw_only=True)
class Story:
    """A finished run and what the sections need of it.

    Parameters
    ----------
    run : Run
        The finished run.
    experiment : str
        Its name.
    found : Findings
        Metrics, scorecard and verdict.
    trades : DataFrame
        Round trips.
    curve : Curves
        Equity, drawdown, benchmark and daily returns.
    by_symbol : DataFrame
        What `attribution.profit_by_symbol` gave.
    by_day : Panel, shape (n_days, n_symbols)
        What `attribution.daily_profit` gave.
    outlook : Outlook
        What the record says of its future.
    """

    run: Run
    experiment: str
    found: Findings
    trades: pd.DataFrame
    curve: Curves
    by_symbol: pd.DataFrame
    by_day: Panel
    outlook: Outlook

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The metrics that may be shown."""
        return self.found.metrics

    @property
    def index(self) -> pd.DatetimeIndex:
        """Stamps of the equity rows."""
        return to_index(self.curve.ts_us)

    @property
    def short(self) -> bool:
        """Whether days tell more than months."""
        return self.curve.days <= SHORT_DAYS

    def column(self, name: str) -> FloatArray:
        """Return a column of the equity table."""
        return self.run.tables["equity"][name].to_numpy(np.float64)


def records(table: pd.DataFrame) -> Iterable[Any]:
    """Return rows with their columns as attributes; what a cell holds is known only at run time."""
    return table.itertuples()
