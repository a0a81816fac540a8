"""The choices of a walk-forward traded in one account: each fold's target weights in its test, joined along time.

Every fold's targets come from signals that have seen all bars before its test, whatever was chosen then; positions are
carried over the borders, and what switching costs is paid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quantcore.backtest.engine import Decided, Turn, trade_in_turn
from quantcore.backtest.result import Run
from quantcore.errors import SchemaMismatch
from quantcore.exits import exits_of
from quantcore.research.study import Variant
from quantcore.signal_plane import Signals
from quantcore.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class Leg:
    """What is traded from one decision on, until the next leg takes over.

    Parameters
    ----------
    from_us : int
        Its first decision, microseconds since 1970: the midnight at which its test begins.
    decided : Decided
        What the signal plane says with the chosen set, over the whole record.
    variant : Variant
        The settings of that set.
    held : bool
        False is cash: every target is 0.
    """

    from_us: int
    decided: Decided
    variant: Variant
    held: bool


def trade_legs(
    legs: Sequence[Leg], *, config_yaml: str = "", manifest: Mapping[str, Any] | None = None
) -> Run:
    """Trade legs one after the other in one account, from the first decision of the first to the end of the data.

    Parameters
    ----------
    legs : sequence of Leg
        In order of time, at least one, all of the same data.
    config_yaml, manifest : str and mapping
        For the results folder.

    Raises
    ------
    ConfigError
        If the legs' accounts differ in what cannot change while positions are held.
    SchemaMismatch
        If the legs are of different rows.
    """
    turns = [
        Turn(
            from_us=leg.from_us,
            account=leg.variant.account,
            execution=leg.variant.execution,
            exits=exits_of(leg.variant.signal.strategy),
            risk=leg.variant.risk,
        )
        for leg in legs
    ]
    return trade_in_turn(joined(legs), turns, config_yaml=config_yaml, manifest=manifest)


def joined(legs: Sequence[Leg]) -> Decided:
    """Return the decisions of several legs as one record.

    Strategies that a leg does not have are NaN there, and so are regimes where a leg tells another number of them than
    the most. State, settings and notes are the last leg's.

    Raises
    ------
    SchemaMismatch
        If the legs are of different rows.
    """
    last = legs[-1].decided
    ts_us = last.found.bars.ts_us
    for leg in legs:
        if not np.array_equal(leg.decided.found.bars.ts_us, ts_us):
            raise SchemaMismatch("legs must be decided on the same rows, were not")
    starts = np.searchsorted(ts_us, [leg.from_us for leg in legs])
    spans = [(int(a), int(b)) for a, b in zip(starts, [*starts[1:], len(ts_us)], strict=True)]
    parts = [_cash(leg.decided.found) if not leg.held else leg.decided.found for leg in legs]
    names = tuple(dict.fromkeys(name for part in reversed(parts) for name in part.forecasts))
    n_regimes = max(part.regimes.shape[1] for part in parts)
    found = replace(
        last.found.since(spans[0][0]),
        weight_array=_rows([part.weight_array for part in parts], spans),
        forecasts={name: _rows([_forecast(part, name) for part in parts], spans) for name in names},
        combined=_rows([part.combined for part in parts], spans),
        counted=_rows([_counted(part, names) for part in parts], spans),
        regimes=_rows([_regimes(part, n_regimes) for part in parts], spans),
        members=np.concatenate(
            [part.members[a:b] for part, (a, b) in zip(parts, spans, strict=True)]
        ),
    )
    return replace(last, found=found)


def _rows(arrays: Sequence[FloatArray], spans: Sequence[tuple[int, int]]) -> FloatArray:
    return np.concatenate([array[a:b] for array, (a, b) in zip(arrays, spans, strict=True)])


def _cash(found: Signals) -> Signals:
    weights = np.where(np.isnan(found.weight_array), np.nan, 0.0)
    return replace(found, weight_array=weights, counted=np.zeros_like(found.counted))


def _forecast(part: Signals, name: str) -> FloatArray:
    return part.forecasts.get(name, np.full(part.weight_array.shape, np.nan))


def _counted(part: Signals, names: Sequence[str]) -> FloatArray:
    own = list(part.forecasts)
    absent = np.zeros(len(part.weight_array))
    return np.column_stack(
        [part.counted[:, own.index(name)] if name in own else absent for name in names]
    )


def _regimes(part: Signals, n_regimes: int) -> FloatArray:
    if part.regimes.shape[1] == n_regimes:
        return part.regimes
    return np.full((len(part.regimes), n_regimes), np.nan)
