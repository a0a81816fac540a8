"""What `feasibility` found, as a page: from summary and tables alone, in the tearsheet's frame."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, TypeAlias

from quantcore import plots
from quantcore.backtest.markup import (
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
from quantcore.research.feasibility_figures import (
    capitals_figure,
    orders_figure,
    positions_figure,
    rounding_figure,
)
from quantcore.research.feasibility_wording import (
    Summary,
    Tables,
    capital_name,
    count,
    fine,
    from_capital,
    position_range,
    records,
    refusal_rules,
    rough,
    times,
    usdt,
    verdict_told,
)

Part: TypeAlias = tuple[str, dict[str, plots.Spec]]


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


def _header(summary: Summary) -> str:
    facts = [
        ("", f"{day(summary['start'])} to {day(summary['end'])}"),
        (usdt(summary["capital"]), "capital"),
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
        f'<p class="verdict{bad}">{escape(verdict_told(summary))}</p></header>'
    )


def _headline(summary: Summary, tables: Tables) -> str:
    counts, rounding, symbols = summary["positions"], summary["rounding"], tables["symbols"]
    greedy = rounding["greedy"]
    items = []
    for key, name in (("fit", "Positions that fit"), ("held", "Positions held")):
        found = counts.get(key, {})
        spread = f"median; {found['min']:g} to {found['max']:g}" if found else "none wanted"
        items.append(tile(name, count(found.get("median")), spread))
    enough = summary["capital_for_positions_min"]
    items += [
        tile(
            "Tradable symbols",
            f"{summary['tradable']} of {summary['symbols']}",
            "smallest order within typical target",
        ),
        tile(
            f"{summary['positions_min']} positions from",
            escape(from_capital(enough)),
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


def _orders_section(summary: Summary, tables: Tables) -> Part:
    symbols = tables["symbols"]
    limited = summary["size_limit"] < 1.0
    head = ["Symbol", "Order, USDT", "Median", "Of equity", "One lot", "Target", "Fits", "Held"]
    head += ["Tradable from"] + (["In proportion from"] if limited else [])
    rows = []
    for row in records(symbols):
        cells = [
            _badged(row),
            money(row["smallest_order"]),
            money(row["smallest_order_median"]),
            share(row["smallest_share"]),
            share(row["lot_share"]),
            share(row["target_weight"]),
            rough(row["fits_share"]),
            rough(row["held_share"]),
            from_capital(row["capital_min"]),
        ]
        cells += [from_capital(row["capital_proportional"])] if limited else []
        why = "" if row["tradable"] else str(row["reason"]).removeprefix("smallest order ")
        cells.append(f'<span class="muted">{escape(why)}</span>')
        rows.append(cells)
    lead = (
        f"The smallest order that the exchange takes, as a share of {usdt(summary['capital'])}, at the last price of "
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
        "each decision taken afresh; the backtest also leaves small changes alone; exact is a search for the least sum "
        f"of squares under the same caps, proven at {told['proven']} of {told['samples']} sampled decisions."
    )
    names = (
        ("greedy", "Greedy, all"),
        ("account", "Backtest, all"),
        ("greedy_sampled", "Greedy, sampled"),
        ("exact_sampled", "Exact, sampled"),
    )
    rows = [
        [
            escape(name),
            share(told[key]["deviation"]),
            share(told[key]["difference_volatility"]),
            share(told[key]["target_volatility"]),
            count(told[key]["positions"]),
        ]
        for key, name in names
    ]
    head = ["Medians", "Deviation", "Difference's volatility", "Target's volatility", "Positions"]
    body = chart("rounding") + table(head, rows) + _allocations(summary, tables)
    return section("Rounding", lead, body), {"rounding": rounding_figure(rounding)}


def _allocations(summary: Summary, tables: Tables) -> str:
    """Return the comparison of the greedy rule with exact search on what both make small."""
    told, sampled = summary["allocations"], tables["allocations"]
    lead = (
        f"On {plural(told['decisions'], 'sampled decision')} both hold the same lots at {told['same_lots']}. Tracking "
        "error is the norm of the weights' deviation from the normal size"
    )
    lead += (
        "; most of it is what the size limit takes from both."
        if summary["size_limit"] < 1.0
        else ". Where no cap binds, each symbol's nearest lots are the best, and greedy finds them."
    )
    greedy, exact = sampled["greedy_tracking_error"], sampled["exact_tracking_error"]
    rows = [
        [name, fine(errors.median()), fine(errors.mean()), fine(errors.max())]
        for name, errors in (
            ("Greedy", greedy),
            ("Exact", exact),
            ("Greedy worse by", greedy - exact),
        )
    ]
    head = ["Tracking error, of equity", "Median", "Mean", "Largest"]
    return f'<h3>Greedy against exact</h3><p class="lead">{escape(lead)}</p>{table(head, rows)}'


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
            capital_name(row),
            toned(share(row["total_return"], signed=True), row["total_return"]),
            toned(ratio(row["sharpe"]), row["sharpe"]),
            f"{ratio(row['sharpe_ci_low'])} to {ratio(row['sharpe_ci_high'])}",
            share(row["max_drawdown"]),
            times(row["turnover_annual"]),
            position_range(row),
            share(row["costs"]),
            share(row["halted_share"]),
        ]
        for row in records(capitals)
    ]
    rules = refusal_rules(capitals)
    refused = sentence("No order was refused and no target cut.")
    if rules:
        counts = [
            [capital_name(row), *(whole(row[f"refused_{rule}"]) for rule in rules)]
            for row in records(capitals)
        ]
        refused = table(["USDT", *(words(rule) for rule in rules)], counts)
    body = chart("capitals") + table(head, rows) + "<h3>Refused or cut, by rule</h3>" + refused
    return section("Other capitals", lead, body), {"capitals": capitals_figure(tables["curves"])}


def _method(summary: Summary) -> list[str]:
    wanted, asked = summary["decisions_wanted"], summary["decisions"]
    return [
        f"Counted are the {wanted:,} of {asked:,} decisions that want anything.",
        "The normal size is what the mode's limits leave of the targets where nothing is rounded, nothing costs and "
        "no loss has moved the account down its ladder; it is what an account of such lots holds, of the decision "
        "before.",
        "A position fits where its smallest order is within its weight. The backtest can hold more than fit, for what "
        "was opened once may be reduced below the minimum; or fewer, where a part in proportion is too small.",
        "A size limit caps the sum of the positions at that share of the normal size, in whole positions of what fits; "
        "a symbol is tradable in proportion only where its smallest order is within that share of its own target.",
        "Smallest orders are the exchange's present rules at the prices of the data.",
    ]
