r"""Choice of one parameter set from daily returns: by what can be believed of its Sharpe ratio, not by the ratio alone.

Three criteria. For a set with n returns, ratio :math:`\widehat{SR}` per day, skew :math:`\gamma_3` and raw kurtosis
:math:`\gamma_4`:

- ``deflated``: the deflated Sharpe ratio, with :math:`SR^*` the ratio that the best of the sets is expected to show by
  luck alone, given how many independent ones they amount to,

  .. math:: \frac{(\widehat{SR} - SR^*)\sqrt{n - 1}}
            {\sqrt{1 - \gamma_3 \widehat{SR} + \tfrac{\gamma_4 - 1}{4} \widehat{SR}^2}};

- ``lower_confidence``: the lower end of a one-sided interval of the ratio under autocorrelation and changing
  volatility, :math:`\widehat{SR} - z_c\, \mathrm{se}`;
- ``best``: the highest ratio. Naive: here only to be compared with.

All three put a set that gained on crashes behind one that gained evenly only as far as moments or standard error say
so: with sets of one kind and one record they often choose alike. What the first two add is a number that says whether
the choice stands out at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from quantcore.errors import ConfigError, DataGap
from quantcore.finance.overfitting import effective_trials, expected_max_sharpe
from quantcore.finance.performance import ROUNDING
from quantcore.finance.sharpe import robust_sharpe_error
from quantcore.timegrid import DAYS_PER_YEAR
from quantcore.types import BoolArray, FloatArray

CRITERIA = ("deflated", "lower_confidence", "best")
NAIVE = "best"
_NORMAL = NormalDist()
_ANNUAL = math.sqrt(DAYS_PER_YEAR)


@dataclass(frozen=True, kw_only=True)
class Chooser:
    """How a set is chosen.

    Parameters
    ----------
    criterion : str
        One of `CRITERIA`.
    confidence : float
        One-sided level of the lower bound, in (0.5, 1).
    n_draws : int
        Simulated records from which the number of independent sets follows, >= 1.
    seed : int
        Of those.

    Raises
    ------
    ConfigError
        If a value is out of its range.
    """

    criterion: str
    confidence: float
    n_draws: int
    seed: int

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise ConfigError(
                f"walk_forward.choose must be one of {', '.join(CRITERIA)}, was {self.criterion!r}"
            )
        if not 0.5 < self.confidence < 1.0:
            raise ConfigError(f"walk_forward.confidence must be in (0.5, 1), was {self.confidence}")
        if self.n_draws < 1:
            raise ConfigError(f"n_draws must be >= 1, was {self.n_draws}")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen set and what speaks for it.

    Parameters
    ----------
    chosen : int
        Its column.
    naive : int
        The column with the highest Sharpe ratio.
    sharpe : float
        Annual, over the days it was chosen on.
    lower : float
        One-sided lower bound of that ratio, annual; NaN below four returns.
    deflated : float
        Probability that its true ratio is above what luck would show; see `quantcore.finance.overfitting`.
    trials : float
        Independent sets that those with returns amount to.
    """

    chosen: int
    naive: int
    sharpe: float
    lower: float
    deflated: float
    trials: float


def choose(returns: FloatArray, chooser: Chooser) -> Choice:
    """Choose a set from the returns of all, every row of which counts; ties go to the first set.

    Parameters
    ----------
    returns : float64 array, shape (n_days, n_sets)
        Daily fractions. A set that does not vary, like cash, is never chosen.
    chooser : Chooser
        By what.

    Raises
    ------
    DataGap
        If no set varies.
    """
    ratios = daily_sharpe(returns)
    alive = ~np.isnan(ratios)
    if not alive.any():
        raise DataGap(f"no set held a position on any of the {len(returns)} days to choose on")
    trials = independent_sets(returns, chooser)
    luck = expected_max_sharpe(trials, variance=1.0 / len(returns))
    evidence = _evidence(returns, ratios, alive, luck)
    naive = _highest(ratios)
    if chooser.criterion == "deflated":
        chosen = _highest(evidence)
    elif chooser.criterion == "lower_confidence":
        chosen = _highest(_lower_bounds(returns, ratios, alive, chooser.confidence))
    else:
        chosen = naive
    only = np.arange(len(ratios)) == chosen
    lower = _lower_bounds(returns, ratios, only, chooser.confidence)[chosen]
    return Choice(
        chosen=chosen,
        naive=naive,
        sharpe=float(ratios[chosen]) * _ANNUAL,
        lower=float(lower) * _ANNUAL,
        deflated=_NORMAL.cdf(float(evidence[chosen])),
        trials=trials,
    )


def daily_sharpe(returns: FloatArray) -> FloatArray:
    """Return the Sharpe ratio per day of each column, shape ``(n_sets,)``; NaN where it does not vary or has NaN."""
    if len(returns) < 2:
        return np.full(returns.shape[1], np.nan)
    mean, deviation = returns.mean(axis=0), returns.std(axis=0, ddof=1)
    varies = deviation > ROUNDING * np.abs(mean)
    return np.asarray(np.where(varies, mean / np.where(varies, deviation, 1.0), np.nan))


def annual_sharpe(returns: FloatArray) -> FloatArray:
    """Return the annual Sharpe ratio of each column, as `daily_sharpe`."""
    return daily_sharpe(returns) * _ANNUAL


def independent_sets(returns: FloatArray, chooser: Chooser) -> float:
    """Return how many independent sets those that vary amount to, >= 1; see `effective_trials`."""
    varying = returns[:, ~np.isnan(daily_sharpe(returns))]
    if varying.shape[1] < 2:
        return 1.0
    rng = np.random.default_rng(chooser.seed)
    return effective_trials(varying, n_draws=chooser.n_draws, rng=rng)


def _evidence(returns: FloatArray, ratios: FloatArray, alive: BoolArray, luck: float) -> FloatArray:
    """Return the deflated ratio's argument of the normal distribution, which does not run into 0 and 1."""
    found = np.full(len(ratios), np.nan)
    columns = returns[:, alive]
    centred = columns - columns.mean(axis=0)
    variance = (centred**2).mean(axis=0)
    skew = (centred**3).mean(axis=0) / variance**1.5
    kurtosis = (centred**4).mean(axis=0) / variance**2
    ratio = ratios[alive]
    spread = 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio**2
    found[alive] = (ratio - luck) * np.sqrt((len(returns) - 1) / spread)
    return found


def _lower_bounds(
    returns: FloatArray, ratios: FloatArray, wanted: BoolArray, confidence: float
) -> FloatArray:
    found = np.full(len(ratios), np.nan)
    z = _NORMAL.inv_cdf(confidence)
    if len(returns) >= 4:
        for k in np.flatnonzero(wanted).tolist():
            found[k] = ratios[k] - z * robust_sharpe_error(returns[:, k])
    return found


def _highest(values: FloatArray) -> int:
    return int(np.nanargmax(values))
