"""A comparison of runs as a notebook sees it: its verdicts, tables, figures and page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from quantcore import plots
from quantcore.backtest.markup import MISSING, day, known, percent, plural, ratio, share
from quantcore.backtest.page import Page
from quantcore.cards import card, groups, paragraph
from quantcore.errors import ConfigError
from quantcore.overrides import told
from quantcore.research import compare_figures as figures
from quantcore.research.compare_metrics import COMMON
from quantcore.research.compare_report import page
from quantcore.research.comparison import Comparison
from quantcore.research.shown import page_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FIGURES: Mapping[str, Callable[[Comparison], plots.Spec]] = {
    "equity": figures.equity_figure,
    "ratio": figures.ratio_figure,
    "intervals": figures.intervals_figure,
    "parts": figures.parts_figure,
    "symbols": figures.symbols_figure,
}
"""The figures of the page by their names."""

_SHOWN = (
    ("sharpe", "Sharpe ratio", ratio),
    ("total_return", "Return", lambda value: share(value, signed=True)),
    ("annual_volatility", "Volatility a year", share),
    ("max_drawdown", "Maximum drawdown", percent),
)


@dataclass(frozen=True, eq=False, repr=False)
class ComparedRuns:
    """Runs side by side; they go by letters, the first is A, the base.

    Parameters
    ----------
    found : Comparison
        What the comparison found.
    """

    found: Comparison

    @property
    def summary(self) -> dict[str, Any]:
        """The keys of `summary.json`."""
        return dict(self.found.summary)

    @property
    def verdicts(self) -> list[str]:
        """A sentence for each run but the base."""
        return self.found.verdicts

    @property
    def metrics(self) -> pd.DataFrame:
        """``metric basis best`` and a column per run; ``best`` names the run that stands out beyond luck."""
        return self.found.metrics.copy(deep=False)

    @property
    def settings(self) -> pd.DataFrame:
        """The settings that differ: ``key`` and a column per run."""
        return self.found.settings.copy(deep=False)

    @property
    def differences(self) -> pd.DataFrame:
        """Paired tests of all runs."""
        return self.found.differences.copy(deep=False)

    @property
    def symbols(self) -> pd.DataFrame:
        """What each symbol earned in each run, USDT."""
        return self.found.symbols.copy(deep=False)

    @property
    def daily_returns(self) -> pd.DataFrame:
        """Daily returns that all runs have, as fractions."""
        return self.found.returns.copy(deep=False)

    def plot(self, kind: str = "equity", *, theme: str = "neutral") -> Figure:
        """Return a figure of the page.

        Parameters
        ----------
        kind : str
            ``"equity"``: all runs from the common opening on; ``"ratio"``: each over the base; ``"intervals"``: of the
            differences; ``"parts"`` and ``"symbols"``: where the difference of profit came from.
        theme : str
            ``"neutral"`` reads on light and dark pages; ``"light"`` and ``"dark"`` are those of the report.

        Raises
        ------
        ConfigError
            If there is no such figure.
        """
        if kind not in FIGURES:
            raise told(ConfigError(f"kind must be one of {', '.join(FIGURES)}, was {kind!r}"))
        return plots.figure(FIGURES[kind](self.found), theme=theme)

    def report(self, path: str | Path | None = None) -> Page:
        """Return the page that the command writes, which a notebook shows in a frame; write it where a path is given.

        Raises
        ------
        ConfigError
            If the path is a folder, or no file can be written there.
        """
        return page_of(self._page, path)

    @cached_property
    def _page(self) -> str:
        return page(self.found)

    def __repr__(self) -> str:
        return " ".join([f"{', '.join(self._names())}.", *self.verdicts])

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        s = self.found.summary
        aside = f"{day(s['start'])} to {day(s['end'])} · {plural(s['days'], 'day')}"
        told = [*self.verdicts, *s["warnings"]]
        return card(
            f"{plural(len(self.found.labels), 'run')} side by side", aside, *map(paragraph, told),
            groups((name, self._numbers(label)) for label, name in zip(self.found.labels, self._names(), strict=True)),
        )  # fmt: skip

    def _names(self) -> list[str]:
        return [f"{run['label']} · {run['name']}" for run in self.found.summary["runs"]]

    def _numbers(self, label: str) -> list[tuple[str, str]]:
        table = self.found.metrics
        column = table[table["basis"] == COMMON].set_index("metric")[label]
        return [
            (name, text(column[key]) if known(column[key]) else MISSING)
            for key, name, text in _SHOWN
            if key in column.index
        ]
