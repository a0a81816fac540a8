"""What a notebook calls: light to import, without Hydra, on the same data as the commands."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import quantcore as qc
from quantcore.backtest.__main__ import main as command
from quantcore.backtest.experiment import run_experiment
from quantcore.config import build, compose
from quantcore.errors import ConfigError, DataGap, QuantcoreError
from quantcore.frames import Bars, resample_bars
from quantcore.overrides import override_list

SMALL = {"days": 40, "n_symbols": 3, "late_listings": 1}
STRATEGY = {"strategy.fast": 4, "strategy.slow": 16, "strategy.volatility_half_life": 24}
PORTFOLIO = {"portfolio.volatility_half_life": 24.0, "portfolio.covariance_half_life": 24.0}


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def settings(root: Path) -> dict[str, Any]:
    """Settings of a small synthetic market and of a strategy that warms up within it."""
    market = {f"data.{key}": value for key, value in SMALL.items()}
    return {"data.root": root, **market, **STRATEGY, **PORTFOLIO}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("market")


@pytest.fixture(scope="module")
def run(market: Path) -> Any:
    return qc.backtest("quickstart", settings(market))


def write_klines(root: Path, symbol: str, skipped: int) -> None:
    """Six days of hourly bars of a symbol, less those that are skipped, in the form of real data."""
    times = pd.date_range("2024-01-01", periods=144, freq="h", tz="UTC")[skipped:]
    price = np.linspace(10.0, 20.0, 144)[skipped:]
    columns = dict.fromkeys(("open", "high", "low", "close", "volume"), price)
    table = pa.table({"open_time": pa.array(times.as_unit("us")), **columns})
    (root / "klines_1h").mkdir(exist_ok=True)
    pq.write_table(table, root / "klines_1h" / f"{symbol}.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two symbols, B with a day less."""
    root = tmp_path_factory.mktemp("folder")
    write_klines(root, "AUSDT", 0)
    write_klines(root, "BUSDT", 24)
    return root


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_importing_quantcore_imports_nothing_else() -> None:
    code = (
        "import quantcore as qc, sys; dir(qc); "
        "print(sorted({m.split('.')[0] for m in sys.modules} & "
        "{'numpy', 'pandas', 'numba', 'hydra', 'omegaconf', 'pyarrow', 'plotly', 'vectorbt', 'yaml'}))"
    )
    assert python(code) == "[]"


@pytest.mark.parametrize("first", ["", "import quantcore.backtest.engine"])
def test_the_package_backtest_is_the_function_as_well_whatever_is_imported_first(
    first: str,
) -> None:
    code = f"""
import inspect
import quantcore as qc
{first}
one = qc.backtest
from quantcore import backtest
from quantcore.backtest import engine
from quantcore.backtest.entrance import backtest as function
assert one is backtest is qc.backtest
assert qc.backtest.engine is engine
assert inspect.signature(qc.backtest) == inspect.signature(function)
assert qc.backtest.__call__.__doc__ == function.__doc__
try:
    qc.backtest("quikstart")
except Exception as error:
    print(error)
"""
    assert python(code).startswith("no experiment 'quikstart'; nearest: quickstart; known: ")


def test_the_face_has_its_names_and_no_others() -> None:
    assert set(qc.__all__) <= set(dir(qc))
    assert qc.Bars is Bars
    assert callable(qc.load)
    assert callable(qc.open_run)
    with pytest.raises(AttributeError, match="module 'quantcore' has no attribute 'sweeep'"):
        qc.sweeep  # noqa: B018  (the point)


def test_a_backtest_is_that_of_the_command_line(run: Any, market: Path) -> None:
    plain = [f"{key}={value}" for key, value in settings(market).items()]
    expected = run_experiment("quickstart", plain)
    assert len(expected.tables["fills"]) > 10
    for name, table in expected.tables.items():
        pd.testing.assert_frame_equal(run.result.tables[name], table)
    assert run.name == "quickstart"
    assert run.result.manifest == expected.manifest
    again = qc.backtest("quickstart", plain)
    assert again.result.manifest == expected.manifest


def test_bars_in_memory_are_traded_as_they_are(run: Any, market: Path) -> None:
    chosen = {**STRATEGY, **PORTFOLIO}
    handed = qc.backtest("quickstart", chosen, data=run.bars)
    for name, table in run.result.tables.items():
        pd.testing.assert_frame_equal(handed.result.tables[name], table)
    assert handed.config["data"] == {
        "bars": run.bars.fingerprint(),
        "interval": "1h",
        "execution_interval": "1h",
        "start": None,
    }
    assert handed.notes[0].startswith("The bars were handed over in Python")
    assert "ADAUSDT" not in " ".join(handed.notes)
    assert handed.manifest["data_fingerprint"] == run.manifest["data_fingerprint"]


def test_bars_in_memory_are_decided_on_their_own_interval_or_a_coarser_one(run: Any) -> None:
    chosen = {**STRATEGY, **PORTFOLIO}
    own = qc.backtest("majors_1h", chosen, data=resample_bars(run.bars, "4h"))
    assert (own.result.interval, own.result.execution_interval) == ("4h", "4h")
    later = {"data.interval": "2h", "data.start": "2024-01-20"}
    coarser = qc.backtest("majors_1h", {**chosen, **later}, data=run.bars)
    assert (coarser.result.interval, coarser.result.execution_interval) == ("2h", "1h")
    assert coarser.equity.index[0] == pd.Timestamp("2024-01-20", tz="UTC")


@pytest.mark.parametrize(
    ("experiment", "overrides", "message"),
    [
        ("quikstart", {}, "no experiment 'quikstart'; nearest: quickstart; known: "),
        (3, {}, "experiment must be text, was 3"),
        ("quickstart", {"capital": 1}, r"key capital \(overrides\); nearest: account\.capital;"),
        (
            "quickstart",
            {"account.captial": 1},
            r"captial \(overrides\); nearest: account\.capital;",
        ),
        ("quickstart", {"account": {"captial": 1}}, r"nearest: account\.capital;"),
        ("quickstart", {"strategy": "trnd"}, "no strategy 'trnd'; nearest: trend; known: "),
        (
            "quickstart",
            {"account.capital": -1},
            r"account\.capital must be > 0, was -1\.0 \(overrides\)",
        ),
        ("quickstart", ["account.capital"], "an override must be text key=value, was"),
        ("quickstart", {"strategy.fast": "x"}, r"strategy\.fast must be a whole number, was 'x'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_in_one_line(
    experiment: Any, overrides: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        qc.backtest(experiment, overrides)
    assert "\n" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    ("overrides", "data", "message"),
    [
        ({}, "nowhere", r"data\.root must be an existing folder, was nowhere"),
        ({}, 3, "data must be synthetic, store, or the path"),
        ({"data": "store"}, "synthetic", "data must be given once, was .* and the override data"),
        ({"data.root": "x"}, "here", r"data must be given once, .* the override data\.root"),
    ],
)
def test_data_that_cannot_be_had_are_refused_in_one_line(
    at_home: Path, overrides: Any, data: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        qc.backtest("quickstart", overrides, data=data)
    assert list(at_home.iterdir()) == []


def test_what_is_tried_in_a_notebook_counts(
    at_home: Path, market: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = at_home / "data" / "runs" / "trials.jsonl"
    chosen = settings(market)
    runs = [qc.backtest("quickstart", {**chosen, "strategy.slow": slow}) for slow in (16, 16, 32)]
    written = [json.loads(line) for line in ledger.read_text().splitlines()]
    tried = [line for line in written if line["kind"] == "trials"]
    assert [(line["command"], line["experiment"]) for line in tried] == 2 * [
        ("backtest", "quickstart")
    ]
    assert [run.result.trials and run.result.trials.found for run in runs] == [1, 1, 2]
    assert "holds no other trial of this market and span" in runs[1].trials
    assert "holds 2 trials of this market and span with this one" in runs[2].trials
    assert f"best of {runs[2].metrics['trials']} trial" in runs[2]._repr_html_()
    hashes = [line["trials"] for line in tried]
    same = override_list({**chosen, "strategy.slow": 32})
    assert command(compose("backtest", ["+experiment=quickstart", *same])) == 0
    assert "holds 2 trials" in " ".join(capsys.readouterr().out.split())
    again = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [line["trials"] for line in again if line["kind"] == "trials"] == hashes
    off = qc.backtest("quickstart", {**chosen, "strategy.slow": 48, "ledger": "off"})
    assert off.result.trials is not None
    assert off.result.trials.found is None
    assert len(ledger.read_text().splitlines()) == len(written)


@pytest.mark.parametrize("key", ["data", "data.root", "data.symbols", "data.end"])
def test_settings_that_mean_nothing_for_bars_in_memory_are_refused(run: Any, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"of bars that are handed over .*, was {key}$"):
        qc.backtest("quickstart", {key: "x"}, data=run.bars)


def test_a_traceback_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTCORE_TRACEBACK", "1")
    with pytest.raises(ConfigError) as refused:
        qc.backtest("quikstart")
    assert isinstance(refused.value.__cause__, QuantcoreError)


@pytest.mark.integration
def test_synthetic_bars_are_those_of_the_commands(at_home: Path) -> None:
    expected = build(compose("backtest", ["data=synthetic"]).data).load().bars
    bars = qc.load()
    assert bars.fingerprint() == expected.fingerprint()
    coarse = qc.load("synthetic", interval="4h", start="2024-03-01", end=date(2024, 5, 2))
    whole = resample_bars(expected, "4h")
    assert coarse.index[0] == pd.Timestamp("2024-03-01T04:00", tz="UTC")
    assert coarse.index[-1] == pd.Timestamp("2024-05-02", tz="UTC")
    pd.testing.assert_frame_equal(coarse.close, whole.close.loc[coarse.index])
    assert {path.name for path in at_home.iterdir()} == {"data"}


@pytest.mark.integration
def test_synthetic_bars_shorter_than_an_hour_are_a_draw_of_their_own(at_home: Path) -> None:
    bars = qc.load("synthetic", symbols="BTCUSDT", interval="15m", end="2024-02-01")
    assert bars.symbols == ("BTCUSDT",)
    assert bars.n_bars == 31 * 96


def test_bars_of_a_folder_are_loaded(folder: Path) -> None:
    bars = qc.load(folder)
    assert bars.symbols == ("AUSDT", "BUSDT")
    assert bars.n_bars == 144
    assert np.isnan(bars.close["BUSDT"]).sum() == 24
    one = qc.load(str(folder), symbols=["AUSDT"], start="2024-01-02", end="2024-01-03")
    assert one.symbols == ("AUSDT",)
    assert one.n_bars == 24
    pd.testing.assert_frame_equal(one.close, bars.close.loc[one.index, ["AUSDT"]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"symbols": "AUSD"}, "AUSD is not held, nearest is AUSDT; held are AUSDT, BUSDT"),
        ({"interval": "4h"}, "has no klines of 4h; it has klines of 1h"),
        ({"interval": 1}, "interval must be text, was 1"),
        ({"interval": "1x"}, "interval must be a whole number and one of s m h d w, was '1x'"),
        ({"start": "soon"}, r"data\.start must be an ISO date or time, was 'soon' \(overrides\)"),
        ({"start": "2025-01-01"}, r"data\.start must lie before the last bar"),
        ({"start": "2024-01-06T23:30"}, "start and end must leave a bar of 1h"),
        ({"start": "2024-01-03", "end": "2024-01-02"}, r"data\.start must be before data\.end"),
    ],
)
def test_bars_that_a_folder_does_not_hold_are_refused(
    folder: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(QuantcoreError, match=message) as refused:
        qc.load(folder, **given)
    assert "\n" not in str(refused.value)


def test_all_symbols_of_a_folder_are_loaded_however_many(tmp_path: Path) -> None:
    for k in range(27):
        write_klines(tmp_path, f"S{k:02}USDT", 140)
    assert qc.load(tmp_path).n_symbols == 27


def test_an_interval_that_is_no_text_is_refused_of_a_synthetic_market_too() -> None:
    with pytest.raises(ConfigError, match="interval must be text, was 1"):
        qc.load("synthetic", interval=1)  # type: ignore[arg-type]  # the point


def test_a_store_that_does_not_exist_is_refused(at_home: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.root must be an existing store, was data/store"):
        qc.load("store")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataGap, match=r"must hold metrics\.json, .* does not"):
        qc.open_run(tmp_path)
