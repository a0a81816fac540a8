"""What `parity` found, as a page in the tearsheet's frame."""

from __future__ import annotations

from html import escape

import pandas as pd

from live.parity.figures import NAMES, equity_figure, gap_figure, price_figure, weight_figure
from live.parity.gap import PARTS
from live.parity.kinds import MEANINGS, Kind
from live.parity.study import BACKTEST, LIVE, SIDES, Study
from live.parity.wording import first_told, gap_told, notes, tables, verdict
from quantcore import plots
from quantcore.backtest.markup import (
    MISSING,
    chart,
    day,
    listed,
    money,
    section,
    sentence,
    table,
    tile,
    tiles,
    whole,
)
from quantcore.backtest.tearsheet import frame

ROWS = 40
"""Differences that the page lists."""

Part = tuple[str, dict[str, plots.Spec]]


def page(study: Study) -> str:
    """Return the report as one HTML page that needs no network.

    Raises
    ------
    DataGap
        If plotly's script cannot be found.
    """
    parts, figures = [_header(study), _headline(study)], {}
    for build in (_first_section, _equity_section, _money_section, _list_section):
        html, drawn = build(study)
        parts.append(html)
        figures.update(drawn)
    parts.append(section("Method and data", "", listed([*_method(study), *notes(study)])))
    return frame(
        f"{study.summary['experiment']} · parity", "\n".join(p for p in parts if p), figures
    )


def _header(study: Study) -> str:
    summary = study.summary
    facts = [
        ("", f"{day(summary['start'])} to {day(summary['end'])}"),
        (whole(len(summary["symbols"])), "symbols"),
        (summary["interval"], "decisions"),
        (study.bars.interval, "execution bars"),
        (money(summary["capital"], decimals=0), "USDT"),
    ]
    items = "".join(f"<li><b>{escape(b)}</b> {escape(t)}</li>" for b, t in facts)
    bad = "" if study.comparison.equal else " bad"
    return (
        f'<header><p class="kicker">A backtest against {escape(summary["against"])}</p>'
        f'<h1>{escape(summary["experiment"])}</h1><ul class="facts">{items}</ul>'
        f'<p class="verdict{bad}">{escape(verdict(study))}</p></header>'
    )


def _headline(study: Study) -> str:
    summary = study.summary
    items = [
        tile(name, whole(summary[f"differing_{key}"]), f"differ, of {summary[key]:,}, {exactly}")
        for key, name, exactly in tables(study)
    ]
    items.append(tile("Largest difference", f"{summary['max_equity_error']:.1e}", "USDT of equity"))
    first = study.first
    if first is None:
        items.append(tile("First difference", "None", "in any table"))
    else:
        items.append(tile("First difference", first["kind"].capitalize(), f"in {first['subject']}"))
    return f"<div>{tiles(items)}</div>"


def _first_section(study: Study) -> Part:
    first = study.first
    if first is None:
        return section("First difference", "", sentence("There is none.")), {}
    drawn: dict[str, plots.Spec] = {}
    body = ""
    if first["symbol"]:
        drawn = {"price": price_figure(study), "weight": weight_figure(study)}
        body = chart("price") + chart("weight")
    sides = []
    for side in SIDES:
        rows = study.context[study.context["of"] == side].drop(columns="of")
        sides.append(f"<h3>{NAMES[side]}</h3>{_rows(rows.dropna(axis='columns', how='all'))}")
    told = first_told(study)
    lead = told[0].upper() + told[1:]
    return section("First difference", lead, body, *sides), drawn


def _equity_section(study: Study) -> Part:
    lead = "Both accounts at each decision, and live less backtest beneath."
    return section("Equity", lead, chart("equity")), {"equity": equity_figure(study)}


def _money_section(study: Study) -> Part:
    if study.comparison.equal:
        return "", {}
    told = gap_told(study)
    parts = study.summary["gap"]
    rows = [[name.capitalize(), money(parts[name], signed=True, decimals=4)] for name in PARTS]
    total = ["Live less backtest", money(parts["total"], signed=True, decimals=4)]
    body = chart("gap") + table(["Part", "USDT"], rows, total=total)
    lead = told[0].upper() + told[1:] + "."
    return section("What it comes to", lead, body), {"gap": gap_figure(study)}


def _list_section(study: Study) -> Part:
    found = study.comparison
    if found.equal:
        return "", {}
    kinds = [
        [str(kind).capitalize(), whole(found.by_kind[kind]), escape(MEANINGS[kind])]
        for kind in Kind
        if kind in found.by_kind
    ]
    shown = found.differences.head(ROWS)
    rows = [
        [
            escape(f"{row.ts:%Y-%m-%d %H:%M:%S}"),
            *(escape(str(each)) for each in (row.subject, row.kind, row.symbol, row.field)),
            escape(_value(row.backtest)),
            escape(_value(row.live)),
        ]
        for row in shown.itertuples(index=False)
    ]  # fmt: skip
    head = ["Time", "Table", "Kind", "Symbol", "Field", "Backtest", "Live"]
    lead = f"The first {len(shown)}, in order of time; differences.parquet lists up to 1,000 of each table."
    body = table(["Kind", "Rows", "Meaning"], kinds, text=(0, 2))
    body += table(head, rows, text=range(len(head)))
    return section("All differences", lead, body), {}


def _value(value: object) -> str:
    return str(value) if isinstance(value, str) else MISSING


def _rows(rows: pd.DataFrame) -> str:
    cells = [
        [escape(str(value).removesuffix("+00:00")) for value in row]
        for row in rows.itertuples(index=False)
    ]
    return table(list(rows.columns), cells, text=range(len(rows.columns)))


def _method(study: Study) -> list[str]:
    summary = study.summary
    return [
        "Both sides begin with a fresh account and the same state of the signal plane, after save and load, and see "
        "the same execution bars."
        if summary["wallet_error"] is not None
        else "Both sides begin with the states that the journal holds of the start, and see the bars that the run saw.",
        "Target weights, orders, fills, fees and funding must be the same to the last bit (what an exchange of a real "
        "run told: to its eight digits), equity to 1e-9 of the capital. An order is known by when it was decided, its "
        "symbol, side and type, and its place among those.",
        "The first difference in time is the cause worth looking at: what follows it may follow from it.",
        f"{NAMES[BACKTEST]}: both folds over all bars at once. {NAMES[LIVE]}: the loop, one bar at a time, over REST "
        "and streams."
        if summary["wallet_error"] is not None
        else f"{NAMES[BACKTEST]}: both folds over the journal's bars. {NAMES[LIVE]}: the run's steps, replayed.",
    ]
