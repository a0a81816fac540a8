"""The simulator's command: one line when it is ready, a clean end, a state file, snapshots, refusals in one line."""

from __future__ import annotations

import hashlib
import hmac
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest

from live.simulator.clock import LOCK_STEP
from live.simulator.limits import LimitSettings
from live.simulator.server import HISTORY_BARS, ServerSettings, started
from live.simulator.state_file import find_running
from quantcore.data.sources import MarketData
from quantcore.errors import ConfigError
from quantcore.frames import Bars

HOUR = 3_600_000_000
FIRST = 1_704_067_200_000_000  # 2024-01-01


def settings(**changes: Any) -> ServerSettings:
    given = {
        "host": "127.0.0.1",
        "port": 0,
        "control_port": 0,
        "clock": "real",
        "speed": 1.0,
        "start": None,
        "seed": 7,
        "capital": 7700.0,
        "limits": LimitSettings(
            weight_1m=2400, orders_10s=300, orders_1m=1200, funding_5m=500, refusals_max=10
        ),
        "legacy": "mute",
        "state_file": "state.json",
        "snapshot_file": None,
        "snapshot_seconds": 60.0,
        "idle_seconds": None,
    }
    return ServerSettings(**{**given, **changes})


def market(n_bars: int, start_us: int | None = None) -> MarketData:
    stamps = FIRST + HOUR * np.arange(1, n_bars + 1, dtype=np.int64)
    bars = Bars(
        interval="1h", ts_us=stamps, symbols=("BTCUSDT",), fields={"close": np.ones((n_bars, 1))}
    )
    return MarketData(bars=bars, interval="1h", start_us=start_us, notes=())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"port": 70000}, r"port must be in \[0, 65535\], was 70000"),
        ({"control_port": -1}, "control_port must be in"),
        ({"capital": 0.0}, "capital must be > 0, was 0.0"),
        ({"capital": float("nan")}, "capital must be > 0, was nan"),
        ({"snapshot_seconds": 0.0}, "snapshot_seconds must be > 0"),
        ({"idle_seconds": -1.0}, "idle_seconds must be > 0 or null"),
        ({"state_file": ""}, "state_file must name a file"),
        ({"clock": "slow"}, "clock must be one of"),
        ({"speed": 2.0}, "speed must be 1 unless clock=accelerated"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)


def test_credentials_follow_from_the_seed_and_have_the_exchanges_form() -> None:
    key, secret = settings().credentials()
    assert settings().credentials() == (key, secret)
    assert settings(seed=8).credentials()[0] != key
    assert key != secret
    assert len(key) == len(secret) == 64
    assert key.isalnum()


def test_clock_is_told_in_words() -> None:
    assert settings().clock_words == "real time"
    assert settings(clock="accelerated", speed=60.0).clock_words == "60 × real time"
    assert settings(clock=LOCK_STEP).clock_words == "lock-step"


def test_replay_starts_where_it_is_told_at_the_open_of_a_bar() -> None:
    assert started(market(10), "2024-01-01T03:30").start_us == FIRST + 3 * HOUR
    assert started(market(10, FIRST + 4 * HOUR), None).start_us == FIRST + 4 * HOUR
    assert started(market(10, FIRST - 9 * HOUR), None).start_us == FIRST


def test_replay_without_a_start_leaves_history_before_it() -> None:
    assert started(market(10), None).start_us == FIRST + 5 * HOUR
    assert started(market(5000), None).start_us == FIRST + HISTORY_BARS * HOUR
    assert started(market(1), None).start_us == FIRST


@pytest.mark.parametrize("start", ["2023-12-31", "2024-01-01T10:00", "2030-01-01"])
def test_a_start_outside_the_bars_is_refused(start: str) -> None:
    with pytest.raises(ConfigError, match=f"start must lie within the bars, .* was {start}"):
        started(market(10), start)


@dataclass
class Running:
    """A simulator in its own process."""

    process: subprocess.Popen[str]
    ready: dict[str, str]

    def get(self, path: str, *, on: str = "rest") -> Any:
        with urlopen(self.ready[on] + path, timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        sent = Request(self.ready["control"] + path, data=json.dumps(body).encode())
        with urlopen(sent, timeout=30) as answer:
            return json.load(answer)

    def signed(self, method: str, path: str, query: str = "") -> Any:
        stamp = self.get("/fapi/v1/time")["serverTime"]
        query = f"{query}&timestamp={stamp}".lstrip("&")
        digest = hmac.new(self.ready["api_secret"].encode(), query.encode(), hashlib.sha256)
        sent = Request(
            f"{self.ready['rest']}{path}?{query}&signature={digest.hexdigest()}",
            method=method,
            headers={"X-MBX-APIKEY": self.ready["api_key"]},
        )
        with urlopen(sent, timeout=10) as answer:
            return json.load(answer)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulator")


def command(folder: Path, *overrides: str) -> list[str]:
    made = [
        f"data.root={folder}/market",
        "data.days=30",
        "data.n_symbols=2",
        "data.late_listings=0",
    ]
    data = [] if "data=recorded" in overrides else made
    state = f"state_file={folder}/state.json"
    return [sys.executable, "-m", "live.simulator", *data, state, *overrides]


@contextmanager
def running(folder: Path, *overrides: str) -> Iterator[Running]:
    process = subprocess.Popen(
        command(folder, *overrides), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise AssertionError(process.communicate(timeout=20)[1])
        yield Running(process, json.loads(line))
    finally:
        process.kill()
        process.communicate()


def refused(folder: Path, *overrides: str) -> str:
    """The one line on stderr of a command that is refused."""
    ended = subprocess.run(
        command(folder, *overrides), capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    lines = [line for line in ended.stderr.splitlines() if " live.simulator " not in line]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.slow
@pytest.mark.integration
def test_command_tells_where_it_is_trades_and_ends_cleanly(folder: Path) -> None:
    with running(folder) as exchange:
        assert list(exchange.ready) == ["rest", "ws", "control", "api_key", "api_secret"]
        found = find_running(folder / "state.json")
        assert found is not None
        assert (found.ready(), found.pid) == (exchange.ready, exchange.process.pid)
        first, then = (exchange.get("/fapi/v1/time")["serverTime"] for _ in range(2))
        assert first <= then < first + 10_000
        order = exchange.signed(
            "POST", "/fapi/v1/order", "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.003"
        )
        assert order["symbol"] == "BTCUSDT"
        assert float(exchange.signed("GET", "/fapi/v2/balance")[0]["balance"]) < 7700.0
        with pytest.raises(HTTPError) as unsigned:
            exchange.get("/fapi/v2/account")
        assert unsigned.value.code == 401
        unsigned.value.close()
        told = refused(folder)
        assert "state_file must be of no running simulator" in told
        port = exchange.ready["rest"].rpartition(":")[2]
        told = refused(folder, f"state_file={folder}/other.json", f"control_port={port}")
        assert f"control_port must be free on 127.0.0.1, was {port}" in told
        code, out, err = exchange.end()
    assert (code, out) == (0, "")
    assert "Traceback" not in err
    assert not (folder / "state.json").exists()


@pytest.mark.slow
@pytest.mark.integration
def test_a_killed_exchange_is_gone_on_from_its_snapshot(folder: Path) -> None:
    kept = (f"snapshot_file={folder}/ledger", "snapshot_seconds=0.2")
    with running(folder, *kept) as exchange:
        exchange.signed(
            "POST", "/fapi/v1/order", "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.003"
        )
        key = exchange.signed("POST", "/fapi/v1/listenKey")
        time.sleep(1.5)
        exchange.end(signal.SIGKILL)
    assert (folder / "state.json").exists()
    assert find_running(folder / "state.json") is None
    with running(folder, *kept) as exchange:
        held = exchange.signed("GET", "/fapi/v2/positionRisk", "symbol=BTCUSDT")
        assert [float(p["positionAmt"]) for p in held if float(p["positionAmt"])] == [0.003]
        assert exchange.signed("PUT", "/fapi/v1/listenKey") == key
        assert exchange.end(signal.SIGINT)[0] == 0
    told = refused(folder, *kept, "seed=8")
    assert "snapshot_file must be of the same market, seed and clock" in told


@pytest.mark.integration
def test_lock_step_waits_for_its_driver_and_ends_without_clients(folder: Path) -> None:
    with running(folder, "clock=lock_step", "idle_seconds=1") as exchange:
        first = exchange.get("/fapi/v1/time")["serverTime"]
        assert exchange.get("/fapi/v1/time")["serverTime"] == first
        assert exchange.post("/advance", {"bars": 3})["time"] == first + 3 * 3_600_000
        assert exchange.get("/fapi/v1/time")["serverTime"] == first + 3 * 3_600_000
        _, err = exchange.process.communicate(timeout=20)
        assert exchange.process.returncode == 0
    assert "nobody for 1 s" in err


@pytest.mark.integration
@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("clock=slow", "clock must be one of real, accelerated, lock_step, was slow"),
        ("start=2031-01-01", "start must lie within the bars"),
        ("host=256.1.1.1", "port must be free on 256.1.1.1"),
    ],
)
def test_bad_settings_are_refused_in_one_line(folder: Path, override: str, told: str) -> None:
    assert told in refused(folder, override)
