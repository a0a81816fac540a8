"""``python -m quantcore.research.trials action=show|verify|merge``: what was tried, and whether the ledger is whole."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from quantcore.errors import ConfigError
from quantcore.research.trials.entries import Entry, day_text
from quantcore.research.trials.ledger import Contents, Ledger, open_ledger
from quantcore.research.trials.overview import Group, contradictions, groups, missing_lines
from quantcore.timegrid import DAYS_PER_YEAR

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console

WIDTH = 120
"""Columns where nobody watches, and at most."""


def main(cfg: DictConfig) -> int:
    """Show, verify or merge, and return the exit code."""
    from rich.console import Console

    actions = {"show": show, "verify": verify, "merge": merge}
    if cfg.action not in actions:
        raise ConfigError(f"action must be one of {', '.join(actions)}, was {cfg.action}")
    ledger = open_ledger(cfg.ledger, writable=cfg.action != "verify")
    if ledger is None:
        raise ConfigError("ledger must be a path or a URL here, was off")
    sources = _sources(cfg)
    if bool(sources) != (cfg.action == "merge"):
        raise ConfigError(f"from must name ledgers for action=merge alone, was {list(sources)}")
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    return actions[cfg.action](ledger, sources, console)


def show(ledger: Ledger, sources: tuple[str, ...], console: Console) -> int:
    """Print a table of what was tried."""
    from rich.table import Table

    held = ledger.read()
    found = groups(held)
    _say_damage(held, console)
    if not found:
        console.print(f"{ledger.place} holds no trials.", soft_wrap=True)
        return 0
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("Experiment", "By", "Span", "Every", "Symbols", "Data"):
        table.add_column(name, overflow="fold", no_wrap=name == "Span")
    for name in ("Tried", "Independent", "Related", "Best", "Deflated"):
        table.add_column(name, justify="right")
    for group in found:
        table.add_row(*_row(group))
    console.print(table, width=min(console.width, WIDTH))
    total = sum(len(trials) for trials in held.trials.values())
    console.print(
        f"{total:,} trials in {len(held.entries):,} entries. Related: independent trials of everything in the ledger "
        "on the same market and an overlapping span. Best: the highest Sharpe ratio, a year's. Deflated: the "
        "probability that it is above what luck alone would show of the related.",
        style="dim",
    )
    return 0


def verify(ledger: Ledger, sources: tuple[str, ...], console: Console) -> int:
    """Print every line that cannot be read or contradicts itself; return 1 if there is one."""
    held = ledger.read()
    wrong = contradictions(held)
    _say_damage(held, console)
    for text in wrong:
        console.print(text, soft_wrap=True)
    faults = len(held.damaged) + len(wrong)
    console.print(
        f"{ledger.place}: {len(held.entries):,} entries and {len(held.markets):,} sets of bars read, "
        f"{faults:,} fault{'' if faults == 1 else 's'}.",
        soft_wrap=True,
    )
    return int(faults > 0)


def merge(ledger: Ledger, sources: tuple[str, ...], console: Console) -> int:
    """Add what other ledgers hold and this one does not."""
    others = []
    for place in sources:
        source = open_ledger(place, writable=False, key="from")
        others.append(Contents() if source is None else source.read())
        _say_damage(others[-1], console, place)
    lines = missing_lines(ledger.read(), others)
    if lines:
        ledger.add(lines)
    added = sum(isinstance(line, Entry) for line in lines)
    there = sum(len(other.entries) for other in others) - added
    console.print(
        f"{added:,} of {added + there:,} entries added to {ledger.place}; the others' trials were there already.",
        soft_wrap=True,
    )
    return 0


def _sources(cfg: DictConfig) -> tuple[str, ...]:
    from omegaconf import ListConfig

    given = cfg["from"]
    values = list(given) if isinstance(given, ListConfig) else [] if given is None else [given]
    if not all(isinstance(value, str) and value for value in values):
        raise ConfigError(f"from must be a list of paths or URLs, was {given}")
    return tuple(values)


def _say_damage(held: Contents, console: Console, place: str = "") -> None:
    for number, reason in held.damaged:
        console.print(f"{place}{' ' if place else ''}line {number} {reason}", soft_wrap=True)


def _row(group: Group) -> tuple[str, ...]:
    best = group.best.sharpe * DAYS_PER_YEAR**0.5
    return (
        group.experiment,
        ", ".join(group.commands),
        f"{day_text(group.place.first_day)} to {day_text(group.place.last_day)}",
        group.place.interval,
        "–" if group.symbols is None else str(group.symbols),
        group.place.fingerprint[:6],
        f"{group.found:,}",
        f"{group.effective:,.1f}",
        f"{group.related:,.1f}",
        "–" if best != best else f"{best:.2f}",
        "–" if group.deflated is None or best != best else f"{100.0 * group.deflated:.1f} %",
    )


if __name__ == "__main__":
    try:
        from quantcore.config import run_command

        code = run_command("trials", main)
    except KeyboardInterrupt:  # also while the imports above take their time
        print("interrupted", file=sys.stderr)
        code = 130
    raise SystemExit(code)
