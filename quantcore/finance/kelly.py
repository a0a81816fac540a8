r"""Kelly's criterion: the bets that make wealth grow fastest, and how much less of them to hold.

A bet's size is notional over equity; growth is the mean natural logarithm of wealth per bet, or per year. The full bet
is of little use as it stands, since the edge that goes into it is an estimate: every function that returns something
to hold takes the `fraction` of it that is meant, usually 1/4 to 1/2. Limits (a cap on the gross size, a box per asset)
bind what is held, after the fraction: with h the growth, the answer is c v for the v that maximises h(v) where c v is
within the limits. No bet at all is always within them, so that a solution exists, and less of it is allowed too.

Every solution is exact: a quadratic problem is solved by Lawson and Hanson's non-negative least squares, a logarithmic
one by Newton steps over quadratic ones. General cone solvers stop early in the units of daily returns (weights off by
5e-4 of the cap) and gave up on a risk-constrained bet over a thousand days; the tests compare with them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import beta as beta_function
from scipy.special import betainc, logsumexp

from quantcore.finance.growth_optimum import (
    ROUNDING,
    Limits,
    as_limits,
    as_positive_definite,
    as_scenarios,
    as_vector,
    growth_optimum,
    inside,
    quadratic_optimum,
    require,
)
from quantcore.types import FloatArray


def binary_kelly(
    p_win: float, *, win_per_unit: float, loss_per_unit: float, fraction: float
) -> float:
    r"""Return the size of a bet that wins or loses; 0 where the edge is not positive.

    .. math:: f = c \max\!\left(\frac{p}{a} - \frac{1-p}{b},\, 0\right)

    Parameters
    ----------
    p_win : float
        p, in [0, 1].
    win_per_unit, loss_per_unit : float
        b and a: what one unit staked wins or loses, > 0.
    fraction : float
        c, the share of the full Kelly bet to hold, in (0, 1].

    Returns
    -------
    float
        Stake over wealth, >= 0.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Kelly, "A New Interpretation of Information Rate", *Bell System Technical Journal* 35, 1956; Thorp, "The Kelly
    Criterion in Blackjack, Sports Betting, and the Stock Market", 2006, sec. 2.

    Examples
    --------
    >>> round(binary_kelly(0.6, win_per_unit=1.0, loss_per_unit=1.0, fraction=0.5), 6)
    0.1
    """
    _check_bet(p_win, win_per_unit, loss_per_unit)
    _check_fraction(fraction)
    return fraction * max(p_win / loss_per_unit - (1.0 - p_win) / win_per_unit, 0.0)


def binary_growth(
    stake: float, *, p_win: float, win_per_unit: float, loss_per_unit: float
) -> float:
    r"""Return the growth per bet of a stake, :math:`p \ln(1 + b f) + (1-p) \ln(1 - a f)`.

    Raises
    ------
    ValueError
        If an argument is out of its range (see `binary_kelly`), or one loss would take all that there is.
    """
    _check_bet(p_win, win_per_unit, loss_per_unit)
    sane = 0.0 <= stake * loss_per_unit < 1.0
    require(sane, "stake must be >= 0 and not lose everything", stake)
    win, loss = math.log1p(win_per_unit * stake), math.log1p(-loss_per_unit * stake)
    return p_win * win + (1.0 - p_win) * loss


def lognormal_kelly(
    mean: float, *, sigma: float, fraction: float, risk_free: float = 0.0, long_only: bool = True
) -> float:
    r"""Return the size of a continuously rebalanced position in one lognormal asset.

    .. math:: f = c\,\frac{\mu - r}{\sigma^2}

    Parameters
    ----------
    mean, risk_free : float
        :math:`\mu` and r, arithmetic and per year. Of a perpetual future `mean` is already the excess: r = 0.
    sigma : float
        Volatility per square root of a year, > 0.
    fraction : float
        c, the share of the full Kelly position to hold, in (0, 1].
    long_only : bool
        Whether a negative edge gives 0 or a short position.

    Returns
    -------
    float
        Notional over equity.

    Raises
    ------
    ValueError
        If an argument is out of its range or not finite.

    References
    ----------
    Thorp (2006), sec. 7.1; Merton, "Lifetime Portfolio Selection under Uncertainty", 1969.

    Examples
    --------
    >>> round(lognormal_kelly(0.11, sigma=0.15, fraction=1.0, risk_free=0.06), 4)
    2.2222
    """
    _check_fraction(fraction)
    edge = _check_lognormal(mean, sigma, risk_free)
    position = fraction * edge / sigma**2
    return max(position, 0.0) if long_only else position


def lognormal_growth(
    position: float, *, mean: float, sigma: float, risk_free: float = 0.0
) -> tuple[float, float]:
    r"""Return mean and volatility of the growth of a position in one lognormal asset.

    .. math:: g(f) = r + f(\mu - r) - \tfrac{1}{2} f^2 \sigma^2, \qquad |f|\,\sigma

    Half the Kelly position keeps three quarters of the growth above r, twice the position has none of it left.
    Arguments and errors are those of `lognormal_kelly`.

    Returns
    -------
    tuple of float
        Per year, and per square root of a year.
    """
    edge = _check_lognormal(mean, sigma, risk_free)
    return risk_free + position * edge - 0.5 * (position * sigma) ** 2, abs(position) * sigma


def kelly_weights(
    mean: npt.ArrayLike,
    covariance: npt.ArrayLike,
    *,
    fraction: float,
    gross_cap: float = math.inf,
    lower: npt.ArrayLike = -math.inf,
    upper: npt.ArrayLike = math.inf,
) -> FloatArray:
    r"""Return the Kelly weights of several assets from their means and covariance.

    .. math:: \max_w\; c\,\mu^\top w - \tfrac{1}{2} w^\top \Sigma w
        \quad\text{subject to}\quad \textstyle\sum_i |w_i| \le G,\; l \le w \le u

    Without a binding limit this is :math:`c\,\Sigma^{-1}\mu`. Weights are signed: an asset with a negative edge is held
    short unless `lower` forbids it.

    Parameters
    ----------
    mean : array-like, shape (n_assets,)
        Excess returns per period.
    covariance : array-like, shape (n_assets, n_assets)
        Of the same returns, positive definite.
    fraction : float
        c, the share of the full Kelly bet to hold, in (0, 1].
    gross_cap : float
        G, > 0.
    lower, upper : array-like, scalar or shape (n_assets,)
        l <= 0 and u >= 0, so that no bet is always allowed; 0 makes an asset long-only or short-only.

    Returns
    -------
    float64 array, shape (n_assets,)
        Notional over equity, never outside the limits.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is NaN or infinite, the covariance is singular or not symmetric, or an argument is
        out of its range.

    References
    ----------
    MacLean, Thorp and Ziemba, *The Kelly Capital Growth Investment Criterion*, 2011; for the exact solution Lawson and
    Hanson, *Solving Least Squares Problems*, 1974, ch. 23 (least distance programming).

    Examples
    --------
    >>> kelly_weights([0.1, 0.02], [[0.04, 0.0], [0.0, 0.04]], fraction=0.5, gross_cap=1.0).tolist()
    [1.0, 0.0]
    """
    _check_fraction(fraction)
    edge = as_vector(mean, "mean")
    matrix = as_positive_definite(covariance, "covariance", len(edge))
    limits = as_limits(len(edge), gross_cap, lower, upper)
    return inside(quadratic_optimum(fraction * edge, matrix, limits), limits)


def gaussian_growth(
    weights: npt.ArrayLike,
    mean: npt.ArrayLike,
    covariance: npt.ArrayLike,
    *,
    risk_free: float = 0.0,
) -> float:
    r"""Return the growth of constant weights, :math:`r + \mu^\top w - \tfrac{1}{2} w^\top \Sigma w`.

    `mean` is in excess of r; NaN is passed on. With second moments in place of the covariance this is the growth that
    `quadratic_risk_constrained_kelly` maximises.
    """
    held, edge = np.asarray(weights, dtype=np.float64), np.asarray(mean, dtype=np.float64)
    matrix = np.asarray(covariance, dtype=np.float64)
    return float(risk_free + edge @ held - 0.5 * held @ matrix @ held)


def scenario_kelly(
    returns: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    fraction: float,
    gross_cap: float = math.inf,
    lower: npt.ArrayLike = -math.inf,
    upper: npt.ArrayLike = math.inf,
) -> FloatArray:
    r"""Return the Kelly weights of several assets from scenarios of their returns.

    .. math:: w = c\,v, \qquad v = \arg\max_{c v \in \text{limits}} \sum_k \pi_k \ln(1 + r_k^\top v)

    The logarithm itself keeps wealth above zero in every scenario, however improbable.

    Parameters
    ----------
    returns : array-like, shape (n_scenarios, n_assets)
        Arithmetic excess returns, columns linearly independent; a row may hold total losses.
    probabilities : array-like, shape (n_scenarios,)
        :math:`\pi`, >= 0, adding up to 1. Scenarios of probability 0 are left out.
    fraction : float
        c, the share of the full Kelly bet to hold, in (0, 1].
    gross_cap, lower, upper
        As in `kelly_weights`.

    Returns
    -------
    float64 array, shape (n_assets,)
        Notional over equity, never outside the limits.

    Raises
    ------
    ValueError
        As `kelly_weights`; also if there are fewer scenarios than assets, or if growth has no bound because some bet
        cannot lose and no limit stops it.

    References
    ----------
    Kelly (1956); Cover and Thomas, *Elements of Information Theory*, 2nd ed., 2006, ch. 16.

    Examples
    --------
    >>> scenario_kelly([[1.0], [-1.0]], [0.6, 0.4], fraction=0.5).round(6).tolist()
    [0.1]
    """
    _check_fraction(fraction)
    scenarios = as_scenarios(returns, probabilities)
    limits = as_limits(scenarios.returns.shape[1], gross_cap, lower, upper)
    full = Limits(gross_cap / fraction, limits.lower / fraction, limits.upper / fraction)
    return inside(fraction * growth_optimum(scenarios, full, 0.0, 0.0), limits)


def scenario_growth(
    weights: npt.ArrayLike, returns: npt.ArrayLike, probabilities: npt.ArrayLike
) -> float:
    r"""Return the growth of constant weights over scenarios, :math:`\sum_k \pi_k \ln(1 + r_k^\top w)`.

    Raises
    ------
    ValueError
        If a scenario of positive probability loses everything; otherwise as `scenario_kelly`.
    """
    scenarios = as_scenarios(returns, probabilities, independent=False)
    held, n_assets = as_vector(weights, "weights"), scenarios.returns.shape[1]
    require(len(held) == n_assets, f"weights must be of shape ({n_assets},)", held.shape)
    change = scenarios.returns @ held
    rule = f"weights must keep some wealth in scenario {change.argmin()}, its return"
    require((change > -1.0).all(), rule, change.min())
    return float(scenarios.probabilities @ np.log1p(change))


def drawdown_lambda(alpha: float, beta: float) -> float:
    r"""Return the risk aversion that bounds the probability of ever falling below a share of the start.

    .. math:: \lambda = \ln\beta / \ln\alpha \quad\Rightarrow\quad
        E(1 + r^\top w)^{-\lambda} \le 1 \text{ implies } P(\min_t W_t < \alpha) < \alpha^\lambda = \beta

    Parameters
    ----------
    alpha : float
        Share of the starting wealth, in (0, 1).
    beta : float
        Highest probability of falling below it, in (0, 1).

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Busseti, Ryu and Boyd, "Risk-Constrained Kelly Gambling", *Journal of Investing* 25(3), 2016.
    """
    require(0.0 < alpha < 1.0, "alpha must be in (0, 1)", alpha)
    require(0.0 < beta < 1.0, "beta must be in (0, 1)", beta)
    return math.log(beta) / math.log(alpha)


def drawdown_bound(alpha: float, lambda_: float) -> float:
    r"""Return the bound :math:`\alpha^\lambda` that `lambda_` puts on the probability of ever falling below `alpha`."""
    require(0.0 < alpha < 1.0, "alpha must be in (0, 1)", alpha)
    _check_lambda(lambda_)
    return math.exp(lambda_ * math.log(alpha))


def risk_constrained_kelly(
    returns: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    lambda_: float,
    gross_cap: float = math.inf,
    lower: npt.ArrayLike = -math.inf,
    upper: npt.ArrayLike = math.inf,
) -> FloatArray:
    r"""Return the weights of fastest growth whose risk of ever falling below a share of the start is bounded.

    .. math:: \max_w \sum_k \pi_k \ln(1 + r_k^\top w)
        \quad\text{subject to}\quad \sum_k \pi_k (1 + r_k^\top w)^{-\lambda} \le 1

    The constraint takes the place of a fraction. It is met along the family of concave problems
    :math:`(1-t)\,E \ln W + t\,(1 - E W^{-\lambda})/\lambda`: the least t in [0, 1] that meets it is the solution.

    Parameters
    ----------
    returns, probabilities
        As in `scenario_kelly`.
    lambda_ : float
        Risk aversion, >= 0, from `drawdown_lambda`; 0 is the unconstrained bet.
    gross_cap, lower, upper
        As in `kelly_weights`. The paper's bets, non-negative and adding up to 1 with cash among them, are ``lower=0,
        gross_cap=1`` with cash left out.

    Returns
    -------
    float64 array, shape (n_assets,)
        Notional over equity, never outside the limits; 0 without an edge.

    Raises
    ------
    ValueError
        As `scenario_kelly`, or if `lambda_` is negative.

    References
    ----------
    Busseti, Ryu and Boyd (2016). The bound supposes independent periods and known scenarios.

    Examples
    --------
    >>> risk_constrained_kelly([[1.0], [-1.0]], [0.6, 0.4], lambda_=drawdown_lambda(0.8, 0.1)).round(4).tolist()
    [0.0358]
    """
    _check_lambda(lambda_)
    scenarios = as_scenarios(returns, probabilities)
    limits = as_limits(scenarios.returns.shape[1], gross_cap, lower, upper)

    def weights(t: float) -> FloatArray:
        return growth_optimum(scenarios, limits, lambda_, t)

    def excess(held: FloatArray) -> float:
        logs = np.log(scenarios.probabilities) - lambda_ * np.log1p(scenarios.returns @ held)
        return float(logsumexp(logs))

    best = weights(0.0)
    if excess(best) > ROUNDING:
        tight = excess(weights(1.0)) >= 0.0
        t = 1.0 if tight else brentq(lambda t: excess(weights(t)), 0.0, 1.0, xtol=1e-13)
        best = weights(t)
    return inside(best, limits)


def quadratic_risk_constrained_kelly(
    mean: npt.ArrayLike,
    second_moment: npt.ArrayLike,
    *,
    lambda_: float,
    gross_cap: float = math.inf,
    lower: npt.ArrayLike = -math.inf,
    upper: npt.ArrayLike = math.inf,
) -> FloatArray:
    r"""Return the quadratic approximation of `risk_constrained_kelly`, which needs two moments instead of scenarios.

    .. math:: \max_w \mu^\top w - \tfrac{1}{2} w^\top M w
        \quad\text{subject to}\quad \tfrac{\lambda + 1}{2}\, w^\top M w \le \mu^\top w

    Its optimality conditions are those of a fractional bet: the solution is `kelly_weights` with the largest fraction
    in :math:`[1/(\lambda+1), 1]` that meets the constraint, :math:`\min(1, 2/(\lambda+1))` where no limit binds.

    Parameters
    ----------
    mean : array-like, shape (n_assets,)
        :math:`E r`, excess returns per period.
    second_moment : array-like, shape (n_assets, n_assets)
        :math:`M = E r r^\top`, not centred, positive definite.
    lambda_ : float
        Risk aversion, >= 0, from `drawdown_lambda`; the bound holds as far as the approximation does.
    gross_cap, lower, upper
        As in `kelly_weights`.

    Returns
    -------
    float64 array, shape (n_assets,)
        Notional over equity, never outside the limits.

    Raises
    ------
    ValueError
        As `kelly_weights`, or if `lambda_` is negative.

    References
    ----------
    Busseti, Ryu and Boyd (2016), quadratic approximation.
    """
    _check_lambda(lambda_)
    aversion = lambda_ + 1.0
    edge = as_vector(mean, "mean")
    matrix = as_positive_definite(second_moment, "second_moment", len(edge))
    limits = as_limits(len(edge), gross_cap, lower, upper)

    def excess(fraction: float) -> float:
        held = quadratic_optimum(fraction * edge, matrix, limits)
        gain = float(edge @ held)
        return 0.5 * aversion * float(held @ matrix @ held) / gain - 1.0 if gain > 0.0 else 0.0

    within = excess(1.0) <= ROUNDING
    fraction = 1.0 if within else brentq(excess, 1.0 / aversion, 1.0, xtol=1e-14)
    return inside(quadratic_optimum(fraction * edge, matrix, limits), limits)


def estimation_shrinkage(squared_sharpe: float, *, n_observations: int, n_assets: int) -> float:
    r"""Return the share of the estimated Kelly weights that is best to hold when mean and covariance are estimates.

    .. math:: c = \frac{(T - N - 1)(T - N - 4)}{T (T - 2)} \cdot \frac{\theta^2}{\theta^2 + N/T}

    It multiplies :math:`\hat\Sigma^{-1}\hat\mu` (maximum likelihood, divisor T) and so joins `fraction` as a factor.

    Parameters
    ----------
    squared_sharpe : float
        :math:`\theta^2 = \mu^\top \Sigma^{-1} \mu` per observation, >= 0; of a sample, first `adjusted_squared_sharpe`.
    n_observations : int
        T, > N + 4.
    n_assets : int
        N, >= 1.

    Returns
    -------
    float
        In [0, 1).

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Kan and Zhou, "Optimal Portfolio Choice with Parameter Uncertainty", *Journal of Financial and Quantitative
    Analysis* 42(3), 2007, two-fund rule; independent normal returns.

    Examples
    --------
    >>> round(estimation_shrinkage(0.04, n_observations=60, n_assets=3), 6)
    0.379055
    """
    _check_sample(squared_sharpe, n_observations, n_assets)
    t, n = n_observations, n_assets
    known = (t - n - 1) * (t - n - 4) / (t * (t - 2))
    return known * squared_sharpe / (squared_sharpe + n / t)


def adjusted_squared_sharpe(sample: float, *, n_observations: int, n_assets: int) -> float:
    r"""Return an estimate of the squared Sharpe ratio from that of a sample, which is far too large.

    .. math:: \hat\theta_a^2 = \frac{(T-N-2)\hat\theta^2 - N}{T} + \frac{2 (\hat\theta^2)^{N/2} (1 +
        \hat\theta^2)^{-(T-2)/2}}{T\, B_{\hat\theta^2/(1+\hat\theta^2)}(N/2, (T-N)/2)}

    The first term is unbiased but may be negative, the second, with the incomplete beta function, keeps it above zero.

    Parameters
    ----------
    sample : float
        :math:`\hat\mu^\top \hat\Sigma^{-1} \hat\mu` per observation with the divisor T, >= 0.
    n_observations, n_assets : int
        T and N, as in `estimation_shrinkage`.

    Returns
    -------
    float
        In [0, `sample`].

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Kan and Zhou (2007), from Kubokawa, Robert and Saleh, "Estimation of Noncentrality Parameters", 1993.
    """
    _check_sample(sample, n_observations, n_assets)
    if sample == 0.0:
        return 0.0
    t, n = n_observations, n_assets
    share = betainc(n / 2, (t - n) / 2, sample / (1.0 + sample)) * beta_function(n / 2, (t - n) / 2)
    log_top = 0.5 * n * math.log(sample) - 0.5 * (t - 2) * math.log1p(sample)
    floor = 2.0 * math.exp(log_top) / (t * share)
    return float(max(((t - n - 2) * sample - n) / t + floor, 0.0))


def _check_fraction(fraction: float) -> None:
    require(0.0 < fraction <= 1.0, "fraction must be in (0, 1]", fraction)


def _check_lambda(lambda_: float) -> None:
    require(0.0 <= lambda_ < math.inf, "lambda_ must be >= 0 and finite", lambda_)


def _check_bet(p_win: float, win_per_unit: float, loss_per_unit: float) -> None:
    require(0.0 <= p_win <= 1.0, "p_win must be in [0, 1]", p_win)
    require(0.0 < win_per_unit < math.inf, "win_per_unit must be > 0 and finite", win_per_unit)
    require(0.0 < loss_per_unit < math.inf, "loss_per_unit must be > 0 and finite", loss_per_unit)


def _check_lognormal(mean: float, sigma: float, risk_free: float) -> float:
    require(0.0 < sigma < math.inf, "sigma must be > 0 and finite", sigma)
    require(math.isfinite(mean - risk_free), "mean - risk_free must be finite", mean - risk_free)
    return mean - risk_free


def _check_sample(squared_sharpe: float, n_observations: int, n_assets: int) -> None:
    known = 0.0 <= squared_sharpe < math.inf
    require(known, "squared Sharpe ratio must be >= 0 and finite", squared_sharpe)
    require(n_assets >= 1, "n_assets must be >= 1", n_assets)
    enough = n_observations > n_assets + 4
    require(enough, f"n_observations must be > n_assets + 4 = {n_assets + 4}", n_observations)
