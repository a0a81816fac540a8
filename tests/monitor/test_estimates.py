"""Intervals against independent programs and by hand, and the verdicts that follow from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from live.monitor.estimates import (
    NOTHING,
    Estimate,
    State,
    around,
    clustered_ratio,
    fact,
    proportion,
    quantile,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (0, 59), (4, 20), (20, 20), (57, 300)])
def test_a_share_has_the_exact_interval(hits: int, n: int) -> None:
    found = proportion(hits, n)
    theirs = binomtest(hits, n).proportion_ci(0.9, "exact")
    assert (found.value, found.n) == (hits / n, n)
    # Ours leaves 5 % beyond an end also where there is only one.
    one_sided = {"less": hits == 0, "greater": hits == n}
    for side, alone in one_sided.items():
        if alone:
            theirs = binomtest(hits, n, alternative=side).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_hits_beyond_the_trials_are_refused() -> None:
    with pytest.raises(ValueError, match=r"hits must be in \[0, n = 3\], was 4"):
        proportion(4, 3)
    assert proportion(0, 0) is NOTHING


def test_the_interval_of_a_median_lies_between_order_statistics() -> None:
    # Binomial(10, 1/2): P(<= 1) = 0.0107, P(<= 2) = 0.0547; so the 2nd and the 9th.
    found = quantile(np.arange(1.0, 11.0), 0.5)
    assert (found.low, found.value, found.high) == (2.0, 5.5, 9.0)


@pytest.mark.parametrize(("n", "is_known"), [(298, False), (299, True)])
def test_the_99th_percentile_is_bounded_from_299_values_on(n: int, is_known: bool) -> None:
    found = quantile(np.arange(float(n)), 0.99)
    assert math.isfinite(found.high) is is_known  # 0.99^299 = 0.0495
    assert found.state(below=1e6) is (State.MET if is_known else State.EARLY)
    assert found.state(below=1.0) is State.MISSED


def test_quantiles_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    below = above = 0
    for _ in range(2_000):
        found = quantile(rng.exponential(size=60), 0.9)
        truth = -math.log(0.1)
        below += found.high < truth
        above += found.low > truth
    assert below <= 0.06 * 2_000
    assert above <= 0.06 * 2_000
    assert below + above > 0  # an interval that is never wrong is too wide


def test_a_ratio_of_clusters_follows_by_hand() -> None:
    found = clustered_ratio(
        np.array([1.0, 2.0, 3.0, 0.0]), np.array([1.0, 1.0, 2.0, 1.0]), np.array([5, 5, 7, 9])
    )
    ratio = 6.0 / 5.0
    residuals = [3.0 - 2 * ratio, 3.0 - 2 * ratio, 0.0 - ratio]
    error = math.sqrt(3 / 2 * sum(each**2 for each in residuals)) / 5.0
    assert found.value == pytest.approx(ratio)
    assert found.high - found.value == pytest.approx(1.6448536 * error)
    assert found.n == 3
    alone = clustered_ratio(np.array([1.0]), np.array([2.0]), np.array([1]))
    assert (alone.value, alone.low, alone.high) == (0.5, -math.inf, math.inf)
    assert clustered_ratio(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64)) is NOTHING


def test_a_verdict_needs_the_whole_interval() -> None:
    found = around(2.0, 0.5, 100)
    assert found.state(above=1.0) is State.MET
    assert found.state(above=1.5) is State.EARLY
    assert found.state(above=3.0) is State.MISSED
    assert found.state(below=3.0) is State.MET
    assert found.state(below=1.0) is State.MISSED
    assert around(2.0, math.inf, 1).state(above=1.0) is State.EARLY
    assert fact(0.0, 5).state(below=0.0) is State.MET
    assert NOTHING.state(above=1.0) is State.UNKNOWN
    with pytest.raises(ValueError, match="exactly one of above and below must be given"):
        Estimate(value=1.0, low=0.0, high=2.0, n=1).state()
