"""The signal plane: bars into target weights, as one fold for the backtest (all rows) and the live loop (one row).

The strategy is found from the class of its settings: the module that defines the class also holds ``forecast`` and

- ``warm_up(settings, interval)``: then ``forecast(bars, settings, state)`` is itself a fold (a compiled strategy), or
- no ``warm_up``, but settings with a whole number `lookback`: then ``forecast(bars)`` or ``forecast(bars, settings)``
  is a plain pandas function, run through the adapter `quantcore.signals.plain`.

So a configuration names one thing, the settings class, and a strategy stays one file.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np

from quantcore.data import universe
from quantcore.data.universe import UniverseSettings, check_universe
from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.exits import ExitSettings
from quantcore.fold import FoldState
from quantcore.frames import Bars, to_kernel, to_panel
from quantcore.regime import detector
from quantcore.regime.detector import RegimeSettings, regime_probabilities
from quantcore.signals import fixed, generator, strategy_matrix
from quantcore.signals.fixed import FixedSettings
from quantcore.signals.generator import PortfolioSettings
from quantcore.signals.plain import Progress, plain_forecast
from quantcore.signals.strategy_matrix import MatrixSettings, combine, given_matrix
from quantcore.timegrid import check_days, interval_name, interval_us, to_index
from quantcore.types import Array, BoolArray, FloatArray, Panel

KIND = "signal_plane"
VERSION = 2

PORTFOLIOS = PortfolioSettings | FixedSettings
"""The settings of every way in which forecasts become weights."""

_NOT_STARTED = -1


@dataclass(frozen=True, kw_only=True)
class StrategySet:
    """Several strategies that become one forecast by a strategy matrix.

    Parameters
    ----------
    members : mapping of str to settings dataclass of a strategy
        By name; at least one.
    exits : ExitSettings
        Protective exits of the whole; those of the members are not used.
    """

    members: Mapping[str, Any]
    exits: ExitSettings

    def __post_init__(self) -> None:
        if not self.members:
            raise ConfigError("members must name at least one strategy, were none")


@dataclass(frozen=True, kw_only=True)
class SignalSettings:
    """The settings of every stage of the signal plane.

    Parameters
    ----------
    strategy : settings dataclass of a strategy, or StrategySet
        Its module holds the strategy (see this module's docstring).
    portfolio : PortfolioSettings or FixedSettings
        How forecasts become weights.
    universe : UniverseSettings or None
        Which symbols may be held; None: all.
    regime : RegimeSettings or None
        The market's states; None: one.
    matrix : MatrixSettings or None
        How a set of strategies is combined; a single strategy needs none.

    Raises
    ------
    ConfigError
        If no strategy can be found from `strategy`, or a set has no matrix.
    """

    strategy: Any
    portfolio: PORTFOLIOS
    universe: UniverseSettings | None = None
    regime: RegimeSettings | None = None
    matrix: MatrixSettings | None = None

    def __post_init__(self) -> None:
        for settings in self.strategies.values():
            _strategy(settings)
        if isinstance(self.strategy, StrategySet):
            if self.matrix is None:
                raise ConfigError("matrix must be set where strategy is a set, was null")
            given_matrix(self.matrix, tuple(self.strategies), self.regimes)

    @property
    def strategies(self) -> Mapping[str, Any]:
        """The strategies' settings by name."""
        if isinstance(self.strategy, StrategySet):
            return self.strategy.members
        return {type(self.strategy).__module__.rpartition(".")[2]: self.strategy}

    @property
    def regimes(self) -> int:
        """Number of regimes, 1 without a detector."""
        return 1 if self.regime is None else self.regime.states


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What the signal plane says in each row, and of what it is made.

    Parameters
    ----------
    bars : Bars
        The rows.
    state : FoldState
        After the last row.
    weight_array : float64 array, shape (n_bars, n_symbols)
        Target weights; see `target_weights`.
    forecasts : mapping of str to float64 array, shape (n_bars, n_symbols)
        Each strategy's own, NaN for symbols outside the universe.
    combined : float64 array, shape (n_bars, n_symbols)
        What the portfolio is made of.
    counted : float64 array, shape (n_bars, n_strategies)
        What each strategy's forecast was multiplied by in `combined`; ones for a single strategy.
    regimes : float64 array, shape (n_bars, n_regimes)
        Probabilities, the calmest first; NaN before the first fit, ones without a detector.
    members : bool array, shape (n_bars, n_symbols)
        The universe.
    """

    bars: Bars = field(repr=False)
    state: FoldState = field(repr=False)
    weight_array: FloatArray = field(repr=False)
    forecasts: Mapping[str, FloatArray] = field(repr=False)
    combined: FloatArray = field(repr=False)
    counted: FloatArray = field(repr=False)
    regimes: FloatArray = field(repr=False)
    members: BoolArray = field(repr=False)

    @property
    def weights(self) -> Panel:
        """The target weights as a panel."""
        return to_panel(self.weight_array, self.bars)

    def since(self, first: int) -> Signals:
        """Return the rows from `first` on."""
        return replace(
            self,
            bars=self.bars.rows(first, self.bars.n_bars),
            weight_array=self.weight_array[first:],
            forecasts={name: values[first:] for name, values in self.forecasts.items()},
            combined=self.combined[first:],
            counted=self.counted[first:],
            regimes=self.regimes[first:],
            members=self.members[first:],
        )


class _PlaneState(FoldState):
    """The state as this process made it, stage by stage: its flat arrays are made once somebody asks for them."""

    last_us: int
    interval: str
    symbols: tuple[str, ...]
    stages: Mapping[str, FoldState]

    @classmethod
    def made(
        cls,
        last_us: int,
        interval: str,
        symbols: tuple[str, ...],
        stages: Mapping[str, FoldState],
        settings: SignalSettings,
    ) -> _PlaneState:
        state = object.__new__(cls)
        state.__dict__.update(
            kind=KIND,
            version=VERSION,
            last_us=last_us,
            interval=interval,
            symbols=symbols,
            stages=stages,
            made_by=settings,
        )
        return state

    @cached_property
    def arrays(self) -> Mapping[str, Array]:
        arrays: dict[str, Array] = {
            "clock": np.array([self.last_us, interval_us(self.interval)], dtype=np.int64),
            "symbols": np.array(self.symbols, dtype=np.str_),
            "stages": np.array(list(self.stages), dtype=np.str_),
            "kinds": np.array([stage.kind for stage in self.stages.values()], dtype=np.str_),
            "versions": np.array([s.version for s in self.stages.values()], dtype=np.int64),
        }
        for name, stage in self.stages.items():
            arrays |= {f"{name}/{key}": array for key, array in stage.items()}
        return FoldState.of(KIND, VERSION, arrays).arrays


def _opened(state: FoldState, settings: SignalSettings) -> _PlaneState:
    """Return a state stage by stage, also one that was saved and loaded."""
    if isinstance(state, _PlaneState) and state.made_by is settings:
        return state
    names = state.expect(KIND, VERSION)["stages"].tolist()
    held: dict[str, dict[str, Array]] = {name: {} for name in names}
    for key, array in state.items():
        stage, slash, name = key.partition("/")
        if slash:
            held[stage][name] = array
    stages = {
        name: FoldState(str(kind), int(version), held[name])
        for name, kind, version in zip(names, state["kinds"], state["versions"], strict=True)
    }
    _check_stages(stages, settings)
    last_us, length = (int(value) for value in state["clock"])
    symbols = tuple(state["symbols"].tolist())
    return _PlaneState.made(last_us, interval_name(length), symbols, stages, settings)


def target_weights(
    bars: Bars,
    settings: SignalSettings,
    state: FoldState | None = None,
    *,
    first: int = 0,
    progress: Progress = iter,
) -> tuple[Panel, FoldState]:
    """Return the target weight of each symbol in each row, and the state after the last row.

    ``target_weights(a + b)`` equals ``target_weights(b, state of a)`` bit for bit, also through save and load.

    Parameters
    ----------
    bars : Bars
        The rows that follow those already in `state`, without a gap.
    settings : SignalSettings
        The same for all calls that share a state.
    state : FoldState, optional
        From an earlier call; None starts empty.
    first : int
        Row from which on weights are wanted; it spares a plain strategy, whose rows do not depend on one another, the
        earlier ones. No weight from there on and no state depends on it; where a later stage remembers forecasts, all
        rows are made.
    progress : callable
        Shows how far a plain strategy's rows are.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        Signed notional as a fraction of equity, to be used from row `first` on. NaN is "no decision, keep what is
        held" (no price in the row), 0 is "be flat".
    FoldState
        To hand to the next call.

    Raises
    ------
    ConfigError
        If the interval does not divide a day.
    SchemaMismatch
        If `state` is of another fold or strategy, or of other symbols or another interval than `bars`, or if the first
        row does not follow its last one.
    """
    found = signals(bars, settings, state, first=first, progress=progress)
    return found.weights, found.state


def signals(
    bars: Bars,
    settings: SignalSettings,
    state: FoldState | None = None,
    *,
    first: int = 0,
    progress: Progress = iter,
) -> Signals:
    """Return the target weights with all that they are made of; arguments and errors as `target_weights`."""
    check_days(bars.interval)
    if isinstance(settings.strategy, StrategySet) or settings.portfolio.remembers_forecasts:
        first = 0
    last_us = _NOT_STARTED
    held: Mapping[str, FoldState] = {}
    if state is not None:
        opened = _opened(state, settings)
        _check_continues(bars, opened)
        last_us, held = opened.last_us, opened.stages
    after: dict[str, FoldState] = {}
    members = np.ones((bars.n_bars, bars.n_symbols), dtype=np.bool_)
    if settings.universe is not None:
        check_universe(bars.n_symbols, settings.universe)
        members, after["universe"] = universe.members(bars, settings.universe, held.get("universe"))
    names = tuple(settings.strategies)
    views = np.empty((bars.n_bars, len(names), bars.n_symbols))
    for k, (name, strategy) in enumerate(settings.strategies.items()):
        stage = f"strategy.{name}"
        views[:, k], after[stage] = _forecast_array(
            bars, strategy, held.get(stage), first, progress
        )
    if settings.universe is not None:
        np.copyto(views, np.nan, where=~members[:, np.newaxis])
    regimes = np.ones((bars.n_bars, 1))
    if settings.regime is not None:
        regimes, after["regime"] = regime_probabilities(bars, settings.regime, held.get("regime"))
    combined, counted = views[:, 0], np.ones((bars.n_bars, len(names)))
    if settings.matrix is not None and isinstance(settings.strategy, StrategySet):
        combined, counted, after["matrix"] = combine(
            views,
            regimes,
            bars.array("close"),
            bars.ts_us,
            settings.matrix,
            interval=bars.interval,
            strategies=names,
            state=held.get("matrix"),
        )
    weights, after["portfolio"] = _weigh(bars, combined, settings, held.get("portfolio"))
    last_us = int(bars.ts_us[-1]) if bars.n_bars else last_us
    return Signals(
        bars=bars,
        weight_array=weights,
        state=_PlaneState.made(last_us, bars.interval, bars.symbols, after, settings),
        forecasts={name: views[:, k] for k, name in enumerate(names)},
        combined=combined,
        counted=counted,
        regimes=regimes,
        members=members,
    )


def forecast(
    bars: Bars,
    strategy: Any,
    state: FoldState | None = None,
    *,
    first: int = 0,
    progress: Progress = iter,
) -> tuple[Panel, FoldState]:
    """Return the forecasts of the strategy that belongs to some settings, compiled or plain, and its state.

    Those before row `first` may be NaN; `progress` shows how far a plain strategy's rows are.

    Raises
    ------
    ConfigError
        If no strategy can be found from `strategy`.
    """
    _strategy(strategy)
    values, after = _forecast_array(bars, strategy, state, first, progress)
    return to_panel(values, bars), after


def _forecast_array(
    bars: Bars, strategy: Any, state: FoldState | None, first: int, progress: Progress
) -> tuple[FloatArray, FoldState]:
    module = sys.modules[type(strategy).__module__]
    if hasattr(module, "forecast_array"):
        values, after = module.forecast_array(bars, strategy, state)
        return values, after
    if hasattr(module, "warm_up"):
        panel, after = module.forecast(bars, strategy, state)
    else:
        panel, after = plain_forecast(
            module.forecast,
            bars,
            strategy,
            strategy.lookback,
            state,
            first=first,
            progress=progress,
        )
    return to_kernel(panel), after


def refit(state: FoldState, settings: SignalSettings) -> FoldState:
    """Return the state with every review, fit and estimate that is due.

    The next call of `target_weights` makes them else, before its first row, with the same result; the live loop calls
    this between two decisions, so that none waits for a fit.
    """
    opened = _opened(state, settings)
    held = dict(opened.stages)
    for name, strategy in settings.strategies.items():
        module, stage = _strategy(strategy), f"strategy.{name}"
        if hasattr(module, "refit"):
            held[stage] = module.refit(held[stage], strategy)
    if settings.universe is not None:
        held["universe"] = universe.refit(held["universe"], settings.universe)
    if settings.regime is not None:
        held["regime"] = detector.refit(held["regime"], settings.regime)
    if settings.matrix is not None and "matrix" in held:
        held["matrix"] = strategy_matrix.refit(held["matrix"], settings.matrix)
    if isinstance(settings.portfolio, PortfolioSettings):
        held["portfolio"] = generator.refit(held["portfolio"], settings.portfolio)
    return _PlaneState.made(opened.last_us, opened.interval, opened.symbols, held, settings)


def warm_up(settings: SignalSettings, interval: str) -> int:
    """Return how many bars of an interval a cold start replays: the longest that a stage asks for."""
    bars = [1]
    if isinstance(settings.portfolio, PortfolioSettings):
        bars.append(generator.warm_up(settings.portfolio, interval))
    for strategy in settings.strategies.values():
        module = _strategy(strategy)
        compiled = hasattr(module, "warm_up")
        bars.append(int(module.warm_up(strategy, interval) if compiled else strategy.lookback))
    if settings.universe is not None:
        bars.append(universe.warm_up(settings.universe, interval))
    if settings.regime is not None:
        bars.append(detector.warm_up(settings.regime, interval))
    if settings.matrix is not None and isinstance(settings.strategy, StrategySet):
        bars.append(strategy_matrix.warm_up(settings.matrix, interval))
    return max(bars)


def declared_variants(settings: SignalSettings) -> int | None:
    """Return how many variants were looked at, the sum of what the strategies' files declare; None if one does not."""
    counts = [getattr(_strategy(s), "VARIANTS", None) for s in settings.strategies.values()]
    return None if None in counts else sum(int(count) for count in counts if count is not None)


def _weigh(
    bars: Bars, forecasts: FloatArray, settings: SignalSettings, state: FoldState | None
) -> tuple[FloatArray, FoldState]:
    if isinstance(settings.portfolio, FixedSettings):
        return fixed.weigh(bars, forecasts, settings.portfolio, state)
    return generator.weigh(bars, forecasts, settings.portfolio, state)


def _strategy(settings: Any) -> ModuleType:
    owner = type(settings)
    module = sys.modules[owner.__module__]
    lookback = getattr(settings, "lookback", None)
    plain = isinstance(lookback, int) and lookback >= 1
    if not callable(getattr(module, "forecast", None)) or not (hasattr(module, "warm_up") or plain):
        raise ConfigError(
            "strategy must be settings whose module holds forecast, and warm_up or a whole lookback >= 1, "
            f"was {owner.__qualname__} of {owner.__module__}"
        )
    return module


def _check_stages(held: Mapping[str, FoldState], settings: SignalSettings) -> None:
    """Refuse a state of other strategies or stages: one that found nothing would begin anew and say nothing."""
    there = sorted(n.partition(".")[2] for n in held if n.startswith("strategy."))
    wanted = sorted(settings.strategies)
    if there != wanted:
        raise SchemaMismatch(f"state must be of the strategies {wanted}, was of {there}")
    matrix = settings.matrix if isinstance(settings.strategy, StrategySet) else None
    optional = {"universe": settings.universe, "regime": settings.regime, "matrix": matrix}
    for name, stage in optional.items():
        if (stage is None) == (name in held):
            raise SchemaMismatch(
                f"state must {'not ' if stage is None else ''}hold the stage {name}, held {sorted(held)}"
            )


def _check_continues(bars: Bars, state: _PlaneState) -> None:
    """Refuse bars that are not the ones after a state's last."""
    if state.symbols != bars.symbols:
        raise SchemaMismatch(
            f"bars must have the symbols of the state, {state.symbols}, had {bars.symbols}"
        )
    if state.interval != bars.interval and interval_us(state.interval) != interval_us(
        bars.interval
    ):
        raise SchemaMismatch(
            f"bars must have the interval of the state, {state.interval}, had {bars.interval}"
        )
    expected = state.last_us + interval_us(state.interval)
    if state.last_us != _NOT_STARTED and bars.n_bars and int(bars.ts_us[0]) != expected:
        raise SchemaMismatch(
            f"bars must continue the state at {to_index(np.array([expected]))[0]}, began at {bars.index[0]}"
        )
