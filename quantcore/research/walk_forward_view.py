"""A finished walk-forward as a notebook sees it: the joined account, its folds, what choosing is worth, a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from quantcore import plots
from quantcore.backtest.markup import day, percent, plural, ratio, share
from quantcore.backtest.page import Page
from quantcore.backtest.view import NewRun
from quantcore.errors import ConfigError
from quantcore.overrides import told
from quantcore.research import walk_forward_figures as figures
from quantcore.research.shown import page_of, verdict_card
from quantcore.research.walk_forward_report import page
from quantcore.research.walk_forward_result import WalkedForward, summary_of, tables_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FIGURES: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, pd.DataFrame]], plots.Spec]] = {
    "curve": lambda s, t: figures.curve_figure(t["curves"], t["folds"]),
    "folds": lambda s, t: figures.fold_figure(t["folds"]),
    "degradation": lambda s, t: figures.degradation_figure(t["overfitting"], s["degradation"]),
    "ranks": lambda s, t: figures.rank_figure(t["overfitting"]),
    "cross_validation": lambda s, t: figures.crossed_figure(s, t["paths"], t["splits"]),
}
"""The figures of the page by their names."""


@dataclass(frozen=True, eq=False, repr=False)
class WalkForward:
    """A finished walk-forward.

    Tables are handed out as copies, so that nothing which is done to them changes it.

    Parameters
    ----------
    name : str
        The experiment.
    walked : WalkedForward
        What was found.
    run : NewRun
        The joined account: each test traded with what was chosen before it.
    own : NewRun
        The experiment's own settings over the same days.
    seconds : float
        How long it took.
    """

    name: str
    walked: WalkedForward = field(repr=False)
    run: NewRun
    own: NewRun
    seconds: float

    @cached_property
    def _summary(self) -> Mapping[str, Any]:
        return summary_of(self.walked, self.run.metrics, experiment=self.name, seconds=self.seconds)

    @cached_property
    def _tables(self) -> dict[str, pd.DataFrame]:
        return tables_of(self.walked)

    @property
    def summary(self) -> dict[str, Any]:
        """The keys of `summary.json`."""
        return dict(self._summary)

    @property
    def folds(self) -> pd.DataFrame:
        """One row per test: its days, what was chosen, what that promised in training and brought in the test."""
        return self._table("folds")

    @property
    def sets(self) -> pd.DataFrame:
        """One row per parameter set: what it came to over the whole record, and how often it was chosen."""
        return self._table("sets")

    @property
    def paths(self) -> pd.DataFrame:
        """One row per record of combinatorial purged cross-validation, with its annual Sharpe ratio."""
        return self._table("paths")

    @property
    def splits(self) -> pd.DataFrame:
        """One row per split of cross-validation: the set chosen, its Sharpe ratio in training and in its test."""
        return self._table("splits")

    @property
    def overfitting(self) -> pd.DataFrame:
        """One row per half of the record (PBO): the best set's Sharpe ratio in it, in the other half, and its rank."""
        return self._table("overfitting")

    @property
    def daily_returns(self) -> pd.DataFrame:
        """Daily UTC returns of every set as fractions; the joined account's are `run.daily_returns`."""
        return self._table("returns")

    def _table(self, name: str) -> pd.DataFrame:
        return self._tables[name].copy(deep=False)

    @property
    def verdict(self) -> str:
        """Whether it holds out of sample."""
        return str(self._summary["sentences"][0])

    def plot(self, kind: str = "curve", *, theme: str = "neutral") -> Figure:
        """Return a figure of the page.

        Parameters
        ----------
        kind : str
            ``"curve"``: the joined account beside the experiment as it stands; ``"folds"``: what was promised and
            what came; ``"degradation"`` and ``"ranks"``: the best of each half of the record in the other half;
            ``"cross_validation"``: its records and splits.
        theme : str
            ``"neutral"`` reads on light and dark pages; ``"light"`` and ``"dark"`` are those of the report.

        Raises
        ------
        ConfigError
            If there is no such figure.
        """
        if kind not in FIGURES:
            raise told(ConfigError(f"kind must be one of {', '.join(FIGURES)}, was {kind!r}"))
        return plots.figure(FIGURES[kind](self._summary, self._tables), theme=theme)

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
        return page(self._summary, self._tables)

    def __repr__(self) -> str:
        return f"{self.name}: {self._aside}. {self.verdict}"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        sentences = self._summary["sentences"]
        title = f"{self.name} · walk-forward"
        return verdict_card(title, self._aside, sentences[0], self._headline(), sentences[1:])

    @property
    def _aside(self) -> str:
        s = self._summary
        return (
            f"{plural(len(s['folds']), 'test')} from {day(s['start'])} to {day(s['end'])} · "
            f"{plural(s['sets'], 'parameter set')} · {s['train_days']:,} days of training, {s['scheme']} · "
            f"{plural(s['purge_days'], 'day')} purged"
        )

    def _headline(self) -> list[tuple[str, str, str]]:
        s = self._summary
        crossed = s["cross_validation"]
        spread = f"95 %: {ratio(s['sharpe_oos_low'])} to {ratio(s['sharpe_oos_high'])}"
        luck = f"{percent(s['dsr'], decimals=0)} above luck"
        return [
            ("Promised in training", ratio(s["sharpe_promised"]), "mean of the choices"),
            ("Sharpe out of sample", ratio(s["sharpe_oos"]), spread),
            ("Above zero", percent(s["psr"], decimals=0), luck),
            ("Return out of sample", share(s["total_return_oos"], signed=True), "joined account"),
            (
                "Cross-validated",
                ratio(crossed["sharpe"]["q50"]),
                f"median of {plural(crossed['paths'], 'record')}",
            ),
            ("PBO", percent(s["pbo"], decimals=0), "½ is drawing lots"),
        ]
