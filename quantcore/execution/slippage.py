r"""Slippage Controller: what an order will cost, whether it may be sent, and what its fill teaches.

Before an order: its expected cost is half the spread and two thirds of its square-root impact, and a verdict compares
that with a budget and with the edge that the target promises. After a fill: the slippage against the arrival price is
averaged, and the coefficient of the square-root law follows what was paid. With what a fill paid beyond the
half-spread, in daily volatilities, as y and :math:`x = \tfrac{2}{3}\sqrt{Q/V}`, the coefficient is the mean of the
posterior under a normal prior and exponential forgetting:

.. math:: Y = \frac{\sum_i \lambda^i x_i y_i + p Y_0}{\sum_i \lambda^i x_i^2 + p}, \qquad p = \frac{s^2}{\tau^2}

s is the noise of a fill, itself estimated, and tau how far Y may well be from the prior. So small orders, which tell
little, move the coefficient little, however many they are.

Settings reach the kernels as an array, a *policy*; all that is learnt is a row of a *state* array, advanced in place.
There is no clock: what is old is counted in fills.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numba import njit

from quantcore.execution.impact import MEAN_OF_PEAK, square_root_impact
from quantcore.kernels.compiled import inner
from quantcore.kernels.ewm import ewm_step, half_life_decay
from quantcore.kernels.layout import LIQUIDITY_DECAY, SLIPPAGE, constant
from quantcore.timegrid import HOUR_US
from quantcore.types import FloatArray

# policy
BUDGET = 0  # fraction of notional
EDGE_MULTIPLE = 1
HALF_SPREAD = 2  # fraction of price
PRIOR = 3  # coefficient of the square-root law
PRIOR_ERROR = 4
PRIOR_NOISE = 5  # daily volatilities
DECAY = 6  # per fill
N_POLICY = 7

# a row of the state
COEFFICIENT = 0  # of the square-root law, as `expected_cost` uses it
MEAN = 1  # of realised slippage, fraction of price, > 0 against us
VARIANCE = 2  # of the same about its mean
WEIGHT = 3  # of the fills in both; 0 is "none seen"
SUM_XX = 4  # of the fills that also taught something about the coefficient
SUM_XY = 5
SUM_EE = 6  # squared errors of the predictions, daily variances
SUM_ONE = 7
N_STATE = 8

NOISE_FILLS = 10.0
"""Fills that the prior noise is worth."""
OUTLIER = 3.0
"""Noises by which one fill may at most miss its prediction; what is beyond teaches no more."""


class Verdict(IntEnum):
    """What to do with an order."""

    SEND = 0
    SLOW = 1
    """Cut it into more slices, over a longer time."""
    REFUSE = 2


SEND = constant(Verdict.SEND)
SLOW = constant(Verdict.SLOW)
REFUSE = constant(Verdict.REFUSE)


@dataclass(frozen=True, kw_only=True)
class SlippageSettings:
    """What an order may cost, and how fast the controller believes what it pays.

    Parameters
    ----------
    budget_bps : float
        Highest expected cost of an order in basis points of its notional, >= 0; fees are not in it.
    edge_multiple : float
        Least edge over expected cost, >= 0; 2 pays for the way out as well, 0 asks only that the edge is not negative.
    half_spread_bps : float
        Least half-spread to reckon with, in basis points, >= 0; the whole of it where no book is known.
    prior_coefficient : float
        Of the square-root law, before any fill, >= 0.
    prior_error : float
        How far from it the true one may well be, > 0.
    prior_noise : float
        Standard deviation of one order's slippage about its expectation before any fill, in daily volatilities, > 0;
        an order worked for an hour has about ``sqrt(1 / 24)``.
    half_life_fills : float
        Fills until a fill's weight halves, > 0.
    liquidity_half_life_hours : float
        Of the estimates of the market's turnover and volatility, > 0.
    """

    budget_bps: float
    edge_multiple: float
    half_spread_bps: float
    prior_coefficient: float
    prior_error: float
    prior_noise: float
    half_life_fills: float
    liquidity_half_life_hours: float

    def __post_init__(self) -> None:
        for name in ("budget_bps", "edge_multiple", "half_spread_bps", "prior_coefficient"):
            value = getattr(self, name)
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} must be >= 0 and finite, was {value}")
        for name in ("prior_error", "prior_noise", "half_life_fills", "liquidity_half_life_hours"):
            value = getattr(self, name)
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be > 0 and finite, was {value}")


def slippage_policy(settings: SlippageSettings) -> FloatArray:
    """Return the settings as the kernels take them, shape ``(N_POLICY,)``."""
    policy = np.empty(N_POLICY)
    policy[BUDGET] = settings.budget_bps * 1e-4
    policy[EDGE_MULTIPLE] = settings.edge_multiple
    policy[HALF_SPREAD] = settings.half_spread_bps * 1e-4
    policy[PRIOR] = settings.prior_coefficient
    policy[PRIOR_ERROR] = settings.prior_error
    policy[PRIOR_NOISE] = settings.prior_noise
    policy[DECAY] = half_life_decay(settings.half_life_fills)
    return policy


def configure(config: FloatArray, settings: SlippageSettings, bar_us: int) -> None:
    """Write the settings into the account's vector of numbers, for execution bars of a length."""
    config[SLIPPAGE : SLIPPAGE + N_POLICY] = slippage_policy(settings)
    every = max(bar_us, HOUR_US) / HOUR_US
    config[LIQUIDITY_DECAY] = half_life_decay(settings.liquidity_half_life_hours / every)


@njit(cache=True, error_model="numpy")
def slippage_init(policy: FloatArray, n_symbols: int) -> FloatArray:
    """Return the state before any fill, shape ``(n_symbols, N_STATE)``: the prior coefficient, nothing seen."""
    state = np.zeros((n_symbols, N_STATE))
    state[:, COEFFICIENT] = policy[PRIOR]
    return state


@inner()
def expected_cost(
    policy: FloatArray,
    state: FloatArray,
    half_spread: float,
    daily_vol: float,
    notional: float,
    daily_notional: float,
) -> float:
    r"""Return what an order that crosses the spread is expected to cost, as a fraction of its notional.

    .. math:: h + \tfrac{2}{3} Y \sigma_d \sqrt{Q / V}

    Parameters
    ----------
    policy : float64 array, shape (N_POLICY,)
        Whose half-spread is the least to reckon with.
    state : float64 array, shape (N_STATE,)
        The symbol's row.
    half_spread : float
        h, of the book now, fraction of price; NaN where there is no book.
    daily_vol : float
        Standard deviation of daily returns.
    notional : float
        Q, of the whole order, USDT; the sign does not matter.
    daily_notional : float
        V, of the market in a day, USDT.

    Returns
    -------
    float
        Fees excluded. Infinite where there is no volume; NaN where volatility, volume or size is.
    """
    half = half_spread if half_spread > policy[HALF_SPREAD] else policy[HALF_SPREAD]
    peak = square_root_impact(state[COEFFICIENT], daily_vol, notional, daily_notional)
    return half + MEAN_OF_PEAK * peak


@inner()
def affordable_notional(
    policy: FloatArray,
    state: FloatArray,
    half_spread: float,
    daily_vol: float,
    daily_notional: float,
) -> float:
    r"""Return the largest order whose `expected_cost` is within the budget, USDT.

    .. math:: Q = V \Big( \frac{b - h}{\tfrac{2}{3} Y \sigma_d} \Big)^2

    Returns
    -------
    float
        0 where half the spread alone exceeds the budget; infinite where size costs nothing; NaN where volatility or
        volume is.
    """
    half = half_spread if half_spread > policy[HALF_SPREAD] else policy[HALF_SPREAD]
    room = policy[BUDGET] - half
    if room < 0.0:
        return 0.0
    share = room / (MEAN_OF_PEAK * state[COEFFICIENT] * daily_vol)
    return float(daily_notional * share * share)


@inner()
def verdict(
    policy: FloatArray, cost: float, patient_cost: float, edge: float, reduces: bool
) -> int:
    """Return whether to send an order, to send it in more slices, or not at all.

    Parameters
    ----------
    policy : float64 array, shape (N_POLICY,)
        Budget and multiple.
    cost : float
        `expected_cost` of the order as planned, fraction of its notional.
    patient_cost : float
        The same in the most slices that there is time for: of one of them, if their impact has gone by the next. It is
        what slowing down can save at best.
    edge : float
        What the target promises to earn, fraction of notional; NaN where it promises nothing in particular, and then
        only the budget counts.
    reduces : bool
        Whether the order only makes a position smaller. Such an order is never refused: risk goes first.

    Returns
    -------
    int
        `SEND`, where the cost is within the budget and the edge pays for it often enough; `SLOW`, where the patient
        cost is and does; else `REFUSE`, also where the costs are not known (NaN). For a reducing order `SLOW` where
        the cost exceeds the budget and slowing down saves something, else `SEND`.
    """
    if reduces:
        return SLOW if cost > policy[BUDGET] and patient_cost < cost else SEND
    if _affordable(policy, cost, edge):
        return SEND
    return SLOW if _affordable(policy, patient_cost, edge) else REFUSE


@inner()
def observe(
    policy: FloatArray,
    state: FloatArray,
    side: int,
    arrival_price: float,
    fill_price: float,
    half_spread: float,
    daily_vol: float,
    notional: float,
    daily_notional: float,
) -> None:
    """Learn from an order that was filled by crossing the spread; a maker's fill belongs to another model.

    Parameters
    ----------
    policy : float64 array, shape (N_POLICY,)
        Prior and decay.
    state : float64 array, shape (N_STATE,)
        The symbol's row, advanced in place.
    side : int
        1 for a buy, -1 for a sale.
    arrival_price, fill_price : float
        Price when the order could first have been filled, and mean price of its fills. Where one is not
        finite or not above 0 nothing is learnt.
    half_spread, daily_vol, notional, daily_notional : float
        As `expected_cost` had them before the order was sent. Where the last three are not known, or not above 0, mean
        and variance alone are advanced.
    """
    if not (0.0 < arrival_price < math.inf and 0.0 < fill_price < math.inf):
        return
    slippage = side * (fill_price / arrival_price - 1.0)
    _average(state, slippage, policy[DECAY])
    size = abs(notional)
    if not (daily_vol > 0.0 and size > 0.0 and daily_notional > 0.0):
        return
    half = half_spread if half_spread > policy[HALF_SPREAD] else policy[HALF_SPREAD]
    x = MEAN_OF_PEAK * math.sqrt(size / daily_notional)
    _adapt(policy, state, x, (slippage - half) / daily_vol)


@inner()
def noise_variance(policy: FloatArray, state: FloatArray) -> float:
    """Return the variance of an order's slippage about its expectation, in daily variances."""
    total = NOISE_FILLS * policy[PRIOR_NOISE] ** 2 + state[SUM_EE]
    return float(total / (NOISE_FILLS + state[SUM_ONE]))


@inner()
def _affordable(policy: FloatArray, cost: float, edge: float) -> bool:
    # Written so that an unknown cost is not affordable and an unknown edge does not matter.
    short = edge < policy[EDGE_MULTIPLE] * cost
    return bool(cost <= policy[BUDGET]) and not short


@inner()
def _average(state: FloatArray, slippage: float, decay: float) -> None:
    gap = slippage - state[MEAN]
    mean, weight = ewm_step(state[MEAN], state[WEIGHT], slippage, decay)
    gain = 1.0 / weight
    state[MEAN] = mean
    state[VARIANCE] = (1.0 - gain) * (state[VARIANCE] + gain * gap * gap)
    state[WEIGHT] = weight


@inner()
def _adapt(policy: FloatArray, state: FloatArray, x: float, y: float) -> None:
    """Advance the coefficient by one order of size x, in the law's own terms, that paid y."""
    decay = policy[DECAY]
    predicted = state[COEFFICIENT] * x
    bound = OUTLIER * math.sqrt(noise_variance(policy, state))
    error = min(max(y - predicted, -bound), bound)
    state[SUM_XX] = decay * state[SUM_XX] + x * x
    state[SUM_XY] = decay * state[SUM_XY] + x * (predicted + error)
    state[SUM_EE] = decay * state[SUM_EE] + error * error
    state[SUM_ONE] = decay * state[SUM_ONE] + 1.0
    prior = noise_variance(policy, state) / policy[PRIOR_ERROR] ** 2
    mean = (state[SUM_XY] + prior * policy[PRIOR]) / (state[SUM_XX] + prior)
    state[COEFFICIENT] = max(mean, 0.0)
