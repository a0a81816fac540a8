"""The rules of a symbol that was recorded: those that the project knows, where what was recorded fits them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from live.simulator.desk import PERCENT_PRICE
from live.simulator.recordings import SymbolRecording
from quantcore.data.instruments import Instrument, decimal_fraction, load_instruments
from quantcore.errors import DataGap
from quantcore.types import BoolArray, FloatArray

DIGITS_MAX = 8
"""Decimals that the exchange writes at most."""
_PRICES = {"aggTrade": "p", "trade": "p", "bookTicker": "ba"}
_SIZES = {"aggTrade": "q", "trade": "q", "bookTicker": "BA"}
"""Where prints and touches have their prices and quantities."""
_OFF_MAX = 1e-6
_ROUNDING = 1e-15
"""How far from whole a number of steps may be, absolutely and by the rounding of a large one."""


def recorded_instrument(symbol: str, recording: SymbolRecording, price: float) -> Instrument:
    """Return a symbol's rules.

    They are the committed ones, else defaults for the price. A tick, or step, that is not known or that a recorded
    price, or quantity, is no multiple of is the power of ten that all of them are multiples of. Levels of
    the book count as far as orders may lie from what traded: deep in it stand some of the time before a change.

    Raises
    ------
    DataGap
        If a price or quantity has more than eight decimals, or is not finite and >= 0.
    """
    rules = load_instruments([symbol], prices={symbol: price})[0]
    traded, levels = _values(recording, _PRICES, "price")
    sizes, level_sizes = _values(recording, _SIZES, "qty")
    sizes += level_sizes
    for values in (traded, levels, sizes):
        _check(symbol, values)
    lowest = (1.0 - PERCENT_PRICE) * min(float(each.min()) for each in traded)
    highest = (1.0 + PERCENT_PRICE) * max(float(each.max()) for each in traded)
    near = [each[(each >= lowest) & (each <= highest)] for each in levels]
    tick = _step(symbol, [*traded, *near], rules.tick_size, rules.defaulted)
    step = _step(symbol, sizes, rules.step_size, rules.defaulted)
    if (tick, step) == (rules.tick_size, rules.step_size):
        return rules
    least = Decimal(rules.min_qty)
    least = least if least % Decimal(step) == 0 else Decimal(step)
    return replace(
        rules,
        tick_size=tick,
        step_size=step,
        min_qty=format(least, "f"),
        market_max_qty=format(max(Decimal(rules.market_max_qty), least), "f"),
        limit_max_qty=format(max(Decimal(rules.limit_max_qty), least), "f"),
        origin=f"{rules.origin}; tick and step by what was recorded",
    )


def _values(
    recording: SymbolRecording, letters: Mapping[str, str], name: str
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Return the prices, or the quantities, of prints and touches, and those of the levels of the book."""
    place = ("price", "qty").index(name)
    levels = [side[:, place] for each in recording.snapshots for side in (each.bids, each.asks)]
    traded = []
    for kind, events in recording.events.items():
        levels += [getattr(side, name) for side in events.levels.values()]
        traded += [events.columns[letter] for letter in letters.get(kind, "")]
    return traded, levels


def _check(symbol: str, values: Sequence[FloatArray]) -> None:
    for each in values:
        wrong = ~(np.isfinite(each) & (each >= 0.0))
        if wrong.any():
            raise DataGap(
                f"{symbol}: prices and quantities must be finite and >= 0, was {each[wrong][0]}"
            )


def _step(symbol: str, values: Sequence[FloatArray], known: str, defaulted: bool) -> str:
    if not defaulted and _fits(values, known):
        return known
    for places in range(DIGITS_MAX + 1):
        step = format(Decimal(1).scaleb(-places), "f")
        if _fits(values, step):
            return step
    raise DataGap(f"{symbol}: prices and quantities must have at most {DIGITS_MAX} decimals")


def _fits(values: Sequence[FloatArray], step: str) -> bool:
    fraction = decimal_fraction(step)
    return all(bool(are_whole(steps_in(each, fraction)).all()) for each in values)


def steps_in(values: FloatArray, fraction: tuple[int, int]) -> FloatArray:
    """Return prices or quantities in steps of a size (`decimal_fraction`)."""
    numerator, denominator = fraction
    return values * denominator / numerator


def are_whole(steps: FloatArray) -> BoolArray:
    """Return which numbers of steps are whole, but for the rounding of decimals."""
    off = np.abs(steps - np.rint(steps))
    return np.asarray(off <= np.maximum(_OFF_MAX, np.abs(steps) * _ROUNDING))
