"""``python -m live.run conf=sim`` killed at random instants, again and again: nothing is lost, nothing doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from live.journal import open_journal, tables
from live.simulator.state_file import find_running
from tests.loop.crash import POINTS
from tests.loop.on_exchange import Ground, agreed, ground, trading, until, whole

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def started(there: Ground, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "live.run", *there.overrides(*overrides)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def decisions(process: subprocess.Popen[str], wanted: int, seconds: float) -> list[str]:
    """Return what the loop said until it has told so many decisions."""
    assert process.stderr is not None
    said: list[str] = []
    end_s = time.monotonic() + seconds
    for text in process.stderr:
        said.append(text)
        told = [line for line in said if " equity " in line and "no decision" not in line]
        if len(told) >= wanted:
            return said
        assert time.monotonic() < end_s, "".join(said[-20:])
    raise AssertionError("".join(said[-20:]))


async def killed(folder: Path, times: int, rng: np.random.Generator, *options: str) -> None:
    with ground(folder, *options) as there:
        for _ in range(times):
            process = started(there)
            try:
                decisions(process, 2, 120.0)
                time.sleep(rng.uniform(0.0, 4.0))
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
                assert process.stderr is not None
                process.stderr.close()
            whole(there)
        async with trading(there) as driver:
            await until(lambda: driver.loop.decisions >= 2, 60, "two decisions")
            await agreed(there, driver)
            await until(
                lambda: there.books()["trades"] == fills(there), 20, "every trade to be known"
            )
        whole(there)


def fills(there: Ground) -> int:
    """Return how many fills the journal knows."""
    with (
        open_journal(there.journal, read_only=True) as journal,
        journal.transaction() as connection,
    ):
        return int(connection.scalar(select(func.count()).select_from(tables.fills)) or 0)


async def test_killed_twice_it_goes_on_and_the_books_agree(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    await killed(tmp_path, 2, rng)


async def test_killed_on_a_day_of_bad_streams_it_goes_on_and_the_books_agree(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    await killed(tmp_path, 3, rng, "faults=flaky_streams")


@pytest.mark.slow
async def test_killed_ten_times_it_goes_on_and_the_books_agree(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    await killed(tmp_path, 10, rng)


async def test_killed_at_each_instant_of_a_step_it_goes_on_and_the_books_agree(
    tmp_path: Path,
) -> None:
    with ground(tmp_path) as there:
        for point in POINTS:
            command = [sys.executable, "-m", "tests.loop.crash", point, *there.overrides()]
            with (tmp_path / "said").open("w") as said:
                died = subprocess.run(
                    command, stderr=said, stdout=subprocess.DEVNULL, timeout=300, check=False,
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )  # fmt: skip
            told = (tmp_path / "said").read_text()
            assert died.returncode == -signal.SIGKILL, f"{point}: {told[-2000:]}"
            if "In step with the exchange" in told:
                whole(there)
        async with trading(there) as driver:
            await until(lambda: driver.loop.decisions >= 2, 60, "two decisions")
            await agreed(there, driver)
            await until(
                lambda: there.books()["trades"] == fills(there), 20, "every trade to be known"
            )
        whole(there)


@pytest.mark.slow
def test_it_starts_an_exchange_that_outlives_it_and_begins_anew_when_that_is_lost(
    tmp_path: Path,
) -> None:
    state = tmp_path / "data" / "simulator" / "state.json"

    def run() -> list[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "live.run", "conf=sim"], stderr=subprocess.PIPE, text=True, cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))},
        )  # fmt: skip
        try:
            return decisions(process, 3, 240.0)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert process.stderr is not None
            process.stderr.close()

    try:
        assert "started" in run()[0]
        first = find_running(state)
        assert first is not None
        time.sleep(8.0)
        said = run()
        assert any("found running" in text for text in said)
        assert find_running(state) == first
        os.kill(first.pid, signal.SIGKILL)
        (tmp_path / "data" / "live" / "sim" / "exchange.snapshot").unlink(missing_ok=True)
        said = run()
        assert any("is kept as" in text for text in said)
        assert not any("halted" in text for text in said)
        journals = list((tmp_path / "data" / "live" / "sim").glob("journal-*.sqlite"))
        assert len(journals) == 1
    finally:
        last = find_running(state)
        if last is not None:
            os.kill(last.pid, signal.SIGTERM)


@pytest.mark.parametrize("execution", ["router", "taker"])
def test_ctrl_c_ends_in_order_and_says_what_stays(tmp_path: Path, execution: str) -> None:
    with ground(tmp_path) as there:
        process = started(there, f"execution={execution}")
        try:
            decisions(process, 2, 120.0)
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            rest = process.stderr.read()
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()
        assert "Ended in order" in rest
        assert "Traceback" not in rest
        assert there.books()["orders"] == []
        assert len(there.books()["algo_orders"]) == len(there.books()["positions"])
        whole(there)


@pytest.mark.parametrize("mode", ["staging", "prod"])
def test_real_money_without_keys_and_arming_is_refused_in_one_line(mode: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "live.run", f"conf={mode}"], capture_output=True, text=True, timeout=120,
        env={k: v for k, v in os.environ.items() if not k.startswith(("BINANCE_", "QUANTCORE_ARMED"))},
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "BINANCE_API_KEY and BINANCE_API_SECRET must be set" in done.stderr
