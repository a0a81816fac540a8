"""One parameter of a sweep: the override path that it sets, and the values that it may take."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from quantcore.errors import ConfigError
from quantcore.types import FloatArray

Value: TypeAlias = bool | int | float | str | list[Any] | None
"""What an override can set: a truth value, a number, text, a list of them, or nothing."""

_PATH = re.compile(r"[A-Za-z_]\w*(?:[./][A-Za-z_]\w*)*")
_EXACT = 2**53
"""Largest whole number up to which floats hold every one."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Numbers from `low` to `high`, both of them included.

    Parameters
    ----------
    low, high : float
        Finite bounds, low < high.
    log : bool
        Whether equal ratios rather than equal differences are equally likely; then low > 0.
    whole : bool
        Whether the numbers are whole ones.

    Raises
    ------
    ConfigError
        If the bounds are not finite or not in order, not whole where they must be, or low <= 0 on a logarithmic one.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"interval must be finite with low < high, was {self}")
        if self.log and self.low <= 0.0:
            raise ConfigError(f"interval must have low > 0 to be logarithmic, was {self}")
        if self.whole:
            bounds = (self.low, self.high)
            if any(bound != int(bound) or abs(bound) > _EXACT for bound in bounds):
                raise ConfigError(f"interval must have whole bounds within 2**53, was {self}")

    def __str__(self) -> str:
        if self.whole:
            text = f"int(interval({int(self.low)}, {int(self.high)}))"
        else:
            text = f"interval({float(self.low)!r}, {float(self.high)!r})"
        return f"tag(log, {text})" if self.log else text

    @property
    def count(self) -> int | None:
        """How many numbers it holds, None where they are real ones."""
        return int(self.high) - int(self.low) + 1 if self.whole else None

    def at(self, unit: FloatArray) -> FloatArray:
        r"""Return the numbers at fractions of the interval.

        Whole numbers stand each for the stretch from half a step below to half a step above themselves, the outermost
        too, so that none is rarer than its neighbours. On a logarithmic interval the stretches are laid out in
        logarithms, which makes :math:`P(k) \propto \ln((k + 1/2)/(k - 1/2))`.

        Parameters
        ----------
        unit : array
            Fractions from 0 to 1; uniform ones give the interval's own distribution.

        Returns
        -------
        array
            Numbers from `low` to `high`, of the shape of `unit`.
        """
        low, high = float(self.low), float(self.high)
        if self.whole:
            low, high = low - 0.5, high + 0.5
        if self.log:
            numbers = np.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
        else:
            numbers = low + unit * (high - low)
        if self.whole:
            numbers = np.floor(numbers + 0.5)
        return np.asarray(np.clip(numbers, self.low, self.high))


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A setting or a config group, and either the choices or the interval that a sweep takes its values from.

    Parameters
    ----------
    path : str
        Override path, such as ``"strategy.fast"``, or a config group, such as ``"portfolio"``.
    choices : tuple of values
        In the order in which a grid runs through them; at least one, no two alike (1 and 1.0 are).
    interval : Interval, optional
        Instead of choices.

    Raises
    ------
    ConfigError
        If the path is not one, there are neither choices nor an interval or both, or two choices are alike.
    """

    path: str
    choices: tuple[Value, ...] = ()
    interval: Interval | None = None

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise ConfigError(
                f"parameter must be a path of names such as strategy.fast, was {self.path!r}"
            )
        if self.interval is not None:
            if self.choices:
                raise ConfigError(
                    f"{self.path} must have choices or an interval, not both, was {self.choices}"
                )
            return
        if not self.choices:
            raise ConfigError(f"{self.path} must have at least one value, was empty")
        seen = set()
        for choice in self.choices:
            known = _identity(choice, self.path)
            if known in seen:
                raise ConfigError(f"{self.path} must have no value twice, was {choice!r} again")
            seen.add(known)

    @property
    def count(self) -> int | None:
        """How many values there are, None where they are real numbers between bounds."""
        return self.interval.count if self.interval else len(self.choices)

    def codes_at(self, unit: FloatArray) -> FloatArray:
        """Return the codes of the values at fractions from 0 to 1: equally many fractions belong to each choice.

        A code is a choice's index, or the number itself on an interval.
        """
        if self.interval:
            return self.interval.at(unit)
        codes = np.floor(unit * len(self.choices))
        return np.asarray(np.minimum(codes, len(self.choices) - 1))

    def codes_of_cells(self, cells: FloatArray) -> FloatArray:
        """Return the codes of values by their number from 0 to `count` - 1; meaningless where `count` is None."""
        return cells + self.interval.low if self.interval else cells

    def decode(self, codes: FloatArray) -> list[Value]:
        """Return the values of codes as plain Python ones."""
        if self.interval is None:
            return [self.choices[k] for k in codes.astype(np.int64).tolist()]
        numbers: list[Value] = (codes.astype(np.int64) if self.interval.whole else codes).tolist()
        return numbers


def _identity(value: object, path: str) -> object:
    """Return what two values share if and only if a setting cannot tell them apart.

    Raises
    ------
    ConfigError
        If the value is of no kind that an override can set, or not finite.
    """
    if isinstance(value, bool) or value is None:
        return str(value), None
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise ConfigError(f"{path} must be finite, was {value}")
        return "number", value
    if isinstance(value, str):
        return "text", value
    if isinstance(value, list):
        return "list", tuple(_identity(item, path) for item in value)
    raise ConfigError(f"{path} must be a number, a word, true, false, null or a list, was {value}")
