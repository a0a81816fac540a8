r"""The universe: which symbols may be held, reviewed at fixed UTC dates from what was listed and liquid then.

At each review a symbol is eligible if it has traded on at least `listed_days_min` of the days that are remembered and
on the last one. Eligible symbols are ranked by the median quote volume of the last `window_days`. A symbol earns a
point for each of the last `memory_reviews` reviews at which it was among the first `symbols_max`, and the universe is
the first `symbols_max` by points, then by volume. So one quiet month throws nobody out, and one loud month lets nobody
in past those that were there longer; and since only a fixed number of reviews counts, a universe follows from the data
behind it alone.

What it cannot mend: symbols that the data does not hold. A data set of what trades today is one of survivors, and no
review sees what died; `survivorship_note` says what is known of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.errors import ConfigError
from quantcore.fold import FoldState, reopen, resume
from quantcore.frames import Bars
from quantcore.kernels.days import day_ring, in_order
from quantcore.timegrid import CALENDAR, DAY_US, interval_us, review_spans
from quantcore.types import Array, BoolArray, FloatArray, IntArray

KIND = "universe"
VERSION = 1

UNIVERSE_MAX = 25
"""Most symbols that the system holds (SPEC.md)."""


@dataclass(frozen=True, kw_only=True)
class UniverseSettings:
    """Size, liquidity and memory of the universe.

    Parameters
    ----------
    symbols_min, symbols_max : int
        Fewest symbols that the data must have, and most that are in the universe; 1 <= min <= max <= 25.
    review : str
        When it is reviewed, UTC: ``"week"`` or ``"month"``.
    window_days : int
        Days of the median volume, >= 1.
    listed_days_min : int
        Days on which a symbol must have traded, >= 1.
    memory_reviews : int
        Reviews that count, the present one included, >= 1.
    """

    symbols_min: int
    symbols_max: int
    review: str
    window_days: int
    listed_days_min: int
    memory_reviews: int

    def __post_init__(self) -> None:
        if not 1 <= self.symbols_min <= self.symbols_max <= UNIVERSE_MAX:
            raise ValueError(
                f"symbols_min and symbols_max must be 1 <= min <= max <= {UNIVERSE_MAX}, "
                f"were {self.symbols_min} and {self.symbols_max}"
            )
        if self.review not in CALENDAR[1:]:
            raise ValueError(f"review must be week or month, was {self.review!r}")
        for name in ("window_days", "listed_days_min", "memory_reviews"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, was {getattr(self, name)}")


def check_universe(n_symbols: int, settings: UniverseSettings) -> None:
    """Refuse data with fewer symbols than the universe's minimum.

    Raises
    ------
    ConfigError
        Naming rule and value.
    """
    if n_symbols < settings.symbols_min:
        raise ConfigError(
            f"universe.symbols_min asks for {settings.symbols_min} symbols, the data holds {n_symbols}"
        )


def members(
    bars: Bars, settings: UniverseSettings, state: FoldState | None = None
) -> tuple[BoolArray, FoldState]:
    """Return which symbols are in the universe in each row, and the state after the last row.

    Parameters
    ----------
    bars : Bars
        The rows that follow those already in `state`; `close` and `quote_volume` are used, where the latter is not
        held close times `volume`.
    settings : UniverseSettings
        The same for all calls that share a state.
    state : FoldState, optional
        From an earlier call; None starts empty.

    Returns
    -------
    bool array, shape (n_bars, n_symbols)
        False for all until the first review at which `symbols_min` symbols are eligible. A review on data up to the
        first instant of a period takes effect one row later.
    FoldState
        To hand to the next call.

    Raises
    ------
    SchemaMismatch
        If `state` is of another fold, or of other symbols or settings.
    """
    held = resume(
        state, KIND, VERSION, n_symbols=bars.n_symbols, settings=settings,
        empty=lambda: _empty(bars.n_symbols, settings),
    )  # fmt: skip
    volumes = quote_volumes(bars)
    result = np.zeros((bars.n_bars, bars.n_symbols), dtype=np.bool_)
    for start, stop, (due,) in review_spans(bars.ts_us, settings.review):
        if held["due"][0]:
            _review(held, settings)
        result[start:stop] = held["members"]
        _add_days(
            volumes[start:stop], bars.ts_us[start:stop], held["today"], held["ring"], held["count"]
        )
        held["due"][0] = due
    return result, held.state()


def refit(state: FoldState, settings: UniverseSettings) -> FoldState:
    """Return the state after the review that is due, if one is; `members` makes it else, before its next row."""
    if not state.expect(KIND, VERSION)["due"][0]:
        return state
    held = reopen(state, KIND, VERSION)
    _review(held, settings)
    return held.state()


def choose(
    volumes: FloatArray, points: IntArray, settings: UniverseSettings
) -> tuple[BoolArray, BoolArray]:
    """Return the universe and who is among the first now, from daily quote volumes and earlier points.

    Parameters
    ----------
    volumes : float64 array, shape (n_days, n_symbols)
        USDT, the oldest day first, NaN on days without a trade.
    points : int64 array, shape (n_symbols,)
        Earlier reviews that count at which each symbol was among the first.
    settings : UniverseSettings
        Its rules.

    Returns
    -------
    tuple of bool array, shape (n_symbols,)
        The universe, empty while fewer than `symbols_min` are eligible; and who earns a point now.
    """
    traded = volumes > 0.0
    eligible = (traded.sum(axis=0) >= settings.listed_days_min) & traded[-1]
    recent = np.where(np.isnan(volumes), 0.0, volumes)[-settings.window_days :]
    liquidity = np.where(eligible, np.median(recent, axis=0), -1.0)
    first = _leading(liquidity, eligible, settings.symbols_max)
    if eligible.sum() < settings.symbols_min:
        return np.zeros(len(eligible), dtype=np.bool_), first
    order = np.lexsort((-liquidity, -(points + first)))
    chosen = np.zeros(len(eligible), dtype=np.bool_)
    chosen[[s for s in order if eligible[s]][: settings.symbols_max]] = True
    return chosen, first


def quote_volumes(bars: Bars) -> FloatArray:
    """Return each bar's turnover in USDT, close times volume where it is not told; NaN without a volume."""
    if not bars.has("volume") and not bars.has("quote_volume"):
        return np.where(np.isnan(bars.array("close")), np.nan, 1.0)
    estimated = bars.array("close") * bars.array("volume") if bars.has("volume") else None
    if not bars.has("quote_volume"):
        return np.asarray(estimated)
    told = bars.array("quote_volume")
    return told if estimated is None else np.where(np.isnan(told), estimated, told)


def survivorship_note(bars: Bars) -> str:
    """Return what the data says of symbols that stopped trading."""
    close = bars.array("close")
    ended = [s for s, gone in zip(bars.symbols, np.isnan(close[-1]), strict=True) if gone]
    if ended:
        return (
            f"Survivorship: {len(ended)} of {bars.n_symbols} symbols stop before the data's end "
            f"({', '.join(ended)}); others that died may never have been stored."
        )
    return (
        f"Survivorship: all {bars.n_symbols} symbols still trade at the data's end, so it holds survivors only, and "
        "results on it flatter."
    )


@njit(cache=True, error_model="numpy")
def _add_days(
    volumes: FloatArray, ts_us: IntArray, today: FloatArray, ring: FloatArray, count: IntArray
) -> None:
    """Add rows to the day in progress, and complete days to the ring."""
    for t in range(len(ts_us)):
        for s in range(volumes.shape[1]):
            if not np.isnan(volumes[t, s]):
                today[s] = volumes[t, s] + (0.0 if np.isnan(today[s]) else today[s])
        if ts_us[t] % DAY_US == 0:
            ring[count[0] % len(ring)] = today
            today[:] = np.nan
            count[0] += 1


def _leading(liquidity: FloatArray, eligible: BoolArray, most: int) -> BoolArray:
    first = np.zeros(len(eligible), dtype=np.bool_)
    order = np.argsort(-liquidity, kind="stable")
    first[[s for s in order if eligible[s]][:most]] = True
    return first


def _review(held: dict[str, Array], settings: UniverseSettings) -> None:
    held["due"][0] = 0
    points = held["points"][1:]
    chosen, first = choose(
        in_order(held["ring"], int(held["count"][0])), points.sum(axis=0), settings
    )
    held["points"] = np.vstack([points, first[None].astype(np.int64)])
    held["members"] = chosen


def _empty(n_symbols: int, settings: UniverseSettings) -> dict[str, Array]:
    days = max(settings.window_days, settings.listed_days_min)
    return {
        "today": np.full(n_symbols, np.nan),
        "ring": day_ring(days, n_symbols),
        "count": np.zeros(1, dtype=np.int64),
        "due": np.zeros(1, dtype=np.int64),
        "points": np.zeros((settings.memory_reviews, n_symbols), dtype=np.int64),
        "members": np.zeros(n_symbols, dtype=np.bool_),
    }


def warm_up(settings: UniverseSettings, interval: str) -> int:
    """Return how many bars a cold start replays: the days remembered, and the reviews that count."""
    days = max(settings.window_days, settings.listed_days_min)
    period = 31 if settings.review == "month" else 7
    return (days + period * settings.memory_reviews) * (DAY_US // interval_us(interval))
