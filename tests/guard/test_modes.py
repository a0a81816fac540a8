"""Hosts of modes are fixed, and real money needs the command line and an operator."""

from __future__ import annotations

from pathlib import Path

import pytest

from live.guard.checks import Check, Verdict, failures, lines, not_applicable, passed, refuse
from live.guard.flight import loose_files
from live.guard.modes import (
    ARMED,
    MODES,
    check_armed,
    check_command_line,
    check_file_modes,
    check_hosts,
    check_keys,
    check_mode,
    phrase,
)
from quantcore.errors import ConfigError

REAL = ("https://fapi.binance.com", "wss://fstream.binance.com", "https://api.binance.com/sapi")
DEMO = ("https://demo-fapi.binance.com", "wss://fstream.binancefuture.com", None)
LOOPBACK = ("http://127.0.0.1:8080", "ws://localhost:8080", None)
OF_MODE = {
    "sim": (LOOPBACK,),
    "paper": (REAL, LOOPBACK),
    "testnet": (DEMO,),
    "staging": (REAL,),
    "prod": (REAL,),
}


def hosts(mode: str, urls: tuple[str, str, str | None]) -> list[Check]:
    permissions = urls[2] if MODES[mode].real_money else None
    return check_hosts(mode, rest_url=urls[0], stream_url=urls[1], permissions_url=permissions)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("urls", [REAL, DEMO, LOOPBACK])
def test_a_mode_talks_to_its_own_hosts_alone(mode: str, urls: tuple[str, str, str | None]) -> None:
    broken = failures(hosts(mode, urls))
    if urls in OF_MODE[mode]:
        assert broken == []
    else:
        assert {check.name for check in broken} >= {"streams' host"}
        assert len(broken) >= 2


@pytest.mark.parametrize(
    "url",
    [
        "http://fapi.binance.com", "https://fapi.binance.com.evil.org", "https://fapi.binance.com:8443",
        "https://user@fapi.binance.com", "https://evil.org/fapi.binance.com", "https://127.0.0.1", "https://",
        "https://fapi.binance.com:x", "https://dapi.binance.com",
    ],
)  # fmt: skip
def test_what_only_looks_like_the_real_host_is_refused(url: str) -> None:
    found = hosts("prod", (url, *REAL[1:]))
    assert [check.name for check in failures(found)] == ["orders' host"]


@pytest.mark.parametrize("url", ["http://10.0.0.1:80", "http://0.0.0.0:80", "http://sim.local"])
def test_the_simulator_is_on_this_machine(url: str) -> None:
    assert failures(hosts("sim", (url, *LOOPBACK[1:])))


def test_real_money_needs_a_host_that_tells_permissions() -> None:
    found = check_hosts("prod", rest_url=REAL[0], stream_url=REAL[1], permissions_url=None)
    assert [check.name for check in failures(found)] == ["permissions' host"]
    found = check_hosts("testnet", rest_url=DEMO[0], stream_url=DEMO[1], permissions_url=None)
    assert failures(found) == []


@pytest.mark.parametrize(
    ("arguments", "holds"),
    [
        (["conf=prod"], True),
        (["+experiment=stage_7700", "conf=prod", "risk=prod", "confidence=1"], True),
        ([], False),
        (["+experiment=prod"], False),
        (["conf=staging"], False),
        (["conf=sim", "conf=prod"], False),
        (["conf=prod", "conf=prod"], False),
        (["+conf=prod"], False),
        (["conf=prod,staging"], False),
        (["conf=prod", "conf.journal=sqlite:///x"], False),
        (["conf=prod", "++conf.rest_url=https://fapi.binance.com"], False),
        (["conf=prod", "~conf.symbols_max"], False),
        (["conf@conf=prod"], False),
        (["conf=prod", "-m"], False),
        (["conf=prod", "--multirun"], False),
    ],
)
def test_real_money_stands_on_the_command_line_itself(arguments: list[str], holds: bool) -> None:
    assert (check_command_line("prod", arguments).verdict is Verdict.PASSED) == holds


def test_other_modes_need_no_command_line() -> None:
    for mode in ("sim", "paper", "testnet"):
        assert check_command_line(mode, []).verdict is Verdict.NOT_APPLICABLE
        assert check_armed(mode, {}).verdict is Verdict.NOT_APPLICABLE
    assert check_mode("live").verdict is Verdict.FAILED
    assert check_mode("prod").verdict is Verdict.PASSED


def test_an_operator_arms_by_the_environment_or_by_a_phrase() -> None:
    asked: list[str] = []

    def types(text: str) -> str:
        asked.append(text)
        return typed

    typed = "nothing"
    assert check_armed("prod", {ARMED: "prod"}, ask=types).verdict is Verdict.PASSED
    assert asked == []
    for armed in ({}, {ARMED: "staging"}, {ARMED: "1"}, {ARMED: "PROD"}):
        assert check_armed("prod", armed, ask=types).verdict is Verdict.FAILED
        assert check_armed("prod", armed).verdict is Verdict.FAILED
    assert len(asked) == 4
    assert phrase("prod") in asked[0]
    typed = phrase("staging")
    assert check_armed("prod", {}, ask=types).verdict is Verdict.FAILED
    typed = f" {phrase('prod')}\n"
    assert check_armed("prod", {}, ask=types).verdict is Verdict.PASSED
    before = len(asked)
    assert check_armed("prod", {}, ask=types, dry_run=True).verdict is Verdict.NOT_APPLICABLE
    assert len(asked) == before


def test_all_failures_are_told_before_the_start_is_refused() -> None:
    checks = [
        passed("one", "must be 1, is 1"),
        *hosts("sim", REAL),
        not_applicable("three", "no exchange"),
    ]
    told = lines(checks)
    assert len(told) == len(checks)
    assert told[0].split() == ["passed", "one", "must", "be", "1,", "is", "1"]
    assert told[1].startswith(
        "failed          orders' host   must be this machine, is https://fapi"
    )
    with pytest.raises(ConfigError) as refused:
        refuse("sim", checks)
    text = str(refused.value)
    assert "\n" not in text
    assert "conf=sim must pass all 4 checks before it starts, failed 2: orders' host:" in text
    assert "streams' host:" in text
    refuse("sim", checks[:1])


def test_keys_are_in_the_environment_and_never_shown() -> None:
    names = ("THE_KEY", "THE_SECRET")
    held = {"THE_KEY": "planted-key", "THE_SECRET": "planted-secret"}
    for mode in ("testnet", "staging", "prod"):
        whole = check_keys(mode, held, names)
        assert whole.verdict is Verdict.PASSED
        half = check_keys(mode, {**held, "THE_SECRET": "  "}, names)
        assert half.verdict is Verdict.FAILED
        assert half.line.endswith("not set: THE_SECRET")
        assert "planted" not in whole.line + half.line
    for mode in ("sim", "paper"):
        assert check_keys(mode, {}, names).verdict is Verdict.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("mode", "verdict"), [("prod", Verdict.FAILED), ("sim", Verdict.NOT_APPLICABLE)]
)
def test_option_files_that_others_may_write_stop_real_money(
    tmp_path: Path, mode: str, verdict: Verdict
) -> None:
    (tmp_path / "risk").mkdir(mode=0o755)
    file = tmp_path / "risk" / "prod.yaml"
    file.touch(mode=0o644)
    assert loose_files(tmp_path) == []
    assert check_file_modes("prod", loose_files(tmp_path)).verdict is Verdict.PASSED
    file.chmod(0o666)
    check = check_file_modes(mode, loose_files(tmp_path))
    assert check.verdict is verdict
    if verdict is Verdict.FAILED:
        assert check.line == (
            "option files must not be writable by others, others may write prod.yaml (0666): chmod o-w"
        )
