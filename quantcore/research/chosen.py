"""Parameters and parameter sets as a caller in Python writes and reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import numpy as np

from quantcore.backtest.markup import percent, plural, ratio, share
from quantcore.errors import ConfigError
from quantcore.overrides import override_list
from quantcore.research.sweep_wording import value_text


class ChosenSet(dict[str, Any]):
    """One set of a sweep: plain values by override path, so that ``qc.backtest(name, chosen)`` runs it alone.

    Parameters
    ----------
    values : mapping of str to value
        By override path.
    number : int
        Its row in the sweep's table.
    metrics : mapping of str to float
        What it came to, by the keys of `metrics.json`; NaN where a value is unknown.
    """

    def __init__(
        self, values: Mapping[str, Any], *, number: int, metrics: Mapping[str, float]
    ) -> None:
        super().__init__(values)
        self.number = number
        self.metrics = dict(metrics)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (dict(self), self.number, self.metrics)

    def __repr__(self) -> str:
        told = ", ".join(f"{path}={value_text(value)}" for path, value in self.items())
        m = self.metrics
        return (
            f"set {self.number}: {told}; Sharpe ratio {ratio(m['sharpe'])}, {percent(m['annual_return'], signed=True)} "
            f"a year, drawdown {share(m['max_drawdown'])}, {plural(int(np.nan_to_num(m['trades'])), 'round trip')}"
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return f"<code>{escape(repr(self))}</code>"


def _again(values: Mapping[str, Any], number: int, metrics: Mapping[str, float]) -> ChosenSet:
    return ChosenSet(values, number=number, metrics=metrics)


def parameter_texts(parameters: Mapping[str, Any]) -> list[str]:
    """Return parameters in Hydra's sweep grammar.

    Parameters
    ----------
    parameters : mapping of str to values
        By override path: a list, range or array of plain values to choose among; an interval ``(low, high)``; or text
        in Hydra's sweep grammar, such as ``"range(4, 64, 4)"``.

    Raises
    ------
    ConfigError
        If it is no mapping, is empty, or a value is none of these.

    Examples
    --------
    >>> parameter_texts({"strategy.fast": [24, 48], "strategy.cap": (1.0, 4.0), "portfolio": "glob(*)"})
    ['strategy.fast=24,48', 'strategy.cap=interval(1.0,4.0)', 'portfolio=glob(*)']
    """
    given: Any = parameters
    if not isinstance(given, Mapping):
        raise ConfigError(
            'parameters must be a mapping such as {"strategy.fast": [24, 48]}, was '
            f"{type(given).__name__}"
        )
    if not given:
        raise ConfigError(
            "parameters must name at least one setting with its values, such as "
            '{"strategy.fast": [24, 48]}, was {}'
        )
    return [f"{path}={_domain(str(path), values)}" for path, values in given.items()]


def _domain(path: str, values: Any) -> str:
    if isinstance(values, str):
        return values
    if isinstance(values, tuple):
        if len(values) != 2:
            raise ConfigError(
                f"{path} must be a list of values or an interval (low, high), was {values!r}"
            )
        return f"interval({_value(path, values[0])},{_value(path, values[1])})"
    if isinstance(values, Mapping | set | frozenset) or not isinstance(values, Iterable):
        raise ConfigError(
            f"{path} must be a list of values, an interval (low, high), or text in Hydra's sweep grammar, "
            f"was {values!r}"
        )
    told = [_value(path, value) for value in values]
    if not told:
        raise ConfigError(f"{path} must have at least one value, had none")
    return ",".join(told)


def _value(path: str, value: Any) -> str:
    """Return one plain value in Hydra's grammar."""
    (text,) = override_list({path: value})
    return text.partition("=")[2]
