"""The ledger from outside: what backtests leave in it, what their reports say of it, and that it can be off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

SMALL = ("+experiment=quickstart", "data.n_symbols=4", "data.days=90", "data.late_listings=1")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workplace")


def command(
    workplace: Path, module: str, *arguments: str, code: int = 0
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", f"quantcore.{module}", *arguments],
        cwd=workplace,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def results(workplace: Path) -> list[dict[str, Any]]:
    folders = sorted((workplace / "data" / "runs" / "backtest").glob("*/"))
    return [json.loads((folder / "metrics.json").read_text()) for folder in folders]


@pytest.mark.slow
def test_each_different_run_is_tried_once_and_deflates_the_next(workplace: Path) -> None:
    """Three runs, of which the last repeats the first: two trials."""
    changes = "strategy.fast=4,12,4"
    done = command(workplace, "backtest", "-m", *SMALL, changes)
    ledger = workplace / "data" / "runs" / "trials.jsonl"
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["market", "trials", "trials"]
    assert {line["experiment"] for line in lines[1:]} == {"quickstart"}
    said = " ".join(done.stdout.split())
    assert said.count("holds no other trial of this market and span") == 1
    assert said.count("holds 2 trials of this market and span with this one") == 2
    for metrics in results(workplace):
        assert metrics["trials"] >= 1
        assert metrics["dsr"] is None or metrics["dsr"] <= metrics["psr"]
    assert "2 trials in 2 entries." in command(workplace, "research.trials").stdout


def test_a_run_with_the_ledger_off_says_so_and_writes_nothing(workplace: Path) -> None:
    runs = workplace / "quiet"
    done = command(workplace, "backtest", *SMALL, "ledger=off", f"runs={runs}")
    assert "(ledger=off)" in done.stdout
    assert {path.name for path in runs.iterdir()} == {"backtest", ".partial"}
    [page] = runs.glob("backtest/*/tearsheet.html")
    assert "(ledger=off)" in page.read_text("utf-8")


def test_a_ledger_that_cannot_be_used_is_refused_before_anything_is_computed(
    tmp_path: Path,
) -> None:
    (tmp_path / "notes.md").write_text("notes\n")
    done = command(tmp_path, "backtest", *SMALL, "ledger=notes.md", code=2)
    assert done.stdout == ""
    assert done.stderr == (
        "ledger must be a ledger of trials or a new file, was notes.md with other contents\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["notes.md"]
