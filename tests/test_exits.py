"""Exit settings: what an exchange can be told, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quantcore.exits import NO_EXITS


@pytest.mark.parametrize("tenths", [1, 7, 29, 100])
def test_a_trailing_stop_follows_by_tenths_of_a_per_cent(tenths: int) -> None:
    assert replace(NO_EXITS, trailing_stop=tenths / 1000).trailing_stop == tenths / 1000


@pytest.mark.parametrize("fraction", [0.0, 0.0005, 0.0125, 0.1001, 0.2, float("nan")])
def test_a_trailing_stop_that_the_exchange_does_not_take_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"0\.001 to 0\.1 in steps of 0\.001.* was {fraction}"):
        replace(NO_EXITS, trailing_stop=fraction)
