"""Whoever asks too much of the page waits; whoever asks as a page does never."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from live.dashboard.pace import REQUESTS, Pace, Paced


class Clock:
    """Time that passes where somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 5.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def test_a_burst_has_its_turns_at_once_and_the_rest_at_the_pace() -> None:
    clock = Clock()
    pace = Pace(3, 10.0, now=clock)
    assert [pace.turn() for _ in range(5)] == pytest.approx([0.0, 0.0, 0.0, 0.1, 0.2])
    clock.now_s += 0.35  # of the two that were waited for one and a half are over
    assert pace.turn() == 0.0
    assert pace.turn() == pytest.approx(0.05)
    clock.now_s += 3600.0  # a calm time saves up no more than a burst
    assert [pace.turn() for _ in range(4)] == pytest.approx([0.0, 0.0, 0.0, 0.1])


def test_who_would_wait_too_long_takes_no_turn() -> None:
    pace = Pace(1, 1.0, now=Clock())
    assert [pace.turn(1.0) for _ in range(2)] == pytest.approx([0.0, 1.0])
    assert pace.turn(1.0) is None
    assert pace.turn(2.0) == pytest.approx(2.0)


def asked(times: int, kind: str = "http", **settings: Any) -> tuple[list[Any], int, list[float]]:
    """Ask several times at one moment; return what was sent, how often the page was reached, and the waits."""
    sent: list[Any] = []
    clock, reached = Clock(), 0

    async def page(scope: Any, receive: Any, send: Any) -> None:
        nonlocal reached
        reached += 1
        for _ in range(settings.get("heard", 0)):
            await receive()

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.receive"}

    async def send(message: Any) -> None:
        sent.append(message)

    given = {name: value for name, value in settings.items() if name != "heard"}
    paced = Paced(page, admits=lambda scope: True, sleep=clock.sleep, **given)

    async def every() -> None:
        for _ in range(times):
            await paced({"type": kind, "path": "/"}, receive, send)

    asyncio.run(every())
    return sent, reached, clock.slept


def test_a_page_with_all_that_it_loads_never_waits() -> None:
    assert asked(REQUESTS[0]) == ([], REQUESTS[0], [])


def test_a_flood_waits_and_what_is_beyond_the_wait_is_refused_late() -> None:
    sent, reached, slept = asked(6, requests=(2, 1.0), most_wait_s=2.0)
    assert reached == 4
    assert slept == pytest.approx([1.0, 2.0, 2.0, 2.0], abs=0.1)  # two in their turn, two refused
    assert [message["status"] for message in sent if "status" in message] == [429, 429]


def test_sockets_beyond_the_wait_are_closed() -> None:
    sent, reached, _ = asked(4, "websocket", requests=(1, 1.0), most_wait_s=1.0)
    assert reached == 2
    assert [message["code"] for message in sent] == [1013, 1013]


def test_a_socket_that_says_too_much_is_heard_at_the_pace() -> None:
    _, reached, slept = asked(2, "websocket", heard=4, messages=(2, 10.0))
    assert reached == 2
    assert slept == pytest.approx([0.1, 0.2] * 2, abs=0.05)  # each socket has a pace of its own


def test_a_strangers_flood_holds_up_no_reader() -> None:
    clock, reached = Clock(), []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])

    async def nothing(*_: Any) -> Any:
        return None

    paced = Paced(
        page, admits=lambda scope: scope["path"] == "/own", requests=(2, 1.0), most_wait_s=1.0, sleep=clock.sleep
    )  # fmt: skip

    async def every() -> None:
        for path in (*["/strange"] * 9, "/own", "/own"):
            await paced({"type": "http", "path": path}, nothing, nothing)

    asyncio.run(every())
    assert reached == [*["/strange"] * 3, "/own", "/own"]
    assert len(clock.slept) == 7  # of the strangers' nine two came at once


def test_what_is_no_request_is_let_through() -> None:
    assert asked(3, "lifespan", requests=(1, 1e-9), most_wait_s=0.0) == ([], 3, [])
