"""A finished backtest's results folder is shown by the same sections."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from live.dashboard.board import State
from live.dashboard.feed import shown
from live.dashboard.finished import SHOWN, FinishedRun
from quantcore.backtest.report import read_run, write_run
from quantcore.errors import DataGap
from tests.backtest.conftest import simulate
from tests.dashboard.boards import read

CONFIG = """
data: {interval: 1h, execution_interval: 1h}
risk: {drawdown_max: 0.12, leverage_max: 10.0, net_max: null}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = replace(simulate(), config_yaml=CONFIG)
    return write_run(run, tmp_path_factory.mktemp("runs"), "backtest", "fake")


def test_a_results_folder_is_shown(folder: Path) -> None:
    run = FinishedRun(folder)
    board, saved = run.board(), read_run(folder)
    assert not run.has_news()
    assert not board.is_live
    assert board.curve.equity[-1] == saved.metrics["final_equity"]
    assert board.curve.change(None)[1] == pytest.approx(saved.metrics["total_return"])
    assert float(board.curve.drawdown.min()) == pytest.approx(saved.metrics["max_drawdown"])
    assert {c.name: c.amount for c in board.costs}["Fees"] == -saved.metrics["fees"]
    assert len(board.fills) == SHOWN
    assert board.fills[0].ts_us >= board.fills[-1].ts_us
    assert {c.name: c.state for c in board.checks}["liquidations"] is State.BAD
    assert {score.verdict for score in board.scores} <= {"met", "not met", "not measurable"}
    assert {g.name: g.limit for g in board.gauges} == {"drawdown": 0.12, "leverage": 10.0}
    held = saved.tables["positions"]
    last = held[held["ts"] == held["ts"].max()]
    assert {h.symbol for h in board.holdings} == set(last.loc[last["qty"] != 0.0, "symbol"])


def test_every_section_is_drawn(folder: Path) -> None:
    for html in shown(FinishedRun(folder).board()).sections.values():
        read(html)
    told = read(shown(FinishedRun(folder).board()).sections["headline"]).words
    assert "A finished run" in told
    assert "in all" in told


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataGap, match=r"must hold metrics\.json"):
        FinishedRun(tmp_path)
