"""``python -m quantcore.backtest`` from outside: what it leaves behind, and what it says to wrong input."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quantcore.backtest.result import SCHEMAS

pytestmark = pytest.mark.integration

FILES = {
    "config.yaml",
    "manifest.json",
    "metrics.json",
    "tearsheet.html",
    "targets.parquet",
    *(f"{name}.parquet" for name in SCHEMAS),
}
SMALL = ("data.n_symbols=4", "data.days=90", "data.late_listings=1")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder to stand in, so that nothing of the project's own folder is needed or touched."""
    return tmp_path_factory.mktemp("workplace")


def backtest(
    workplace: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "quantcore.backtest", *arguments],
        cwd=workplace,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def results(workplace: Path) -> set[Path]:
    return set((workplace / "data" / "runs" / "backtest").glob("*/"))


def unfinished(workplace: Path) -> set[Path]:
    return set((workplace / "data" / "runs" / ".partial").glob("*"))


def test_a_run_leaves_a_whole_results_folder_and_names_it_last(workplace: Path) -> None:
    done = backtest(workplace, "+experiment=quickstart", *SMALL)
    assert done.returncode == 0, done.stderr
    folder = workplace / done.stdout.strip().splitlines()[-1]
    assert {path.name for path in folder.iterdir()} == FILES
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["symbols"] == 4
    assert not unfinished(workplace)


@pytest.mark.slow
def test_the_same_settings_give_the_same_bytes_whatever_the_number_of_threads(
    workplace: Path,
) -> None:
    digests = []
    for threads in ("1", "2"):
        done = backtest(
            workplace, "+experiment=quickstart", *SMALL, NUMBA_NUM_THREADS=threads, OMP_NUM_THREADS=threads
        )  # fmt: skip
        folder = workplace / done.stdout.strip().splitlines()[-1]
        digests.append(
            {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.parquet")}
        )
    assert digests[0] == digests[1]
    assert len(digests[0]) == len(SCHEMAS) + 1


def test_multirun_makes_one_folder_for_each_value(workplace: Path) -> None:
    before = results(workplace)
    done = backtest(workplace, "-m", "+experiment=quickstart", *SMALL, "account.capital=230,770")
    assert done.returncode == 0, done.stderr
    capitals = {
        json.loads((folder / "metrics.json").read_text())["capital"]
        for folder in results(workplace) - before
    }
    assert capitals == {230.0, 770.0}


def test_a_killed_run_leaves_no_results(workplace: Path) -> None:
    before = results(workplace)
    process = subprocess.Popen(
        [sys.executable, "-m", "quantcore.backtest", "+experiment=quickstart", *SMALL],
        cwd=workplace,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    partial = workplace / "data" / "runs" / ".partial"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if any(partial.glob("*/fills.parquet")):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.001)
    killed = process.wait(timeout=60) == -signal.SIGKILL
    assert results(workplace) == before or not killed


REFUSALS = {
    "unknown experiment": (["+experiment=quickstarts"], ["quickstarts", "nearest: quickstart"]),
    "missing folder": (["data=folder", "data.root=/nonexistent"], ["data.root", "/nonexistent"]),
    "decision grid": (["data.interval=90m"], ["whole multiple", "90m"]),
    "capital": (["account.capital=0"], ["account.capital must be > 0", "0"]),
    "leverage": (["account.leverage_max=500"], ["account.leverage_max", "bracket", "500"]),
    "misspelt key": (["account.capitol=5"], ["account.capitol", "account.capital"]),
    "wrong type": (["account.capital=much"], ["account.capital", "much"]),
    "unknown margin": (["account.margin=both"], ["cross, isolated", "both"]),
    "bad date": (["data.end=someday"], ["someday"]),
    "span without data": (["data.start=2039-01-01"], ["data.start", "2039-01-01"]),
    "negative cost": (["execution.slippage_bps=-1"], ["execution.slippage_bps must be >= 0", "-1"]),
    "stop loss": (["strategy.exits.stop_loss=2"], ["stop_loss must be in (0, 1)", "2"]),
    "exhausting flow": (
        ["account.cash_flows=[{ts: 2024-02-01, amount: 0}]"],
        ["amount must be finite and not 0"],
    ),
}


def assert_refused(done: subprocess.CompletedProcess[str], said: list[str]) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr, done.stderr


@pytest.mark.parametrize("name", REFUSALS)
def test_wrong_input_gets_one_line_and_leaves_nothing(workplace: Path, name: str) -> None:
    overrides, said = REFUSALS[name]
    experiment = [] if name == "unknown experiment" else ["+experiment=quickstart"]
    before = results(workplace), unfinished(workplace)
    assert_refused(backtest(workplace, *experiment, *overrides), said)
    assert (results(workplace), unfinished(workplace)) == before


def _swap_times(bars: pd.DataFrame) -> None:
    bars.loc[[5, 6], "open_time"] = bars.loc[[6, 5], "open_time"].to_numpy()


def _double_time(bars: pd.DataFrame) -> None:
    bars["open_time"] = bars["open_time"].where(bars.index != 6, bars["open_time"].iloc[5])


def _infinite_price(bars: pd.DataFrame) -> None:
    bars.loc[7, "high"] = np.inf


def _negative_price(bars: pd.DataFrame) -> None:
    bars.loc[7, "low"] = -1.0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_swap_times, ["BTCUSDT", "sorted"]),
        (_double_time, ["BTCUSDT", "unique", "2024-01-01T05:00:00Z"]),
        (_infinite_price, ["BTCUSDT", "high", "inf"]),
        (_negative_price, ["BTCUSDT", "low", "-1"]),
        (None, ["DOGEUSDT"]),
    ],
)
def test_bad_data_gets_one_line(
    tmp_path: Path, spoil: Callable[[pd.DataFrame], None] | None, said: list[str]
) -> None:
    folder = tmp_path / "market" / "klines_1h"
    folder.mkdir(parents=True)
    times = pd.date_range("2024-01-01", periods=50, freq="1h", tz="UTC").as_unit("ms")
    bars = pd.DataFrame({"open_time": times, "open": 100.0, "high": 101.0, "low": 99.0})
    bars["close"] = 100.0
    bars["volume"] = 10.0
    if spoil is not None:
        spoil(bars)
    bars.to_parquet(folder / "BTCUSDT.parquet", index=False)
    overrides = ["data=folder", f"data.root={tmp_path / 'market'}"]
    if spoil is None:
        overrides.append("data.symbols=[DOGEUSDT]")
    assert_refused(backtest(tmp_path, "+experiment=majors_1h", *overrides), said)
    assert not (tmp_path / "data" / "runs" / "backtest").exists()
