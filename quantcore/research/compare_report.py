"""A comparison as a page, in the tearsheet's frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, TypeAlias

import pandas as pd

from quantcore import plots
from quantcore.backtest.markup import (
    MISSING,
    chart,
    known,
    listed,
    money,
    percent,
    plural,
    ratio,
    section,
    sentence,
    share,
    table,
    toned,
)
from quantcore.backtest.tearsheet import frame
from quantcore.research.compare_figures import (
    SYMBOLS_SHOWN,
    equity_figure,
    intervals_figure,
    parts_figure,
    ratio_figure,
    symbol_differences,
    symbols_figure,
)
from quantcore.research.compare_settings import changes
from quantcore.research.compare_wording import (
    MONEY,
    RETURNS,
    TRADING,
    interval,
    mark_told,
    named,
    shortened,
    span_told,
    trips_told,
    values,
)
from quantcore.research.comparison import Comparison
from quantcore.settings import TARGET

Part: TypeAlias = tuple[str, dict[str, plots.Spec]]

_METHOD = (
    "Returns are those from one common day's end to the next, of one unit of the account: deposits and withdrawals are "
    "taken out. Sharpe ratios are annual, without a risk-free rate.",
    "A difference of two runs is judged in pairs: the same days are resampled of both, in blocks (stationary "
    "bootstrap), and each difference is divided by its own standard error. Ledoit and Wolf, Robust Performance "
    "Hypothesis Testing with the Sharpe Ratio, Journal of Empirical Finance 15(5), 2008.",
    "With several runs beside one base, p-values are adjusted after Holm (1979): the chance of even one false finding "
    "stays under the level. Intervals are those of each comparison alone.",
    "A comparison does not know how many other runs were made and not shown: whoever picks the best of many and "
    "compares it with a base finds a difference too often.",
    "Whether a run earns anything at all is asked by its own tearsheet.",
)


def page(found: Comparison) -> str:
    """Return the comparison as one HTML page that needs no network, in the tearsheet's frame.

    Raises
    ------
    DataGap
        If plotly's script cannot be found.
    """
    parts, figures = [_header(found)], {}
    for build in (_runs, _settings, _equity, _luck, _metrics, _sources):
        html, drawn = build(found)
        parts.append(html)
        figures.update(drawn)
    parts.append(section("Method", "", listed(_METHOD)))
    return frame(f"{_title(found)} · comparison", "\n".join(parts), figures)


def _title(found: Comparison) -> str:
    names = list(dict.fromkeys(str(entry["name"]) for entry in found.summary["runs"]))
    if len(names) == 1:
        return f"{names[0]}, {plural(len(found.labels), 'run')}"
    return f"{', '.join(names[1:])} against {names[0]}"


def _header(found: Comparison) -> str:
    facts = [("", span_told(found.summary)), (str(len(found.labels)), "runs"), ("A", "is the base")]
    items = "".join(f"<li><b>{escape(b)}</b> {escape(t)}</li>" for b, t in facts)
    told = "".join(
        f'<p class="verdict{" bad" if verdict["kind"] == "worse" else ""}">{escape(verdict["text"])}</p>'
        for verdict in found.summary["verdicts"]
    )
    return (
        '<header><p class="kicker">Runs side by side on Binance USDT-M perpetuals</p>'
        f'<h1>{escape(_title(found))}</h1><ul class="facts">{items}</ul>{told}</header>'
    )


def _runs(found: Comparison) -> Part:
    rows = [
        [
            escape(named(entry)),
            f"{escape(entry['start'][:10])} to {escape(entry['end'][:10])}",
            escape(entry["interval"]),
            money(entry["capital"], decimals=0),
            MISSING if entry["symbols"] is None else str(entry["symbols"]),
            f'<span class="muted">{escape(entry["folder"] or "never written")}</span>',
        ]
        for entry in found.summary["runs"]
    ]
    head = ["Run", "Span", "Decisions", "Capital, USDT", "Symbols", "Folder"]
    body = table(head, rows, text=(0, 1, 5))
    warned = found.summary["warnings"]
    said = listed(warned) if warned else sentence("Same span, same data, same sources.")
    return section("The runs", "", body, "<h3>Before anything is compared</h3>", said), {}


def _settings(found: Comparison) -> Part:
    lead = "Settings that differ, side by side; a dash where a run has no such setting."
    none = found.settings.empty
    body = sentence("No setting differs.") if none else _side_by_side(found, found.settings)
    base, said = found.labels[0], []
    for label in found.labels[1:]:
        told = changes(found.settings, label, base)
        said.append(f"{label}: {'; '.join(told) or f'the same settings as {base}'}.")
    made = _side_by_side(found, found.provenance)
    return section(
        "What differs",
        "",
        listed(said),
        f'<h3>Settings</h3><p class="lead">{lead}</p>',
        body,
        "<h3>Made from</h3>",
        made,
    ), {}


def _side_by_side(found: Comparison, shown: pd.DataFrame) -> str:
    rows = [
        [
            escape(str(row["key"])),
            *(_value(str(row["key"]), str(row[label])) for label in found.labels),
        ]
        for row in shown.to_dict("records")
    ]
    return table(["", *found.labels], rows, text=range(len(found.labels) + 1))


def _value(key: str, text: str) -> str:
    short = text.rpartition(".")[2] if key.endswith(TARGET) else shortened(text)
    return escape(text) if short == text else f'<span title="{escape(text)}">{escape(short)}</span>'


def _equity(found: Comparison) -> Part:
    lead = (
        "One unit of each account from the opening of the common span, fees and funding paid, and its drawdowns. "
        "Below: each over the base; where that line rises, the run does better."
    )
    body = chart("equity") + f"<h3>Over {escape(named(found.summary['runs'][0]))}</h3>"
    figures = {"equity": equity_figure(found), "ratio": ratio_figure(found)}
    return section("Equity", lead, body + chart("ratio")), figures


def _luck(found: Comparison) -> Part:
    level = f"{100.0 * found.summary['confidence']:g} %"
    lead = (
        "Daily returns less the base's, and the difference of Sharpe ratios with its interval: where it holds zero, "
        "luck explains the difference."
    )
    tests = found.differences
    chosen = tests[(tests["statistic"] == "sharpe") & (tests["base"] == found.labels[0])]
    means = tests[(tests["statistic"] == "mean") & (tests["base"] == found.labels[0])]
    several = len(chosen) > 1
    head = ["Less the base", "A year", f"{level} interval", "Tracking error", "Correlation"]
    head += ["Sharpe ratio", f"{level} interval", "p", *(["p, Holm"] if several else [])]
    rows = []
    for beside, mean, test in zip(
        found.summary["against_base"],
        means.to_dict("records"),
        chosen.to_dict("records"),
        strict=True,
    ):
        cells = [
            escape(_name(found, beside["label"])),
            toned(percent(beside["mean"], signed=True), beside["mean"]),
            f"{percent(mean['low'])} to {percent(mean['high'])}" if known(mean["low"]) else MISSING,
            percent(beside["tracking_error"]),
            ratio(beside["correlation"]),
            toned(ratio(test["estimate"], signed=True), test["estimate"]),
            f"{ratio(test['low'])} to {ratio(test['high'])}" if known(test["low"]) else MISSING,
            ratio(test["p_value"], decimals=3),
        ]
        rows.append([*cells, *([ratio(test["p_base"], decimals=3)] if several else [])])
    body = table(head, rows)
    if not chosen["estimate"].notna().any():
        return section("More than luck?", lead, body), {}
    return section("More than luck?", lead, chart("intervals"), body), {
        "intervals": intervals_figure(found)
    }


def _metrics(found: Comparison) -> Part:
    lead = "Of the common span alone. Price PnL is before slippage; it and the costs are shares of the opening equity."
    head = ["", *(named(entry) for entry in found.summary["runs"])]
    rows = []
    for group in (RETURNS, TRADING, MONEY):
        for metric, name, told in group:
            numbers, best = values(found.metrics, metric)
            cells = [told(numbers[label]) for label in found.labels]
            if all(cell == MISSING for cell in cells):
                continue
            marked = [
                f'{escape(cell)} <span class="badge yes">*</span>'
                if label == best
                else escape(cell)
                for cell, label in zip(cells, found.labels, strict=True)
            ]
            rows.append([escape(name.strip()), *marked])
            if metric == "sharpe":
                own = [interval(found.metrics, label) for label in found.labels]
                rows.append(['<span class="muted">95 % interval</span>', *map(escape, own)])
    told_mark = (
        f'<p class="lead">{escape(mark_told(found.summary["confidence"]))}.</p>'
        if found.metrics["best"].any()
        else sentence("No run stands out from all others beyond luck, so no number is marked.")
    )
    return section("Side by side", lead, table(head, rows), told_mark), {}


def _sources(found: Comparison) -> Part:
    lead = (
        "What made the profit differ from the base's, in shares of each run's opening equity: price PnL before "
        "slippage, slippage, fees, funding, liquidation. Below, the symbols that are widest apart."
    )
    beside = found.summary["against_base"]
    said = listed([text for b in beside for text in (b["told"], trips_told(b))])
    apart = symbol_differences(found)
    figures = {"parts": parts_figure(found)}
    body = chart("parts") + said
    if len(apart) and (apart != 0.0).to_numpy().any():
        figures["symbols"] = symbols_figure(found)
        body += f"<h3>By symbol</h3>{chart('symbols')}{_symbols(found, apart)}"
    return section("Where the difference comes from", lead, body), figures


def _symbols(found: Comparison, apart: pd.DataFrame) -> str:
    net = found.symbols.pivot_table(index="symbol", columns="label", values="net", observed=True)
    net = net.reindex(columns=found.labels).fillna(0.0)
    rows = [
        [
            escape(str(symbol)),
            *(_toned(net.loc[symbol, label]) for label in found.labels),
            *(_toned(apart.loc[symbol, label]) for label in found.labels[1:]),
        ]
        for symbol in apart.index[:SYMBOLS_SHOWN]
    ]
    less: Sequence[str] = [f"{label} less {found.labels[0]}" for label in found.labels[1:]]
    return table(["Net profit", *found.labels, *less], rows)


def _toned(value: Any) -> str:
    return toned(share(float(value), signed=True), float(value))


def _name(found: Comparison, label: str) -> str:
    entry: Mapping[str, Any] = next(e for e in found.summary["runs"] if e["label"] == label)
    return named(entry)
