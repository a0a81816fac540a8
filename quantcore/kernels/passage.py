r"""First passage to the liquidation barrier: closed form, bridges between known points, and paths of a whole account.

The closed form is that of a Brownian motion with drift. Paths are resampled rows of growth factors; between two rows
the account is watched by a Brownian bridge whose probability of touching enters as a **weight**: a path is not
liquidated or alive, a share of it is. So no random number is drawn for the bridge, the estimate varies less, and it is
smooth in its inputs. Every path writes its own row of the results and takes its randomness from its own row of the
draws, so the result is the same for any number of threads.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import CAP, CUM, FLOOR, MAINTENANCE_RATE, ZERO
from quantcore.kernels.margin import bracket_of, liquidation_price, maintenance_margin
from quantcore.types import FloatArray, IntArray

_ROOT_HALF = math.sqrt(0.5)
_ROOT_PI = math.sqrt(math.pi)

# Book.position
QTY = 0  # signed coins, never 0
ENTRY = 1
MARK = 2
MARGIN = 3  # isolated wallet, USDT
STEP_VOL = 4  # volatility of the log mark per step
FEE = 5  # liquidation fee, fraction of notional
N_HOLDING = 6

_NEGLIGIBLE = 40.0
"""A bridge that touches with a probability of about exp(-40) at most is not looked at."""


class Book(NamedTuple):
    """An account's open positions, those on cross margin first, and what moves them."""

    wallet: float
    """Cross wallet, USDT."""
    n_cross: int
    position: FloatArray
    """Shape ``(n_positions, N_HOLDING)``."""
    bracket: FloatArray
    """Shape ``(n_positions, n_brackets, N_BRACKET)``; the last cap is infinite."""
    covariance: FloatArray
    """Of the log marks per step, shape ``(n_positions, n_positions)``."""
    growth: FloatArray
    """Factors of the marks by row of shocks, shape ``(n_rows, n_positions)``."""
    funding: FloatArray
    """Rate settled at the end of each step, 0 where none is, shape ``(n_steps, n_positions)``."""


class Draws(NamedTuple):
    """The randomness of all paths, drawn beforehand."""

    row: IntArray
    """Row of shocks, shape ``(n_paths, n_steps)``."""
    first_jump: IntArray
    """Where each path's jumps begin, shape ``(n_paths + 1,)``."""
    jump_step: IntArray
    """Step at whose end it happens, ascending within a path, shape ``(n_jumps,)``."""
    jump_member: IntArray
    """Row of the position that jumps, -1 for all of them, shape ``(n_jumps,)``."""
    jump_size: FloatArray
    """Change of the log mark, shape ``(n_jumps,)``."""


@inner()
def _scaled_erfc(x: float) -> float:
    """Return exp(x^2) erfc(x) for x >= 20 by its asymptotic series, whose terms here fall by 1/800 each."""
    step = 0.5 / (x * x)
    return (1.0 - step * (1.0 - 3.0 * step * (1.0 - 5.0 * step * (1.0 - 7.0 * step)))) / (
        x * _ROOT_PI
    )


@njit(cache=True, error_model="numpy")
def hitting_probability(barrier: float, drift: float, vol: float, horizon: float) -> float:
    r"""Return the probability that a Brownian motion falls by `barrier` within `horizon`.

    .. math::

        \Phi\!\left(\frac{-b - mT}{s\sqrt T}\right) + e^{-2mb/s^2}\, \Phi\!\left(\frac{-b + mT}{s\sqrt T}\right)

    Parameters
    ----------
    barrier : float
        b: how far below the start the barrier lies; <= 0 is already hit, infinity is never.
    drift, vol : float
        m and s >= 0 per unit of time, m > 0 away from the barrier. With s = 0 the path is a straight line.
    horizon : float
        T >= 0, in units of the same time.

    Returns
    -------
    float
        In [0, 1]; NaN where an argument is NaN.

    References
    ----------
    Borodin and Salminen, *Handbook of Brownian Motion*, 2nd ed., 2002, formula 2.1.2.4 (1). For strong drift towards
    the barrier, where the exponential overflows, the second term is taken through the scaled complementary error
    function.
    """
    if np.isnan(barrier) or np.isnan(drift) or np.isnan(vol) or np.isnan(horizon):
        return np.nan
    if barrier <= 0.0:
        return 1.0
    if np.isinf(barrier):
        return 0.0
    scale = vol * math.sqrt(horizon)
    if scale == 0.0:
        return 1.0 if -drift * horizon >= barrier else 0.0
    near = (barrier + drift * horizon) / scale * _ROOT_HALF
    far = (barrier - drift * horizon) / scale * _ROOT_HALF
    exponent = -2.0 * drift / vol * (barrier / vol) if drift != 0.0 else 0.0
    if exponent < 500.0:
        reflected = 0.5 * math.exp(exponent) * math.erfc(far)
    else:
        reflected = 0.5 * math.exp(-near * near) * _scaled_erfc(far)
    return min(0.5 * math.erfc(near) + reflected, 1.0)


@njit(cache=True, error_model="numpy")
def log_barrier(distance: float, side: float) -> float:
    """Return how far the log mark may move against a side, 1.0 or -1.0, over a distance that is a fraction of the mark.

    Infinite for a long at a distance of 1 or more: its price cannot get there. A distance <= 0 is returned as it is.
    """
    if distance <= 0.0:
        return distance
    if side > 0.0 and distance >= 1.0:
        return math.inf
    return -side * math.log1p(-side * distance)


@njit(cache=True, error_model="numpy")
def passage_probability(
    distance: float, side: float, vol: float, drift: float, horizon: float
) -> float:
    r"""Return the probability that a mark price reaches its liquidation price within a horizon.

    The mark is a geometric Brownian motion, :math:`d\log S = (\mu - s^2/2)\,dt + s\,dW`, watched continuously; the
    barrier of `hitting_probability` is :math:`-\log(1-d)` for a long and :math:`\log(1+d)` for a short (`log_barrier`).

    Parameters
    ----------
    distance : float
        d: from mark to liquidation price, as a fraction of the mark, towards the loss; <= 0 is liquidated now. At d
        >= 1 a long is never liquidated, at d = inf no position is.
    side : float
        1.0 long, -1.0 short.
    vol, drift : float
        s and mu per unit of time.
    horizon : float
        In units of the same time.

    Returns
    -------
    float
        In [0, 1]; NaN where an argument is NaN.
    """
    barrier = log_barrier(distance, side)
    return hitting_probability(barrier, side * (drift - 0.5 * vol * vol), vol, horizon)


@njit(cache=True, error_model="numpy")
def passage_distance(limit: float, side: float, vol: float, drift: float, horizon: float) -> float:
    """Return the distance at which `passage_probability` is `limit`, in (0, 1), by bisection to the last bit.

    The probability falls with the distance, so there is one. NaN where an argument is NaN.
    """
    if np.isnan(limit + side + vol + drift + horizon):
        return np.nan
    away = side * (drift - 0.5 * vol * vol)
    high = vol * math.sqrt(horizon) + max(-away * horizon, 0.0) + 1e-300
    while hitting_probability(high, away, vol, horizon) > limit:
        high *= 2.0
    low = 0.0
    while True:
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if hitting_probability(middle, away, vol, horizon) > limit:
            low = middle
        else:
            high = middle
    return -side * math.expm1(-side * high)


@njit(cache=True, error_model="numpy")
def bridge_probability(start: float, stop: float, variance: float) -> float:
    r"""Return the probability that a Brownian path between two points above 0 touches 0: :math:`e^{-2xy/v}`.

    Parameters
    ----------
    start, stop : float
        x and y, the distances above the barrier at both ends; 1 is returned where either is <= 0.
    variance : float
        v of the increment between them; at 0 the path is straight.
    """
    if start <= 0.0 or stop <= 0.0:
        return 1.0
    return math.exp(-2.0 * start * stop / variance) if variance > 0.0 else 0.0


@njit(cache=True, error_model="numpy")
def jump_survival(
    barrier: float, drift: float, vol: float, times: FloatArray, increments: FloatArray, jumps: FloatArray
) -> float:  # fmt: skip
    """Return the mean probability of not hitting, given the number, times and sizes of the jumps of each path.

    Between jumps the increments are given too, so that a Brownian bridge tells whether the barrier was touched; after
    the last jump the closed form does.

    Parameters
    ----------
    barrier, drift, vol : float
        As in `hitting_probability`.
    times : float64 array, shape (n_paths, n_jumps + 1)
        Lengths of the stretches before, between and after the jumps.
    increments : float64 array, shape (n_paths, n_jumps)
        Standard normal numbers: the diffusion over each stretch but the last.
    jumps : float64 array, shape (n_paths, n_jumps)
        Away from the barrier is positive.

    References
    ----------
    Metwally and Atiya, "Using Brownian Bridge for Fast Simulation of Jump-Diffusion Processes and Barrier Options",
    *Journal of Derivatives* 10(1), 2002. Deviation: probabilities are multiplied where they draw events.
    """
    n_paths, n_jumps = jumps.shape
    total = 0.0
    for p in range(n_paths):
        level, alive = barrier, 1.0
        for k in range(n_jumps):
            time = times[p, k]
            after = level + drift * time + vol * math.sqrt(time) * increments[p, k]
            alive *= 1.0 - bridge_probability(level, after, vol * vol * time)
            level = after + jumps[p, k]
            if level <= 0.0:
                alive = 0.0
            if alive == 0.0:
                break
        if alive > 0.0:
            alive *= 1.0 - hitting_probability(level, drift, vol, times[p, n_jumps])
        total += alive
    return float(total / n_paths)


@njit(cache=True, error_model="numpy")
def simulate_account(book: Book, draws: Draws, liquidated: FloatArray, outcome: FloatArray) -> None:
    """Send an account along every path and write how much of it is liquidated.

    Parameters
    ----------
    book : Book
        The positions and what moves them.
    draws : Draws
        Which rows of shocks and which jumps each path takes.
    liquidated : float64 array, shape (n_paths, n_positions)
        Zeros on entry; becomes the probability that the position is among the liquidated.
    outcome : float64 array, shape (n_paths, 3)
        Becomes the probability of any liquidation, that of a liquidation of the cross account, and the expected loss
        in liquidations, USDT. Pools of margin are taken as independent given a path's steps.
    """
    for p in range(outcome.shape[0]):
        alive, loss = _walk_cross(book, draws, p, liquidated[p])
        outcome[p, 1] = 1.0 - alive
        for s in range(book.n_cross, book.position.shape[0]):
            alone, lost = _walk_isolated(book, draws, p, s)
            liquidated[p, s] = 1.0 - alone
            alive *= alone
            loss += lost
        outcome[p, 0] = 1.0 - alive
        outcome[p, 2] = loss


@inner()
def _walk_cross(book: Book, draws: Draws, p: int, liquidated: FloatArray) -> tuple[float, float]:
    """Return the share of a path on which the cross account survives, and its expected loss where not."""
    if book.n_cross == 0:
        return 1.0, 0.0
    mark = book.position[: book.n_cross, MARK].copy()
    after, at, slope = np.empty_like(mark), np.empty_like(mark), np.empty_like(mark)
    tier = np.zeros(book.n_cross, dtype=np.int64)
    wallet, alive, loss = book.wallet, 1.0, 0.0
    initial = _balance(book, wallet, mark)
    start, _ = _cross_excess(book, wallet, mark, tier)
    if start <= 0.0:
        return 0.0, initial - _close_out(book, wallet, mark, 1.0, liquidated)
    jump = draws.first_jump[p]
    for h in range(draws.row.shape[1]):
        for s in range(book.n_cross):
            after[s] = mark[s] * book.growth[draws.row[p, h], s]
        stop, hit = _watch(book, wallet, mark, after, tier, start, slope, at)
        if hit > 0.0:
            left = _close_out(book, wallet, at, alive * hit, liquidated)
            loss += alive * hit * (initial - left)
            alive -= alive * hit
        # What happens at the step's end happens at once: no path of marks leads there.
        before_jumps = jump
        jump = _jump_all(draws, jump, draws.first_jump[p + 1], h, after)
        paid = _funding(book, h, after)
        if alive > 0.0 and (jump > before_jumps or paid != 0.0):
            wallet -= paid
            stop, _ = _cross_excess(book, wallet, after, tier)
            if stop <= 0.0:
                left = _close_out(book, wallet, after, alive, liquidated)
                loss += alive * (initial - left)
                alive = 0.0
        if alive == 0.0:
            break
        mark, after = after, mark
        start = stop
    return alive, loss


@inner()
def _watch(
    book: Book, wallet: float, mark: FloatArray, after: FloatArray, tier: IntArray, start: float,
    slope: FloatArray, at: FloatArray,
) -> tuple[float, float]:  # fmt: skip
    """Return the account's value after a step and the probability that it was liquidated within; write the marks there.

    A path that ends below 0 is taken as straight. One that does not touches with the probability of a Brownian bridge,
    at the marks expected there: the step's middle, moved along their regression on the value until none is left.
    """
    stop, reach = _cross_excess(book, wallet, after, tier)
    if stop <= 0.0:
        share = start / (start - stop)
        for s in range(len(at)):
            at[s] = mark[s] + share * (after[s] - mark[s])
        return stop, 1.0
    if 2.0 * start * stop >= _NEGLIGIBLE * reach * reach:
        return stop, 0.0
    variance = _slope_of_value(book, mark, after, tier, slope)
    for s in range(len(at)):
        middle = 0.5 * (mark[s] + after[s])
        at[s] = middle * math.exp(-slope[s] * 0.5 * (start + stop))
    return stop, bridge_probability(start, stop, variance)


@inner()
def _cross_excess(
    book: Book, wallet: float, mark: FloatArray, tier: IntArray
) -> tuple[float, float]:
    """Return margin balance less maintenance margin, and its standard deviation in a step if all marks moved as one."""
    value, reach = wallet, 0.0
    for s in range(book.n_cross):
        qty = book.position[s, QTY]
        notional = abs(qty) * mark[s]
        t = tier[s]
        if not book.bracket[s, t, FLOOR] <= notional < book.bracket[s, t, CAP]:
            t = bracket_of(book.bracket[s], notional, t)
            tier[s] = t
        rate = book.bracket[s, t, MAINTENANCE_RATE]
        value += qty * (mark[s] - book.position[s, ENTRY])
        value -= notional * rate - book.bracket[s, t, CUM]
        reach += notional * (1.0 + rate) * book.position[s, STEP_VOL]
    return value, reach


@inner()
def _balance(book: Book, wallet: float, mark: FloatArray) -> float:
    value = wallet
    for s in range(book.n_cross):
        value += book.position[s, QTY] * (mark[s] - book.position[s, ENTRY])
    return value


@inner()
def _slope_of_value(
    book: Book, mark: FloatArray, after: FloatArray, tier: IntArray, slope: FloatArray
) -> float:
    """Return the variance of the account's value over a step; write each log mark's regression on that value.

    The value is taken as linear in the log marks, with the exposures at the step's middle, less what maintenance
    margin takes of them at its bracket's rate.
    """
    n = book.n_cross
    exposure = np.empty(n)
    for s in range(n):
        qty = book.position[s, QTY]
        rate = book.bracket[s, tier[s], MAINTENANCE_RATE]
        exposure[s] = (qty - abs(qty) * rate) * 0.5 * (mark[s] + after[s])
    variance = 0.0
    for i in range(n):
        slope[i] = 0.0
        for j in range(n):
            slope[i] += book.covariance[i, j] * exposure[j]
        variance += exposure[i] * slope[i]
    for i in range(n):
        slope[i] = slope[i] / variance if variance > 0.0 else 0.0
    return variance


@inner()
def _jump_all(draws: Draws, jump: int, end: int, step: int, mark: FloatArray) -> int:
    """Apply the jumps of a step to the cross positions' marks; return the first of the next step."""
    while jump < end and draws.jump_step[jump] == step:
        for s in range(len(mark)):
            if draws.jump_member[jump] in (-1, s):
                mark[s] *= math.exp(draws.jump_size[jump])
        jump += 1
    return jump


@inner()
def _funding(book: Book, step: int, mark: FloatArray) -> float:
    """Return what the cross positions pay at the end of a step, USDT."""
    paid = 0.0
    for s in range(len(mark)):
        paid += book.position[s, QTY] * mark[s] * book.funding[step, s]
    return paid


@inner()
def _close_out(
    book: Book, wallet: float, mark: FloatArray, weight: float, liquidated: FloatArray
) -> float:
    """Close by largest maintenance margin until the rest suffices; return the balance left, and mark the closed."""
    n = book.n_cross
    margin = np.empty(n)
    required, balance = 0.0, _balance(book, wallet, mark)
    for s in range(n):
        notional = abs(book.position[s, QTY]) * mark[s]
        margin[s] = maintenance_margin(
            book.bracket[s], notional, bracket_of(book.bracket[s], notional, ZERO)
        )
        required += margin[s]
    for _ in range(n):
        k = int(np.argmax(margin))
        notional = abs(book.position[k, QTY]) * mark[k]
        balance -= min(book.position[k, FEE] * notional, max(balance, 0.0))
        required -= margin[k]
        margin[k] = -1.0
        liquidated[k] += weight
        if balance > required:
            break
    return max(balance, 0.0)


@inner()
def _walk_isolated(book: Book, draws: Draws, p: int, s: int) -> tuple[float, float]:
    """Return the share of a path on which an isolated position survives, and its expected loss where not.

    Its barrier is its liquidation price, so the bridge is that of the log mark and nothing is approximated.
    """
    qty, entry, mark, margin, vol, fee = book.position[s]
    side = 1.0 if qty > 0.0 else -1.0
    initial = margin + qty * (mark - entry)
    barrier = liquidation_price(margin, 0.0, 0.0, qty, entry, book.bracket[s])
    alive, loss = 1.0, 0.0
    jump, end = draws.first_jump[p], draws.first_jump[p + 1]
    if side * (mark - barrier) <= 0.0:
        return 0.0, initial - _isolated_rest(margin, qty, entry, mark, fee)
    for h in range(draws.row.shape[1]):
        after = mark * book.growth[draws.row[p, h], s]
        hit = _log_bridge(mark, after, barrier, side, vol)
        if hit > 0.0:
            rest = _isolated_rest(margin, qty, entry, barrier, fee)
            loss += alive * hit * (initial - rest)
            alive -= alive * hit
        while jump < end and draws.jump_step[jump] == h:
            if draws.jump_member[jump] in (-1, s):
                after *= math.exp(draws.jump_size[jump])
            jump += 1
        if book.funding[h, s] != 0.0:
            margin -= qty * after * book.funding[h, s]
            barrier = liquidation_price(margin, 0.0, 0.0, qty, entry, book.bracket[s])
        if alive > 0.0 and side * (after - barrier) <= 0.0:
            rest = _isolated_rest(margin, qty, entry, after, fee)
            loss += alive * (initial - rest)
            alive = 0.0
        if alive == 0.0:
            break
        mark = after
    return alive, loss


@inner()
def _log_bridge(mark: float, after: float, barrier: float, side: float, vol: float) -> float:
    start, stop = side * (mark - barrier), side * (after - barrier)
    if np.isnan(barrier):
        return 0.0
    if stop <= 0.0:
        return 1.0
    # log(x / b) >= (x - b) / max(x, b): most steps are far from the barrier and need no logarithm.
    above = max(mark, barrier) * max(after, barrier)
    if 2.0 * start * stop > _NEGLIGIBLE * vol * vol * above:
        return 0.0
    return bridge_probability(
        side * math.log(mark / barrier), side * math.log(after / barrier), vol * vol
    )


@inner()
def _isolated_rest(margin: float, qty: float, entry: float, mark: float, fee: float) -> float:
    balance = margin + qty * (mark - entry)
    return max(balance - fee * abs(qty) * mark, 0.0)
