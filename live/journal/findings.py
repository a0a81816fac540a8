"""What a check of the journal found."""

from __future__ import annotations

from dataclasses import dataclass


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
