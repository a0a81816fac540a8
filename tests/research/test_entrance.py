"""Sweeps, walk-forwards and comparisons from Python: what the commands find, in objects that show themselves."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest

import quantcore as qc
from quantcore.config import compose
from quantcore.errors import ConfigError, QuantcoreError
from quantcore.overrides import override_list
from quantcore.research import sweep_result
from quantcore.research.chosen import parameter_texts
from quantcore.research.sweep import main
from quantcore.research.sweep_store import SweepStore

SMALL = {
    "data.n_symbols": 3, "data.days": 160, "data.late_listings": 0, "data.interval": "8h",
    "data.execution_interval": "8h", "strategy.fast": 3, "strategy.slow": 9, "strategy.speeds": 2,
    "strategy.volatility_half_life": 20, "portfolio.volatility_half_life": 20, "portfolio.covariance_half_life": 20,
}  # fmt: skip
WALK = {f"walk_forward.{key}": n for key, n in (("folds", 3), ("groups", 4), ("blocks", 6), ("draws", 50))}  # fmt: skip
ANY: Any = qc
"""What takes arguments of wrong types."""
CHOICES = {"strategy.fast": [2, 3, 9], "strategy.slow": [8, 12]}
"""Six sets, of which one is refused: a fast span longer than the slow one."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("entrance")


@pytest.fixture(scope="module")
def settings(place: Path) -> dict[str, Any]:
    return {
        **SMALL,
        "data.root": place / "synthetic",
        "runs": place / "runs",
        "ledger": place / "trials.jsonl",
    }


@pytest.fixture(scope="module")
def swept(settings: dict[str, Any]) -> Any:
    return qc.sweep("quickstart", CHOICES, settings, workers=1)


@pytest.fixture(scope="module")
def walked(settings: dict[str, Any]) -> Any:
    choices = {"strategy.fast": [2, 3, 4]}
    return qc.walk_forward("quickstart", choices, {**settings, **WALK}, workers=1)


def test_a_sweep_has_a_row_for_each_set_and_says_why_one_was_refused(swept: Any) -> None:
    table = swept.table
    assert table[["strategy.fast", "strategy.slow"]].to_numpy().tolist() == [
        [2, 8], [2, 12], [3, 8], [3, 12], [9, 8], [9, 12],
    ]  # fmt: skip
    assert [k for k, text in enumerate(table["refused"]) if text] == [4]
    assert np.isnan(swept.daily_returns[4]).all()
    assert swept.daily_returns.shape == (160, 6)


def test_the_best_set_is_a_backtest_of_its_own(swept: Any, settings: dict[str, Any]) -> None:
    assert swept.best.metrics["sharpe"] == swept.table["sharpe"].max()
    alone = qc.backtest("quickstart", {**settings, **swept.best})
    assert alone.metrics["sharpe"] == pytest.approx(swept.best.metrics["sharpe"], rel=1e-12)
    returns = swept.daily_returns[swept.best.number].to_numpy()
    np.testing.assert_allclose(alone.daily_returns.to_numpy(), returns, rtol=0.0, atol=1e-12)
    assert set(swept.rather) == set(CHOICES)


def test_luck_is_that_of_records_of_this_length_and_not_the_scatter_of_like_sets(
    swept: Any,
) -> None:
    # Bailey and Lopez de Prado 2014, eq. 1, with the variance 1 / days of a Sharpe ratio a day without skill.
    trials, normal = swept.summary["trials"], NormalDist()
    assert 1 < trials < 10  # so few say nothing of their own spread
    rank = (1.0 - np.euler_gamma) * normal.inv_cdf(1.0 - 1.0 / trials)
    rank += np.euler_gamma * normal.inv_cdf(1.0 - 1.0 / (trials * np.e))
    assert swept.luck == pytest.approx(rank * np.sqrt(365.0 / 160.0), rel=1e-9)
    above = swept.best.metrics["sharpe"] > swept.luck
    assert (swept.summary["dsr"] > 0.5) == above


def test_a_sweep_is_written_down_in_the_ledger(swept: Any, place: Path) -> None:
    lines = (place / "trials.jsonl").read_text("utf-8").splitlines()
    assert any(json.loads(line).get("command") == "sweep" for line in lines)


@pytest.fixture
def interrupted(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Settings of a sweep that was interrupted when the first of its chunks was kept."""
    own = {**settings, "runs": tmp_path / "runs", "ledger": tmp_path / "trials.jsonl"}
    add = SweepStore.add

    def last(store: SweepStore, chunk: Any) -> None:
        add(store, chunk)
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(SweepStore, "add", last)
        with pytest.raises(KeyboardInterrupt):
            qc.sweep("quickstart", CHOICES, own, workers=1)
    assert not (tmp_path / "trials.jsonl").exists()
    return own


def test_a_sweep_that_was_interrupted_goes_on(
    interrupted: dict[str, Any], swept: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    again = qc.sweep("quickstart", CHOICES, interrupted, workers=1)
    known = re.search(r"going on with a sweep: (\d) of 6 sets are known", capfd.readouterr().err)
    assert known is not None
    assert 0 < int(known[1]) < 6
    pd.testing.assert_frame_equal(again.table, swept.table, check_exact=True)
    pd.testing.assert_frame_equal(again.daily_returns, swept.daily_returns, check_exact=True)
    assert not list((interrupted["runs"] / ".partial").iterdir())


def test_a_sweep_that_was_interrupted_begins_anew_where_that_is_wanted_or_anything_differs(
    interrupted: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    qc.sweep("quickstart", CHOICES, {**interrupted, "account.capital": 770}, workers=1)
    assert "going on" not in capfd.readouterr().err
    assert list((interrupted["runs"] / ".partial").glob("*/*.npz"))
    qc.sweep("quickstart", CHOICES, {**interrupted, "resume": False}, workers=1)
    assert "going on" not in capfd.readouterr().err
    assert not list((interrupted["runs"] / ".partial").iterdir())


def test_the_command_goes_on_with_a_sweep_from_python(
    interrupted: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    told = [f"sweep.parameters={json.dumps(parameter_texts(CHOICES))}", "workers=1"]
    cfg = compose("sweep", ["+experiment=quickstart", *override_list(interrupted), *told])
    assert main(cfg) == 0
    assert "going on with a sweep" in capfd.readouterr().err


def test_a_best_set_that_comes_to_something_else_alone_is_told_with_the_sets_in_the_ledger(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "trials.jsonl"
    own = {**settings, "runs": tmp_path / "runs", "ledger": ledger}

    def differs(*_: Any) -> tuple[float, str]:
        assert not ledger.exists()  # the set runs alone first
        return 3e-9, "fees"

    monkeypatch.setattr(sweep_result, "difference_alone", differs)
    with pytest.raises(QuantcoreError) as caught:
        qc.sweep("quickstart", CHOICES, own, workers=1)
    assert str(caught.value) == (
        "the best set must come to the same alone, fees differed by 3.0e-09 of its size; no results were written, "
        f"its 5 trials stay in the ledger {ledger}; resume=false computes all sets anew"
    )
    (entry,) = [json.loads(line) for line in ledger.read_text("utf-8").splitlines()][1:]
    assert (entry["command"], entry["n_trials"]) == ("sweep", 5)
    ledger.unlink()
    with pytest.raises(QuantcoreError, match="no results were written, the ledger is off;"):
        qc.sweep("quickstart", CHOICES, {**own, "ledger": "off"}, workers=1)


def test_a_sweep_shows_its_verdict_figures_and_page(swept: Any, tmp_path: Path) -> None:
    assert swept.verdict in swept._repr_html_()
    assert swept.verdict in repr(swept)
    assert swept.plot().data[0].type == "heatmap"
    assert [trace.type for trace in swept.plot("distribution").data] == ["bar"]
    page = swept.report(tmp_path / "sweep.html")
    assert page.path.read_text("utf-8") == page.html
    with pytest.raises(ConfigError, match="kind must be one of map, distribution, was 'heat'"):
        swept.plot("heat")


def test_a_table_that_is_changed_changes_no_sweep(swept: Any) -> None:
    table = swept.table
    table["sharpe"] = 99.0
    assert swept.table["sharpe"].max() < 99.0


def test_a_chosen_set_survives_being_pickled(swept: Any) -> None:
    again = pickle.loads(pickle.dumps(swept.best))
    assert (again, again.number, again.metrics) == (
        swept.best,
        swept.best.number,
        swept.best.metrics,
    )


def test_bars_in_memory_are_swept_as_those_of_the_source(
    swept: Any, settings: dict[str, Any]
) -> None:
    own = {key: value for key, value in settings.items() if not key.startswith("data.")}
    market = {key: value for key, value in settings.items() if key.startswith("data.")}
    bars = qc.backtest("quickstart", {**own, **market}).bars
    handed = qc.sweep("quickstart", CHOICES, own, data=bars, workers=1)
    pd.testing.assert_frame_equal(handed.table, swept.table)
    assert any(note.startswith("The bars were handed over") for note in handed.swept.facts.notes)


def test_a_walk_forward_joins_its_tests_in_one_run(walked: Any) -> None:
    assert len(walked.folds) == 3
    assert walked.run.daily_returns.index[0] == walked.folds["test_start"].iloc[0]
    assert walked.summary["sharpe_oos"] == walked.run.metrics["sharpe"]
    assert len(walked.own.daily_returns) == len(walked.run.daily_returns)
    assert set(walked.folds["strategy.fast"]) <= {2, 3, 4}
    assert walked.verdict in walked._repr_html_()
    assert walked.daily_returns.shape == (160, 3)
    assert len(walked.paths) == 3  # choose(4, 2) splits of two groups of four each: 6 * 2 / 4
    for kind in ("curve", "folds", "degradation", "ranks", "cross_validation"):
        assert walked.plot(kind).data
    assert "walk-forward" in walked.report().html


def test_a_comparison_takes_the_accounts_of_a_walk_forward(walked: Any) -> None:
    compared = qc.compare([walked.own, walked.run])
    assert len(compared.verdicts) == 1
    assert compared.verdicts[0] in compared._repr_html_()
    assert compared.daily_returns.columns.tolist() == ["A", "B"]
    assert compared.plot().data
    np.testing.assert_allclose(
        compared.daily_returns["B"].to_numpy(), walked.run.daily_returns.to_numpy(), atol=1e-12
    )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: qc.sweep("quickstart", {"strategy.fst": [1]}), "unknown parameter strategy.fst; nearest: strategy.f"),
        (lambda: qc.sweep("quickstart", {}), "parameters must name at least one setting"),
        (lambda: ANY.sweep("quickstart", ["strategy.fast=1"]), "parameters must be a mapping"),
        (lambda: qc.sweep("quickstart", {"strategy.fast": 5}), "strategy.fast must be a list of values"),
        (lambda: qc.sweep("quickstart", {"strategy.fast": []}), "strategy.fast must have at least one value"),
        (lambda: qc.sweep("quickstart", {"strategy.fast": (1, 2, 3)}), "an interval (low, high), was (1, 2, 3)"),
        (lambda: qc.sweep("quickstart", {"strategy.fast": [1]}, "workers=2", workers=1), "workers must be given once"),
        (lambda: qc.sweep("quickstart", {"strategy.fast": [1]}, workers=0), "workers must be null or a whole number"),
        (lambda: qc.walk_forward("quickstart", {"strategy.fast": [1]}, sets=3), "sets must be null on a grid"),
        (lambda: qc.compare([]), "a comparison must have 2 to 26 runs, had 0"),
        (lambda: ANY.compare([1, 2]), "runs must be what qc.backtest or qc.open_run gave"),
        (lambda: ANY.compare(7), "runs must be a list of runs, was int"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(
    call: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QUANTCORE_TRACEBACK", raising=False)
    with pytest.raises(ConfigError) as caught:
        call()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_parameters_are_written_in_the_grammar_of_the_command_line() -> None:
    told = parameter_texts(
        {"a.b": range(1, 4), "c": np.array([0.5, 1.0]), "d": (1, 9), "e": ["x y", None, True], "f": "range(1,5)"}
    )  # fmt: skip
    assert told == [
        "a.b=1,2,3", "c=0.5,1.0", "d=interval(1,9)", "e='x y',null,true", "f=range(1,5)",
    ]  # fmt: skip
