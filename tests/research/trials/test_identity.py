"""Two trials are one if everything that decides a result is equal."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import pytest

from quantcore.research.trials import SETTINGS, trial_hash, trial_hashes

BASE: dict[str, Any] = {
    "name": "trend",
    "runs": "data/runs",
    "seed": 7,
    "strategy": {"_target_": "strategies.trend.TrendSettings", "fast": 8, "exits": {"stop": None}},
    "universe": {},
    "regime": {},
    "matrix": {"rows": [{"calm": 0.5}, {"wild": 0.25}]},
    "portfolio": {"volatility": 0.15},
    "account": {"capital": 770, "cross": True},
    "risk": {"ladder": [0.1, 0.2]},
    "execution": {"kind": "taker"},
}


def changed(**parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(BASE), **parts}


def test_the_hash_is_that_of_the_parts_written_out() -> None:
    """A ledger lives for years: what is written into it must not change its meaning."""
    text = "\n".join(
        ['{"fast":8.0}', "{}", "{}", "{}", "{}", '{"capital":770.0}', "{}", "{}", "ab"]
    )
    said = trial_hash({"account": {"capital": 770}, "strategy": {"fast": 8}}, source="ab")
    assert said == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("part", SETTINGS)
def test_every_part_that_decides_a_result_makes_another_trial(part: str) -> None:
    other = changed(**{part: {**BASE[part], "more": 1}})
    assert trial_hash(other, source="a") != trial_hash(BASE, source="a")


@pytest.mark.parametrize(
    "other",
    [
        changed(name="mine", runs="elsewhere", ledger="off", seed=8, sweep={"parameters": []}),
        changed(account={"cross": True, "capital": 770.0}),
        changed(regime=None),
        {k: v for k, v in BASE.items() if k != "universe"},
    ],
)
def test_what_decides_nothing_makes_no_other_trial(other: dict[str, Any]) -> None:
    assert trial_hash(other, source="a") == trial_hash(BASE, source="a")


def test_true_is_not_one_and_text_is_no_number() -> None:
    hashes = {
        trial_hash(changed(account={"cross": value}), source=None) for value in (True, 1, "1", None)
    }
    assert len(hashes) == 4


def test_a_changed_formula_is_another_trial() -> None:
    hashes = {trial_hash(BASE, source=source) for source in ("a", "b", None)}
    assert len(hashes) == 3


def test_a_command_can_add_parts_of_its_own() -> None:
    parts = (*SETTINGS, "walk_forward")
    hashes = {
        trial_hash(changed(walk_forward={"train": days}), source=None, parts=parts)
        for days in (90, 180)
    }
    assert len(hashes) == 2


def test_sets_have_the_hashes_of_the_settings_that_hold_their_values() -> None:
    strategy, account = BASE["strategy"], BASE["account"]
    sets: list[dict[str, Any]] = [
        {},
        {"strategy.fast": 16},
        {"strategy.fast": 16, "strategy.exits.stop": 0.1, "account.capital": 230},
        {"risk.ladder[1]": 0.3},
        {"matrix.rows.0.calm": 0.75},
        {"portfolio": {"volatility": 0.2}},
        {"data.interval": "4h"},
    ]
    expected = [
        BASE,
        changed(strategy={**strategy, "fast": 16}),
        changed(
            strategy={**strategy, "fast": 16, "exits": {"stop": 0.1}},
            account={**account, "capital": 230},
        ),
        changed(risk={"ladder": [0.1, 0.3]}),
        changed(matrix={"rows": [{"calm": 0.75}, {"wild": 0.25}]}),
        changed(portfolio={"volatility": 0.2}),
        BASE,
    ]
    before = copy.deepcopy(BASE)
    said = trial_hashes(BASE, sets, source="a")
    assert said == [trial_hash(settings, source="a") for settings in expected]
    assert before == BASE


@pytest.mark.parametrize("path", ["strategy.fats", "risk.ladder[2]", "account.capital.more"])
def test_a_set_that_changes_nothing_there_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="a set must change settings that are there, was") as error:
        trial_hashes(BASE, [{path: 1}], source=None)
    assert path in str(error.value)
