"""The stochastic model of one synthetic symbol: volatility, prices inside bars, volumes, premium and funding."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from quantcore.errors import ConfigError
from quantcore.kernels.market import autoregression, settle_funding
from quantcore.timegrid import DAY_US, DAYS_PER_YEAR, HOUR_US, MINUTE_US
from quantcore.types import FloatArray, IntArray

STEP_MAX_US = 15 * MINUTE_US
"""Bars of at most this length are drawn as they are; coarser ones are put together from steps of this length."""

_HOURS_PER_YEAR = 24 * DAYS_PER_YEAR
_BURST_HALF_LIFE = 0.2
_REGULAR_HOURS = 8
_CALM_HOURS = 4
_QUIET_SETTLEMENTS = 16
"""Quiet hourly settlements after which a symbol settles every 4 hours again (BINANCE.md)."""


@dataclass(frozen=True)
class Profile:
    """What tells one synthetic symbol from another.

    Parameters
    ----------
    price : float
        At the first bar, USDT per coin; a round number of the coin's order of magnitude.
    annual_volatility : float
        Of log returns.
    factor_share : float
        Share of the variance that comes from the common factor, in [0, 1].
    hourly_quote_volume : float
        Median, USDT.
    trade_notional : float
        Mean size of a trade, USDT.
    """

    price: float
    annual_volatility: float
    factor_share: float
    hourly_quote_volume: float
    trade_notional: float


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "BTCUSDT": Profile(60_000.0, 0.48, 0.68, 3.9e8, 4_700.0),
        "ETHUSDT": Profile(3_000.0, 0.56, 0.80, 2.0e8, 2_100.0),
        "SOLUSDT": Profile(150.0, 0.93, 0.62, 5.8e7, 1_400.0),
        "XRPUSDT": Profile(0.6, 0.80, 0.50, 1.9e7, 700.0),
        "BNBUSDT": Profile(550.0, 0.56, 0.64, 1.3e7, 900.0),
        "DOGEUSDT": Profile(0.15, 0.93, 0.62, 1.7e7, 500.0),
        "ADAUSDT": Profile(0.5, 0.83, 0.74, 7.6e6, 450.0),
        "AVAXUSDT": Profile(30.0, 0.93, 0.70, 8.1e6, 450.0),
        "LINKUSDT": Profile(15.0, 0.84, 0.68, 8.2e6, 450.0),
        "DOTUSDT": Profile(6.0, 0.81, 0.74, 4.8e6, 400.0),
        "LTCUSDT": Profile(80.0, 0.74, 0.62, 7.9e6, 500.0),
        "BCHUSDT": Profile(400.0, 0.86, 0.52, 5.3e6, 400.0),
        "NEARUSDT": Profile(5.0, 1.05, 0.62, 5.3e6, 350.0),
        "FILUSDT": Profile(5.0, 0.97, 0.66, 5.9e6, 400.0),
        "ATOMUSDT": Profile(8.0, 0.78, 0.70, 3.1e6, 300.0),
        "APTUSDT": Profile(9.0, 1.06, 0.53, 6.0e6, 250.0),
        "OPUSDT": Profile(2.0, 1.09, 0.57, 7.0e6, 300.0),
        "TRXUSDT": Profile(0.15, 0.51, 0.34, 2.1e6, 300.0),
        "ARBUSDT": Profile(1.0, 1.02, 0.62, 6.4e6, 300.0),
        "SUIUSDT": Profile(2.0, 1.16, 0.50, 9.0e6, 350.0),
    }
)
"""Volatilities, correlations with the first principal component and volumes: hourly USDT-M bars 2023-2024, measured
2026-11; trade sizes: daily bars of 2024. Prices are invented. The order is that of the default universe."""

OTHER = Profile(1.0, 0.95, 0.58, 5.0e6, 300.0)
"""For a symbol that is not among `PROFILES`."""

UNSQUEEZED = ("BTCUSDT", "ETHUSDT")
"""Too large for a squeeze."""

_HOURLY_ACTIVITY = (
    *(1.06, 0.98, 0.87, 0.76, 0.72, 0.75, 0.78, 0.9, 0.95, 0.94, 0.93, 0.93),
    *(1.2, 1.6, 2.0, 1.9, 1.6, 1.3, 1.2, 1.07, 0.95, 0.82, 0.8, 0.8),
)
"""Quote volume by UTC hour over its median: BTCUSDT and SOLUSDT, hourly USDT-M bars 2023-2024."""


@dataclass(frozen=True, kw_only=True)
class MarketModel:
    """The parameters that all symbols share, calibrated to hourly USDT-M bars and settlements of 2023-2024.

    Log-volatility is the sum of three autoregressions (a slow, a daily and a fast one) and a pattern over the day, each
    autoregression partly common to all symbols. With variance :math:`s^2` and autocovariance :math:`c_k` of
    log-volatility, returns have kurtosis :math:`3 e^{4 s^2}` and their squares the autocorrelation
    :math:`(e^{4 c_k} - 1)/(3 e^{4 s^2} - 1)`, which is how the numbers below were found; bursts come on top.

    Parameters
    ----------
    volatility_half_lives, volatility_variances : tuple of float
        Hours and variances of the three components of log-volatility.
    volatility_common : float
        Share of those variances that is common to all symbols, in [0, 1].
    season_power : float
        Volatility follows the pattern of volume over the day to this power.
    bursts_per_year, burst_size : float
        Sudden events of each symbol's own, that move it within an hour by this much in units of its hourly
        volatility (root mean square, exponential variance): bursts of variance, not a drift, so that the first
        minute does not foretell the next.
    common_bursts_per_year, common_burst_size : float
        Of the common factor, alike.
    last_range, mark_range : float
        Factor on how far last and mark prices swing beyond open and close of a step.
    basis_bps : float
        Standard deviation of last over mark price at 50 % annual volatility; it is white and scales with volatility.
    premium_half_life : float
        Hours.
    premium_base, premium_down, premium_up, premium_spread : float
        Where the premium rests, its scale below and above, and the standard deviation of the resting place over
        symbols, as fractions of the index.
    premium_follows : float
        Correlation of the premium's shocks with returns, in [-1, 1]: rallies raise it.
    squeezes_per_year, squeezes_negative, squeeze_size, squeeze_half_life : float
        Bursts of the premium, some of which reach the funding cap, except in `UNSQUEEZED`: their number, the share
        that is negative, the mean of their exponential size as a fraction, and the hours until half is gone.
    funding_interest, funding_band, funding_cap : float
        I and the clamp of the funding formula per 8 hours, and the cap per settlement. The cap is that of BTCUSDT
        (fundingInfo, 2026-09); other symbols really have up to 2 %.
    quiet_rate : float
        An hourly settlement at most so large counts as quiet (what the exchange calls quiet is unverified).
    """

    volatility_half_lives: tuple[float, ...] = (720.0, 30.0, 0.9)
    volatility_variances: tuple[float, ...] = (0.15, 0.11, 0.28)
    volatility_common: float = 0.65
    season_power: float = 0.5
    bursts_per_year: float = 4.0
    burst_size: float = 8.0
    common_bursts_per_year: float = 3.0
    common_burst_size: float = 5.0
    last_range: float = 1.17
    mark_range: float = 1.06
    basis_bps: float = 1.0
    premium_half_life: float = 28.0
    premium_base: float = -0.00039
    premium_down: float = 0.00011
    premium_up: float = 0.00072
    premium_spread: float = 0.00006
    premium_follows: float = 0.3
    squeezes_per_year: float = 3.0
    squeezes_negative: float = 0.75
    squeeze_size: float = 0.0016
    squeeze_half_life: float = 6.0
    funding_interest: float = 0.0001
    funding_band: float = 0.0005
    funding_cap: float = 0.003
    quiet_rate: float = 0.0005

    def __post_init__(self) -> None:
        if len(self.volatility_half_lives) != len(self.volatility_variances):
            raise ConfigError(
                "volatility_variances must be as many as volatility_half_lives, were "
                f"{len(self.volatility_variances)}"
            )
        if not 0.0 <= self.volatility_common <= 1.0:
            raise ConfigError(f"volatility_common must be in [0, 1], was {self.volatility_common}")
        if not -1.0 <= self.premium_follows <= 1.0:
            raise ConfigError(f"premium_follows must be in [-1, 1], was {self.premium_follows}")
        if not self.funding_cap > 0.0:
            raise ConfigError(f"funding_cap must be > 0, was {self.funding_cap}")


@dataclass(frozen=True)
class Grid:
    """Steps in which paths are drawn, and how they make up hours and bars.

    Parameters
    ----------
    first_us, step_us : int
        Start (midnight UTC) and length of the first step, microseconds.
    steps, steps_per_bar, steps_per_hour : int
        Counts.
    log_activity : float64 array, shape (steps,)
        Log of the day's pattern of volume, in units of its median.
    log_season : float64 array, shape (steps,)
        Log of the day's pattern of volatility, in units of its quadratic mean.
    """

    first_us: int
    step_us: int
    steps: int
    steps_per_bar: int
    steps_per_hour: int
    log_activity: FloatArray
    log_season: FloatArray

    @property
    def years(self) -> float:
        """Length of a step in years."""
        return self.step_us / (DAYS_PER_YEAR * DAY_US)


def lay_grid(first_us: int, bar_us: int, days: int, model: MarketModel) -> Grid:
    """Return the steps for bars of `bar_us` over some days from midnight `first_us` on."""
    step_us = min(bar_us, STEP_MAX_US)
    per_day = DAY_US // step_us
    hours = (np.arange(per_day) + 0.5) * step_us / HOUR_US
    activity = np.interp(hours, np.arange(24) + 0.5, _HOURLY_ACTIVITY, period=24.0)
    season = activity**model.season_power
    season /= np.sqrt(np.mean(season**2))
    return Grid(
        first_us=first_us,
        step_us=step_us,
        steps=days * per_day,
        steps_per_bar=bar_us // step_us,
        steps_per_hour=HOUR_US // step_us,
        log_activity=np.tile(np.log(activity), days),
        log_season=np.tile(np.log(season), days),
    )


def stream(seed: int, *names: str) -> np.random.Generator:
    """Return the random numbers of one purpose; every combination of names has its own independent stream."""
    keys = [zlib.crc32(name.encode()) for name in names]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *keys])))


def _stationary(shocks: FloatArray, grid: Grid, *, half_life: float, variance: float) -> FloatArray:
    """Return a stationary autoregression per step from standard normal shocks; `half_life` in hours."""
    decay = 0.5 ** (1.0 / (half_life * grid.steps_per_hour))
    scale = np.sqrt(variance)
    innovations = shocks * (scale * np.sqrt(1.0 - decay * decay))
    return autoregression(innovations, decay, float(shocks[0] * scale))


def _log_volatility(rng: np.random.Generator, grid: Grid, model: MarketModel) -> FloatArray:
    total = np.zeros(grid.steps)
    for half_life, variance in zip(
        model.volatility_half_lives, model.volatility_variances, strict=True
    ):
        shocks = rng.standard_normal(grid.steps)
        total += _stationary(shocks, grid, half_life=half_life, variance=variance)
    return total


def _unit_variance(log_volatility: FloatArray, grid: Grid, model: MarketModel) -> FloatArray:
    """Return the variance of log returns per step at an annual volatility of 1; on average the step in years."""
    spread = sum(model.volatility_variances)
    return np.asarray(np.exp(2.0 * (log_volatility - spread + grid.log_season)) * grid.years)


def _bursts(rng: np.random.Generator, grid: Grid, *, per_year: float, size: float) -> FloatArray:
    """Return the variance per step that sudden events add, at an annual volatility of 1."""
    happened = rng.random(grid.steps) < per_year * grid.years
    variances = rng.standard_exponential(grid.steps) * (size**2 / _HOURS_PER_YEAR)
    decay = 0.5 ** (1.0 / (_BURST_HALF_LIFE * grid.steps_per_hour))
    return autoregression(np.where(happened, variances, 0.0) * (1.0 - decay), decay, 0.0)


@dataclass(frozen=True)
class Common:
    """What all symbols share, each of shape ``(steps,)``: the factor's moves and the common premium."""

    log_volatility: FloatArray
    variance: FloatArray
    shocks: FloatArray
    premium: FloatArray


def draw_common(seed: int, grid: Grid, model: MarketModel) -> Common:
    """Return the common factor at an annual volatility of 1."""
    rng = stream(seed, "common", "returns")
    log_volatility = _log_volatility(rng, grid, model)
    shocks = rng.standard_normal(grid.steps)
    bursts = _bursts(rng, grid, per_year=model.common_bursts_per_year, size=model.common_burst_size)
    return Common(
        log_volatility=log_volatility,
        variance=_unit_variance(log_volatility, grid, model) + bursts,
        shocks=shocks,
        premium=_premium_wave(stream(seed, "common", "premium"), grid, model, shocks),
    )


def _premium_wave(
    rng: np.random.Generator, grid: Grid, model: MarketModel, shocks: FloatArray
) -> FloatArray:
    """Return a unit-variance autoregression whose shocks are correlated with those of returns."""
    follows = model.premium_follows
    mixed = follows * shocks + np.sqrt(1.0 - follows**2) * rng.standard_normal(grid.steps)
    return _stationary(mixed, grid, half_life=model.premium_half_life, variance=1.0)


@dataclass(frozen=True)
class _Returns:
    """One symbol's log returns per step, with the variance and log-volatility they were drawn from."""

    values: FloatArray
    variance: FloatArray
    shocks: FloatArray
    log_volatility: FloatArray


def _draw_returns(
    rng: np.random.Generator, grid: Grid, model: MarketModel, profile: Profile, common: Common
) -> _Returns:
    share = model.volatility_common
    log_volatility = np.sqrt(share) * common.log_volatility + np.sqrt(
        1.0 - share
    ) * _log_volatility(rng, grid, model)
    loading = profile.annual_volatility * np.sqrt(profile.factor_share)
    own = profile.annual_volatility * np.sqrt(1.0 - profile.factor_share)
    shocks = rng.standard_normal(grid.steps)
    bursts = _bursts(rng, grid, per_year=model.bursts_per_year, size=model.burst_size)
    own_variance = (
        own**2 * _unit_variance(log_volatility, grid, model) + profile.annual_volatility**2 * bursts
    )
    variance = loading**2 * common.variance + own_variance
    diffusion = loading * np.sqrt(common.variance) * common.shocks + np.sqrt(own_variance) * shocks
    # Minus half the variance: the expected gross return of every step is 1, whatever happened before.
    return _Returns(
        values=diffusion - 0.5 * variance,
        variance=variance,
        shocks=diffusion / np.sqrt(variance),
        log_volatility=log_volatility,
    )


def _extremes(
    rng: np.random.Generator, returns: FloatArray, variance: FloatArray
) -> tuple[FloatArray, FloatArray]:
    r"""Return how far a Brownian bridge of each step swings above and below its two ends, as log returns >= 0.

    Given the end :math:`r`, the maximum is :math:`(r + \sqrt{r^2 - 2 \sigma^2 \ln U}) / 2` with :math:`U` uniform.
    Maximum and minimum are drawn independently of each other given :math:`r`, which they are not quite.

    References
    ----------
    Glasserman, *Monte Carlo Methods in Financial Engineering*, 2003, sec. 6.4, eq. 6.50. Deviation: the independence.
    """
    up = rng.standard_exponential(len(returns))
    down = rng.standard_exponential(len(returns))
    above = 0.5 * (np.sqrt(returns**2 + 2.0 * variance * up) - np.abs(returns))
    below = 0.5 * (np.sqrt(returns**2 + 2.0 * variance * down) - np.abs(returns))
    return above, below


@dataclass(frozen=True)
class Rules:
    """Tick and step as numerators and denominators (`instruments.decimal_fraction`)."""

    tick: tuple[int, int]
    step: tuple[int, int]


def _draw_prices(
    rng: np.random.Generator,
    grid: Grid,
    model: MarketModel,
    profile: Profile,
    rules: Rules,
    moves: _Returns,
) -> dict[str, FloatArray]:
    """Return last prices (in ticks) and mark prices (USDT) of each step."""
    mark_log = np.log(profile.price) + np.concatenate(([0.0], np.cumsum(moves.values)))
    above, below = _extremes(rng, moves.values, moves.variance)
    upper = np.maximum(mark_log[:-1], mark_log[1:])
    lower = np.minimum(mark_log[:-1], mark_log[1:])
    basis = model.basis_bps * 1e-4 * profile.annual_volatility / 0.5
    last_log = mark_log + basis * rng.standard_normal(grid.steps + 1)
    per_tick = rules.tick[1] / rules.tick[0]

    def ticks(log_prices: FloatArray) -> FloatArray:
        return np.maximum(np.rint(np.exp(log_prices) * per_tick), 1.0)

    ends = ticks(last_log)
    opens = np.maximum(ends[:-1] + rng.choice([-1.0, 0.0, 0.0, 1.0], grid.steps), 1.0)
    closes = ends[1:]
    highs = ticks(np.maximum(last_log[:-1], last_log[1:]) + model.last_range * above)
    lows = ticks(np.minimum(last_log[:-1], last_log[1:]) - model.last_range * below)
    marks = np.round(np.exp(mark_log), 8)
    return {
        "open": opens,
        "high": np.maximum(highs, np.maximum(opens, closes)),
        "low": np.minimum(lows, np.minimum(opens, closes)),
        "close": closes,
        "mark_open": marks[:-1],
        "mark_high": np.round(np.exp(upper + model.mark_range * above), 8),
        "mark_low": np.round(np.exp(lower - model.mark_range * below), 8),
        "mark_price": marks[1:],
    }


def _draw_flows(
    rng: np.random.Generator,
    grid: Grid,
    profile: Profile,
    rules: Rules,
    moves: _Returns,
    prices: dict[str, FloatArray],
) -> dict[str, FloatArray]:
    """Return volumes (in steps of quantity), their quote value, trades and taker buys (in steps) of each step."""
    tick = rules.tick[0] / rules.tick[1]
    step = rules.step[0] / rules.step[1]
    noise = _stationary(rng.standard_normal(grid.steps), grid, half_life=18.0, variance=0.12)
    noise += 0.2 * rng.standard_normal(grid.steps)
    surprise = np.minimum(np.abs(moves.shocks), 4.0) - np.sqrt(2.0 / np.pi)
    wanted = (
        profile.hourly_quote_volume
        / grid.steps_per_hour
        * np.exp(grid.log_activity + 1.15 * moves.log_volatility + 0.45 * surprise + noise)
    )
    average = 0.25 * tick * (prices["open"] + prices["high"] + prices["low"] + prices["close"])
    lots = np.maximum(np.rint(wanted / (average * step)), 1.0)
    taker_share = 0.5 + 0.05 * np.tanh(moves.shocks) + 0.04 * rng.standard_normal(grid.steps)
    trades = wanted / profile.trade_notional * np.exp(0.25 * rng.standard_normal(grid.steps))
    return {
        "volume": lots,
        "quote_volume": lots * step * average,
        "trades": np.maximum(np.rint(trades), 1.0),
        "taker_buy_volume": np.rint(lots * np.clip(taker_share, 0.05, 0.95)),
    }


def _draw_premium(
    rng: np.random.Generator,
    grid: Grid,
    model: MarketModel,
    moves: _Returns,
    common: Common,
    *,
    squeezes: bool,
) -> FloatArray:
    """Return the hourly mean premium of last price over index, shape ``(n_hours,)``."""
    resting = model.premium_base + model.premium_spread * rng.standard_normal()
    own = _premium_wave(rng, grid, model, moves.shocks)
    wave = np.sqrt(0.5) * (common.premium + own)
    premium = resting + wave * np.where(wave > 0.0, model.premium_up, model.premium_down)
    if squeezes:
        started = rng.random(grid.steps) < model.squeezes_per_year * grid.years
        sizes = model.squeeze_size * rng.standard_exponential(grid.steps)
        signs = np.where(rng.random(grid.steps) < model.squeezes_negative, -1.0, 1.0)
        bursts = np.where(started, sizes * signs, 0.0)
        decay = 0.5 ** (1.0 / (model.squeeze_half_life * grid.steps_per_hour))
        premium += autoregression(bursts, decay, 0.0)
    return np.asarray(premium.reshape(-1, grid.steps_per_hour).mean(axis=1))


@dataclass(frozen=True)
class SymbolPath:
    """One symbol's bars and settlements.

    Parameters
    ----------
    fields : dict of str to float64 array, shape (n_bars,)
        As in `Bars`, except that last prices are in ticks and the two volumes of coins in steps.
    settlement_hours : int64 array
        Hours after the start of the grid.
    rates, marks : float64 array
        Funding rate and mark price at each settlement.
    """

    fields: dict[str, FloatArray]
    settlement_hours: IntArray
    rates: FloatArray
    marks: FloatArray


def draw_symbol(
    symbol: str,
    seed: int,
    grid: Grid,
    model: MarketModel,
    rules: Rules,
    common: Common,
    *,
    listed_hour: int,
) -> SymbolPath:
    """Return the path of one symbol, from its own streams of random numbers and the common factor."""
    profile = PROFILES.get(symbol, OTHER)
    moves = _draw_returns(stream(seed, symbol, "returns"), grid, model, profile, common)
    prices = _draw_prices(stream(seed, symbol, "prices"), grid, model, profile, rules, moves)
    flows = _draw_flows(stream(seed, symbol, "flows"), grid, profile, rules, moves, prices)
    premium = _draw_premium(
        stream(seed, symbol, "premium"),
        grid,
        model,
        moves,
        common,
        squeezes=symbol not in UNSQUEEZED,
    )
    hours, rates = settle_funding(
        premium,
        listed_hour,
        0,
        _REGULAR_HOURS,
        model.funding_interest,
        model.funding_band,
        model.funding_cap,
        model.quiet_rate,
        _QUIET_SETTLEMENTS,
        _CALM_HOURS,
    )
    return SymbolPath(
        fields=_to_bars({**prices, **flows}, grid),
        settlement_hours=hours,
        rates=np.round(rates, 8),
        marks=prices["mark_open"][hours * grid.steps_per_hour],
    )


def _to_bars(steps: dict[str, FloatArray], grid: Grid) -> dict[str, FloatArray]:
    fields = {}
    for name, values in steps.items():
        group = values.reshape(-1, grid.steps_per_bar)
        if name in ("open", "mark_open"):
            fields[name] = group[:, 0]
        elif name in ("close", "mark_price"):
            fields[name] = group[:, -1]
        elif name in ("high", "mark_high"):
            fields[name] = group.max(axis=1)
        elif name in ("low", "mark_low"):
            fields[name] = group.min(axis=1)
        else:
            fields[name] = group.sum(axis=1)
    return fields
