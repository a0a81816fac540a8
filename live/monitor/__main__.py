"""``python -m live.monitor run=PATH|db=URL``: a run against its targets, as a scorecard and a report."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omegaconf import DictConfig
    from rich.console import Console

    from live.monitor.score import Score

WIDTH = 120
"""Columns where nobody watches."""
_STYLES = {"met": "green", "not met": "red"}


def main(cfg: DictConfig) -> int:
    """Print the scorecard, write the report, and print where it is."""
    from pathlib import Path

    from rich.console import Console

    from live.monitor.page import page, text
    from live.monitor.place import place_of
    from live.monitor.summary import summary
    from live.monitor.tracker import TrackerSettings, track
    from quantcore.backtest.folder import publish, to_json
    from quantcore.config import build, writable_folder

    place = place_of(
        None if cfg.run is None else str(cfg.run), None if cfg.db is None else str(cfg.db)
    )
    settings = build(cfg.monitor, TrackerSettings)
    runs = writable_folder(str(cfg.runs), key="runs")
    found = track(place, settings)
    short, html = text(found), page(found)
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    print_scores(console, found.scores)
    console.print(f"\n{short}\n", markup=False, soft_wrap=True)

    def fill(folder: Path) -> None:
        (folder / "report.html").write_text(html, "utf-8")
        (folder / "report.txt").write_text(f"{short}\n", "utf-8")
        (folder / "summary.json").write_text(to_json(summary(found)), "utf-8")

    print(publish(runs, "monitor", f"{found.record.name}-{settings.period}", fill))
    return 0


def print_scores(console: Console, scores: Sequence[Score]) -> None:
    """Print the targets as a table."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name, right in (("Target", False), ("Asked", True), ("Measured", True), ("State", False)):
        drawn.add_column(name, justify="right" if right else "left", no_wrap=True)
    drawn.add_column("Why", overflow="fold")
    for score in scores:
        state = Text(score.state.value, style=_STYLES.get(score.state.value, ""))
        drawn.add_row(score.name, score.target, score.value, state, Text(score.reason))
    console.print(drawn)


if __name__ == "__main__":
    try:
        from quantcore.config import run_command

        code = run_command("monitor", main)
    except KeyboardInterrupt:  # also while the imports above take their time
        print("interrupted", file=sys.stderr)
        code = 130
    raise SystemExit(code)
