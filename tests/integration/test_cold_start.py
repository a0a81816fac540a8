"""The first run compiles in two processes, everything once, and later runs compile nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quantcore.backtest import compiling

pytestmark = pytest.mark.integration

SMALL = ("data.n_symbols=3", "data.days=200", "data.late_listings=0")
OUTERMOST = (
    "account_step.scan",
    "bootstrap.resampled_drawdowns",
    "bootstrap.resampled_sharpes",
    "drawdown.deepest_drawdown",
    "passage.passage_probability",
    "passage.simulate_account",
    "paths.path_outcomes",
    "paths.record_outcomes",
    "trades.scan_round_trips",
)
"""What `quantcore.backtest.compiling` compiles ahead."""


def quickstart(workplace: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "quantcore.backtest", "+experiment=quickstart", *SMALL],
        cwd=workplace,
        env={**os.environ, "NUMBA_CACHE_DIR": str(workplace / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )


@pytest.mark.slow
def test_a_first_run_compiles_everything_once_and_a_second_nothing(tmp_path: Path) -> None:
    assert "compiling the kernels" in quickstart(tmp_path).stderr
    first = {path.name for path in (tmp_path / "cache").rglob("*.nbc")}
    for kernel in OUTERMOST:
        assert len([name for name in first if name.startswith(f"{kernel}-")]) == 1, kernel
    assert quickstart(tmp_path).stderr == ""
    assert {path.name for path in (tmp_path / "cache").rglob("*.nbc")} == first


def test_a_run_goes_on_where_the_other_process_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = []
    monkeypatch.setattr(compiling, "is_compiled", lambda kernel: False)
    monkeypatch.setattr(compiling, "compile_judges", lambda: done.append("judges"))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    compiling.begin_compiling()()
    assert done == ["judges"]
    assert "once" in capsys.readouterr().err


def test_nothing_happens_where_the_account_is_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiling, "is_compiled", lambda kernel: True)
    monkeypatch.setattr(subprocess, "Popen", None)
    compiling.begin_compiling()()
    assert capsys.readouterr().err == ""
