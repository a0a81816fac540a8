"""The tearsheet: one self-contained page that says what a run earned, what it cost and how far to believe it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from importlib import util
from pathlib import Path
from string import Template
from typing import Any, TypeAlias

import pandas as pd

from quantcore import plots
from quantcore.backtest.attribution import daily_profit, profit_by_symbol
from quantcore.backtest.curves import curves
from quantcore.backtest.outlook import Outlook, outlook
from quantcore.backtest.result import Run
from quantcore.backtest.sections.belief import data_notes, interventions, limits, scores
from quantcore.backtest.sections.believe import believe
from quantcore.backtest.sections.execution import execution
from quantcore.backtest.sections.guard import guard
from quantcore.backtest.sections.money import equity, risk, symbols
from quantcore.backtest.sections.opening import header, headline, nothing
from quantcore.backtest.sections.returns import bad_days, distribution, months
from quantcore.backtest.sections.signals import sources
from quantcore.backtest.sections.story import Section, Story
from quantcore.backtest.sections.trading import trading, trips
from quantcore.backtest.verdict import findings
from quantcore.errors import DataGap

_Builders: TypeAlias = tuple[Callable[[Story], Section], ...]
_OPENING: _Builders = (header, headline)
_RESULTS: _Builders = (
    equity,
    believe,
    sources,
    risk,
    guard,
    symbols,
    trips,
    months,
    distribution,
    trading,
    execution,
    bad_days,
)
_BELIEF: _Builders = (interventions, data_notes, scores, limits)
_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Page:
    """A finished page before it is put into the frame: the HTML of its sections and its figures by name."""

    body: str
    figures: Mapping[str, plots.Spec]


def tearsheet(
    run: Run,
    *,
    metrics: Mapping[str, Any],
    trades: pd.DataFrame,
    experiment: str,
    ahead: Outlook | None = None,
) -> str:
    """Return the report of a run as one HTML page that needs no network.

    Parameters
    ----------
    run : Run
        The finished run.
    metrics : mapping of str to Any
        What `compute_metrics` gave.
    trades : DataFrame
        Its round trips.
    experiment : str
        For the title.
    ahead : Outlook or None
        What `outlook` says of the run, where that is known already.

    Returns
    -------
    str
        HTML with plotly's script, the figures and both palettes inside. The same run gives the same text.

    Raises
    ------
    DataGap
        If plotly's script cannot be found.
    """
    page = compose(run, metrics=metrics, trades=trades, experiment=experiment, ahead=ahead)
    return frame(f"{experiment} · backtest", page.body, page.figures)


def frame(title: str, body: str, figures: Mapping[str, plots.Spec]) -> str:
    """Return a self-contained page: HTML that needs no network, light or dark as the reader's system is.

    Parameters
    ----------
    title : str
        Plain text, for the browser's tab.
    body : str
        HTML of the sections (`quantcore.backtest.markup`); a figure is drawn where `markup.chart` left room for its
        name.
    figures : mapping of str to Spec
        What plotly draws, by name; colours are tokens of `plots.PALETTES`. No number in them may be NaN or infinite.

    Returns
    -------
    str
        HTML with plotly's script, the figures and both palettes inside. The same arguments give the same text.

    Raises
    ------
    DataGap
        If plotly's script cannot be found.
    ValueError
        If a figure holds a number that JSON has no word for.

    Examples
    --------
    >>> page = frame("Profit & loss", "<p>Nothing was traded.</p>", {})
    >>> "<title>Profit &amp; loss</title>" in page and "<p>Nothing was traded.</p>" in page
    True
    """
    return Template(_template("tearsheet.html")).substitute(
        title=escape(title),
        colours=_colours(),
        style=_template("tearsheet.css"),
        body=body,
        plotly=_plotly_script(),
        figures=_embedded(figures),
        palettes=_embedded({name: dict(palette) for name, palette in plots.PALETTES.items()}),
        script=_template("tearsheet.js"),
    )


def compose(
    run: Run,
    *,
    metrics: Mapping[str, Any],
    trades: pd.DataFrame,
    experiment: str,
    ahead: Outlook | None = None,
) -> Page:
    """Return the sections and figures of a run's report; arguments as in `tearsheet`."""
    curve = curves(run)
    story = Story(
        run=run,
        experiment=experiment,
        found=findings(run, metrics, curve),
        trades=trades,
        curve=curve,
        by_symbol=profit_by_symbol(run),
        by_day=daily_profit(run, curve),
        outlook=outlook(run, curve) if ahead is None else ahead,
    )
    parts, figures = [], {}
    results = _RESULTS if story.found.traded else (nothing,)
    for build in (*_OPENING, *results, *_BELIEF):
        html, drawn = build(story)
        parts.append(html)
        figures.update(drawn)
    return Page("\n".join(parts), figures)


def _colours() -> str:
    light, dark = (
        "".join(f"--{token}:{colour};" for token, colour in plots.PALETTES[theme].items())
        for theme in ("light", "dark")
    )
    return f":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root{{{dark}}}}}"


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


def _plotly_script() -> str:
    spec = util.find_spec("plotly")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    for folder in folders:
        path = Path(folder) / "package_data" / "plotly.min.js"
        if path.exists():
            return path.read_text("utf-8")
    raise DataGap("the report needs plotly's package_data/plotly.min.js, which is not installed")


def _embedded(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
