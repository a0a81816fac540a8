"""How orders fared: what was filled, what it cost against the paper portfolio, and where the market went then."""

from __future__ import annotations

from html import escape

import numpy as np

from quantcore import plots
from quantcore.backtest.execution_quality import ExecutionQuality, execution_quality
from quantcore.backtest.markup import (
    MISSING,
    chart,
    is_zero,
    known,
    money,
    pair,
    percent,
    plural,
    ratio,
    section,
    sentence,
    table,
    tile,
    tiles,
)
from quantcore.backtest.sections.story import Section, Story
from quantcore.execution.shortfall import PARTS, ShortfallSummary

_NAMES = {
    "delay": "Delay",
    "spread": "Spread, slippage",
    "impact": "Price moves",
    "missed": "Missed",
    "fees": "Fees",
    "total": "Total",
}


def execution(story: Story) -> Section:
    """Return fill rate, post-only success, slippage, shortfall and its parts, and adverse selection."""
    found = execution_quality(story.run)
    after = f"<h3>After maker fills</h3>{_after(story, found)}"
    body, figures = [tiles(_tiles(story, found), small=True)], {}
    if found.shortfall.decisions:
        figures["shortfall"] = _figure(found.shortfall)
        body.append(
            pair(
                ("Shortfall by part", chart("shortfall")), ("In money", _in_money(found.shortfall))
            )
        )
    lead = (
        "Against a portfolio on paper, which trades every decision whole, at the close at which it is taken and for "
        "nothing. Delay runs from there to the next open, price moves from that open to the fills; crossing pays the "
        "spread, and slippage as modelled. What stays unfilled is missed at the next decision's close."
    )
    return section("Execution", lead, *body, after), figures


def _tiles(story: Story, found: ExecutionQuality) -> list[str]:
    m, total = story.metrics, found.shortfall
    posted = int((story.run.tables["orders"]["time_in_force"] == "GTX").sum())
    coarse = f"not measurable on {story.run.bars.interval} bars"
    fine = found.adverse is not None
    decided = plural(total.decisions, "decision")
    rested = f"of {plural(posted, 'post-only order')} filled whole" if posted else "none was sent"
    return [
        tile(
            "Fill rate",
            escape(percent(m["fill_rate"])),
            f"filled of wanted, mean of {decided}" if fine else coarse,
        ),
        tile(
            "Post-only success",
            escape(percent(m["post_only_success"])),
            rested if fine else coarse,
        ),
        tile(
            "Mean slippage",
            escape(_bps(m["mean_slippage_bps"])),
            "takers, to spread and slippage",
        ),
        tile(
            "Shortfall",
            escape(_bps(m["shortfall_bps"])),
            f"of what {decided} wanted",
        ),
    ]


def _figure(total: ShortfallSummary) -> plots.Spec:
    return plots.shortfall(
        [_NAMES[part] for part in PARTS], np.array([total.bps(part) for part in PARTS])
    )


def _in_money(total: ShortfallSummary) -> str:
    rows = [
        (escape(_NAMES[part]), ratio(total.bps(part)), money(total.money(part)))
        for part in (*PARTS, "total")
    ]
    drawn = table(["Part", "bps", "USDT"], rows[:-1], total=rows[-1])
    if not total.incomplete:
        return drawn
    left_out = f"{plural(total.incomplete, 'decision')} without a price to measure by left out."
    return f'{drawn}<p class="lead">{escape(left_out)}</p>'


def _after(story: Story, found: ExecutionQuality) -> str:
    """Return where the market went after maker fills, or why nobody knows."""
    if found.adverse is None:
        return sentence(
            f"Execution bars of {story.run.bars.interval} trade through almost any resting order, so the router "
            "crosses: fill rate, post-only success and what follows a maker's fill need bars of 5 minutes or finer."
        )
    if not found.adverse.fills:
        return sentence("No order was filled as maker.")
    fills = story.run.tables["fills"]
    traded = float((fills["qty"] * fills["price"]).sum())
    soon, later = (_against(bps) for bps in found.adverse.moves_bps)
    text = (
        f"{plural(found.adverse.fills, 'fill')} as maker, {percent(found.adverse.notional / traded)} of what was "
        f"traded. By the close of its bar the price had moved {soon} from the fill, and an hour later {later}: "
        "adverse selection is what a resting order gives back of the spread that it saves."
    )
    return f'<p class="lead">{escape(text)}</p>'


def _against(bps: float) -> str:
    if not known(bps):
        return "to where no bar is known"
    size = _bps(abs(bps))
    return "by nothing" if is_zero(size) else f"{size} {'against' if bps > 0.0 else 'for'} us"


def _bps(value: float | None) -> str:
    return f"{ratio(value)} bps" if known(value) else MISSING
