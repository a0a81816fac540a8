"""``python -m quantcore.research.trials``: what it shows, what it finds wrong, what it joins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from quantcore.config import compose
from quantcore.errors import ConfigError
from quantcore.research.trials import (
    Contents,
    Ledger,
    Market,
    count_trials,
    open_ledger,
    record_run,
    record_sets,
)
from quantcore.research.trials.__main__ import main
from quantcore.research.trials.overview import contradictions, groups, missing_lines
from tests.research.trials.cases import daily, days_us, hashes, occasion, walk


def filled(place: Path, *, since: int = 0) -> Ledger:
    """Return a ledger with a run and twenty sets of one experiment, three of which are the same idea."""
    ledger = open_ledger(str(place))
    assert ledger is not None
    rng = np.random.default_rng(since)
    sets = 0.01 * rng.standard_normal((200, 20))
    sets[:, 1] = sets[:, 2] = sets[:, 0]
    sweep = occasion(command="sweep")
    names = hashes(20, since=since)
    record_sets(ledger, sweep, trials=names, daily=sets, days_us=days_us(200))
    run = daily(0.01 * rng.standard_normal(200) + 0.002)
    record_run(ledger, occasion(), trial=hashes(1, since=since + 100)[0], daily=run)
    return ledger


def told(capsys: pytest.CaptureFixture[str], code: int, *overrides: str) -> str:
    assert main(compose("trials", [f"action={overrides[0]}", *overrides[1:]])) == code
    return capsys.readouterr().out


def test_show_lists_experiments_by_data_and_span(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = filled(tmp_path / "trials.jsonl")
    other = occasion(Market.of(walk(seed=4)))
    record_run(ledger, other, trial=hashes(1)[0], daily=daily(np.zeros(30)))
    text = told(capsys, 0, "show", f"ledger={ledger.place}")
    head, first, more, second, *rest = text.splitlines()
    assert head.split()[0] == "Experiment"
    assert first.split()[:5] == ["trend", "backtest,", "2023-01-01", "to", "2023-07-19"]
    assert first.split()[5:9] == ["1h", "3", Market.of(walk()).fingerprint[:6], "21"]
    assert float(first.split()[9]) == pytest.approx(19.0, rel=0.1)
    assert more.split() == ["sweep"]
    assert second.split()[-5:] == ["1", "1.0", "1.0", "–", "–"]
    assert rest[0].startswith("22 trials in 3 entries.")


def test_what_is_shown_is_what_a_report_of_the_best_would_say(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "trials.jsonl")
    held = ledger.read()
    [group] = groups(held)
    again = daily(held.entries[1].kept[0].returns)
    done = record_run(ledger, occasion(), trial=group.best.trial, daily=again)
    count = count_trials(done, declared=None)
    assert group.best.trial == hashes(1, since=100)[0]
    assert group.found == count.found == 21
    assert group.related == group.effective
    best = group.best
    expected = count.deflated(best.sharpe, best.days, skew=best.skew, kurtosis=best.kurtosis)
    assert group.deflated == pytest.approx(expected, abs=0.01)


def test_show_says_that_nothing_was_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "none.jsonl"
    assert told(capsys, 0, "show", f"ledger={place}") == f"{place} holds no trials.\n"
    assert not place.exists()


def test_verify_passes_a_whole_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = filled(tmp_path / "trials.jsonl")
    text = told(capsys, 0, "verify", f"ledger={ledger.place}")
    assert text.endswith("2 entries and 1 sets of bars read, 0 faults.\n")


def test_verify_names_every_line_that_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "trials.jsonl"
    filled(place)
    lines = place.read_text().splitlines()
    run = json.loads(lines[2])
    better = json.loads(lines[2])
    better["kept"][0]["sharpe"] += 0.01
    shorter = json.loads(lines[2])
    shorter["kept"][0]["days"] -= 1
    stranger = json.loads(lines[2])
    stranger["kept"][0]["trial"] = hashes(1, since=7)[0]
    unknown = {**run, "data": "00" * 32}
    changed = [json.dumps(line) for line in (better, shorter, stranger, unknown)]
    place.write_text("\n".join([*lines, *changed, "<<<<<<< HEAD", lines[1][:50]]))
    text = told(capsys, 1, "verify", f"ledger={place}")
    for said in (
        "line 8 is no whole JSON object",
        "line 9 is no whole JSON object",
        "has a Sharpe ratio of",
        "has 200 daily returns, says 199",
        f"trial {hashes(1, since=7)[0]} is not among those of the line",
        "no line says what its bars are",
        "6 faults.",
    ):
        assert said in text, said


def test_a_ratio_within_the_precision_of_the_returns_is_right(tmp_path: Path) -> None:
    ledger = open_ledger(str(tmp_path / "trials.jsonl"))
    assert ledger is not None
    rng = np.random.default_rng(1)
    returns = 0.01 * rng.standard_t(3, 731)
    returns[200] = -0.6  # a liquidation: all others are small beside it
    record_run(ledger, occasion(), trial=hashes(1)[0], daily=daily(returns))
    assert contradictions(ledger.read()) == []


def test_merge_adds_what_is_missing_and_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = filled(tmp_path / "one.jsonl"), filled(tmp_path / "other.jsonl", since=15)
    sources = f"from=[{one.place},{other.place}]"
    both = f"ledger={tmp_path / 'both.jsonl'}"
    assert "4 of 4 entries added to" in told(capsys, 0, "merge", sources, both)
    text = (tmp_path / "both.jsonl").read_text()
    assert text.count('"kind":"market"') == 1
    assert "0 of 4 entries added to" in told(capsys, 0, "merge", sources, both)
    assert (tmp_path / "both.jsonl").read_text() == text
    held = open_ledger(str(tmp_path / "both.jsonl"))
    assert held is not None
    [trials] = held.read().trials.values()
    assert trials == set(hashes(35)) | set(hashes(1, since=100)) | set(hashes(1, since=115))
    assert "0 of 2 entries added" in told(capsys, 0, "merge", f"from={one.place}", both)
    twice = f"from=[{one.place},{one.place}]"
    new = f"ledger={tmp_path / 'new.jsonl'}"
    assert "2 of 4 entries added" in told(capsys, 0, "merge", twice, new)


def test_merging_keeps_the_lines_as_they_were(tmp_path: Path) -> None:
    held = filled(tmp_path / "trials.jsonl").read()
    copy = open_ledger(str(tmp_path / "copy.jsonl"))
    assert copy is not None
    copy.add(missing_lines(Contents(), [held]))
    assert (tmp_path / "copy.jsonl").read_bytes() == (tmp_path / "trials.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["action=list"], "action must be one of show, verify, merge, was list"),
        (["ledger=off"], "ledger must be a path or a URL here, was off"),
        (["action=verify", "ledger=none.jsonl"], r"ledger must exist and hold something, was none"),
        (["action=merge"], r"from must name ledgers for action=merge alone, was \[\]"),
        (["from=[a.jsonl]"], r"from must name ledgers for action=merge alone, was \['a.jsonl'\]"),
        (["action=merge", "from=[3]"], r"from must be a list of paths or URLs, was \[3\]"),
        (
            ["action=merge", "from=none.jsonl"],
            r"from must exist and hold something, was none\.jsonl",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        main(compose("trials", overrides))
