r"""Market Impact Model: what an order of ours does to the price, and what that costs.

Four models, from the one that a live decision uses to those that research compares it with:

- the square-root law, the one that holds for perpetuals too, its coefficient fitted to our own fills;
- Almgren and others (2005), which tells lasting from passing impact but was measured on shares;
- Almgren and Chriss (2000), the schedule that balances impact against the risk of waiting;
- transient impact, a trade's push that decays: any kernel, and Obizhaeva and Wang's optimum for an exponential one.

Impact and cost are >= 0 when they are against us, whichever side we trade; quantities and holdings are signed. The
functions below the models are compiled and take scalars: the account step calls them as they are, and so does Python.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.types import FloatArray

MEAN_OF_PEAK = 2.0 / 3.0
"""Mean over peak impact of an order that is worked along a square-root path: the integral of sqrt(q) over [0, 1]."""
OBSERVATIONS_MIN = 20
"""Fewer fills than this say nothing about a coefficient whose noise is many times its effect."""

_HUBER = 1.345  # 95 % as efficient as least squares where the noise is normal
_NORMAL_QUARTILE = (
    0.6744897501960817  # median absolute deviation of a normal variable over its standard deviation
)
_STEPS = 200
_EQUAL = 1e-4  # urgencies below it are straight lines to eight digits, where a quotient of sinh loses as many
_MOST_LOTS = 1e15  # well inside both int64 and the whole numbers that a float holds


def _at_least_zero(value: float, name: str) -> None:
    _require(0.0 <= value < math.inf, f"{name} must be >= 0 and finite", value)


def _above_zero(value: float, name: str) -> None:
    _require(0.0 < value < math.inf, f"{name} must be > 0 and finite", value)


def _require(holds: bool | np.bool_, rule: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{rule}, was {value}")


@dataclass(frozen=True)
class SquareRootImpact:
    """Impact of orders, as fractions of price."""

    peak: FloatArray
    """How far the price has moved when an order is done."""
    mean_cost: FloatArray
    """What the order has paid on average, 2/3 of the peak; half-spread and fees are not in it."""


@dataclass(frozen=True)
class CoefficientFit:
    """A coefficient of the square-root law, as estimated from fills."""

    coefficient: float
    """Y, shrunk towards the prior, >= 0."""
    standard_error: float
    """Of the shrunk coefficient."""
    sample_coefficient: float
    """What the fills alone say; may be negative."""
    sample_error: float
    """Its standard error, robust to unequal noise; large-sample."""
    sample_weight: float
    """Share of the fills in `coefficient`, in [0, 1]; the rest is the prior."""
    noise: float
    """Standard deviation of a fill's slippage about the law, in daily volatilities; outliers do not count."""
    n_observations: int
    """Fills without a NaN."""


@dataclass(frozen=True, kw_only=True)
class PowerLaws:
    r"""Coefficients of Almgren and others (2005); dimensionless. The defaults are their estimates from US shares."""

    permanent: float = 0.314
    r""":math:`\gamma`."""
    temporary: float = 0.142
    r""":math:`\eta`."""
    turnover_exponent: float = 0.25
    r""":math:`\delta`, of shares outstanding over daily volume."""
    rate_exponent: float = 0.6
    r""":math:`\beta`, of the rate of trading."""

    def __post_init__(self) -> None:
        for name in ("permanent", "temporary", "turnover_exponent", "rate_exponent"):
            _at_least_zero(getattr(self, name), name)


EQUITIES_2005 = PowerLaws()


@dataclass(frozen=True)
class PowerLawImpact:
    """Impact of an order traded at a constant rate, in basis points, one value per horizon."""

    permanent_bps: float
    """I: what remains; the same for every horizon."""
    temporary_bps: FloatArray
    """K: what the rate of trading adds while it lasts."""
    realised_bps: FloatArray
    """J = I/2 + K, the mean cost of the order."""


@dataclass(frozen=True, kw_only=True)
class LinearMarket:
    r"""A market with linear impact, as Almgren and Chriss (2000) describe it, in any consistent units.

    Parameters
    ----------
    volatility : float
        :math:`\sigma`, price units per square root of the unit of time, >= 0.
    permanent : float
        :math:`\gamma`, price units per coin traded, >= 0.
    temporary : float
        :math:`\eta`, price units per coin per unit of time, > 0.
    fixed : float
        :math:`\epsilon`, paid on every coin: half-spread and fee in price units, >= 0.
    """

    volatility: float
    permanent: float
    temporary: float
    fixed: float

    def __post_init__(self) -> None:
        for name in ("volatility", "permanent", "fixed"):
            _at_least_zero(getattr(self, name), name)
        _above_zero(self.temporary, "temporary")


@dataclass(frozen=True)
class Schedule:
    """How an order is worked: n intervals of equal length."""

    times: FloatArray = field(repr=False)
    """Ends of the intervals and the start, shape ``(n + 1,)``."""
    holdings: FloatArray = field(repr=False)
    """What is left to trade at each of them: from the order's quantity to 0, shape ``(n + 1,)``."""
    trades: FloatArray = field(repr=False)
    """What each interval trades, with the order's sign, shape ``(n,)``."""
    kappa: float
    """Urgency per unit of time; 0 is the straight line."""
    eta_tilde: float
    """Temporary impact less what permanent impact takes off it in discrete time."""
    expected_cost: float
    """Price units times coins."""
    variance: float
    """Of the cost."""

    @property
    def std(self) -> float:
        """Standard deviation of the cost."""
        return math.sqrt(self.variance)


@dataclass(frozen=True, kw_only=True)
class PowerLawDecay:
    r"""A trade's push at each lag: :math:`G(l) = G_0 / (1 + l / l_0)^\beta`, lags in bars."""

    initial: float
    r""":math:`G_0`, price units per unit of pushed volume, > 0."""
    scale: float
    r""":math:`l_0`, bars, > 0."""
    exponent: float
    r""":math:`\beta`, >= 0."""

    def __post_init__(self) -> None:
        _above_zero(self.initial, "initial")
        _above_zero(self.scale, "scale")
        _at_least_zero(self.exponent, "exponent")

    def at(self, lags: FloatArray) -> FloatArray:
        """Return the push that is left after lags >= 0."""
        return np.asarray(self.initial / (1.0 + lags / self.scale) ** self.exponent)


@dataclass(frozen=True, kw_only=True)
class ExponentialDecay:
    r"""A trade's push at each lag: :math:`G(l) = G_0 e^{-\rho l}`, lags in bars."""

    initial: float
    r""":math:`G_0`, price units per unit of pushed volume, > 0."""
    rate: float
    r""":math:`\rho`, per bar, >= 0."""

    def __post_init__(self) -> None:
        _above_zero(self.initial, "initial")
        _at_least_zero(self.rate, "rate")

    def at(self, lags: FloatArray) -> FloatArray:
        """Return the push that is left after lags >= 0."""
        return np.asarray(self.initial * np.exp(-self.rate * lags))


Decay = PowerLawDecay | ExponentialDecay


@dataclass(frozen=True)
class TransientImpact:
    """What a series of trades does to the price, one value per bar."""

    kernel: FloatArray = field(repr=False)
    """Push left after 0, 1, ... bars, for a unit."""
    price_shifts: FloatArray = field(repr=False)
    """Price less what it would have been, after each bar's trade."""
    costs: FloatArray = field(repr=False)
    """What each trade paid above the price that would have been, in price units times coins; earlier ones included."""

    @property
    def cost(self) -> float:
        """Cost of the whole series."""
        return math.fsum(self.costs.tolist())


@dataclass(frozen=True)
class BlockSchedule:
    """A block at once, a constant rate, a block at the end; signed as the order."""

    qty: float
    """X, the whole order."""
    first_block: float
    rate: float
    """Per unit of time."""
    last_block: float

    def cost(self, block_impact: float) -> float:
        r"""Return the expected cost in price units times coins, :math:`G_0 X^2 / (\rho T + 2)`.

        Parameters
        ----------
        block_impact : float
            :math:`G_0`, by how many price units a coin traded at once moves the price. Permanent impact costs the
            same in every schedule and is not in it.
        """
        _at_least_zero(block_impact, "block_impact")
        # X = (rho T + 2) first_block, and X first_block is the same as X**2 / (rho T + 2).
        return block_impact * abs(self.qty * self.first_block)


def square_root_law(
    notionals: npt.ArrayLike,
    *,
    daily_notionals: npt.ArrayLike,
    daily_vols: npt.ArrayLike,
    coefficient: float,
) -> SquareRootImpact:
    r"""Return peak impact and mean cost of orders by the square-root law.

    .. math:: I = Y \sigma_d \sqrt{Q / V}, \qquad \text{mean cost} = \tfrac{2}{3} I

    How fast an order is worked makes no difference to it, as long as it takes neither minutes nor weeks.

    Parameters
    ----------
    notionals : array-like
        Q, of whole orders, in USDT; the sign does not matter.
    daily_notionals : array-like
        V, traded by the whole market in a day, in USDT, >= 0. No volume makes the impact infinite.
    daily_vols : array-like
        :math:`\sigma_d`, standard deviation of daily returns as a fraction, >= 0.
    coefficient : float
        Y, of order 1, >= 0; `fit_coefficient` estimates it.

    Returns
    -------
    SquareRootImpact
        Fractions of price in the shape to which the arguments broadcast; 0 for no order, else NaN where one of them
        is.

    Raises
    ------
    ValueError
        If a volume, a volatility or the coefficient is negative.

    References
    ----------
    Tóth and others, "Anomalous Price Impact and the Critical Nature of Liquidity in Financial Markets", *Physical
    Review X* 1, 2011; for Bitcoin Donier and Bonart, "A Million Metaorder Analysis of Market Impact on the Bitcoin",
    *Market Microstructure and Liquidity* 1(2), 2015, who find the whole path of an order to be a square root.

    Examples
    --------
    >>> found = square_root_law(50e3, daily_notionals=20e6, daily_vols=0.04, coefficient=1.0)
    >>> float(found.peak.round(6)), float(found.mean_cost.round(6))
    (0.002, 0.001333)
    """
    _at_least_zero(coefficient, "coefficient")
    volumes = _not_negative(daily_notionals, "daily_notionals")
    vols = _not_negative(daily_vols, "daily_vols")
    orders = np.abs(np.asarray(notionals, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        peak = coefficient * vols * np.sqrt(orders / volumes)
    peak = np.where(volumes == 0.0, np.inf, peak)
    peak = np.where(orders == 0.0, 0.0, peak)
    return SquareRootImpact(peak, MEAN_OF_PEAK * peak)


def fit_coefficient(
    slippages: npt.ArrayLike,
    notionals: npt.ArrayLike,
    daily_notionals: npt.ArrayLike,
    daily_vols: npt.ArrayLike,
    *,
    prior: float,
    prior_error: float,
) -> CoefficientFit:
    r"""Return the coefficient of the square-root law that realised orders show, shrunk towards a prior.

    .. math:: \frac{s_i}{\sigma_i} = Y x_i + e_i, \quad x_i = \tfrac{2}{3} \sqrt{Q_i / V_i}, \qquad
        \hat Y_w = w \hat Y + (1 - w) Y_0, \quad
        w = \frac{\tau^2}{\tau^2 + \mathrm{se}^2 \frac{n - 1}{n - 3}}

    In units of volatility the noise of all orders is alike. Y is Huber's estimate through the origin, its scale the
    median absolute residual of the least absolute deviations. The weight of the fills is what they can tell: it rises
    with their number and size, and the last factor, the variance of Student's t with n - 1 degrees of freedom, keeps a
    few fills that happen to agree from passing for knowledge.

    Parameters
    ----------
    slippages : array-like, shape (n,)
        What each order paid against the price at its arrival, as a fraction, less the half-spread; > 0 is against us.
        An order that was not filled is no zero: leave it out.
    notionals, daily_notionals : array-like, shape (n,)
        Of the whole orders (not of their slices) and of the market in a day, in USDT, > 0.
    daily_vols : array-like, shape (n,)
        Standard deviation of daily returns, > 0, as known when the order was sent.
    prior : float
        :math:`Y_0`, >= 0.
    prior_error : float
        :math:`\tau`, how far from it Y may well be, > 0; infinite takes the fills alone.

    Returns
    -------
    CoefficientFit
        Orders with a NaN are left out.

    Raises
    ------
    ValueError
        If shapes differ, fewer than 20 orders are complete, a value is infinite or an argument is out of its range.

    References
    ----------
    Huber, *Robust Statistics*, 1981, ch. 7 (regression, asymptotic variance); the shrinkage is the mean of the
    posterior for a normal prior and a normal estimate. Deviation: the variance allows for unequal noise (White 1980),
    and a negative posterior mean is cut to 0.

    Examples
    --------
    >>> size = np.linspace(1e4, 1e6, 40)
    >>> paid = 2.0 / 3.0 * 0.03 * np.sqrt(size / 1e8) * 0.8
    >>> found = fit_coefficient(paid, size, np.full(40, 1e8), np.full(40, 0.03), prior=1.0, prior_error=0.5)
    >>> round(found.coefficient, 6), found.n_observations
    (0.8, 40)
    """
    _at_least_zero(prior, "prior")
    _require(prior_error > 0.0, "prior_error must be > 0", prior_error)
    x, y = _explained(slippages, notionals, daily_notionals, daily_vols)
    sample, scale = _huber_slope(x, y)
    error = _slope_error(x, y - sample * x, scale)
    n = len(x)
    variance = error**2 * (n - 1) / (n - 3)
    weight = 1.0 / (1.0 + variance / prior_error**2)
    return CoefficientFit(
        coefficient=max(weight * sample + (1.0 - weight) * prior, 0.0),
        standard_error=math.sqrt(weight * variance),
        sample_coefficient=sample,
        sample_error=error,
        sample_weight=weight,
        noise=scale,
        n_observations=n,
    )


def power_law_impact(
    qty: float,
    *,
    daily_volume: float,
    daily_vol: float,
    outstanding: float,
    horizon_days: npt.ArrayLike,
    laws: PowerLaws = EQUITIES_2005,
) -> PowerLawImpact:
    r"""Return lasting and passing impact of an order that is traded at a constant rate.

    .. math:: I = \gamma \sigma \frac{X}{V} \left(\frac{\Theta}{V}\right)^{\delta}, \qquad
        K = \eta \sigma \left(\frac{X}{V T}\right)^{\beta}, \qquad J = \frac{I}{2} + K

    Parameters
    ----------
    qty : float
        X, in shares or coins; the sign does not matter.
    daily_volume : float
        V, in the same unit, > 0.
    daily_vol : float
        :math:`\sigma`, as a fraction, >= 0.
    outstanding : float
        :math:`\Theta`, shares outstanding, > 0. A perpetual has none: `square_root_law` is the model for it.
    horizon_days : array-like
        T, days of volume time, > 0.
    laws : PowerLaws
        The coefficients; those of the paper by default.

    Returns
    -------
    PowerLawImpact
        Basis points, in the shape of the horizons.

    Raises
    ------
    ValueError
        If an argument is NaN or out of its range.

    References
    ----------
    Almgren, Thum, Hauptmann and Li, "Direct Estimation of Equity Market Impact", *Risk*, July 2005.

    Examples
    --------
    >>> found = power_law_impact(
    ...     656100, daily_volume=6.561e6, daily_vol=0.0157, outstanding=1.728e9, horizon_days=[0.1, 0.5]
    ... )
    >>> round(found.permanent_bps), found.realised_bps.round().tolist()
    (20, [32.0, 18.0])
    """
    _require(math.isfinite(qty), "qty must be finite", qty)
    _above_zero(daily_volume, "daily_volume")
    _at_least_zero(daily_vol, "daily_vol")
    _above_zero(outstanding, "outstanding")
    days = np.asarray(horizon_days, dtype=np.float64)
    good = np.isfinite(days) & (days > 0.0)
    _require(good.all(), "horizon_days must be > 0 and finite", _first(days, ~good))
    share = abs(qty) / daily_volume
    turnover = (outstanding / daily_volume) ** laws.turnover_exponent
    permanent = 1e4 * laws.permanent * daily_vol * share * turnover
    temporary = 1e4 * laws.temporary * daily_vol * (share / days) ** laws.rate_exponent
    return PowerLawImpact(permanent, np.asarray(temporary), np.asarray(permanent / 2.0 + temporary))


def almgren_chriss(
    qty: float, market: LinearMarket, *, horizon: float, intervals: int, risk_aversion: float
) -> Schedule:
    r"""Return the schedule of least expected cost plus risk aversion times its variance.

    .. math:: x_j = X \frac{\sinh \kappa (T - t_j)}{\sinh \kappa T}, \qquad
        \frac{2}{\tau^2} (\cosh \kappa\tau - 1) = \frac{\lambda \sigma^2}{\tilde\eta}, \qquad
        \tilde\eta = \eta - \frac{\gamma \tau}{2}

    .. math:: E = \frac{\gamma X^2}{2} + \epsilon |X| + \frac{\tilde\eta}{\tau} \sum_k n_k^2, \qquad
        V = \sigma^2 \tau \sum_k x_k^2

    Parameters
    ----------
    qty : float
        X, coins to be traded; buying and selling cost the same, and the schedule carries the sign.
    market : LinearMarket
        Volatility and impact.
    horizon : float
        T, in the unit of time of `market`, > 0.
    intervals : int
        N, >= 1; :math:`\tau = T / N`.
    risk_aversion : float
        :math:`\lambda`, per price unit and coin, >= 0; 0 is the straight line.

    Returns
    -------
    Schedule
        The whole order, spread over the intervals.

    Raises
    ------
    ValueError
        If an argument is out of its range, or permanent impact within an interval exceeds the temporary one, which
        would make waiting worthless and the problem unbounded.

    References
    ----------
    Almgren and Chriss, "Optimal Execution of Portfolio Transactions", *Journal of Risk* 3, 2000, section 2.

    Examples
    --------
    >>> market = LinearMarket(volatility=0.95, permanent=2.5e-7, temporary=2.5e-6, fixed=0.0625)
    >>> plan = almgren_chriss(1e6, market, horizon=5.0, intervals=5, risk_aversion=1e-6)
    >>> round(plan.kappa, 3), plan.holdings.round().astype(int).tolist()
    (0.607, [1000000, 541956, 289854, 147897, 62142, 0])
    """
    _require(math.isfinite(qty), "qty must be finite", qty)
    _above_zero(horizon, "horizon")
    _require(intervals >= 1, "intervals must be >= 1", intervals)
    _at_least_zero(risk_aversion, "risk_aversion")
    tau = horizon / intervals
    eta = market.temporary - 0.5 * market.permanent * tau
    rule = "temporary must be > permanent * horizon / intervals / 2"
    _require(eta > 0.0, f"{rule} = {market.permanent * tau / 2}", market.temporary)
    # cosh(z) - 1 = 2 sinh(z / 2)**2, which keeps its digits where kappa is small.
    kappa_tilde = math.sqrt(risk_aversion / eta) * market.volatility
    kappa = 2.0 / tau * math.asinh(0.5 * kappa_tilde * tau)
    times = np.linspace(0.0, horizon, intervals + 1)
    holdings = qty * _left(kappa * (horizon - times), kappa * horizon, 1.0 - times / horizon)
    trades = -np.diff(holdings)
    spent = market.permanent * qty**2 / 2.0 + market.fixed * np.abs(trades).sum()
    return Schedule(
        times=times,
        holdings=holdings,
        trades=trades,
        kappa=kappa,
        eta_tilde=eta,
        expected_cost=float(spent + eta / tau * (trades**2).sum()),
        variance=float(market.volatility**2 * tau * (holdings[1:] ** 2).sum()),
    )


def propagate(
    signed_volumes: npt.ArrayLike, decay: Decay, *, volume_exponent: float
) -> TransientImpact:
    r"""Return what a series of trades does to the price when each one's push decays, and what it costs.

    .. math:: p_t = \sum_{s \le t} G(t - s) f(v_s), \quad f(v) = \operatorname{sign}(v) |v|^{\delta}, \qquad
        c_t = v_t \Bigl(\sum_{s < t} G(t - s) f(v_s) + \frac{G(0) f(v_t)}{1 + \delta}\Bigr)

    A trade pays the mean of its own path: 2/3 of its push for a square root, 1/2 for a linear one.

    Parameters
    ----------
    signed_volumes : array-like, shape (n_bars,)
        v, bought > 0, in coins; 0 where nothing is traded.
    decay : PowerLawDecay or ExponentialDecay
        G.
    volume_exponent : float
        :math:`\delta`, > 0. Some pairs of decay and exponent let a round trip earn money from its own impact:
        exponential decay unless :math:`\delta = 1`, a power law where :math:`\beta + \delta < 1` (Gatheral 2010). They
        describe prices well enough, but no schedule may be optimised on them.

    Returns
    -------
    TransientImpact
        Price units and price units times coins, shape (n_bars,).

    Raises
    ------
    ValueError
        If a volume is NaN or infinite, there is none, or the exponent is not positive.

    References
    ----------
    Bouchaud, Gefen, Potters and Wyart, "Fluctuations and Response in Financial Markets", *Quantitative Finance* 4,
    2004; Gatheral, "No-Dynamic-Arbitrage and Market Impact", *Quantitative Finance* 10, 2010. Deviation: a trade's
    cost to itself, which continuous time does not have, is that of its own square-root (or other) path.

    Examples
    --------
    >>> found = propagate([100.0, 0.0, -100.0], ExponentialDecay(initial=0.01, rate=0.5), volume_exponent=1.0)
    >>> found.price_shifts.round(3).tolist(), round(found.cost, 3)
    ([1.0, 0.607, -0.632], 63.212)
    """
    _above_zero(volume_exponent, "volume_exponent")
    volumes = np.asarray(signed_volumes, dtype=np.float64)
    shaped = volumes.ndim == 1 and len(volumes) > 0
    _require(shaped, "signed_volumes must be of shape (n_bars,), n_bars >= 1", volumes.shape)
    good = np.isfinite(volumes)
    _require(good.all(), "signed_volumes must be finite", _first(volumes, ~good))
    kernel = decay.at(np.arange(len(volumes), dtype=np.float64))
    pushes = np.sign(volumes) * np.abs(volumes) ** volume_exponent
    shifts = np.convolve(pushes, kernel)[: len(volumes)]
    before = shifts - kernel[0] * pushes
    costs = volumes * (before + kernel[0] * pushes / (1.0 + volume_exponent))
    return TransientImpact(kernel, shifts, costs)


def obizhaeva_wang(qty: float, *, resilience: float, horizon: float) -> BlockSchedule:
    r"""Return the cheapest schedule where each trade moves the price linearly and its push decays exponentially.

    .. math:: x_0 = x_T = \frac{X}{\rho T + 2}, \qquad \dot x = \frac{\rho X}{\rho T + 2}

    Parameters
    ----------
    qty : float
        X, coins to be traded, signed.
    resilience : float
        :math:`\rho`, per unit of time, >= 0; 0 is impact that stays, where only the two blocks are left.
    horizon : float
        T, > 0.

    Returns
    -------
    BlockSchedule
        Blocks and rate, which add up to the order: ``first_block + rate * horizon + last_block``.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Obizhaeva and Wang, "Optimal Trading Strategy and Supply/Demand Dynamics", *Journal of Financial Markets* 16, 2013;
    the risk-neutral case in continuous time.

    Examples
    --------
    >>> plan = obizhaeva_wang(1000.0, resilience=2.0, horizon=4.0)
    >>> plan.first_block, plan.rate, plan.last_block, plan.cost(0.5)
    (100.0, 200.0, 100.0, 50000.0)
    """
    _require(math.isfinite(qty), "qty must be finite", qty)
    _at_least_zero(resilience, "resilience")
    _above_zero(horizon, "horizon")
    block = qty / (resilience * horizon + 2.0)
    return BlockSchedule(qty, block, resilience * block, block)


@njit(cache=True, error_model="numpy")
def square_root_impact(
    coefficient: float, daily_vol: float, notional: float, daily_notional: float
) -> float:
    """Return the peak impact of one order as a fraction of price: `square_root_law` for a kernel.

    Parameters
    ----------
    coefficient : float
        Y, >= 0.
    daily_vol : float
        Standard deviation of daily returns, >= 0.
    notional : float
        Of the order, USDT; the sign does not matter.
    daily_notional : float
        Of the market in a day, USDT.

    Returns
    -------
    float
        0 for no order, infinite where there is no volume, NaN where an argument is.
    """
    if notional == 0.0:
        return 0.0
    if daily_notional <= 0.0:
        return math.inf
    return coefficient * daily_vol * math.sqrt(abs(notional) / daily_notional)


@njit(cache=True, error_model="numpy")
def slice_cap(participation: float, bar_notional: float, lot_notional: float) -> int:
    """Return the most lots that one slice may have: a share of the notional expected in its bar.

    Parameters
    ----------
    participation : float
        Share, in (0, 1].
    bar_notional : float
        What the market is expected to trade in the bar, USDT.
    lot_notional : float
        Of one lot, USDT, > 0.

    Returns
    -------
    int
        Rounded down; 0 where not one lot fits or an argument is NaN.
    """
    lots = participation * bar_notional / lot_notional if lot_notional > 0.0 else 0.0
    return math.floor(min(lots, _MOST_LOTS)) if lots >= 1.0 else 0


@njit(cache=True, error_model="numpy")
def slice_count(lots: int, minimum: int, maximum: int, urgency: float, most: int) -> int:
    r"""Return into how many slices an order is cut so that the first and largest does not exceed a maximum.

    .. math:: n = \lceil 1 / (1 - \operatorname{arsinh}((1 - c) \sinh \kappa T) / \kappa T) \rceil, \qquad
        c = \text{maximum} / \text{lots}

    Parameters
    ----------
    lots : int
        Of the order, >= 0.
    minimum : int
        Fewest lots that the exchange takes as an order.
    maximum : int
        Most lots of a slice, from `slice_cap`.
    urgency : float
        :math:`\kappa T` of the whole schedule, >= 0; 0 is equal slices.
    most : int
        Most slices that there is time for.

    Returns
    -------
    int
        0 for no order, else at least 1. Where minimum or `most` stand against the maximum they win, and slices are
        as small as they can be: an order has to be sent some time.
    """
    if lots <= 0:
        return 0
    allowed = max(min(lots // max(minimum, 1), most), 1)
    if maximum >= lots:
        return 1
    if maximum <= 0:
        return allowed
    share = maximum / lots
    kept = 1.0 - share
    if urgency > _EQUAL:
        # arsinh(kept * sinh(u)) with exp(u) taken out, which would overflow.
        tail = math.exp(-2.0 * urgency)
        half = 0.5 * kept * (1.0 - tail)
        kept = 1.0 + math.log(half + math.sqrt(half * half + tail)) / urgency
    needed = 1.0 / (1.0 - kept) - 1e-9 if kept < 1.0 else math.inf
    if needed >= allowed:
        return allowed
    at_least = -(-lots // maximum)
    return min(max(math.ceil(needed), at_least), allowed)


@njit(cache=True, error_model="numpy")
def next_slice(lots: int, slices: int, urgency: float, minimum: int, maximum: int) -> int:
    r"""Return the lots of the slice to send now, from what is left of an order.

    .. math:: 1 - \frac{\sinh u (m - 1)}{\sinh u m}

    of what is left, m slices still to come: Almgren and Chriss's trajectory, which from any point on is the best one
    for what is left there. So an order that was filled in part, or whose market has changed, needs no memory of its
    plan.

    Parameters
    ----------
    lots : int
        Left of the order, >= 0.
    slices : int
        m, left, this one included.
    urgency : float
        :math:`u = \kappa\tau` of one slice, >= 0; 0 is equal slices.
    minimum, maximum : int
        Lots of a slice. Where both cannot be, there are fewer slices, and where these cannot hold the order, larger
        ones, as equal as possible.

    Returns
    -------
    int
        The nearest whole number within the bounds; all that is left in the last slice.

    References
    ----------
    Almgren and Chriss (2000), section 2. Deviation: whole lots within bounds.
    """
    if lots <= 0:
        return 0
    least = max(minimum, 1)
    left = max(min(slices, lots // least), 1)
    if left == 1:
        return lots
    most = min(max(maximum, -(-lots // left)), lots)
    wanted = math.floor(lots * _share(left, urgency) + 0.5)
    # The schedule falls, so that its next slice is never less than an equal share, nor is what then is left too much.
    return min(wanted, most, lots - (left - 1) * least)


@njit(cache=True, error_model="numpy")
def slice_lots(lots: int, slices: int, k: int, urgency: float, minimum: int, maximum: int) -> int:
    r"""Return the lots of slice k of an order as it is planned at the start.

    Parameters
    ----------
    lots : int
        Of the order, >= 0.
    slices : int
        How many, from `slice_count`.
    k : int
        Which, from 0 on.
    urgency : float
        :math:`\kappa T` of the whole schedule, >= 0.
    minimum, maximum : int
        As in `next_slice`.

    Returns
    -------
    int
        The slices 0 to ``slices - 1`` add up to the order exactly. Where it is too small for so many, the last ones
        are 0; from ``slices`` on they always are.
    """
    left, size = lots, 0
    for j in range(min(k + 1, slices)):
        size = next_slice(left, slices - j, urgency / slices, minimum, maximum)
        left -= size
    return size if k < slices else 0


@inner()
def _share(left: int, urgency: float) -> float:
    if urgency * left <= _EQUAL:
        return 1.0 / left
    kept = math.expm1(-2.0 * urgency * (left - 1)) / math.expm1(-2.0 * urgency * left)
    return float(1.0 - math.exp(-urgency) * kept)


def _left(part: FloatArray, whole: float, straight: FloatArray) -> FloatArray:
    """Return sinh(part) / sinh(whole) where neither may overflow; a straight line where both vanish."""
    if whole <= 1e-8:
        return straight
    ratio = np.exp(part - whole) * np.expm1(-2.0 * part) / math.expm1(-2.0 * whole)
    return np.asarray(ratio)


def _explained(
    slippages: npt.ArrayLike,
    notionals: npt.ArrayLike,
    daily_notionals: npt.ArrayLike,
    daily_vols: npt.ArrayLike,
) -> tuple[FloatArray, FloatArray]:
    """Return what the law multiplies by Y and what was paid, both in daily volatilities, of the complete orders."""
    named = {
        "slippages": slippages,
        "notionals": notionals,
        "daily_notionals": daily_notionals,
        "daily_vols": daily_vols,
    }
    columns = {name: np.asarray(values, dtype=np.float64) for name, values in named.items()}
    shape = columns["slippages"].shape
    _require(len(shape) == 1, "slippages must be of shape (n,)", shape)
    for name, column in columns.items():
        _require(column.shape == shape, f"{name} must be of shape {shape}", column.shape)
        bad = np.isinf(column)
        if name != "slippages":
            bad |= column <= 0.0
        rule = "be finite or NaN" if name == "slippages" else "be > 0 and finite, or NaN"
        _require(not bad.any(), f"{name} must {rule}", _first(column, bad))
    rows = np.column_stack(list(columns.values()))
    known = rows[~np.isnan(rows).any(axis=1)]
    rule = f"a fit needs at least {OBSERVATIONS_MIN} orders without NaN, of {len(rows)}"
    _require(len(known) >= OBSERVATIONS_MIN, rule, len(known))
    paid, orders, volumes, vols = known.T
    return MEAN_OF_PEAK * np.sqrt(orders / volumes), paid / vols


def _huber_slope(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Return slope through the origin and scale of the residuals; the scale stays that of the first, robust slope."""
    ratio = y / x
    order = np.argsort(ratio, kind="stable")
    weights = np.cumsum(x[order])
    slope = float(ratio[order[np.searchsorted(weights, 0.5 * weights[-1])]])
    scale = float(np.median(np.abs(y - slope * x))) / _NORMAL_QUARTILE
    # More than half of the orders on one line leave no scale to tell outliers by, and nothing to improve.
    for _ in range(_STEPS if scale > 0.0 else 0):
        distance = np.abs(y - slope * x)
        weight = _HUBER * scale / np.maximum(distance, _HUBER * scale)
        better = float((weight * x * y).sum() / (weight * x * x).sum())
        if abs(better - slope) <= 1e-12 * abs(better):
            break
        slope = better
    return slope, scale


def _slope_error(x: FloatArray, residuals: FloatArray, scale: float) -> float:
    """Return the standard error of a Huber slope through the origin, robust to unequal noise."""
    bound = _HUBER * scale if scale > 0.0 else math.inf
    score = np.clip(residuals, -bound, bound)
    curvature = float((x**2 * (np.abs(residuals) <= bound)).sum())
    n = len(x)
    return math.sqrt(float((x**2 * score**2).sum()) * n / (n - 1)) / curvature


def _not_negative(values: npt.ArrayLike, name: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    _require(not (array < 0.0).any(), f"{name} must be >= 0", _first(array, array < 0.0))
    return array


def _first(values: FloatArray, bad: npt.ArrayLike) -> object:
    """Return the first bad value, for a message; nothing where there is none."""
    found = values[np.asarray(bad, dtype=np.bool_)]
    return float(found[0]) if len(found) else None
