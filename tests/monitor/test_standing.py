"""What is now, by a hand ledger: positions with the fills since the last bar, open orders, stops, limits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from live.broker.interface import Order, Outcome
from live.journal import (
    Difference,
    Equity,
    Intent,
    Journal,
    Position,
    Resolution,
    RiskState,
    Step,
    open_journal,
)
from live.journal.records import START
from live.kill_switch import Level
from live.monitor.account import Account
from live.monitor.limits import limits
from live.monitor.positions import booked
from live.monitor.standing import Standing, Watch
from live.monitor.view import View
from quantcore.types import OrderStatus, OrderType, RiskLevel, Side
from tests.journal.entries import (
    HOUR_US,
    account,
    answered,
    change,
    fill,
    opened,
    order,
    session,
    signal,
    url_of,
)
from tests.monitor.made import LIMITS
from tests.monitor.test_view import beat


def close(
    journal: Journal, *, positions: tuple[Position, ...] = (), **changed: object
) -> tuple[int, ...]:
    """Commit a step at a close, with an equity of 1000 USDT."""
    given = {
        "seq": journal.next_seq,
        "ts_us": journal.next_seq * HOUR_US,
        "kind": "close",
        "inputs": {"market": np.zeros(2)},
        "account": account(0.0, journal.next_seq),
        "equity": Equity(
            equity=1000.0, wallet_balance=990.0, unrealised_pnl=10.0, margin_ratio=0.05, gross_exposure=1500.0,
            net_exposure=-500.0, drawdown=-0.02, flow=0.0, nav=0.98, regime="calm",
        ),
        "positions": positions,
        "risk": RiskState(
            level=RiskLevel.REDUCE, level_since_us=HOUR_US, peak_nav=1.0, day_nav=0.99, halts=1, daily_var=0.015,
            liquidation_probability=0.001, binding=0,
        ),
    }  # fmt: skip
    return journal.commit_step(Step(**given | changed))  # type: ignore[arg-type]  # the tests' own values


def begun(folder: Path) -> Journal:
    journal = opened(folder)
    journal.commit_step(
        Step(
            seq=1,
            ts_us=HOUR_US,
            kind=START,
            inputs={},
            account=account(0.0, 0),
            signal=signal(0.0),
            snapshot=True,
        )
    )
    return journal


def stop(number: int, trigger: str, side: Side = Side.SELL) -> Intent:
    request = Order(
        client_id=f"qc-{number}", symbol="BTCUSDT", side=side, type=OrderType.STOP_MARKET,
        stop_price=trigger, close_position=True,
    )  # fmt: skip
    return Intent(order_number=number, request=request, reason="stop_loss")


def look(folder: Path) -> Standing:
    with View(url_of(folder)) as view:
        return Watch(view, folder / "live").look()


HELD = Position(
    symbol="BTCUSDT", qty=0.02, entry_price=49000.0, mark_price=50000.0, liquidation_chance=0.0004
)


def test_the_account_is_that_of_the_last_closed_bar(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        close(journal)
    found = look(tmp_path).account
    assert found is not None
    assert (found.equity, found.leverage, found.regime) == (1000.0, 1.5, "calm")
    assert found.day_return == pytest.approx(0.98 / 0.99 - 1.0)
    assert (found.risk_level, found.halts) == (RiskLevel.REDUCE, 1)


def test_positions_take_in_the_fills_since_the_last_bar(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        journal.hear([fill(1, qty="5", price="1")], heard_us=HOUR_US)  # known to the bar already
        close(journal, positions=(HELD,))
        first = look(tmp_path).positions
        journal.hear(
            [
                fill(2, qty="0.005", side=Side.SELL, price="51000"),
                fill(3, symbol="ETHUSDT", qty="2", side=Side.SELL, price="3000"),
                fill(4, symbol="ETHUSDT", qty="1", side=Side.BUY, price="2900"),
            ],
            heard_us=3 * HOUR_US,
        )
        btc, eth = look(tmp_path).positions
    (only,) = first
    assert (only.qty, only.unrealised_pnl, only.notional) == (0.02, 20.0, 1000.0)
    assert (only.leverage, only.liquidation_probability) == (1.0, 0.0004)
    assert (btc.qty, btc.entry_price) == pytest.approx((0.015, 49000.0))
    assert (eth.qty, eth.entry_price) == (-1.0, 3000.0)
    assert math.isnan(eth.mark_price)  # no bar has closed with it
    assert math.isnan(eth.liquidation_probability)


def test_what_was_closed_since_the_last_bar_is_not_held(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        close(journal, positions=(HELD,))
        journal.hear([fill(2, qty="0.02", side=Side.SELL)], heard_us=3 * HOUR_US)
    assert look(tmp_path).positions == ()


@pytest.mark.parametrize(
    ("before", "fill_of", "after"),
    [
        ((0.0, math.nan), (2.0, 10.0), (2.0, 10.0)),
        ((2.0, 10.0), (2.0, 20.0), (4.0, 15.0)),
        ((4.0, 15.0), (-1.0, 99.0), (3.0, 15.0)),
        ((3.0, 15.0), (-5.0, 20.0), (-2.0, 20.0)),
        ((-2.0, 20.0), (-2.0, 10.0), (-4.0, 15.0)),
        ((0.3, 15.0), (-0.1 - 0.2, 20.0), (0.0, math.nan)),
    ],
)
def test_a_fill_is_booked(
    before: tuple[float, float], fill_of: tuple[float, float], after: tuple[float, float]
) -> None:
    assert booked(*before, *fill_of) == pytest.approx(after, nan_ok=True)


def test_an_order_is_open_until_its_end_is_told(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        sent = [Intent(order_number=n, request=order(n), reason="target") for n in range(1, 8)]
        numbers = close(journal, intents=sent)
        journal.answer(answered(numbers[0]))
        journal.answer(answered(numbers[1], Outcome.REFUSED))
        journal.answer(answered(numbers[2], Outcome.UNKNOWN))
        journal.hear(
            [
                change(client_id="qc-4"),
                fill(1, client_id="qc-4", qty="0.004", order_status=OrderStatus.PARTIALLY_FILLED),
                change(OrderStatus.CANCELED, client_id="qc-5"),
                fill(2, client_id="qc-6", order_status=OrderStatus.FILLED),
                *(
                    fill(3 + n, client_id="qc-7", qty="0.001", order_status=None) for n in range(10)
                ),  # read after it happened, in parts whose sum is no whole float
            ],
            heard_us=HOUR_US,
        )
        with View(url_of(tmp_path)) as view:
            watch = Watch(view)
            first = {each.client_id: each for each in watch.look().orders}
            journal.hear([change(OrderStatus.EXPIRED, client_id="qc-1")], heard_us=2 * HOUR_US)
            close(journal, intents=[Intent(order_number=9, request=order(9), reason="target")])
            second = [(each.client_id, each.state) for each in watch.look().orders]
    assert {name: each.state for name, each in first.items()} == {
        "qc-1": "open",
        "qc-3": "in doubt",
        "qc-4": "open",
    }
    assert (first["qc-4"].filled, first["qc-4"].qty, first["qc-4"].price) == (0.004, 0.01, 50000.1)
    assert second == [("qc-3", "in doubt"), ("qc-4", "open"), ("qc-9", "sent")]


def test_a_position_knows_the_stop_nearest_to_its_mark(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        close(journal, positions=(HELD,))
        assert not look(tmp_path).positions[0].has_stop
        close(journal, positions=(HELD,), intents=[stop(1, "45000"), stop(2, "47000")])
        wrong_side = stop(3, "52000", Side.BUY)
        close(journal, positions=(HELD,), intents=[wrong_side])
        (held,) = look(tmp_path).positions
        assert (held.stop_price, held.has_stop, held.stop_stuck) == (47000.0, True, False)
        stuck = change(client_id="qc-2", type=OrderType.STOP_MARKET, stuck=True)
        journal.hear([stuck], heard_us=HOUR_US)
        (held,) = look(tmp_path).positions
    assert (held.stop_price, held.stop_stuck) == (45000.0, True)


def test_differences_are_open_while_their_symbol_is_halted(tmp_path: Path) -> None:
    found = {"ts_us": 2 * HOUR_US, "subject": "position", "expected": "0", "found": "1"}
    with begun(tmp_path) as journal:
        journal.difference(Difference(**found, rule=Resolution.HALT, symbol="ETHUSDT"))  # type: ignore[arg-type]  # as given
        journal.difference(Difference(**found, rule=Resolution.CANCEL, symbol="BTCUSDT"))  # type: ignore[arg-type]  # as given
        close(journal, inputs={"halted": np.array([False, True])})
        halted = look(tmp_path)
        close(journal)
        free = look(tmp_path)
    assert halted.halted == ("ETHUSDT",)
    assert halted.differences["symbol"].tolist() == ["ETHUSDT"]
    assert free.halted == ()
    assert free.differences.empty


def test_the_last_heartbeat_is_told(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        assert look(tmp_path).health is None
        journal.health(beat(requests=10))
        journal.health(beat(requests=20, ts_us=9 * HOUR_US))
    standing = look(tmp_path)
    assert standing.health is not None
    assert (standing.health.requests, standing.health.counts) == (20, {"rows": 3})
    assert math.isnan(standing.health.disk_free_mb)
    assert standing.last_us == 9 * HOUR_US


def test_the_kill_switch_is_read_from_its_files(tmp_path: Path) -> None:
    with begun(tmp_path):
        pass
    assert look(tmp_path).kill_switch is Level.NONE
    (tmp_path / "live" / "FREEZE").touch()
    assert look(tmp_path).kill_switch is Level.FREEZE
    (tmp_path / "live" / "FLATTEN").touch()
    assert look(tmp_path).kill_switch is Level.FLATTEN
    with View(url_of(tmp_path)) as view:
        assert Watch(view).look().kill_switch is None


def test_a_journal_that_was_replaced_is_opened_anew(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        close(journal)
    with View(url_of(tmp_path)) as view:
        watch = Watch(view)
        assert watch.look().marks.steps == 2
        for file in (tmp_path / "live").glob("journal.sqlite*"):
            file.rename(tmp_path / f"old-{file.name}")
        with begun(tmp_path) as journal:
            journal.begin(session(), now_us=1)
        found = watch.look()
    assert found.marks.steps == 1
    assert found.account is None
    assert found.running


def test_a_session_that_ended_is_not_running(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        assert look(tmp_path).running
        journal.end("told to stop", now_us=5)
    assert not look(tmp_path).running
    with open_journal(url_of(tmp_path)) as journal, journal.transaction() as connection:
        for table in ("snapshots", "steps", "sessions"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    with pytest.raises(Exception, match="journal must hold a session"):
        look(tmp_path)


def test_limits_stand_beside_what_is_in_use(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        close(journal, positions=(HELD,))
    standing = look(tmp_path)
    assert isinstance(standing.account, Account)
    found = {each.name: each for each in limits(standing.account, standing.positions, LIMITS)}
    assert "net exposure" not in found
    assert (found["leverage"].value, found["leverage"].share) == (1.5, 0.5)
    assert (found["largest position"].value, found["drawdown"].value) == (1.0, 0.02)
    assert found["loss of the day"].value == pytest.approx(1.0 - 0.98 / 0.99)
    assert found["daily value at risk"].share == pytest.approx(0.5)
    assert limits(None, (), LIMITS) == ()
    assert standing.limits == ()  # this session kept no settings
