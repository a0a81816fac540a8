"""First passage against the inverse Gaussian law, bridges against quadrature, paths against a plain numpy loop."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from quantcore.finance.liquidation import bracket_table
from quantcore.kernels import passage
from quantcore.kernels.layout import CUM, MAINTENANCE_RATE
from quantcore.types import FloatArray

BRACKETS = bracket_table([0, 500, 1500, 6000], [0.005, 0.01, 0.025, 0.05])
LONG, SHORT = 1.0, -1.0
DAY = 1.0 / 365.0


def book(
    seed: int, *, n: int, n_cross: int, leverage: float = 8.0, n_steps: int = 24
) -> passage.Book:
    """Correlated hourly shocks, positions of both signs in several brackets, funding every 8 h."""
    rng = np.random.default_rng(seed)
    position = np.empty((n, passage.N_HOLDING))
    position[:, passage.ENTRY] = 100.0
    position[:, passage.MARK] = rng.uniform(97.0, 103.0, n)
    position[:, passage.QTY] = rng.choice([-1.0, 1.0, 1.0, 1.0], n) * rng.uniform(0.5, 30.0, n)
    notional = np.abs(position[:, passage.QTY]) * 100.0
    position[:, passage.MARGIN] = notional / leverage
    position[:, passage.STEP_VOL] = 0.012
    position[:, passage.FEE] = 0.0125
    covariance = 0.012**2 * (0.6 + 0.4 * np.eye(n))
    funding = np.zeros((n_steps, n))
    funding[7::8] = 3e-4
    return passage.Book(
        wallet=float(notional[:n_cross].sum()) / leverage,
        n_cross=n_cross,
        position=position,
        bracket=np.repeat(BRACKETS[None], n, axis=0),
        covariance=covariance,
        growth=np.exp(rng.multivariate_normal(np.zeros(n), covariance, size=3000)),
        funding=funding,
    )


def draws(seed: int, of: passage.Book, *, n_paths: int, n_jumps: int = 0) -> passage.Draws:
    rng = np.random.default_rng(seed)
    n_steps = len(of.funding)
    path = np.sort(rng.integers(n_paths, size=n_jumps))
    step = np.concatenate(
        [np.sort(rng.integers(n_steps, size=(path == p).sum())) for p in range(n_paths)]
    )
    return passage.Draws(
        row=rng.integers(len(of.growth), size=(n_paths, n_steps)),
        first_jump=np.searchsorted(path, np.arange(n_paths + 1)),
        jump_step=step.astype(np.int64),
        jump_member=rng.integers(-1, len(of.position), size=n_jumps),
        jump_size=rng.normal(-0.05, 0.05, n_jumps),
    )


def run(of: passage.Book, by: passage.Draws) -> tuple[FloatArray, FloatArray]:
    liquidated = np.zeros((len(by.row), len(of.position)))
    outcome = np.zeros((len(by.row), 3))
    passage.simulate_account(of, by, liquidated, outcome)
    return liquidated, outcome


def margin_and_rate(bracket: FloatArray, notional: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Maintenance margin as the highest of the brackets' lines, which is what their continuity makes of it."""
    lines = notional[..., None] * bracket[..., MAINTENANCE_RATE] - bracket[..., CUM]
    tier = lines.argmax(axis=-1)
    rates = np.take_along_axis(
        np.broadcast_to(bracket[..., MAINTENANCE_RATE], lines.shape), tier[..., None], -1
    )
    return lines.max(axis=-1), rates[..., 0]


def plain_simulation(of: passage.Book, by: passage.Draws) -> FloatArray:
    """Return each path's probability that the cross account is liquidated: a loop over steps, all paths at once."""
    n = of.n_cross
    qty, entry = of.position[:n, passage.QTY], of.position[:n, passage.ENTRY]
    bracket = of.bracket[:n]

    def excess(wallet: FloatArray, mark: FloatArray) -> tuple[FloatArray, FloatArray]:
        margin, rate = margin_and_rate(bracket, np.abs(qty) * mark)
        return wallet + (qty * (mark - entry) - margin).sum(axis=1), rate

    paths = len(by.row)
    mark = np.tile(of.position[:n, passage.MARK], (paths, 1))
    wallet, alive = np.full(paths, of.wallet), np.ones(paths)
    start, _ = excess(wallet, mark)
    alive[start <= 0.0] = 0.0
    owner = np.repeat(np.arange(paths), np.diff(by.first_jump))
    for h in range(by.row.shape[1]):
        after = mark * of.growth[by.row[:, h], :n]
        stop, rate = excess(wallet, after)
        exposure = (qty - np.abs(qty) * rate) * 0.5 * (mark + after)
        variance = ((exposure @ of.covariance[:n, :n]) * exposure).sum(axis=1)
        alive *= 1.0 - np.where(stop <= 0.0, 1.0, np.exp(-2.0 * np.abs(start * stop) / variance))
        for j in np.flatnonzero(by.jump_step == h):
            who = by.jump_member[j]
            hit = slice(None) if who < 0 else slice(who, who + 1)
            after[owner[j], hit] *= math.exp(by.jump_size[j])
        wallet = wallet - (qty * after * of.funding[h, :n]).sum(axis=1)
        start, _ = excess(wallet, after)
        alive[start <= 0.0] = 0.0
        mark = after
    return 1.0 - alive


@given(
    barrier=st.floats(0.01, 5.0),
    drift=st.floats(0.01, 5.0),
    vol=st.floats(0.1, 3.0),
    horizon=st.floats(0.01, 10.0),
)
def test_time_to_a_barrier_that_the_drift_leads_to_is_inverse_gaussian(
    barrier: float, drift: float, vol: float, horizon: float
) -> None:
    shape = barrier**2 / vol**2
    law = stats.invgauss(mu=barrier / drift / shape, scale=shape)
    towards = passage.hitting_probability(barrier, -drift, vol, horizon)
    assert towards == pytest.approx(law.cdf(horizon), rel=1e-9, abs=1e-12)
    # Away from it: only a share of the paths ever gets there, and those as if the drift were reversed.
    away = passage.hitting_probability(barrier, drift, vol, horizon)
    share = math.exp(-2.0 * drift * barrier / vol**2)
    assert away == pytest.approx(share * law.cdf(horizon), rel=1e-9, abs=1e-12)


def test_without_drift_the_time_follows_the_levy_law() -> None:
    for barrier in (0.05, 0.3, 2.0):
        expected = stats.levy(scale=barrier**2 / 0.25).cdf(1.7)
        assert passage.hitting_probability(barrier, 0.0, 0.5, 1.7) == pytest.approx(expected, 1e-12)


@pytest.mark.parametrize("vol", [0.05, 0.0325, 0.0315, 0.01, 1e-3, 1e-9])
def test_strong_drift_does_not_overflow(vol: float) -> None:
    """Around the point where the exponential is given up, and far beyond it, against the law of the time."""
    barrier, drift, horizon = 0.5, 0.5, 0.9
    shape = barrier**2 / vol**2
    expected = stats.invgauss(mu=barrier / drift / shape, scale=shape).cdf(horizon)
    probability = passage.hitting_probability(barrier, -drift, vol, horizon)
    assert probability == pytest.approx(expected, rel=1e-8, abs=1e-300)


@pytest.mark.parametrize(
    ("distance", "side", "vol", "drift", "expected"),
    [
        (0.0, LONG, 0.8, 0.0, 1.0),
        (-0.1, SHORT, 0.8, 0.0, 1.0),
        (-3.0, SHORT, 0.8, 0.0, 1.0),
        (1.0, LONG, 9.0, 0.0, 0.0),
        (7.0, LONG, 9.0, 0.0, 0.0),
        (math.inf, SHORT, 9.0, 0.0, 0.0),
        (0.1, LONG, 0.0, -50.0, 1.0),
        (0.1, LONG, 0.0, 50.0, 0.0),
        (0.1, SHORT, 0.0, 50.0, 1.0),
        (0.1, LONG, 0.0, 0.0, 0.0),
        (math.nan, LONG, 0.8, 0.0, math.nan),
        (0.1, LONG, math.nan, 0.0, math.nan),
    ],
)
def test_edges_of_the_passage(
    distance: float, side: float, vol: float, drift: float, expected: float
) -> None:
    probability = passage.passage_probability(distance, side, vol, drift, DAY)
    assert probability == pytest.approx(expected, nan_ok=True)
    if distance > 0.0 and vol > 0.0:
        assert not passage.passage_probability(distance, side, vol, drift, 0.0) > 0.0


@given(
    distance=st.floats(0.005, 0.9),
    side=st.sampled_from([LONG, SHORT]),
    vol=st.floats(0.05, 4.0),
    hours=st.floats(0.1, 500.0),
    more=st.floats(1.0, 3.0),
)
def test_passage_is_a_probability_and_monotone(
    distance: float, side: float, vol: float, hours: float, more: float
) -> None:
    time = hours / 8760.0
    base = passage.passage_probability(distance, side, vol, 0.0, time)
    assert 0.0 <= base <= 1.0
    assert passage.passage_probability(distance, side, vol * more, 0.0, time) >= base - 1e-14
    assert passage.passage_probability(distance, side, vol, 0.0, time * more) >= base - 1e-14
    assert passage.passage_probability(distance / more, side, vol, 0.0, time) >= base - 1e-14


@given(
    limit=st.floats(1e-6, 0.99),
    side=st.sampled_from([LONG, SHORT]),
    vol=st.floats(0.05, 3.0),
    drift=st.floats(-2.0, 2.0),
)
def test_distance_is_the_inverse_of_the_probability(
    limit: float, side: float, vol: float, drift: float
) -> None:
    distance = passage.passage_distance(limit, side, vol, drift, DAY)
    back = passage.passage_probability(distance, side, vol, drift, DAY)
    assert back == pytest.approx(limit, rel=1e-9)


def test_distance_without_diffusion_is_what_the_drift_covers() -> None:
    distance = passage.passage_distance(0.005, LONG, 0.0, -36.5, DAY)
    assert distance == pytest.approx(-math.expm1(-0.1), rel=1e-12)
    assert passage.passage_distance(0.005, LONG, 0.0, 36.5, DAY) < 1e-300
    assert math.isnan(passage.passage_distance(0.005, LONG, math.nan, 0.0, DAY))


@pytest.mark.parametrize("drift", [-0.4, 0.0, 0.7])
def test_bridges_over_all_ends_make_up_the_closed_form(drift: float) -> None:
    barrier, vol, horizon = 0.3, 0.5, 0.6
    variance = vol * vol * horizon
    law = stats.norm(barrier + drift * horizon, math.sqrt(variance))
    touched, _ = integrate.quad(
        lambda x: passage.bridge_probability(barrier, x, variance) * law.pdf(x), 0.0, 6.0
    )
    expected = passage.hitting_probability(barrier, drift, vol, horizon)
    assert law.cdf(0.0) + touched == pytest.approx(expected, rel=1e-9)


def test_bridge_is_certain_at_the_barrier_and_straight_without_variance() -> None:
    assert passage.bridge_probability(0.0, 1.0, 1.0) == 1.0
    assert passage.bridge_probability(1.0, -0.1, 0.0) == 1.0
    assert passage.bridge_probability(0.1, 0.1, 0.0) == 0.0


def test_jumps_of_no_size_change_nothing(rng: np.random.Generator) -> None:
    n, years = 100_000, 0.5
    ends = np.sort(rng.random((n, 3)), axis=1)
    times = years * np.diff(ends, axis=1, prepend=0.0, append=1.0)
    increments = rng.standard_normal((n, 3))
    alive = passage.jump_survival(0.4, 0.1, 0.6, times, increments, np.zeros((n, 3)))
    closed = passage.hitting_probability(0.4, 0.1, 0.6, years)
    assert 1.0 - alive == pytest.approx(closed, abs=4.0 * math.sqrt(0.25 / n))


@pytest.mark.parametrize("n_jumps", [0, 120])
def test_cross_paths_equal_a_plain_numpy_loop(n_jumps: int) -> None:
    account = book(3, n=5, n_cross=5)
    by = draws(4, account, n_paths=300, n_jumps=n_jumps)
    _, outcome = run(account, by)
    expected = plain_simulation(account, by)
    assert 0.02 < expected.mean() < 0.9
    assert ((expected > 0.0) & (expected < 1.0)).sum() > 20, "no bridge was near the barrier"
    np.testing.assert_allclose(outcome[:, 1], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(outcome[:, 0], outcome[:, 1])


def test_isolated_position_is_the_cross_account_that_holds_nothing_else() -> None:
    """The same balance and brackets; the bridges differ by the linear approximation of the cross account alone."""
    for seed in range(4):
        cross = book(seed, n=1, n_cross=1)._replace(funding=np.zeros((24, 1)))
        by = draws(9, cross, n_paths=4000)
        alone = cross._replace(n_cross=0)
        expected, measured = run(cross, by)[1], run(alone, by)[1]
        assert measured[:, 1].max() == 0.0
        assert 0.01 < expected[:, 0].mean() < 0.99
        assert measured[:, 0].mean() == pytest.approx(expected[:, 0].mean(), rel=5e-3)
        assert measured[:, 2].mean() == pytest.approx(expected[:, 2].mean(), rel=1e-2)


def test_pools_of_margin_are_combined_as_independent() -> None:
    account = book(5, n=4, n_cross=2)
    by = draws(6, account, n_paths=500, n_jumps=40)
    liquidated, outcome = run(account, by)
    alive = (1.0 - outcome[:, 1]) * np.prod(1.0 - liquidated[:, 2:], axis=1)
    np.testing.assert_allclose(outcome[:, 0], 1.0 - alive, atol=1e-14)
    assert (liquidated[:, :2] <= outcome[:, 1:2] + 1e-12).all()
    np.testing.assert_allclose(liquidated[:, :2].max(axis=1), outcome[:, 1], atol=1e-12)


def test_largest_maintenance_margin_is_closed_first_and_the_rest_kept_if_it_suffices() -> None:
    account = book(7, n=2, n_cross=2)
    account.position[:, passage.QTY] = [20.0, 2.0]
    account.position[:, passage.FEE] = 0.0
    by = draws(8, account, n_paths=400)
    liquidated, outcome = run(account._replace(wallet=200.0), by)
    assert outcome[:, 1].mean() > 0.05
    np.testing.assert_allclose(liquidated[:, 0], outcome[:, 1], atol=1e-12)
    assert liquidated[:, 1].max() == 0.0
    # A fee above the maintenance margin that closing frees takes the rest along.
    account.position[:, passage.FEE] = 0.02
    liquidated, outcome = run(account._replace(wallet=200.0), by)
    np.testing.assert_allclose(liquidated[:, 1], outcome[:, 1], atol=1e-12)


def test_nobody_loses_more_than_the_pool_holds() -> None:
    account = book(1, n=4, n_cross=2, leverage=15.0)
    by = draws(2, account, n_paths=500, n_jumps=800)
    _, outcome = run(account, by)
    at = account.position
    pnl = at[:, passage.QTY] * (at[:, passage.MARK] - at[:, passage.ENTRY])
    pools = account.wallet + pnl[:2].sum() + np.maximum(at[2:, passage.MARGIN] + pnl[2:], 0.0).sum()
    assert outcome[:, 2].max() <= pools * (1.0 + 1e-9)
    assert outcome[:, 2].max() > 0.9 * pools
    assert outcome[:, 2].min() >= 0.0


@pytest.fixture
def threads() -> Iterator[None]:
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_result_does_not_depend_on_the_number_of_threads() -> None:
    account = book(11, n=6, n_cross=3)
    by = draws(12, account, n_paths=1000, n_jumps=200)
    results = []
    for count in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        numba.set_num_threads(count)
        results.append(run(account, by))
    for liquidated, outcome in results[1:]:
        np.testing.assert_array_equal(liquidated, results[0][0])
        np.testing.assert_array_equal(outcome, results[0][1])


@given(
    barrier=st.floats(-0.1, 3.0),
    drift=st.floats(-200.0, 5.0),
    vol=st.floats(0.0, 3.0),
    horizon=st.floats(0.0, 2.0),
)
def test_compiled_closed_forms_equal_their_interpreted_twins(
    barrier: float, drift: float, vol: float, horizon: float
) -> None:
    one, two = passage.hitting_probability, passage.passage_probability
    expected = one.py_func(barrier, drift, vol, horizon)
    assert one(barrier, drift, vol, horizon) == pytest.approx(expected, rel=1e-12, abs=1e-300)
    for side in (LONG, SHORT):
        expected = two.py_func(barrier, side, vol, 0.1, horizon)
        assert two(barrier, side, vol, 0.1, horizon) == pytest.approx(
            expected, rel=1e-12, abs=1e-300
        )


def test_compiled_paths_equal_their_interpreted_twins(rng: np.random.Generator) -> None:
    account = book(13, n=4, n_cross=2)
    by = draws(14, account, n_paths=40, n_jumps=30)
    liquidated, outcome = run(account, by)
    slow, twin = np.zeros_like(liquidated), np.zeros_like(outcome)
    passage.simulate_account.py_func(account, by, slow, twin)
    np.testing.assert_allclose(twin, outcome, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(slow, liquidated, rtol=1e-12, atol=1e-14)
    arguments = (
        0.3,
        0.1,
        0.6,
        rng.random((20, 3)),
        rng.standard_normal((20, 2)),
        rng.normal(0, 0.1, (20, 2)),
    )
    twin_survival = passage.jump_survival.py_func(*arguments)
    assert passage.jump_survival(*arguments) == pytest.approx(twin_survival, rel=1e-12)
    inverse = passage.passage_distance
    assert inverse(0.01, SHORT, 0.7, 0.2, DAY) == inverse.py_func(0.01, SHORT, 0.7, 0.2, DAY)
