"""A finished sweep as a page: from its table and a few facts alone, in the tearsheet's frame."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

import numpy as np
import pandas as pd

from quantcore import plots
from quantcore.backtest.markup import (
    chart,
    listed,
    money,
    pair,
    percent,
    plural,
    ratio,
    section,
    sentence,
    share,
    table,
    tile,
    tiles,
    toned,
    whole,
)
from quantcore.backtest.tearsheet import frame
from quantcore.research import sweep_figures as figures
from quantcore.research.sweep_axes import short_names
from quantcore.research.sweep_findings import PLATEAU, Findings, Peak
from quantcore.research.sweep_lines import LINES_MAX, parallel_figure
from quantcore.research.sweep_wording import (
    SweepFacts,
    Verdict,
    refusals,
    value_text,
    verdict,
)

Part: TypeAlias = tuple[str, dict[str, plots.Spec]]
TOP = 20
"""Sets in the table of the best."""
SMALL_MAPS = 6
"""Further pairs of parameters with a heat map of their own."""
TELLING = 0.01
"""Share of the variance from which a further pair is drawn."""
EFFECTS = 6
"""Parameters whose effect is drawn."""
_LINES_STYLE = (
    "<style>#parallel .domain, #parallel .tick line { stroke: var(--muted) !important; }</style>"
)
"""Plotly draws the axes of parallel coordinates in black whatever the theme."""
LINES_OF_PARAMETERS = 8
"""Parameters among the parallel coordinates."""


def _signed_share(value: float) -> str:
    return toned(share(value, signed=True), value)


METRICS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("sharpe", "Sharpe", lambda v: toned(ratio(v), v)),
    ("sharpe_ci_low", "at least (95 %)", lambda v: toned(ratio(v), v)),
    ("total_return", "Return", _signed_share),
    ("annual_return", "a year", _signed_share),
    ("annual_volatility", "Volatility", share),
    ("max_drawdown", "Drawdown", share),
    ("calmar", "Calmar", ratio),
    ("trades", "Trades", whole),
    ("turnover_annual", "Turnover a year", lambda v: f"{ratio(v, decimals=1)}\u00d7"),
    ("fees", "Fees", money),
    ("funding", "Funding", lambda v: money(v, signed=True)),
    ("liquidations", "Liquidations", whole),
    ("final_equity", "Final equity", money),
)
"""Columns of results with their heads and how they are written."""


@dataclass(frozen=True, kw_only=True)
class _Story:
    """What the sections are told from."""

    table: pd.DataFrame
    parameters: Sequence[str]
    facts: SweepFacts
    found: Findings
    said: Verdict

    @property
    def names(self) -> dict[str, str]:
        return short_names(self.parameters)


def page(sets: pd.DataFrame, parameters: Sequence[str], facts: SweepFacts, found: Findings) -> str:
    """Return the report of a sweep as one HTML page that needs no network.

    Parameters
    ----------
    sets : DataFrame
        One row per set: the parameters by override path, then results (those of `METRICS` that are there), NaN for
        sets that were refused; optionally ``refused``, why the settings refuse a set.
    parameters : sequence of str
        Override paths, names of columns.
    facts : SweepFacts
        What the table does not say.
    found : Findings
        What `sweep_findings.findings` says of the table.

    Returns
    -------
    str
        HTML in the tearsheet's frame. The same arguments give the same text.

    Raises
    ------
    DataGap
        If plotly's script cannot be found.
    """
    said = verdict(found, facts, sets, parameters)
    story = _Story(table=sets, parameters=parameters, facts=facts, found=found, said=said)
    parts, drawn = [_header(story)], {}
    built = _WITH_VALUES if found.peak else ()
    for build in (*built, _refused, _method):
        html, specs = build(story)
        parts.append(html)
        drawn.update(specs)
    return frame(f"{facts.experiment} \u00b7 sweep", "\n".join(parts), drawn)


def _header(story: _Story) -> str:
    facts = story.facts
    items = [
        ("", f"{facts.start} to {facts.end}" if facts.start else "no span"),
        (whole(len(story.table)), f"sets, {facts.sampling}"),
        (str(len(story.parameters)), "parameters" if len(story.parameters) > 1 else "parameter"),
        (whole(facts.symbols), "symbols" if facts.symbols != 1 else "symbol"),
        (_duration(facts.seconds), "of computing"),
    ]
    told = "".join(f"<li><b>{escape(b)}</b> {escape(t)}</li>" for b, t in items)
    bad = "" if story.said.good else " bad"
    return (
        '<header><p class="kicker">Sweep of parameter sets</p>'
        f'<h1>{escape(facts.experiment)}</h1><ul class="facts">{told}</ul>'
        f'<p class="verdict{bad}">{escape(story.said.headline)}</p></header>'
    )


def _headline(story: _Story) -> Part:
    facts, found, peak = story.facts, story.found, _peak(story)
    known = int((~np.isnan(found.values)).sum())
    kind = "adjacent" if peak.adjacent else "nearest"
    items = [
        tile("Best Sharpe", toned(ratio(peak.value), peak.value), _interval(story)),
        tile(
            "Luck alone",
            ratio(found.luck),
            f"expected best of {facts.trials:,.0f} trials without skill"
            if facts.trials > 1.0
            else "independent trials unknown",
        ),
        tile("Deflated Sharpe", percent(facts.deflated_sharpe), "chance of more than that luck"),
        tile("PBO", percent(facts.overfitting_probability), "chance of choosing below the median"),
        tile(
            "Neighbours",
            toned(ratio(peak.around_median), peak.around_median),
            f"median of {peak.around} {kind}" if peak.around else "none with a value",
        ),
        tile(
            "Kept by them",
            percent(peak.kept, decimals=0),
            f"of the best; a plateau from {percent(PLATEAU, decimals=0)}",
        ),
        tile(
            "Median set", toned(ratio(peak.median), peak.median), f"of {whole(known)} with a value"
        ),
        tile("Above zero", percent(float((found.values > 0.0).sum()) / known), "of these sets"),
    ]
    why = f"<h3>In words</h3>{listed(story.said.sentences)}" if story.said.sentences else ""
    return f"<div>{tiles(items)}{why}</div>", {}


def _choice(story: _Story) -> Part:
    """Return the best set and the plateau's centre side by side."""
    peak = _peak(story)
    chosen = [("Best", peak.best)]
    if peak.centre != peak.best:
        chosen.append(("Plateau\u2019s centre", peak.centre))
    rows = [story.table.iloc[row] for _, row in chosen]
    lines = [
        [escape(path), *(escape(value_text(row[path])) for row in rows)]
        for path in story.parameters
    ]
    shown = [(key, name, told) for key, name, told in METRICS if key in story.table]
    lines += [[escape(name), *(told(row[key]) for row in rows)] for key, name, told in shown]
    lead = (
        "The plateau\u2019s centre is the set whose neighbours, itself included, have the highest mean Sharpe ratio: "
        "it gives up a little of the best number for less dependence on luck."
    )
    body = table(["", *(name for name, _ in chosen)], lines)
    if len(chosen) == 1:
        return section("The best set", "", body), {}
    return section("Which set to take", lead, body), {}


def _distribution(story: _Story) -> Part:
    found, peak = story.found, _peak(story)
    if len(story.table) < 2:
        return "", {}
    lead = "Each set counted once. "
    if math.isfinite(found.luck):
        lead += (
            f"The dashed line at {ratio(found.luck)} is the best that {story.facts.trials:,.0f} independent trials "
            "without skill would be expected to show: only what lies beyond it says anything."
        )
    spec = figures.distribution_figure(found.values, best=peak.value, luck=found.luck)
    return section("All sets", lead, chart("distribution")), {"distribution": spec}


def _importance(story: _Story) -> Part:
    found = story.found
    measured = found.importance
    if len(found.axes) == 1:
        return "", {}
    if measured is None:
        why = "Importance is not measured: the sets are too few, all alike, or differ in nothing."
        return (
            (section("Which parameters matter", "", sentence(why)), {})
            if len(found.values) > 1
            else ("", {})
        )
    order = measured.order()
    axes = [found.axes[k] for k in order]
    names = [story.names[axis.path] for axis in axes]
    lead = (
        "Share of the differences in Sharpe ratio that each parameter explains, alone and together with one other: "
        "functional analysis of variance of a random forest (Hutter, Hoos and Leyton-Brown 2014). The forest explains "
        f"{percent(max(measured.predicted, 0.0), decimals=0)} of the variance of sets that it did not see; where that "
        "is little, so do the shares mean little."
    )
    specs = {
        "importance": figures.importance_figure(
            names, measured.main[order], measured.pairs.sum(axis=1)[order]
        )
    }
    items = []
    for k, name in list(zip(order, names, strict=True))[:EFFECTS]:
        specs[f"effect-{k}"] = figures.effect_figure(
            found.axes[k], measured.curves[k], found.values
        )
        items.append((name, chart(f"effect-{k}")))
    told = "The line is the mean over all values of the other parameters, the band holds the middle half of the sets."
    if len(axes) > EFFECTS:
        told += f" The {EFFECTS} most important of {len(axes)} are drawn."
    body = chart("importance") + f'<h3>Effect of each</h3><p class="lead">{told}</p>' + pair(*items)
    return section("Which parameters matter", lead, body), specs


def _maps(story: _Story) -> Part:
    found, peak = story.found, _peak(story)
    if not found.axes:
        return "", {}
    names = story.names
    if len(found.axes) == 1:
        (axis,) = found.axes
        spec = figures.line_figure(axis, found.values, names[axis.path], peak)
        lead = "One parameter differs between the sets."
        return section("The parameter", lead, chart("map")), {"map": spec}
    pairs, small = _pairs(found)
    specs, items = {}, []
    for rank, (i, j) in enumerate(pairs):
        across, down = sorted((found.axes[i], found.axes[j]), key=lambda a: -len(a.labels))
        cells = figures.surface(across, down, found.values)
        name = f"map-{rank}"
        height = int(np.clip(130 + 30 * len(down.labels), 260, 620 if rank == 0 else 300))
        specs[name] = figures.heat_figure(cells, names, peak, height=height, legend=rank == 0)
        items.append((f"{names[across.path]} and {names[down.path]}", chart(name)))
    lead = "Sharpe ratio by two parameters"
    lead += ", the median over all others" if len(found.axes) > 2 else ""
    lead += "; the two that tell most" if found.importance and len(found.axes) > 2 else ""
    lead += ". A good region is broad: what is good in a single cell is most likely luck."
    if any(axis.is_binned for axis in found.axes):
        lead += " Parameters with many values are shown in bins, each named by its middle."
    further = ""
    if len(items) > 1:
        further = f"<h3>Further pairs</h3>{pair(*items[1:])}"
    if small:
        further += (
            f'<p class="lead">Not drawn: {plural(small, "pair")} that tell little or nothing.</p>'
        )
    return section("Heat map", lead, items[0][1], further), specs


def _parallel(story: _Story) -> Part:
    found = story.found
    known = int((~np.isnan(found.values)).sum())
    if len(found.axes) < 2 or known < 2:
        return "", {}
    order = found.importance.order() if found.importance else list(range(len(found.axes)))
    axes = [found.axes[k] for k in order[:LINES_OF_PARAMETERS]]
    spec = parallel_figure(axes, story.names, story.table, found.values)
    lead = "Each line is a set, coloured by its Sharpe ratio; drag along an axis to keep only what passes there."
    lead += " Values stand evenly along an axis, whatever lies between them."
    if known > LINES_MAX:
        lead += f" Of {known:,} sets {LINES_MAX} are drawn, evenly over the ranks from the worst to the best."
    if len(found.axes) > LINES_OF_PARAMETERS:
        lead += f" The {LINES_OF_PARAMETERS} most important parameters are shown."
    width = 110 * (len(axes) + 3)
    wide = f'<div style="min-width:{min(width, 1020)}px">{chart("parallel")}</div>'
    body = f'{_LINES_STYLE}<div class="scroll">{wide}</div>'
    return section("Parallel coordinates", lead, body), {"parallel": spec}


def _top(story: _Story) -> Part:
    found, peak = story.found, _peak(story)
    ranked = np.argsort(-found.values, kind="stable")[: int((~np.isnan(found.values)).sum())]
    rows = ranked[:TOP].tolist()
    if len(story.table) < 2:
        return "", {}
    shown = [(key, name, told) for key, name, told in METRICS if key in story.table]
    differing = [axis.path for axis in found.axes]
    constant = [path for path in story.parameters if path not in differing]
    lines = []
    for place, row in enumerate(rows, 1):
        values = story.table.iloc[row]
        mark = (
            ' <span class="badge yes">centre</span>' if row == peak.centre and peak.around else ""
        )
        cells = [f"{place}{mark}", *(escape(value_text(values[path])) for path in differing)]
        lines.append([*cells, *(told(values[key]) for key, _, told in shown)])
    names = story.names
    lead = "By Sharpe ratio. Money in USDT; funding above zero was paid."
    if constant:
        fixed = ", ".join(f"{path}={value_text(story.table[path].iloc[0])}" for path in constant)
        lead += f" The same in all sets: {fixed}."
    head = ["", *(names[path] for path in differing), *(name for _, name, _ in shown)]
    title = f"The best {len(rows)}" if len(rows) < len(ranked) else "The sets"
    return section(title, lead, table(head, lines)), {}


def _refused(story: _Story) -> Part:
    reasons = refusals(story.table)
    if not reasons:
        return "", {}
    total = sum(reasons.values())
    lead = (
        f"{plural(total, 'set')} of {len(story.table):,} {'are' if total > 1 else 'is'} no valid combination of "
        "settings and did not run."
    )
    rows = [[escape(reason), whole(count)] for reason, count in list(reasons.items())[:TOP]]
    return section("Refused sets", lead, table(["Reason", "Sets"], rows)), {}


def _method(story: _Story) -> Part:
    told = [
        "Every set was run on the same data with every cost; the numbers are those of a backtest of that set.",
        "All of these sets have seen the whole span: what the best one earned here is no forecast. Walk-forward "
        "analysis tests the choice on data that it has not seen.",
        "Luck alone: the expected maximum of as many independent Sharpe ratios with mean zero and the variance that "
        "records of this length have without skill, or more where the trials scatter wider (Bailey and L\u00f3pez de "
        "Prado 2014). The deflated Sharpe ratio is the chance of more than that.",
        f"A plateau: the best set\u2019s median neighbour keeps {percent(PLATEAU, decimals=0)} of its ratio or more.",
        *story.facts.notes,
    ]
    return section("Method and data", "", listed(told)), {}


_WITH_VALUES: tuple[Callable[[_Story], Part], ...] = (
    _headline,
    _choice,
    _distribution,
    _maps,
    _importance,
    _parallel,
    _top,
)


def _peak(story: _Story) -> Peak:
    if story.found.peak is None:
        raise ValueError("found must have a peak, had none")
    return story.found.peak


def _pairs(found: Findings) -> tuple[list[tuple[int, int]], int]:
    """Return the pairs of axes to draw, the most telling first, and how many are left out."""
    if found.importance is None:
        every = list(itertools.combinations(range(len(found.axes)), 2))
        return every[: 1 + SMALL_MAPS], len(every[1 + SMALL_MAPS :])
    told = found.importance.pair_order()
    telling = [pair for k, pair in enumerate(told) if k == 0 or told[pair] >= TELLING]
    drawn = telling[: 1 + SMALL_MAPS]
    return drawn, len(told) - len(drawn)


def _interval(story: _Story) -> str:
    row = story.table.iloc[_peak(story).best]
    low, high = (row.get(key, math.nan) for key in ("sharpe_ci_low", "sharpe_ci_high"))
    if math.isfinite(low) and math.isfinite(high):
        return f"95 % interval {ratio(low)} to {ratio(high)}"
    return f"of {plural(len(story.table), 'set')}"


def _duration(seconds: float) -> str:
    if seconds < 90.0:
        return f"{seconds:.1f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 5400.0 else f"{seconds / 3600.0:.1f} h"
