"""What `feasibility` found, as people read it: the printed tables and the page, both from summary and tables alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from quantcore import plots
from quantcore.backtest.markup import (
    MISSING,
    TIMES,
    chart,
    day,
    known,
    listed,
    money,
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
    words,
)
from quantcore.backtest.tearsheet import frame
from quantcore.backtest.verdict import is_limit

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Summary: TypeAlias = Mapping[str, Any]
Tables: TypeAlias = Mapping[str, pd.DataFrame]

WIDTH = 100
"""Columns to which the tables are held on wide terminals."""
SHARE_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Labels of the shares of equity, per cent."""

_VERDICTS = {"feasible": "feasible as a portfolio", "not_feasible": "not feasible as a portfolio"}


def print_study(summary: Summary, tables: Tables, *, console: Console | None = None) -> None:
    """Print what the account can hold, the verdict, and what other capitals would have come to."""
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    width = min(screen.width, WIDTH)
    span = f"{day(summary['start'])} to {day(summary['end'])}"
    head = Text(summary["experiment"], style="bold")
    head.append(
        f"  {span}, {plural(summary['symbols'], 'symbol')}, {summary['interval']} decisions",
        style="dim",
    )
    screen.print(head, width=width)
    screen.print()
    screen.print(_symbols(summary, tables["symbols"]), width=width)
    for line in (*_columns_told(summary), _rounding_told(summary)):
        screen.print(Text(line, style="dim"), width=width)
    screen.print()
    good = summary["verdict"] == "feasible"
    screen.print(
        Text(_verdict(summary), style="bold green" if good else "bold yellow"), width=width
    )
    screen.print()
    screen.print(_capitals(tables["capitals"]), width=width)
    for line in _refusals_told(tables["capitals"]):
        screen.print(Text(line, style="dim"), width=width)
    for note in [note for note in summary["notes"] if not is_limit(note)]:
        screen.print(Text(f"note: {note}", style="dim"), width=width)


def print_folder(folder: Path, *, console: Console | None = None) -> None:
    """Print where the page is, and as the last line the results folder's path and nothing else."""
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    screen.print(Text(f"report: {folder / 'feasibility.html'}", style="dim"), soft_wrap=True)
    screen.print(Text(str(folder)), soft_wrap=True)


def page(summary: Summary, tables: Tables) -> str:
    """Return the report as one HTML page that needs no network, in the tearsheet's frame.

    Raises
    ------
    DataGap
        If plotly's script cannot be found.
    """
    parts, figures = [_header(summary), _headline(summary, tables)], {}
    for build in (_orders_section, _positions_section, _rounding_section, _capitals_section):
        html, drawn = build(summary, tables)
        parts.append(html)
        figures.update(drawn)
    parts.append(section("Method and data", "", listed([*_method(summary), *summary["notes"]])))
    return frame(f"{summary['experiment']} · feasibility", "\n".join(parts), figures)


def _verdict(summary: Summary) -> str:
    return f"{summary['experiment']}: {_VERDICTS[summary['verdict']]}. {summary['reason']}"


def _symbols(summary: Summary, symbols: pd.DataFrame) -> Table:
    from rich.text import Text

    found = _table(
        f"What {_usdt(summary['capital'])} can hold: {summary['tradable']} of "
        f"{plural(len(symbols), 'symbol')} at their typical target"
    )
    for name in (
        "",
        "",
        "Smallest order",
        "of equity",
        "One lot",
        "Target",
        "Fits",
        "Held",
        "From",
    ):
        found.add_column(name, justify="right" if name else "left", no_wrap=True)
    for row in _rows(symbols):
        mark = Text("✓", style="green") if row["tradable"] else Text("✗", style="yellow")
        found.add_row(
            mark,
            row["symbol"],
            money(row["smallest_order"]),
            share(row["smallest_share"]),
            share(row["lot_share"]),
            share(row["target_weight"]),
            _rough(row["fits_share"]),
            _rough(row["held_share"]),
            _from(row["capital_min"]),
        )
    return found


def _columns_told(summary: Summary) -> list[str]:
    limit = summary["size_limit"]
    told = "smallest order in USDT and one lot at the last price; target: median weight where it is wanted"
    if limit < 1.0:
        told += f", at the normal size, of which the mode holds {100.0 * limit:g} % in sum"
    return [
        f"{told}; fits, held: share of the decisions that want it at which its smallest order is within its weight, "
        "and at which the backtest held it; from: USDT from which the smallest order is within the target"
    ]


def _rounding_told(summary: Summary) -> str:
    rounding = summary["rounding"]
    greedy, best = rounding["greedy"], rounding["exact_sampled"]
    if not known(greedy["deviation"]):
        return "nothing to round"
    return (
        f"rounding: whole lots differ from the target by {share(greedy['deviation'])} of its gross exposure at the "
        f"median decision, {share(greedy['difference_volatility'])} a year of equity in volatility (the target has "
        f"{share(greedy['target_volatility'])}); on {plural(rounding['samples'], 'sampled decision')} "
        f"{share(rounding['greedy_sampled']['deviation'])}, and {share(best['deviation'])} by the best allocation "
        f"({rounding['proven']} proven)"
    )


def _capitals(capitals: pd.DataFrame) -> Table:
    found = _table("What the same targets would have made of other capitals", gap=1)
    names = "USDT|Return|Sharpe, 95 %|Drawdown|Turnover|Positions|Costs|Refused"
    for name in names.split("|"):
        found.add_column(name, justify="right", no_wrap=True)
    for row in _rows(capitals):
        found.add_row(
            _name(row),
            share(row["total_return"], signed=True),
            f"{ratio(row['sharpe'])} ({_tenths(row['sharpe_ci_low'])} to {_tenths(row['sharpe_ci_high'])})",
            share(row["max_drawdown"]),
            _times(row["turnover_annual"]),
            _range(row),
            share(row["costs"]),
            whole(row["refusals"]),
        )
    return found


def _refusals_told(capitals: pd.DataFrame) -> list[str]:
    rules = _rules(capitals)
    said = [
        "turnover: multiples of equity a year; positions: median (least to most); costs: of capital"
    ]
    for row in _rows(capitals):
        counts = [
            f"{words(r).lower()} {row[f'refused_{r}']:,}" for r in rules if row[f"refused_{r}"]
        ]
        if counts:
            said.append(f"refused or cut with {_name(row)}: {', '.join(counts)}")
        if row["halted_share"] > 0.0:
            said.append(
                f"flat with {_name(row)}, halted by losses: {share(row['halted_share'])} of the time"
            )
    return said


def _table(title: str, *, gap: int = 2) -> Table:
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=None,
        pad_edge=False,
        padding=(0, gap, 0, 0),
    )


def _header(summary: Summary) -> str:
    facts = [
        ("", f"{day(summary['start'])} to {day(summary['end'])}"),
        (_usdt(summary["capital"]), "capital"),
        (f"{100.0 * summary['size_limit']:g} %", "of the normal size"),
        (f"{summary['leverage_max']:g}{TIMES}", "leverage set"),
        (whole(summary["symbols"]), "symbols"),
        (summary["interval"], "decisions"),
    ]
    items = "".join(f"<li><b>{escape(b)}</b> {escape(t)}</li>" for b, t in facts)
    bad = "" if summary["verdict"] == "feasible" else " bad"
    return (
        '<header><p class="kicker">What an account can hold on Binance USDT-M perpetuals</p>'
        f'<h1>{escape(summary["experiment"])}</h1><ul class="facts">{items}</ul>'
        f'<p class="verdict{bad}">{escape(_verdict(summary))}</p></header>'
    )


def _headline(summary: Summary, tables: Tables) -> str:
    counts, rounding, symbols = summary["positions"], summary["rounding"], tables["symbols"]
    greedy = rounding["greedy"]
    items = []
    for key, name in (("fit", "Positions that fit"), ("held", "Positions held")):
        found = counts.get(key, {})
        spread = f"median; {found['min']:g} to {found['max']:g}" if found else "none wanted"
        items.append(tile(name, _count(found.get("median")), spread))
    enough = summary["capital_for_positions_min"]
    items += [
        tile(
            "Tradable symbols",
            f"{summary['tradable']} of {summary['symbols']}",
            "smallest order within typical target",
        ),
        tile(
            f"{summary['positions_min']} positions from",
            escape(_from(enough)),
            "USDT" if known(enough) else "no capital is enough",
        ),
        tile(
            "Smallest order",
            share(float(symbols["smallest_share"].median())),
            "of equity, median symbol",
        ),
        tile("One lot", share(float(symbols["lot_share"].median())), "of equity, median symbol"),
        tile(
            "Rounding error", share(greedy["deviation"]), "of the target's gross exposure, median"
        ),
        tile(
            "Volatility of the difference",
            share(greedy["difference_volatility"]),
            f"a year; the target has {share(greedy['target_volatility'])}",
        ),
    ]
    return f"<div>{tiles(items)}</div>"


Part: TypeAlias = tuple[str, dict[str, plots.Spec]]


def _orders_section(summary: Summary, tables: Tables) -> Part:
    symbols = tables["symbols"]
    limited = summary["size_limit"] < 1.0
    head = ["Symbol", "Order, USDT", "Median", "Of equity", "One lot", "Target", "Fits", "Held"]
    head += ["Tradable from"] + (["In proportion from"] if limited else [])
    rows = []
    for row in _rows(symbols):
        cells = [
            _badged(row),
            money(row["smallest_order"]),
            money(row["smallest_order_median"]),
            share(row["smallest_share"]),
            share(row["lot_share"]),
            share(row["target_weight"]),
            _rough(row["fits_share"]),
            _rough(row["held_share"]),
            _from(row["capital_min"]),
        ]
        cells += [_from(row["capital_proportional"])] if limited else []
        why = "" if row["tradable"] else str(row["reason"]).removeprefix("smallest order ")
        cells.append(f'<span class="muted">{escape(why)}</span>')
        rows.append(cells)
    lead = (
        f"The smallest order that the exchange takes, as a share of {_usdt(summary['capital'])}, at the last price of "
        "the data. The mark is the symbol's typical target at the normal size: a bar beyond it cannot be held. The "
        "scale is logarithmic. Below: that order and its median over the data, and the share of the decisions that "
        "want the symbol at which it fits, and at which the backtest held it."
    )
    last = len(head)
    body = chart("orders") + table([*head, "Why not"], rows, text=(0, last))
    return section("Smallest orders", lead, body), {"orders": orders_figure(symbols)}


def _badged(row: Mapping[str, Any]) -> str:
    kind, mark = ("yes", "✓") if row["tradable"] else ("no", "✗")
    name = escape(row["symbol"])
    return f'<span class="badge {kind}">{mark}</span> {name}'


def _positions_section(summary: Summary, tables: Tables) -> Part:
    positions = tables["positions"]
    lead = (
        f"Daily medians over the {plural(len(positions), 'decision')} that want anything: how many positions the "
        "targets ask for, how many can be opened at once, each at its smallest order, and how many the backtest held."
    )
    if positions.empty:
        return section("Positions", "", sentence("No position was ever wanted.")), {}
    drawn = positions_figure(positions, summary["positions_min"])
    return section("Positions", lead, chart("positions")), {"positions": drawn}


def _rounding_section(summary: Summary, tables: Tables) -> Part:
    rounding, told = tables["rounding"], summary["rounding"]
    if rounding.empty:
        return section("Rounding", "", sentence("There is nothing to round.")), {}
    lead = (
        "How far whole lots are from the target portfolio (the normal size times the size limit): the sum of absolute "
        "deviations over its gross exposure, and the volatility of the difference. Greedy is the account's own rule, "
        "each decision taken afresh; the backtest also leaves small changes alone; best is exact integer optimisation "
        f"of the sum of squares under the same caps, proven at {told['proven']} of {told['samples']} sampled decisions."
    )
    names = (
        ("greedy", "Greedy, all"),
        ("account", "Backtest, all"),
        ("greedy_sampled", "Greedy, sampled"),
        ("exact_sampled", "Best, sampled"),
    )
    rows = [
        [
            escape(name),
            share(told[key]["deviation"]),
            share(told[key]["difference_volatility"]),
            share(told[key]["target_volatility"]),
            _count(told[key]["positions"]),
        ]
        for key, name in names
    ]
    head = ["Medians", "Deviation", "Volatility of it", "Of the target", "Positions"]
    body = chart("rounding") + table(head, rows)
    return section("Rounding", lead, body), {"rounding": rounding_figure(rounding)}


def _capitals_section(_: Summary, tables: Tables) -> Part:
    capitals = tables["capitals"]
    lead = (
        "The same targets in the same mode, with whole lots and every cost, from accounts of other sizes. Unlimited: "
        "lots and minimum orders so fine that nothing is rounded, without the brackets of a large account."
    )
    head = [
        "USDT",
        "Return",
        "Sharpe",
        "95 % interval",
        "Drawdown",
        "Turnover a year",
        "Positions",
        "Costs of capital",
    ]
    head += ["Halted"]
    rows = [
        [
            _name(row),
            toned(share(row["total_return"], signed=True), row["total_return"]),
            toned(ratio(row["sharpe"]), row["sharpe"]),
            f"{ratio(row['sharpe_ci_low'])} to {ratio(row['sharpe_ci_high'])}",
            share(row["max_drawdown"]),
            _times(row["turnover_annual"]),
            _range(row),
            share(row["costs"]),
            share(row["halted_share"]),
        ]
        for row in _rows(capitals)
    ]
    rules = _rules(capitals)
    refused = sentence("No order was refused and no target cut.")
    if rules:
        counts = [
            [_name(row), *(whole(row[f"refused_{rule}"]) for rule in rules)]
            for row in _rows(capitals)
        ]
        refused = table(["USDT", *(words(rule) for rule in rules)], counts)
    body = chart("capitals") + table(head, rows) + "<h3>Refused or cut, by rule</h3>" + refused
    return section("Other capitals", lead, body), {"capitals": capitals_figure(tables["curves"])}


def orders_figure(symbols: pd.DataFrame) -> plots.Spec:
    """Return bars of each symbol's smallest order over equity, with a mark at its typical target; logarithmic."""
    rows = symbols.iloc[::-1]
    size, aim = 100.0 * rows["smallest_share"], 100.0 * rows["target_weight"]
    names = rows["symbol"].tolist()
    spec = plots.profit_by_symbol(symbols["symbol"].tolist(), {"": np.zeros(len(rows))})
    layout = spec["layout"] | {"showlegend": True}
    data: list[plots.Spec] = []
    for name, mask, colour in (
        ("Smallest order, tradable", rows["tradable"], "@accent"),
        ("Smallest order, too large", ~rows["tradable"], "@loss"),
    ):
        if mask.any():
            data.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": name,
                    "y": [n for n, keep in zip(names, mask, strict=True) if keep],
                    "x": _values(size[mask]),
                    "marker": {"color": colour},
                    "hovertemplate": "%{y}: smallest order %{x:.3g} %<extra></extra>",
                }
            )
    data.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "Typical target",
            "y": names,
            "x": _values(aim),
            "marker": {
                "symbol": "line-ns",
                "size": 13,
                "line": {"color": "@ink", "width": 2.5},
            },
            "hovertemplate": "%{y}: typical target %{x:.3g} %<extra></extra>",
        }
    )
    shown = pd.concat([size, aim]).dropna()
    low, high = (float(shown.min()), float(shown.max())) if len(shown) else (1.0, 10.0)
    low, high = 0.6 * low, 1.3 * high
    layout["yaxis"] |= {"categoryorder": "array", "categoryarray": names}
    layout["xaxis"] |= {
        "title": layout["xaxis"]["title"] | {"text": "% of equity"},
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": [t for t in SHARE_TICKS if low <= t <= high],
        "ticktext": [f"{t:g}" for t in SHARE_TICKS if low <= t <= high],
        "zeroline": False,
    }
    return {"data": data, "layout": layout | {"barmode": "overlay"}}


def positions_figure(positions: pd.DataFrame, positions_min: int) -> plots.Spec:
    """Return daily medians of how many positions are wanted, fit and are held, with a line at the minimum."""
    daily = positions.set_index("ts").resample("1D").median().dropna()
    parts = {
        "Held": daily["held"].to_numpy(np.float64),
        "Fit": daily["fit"].to_numpy(np.float64),
        "Wanted": daily["wanted"].to_numpy(np.float64),
    }
    spec = _lines(pd.DatetimeIndex(daily.index), parts, "Positions", "%{y:g}")
    for trace in spec["data"]:
        trace["line"]["shape"] = "hv"
    spec["layout"]["yaxis"] |= {"rangemode": "tozero"}
    spec["layout"]["shapes"] = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": positions_min,
            "y1": positions_min,
            "line": {"color": "@loss", "width": 1.2, "dash": "dash"},
        }
    ]
    spec["layout"]["annotations"] = [
        {
            "text": f"a portfolio: {positions_min}",
            "showarrow": False,
            "xref": "paper",
            "x": 1.0,
            "y": positions_min,
            "xanchor": "right",
            "yshift": 9,
            "font": {"size": 11, "color": "@loss"},
        }
    ]
    return spec


def rounding_figure(rounding: pd.DataFrame) -> plots.Spec:
    """Return the deviation from the target portfolio at the sampled decisions, greedy beside the best."""
    exact = rounding[rounding["method"] == "exact"]
    greedy = rounding[(rounding["method"] == "greedy") & rounding["ts"].isin(exact["ts"])]
    parts = {
        "Greedy": 100.0 * greedy["deviation"].to_numpy(np.float64),
        "Best": 100.0 * exact["deviation"].to_numpy(np.float64),
    }
    unit = "Deviation, % of gross"
    spec = _lines(pd.DatetimeIndex(exact["ts"]), parts, unit, "%{y:.1f} %")
    for trace, symbol in zip(spec["data"], ("circle", "x-thin-open"), strict=True):
        trace |= {"mode": "lines+markers", "marker": {"symbol": symbol, "size": 7}}
        trace["marker"]["line"] = {"width": 1.6, "color": trace["line"]["color"]}
        trace["marker"]["color"] = trace["line"]["color"]
    spec["layout"]["yaxis"] |= {"rangemode": "tozero"}
    return spec


def capitals_figure(curves: pd.DataFrame) -> plots.Spec:
    """Return each capital's return since the start, per cent."""
    parts = {
        _capital(name): 100.0 * (values.ffill().to_numpy(np.float64) - 1.0)
        for name, values in curves.items()
    }
    return _lines(pd.DatetimeIndex(curves.index), parts, "Return since the start, %", "%{y:+.2f} %")


def _lines(index: pd.DatetimeIndex, parts: Mapping[str, Any], unit: str, hover: str) -> plots.Spec:
    """Return lines over time in the look of the other figures."""
    spec = plots.contributions(index, parts, wild=())
    spec["layout"]["yaxis"]["title"]["text"] = unit
    for trace in spec["data"]:
        trace["hovertemplate"] = hover
    return spec


def _values(column: pd.Series) -> list[float | None]:
    return [float(f"{v:.6g}") if math.isfinite(v) else None for v in column.tolist()]


def _method(summary: Summary) -> list[str]:
    wanted, asked = summary["decisions_wanted"], summary["decisions"]
    return [
        f"Counted are the {wanted:,} of {asked:,} decisions that want anything.",
        "The normal size is what the mode's limits leave of the targets where nothing is rounded, nothing costs and "
        "no loss has moved the account down its ladder; it is what an account of such lots holds, of the decision "
        "before.",
        "A position fits where its smallest order is within its weight. The backtest can hold more than fit, for what "
        "was opened once may be reduced below the minimum, or fewer, for its rule prefers the largest weights.",
        "A size limit caps the sum of the positions at that share of the normal size, in whole positions of what fits; "
        "a symbol is tradable in proportion only where its smallest order is within that share of its own target.",
        "Smallest orders are the exchange's present rules at the prices of the data.",
    ]


def _rows(values: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in values.to_dict("records")]


def _rules(capitals: pd.DataFrame) -> Sequence[str]:
    return [str(c).removeprefix("refused_") for c in capitals if str(c).startswith("refused_")]


def _usdt(value: float) -> str:
    return f"{value:,.12g} USDT"


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['capital']:,.12g}" if math.isfinite(row["capital"]) else str(row["name"])


def _capital(name: object) -> str:
    try:
        return _usdt(float(str(name)))
    except ValueError:
        return str(name).capitalize()


def _times(value: float | None) -> str:
    return f"{ratio(value, decimals=1)}{TIMES}" if known(value) else MISSING


def _range(row: Mapping[str, Any]) -> str:
    return f"{row['positions_median']:g} ({row['positions_min']:g}–{row['positions_max']:g})"


def _from(value: float | None) -> str:
    return f"{math.ceil(value):,}" if value is not None and math.isfinite(value) else MISSING


def _tenths(value: float | None) -> str:
    return ratio(value, decimals=1)


def _rough(value: float) -> str:
    return f"{100.0 * value:.0f} %"


def _count(value: float | None) -> str:
    return f"{value:g}" if value is not None and math.isfinite(value) else MISSING
