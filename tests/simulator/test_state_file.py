"""The state file: found while the exchange runs, stale once it has gone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from live.simulator.state_file import RunningExchange, find_running, remove_state, write_state
from quantcore.errors import ConfigError


@pytest.fixture
def running() -> Iterator[RunningExchange]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        yield RunningExchange(
            pid=os.getpid(),
            rest=f"http://127.0.0.1:{port}",
            ws=f"ws://127.0.0.1:{port}",
            control="http://127.0.0.1:1",
            api_key="k" * 64,
            api_secret="s" * 64,
        )


def test_a_running_exchange_is_found_by_its_file(tmp_path: Path, running: RunningExchange) -> None:
    path = tmp_path / "deep" / "state.json"
    write_state(path, running)
    assert find_running(path) == running
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["state.json"]


def test_the_ready_line_has_what_the_design_promises(running: RunningExchange) -> None:
    assert list(running.ready()) == ["rest", "ws", "control", "api_key", "api_secret"]


def test_a_file_outlives_its_process_and_is_stale(tmp_path: Path, running: RunningExchange) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    write_state(tmp_path / "state.json", replace(running, pid=int(gone.stdout)))
    assert find_running(tmp_path / "state.json") is None


def test_a_process_with_the_number_of_another_is_told_apart_by_the_port(
    tmp_path: Path, running: RunningExchange
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    write_state(tmp_path / "state.json", replace(running, rest=f"http://127.0.0.1:{port}"))
    assert find_running(tmp_path / "state.json") is None


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", '{"pid": 1}', "\udcff", '{"pid": 1, "rest": 5}']
)
def test_a_damaged_file_tells_of_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert find_running(path) is None
    assert find_running(tmp_path / "nowhere.json") is None


@pytest.mark.parametrize(
    "change", [{"pid": -1}, {"pid": "x"}, {"rest": 5}, {"rest": "http://h:99999"}]
)
def test_a_file_with_impossible_values_tells_of_none(
    tmp_path: Path, running: RunningExchange, change: dict[str, object]
) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps({**asdict(running), **change}))
    assert find_running(path) is None


def test_only_ones_own_file_is_removed(tmp_path: Path, running: RunningExchange) -> None:
    path = tmp_path / "state.json"
    remove_state(path, running)
    write_state(path, running)
    remove_state(path, replace(running, pid=1))
    assert path.exists()
    remove_state(path, running)
    assert not path.exists()


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path, running: RunningExchange) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="state_file must be writable"):
        write_state(tmp_path / "file" / "state.json", running)
