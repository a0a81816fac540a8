from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quantcore.config import compose
from quantcore.errors import ConfigError, QuantcoreError
from quantcore.research import sweep_result
from quantcore.research.evaluate import evaluate_all
from quantcore.research.executors import LocalExecutor
from quantcore.research.outcomes import SET_METRICS, Chunk, join, merge, refusal
from quantcore.research.sets import Sets
from quantcore.research.study import Study, study_of
from quantcore.research.sweep import SweepSettings, check_memory, main, run, sample
from quantcore.research.sweep_result import difference_alone, probability_of_overfitting, verified
from quantcore.research.sweep_store import SweepStore

NARROW = ["data.n_symbols=3", "data.days=150", "data.late_listings=0"]
GRID = ["strategy.fast=12,24", "strategy.slow=20,96", "account.capital=100,5000"]


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of(compose("sweep", ["+experiment=quickstart", *NARROW]))


def settings(**changes: Any) -> SweepSettings:
    return SweepSettings(**{"parameters": GRID, "sampling": "grid", "sets": None, **changes})


def a_chunk(rows: list[int], value: float) -> Chunk:
    return Chunk(
        rows=np.array(rows),
        metrics=np.full((len(rows), len(SET_METRICS)), value),
        daily=np.full((5, len(rows)), value),
        days_us=np.arange(5),
        refused=("",) * len(rows),
    )


def test_a_sweep_gives_each_set_what_its_backtest_gives(study: Study) -> None:
    _, sets = sample(settings(), study, seed=7)
    outcomes = run(study, sets, executor=LocalExecutor(workers=1), store=None)
    assert len(outcomes.table) == 8
    refused = outcomes.table["refused"] != ""
    assert list(outcomes.table.loc[refused, "strategy.fast"]) == [24, 24]
    assert outcomes.table.loc[refused, "sharpe"].isna().all()
    for number in np.flatnonzero(~refused):
        assert difference_alone(study, sets, outcomes, int(number))[0] <= 1e-12


def test_a_difference_to_the_backtest_is_not_passed_over(study: Study) -> None:
    _, sets = sample(settings(), study, seed=7)
    outcomes = run(study, sets, executor=LocalExecutor(workers=1), store=None)
    outcomes.table["fees"] *= 1.0 + 1e-9
    found = difference_alone(study, sets, outcomes, 0)
    assert found[0] == pytest.approx(1e-9, rel=1e-3)
    assert found[1] == "fees"
    with pytest.raises(QuantcoreError, match=r"alone, fees differed by 1\.0e-09 .* was kept"):
        verified(*found, kept="it was kept")
    outcomes.table.loc[0, "sharpe"] = np.nan  # others follow it and are the same
    assert difference_alone(study, sets, outcomes, 0) == (math.inf, "sharpe")


def test_processes_change_no_bit(study: Study) -> None:
    _, sets = sample(settings(), study, seed=7)
    rows = [sets.row(k) for k in range(len(sets))]
    one = evaluate_all(study, rows, executor=LocalExecutor(workers=1))
    two = evaluate_all(study, rows, executor=LocalExecutor(workers=2))
    pd.testing.assert_frame_equal(one.table, two.table, check_exact=True)
    np.testing.assert_array_equal(one.daily, two.daily)


def test_strategies_without_a_kernel_run_as_backtests(study: Study) -> None:
    values: list[dict[str, Any]] = [
        {"strategy": "pairs", "strategy.window_days": 60, "strategy.entry": entry}
        for entry in (1.5, 2.5)
    ]
    outcomes = evaluate_all(study, values, executor=LocalExecutor(workers=1))
    sets = Sets.of_rows(values)
    assert difference_alone(study, sets, outcomes, 1) == (0.0, "")


def test_an_interrupted_sweep_goes_on_with_the_same_result(study: Study, tmp_path: Path) -> None:
    _, sets = sample(settings(), study, seed=7)
    whole = run(study, sets, executor=LocalExecutor(workers=1), store=None)
    store = SweepStore(tmp_path / "sweep")
    rows = [sets.row(k) for k in range(len(sets))]
    part = evaluate_all(study, rows[2:5], executor=LocalExecutor(workers=1))
    metrics = part.table[list(SET_METRICS)].to_numpy()
    refused = tuple(part.table["refused"])
    with store.opened():
        store.add(
            Chunk(rows=np.array([2, 3, 4]), metrics=metrics, daily=part.daily, days_us=part.days_us, refused=refused)
        )  # fmt: skip
        again = run(study, sets, executor=LocalExecutor(workers=1), store=store)
    pd.testing.assert_frame_equal(again.table, whole.table, check_exact=True)
    np.testing.assert_array_equal(again.daily, whole.daily)


def test_a_chunk_that_is_not_whole_counts_as_not_there(tmp_path: Path) -> None:
    store = SweepStore(tmp_path / "sweep")
    with store.opened():
        store.add(a_chunk([0, 1], 1.0))
        store.add(a_chunk([2, 3], 2.0))
    torn = tmp_path / "sweep" / "000000002.npz"
    torn.write_bytes(torn.read_bytes()[:200])
    assert [chunk.rows.tolist() for chunk in store.chunks()] == [[0, 1]]


def test_the_same_sweep_cannot_run_twice_at_a_time(tmp_path: Path) -> None:
    with (
        SweepStore(tmp_path / "sweep").opened(),
        pytest.raises(ConfigError, match="must not run twice at a time"),
        SweepStore(tmp_path / "sweep").opened(),
    ):
        pass


def test_a_sweep_that_is_refused_before_its_first_chunk_leaves_no_folder(tmp_path: Path) -> None:
    store = SweepStore(tmp_path / "sweep")
    with pytest.raises(ConfigError, match="refused"), store.opened():
        raise ConfigError("refused")
    assert not list(tmp_path.iterdir())
    with store.opened():
        store.add(a_chunk([0], 1.0))
    assert len(store.chunks()) == 1


REFUSALS: dict[str, tuple[list[str], str]] = {
    "no values": (['sweep.parameters=["strategy.fast="]'], "strategy.fast must have at least one value, was empty"),
    "empty range": (
        ['sweep.parameters=["strategy.fast=range(10,10)"]'],
        "strategy.fast must have at least one value, was empty: range(10, 10, 1)",
    ),
    "a parameter twice": (
        ['sweep.parameters=["strategy.fast=1,2","strategy.fast=3"]'],
        "parameters must name each path once, was strategy.fast twice",
    ),
    "a dead cluster": (
        ["executor=ray", "address=127.0.0.1:1"],
        "address must be that of a running Ray cluster, was 127.0.0.1:1: ",
    ),
    "no address": (["executor=ray", "address=5"], "address must be that of a running Ray cluster, was 5: "),
    "no executor": (["executor=dask"], "executor must be one of local, ray, was dask"),
    "no workers": (["workers=0"], "workers must be null or a whole number >= 1, was 0"),
    "no such sampling": (
        ["sweep.sampling=sobl", "sweep.sets=3"],
        "sweep.sampling must be one of grid, random, sobol, tpe, was 'sobl'",
    ),
    "neither true nor false": (["resume=maybe"], "resume must be true or false, was maybe"),
    "a database out of reach": (
        ["sweep.sampling=tpe", "sweep.sets=1", "search.storage=sqlite:////nowhere/at/all.db"],
        "storage must be a database that opens, was sqlite:////nowhere/at/all.db: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSALS))
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, told = REFUSALS[name]
    monkeypatch.chdir(tmp_path)
    given = ["+experiment=quickstart", *NARROW, f"data.root={tmp_path / 'market'}"]
    cfg = compose("sweep", [*given, 'sweep.parameters=["strategy.fast=12,24"]', *arguments])
    with pytest.raises(ConfigError) as caught:
        main(cfg)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if "runs" in path.parts and path.is_file()]
    assert not list(tmp_path.glob("data/runs/.partial/*"))


def test_a_sweep_of_which_all_sets_are_refused_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["+experiment=quickstart", *NARROW, 'sweep.parameters=["strategy.fast=500,600"]']
    assert main(compose("sweep", given)) == 0
    said = capsys.readouterr().out
    assert said.startswith("quickstart: 2 sets, no span, 3 symbols")
    assert "2 sets refused: strategy.slow must be > fast" in said
    assert not (tmp_path / "data" / "runs" / "trials.jsonl").exists()


def test_chunks_are_joined_in_the_order_of_the_sets() -> None:
    parts = [a_chunk([2, 0], 2.0), refusal(1, "why")]
    found = join(parts, {"a": [1, 2, 3]}, 3)
    assert found.table["sharpe"].isna().tolist() == [False, True, False]
    assert found.table["refused"].tolist() == ["", "why", ""]
    assert np.isnan(found.daily[:, 1]).all()
    assert merge(parts, [1, 0, 2]).refused == ("why", "", "")


def test_a_set_that_is_missing_or_there_twice_is_told() -> None:
    with pytest.raises(ValueError, match="must hold each of 3 sets once"):
        join([a_chunk([0, 1], 1.0)], {"a": [1, 2, 3]}, 3)
    with pytest.raises(ValueError, match="must hold each of 2 sets once"):
        join([a_chunk([0, 1], 1.0), a_chunk([1], 1.0)], {"a": [1, 2]}, 2)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"parameters": []}, "parameters must name at least one setting"),
        ({"sampling": "random"}, "sets must be >= 1 for random sampling, was None"),
        ({"sets": 5}, "sets must be null on a grid"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        settings(**changes)


def test_an_unknown_parameter_is_told_with_the_nearest(study: Study) -> None:
    with pytest.raises(ConfigError, match=r"strategy\.fats.*nearest: strategy\.fast"):
        sample(settings(parameters=["strategy.fats=1,2"]), study, seed=7)


def test_more_sets_than_memory_holds_are_refused_before_they_are_made(study: Study) -> None:
    check_memory(1000, 365, free=2**30)
    with pytest.raises(ConfigError, match=r"were 1,000,000 sets that need 12\.0 GiB where 1\.0"):
        check_memory(1_000_000, 365, free=2**30)
    with pytest.raises(ConfigError, match="must make no more sets than memory holds"):
        sample(
            settings(parameters=[f"strategy.{k}=range(1,100000)" for k in ("fast", "slow")]),
            study,
            seed=7,
        )


def test_overfitting_among_worthless_sets_is_one_half_on_average() -> None:
    found = []
    for seed in range(30):
        daily = np.random.default_rng(seed).normal(0.0, 0.01, (320, 40))
        daily[:, 5], daily[:, 6] = np.nan, 0.0
        found.append(probability_of_overfitting(daily))
    assert np.mean(np.array(found, dtype=float)) == pytest.approx(0.5, abs=0.12)
    assert probability_of_overfitting(daily[:, 5:7]) is None
    assert probability_of_overfitting(daily[:20]) is None


def test_a_planted_edge_is_no_overfitting() -> None:
    rng = np.random.default_rng(4)
    daily = rng.normal(0.0, 0.01, (320, 40))
    daily[:, 11] += 0.003
    found = probability_of_overfitting(daily)
    assert found is not None
    assert found < 0.02
    table = pd.DataFrame({"sharpe": daily.mean(axis=0) / daily.std(axis=0)})
    assert sweep_result.best_set(table) == 11


@pytest.mark.slow
@pytest.mark.integration
def test_the_command_is_interrupted_and_goes_on(tmp_path: Path) -> None:
    arguments = [
        sys.executable, "-m", "quantcore.research.sweep", "+experiment=quickstart", *NARROW, f"runs={tmp_path}",
        "workers=1", 'sweep.parameters=["strategy.fast=range(4,64)","strategy.slow=range(70,100)"]',
    ]  # fmt: skip
    first = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    unfinished = tmp_path / ".partial"
    until = time.monotonic() + 300.0
    while time.monotonic() < until and len(list(unfinished.glob("*/*.npz"))) < 2:
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert first.returncode == 130
    assert not list((tmp_path / "sweep").glob("*"))
    second = subprocess.run(arguments, capture_output=True, text=True, check=False, env=os.environ)
    assert second.returncode == 0, second.stderr
    assert "going on with a sweep" in second.stderr
    folder = Path(second.stdout.strip().splitlines()[-1])
    summary = json.loads((folder / "summary.json").read_text())
    table = pd.read_parquet(folder / "sweep.parquet")
    assert len(table) == summary["sets"] == 1800
    assert summary["best"]["verified_difference"] <= 1e-12
    assert table["sharpe"].idxmax() == summary["best"]["set"]
    assert (folder / "sweep.html").stat().st_size > 100_000
    assert not list(unfinished.glob("*"))
