"""Peaks over threshold against scipy's generalised Pareto distribution, numerical curvature and quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from quantcore.finance import extremes
from quantcore.finance.extremes import (
    ParetoTail,
    fit_pareto_tail,
    pareto_tail_loss,
    peaks_over_threshold_tail_loss,
    tail_threshold,
)
from quantcore.finance.risk_metrics import student_t_tail_loss
from quantcore.types import FloatArray

SEEDS = st.integers(0, 2**32 - 1)
TAIL = ParetoTail(threshold=0.0, xi=0.1, beta=1.0, n=9, n_exceed=3)


def excesses(xi: float, n: int, seed: int = 1) -> FloatArray:
    drawn = stats.genpareto.rvs(xi, scale=0.02, size=n, random_state=np.random.default_rng(seed))
    return np.asarray(drawn)


def loss_of(sample: FloatArray) -> Callable[[FloatArray], float]:
    """Minus the log-likelihood at (xi, ln beta) by scipy, over the shapes that we allow."""

    def loss(at: FloatArray) -> float:
        if at[0] < extremes.LOWEST_XI:
            return 1e9
        density = stats.genpareto.logpdf(sample, at[0], scale=math.exp(at[1])).sum()
        return min(-float(density), 1e9)

    return loss


@pytest.mark.parametrize("xi", [-0.9, -0.3, 0.0, 0.2, 0.8, 2.5])
@pytest.mark.parametrize("n", [5, 30, 400])
def test_no_other_pareto_tail_is_likelier_than_the_fitted_one(xi: float, n: int) -> None:
    sample = excesses(xi, n)
    fit = fit_pareto_tail(sample, threshold=0.0)
    loss = loss_of(sample)
    found = loss(np.array([fit.tail.xi, math.log(fit.tail.beta)]))
    assert fit.log_likelihood == pytest.approx(-found, rel=1e-9)
    others = [
        optimize.minimize(
            loss,
            [shape, math.log(np.median(sample))],
            method="Nelder-Mead",
            options={"xatol": 1e-10, "fatol": 1e-11, "maxiter": 4000},
        ).fun
        for shape in (-0.3, 0.1, 1.0)
    ]
    assert found <= min(others) + 1e-7


@pytest.mark.parametrize("xi", [-0.2, 0.0, 0.5, 1.4])
def test_the_standard_errors_are_those_of_the_likelihoods_curvature(xi: float) -> None:
    sample = excesses(xi, 300)
    fit = fit_pareto_tail(sample, threshold=0.0)
    beta = fit.tail.beta

    def loss(shape: float, scale: float) -> float:
        return -float(stats.genpareto.logpdf(sample, shape, scale=scale).sum())

    def curvature(one: FloatArray, other: FloatArray) -> float:
        x = np.array([fit.tail.xi, beta])
        signs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
        return sum(a * b * loss(*(x + a * one + b * other)) for a, b in signs) / 4.0

    steps = np.diag([1e-3, 1e-3 * beta])
    information = np.array([[curvature(one, other) for other in steps] for one in steps])
    errors = np.sqrt(np.diag(np.linalg.inv(information))) * np.diag(steps)
    assert (fit.se_xi, fit.se_beta) == pytest.approx(tuple(errors), rel=1e-3)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_standard_errors_do_not_jump_where_the_shape_is_almost_zero(sign: float) -> None:
    """The formula cancels near zero and gives way to its limit at 3e-4; Smith's expected information is close by."""
    n = 20_000
    sample = stats.genpareto.ppf((np.arange(n) + 0.5) / n, 0.0)
    inside, outside = (extremes._errors(sign * xi, 1.0, sample) for xi in (2.999e-4, 3.001e-4))
    assert inside == pytest.approx(outside, rel=1e-4)
    assert inside == pytest.approx((1.0 / math.sqrt(n), math.sqrt(2.0 / n)), rel=0.01)


def test_the_standard_error_is_the_spread_of_the_shape_over_samples() -> None:
    fits = [fit_pareto_tail(excesses(0.3, 250, seed), threshold=0.0) for seed in range(300)]
    spread = float(np.std([fit.tail.xi for fit in fits]))
    assert np.mean([fit.se_xi for fit in fits]) == pytest.approx(spread, rel=0.1)
    assert np.mean([fit.tail.xi for fit in fits]) == pytest.approx(0.3, abs=0.02)


def test_a_shape_at_its_bound_has_no_standard_error() -> None:
    fit = fit_pareto_tail(np.linspace(0.9, 1.0, 50), threshold=0.0)
    assert fit.tail.xi == extremes.LOWEST_XI
    assert math.isnan(fit.se_xi)
    assert math.isnan(fit.se_beta)


@given(SEEDS, st.floats(-0.3, 1.5), st.floats(1e-4, 1e4), st.floats(-10.0, 10.0))
def test_the_fit_moves_with_the_unit_and_the_origin(
    seed: int, xi: float, unit: float, origin: float
) -> None:
    sample = excesses(xi, 60, seed) / 0.02
    plain = fit_pareto_tail(sample, threshold=0.5)
    moved = fit_pareto_tail(unit * (sample + origin), threshold=unit * (0.5 + origin))
    assert moved.tail.n_exceed == plain.tail.n_exceed
    assert moved.tail.xi == pytest.approx(plain.tail.xi, abs=2e-5)
    assert moved.tail.beta == pytest.approx(unit * plain.tail.beta, rel=2e-5)


TAILS = st.builds(
    ParetoTail,
    threshold=st.floats(-0.05, 0.1),
    xi=st.floats(-0.5, 0.95),
    beta=st.floats(1e-3, 0.1),
    n=st.just(1000),
    n_exceed=st.integers(50, 1000),
)


@given(TAILS, st.floats(1e-5, 0.05))
def test_the_loss_is_that_of_the_tail_distribution(tail: ParetoTail, p: float) -> None:
    at_risk, shortfall = pareto_tail_loss(tail, tail_probability=p)
    law = stats.genpareto(tail.xi, tail.threshold, tail.beta)
    share = tail.n_exceed / tail.n
    assert at_risk == pytest.approx(law.isf(p / share), rel=1e-6, abs=1e-9)
    assert shortfall >= at_risk
    # The mean of what lies beyond: again a Pareto tail, of scale beta + xi (VaR - u).
    beyond = stats.genpareto(tail.xi, at_risk, tail.beta + tail.xi * (at_risk - tail.threshold))
    assert shortfall == pytest.approx(beyond.mean(), rel=1e-6, abs=1e-9)


def test_the_shortfall_is_the_mean_value_at_risk_beyond() -> None:
    tail = ParetoTail(threshold=0.03, xi=0.3, beta=0.01, n=500, n_exceed=40)
    mass, _ = integrate.quad(
        lambda u: pareto_tail_loss(tail, tail_probability=u)[0], 0.0, 0.01, limit=200
    )
    shortfall = pareto_tail_loss(tail, tail_probability=0.01)[1]
    assert shortfall == pytest.approx(mass / 0.01, rel=1e-6)


@given(TAILS, st.floats(1e-4, 0.05), st.floats(0.1, 10.0), st.floats(-1.0, 1.0))
def test_the_tail_loss_scales_and_shifts(
    tail: ParetoTail, p: float, stake: float, cash: float
) -> None:
    moved = ParetoTail(
        threshold=stake * tail.threshold - cash,
        xi=tail.xi,
        beta=stake * tail.beta,
        n=tail.n,
        n_exceed=tail.n_exceed,
    )
    plain = np.array(pareto_tail_loss(tail, tail_probability=p))
    np.testing.assert_allclose(
        pareto_tail_loss(moved, tail_probability=p), stake * plain - cash, rtol=1e-9, atol=1e-12
    )


def test_at_the_threshold_itself_the_loss_is_the_threshold() -> None:
    tail = ParetoTail(threshold=0.03, xi=0.3, beta=0.01, n=70, n_exceed=7)
    assert pareto_tail_loss(tail, tail_probability=0.1)[0] == pytest.approx(0.03)
    # 0.1 * 3 is 0.30000000000000004 in floating point.
    rounded = replace(tail, n=10, n_exceed=3)
    assert pareto_tail_loss(rounded, tail_probability=0.1 * 3)[0] == pytest.approx(0.03)


def test_a_tail_without_mean_has_an_infinite_shortfall() -> None:
    tail = ParetoTail(threshold=0.03, xi=1.0, beta=0.01, n=1000, n_exceed=100)
    at_risk, shortfall = pareto_tail_loss(tail, tail_probability=0.01)
    assert at_risk == pytest.approx(0.03 + 0.01 * 9.0)
    assert shortfall == math.inf


def test_the_threshold_leaves_the_share_above_it() -> None:
    losses = np.random.default_rng(3).permutation(np.arange(100.0))
    for share, above in ((0.07, 7), (0.1, 10), (0.155, 15)):
        assert int((losses > tail_threshold(losses, exceed_share=share)).sum()) == above


def test_losses_at_the_threshold_do_not_exceed_it_and_missing_ones_do_not_count() -> None:
    fit = fit_pareto_tail([1.0, np.nan, 2.0, 2.0, 3.0, 4.0, 6.0], threshold=2.0)
    assert (fit.tail.n, fit.tail.n_exceed) == (6, 3)


def test_far_out_peaks_over_threshold_comes_close_to_the_truth() -> None:
    returns = 0.01 * np.random.default_rng(4).standard_t(4, 20_000)
    found = peaks_over_threshold_tail_loss(returns, tail_probability=0.001, exceed_share=0.05)
    truth = student_t_tail_loss(0.0, 0.01, dof=4.0, tail_probability=0.001)
    assert found == pytest.approx(truth, rel=0.1)


@given(SEEDS, st.floats(0.005, 0.1), st.floats(0.1, 10.0), st.floats(-1.0, 1.0))
def test_the_loss_of_returns_scales_and_shifts(
    seed: int, p: float, stake: float, cash: float
) -> None:
    returns = np.random.default_rng(seed).standard_t(4, 200)
    plain = np.array(peaks_over_threshold_tail_loss(returns, tail_probability=p))
    moved = peaks_over_threshold_tail_loss(stake * returns + cash, tail_probability=p)
    assert plain[1] >= plain[0]
    np.testing.assert_allclose(moved, stake * plain - cash, rtol=1e-3, atol=1e-3 * stake)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tail_threshold([1.0, 2.0], exceed_share=0.0), r"exceed_share must be in \(0, 1\), was 0\.0"),
        (lambda: tail_threshold([math.nan], exceed_share=0.1), "losses must hold at least 1 known values, held 0"),
        (lambda: fit_pareto_tail([1.0, math.inf], threshold=0.0), "losses must be finite or NaN, was infinite at 1"),
        (lambda: fit_pareto_tail([1.0, 2.0, 3.0], threshold=1.0), "threshold = 1.0 must be >= 3 .* were 2"),
        (lambda: fit_pareto_tail([2.0] * 9, threshold=1.0), "losses above threshold must differ, all were 2.0"),
        (lambda: fit_pareto_tail([2.0, 3.0], threshold=math.nan), "threshold must be finite, was nan"),
        (lambda: replace(TAIL, beta=0.0), r"beta must be finite and > 0, was 0\.0"),
        (lambda: replace(TAIL, xi=math.nan), "xi must be finite, was nan"),
        (lambda: replace(TAIL, threshold=math.inf), "threshold must be finite, was inf"),
        (lambda: replace(TAIL, n_exceed=10), r"n_exceed must be in \[1, n = 9\], was 10"),
        (lambda: pareto_tail_loss(TAIL, tail_probability=0.4),
         "tail_probability must be <= n_exceed / n = 0.333333, was 0.4"),
        (lambda: pareto_tail_loss(TAIL, tail_probability=0.0),
         r"tail_probability must be in \(0, 1\), was 0\.0"),
        (lambda: peaks_over_threshold_tail_loss([0.01] * 50, tail_probability=0.05), "must be >= 3"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
