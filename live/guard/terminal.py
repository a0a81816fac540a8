"""The terminal on which an operator may arm a mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO


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
