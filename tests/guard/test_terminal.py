"""Nobody is asked who could not answer."""

from __future__ import annotations

import io

from live.guard.terminal import question


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
