"""Parameters of a sweep out of text: Hydra's sweep grammar, read by Hydra's own parser."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    FloatRange,
    Glob,
    IntervalSweep,
    Override,
    OverrideType,
    RangeSweep,
    Sweep,
)
from hydra.errors import HydraException

from quantcore.errors import ConfigError
from quantcore.research.parameter import Interval, Parameter, Value
from quantcore.settings import nearest, one_line

CHOICES_MAX = 1_000_000
"""Most values of one parameter."""
LOG, WHOLE = "log", "int"


def parse_parameter(text: str, options: Mapping[str, Sequence[str]] | None = None) -> Parameter:
    """Return the parameter that a text in Hydra's sweep grammar describes.

    ``a=1,2,3`` and ``a=choice(1,2,3)`` are choices, ``a=range(start,stop,step)`` is Hydra's range (without its stop),
    ``a=5`` and ``a=[1,2]`` are one choice each, and ``a=[1,2],[3,4]`` are two. ``a=interval(0.1,2)`` is an interval
    with both its bounds: of real numbers, as Hydra reads them, ``a=int(interval(4,64))`` or
    ``a=tag(int,interval(4,64))`` of whole ones; with ``tag(log,interval(...))`` ratios count instead of differences.
    ``shuffle(...)`` gives the same text always the same order, ``sort(...)`` sorts, and
    ``group=glob(*)`` chooses among a group's options.

    Parameters
    ----------
    text : str
        Such as ``"strategy.fast=4,8,16"``.
    options : mapping of str to sequence of str, optional
        The options of each config group, for ``glob``.

    Returns
    -------
    Parameter
        With plain values: quoted text without its quotes, null as None.

    Raises
    ------
    ConfigError
        If the text is not of this grammar, adds or removes a key, or its values are none, too many or no plain values.

    References
    ----------
    Hydra 1.3, *Override grammar: extended*, https://hydra.cc/docs/advanced/override_grammar/extended/. Deviation:
    shuffling depends on the text alone; an interval includes its upper bound.
    """
    override = _parsed(text)
    path = override.key_or_group
    if override.type is not OverrideType.CHANGE:
        raise ConfigError(f"parameter must change a setting, not add or remove one, was {text!r}")
    if override.package is not None:
        raise ConfigError(f"parameter must not name a package, was {text!r}")
    content = override._value
    if isinstance(content, IntervalSweep):
        return Parameter(path=path, interval=_interval(content, path))
    values = _choices(override, content, text, options or {})
    return Parameter(path=path, choices=tuple(_plain(value, path) for value in values))


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _parsed(text: object) -> Override:
    if not isinstance(text, str):
        raise ConfigError(f"parameter must be text such as 'strategy.fast=4,8,16', was {text!r}")
    try:
        return _parser().parse_override(text)
    except HydraException as error:
        said = one_line(error).partition(", expecting")[0].partition(" expecting ")[0]
        raise ConfigError(
            f"parameter must be in Hydra's sweep grammar, was {text!r}: {said}"
        ) from error


def _choices(
    override: Override, content: Any, text: str, options: Mapping[str, Sequence[str]]
) -> Sequence[Any]:
    path = override.key_or_group
    if isinstance(content, Glob):
        return content.filter(list(options.get(path, ())))
    if not isinstance(content, Sweep):
        if content == "":
            raise ConfigError(f"{path} must have at least one value, was empty")
        return [content]
    if content.tags:
        raise ConfigError(f"{path} must be an interval to take a tag, was {text!r}")
    values: Sequence[Any] = content.list if isinstance(content, ChoiceSweep) else ()
    if isinstance(content, RangeSweep):
        values = _range(content, path)
    if isinstance(content, ChoiceSweep | RangeSweep) and content.shuffle:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
        return [values[k] for k in np.random.default_rng(seed).permutation(len(values))]
    return values


def _range(content: RangeSweep, path: str) -> Sequence[Any]:
    """Return a range's numbers, counted before they are made."""
    shown = f"range({content.start}, {content.stop}, {content.step})"
    numbers = (content.start, content.stop, content.step)
    if not all(n is not None and math.isfinite(n) for n in numbers) or content.step == 0:
        raise ConfigError(f"{path} must have finite bounds and a step other than 0, was {shown}")
    start, stop, step = (Decimal(n or 0) for n in numbers)
    count = math.ceil((stop - start) / step)
    if count < 1:
        raise ConfigError(f"{path} must have at least one value, was empty: {shown}")
    if count > CHOICES_MAX:
        raise ConfigError(f"{path} must have at most {CHOICES_MAX:,} values, was {shown}")
    ranged: range | FloatRange = content.range()
    return list(ranged)


def _interval(content: IntervalSweep, path: str) -> Interval:
    for tag in sorted(content.tags - {LOG, WHOLE}):
        near = nearest(tag, (LOG, WHOLE))
        raise ConfigError(
            f"{path} must have tags of log and int, was {tag}"
            + (f"; nearest: {near}" if near else "")
        )
    bounds: list[Any] = [
        content.start,
        content.end,
    ]  # annotated as floats, but int(...) makes them whole
    try:
        return Interval(
            low=bounds[0],
            high=bounds[1],
            log=LOG in content.tags,
            whole=WHOLE in content.tags or all(isinstance(bound, int) for bound in bounds),
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _plain(value: Any, path: str) -> Value:
    """Return a parsed element without its quotes."""
    if isinstance(value, Sweep):
        raise ConfigError(f"{path} must not mix single values with a range, interval or choice")
    plain: Any = Override._convert_value(value)
    if "${" in str(plain):
        raise ConfigError(f"{path} must be a plain value, not an interpolation, was {plain}")
    return plain  # type: ignore[no-any-return]  # what is no value, a mapping, Parameter refuses
