"""What a check of the journal found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

HOLDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "database": "the file is sound, no row names a lost one",
        "steps": "numbers without holes, never back in time",
        "client ids": "each sent once, under its session's prefix",
        "answers": "one final answer to a request",
        "snapshots": "each has the hash of its step",
        "fills": "each once, each of an order that was sent",
        "orders": "every order lived as an order can",
        "wallet": "each wallet told is the last and what moved",
        "funding": "the stream and the list of incomes agree",
        "replay": "every state comes out of its inputs again",
        "own wallet": "what was booked is what the exchange has",
        "protection": "a protective stop for every position",
    }
)
"""What each check proves, by its name."""


@dataclass(frozen=True)
class Check:
    """One check: its name, how much it looked at, what was not as it must be, and why it was left out if it was."""

    name: str
    examined: int = 0
    differences: tuple[str, ...] = ()
    skipped: str = ""

    @property
    def outcome(self) -> str:
        """In one word or sentence."""
        if self.skipped:
            return f"not checked: {self.skipped}"
        found = len(self.differences)
        return "whole" if not found else f"{found} difference{'' if found == 1 else 's'}"
