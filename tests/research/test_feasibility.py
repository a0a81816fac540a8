"""The command: other capitals, a results folder that says it all, and settings that are refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quantcore import signal_plane
from quantcore.account_plane import CashFlow
from quantcore.backtest import engine
from quantcore.config import compose
from quantcore.errors import ConfigError
from quantcore.exits import NO_EXITS, ExitSettings
from quantcore.frames import Bars
from quantcore.research import feasibility
from quantcore.research.feasibility import study
from quantcore.research.feasibility_capitals import UNLIMITED
from tests.research.test_feasibility_demand import configured, small_decided, stage


def test_a_study_compares_capitals_and_leaves_out_what_would_make_them_differ() -> None:
    flow = CashFlow(ts="2024-01-20", amount=500.0)
    mode = stage(200.0)
    mode = replace(mode, account=replace(mode.account, cash_flows=(flow,)))
    summary, tables = study(
        small_decided(), mode, capitals=[1000.0, 50.0], positions_min=2, samples=5
    )
    capitals = tables["capitals"].set_index("name")
    assert list(capitals.index) == ["50", "200", "1000", UNLIMITED]
    assert capitals.loc[UNLIMITED, "capital"] == math.inf
    assert capitals.loc[UNLIMITED, "refusals"] == 0
    assert capitals["refusals"].iloc[0] > 0
    assert capitals["positions_max"].is_monotonic_increasing
    own = capitals.loc["200"]
    costs = own[["fees", "funding", "slippage_cost", "liquidation_fees"]].sum()
    assert own["costs"] == pytest.approx(costs)
    ruled = capitals[[c for c in capitals if str(c).startswith("refused_")]].sum(axis=1)
    assert (ruled == capitals["refusals"]).all()
    assert list(tables["curves"].columns) == list(capitals.index)
    last = tables["curves"].iloc[-1] - 1.0
    np.testing.assert_allclose(last, capitals["total_return"], rtol=1e-9)
    assert (tables["rounding"]["method"] == "exact").sum() == 5
    assert len(tables["allocations"]) == summary["allocations"]["decisions"] == 5
    assert any("meant for 5,000 USDT" in note for note in summary["notes"])
    assert any("Deposits and withdrawals are left out" in note for note in summary["notes"])


def test_an_unlimited_account_is_the_same_whichever_capital_it_is_compared_with() -> None:
    one, other = (
        study(small_decided(), stage(c), capitals=[], positions_min=2, samples=1)[1]["curves"][
            UNLIMITED
        ]
        for c in (70.0, 700.0)
    )
    pd.testing.assert_series_equal(one, other)


def test_the_signal_plane_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = signal_plane.signals

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return original(*arguments, **named)

    monkeypatch.setattr(engine, "signals", counted)
    assert feasibility.main(configured(tmp_path)) == 0
    assert calls == [1]


@pytest.mark.parametrize(("capital", "verdict"), [(8.0, "not_feasible"), (1e5, "feasible")])
def test_the_command_publishes_its_verdict_and_prints_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], capital: float, verdict: str
) -> None:
    cfg = configured(tmp_path)
    cfg.account.capital = capital
    assert feasibility.main(cfg) == 0
    told = capsys.readouterr().out.rstrip().splitlines()
    folder = Path(told[-1])
    assert folder.parent == tmp_path / "runs" / "feasibility"
    assert folder.name.endswith("-small")
    assert {path.name for path in folder.iterdir()} == {
        "summary.json", "config.yaml", "feasibility.html", "symbols.parquet", "positions.parquet",
        "rounding.parquet", "capitals.parquet", "curves.parquet",
        "allocations.parquet",
    }  # fmt: skip
    assert not list((tmp_path / "runs" / ".partial").iterdir())
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["verdict"] == verdict
    assert summary["capital"] == capital
    assert summary["positions_min"] == 3
    printed = " ".join(" ".join(told).split())
    assert f"small: {verdict.replace('_', ' ')} as a portfolio. {summary['reason']}" in printed
    symbols = pd.read_parquet(folder / "symbols.parquet")
    assert summary["tradable"] == int(symbols["tradable"].sum())
    positions = pd.read_parquet(folder / "positions.parquet")
    assert summary["positions"]["fit"]["median"] == positions["fit"].median()
    allocations = pd.read_parquet(folder / "allocations.parquet")
    assert summary["allocations"]["same_lots"] == int(allocations["same_lots"].sum())
    assert summary["allocations"]["decisions"] == len(allocations) == 4
    assert "greedy against exact: on 4 sampled decisions a tracking error of" in printed
    text = (folder / "feasibility.html").read_text("utf-8")
    for name in ("orders", "positions", "rounding", "capitals"):
        assert f'id="{name}"' in text
    assert summary["reason"] in text
    assert f"both hold the same lots at {summary['allocations']['same_lots']}." in text
    assert "<link" not in text
    assert "<script src" not in text


def test_a_strategy_that_wants_nothing_is_told_and_breaks_nothing(tmp_path: Path) -> None:
    silent = {"_target_": f"{__name__}.SilentSettings", "lookback": 2}
    assert feasibility.main(configured(tmp_path, strategy=silent)) == 0
    folder = next((tmp_path / "runs" / "feasibility").iterdir())
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["verdict"] == "not_feasible"
    assert summary["reason"].endswith("nothing can be held: no position was ever wanted.")
    assert (folder / "feasibility.html").stat().st_size > 1_000_000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"positions_min": 0}, "positions_min must be a whole number >= 1, was 0"),
        ({"positions_min": 2.5}, "positions_min must be a whole number >= 1, was 2.5"),
        ({"samples": -1}, "samples must be a whole number >= 1, was -1"),
        ({"capitals": [230, -1]}, r"capitals must be a list of numbers in \(0, 1,000,000,000\]"),
        ({"capitals": ["all"]}, "capitals must be a list of numbers"),
    ],
)
def test_settings_out_of_their_range_are_refused_before_anything_is_loaded(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        feasibility.main(configured(tmp_path, data={"_target_": "nowhere.Data"}, **changes))
    assert not (tmp_path / "runs" / "feasibility").exists()


@pytest.mark.parametrize("experiment", ["quickstart", "stage_230"])
def test_the_minimum_is_the_universe_s_own_or_ten(experiment: str) -> None:
    assert compose("feasibility", [f"+experiment={experiment}"]).positions_min == 10
    changed = compose("feasibility", ["universe=liquid", "universe.symbols_min=4"])
    assert changed.positions_min == 4


def ask_from_outside(workplace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    small = ("data.n_symbols=4", "data.days=100", "data.late_listings=1")
    return subprocess.run(
        [sys.executable, "-m", "quantcore.research.feasibility", "+experiment=quickstart", *small, *arguments],
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.integration
def test_the_command_ends_in_nought_and_its_last_line_is_the_folder(tmp_path: Path) -> None:
    done = ask_from_outside(tmp_path, "account.capital=230", "risk=staging")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / done.stdout.strip().splitlines()[-1]
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert (summary["experiment"], summary["size_limit"]) == ("quickstart", 0.1)
    assert summary["verdict"] == "not_feasible"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("capitals=[0]", "capitals must be a list of numbers in (0, 1,000,000,000], was [0]"),
        ("account.capital=-5", "capital must be > 0, was -5"),
        ("account.leverage_max=500", "account.leverage_max must be <="),
    ],
)
def test_a_refused_command_says_one_line_and_leaves_nothing(
    tmp_path: Path, override: str, said: str
) -> None:
    done = ask_from_outside(tmp_path, override)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if "compiling the kernels" not in line]
    assert len(lines) == 1
    assert said in lines[0]
    runs = tmp_path / "data" / "runs"
    assert not list(runs.glob("feasibility/*"))
    assert not list(runs.glob(".partial/*"))


@dataclass(frozen=True, kw_only=True)
class SilentSettings:
    """Of the plain strategy below."""

    lookback: int
    exits: ExitSettings = NO_EXITS


def forecast(bars: Bars) -> pd.Series[float]:
    """Return that nothing is wanted."""
    return pd.Series(0.0, index=list(bars.symbols))
