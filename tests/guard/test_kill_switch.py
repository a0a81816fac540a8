"""Whoever pulls the kill switch, it holds through restarts and full disks until a person takes it back."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live import kill_switch
from live.kill_switch import KillSwitch, Level, Standing

LEVELS = st.sampled_from(Level)


def switch_of(folder: Path) -> tuple[KillSwitch, list[Level]]:
    told: list[Level] = []
    return KillSwitch(folder, told.append), told


@given(steps=st.lists(st.tuples(st.sampled_from(["ask", "look"]), LEVELS)), first=LEVELS)
def test_only_a_file_that_was_seen_and_has_gone_lowers_the_level(
    steps: list[tuple[str, Level]], first: Level
) -> None:
    standing, seen = Standing().asked(first), first is Level.NONE
    for what, level in steps:
        before = standing
        if what == "ask":
            standing = standing.asked(level)
            assert standing.level == max(before.level, level)
            seen = seen and standing.level == before.level
        else:
            standing = standing.seen(level)
            assert standing.level >= level
            if standing.level < before.level:
                assert seen
            seen = seen or standing.level == level
        assert standing.kept == seen


def test_freeze_stops_what_opens_and_flatten_wants_flat(tmp_path: Path) -> None:
    switch, told = switch_of(tmp_path / "live" / "sim")
    assert switch.may_open("BTCUSDT")
    assert not switch.wants_flat()
    switch.freeze("dashboard")
    assert not switch.may_open("BTCUSDT")
    assert not switch.wants_flat()
    switch.flatten("dashboard")
    switch.freeze("dashboard")  # no step back
    assert switch.wants_flat()
    assert not switch.may_open("BTCUSDT")
    assert told == [Level.FREEZE, Level.FLATTEN]
    switch.release("dashboard")
    assert switch.may_open("BTCUSDT")
    assert told[-1] is Level.NONE
    assert [file.name for file in (tmp_path / "live" / "sim").iterdir()] == ["RELEASED"]
    assert (tmp_path / "live" / "sim").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("level", [Level.FREEZE, Level.FLATTEN])
def test_it_survives_a_restart_until_a_person_removes_its_file(
    tmp_path: Path, level: Level
) -> None:
    switch, _ = switch_of(tmp_path)
    (switch.freeze if level is Level.FREEZE else switch.flatten)("SIGUSR")
    again, told = switch_of(tmp_path)
    assert (again.level, again.why, told) == (level, "SIGUSR", [level])
    again.look()
    assert told == [level]
    (tmp_path / level.name).unlink()
    again.look()
    assert (again.level, again.why) == (Level.NONE, "")
    assert told == [level, Level.NONE]


def test_a_file_made_by_hand_counts_and_the_higher_one_holds(tmp_path: Path) -> None:
    switch, told = switch_of(tmp_path)
    (tmp_path / "FREEZE").touch()
    switch.look()
    (tmp_path / "FLATTEN").touch()
    switch.look()
    (tmp_path / "FLATTEN").unlink()
    switch.look()
    assert told == [Level.FREEZE, Level.FLATTEN, Level.FREEZE]
    assert not switch.may_open("BTCUSDT")


def test_who_asked_is_that_of_the_level_that_holds(tmp_path: Path) -> None:
    switch, _ = switch_of(tmp_path)
    (tmp_path / "FREEZE").write_text("by hand\n")
    switch.flatten("dashboard")
    assert switch.why == "dashboard"
    (tmp_path / "FLATTEN").unlink()
    switch.look()
    assert (switch.level, switch.why) == (Level.FREEZE, "by hand")
    switch.release("dashboard")
    assert switch.why == "dashboard"


def test_who_released_it_is_known_to_the_process_that_trades(tmp_path: Path) -> None:
    trading, _ = switch_of(tmp_path)
    person, _ = switch_of(tmp_path)
    person.freeze("telegram")
    trading.look()
    person.flatten("telegram")
    trading.look()
    person.release("dashboard")
    trading.look()
    assert (trading.level, trading.why) == (Level.NONE, "dashboard")
    trading.freeze("SIGUSR1")
    assert trading.why == "SIGUSR1"
    stale = (tmp_path / "RELEASED").stat().st_mtime_ns
    os.utime(tmp_path / "FREEZE", ns=(stale + 10**9, stale + 10**9))
    trading.look()
    (tmp_path / "FREEZE").unlink()  # by hand: the file of the earlier release says nothing
    trading.look()
    assert (trading.level, trading.why) == (Level.NONE, "")


def test_a_full_disk_keeps_nobody_from_going_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trading, _ = switch_of(tmp_path)
    trading.freeze("dashboard")

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kill_switch, "write_whole", full)
    person, _ = switch_of(tmp_path)
    person.release("dashboard")
    assert "who released the kill switch could not be kept" in caplog.text
    trading.look()
    assert (trading.level, trading.why) == (Level.NONE, "")


def test_a_disk_that_takes_no_file_does_not_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    switch, told = switch_of(tmp_path)

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(kill_switch, "write_whole", full)
        switch.flatten("dashboard")
        switch.look()
        assert switch.wants_flat()
    assert "No space left on device" in caplog.text
    assert not list(tmp_path.iterdir())
    switch.look()  # there is room again
    assert (tmp_path / "FLATTEN").read_text() == "dashboard\n"
    assert (tmp_path / "FLATTEN").stat().st_mode & 0o077 == 0
    switch.look()
    assert told == [Level.FLATTEN]


def test_a_folder_that_is_gone_takes_nothing_back(tmp_path: Path) -> None:
    folder = tmp_path / "sim"
    switch, _ = switch_of(folder)
    switch.freeze("dashboard")
    folder.rename(tmp_path / "elsewhere")
    switch.look()
    assert switch.level is Level.FREEZE
    (tmp_path / "elsewhere").rename(folder)
    switch.look()
    assert switch.level is Level.FREEZE


def test_signals_freeze_flatten_and_end_in_order(tmp_path: Path) -> None:
    async def listen() -> None:
        switch, told = switch_of(tmp_path)
        loop = asyncio.get_running_loop()
        switch.listen(loop)
        try:
            for number, level in (
                (signal.SIGUSR1, Level.FREEZE),
                (signal.SIGUSR2, Level.FLATTEN),
            ):
                os.kill(os.getpid(), number)
                await asyncio.sleep(0.02)
                assert told[-1] is level
                assert (tmp_path / level.name).exists()
            assert not switch.ends.is_set()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(switch.ends.wait(), 1.0)
            for number in (signal.SIGTERM, signal.SIGINT):  # a second one ends at once
                assert signal.getsignal(number) is signal.SIG_DFL
        finally:
            switch.deafen(loop)

    asyncio.run(listen())


def test_who_is_told_late_is_told_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "FREEZE").touch()
    told: list[Level] = []
    later: list[Level] = []
    switch = KillSwitch(tmp_path)
    switch.report_to(told.append)
    assert told == [Level.FREEZE]
    (tmp_path / "FREEZE").unlink()
    switch.look()
    assert told == [Level.FREEZE, Level.NONE]
    KillSwitch(tmp_path).report_to(later.append)
    assert later == []


def test_signals_count_before_there_is_an_event_loop(tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    switch = KillSwitch(tmp_path)
    try:
        switch.hear()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert switch.level is Level.FREEZE
        os.kill(os.getpid(), signal.SIGUSR2)
        assert (switch.level, switch.why) == (Level.FLATTEN, "SIGUSR2")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert KillSwitch(tmp_path).level is Level.FLATTEN


def test_files_are_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill_switch, "LOOK_SECONDS", 0.01)

    async def watch() -> None:
        switch, told = switch_of(tmp_path)
        task = asyncio.create_task(switch.watch())
        (tmp_path / "FREEZE").touch()
        async with asyncio.timeout(5.0):
            while not told:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})
        assert not switch.may_open("BTCUSDT")

    asyncio.run(watch())
