"""A line of the ledger says again what was put into it, and little more room than it needs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quantcore.errors import SchemaMismatch
from quantcore.research.trials.entries import Entry, Kept, Place, Score, day_number, day_text
from quantcore.research.trials.ledger import read_line, write_line
from quantcore.types import FloatArray
from tests.research.trials.cases import hashes


def score(**changes: Any) -> Score:
    told = Score(trial=hashes(1)[0], days=4, sharpe=0.05, skew=-0.3, kurtosis=4.5)
    return replace(told, **changes)


def entry(returns: FloatArray, **changes: Any) -> Entry:
    kept = Kept(score=score(days=len(returns)), stands_for=3, returns=returns)
    told = Entry(
        time="2024-05-01T12:00:00+00:00",
        command="sweep",
        experiment="trend é",
        fingerprint="ab" * 32,
        interval="4h",
        first_day=day_number("2023-01-01"),
        trials=tuple(hashes(3)),
        best=score(),
        kept=(kept,),
        clusters=1,
        effective=1.0,
        effective_kept=1.0,
    )
    return replace(told, **changes)


def again(told: Entry) -> Entry:
    found = read_line(write_line(told))
    assert isinstance(found, Entry)
    return found


def test_what_was_written_is_read(rng: np.random.Generator) -> None:
    returns = rng.normal(0.0, 0.02, 731)
    told = entry(returns)
    found = again(told)
    assert replace(found, kept=told.kept) == told
    assert found.kept[0].score == told.kept[0].score
    assert found.kept[0].stands_for == 3
    assert found.place == Place("ab" * 32, "4h", 19358, 20088)
    # Half precision: eleven significant bits of each return.
    np.testing.assert_allclose(found.kept[0].returns, returns, rtol=2**-10, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_returns_of_any_size_keep_their_precision(scale: float) -> None:
    returns = scale * np.array([0.5, -0.001, 0.0, np.nan, 0.25])
    found = again(entry(returns)).kept[0].returns
    np.testing.assert_allclose(found, returns, rtol=2**-10)


@pytest.mark.parametrize("returns", [np.zeros(5), np.array([0.0, np.nan]), np.full(3, np.nan)])
def test_returns_that_never_moved_are_read_as_they_were(returns: FloatArray) -> None:
    np.testing.assert_array_equal(again(entry(returns)).kept[0].returns, returns)


def test_moments_that_do_not_exist_are_read_as_such() -> None:
    nothing = score(sharpe=math.nan, skew=math.nan, kurtosis=math.nan)
    found = again(entry(np.zeros(4), best=nothing)).best
    assert math.isnan(found.sharpe)
    assert math.isnan(found.skew)
    assert math.isnan(found.kurtosis)
    assert b"NaN" not in write_line(entry(np.zeros(4), best=nothing))


def test_a_run_over_two_years_takes_two_and_a_half_kilobytes(rng: np.random.Generator) -> None:
    assert len(write_line(entry(rng.normal(0.0, 0.02, 731)))) < 2_700


def test_a_line_is_one_line_of_json_that_says_its_version_first() -> None:
    line = write_line(entry(np.array([0.1, 0.2])))
    assert line.count(b"\n") == 1
    assert line.startswith(b'{"version":1,"kind":"trials"')
    held = json.loads(line)
    assert (held["start"], held["end"], held["n_trials"]) == ("2023-01-01", "2023-01-02", 3)


def test_days_are_counted_from_1970() -> None:
    assert day_number("1970-01-02") == 1
    assert day_text(0) == "1970-01-01"
    assert day_number(day_text(19_782)) == 19_782


DAMAGE: dict[str, tuple[dict[str, Any], str]] = {
    "another number of trials": ({"n_trials": 4}, "trials must be 4 hashes of 16 digits"),
    "a trial cut off": ({"trials": "AAAA"}, "trials must be 3 hashes of 16 digits, were 6 digits"),
    "another end": ({"end": "2023-01-03"}, "returns must end on 2023-01-03, ended on 2023-01-02"),
    "no date": ({"start": "someday"}, "holds a wrong value"),
    "no returns": ({"kept": []}, "kept returns must be of the same days, were of"),
    "kept is no list": ({"kept": 3}, "holds a wrong value"),
    "a hash that is none": (
        {"best": {"trial": "ab", "days": 1, "sharpe": 0, "skew": 0, "kurtosis": 3}},
        "a trial must be 16 hexadecimal digits, was ab",
    ),
    "no base64": ({"trials": "!"}, "holds a wrong value"),
    "a later version": ({"version": 2}, "is of version 2, version 1 is read"),
    "another kind": ({"kind": "order"}, "kind must be trials or market, was 'order'"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_line_that_contradicts_itself_is_named(name: str) -> None:
    change, said = DAMAGE[name]
    held = json.loads(write_line(entry(np.array([0.1, 0.2]))))
    with pytest.raises(SchemaMismatch, match=said):
        read_line(json.dumps({**held, **change}).encode())


@pytest.mark.parametrize("field", ["trials", "data", "kept", "effective", "best"])
def test_a_line_that_lacks_something_is_named(field: str) -> None:
    held = json.loads(write_line(entry(np.array([0.1, 0.2]))))
    del held[field]
    with pytest.raises(SchemaMismatch, match=f"must hold {field}, does not"):
        read_line(json.dumps(held).encode())


@pytest.mark.parametrize(
    "line", [b'{"version":1,"kind":"tri', b"[1]", b"7", b'{"a":1}', b"<<<<<<< HEAD", b"\xff"]
)
def test_what_is_no_line_is_named(line: bytes) -> None:
    with pytest.raises(SchemaMismatch, match="is no "):
        read_line(line)


def test_representatives_of_different_days_are_refused() -> None:
    one = entry(np.array([0.1, 0.2]))
    other = replace(one.kept[0], returns=np.array([0.1]))
    with pytest.raises(SchemaMismatch, match=r"must be of the same days, were of \[1, 2\]"):
        replace(one, kept=(one.kept[0], other))
    with pytest.raises(SchemaMismatch, match="trials must be at least those kept, were 0 of 1"):
        replace(one, trials=())
