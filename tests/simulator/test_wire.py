from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.simulator.wire import digits_of, lots_text, text


@given(
    lots=st.integers(-(10**15), 10**15),
    step=st.sampled_from(["1", "10", "0.1", "0.001", "0.00000001", "0.25", "0.005"]),
)
def test_lots_are_written_exactly(lots: int, step: str) -> None:
    written = lots_text(lots, step)
    assert Decimal(written) == lots * Decimal(step)
    assert len(written.partition(".")[2]) == digits_of(step)
    assert "e" not in written.lower()


@pytest.mark.parametrize(
    ("value", "digits", "written"),
    [(1e-5, 8, "0.00001000"), (-0.0, 2, "0.00"), (-1e-9, 2, "0.00"), (1e9, 0, "1000000000"), (-2.5, 1, "-2.5")],
)  # fmt: skip
def test_numbers_are_never_written_in_powers_of_ten(
    value: float, digits: int, written: str
) -> None:
    assert text(value, digits) == written
