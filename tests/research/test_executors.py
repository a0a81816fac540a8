from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import cast

import pytest

from quantcore.errors import ConfigError, QuantcoreError
from quantcore.research.executors import Executor, LocalExecutor, RayExecutor


def squared(shared: int, task: int) -> tuple[int, int]:
    return task, shared * task * task


def dying_once(shared: str, task: int) -> tuple[int, int]:
    """Kill the process that has task 3, the first time."""
    marker = Path(shared)
    if task == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task, task


def slow(shared: str, task: int) -> int:
    (Path(shared) / str(task)).touch()
    time.sleep(0.05)
    return task


def sleeping(shared: float, task: int) -> int:
    time.sleep(shared if task else 0.0)
    return task


def dying(shared: str, task: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return task


def test_every_task_is_run_once_whatever_the_number_of_workers() -> None:
    for workers in (1, 2, 5):
        found = sorted(LocalExecutor(workers=workers).run(squared, 3, range(7)))
        assert found == [(k, 3 * k * k) for k in range(7)]


def test_nothing_to_do_is_done() -> None:
    assert list(LocalExecutor(workers=2).run(squared, 3, [])) == []


def test_tasks_of_a_killed_process_run_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = sorted(LocalExecutor(workers=2).run(dying_once, str(tmp_path / "died"), range(9)))
    assert found == [(k, k) for k in range(9)]
    assert "a worker died" in capfd.readouterr().err


def test_a_task_that_always_kills_its_process_ends_the_run() -> None:
    with pytest.raises(QuantcoreError, match="workers must live, died 8 times"):
        list(LocalExecutor(workers=2).run(dying, "", range(4)))


def test_an_interrupt_of_all_processes_twice_ends_them_all_at_once(tmp_path: Path) -> None:
    # As a terminal sends it: to the whole group, workers included. A shell's background job would ignore it.
    code = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from tests.research.test_executors import slow\n"
        "from quantcore.research.executors import LocalExecutor\n"
        f"for task in LocalExecutor(workers=2).run(slow, {str(tmp_path)!r}, range(200)): pass\n"
    )
    for number in range(5):
        command = [sys.executable, "-c", code]
        run = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        while not list(tmp_path.glob("*")):
            assert run.poll() is None
            time.sleep(0.02)
        time.sleep(0.03 * number)
        for _ in range(2):
            os.killpg(run.pid, signal.SIGINT)
            time.sleep(0.01)
        assert run.wait(timeout=30) in (-signal.SIGINT, 1)
        with pytest.raises(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        for marker in tmp_path.glob("*"):
            marker.unlink()


def test_a_run_that_is_broken_off_does_not_wait_for_its_tasks() -> None:
    found = LocalExecutor(workers=2).run(sleeping, 60.0, range(5))
    began = time.monotonic()
    assert next(found) == 0
    cast(Generator[int, None, None], found).close()
    assert time.monotonic() - began < 30.0


def test_workers_below_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="workers must be >= 1, was 0"):
        LocalExecutor(workers=0)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:x"])
def test_an_address_without_a_cluster_is_refused_in_one_line(address: str) -> None:
    with pytest.raises(ConfigError, match=f"address must be .* was {address}: [^\n]*$"):
        list(RayExecutor(address=address).run(squared, 3, range(2)))


@pytest.mark.slow
def test_a_cluster_gives_what_one_process_gives_though_a_worker_is_killed(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    executor: Executor = RayExecutor()
    try:
        found = sorted(executor.run(dying_once, str(tmp_path / "died"), range(9)))
        assert found == [(k, k) for k in range(9)]
        assert (tmp_path / "died").exists()
    finally:
        ray.shutdown()
