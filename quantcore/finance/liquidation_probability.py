"""Probability that an account is liquidated within a horizon, by resampling the history of its marks together.

`quantcore.finance.first_passage` has the closed forms of one mark. Nothing here knows what the holder would do
meanwhile, nor the error of the inputs: standard errors are those of the simulation alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantcore.finance.first_passage import HOURS_PER_YEAR, Jumps
from quantcore.finance.liquidation import MarginAccount
from quantcore.kernels import passage
from quantcore.kernels.ewm import ewm_init, ewm_var_scan, half_life_decay
from quantcore.types import FloatArray, IntArray

MIN_SHOCKS = 100
"""Known shocks below which a symbol's history says nothing about a day."""

_BATCH = 8192


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
