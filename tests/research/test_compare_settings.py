"""What differs between runs before anything was computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from quantcore.research.compare_records import Record
from quantcore.research.compare_settings import (
    ABSENT,
    changes,
    provenance_table,
    settings_table,
    span_table,
    warnings,
)
from quantcore.research.compare_span import common_span
from tests.research.recorded import cut, pair


def configured(*settings: Mapping[str, Any]) -> list[Record]:
    one, other = pair(days=5)
    runs = [one, other, other]
    return [replace(runs[k], label="ABC"[k], settings=s) for k, s in enumerate(settings)]


def test_only_settings_that_differ_are_listed_and_equal_numbers_are_equal() -> None:
    runs = configured(
        {
            "account": {"capital": 7700, "leverage": 2.0},
            "runs": "here",
            "name": "a",
            "speeds": [1, 2],
        },
        {
            "account": {"capital": 770, "leverage": 2},
            "runs": "there",
            "name": "b",
            "speeds": [1, 2],
        },
        {"account": {"capital": 7700.0, "leverage": 2}, "risk": {}, "speeds": [1], "start": None},
    )
    table = settings_table(runs).set_index("key")
    assert list(table.index) == ["account.capital", "risk", "speeds", "start"]
    assert list(table.loc["account.capital"]) == ["7700", "770", "7700"]
    assert list(table.loc["risk"]) == [ABSENT, ABSENT, "none"]
    assert list(table.loc["speeds"]) == ["[1, 2]", "[1, 2]", "[1]"]
    assert list(table.loc["start"]) == [ABSENT, ABSENT, "null"]


def test_changes_are_told_against_the_base_and_another_class_hides_its_own_settings() -> None:
    trend = {"_target_": "strategies.trend.TrendSettings", "fast": 48, "slow": 192}
    reversal = {"_target_": "strategies.reversal.ReversalSettings", "memory": 180}
    runs = configured(
        {"strategy": trend, "strategy_note": "x", "account": {"capital": 7700}},
        {"strategy": reversal, "strategy_note": "y", "account": {"capital": 7700}},
        {"strategy": {**trend, "fast": 24}, "strategy_note": "x", "account": {"capital": 7700}},
    )
    table = settings_table(runs)
    assert changes(table, "B", "A") == [
        "strategy: ReversalSettings instead of TrendSettings",
        "strategy_note: y instead of x",
    ]
    assert changes(table, "C", "A") == ["strategy.fast: 24 instead of 48"]
    assert changes(table, "A", "A") == []


REGIME = {"_target_": "a.B", "detector": {"_target_": "a.C", "days": 3}}


def test_many_settings_in_the_place_of_one_value_are_counted() -> None:
    rows = {"calm": {"trend": 0.2}, "wild": {"trend": 0.3}}
    runs = configured(
        {"matrix": {"rows": None, "method": "equal"}, "regime": {}},
        {"matrix": {"rows": rows, "method": "given"}, "regime": REGIME},
    )
    table = settings_table(runs)
    assert changes(table, "B", "A") == [
        "matrix.method: given instead of equal",
        "matrix.rows: 2 settings instead of null",
        "regime: B instead of none",
    ]
    assert changes(table, "A", "B")[1:] == [
        "matrix.rows: null instead of 2 settings", "regime: none instead of B",
    ]  # fmt: skip


def test_what_runs_were_made_from_is_shown_short_and_differences_are_warned_of() -> None:
    one, other = pair(days=30)
    same = {"data_fingerprint": "d" * 64, "source_hash": "s" * 64, "packages": {"numpy": "2.4"}}
    one = replace(one, manifest=same)
    other = replace(
        other,
        manifest={**same, "data_fingerprint": "e" * 64, "packages": {"numpy": "2.5"}},
        capital=770.0,
    )
    made = provenance_table([one, other]).set_index("key")
    assert list(made.loc["data"]) == ["d" * 10, "e" * 10]
    assert list(made.loc["numpy"]) == ["2.4", "2.5"]
    late = cut(other, first=10 * 24)
    said = warnings([one, late], common_span([one, late]))
    assert said[0].startswith(
        "The runs do not cover the same time: only what they have in common is compared, 2023-01-11 00:00 to "
        "2023-01-31 00:00."
    )
    assert "Not the same data: A, B." in said
    assert any(line.startswith("Not the same capital") for line in said)
    assert not any("sources" in line for line in said)


def test_three_runs_are_grouped_by_what_they_share() -> None:
    runs = configured({}, {}, {})
    marked = [
        replace(r, manifest={"data_fingerprint": x}) for r, x in zip(runs, "pqp", strict=True)
    ]
    assert "Not the same data: A = C, B." in warnings(marked, common_span(marked))


def test_runs_alike_in_everything_are_not_warned_of() -> None:
    one, other = (replace(run, manifest={}) for run in pair(days=20))
    assert warnings([one, other], common_span([one, other])) == []
    entries = span_table([one, other])
    assert entries[0]["interval"] == "1h"
    assert entries[0]["start"] == "2023-01-01T00:00:00+00:00"


def test_deposits_are_mentioned() -> None:
    one, other = (replace(run, manifest={}) for run in pair(days=40))
    assert warnings([one, other], common_span([one, other])) == [
        "There are deposits or withdrawals; returns are without them."
    ]


@pytest.mark.parametrize("text", ["2024-04-01", "latest"])
def test_text_is_shown_as_it_is(text: str) -> None:
    table = settings_table(configured({"at": text}, {"at": None}))
    assert list(table.iloc[0]) == ["at", text, "null"]
