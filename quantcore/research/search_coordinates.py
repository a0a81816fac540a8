"""A space of parameters in Optuna's terms: what its samplers draw from, and the values that its draws mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quantcore.research.parameter import Parameter, Value
from quantcore.research.space import Space

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclass(frozen=True)
class Coordinates:
    """How a space is searched.

    Choices that are all numbers are searched by their rank, so that a sampler knows which are near each other; other
    choices are categories. A parameter with one value is not searched at all.

    Parameters
    ----------
    space : Space
        The space.
    ranked : mapping of str to tuple of values
        The choices of parameters that are searched by rank, in increasing order.
    """

    space: Space
    ranked: Mapping[str, tuple[Value, ...]]

    @classmethod
    def of(cls, space: Space) -> Coordinates:
        """Return the coordinates of a space."""
        ranked = {p.path: _in_order(p) for p in space.parameters if _is_ranked(p)}
        return cls(space, ranked)

    def draw(self, trial: Trial) -> None:
        """Let a trial draw a value of every parameter that has several."""
        for parameter in self.space.parameters:
            if parameter.count != 1:
                self._draw(trial, parameter)

    def values(self, drawn: Mapping[str, Any]) -> dict[str, Value]:
        """Return the set that draws mean, by path in the order of the space."""
        return {p.path: self._value(p, drawn.get(p.path)) for p in self.space.parameters}

    def _draw(self, trial: Trial, parameter: Parameter) -> None:
        path, interval = parameter.path, parameter.interval
        if interval is None:
            if path in self.ranked:
                trial.suggest_int(path, 0, len(parameter.choices) - 1)
            else:
                trial.suggest_categorical(path, range(len(parameter.choices)))
        elif interval.whole:
            trial.suggest_int(path, int(interval.low), int(interval.high), log=interval.log)
        else:
            trial.suggest_float(path, interval.low, interval.high, log=interval.log)

    def _value(self, parameter: Parameter, drawn: Any) -> Value:
        if parameter.interval:
            return int(drawn) if parameter.interval.whole else float(drawn)
        choices = self.ranked.get(parameter.path, parameter.choices)
        return choices[int(drawn or 0)]


def _is_ranked(parameter: Parameter) -> bool:
    return bool(parameter.choices) and all(
        isinstance(choice, int | float) and not isinstance(choice, bool)
        for choice in parameter.choices
    )


def _in_order(parameter: Parameter) -> tuple[Value, ...]:
    numbers = [choice for choice in parameter.choices if isinstance(choice, int | float)]
    return tuple(sorted(numbers))
