r"""Probability of liquidation within a horizon: in closed form, with jumps, and by resampling an account's history.

The closed forms let a mark follow :math:`d\log S = (\mu - s^2/2)\,dt + s\,dW`, with or without log-normal jumps that
are not compensated, and watch it continuously; the simulation takes the marks' own history. Volatility, drift and jump
intensity are annual, on 365 days. Nothing here knows what the holder would do meanwhile, nor the error of the inputs:
standard errors are those of the simulation alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from quantcore.finance.liquidation import MarginAccount
from quantcore.kernels import passage
from quantcore.kernels.ewm import ewm_init, ewm_var_scan, half_life_decay
from quantcore.types import FloatArray, IntArray

HOURS_PER_YEAR = 8760.0
MIN_SHOCKS = 100
"""Known shocks below which a symbol's history says nothing about a day."""

_BATCH = 8192
_REPLICATES = 8
_TAIL = 1e-9


def first_passage(
    distance: npt.ArrayLike,
    *,
    side: npt.ArrayLike,
    annual_vol: npt.ArrayLike,
    annual_drift: npt.ArrayLike = 0.0,
    horizon_hours: float = 24.0,
) -> FloatArray:
    """Return the probability that a mark reaches its liquidation price, in closed form and without jumps.

    Parameters
    ----------
    distance : array-like
        From mark to liquidation price as a fraction of the mark (`liquidation.liquidation_distance`); infinite
        where there is none.
    side : array-like
        > 0 long, < 0 short.
    annual_vol, annual_drift : array-like
        s >= 0 and mu. All four broadcast against each other.
    horizon_hours : float
        >= 0.

    Returns
    -------
    float64 array, of the broadcast shape
        In [0, 1]; NaN where an input is NaN. It falls with distance and rises with horizon, and without drift it
        rises with volatility.

    Raises
    ------
    ValueError
        If a volatility or the horizon is negative, or a side is 0.

    References
    ----------
    `kernels.passage.passage_probability`, which compiled code calls directly.

    Examples
    --------
    >>> first_passage(0.095, side=1, annual_vol=0.8).round(6).tolist()
    0.018007
    """
    probabilities = np.vectorize(passage.passage_probability, otypes=[np.float64])
    distances = np.asarray(distance, dtype=np.float64)
    return np.asarray(
        probabilities(distances, *_law(side, annual_vol, annual_drift, horizon_hours))
    )


def leverage_max(
    limit: float,
    *,
    side: npt.ArrayLike,
    annual_vol: npt.ArrayLike,
    maintenance_rate: npt.ArrayLike,
    annual_drift: npt.ArrayLike = 0.0,
    horizon_hours: float = 24.0,
) -> FloatArray:
    r"""Return the highest leverage at which a position entered now keeps its liquidation probability at a limit.

    A position of leverage L is liquidated at the distance :math:`d = (1/L - r) / (1 \mp r)`, long and short. The
    distance whose `first_passage` is the limit is found by bisection, and L follows. It falls with volatility (without
    drift), horizon and maintenance rate, and rises with the limit.

    Parameters
    ----------
    limit : float
        Probability in (0, 1); 0.005 is the project's (DESIGN.md 7).
    side, annual_vol, annual_drift : array-like
        As in `first_passage`.
    maintenance_rate : array-like
        r in [0, 1), of the bracket at the liquidation price. Its cum is left out, which in higher brackets understates
        the leverage. All four broadcast against each other.
    horizon_hours : float
        >= 0.

    Returns
    -------
    float64 array, of the broadcast shape
        Notional over margin, at most 1 / r; not capped at what the exchange allows. NaN where an input is NaN.

    Raises
    ------
    ValueError
        If `limit` is not in (0, 1), a maintenance rate not in [0, 1), a volatility or the horizon negative, a side 0.

    Examples
    --------
    >>> leverage_max(0.005, side=1, annual_vol=[0.6, 0.8], maintenance_rate=0.005).round(2).tolist()
    [11.19, 8.62]
    """
    if not 0.0 < limit < 1.0:
        raise ValueError(f"limit must be in (0, 1), was {limit}")
    rate = np.asarray(maintenance_rate, dtype=np.float64)
    if ((rate < 0.0) | (rate >= 1.0)).any():
        raise ValueError(f"maintenance_rate must be in [0, 1), was {rate.tolist()}")
    distances = np.vectorize(passage.passage_distance, otypes=[np.float64])
    law = _law(side, annual_vol, annual_drift, horizon_hours)
    return np.asarray(1.0 / (rate + distances(limit, *law) * (1.0 - law[0] * rate)))


def _law(
    side: npt.ArrayLike,
    annual_vol: npt.ArrayLike,
    annual_drift: npt.ArrayLike,
    horizon_hours: float,
) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Return signs, volatilities, drifts and years as `kernels.passage` takes them, checked."""
    sign = np.sign(np.asarray(side, dtype=np.float64))
    vol = np.asarray(annual_vol, dtype=np.float64)
    if (vol < 0.0).any():
        raise ValueError(f"annual_vol must be >= 0, was {vol.tolist()}")
    if (sign == 0.0).any():
        raise ValueError("side must be > 0 or < 0, was 0")
    if not 0.0 <= horizon_hours < math.inf:
        raise ValueError(f"horizon_hours must be >= 0, was {horizon_hours}")
    return sign, vol, np.asarray(annual_drift, dtype=np.float64), horizon_hours / HOURS_PER_YEAR


@dataclass(frozen=True, kw_only=True)
class Jumps:
    """Log-normal jumps of mark prices (Merton 1976), not compensated by a drift.

    Parameters
    ----------
    intensity : float
        Jumps per year, >= 0.
    mean, sd : float
        Of the change of the log mark; sd >= 0.
    shared : bool
        One process that moves all symbols by the same log size; otherwise each symbol has its own of that intensity.

    Raises
    ------
    ValueError
        If a number is not finite, or intensity or sd is negative.
    """

    intensity: float
    mean: float
    sd: float
    shared: bool = True

    def __post_init__(self) -> None:
        for name, lowest in (("intensity", 0.0), ("mean", -math.inf), ("sd", 0.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= lowest):
                raise ValueError(f"{name} must be finite and >= {lowest:g}, was {value}")


@dataclass(frozen=True, kw_only=True)
class JumpDiffusion:
    """A mark's law: annual volatility >= 0 and drift of its diffusion, and its jumps."""

    annual_vol: float
    jumps: Jumps
    annual_drift: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.annual_vol < math.inf:
            raise ValueError(f"annual_vol must be finite and >= 0, was {self.annual_vol}")
        if not math.isfinite(self.annual_drift):
            raise ValueError(f"annual_drift must be finite, was {self.annual_drift}")


def first_passage_with_jumps(
    distance: float,
    process: JumpDiffusion,
    *,
    side: float,
    horizon_hours: float = 24.0,
    n_points: int = 2**16,
    rng: np.random.Generator,
) -> tuple[float, float]:
    r"""Return the probability that a mark with jumps reaches its liquidation price, and its standard error.

    .. math:: P = 1 - \sum_n e^{-\lambda T} \frac{(\lambda T)^n}{n!}\, E\bigl[\text{survival} \mid n \text{ jumps}\bigr]

    The term without jumps is the closed form; each other is the mean of a product of bridge probabilities
    (`kernels.passage.jump_survival`) over scrambled Sobol points of the jumps' times and sizes and the diffusion
    between them.

    Parameters
    ----------
    distance, side, horizon_hours
        As in `first_passage`, scalars.
    process : JumpDiffusion
        Volatility, drift and jumps. With more than some ten expected within the horizon it takes seconds.
    n_points : int
        Points to share out among the numbers of jumps, >= 1; at the default the standard error is below 1e-4.
    rng : Generator
        Scrambles the points.

    Returns
    -------
    tuple of float
        Probability in [0, 1], and the standard error from 8 independent scrambles, 0 without jumps.

    Raises
    ------
    ValueError
        If an argument breaks a rule above or is NaN.

    References
    ----------
    Merton, "Option pricing when underlying stock returns are discontinuous", *Journal of Financial Economics* 3, 1976;
    Metwally and Atiya, *Journal of Derivatives* 10(1), 2002. Numbers of jumps beyond a tail of 1e-9 are left out.
    """
    if n_points < 1:
        raise ValueError(f"n_points must be >= 1, was {n_points}")
    signs, _, _, years = _law(side, process.annual_vol, process.annual_drift, horizon_hours)
    sign, vol, drift = float(signs), process.annual_vol, process.annual_drift
    plain = passage.passage_probability(float(distance), sign, vol, drift, years)
    if math.isnan(plain):
        raise ValueError(f"distance and side must be numbers, was {distance} and {side}")
    barrier, away = passage.log_barrier(float(distance), sign), sign * (drift - 0.5 * vol * vol)
    expected = process.jumps.intensity * years
    if expected == 0.0 or not 0.0 < barrier < math.inf:
        return plain, 0.0
    counts = np.arange(1, int(expected + 12.0 * math.sqrt(expected) + 30.0))
    shares = np.exp(counts * math.log(expected) - expected - special.gammaln(counts + 1.0))
    survivals = np.full(_REPLICATES, math.exp(-expected) * (1.0 - plain))
    for n, share in zip(counts[shares > _TAIL], shares[shares > _TAIL], strict=True):
        size = max(5, math.ceil(math.log2(n_points / _REPLICATES * math.sqrt(share))))
        for k in range(_REPLICATES):
            times, increments, sizes = _jump_points(int(n), size, years, process.jumps, rng)
            survivals[k] += share * passage.jump_survival(
                barrier, away, vol, times, increments, sign * sizes
            )
    error = float(survivals.std(ddof=1)) / math.sqrt(_REPLICATES)
    return min(max(1.0 - float(survivals.mean()), 0.0), 1.0), error


def _jump_points(
    n: int, log2_size: int, years: float, jumps: Jumps, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return stretches of time, standard normal increments and jump sizes of paths with n jumps."""
    from scipy.stats import qmc

    uniform = qmc.Sobol(3 * n, rng=rng).random_base2(log2_size)
    ends = np.sort(uniform[:, :n], axis=1)
    times = years * np.diff(ends, axis=1, prepend=0.0, append=1.0)
    normal = special.ndtri(np.clip(uniform[:, n:], 1e-15, 1.0 - 1e-15))
    sizes = jumps.mean + jumps.sd * normal[:, n:]
    return np.maximum(times, 0.0), np.ascontiguousarray(normal[:, :n]), np.ascontiguousarray(sizes)


@dataclass(frozen=True, kw_only=True, eq=False)
class FilteredShocks:
    """Hourly shocks of all symbols, each over the volatility forecast before it, and the volatility now.

    Parameters
    ----------
    values : float64 array, shape (n_hours, n_symbols)
        Standardised log returns, about unit variance; NaN where unknown.
    hourly_vol : float64 array, shape (n_symbols,)
        Standard deviation of the next hour's log return; NaN where unknown.
    block_hours : float
        Mean length of the blocks in which rows are resampled, >= 1; 1 resamples single hours.
    """

    values: FloatArray
    hourly_vol: FloatArray
    block_hours: float

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.hourly_vol.shape != self.values.shape[1:]:
            raise ValueError(
                f"hourly_vol must have one value per column of values {self.values.shape}, "
                f"was {self.hourly_vol.shape}"
            )
        if (
            np.isinf(self.values).any()
            or (self.hourly_vol < 0.0).any()
            or np.isinf(self.hourly_vol).any()
        ):
            raise ValueError("values and hourly_vol must be finite or NaN, hourly_vol >= 0")
        if not 1.0 <= self.block_hours < math.inf:
            raise ValueError(f"block_hours must be >= 1, was {self.block_hours}")


def filter_shocks(
    returns: npt.ArrayLike, *, half_life_hours: float, block_hours: float
) -> FilteredShocks:
    r"""Return historical returns as shocks: log returns over their exponentially weighted volatility an hour before.

    .. math:: z_t = \frac{\log(1 + R_t)}{\hat\sigma_{t-1}}, \qquad \hat\sigma_{now} = \hat\sigma_n

    Parameters
    ----------
    returns : array-like, shape (n_hours, n_symbols)
        Arithmetic returns per hour, > -1, in order of time; NaN where missing. A NaN leaves the volatility as it is
        and gives no shock.
    half_life_hours : float
        Of the volatility, > 0. As many known returns of a symbol, rounded up, only start its volatility.
    block_hours : float
        Kept for the resampling; see `FilteredShocks`.

    Returns
    -------
    FilteredShocks
        Also NaN where the volatility before was 0, and a whole column of NaN for a symbol with too few returns.

    Raises
    ------
    ValueError
        If returns are not two-dimensional, infinite or <= -1, or a setting breaks its rule.

    References
    ----------
    Barone-Adesi, Giannopoulos and Vosper, "VaR without correlations for portfolios of derivative securities", *Journal
    of Futures Markets* 19(5), 1999. Deviation: exponential weights for GARCH, and the volatility stays where it is over
    the horizon; that large shocks come together is left to the blocks.
    """
    array = np.ascontiguousarray(returns, dtype=np.float64)
    if array.ndim != 2 or np.isinf(array).any() or (array <= -1.0).any():
        raise ValueError(
            f"returns must be (n_hours, n_symbols), finite or NaN, > -1, was {array.shape}"
        )
    if not 0.0 < half_life_hours < math.inf:
        raise ValueError(f"half_life_hours must be > 0, was {half_life_hours}")
    logs = np.log1p(array)
    variances = ewm_var_scan(logs, half_life_decay(half_life_hours), ewm_init(array.shape[1]))
    before = np.full(logs.shape, np.nan)
    before[1:] = np.sqrt(variances[:-1])
    warm = np.cumsum(~np.isnan(logs), axis=0) > math.ceil(half_life_hours)
    shocks = np.full(logs.shape, np.nan)
    np.divide(logs, before, out=shocks, where=warm & (before > 0.0))
    now = np.sqrt(variances[-1]) if len(logs) else np.full(array.shape[1], np.nan)
    return FilteredShocks(values=shocks, hourly_vol=now, block_hours=block_hours)


@dataclass(frozen=True, kw_only=True, eq=False)
class LiquidationEstimate:
    """What a simulation says of an account.

    Parameters
    ----------
    probability, standard_error : float
        Of any liquidation within the horizon, and the error of simulating finitely many paths.
    cross_probability : float
        Of a liquidation of the cross account.
    position_probability : float64 array, shape (n_symbols,)
        That a position is among the liquidated; 0 where flat.
    expected_loss : float
        Mean loss given a liquidation, USDT: from the present balances of the pools of margin that are hit (cross
        account, isolated position) to what is left of them right after. NaN if nothing was hit.
    n_paths, horizon_hours : int
        Of the simulation.
    """

    probability: float
    standard_error: float
    cross_probability: float
    position_probability: FloatArray
    expected_loss: float
    n_paths: int
    horizon_hours: int


def liquidation_probability(
    account: MarginAccount,
    shocks: FilteredShocks,
    *,
    horizon_hours: int = 24,
    n_paths: int = 10_000,
    rng: np.random.Generator,
    jumps: Jumps | None = None,
) -> LiquidationEstimate:
    r"""Return the probability that an account is liquidated, by resampling its symbols' shocks together.

    A path is a sequence of hours of history, drawn in blocks (stationary bootstrap); in each, every mark moves by its
    own shock of that hour times its volatility now, :math:`e^{\sigma_i z_{t,i}}` over its mean, so that no mark has a
    drift. Jumps beyond those that the history holds can be added; they happen at the hours' ends.

    - **Cross margin**: one balance against the sum of maintenance margins at each mark's bracket. At a liquidation
      positions are closed by largest maintenance margin until the rest suffices; the path ends there.
    - **Isolated margin**: each position against its liquidation price.
    - **Within hours** a Brownian bridge of the hour's variance watches the account. For an isolated position it is
      that of the log mark against its barrier. For the cross account it is that of balance less maintenance margin,
      taken as **linear in the log marks** within the hour (exposures at its middle, brackets at its end). Jumps
      inside the shocks count as diffusion here. The touches of several pools within one hour count as independent.
    - **Funding** is paid at its settlements, each put at the end of the hour it falls in.

    Parameters
    ----------
    account : MarginAccount
        At this instant.
    shocks : FilteredShocks
        Columns as the account's symbols. Read for held symbols only; hours in which none of them is known are dropped.
        A missing shock is taken from the hour in which the mean shock of the other symbols was most like this hour's.
    horizon_hours, n_paths : int
        >= 1.
    rng : Generator
        Equal generators give equal paths, and a shorter horizon the beginning of the longer one's.
    jumps : Jumps, optional
        Added to the shocks.

    Returns
    -------
    LiquidationEstimate
        The same for any number of threads. All zero for a flat account.

    Raises
    ------
    ValueError
        If a setting breaks its rule, the columns do not fit, or a held symbol has fewer than `MIN_SHOCKS` shocks or no
        volatility.

    References
    ----------
    Politis and Romano, "The Stationary Bootstrap", *JASA* 89, 1994; Barone-Adesi et al. (1999), as in `filter_shocks`.
    """
    for name, value in (("horizon_hours", horizon_hours), ("n_paths", n_paths)):
        if value < 1:
            raise ValueError(f"{name} must be >= 1, was {value}")
    if shocks.values.shape[1] != len(account.qty):
        raise ValueError(
            f"shocks must have {len(account.qty)} columns, was {shocks.values.shape[1]}"
        )
    cross = np.flatnonzero(account.cross)
    members = np.concatenate([cross, np.flatnonzero(account.held & ~account.cross)])
    chance = np.zeros(len(account.qty))
    outcome = np.zeros((n_paths, 3))
    if len(members):
        book = _book(account, shocks, members, len(cross), horizon_hours)
        starts = range(0, n_paths, _BATCH)
        generators = rng.spawn(2 * len(starts))
        for k, start in enumerate(starts):
            part = outcome[start : start + _BATCH]
            draws = _draws(
                book, shocks.block_hours, len(part), jumps, generators[2 * k : 2 * k + 2]
            )
            liquidated = np.zeros((len(part), len(members)))
            passage.simulate_account(book, draws, liquidated, part)
            chance[members] += liquidated.sum(axis=0)
    probability = float(outcome[:, 0].mean())
    return LiquidationEstimate(
        probability=probability,
        standard_error=float(outcome[:, 0].std(ddof=1)) / math.sqrt(n_paths)
        if n_paths > 1
        else math.nan,
        cross_probability=float(outcome[:, 1].mean()),
        position_probability=chance / n_paths,
        expected_loss=float(outcome[:, 2].mean()) / probability if probability > 0.0 else math.nan,
        n_paths=n_paths,
        horizon_hours=horizon_hours,
    )


def _book(
    account: MarginAccount, shocks: FilteredShocks, members: IntArray, n_cross: int, n_steps: int
) -> passage.Book:
    vol = shocks.hourly_vol[members]
    if np.isnan(vol).any():
        raise ValueError(
            f"hourly_vol must be known where held, was NaN in column {members[np.isnan(vol)][0]}"
        )
    values = _complete(np.ascontiguousarray(shocks.values[:, members]), members)
    growth = np.exp(values * vol)
    growth /= growth.mean(axis=0)
    covariance = np.atleast_2d(np.cov(values, rowvar=False)) * np.outer(vol, vol)
    position = np.empty((len(members), passage.N_HOLDING))
    columns = (
        (passage.QTY, account.qty),
        (passage.ENTRY, account.entry),
        (passage.MARK, account.mark),
        (passage.MARGIN, account.isolated_margin),
        (passage.FEE, account.liquidation_fee),
    )
    for column, field in columns:
        position[:, column] = np.asarray(field)[members]
    position[:, passage.STEP_VOL] = np.sqrt(np.diag(covariance))
    return passage.Book(
        wallet=float(account.wallet),
        n_cross=n_cross,
        position=position,
        bracket=np.ascontiguousarray(account.brackets[members], dtype=np.float64),
        covariance=covariance,
        growth=growth,
        funding=np.ascontiguousarray(account.settled_rates(n_steps)[:, members]),
    )


def _complete(values: FloatArray, members: IntArray) -> FloatArray:
    """Return shocks without holes: each from the hour whose mean of the other symbols' shocks is nearest."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    if (counts < MIN_SHOCKS).any():
        raise ValueError(
            f"shocks must have >= {MIN_SHOCKS} known values where held, "
            f"was {counts[counts < MIN_SHOCKS][0]} in column {members[counts < MIN_SHOCKS][0]}"
        )
    some = known.any(axis=1)
    values, known = values[some], known[some]
    complete = values.copy()
    total, present = np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1)
    for s in np.flatnonzero(~known.all(axis=0)):
        others = present - known[:, s]
        factor = np.full(len(values), np.nan)
        np.divide(
            total - np.where(known[:, s], values[:, s], 0.0), others, out=factor, where=others > 0
        )
        donors = np.flatnonzero(known[:, s] & (others > 0))
        if len(donors) == 0:
            raise ValueError(
                f"shocks must overlap with another symbol's, did not in column {members[s]}"
            )
        donors = donors[np.argsort(factor[donors], kind="stable")]
        wanted = np.flatnonzero(~known[:, s])
        right = np.clip(np.searchsorted(factor[donors], factor[wanted]), 1, max(len(donors) - 1, 1))
        right = np.minimum(right, len(donors) - 1)
        left = np.maximum(right - 1, 0)
        nearer = factor[wanted] - factor[donors[left]] <= factor[donors[right]] - factor[wanted]
        complete[wanted, s] = values[donors[np.where(nearer, left, right)], s]
    return complete


def _draws(
    book: passage.Book,
    block: float,
    n_paths: int,
    jumps: Jumps | None,
    rngs: list[np.random.Generator],
) -> passage.Draws:
    """Draw rows and jumps of paths step by step, so that a longer horizon only adds to a shorter one."""
    (n_rows, n_members), n_steps = book.growth.shape, len(book.funding)
    row = np.empty((n_paths, n_steps), dtype=np.int64)
    at = rngs[0].integers(n_rows, size=n_paths)
    row[:, 0] = at
    for h in range(1, n_steps):
        fresh, new = rngs[0].integers(n_rows, size=n_paths), rngs[0].random(n_paths) < 1.0 / block
        at = np.where(new, fresh, (at + 1) % n_rows)
        row[:, h] = at
    path, step = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    member, size = np.empty(0, dtype=np.int64), np.empty(0)
    if jumps is not None:
        rate = jumps.intensity / HOURS_PER_YEAR * (1 if jumps.shared else n_members)
        for h in range(n_steps):
            where = np.repeat(np.arange(n_paths), rngs[1].poisson(rate, n_paths))
            who = (
                np.full(len(where), -1)
                if jumps.shared
                else rngs[1].integers(n_members, size=len(where))
            )
            path, step = np.append(path, where), np.append(step, np.full(len(where), h))
            member, size = (
                np.append(member, who),
                np.append(size, rngs[1].normal(jumps.mean, jumps.sd, len(where))),
            )
    order = np.argsort(path, kind="stable")
    first = np.searchsorted(path[order], np.arange(n_paths + 1))
    return passage.Draws(row, first.astype(np.int64), step[order], member[order], size[order])
