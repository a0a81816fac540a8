"""States of folds are values: what was handed over is never written to, and other settings are refused by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from quantcore.errors import SchemaMismatch
from quantcore.fold import SETTINGS, FoldState, reopen, resume
from quantcore.types import Array


@dataclass(frozen=True)
class Settings:
    fast: int = 3
    slow: int = 9


def empty(n_symbols: int = 2) -> dict[str, Array]:
    return {"sums": np.zeros(n_symbols), "ring": np.zeros((3, n_symbols))}


def resumed(state: FoldState | None, settings: Settings, n_symbols: int = 2) -> FoldState:
    held = resume(
        state, "f", 1, n_symbols=n_symbols, settings=settings, empty=lambda: empty(n_symbols)
    )
    held["sums"] += 1.0
    return held.state()


def test_a_state_is_not_changed_by_what_follows_it() -> None:
    first = resumed(None, Settings())
    second = resumed(first, Settings())
    assert first["sums"].tolist() == [1.0, 1.0]
    assert second["sums"].tolist() == [2.0, 2.0]
    assert resumed(first, Settings()).digest() == second.digest()


def test_arrays_are_read_only_once_somebody_looks() -> None:
    state = FoldState.of("f", 1, {"b": np.ones((4, 4))[:, ::2], "a": np.zeros(2)})
    copies = state.copies()
    copies["a"][0] = 7.0
    assert list(state) == ["a", "b"]
    assert state["a"].tolist() == [0.0, 0.0]
    assert state["b"].flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        state["a"][0] = 1.0
    assert state.copies()["b"].flags.writeable
    with pytest.raises(AttributeError, match="nothing"):
        state.nothing  # type: ignore[attr-defined] # noqa: B018 - the attribute is not there


def test_a_state_taken_over_is_that_of_copied_arrays() -> None:
    arrays: dict[str, Array] = {"sums": np.arange(3.0), "count": np.array([4])}
    copied = FoldState("f", 1, {name: array.copy() for name, array in arrays.items()})
    assert FoldState.of("f", 1, arrays).to_bytes() == copied.to_bytes()


@pytest.mark.parametrize("loaded", [False, True])
def test_other_settings_and_symbols_are_refused_by_name(loaded: bool) -> None:
    state = resumed(None, Settings())
    if loaded:
        state = FoldState.from_bytes(state.to_bytes())
    assert state[SETTINGS].item() == repr(Settings()).encode()
    with pytest.raises(
        SchemaMismatch, match=r"f state must be of the settings slow=8\), was of slow=9"
    ):
        resumed(state, replace(Settings(), slow=8))
    with pytest.raises(
        SchemaMismatch, match=r"f state must have ring of shape and type .*other symbols"
    ):
        resumed(state, Settings(), n_symbols=3)


def test_a_state_that_lacks_an_array_or_its_settings_is_refused() -> None:
    held = resumed(None, Settings()).copies()
    del held["ring"]
    with pytest.raises(SchemaMismatch, match=r"must have ring of shape and type .*, was None"):
        resumed(FoldState("f", 1, held), Settings())
    with pytest.raises(SchemaMismatch, match=r"must be of the settings .*, was of none"):
        resumed(FoldState("f", 1, empty()), Settings())


def test_reopened_arrays_keep_whose_they_are() -> None:
    state = resumed(None, Settings())
    held = reopen(state, "f", 1)
    held["sums"][0] = 5.0
    assert held.state().made_by == state.made_by
    assert state["sums"][0] == 1.0
    with pytest.raises(SchemaMismatch, match="state must be of kind 'g'"):
        reopen(state, "g", 1)
