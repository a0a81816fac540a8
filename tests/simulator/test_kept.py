"""A snapshot holds every part by its name, and is taken back whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from live.simulator.kept import restore, state_of


class Count:
    def __init__(self, n: int) -> None:
        self.n = n

    def state(self) -> dict[str, Any]:
        return {"n": self.n}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.n = state["n"]


def test_every_part_goes_back_to_its_own_state() -> None:
    parts = {"a": Count(1), "b": Count(2)}
    states = state_of(parts)
    parts["a"].n = parts["b"].n = 9
    restore(parts, states | {"unknown": {}})
    assert (parts["a"].n, parts["b"].n) == (1, 2)


def test_nothing_changes_where_a_part_is_missing() -> None:
    parts = {"a": Count(1), "b": Count(2)}
    with pytest.raises(KeyError, match="b"):
        restore(parts, {"a": {"n": 7}})
    assert parts["a"].n == 1
