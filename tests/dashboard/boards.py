"""A board of which every text is hostile, and the words of HTML."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np

from live.dashboard.board import (
    Amount,
    Board,
    Check,
    Curve,
    Entry,
    Gauge,
    Holding,
    OpenOrder,
    State,
    Target,
    Told,
    Traded,
    Weight,
)
from quantcore.timegrid import DAY_US, HOUR_US

BAD = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"
NOON_US = 20_000 * DAY_US + 12 * HOUR_US


def curve(equity: list[float], *, step_us: int = HOUR_US, last_us: int = NOON_US) -> Curve:
    values = np.array(equity)
    return Curve(
        ts_us=last_us - step_us * np.arange(len(values) - 1, -1, -1, dtype=np.int64),
        equity=values,
        drawdown=values / np.maximum.accumulate(values) - 1.0,
        nav=values / values[0],
    )


def hostile(text: str = BAD) -> Board:
    """Return a board in which every text is the same."""
    return Board(
        name=text,
        kind=text,
        is_live=True,
        runs=False,
        begun_us=NOON_US - DAY_US,
        clock_us=NOON_US,
        level=text,
        curve=curve([1000.0, 990.0, 1010.0]),
        gross=500.0,
        net=-500.0,
        daily_var=0.01,
        liquidation_chance=0.002,
        regime=text,
        checks=tuple(Check(name=text, state=state, text=text) for state in State),
        holdings=(
            Holding(
                symbol=text,
                qty=-1.5,
                entry=10.0,
                mark=9.0,
                leverage=0.5,
                distance=0.4,
                chance=0.001,
                stop=12.0,
                needs_stop=True,
            ),
        ),
        orders=(
            OpenOrder(
                symbol=text,
                side=text,
                kind=text,
                qty=1.0,
                filled=0.0,
                price=9.5,
                stop_price=float("nan"),
                reduce_only=True,
                protects=False,
                sent_us=NOON_US,
                state=text,
            ),
        ),
        strategies=(Weight(name=text, wanted=float("nan"), held=0.5),),
        regimes=(Weight(name=text, wanted=float("nan"), held=0.5),),
        targets=(Weight(name=text, wanted=-0.4, held=-0.5),),
        gauges=(
            Gauge(name=text, value=0.1, limit=0.2, unit="share", steered=False, explained=text),
        ),
        fills=(
            Traded(
                ts_us=NOON_US,
                symbol=text,
                side=text,
                qty=1.0,
                price=2.0,
                fee=0.1,
                maker=True,
                reason=text,
            ),
        ),
        reasons=(
            Told(
                ts_us=NOON_US, symbol=text, stage=text, rule=text, limit=1.0, value=2.0, action=text
            ),
        ),
        streams=(Check(name=text, state=State.GOOD, text=text),),
        costs=(Amount(name=text, amount=1.0, text=text),),
        scores=(
            Target(
                name=text, target=text, result=text, state=State.GOOD, verdict=text, reason=text
            ),
        ),
        log=(
            Entry(ts_us=NOON_US, kind=text, source=text, symbol=text, text=text, state=State.WATCH),
        ),
        verdict=text,
        facts=(text,),
    )


class _Reader(HTMLParser):
    """Collects tags, attributes and words, and minds that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data.strip())


def read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader
