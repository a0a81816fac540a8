"""A run read out of its journal: put to closes, and its holes filled."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from live.parity.recorded import at_closes, without_holes
from tests.parity.sides import HOUR_US, bars, changed, side, stamps


def test_what_happened_within_a_bar_is_put_to_its_close_and_funding_to_its_hour() -> None:
    moved = side()
    second = pd.Timedelta(1, unit="s")
    moved["orders"] = moved["orders"].assign(decision_ts=moved["orders"]["decision_ts"] - second)
    moved["fills"] = moved["fills"].assign(ts=moved["fills"]["ts"] - 3599 * second)
    moved["funding"] = moved["funding"].assign(ts=moved["funding"]["ts"] + 7 * second)
    found = at_closes(moved, "1h")
    for name, column in (("orders", "decision_ts"), ("fills", "ts"), ("funding", "ts")):
        assert (found[name][column] == side()[name][column]).all()
    later = changed("fills", 0, ts=stamps([1])[0] + second)
    assert at_closes(later, "1h")["fills"]["ts"].iloc[0] == stamps([2])[0]


def test_bars_that_the_run_did_not_see_are_nan_and_a_bar_told_again_counts_once() -> None:
    whole = bars()
    rows = [whole.rows(n, n + 1) for n in (0, 1, 1, 4)]
    found, missing = without_holes(rows)
    assert missing == 2
    assert np.diff(found.ts_us).tolist() == [HOUR_US] * 4
    assert np.isnan(found.array("close")).all(axis=1).tolist() == [False, False, True, True, False]


@pytest.mark.parametrize("n", [1, 5])
def test_bars_without_holes_are_themselves(n: int) -> None:
    whole = bars().rows(0, n)
    found, missing = without_holes([whole.rows(k, k + 1) for k in range(n)])
    assert missing == 0
    assert found.array("close").tobytes() == np.ascontiguousarray(whole.array("close")).tobytes()
