"""What a comparison is called, for terminal and page alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from live.parity.gap import PARTS
from live.parity.study import Study
from quantcore.backtest.markup import money, plural

Summary = Mapping[str, Any]

TABLES = (
    ("decisions", "Target weights", "bit for bit"),
    ("orders", "Orders sent", "bit for bit"),
    ("fills", "Fills and fees", "bit for bit"),
    ("funding", "Funding", "bit for bit"),
    ("liquidations", "Liquidations", "to eight digits"),
    ("equity", "Equity", "to 1e-9 of the capital"),
)
"""Keys of the summary, what they count, and how exactly that is compared."""


def tables(study: Study) -> list[tuple[str, str, str]]:
    """Return the rows of `TABLES`; what an exchange of a real run told is compared to its eight digits."""
    if study.summary["wallet_error"] is not None:
        return list(TABLES)
    told = ("orders", "fills", "funding")
    return [(key, name, "to eight digits" if key in told else how) for key, name, how in TABLES]


def verdict(study: Study) -> str:
    """Return the sentence that answers the question."""
    summary = study.summary
    decisions, fills = plural(summary["decisions"], "decision"), plural(summary["fills"], "fill")
    if study.comparison.equal:
        return f"Equal: {decisions} and {fills}, no difference."
    wrong = ", ".join(
        f"{summary[f'differing_{key}']:,} of {summary[key]:,} {key}"
        for key, _, _ in TABLES
        if summary[f"differing_{key}"]
    )
    return f"Different: {wrong}."


def when(ts: str) -> str:
    """Return an ISO time as it is read, to the second where it has no parts of one."""
    return ts.replace("T", " ").removesuffix("+00:00")


def first_told(study: Study) -> str:
    """Return what differs first, and where that comes from; needs a difference."""
    first = study.first
    assert first is not None
    place = f" of {first['symbol']}" if first["symbol"] else ""
    values = [
        "nothing" if first[side] is None else str(first[side]) for side in ("backtest", "live")
    ]
    told = (
        f"first difference at {when(first['ts'])}: {first['field']}{place} ({first['subject']}) is {values[0]} in the "
        f"backtest and {values[1]} live. {first['kind'].capitalize()}: {first['meaning']}."
    )
    why = study.summary["skipped"].get(first["ts"], "") if first["subject"] == "targets" else ""
    return f"{told} The run skipped this decision: {why}." if why else told


def notes(study: Study) -> list[str]:
    """Return what else is to be known."""
    summary = study.summary
    said = [f"Not understood by the loop: {doubt}" for doubt in summary["doubts"]]
    if summary["wallet_error"] is not None:
        said.append(
            f"The exchange's own wallet is {summary['wallet_error']:+.2e} USDT from the loop's at the end; it tells "
            "eight decimals of each amount."
        )
    if summary["expired_for_canceled"]:
        said.append(
            f"{plural(summary['expired_for_canceled'], 'order')} ended at the exchange together with the position "
            "before the loop could cancel them: expired there, canceled in the backtest, taken for the same."
        )
    return [*said, *summary["notes"]]


def gap_told(study: Study) -> str:
    """Return what the difference in equity at the end is made of."""
    parts = study.summary["gap"]
    named = [f"{name} {money(parts[name], signed=True, decimals=4)}" for name in PARTS]
    shown = [text for name, text in zip(PARTS, named, strict=True) if abs(parts[name]) >= 5e-5]
    total = money(parts["total"], signed=True, decimals=4)
    return f"live less backtest at the end: {total} USDT" + (
        f" = {', '.join(shown)}" if shown else ""
    )
