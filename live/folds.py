"""The two folds as the loop takes them: one row at a time, from journalled inputs to journalled states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from live.journal.records import KeptStep
from live.journal.recovery import Advance
from quantcore.account_follow import Heard, follow_bar
from quantcore.account_plane import AccountPlane
from quantcore.fold import FoldState
from quantcore.frames import Bars, Settlements, resample_bars
from quantcore.regime.detector import regime_labels
from quantcore.signal_plane import SignalSettings, signals
from quantcore.timegrid import interval_us
from quantcore.types import Array, FloatArray

CLOSE = "close"
"""Kind of a step at a bar's close."""
EVENT = "event"
"""Kind of a step between two closes."""
MOMENT = "1s"
"""Grid of the times at which steps between two closes are taken."""
HALF_SPREAD, HALTED, RESTRAINED = "half_spread", "halted", "restrained"
_FIELD, _SETTLED = "field/", "settled/"


def bars_arrays(bars: Bars) -> dict[str, Array]:
    """Return what bars hold as arrays by name, for the journal."""
    settled = bars.settlements
    return {
        "ts_us": bars.ts_us,
        **{f"{_FIELD}{name}": bars.array(name) for name in bars.fields},
        f"{_SETTLED}time_us": settled.time_us,
        f"{_SETTLED}symbol": settled.symbol,
        f"{_SETTLED}rate": settled.rate,
        f"{_SETTLED}mark_price": settled.mark_price,
    }


def bars_of(arrays: Mapping[str, Array], *, symbols: tuple[str, ...], interval: str) -> Bars:
    """Return the bars of `bars_arrays`."""
    return Bars(
        interval=interval,
        ts_us=arrays["ts_us"],
        symbols=symbols,
        fields={
            name.removeprefix(_FIELD): array
            for name, array in arrays.items()
            if name.startswith(_FIELD)
        },
        settlements=Settlements(
            **{
                name.removeprefix(_SETTLED): array
                for name, array in arrays.items()
                if name.startswith(_SETTLED)
            }
        ),
    )


def joined(rows: list[Bars]) -> Bars:
    """Return rows that follow each other as one."""
    first = rows[0]
    if len(rows) == 1:
        return first
    settled = [row.settlements for row in rows]
    return Bars(
        interval=first.interval,
        ts_us=np.concatenate([row.ts_us for row in rows]),
        symbols=first.symbols,
        fields={name: np.concatenate([row.array(name) for row in rows]) for name in first.fields},
        settlements=Settlements(
            time_us=np.concatenate([each.time_us for each in settled]),
            symbol=np.concatenate([each.symbol for each in settled]),
            rate=np.concatenate([each.rate for each in settled]),
            mark_price=np.concatenate([each.mark_price for each in settled]),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What the signal plane made of a decision bar: the bar, the targets, and the state after it.

    `strategies` is what each strategy's forecast was multiplied by.
    """

    bar: Bars
    targets: FloatArray
    state: FoldState
    regime: str | None
    strategies: Mapping[str, float]


class SignalFold:
    """The signal plane, fed with execution bars.

    Parameters
    ----------
    settings : SignalSettings
        Its settings.
    interval : str
        Of decisions.
    state : FoldState or None
        After the last decision bar; None: nothing was seen yet.
    rows : Bars or None
        Execution bars since then.
    """

    def __init__(
        self,
        settings: SignalSettings,
        *,
        interval: str,
        state: FoldState | None = None,
        rows: Bars | None = None,
    ) -> None:
        self.settings = settings
        self.interval = interval
        self.state = state
        self._rows: list[Bars] = [] if rows is None else [rows]

    def decides_at(self, close_us: int) -> bool:
        """Return whether a decision bar closes at a time."""
        return close_us % interval_us(self.interval) == 0

    def see(self, row: Bars) -> Bars | None:
        """Take an execution bar; return the decision bar that closes with it, if one does."""
        self._rows.append(row)
        if not self.decides_at(int(row.ts_us[-1])):
            return None
        rows, self._rows = self._rows, []
        return resample_bars(joined(rows), self.interval)

    def decide(self, bar: Bars) -> Decided:
        """Return the decision of a decision bar; nothing changes until `take` is called with it."""
        found = signals(bar, self.settings, self.state)
        return Decided(
            bar=bar,
            targets=found.weight_array[-1].copy(),
            state=found.state,
            regime=regime_labels(found.regimes)[-1],
            strategies=dict(zip(found.forecasts, found.counted[-1].tolist(), strict=True)),
        )

    def take(self, decided: Decided) -> None:
        """Go on from a decision's state."""
        self.state = decided.state


def advance(plane: AccountPlane, signal: SignalSettings, *, interval: str) -> Advance:
    """Return the folds as the journal replays them.

    Parameters
    ----------
    plane : AccountPlane
        Of the session.
    signal : SignalSettings
        Of the session.
    interval : str
        Of decisions.
    """

    def account(state: FoldState, step: KeptStep) -> FoldState:
        assert step.inputs is not None
        closes = step.kind == CLOSE
        bar = bars_of(
            step.inputs, symbols=plane.symbols, interval=plane.interval if closes else MOMENT
        )
        after, _ = follow_bar(
            plane,
            state,
            bar,
            # Copies: a kernel is compiled anew for memory that must not be written.
            Heard(whole=step.inputs["heard"].copy(), number=step.inputs["heard_value"].copy()),
            targets=traded(
                None if step.decision is None else step.decision.targets,
                step.inputs.get(HALTED),
                step.inputs.get(RESTRAINED),
            ),
            recorded=closes,
            closes=closes,
            half_spread=step.inputs.get(HALF_SPREAD),
        )
        return after

    def moved(state: FoldState, step: KeptStep) -> tuple[FoldState, FloatArray | None]:
        assert step.decision is not None
        bar = bars_of(step.decision.inputs, symbols=plane.symbols, interval=interval)
        found = signals(bar, signal, state)
        held = step.decision.targets is not None
        return found.state, found.weight_array[-1].copy() if held else None

    return Advance(account=account, signal=moved)


def traded(
    targets: FloatArray | None, halted: Array | None, restrained: FloatArray | None = None
) -> FloatArray | None:
    """Return targets, or what a person left of them, without those of halted symbols, which are left as they are."""
    if targets is None:
        return None
    allowed = targets if restrained is None else restrained
    return allowed if halted is None else np.where(halted, np.nan, allowed)


def step_inputs(
    bar: Bars,
    heard: Heard,
    *,
    half_spread: FloatArray | None = None,
    halted: Array | None = None,
    restrained: FloatArray | None = None,
) -> dict[str, Array]:
    """Return what a step was given as arrays by name."""
    optional = {HALF_SPREAD: half_spread, HALTED: halted, RESTRAINED: restrained}
    return {
        **bars_arrays(bar),
        "heard": heard.whole,
        "heard_value": heard.number,
        **{name: array for name, array in optional.items() if array is not None},
    }
