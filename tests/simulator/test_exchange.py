"""One clock moves venue, faults and streams: everything is delivered once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from live.simulator.clock import SimulatedClock
from live.simulator.exchange import Exchange
from quantcore.errors import ConfigError

START = 1_735_689_600_000_000
BAR = 3_600_000_000


@dataclass
class Venue:
    """Bars of an hour; remembers where it was moved and what it suffered."""

    now_us: int = START
    end_us: int = START + 5 * BAR
    moved: list[int] = field(default_factory=list)
    suffered: list[str] = field(default_factory=list)
    fails: bool = False

    @property
    def accounts(self) -> Mapping[str, Any]:
        return {"ka": None, "kb": None}

    def advance(self, to_us: int) -> None:
        if self.fails:
            self.fails = False
            raise ZeroDivisionError("a defect")
        self.now_us = min(to_us, self.end_us)
        self.moved.append(self.now_us)

    def suffer(self, fault: Any) -> None:
        if fault.kind == "filter_change":
            raise ValueError("changes must name a filter")
        self.suffered.append(fault.kind)

    def snapshot(self) -> bytes:
        return f"{self.now_us}\n".encode()

    def restore(self, raw: bytes) -> None:
        self.now_us = int(raw)


@dataclass
class Faults:
    due: list[tuple[int, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"n": 0})

    def on_venue(self, now_us: int) -> Sequence[Any]:
        begun = [fault for at_us, fault in self.due if at_us <= now_us]
        self.due = [(at_us, fault) for at_us, fault in self.due if at_us > now_us]
        return begun

    def state(self) -> dict[str, Any]:
        return dict(self.counts)

    def restore(self, state: Mapping[str, Any]) -> None:
        self.counts = dict(state)


@dataclass
class Streams:
    spans: list[tuple[int, int]] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    pause_s: float = 0.0

    async def deliver(self, from_us: int, to_us: int) -> None:
        await asyncio.sleep(self.pause_s)
        self.spans.append((from_us, to_us))

    def disconnect(self, pattern: str) -> int:
        self.cut.append(pattern)
        return 0


@dataclass
class Keys:
    ended: list[tuple[str, int]] = field(default_factory=list)

    def cut(self, account: str, now_us: int) -> None:
        self.ended.append((account, now_us))


class World:
    """An exchange of stand-ins with a wall clock that the test sets."""

    def __init__(self, mode: str = "real", speed: float = 1.0) -> None:
        self.wall_s = 0.0
        self.venue, self.faults, self.streams, self.keys = Venue(), Faults(), Streams(), Keys()
        self.exchange = Exchange(
            self.venue,
            self.faults,
            self.streams,
            self.keys,
            clock=SimulatedClock(
                mode=mode, speed=speed, start_us=START, end_us=self.venue.end_us, origin_s=0.0
            ),
            bar_us=BAR,
            wall=lambda: self.wall_s,
            suffer=self.venue.suffer,
            kept={"faults": self.faults},
        )


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5.0):
        while not holds():
            await asyncio.sleep(0.005)


async def test_present_moves_the_venue_to_the_clock() -> None:
    world = World("accelerated", 10.0)
    world.wall_s = 2.0
    assert world.exchange.present() == START + 20_000_000
    assert world.exchange.present() == START + 20_000_000
    assert world.venue.moved == [START + 20_000_000]


async def test_in_lock_step_nothing_moves_but_by_the_driver() -> None:
    world = World("lock_step")
    world.wall_s = 1e6
    assert world.exchange.present() == START
    await world.exchange.advance(START + 2 * BAR + 5)
    assert world.venue.moved == [START + BAR, START + 2 * BAR]
    assert world.streams.spans == [(START, START + BAR), (START + BAR, START + 2 * BAR)]
    assert world.exchange.present() == START + 2 * BAR


async def test_a_driver_comes_to_the_end_of_the_market_and_no_further() -> None:
    world = World("lock_step")
    await world.exchange.advance(START + 99 * BAR)
    assert world.venue.now_us == world.venue.end_us


async def test_every_instant_is_delivered_once_whoever_moves() -> None:
    world = World("accelerated", 1000.0)
    world.streams.pause_s = 0.003
    pump = asyncio.create_task(world.exchange.pump())
    for _ in range(30):
        world.wall_s += 0.01
        world.exchange.present()
        world.exchange.answered()
        await asyncio.sleep(0.001)
    await until(
        lambda: bool(world.streams.spans) and world.streams.spans[-1][1] == world.venue.now_us
    )
    pump.cancel()
    ends = [START, *(to_us for _, to_us in world.streams.spans)]
    assert [from_us for from_us, _ in world.streams.spans] == ends[:-1]
    assert world.venue.now_us == START + 300_000_000


async def test_an_answer_is_delivered_without_waiting_for_time_to_pass() -> None:
    world = World("lock_step")
    pump = asyncio.create_task(world.exchange.pump())
    await asyncio.sleep(0.05)
    assert world.streams.spans == []
    world.exchange.answered()
    await until(lambda: world.streams.spans == [(START, START)])
    pump.cancel()


async def test_an_answer_is_delivered_before_the_bar_that_follows_however_soon() -> None:
    world = World("lock_step")
    world.exchange.answered()
    await world.exchange.advance(START + 2 * BAR)
    bars = [(START, START + BAR), (START + BAR, START + 2 * BAR)]
    assert world.streams.spans == [(START, START), *bars]


async def test_a_failure_is_logged_and_the_pump_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.simulator.exchange._PAUSE_SECONDS", 0.01)
    world = World()
    world.venue.fails = True
    pump = asyncio.create_task(world.exchange.pump())
    world.wall_s = 1.0
    await until(lambda: world.venue.now_us > START)
    assert not pump.done()
    pump.cancel()
    assert "moving the exchange failed" in caplog.text
    assert "a defect" in caplog.text


def fault(kind: str) -> SimpleNamespace:
    rule = SimpleNamespace(streams="/market/*")
    return SimpleNamespace(kind=kind, rule=rule, meets=lambda account: account == "kb")


async def test_faults_reach_the_part_that_they_concern() -> None:
    world = World()
    kinds = ("disconnect", "listen_key_expiry", "clock_drift", "maintenance", "liquidation")
    world.faults.due = [(START + 1_000_000, fault(kind)) for kind in kinds]
    world.exchange.present()
    assert world.venue.suffered == []
    world.wall_s = 1.0
    now_us = world.exchange.present()
    assert world.streams.cut == ["/market/*", "/market/*"]  # by the disconnect and by maintenance
    assert world.keys.ended == [("kb", now_us)]
    assert world.venue.suffered == ["maintenance", "liquidation"]


async def test_a_fault_that_cannot_happen_is_logged_and_meets_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    world.faults.due = [(START, fault("filter_change")), (START, fault("adl"))]
    assert world.exchange.present() == START
    assert world.venue.suffered == ["adl"]
    assert "fault filter_change could not happen: changes must name a filter" in caplog.text


async def test_after_a_restore_time_goes_on_from_there_and_nothing_is_sent_again() -> None:
    world = World()
    world.wall_s = 100.0
    world.exchange.present()
    await world.exchange.deliver()
    world.venue.now_us = START + 5_000_000
    await world.exchange.restored(START + 5_000_000)
    world.wall_s = 101.0
    assert world.exchange.present() == START + 6_000_000
    await world.exchange.deliver()
    assert world.streams.spans[-1] == (START + 5_000_000, START + 6_000_000)


async def test_a_snapshot_is_gone_on_from_in_another_process() -> None:
    world, later = World(), World()
    world.wall_s, later.wall_s = 100.0, 7.0
    world.exchange.present()
    world.faults.counts = {"n": 3}
    later.exchange.resume(world.exchange.snapshot("m"), "m")
    assert later.venue.now_us == START + 100_000_000
    assert later.faults.counts == {"n": 3}
    later.wall_s = 8.0
    assert later.exchange.present() == START + 101_000_000


@pytest.mark.parametrize("content", [b"", b"[]\nx", b"{}\nx", b"\xff\n", b"null\n"])
async def test_what_is_no_snapshot_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError, match="snapshot_file must hold a whole snapshot"):
        World().exchange.resume(content, "m")


async def test_a_damaged_snapshot_is_refused_before_it_is_taken_back() -> None:
    world = World()
    content = world.exchange.snapshot("m")
    with pytest.raises(ConfigError, match="snapshot_file must hold a whole snapshot"):
        world.exchange.resume(content[:-1], "m")


async def test_a_snapshot_of_another_market_is_refused() -> None:
    world = World()
    with pytest.raises(ConfigError, match=r"same market, seed and clock \(m\), was of x"):
        world.exchange.resume(world.exchange.snapshot("x"), "m")
