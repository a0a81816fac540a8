"""Which runs are meant, and what a comparison reads of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quantcore.backtest.metrics import compute_metrics
from quantcore.backtest.report import SavedRun, read_run, write_run
from quantcore.errors import ConfigError, DataGap, SchemaMismatch
from quantcore.research.compare_records import find_folder, records
from quantcore.timegrid import HOUR_US
from tests.backtest.conftest import simulate
from tests.research.recorded import cut, pair


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for place in (
        "backtest/20240101T000000.000002Z-b",
        "backtest/20240101T000000.000001Z-a",
        "backtest/20240301T000000.000000Z-c",
        "walk_forward/20240201T000000.000000Z-w",
        "walk_forward/20240401T000000.000000Z-unfinished",
        ".partial/20240501T000000.000000Z-p",
    ):
        (tmp_path / place).mkdir(parents=True)
        if not place.endswith("unfinished"):
            (tmp_path / place / "metrics.json").write_text("{}", "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("latest", "backtest/20240301T000000.000000Z-c"),
        ("latest~1", "backtest/20240101T000000.000002Z-b"),
        ("latest~2", "backtest/20240101T000000.000001Z-a"),
        ("walk_forward/latest", "walk_forward/20240201T000000.000000Z-w"),
        ("20240201T000000.000000Z-w", "walk_forward/20240201T000000.000000Z-w"),
        ("backtest/20240301T000000.000000Z-c", "backtest/20240301T000000.000000Z-c"),
    ],
)
def test_a_run_is_found_by_its_name_or_as_in_git(runs: Path, name: str, found: str) -> None:
    assert find_folder(name, runs) == runs / found


def test_a_path_is_itself_wherever_it_lies(runs: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert find_folder(str(elsewhere), runs) == elsewhere


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("latest~3", r"latest~3 must be one of the 3 results under .*backtest"),
        ("walk_forward/latest~1", "must be one of the 1 results"),
        ("sweep/latest", "must be the results of a backtest or walk-forward, .*sweep holds none"),
        ("20240301T000000.000000Z-d", "nearest: 20240301T000000.000000Z-c"),
        ("20240501T000000.000000Z-p", "run must be a results folder"),
    ],
)
def test_a_name_that_means_nothing_is_refused(runs: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find_folder(name, runs)


def test_a_run_and_its_folder_are_read_alike(tmp_path: Path) -> None:
    run = simulate(days=10)
    saved = read_run(write_run(run, tmp_path, "backtest", "fake"))
    made, read = records([run, saved])
    assert (made.label, read.label) == ("A", "B")
    assert (made.name, read.name) == ("fake", "fake")
    assert (made.folder, read.folder) == ("", saved.folder.name)
    assert made.capital == read.capital == 1000.0
    assert dict(made.metrics) == compute_metrics(run) == pytest.approx(dict(read.metrics))
    np.testing.assert_array_equal(made.nav, read.nav)
    assert len(made.tables["trades"]) == len(read.tables["trades"]) > 0
    assert made.settings == read.settings == {"experiment": "fake"}


def test_the_value_of_a_unit_follows_from_equity_and_cash_flows_where_the_table_has_none() -> None:
    run, _ = pair(days=40)
    equity = run.tables["equity"]
    assert (equity["flow"] != 0.0).sum() == 1
    bare = replace(run, tables={**run.tables, "equity": equity.drop(columns=["nav", "flow"])})
    np.testing.assert_array_equal(bare.flow, run.flow)
    np.testing.assert_allclose(bare.nav, run.nav, rtol=1e-12)


def test_the_first_row_begins_one_decision_earlier() -> None:
    run, _ = pair(days=10)
    slow = cut(run, first=1, every=4)
    assert slow.spacing_us == 4 * HOUR_US
    assert slow.begin_us == int(run.ts_us[0])


def saved(days: int = 3) -> SavedRun:
    run = simulate(days=days, deposits=())
    return SavedRun(
        folder=Path("somewhere"), tables={**run.tables, "trades": pd.DataFrame()},
        metrics={"capital": 1000.0}, manifest={}, config_yaml="",
    )  # fmt: skip


def test_too_few_and_too_many_runs_are_refused() -> None:
    with pytest.raises(ConfigError, match="a comparison must have 2 to 26 runs, had 1"):
        records([simulate(days=3)])
    with pytest.raises(ConfigError, match="had 27"):
        records([saved()] * 27)


def test_a_folder_that_lacks_something_is_named() -> None:
    whole = saved()
    fills = {name: table for name, table in whole.tables.items() if name != "fills"}
    with pytest.raises(DataGap, match=r"must hold fills\.parquet, somewhere does not"):
        records([replace(whole, tables=fills), whole])
    with pytest.raises(SchemaMismatch, match="table trades must have the columns"):
        records([whole, whole])
    one = simulate(days=3, deposits=())
    mended = replace(
        whole, tables={**whole.tables, "trades": records([one, one])[0].tables["trades"]}
    )
    with pytest.raises(SchemaMismatch, match=r"config\.yaml of somewhere must be a mapping"):
        records([replace(mended, config_yaml="[1, 2]"), mended])
    assert records([mended, mended])[0].name == "somewhere"
