"""The terminal on which an operator reads the checklist, and may arm a mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TextIO

from rich.table import Table
from rich.text import Text

from live.guard.checks import Check, Verdict

_SHOWN = {
    Verdict.PASSED: Text("✓", style="green"),
    Verdict.FAILED: Text("✗", style="bold red"),
    Verdict.NOT_APPLICABLE: Text("–", style="dim"),
}


def question(typed: TextIO, shown: TextIO) -> Callable[[str], str] | None:
    """Return what shows a question and returns the line that was typed; None where nobody could type.

    Parameters
    ----------
    typed, shown : TextIO
        Such as ``sys.stdin`` and ``sys.stderr``; both must be a terminal.
    """
    if not (typed.isatty() and shown.isatty()):
        return None

    def ask(text: str) -> str:
        shown.write(text)
        shown.flush()
        return typed.readline()

    return ask


def checklist(checks: Iterable[Check]) -> Table:
    """Return the checks as a person reads them: ✓ holds, ✗ does not, – has no meaning here."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        style = "dim" if check.verdict is Verdict.NOT_APPLICABLE else ""
        table.add_row(_SHOWN[check.verdict], Text(check.name, style), Text(check.line, style))
    return table
