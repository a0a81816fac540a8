"""What the page shows of one moment: plain records, whether they come from a journal or from a results folder.

Times are microseconds since 1970 UTC, amounts USDT, shares fractions; NaN where something is not known. Texts are as
others wrote them: who draws them escapes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from quantcore.timegrid import DAY_US
from quantcore.types import FloatArray, IntArray


class State(Enum):
    """How something stands, in the words of the page's colours."""

    GOOD = "good"
    WATCH = "watch"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The account over time, each of shape ``(n_rows,)``.

    Parameters
    ----------
    ts_us : int64 array
        Increasing.
    equity : float64 array
        USDT.
    drawdown : float64 array
        Fall from the peak, flow-adjusted, <= 0.
    nav : float64 array
        Value of one unit: equity without deposits and withdrawals.
    """

    ts_us: IntArray = field(repr=False)
    equity: FloatArray = field(repr=False)
    drawdown: FloatArray = field(repr=False)
    nav: FloatArray = field(repr=False)

    def since(self, ts_us: int) -> Curve:
        """Return the curve from the last row at or before a time on."""
        first = max(int(np.searchsorted(self.ts_us, ts_us, side="right")) - 1, 0)
        return Curve(
            ts_us=self.ts_us[first:],
            equity=self.equity[first:],
            drawdown=self.drawdown[first:],
            nav=self.nav[first:],
        )

    def change(self, days: float | None) -> tuple[float, float]:
        """Return what was gained, in USDT and as a fraction, without deposits and withdrawals.

        Parameters
        ----------
        days : float or None
            Over the last so many days; 0: since the UTC day began; None: since the start.
        """
        if not len(self.ts_us):
            return math.nan, math.nan
        last = int(self.ts_us[-1])
        begun = {None: int(self.ts_us[0]), 0.0: (last - 1) // DAY_US * DAY_US}
        part = self.since(begun[days] if days in begun else last - int(float(days or 0) * DAY_US))
        growth = np.diff(part.nav) / part.nav[:-1]
        gained = float(np.nansum(growth * part.equity[:-1]))
        return gained, float(part.nav[-1] / part.nav[0] - 1.0)


EMPTY = Curve(
    ts_us=np.zeros(0, dtype=np.int64), equity=np.zeros(0), drawdown=np.zeros(0), nav=np.zeros(0)
)
"""Before the first row."""


@dataclass(frozen=True, kw_only=True)
class Holding:
    """A position.

    Parameters
    ----------
    symbol : str
    qty : float
        Signed coins.
    entry, mark : float
        USDT per coin.
    leverage : float
        Its exposure over the account's equity.
    distance : float
        Adverse move of this coin alone that ends in liquidation, a fraction of its mark; infinite where none does.
    chance : float
        Of that move within 24 hours.
    stop : float
        Price at which its protective stop triggers.
    needs_stop : bool
        Whether it should have one.
    """

    symbol: str
    qty: float
    entry: float
    mark: float
    leverage: float
    distance: float
    chance: float
    stop: float
    needs_stop: bool

    @property
    def profit(self) -> float:
        """Unrealised, USDT."""
        return self.qty * (self.mark - self.entry)


@dataclass(frozen=True, kw_only=True)
class OpenOrder:
    """An order that may stand at the exchange.

    `protects` says that it closes a position if it triggers; `state` is ``"open"``, or what is wrong or not yet known.
    """

    symbol: str
    side: str
    kind: str
    qty: float
    filled: float
    price: float
    stop_price: float
    reduce_only: bool
    protects: bool
    sent_us: int
    state: str


@dataclass(frozen=True, kw_only=True)
class Traded:
    """A fill, and why its order was sent."""

    ts_us: int
    symbol: str
    side: str
    qty: float
    price: float
    fee: float
    maker: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Told:
    """A cut, a refusal or an intervention of the account plane, in the words of ``reasons.parquet``."""

    ts_us: int
    symbol: str
    stage: str
    rule: str
    limit: float
    value: float
    action: str


NEAR = 0.8
"""Share of a limit from which it is watched."""
OVER = 1.05
"""Share of a limit that the risk controller keeps by itself, from which it is watched: prices move between two bars."""


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """A limit and how much of it is used.

    Parameters
    ----------
    name : str
        Of what.
    value, limit : float
        In `unit`, ``"share"`` or ``"times"``.
    steered : bool
        Whether targets are cut to it, so that it may be used up without anything being wrong.
    explained : str
        What it is, in a few words.
    """

    name: str
    value: float
    limit: float
    unit: str
    steered: bool
    explained: str

    @property
    def used(self) -> float:
        """Share of the limit; NaN where it is not known."""
        return self.value / self.limit if self.limit > 0.0 else math.nan

    @property
    def state(self) -> State:
        """Whether it is far enough from the limit."""
        if self.steered:
            return State.WATCH if self.used >= OVER else State.GOOD
        return State.BAD if self.used >= 1.0 else State.WATCH if self.used >= NEAR else State.GOOD


@dataclass(frozen=True, kw_only=True)
class Check:
    """One answer to whether all is well."""

    name: str
    state: State
    text: str


@dataclass(frozen=True, kw_only=True)
class Amount:
    """What was earned or paid, USDT, > 0 gained; `share` is of the equity at the start."""

    name: str
    amount: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Target:
    """A target of the system and what became of it."""

    name: str
    target: str
    result: str
    state: State
    verdict: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the log: an intervention, an error, a difference, or the start and end of a session."""

    ts_us: int
    kind: str
    source: str
    symbol: str
    text: str
    state: State


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A share with its name, such as a strategy's; `wanted` beside `held` where both are known."""

    name: str
    wanted: float
    held: float


@dataclass(frozen=True, kw_only=True)
class Board:
    """All of the page.

    Parameters
    ----------
    name, kind : str
        Of the account and its mode, such as ``"main"`` and ``"prod"``; of a backtest its experiment.
    is_live, runs : bool
        Whether it is a journal, rather than a results folder; whether a session is going on.
    begun_us, clock_us : int
        When it began; the account's time, that of the last thing written down.
    level : str
        Where the account stands on the ladder of the risk controller.
    gross, net : float
        Exposure, USDT.
    daily_var, liquidation_chance : float
        One day's value at risk as a share of equity, and the probability of liquidation within 24 hours.
    regime : str
        The market's, empty where nobody tells.
    checks, streams : tuple of Check
        Whether all is well; how data and streams are.
    holdings, orders, strategies, regimes, targets, gauges, fills, reasons, costs, scores, log
        The sections' rows, the newest first where they have a time.
    verdict : str
        Of a finished run, in one sentence.
    facts : tuple of str
        What else is to be known of it.
    unscored : str
        Why the targets were not measured the last time, empty if they were.
    lost : bool
        Whether the journal can not be read now: the rest is what it said before.
    """

    name: str
    kind: str
    is_live: bool
    runs: bool
    begun_us: int
    clock_us: int
    level: str
    curve: Curve = field(repr=False, default=EMPTY)
    gross: float = math.nan
    net: float = math.nan
    daily_var: float = math.nan
    liquidation_chance: float = math.nan
    regime: str = ""
    checks: tuple[Check, ...] = ()
    holdings: tuple[Holding, ...] = ()
    orders: tuple[OpenOrder, ...] = ()
    strategies: tuple[Weight, ...] = ()
    regimes: tuple[Weight, ...] = ()
    targets: tuple[Weight, ...] = ()
    gauges: tuple[Gauge, ...] = ()
    fills: tuple[Traded, ...] = ()
    reasons: tuple[Told, ...] = ()
    streams: tuple[Check, ...] = ()
    costs: tuple[Amount, ...] = ()
    scores: tuple[Target, ...] = ()
    log: tuple[Entry, ...] = ()
    verdict: str = ""
    facts: tuple[str, ...] = ()
    unscored: str = ""
    lost: bool = False
