"""The limits of a mode, and what of them the account step reads (`quantcore.risk.controller` applies them)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from quantcore.errors import ConfigError
from quantcore.kernels.ewm import half_life_decay
from quantcore.kernels.layout import (
    CLUSTER_CORRELATION,
    CLUSTER_MAX,
    COOL_DOWN_US,
    COVARIANCE_DECAY,
    DAILY_LOSS_MAX,
    DAY_NAV,
    DRAWDOWN_MAX,
    DRAWDOWN_REDUCE,
    DRAWDOWN_RESTORE,
    HALTS,
    HALTS_MAX,
    LEVEL,
    LEVEL_TS,
    LEVERAGE_MAX,
    LIQUIDATION_SIGMAS,
    MARGIN_RATIO_AFTER,
    MARGIN_RATIO_MAX,
    N_RISK,
    NET_MAX,
    OFF,
    PEAK,
    REDUCE_SCALE,
    RESUME_US,
    RISK_BAR_US,
    SIZE_LIMIT,
    STRESS_MOVE,
    SYMBOL_MAX,
    VAR_MAX,
    VAR_SIGMAS,
    VOLATILITY_FLOOR,
)
from quantcore.risk.liquidation_monitor import sigmas_of_chance
from quantcore.timegrid import DAY_US, DAYS_PER_YEAR, HOUR_US
from quantcore.types import FloatArray, RiskLevel

PRIOR_BARS = 72.0
"""Risk bars that the prior of the covariance weighs."""
PRIOR_VOLATILITY = 1.0
"""Annual, of a coin that nothing is known of."""
PRIOR_CORRELATION = 0.7


@dataclass(frozen=True, kw_only=True)
class RiskSettings:
    """The limits of a mode; None leaves a limit away.

    Parameters
    ----------
    leverage_max : float
        Gross exposure over equity, > 0.
    net_max, symbol_max, cluster_max : float or None
        Net exposure, one symbol's and one cluster's exposure over equity; symbol <= cluster <= leverage.
    cluster_correlation : float
        Correlation from which two symbols are of one cluster, in (0, 1].
    daily_var_max : float or None
        One-day value at risk, as a fraction of equity, in (0, 1).
    var_confidence : float
        Of the value at risk, in [0.9, 1).
    drawdown_max : float or None
        Fall from the peak at which the account is stopped, in (0, 1).
    drawdown_reduce, drawdown_restore : float
        Falls at which targets are scaled down, and whole again; 0 <= restore < reduce <= drawdown_max.
    reduce_scale : float
        Of the targets in between, in (0, 1).
    daily_loss_max : float or None
        Fall since the UTC day's start at which the account halts, in (0, 1).
    cool_down_hours : float
        Least time in *reduce* and *halt*, > 0.
    halts_max : int
        Halts after which the next one needs a person, >= 0.
    resume_hours : float or None
        After so long a person lets a stopped account go on, from a new peak; None: never. In a live account nobody
        but a person does.
    size_limit : float
        Share of the normal gross exposure that is held, in proportion as far as the exchange's smallest orders allow
        (`quantcore.risk.stage`), in (0, 1].
    liquidation_probability_max : float or None
        Within 24 hours, of the account and of each symbol as if it were alone, in (0, 0.5).
    volatility_floor : float
        Annual volatility below which the liquidation monitor believes no coin's estimate, >= 0: calm ends suddenly.
    stress_move : float
        Move of all coins at once, against what is held, that is to leave the account alive, in [0, 1).
    margin_ratio_max, margin_ratio_after : float or None
        Maintenance margin over margin balance beyond which positions are reduced at once, and what it is brought to;
        0 < after < max < 1.
    covariance_half_life_hours : float
        > 0.
    protective_stop : float or None
        Distance of the stop that every position gets, a fraction of its entry price, in (0, 1).
    stage_capital : float or None
        USDT of the account that the mode is meant for; a smaller one is refused.
    """

    leverage_max: float
    net_max: float | None
    symbol_max: float | None
    cluster_max: float | None
    cluster_correlation: float
    daily_var_max: float | None
    var_confidence: float
    drawdown_max: float | None
    drawdown_reduce: float
    drawdown_restore: float
    reduce_scale: float
    daily_loss_max: float | None
    cool_down_hours: float
    halts_max: int
    resume_hours: float | None
    size_limit: float
    liquidation_probability_max: float | None
    volatility_floor: float
    stress_move: float
    margin_ratio_max: float | None
    margin_ratio_after: float | None
    covariance_half_life_hours: float
    protective_stop: float | None
    stage_capital: float | None

    def __post_init__(self) -> None:
        for name in ("leverage_max", "cool_down_hours", "covariance_half_life_hours"):
            self._need(name, getattr(self, name) > 0.0, "> 0")
        for name in ("net_max", "symbol_max", "cluster_max", "resume_hours", "stage_capital"):
            value = getattr(self, name)
            self._need(name, value is None or value > 0.0, "> 0 or null")
        for name in ("daily_var_max", "drawdown_max", "daily_loss_max", "protective_stop"):
            value = getattr(self, name)
            self._need(name, value is None or 0.0 < value < 1.0, "in (0, 1) or null")
        self._need("cluster_correlation", 0.0 < self.cluster_correlation <= 1.0, "in (0, 1]")
        self._need("var_confidence", 0.9 <= self.var_confidence < 1.0, "in [0.9, 1)")
        self._need("reduce_scale", 0.0 < self.reduce_scale < 1.0, "in (0, 1)")
        self._need("halts_max", self.halts_max >= 0, ">= 0")
        self._need("stress_move", 0.0 <= self.stress_move < 1.0, "in [0, 1)")
        self._need("volatility_floor", self.volatility_floor >= 0.0, ">= 0")
        self._need("size_limit", 0.0 < self.size_limit <= 1.0, "in (0, 1]")
        chance = self.liquidation_probability_max
        fits = chance is None or 0.0 < chance < 0.5
        self._need("liquidation_probability_max", fits, "in (0, 0.5) or null")
        self._check_together()

    def _check_together(self) -> None:
        """Refuse limits that contradict one another."""
        above, most = "leverage_max", self.leverage_max
        for name in ("cluster_max", "symbol_max"):
            value = getattr(self, name)
            if value is not None:
                self._need(name, value <= most, f"<= {above} = {most:g}")
                above, most = name, value
        net = self.net_max
        fits = net is None or net <= self.leverage_max
        self._need("net_max", fits, f"<= leverage_max = {self.leverage_max:g}")
        most = 1.0 if self.drawdown_max is None else self.drawdown_max
        fits = 0.0 < self.drawdown_reduce <= most
        self._need("drawdown_reduce", fits, f"in (0, drawdown_max = {most:g}]")
        fits = 0.0 <= self.drawdown_restore < self.drawdown_reduce
        self._need("drawdown_restore", fits, f"in [0, drawdown_reduce = {self.drawdown_reduce:g})")
        ratio, after = self.margin_ratio_max, self.margin_ratio_after
        if ratio is None:
            self._need("margin_ratio_after", after is None, "null where margin_ratio_max is")
        else:
            self._need("margin_ratio_max", 0.0 < ratio < 1.0, "in (0, 1) or null")
            fits = after is not None and 0.0 < after < ratio
            self._need("margin_ratio_after", fits, f"in (0, margin_ratio_max = {ratio:g})")

    def _need(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"{name} must be {rule}, was {getattr(self, name)}")


def check_stage(settings: RiskSettings, capital: float) -> None:
    """Refuse an account smaller than the one that a mode is meant for.

    Raises
    ------
    ConfigError
        Naming both.
    """
    if settings.stage_capital is not None and capital < settings.stage_capital:
        raise ConfigError(
            f"account.capital must be >= risk.stage_capital = {settings.stage_capital:g} USDT, was {capital:g}"
        )


def configure(number: FloatArray, settings: RiskSettings, bar_us: int) -> None:
    """Write the settings into the account's configuration, shape ``(N_CONFIG,)``; limits left away are infinite."""
    risk_bar = max(HOUR_US, bar_us)
    hours = risk_bar / HOUR_US
    number[RISK_BAR_US] = risk_bar
    number[COVARIANCE_DECAY] = half_life_decay(settings.covariance_half_life_hours / hours)
    number[SIZE_LIMIT] = settings.size_limit
    number[LEVERAGE_MAX] = settings.leverage_max
    number[CLUSTER_CORRELATION] = settings.cluster_correlation
    number[DRAWDOWN_REDUCE] = settings.drawdown_reduce
    number[DRAWDOWN_RESTORE] = settings.drawdown_restore
    number[REDUCE_SCALE] = settings.reduce_scale
    number[COOL_DOWN_US] = settings.cool_down_hours * HOUR_US
    number[HALTS_MAX] = settings.halts_max
    number[VAR_SIGMAS] = NormalDist().inv_cdf(settings.var_confidence)
    for column, value in (
        (NET_MAX, settings.net_max),
        (SYMBOL_MAX, settings.symbol_max),
        (CLUSTER_MAX, settings.cluster_max),
        (VAR_MAX, settings.daily_var_max),
        (DRAWDOWN_MAX, settings.drawdown_max),
        (DAILY_LOSS_MAX, settings.daily_loss_max),
        (MARGIN_RATIO_MAX, settings.margin_ratio_max),
    ):
        number[column] = math.inf if value is None else value
    number[MARGIN_RATIO_AFTER] = settings.margin_ratio_after or 0.0
    number[RESUME_US] = OFF if settings.resume_hours is None else settings.resume_hours * HOUR_US
    chance = settings.liquidation_probability_max
    number[LIQUIDATION_SIGMAS] = 0.0 if chance is None else sigmas_of_chance(chance)
    number[STRESS_MOVE] = settings.stress_move
    number[VOLATILITY_FLOOR] = settings.volatility_floor / math.sqrt(DAYS_PER_YEAR)


def start_risk(n_symbols: int, bar_us: int) -> tuple[FloatArray, FloatArray]:
    """Return ladder and covariance of an account that begins: at the peak, and with the prior."""
    risk = np.zeros(N_RISK)
    risk[PEAK] = risk[DAY_NAV] = 1.0
    per_year = DAYS_PER_YEAR * DAY_US / max(HOUR_US, bar_us)
    pairs = np.empty((2, n_symbols, n_symbols))
    pairs[0] = PRIOR_CORRELATION * PRIOR_VOLATILITY**2 / per_year
    np.fill_diagonal(pairs[0], PRIOR_VOLATILITY**2 / per_year)
    pairs[1] = PRIOR_BARS
    return risk, pairs


def release(risk: FloatArray, ts_us: int, nav: float) -> FloatArray:
    """Return the ladder of a stopped account that a person lets go on, in *reduce* and with a new peak."""
    after = risk.copy()
    after[LEVEL], after[LEVEL_TS], after[HALTS] = float(RiskLevel.REDUCE), ts_us, 0.0
    after[PEAK] = after[DAY_NAV] = nav
    return after
