"""The signal plane: bars into target weights, as one fold for the backtest (all rows) and the live loop (one row).

The strategy is found from the class of its settings: the module that defines the class also holds ``forecast`` and

- ``warm_up(settings)``: then ``forecast(bars, settings, state)`` is itself a fold (a compiled strategy), or
- no ``warm_up``, but settings with a whole number `lookback`: then ``forecast(bars)`` or ``forecast(bars, settings)``
  is a plain pandas function, run through the adapter `quantcore.signals.plain`.

So a configuration names one thing, the settings class, and a strategy stays one file.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.signals import generator
from quantcore.signals.generator import PortfolioSettings, portfolio_weights
from quantcore.signals.plain import Progress, plain_forecast
from quantcore.timegrid import interval_name, interval_us, to_index
from quantcore.types import Array, Panel

KIND = "signal_plane"
VERSION = 1

_STAGES = ("strategy", "portfolio")
_NOT_STARTED = -1


@dataclass(frozen=True, kw_only=True)
class SignalSettings:
    """The settings of every stage of the signal plane.

    Parameters
    ----------
    strategy : settings dataclass of a strategy
        Its module holds the strategy (see this module's docstring).
    portfolio : PortfolioSettings
        How forecasts become weights.

    Raises
    ------
    ConfigError
        If no strategy can be found from `strategy`.
    """

    strategy: Any
    portfolio: PortfolioSettings

    def __post_init__(self) -> None:
        _strategy(self.strategy)


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
        earlier ones. No weight from there on and no state depends on it: closes are all that the portfolio remembers.
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
    SchemaMismatch
        If `state` is of another fold or strategy, or of other symbols or another interval than `bars`, or if the first
        row does not follow its last one.
    """
    strategy_state, portfolio_state = None, None
    last_us = _NOT_STARTED
    if state is not None:
        last_us = _check(bars, state.expect(KIND, VERSION))
        strategy_state, portfolio_state = (_extract(state, k) for k in range(len(_STAGES)))
    forecasts, strategy_state = forecast(
        bars, settings.strategy, strategy_state, first=first, progress=progress
    )
    weights, portfolio_state = portfolio_weights(
        bars, forecasts, settings.portfolio, portfolio_state
    )
    last_us = int(bars.ts_us[-1]) if bars.n_bars else last_us
    return weights, _combine(bars, last_us, strategy_state, portfolio_state)


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
    module = _strategy(strategy)
    if hasattr(module, "warm_up"):
        panel, after = module.forecast(bars, strategy, state)
        return panel, after
    return plain_forecast(
        module.forecast,
        bars,
        strategy,
        strategy.lookback,
        state,
        first=first,
        progress=progress,
    )


def warm_up(settings: SignalSettings) -> int:
    """Return how many bars a cold start replays: the longest that a stage asks for."""
    module = _strategy(settings.strategy)
    compiled = hasattr(module, "warm_up")
    bars = module.warm_up(settings.strategy) if compiled else settings.strategy.lookback
    return max(int(bars), generator.warm_up(settings.portfolio))


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


def _combine(bars: Bars, last_us: int, *stages: FoldState) -> FoldState:
    arrays: dict[str, Array] = {
        "clock": np.array([last_us, interval_us(bars.interval)], dtype=np.int64),
        "kinds": np.array([stage.kind for stage in stages], dtype=np.str_),
        "symbols": np.array(bars.symbols, dtype=np.str_),
        "versions": np.array([stage.version for stage in stages], dtype=np.int64),
    }
    for name, stage in zip(_STAGES, stages, strict=True):
        arrays |= {f"{name}/{key}": array for key, array in stage.items()}
    return FoldState(KIND, VERSION, arrays)


def _extract(state: FoldState, k: int) -> FoldState:
    prefix = f"{_STAGES[k]}/"
    arrays = {n.removeprefix(prefix): a for n, a in state.items() if n.startswith(prefix)}
    return FoldState(str(state["kinds"][k]), int(state["versions"][k]), arrays)


def _check(bars: Bars, state: FoldState) -> int:
    """Return the last stamp in the state if the bars continue it."""
    last_us, length = (int(value) for value in state["clock"])
    held = tuple(state["symbols"].tolist())
    if held != bars.symbols:
        raise SchemaMismatch(f"bars must have the symbols of the state, {held}, had {bars.symbols}")
    if length != interval_us(bars.interval):
        raise SchemaMismatch(
            f"bars must have the interval of the state, {interval_name(length)}, had {bars.interval}"
        )
    if last_us != _NOT_STARTED and bars.n_bars and int(bars.ts_us[0]) != last_us + length:
        expected = to_index(np.array([last_us + length]))[0]
        raise SchemaMismatch(
            f"bars must continue the state at {expected}, began at {bars.index[0]}"
        )
    return last_us
