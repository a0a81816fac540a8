"""The checklist can be read, and nobody is asked who could not answer."""

from __future__ import annotations

import io

from rich.console import Console

from live.guard.checks import failed, not_applicable, passed
from live.guard.terminal import checklist, question


class Terminal(io.StringIO):
    """Text that is typed, or shown, on a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_question_is_shown_and_the_line_typed_comes_back() -> None:
    shown = Terminal()
    ask = question(Terminal("trade real money in prod\nmore\n"), shown)
    assert ask is not None
    assert ask("type it: ") == "trade real money in prod\n"
    assert shown.getvalue() == "type it: "


def test_without_a_terminal_there_is_no_question() -> None:
    assert question(io.StringIO("trade real money in prod\n"), Terminal()) is None
    assert question(Terminal("trade real money in prod\n"), io.StringIO()) is None


def test_the_checklist_has_a_line_for_each_check() -> None:
    shown = io.StringIO()
    checks = [
        passed("mode", "is sim"),
        failed("keys", "are [not] set"),
        not_applicable("armed", "no"),
    ]
    Console(file=shown, width=60).print(checklist(checks))
    lines = [line.split() for line in shown.getvalue().splitlines()]
    assert lines == [
        ["✓", "mode", "is", "sim"],
        ["✗", "keys", "are", "[not]", "set"],
        ["–", "armed", "no"],
    ]
