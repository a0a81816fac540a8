"""The kill switch in the driver: what is sent, what is not, and what the journal says of it."""

from __future__ import annotations

import asyncio
from typing import Any

from live.broker.interface import Fill
from live.journal import tables
from live.kill_switch import Level
from tests.loop.test_driver import Made, made  # noqa: F401 - a fixture
from tests.loop.test_hand import filled, orders
from tests.loop.test_ledger_money import close


def told(made: Made) -> list[str]:  # noqa: F811
    with made.journal.transaction() as connection:
        notes = connection.execute(tables.notes.select()).all()
    return [note.message for note in notes if note.kind == "intervention"]


def asked(made: Made) -> list[tuple[str, str]]:  # noqa: F811
    broker: Any = made.driver.broker
    return list(broker.asked)


def hold(made: Made) -> None:  # noqa: F811
    """Give the account a position of BTCUSDT with its stop at the exchange, and prices to trade at."""
    ledger = made.driver.loop.ledger
    made.driver.last_row = made.row(0).bars
    [order] = orders(close(ledger, 0, targets=[0.1, float("nan")]))
    assert order.qty is not None
    made.driver.take([filled(order, order.qty, 1)])
    assert ledger.lots("BTCUSDT") > 0


def leaving(made: Made, since: int) -> Fill:  # noqa: F811
    """Return the trade of the one order sent since then, which closes the position."""
    ledger = made.driver.loop.ledger
    [(what, client_id)] = asked(made)[since:]
    assert what == "send"
    number = ledger.ids.number(client_id)
    assert number is not None
    [(_, request)] = sent(made, client_id)
    assert request.reduce_only
    return filled(request, ledger.qty("BTCUSDT"), 2)


def sent(made: Made, client_id: str) -> list[tuple[int, Any]]:  # noqa: F811
    from live.journal.reading import intent_of

    with made.journal.transaction() as connection:
        rows = connection.execute(
            tables.intents.select().where(tables.intents.c.client_id == client_id)
        ).all()
    return [(row.intent_id, intent_of(row).request) for row in rows]


async def test_frozen_it_decides_and_sends_nothing_that_opens(made: Made) -> None:  # noqa: F811
    made.driver.stand(Level.FREEZE, "SIGUSR1")
    for bar in range(4):
        made.driver.take_row(made.row(bar))
    await made.driver.sender.settled()
    assert made.watching.decided == [True] * 4
    assert asked(made) == []
    made.driver.stand(Level.NONE, "")
    assert made.driver.stopped == {}
    made.driver.stand(Level.FREEZE, "")
    made.driver.stand(Level.NONE, "dashboard")
    assert told(made) == [
        "freeze by SIGUSR1",
        "released",
        "freeze by hand",
        "released by dashboard",
    ]


async def test_flattened_it_closes_once_and_says_so(made: Made) -> None:  # noqa: F811
    hold(made)
    await made.driver.sender.settled()
    before = len(asked(made))
    made.driver.stand(Level.FLATTEN, "")
    for _ in range(3):
        made.driver._call_off()
    await made.driver.sender.settled()
    made.driver.take([leaving(made, before)])
    await asyncio.sleep(0)
    made.driver._call_off()
    made.driver._call_off()
    assert told(made) == ["flatten by hand", "all own positions are closed"]


async def test_flattened_it_leaves_a_symbol_in_which_another_hand_is_by_an_order_that_only_reduces(
    made: Made,  # noqa: F811
) -> None:
    hold(made)
    await made.driver.sender.settled()
    made.driver.loop.halted.add("BTCUSDT")
    before = len(asked(made))
    made.driver.follow()
    await made.driver.sender.settled()
    assert asked(made)[before:] == []
    made.driver.stand(Level.FLATTEN, "SIGUSR2")
    made.driver._call_off()
    await made.driver.sender.settled()
    end = leaving(made, before)
    [stop] = [
        name.client_id
        for name in made.driver.loop.ledger.open_orders().values()
        if name.conditional
    ]
    made.driver.take([end])
    await made.driver.sender.settled()
    assert asked(made)[before + 1 :] == [
        ("cancel", stop)
    ]  # else it would close what the other hand holds
