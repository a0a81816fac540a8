"""Scenarios: what YAML may say of faults, and one clear line where it may not."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from live.simulator.scenario import BOUNDED, KINDS, FaultRule, Scenario, rule_of, scenario_of
from quantcore.config import build, compose, conf_folder
from quantcore.errors import ConfigError

NEEDED: dict[str, dict[str, Any]] = {
    "partial_fill": {"fraction": 0.3},
    "price_gap": {"fraction": -0.1},
    "delisting": {"symbol": "ETHUSDT"},
    "filter_change": {"symbol": "ETHUSDT", "changes": {"stepSize": "0.1"}},
    **{kind: {"duration_seconds": 60} for kind in BOUNDED},
}
"""What a kind cannot do without."""
NAMED = (
    "bad_day",
    "calm",
    "flaky_streams",
    "liquidation_day",
    "maintenance",
    "overload",
    "unknown_outcomes",
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_built_from_what_it_needs_alone(kind: str) -> None:
    rule = rule_of({"kind": kind, **NEEDED.get(kind, {})})
    assert rule.kind == kind
    assert rule_of(json.loads(json.dumps(rule.plain()))) == rule
    assert pickle.loads(pickle.dumps(rule)) == rule


@pytest.mark.parametrize("kind", NEEDED)
def test_a_kind_without_what_it_needs_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=next(iter(NEEDED[kind]))):
        rule_of({"kind": kind})


@pytest.mark.parametrize(
    ("node", "line"),
    [
        ({"kind": "latncy"}, r"^kind must be one of latency, .*, was latncy; nearest: latency$"),
        ({}, r"^kind must be given, was missing$"),
        ("latency", r"^must be a mapping of kind, .*, was 'latency'$"),
        ({"kind": "latency", "probabilty": 0.1}, r"^unknown key probabilty; nearest: probability"),
        ({"kind": "latency", "probability": 1.5}, r"^probability must be in \[0, 1\], was 1\.5$"),
        ({"kind": "latency", "probability": "often"}, r"^probability must be a finite number, was 'often'$"),
        ({"kind": "latency", "at_seconds": -1}, r"^at_seconds must be >= 0, was -1\.0$"),
        ({"kind": "latency", "seconds": -1}, r"^seconds must be >= 0, was -1\.0$"),
        ({"kind": "latency", "nth": 0}, r"^nth must be > 0, was 0$"),
        ({"kind": "latency", "distribution": "normal"}, r"^distribution must be one of constant, .*, was 'normal'$"),
        (
            {"kind": "latency", "distribution": "uniform", "seconds": 0.1, "spread": 0.2},
            r"^spread must be <= seconds \(0\.1\), was 0\.2$",
        ),
        ({"kind": "adl", "every_seconds": 0.5}, r"^every_seconds must be >= 1, was 0\.5$"),
        ({"kind": "stream_mute", "every_seconds": 9}, r"^duration_seconds must be given for kind stream_mute with"),
        (
            {"kind": "stream_mute", "every_seconds": 9, "duration_seconds": 10},
            r"^duration_seconds must be <= every_seconds \(9\.0\), was 10\.0$",
        ),
        ({"kind": "liquidation", "duration_seconds": 1}, r"^duration_seconds must be left out of kind liquidation"),
        ({"kind": "message_drop", "stage": "after"}, r"^stage must be left out of kind message_drop, was after$"),
        ({"kind": "partial_fill", "fraction": 1}, r"^fraction must be in \(0, 1\), was 1\.0$"),
        ({"kind": "price_gap", "fraction": -1}, r"^fraction must be above -1 and not 0, was -1\.0$"),
        ({"kind": "delisting", "symbol": "*USDT"}, r"^symbol must be one symbol's name, was \*USDT$"),
        (
            {"kind": "filter_change", "symbol": "ETHUSDT", "changes": {"stepSize": 0.1}},
            r"^changes\.stepSize must be text, was 0\.1$",
        ),
        (
            {"kind": "filter_change", "symbol": "ETHUSDT", "changes": {"step": "0.1"}},
            r"^changes must name some of tickSize, .*, was step$",
        ),
        (
            {"kind": "filter_change", "symbol": "ETHUSDT", "changes": {"stepSize": "1e-3"}},
            r"^changes\.stepSize must be a decimal above 0 as text, was 1e-3$",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line(node: object, line: str) -> None:
    with pytest.raises(ConfigError, match=line) as refused:
        rule_of(node)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: -1", r"^seed must be >= 0, was -1 \(there\)$"),
        ("faults: [{kind: ban}]", r"^faults\[0\]: duration_seconds must be given for kind ban, was missing \(there\)$"),
        ("- a", r"^must be a mapping of seed, faults, was \['a'\] \(there\)$"),
        ("sed: 1", r"^unknown key sed \(there\); nearest: seed; known: faults, seed$"),
        ("a: [", r"^scenario must be YAML, was not: while parsing"),
    ],
)  # fmt: skip
def test_a_bad_scenario_is_refused_in_one_line_with_its_place(text: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line) as refused:
        scenario_of(text, path="there")
    assert "\n" not in str(refused.value)


def test_an_empty_scenario_has_no_faults() -> None:
    assert scenario_of("") == Scenario()


@pytest.mark.parametrize("name", NAMED)
def test_a_named_scenario_is_the_same_from_its_file_and_from_a_command(name: str) -> None:
    path: Path = conf_folder() / "faults" / f"{name}.yaml"
    read = scenario_of(path.read_text(encoding="utf-8"), path=str(path))
    assert build(compose("backtest", [f"+faults={name}"]).faults) == read
    assert bool(read.faults) == (name != "calm")


def test_all_named_scenarios_are_listed_here_and_together_show_every_kind() -> None:
    files = sorted((conf_folder() / "faults").glob("*.yaml"))
    assert tuple(path.stem for path in files) == NAMED
    shown = {r.kind for path in files for r in scenario_of(path.read_text(encoding="utf-8")).faults}
    assert shown == set(KINDS)


def test_the_bad_day_has_everything() -> None:
    text = (conf_folder() / "faults" / "bad_day.yaml").read_text(encoding="utf-8")
    assert {rule.kind for rule in scenario_of(text).faults} == set(KINDS)


def test_a_rule_cannot_be_changed_through_its_changes() -> None:
    given = {"stepSize": "0.1"}
    rule = FaultRule(kind="filter_change", symbol="ETHUSDT", changes=given)
    given["stepSize"] = "1"
    assert rule.changes == {"stepSize": "0.1"}
    with pytest.raises(TypeError):
        rule.changes["stepSize"] = "1"  # type: ignore[index]  # what is tested
