"""The loop's ledger on a paper account is the backtest: the same targets, orders, fills and books, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from live.broker.interface import Cancel, Fill, OrderChange, Outcome
from live.ledger import Ledger, Row
from live.wanted import ClientIds
from quantcore.exits import ExitSettings
from quantcore.kernels import layout as at
from quantcore.types import OrderStatus, Rule
from tests.account.random_cases import (
    Case,
    case_bars,
    case_instruments,
    case_plane,
    case_targets,
)
from tests.broker.test_paper import broker_of

EXITS = ExitSettings(stop_loss=0.04, take_profit=None, trailing_stop=None, time_exit=None)


@pytest.mark.parametrize("seed", range(6))
async def test_targets_through_paper_end_where_the_backtest_does(seed: int) -> None:
    case = Case(
        seed=seed, n_bars=80, leverage=3, capital=3e4, isolated=seed % 2 == 1, missing_rate=0.0001,
        no_trade_band=0.01, margin_buffer=0.05, volatility=0.02,
        exits=EXITS if seed % 3 else Case().exits,
    )  # fmt: skip
    bars, plane = case_bars(case), case_plane(case)
    targets = case_targets(case, 1.2)
    state, events = plane.advance(plane.start(), bars, targets=targets)
    broker = broker_of(case)
    for symbol in bars.symbols:
        await broker.set_leverage(symbol, case.leverage)
        await broker.set_isolated(symbol, case.isolated)
    ledger = Ledger(plane, case_instruments(case), ClientIds("paper"))
    unused: list[Row] = []
    fills = 0
    for row in range(bars.n_bars):
        bar = bars.rows(row, row + 1)
        await broker.show(bar)
        for event in await broker.caught_up():
            if isinstance(event, Fill | OrderChange):
                heard = ledger.hear(event)
                assert heard is not None
                unused += heard
                fills += isinstance(event, Fill)
        step = ledger.step(bar, [*ledger.settlements(bar), *unused], targets=targets[row])
        ledger.take(step)
        unused = []
        for wanted in step.wanted:
            if isinstance(wanted.request, Cancel):
                await broker.cancel(wanted.request, urgent=wanted.urgent)
                continue
            answer = await broker.send(wanted.request, urgent=wanted.urgent)
            if answer.outcome is not Outcome.ACCEPTED:
                rule = Rule.MARGIN if answer.rule is None else answer.rule
                number, symbol = wanted.number, wanted.request.symbol
                ended = OrderStatus.REJECTED
                unused.append(ledger.ended(number, symbol, ended, rule, broker.now_us()))
    assert fills == len(events.of(at.EVENT_FILL)[0])
    assert fills > 20
    assert len(events.of(at.EVENT_FUNDING)[0]) > 0
    np.testing.assert_array_equal(ledger.state["cash"], state["cash"])
    np.testing.assert_array_equal(ledger.state["held"][:, at.LOTS], state["held"][:, at.LOTS])
    assert ledger.wallet == pytest.approx(float((await broker.account()).wallet), abs=1e-7)
