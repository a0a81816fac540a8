"""The comparison as a whole: in Python, printed, as a page, and as a command."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from quantcore.backtest.report import read_run, write_run
from quantcore.backtest.result import Run
from quantcore.backtest.view import NewRun, OpenedRun
from quantcore.config import compose
from quantcore.errors import ConfigError
from quantcore.research import compare as command
from quantcore.research.compare import CompareSettings, Comparison, compare
from quantcore.research.compare_figures import SYMBOLS_SHOWN, equity_figure, symbol_differences
from quantcore.research.compare_printed import print_comparison
from quantcore.research.compare_report import page
from tests.backtest.conftest import simulate

JUDGE = CompareSettings(confidence=0.9, paths=1000)


@pytest.fixture(scope="module")
def three() -> list[Run]:
    return [simulate(days=100, seed=seed, symbols=4) for seed in (7, 8, 9)]


@pytest.fixture(scope="module")
def found(three: list[Run]) -> Comparison:
    return compare(three, JUDGE)


@pytest.fixture(scope="module")
def written(three: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of results that holds the folders of the first two runs."""
    root = tmp_path_factory.mktemp("runs")
    for run in three[:2]:
        write_run(run, root, "backtest", "fake")
    return root


def printed(found: Comparison, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    print_comparison(found, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_run_and_its_folder_compare_alike(three: list[Run], written: Path) -> None:
    saved = [read_run(folder) for folder in sorted((written / "backtest").iterdir())]
    made, read = compare(three[:2], JUDGE, seed=3), compare(saved, JUDGE, seed=3)
    pd.testing.assert_frame_equal(made.returns, read.returns, check_freq=False)
    pd.testing.assert_frame_equal(made.differences, read.differences)
    assert made.verdicts == read.verdicts
    again = compare(three[:2], JUDGE, seed=4)
    assert not again.differences.equals(made.differences)


def test_what_a_notebook_holds_compares_alike(three: list[Run], written: Path) -> None:
    folders = sorted((written / "backtest").iterdir())
    views: list[NewRun | OpenedRun] = [
        NewRun("fake", three[0]),
        OpenedRun("fake", read_run(folders[1])),
    ]
    assert compare(views, JUDGE).verdicts == compare(three[:2], JUDGE).verdicts


def test_settings_left_out_are_those_of_the_command(three: list[Run]) -> None:
    assert compare(three[:2]).summary["confidence"] == 0.95


def test_the_summary_is_json_and_tells_the_same_as_the_tables(found: Comparison) -> None:
    summary = json.loads(json.dumps(found.summary))
    assert [entry["label"] for entry in summary["runs"]] == found.labels == ["A", "B", "C"]
    assert summary["days"] == len(found.returns) == 100
    assert summary["same_span"] is True
    assert summary["comparisons"] == len(summary["verdicts"]) == len(found.verdicts) == 2
    for beside in summary["against_base"]:
        net = found.symbols.groupby("label")["net"].sum()
        assert sum(beside["parts"].values()) == pytest.approx(net[beside["label"]] - net["A"])
    for label, curve in found.curves.groupby("label"):
        assert curve["value"].iloc[0] == 1.0
        worth = (1.0 + found.returns[str(label)]).prod()
        assert curve["value"].iloc[-1] == pytest.approx(worth)


def test_the_page_needs_no_network_and_shows_every_run(found: Comparison) -> None:
    text = page(found)
    for name in ("equity", "ratio", "intervals", "parts", "symbols"):
        assert f'id="{name}"' in text
    assert "<link" not in text
    assert "<script src" not in text
    for verdict in found.verdicts:
        assert verdict in text.replace("&#x27;", "'")
    assert text == page(found)


def test_the_curves_of_the_figure_start_together_and_end_at_their_returns(
    found: Comparison,
) -> None:
    above = [trace for trace in equity_figure(found)["data"] if trace.get("yaxis") != "y2"]
    assert [trace["name"] for trace in above] == ["A · fake", "B · fake", "C · fake"]
    assert all(trace["y"][0] == 1.0 for trace in above)
    assert len({trace["line"]["color"] for trace in above}) == 3


def test_symbols_are_listed_by_how_far_they_are_apart(found: Comparison) -> None:
    apart = symbol_differences(found)
    widest = apart.abs().max(axis=1)
    assert widest.is_monotonic_decreasing
    assert len(apart) == 4 <= SYMBOLS_SHOWN
    net = found.symbols.pivot_table(index="symbol", columns="label", values="net")
    np.testing.assert_allclose(apart["B"], (net["B"] - net["A"]).loc[apart.index])


@pytest.mark.parametrize("width", [36, 60, 80, 200])
def test_on_any_terminal_nothing_is_cut_off_and_the_base_stands_in_every_table(
    found: Comparison, width: int
) -> None:
    text = printed(found, width)
    assert "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= min(width, 100)
    tables = text.count("In the common span")
    assert tables == (2 if width < 65 else 1)
    words = " ".join(text.split())
    for verdict in found.verdicts:
        assert verdict in words
    assert words.count("the same settings as A") == 2


def test_a_run_that_never_traded_is_shown_without_ratios(three: list[Run]) -> None:
    idle = simulate(days=100, orders_per_bar=0.0, deposits=(), liquidation_at=None, symbols=4)
    found = compare([three[0], idle], JUDGE)
    assert found.summary["verdicts"][0]["kind"] == "no_ratio"
    assert "so it has no Sharpe ratio" in " ".join(printed(found, 80).split())
    assert 'id="intervals"' not in page(found)


def test_two_runs_that_never_traded_can_be_compared_and_are_the_same() -> None:
    idle = simulate(days=100, orders_per_bar=0.0, deposits=(), liquidation_at=None)
    found = compare([idle, idle], JUDGE)
    assert found.summary["verdicts"][0]["kind"] == "same"
    assert "<h3>By symbol</h3>" not in page(found)
    printed(found, 80)


def test_runs_of_a_few_days_are_shown_without_a_verdict() -> None:
    found = compare([simulate(days=5), simulate(days=5, seed=8)], JUDGE)
    assert found.summary["verdicts"][0]["kind"] == "short"
    assert "5 common days are too few" in page(found)


# --- the command ----------------------------------------------------------------------------------


def configured(runs: Path, **changed: Any) -> Any:
    cfg = compose("compare", ["judge.paths=1000"])
    cfg.runs = str(runs)
    for key, value in changed.items():
        cfg[key] = value
    return cfg


def test_the_command_publishes_what_it_prints(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(configured(written, folders=["latest~1", "latest"], name="both")) == 0
    told = capsys.readouterr().out.rstrip().splitlines()
    folder = Path(told[-1])
    assert folder.parent == written / "compare"
    assert folder.name.endswith("-both")
    assert {path.name for path in folder.iterdir()} == {
        "summary.json", "config.yaml", "compare.html", "comparison.parquet", "returns.parquet",
        "settings.parquet", "differences.parquet", "symbols.parquet",
    }  # fmt: skip
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["verdicts"][0]["text"] in " ".join(" ".join(told).split())
    returns = pd.read_parquet(folder / "returns.parquet")
    assert list(returns.columns) == ["A", "B"]
    assert returns.index.name == "ts"
    assert isinstance(returns.index, pd.DatetimeIndex)
    metrics = pd.read_parquet(folder / "comparison.parquet")
    assert list(metrics.columns) == ["metric", "basis", "best", "A", "B"]
    assert not list((written / ".partial").iterdir())


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (
            [],
            "a comparison must name two or more results folders, such as latest~1 latest, named 0",
        ),
        (["latest"], "named 1"),
        ("latest", "named 1"),
        (["latest", 3], r"folders must be a list of names, was \['latest', 3\]"),
        (["latest", "latest~1"], "latest must be the results of a backtest or walk-forward, "),
    ],
)
def test_names_that_cannot_be_compared_are_refused_and_leave_nothing(
    tmp_path: Path, folders: Any, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        command.main(configured(tmp_path, folders=folders))
    assert not (tmp_path / "compare").exists()


def ask(workplace: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.integration
def test_two_backtests_are_compared_from_outside(tmp_path: Path) -> None:
    small = ("+experiment=quickstart", "data.n_symbols=3", "data.late_listings=0", "data.days=150")
    made = ask(tmp_path, "quantcore.backtest", *small, "-m", "account.capital=770,7700")
    assert made.returncode == 0, made.stderr
    done = ask(tmp_path, "quantcore.research.compare", "latest~1", "latest", "judge.paths=1000")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / done.stdout.strip().splitlines()[-1]
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert [entry["capital"] for entry in summary["runs"]] == [770.0, 7700.0]
    assert summary["verdicts"][0]["kind"] in ("undecided", "better", "worse")
    assert "account.capital: 7700 instead of 770" in done.stdout
    assert (folder / "compare.html").stat().st_size > 1_000_000
    refused = ask(tmp_path, "quantcore.research.compare", "latest", "latst")
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert "run must be a results folder, its name under data/runs" in refused.stderr
    help_text = ask(tmp_path, "quantcore.research.compare", "--help")
    assert help_text.returncode == 0
    assert "RUN RUN..." in help_text.stdout
