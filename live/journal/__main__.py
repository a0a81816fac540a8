"""``python -m live.journal action=verify|export|import|prune``: what the loop wrote down, and whether it is whole."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from quantcore.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from live.journal.findings import Check
    from live.journal.journal import Journal
    from live.journal.replay_check import ReplayerOf

WIDTH = 120
"""Columns where nobody watches, and at most."""


def main(cfg: DictConfig) -> int:
    """Do what the settings ask for, and return the exit code."""
    actions = {"verify": verify, "export": export, "import": import_, "prune": prune}
    if cfg.action not in actions:
        raise ConfigError(f"action must be one of {', '.join(actions)}, was {cfg.action}")
    for key, action in (("from", "import"), ("before", "prune"), ("days", "prune")):
        if cfg[key] is not None and cfg.action != action:
            raise ConfigError(f"{key} must be null but for action={action}, was {cfg[key]}")
    return actions[cfg.action](cfg)


def verify(cfg: DictConfig) -> int:
    """Print a table of all checks, and the first difference."""
    from rich.console import Console
    from rich.table import Table

    from live.journal.findings import HOLDS
    from live.journal.verify import verify

    with _opened(cfg, read_only=True) as journal:
        checks = verify(journal, _replayer(cfg))
        place = journal.place
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("Check", no_wrap=True)
    table.add_column("What must hold", no_wrap=True, style="dim")
    table.add_column("Examined", justify="right")
    table.add_column("Result", overflow="fold")
    for check in checks:
        table.add_row(
            check.name,
            HOLDS.get(check.name, ""),
            f"{check.examined:,}",
            check.outcome,
            style=_style(check),
        )
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    console.print(table)
    first = next((check for check in checks if check.differences), None)
    if first is not None:
        console.print(
            f"{place} is not whole: {first.differences[0]}.", soft_wrap=True, markup=False
        )
        return 1
    left_out = [check.name for check in checks if check.skipped]
    but = f", as far as it was checked: {', '.join(left_out)} not" if left_out else ""
    console.print(f"{place} is whole{but}.", soft_wrap=True, markup=False)
    return 0


def _style(check: Check) -> str:
    return "red" if check.differences else "yellow" if check.skipped else ""


def export(cfg: DictConfig) -> int:
    """Write the export and print its folder."""
    from pathlib import Path

    from live.journal.transfer import write_export
    from quantcore.backtest.folder import publish
    from quantcore.config import writable_folder

    runs = writable_folder(str(cfg.runs), key="runs")
    with _opened(cfg, read_only=True) as journal:

        def fill(folder: Path) -> None:
            write_export(journal, folder)

        print(publish(runs, "journal", str(cfg.conf.mode), fill))
    return 0


def import_(cfg: DictConfig) -> int:
    """Fill an empty journal."""
    from pathlib import Path

    from live.journal.transfer import read_export

    if cfg["from"] is None:
        raise ConfigError("from must be a folder that action=export wrote, was null")
    with _opened(cfg, made=True) as journal:
        rows = read_export(journal, Path(str(cfg["from"])))
        print(f"{rows:,} rows, equal to those of {cfg['from']}, are in {journal.place}.")
    return 0


def prune(cfg: DictConfig) -> int:
    """Drop what no replay needs any more, and say how much that was."""
    from live.journal.prune import prune

    before_us = _before_us(cfg)
    with _opened(cfg) as journal:
        done = prune(journal, before_us=before_us)
        journal.compact()
        print(
            f"{journal.place}: inputs of {done.steps:,} steps, {done.snapshots:,} snapshots, {done.events:,} events "
            f"and {done.health:,} heartbeats dropped; it can be replayed from step {done.from_seq:,} on."
        )
    return 0


def _before_us(cfg: DictConfig) -> int:
    import time

    from quantcore.timegrid import DAY_US, to_us

    if (cfg.before is None) == (cfg.days is None):
        raise ConfigError(
            f"prune must be given before or days, was given before={cfg.before} and days={cfg.days}"
        )
    if cfg.before is not None:
        return to_us(str(cfg.before))
    if isinstance(cfg.days, bool) or not isinstance(cfg.days, int | float) or not cfg.days >= 0:
        raise ConfigError(f"days must be a number >= 0, was {cfg.days}")
    return time.time_ns() // 1_000 - int(cfg.days * DAY_US)


def _opened(cfg: DictConfig, *, read_only: bool = False, made: bool = False) -> Journal:
    from live.journal.database import sqlite_path, without_password
    from live.journal.journal import open_journal

    url = str(cfg.journal.url)
    without_password(url)
    path = sqlite_path(url)
    if not made and path is not None and not path.is_file():
        raise ConfigError(
            f"journal must be there, {path} is not: python -m live.run conf={cfg.conf.mode} makes it"
        )
    return open_journal(url, read_only=read_only, synchronous=str(cfg.journal.synchronous))


def _replayer(cfg: DictConfig) -> ReplayerOf | None:
    from pkgutil import resolve_name

    name = cfg.journal.replayer
    if name is None:
        return None
    try:
        found: ReplayerOf = resolve_name(str(name))
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"journal.replayer must be the dotted name of a function, was {name}: {error}"
        ) from error
    if not callable(found):
        raise ConfigError(f"journal.replayer must be the dotted name of a function, was {name}")
    return found


if __name__ == "__main__":
    try:
        from quantcore.config import run_command

        code = run_command("journal", main)
    except KeyboardInterrupt:  # also while the imports above take their time
        print("interrupted", file=sys.stderr)
        code = 130
    raise SystemExit(code)
