"""What a snapshot holds beside the ledger: the parts of an exchange that count something, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Kept(Protocol):
    """A part whose state goes into a snapshot: faults, listen keys, limits."""

    def state(self) -> dict[str, Any]:
        """Return what changes, as plain values of which JSON can be made."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` returned."""
        ...


def state_of(parts: Mapping[str, Kept]) -> dict[str, Any]:
    """Return the state of all parts, by their names."""
    return {name: part.state() for name, part in parts.items()}


def restore(parts: Mapping[str, Kept], states: Mapping[str, Any]) -> None:
    """Let all parts go back to what `state_of` returned; states of no part are passed over.

    Raises
    ------
    KeyError
        If a part's state is missing; then nothing has changed.
    """
    found = {name: states[name] for name in parts}
    for name, part in parts.items():
        part.restore(found[name])
