"""The top of the tearsheet: what was run, what it came to, and the headline numbers."""

from __future__ import annotations

from html import escape

from quantcore.backtest.markup import (
    MISSING,
    TIMES,
    day,
    known,
    money,
    percent,
    plural,
    ratio,
    section,
    share,
    tile,
    tiles,
    toned,
    whole,
)
from quantcore.backtest.sections.story import Section, Story


def header(story: Story) -> Section:
    """Return title, span, symbols, capital and the verdict in one line."""
    m, run = story.metrics, story.run
    facts = [
        ("", f"{day(m['start'])} to {day(m['end'])}"),
        (whole(m["symbols"]), "symbol" if m["symbols"] == 1 else "symbols"),
        (f"{money(m['capital'], decimals=0)} USDT", "capital"),
        (run.interval, "decisions"),
        (run.bars.interval, "execution bars"),
    ]
    if m["deposits"]:
        moved = "deposited" if m["deposits"] > 0.0 else "withdrawn"
        facts.append((f"{money(abs(m['deposits']), decimals=0)} USDT", moved))
    listed = "".join(f"<li><b>{escape(b)}</b> {escape(t)}</li>" for b, t in facts)
    good = story.found.traded and (m["total_return"] or 0.0) >= 0.0
    return (
        f'<header><p class="kicker">Backtest on Binance USDT-M perpetuals</p><h1>{escape(story.experiment)}</h1>'
        f'<ul class="facts">{listed}</ul>'
        f'<p class="verdict{"" if good else " bad"}">{escape(story.found.verdict)}</p></header>'
    ), {}


def headline(story: Story) -> Section:
    """Return the headline numbers; without a fill only those that exist."""
    items = _headline(story) if story.found.traded else _idle(story)
    return f"<div>{tiles(items)}</div>", {}


def nothing(story: Story) -> Section:
    """Return the sentence that stands for every chart of a run without a fill."""
    final = f"{money(story.metrics['final_equity'])} USDT"
    lead = (
        f"Nothing was traded: the account stands at {final}, "
        "and there is no curve, exposure, profit or round trip to show."
    )
    return section("Equity", lead), {}


def _headline(story: Story) -> list[str]:
    m, found = story.metrics, story.found
    paid = sum(m[k] for k in ("fees", "funding", "liquidation_fees"))
    few = f"{plural(found.returns, 'daily return')}: too few"
    low, high = m["sharpe_ci_low"], m["sharpe_ci_high"]
    interval = f"95 %: {ratio(low)} to {ratio(high)}" if known(low) and known(high) else few
    held = f"{found.benchmark} {percent(m['benchmark_return'], signed=True)}"
    annual = f"volatility {share(m['annual_volatility'])}" if known(m["annual_volatility"]) else few
    return [
        tile(
            "Total return",
            toned(share(m["total_return"], signed=True), m["total_return"]),
            held if found.benchmark else "no BTC in the data",
        ),
        tile(
            "Annual return",
            toned(share(m["annual_return"], signed=True), m["annual_return"]),
            annual,
        ),
        tile("Sharpe ratio", toned(ratio(m["sharpe"]), m["sharpe"]), interval),
        tile(
            "Maximum drawdown",
            toned(share(m["max_drawdown"]), m["max_drawdown"]),
            f"longest {plural(round(m['max_drawdown_days']), 'day')} under water",
        ),
        tile("Final equity", escape(money(m["final_equity"])), "USDT"),
        tile("Costs paid", escape(money(paid)), f"USDT, and {money(m['slippage_cost'])} slippage"),
        tile(
            "Turnover", escape(ratio(m["turnover_annual"], decimals=0) + TIMES), "of equity a year"
        ),
        tile(
            "Round trips",
            escape(whole(m["trades"])),
            f"{percent(m['win_rate'])} of {whole(found.closed)} closed gained"
            if found.closed
            else "none closed yet",
        ),
    ]


def _idle(story: Story) -> list[str]:
    m, tables = story.metrics, story.run.tables
    held = percent(m["benchmark_return"], signed=True) if story.found.benchmark else MISSING
    return [
        tile("Final equity", escape(money(m["final_equity"])), "USDT"),
        tile("Orders sent", whole(len(tables["orders"])), "none filled"),
        tile("Refused or cut", whole(len(tables["reasons"])), "by the rules below"),
        tile(story.found.benchmark or "BTC held", escape(held), "over the same span"),
    ]
