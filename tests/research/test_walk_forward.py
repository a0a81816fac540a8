"""The command: a results folder that also says what the choice is worth, and input that is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

from quantcore.backtest.curves import curves
from quantcore.backtest.metrics import compute_metrics
from quantcore.backtest.outlook import outlook
from quantcore.backtest.report import read_run
from quantcore.backtest.result import METRIC_KEYS, RUN_TABLES
from quantcore.config import compose, conf_folder, group_options, plain_settings, resolved_yaml
from quantcore.errors import ConfigError
from quantcore.research import walk_forward as command
from quantcore.research.executors import LocalExecutor
from quantcore.research.selection import annual_sharpe
from quantcore.research.space import parse_space
from quantcore.research.space_names import check_names
from quantcore.research.study import NODES
from quantcore.research.trials import open_ledger
from quantcore.research.walk_forward_plan import check_switchable
from quantcore.research.walk_forward_report import page
from quantcore.research.walk_forward_result import WalkedForward, summary_of, tables_of
from quantcore.research.walk_forward_trials import counted
from quantcore.research.walk_forward_verdict import judge, told

SMALL = (
    "data.n_symbols=3", "data.days=160", "data.late_listings=0", "data.interval=8h", "data.execution_interval=8h",
    "strategy.fast=3", "strategy.slow=9", "strategy.speeds=2", "strategy.volatility_half_life=20",
    "portfolio.volatility_half_life=20", "portfolio.covariance_half_life=20", "workers=1",
    "walk_forward.folds=3", "walk_forward.groups=4", "walk_forward.blocks=6", "walk_forward.draws=50",
)  # fmt: skip
CHOICES = (
    "strategy.fast=2,3,9,4", "portfolio=inverse_volatility,risk_parity", "strategy.exits.stop_loss=null,0.05",
)  # fmt: skip
PARAMETERS = f"walk_forward.parameters=[{','.join(map(repr, CHOICES))}]"
"""Sixteen sets, of which four are refused: a fast span as long as the slow one."""


COMMON = ("+experiment=quickstart", *SMALL, PARAMETERS)


def configured(folder: Path, *changes: str) -> DictConfig:
    return compose(
        "walk_forward",
        [
            *COMMON,
            f"data.root={folder / 'synthetic'}",
            f"runs={folder / 'runs'}",
            *changes,
        ],
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("walk")


@cache
def walked(place: Path) -> WalkedForward:
    return command.walk_forward(
        command.prepare(configured(place)), executor=LocalExecutor(workers=1)
    )


@cache
def summary(place: Path) -> dict[str, Any]:
    run = walked(place).run
    return summary_of(
        walked(place),
        compute_metrics(run, ahead=outlook(run, curves(run))),
        experiment="small",
        seconds=1.0,
    )


def test_refused_sets_are_left_out_and_named(place: Path) -> None:
    found, table = walked(place), tables_of(walked(place))["sets"]
    assert len(found.sets) == 16
    assert len(found.kept) == 12
    refused = table[table["refused"] != ""]
    assert (refused["strategy.fast"] == 9).all()
    assert refused["refused"].str.contains("fast").all()
    assert refused["folds_chosen"].isna().all()
    assert table["folds_chosen"].sum() == 3
    assert table["splits_chosen"].sum() == 6
    assert (summary(place)["sets"], summary(place)["refused"]) == (16, 4)


def test_the_joined_account_is_close_to_the_chosen_sets_own_backtests(place: Path) -> None:
    found = walked(place)
    daily = curves(found.run).daily
    first = found.plan.folds[0].test_start
    assert len(daily) == len(found.plan.days_us) - first == len(found.evidence.forward)
    assert found.run.tables["equity"]["equity"].iloc[0] == found.run.capital
    # It differs by the positions it enters with and by lots, not by what it trades.
    together = np.corrcoef(daily.to_numpy(), found.evidence.forward)[0, 1]
    assert together > 0.95
    assert found.run.manifest["command"] == "quantcore.research.walk_forward"


def test_targets_of_a_test_are_those_of_its_chosen_set(place: Path) -> None:
    found = walked(place)
    targets = found.run.tables["targets"]
    study = command.prepare(configured(place)).study
    days = pd.to_datetime(found.plan.days_us, unit="us", utc=True)
    for step in found.evidence.steps:
        fold = step.fold
        values = found.sets.row(found.kept[step.choice.chosen])
        own = study.decided(dict(values)).found.weights
        begin = days[fold.test_start]
        end = (
            days[fold.test_stop]
            if fold.test_stop < len(days)
            else targets.index[-1] + pd.Timedelta("1s")
        )
        rows = (own.index >= begin) & (own.index < end)
        assert rows.sum() > 20
        same = (targets.index >= begin) & (targets.index < end)
        pd.testing.assert_frame_equal(targets[same], own[rows])


def test_a_set_evaluated_alone_has_the_returns_of_its_column(place: Path) -> None:
    found = walked(place)
    run = command.prepare(configured(place)).study.run(dict(found.sets.row(found.kept[5])))
    np.testing.assert_array_equal(curves(run).daily.to_numpy(), found.returns[:, 5])


def test_the_summary_says_what_the_tables_hold(place: Path) -> None:
    found, said, tables = walked(place), summary(place), tables_of(walked(place))
    daily = curves(found.run).daily.to_numpy(np.float64)
    assert said["sharpe_oos"] == pytest.approx(annual_sharpe(daily[:, np.newaxis])[0])
    assert said["sharpe_chosen"] == pytest.approx(
        annual_sharpe(tables["tests"][["chosen"]].to_numpy())[0]
    )
    assert said["pbo"] == pytest.approx((tables["overfitting"]["logit"] <= 0.0).mean())
    assert said["cross_validation"]["sharpe"]["q50"] == pytest.approx(
        tables["paths"]["sharpe"].median()
    )
    folds = tables["folds"]
    lengths = folds["test_days"] / folds["test_days"].sum()
    assert said["sharpe_promised"] == pytest.approx((folds["train_sharpe"] * lengths).sum())
    assert [f["chosen"] for f in said["folds"]] == [
        dict(found.sets.row(k)) for k in folds["set"].tolist()
    ]
    assert said["test_days"] == folds["test_days"].sum() == 80
    assert said["dsr"] <= said["psr"]
    assert said["verdict"] == judge(said)
    own = curves(found.own).daily.to_numpy(np.float64)
    assert said["sharpe_experiment"] == pytest.approx(annual_sharpe(own[:, np.newaxis])[0])
    chosen = tables["sets"].set_index("set").loc[said["best_in_sample"]["set"]]
    assert (
        chosen["sharpe_from_first_position"] == tables["sets"]["sharpe_from_first_position"].max()
    )


@pytest.mark.parametrize(
    ("changes", "verdict", "begins"),
    [
        ({"sharpe_oos": 2.0, "sharpe_oos_low": 0.1, "psr": 0.96}, "holds", "It holds out of sample: a Sharpe"),
        ({"sharpe_oos": 2.0, "sharpe_oos_low": -0.1, "psr": 0.96}, "undecided", "Out of sample it cannot be told"),
        ({"sharpe_oos": 2.0, "sharpe_oos_low": 0.1, "psr": 0.94}, "undecided", "Out of sample it cannot be told"),
        ({"sharpe_oos": 0.5, "psr": 0.70}, "undecided", "Out of sample it cannot be told from luck"),
        ({"sharpe_oos": -0.5, "psr": 0.30}, "does_not_hold", "It does not hold out of sample"),
        ({"sharpe_oos": None, "psr": float("nan")}, "does_not_hold", "Out of sample nothing was earned or lost"),
    ],
)  # fmt: skip
def test_the_verdict_follows_the_record(
    place: Path, changes: dict[str, Any], verdict: str, begins: str
) -> None:
    said = summary(place) | changes
    assert judge(said) == verdict
    assert told(said)[0].startswith(begins)


def test_a_joined_account_that_differs_from_its_sets_says_so(place: Path) -> None:
    same = summary(place) | {"sharpe_oos": 0.7, "sharpe_chosen": 0.6}
    assert "Joined in one account" not in told(same)[2]
    assert "Joined in one account they made 0.08" in told(same | {"sharpe_oos": 0.08})[2]


@pytest.mark.parametrize(
    ("pbo", "words"), [(0.1, "works"), (0.3, "helps a little"), (0.6, "is hardly better than drawing lots")]
)  # fmt: skip
def test_the_probability_of_overfitting_is_put_into_words(
    place: Path, pbo: float, words: str
) -> None:
    (sentence,) = (s for s in told(summary(place) | {"pbo": pbo}) if s.startswith("Choosing"))
    assert words in sentence
    assert f"probability {100 * pbo:.0f} % (PBO)" in sentence


def test_the_page_needs_no_network_and_shows_every_figure(place: Path) -> None:
    text = page(summary(place), tables_of(walked(place)))
    for name in ("curve", "folds", "degradation", "ranks", "crossed", "stability"):
        assert f'id="{name}"' in text
    assert "<link" not in text
    assert "<script src" not in text
    assert "fast · portfolio · stop_loss" in text
    assert summary(place)["sentences"][0].split(":")[0] in text


def test_the_command_publishes_a_results_folder(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = configured(place)
    cfg.runs = str(tmp_path / "runs")
    assert command.main(cfg) == 0
    lines = capsys.readouterr().out.rstrip().splitlines()
    folder = Path(lines[-1])
    assert folder.parent == tmp_path / "runs" / "walk_forward"
    assert folder.name.endswith("-quickstart")
    run = read_run(folder)
    assert set(RUN_TABLES) <= set(run.tables)
    assert list(run.metrics) == list(METRIC_KEYS)
    told_there = json.loads((folder / "summary.json").read_text("utf-8"))
    expected = summary(place)
    for key in ("verdict", "sharpe_oos", "pbo", "independent_sets", "sets", "parameters"):
        assert told_there[key] == expected[key]
    assert told_there["sharpe_oos"] == run.metrics["sharpe"]
    for name, table in tables_of(walked(place)).items():
        pd.testing.assert_frame_equal(
            pd.read_parquet(folder / f"{name}.parquet"), table, check_freq=False, check_dtype=False
        )
    assert {"tearsheet.html", "walk_forward.html", "config.yaml"} <= {
        f.name for f in folder.iterdir()
    }
    # All sets are one line of the ledger, and the joined account another.
    ledger = open_ledger(str(tmp_path / "runs" / "trials.jsonl"))
    assert ledger is not None
    assert sorted(len(entry.trials) for entry in ledger.read().entries) == [1, 12]
    assert run.metrics["trials"] == told_there["trials"] >= 1
    assert told_there["best_in_sample"]["dsr_ledger"] <= told_there["best_in_sample"]["dsr"] + 0.2
    printed = " ".join(" ".join(lines).split())
    assert all(" ".join(s.split()) in printed for s in told_there["sentences"])
    assert "What was chosen, and what came of it" in printed


def test_the_same_walk_is_one_trial_and_another_grid_or_span_another(
    place: Path, tmp_path: Path
) -> None:
    ledger = open_ledger(str(tmp_path / "trials.jsonl"))
    assert ledger is not None
    study = command.prepare(configured(place)).study
    for _ in range(2):
        found = counted(walked(place), study, ledger)
        assert len(ledger.read().entries) == 2
    assert found.counted is not None
    assert found.counted.found == 13  # the joined account is in the ledger since the first time
    other = configured(place, "walk_forward.folds=2")
    moved = replace(walked(place).run, config_yaml=resolved_yaml(other))
    counted(replace(walked(place), run=moved), study, ledger)
    assert len(ledger.read().entries) == 3
    off = counted(walked(place), study, None)
    assert off.run.trials is not None
    assert off.run.trials.found is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["walk_forward.train_days=20"], "walk_forward.train_days must be at least"),
        (["data.end=2024-02-20"], "walk_forward.train_days must be at least"),
        (['walk_forward.parameters=["strategy.fast=3"]'], "must give at least two sets to choose among, gave 1"),
        (['walk_forward.parameters=["account.capital=100,200"]'], "parameters must be what one account can change"),
        (['walk_forward.parameters=["strategy.fats=3,4"]'], "unknown parameter strategy.fats; nearest: strategy.fast"),
        (["walk_forward.choose=luckiest"], "walk_forward.choose must be one of"),
        (["walk_forward.train_days=500"], "walk_forward.train_days must leave days to test on"),
        (["strategy.slow=3000"], "bars to warm up"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line_before_anything_is_evaluated(
    place: Path, monkeypatch: pytest.MonkeyPatch, changes: list[str], said: str
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("evaluated")

    monkeypatch.setattr(command, "run_sets", never)
    with pytest.raises(ConfigError, match=said) as caught:
        command.main(configured(place, *changes))
    assert "\n" not in str(caught.value)


def test_sets_that_are_all_refused_say_why(place: Path) -> None:
    cfg = configured(place, 'walk_forward.parameters=["strategy.fast=9,10,11"]')
    with pytest.raises(ConfigError, match=r"accept, gave 0 of 3; refused: .*fast"):
        command.walk_forward(command.prepare(cfg), executor=LocalExecutor(workers=1))


@pytest.mark.slow
@pytest.mark.integration
def test_the_command_ends_in_nought_from_outside_and_refuses_with_two(tmp_path: Path) -> None:
    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "quantcore.research.walk_forward", *COMMON, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )  # fmt: skip

    done = ask("workers=2", "walk_forward.choose=lower_confidence", "walk_forward.scheme=rolling")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / done.stdout.strip().splitlines()[-1]
    found = json.loads((folder / "summary.json").read_text("utf-8"))
    assert (found["experiment"], found["scheme"], len(found["folds"])) == (
        "quickstart",
        "rolling",
        3,
    )
    refused = ask("walk_forward.train_days=20")
    assert refused.returncode == 2
    lines = [line for line in refused.stderr.splitlines() if "compiling the kernels" not in line]
    assert len(lines) == 1
    assert "walk_forward.train_days must be at least" in lines[0]
    assert len(list((tmp_path / "data" / "runs" / "walk_forward").iterdir())) == 1
    assert not list((tmp_path / "data" / "runs" / ".partial").iterdir())


def test_every_experiment_has_a_moderate_number_of_sets_of_settings_that_it_has() -> None:
    files = sorted((conf_folder() / "experiment").glob("*.yaml"))
    own = [p.stem for p in files if "\nwalk_forward:" in p.read_text("utf-8")]
    assert len(own) > 10
    for experiment in (*own, "stage_230"):  # which has base.yaml's, as the others
        cfg = compose("walk_forward", [f"+experiment={experiment}"])
        space = parse_space(cfg.walk_forward.parameters)
        check_names(space, [plain_settings(cfg)], groups=group_options(cfg, NODES))
        assert 6 <= space.grid_size() <= 24, experiment
        for path in space.paths:
            check_switchable(path)
