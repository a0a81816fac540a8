"""A finished sweep as a notebook sees it: its table, the set to take, what the best is worth, a figure and a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from quantcore import plots
from quantcore.backtest.markup import percent, plural, ratio, whole
from quantcore.backtest.page import Page
from quantcore.errors import ConfigError, DataGap
from quantcore.overrides import told
from quantcore.research import sweep_figures as figures
from quantcore.research.chosen import ChosenSet
from quantcore.research.outcomes import Outcomes
from quantcore.research.sets import Sets
from quantcore.research.shown import page_of, verdict_card
from quantcore.research.sweep_axes import short_names
from quantcore.research.sweep_report import page
from quantcore.research.sweep_result import Swept
from quantcore.research.sweep_wording import Verdict, verdict
from quantcore.timegrid import to_index

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAP, DISTRIBUTION = "map", "distribution"


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """A finished sweep.

    Tables are handed out as copies, so that nothing which is done to them changes the sweep.

    Parameters
    ----------
    name : str
        The experiment.
    sets : Sets
        What was tried.
    outcomes : Outcomes
        What every set came to.
    swept : Swept
        What they are worth together.
    """

    name: str
    sets: Sets = field(repr=False)
    outcomes: Outcomes = field(repr=False)
    swept: Swept = field(repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """One row per set: parameters by override path, metrics by the keys of `metrics.json`, why it was refused."""
        return self.swept.table.copy(deep=False)

    @property
    def best(self) -> ChosenSet | None:
        """The set with the highest Sharpe ratio, which luck chose as well; None where no set traded."""
        return self._chosen("best")

    @property
    def rather(self) -> ChosenSet | None:
        """The set rather to take: the centre of the best plateau; None where no set traded."""
        return self._chosen("rather")

    @property
    def summary(self) -> dict[str, Any]:
        """The keys of `summary.json`."""
        return dict(self.swept.summary)

    @property
    def daily_returns(self) -> pd.DataFrame:
        """Daily UTC returns as fractions, a column per set by its number in `table`; NaN where it was refused."""
        days = to_index(self.outcomes.days_us)
        return pd.DataFrame(self.outcomes.daily.copy(), index=days, columns=self.table.index)

    @property
    def luck(self) -> float:
        """The annual Sharpe ratio that as many independent trials without skill would be expected to show as best."""
        return self.swept.found.luck

    @cached_property
    def _verdict(self) -> Verdict:
        swept = self.swept
        return verdict(swept.found, swept.facts, swept.table, self.sets.paths)

    @property
    def verdict(self) -> str:
        """What the best set is worth."""
        return self._verdict.headline

    def plot(self, kind: str = MAP, *, theme: str = "neutral") -> Figure:
        """Return the main figure.

        Parameters
        ----------
        kind : str
            ``"map"``: Sharpe ratio over the two parameters that tell most (over the only one as a line);
            ``"distribution"``: those of all sets, with what luck alone would show.
        theme : str
            ``"neutral"`` reads on light and dark pages; ``"light"`` and ``"dark"`` are those of the report.

        Raises
        ------
        ConfigError
            If there is no such figure.
        DataGap
            If no set has a Sharpe ratio.
        """
        found = self.swept.found
        if kind not in (MAP, DISTRIBUTION):
            raise told(ConfigError(f"kind must be one of {MAP}, {DISTRIBUTION}, was {kind!r}"))
        if found.peak is None:
            raise told(DataGap("a figure must have a set with a Sharpe ratio, there is none"))
        if kind == DISTRIBUTION or not found.axes:
            spec = figures.distribution_figure(found.values, best=found.peak.value, luck=found.luck)
            return plots.figure(spec, theme=theme)
        names = short_names(self.sets.paths)
        if len(found.axes) == 1:
            (axis,) = found.axes
            spec = figures.line_figure(axis, found.values, names[axis.path], found.peak)
            return plots.figure(spec, theme=theme)
        i, j = next(iter(found.importance.pair_order())) if found.importance else (0, 1)
        across, down = sorted((found.axes[i], found.axes[j]), key=lambda axis: -len(axis.labels))
        cells = figures.surface(across, down, found.values)
        height = min(max(130 + 30 * len(down.labels), 260), 620)
        spec = figures.heat_figure(cells, names, found.peak, height=height, legend=True)
        return plots.figure(spec, theme=theme)

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
        swept = self.swept
        return page(swept.table, self.sets.paths, swept.facts, swept.found)

    def __repr__(self) -> str:
        return f"{self.name}: {self._aside}. {self.verdict}"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return verdict_card(
            f"{self.name} · sweep",
            self._aside,
            self.verdict,
            self._headline() if self.swept.found.peak else [],
            [" ".join(self._verdict.sentences)] if self._verdict.sentences else [],
        )

    @property
    def _aside(self) -> str:
        facts = self.swept.facts
        span = f" · {facts.start} to {facts.end}" if facts.start else ""
        symbols = plural(facts.symbols, "symbol")
        return f"{plural(len(self.sets), 'set')}, {facts.sampling}{span} · {symbols}"

    def _headline(self) -> list[tuple[str, str, str]]:
        facts, found = self.swept.facts, self.swept.found
        peak = found.peak
        assert peak is not None  # asked by the caller
        around = f"median of its {peak.around}" if peak.around else "none with a value"
        trials = f"best of {facts.trials:,.0f} trials" if facts.trials > 1.0 else "trials unknown"
        count = self.swept.summary["refused"]
        refused = [("Refused", whole(count), f"of {whole(len(self.sets))} sets")] if count else []
        return [
            ("Best Sharpe ratio", ratio(peak.value), f"median of all {ratio(peak.median)}"),
            ("Luck alone", ratio(found.luck), trials),
            ("Deflated Sharpe", percent(facts.deflated_sharpe), "above that luck"),
            ("PBO", percent(facts.overfitting_probability), "½ is drawing lots"),
            ("Neighbours", ratio(peak.around_median), around),
            *refused,
        ]

    def _chosen(self, key: str) -> ChosenSet | None:
        one: Mapping[str, Any] | None = self.swept.summary[key]
        if one is None:
            return None
        return ChosenSet(self.sets.row(one["set"]), number=one["set"], metrics=one["metrics"])
