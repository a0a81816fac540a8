"""A finished run is written down, and its report deflates by what was tried before it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console
from scipy import stats

from quantcore import config as conf
from quantcore.backtest.counting import counted, run_hash
from quantcore.backtest.curves import curves
from quantcore.backtest.experiment import manifest, signal_settings
from quantcore.backtest.metrics import compute_metrics, run_trades
from quantcore.backtest.result import Run
from quantcore.backtest.summary import print_summary
from quantcore.backtest.tearsheet import compose
from quantcore.backtest.verdict import findings, trials_told
from quantcore.research.trials import Ledger, TrialCount, open_ledger, trial_hash
from quantcore.signal_plane import StrategySet

SETTINGS: dict[str, Any] = {"strategy": {"fast": 8}, "account": {"capital": 1000}, "runs": "here"}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    opened = open_ledger(str(tmp_path / "trials.jsonl"))
    assert opened is not None
    return opened


def told(run: Run, *, variants: int | None = 3, source: str = "a", **settings: Any) -> Run:
    """Return a run with known settings."""
    manifest = {**run.manifest, "strategy_source": source}
    text = yaml.safe_dump({**SETTINGS, **settings})
    return replace(run, config_yaml=text, manifest=manifest, variants=variants)


def asked(run: Run, name: str) -> tuple[str, str]:
    """Return the answer to a question of the panel, and why."""
    page = compose(run, metrics=compute_metrics(run), trades=run_trades(run), experiment="fake")
    row = page.body.split(f"<td>{name}</td>")[1].split("</tr>")[0]
    return row.split("</span>")[0].split()[-1], row.split('wrap wide">')[1].split("</td>")[0]


def test_a_run_twice_counts_once_and_a_changed_one_twice(run: Run, ledger: Ledger) -> None:
    first = told(run)
    changes = [
        (first, 1),
        (first, 1),
        (told(run, runs="there", name="other"), 1),
        (told(run, strategy={"fast": 9}), 2),
        (told(run, source="b"), 3),
        (first, 3),
    ]
    for changed, found in changes:
        done = counted(changed, ledger).trials
        assert done is not None
        assert done.found == found


def test_another_path_of_the_same_market_is_deflated_by_both(
    make_run: Callable[..., Run], ledger: Ledger
) -> None:
    """Two accounts that trade at random on the same prices: two independent trials."""
    one = told(make_run(symbols=2, days=60, orders_per_bar=0.3), variants=None)
    other = replace(one, tables=make_run(symbols=2, days=60, orders_per_bar=0.1).tables)
    counted(one, ledger)
    done = counted(told(other, variants=None, strategy={"fast": 3}), ledger)
    metrics = compute_metrics(done)
    assert metrics["trials"] == 2
    assert metrics["dsr"] < metrics["psr"]
    daily = curves(done).daily.to_numpy()
    by_hand = TrialCount(declared=2, found=None, effective=None).deflated(
        daily.mean() / daily.std(ddof=1),
        len(daily),
        skew=float(stats.skew(daily)),
        kurtosis=float(stats.kurtosis(daily, fisher=False)),
    )
    assert metrics["dsr"] == pytest.approx(by_hand, rel=1e-9)


def test_the_trial_is_identified_by_settings_source_and_what_the_manifest_says(
    run: Run, ledger: Ledger
) -> None:
    done = told(run)
    assert run_hash(done) == trial_hash(SETTINGS, source="a")
    counted(replace(done, manifest={**done.manifest, "data_fingerprint": "known"}), ledger)
    [entry] = ledger.read().entries
    assert (entry.fingerprint, entry.experiment, entry.command) == ("known", "fake", "backtest")
    assert (entry.interval, entry.trials) == ("1h", (run_hash(done),))
    assert entry.best.days == curves(run).returns


def test_a_run_without_settings_is_counted_too(run: Run, ledger: Ledger) -> None:
    for text in ("", "just text"):
        assert counted(replace(run, config_yaml=text), ledger).trials is not None
    assert len(ledger.read().entries) == 1


def test_with_the_ledger_off_the_declared_variants_deflate(run: Run, tmp_path: Path) -> None:
    done = counted(told(run), None)
    metrics = compute_metrics(done)
    assert metrics["trials"] == 3
    assert metrics["dsr"] == compute_metrics(told(run))["dsr"]
    assert "(ledger=off)" in trials_told(done, metrics)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_nobody_wrote_down_says_so(run: Run) -> None:
    metrics = compute_metrics(told(run))
    assert trials_told(told(run), metrics).startswith(
        "The ledger of trials was not asked: the strategy files declare 3 variants"
    )
    assert compute_metrics(run)["dsr"] is None
    assert trials_told(run, compute_metrics(run)).endswith("so the Sharpe ratio is not deflated.")


def test_one_trial_leaves_the_probability_against_zero(run: Run, ledger: Ledger) -> None:
    metrics = compute_metrics(counted(told(run, variants=None), ledger))
    assert metrics["trials"] == 1
    assert metrics["dsr"] == metrics["psr"]


def test_a_run_without_a_daily_return_is_as_it_was(run: Run, ledger: Ledger) -> None:
    short = replace(run, tables={**run.tables, "equity": run.tables["equity"].assign(nav=np.nan)})
    assert counted(short, ledger) is short
    assert ledger.read().entries == ()


def test_the_panel_and_the_summary_tell_the_count(run: Run, ledger: Ledger) -> None:
    done = counted(told(run), ledger)
    answer, why = asked(done, "Does it stand out among all that was tried?")
    assert answer == "no"
    assert f"the ledger {ledger.place} holds no other trial" in why
    assert "above what luck would show with probability" in why
    out = io.StringIO()
    print_summary(done, compute_metrics(done), console=Console(file=out, width=100))
    printed = " ".join(out.getvalue().split())
    assert "trials: The strategy files declare 3 variants; the ledger" in printed


@pytest.mark.parametrize(
    ("trials", "answer"),
    [
        (None, "open"),  # what files declare speaks against a result, never for it
        (TrialCount(declared=1, found=None, effective=None, place="off"), "open"),
        (TrialCount(declared=1, found=1, effective=1.0, place="here", alone=False), "yes"),
        (TrialCount(declared=1, found=10**6, effective=1e6, place="here", alone=False), "no"),
    ],
)
def test_only_what_was_counted_speaks_for_a_result(
    run: Run, trials: TrialCount | None, answer: str
) -> None:
    equity = run.tables["equity"].copy()
    drawn = np.random.default_rng(1).normal(0.0025, 0.004, len(equity))
    equity["nav"] = np.cumprod(1.0 + np.where(np.arange(len(equity)) % 24 == 0, drawn, 0.0))
    good = replace(told(run, variants=1), tables={**run.tables, "equity": equity}, trials=trials)
    assert asked(good, "Does it stand out among all that was tried?")[0] == answer


def test_a_verdict_above_luck_names_its_trials(run: Run, ledger: Ledger) -> None:
    metrics = compute_metrics(counted(told(run), ledger))
    sure = {**metrics, "psr": 0.99, "total_return": 0.3, "dsr": 0.875, "trials": 12}
    curve = curves(run)
    long = replace(curve, daily=pd.Series(np.full(200, 0.01), index=pd.RangeIndex(200)))
    text = findings(run, sure, long).verdict
    assert (
        "probability 99.0 %, above what luck would show of 12 trials with probability 87.5 %"
        in text
    )
    assert "before counting trials" in findings(run, {**sure, "dsr": None}, long).verdict


def test_a_ledger_that_fails_loses_no_result(run: Run, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").mkdir()
    done = counted(told(run), ledger)
    metrics = compute_metrics(done)
    assert metrics["trials"] == 3
    assert "could not be read: Is a directory" in trials_told(done, metrics)


def test_the_source_of_a_set_is_that_of_its_members(root: Path) -> None:
    """A changed formula of one member is another trial; the class of the set itself says nothing of them."""
    everything = signal_settings(conf.compose("backtest", ["strategy=all"])).strategy
    assert isinstance(everything, StrategySet)
    lines = [
        f"{name} {hashlib.sha256((root / 'strategies' / f'{name}.py').read_bytes()).hexdigest()}"
        for name in sorted(everything.members)
    ]
    expected = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    cfg = conf.compose("backtest", ["strategy=all"])
    assert manifest(cfg, everything)["strategy_source"] == expected
